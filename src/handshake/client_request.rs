//! The request of a client, and how it checks the answer (RFC 6455 section 4.1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::header_list::{Extension, HeaderListError, check_distinct, extensions_of};
use super::headers::{
    Headers, InvalidHeader, check_field, cookie_pairs, encode_field, is_token, trim,
};
use super::key::{accept_key, is_valid_key};
use super::names::*;
use super::owned;
use super::response::{Response, is_of_handshake};
use super::response_error::ResponseError;
use super::url::{Url, is_authority};

/// What a client asks a server for.
///
/// ```
/// use framewire::handshake::{ClientRequest, Url, encode_key};
///
/// let url = Url::parse("ws://example.com/chat")?;
/// let request = ClientRequest::new(&url).subprotocols(["chat"])?.header("Cookie", "a=1")?;
/// let key = encode_key(*b"the sample nonce"); // In earnest: 16 random bytes.
/// let mut out = Vec::new();
/// request.encode(&key, None, &mut out);
/// assert!(out.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "finishRequest")]
#[derive(Clone, Debug)]
pub struct ClientRequest {
    target: String,
    host: String,
    version: u8,
    authorization: Option<Secret>,
    origin: Option<String>,
    subprotocols: Vec<String>,
    headers: Headers,
}

impl ClientRequest {
    /// A request for the resource of `url`, in version 13 and without anything optional.
    ///
    /// User name and password of the URL become `Authorization: Basic` (RFC 7617), unless that
    /// header is set with [`header`](Self::header).
    #[must_use]
    pub fn new(url: &Url) -> Self {
        Self {
            target: url.target().to_owned(),
            host: url.host_header(),
            version: 13,
            authorization: url.userinfo().map(Secret::basic),
            origin: None,
            subprotocols: Vec::new(),
            headers: Headers::new(),
        }
    }

    /// Sets the version of the WebSocket protocol: 13 or 8.
    ///
    /// # Errors
    ///
    /// [`ClientRequestError::Version`] for any other (RFC 6455 section 4.1, item 9).
    pub fn version(mut self, version: u8) -> Result<Self, ClientRequestError> {
        if !matches!(version, 8 | 13) {
            return Err(ClientRequestError::Version(version));
        }
        self.version = version;
        Ok(self)
    }

    /// Sets the origin: `Origin` in version 13, `Sec-WebSocket-Origin` in version 8 (RFC 6455 section 4.1, item 8).
    ///
    /// # Errors
    ///
    /// [`ClientRequestError::Header`] if it is not a header value.
    pub fn origin(mut self, origin: impl Into<String>) -> Result<Self, ClientRequestError> {
        let origin = origin.into();
        check_field(ORIGIN, origin.as_bytes())?;
        self.origin = Some(origin);
        Ok(self)
    }

    /// Sets another `Host` than that of the URL: a host, and perhaps a port (RFC 9110 section 7.2). A
    /// [redirect](Self::redirected) has its own.
    ///
    /// # Errors
    ///
    /// [`ClientRequestError::Header`] if it is none.
    pub fn host(mut self, host: impl Into<String>) -> Result<Self, ClientRequestError> {
        let host = host.into();
        if !is_authority(&host) {
            return Err(InvalidHeader::Value(HOST.to_owned()).into());
        }
        self.host = host;
        Ok(self)
    }

    /// Adds a cookie, which replaces others of its name. All go in one header (RFC 6265 section 5.4).
    ///
    /// # Errors
    ///
    /// [`ClientRequestError::Header`] for a name that is not a token, or a value with a semicolon, a control
    /// character, or white space around it.
    pub fn cookie(mut self, name: &str, value: &str) -> Result<Self, ClientRequestError> {
        let is_trimmed = trim(value.as_bytes()).len() == value.len();
        if !is_token(name.as_bytes()) || value.contains(';') || !is_trimmed {
            return Err(InvalidHeader::Cookie(name.to_owned()).into());
        }
        let mut cookies = Vec::new();
        for pair in cookie_pairs(&self.headers) {
            let before = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
            if !pair.is_empty() && trim(before) != name.as_bytes() {
                cookies.extend_from_slice(pair);
                cookies.extend_from_slice(b"; ");
            }
        }
        cookies.extend_from_slice(format!("{name}={value}").as_bytes());
        self.headers.set(COOKIE, cookies)?;
        Ok(self)
    }

