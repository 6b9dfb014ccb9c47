//! Responses: what a server answers and a client reads (RFC 6455 section 4.2.2).

use std::borrow::Cow;
use std::error::Error;

use super::cookie::Cookie;
use super::date::HttpDate;
use super::headers::{Headers, InvalidHeader, check_field, encode_field, is_token, is_value_byte};
use super::key::accept_key;
use super::names::*;
use super::request_error::RequestError;
use super::url::encode;

/// An HTTP response that is not followed by a WebSocket; or, as a client reads it, any response.
///
/// A server sends it in place of the switch of protocols and closes the connection then. The switch
/// itself is written by [`encode_switching_protocols`].
///
/// That each answer ends the connection is by intent. What may follow a request on its connection is what
/// requests are smuggled in, and a tunnel that a proxy believes in after a rejected upgrade; a server of
/// WebSockets has few other requests, and a proxy in front of it keeps its own connections to browsers.
///
/// ```
/// use framewire::handshake::Response;
///
/// let response = Response::new(401).header("WWW-Authenticate", "Basic")?.body("who are you?\n");
/// let mut out = Vec::new();
/// response.encode("GET", None, &mut out);
/// assert!(out.starts_with(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"));
/// assert!(out.ends_with(b"Content-Length: 13\r\n\r\nwho are you?\n"));
/// # Ok::<(), framewire::handshake::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Response {
    status: u16,
    reason: Cow<'static, str>,
    headers: Headers,
    body: Vec<u8>,
}

