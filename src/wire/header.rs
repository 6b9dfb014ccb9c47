use std::fmt;

use super::Opcode;

/// The longest frame header: two bytes, eight of length, four of masking key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

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
#[allow(clippy::exhaustive_structs, reason = "the wire format has exactly these fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    #[inline]
    pub const fn new(opcode: Opcode, payload_len: u64) -> Self {
        let (fin, rsv1, rsv2, rsv3) = (true, false, false, false);
        Self { fin, rsv1, rsv2, rsv3, opcode, mask: None, payload_len }
    }

    /// Reads a header from the front of `bytes`: the header and its own length.
    ///
    /// `Ok(None)` says that the header is incomplete; call again with more bytes. Whether reserved
    /// bits, a mask or a continuation are in order depends on the connection and is not checked.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] as soon as a byte shows that no valid header can follow. Errors are found in
    /// the order of the bytes, so the answer is the same however the bytes arrived.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let FirstByte { fin, rsv1, rsv2, rsv3, opcode } = FirstByte::decode(first)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let second = SecondByte::decode(second, opcode)?;
        let Some(length) = second.length.decode(&bytes[2..])? else { return Ok(None) };
        let mut end = 2 + second.length.extra_bytes();
        let mask = if second.masked {
            let Some(key) = bytes.get(end..).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            end += 4;
            Some(*key)
        } else {
            None
        };
        Ok(Some((Self { fin, rsv1, rsv2, rsv3, opcode, mask, payload_len: length }, end)))
    }

    /// Writes the header into `out` and returns the part written, 2 to 14 bytes.
    ///
    /// The length takes the minimal number of bytes, as RFC 6455 section 5.2 demands. A length above
    /// 2^63 - 1, which the wire cannot carry, is written as it is and will be refused by the peer.
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

/// The first byte of a header: FIN, the reserved bits and the opcode.
#[allow(clippy::exhaustive_structs, reason = "the wire format has exactly these fields")]
#[allow(clippy::struct_excessive_bools, reason = "the wire format has exactly these bits")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstByte {
    /// The final frame of its message.
    pub fin: bool,
    /// The first reserved bit.
    pub rsv1: bool,
    /// The second reserved bit.
    pub rsv2: bool,
    /// The third reserved bit.
    pub rsv3: bool,
    /// What the frame carries.
    pub opcode: Opcode,
}

impl FirstByte {
    /// Reads the first byte of a header.
    ///
    /// # Errors
    ///
    /// [`HeaderError::ReservedOpcode`], [`HeaderError::FragmentedControl`].
    #[inline]
    pub const fn decode(byte: u8) -> Result<Self, HeaderError> {
        let Some(opcode) = Opcode::from_u8(byte & 0x0f) else {
            return Err(HeaderError::ReservedOpcode(byte & 0x0f));
        };
        let fin = byte & 0x80 != 0;
        // "All control frames MUST ... NOT be fragmented" (RFC 6455 section 5.5).
        if opcode.is_control() && !fin {
            return Err(HeaderError::FragmentedControl(opcode));
        }
        let (rsv1, rsv2, rsv3) = (byte & 0x40 != 0, byte & 0x20 != 0, byte & 0x10 != 0);
        Ok(Self { fin, rsv1, rsv2, rsv3, opcode })
    }
}

/// The second byte of a header: the mask bit and the length or where to find it.
#[allow(clippy::exhaustive_structs, reason = "the wire format has exactly these fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondByte {
    /// Whether a masking key follows the length.
    pub masked: bool,
    /// The length, or how many bytes of it follow.
    pub length: PayloadLength,
}

impl SecondByte {
    /// Reads the second byte of a header whose first byte held `opcode`.
    ///
    /// # Errors
    ///
    /// [`HeaderError::ControlTooLong`].
    #[inline]
    pub const fn decode(byte: u8, opcode: Opcode) -> Result<Self, HeaderError> {
        let length = match byte & 0x7f {
            126 => PayloadLength::Two,
            127 => PayloadLength::Eight,
            length => PayloadLength::Here(length),
        };
        if opcode.is_control() && !matches!(length, PayloadLength::Here(_)) {
            return Err(HeaderError::ControlTooLong(opcode));
        }
        Ok(Self { masked: byte & 0x80 != 0, length })
    }
}

