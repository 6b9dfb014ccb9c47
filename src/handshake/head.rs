//! Finding the end of an HTTP head while its bytes come in, and the faults on the way.

use std::collections::TryReserveError;
use std::fmt;

use super::headers::{Headers, is_token_byte, is_value_byte, trim};
use super::owned;

/// How long the head of a request or a response may be.
///
/// ```
/// use framewire::handshake::HeadLimits;
///
/// let limits = HeadLimits::default().headers(40);
/// assert_eq!((limits.head_bytes, limits.headers), (16 * 1024, 40));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Bytes of the whole head, its last empty line included. 16 KiB.
    pub head_bytes: usize,
    /// Bytes of the request line (or status line) without its line end. 8192, of which RFC 9112
    /// section 3 recommends to take at least 8000.
    pub request_line_bytes: usize,
    /// Number of header fields. 100.
    pub headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes: 16 * 1024, request_line_bytes: 8192, headers: 100 }
    }
}

impl HeadLimits {
    /// Limits the whole head to this many bytes.
    #[must_use]
    pub fn head_bytes(self, head_bytes: usize) -> Self {
        Self { head_bytes, ..self }
    }

    /// Limits the request line to this many bytes.
    #[must_use]
    pub fn request_line_bytes(self, request_line_bytes: usize) -> Self {
        Self { request_line_bytes, ..self }
    }

    /// Limits the number of header fields.
    #[must_use]
    pub fn headers(self, headers: usize) -> Self {
        Self { headers, ..self }
    }
}

/// What is wrong with the head of a request or a response as text: its lines, not their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// A line feed without a carriage return before it (RFC 9112 section 2.2; one strict rule).
    BareLineFeed,
    /// A carriage return without a line feed after it (RFC 9112 section 2.2).
    BareCarriageReturn,
    /// More than four empty lines before the start line (RFC 9112 section 2.2).
    EmptyLines,
    /// The start line holds a byte that it must not hold (RFC 9112 sections 3 and 4).
    StartLineByte(u8),
    /// The start line is not three parts with one space between (RFC 9112 sections 3 and 4).
    StartLine,
    /// The start line is longer than [`HeadLimits::request_line_bytes`](super::HeadLimits)
    /// (RFC 9112 section 3). 414.
    StartLineTooLong,
    /// The head is longer than [`HeadLimits::head_bytes`](super::HeadLimits) (RFC 6585 section 5).
    /// 431.
    TooLarge,
    /// The head has more fields than [`HeadLimits::headers`](super::HeadLimits) (RFC 6585 section
    /// 5). 431.
    TooManyHeaders,
    /// White space before the first header (RFC 9112 section 2.2).
    LeadingWhitespace,
    /// A header of a request that goes on in a second line, `obs-fold` (RFC 9112 section 5.2).
    ObsoleteFolding,
    /// A header without a name (RFC 9110 section 5.1).
    EmptyHeaderName,
    /// White space in a header name or before its colon (RFC 9112 section 5.1).
    HeaderNameWhitespace,
    /// A header name holds a byte that is not of a token (RFC 9110 section 5.1).
    HeaderNameByte(u8),
    /// A header line without a colon (RFC 9112 section 5).
    MissingColon,
    /// A header value holds a control byte (RFC 9110 section 5.5).
    HeaderValueByte {
        /// The name of the header, a token.
        name: String,
        /// The byte.
        byte: u8,
    },
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareLineFeed => "a line feed without a carriage return",
            Self::BareCarriageReturn => "a carriage return without a line feed",
            Self::EmptyLines => "too many empty lines before the start line",
            Self::StartLineByte(byte) => {
                return write!(f, "the byte 0x{byte:02x} in the start line");
            }
            Self::StartLine => "the start line is not one of HTTP",
            Self::StartLineTooLong => "the start line is too long",
            Self::TooLarge => "the head is too large",
            Self::TooManyHeaders => "too many headers",
            Self::LeadingWhitespace => "white space before the first header",
            Self::ObsoleteFolding => "a header folded over two lines",
            Self::EmptyHeaderName => "a header without a name",
            Self::HeaderNameWhitespace => "white space in a header name or before its colon",
            Self::HeaderNameByte(byte) => {
                return write!(f, "the byte 0x{byte:02x} in a header name");
            }
            Self::MissingColon => "a header without a colon",
            Self::HeaderValueByte { name, byte } => {
                return write!(f, "the byte 0x{byte:02x} in the value of the header {name}");
            }
        })
    }
}