impl Response {
    /// A response with the standard reason phrase, no headers and no body.
    ///
    /// A status from 200 to 599; any other becomes 500, for it is no final answer of HTTP (RFC 9110
    /// section 15). So a 101 cannot be sent by mistake.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let status = final_status(status);
        let reason = Cow::Borrowed(standard_reason(status));
        Self { status, reason, headers: Headers::new(), body: Vec::new() }
    }

    /// 200, with a text as body, `text/plain; charset=utf-8`.
    ///
    /// ```
    /// use framewire::Response;
    ///
    /// assert_eq!(Response::text("hello\n").status(), 200);
    /// assert_eq!(Response::json(r#"{"up":true}"#).headers().get_str("Content-Type"), Some("application/json"));
    /// ```
    #[must_use]
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::new(200).with_type("text/plain; charset=utf-8").body(text)
    }

    /// 200, with a page as body, `text/html; charset=utf-8`.
    #[must_use]
    pub fn html(page: impl Into<Vec<u8>>) -> Self {
        Self::new(200).with_type("text/html; charset=utf-8").body(page)
    }

    /// 200, with a value of JSON as body, as text or bytes in UTF-8.
    #[must_use]
    pub fn json(value: impl Into<Vec<u8>>) -> Self {
        // "No 'charset' parameter is defined for this registration" (RFC 8259 section 11).
        Self::new(200).with_type("application/json").body(value)
    }

    /// 302: what was asked for is at this URL, absolute or relative (RFC 9110 section 15.4.3). What no URL may
    /// hold, such as white space, control characters and anything outside of ASCII, is percent-encoded: no
    /// header can be forged by it.
    ///
    /// ```
    /// use framewire::Response;
    ///
    /// let response = Response::redirect("/rooms/blå?a=1");
    /// assert_eq!(response.headers().get_str("Location"), Some("/rooms/bl%C3%A5?a=1"));
    /// ```
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        let mut encoded = String::with_capacity(location.len());
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        encode(&mut encoded, location, allowed);
        let mut response = Self::new(302);
        let appended = response.headers.append("Location", encoded);
        debug_assert_eq!(appended, Ok(()), "printable, all of it");
        response
    }

    /// 400, with the text as body.
    #[must_use]
    pub fn bad_request(text: impl Into<Vec<u8>>) -> Self {
        Self::new(400).body(text)
    }

    /// 403: for an origin that may not connect (RFC 6455 section 4.2.2, item 4).
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(403).body("forbidden\n")
    }

    /// 404: for a path that has no service (RFC 6455 section 4.2.2, item 4).
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404).body("not found\n")
    }

    /// 405: for a method that is not among these, which `Allow` lists, each once (RFC 9110 section 15.5.6). What is
    /// no method is left out.
    ///
    /// ```
    /// use framewire::Response;
    ///
    /// let response = Response::method_not_allowed(["GET", "HEAD"]);
    /// assert_eq!(response.headers().get_str("Allow"), Some("GET, HEAD"));
    /// ```
    #[must_use]
    pub fn method_not_allowed<M: AsRef<str>>(methods: impl IntoIterator<Item = M>) -> Self {
        let mut allow: Vec<String> = Vec::new();
        for method in methods {
            let method = method.as_ref();
            if is_token(method.as_bytes()) && allow.iter().all(|other| other != method) {
                allow.push(method.to_owned());
            }
        }
        let mut response = Self::new(405).body(format!("{}\n", RequestError::MethodNotAllowed));
        let appended = response.headers.append("Allow", allow.join(", "));
        debug_assert_eq!(appended, Ok(()), "tokens, all of them");
        response
    }

    /// 426, for a request that is not for a WebSocket or not of a version spoken here (RFC 6455
    /// section 4.4, RFC 9110 section 15.5.22).
    ///
    /// ```
    /// # use framewire::handshake::Response;
    /// let response = Response::upgrade_required();
    /// assert_eq!(response.headers().get_str("Sec-WebSocket-Version"), Some("13, 8"));
    /// assert_eq!(response.headers().get_str("Upgrade"), Some("websocket"));
    /// ```
    #[must_use]
    pub fn upgrade_required() -> Self {
        Self::new(426)
            .fixed_header(UPGRADE, "websocket")
            .fixed_header(VERSION, "13, 8")
            .body("only WebSocket connections are served here\n")
    }

    /// 429: for a client, or its network, that asks too often (RFC 6585 section 4).
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::new(429).body("too many requests\n")
    }

    /// 503: for a server that takes no more connections.
    #[must_use]
    pub fn service_unavailable() -> Self {
        Self::new(503).body("service unavailable\n")
    }

    /// Adds a header.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if it would break the syntax (RFC 9110 section 5), and for `Connection`,
    /// `Content-Length` and `Transfer-Encoding`, which [`encode`](Self::encode) writes.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        if is_framing(name) {
            return Err(InvalidHeader::Reserved(name.to_owned()));
        }
        self.headers.append(name, value)?;
        Ok(self)
    }

    /// Sets a cookie.
    #[must_use]
    pub fn cookie(mut self, cookie: &Cookie) -> Self {
        let appended = self.headers.append(SET_COOKIE, cookie.to_string());
        debug_assert_eq!(appended, Ok(()), "a cookie has no byte that a header may not have");
        self
    }

    /// Sets another reason phrase.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader::Reason`] if it holds a control byte (RFC 9112 section 4).
    pub fn reason(mut self, reason: impl Into<String>) -> Result<Self, InvalidHeader> {
        let reason = reason.into();
        if !reason.bytes().all(is_value_byte) {
            return Err(InvalidHeader::Reason(reason));
        }
        self.reason = Cow::Owned(reason);
        Ok(self)
    }

    /// Sets the body. Its type is `text/plain; charset=utf-8` unless a header says otherwise.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase; empty if the server sent none, or one that is not ASCII.
    #[must_use]
    pub fn reason_phrase(&self) -> &str {
        &self.reason
    }

    /// The headers; for a response to be sent, without those that `encode` adds.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body; of a response that was read, as much as the limit let through.
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Writes the response to a request of this method after what is in `out`; with the date, if the time is
    /// known (RFC 9110 section 6.6.1).
    ///
    /// It says `Connection: close` (RFC 9112 section 9.6) and the length of the body. None follows as the answer
    /// to `HEAD`, of which the head is that of `GET` (RFC 9110 section 9.3.2), and with a 204, a 205 or a 304
    /// (sections 15.3.5, 15.3.6 and 15.4.5). `Connection`, `Content-Length` and `Transfer-Encoding` of a
    /// response that was read are not written again.
    pub fn encode(&self, method: &str, date: Option<HttpDate>, out: &mut Vec<u8>) {
        let status = final_status(self.status);
        let reason = if status == self.status { &*self.reason } else { standard_reason(status) };
        out.reserve(200 + reason.len() + self.headers.encoded_bytes() + self.body.len());
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, status.into());
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\nConnection: close\r\n");
        if let Some(date) = date.filter(|_| !self.headers.contains(DATE)) {
            encode_field(out, DATE, date.to_string().as_bytes());
        }
        if self.headers.contains(UPGRADE) {
            // "A sender of Upgrade MUST also send an 'Upgrade' connection option" (RFC 9110 section
            // 7.8). Two lines are one list.
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| !is_framing(name)) {
            encode_field(out, name, value);
        }
        let body = match status {
            204 | 304 => None,
            // "A server MUST NOT generate content in a 205 response", and says so, for the status alone does
            // not (RFC 9110 section 15.3.6, RFC 9112 section 6.3).
            205 => Some(&[][..]),
            _ => Some(&*self.body),
        };
        if let Some(body) = body {
            if !self.headers.contains(CONTENT_TYPE) && status != 205 {
                encode_field(out, CONTENT_TYPE, b"text/plain; charset=utf-8");
            }
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, body.len());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if method != "HEAD" {
            out.extend_from_slice(body.unwrap_or_default());
        }
    }

    fn with_type(self, kind: &'static str) -> Self {
        self.fixed_header(CONTENT_TYPE, kind)
    }

    /// A response as it was read.
    pub(super) fn from_parts(status: u16, reason: String, headers: Headers) -> Self {
        Self { status, reason: Cow::Owned(reason), headers, body: Vec::new() }
    }

    pub(super) fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Adds a header whose text stands in this file.
    fn fixed_header(mut self, name: &'static str, value: &'static str) -> Self {
        let appended = self.headers.append(name, value);
        debug_assert_eq!(appended, Ok(()), "well-formed by its text");
        self
    }
}

