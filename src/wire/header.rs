use std::fmt;

use super::close::CloseCode;
use super::opcode::{MAX_CONTROL_PAYLOAD, Opcode};

/// The longest frame header: two bytes, eight of length, four of masking key.
pub const MAX_HEADER: usize = 14;

/// A frame header (RFC 6455 section 5.2): everything before the payload.
///
/// ```
/// use framewire::wire::{FrameHeader, Opcode};
///
/// // The RFC's masked "Hello" (section 5.7).
/// let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
/// let (header, length) = FrameHeader::decode(&bytes)?.expect("whole header");
/// assert_eq!((header.opcode, header.payload_len, length), (Opcode::Text, 5, 6));
///
/// let mut out = [0; framewire::wire::MAX_HEADER];
/// assert_eq!(header.encode(&mut out), &bytes[..6]);
/// # Ok::<(), framewire::wire::HeaderError>(())
/// ```
#[doc(alias("frame", "parse frame"))]
#[allow(clippy::exhaustive_structs, reason = "the wire format has exactly these fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// The final frame of its message.
    pub fin: bool,
    /// The first reserved bit; permessage-deflate gives it its meaning (RFC 7692 section 6).
    pub rsv1: bool,
    /// The second reserved bit; no extension known here uses it.
    pub rsv2: bool,
    /// The third reserved bit; no extension known here uses it.
    pub rsv3: bool,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key, present exactly in frames from a client (RFC 6455 section 5.3).
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes, without the masking key.
    pub payload_len: u64,
}

impl FrameHeader {
    /// The header of an unfragmented, unmasked frame without reserved bits.
    #[must_use]
    #[inline]
    pub const fn new(opcode: Opcode, payload_len: u64) -> Self {
        let (fin, rsv1, rsv2, rsv3) = (true, false, false, false);
        Self { fin, rsv1, rsv2, rsv3, opcode, mask: None, payload_len }
    }