impl std::error::Error for HeadError {}

/// What differs between the head of a request and the head of a response.
pub(crate) trait HeadKind {
    /// What its reader says is wrong.
    type Error: From<HeadError>;

    /// There is no memory for a head of this length.
    const OUT_OF_MEMORY: Self::Error;

    /// Whether a header that goes on in a second line is one with spaces between (RFC 9112 section 5.2: for
    /// user agents). Otherwise it is a fault.
    const UNFOLDS: bool = false;

    /// Whether the start line may hold this byte.
    fn is_start_line_byte(byte: u8) -> bool;
    /// Faults of the first byte that have a name of their own.
    fn check_first_byte(_byte: u8) -> Result<(), Self::Error> {
        Ok(())
    }
    /// Faults of the start line, which is whole and without its line end.
    fn check_start_line(line: &[u8]) -> Result<(), Self::Error>;
}

/// A whole head: from the start line to the empty line, which is included.
pub(crate) struct Head<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) headers: usize,
}

impl<'b> Head<'b> {
    /// Lends `parse` as many slots as this head has headers, and copies what it puts there.
    ///
    /// `None` if it does not read this head as [`Scan`] did; an error where there is no memory for the copies.
    pub(crate) fn parse<T>(
        &self,
        parse: impl FnOnce(&mut [httparse::Header<'b>], &'b [u8]) -> Option<T>,
    ) -> Result<Option<(T, Headers)>, TryReserveError> {
        let mut few = [httparse::EMPTY_HEADER; 32];
        let mut many = Vec::new();
        let slots = if let Some(slots) = few.get_mut(..self.headers) {
            slots
        } else {
            many.try_reserve_exact(self.headers)?;
            many.resize(self.headers, httparse::EMPTY_HEADER);
            &mut many[..]
        };
        let Some(value) = parse(slots, self.bytes) else { return Ok(None) };
        let bytes = slots.iter().map(|slot| slot.name.len() + slot.value.len()).sum();
        let mut headers = Headers::new();
        headers.try_reserve(bytes, slots.len())?;
        let mut pushed =
            slots.iter().map(|slot| headers.push(slot.name.as_bytes(), trim(slot.value)));
        let is_whole = pushed.all(|pushed| pushed.is_ok());
        Ok(is_whole.then_some((value, headers)))
    }
}

/// Collects a head over any number of reads.
///
/// **Invariant.** Bytes are judged one by one in the order of the stream, and a fault is reported at
/// the byte that shows it, so that the result cannot depend on how the stream was cut into reads.
#[derive(Debug)]
pub(crate) struct HeadReader {
    limits: HeadLimits,
    /// What came before this read; empty if the head lies in one read.
    buffer: Vec<u8>,
    scan: Scan,
}

impl HeadReader {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, buffer: Vec::new(), scan: Scan::default() }
    }

    /// Whether any byte was read of a head that has not ended, or has a fault.
    pub(crate) fn has_begun(&self) -> bool {
        self.scan.at > 0
    }

    /// What was read of a head that has not ended, from its start line on; of one that has a fault, up to the byte
    /// that shows it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.scan.start..).unwrap_or_default()
    }

    /// Takes `input` until the head ends; then `finish` makes a value of the head, the count of
    /// bytes that were taken from `input` is returned with it, and the next head may follow.
    pub(crate) fn read<K: HeadKind, T>(
        &mut self,
        input: &[u8],
        finish: impl FnOnce(Head<'_>) -> Result<T, K::Error>,
    ) -> Result<Option<(T, usize)>, K::Error> {
        let before = self.buffer.len();
        let bytes = if before == 0 {
            input
        } else {
            // One byte above the limit is enough to see that the limit is passed.
            let room = self.limits.head_bytes.saturating_add(1).saturating_sub(before);
            let more = &input[..room.min(input.len())];
            owned::append(&mut self.buffer, more).map_err(|_| K::OUT_OF_MEMORY)?;
            &self.buffer
        };
        let advanced = self.scan.advance::<K>(bytes, &self.limits);
        if let Ok(false) = advanced {
            if before == 0 {
                owned::append(&mut self.buffer, input).map_err(|_| K::OUT_OF_MEMORY)?;
            }
            return Ok(None);
        }
        let end = self.scan.at;
        // What comes after the head, or after the fault in it, is not of the head.
        let kept = if advanced.is_ok() { end } else { end.saturating_add(1).min(bytes.len()) };
        let finished = advanced.and_then(|_| {
            let (mut bytes, mut unfolded) = (&bytes[self.scan.start..end], Vec::new());
            if self.scan.is_folded {
                owned::append(&mut unfolded, bytes).map_err(|_| K::OUT_OF_MEMORY)?;
                unfold(&mut unfolded);
                bytes = &unfolded;
            }
            finish(Head { bytes, headers: self.scan.headers })
        });
        let value = match finished {
            Ok(value) => value,
            Err(error) => {
                if before == 0 {
                    // Where there is no memory for it, nobody is told what the faulty head was.
                    let _ = owned::append(&mut self.buffer, &input[..kept]);
                }
                self.buffer.truncate(kept);
                return Err(error);
            }
        };
        self.buffer = Vec::new();
        self.scan = Scan::default();
        Ok(Some((value, end - before)))
    }
}

