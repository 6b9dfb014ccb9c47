//! Reading the head of a request from a stream (RFC 6455 section 4.2.1).

use std::sync::Arc;

use super::head::{HeadError, HeadKind, HeadLimits, HeadReader};
use super::headers::is_token;
use super::request::{Request, split_absolute};
use super::request_error::RequestError;
use super::trusted_proxies::TrustedProxies;
use super::url::{is_authority, split_port};

/// Reads the head of a request over any number of reads, in two steps: first that of any request, of HTTP/1.0
/// or 1.1 and of any method; then, if it asks for a WebSocket, what the handshake demands of it.
///
/// Work is linear in the bytes that come, and memory is taken only for those. What is not a request
/// is rejected at the byte that shows it, whatever is still missing, and the same bytes give the
/// same result however they are cut into reads. Lines end in CRLF and nothing else; up to four
/// empty lines before the request line are ignored (RFC 9112 section 2.2).
///
/// Once the reader has returned an error, it returns that error again.
///
/// ```
/// use framewire::handshake::{HeadLimits, RequestReader};
///
/// let mut reader = RequestReader::new(HeadLimits::default());
/// assert_eq!(reader.read(b"GET /chat?room=1 HTTP/1.1\r\nHost: exam"), Ok(None));
/// let input = b"ple.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x80";
/// let (request, used) = reader.read(input)?.unwrap();
/// assert!(request.is_upgrade());
/// assert_eq!((request.host(), request.path()), ("example.com", "/chat"));
/// assert_eq!(&input[used..], b"\x81\x80"); // The frame after the head is untouched.
/// # Ok::<(), framewire::handshake::RequestError>(())
/// ```
#[derive(Debug)]
pub struct RequestReader {
    head: HeadReader,
    failed: Option<RequestError>,
    /// Those that speak for their clients.
    proxies: Option<Arc<TrustedProxies>>,
}

impl RequestReader {
    /// A reader for one request.
    ///
    /// Of methods other than `GET` and `HEAD` a body may follow: what comes after the head is for a
    /// [`BodyReader`](super::BodyReader), or to be dropped.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self { head: HeadReader::new(limits), failed: None, proxies: None }
    }

    /// Trusts what the header fields of these proxies say of the client: the transport comes from one of them. See
    /// [`Request::forwarded`].
    pub fn believe(&mut self, proxies: Arc<TrustedProxies>) {
        self.proxies = Some(proxies);
    }

    /// What was read of a head that is not whole, from its request line on. Of one in which a fault was found, it
    /// ends with the head or the byte that shows the fault.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    /// Takes bytes of the stream until the request is whole.
    ///
    /// `None`: all of `input` was taken and more is needed. Otherwise the request and the count of
    /// bytes of this `input` that belong to it; what is after them, frames perhaps, was not looked
    /// at.
    ///
    /// # Errors
    ///
    /// [`RequestError`], to be answered with `Response::from(&error)`. Faults of the text come in the order of
    /// the stream; then, after the last line, those of meaning: `Host`, a body, and for an upgrade
    /// `Connection`, `Sec-WebSocket-Version`, `-Key`, `-Protocol`, `-Extensions` (RFC 6455 section 4.2.1).
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let proxies = self.proxies.as_deref();
        let result = self.head.read::<RequestKind, _>(input, |head| {
            let mut request = Request::from_head(&head)?;
            if let Some(proxies) = proxies {
                request.believe(proxies)?;
            }
            Ok(request)
        });
        result.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Whether any byte has come of a head that is not whole, or in which a fault was found.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.failed.is_some() || self.head.has_begun()
    }

    /// Whether a head that is not whole, or in which a fault was found, is that of a `HEAD`: the answer about the
    /// fault has no content. Of a request that was read, see [`Request::method`].
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.head.bytes().starts_with(b"HEAD ")
    }
}

struct RequestKind;

impl HeadKind for RequestKind {
    type Error = RequestError;
    const OUT_OF_MEMORY: RequestError = RequestError::OutOfMemory;

    fn is_start_line_byte(byte: u8) -> bool {
        matches!(byte, b' '..=b'~')
    }

    fn check_first_byte(byte: u8) -> Result<(), RequestError> {
        match byte {
            // The content type of a TLS handshake record (RFC 8446 section 5.1).
            0x16 => Err(RequestError::TlsHello),
            // What the second version of the PROXY protocol has after two empty lines.
            0 => Err(RequestError::ProxyHeader),
            _ => Ok(()),
        }
    }

