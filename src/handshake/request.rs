//! The request of a client as a server reads it (RFC 6455 section 4.2.1).

use std::borrow::Cow;
use std::sync::Arc;

use super::body_length::{BodyLength, body_length};
use super::forwarded::Forwarded;
use super::head::{Head, HeadError};
use super::header_list::{Extension, HeaderListError, extensions_of, subprotocols_of};
use super::headers::{Headers, cookie_pairs, trim};
use super::host::{is_ipv4, is_name_of, is_of_scheme, is_origin_of, is_under, relative};
use super::key::is_valid_key;
use super::names::*;
use super::owned;
use super::request_error::RequestError;
use super::trusted_proxies::TrustedProxies;
use super::url::{decode_form, is_authority, split_port};

/// A request of HTTP: one to open a WebSocket, or a plain one.
///
/// It owns what it says, in two allocations and one for the list of headers, and was checked whole
/// when it was read, so that the accessors cannot fail.
///
/// What asks for a WebSocket is a `GET` of HTTP/1.1 with `websocket` in its `Upgrade`, and only of that the
/// other fields of the handshake are checked. Everything else is a plain request: "a server MAY ignore a
/// received Upgrade header field", and in HTTP/1.0 must (RFC 9110 section 7.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The method and the target, with nothing in between.
    line: Box<str>,
    method_length: usize,
    /// Of HTTP/1.0 or HTTP/1.1.
    minor: u8,
    headers: Headers,
    /// `None`: a plain request.
    version: Option<u8>,
    length: BodyLength,
    body: Vec<u8>,
    /// What trusted proxies say of the client.
    forwarded: Option<Arc<Forwarded>>,
}

impl Request {
    /// The method, a token as it stood in the request line: `GET` and `get` are two (RFC 9110 section 9.1).
    #[must_use]
    pub fn method(&self) -> &str {
        &self.line[..self.method_length]
    }

    /// The version of HTTP: `(1, 1)` or `(1, 0)`.
    #[must_use]
    pub fn http_version(&self) -> (u8, u8) {
        (1, self.minor)
    }

    /// The request target as it stood in the request line (RFC 9112 section 3.2).
    ///
    /// Visible ASCII characters, nothing decoded or normalised.
    #[doc(alias = "req.url")]
    #[must_use]
    pub fn target(&self) -> &str {
        &self.line[self.method_length..]
    }