    /// Reads a header from the front of `bytes`: returns the header and its own length.
    ///
    /// `Ok(None)` says that the header is incomplete; call again with more bytes. Whether reserved
    /// bits, a mask or a continuation are in order depends on the connection and is not checked:
    /// [`decode_with`](Self::decode_with) does that.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] as soon as a byte shows that no valid header can follow. Errors are found in
    /// the order of the bytes, so the answer is the same however the bytes arrived.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        parse(bytes, None)
    }

    /// Reads a header from the front of `bytes` and holds it to the `rules` of a connection: returns the header and
    /// its own length. `Ok(None)` says that it is incomplete.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] at the first byte after which no header that keeps the rules can follow.
    ///
    /// ```
    /// use framewire::wire::{FrameHeader, HeaderError, HeaderRules};
    ///
    /// // A server that takes at most 1 KiB.
    /// let mut rules = HeaderRules::masked();
    /// rules.max_payload_len = 1024;
    /// assert!(FrameHeader::decode_with(&[0x81, 0x85, 1, 2, 3, 4], &rules)?.is_some());
    /// assert_eq!(FrameHeader::decode_with(&[0x81, 0x05], &rules), Err(HeaderError::Unmasked));
    /// let long = FrameHeader::decode_with(&[0x81, 0xfe, 0x05], &rules);
    /// assert_eq!(long, Err(HeaderError::PayloadTooLong(1024)));
    /// # Ok::<(), HeaderError>(())
    /// ```
    #[inline]
    pub fn decode_with(
        bytes: &[u8],
        rules: &HeaderRules,
    ) -> Result<Option<(Self, usize)>, HeaderError> {
        parse(bytes, Some(rules))
    }

    /// Reads the header of the commonest frame of all: a final Text or Binary frame without reserved
    /// bits, with less than 64 KiB of payload, that lies whole in `bytes`.
    ///
    /// For such a frame the answer is that of [`decode_with`](Self::decode_with), in a fraction of the
    /// time. `None` says only that this is another case: then ask `decode_with`.
    #[must_use]
    #[inline]
    pub fn decode_whole_message(bytes: &[u8], rules: &HeaderRules) -> Option<(Self, usize)> {
        const FINAL_TEXT: u8 = 0x81;
        const FINAL_BINARY: u8 = 0x82;
        let [first @ (FINAL_TEXT | FINAL_BINARY), second, ..] = *bytes else { return None };
        if rules.inside_message {
            return None;
        }
        let (mask_bit, key_length) = if rules.masked { (0x80, 4) } else { (0, 0) };
        let (length, end) = match second ^ mask_bit {
            length @ 0..126 => (usize::from(length), 2 + key_length),
            126 => match u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]) {
                0..126 => return None,
                length => (usize::from(length), 4 + key_length),
            },
            _ => return None,
        };
        if length as u64 > rules.max_payload_len || bytes.len() < end + length {
            return None;
        }
        let mask = match bytes[..end].last_chunk() {
            Some(key) if rules.masked => Some(*key),
            _ => None,
        };
        let opcode = if first == FINAL_TEXT { Opcode::Text } else { Opcode::Binary };
        Some((Self { mask, ..Self::new(opcode, length as u64) }, end))
    }

    /// Writes the header into `out` and returns the part written, 2 to 14 bytes.
    ///
    /// The length takes the minimal number of bytes, as RFC 6455 section 5.2 demands. A length above
    /// 2^63 - 1, which the wire cannot carry, is written as it is and will be rejected by the peer.
    #[inline]
    pub fn encode<'a>(&self, out: &'a mut [u8; MAX_HEADER]) -> &'a [u8] {
        out[0] = self.first_byte();
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        let mut end = 2;
        if let Ok(length) = u16::try_from(self.payload_len) {
            if length < 126 {
                out[1] = mask_bit | length as u8;
            } else {
                out[1] = mask_bit | 126;
                out[2..4].copy_from_slice(&length.to_be_bytes());
                end = 4;
            }
        } else {
            out[1] = mask_bit | 127;
            out[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
            end = 10;
        }
        if let Some(key) = self.mask {
            out[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        &out[..end]
    }

    /// FIN, the reserved bits and the opcode.
    #[inline]
    pub(crate) fn first_byte(&self) -> u8 {
        u8::from(self.fin) << 7
            | u8::from(self.rsv1) << 6
            | u8::from(self.rsv2) << 5
            | u8::from(self.rsv3) << 4
            | self.opcode.as_u8()
    }
}

/// What the next header of a connection may be: what [`FrameHeader::decode_with`] needs to know of the
/// connection.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderRules {
    /// Frames have a mask, as those of a client; otherwise they have none (RFC 6455 section 5.1).
    pub masked: bool,
    /// An extension was negotiated that gives RSV1 a meaning on the first frame of a message, as
    /// permessage-deflate does (RFC 7692 section 6). RSV2 and RSV3 have none.
    pub rsv1: bool,
    /// A message is unfinished, so that the next data frame is a continuation (RFC 6455 section 5.4).
    pub inside_message: bool,
    /// The longest payload of a data frame without RSV1.
    pub max_payload_len: u64,
    /// The longest payload of a data frame with RSV1.
    pub max_rsv1_payload_len: u64,
}

impl HeaderRules {
    /// The frames of a client: masked. No extension, no unfinished message and no limit, until you set
    /// the fields.
    #[must_use]
    pub const fn masked() -> Self {
        Self { masked: true, ..Self::unmasked() }
    }

    /// The frames of a server: without a mask. No extension, no unfinished message and no limit, until
    /// you set the fields.
    #[must_use]
    pub const fn unmasked() -> Self {
        Self {
            masked: false,
            rsv1: false,
            inside_message: false,
            max_payload_len: u64::MAX,
            max_rsv1_payload_len: u64::MAX,
        }
    }
}

