//! The request of a client as a server reads it (RFC 6455 section 4.2.1).

use super::head::{Head, HeadError};
use super::header_list::{Extension, append_subprotocols, check_distinct, parse_extensions};
use super::headers::{Headers, has_token, trim};
use super::host::{is_ipv4, is_name_of, is_origin_of, is_under};
use super::key::is_valid_key;
use super::names::*;
use super::request_error::RequestError;
use super::url::{is_authority, split_port};

/// A `GET` request: one to open a WebSocket, or a plain one.
///
/// It owns what it says, in two allocations and one for the list of headers, and was checked whole
/// when it was read, so that the accessors cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    target: Box<str>,
    headers: Headers,
    /// `None`: a plain `GET`.
    version: Option<u8>,
}

impl Request {
    /// The request target as it stood in the request line (RFC 9112 section 3.2).
    ///
    /// Visible ASCII characters, nothing decoded or normalised.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path of the target, without the query; it begins with `/`.
    ///
    /// Nothing is decoded or normalised: `//`, `/../` and `%00` come through.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.path_and_query().0 {
            "" => "/",
            path => path,
        }
    }

    /// What stands behind the first `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().1
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Host and port that the client meant: from an absolute target, otherwise from `Host` (RFC
    /// 9112 section 3.2.2).
    #[must_use]
    pub fn host(&self) -> &str {
        match split_absolute(&self.target) {
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
        let name = self.host_name();
        name.eq_ignore_ascii_case("localhost")
            || is_under(name, ".localhost")
            || name.starts_with('[')
            || is_ipv4(name)
    }

    /// Whether the [`host_name`](Self::host_name) is this one, or, if it begins with a dot, is it or a
    /// name under it.
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
    /// The scheme itself is not compared: it cannot be known whether TLS is spoken in front of this
    /// server.
    #[must_use]
    pub fn is_same_origin(&self) -> Option<bool> {
        self.origin().map(|_| self.origins().all(|origin| is_origin_of(origin, self.host())))
    }

    /// Whether the client asks for a WebSocket; false for a plain `GET`, which has no `Upgrade`.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.version.is_some()
    }

    /// The version of the WebSocket protocol: 13 or 8. Without meaning (13) for a plain `GET`.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version.unwrap_or(13)
    }

    /// The `Sec-WebSocket-Key`; 24 characters of an upgrade, otherwise whatever stands there.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get_str(KEY).unwrap_or_default()
    }

    /// The subprotocols that the client speaks, the one it likes best first (RFC 6455 section 1.9).
    ///
    /// Checked for an upgrade: tokens, each once.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers
            .get_all(PROTOCOL)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|name| std::str::from_utf8(trim(name)).ok())
            .filter(|name| !name.is_empty())
    }

    /// The extensions that the client offers, the one it likes best first (RFC 6455 section 9.1).
    ///
    /// Checked for an upgrade; lines of a plain `GET` that break the grammar are left out.
    #[must_use]
    pub fn extensions(&self) -> Vec<Extension> {
        let lines = self.headers.get_all(EXTENSIONS);
        lines.flat_map(|value| parse_extensions(value).unwrap_or_default()).collect()
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
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// All cookies, in their order, with name and value. What is not UTF-8 or has no name is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers().get_all("Cookie").flat_map(|line| line.split(|&b| b == b';'));
        pairs.filter_map(|pair| {
            let (name, value) = std::str::from_utf8(trim(pair)).ok()?.split_once('=')?;
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (!name.is_empty()).then_some((name, unquoted.unwrap_or(value)))
        })
    }

    pub(super) fn from_head(head: &Head<'_>) -> Result<Self, RequestError> {
        let parsed = head.parse(|slots, bytes| {
            let mut request = httparse::Request::new(slots);
            let complete = request.parse(bytes).is_ok_and(|status| status.is_complete());
            if complete { request.path } else { None }
        });
        let Some((target, headers)) = parsed else {
            return Err(RequestError::Head(HeadError::StartLine));
        };
        check_host(&headers)?;
        check_no_body(&headers)?;
        let version = match headers.contains(UPGRADE) {
            true => Some(check_upgrade(&headers)?),
            false => None,
        };
        Ok(Self { target: target.into(), headers, version })
    }

    fn path_and_query(&self) -> (&str, Option<&str>) {
        let resource = split_absolute(&self.target).map_or(&*self.target, |(_, resource)| resource);
        match resource.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (resource, None),
        }
    }
}

/// Authority and resource of a target in absolute form.
pub(super) fn split_absolute(target: &str) -> Option<(&str, &str)> {
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

fn check_host(headers: &Headers) -> Result<(), RequestError> {
    match std::str::from_utf8(single(headers, HOST)?) {
        Ok(host) if is_authority(host) => Ok(()),
        _ => Err(RequestError::InvalidHeader(HOST)),
    }
}

/// A body would have to be read before the switch (RFC 9110 section 7.8), and is what smuggled
/// requests are made of. No client of a WebSocket sends one.
fn check_no_body(headers: &Headers) -> Result<(), RequestError> {
    if headers.contains(TRANSFER_ENCODING) {
        return Err(RequestError::Body(TRANSFER_ENCODING));
    }
    if headers.get_all(CONTENT_LENGTH).any(|value| value != b"0") {
        return Err(RequestError::Body(CONTENT_LENGTH));
    }
    Ok(())
}

fn check_upgrade(headers: &Headers) -> Result<u8, RequestError> {
    if !headers.has_token(UPGRADE, "websocket") {
        return Err(RequestError::InvalidHeader(UPGRADE));
    }
    if !headers.contains(CONNECTION) {
        return Err(RequestError::MissingHeader(CONNECTION));
    }
    if !headers.get_all(CONNECTION).any(|value| has_token(value, "upgrade")) {
        return Err(RequestError::InvalidHeader(CONNECTION));
    }
    let version = parse_version(single(headers, VERSION)?)?;
    if !is_valid_key(single(headers, KEY)?) {
        return Err(RequestError::InvalidHeader(KEY));
    }
    let mut names = Vec::new();
    for value in headers.get_all(PROTOCOL) {
        append_subprotocols(value, &mut names)
            .map_err(|error| RequestError::InvalidList { name: PROTOCOL, error })?;
    }
    check_distinct(&names).map_err(|error| RequestError::InvalidList { name: PROTOCOL, error })?;
    for value in headers.get_all(EXTENSIONS) {
        parse_extensions(value)
            .map_err(|error| RequestError::InvalidList { name: EXTENSIONS, error })?;
    }
    Ok(version)
}

/// "The number is between 0 and 255 with no leading zeros" (RFC 6455 section 4.3, `version`).
fn parse_version(value: &[u8]) -> Result<u8, RequestError> {
    let invalid = RequestError::InvalidHeader(VERSION);
    let version = match value {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if value.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok())
        }
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
}