/// How far a head was searched.
#[derive(Debug, Default)]
struct Scan {
    place: Place,
    /// The next byte to look at. It only moves forward: each byte is searched once.
    at: usize,
    /// Where the start line begins, after the empty lines that are ignored.
    start: usize,
    /// Where the current header line begins.
    line: usize,
    headers: usize,
    empty_lines: u8,
    /// A header goes on in a second line.
    is_folded: bool,
}

/// Where in the grammar the next byte stands.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Before the start line.
    #[default]
    Start,
    /// After the CR of an empty line before the start line.
    EmptyLineEnd,
    StartLine,
    /// After the CR of the start line.
    StartLineEnd,
    /// At the beginning of a header line or of the last, empty line.
    LineStart,
    Name,
    Value,
    /// After the CR of a header line.
    LineEnd,
    /// After the CR of the last, empty line.
    HeadEnd,
}

/// RFC 9112 section 2.2 asks for "at least one"; more than a few are no mistake of a client.
const EMPTY_LINES: u8 = 4;

impl Scan {
    /// Searches on; true if the head ends at `self.at`.
    fn advance<K: HeadKind>(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<bool, K::Error> {
        let allowed = &bytes[..bytes.len().min(limits.head_bytes)];
        while let Some(&byte) = allowed.get(self.at) {
            self.place = match self.place {
                Place::Start => {
                    if byte == b'\r' {
                        Place::EmptyLineEnd
                    } else {
                        K::check_first_byte(byte)?;
                        self.start = self.at;
                        self.place = Place::StartLine;
                        continue;
                    }
                }
                Place::EmptyLineEnd => {
                    expect_line_feed(byte)?;
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES {
                        return Err(HeadError::EmptyLines.into());
                    }
                    Place::Start
                }
                Place::StartLine => {
                    let limit = self.start.saturating_add(limits.request_line_bytes);
                    let line = &allowed[..allowed.len().min(limit)];
                    self.at = skip_text(line, self.at);
                    self.at = skip(line, self.at, K::is_start_line_byte);
                    match allowed.get(self.at) {
                        None => break,
                        Some(b'\r') => Place::StartLineEnd,
                        Some(_) if self.at >= limit => {
                            return Err(HeadError::StartLineTooLong.into());
                        }
                        Some(b'\n') => return Err(HeadError::BareLineFeed.into()),
                        Some(&byte) => return Err(HeadError::StartLineByte(byte).into()),
                    }
                }
                Place::StartLineEnd => {
                    expect_line_feed(byte)?;
                    K::check_start_line(&bytes[self.start..self.at - 1])?;
                    Place::LineStart
                }
                Place::LineStart => {
                    if byte == b'\r' {
                        Place::HeadEnd
                    } else if K::UNFOLDS && self.headers > 0 && matches!(byte, b' ' | b'\t') {
                        self.is_folded = true;
                        Place::Value
                    } else if self.headers == limits.headers {
                        return Err(HeadError::TooManyHeaders.into());
                    } else if let Some(end) = common_line(allowed, self.at) {
                        self.line = self.at;
                        self.headers += 1;
                        self.at = end;
                        continue;
                    } else {
                        check_line_start(byte, self.headers)?;
                        self.line = self.at;
                        self.headers += 1;
                        Place::Name
                    }
                }
                Place::Name => {
                    self.at = skip(allowed, self.at, is_token_byte);
                    let Some(&byte) = allowed.get(self.at) else { break };
                    check_name_end(byte)?;
                    Place::Value
                }
                Place::Value => {
                    self.at = skip_text(allowed, self.at);
                    self.at = skip(allowed, self.at, is_value_byte);
                    match allowed.get(self.at) {
                        None => break,
                        Some(b'\r') => Place::LineEnd,
                        Some(b'\n') => return Err(HeadError::BareLineFeed.into()),
                        Some(&byte) => {
                            let name = name_of(&bytes[self.line..]);
                            return Err(HeadError::HeaderValueByte { name, byte }.into());
                        }
                    }
                }
                Place::LineEnd => {
                    expect_line_feed(byte)?;
                    Place::LineStart
                }
                Place::HeadEnd => {
                    expect_line_feed(byte)?;
                    self.at += 1;
                    return Ok(true);
                }
            };
            self.at += 1;
        }
        if bytes.len() <= limits.head_bytes {
            Ok(false)
        } else if matches!(self.place, Place::StartLine) {
            Err(HeadError::StartLineTooLong.into())
        } else {
            Err(HeadError::TooLarge.into())
        }
    }
}

/// Where the header line ends that begins here, if all of it is there and it is of the common form: letters, hyphens, a
/// colon, printable ASCII. What it is otherwise, if a header line at all, is judged byte by byte.
#[inline]
fn common_line(bytes: &[u8], from: usize) -> Option<usize> {
    let name_end = skip_letters(bytes, from);
    if name_end == from || bytes.get(name_end) != Some(&b':') {
        return None;
    }
    let value_end = skip_text(bytes, name_end + 1);
    bytes[value_end..].starts_with(b"\r\n").then_some(value_end + 2)
}

/// Goes past printable ASCII, which any line may hold but a name.
fn skip_text(bytes: &[u8], from: usize) -> usize {
    // The highest bit of a byte is set in it from 0x80 on, in the second below 0x20, and in the third from 0x7f on.
    let others = |block: u64| block | block.wrapping_sub(each(b' ')) | block.wrapping_add(each(1));
    skip_blocks(bytes, from, others)
}

/// Goes past letters and hyphens, of which most names consist, in the same way.
fn skip_letters(bytes: &[u8], from: usize) -> usize {
    skip_blocks(bytes, from, |block| {
        let lower = block | each(0x20);
        let is_below_a = !lower.wrapping_add(each(0x80 - b'a'));
        let is_above_z = lower.wrapping_add(each(0x7f - b'z'));
        let is_no_hyphen = (block ^ each(b'-')).wrapping_add(each(0x7f));
        block | ((is_below_a | is_above_z) & is_no_hyphen)
    })
}

/// Goes on by 8 bytes at a time, up to the first of which `others` sets the highest bit. In the bytes behind that
/// one the bits may be wrong, since sums and differences carry over into them.
#[inline]
fn skip_blocks(bytes: &[u8], from: usize, others: impl Fn(u64) -> u64) -> usize {
    let (blocks, rest) = bytes.get(from..).unwrap_or_default().as_chunks();
    let mut at = from;
    for block in blocks {
        let found = others(u64::from_le_bytes(*block)) & each(0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += block.len();
    }
    // No run goes on over a byte of zero.
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let found = others(u64::from_le_bytes(last)) & each(0x80);
    at + found.trailing_zeros() as usize / 8
}

/// Eight times the same byte.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

fn skip(bytes: &[u8], from: usize, allowed: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|&byte| !allowed(byte)).unwrap_or(rest.len())
}

/// Replaces each `obs-fold` by as many spaces (RFC 9112 section 5.2).
fn unfold(bytes: &mut [u8]) {
    for at in 2..bytes.len() {
        if matches!(bytes[at - 2..=at], [b'\r', b'\n', b' ' | b'\t']) {
            bytes[at - 2..at].fill(b' ');
        }
    }
}

fn expect_line_feed(byte: u8) -> Result<(), HeadError> {
    if byte == b'\n' { Ok(()) } else { Err(HeadError::BareCarriageReturn) }
}

fn check_line_start(byte: u8, headers: usize) -> Result<(), HeadError> {
    match byte {
        b' ' | b'\t' if headers == 0 => Err(HeadError::LeadingWhitespace),
        b' ' | b'\t' => Err(HeadError::ObsoleteFolding),
        b':' => Err(HeadError::EmptyHeaderName),
        b'\n' => Err(HeadError::BareLineFeed),
        _ if is_token_byte(byte) => Ok(()),
        _ => Err(HeadError::HeaderNameByte(byte)),
    }
}

fn check_name_end(byte: u8) -> Result<(), HeadError> {
    match byte {
        b':' => Ok(()),
        b' ' | b'\t' => Err(HeadError::HeaderNameWhitespace),
        b'\r' => Err(HeadError::MissingColon),
        b'\n' => Err(HeadError::BareLineFeed),
        _ => Err(HeadError::HeaderNameByte(byte)),
    }
}

fn name_of(line: &[u8]) -> String {
    let name = line.iter().take(owned::QUOTED).take_while(|&&byte| is_token_byte(byte));
    name.map(|&byte| char::from(byte)).collect()
}

/// For the tests of both readers.
#[cfg(test)]
pub(super) mod testing {
    use std::fmt::Debug;