    fn check_start_line(line: &[u8]) -> Result<(), RequestError> {
        if line == b"PRI * HTTP/2.0" {
            return Err(RequestError::Http2Preface);
        }
        if line.starts_with(b"PROXY ") {
            return Err(RequestError::ProxyHeader);
        }
        let malformed = RequestError::Head(HeadError::StartLine);
        let is_space = |&byte: &u8| byte == b' ';
        let Some(method_end) = line.iter().position(is_space) else { return Err(malformed) };
        let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
        if !is_token(method) {
            return Err(malformed);
        }
        let Some(target_end) = rest.iter().rposition(is_space) else {
            // A line of HTTP/0.9 has no version; any other was cut.
            let is_old = !rest.is_empty() && !rest.starts_with(b"HTTP/");
            return Err(if is_old { RequestError::HttpVersionNotSupported } else { malformed });
        };
        let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
        match version {
            b"HTTP/1.1" | b"HTTP/1.0" => check_target(method, target),
            _ if version.starts_with(b"HTTP/") => Err(RequestError::HttpVersionNotSupported),
            _ => Err(malformed),
        }
    }
}

/// The four forms of RFC 9112 section 3.2, of which an upgrade has "an origin-form or an absolute-form" (RFC
/// 6455 section 4.2.1, item 1) and only one method each the others.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), RequestError> {
    let visible = target.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#');
    let text = std::str::from_utf8(target).map_err(|_| RequestError::InvalidTarget)?;
    let form = match (method, split_absolute(text)) {
        (b"CONNECT", _) => {
            is_authority(text) && split_port(text).is_ok_and(|(_, port)| port.is_some())
        }
        (_, Some((authority, _))) => is_authority(authority),
        (b"OPTIONS", None) => text.starts_with('/') || text == "*",
        (_, None) => text.starts_with('/'),
    };
    if visible && form { Ok(()) } else { Err(RequestError::InvalidTarget) }
}

#[cfg(test)]
mod tests {
    use super::super::head::testing::read_every_way;
    use super::super::names::*;
    use super::*;

    const UPGRADE_LINES: &str = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn read(stream: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        let new = || RequestReader::new(HeadLimits::default());
        read_every_way(stream, new, RequestReader::read)
    }

    /// The request of a whole head.
    fn request(head: &str) -> Result<Request, RequestError> {
        let (request, used) = read(head.as_bytes())?.expect("a whole head");
        assert_eq!(used, head.len());
        Ok(request)
    }

    /// An upgrade in which the line that starts with `name` is replaced by `lines`.
    fn upgrade(name: &str, lines: &str) -> Result<Request, RequestError> {
        let kept = UPGRADE_LINES.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        request(&format!("GET /chat HTTP/1.1\r\n{}{lines}\r\n", kept.collect::<String>()))
    }

    // req: W027, W028, W029, W030, W031, W033, W041
    #[test]
    fn upgrade_and_frames_in_one_stream() {
        let head = format!(
            "GET /chat?a=b?c HTTP/1.1\r\n{UPGRADE_LINES}Origin: http://h\r\nX-Unknown: ?\r\n\
             Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\
             Sec-WebSocket-Extensions: x; y=1\r\nSec-WebSocket-Extensions: z\r\n\r\n"
        );
        let stream = [head.as_bytes(), b"\x81\x80\0\0\0\0\n\r\n\r\n"].concat();
        let (request, used) = read(&stream).unwrap().unwrap();
        assert_eq!(used, head.len());
        assert!(request.is_upgrade());
        assert_eq!((request.version(), request.host()), (13, "h"));
        assert_eq!(request.key(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(request.target(), "/chat?a=b?c");
        assert_eq!((request.path(), request.query()), ("/chat", Some("a=b?c")));
        assert_eq!(request.origin(), Some(&b"http://h"[..]));
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["a", "b", "c"]);
        let names: Vec<_> = request.extensions().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["x", "z"]);
        assert_eq!(request.headers().len(), 11);
    }

    #[test]
    fn a_head_has_begun_from_its_first_byte_to_its_last_or_to_a_fault() {
        let mut reader = RequestReader::new(HeadLimits::default());
        assert!(!reader.has_begun());
        for (portion, begun) in
            [("G", true), ("ET / HTTP/1.1\r\nHost: h\r\n\r", true), ("\n", false), ("\0", true)]
        {
            let whole = reader.read(portion.as_bytes());
            assert_eq!(matches!(whole, Ok(Some(_))), !begun, "{portion:?}");
            assert_eq!(reader.has_begun(), begun, "{portion:?}");
        }
        // Read whole, and wrong at once.
        let mut reader = RequestReader::new(HeadLimits::default());
        assert!(reader.read(b"\0").is_err() && reader.has_begun());
    }