/// The one parser of headers. Without rules, anything that the wire format allows is in order.
///
/// Each byte is judged as far as it goes before the next one is looked at.
#[inline]
fn parse(
    bytes: &[u8],
    rules: Option<&HeaderRules>,
) -> Result<Option<(FrameHeader, usize)>, HeaderError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let Some(opcode) = Opcode::from_u8(first & 0x0f) else {
        return Err(HeaderError::ReservedOpcode(first & 0x0f));
    };
    let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
    let (rsv2, rsv3) = (first & 0x20 != 0, first & 0x10 != 0);
    let control = opcode.is_control();
    // "All control frames MUST ... NOT be fragmented" (RFC 6455 section 5.5).
    if control && !fin {
        return Err(HeaderError::FragmentedControl(opcode));
    }
    let mut max = u64::MAX;
    if let Some(rules) = rules {
        // "MUST be 0 unless an extension is negotiated that defines meanings" (RFC 6455 section 5.2);
        // permessage-deflate gives RSV1 one, on the first frame of a message only.
        if rsv1 && (!rules.rsv1 || control || opcode == Opcode::Continuation) {
            return Err(HeaderError::ReservedBit(ReservedBit::Rsv1));
        }
        if rsv2 {
            return Err(HeaderError::ReservedBit(ReservedBit::Rsv2));
        }
        if rsv3 {
            return Err(HeaderError::ReservedBit(ReservedBit::Rsv3));
        }
        match opcode {
            Opcode::Continuation if !rules.inside_message => {
                return Err(HeaderError::UnexpectedContinuation);
            }
            Opcode::Text | Opcode::Binary if rules.inside_message => {
                return Err(HeaderError::ExpectedContinuation);
            }
            _ if control => {}
            _ if rsv1 => max = rules.max_rsv1_payload_len,
            _ => max = rules.max_payload_len,
        }
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let (masked, code) = (second & 0x80 != 0, second & 0x7f);
    if control && code > 125 {
        return Err(HeaderError::ControlTooLong(opcode));
    }
    match rules {
        Some(rules) if rules.masked && !masked => return Err(HeaderError::Unmasked),
        Some(rules) if !rules.masked && masked => return Err(HeaderError::Masked),
        _ => {}
    }
    // "If there is a body, the first two bytes of the body MUST be" the code (RFC 6455 section 5.5.1).
    if opcode == Opcode::Close && code == 1 {
        return Err(HeaderError::CloseTooShort);
    }
    let (length, mut end) = match code {
        126 => (long_length::<2>(&bytes[2..], 126, max)?, 4),
        127 => (long_length::<8>(&bytes[2..], 0x1_0000, max)?, 10),
        length if u64::from(length) > max => return Err(HeaderError::PayloadTooLong(max)),
        length => (Some(u64::from(length)), 2),
    };
    let Some(payload_len) = length else { return Ok(None) };
    let mut mask = None;
    if masked {
        let Some(key) = bytes.get(end..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        mask = Some(*key);
        end += 4;
    }
    Ok(Some((FrameHeader { fin, rsv1, rsv2, rsv3, opcode, mask, payload_len }, end)))
}

/// Reads a length of `SIZE` bytes, of which `bytes` begins with some or all; only lengths from `least` on
/// are written in so many, "the minimal number of bytes MUST be used" (RFC 6455 section 5.2).
///
/// What has come leaves a range of lengths; where nothing in it is in order, no more bytes are waited for.
#[inline]
fn long_length<const SIZE: usize>(
    bytes: &[u8],
    least: u64,
    max: u64,
) -> Result<Option<u64>, HeaderError> {
    let (lowest, highest) = match bytes.first_chunk::<SIZE>() {
        Some(whole) => (number(whole), number(whole)),
        None => possible_numbers(bytes, SIZE),
    };
    if least > max {
        return Err(HeaderError::PayloadTooLong(max));
    }
    if lowest >> 63 != 0 {
        return Err(HeaderError::LengthTopBit);
    }
    if lowest > max {
        return Err(HeaderError::PayloadTooLong(max));
    }
    if highest < least {
        return Err(HeaderError::NonMinimalLength);
    }
    Ok((lowest == highest).then_some(lowest))
}

/// The least and the greatest number of `size` bytes that begin with these, which are fewer.
#[cold]
fn possible_numbers(bytes: &[u8], size: usize) -> (u64, u64) {
    let missing_bits = 8 * (size - bytes.len()) as u32;
    let lowest = number(bytes).checked_shl(missing_bits).unwrap_or_default();
    (lowest, lowest | u64::MAX >> (64 - missing_bits))
}

#[inline]
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// One of the three reserved bits.
#[allow(clippy::exhaustive_enums, reason = "the header has exactly three")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservedBit {
    /// RSV1; permessage-deflate uses it on the first frame of a message only.
    Rsv1,
    /// RSV2.
    Rsv2,
    /// RSV3.
    Rsv3,
}