    /// The path of the target, without the query; it begins with `/`, but for that of `OPTIONS *`, which
    /// is `*`.
    ///
    /// Nothing is decoded or normalised: `//`, `/../` and `%00` come through.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.path_and_query().0 {
            "" => "/",
            path => path,
        }
    }

    /// The query: what follows the first `?` of the target, not decoded; [`query_parameter`] decodes it.
    ///
    /// [`query_parameter`]: Self::query_parameter
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().1
    }

    /// The first value of a parameter of the query, decoded; see
    /// [`query_parameters`](Self::query_parameters).
    ///
    /// ```
    /// # use framewire::handshake::{HeadLimits, RequestParts};
    /// # let request = RequestParts::new("GET", "/?name=J%C3%BCrgen+M&v=1")?
    /// #     .header("Host", "example.com")?.read(HeadLimits::default())?;
    /// assert_eq!(request.query(), Some("name=J%C3%BCrgen+M&v=1"));
    /// assert_eq!(request.query_parameter("name").as_deref(), Some("Jürgen M"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("token", "access token", "req.query", "searchParams"))]
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_parameters().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// All parameters of the query with name and value, in their order, as a browser's `URLSearchParams`
    /// reads them: `+` is a space, `%` and two hexadecimal digits are a byte, and a parameter without `=` has
    /// an empty value. A `%` without them stands for itself; bytes that are not UTF-8 become `U+FFFD`.
    pub fn query_parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let pairs = self.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(name), decode_form(value))
        })
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// What trusted proxies say of the client: its address, the host and the scheme that it asked for. `None`
    /// if the request does not come from one, or that says nothing; see
    /// [`Config::trusted_proxies`](crate::Config::trusted_proxies).
    #[must_use]
    pub fn forwarded(&self) -> Option<&Arc<Forwarded>> {
        self.forwarded.as_ref()
    }

    /// Believes what the header fields of these proxies say, of which one has sent the request.
    ///
    /// # Errors
    ///
    /// [`RequestError::InvalidHeader`] if one of them cannot be read, and [`RequestError::ForwardedTwice`] if two
    /// contradict each other.
    pub(super) fn believe(&mut self, proxies: &TrustedProxies) -> Result<(), RequestError> {
        self.forwarded = Forwarded::of(&self.headers, proxies)?.map(Arc::new);
        Ok(())
    }

    /// Believes what these proxies say; where it cannot be read, the client is unknown.
    pub(crate) fn believe_or_unknown(&mut self, proxies: &TrustedProxies) {
        if self.believe(proxies).is_err() {
            self.forwarded = Some(Arc::new(Forwarded::unknown()));
        }
    }

    /// Host and port that the client meant: where a trusted proxy says so, those; from an absolute target;
    /// otherwise from `Host` (RFC 9112 section 3.2.2). Empty for a request of HTTP/1.0 that names none.
    #[must_use]
    pub fn host(&self) -> &str {
        if let Some(host) = self.forwarded.as_ref().and_then(|forwarded| forwarded.host()) {
            return host;
        }
        match self.authority_and_resource() {
            Some((authority, _)) => authority,
            None => self.headers.get_str(HOST).unwrap_or_default(),
        }
    }

    /// The name or the address in [`host`](Self::host), without the port; an IPv6 address keeps its
    /// brackets.
    #[must_use]
    pub fn host_name(&self) -> &str {
        split_port(self.host()).map_or("", |(name, _)| name)
    }

    /// Whether the [`host_name`](Self::host_name) is one that no page of somebody else can have by a trick
    /// of DNS: `localhost`, a name under it, or an IP address.
    #[must_use]
    pub fn is_local_host(&self) -> bool {
        let name = relative(self.host_name());
        name.eq_ignore_ascii_case("localhost")
            || is_under(name, ".localhost")
            || name.starts_with('[')
            || is_ipv4(name)
    }

    /// Whether the [`host_name`](Self::host_name) is this one, or, if it begins with a dot, is it or a
    /// name under it. A dot at the end, that of an absolute name, makes no difference.
    #[must_use]
    pub fn is_for_host(&self, name: &str) -> bool {
        is_name_of(self.host_name(), name)
    }

    /// The origin of the script that opens the WebSocket (RFC 6455 section 10.2).
    ///
    /// Version 13 names it in `Origin`; version 8 in `Sec-WebSocket-Origin`, and `Origin` is taken
    /// too. `None` if there is none; such a client is likely no browser. If the header stands more
    /// than once, which RFC 6454 section 7.3 forbids, the origin is empty: it is on no list of
    /// allowed ones.
    #[must_use]
    pub fn origin(&self) -> Option<&[u8]> {
        self.origins().next()
    }

    /// The [`origin`](Self::origin), and after it that of `Origin`, where a request of version 8 has
    /// both headers. Let it pass only if each of them may.
    pub fn origins(&self) -> impl Iterator<Item = &[u8]> {
        let names = if self.version == Some(8) { &[SEC_ORIGIN, ORIGIN][..] } else { &[ORIGIN] };
        names.iter().filter_map(|name| {
            let mut origins = self.headers.get_all(name);
            let first = origins.next()?;
            Some(if origins.next().is_none() { first } else { b"" })
        })
    }

    /// Whether the [`origin`](Self::origin), and each of [`origins`](Self::origins), is the host that was
    /// asked: the same name and the same port, where a port that is left out is that of the origin's
    /// scheme. `None` without an origin.
    ///
    /// The scheme itself is compared only where a trusted proxy has [told](Self::forwarded) it: otherwise it
    /// cannot be known whether TLS is spoken in front of this server.
    #[must_use]
    pub fn is_same_origin(&self) -> Option<bool> {
        self.origin().map(|_| self.origins().all(|origin| self.is_own_origin(origin)))
    }

    /// Whether this is the origin of pages of the host that was asked.
    pub(crate) fn is_own_origin(&self, origin: &[u8]) -> bool {
        let scheme = self.forwarded.as_ref().and_then(|forwarded| forwarded.scheme());
        is_origin_of(origin, self.host())
            && scheme.is_none_or(|scheme| is_of_scheme(origin, scheme))
    }

    /// Whether the client asks for a WebSocket; false for a plain request.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.version.is_some()
    }

    /// The version of the WebSocket protocol: 13 or 8. Without meaning (13) for a plain request.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version.unwrap_or(13)
    }

    /// The `Sec-WebSocket-Key`; 24 characters of an upgrade, otherwise whatever stands there.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get_str(KEY).unwrap_or_default()
    }

    /// The subprotocols that the client speaks, in its order of preference (RFC 6455 section 1.9).
    ///
    /// Checked for an upgrade: tokens, each once.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers
            .get_all(PROTOCOL)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|name| std::str::from_utf8(trim(name)).ok())
            .filter(|name| !name.is_empty())
    }

    /// The extensions that the client offers, in its order of preference (RFC 6455 section 9.1).
    ///
    /// Checked for an upgrade; none for a plain request in which they break the grammar.
    #[must_use]
    pub fn extensions(&self) -> Vec<Extension> {
        extensions_of(&self.headers).unwrap_or_default()
    }

    /// The value of the first cookie of this name, as it stands there but for quotation marks around it;
    /// names are compared exactly. `None` too if it is not UTF-8.
    ///
    /// A cookie may have been set by any page of the same domain: believe only what you can verify.
    ///
    /// ```
    /// # use framewire::handshake::{HeadLimits, RequestParts};
    /// # let request = RequestParts::new("GET", "/")?.header("Host", "example.com")?
    /// #     .header("Cookie", "theme=dark; session=31d4d96e")?.read(HeadLimits::default())?;
    /// assert_eq!(request.cookie("session"), Some("31d4d96e"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "parse cookie")]
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// All cookies, in their order, with name and value. What is not UTF-8 or has no name is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        cookie_pairs(self.headers()).filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (!name.is_empty()).then_some((name, unquoted.unwrap_or(value)))
        })
    }

    /// The body: empty, but for plain requests of the methods that the application has asked for; see
    /// [`Config::http_methods`](crate::Config::http_methods).
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether a body follows the head; read it by a [`BodyReader`](super::BodyReader).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.length != BodyLength::None
    }

    /// How the body is delimited that follows the head.
    pub(super) fn body_length(&self) -> BodyLength {
        self.length
    }

    pub(super) fn with_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    pub(super) fn from_head(head: &Head<'_>) -> Result<Self, RequestError> {
        let parsed = head.parse(|slots, bytes| {
            let mut request = httparse::Request::new(slots);
            let complete = request.parse(bytes).is_ok_and(|status| status.is_complete());
            if complete { Some((request.method?, request.path?, request.version?)) } else { None }
        });
        let lacking = |_| RequestError::OutOfMemory;
        let Some(((method, target, minor), headers)) = parsed.map_err(lacking)? else {
            return Err(RequestError::Head(HeadError::StartLine));
        };
        check_host(&headers, minor)?;
        let length = body_length(method, minor, &headers)?;
        let asks_for_upgrade =
            method == "GET" && minor == 1 && headers.has_token(UPGRADE, "websocket");
        let version = if asks_for_upgrade { Some(check_upgrade(&headers)?) } else { None };
        let line = owned::text([method, target]).map_err(lacking)?.into_boxed_str();
        let method_length = method.len();
        Ok(Self {
            line,
            method_length,
            minor,
            headers,
            version,
            length,
            body: Vec::new(),
            forwarded: None,
        })
    }

    fn path_and_query(&self) -> (&str, Option<&str>) {
        let resource =
            self.authority_and_resource().map_or_else(|| self.target(), |(_, resource)| resource);
        match resource.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (resource, None),
        }
    }

    /// What a target in absolute form, or that of a `CONNECT`, says.
    fn authority_and_resource(&self) -> Option<(&str, &str)> {
        match self.method() {
            "CONNECT" => Some((self.target(), "")),
            _ => split_absolute(self.target()),
        }
    }
}