    pub(crate) type Read<T, E> = Result<Option<(T, usize)>, E>;

    /// Reads `stream` whole, byte by byte and in every two parts, asserts that all of these agree,
    /// and returns the value with the count of bytes that it took.
    pub(crate) fn read_every_way<R, T: Debug + PartialEq, E: Debug + PartialEq>(
        stream: &[u8],
        new: impl Fn() -> R,
        read: impl Fn(&mut R, &[u8]) -> Read<T, E>,
    ) -> Read<T, E> {
        let feed = |portions: &mut dyn Iterator<Item = &[u8]>| {
            let (mut reader, mut before) = (new(), 0);
            for portion in portions {
                if let Some((value, used)) = read(&mut reader, portion)? {
                    assert!(used <= portion.len());
                    return Ok(Some((value, before + used)));
                }
                before += portion.len();
            }
            Ok(None)
        };
        let whole = feed(&mut [stream].into_iter());
        let shown = || stream.escape_ascii().to_string().chars().take(300).collect::<String>();
        assert_eq!(feed(&mut stream.chunks(1)), whole, "byte by byte: {}", shown());
        for cut in 1..stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(feed(&mut [first, second].into_iter()), whole, "cut at {cut}: {}", shown());
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::testing::read_every_way;
    use super::*;

    #[test]
    fn blocks_are_skipped_up_to_the_first_other_byte() {
        let is_text = |byte| matches!(byte, b' '..=b'~');
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'-';
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                // What follows may be anything.
                for behind in [b'a', b':', 0, 0xff] {
                    let mut bytes = [[b'z'; 8], *b"-AZaz-ab", [b'Z'; 8]].concat();
                    bytes[8 + at] = byte;
                    bytes[9 + at..17].fill(behind);
                    let expected = |is_skipped: &dyn Fn(u8) -> bool| {
                        let after = &bytes[8..];
                        8 + after.iter().position(|&byte| !is_skipped(byte)).unwrap_or(16)
                    };
                    assert_eq!(skip_text(&bytes, 8), expected(&is_text), "{byte} {at}");
                    assert_eq!(skip_letters(&bytes, 8), expected(&is_letter), "{byte} {at}");
                }
            }
        }
        for skip in [skip_text, skip_letters] {
            assert_eq!(skip(b"abcdefg", 0), 7);
            assert_eq!(skip(b"abcdefg\n", 1), 7);
            assert_eq!(skip(b"abcdefghi\x80", 0), 9);
            assert_eq!(skip(b"", 1), 1);
        }
    }