/// Why bytes cannot begin a frame, or cannot begin the next frame of this connection: the peer's fault.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderError {
    /// An opcode of 3 to 7 or 11 to 15 (RFC 6455 section 5.2).
    #[doc(alias = "WS_ERR_INVALID_OPCODE")]
    ReservedOpcode(u8),
    /// A Close, Ping or Pong without FIN (RFC 6455 section 5.5).
    #[doc(alias = "WS_ERR_EXPECTED_FIN")]
    FragmentedControl(Opcode),
    /// A reserved bit that nothing negotiated gives a meaning (RFC 6455 section 5.2, RFC 7692 section 6.1).
    #[doc(alias("WS_ERR_UNEXPECTED_RSV_1", "WS_ERR_UNEXPECTED_RSV_2_3"))]
    ReservedBit(ReservedBit),
    /// A continuation where no message is unfinished (RFC 6455 section 5.4).
    UnexpectedContinuation,
    /// A new message inside an unfinished one (RFC 6455 section 5.4).
    ExpectedContinuation,
    /// A Close, Ping or Pong that announces more than 125 bytes (RFC 6455 section 5.5).
    #[doc(alias = "WS_ERR_INVALID_CONTROL_PAYLOAD_LENGTH")]
    ControlTooLong(Opcode),
    /// A frame without a mask where all have one: a client's (RFC 6455 section 5.1).
    #[doc(alias = "WS_ERR_EXPECTED_MASK")]
    Unmasked,
    /// A frame with a mask where none has one: a server's (RFC 6455 section 5.1).
    #[doc(alias = "WS_ERR_UNEXPECTED_MASK")]
    Masked,
    /// A Close that announces one byte, which no code fits in (RFC 6455 section 5.5.1).
    CloseTooShort,
    /// A payload longer than [`HeaderRules`] allow, which is given (RFC 6455 section 10.4).
    PayloadTooLong(u64),
    /// A 64-bit length whose most significant bit is set (RFC 6455 section 5.2).
    #[doc(alias = "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH")]
    LengthTopBit,
    /// A length written in more bytes than it needs (RFC 6455 section 5.2).
    NonMinimalLength,
}