    // req: W032, W035 (HS16)
    #[test]
    fn plain_get() {
        let plain = request("GET / HTTP/1.1\r\nhOsT: h:80\r\nCookie: \x7e\r\n\r\n").unwrap();
        assert!(!plain.is_upgrade());
        assert_eq!((plain.path(), plain.query(), plain.key()), ("/", None, ""));
        assert_eq!((plain.origin(), plain.version()), (None, 13));
        assert_eq!((plain.method(), plain.http_version(), plain.body()), ("GET", (1, 1), &b""[..]));
        // Without `Upgrade` the other headers of a handshake mean nothing.
        let odd = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ?\r\n\
                   Sec-WebSocket-Protocol: ,a,\r\nSec-WebSocket-Extensions: ;\r\n\r\n";
        let odd = request(odd).unwrap();
        assert!(!odd.is_upgrade() && odd.extensions().is_empty());
        assert_eq!(odd.subprotocols().collect::<Vec<_>>(), ["a"]);
    }

    // req: W031 (version 8)
    #[test]
    fn version_8_has_an_origin_of_its_own() {
        let lines = "Sec-WebSocket-Version: 8\r\nOrigin: a\r\n";
        let request = upgrade("Sec-WebSocket-Version", lines).unwrap();
        assert_eq!((request.version(), request.origin()), (8, Some(&b"a"[..])));
        let lines = format!("{lines}Sec-WebSocket-Origin: b\r\n");
        let request = upgrade("Sec-WebSocket-Version", &lines).unwrap();
        assert_eq!(request.origin(), Some(&b"b"[..]));
        let request = upgrade("-", "Sec-WebSocket-Origin: b\r\n").unwrap();
        assert_eq!(request.origin(), None);
        // HS35: two are not one that is allowed.
        let request = upgrade("-", "Origin: a\r\nOrigin: b\r\n").unwrap();
        assert_eq!(request.origin(), Some(&b""[..]));
    }

