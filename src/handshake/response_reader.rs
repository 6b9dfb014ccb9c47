//! The response of a server as a client reads it (RFC 6455 section 4.1).

use super::head::{Head, HeadError, HeadKind, HeadLimits, HeadReader};
use super::headers::Headers;
use super::names::*;
use super::owned;
use super::response::Response;
use super::response_error::ResponseError;

/// Reads a response over any number of reads.
///
/// A 101 ends at its empty line: what follows are frames. Any other final response is read with its
/// body, so that the application can say why it was rejected; a body is cut off at the limit, which
/// is no error, and so is one whose chunks are malformed, or for which there is no memory. Up to four
/// interim responses (100, 103) are skipped (RFC 9110 section 15.2). Work is linear in the bytes that come, memory is taken only
/// for those, and the same bytes give the same result however they are cut into reads.
///
/// `Content-Length` and `Transfer-Encoding` of a 101 mean nothing (RFC 9112 section 6.3, item 1), and a
/// header that goes on in a second line is one with spaces between (section 5.2). Once the reader has
/// returned an error, it returns that error again.
///
/// ```
/// use framewire::handshake::{HeadLimits, ResponseReader};
///
/// let mut reader = ResponseReader::new(HeadLimits::default(), 64 * 1024);
/// assert_eq!(reader.read(b"HTTP/1.1 403 Forbidden\r\nContent-Len"), Ok(None));
/// let (response, _) = reader.read(b"gth: 3\r\n\r\nno\n")?.unwrap();
/// assert_eq!((response.status(), response.body_bytes()), (403, &b"no\n"[..]));
/// # Ok::<(), framewire::handshake::ResponseError>(())
/// ```
#[derive(Debug)]
pub struct ResponseReader {
    head: HeadReader,
    body_limit: usize,
    /// The request was a `CONNECT`.
    is_of_tunnel: bool,
    interim: u8,
    body: Option<Body>,
    end: Option<Result<(), ResponseError>>,
}

/// RFC 9110 section 15.2 lets a client expect any number; endless ones would never meet a limit.
const INTERIM_RESPONSES: u8 = 4;

impl ResponseReader {
    /// A reader for one response with its body up to `body_limit` bytes.
    #[must_use]
    pub fn new(limits: HeadLimits, body_limit: usize) -> Self {
        Self {
            head: HeadReader::new(limits),
            body_limit,
            is_of_tunnel: false,
            interim: 0,
            body: None,
            end: None,
        }
    }

    /// A reader for the response of a proxy to a `CONNECT`. Of success it reads the head only, whatever
    /// length that announces: after it begins the tunnel (RFC 9110 section 9.3.6).
    #[must_use]
    pub fn of_tunnel(limits: HeadLimits, body_limit: usize) -> Self {
        Self { is_of_tunnel: true, ..Self::new(limits, body_limit) }
    }

    /// Takes bytes of the stream until the response is whole.
    ///
    /// `None`: all of `input` was taken and more is needed. Otherwise the response and the count of
    /// bytes of this `input` that belong to it. After a 101 come frames; after any other response
    /// the connection is of no further use.
    ///
    /// # Errors
    ///
    /// [`ResponseError`]: malformed or too large a head (RFC 9112),
    /// too many interim responses, a 101 of HTTP/1.0, or a length that cannot be told.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Response, usize)>, ResponseError> {
        match &self.end {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(())) => return Ok(None),
            None => {}
        }
        let result = self.read_on(input);
        match &result {
            Ok(None) => {}
            Ok(Some(_)) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(error.clone())),
        }
        result
    }

    /// The response whose head has come and whose body has not come whole: what it says is known, and how
    /// long the body may take is for the driver to say.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Response> {
        self.body.as_ref().map(|body| &body.response)
    }

    /// Says that the peer has closed its side.
    ///
    /// Returns the response with as much body as came, since the end of the stream is how a body
    /// without a length ends (RFC 9112 section 6.3); `None` if the response was returned before.
    ///
    /// # Errors
    ///
    /// [`ResponseError::Truncated`] inside the head, and the error that was returned before.
    pub fn read_eof(&mut self) -> Result<Option<Response>, ResponseError> {
        match (&self.end, self.body.take()) {
            (Some(Err(error)), _) => Err(error.clone()),
            (Some(Ok(())), _) => Ok(None),
            (None, Some(body)) => {
                self.end = Some(Ok(()));
                Ok(Some(body.response))
            }
            (None, None) => {
                self.end = Some(Err(ResponseError::Truncated));
                Err(ResponseError::Truncated)
            }
        }
    }

    fn read_on(&mut self, input: &[u8]) -> Result<Option<(Response, usize)>, ResponseError> {
        let mut used = 0;
        loop {
            if let Some(body) = &mut self.body {
                used += body.read(&input[used..]);
                let whole = self.body.take_if(|body| body.is_whole());
                return Ok(whole.map(|body| (body.response, used)));
            }
            let head = self.head.read::<ResponseKind, _>(&input[used..], |head| parse(&head))?;
            let Some(((version, response), length)) = head else { return Ok(None) };
            used += length;
            match response.status() {
                200..=299 if self.is_of_tunnel => return Ok(Some((response, used))),
                101 => {
                    check_switch(version)?;
                    return Ok(Some((response, used)));
                }
                100..=199 if self.interim == INTERIM_RESPONSES => {
                    return Err(ResponseError::TooManyInterimResponses);
                }
                100..=199 => self.interim += 1,
                _ => self.body = Some(Body::new(response, self.body_limit)?),
            }
        }
    }
}