impl HeaderError {
    /// The code of the Close that tells the peer: 1002, but 1009 for a payload that is too long
    /// (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::PayloadTooLong(_) => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedOpcode(number) => write!(f, "reserved opcode {number}"),
            Self::FragmentedControl(opcode) => write!(f, "fragmented {opcode:?} frame"),
            Self::ReservedBit(bit) => write!(f, "reserved bit {bit:?} is set"),
            Self::UnexpectedContinuation => f.write_str("continuation without a message"),
            Self::ExpectedContinuation => f.write_str("new message inside an unfinished one"),
            Self::ControlTooLong(opcode) => {
                write!(f, "{opcode:?} frame announces more than {MAX_CONTROL_PAYLOAD} bytes")
            }
            Self::Unmasked => f.write_str("client sent an unmasked frame"),
            Self::Masked => f.write_str("server sent a masked frame"),
            Self::CloseTooShort => f.write_str("close body of one byte"),
            Self::PayloadTooLong(limit) => write!(f, "payload is longer than {limit} bytes"),
            Self::LengthTopBit => f.write_str("top bit of the 64-bit payload length is set"),
            Self::NonMinimalLength => {
                f.write_str("payload length is not written in the fewest bytes")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `bytes` from every prefix and checks that the answers agree with each other.
    fn decode(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, HeaderError> {
        let whole = FrameHeader::decode(bytes);
        for end in 0..bytes.len() {
            match FrameHeader::decode(&bytes[..end]) {
                Ok(None) => {}
                early => assert_eq!(early, whole, "{bytes:02x?} at {end}"),
            }
        }
        whole
    }

    // req: W064, W115
    #[test]
    fn a_limit_is_inclusive_however_a_length_is_written() {
        for limit in [125, 126, 65_535, 65_536] {
            let rules = HeaderRules { max_payload_len: limit, ..HeaderRules::unmasked() };
            for (length, fits) in [(limit, true), (limit + 1, false)] {
                let mut out = [0; MAX_HEADER];
                let bytes = FrameHeader::new(Opcode::Binary, length).encode(&mut out);
                let decoded = FrameHeader::decode_with(bytes, &rules);
                let error = HeaderError::PayloadTooLong(limit);
                let expected = if fits { Ok(Some(length)) } else { Err(error) };
                assert_eq!(decoded.map(|some| some.map(|one| one.0.payload_len)), expected);
            }
        }
    }

    // req: W063, W064, W069
    #[test]
    fn lengths_round_trip_in_the_fewest_bytes() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 32, (1 << 63) - 1];
        let sizes = [2, 2, 2, 4, 4, 4, 10, 10, 10];
        for (length, size) in lengths.into_iter().zip(sizes) {
            for mask in [None, Some([0, 1, 2, 3])] {
                let header =
                    FrameHeader { mask, fin: false, ..FrameHeader::new(Opcode::Text, length) };
                let mut out = [0; MAX_HEADER];
                let bytes = header.encode(&mut out);
                assert_eq!(bytes.len(), size + mask.map_or(0, |_| 4));
                assert_eq!(decode(bytes), Ok(Some((header, bytes.len()))));
            }
        }
    }

    // req: W063
    #[test]
    fn longer_lengths_than_needed_are_refused() {
        for length in 0..126u16 {
            let [high, low] = length.to_be_bytes();
            assert_eq!(decode(&[0x82, 126, high, low]), Err(HeaderError::NonMinimalLength));
        }
        for length in [0u64, 125, 126, 65_535] {
            let mut bytes = vec![0x82, 127];
            bytes.extend(length.to_be_bytes());
            assert_eq!(decode(&bytes), Err(HeaderError::NonMinimalLength));
        }
    }

    // req: W062
    #[test]
    fn top_bit_of_the_length_is_refused_at_its_byte() {
        assert_eq!(decode(&[0x82, 127, 0x80]), Err(HeaderError::LengthTopBit));
        assert_eq!(decode(&[0x82, 0xff, 0xff]), Err(HeaderError::LengthTopBit));
    }

