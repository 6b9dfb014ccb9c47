//! Reading the body of a request from a stream (RFC 9112 section 6).

use std::sync::Arc;

use super::body_length::BodyLength;
use super::headers::{is_token_byte, is_value_byte};
use super::names::*;
use super::owned;
use super::request::Request;
use super::request_error::RequestError;

/// Reads the body that follows the head of a request over any number of reads.
///
/// The bytes after a head are its body, and nothing else: where a request says that it has one, they are
/// either read by this or dropped with the connection. Memory is taken only for bytes that come. What breaks
/// the grammar of `chunked`, or passes the limit, is rejected at the byte that shows it, and the same bytes give
/// the same result however they are cut into reads. Extensions of chunks and fields after the last one are
/// ignored; there may be 4,096 bytes of them.
///
/// Once the reader has returned an error, it returns that error again.
///
/// ```
/// use framewire::handshake::{BodyReader, HeadLimits, RequestReader};
///
/// let mut reader = RequestReader::new(HeadLimits::default());
/// let input = b"POST /say HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
///     5\r\nhello\r\n0\r\n\r\n";
/// let (head, used) = reader.read(input)?.unwrap();
/// let mut body = BodyReader::new(head, 1000)?;
/// let (request, used_too) = body.read(&input[used..])?.unwrap();
/// assert_eq!((request.method(), request.body()), ("POST", &b"hello"[..]));
/// assert_eq!(used + used_too, input.len());
/// # Ok::<(), framewire::handshake::RequestError>(())
/// ```
#[derive(Debug)]
pub struct BodyReader {
    /// Until the body is whole.
    request: Option<Arc<Request>>,
    body: Vec<u8>,
    place: Place,
    limit: usize,
    /// How many bytes of extensions and trailers may still come.
    room: usize,
    failed: Option<RequestError>,
}

/// Where in the grammar the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Inside of a body that has so many bytes to come.
    Bytes(u64),
    /// In the size of a chunk, of which so many digits have come.
    Size(u64, u8),
    /// After the size of this chunk.
    Extension(u64),
    /// After the CR there.
    SizeEnd(u64),
    /// Inside of a chunk that has so many bytes to come.
    Chunk(u64),
    /// After a chunk.
    ChunkEnd,
    /// After the CR there.
    ChunkLineFeed,
    /// At the beginning of a trailer field or of the last, empty line.
    TrailerStart,
    /// In the name of a field, in its value, after its CR.
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// After the CR of the last line.
    LastLineFeed,
    Done,
}

/// Bytes of extensions and trailers, which are of use to nobody here.
const MAX_EXTRA: usize = 4096;

/// Digits of the size of a chunk: more than 16 would not fit, leading zeros or not.
const MAX_DIGITS: u8 = 16;

const MALFORMED: RequestError = RequestError::Body(TRANSFER_ENCODING);

impl BodyReader {
    /// A reader for the body of a request whose head was read, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`RequestError::BodyTooLarge`] if the head announces more.
    pub fn new(request: Request, limit: usize) -> Result<Self, RequestError> {
        Self::check(&request, limit)?;
        let place = match request.body_length() {
            BodyLength::None => Place::Done,
            BodyLength::Bytes(bytes) => Place::Bytes(bytes),
            BodyLength::Chunked => Place::Size(0, 0),
        };
        let request = Some(Arc::new(request));
        Ok(Self { request, body: Vec::new(), place, limit, room: MAX_EXTRA, failed: None })
    }

    /// Whether a body of at most `limit` bytes may follow this head.
    pub(crate) fn check(request: &Request, limit: usize) -> Result<(), RequestError> {
        match request.body_length() {
            BodyLength::Bytes(bytes) if bytes > limit as u64 => Err(RequestError::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// The request without its body, until that is whole.
    pub(crate) fn request(&self) -> Option<&Arc<Request>> {
        self.request.as_ref()
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1); in
    /// HTTP/1.0 that "MUST" be ignored.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.request.as_ref().is_some_and(|request| {
            request.has_body()
                && request.http_version() == (1, 1)
                && request.headers().has_token("Expect", "100-continue")
        })
    }

