//! A request whose head another program has read.

use super::head::{HeadError, HeadLimits};
use super::headers::{InvalidHeader, check_field, encode_field, is_token};
use super::request::Request;
use super::request_error::RequestError;
use super::request_reader::RequestReader;

/// A request that another HTTP server has parsed, to be checked like one that was read here.
///
/// ```
/// use framewire::handshake::{HeadLimits, RequestParts};
///
/// let parts = RequestParts::new("GET", "/chat?room=1")?
///     .header("Host", "example.com")?
///     .header("Upgrade", "websocket")?
///     .header("Connection", "Upgrade")?
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")?
///     .header("Sec-WebSocket-Version", "13")?;
/// let request = parts.read(HeadLimits::default())?;
/// assert!(request.is_upgrade());
/// assert_eq!(request.query(), Some("room=1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestParts {
    method: Box<str>,
    target: Box<str>,
    version: (u8, u8),
    /// The header lines, each with its end.
    lines: Vec<u8>,
}

impl RequestParts {
    /// A request of HTTP/1.1 with this method and this target, which is what stood in the request line:
    /// path and query.
    ///
    /// # Errors
    ///
    /// [`RequestError`] for a method that is not a token, and for a target with a byte that no target
    /// may hold. What else is wrong with them, [`read`](Self::read) says.
    pub fn new(method: &str, target: &str) -> Result<Self, RequestError> {
        if !is_token(method.as_bytes()) {
            return Err(RequestError::Head(HeadError::StartLine));
        }
        if !target.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err(RequestError::InvalidTarget);
        }
        let (method, target) = (method.into(), target.into());
        Ok(Self { method, target, version: (1, 1), lines: Vec::new() })
    }

    /// Sets another version of HTTP, such as `(1, 0)`. Only 1.1 can be upgraded (RFC 9110 section 7.8).
    #[must_use]
    pub fn http_version(self, major: u8, minor: u8) -> Self {
        Self { version: (major, minor), ..self }
    }

    /// Adds a header field after the others. All of them belong here: what is left out is missing.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if it would break the syntax (RFC 9110 section 5), as a value with a line end in
    /// it would.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        let value = value.as_ref();
        check_field(name, value)?;
        encode_field(&mut self.lines, name, value);
        Ok(self)
    }

    /// The head as it would have come over the wire.
    #[must_use]
    pub fn to_head(&self) -> Vec<u8> {
        let (Self { method, target, lines, .. }, (major, minor)) = (self, self.version);
        let mut head = format!("{method} {target} HTTP/{major}.{minor}\r\n").into_bytes();
        head.extend_from_slice(lines);
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The request, judged as if it had come over the wire.
    ///
    /// # Errors
    ///
    /// As [`RequestReader::read`].
    pub fn read(&self, limits: HeadLimits) -> Result<Request, RequestError> {
        match RequestReader::new(limits).read(&self.to_head())? {
            Some((request, _)) => Ok(request),
            None => Err(RequestError::Head(HeadError::StartLine)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade() -> RequestParts {
        let mut parts = RequestParts::new("GET", "/chat?a=b").unwrap();
        for (name, value) in [
            ("Host", "h"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ] {
            parts = parts.header(name, value).unwrap();
        }
        parts
    }

    #[test]
    fn parts_are_judged_like_bytes() {
        let limits = HeadLimits::default();
        let request = upgrade().read(limits).unwrap();
        assert_eq!((request.path(), request.query(), request.host()), ("/chat", Some("a=b"), "h"));
        assert!(!upgrade().http_version(1, 0).read(limits).unwrap().is_upgrade());
        assert_eq!(
            upgrade().http_version(2, 0).read(limits),
            Err(RequestError::HttpVersionNotSupported)
        );
        let repeated = upgrade().header("Host", "i").unwrap();
        assert_eq!(repeated.read(limits), Err(RequestError::RepeatedHeader("Host")));
        let large = upgrade().header("X", vec![b'x'; 20_000]).unwrap();
        let error = large.read(limits).unwrap_err();
        assert_eq!(error.status(), 431);
        let post = RequestParts::new("POST", "/").unwrap().header("Host", "h").unwrap();
        assert_eq!(post.read(limits).unwrap().method(), "POST");
        let star = RequestParts::new("GET", "*").unwrap();
        assert_eq!(star.read(limits), Err(RequestError::InvalidTarget));
        let empty = RequestParts::new("GET", "").unwrap();
        assert_eq!(empty.read(limits), Err(RequestError::InvalidTarget));
    }

    // HS33: no part can bring lines of its own.
    #[test]
    fn parts_cannot_split_a_head() {
        for target in ["/ HTTP/1.1\r\nX: y", "/\r\n", "/ü", "/a b", "/\0"] {
            assert_eq!(RequestParts::new("GET", target), Err(RequestError::InvalidTarget));
        }
        assert!(RequestParts::new("GET /", "/").is_err());
        assert!(upgrade().header("X", "y\r\nZ: 1").is_err());
        assert!(upgrade().header("X\r\nZ", "y").is_err());
    }
}