    /// Takes every start line that is of visible characters.
    struct AnyLine;

    impl HeadKind for AnyLine {
        type Error = HeadError;
        const OUT_OF_MEMORY: HeadError = HeadError::TooLarge;

        fn is_start_line_byte(byte: u8) -> bool {
            matches!(byte, b' '..=b'~')
        }
        fn check_start_line(_: &[u8]) -> Result<(), HeadError> {
            Ok(())
        }
    }

    fn read(stream: &[u8], limits: HeadLimits) -> Result<Option<(usize, usize)>, HeadError> {
        let new = || HeadReader::new(limits);
        read_every_way(stream, new, |reader, input| {
            reader.read::<AnyLine, _>(input, |head| Ok(head.headers))
        })
    }

    // req: W026, H001, H002, H005, H006, H007 (HS10, HS11, HS12)
    #[test]
    fn faults_of_the_text() {
        let value = |byte| HeadError::HeaderValueByte { name: "A".into(), byte };
        let cases: &[(&[u8], HeadError)] = &[
            (b"\n", HeadError::BareLineFeed),
            (b"x\n", HeadError::BareLineFeed),
            (b"x\r\nA: b\n", HeadError::BareLineFeed),
            (b"x\r\nA\n", HeadError::BareLineFeed),
            (b"x\r\n\n", HeadError::BareLineFeed),
            (b"\rx", HeadError::BareCarriageReturn),
            (b"x\rx", HeadError::BareCarriageReturn),
            (b"x\r\r\n", HeadError::BareCarriageReturn),
            (b"x\r\nA: b\rc", HeadError::BareCarriageReturn),
            (b"x\r\n\rA", HeadError::BareCarriageReturn),
            (b"\r\n\r\n\r\n\r\n\r\n", HeadError::EmptyLines),
            (b"x\0", HeadError::StartLineByte(0)),
            (b"x\t", HeadError::StartLineByte(9)),
            (b"x\x80", HeadError::StartLineByte(0x80)),
            (b"x\r\n A", HeadError::LeadingWhitespace),
            (b"x\r\n\tA", HeadError::LeadingWhitespace),
            (b"x\r\nA: b\r\n c", HeadError::ObsoleteFolding),
            (b"x\r\nA: b\r\n\tc", HeadError::ObsoleteFolding),
            (b"x\r\n: b", HeadError::EmptyHeaderName),
            (b"x\r\nA : b", HeadError::HeaderNameWhitespace),
            (b"x\r\nA b: c", HeadError::HeaderNameWhitespace),
            (b"x\r\nA\r", HeadError::MissingColon),
            (b"x\r\nA@: b", HeadError::HeaderNameByte(b'@')),
            (b"x\r\n\xff", HeadError::HeaderNameByte(0xff)),
            (b"x\r\nA\x80: b", HeadError::HeaderNameByte(0x80)),
            (b"x\r\nA: \0", value(0)),
            (b"x\r\nA: \x1b[31m", value(0x1b)),
            (b"x\r\nA: \x7f", value(0x7f)),
        ];
        for (stream, fault) in cases {
            let shown = stream.escape_ascii();
            assert_eq!(read(stream, HeadLimits::default()), Err(fault.clone()), "{shown}");
            // What is missing is not waited for, and what follows changes nothing.
            let longer = [stream, &b"\r\n\r\nA: \0"[..]].concat();
            assert_eq!(read(&longer, HeadLimits::default()), Err(fault.clone()), "{shown}");
        }
    }