    /// Takes bytes of the stream until the body is whole; at once, if there is none.
    ///
    /// `None`: all of `input` was taken and more is needed. Otherwise the request with its body, and the count
    /// of bytes of this `input` that belong to it.
    ///
    /// # Errors
    ///
    /// [`RequestError::BodyTooLarge`], [`RequestError::OutOfMemory`], or [`RequestError::Body`] for chunks that are
    /// malformed.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut at = 0;
        while at < input.len() {
            match self.advance(&input[at..]) {
                Ok(0) => break,
                Ok(used) => at += used,
                Err(error) => {
                    self.body = Vec::new();
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        if !matches!(self.place, Place::Done) {
            return Ok(None);
        }
        let body = std::mem::take(&mut self.body);
        // Nobody else has it yet, so nothing is copied.
        let request = self.request.take().map(Arc::unwrap_or_clone);
        Ok(request.map(|request| (request.with_body(body), at)))
    }

    /// Takes at least one byte of `input`, which has one, but none once the body is whole: how many.
    fn advance(&mut self, input: &[u8]) -> Result<usize, RequestError> {
        let byte = input[0];
        self.place = match self.place {
            Place::Bytes(left) => return self.take(input, left, Place::Bytes, Place::Done),
            Place::Chunk(left) => return self.take(input, left, Place::Chunk, Place::ChunkEnd),
            Place::Size(size, digits) => match (char::from(byte).to_digit(16), digits) {
                (Some(_), MAX_DIGITS) => return Err(MALFORMED),
                (Some(digit), _) => {
                    let size = size << 4 | u64::from(digit);
                    if size > (self.limit - self.body.len()) as u64 {
                        return Err(RequestError::BodyTooLarge);
                    }
                    Place::Size(size, digits + 1)
                }
                (None, 0) => return Err(MALFORMED),
                (None, _) => match byte {
                    b'\r' => Place::SizeEnd(size),
                    b';' => self.extra(Place::Extension(size))?,
                    _ => return Err(MALFORMED),
                },
            },
            Place::Extension(size) => match byte {
                b'\r' => Place::SizeEnd(size),
                _ if is_value_byte(byte) => self.extra(Place::Extension(size))?,
                _ => return Err(MALFORMED),
            },
            Place::SizeEnd(0) => line_feed(byte, Place::TrailerStart)?,
            Place::SizeEnd(size) => line_feed(byte, Place::Chunk(size))?,
            Place::ChunkEnd if byte == b'\r' => Place::ChunkLineFeed,
            Place::ChunkEnd => return Err(MALFORMED),
            Place::ChunkLineFeed => line_feed(byte, Place::Size(0, 0))?,
            Place::TrailerStart if byte == b'\r' => Place::LastLineFeed,
            Place::TrailerStart if is_token_byte(byte) => self.extra(Place::TrailerName)?,
            Place::TrailerName if byte == b':' => self.extra(Place::TrailerValue)?,
            Place::TrailerName if is_token_byte(byte) => self.extra(Place::TrailerName)?,
            Place::TrailerStart | Place::TrailerName => return Err(MALFORMED),
            Place::TrailerValue if byte == b'\r' => Place::TrailerEnd,
            Place::TrailerValue if is_value_byte(byte) => self.extra(Place::TrailerValue)?,
            Place::TrailerValue => return Err(MALFORMED),
            Place::TrailerEnd => line_feed(byte, Place::TrailerStart)?,
            Place::LastLineFeed => line_feed(byte, Place::Done)?,
            Place::Done => return Ok(0),
        };
        Ok(1)
    }

    /// Takes what there is of `left` bytes of content, to stand `inside` them or `after` them then: how many.
    fn take(
        &mut self,
        input: &[u8],
        left: u64,
        inside: impl Fn(u64) -> Place,
        after: Place,
    ) -> Result<usize, RequestError> {
        let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        owned::append(&mut self.body, &input[..count]).map_err(|_| RequestError::OutOfMemory)?;
        let left = left - count as u64;
        self.place = if left == 0 { after } else { inside(left) };
        Ok(count)
    }

    /// Counts a byte of what is ignored.
    fn extra(&mut self, next: Place) -> Result<Place, RequestError> {
        self.room = self.room.checked_sub(1).ok_or(MALFORMED)?;
        Ok(next)
    }
}

fn line_feed(byte: u8, next: Place) -> Result<Place, RequestError> {
    if byte == b'\n' { Ok(next) } else { Err(MALFORMED) }
}

#[cfg(test)]
mod tests {
    use super::super::head::testing::read_every_way;
    use super::super::{HeadLimits, RequestReader};
    use super::*;

    fn head(lines: &str) -> Request {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let mut reader = RequestReader::new(HeadLimits::default());
        reader.read(head.as_bytes()).unwrap().unwrap().0
    }

    fn read(lines: &str, body: &[u8]) -> Result<Option<(Vec<u8>, usize)>, RequestError> {
        let new = || BodyReader::new(head(lines), 10).unwrap();
        let result = read_every_way(body, new, BodyReader::read)?;
        Ok(result.map(|(request, used)| (request.body().to_vec(), used)))
    }

    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

    #[test]
    fn bodies() {
        let whole = |body: &[u8], used| Ok(Some((body.to_vec(), used)));
        assert_eq!(read("Content-Length: 3\r\n", b"abcdef"), whole(b"abc", 3));
        assert_eq!(read("Content-Length: 3\r\n", b"ab"), Ok(None));
        for (body, content) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"00003\r\na\r\n\r\n2\r\nde\r\n000\r\n\r\n", b"a\r\nde"),
            (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"A;x=\"y\"\r\n0123456789\r\n0;z\r\n\r\n", b"0123456789"),
            (b"1\r\na\r\n0\r\nDigest: x\r\nB:\r\n\r\n", b"a"),
        ] {
            assert_eq!(read(CHUNKED, body), whole(content, body.len()), "{}", body.escape_ascii());
            let followed = [body, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(CHUNKED, &followed), whole(content, body.len()));
            for end in 0..body.len() {
                assert_eq!(read(CHUNKED, &body[..end]), Ok(None), "{}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn the_size_of_a_chunk_may_have_more_digits_than_one() {
        let content = "x".repeat(0x12c);
        let body = format!("12C\r\n{content}\r\n0\r\n\r\n");
        let mut reader = BodyReader::new(head(CHUNKED), 1000).unwrap();
        let (request, used) = reader.read(body.as_bytes()).unwrap().unwrap();
        assert_eq!((request.body(), used), (content.as_bytes(), body.len()));
    }

    // attack: HS28
    #[test]
    fn malformed_chunks() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\ra",
            "1;\n",
            "1;\0",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r0",
            "0\r\n\n",
            "0\r\n:",
            "0\r\n a: b",
            "0\r\na b: c",
            "0\r\na: \0",
            "0\r\na: b\n",
            "0\r\n\ra",
            "00000000000000000",
        ] {
            assert_eq!(read(CHUNKED, body.as_bytes()), Err(MALFORMED), "{body:?}");
        }
        let long = format!("1;{}", "a".repeat(MAX_EXTRA));
        assert_eq!(read(CHUNKED, long.as_bytes()), Err(MALFORMED));
        let many = "1;a\r\nb\r\n".repeat(10) + &format!("0\r\na:{}", "b".repeat(MAX_EXTRA - 21));
        assert_eq!(read(CHUNKED, many.as_bytes()), Err(MALFORMED));
        assert_eq!(read(CHUNKED, &many.as_bytes()[..many.len() - 1]), Ok(None));
    }

    #[test]
    fn too_long_bodies() {
        let error = BodyReader::new(head("Content-Length: 11\r\n"), 10).unwrap_err();
        assert_eq!((&error, error.status()), (&RequestError::BodyTooLarge, 413));
        for body in ["b", "ffffffffffffffff", "5\r\n12345\r\n6"] {
            assert_eq!(read(CHUNKED, body.as_bytes()), Err(RequestError::BodyTooLarge), "{body}");
        }
    }

    #[test]
    fn who_waits_for_an_answer() {
        let is_awaited = |lines| BodyReader::new(head(lines), 10).unwrap().is_awaited();
        assert!(is_awaited("Expect: 100-Continue\r\nContent-Length: 1\r\n"));
        assert!(!is_awaited("Expect: 100-continue\r\n"));
        assert!(!is_awaited("Expect: other\r\nContent-Length: 1\r\n"));
    }
}