/// Authority and resource of a target in absolute form.
pub(super) fn split_absolute(target: &str) -> Option<(&str, &str)> {
    // Hardly any client sends one; the common one is told by its first byte.
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

/// The one value of a header.
fn single<'h>(headers: &'h Headers, name: &'static str) -> Result<&'h [u8], RequestError> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Err(RequestError::MissingHeader(name)),
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(RequestError::RepeatedHeader(name)),
    }
}

/// A client of HTTP/1.0 need not name the host (RFC 9112 section 3.2).
fn check_host(headers: &Headers, minor: u8) -> Result<(), RequestError> {
    if minor == 0 && !headers.contains(HOST) {
        return Ok(());
    }
    match std::str::from_utf8(single(headers, HOST)?) {
        Ok(host) if is_authority(host) => Ok(()),
        _ => Err(RequestError::InvalidHeader(HOST)),
    }
}

fn check_upgrade(headers: &Headers) -> Result<u8, RequestError> {
    if !headers.has_token(CONNECTION, "upgrade") {
        let is_there = headers.contains(CONNECTION);
        let error =
            if is_there { RequestError::InvalidHeader } else { RequestError::MissingHeader };
        return Err(error(CONNECTION));
    }
    let version = parse_version(single(headers, VERSION)?)?;
    if !is_valid_key(single(headers, KEY)?) {
        return Err(RequestError::InvalidHeader(KEY));
    }
    let invalid_list = |name| {
        move |error| match error {
            HeaderListError::OutOfMemory => RequestError::OutOfMemory,
            error => RequestError::InvalidList { name, error },
        }
    };
    subprotocols_of(headers).map_err(invalid_list(PROTOCOL))?;
    extensions_of(headers).map_err(invalid_list(EXTENSIONS))?;
    Ok(version)
}