    // req: W061, W070, W077
    #[test]
    fn control_frames_and_opcodes_are_refused_within_two_bytes() {
        for opcode in [3u8, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(decode(&[0x80 | opcode]), Err(HeaderError::ReservedOpcode(opcode)));
        }
        for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
            let error = Err(HeaderError::FragmentedControl(opcode));
            assert_eq!(decode(&[opcode.as_u8()]), error);
            for length in [126, 127] {
                let error = Err(HeaderError::ControlTooLong(opcode));
                assert_eq!(decode(&[0x80 | opcode.as_u8(), length]), error);
            }
        }
    }

    // req: W059
    #[test]
    fn every_first_byte_survives_the_round_trip() {
        for byte in 0..=255u8 {
            let Ok(Some((header, 2))) = FrameHeader::decode(&[byte, 0]) else { continue };
            assert_eq!(header.encode(&mut [0; MAX_HEADER]), &[byte, 0]);
        }
    }

    /// What is wrong with a header, by the byte that shows it: written from the RFC's tables, without a
    /// thought of speed.
    fn fault(bytes: &[u8; MAX_HEADER], rules: &HeaderRules) -> Option<(usize, HeaderError)> {
        use HeaderError::*;
        let [first, second, ..] = *bytes;
        let Some(opcode) = Opcode::from_u8(first % 16) else {
            return Some((1, ReservedOpcode(first % 16)));
        };
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        let limit = match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => u64::MAX,
            _ if first & 0x40 != 0 => rules.max_rsv1_payload_len,
            _ => rules.max_payload_len,
        };
        let (size, least) = match second % 128 {
            126 => (2, 126),
            127 => (8, 1 << 16),
            _ => (0, 0),
        };
        let mut length = u64::from(second % 128);
        if size > 0 {
            length = bytes[2..2 + size].iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte));
        }
        // The first of the length's bytes after which even zeros make it too much, or 255s too little.
        let shown = |wrong: &dyn Fn(u64) -> bool, fill: u8| {
            (0..=size).find(|known| {
                let mut filled = [fill; 8];
                filled[..*known].copy_from_slice(&bytes[2..2 + known]);
                wrong(filled[..size].iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte)))
            })
        };
        let too_long = match size {
            0 => (length > limit).then_some(0),
            _ if least > limit => Some(0),
            _ => shown(&|least| least > limit, 0),
        };
        let faults = [
            (opcode.is_control() && first < 0x80).then_some((1, FragmentedControl(opcode))),
            (first & 0x40 != 0 && !(rules.rsv1 && begins))
                .then_some((1, ReservedBit(super::ReservedBit::Rsv1))),
            (first & 0x20 != 0).then_some((1, ReservedBit(super::ReservedBit::Rsv2))),
            (first & 0x10 != 0).then_some((1, ReservedBit(super::ReservedBit::Rsv3))),
            (opcode == Opcode::Continuation && !rules.inside_message)
                .then_some((1, UnexpectedContinuation)),
            (begins && rules.inside_message).then_some((1, ExpectedContinuation)),
            (opcode.is_control() && size > 0).then_some((2, ControlTooLong(opcode))),
            (rules.masked && second < 128).then_some((2, Unmasked)),
            (!rules.masked && second >= 128).then_some((2, Masked)),
            (opcode == Opcode::Close && length == 1 && size == 0).then_some((2, CloseTooShort)),
            (size == 8 && length >= 1 << 63).then_some((3, LengthTopBit)),
            too_long.map(|known| (2 + known, PayloadTooLong(limit))),
            shown(&|most| most < least, 0xff).map(|known| (2 + known, NonMinimalLength)),
        ];
        // Of those that one byte shows, the first in this list.
        faults.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The rules of all roles and states, with the given limit and one more.
    fn all_rules(limit: u64) -> impl Iterator<Item = HeaderRules> {
        (0..8).map(move |bits| HeaderRules {
            masked: bits & 1 != 0,
            rsv1: bits & 2 != 0,
            inside_message: bits & 4 != 0,
            max_payload_len: limit,
            max_rsv1_payload_len: limit.saturating_add(1),
        })
    }

    /// What may follow the first two bytes: lengths at the borders, and a key.
    fn tails(second: u8) -> Vec<[u8; 12]> {
        let borders: &[u64] = match second & 0x7f {
            126 => &[0, 125, 126, 255, 256, 1000, 1001, 1002, 0xffff],
            127 => &[
                0,
                125,
                0xffff,
                0x1_0000,
                70_000,
                70_001,
                70_002,
                0xff_ffff,
                (1 << 56) - 1,
                (1 << 63) - 1,
                1 << 63,
                u64::MAX,
            ],
            _ => &[0],
        };
        let tail = |length: &u64| {
            let mut tail = [0x3d; 12];
            match second & 0x7f {
                126 => tail[..2].copy_from_slice(&(*length as u16).to_be_bytes()),
                127 => tail[..8].copy_from_slice(&length.to_be_bytes()),
                _ => {}
            }
            tail
        };
        borders.iter().map(tail).collect()
    }

    /// Runs `check` on every header there is, but for lengths and keys, under all rules.
    fn every_header(mut check: impl FnMut(&[u8; MAX_HEADER], &HeaderRules)) {
        let mut bytes = [0; MAX_HEADER];
        for second in 0..=255 {
            let limit = match second & 0x7f {
                126 => 1001,
                127 => 70_001,
                _ => 0,
            };
            for tail in tails(second) {
                bytes[1] = second;
                bytes[2..].copy_from_slice(&tail);
                for first in 0..=255 {
                    bytes[0] = first;
                    for limit in [100, limit, u64::MAX] {
                        all_rules(limit).for_each(|rules| check(&bytes, &rules));
                    }
                }
            }
        }
    }

    // req: W054, W057, W060, W061, W062, W063, W070, W077, W099
    #[test]
    fn every_header_is_judged_by_the_first_byte_that_shows_its_fault() {
        every_header(|bytes, rules| {
            let whole = FrameHeader::decode_with(bytes, rules);
            let known = match (fault(bytes, rules), whole) {
                (Some((at, error)), _) => {
                    assert_eq!(whole, Err(error), "{bytes:02x?} {rules:?}");
                    at
                }
                (None, Ok(Some((header, length)))) => {
                    assert_eq!(header.encode(&mut [0; MAX_HEADER]), &bytes[..length]);
                    length
                }
                (None, _) => panic!("{whole:?} for {bytes:02x?} {rules:?}"),
            };
            for end in 0..=MAX_HEADER.min(known + 1) {
                let expected = if end < known { Ok(None) } else { whole };
                let answer = FrameHeader::decode_with(&bytes[..end], rules);
                assert_eq!(answer, expected, "{bytes:02x?} at {end} {rules:?}");
            }
        });
    }

    // req: W054, W057, W060, W061, W062, W063, W070, W077, W099
    #[test]
    fn the_shortcut_answers_as_the_parser_for_every_frame_of_its_kind() {
        let mut frame = vec![0; MAX_HEADER + 0xffff];
        every_header(|bytes, rules| {
            let whole = FrameHeader::decode_with(bytes, rules);
            let served = whole.ok().flatten().filter(|(header, _)| {
                let data = matches!(header.opcode, Opcode::Text | Opcode::Binary);
                data && header.fin && !header.rsv1 && header.payload_len < 1 << 16
            });
            let Some((header, length)) = served else {
                for end in 0..=MAX_HEADER {
                    assert_eq!(FrameHeader::decode_whole_message(&bytes[..end], rules), None);
                }
                return;
            };
            frame[..MAX_HEADER].copy_from_slice(bytes);
            let frame = &frame[..length + header.payload_len as usize];
            for end in (0..=length).chain([frame.len().saturating_sub(1), frame.len()]) {
                let expected = served.filter(|_| end == frame.len());
                let answer = FrameHeader::decode_whole_message(&frame[..end], rules);
                assert_eq!(answer, expected, "{bytes:02x?} at {end} {rules:?}");
            }
            assert_eq!(
                FrameHeader::decode_whole_message(&[frame, b"more"].concat(), rules),
                served
            );
        });
    }

    // req: W099
    #[test]
    fn a_close_of_one_byte_fails_at_its_header() {
        assert_eq!(decode(&[0x88, 0x81]), Err(HeaderError::CloseTooShort));
        assert_eq!(decode(&[0x88, 0x01]), Err(HeaderError::CloseTooShort));
        assert!(decode(&[0x89, 0x01]).is_ok());
    }
}