struct ResponseKind;

impl HeadKind for ResponseKind {
    type Error = ResponseError;
    const OUT_OF_MEMORY: ResponseError = ResponseError::OutOfMemory;
    const UNFOLDS: bool = true;

    fn is_start_line_byte(byte: u8) -> bool {
        super::headers::is_value_byte(byte)
    }

    fn check_first_byte(byte: u8) -> Result<(), ResponseError> {
        // The content types of alerts and handshake records of TLS (RFC 8446 section 5.1).
        if matches!(byte, 0x15 | 0x16) { Err(ResponseError::PeerSpeaksTls) } else { Ok(()) }
    }

    fn check_start_line(line: &[u8]) -> Result<(), ResponseError> {
        let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "));
        let (code, behind) = rest.and_then(|rest| rest.split_at_checked(3)).unwrap_or_default();
        let is_code = matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
        // Some servers leave out the space together with the reason phrase.
        if is_code && matches!(behind, [] | [b' ', ..]) {
            Ok(())
        } else {
            Err(HeadError::StartLine.into())
        }
    }
}

/// The minor version of HTTP, and the response without its body.
fn parse(head: &Head<'_>) -> Result<(u8, Response), ResponseError> {
    let parsed = head.parse(|slots, bytes| {
        let mut response = httparse::Response::new(slots);
        let complete = response.parse(bytes).is_ok_and(|status| status.is_complete());
        if !complete {
            return None;
        }
        Some((response.version?, response.code?, response.reason.unwrap_or_default()))
    });
    let lacking = |_| ResponseError::OutOfMemory;
    let Some(((version, code, reason), headers)) = parsed.map_err(lacking)? else {
        return Err(ResponseError::Head(HeadError::StartLine));
    };
    let reason = owned::text([reason]).map_err(lacking)?;
    Ok((version, Response::from_parts(code, reason, headers)))
}

/// "Any response with a 1xx (Informational) […] status code is always terminated by the first empty line after
/// the header fields, regardless of the header fields present in the message" (RFC 9112 section 6.3, item 1).
fn check_switch(version: u8) -> Result<(), ResponseError> {
    if version == 1 { Ok(()) } else { Err(ResponseError::HttpVersion) }
}

/// The response whose body comes in.
#[derive(Debug)]
struct Body {
    response: Response,
    limit: usize,
    /// Bytes that may yet come, so that chunks cannot be made of headers for ever.
    raw_left: usize,
    framing: Framing,
}

/// What tells the end of the body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunk),
    EndOfStream,
}

/// Where in the grammar of RFC 9112 section 7.1 the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// In the size, of which so much was read.
    Size(Option<u64>),
    /// After the size, before the CR.
    Extension(u64),
    /// After the CR of that line.
    SizeEnd(u64),
    Data(u64),
    /// After the data, before the CR.
    DataEnd,
    /// After that CR.
    DataLineFeed,
}

impl Body {
    fn new(response: Response, limit: usize) -> Result<Self, ResponseError> {
        let headers = response.headers();
        let is_chunked = headers.has_token(TRANSFER_ENCODING, "chunked");
        let length = content_length(headers)?;
        let framing = match (headers.contains(TRANSFER_ENCODING), length) {
            (true, Some(_)) => return Err(ResponseError::Framing(CONTENT_LENGTH)),
            _ if matches!(response.status(), 204 | 304) => Framing::Length(0),
            (true, None) if is_chunked => Framing::Chunked(Chunk::Size(None)),
            (false, Some(length)) => Framing::Length(length),
            (_, None) => Framing::EndOfStream,
        };
        // A chunk of one byte takes six on the wire.
        let raw_left = limit.saturating_mul(8).saturating_add(1024);
        Ok(Self { response, limit, raw_left, framing })
    }