    /// Asks for the resource of another URL, to which a server has redirected the request. User name and
    /// password are those of that URL.
    ///
    /// Where the URL is of [another origin](Url::is_same_origin), call
    /// [`without_credentials`](Self::without_credentials) too.
    #[must_use]
    pub fn redirected(mut self, url: &Url) -> Self {
        self.target = url.target().to_owned();
        self.host = url.host_header();
        self.authorization = url.userinfo().map(Secret::basic);
        self
    }

    /// Removes `Authorization`, `Cookie` and `Proxy-Authorization`, which are not for another origin to read (RFC
    /// 9110 section 15.4).
    ///
    /// ```
    /// use framewire::handshake::{ClientRequest, Url, encode_key};
    ///
    /// let request = ClientRequest::new(&Url::parse("ws://example.com/")?).header("Cookie", "a=1")?;
    /// let other = Url::parse("ws://other.example/chat")?;
    /// let mut out = Vec::new();
    /// request.without_credentials().redirected(&other).encode(&encode_key([0; 16]), None, &mut out);
    /// let text = String::from_utf8(out)?;
    /// assert!(text.starts_with("GET /chat HTTP/1.1\r\nHost: other.example\r\n"));
    /// assert!(!text.contains("Cookie"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn without_credentials(mut self) -> Self {
        self.authorization = None;
        let mut headers = Headers::new();
        for (name, value) in self.headers.iter() {
            if !CREDENTIALS.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
                // Does not fail: all of them came from a list with the same rules.
                let _ = headers.append(name, value);
            }
        }
        self.headers = headers;
        self
    }

    /// Adds a header.
    ///
    /// # Errors
    ///
    /// [`ClientRequestError::Header`]: [`InvalidHeader::Reserved`] for `Host`, `Origin`, `Upgrade`,
    /// `Connection`, `Sec-WebSocket-…`, `Content-Length` and `Transfer-Encoding`, which the handshake
    /// writes or must not have; the others if the header would break the syntax (RFC 9110 section 5).
    pub fn header(
        mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<Self, ClientRequestError> {
        let own = [HOST, ORIGIN].iter().any(|own| own.eq_ignore_ascii_case(name));
        if own || is_of_handshake(name) {
            return Err(InvalidHeader::Reserved(name.to_owned()).into());
        }
        self.headers.append(name, value)?;
        Ok(self)
    }

    /// Offers these subprotocols instead of any others, the most wanted first.
    ///
    /// # Errors
    ///
    /// [`ClientRequestError`] if one is not a token or stands twice (RFC 6455 section 4.1, item 10).
    pub fn subprotocols<I>(mut self, names: I) -> Result<Self, ClientRequestError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if let Some(name) = names.iter().find(|name| !is_token(name.as_bytes())) {
            return Err(ClientRequestError::Subprotocol(name.clone()));
        }
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Err(HeaderListError::Duplicated { name }) = check_distinct(&texts) {
            return Err(ClientRequestError::RepeatedSubprotocol(name));
        }
        self.subprotocols = names;
        Ok(self)
    }

    /// Writes the request after what is in `out` (RFC 6455 section 4.1).
    ///
    /// `key` comes from [`encode_key`](super::encode_key), of a nonce that is new for each
    /// connection. `extensions` is the value of `Sec-WebSocket-Extensions`. Text that is not of a key
    /// or not a header value is left out, since a line break would forge headers.
    ///
    /// Send nothing more until the response is verified.
    pub fn encode(&self, key: &[u8; 24], extensions: Option<&str>, out: &mut Vec<u8>) {
        let authorization =
            self.authorization.as_ref().filter(|_| !self.headers.contains(AUTHORIZATION));
        let extensions =
            extensions.filter(|value| check_field(EXTENSIONS, value.as_bytes()).is_ok());
        out.reserve(256 + self.target.len() + self.host.len() + self.headers.encoded_bytes());
        for part in ["GET ", &self.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        encode_field(out, HOST, self.host.as_bytes());
        encode_field(out, UPGRADE, b"websocket");
        encode_field(out, CONNECTION, b"Upgrade");
        if is_valid_key(key) {
            encode_field(out, KEY, key);
        }
        encode_field(out, VERSION, if self.version == 8 { b"8" } else { b"13" });
        if let Some(extensions) = extensions {
            encode_field(out, EXTENSIONS, extensions.as_bytes());
        }
        if !self.subprotocols.is_empty() {
            encode_field(out, PROTOCOL, self.subprotocols.join(", ").as_bytes());
        }
        if let Some(origin) = &self.origin {
            let name = if self.version == 8 { SEC_ORIGIN } else { ORIGIN };
            encode_field(out, name, origin.as_bytes());
        }
        if let Some(Secret(authorization)) = authorization {
            encode_field(out, AUTHORIZATION, authorization.as_bytes());
        }
        for (name, value) in self.headers.iter() {
            encode_field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Checks the answer of the server to this request and `key` (RFC 6455 section 4.1).
    ///
    /// `offered_extensions`: whether the request offered `permessage-deflate`, the one extension
    /// there is. Its parameters are not judged here.
    ///
    /// # Errors
    ///
    /// The [`ResponseError`] of the first check that fails; the connection must be closed then.
    /// Stricter than RFC 6455 in that a server has to choose a subprotocol if some were asked for,
    /// as browsers have it.
    pub fn verify(
        &self,
        response: &Response,
        key: &[u8; 24],
        offered_extensions: bool,
    ) -> Result<Accepted, ResponseError> {
        if response.status() != 101 {
            return Err(ResponseError::UnexpectedStatus(response.status()));
        }
        let headers = response.headers();
        if !required(headers, UPGRADE)?.eq_ignore_ascii_case(b"websocket") {
            return Err(ResponseError::InvalidHeader(UPGRADE));
        }
        if !headers.contains(CONNECTION) {
            return Err(ResponseError::MissingHeader(CONNECTION));
        }
        if !headers.has_token(CONNECTION, "upgrade") {
            return Err(ResponseError::InvalidHeader(CONNECTION));
        }
        if required(headers, ACCEPT)? != accept_key(key) {
            return Err(ResponseError::AcceptMismatch);
        }
        let subprotocol = self.verify_subprotocol(optional(headers, PROTOCOL)?)?;
        let extensions = verify_extensions(headers, offered_extensions)?;
        Ok(Accepted { subprotocol, extensions })
    }

    fn verify_subprotocol(&self, chosen: Option<&[u8]>) -> Result<Option<String>, ResponseError> {
        let Some(chosen) = chosen else {
            return match self.subprotocols.is_empty() {
                true => Ok(None),
                false => Err(ResponseError::NoSubprotocol),
            };
        };
        if !is_token(chosen) {
            return Err(ResponseError::InvalidHeader(PROTOCOL));
        }
        match self.subprotocols.iter().find(|name| name.as_bytes() == chosen) {
            Some(name) => Ok(Some(name.clone())),
            None => {
                let name = std::str::from_utf8(chosen).unwrap_or_default();
                Err(ResponseError::SubprotocolNotRequested(owned::quoted(name)))
            }
        }
    }
}

/// What client and server agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Accepted {
    /// The subprotocol, one of those that were asked for.
    pub subprotocol: Option<String>,
    /// The extensions: none, or one `permessage-deflate` with parameters yet to be judged.
    pub extensions: Vec<Extension>,
}

/// Why a request cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientRequestError {
    /// The version is neither 13 nor 8 (RFC 6455 section 4.1, item 9).
    Version(u8),
    /// A header cannot be sent.
    Header(InvalidHeader),
    /// A subprotocol is not a token (RFC 6455 section 4.1, item 10).
    Subprotocol(String),
    /// A subprotocol stands twice (RFC 6455 section 4.1, item 10).
    RepeatedSubprotocol(String),
}