    // req: W026, W027 (HS08, HS14, HS15, HS34)
    #[test]
    fn request_lines() {
        use RequestError::{HttpVersionNotSupported, InvalidTarget};
        let malformed = || RequestError::Head(HeadError::StartLine);
        let byte = |byte| RequestError::Head(HeadError::StartLineByte(byte));
        let cases: Vec<(&[u8], RequestError)> = vec![
            (b"\x16\x03\x01\x02\x00", RequestError::TlsHello),
            (b"PRI * HTTP/2.0\r\n", RequestError::Http2Preface),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", RequestError::ProxyHeader),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", RequestError::ProxyHeader),
            (b"\xfe\x12 ", byte(0xfe)),
            (b"GET / HTTP/1.2\r\n", HttpVersionNotSupported),
            (b"GET / HTTP/1.1x\r\n", HttpVersionNotSupported),
            (b"GET / HTTP/2.0\r\n", HttpVersionNotSupported),
            (b"GET * HTTP/2.0\r\n", HttpVersionNotSupported),
            (b"GET /\r\n", HttpVersionNotSupported),
            (b"GET / http/1.1\r\n", malformed()),
            (b"GET\r\n", malformed()),
            (b"GET \r\n", malformed()),
            (b"GET HTTP/1.1\r\n", malformed()),
            (b" GET / HTTP/1.1\r\n", malformed()),
            (b"G(T / HTTP/1.1\r\n", malformed()),
            (b"GET / HTTP/1.1 \r\n", malformed()),
            (b"GET  HTTP/1.1\r\n", InvalidTarget),
            (b"GET  / HTTP/1.1\r\n", InvalidTarget),
            (b"GET /a b HTTP/1.1\r\n", InvalidTarget),
            (b"GET * HTTP/1.1\r\n", InvalidTarget),
            (b"POST * HTTP/1.1\r\n", InvalidTarget),
            (b"OPTIONS ** HTTP/1.1\r\n", InvalidTarget),
            (b"CONNECT / HTTP/1.1\r\n", InvalidTarget),
            (b"CONNECT h HTTP/1.1\r\n", InvalidTarget),
            (b"CONNECT http://h/ HTTP/1.1\r\n", InvalidTarget),
            (b"GET h:80 HTTP/1.1\r\n", InvalidTarget),
            (b"GET /#a HTTP/1.1\r\n", InvalidTarget),
            (b"GET ftp://h/ HTTP/1.1\r\n", InvalidTarget),
            (b"GET http:///a HTTP/1.1\r\n", InvalidTarget),
            (b"GET http://u@h/a HTTP/1.1\r\n", InvalidTarget),
            (b"GET /\t HTTP/1.1\r\n", byte(9)),
            (b"GET /\xc3\xbc HTTP/1.1\r\n", byte(0xc3)),
            (b"GET /\0 HTTP/1.1\r\n", byte(0)),
        ];
        for (stream, error) in cases {
            assert_eq!(read(stream), Err(error), "{}", stream.escape_ascii());
        }
        let long = |fill: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(fill));
        let new = || RequestReader::new(HeadLimits::default());
        assert_eq!(new().read(long(8192 - 14).as_bytes()), Ok(None));
        let error = RequestError::Head(HeadError::StartLineTooLong);
        assert_eq!(new().read(long(8192 - 13).as_bytes()), Err(error));
    }

    // req: W026 (HS14, HS15)
    #[test]
    fn plain_requests() {
        let upgrade = UPGRADE_LINES;
        for (line, lines, method, minor, path) in [
            ("GET / HTTP/1.0", "", "GET", 0, "/"),
            ("GET /a HTTP/1.0", upgrade, "GET", 0, "/a"),
            ("HEAD / HTTP/1.1", upgrade, "HEAD", 1, "/"),
            ("get / HTTP/1.1", upgrade, "get", 1, "/"),
            ("POST /a?b HTTP/1.1", "Host: h\r\nContent-Length: 5\r\n", "POST", 1, "/a"),
            ("OPTIONS * HTTP/1.1", "Host: h\r\n", "OPTIONS", 1, "*"),
            ("OPTIONS / HTTP/1.1", "Host: h\r\n", "OPTIONS", 1, "/"),
            ("BREW /pot HTTP/1.0", "Host: h\r\n", "BREW", 0, "/pot"),
            ("CONNECT h:443 HTTP/1.1", "Host: h\r\n", "CONNECT", 1, "/"),
            ("GET / HTTP/1.1", "Host: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n", "GET", 1, "/"),
            ("GET / HTTP/1.1", "Host: h\r\nUpgrade:\r\n", "GET", 1, "/"),
            ("GET / HTTP/1.1", "Host: h\r\nUpgrade: websocketx, xwebsocket\r\n", "GET", 1, "/"),
        ] {
            let request = request(&format!("{line}\r\n{lines}\r\n")).unwrap();
            assert!(!request.is_upgrade(), "{line}");
            assert_eq!((request.method(), request.http_version()), (method, (1, minor)));
            assert_eq!(request.path(), path, "{line}");
            assert_eq!(line.split(' ').nth(1), Some(request.target()));
        }
        let old = request("GET / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!((old.host(), old.host_name()), ("", ""));
        for lines in ["Host:\r\n", "Host: a\r\nHost: b\r\n", "Host: a b\r\n"] {
            let error = request(&format!("GET / HTTP/1.0\r\n{lines}\r\n")).unwrap_err();
            assert_eq!(error.status(), 400, "{lines}");
        }
    }

    /// It may go into a log, and a body or frames do not belong there.
    #[test]
    fn what_is_kept_of_a_head_at_fault_ends_with_it() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "password=secret"),
            ("POST / HTTP/1.1\r\nContent-Length: x\r\nHost: h\r\n\r\n", "password=secret"),
            ("GET / HTTP/1.1\r\nHost: h\r\nA\0", "b: c\r\n\r\n"),
            ("GET / HTTP/2.0\r\n", "Host: h\r\n\r\n"),
            ("G\0", "ET / HTTP/1.1\r\n"),
            ("\x16", "\x03\x01\x02\0"),
        ] {
            let stream = [head, rest].concat();
            for size in [stream.len(), 1, 7] {
                let mut reader = RequestReader::new(HeadLimits::default());
                let mut read = stream.as_bytes().chunks(size).map(|portion| reader.read(portion));
                assert!(read.any(|result| result.is_err()), "{head:?}");
                assert_eq!(
                    reader.head().escape_ascii().to_string(),
                    head.as_bytes().escape_ascii().to_string(),
                    "{size}"
                );
            }
        }
    }

    #[test]
    fn the_method_of_a_request_at_fault() {
        for (stream, is_head) in [
            ("HEAD / HTTP/1.1\r\n\r\n", true),
            ("\r\nHEAD / HTTP/1.1\r\na b\r\n", true),
            ("HEAD  / HTTP/1.1\r\n", true),
            ("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("HEAD\r\n", false),
            ("HEAD\n", false),
            ("HEADER / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("GET / HTTP/1.1\r\n\r\n", false),
        ] {
            for size in [stream.len(), 1] {
                let mut reader = RequestReader::new(HeadLimits::default());
                let mut method = None;
                for portion in stream.as_bytes().chunks(size) {
                    if let Ok(Some((request, _))) = reader.read(portion) {
                        method = Some(request.method().to_owned());
                    }
                }
                let answered = method.map_or_else(|| reader.is_head(), |method| method == "HEAD");
                assert_eq!(answered, is_head, "{stream:?}");
            }
        }
    }

    // req: W027 (HS34)
    #[test]
    fn targets() {
        for (target, host, path, query) in [
            ("//x/../%00?", "h", "//x/../%00", Some("")),
            ("/a://b", "h", "/a://b", None),
            ("http://other:81/a?b", "other:81", "/a", Some("b")),
            ("WSS://[::1]", "[::1]", "/", None),
            ("ws://other?b", "other", "/", Some("b")),
        ] {
            let request = request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
            assert_eq!(request.target(), target);
            assert_eq!((request.host(), request.path(), request.query()), (host, path, query));
        }
    }

    // req: W026, W028, W029, W030, W031, W036, W043, W044, W045, W049, W050, H004, H009, H010
    // (HS09, HS17, HS18, HS19, HS20, HS22, HS25, HS27, HS28)
    #[test]
    fn meaning() {
        use RequestError::{InvalidHeader, MissingHeader, RepeatedHeader, UnsupportedVersion};
        let list = |name, error| RequestError::InvalidList { name, error };
        let end = || super::super::HeaderListError::UnexpectedEnd;
        let repeated = super::super::HeaderListError::Duplicated { name: "a".into() };
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let cases = [
            ("Host", "", MissingHeader(HOST)),
            ("-", "Host: h\r\n", RepeatedHeader(HOST)),
            ("Host", "Host:\r\n", InvalidHeader(HOST)),
            ("Host", "Host: a b\r\n", InvalidHeader(HOST)),
            ("Host", "Host: a/b\r\n", InvalidHeader(HOST)),
            ("Host", "Host: \x7e\u{fc}\r\n", InvalidHeader(HOST)),
            ("-", "Transfer-Encoding: identity\r\n", RequestError::Body(TRANSFER_ENCODING)),
            ("-", "Content-Length: 10\r\n", RequestError::Body(CONTENT_LENGTH)),
            ("-", "Content-Length: 0\r\nContent-Length: 1\r\n", RequestError::Body(CONTENT_LENGTH)),
            ("Connection", "", MissingHeader(CONNECTION)),
            ("Connection", "Connection: notupgrade\r\n", InvalidHeader(CONNECTION)),
            ("Sec-WebSocket-Version", "", MissingHeader(VERSION)),
            ("-", "Sec-WebSocket-Version: 13\r\n", RepeatedHeader(VERSION)),
            ("Sec-WebSocket-Key", "", MissingHeader(KEY)),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: short\r\n", InvalidHeader(KEY)),
            ("-", key, RepeatedHeader(KEY)),
            ("-", "Sec-WebSocket-Protocol:\r\n", list(PROTOCOL, end())),
            (
                "-",
                "Sec-WebSocket-Protocol: ,\r\nSec-WebSocket-Protocol:\r\n",
                list(PROTOCOL, end()),
            ),
            ("-", "Sec-WebSocket-Extensions: , ,\r\n", list(EXTENSIONS, end())),
            (
                "-",
                "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n",
                list(PROTOCOL, repeated),
            ),
            ("-", "Sec-WebSocket-Extensions: a; b=\"\r\n", list(EXTENSIONS, end())),
        ];
        for (name, lines, error) in cases {
            assert_eq!(error.status(), 400);
            assert_eq!(upgrade(name, lines), Err(error), "{lines:?}");
        }
        for value in ["-1", "+5", "5,5", "0x5", "18446744073709551616", "", "00", "0, 0"] {
            let lines = format!("Content-Length: {value}\r\n");
            assert_eq!(upgrade("-", &lines), Err(RequestError::Body(CONTENT_LENGTH)));
        }
        for value in ["013", "256", "13, 8", "-1", "", "x", "00", "+13", "1e1"] {
            let lines = format!("Sec-WebSocket-Version: {value}\r\n");
            let result = upgrade("Sec-WebSocket-Version", &lines);
            assert_eq!(result, Err(InvalidHeader(VERSION)), "{value}");
        }
        for version in [0, 7, 9, 14, 255] {
            let lines = format!("Sec-WebSocket-Version: {version}\r\n");
            let result = upgrade("Sec-WebSocket-Version", &lines);
            assert_eq!(result, Err(UnsupportedVersion(version)));
        }
        for (name, lines) in [
            ("-", "Content-Length: 0\r\nContent-Length: 0\r\n"),
            ("Upgrade", "Upgrade: h2c, WebSocket\r\n"),
            ("Connection", "Connection: keep-alive\r\nconnection: x, UPGRADE\r\n"),
            ("-", "Sec-WebSocket-Extensions: __proto__\r\n"),
            ("-", "Sec-WebSocket-Protocol: a,\r\nSec-WebSocket-Protocol: ,b,,c\r\n"),
            ("-", "Sec-WebSocket-Extensions:\r\nSec-WebSocket-Extensions: ,a; b = c\r\n"),
        ] {
            assert!(upgrade(name, lines).unwrap().is_upgrade(), "{lines:?}");
        }
    }

    // The order of the checks of meaning.
    #[test]
    fn first_fault_wins() {
        let mut head = String::from("GET / HTTP/1.1\r\nUpgrade: websocket\r\n");
        let faults = [
            ("Sec-WebSocket-Extensions: ;\r\n", EXTENSIONS),
            ("Sec-WebSocket-Protocol: ;\r\n", PROTOCOL),
            ("Sec-WebSocket-Key: x\r\n", KEY),
            ("Sec-WebSocket-Version: x\r\n", VERSION),
            ("Connection: x\r\n", CONNECTION),
            ("Content-Length: x\r\n", CONTENT_LENGTH),
            ("Host: /\r\n", HOST),
        ];
        for (position, (line, name)) in faults.iter().enumerate() {
            head.push_str(line);
            let good: String = UPGRADE_LINES
                .split_inclusive("\r\n")
                .filter(|good| {
                    let name = good.split(':').next().unwrap_or_default();
                    !faults[..=position].iter().any(|(bad, _)| bad.starts_with(name))
                })
                .collect();
            let error = request(&format!("{head}{good}\r\n")).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    // HS13: bytes of 0x80 and above are let through in values.
    #[test]
    fn values_are_bytes() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nOrigin: \xff\xfe\r\n\r\n";
        let (request, _) = read(head).unwrap().unwrap();
        assert_eq!(request.origin(), Some(&b"\xff\xfe"[..]));
    }

    // HS03: more headers than the slots on the stack; the last ones are not lost.
    #[test]
    fn a_hundred_headers() {
        let fill = |count| "a:b\r\n".repeat(count);
        let head = |count| format!("GET / HTTP/1.1\r\n{}{UPGRADE_LINES}\r\n", fill(count));
        let request = request(&head(95)).unwrap();
        assert!(request.is_upgrade());
        assert_eq!(request.headers().len(), 100);
        let mut reader = RequestReader::new(HeadLimits::default());
        let error = RequestError::Head(HeadError::TooManyHeaders);
        assert_eq!(reader.read(head(96).as_bytes()), Err(error.clone()));
        assert_eq!(reader.read(head(0).as_bytes()), Err(error), "an error stays");
    }

    // Any single byte changed gives the same result for every cut, and no panic.
    #[test]
    fn changed_bytes() {
        let head = format!("GET /a HTTP/1.1\r\n{UPGRADE_LINES}\r\n");
        for place in 0..head.len() {
            for byte in [0, b'\r', b'\n', b' ', b':', b',', b'x', 0xff] {
                let mut stream = head.clone().into_bytes();
                stream[place] = byte;
                let whole = RequestReader::new(HeadLimits::default()).read(&stream);
                let mut reader = RequestReader::new(HeadLimits::default());
                let mut result = Ok(None);
                for (before, portion) in stream.chunks(1).enumerate() {
                    result = reader.read(portion);
                    match &mut result {
                        Ok(None) => {}
                        Ok(Some((_, used))) => {
                            *used += before;
                            break;
                        }
                        Err(_) => break,
                    }
                }
                assert_eq!(result, whole, "{place}: {byte}");
            }
        }
    }
}