/// Where the payload length stands (RFC 6455 section 5.2).
#[allow(clippy::exhaustive_enums, reason = "the wire format has exactly these three")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadLength {
    /// In the second byte itself, 0 to 125.
    Here(u8),
    /// In the next two bytes.
    Two,
    /// In the next eight bytes.
    Eight,
}

impl PayloadLength {
    /// How many bytes of length follow the second byte: 0, 2 or 8.
    #[inline]
    pub const fn extra_bytes(self) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Two => 2,
            Self::Eight => 8,
        }
    }

    /// The length, read from the bytes behind the second one; `None` if they have not all come.
    ///
    /// # Errors
    ///
    /// [`HeaderError::LengthTopBit`], [`HeaderError::NonMinimalLength`]: "the minimal number of bytes
    /// MUST be used to encode the length".
    #[inline]
    pub fn decode(self, bytes: &[u8]) -> Result<Option<u64>, HeaderError> {
        match self {
            Self::Here(length) => Ok(Some(u64::from(length))),
            Self::Two => {
                let Some(&length) = bytes.first_chunk() else { return Ok(None) };
                match u64::from(u16::from_be_bytes(length)) {
                    length @ ..126 => Err(HeaderError::NonMinimalLength(length)),
                    length => Ok(Some(length)),
                }
            }
            Self::Eight => {
                // The top bit is in the first of the eight: no need to wait for the others.
                if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(HeaderError::LengthTopBit);
                }
                let Some(&length) = bytes.first_chunk() else { return Ok(None) };
                match u64::from_be_bytes(length) {
                    length @ ..0x1_0000 => Err(HeaderError::NonMinimalLength(length)),
                    length => Ok(Some(length)),
                }
            }
        }
    }
}

/// Bytes that can never begin a frame (RFC 6455 sections 5.2 and 5.5): the peer's fault, close code 1002.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// An opcode of 3 to 7 or 11 to 15 (section 5.2).
    ReservedOpcode(u8),
    /// A Close, Ping or Pong without FIN (section 5.5).
    FragmentedControl(Opcode),
    /// A Close, Ping or Pong that announces more than 125 bytes (section 5.5).
    ControlTooLong(Opcode),
    /// A length written in more bytes than it needs (section 5.2).
    NonMinimalLength(u64),
    /// A 64-bit length whose most significant bit is set (section 5.2).
    LengthTopBit,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedOpcode(number) => write!(f, "reserved opcode {number}"),
            Self::FragmentedControl(opcode) => write!(f, "fragmented {opcode:?} frame"),
            Self::ControlTooLong(opcode) => {
                write!(f, "{opcode:?} frame announces more than {MAX_CONTROL_PAYLOAD} bytes")
            }
            Self::NonMinimalLength(length) => {
                write!(f, "payload length {length} is not written in the fewest bytes")
            }
            Self::LengthTopBit => f.write_str("top bit of the 64-bit payload length is set"),
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
            let error = Err(HeaderError::NonMinimalLength(u64::from(length)));
            assert_eq!(decode(&[0x82, 126, high, low]), error);
        }
        for length in [0u64, 125, 126, 65_535] {
            let mut bytes = vec![0x82, 127];
            bytes.extend(length.to_be_bytes());
            assert_eq!(decode(&bytes), Err(HeaderError::NonMinimalLength(length)));
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
            let Ok(first) = FirstByte::decode(byte) else { continue };
            let (header, _) = FrameHeader::decode(&[byte, 0]).unwrap().unwrap();
            assert_eq!((header.fin, header.rsv1, header.rsv2), (first.fin, first.rsv1, first.rsv2));
            assert_eq!(header.encode(&mut [0; MAX_HEADER]), &[byte, 0]);
        }
    }
}