/// The answer of the server to a fault in a request: its status, the headers that go with it, and
/// one line of text that names the fault.
impl From<&RequestError> for Response {
    fn from(error: &RequestError) -> Self {
        let status = error.status();
        let response = match status {
            405 => Self::method_not_allowed(["GET", "HEAD"]),
            426 => Self::upgrade_required(),
            _ => Self::new(status),
        };
        let text = match error.source() {
            Some(fault) => format!("{error}: {fault}\n"),
            None => format!("{error}\n"),
        };
        response.body(text)
    }
}

/// Writes the 101 response that opens the WebSocket (RFC 6455 section 4.2.2, item 5) after what is
/// in `out`.
///
/// `key` is the [`key`](super::Request::key) of the request; `subprotocol` and `extensions` are
/// what was agreed on, and `extra` is added as it is.
///
/// # Errors
///
/// [`InvalidHeader`], and nothing is written, if the subprotocol is not a token, if `extensions` is
/// not a header value, or if `extra` has a header of the handshake or one that announces a body.
///
/// ```
/// use framewire::handshake::{Headers, encode_switching_protocols};
///
/// let mut out = Vec::new();
/// let key = b"dGhlIHNhbXBsZSBub25jZQ==";
/// encode_switching_protocols(&mut out, key, Some("chat"), None, &Headers::new())?;
/// assert_eq!(
///     out,
///     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///       Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
///       Sec-WebSocket-Protocol: chat\r\n\r\n"
/// );
/// # Ok::<(), framewire::handshake::InvalidHeader>(())
/// ```
pub fn encode_switching_protocols(
    out: &mut Vec<u8>,
    key: &[u8],
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    extra: &Headers,
) -> Result<(), InvalidHeader> {
    if let Some(name) = subprotocol.filter(|name| !is_token(name.as_bytes())) {
        return Err(InvalidHeader::Subprotocol(name.to_owned()));
    }
    if let Some(extensions) = extensions {
        check_field(EXTENSIONS, extensions.as_bytes())?;
    }
    if let Some((name, _)) = extra.iter().find(|(name, _)| is_of_handshake(name)) {
        return Err(InvalidHeader::Reserved(name.to_owned()));
    }
    let agreed = subprotocol.map_or(0, str::len) + extensions.map_or(0, str::len);
    out.reserve(200 + agreed + extra.encoded_bytes());
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    encode_field(out, ACCEPT, &accept_key(key));
    if let Some(name) = subprotocol {
        encode_field(out, PROTOCOL, name.as_bytes());
    }
    if let Some(extensions) = extensions {
        encode_field(out, EXTENSIONS, extensions.as_bytes());
    }
    for (name, value) in extra.iter() {
        encode_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The header fields of that response as a list, for a server that writes heads of its own.
pub(crate) fn accept_headers(
    key: &[u8],
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    extra: &Headers,
) -> Result<Headers, InvalidHeader> {
    let mut headers = Headers::new();
    headers.append(UPGRADE, "websocket")?;
    headers.append(CONNECTION, "Upgrade")?;
    headers.append(ACCEPT, accept_key(key))?;
    let agreed = [(PROTOCOL, subprotocol), (EXTENSIONS, extensions)];
    for (name, value) in agreed.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        headers.append(name, value)?;
    }
    for (name, value) in extra.iter() {
        headers.append(name, value)?;
    }
    Ok(headers)
}

/// Whether the handshake writes this header itself, or it would announce a body.
pub(crate) fn is_of_handshake(name: &str) -> bool {
    const PREFIX: &str = "Sec-WebSocket-";
    let start = name.get(..PREFIX.len()).unwrap_or_default();
    start.eq_ignore_ascii_case(PREFIX) || name.eq_ignore_ascii_case(UPGRADE) || is_framing(name)
}

/// Whether this header says where the message, or the connection, ends.
fn is_framing(name: &str) -> bool {
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn final_status(status: u16) -> u16 {
    if (200..=599).contains(&status) { status } else { 500 }
}

fn push_decimal(out: &mut Vec<u8>, mut number: usize) {
    let start = out.len();
    loop {
        out.push(b"0123456789"[number % 10]);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// The reason phrases of RFC 9110 section 15 and RFC 6585; otherwise that of the class.
fn standard_reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_OF_RFC: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

    fn encoded(response: &Response) -> String {
        let mut out = Vec::new();
        response.encode("GET", None, &mut out);
        let got = String::from_utf8(out.clone()).unwrap();
        out.clear();
        response.encode("HEAD", None, &mut out);
        let (head, _) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{head}\r\n\r\n"));
        got
    }

    // req: W038, W039, W040, W046, W047, W048
    #[test]
    fn switching_protocols() {
        let mut extra = Headers::new();
        extra.append("X-A", "b").unwrap();
        let mut out = b"before".to_vec();
        encode_switching_protocols(&mut out, KEY_OF_RFC, None, Some("permessage-deflate"), &extra)
            .unwrap();
        let expected = "beforeHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\nX-A: b\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// Headers that take more as lines than their names and values have bytes.
    fn many_headers() -> Headers {
        let mut headers = Headers::new();
        for _ in 0..1000 {
            headers.append("a", "b").unwrap();
        }
        headers
    }

    #[test]
    fn a_response_takes_its_memory_at_once() {
        let mut out = Vec::new();
        let name = "n".repeat(2000);
        let extensions = "e".repeat(3000);
        encode_switching_protocols(
            &mut out,
            KEY_OF_RFC,
            Some(&name),
            Some(&extensions),
            &many_headers(),
        )
        .unwrap();
        assert!(out.capacity() - out.len() < 200, "{} of {}", out.len(), out.capacity());

        let mut response = Response::new(404).reason("r".repeat(2000)).unwrap().body([b'b'; 3000]);
        for (name, value) in many_headers().iter() {
            response = response.header(name, value).unwrap();
        }
        let mut out = Vec::new();
        response.encode("GET", None, &mut out);
        assert!(out.capacity() - out.len() < 200, "{} of {}", out.len(), out.capacity());
    }

    #[test]
    fn a_response_has_the_reason_that_it_was_given() {
        let response = Response::new(404).reason("Gone Fishing").unwrap();
        assert!(encoded(&response).starts_with("HTTP/1.1 404 Gone Fishing\r\n"));
        assert!(encoded(&Response::new(404)).starts_with("HTTP/1.1 404 Not Found\r\n"));
    }

    // req: H007, W038 (HS33)
    #[test]
    fn switching_protocols_refuses_to_forge() {
        let mut out = Vec::new();
        for name in ["", "a b", "a\r\nX: y", "a,b"] {
            let result =
                encode_switching_protocols(&mut out, KEY_OF_RFC, Some(name), None, &Headers::new());
            assert_eq!(result, Err(InvalidHeader::Subprotocol(name.into())));
        }
        let result = encode_switching_protocols(
            &mut out,
            KEY_OF_RFC,
            None,
            Some("a\r\nb: c"),
            &Headers::new(),
        );
        assert!(result.is_err());
        for name in ["sec-websocket-accept", "UPGRADE", "Connection", "Content-Length"] {
            let mut extra = Headers::new();
            extra.append(name, "0").unwrap();
            let result = encode_switching_protocols(&mut out, KEY_OF_RFC, None, None, &extra);
            assert_eq!(result, Err(InvalidHeader::Reserved(name.into())));
        }
        assert!(out.is_empty());
    }

    // req: H012, W037
    #[test]
    fn answers() {
        assert_eq!(
            encoded(&Response::not_found()),
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n\r\nnot found\n"
        );
        let response = Response::new(302).header("Location", "/x").unwrap();
        let response = response.header("content-type", "text/html").unwrap();
        assert_eq!(
            encoded(&response),
            "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /x\r\ncontent-type: text/html\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(
            encoded(&Response::new(204).body("lost")),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            encoded(&Response::new(205).body("lost")),
            "HTTP/1.1 205 Reset Content\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            encoded(&Response::new(304).header("ETag", "1").unwrap().body("lost")),
            "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: 1\r\n\r\n"
        );
        let statuses = [Response::forbidden(), Response::service_unavailable()];
        assert_eq!(statuses.map(|response| response.status()), [403, 503]);
    }

    // req: W036, H011
    #[test]
    fn answers_to_faults() {
        let text = encoded(&Response::from(&RequestError::UnsupportedVersion(7)));
        assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\n"));
        assert!(text.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13, 8\r\n"));
        assert!(text.contains("\r\nConnection: upgrade\r\n"));
        assert!(text.ends_with("\r\n\r\nWebSocket version 7 is not supported, 13 and 8 are\n"));
        let other = Response::method_not_allowed(["GET", "POST", "GET", "a b", "POST"]);
        assert_eq!(other.headers().get_str("Allow"), Some("GET, POST"));
        let text = encoded(&Response::from(&RequestError::MethodNotAllowed));
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        let text = encoded(&Response::from(&RequestError::MissingHeader(KEY)));
        assert!(text.ends_with("\r\n\r\nmissing Sec-WebSocket-Key header\n"));
    }

    #[test]
    fn dates() {
        let date = HttpDate::since_1970(std::time::Duration::from_secs(784_111_777));
        let mut out = Vec::new();
        Response::new(204).encode("GET", Some(date), &mut out);
        let line = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let expected = format!("HTTP/1.1 204 No Content\r\nConnection: close\r\n{line}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        // One of the application's own is not doubled.
        let mut out = Vec::new();
        Response::new(204).header("date", "x").unwrap().encode("GET", Some(date), &mut out);
        assert!(out.ends_with(b"close\r\ndate: x\r\n\r\n"));
    }

    // attack: HS33
    #[test]
    fn pages_and_where_they_are() {
        for (response, kind) in [
            (Response::text("b"), "text/plain; charset=utf-8"),
            (Response::html("b"), "text/html; charset=utf-8"),
            (Response::json("b"), "application/json"),
            (Response::json(*b"b"), "application/json"),
        ] {
            assert_eq!((response.status(), response.body_bytes()), (200, &b"b"[..]));
            assert_eq!(response.headers().get_str("Content-Type"), Some(kind));
        }
        for (location, header) in [
            ("/a?b=c&d#e", "/a?b=c&d#e"),
            ("https://[::1]:80/%41", "https://[::1]:80/%41"),
            ("/a\r\nSet-Cookie: b=c", "/a%0D%0ASet-Cookie:%20b=c"),
            ("/\"<>\0\u{7f}é", "/%22%3C%3E%00%7F%C3%A9"),
        ] {
            let response = Response::redirect(location);
            assert_eq!(response.headers().get_str("Location"), Some(header));
        }
    }

    // req: H007 (HS33)
    #[test]
    fn refuses_what_breaks_http() {
        for status in [0, 100, 101, 199, 600, 999, u16::MAX] {
            assert_eq!(Response::new(status).status(), 500);
        }
        assert!(Response::new(200).reason("fine\r\nX: y").is_err());
        assert_eq!(Response::new(200).reason("fine").unwrap().reason_phrase(), "fine");
        assert!(Response::new(200).header("X", "y\r\nZ: 1").is_err());
        for name in ["connection", "Content-length", "TRANSFER-ENCODING"] {
            let error = Response::new(200).header(name, "x").unwrap_err();
            assert_eq!(error, InvalidHeader::Reserved(name.into()));
        }
        assert!(
            encoded(&Response::from_parts(101, String::new(), Headers::new()))
                .starts_with("HTTP/1.1 500 ")
        );
    }
}