/// "The number is between 0 and 255 with no leading zeros" (RFC 6455 section 4.3, `version`).
fn parse_version(value: &[u8]) -> Result<u8, RequestError> {
    let invalid = RequestError::InvalidHeader(VERSION);
    let version = match value {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()),
        _ => None,
    };
    match version {
        Some(version @ (8 | 13)) => Ok(version),
        Some(other) => Err(RequestError::UnsupportedVersion(other)),
        None => Err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, RequestParts};
    use super::*;

    fn request(host: &str, origin: Option<&str>) -> Request {
        let mut parts = RequestParts::new("GET", "/").unwrap().header("Host", host).unwrap();
        if let Some(origin) = origin {
            parts = parts.header("Origin", origin).unwrap();
        }
        parts.read(HeadLimits::default()).unwrap()
    }

    #[test]
    fn origins_of_the_same_host() {
        for (host, origin, same) in [
            ("example.com", "https://example.com", true),
            ("example.com", "http://EXAMPLE.com", true),
            ("example.com:443", "https://example.com", true),
            ("example.com", "https://example.com:443", true),
            ("example.com:80", "https://example.com", false),
            ("example.com:8080", "http://example.com:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("example.com", "https://example.com.evil.example", false),
            ("example.com", "https://www.example.com", false),
            ("example.com", "null", false),
            ("example.com", "example.com", false),
            ("example.com.", "https://example.com", true),
            ("example.com", "https://example.com.:443", true),
            ("example.com", "https://example.com..", false),
            ("example.com", "https://example.com/", false),
            ("app", "capacitor://app", true),
            ("app:80", "capacitor://app", false),
        ] {
            let found = request(host, Some(origin)).is_same_origin();
            assert_eq!(found, Some(same), "{host} {origin}");
        }
        assert_eq!(request("example.com", None).is_same_origin(), None);
    }

    #[test]
    fn names_of_hosts() {
        for (host, local) in [
            ("localhost", true),
            ("LocalHost:80", true),
            ("a.localhost", true),
            ("a.b.localhost:1", true),
            ("localhost.", true),
            ("a.LOCALHOST.:80", true),
            ("127.0.0.1.", true),
            ("localhost..", false),
            ("notlocalhost.", false),
            ("127.0.0.1", true),
            ("192.168.1.255:9001", true),
            ("[::1]", true),
            ("[2001:db8::1]:443", true),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.256", false),
            ("127.0.0", false),
            ("1.2.3.4.5", false),
            ("example.com", false),
        ] {
            assert_eq!(request(host, None).is_local_host(), local, "{host}");
        }
        for (host, name, matches) in [
            ("example.com", "example.com", true),
            ("Example.Com:81", "example.com", true),
            ("www.example.com", "example.com", false),
            ("www.example.com", ".example.com", true),
            ("a.b.example.com", ".example.com", true),
            ("example.com", ".example.com", true),
            ("example.com.", "example.com", true),
            ("www.example.com.:80", ".example.com", true),
            ("example.com", "example.com.", true),
            ("example.com..", "example.com", false),
            ("notexample.com", ".example.com", false),
            ("example.com.evil.example", ".example.com", false),
        ] {
            assert_eq!(request(host, None).is_for_host(name), matches, "{host} {name}");
        }
    }

    #[test]
    fn cookies_of_a_request() {
        let parts = RequestParts::new("GET", "/").unwrap().header("Host", "h").unwrap();
        let parts = parts.header("Cookie", "a=1; b=\"2\";c=x=y; ; d; =e; a=2;  f = g").unwrap();
        let parts = parts.header("Cookie", b"h=\xff; i=3").unwrap();
        let request = parts.read(HeadLimits::default()).unwrap();
        let all: Vec<_> = request.cookies().collect();
        let expected = [("a", "1"), ("b", "2"), ("c", "x=y"), ("a", "2"), ("f ", " g"), ("i", "3")];
        assert_eq!(all, expected);
        assert_eq!((request.cookie("a"), request.cookie("A")), (Some("1"), None));
    }

    #[test]
    fn parameters_of_a_query() {
        let of = |query: &str| {
            let parts = RequestParts::new("GET", &format!("/?{query}")).unwrap();
            let request = parts.header("Host", "h").unwrap().read(HeadLimits::default()).unwrap();
            let pairs = request.query_parameters().map(|(name, value)| format!("{name}:{value}"));
            pairs.collect::<Vec<_>>()
        };
        for (query, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a", &["a:"]),
            ("a=", &["a:"]),
            ("=a", &[":a"]),
            ("a=1&a=2&&b=3", &["a:1", "a:2", "b:3"]),
            ("a=b=c?d", &["a:b=c?d"]),
            ("name=J%C3%BCrgen&v=1", &["name:Jürgen", "v:1"]),
            ("a+b=%2B+%26%3d", &["a b:+ &="]),
            // What cannot be decoded.
            ("a=100%&b=%4&c=%zz&d=%%41", &["a:100%", "b:%4", "c:%zz", "d:%A"]),
            ("a=%FF%C3x&%ff=1", &["a:\u{fffd}\u{fffd}x", "\u{fffd}:1"]),
        ] {
            assert_eq!(of(query), expected, "{query}");
        }
        for (target, value) in [("/a", None), ("/?b=1", None), ("/?b=1&a=2&a=3", Some("2"))] {
            let parts = RequestParts::new("GET", target).unwrap().header("Host", "h").unwrap();
            let request = parts.read(HeadLimits::default()).unwrap();
            assert_eq!(request.query_parameter("a").as_deref(), value, "{target}");
        }
    }
}