    fn is_whole(&self) -> bool {
        self.response.body_bytes().len() >= self.limit
            || self.raw_left == 0
            || matches!(self.framing, Framing::Length(0))
    }

    /// Takes bytes until the body is whole; the count of them.
    fn read(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while !self.is_whole() && used < input.len() {
            let rest = &input[used..];
            let taken = match self.framing {
                Framing::Length(left) => {
                    let taken = self.append(rest, left);
                    self.framing = Framing::Length(left - taken as u64);
                    taken
                }
                Framing::EndOfStream => self.append(rest, u64::MAX),
                Framing::Chunked(Chunk::Data(left)) => {
                    let taken = self.append(rest, left);
                    self.framing = Framing::Chunked(match left - taken as u64 {
                        0 => Chunk::DataEnd,
                        left => Chunk::Data(left),
                    });
                    taken
                }
                Framing::Chunked(chunk) => {
                    // What ends the body here: the last chunk, or one that is malformed.
                    self.framing = chunk.next(rest[0]).map_or(Framing::Length(0), Framing::Chunked);
                    1
                }
            };
            used += taken;
            self.raw_left -= taken;
        }
        used
    }

    fn append(&mut self, rest: &[u8], left: u64) -> usize {
        let body = self.response.body_mut();
        let room = rest.len().min(self.limit - body.len()).min(self.raw_left);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(room);
        if owned::append(body, &rest[..taken]).is_err() {
            // What has come is enough to say why the connection was rejected.
            self.limit = body.len();
            return 0;
        }
        taken
    }
}

impl Chunk {
    /// The place after `byte`; `None` if the body ends there.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(Some(size)), b'\r') | (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16)?;
                let size = size.unwrap_or(0).checked_mul(16)?;
                Self::Size(Some(size + u64::from(digit)))
            }
            (Self::Extension(_), b'\n') => return None,
            (Self::Extension(size), _) => Self::Extension(size),
            // A chunk without data is the last one. Trailers are not waited for.
            (Self::SizeEnd(size @ 1..), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::Size(None),
            _ => return None,
        })
    }
}