    // req: H001
    #[test]
    fn whole_heads() {
        let limits = HeadLimits::default();
        for (stream, headers) in [
            (&b"x\r\n\r\n"[..], 0),
            (b"\r\n\r\n\r\n\r\nx\r\n\r\n", 0),
            (b"x\r\nA:\r\nB: \t c \t\r\nC: \x80\xff\t\r\n\r\n", 3),
        ] {
            assert_eq!(read(stream, limits), Ok(Some((headers, stream.len()))));
            let followed = [stream, &b"\x81\0\n\r"[..]].concat();
            assert_eq!(read(&followed, limits), Ok(Some((headers, stream.len()))));
            assert_eq!(read(&stream[..stream.len() - 1], limits), Ok(None));
        }
    }

    // req: H003, H008 (HS01, HS03, HS04)
    #[test]
    fn limits_hold_to_the_byte() {
        let limits = HeadLimits::default().head_bytes(40).request_line_bytes(10).headers(2);
        let whole = |length| Ok(Some((length, 0)).map(|(length, _): (usize, u8)| length));
        let length = |stream: &[u8]| read(stream, limits).map(|head| head.map(|(_, used)| used));
        assert_eq!(length(b"0123456789\r\n\r\n"), whole(14));
        assert_eq!(length(b"\r\n0123456789\r\n\r\n"), whole(16));
        assert_eq!(length(b"01234567890"), Err(HeadError::StartLineTooLong));
        assert_eq!(length(b"0123456789\n"), Err(HeadError::StartLineTooLong));
        assert_eq!(length(b"x\r\nA:\r\nB:\r\n\r\n"), whole(13));
        assert_eq!(length(b"x\r\nA:\r\nB:\r\nC"), Err(HeadError::TooManyHeaders));
        let head = |fill: usize| [b"x\r\nA:", &vec![b'a'; fill][..], b"\r\n\r\n"].concat();
        assert_eq!(length(&head(31)), whole(40));
        assert_eq!(length(&head(32)), Err(HeadError::TooLarge));
        assert_eq!(length(&head(1000)), Err(HeadError::TooLarge));
        let short = HeadLimits::default().head_bytes(5);
        assert_eq!(read(b"012345", short), Err(HeadError::StartLineTooLong));
        assert_eq!(read(b"0", HeadLimits::default().head_bytes(0)), Err(HeadError::TooLarge));
    }

    // req: H008 (HS01, HS02): no byte is searched twice, and memory stays under the limit.
    #[test]
    fn work_is_linear() {
        let mut reader = HeadReader::new(HeadLimits::default());
        let mut sent = 0;
        let stream = [b"x\r\nA: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let result = stream.chunks(7).try_for_each(|portion| {
            let before = reader.scan.at;
            sent += portion.len();
            let read = reader.read::<AnyLine, _>(portion, |_| Ok(()));
            assert!(reader.scan.at >= before && (read.is_err() || reader.scan.at == sent));
            assert!(reader.buffer.capacity() <= 2 * 16 * 1024);
            read.map(drop)
        });
        assert_eq!(result, Err(HeadError::TooLarge));
        assert!(sent < 16 * 1024 + 8);
    }
}