impl fmt::Display for ClientRequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "WebSocket version {version} is neither 13 nor 8"),
            Self::Header(_) => f.write_str("a header of the request cannot be sent"),
            Self::Subprotocol(name) => write!(f, "{name:?} is not a subprotocol name"),
            Self::RepeatedSubprotocol(name) => {
                write!(f, "the subprotocol {name:?} is listed twice")
            }
        }
    }
}

impl std::error::Error for ClientRequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Header(error) => Some(error),
            _ => None,
        }
    }
}

impl From<InvalidHeader> for ClientRequestError {
    fn from(error: InvalidHeader) -> Self {
        Self::Header(error)
    }
}

const CREDENTIALS: [&str; 3] = [AUTHORIZATION, COOKIE, "Proxy-Authorization"];

/// The value of `Authorization` or `Proxy-Authorization` for a user name and a password (RFC 7617
/// section 2).
///
/// ```
/// use framewire::handshake::basic_credentials;
///
/// assert_eq!(basic_credentials("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
/// ```
#[doc(alias("basic auth", "Authorization"))]
#[must_use]
pub fn basic_credentials(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Text that `Debug` does not show.
#[derive(Clone)]
struct Secret(String);

impl Secret {
    fn basic((user, password): (&str, &str)) -> Self {
        Self(basic_credentials(user, password))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// "If the response includes an extension that was not offered, the client MUST fail": every line
/// and every element counts. Two of one kind would clash in RSV1.
fn verify_extensions(headers: &Headers, offered: bool) -> Result<Vec<Extension>, ResponseError> {
    let extensions = extensions_of(headers).map_err(|error| match error {
        HeaderListError::OutOfMemory => ResponseError::OutOfMemory,
        error => ResponseError::InvalidList { name: EXTENSIONS, error },
    })?;
    for (index, Extension { name, .. }) in extensions.iter().enumerate() {
        if !offered || name != "permessage-deflate" {
            return Err(ResponseError::ExtensionNotOffered(owned::quoted(name)));
        }
        if index > 0 {
            return Err(ResponseError::RepeatedExtension(owned::quoted(name)));
        }
    }
    Ok(extensions)
}

fn required<'h>(headers: &'h Headers, name: &'static str) -> Result<&'h [u8], ResponseError> {
    optional(headers, name)?.ok_or(ResponseError::MissingHeader(name))
}

fn optional<'h>(
    headers: &'h Headers,
    name: &'static str,
) -> Result<Option<&'h [u8]>, ResponseError> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(ResponseError::RepeatedHeader(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, RequestReader, encode_key};
    use super::*;

    const NONCE: &[u8; 16] = b"the sample nonce";

    fn request(url: &str) -> ClientRequest {
        ClientRequest::new(&Url::parse(url).unwrap())
    }

    fn encoded(request: &ClientRequest, extensions: Option<&str>) -> String {
        let mut out = Vec::new();
        request.encode(&encode_key(*NONCE), extensions, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_takes_its_memory_at_once() {
        let mut request = request(&format!("ws://{}/{}", "h".repeat(1000), "t".repeat(5000)));
        for _ in 0..1000 {
            request = request.header("a", "b").unwrap();
        }
        let mut out = Vec::new();
        request.encode(&encode_key(*NONCE), None, &mut out);
        assert!(out.capacity() - out.len() < 256, "{} of {}", out.len(), out.capacity());
    }

    // req: W009, W010, W011, W012, W013, W014, W015, W016
    #[test]
    fn text_of_the_request() {
        assert_eq!(
            encoded(&request("ws://example.com:8080/chat?a"), None),
            "GET /chat?a HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        let full = request("wss://u:p@h/").subprotocols(["a", "b"]).unwrap();
        let full = full.origin("https://o").unwrap().header("Cookie", "c=d").unwrap();
        let shown = format!("{full:?}");
        assert!(shown.contains("authorization: Some(…)") && !shown.contains("dTpw"), "{shown}");
        let text = encoded(&full, Some("permessage-deflate"));
        assert!(text.ends_with(
            "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b\r\n\
             Origin: https://o\r\nAuthorization: Basic dTpw\r\nCookie: c=d\r\n\r\n"
        ));
        let text = encoded(&full.version(8).unwrap(), Some("x\r\nForged: y"));
        assert!(text.contains("\r\nSec-WebSocket-Version: 8\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Origin: https://o\r\n"));
        assert!(!text.contains("\r\nOrigin") && !text.contains("Forged"));
        let own = request("ws://u@h").header("authorization", "Bearer x").unwrap();
        assert!(!encoded(&own, None).contains("Basic"));
    }

    // req: W009
    #[test]
    fn own_server_reads_it() {
        for version in [8, 13] {
            let sent = request("ws://[::1]:99/ü").version(version).unwrap();
            let sent = sent.subprotocols(["a", "b"]).unwrap().origin("http://o").unwrap();
            let text = encoded(&sent, Some("permessage-deflate; client_max_window_bits"));
            let mut reader = RequestReader::new(HeadLimits::default());
            let (read, used) = reader.read(text.as_bytes()).unwrap().unwrap();
            assert_eq!((used, read.version(), read.host()), (text.len(), version, "[::1]:99"));
            assert_eq!((read.path(), read.origin()), ("/%C3%BC", Some(&b"http://o"[..])));
            assert_eq!(read.subprotocols().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(read.extensions()[0].name, "permessage-deflate");
        }
    }

    // req: W016, W044, W045, H007 (HC12)
    #[test]
    fn refuses_bad_parts() {
        let base = || request("ws://h");
        for version in [0, 7, 14] {
            let error = base().version(version).unwrap_err();
            assert_eq!(error, ClientRequestError::Version(version));
        }
        for name in ["", "a b", "a,b", "ü", "a\r\n"] {
            let error = base().subprotocols([name]).unwrap_err();
            assert_eq!(error, ClientRequestError::Subprotocol(name.into()));
        }
        let error = base().subprotocols(["a", "b", "a"]).unwrap_err();
        assert_eq!(error, ClientRequestError::RepeatedSubprotocol("a".into()));
        for name in ["HOST", "origin", "Upgrade", "connection", "sec-websocket-x", "Content-Length"]
        {
            let error = base().header(name, "x").unwrap_err();
            assert_eq!(error, ClientRequestError::Header(InvalidHeader::Reserved(name.into())));
        }
        assert!(base().header("X", "a\r\nb: c").is_err());
        assert!(base().origin("a\nb").is_err());
    }

    fn answer(lines: &[(&str, &str)]) -> Response {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.append(name, value).unwrap();
        }
        Response::from_parts(101, String::new(), headers)
    }

    const GOOD: [(&str, &str); 3] = [
        ("upgrade", "WebSocket"),
        ("connection", "x, UPGRADE"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];

    fn verify(
        lines: &[(&str, &str)],
        asked: &[&str],
        offered: bool,
    ) -> Result<Accepted, ResponseError> {
        let request = request("ws://h").subprotocols(asked.iter().copied()).unwrap();
        request.verify(&answer(lines), &encode_key(*NONCE), offered)
    }

    // req: W018, W019, W020, W021, W024, W025, W046 (HC01)
    #[test]
    fn required_headers() {
        use ResponseError::{AcceptMismatch, InvalidHeader, MissingHeader};
        let accepted = Accepted { subprotocol: None, extensions: Vec::new() };
        assert_eq!(verify(&GOOD, &[], false), Ok(accepted));
        for (place, name) in [UPGRADE, CONNECTION, ACCEPT].into_iter().enumerate() {
            let mut lines = GOOD.to_vec();
            lines.remove(place);
            assert_eq!(verify(&lines, &[], false), Err(MissingHeader(name)));
        }
        for (place, value, error) in [
            (0, "websocketx", InvalidHeader(UPGRADE)),
            (0, "websocket, h2c", InvalidHeader(UPGRADE)),
            (1, "upgraded", InvalidHeader(CONNECTION)),
            (2, "", AcceptMismatch),
            (2, "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", AcceptMismatch),
        ] {
            let mut lines = GOOD.to_vec();
            lines[place].1 = value;
            assert_eq!(verify(&lines, &[], false), Err(error), "{value}");
        }
        for (place, name) in [(0, UPGRADE), (2, ACCEPT)] {
            let mut lines = GOOD.to_vec();
            lines.push(GOOD[place]);
            let error = ResponseError::RepeatedHeader(name);
            assert_eq!(verify(&lines, &[], false), Err(error));
        }
        let result = request("ws://h").verify(&Response::new(302), &encode_key(*NONCE), false);
        assert_eq!(result, Err(ResponseError::UnexpectedStatus(302)));
    }

    // req: W023, W047 (HC02)
    #[test]
    fn subprotocols() {
        let with = |lines: &[(&'static str, &'static str)], asked: &[&str]| {
            verify(&[&GOOD[..], lines].concat(), asked, false).map(|accepted| accepted.subprotocol)
        };
        let not_requested = |name: &str| Err(ResponseError::SubprotocolNotRequested(name.into()));
        assert_eq!(with(&[(PROTOCOL, "b")], &["a", "b"]), Ok(Some("b".into())));
        assert_eq!(with(&[], &["a"]), Err(ResponseError::NoSubprotocol));
        assert_eq!(with(&[(PROTOCOL, "a")], &[]), not_requested("a"));
        assert_eq!(with(&[(PROTOCOL, "A")], &["a"]), not_requested("A"));
        for value in ["", "a, b"] {
            let error = ResponseError::InvalidHeader(PROTOCOL);
            assert_eq!(with(&[(PROTOCOL, value)], &["a", "b"]), Err(error));
        }
        let error = ResponseError::RepeatedHeader(PROTOCOL);
        assert_eq!(with(&[(PROTOCOL, "a"), (PROTOCOL, "a")], &["a"]), Err(error));
    }

    // req: W022, W048, W049, W051, W053 (HC03)
    #[test]
    fn extensions() {
        let with = |values: &[&'static str], offered| {
            let lines: Vec<_> = values.iter().map(|value| (EXTENSIONS, *value)).collect();
            let accepted = verify(&[&GOOD[..], &lines].concat(), &[], offered)?;
            Ok(accepted.extensions.len())
        };
        let deflate = "permessage-deflate";
        let repeated = || Err(ResponseError::RepeatedExtension(deflate.into()));
        assert_eq!(with(&["permessage-deflate; server_max_window_bits=10"], true), Ok(1));
        assert_eq!(with(&[], true), Ok(0));
        // Null elements and implied white space, as in a request.
        for value in [
            "permessage-deflate,",
            ", ,permessage-deflate",
            "permessage-deflate ; client_max_window_bits = 10",
        ] {
            assert_eq!(with(&[value], true), Ok(1), "{value}");
        }
        assert_eq!(with(&["", deflate], true), Ok(1));
        assert_eq!(
            with(&[deflate], false),
            Err(ResponseError::ExtensionNotOffered(deflate.into()))
        );
        assert_eq!(with(&[deflate, deflate], true), repeated());
        assert_eq!(with(&["permessage-deflate, permessage-deflate"], true), repeated());
        let other = Err(ResponseError::ExtensionNotOffered("x-webkit-deflate-frame".into()));
        assert_eq!(with(&["permessage-deflate, x-webkit-deflate-frame"], true), other);
        let error = HeaderListError::UnexpectedEnd;
        let invalid = Err(ResponseError::InvalidList { name: EXTENSIONS, error });
        assert_eq!(with(&["permessage-deflate;"], true), invalid);
    }

    #[test]
    fn a_cookie_has_no_white_space_around_its_value() {
        let request = || ClientRequest::new(&Url::parse("ws://h/").unwrap());
        for value in [" x", "x ", "\tx", "x\t", " ", "a;b", "a\n"] {
            assert!(request().cookie("a", value).is_err(), "{value:?}");
        }
        for value in ["", "x", "x y", "\" x \""] {
            assert!(request().cookie("a", value).is_ok(), "{value:?}");
        }
    }
}