/// Repeated equal lengths are one; anything else cannot be told (RFC 9112 section 6.3, item 5).
fn content_length(headers: &Headers) -> Result<Option<u64>, ResponseError> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits);
        let number: Option<u64> = number.and_then(|number| number.parse().ok());
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(length)) if number == length => {}
            _ => return Err(ResponseError::Framing(CONTENT_LENGTH)),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::super::head::testing::read_every_way;
    use super::*;

    const LIMIT: usize = 10;

    fn new() -> ResponseReader {
        ResponseReader::new(HeadLimits::default(), LIMIT)
    }

    fn read(stream: &[u8]) -> Result<Option<(Response, usize)>, ResponseError> {
        read_every_way(stream, new, ResponseReader::read)
    }

    /// What the end of the stream makes of `stream`, however it is cut.
    fn read_to_end(stream: &[u8]) -> Result<Option<Response>, ResponseError> {
        assert_eq!(read(stream), Ok(None));
        let feed = |size| {
            let mut reader = new();
            for portion in stream.chunks(size) {
                assert_eq!(reader.read(portion), Ok(None));
            }
            reader.read_eof()
        };
        let whole = feed(stream.len().max(1));
        assert_eq!(feed(1), whole);
        whole
    }

    // req: W018, W041 (HC07, HC08)
    #[test]
    fn switch_ends_at_the_empty_line() {
        let head = b"HTTP/1.1 101 Switching\tProtocols\r\nA: b\r\n\r\n";
        for interim in 0..=4 {
            let before = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".repeat(interim);
            let stream = [&before[..], head, b"\x81\x05\r\n\r\n\r"].concat();
            let (response, used) = read(&stream).unwrap().unwrap();
            assert_eq!((response.status(), used), (101, before.len() + head.len()));
            assert_eq!(response.headers().get_str("a"), Some("b"));
            assert_eq!(response.reason_phrase(), "Switching\tProtocols");
        }
        let stream = b"HTTP/1.1 100\r\n\r\n".repeat(5);
        assert_eq!(read(&stream), Err(ResponseError::TooManyInterimResponses));
    }

    // req: W024, H002, H006, H009 (HC04, HC07)
    #[test]
    fn faults() {
        let head = ResponseError::Head;
        let framing = ResponseError::Framing;
        let value = |byte| head(HeadError::HeaderValueByte { name: "A".into(), byte });
        let cases: &[(&str, ResponseError)] = &[
            ("SSH-2.0-x\r\n", head(HeadError::StartLine)),
            ("HTTP/2 101\r\n", head(HeadError::StartLine)),
            ("\u{15}\u{3}\u{3}\0\u{2}\u{2}F", ResponseError::PeerSpeaksTls),
            ("\r\n\u{16}\u{3}\u{1}", ResponseError::PeerSpeaksTls),
            ("\u{17}\u{3}\u{3}", head(HeadError::StartLineByte(0x17))),
            ("HTTP/1.1 1011\r\n", head(HeadError::StartLine)),
            ("HTTP/1.1 99\r\n", head(HeadError::StartLine)),
            ("HTTP/1.1 099 x\r\n", head(HeadError::StartLine)),
            ("HTTP/1.1  101 x\r\n", head(HeadError::StartLine)),
            ("HTTP/1.1 101 x\n", head(HeadError::BareLineFeed)),
            ("HTTP/1.1 101 x\r\n A: b", head(HeadError::LeadingWhitespace)),
            ("HTTP/1.1 101 x\r\nA: b\r\n c\0", value(0)),
            ("HTTP/1.1 101 x\r\nA\r\n : b", head(HeadError::MissingColon)),
            ("HTTP/1.1 101 x\r\nA : b", head(HeadError::HeaderNameWhitespace)),
            ("HTTP/1.0 101 x\r\n\r\n", ResponseError::HttpVersion),
            ("HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n", framing(CONTENT_LENGTH)),
            ("HTTP/1.1 200 x\r\nContent-Length:\r\n\r\n", framing(CONTENT_LENGTH)),
            (
                "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                framing(CONTENT_LENGTH),
            ),
            (
                "HTTP/1.1 200 x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                framing(CONTENT_LENGTH),
            ),
            (
                "HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                framing(CONTENT_LENGTH),
            ),
        ];
        for (stream, error) in cases {
            assert_eq!(read(stream.as_bytes()), Err(error.clone()), "{stream:?}");
        }
        let many = format!("HTTP/1.1 101 x\r\n{}", "a:b\r\n".repeat(101));
        assert_eq!(new().read(many.as_bytes()), Err(head(HeadError::TooManyHeaders)));
        let large = format!("HTTP/1.1 101 x\r\nA: {}", "a".repeat(1 << 20));
        assert_eq!(new().read(large.as_bytes()), Err(head(HeadError::TooLarge)));
    }

    // HC07: RFC 9112 section 6.3, item 1.
    #[test]
    fn a_switch_has_no_content_whatever_its_headers_say() {
        for header in [
            "Content-Length: 0",
            "Content-Length: 5",
            "Content-Length: x",
            "Content-Length: 5\r\nContent-Length: 6",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
        ] {
            let head = format!("HTTP/1.1 101 x\r\n{header}\r\n\r\n");
            let (response, used) = read(format!("{head}\u{1}\u{1}a").as_bytes()).unwrap().unwrap();
            assert_eq!((response.status(), used), (101, head.len()), "{header}");
            assert_eq!(response.body_bytes(), b"", "{header}");
        }
    }

    // RFC 9112 section 5.2: user agents.
    #[test]
    fn a_folded_line_is_one_with_spaces() {
        let cases = [
            ("A: b\r\n c\r\n", "b   c"),
            ("A: b \t\r\n\tc\r\n", "b \t  \tc"),
            ("A:\r\n b\r\n", "b"),
            ("A: b\r\n \r\n", "b"),
            ("A: b\r\n c\r\n  d: e\r\n", "b   c    d: e"),
        ];
        for (lines, value) in cases {
            let head = format!("HTTP/1.1 101 x\r\n{lines}B: \r\n\r\n");
            let (response, used) = read(format!("{head} \r\n x").as_bytes()).unwrap().unwrap();
            assert_eq!(response.headers().get_str("a"), Some(value), "{lines:?}");
            assert_eq!((response.headers().len(), used), (2, head.len()), "{lines:?}");
        }
        let mut reader = new();
        let endless = format!("HTTP/1.1 101 x\r\nA: b{}", "\r\n c".repeat(1 << 16));
        assert_eq!(reader.read(endless.as_bytes()), Err(ResponseError::Head(HeadError::TooLarge)));
    }

    // req: W018, H013 (HC05)
    #[test]
    fn bodies() {
        // Head, body as sent, body as read, bytes of the body that are taken.
        let chunked = "Transfer-Encoding: gzip, Chunked\r\n";
        let cases = [
            ("Content-Length: 3\r\n", "abc", "abc", 3),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "abcdef", "abc", 3),
            ("Content-Length: 0\r\n", "abc", "", 0),
            ("Content-Length: 11\r\n", "0123456789a", "0123456789", 10),
            ("Content-Length: 9999999999\r\n", "0123456789a", "0123456789", 10),
            ("", "0123456789a", "0123456789", 10),
            (chunked, "3\r\nabc\r\n0\r\n\r\n", "abc", 11),
            (chunked, "00003;x=\"y\"\r\nabc\r\n1 \r\nd\r\n0;z\r\n", "abcd", 30),
            (chunked, "F\r\n0123456789abcde\r\n", "0123456789", 13),
            (chunked, "3\r\nabcd", "abc", 7),
            (chunked, "3\r\nabc\r\nx", "abc", 9),
            (chunked, "\r\n", "", 1),
            (chunked, "fffffffffffffffff", "", 17),
            (chunked, "3\n", "", 2),
        ];
        for (headers, sent, body, taken) in cases {
            let head = format!("HTTP/1.1 400 Bad\r\n{headers}\r\n");
            let (response, used) = read(format!("{head}{sent}").as_bytes()).unwrap().unwrap();
            assert_eq!((response.status(), response.reason_phrase()), (400, "Bad"));
            assert_eq!(response.body_bytes(), body.as_bytes(), "{sent:?}");
            assert_eq!(used, head.len() + taken, "{sent:?}");
        }
        for status in [204, 304] {
            let head = format!("HTTP/1.0 {status} x\r\nContent-Length: 5\r\n\r\n");
            let (response, used) = read(format!("{head}abcde").as_bytes()).unwrap().unwrap();
            assert_eq!((response.status(), used), (status, head.len()));
        }
    }

    #[test]
    fn a_tunnel_begins_behind_the_head() {
        let tunnel = || ResponseReader::of_tunnel(HeadLimits::default(), LIMIT);
        for headers in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            let head = format!("HTTP/1.0 200 Connection established\r\n{headers}\r\n");
            let stream = format!("{head}abc");
            let (response, used) =
                read_every_way(stream.as_bytes(), tunnel, ResponseReader::read).unwrap().unwrap();
            assert_eq!((response.status(), used), (200, head.len()));
            assert_eq!(response.body_bytes(), b"");
        }
        let refused = b"HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nno";
        let (response, used) =
            read_every_way(refused, tunnel, ResponseReader::read).unwrap().unwrap();
        assert_eq!((response.status(), response.body_bytes(), used), (407, &b"no"[..], 39));
    }

    // HC05: chunks that are nothing but overhead end, too.
    #[test]
    fn endless_chunk_overhead() {
        let mut reader = new();
        let head = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n1;";
        assert_eq!(reader.read(head), Ok(None));
        let (response, used) = reader.read(&[b'x'; 1 << 16]).unwrap().unwrap();
        assert_eq!((response.body_bytes(), used), (&b""[..], LIMIT * 8 + 1024 - 2));
    }

    // req: W018, H013
    #[test]
    fn end_of_stream() {
        let body = |stream: &str| {
            let response = read_to_end(stream.as_bytes()).unwrap().unwrap();
            String::from_utf8(response.body_bytes().to_vec()).unwrap()
        };
        assert_eq!(body("HTTP/1.0 500 x\r\n\r\nabc"), "abc");
        assert_eq!(body("HTTP/1.1 500 x\r\n\r\n"), "");
        assert_eq!(body("HTTP/1.1 500 x\r\nContent-Length: 5\r\n\r\nabc"), "abc");
        assert_eq!(body("HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), "ab");
        assert_eq!(body("HTTP/1.1 500 x\r\nTransfer-Encoding: gzip\r\n\r\n5\r\nab"), "5\r\nab");
        for stream in ["", "HTTP/1.1 101 x\r\n", "HTTP/1.1 100 x\r\n\r\n"] {
            let truncated = Err(ResponseError::Truncated);
            assert_eq!(read_to_end(stream.as_bytes()), truncated, "{stream:?}");
        }
        let mut reader = new();
        assert!(reader.read(b"HTTP/1.1 101 x\r\n\r\n").unwrap().is_some());
        assert_eq!((reader.read_eof(), reader.read(b"x")), (Ok(None), Ok(None)));
    }
}
