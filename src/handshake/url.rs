//! `ws:` and `wss:` URLs (RFC 6455 section 3).

// Address *values*: this layer opens no sockets.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The URL of a WebSocket: `ws://host:port/path?query`, or `wss:` for one inside TLS.
///
/// `http:` and `https:` are taken for `ws:` and `wss:`, as browsers do. Characters that are not of a
/// URI are percent-encoded in path and query. The user name and the password, if any, become
/// `Authorization: Basic`; `Display` and `Debug` leave them out, so that a URL can be logged.
///
/// An IPv6 address may have a zone (RFC 6874): `ws://[fe80::1%25eth0]/`. It says by which of this machine's
/// links the address is reached, and is told to nobody.
///
/// `ws+unix:/path/to/socket:/chat?query` is a WebSocket behind a Unix socket: up to the second colon,
/// percent-decoded, the path of the socket, after it the resource name. Its host is `localhost`.
///
/// ```
/// use framewire::handshake::Url;
///
/// let url: Url = "wss://example.com/chat?room=1".parse()?;
/// assert!(url.is_secure());
/// assert_eq!((url.host(), url.port()), ("example.com", 443));
/// assert_eq!(url.target(), "/chat?room=1");
/// # Ok::<(), framewire::handshake::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    secure: bool,
    authority: Authority,
    target: String,
    socket_path: Option<String>,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`UrlError`] names the part that is wrong (RFC 6455 sections 3 and 11.1.1). Nothing is
    /// repaired silently: white space and control characters are rejected, not stripped.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let forbidden = |byte: u8| byte <= b' ' || byte == 0x7f;
        if let Some(index) = text.bytes().position(forbidden) {
            return Err(UrlError::Character { index });
        }
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::MissingScheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            "ws+unix" => return Self::parse_unix(text, rest),
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        // "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be
        // used on these URIs." An empty one is one, too.
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let rest = rest.strip_prefix("//").ok_or(UrlError::MissingHost)?;
        let (authority, resource) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let start = text.len() - rest.len();
        let authority = Authority::parse_at(authority, start, default_port(secure))?;
        Ok(Self {
            secure,
            authority,
            target: encode_target(resource, text.len() - resource.len())?,
            socket_path: None,
        })
    }

    fn parse_unix(text: &str, rest: &str) -> Result<Self, UrlError> {
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        // "ws+unix:///path" is the same with an authority that is empty.
        let rest = match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err(UrlError::SocketPath),
            None => rest,
        };
        let (path, resource) = rest.split_once(':').unwrap_or((rest, ""));
        let start = text.len() - rest.len();
        if let Some(index) = path.find('?').or_else(|| bad_percent(path)) {
            return Err(UrlError::Character { index: start + index });
        }
        let path = decode_percent(path).filter(|path| !path.is_empty() && !path.contains('\0'));
        Ok(Self {
            secure: false,
            authority: Authority {
                host: "localhost".to_owned(),
                zone: None,
                port: default_port(false),
                userinfo: None,
            },
            target: encode_target(resource, text.len() - resource.len())?,
            socket_path: Some(path.ok_or(UrlError::SocketPath)?),
        })
    }

    /// Whether the connection goes through TLS (`wss:`).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The part that names the server: host and port, and perhaps a user.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The name or address to connect to, in lower case; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The zone of an IPv6 address, percent-decoded: the name or the number of an interface (RFC 6874).
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.authority.zone()
    }

    /// The IP address in the URL, if its host is one and not a name: also in the older ways of writing IPv4, which
    /// systems and browsers read as well.
    ///
    /// ```
    /// # use framewire::handshake::Url;
    /// for url in ["ws://127.0.0.1/", "ws://127.1/", "ws://0x7f.0.0.01/", "ws://2130706433/"] {
    ///     assert_eq!(Url::parse(url)?.address(), Some([127, 0, 0, 1].into()), "{url}");
    /// }
    /// assert_eq!(Url::parse("ws://127.example/")?.address(), None);
    /// # Ok::<(), framewire::handshake::UrlError>(())
    /// ```
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.authority.address()
    }

    /// The port to connect to: 80 or 443 if the URL names none (RFC 6455 section 3).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port
    }

    /// The value of the `Host` header: the host, and the port if it is not the default one (RFC
    /// 6455 section 4.1, item 4).
    ///
    /// ```
    /// # use framewire::handshake::Url;
    /// assert_eq!(Url::parse("ws://[::1]:9001/")?.host_header(), "[::1]:9001");
    /// assert_eq!(Url::parse("ws://localhost:80/")?.host_header(), "localhost");
    /// # Ok::<(), framewire::handshake::UrlError>(())
    /// ```
    #[must_use]
    pub fn host_header(&self) -> String {
        if self.port() == default_port(self.secure) {
            self.authority.host.clone()
        } else {
            self.authority.to_string()
        }
    }

    /// Host and port, each named: the target of a `CONNECT` (RFC 9110 section 9.3.6).
    ///
    /// ```
    /// # use framewire::handshake::Url;
    /// assert_eq!(Url::parse("wss://example.com/chat")?.host_and_port(), "example.com:443");
    /// # Ok::<(), framewire::handshake::UrlError>(())
    /// ```
    #[must_use]
    pub fn host_and_port(&self) -> String {
        self.authority.to_string()
    }

    /// The resource name: path and query, `/` if there is none (RFC 6455 section 3).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// User name and password, percent-decoded.
    #[must_use]
    pub fn userinfo(&self) -> Option<(&str, &str)> {
        self.authority.userinfo()
    }

    /// The path of the Unix socket to connect to, if the URL is a `ws+unix:` one.
    #[must_use]
    pub fn socket_path(&self) -> Option<&str> {
        self.socket_path.as_deref()
    }

    /// Whether both URLs have the same origin: the same scheme, host and port (RFC 6454 section 5), or the same Unix
    /// socket.
    #[must_use]
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.authority.is_same_server(&other.authority)
            && self.socket_path == other.socket_path
    }

    /// Resolves `reference`, absolute or relative, with this URL as the base (RFC 3986 section 5.2).
    ///
    /// A fragment is dropped, for it is nothing of a request. The user name and the password stay with
    /// their origin.
    ///
    /// ```
    /// use framewire::handshake::Url;
    ///
    /// let url = Url::parse("wss://example.com/rooms/1?a=b")?;
    /// assert_eq!(url.join("../chat")?.to_string(), "wss://example.com/chat");
    /// assert_eq!(url.join("//b.example")?.to_string(), "wss://b.example/");
    /// assert_eq!(url.join("http://b.example/#c")?.to_string(), "ws://b.example/");
    /// # Ok::<(), framewire::handshake::UrlError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.split('#').next().unwrap_or_default();
        if has_scheme(reference) {
            return Ok(self.keep_userinfo(Self::parse(reference)?));
        }
        if reference.starts_with("//") {
            if self.socket_path().is_some() {
                return Err(UrlError::MissingScheme);
            }
            let scheme = if self.is_secure() { "wss" } else { "ws" };
            return Ok(self.keep_userinfo(Self::parse(&format!("{scheme}:{reference}"))?));
        }
        let (path, query) = split_query(reference);
        let (base_path, base_query) = split_query(self.target());
        let (path, query) = match path {
            "" if query.is_empty() => (base_path.to_owned(), base_query),
            "" => (base_path.to_owned(), query),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                let folder = &base_path[..=base_path.rfind('/').unwrap_or(0)];
                (without_dots(&format!("{folder}{path}")), query)
            }
        };
        Ok(self.keep_userinfo(Self::parse(&format!("{}{path}{query}", self.root()))?))
    }

    /// The scheme and what stands before the resource name, without user name and password.
    pub(super) fn root(&self) -> String {
        match &self.socket_path {
            Some(path) => {
                // Two slashes at the start would read as those of an authority.
                let mark = if path.starts_with("//") { "ws+unix://" } else { "ws+unix:" };
                let mut root = String::from(mark);
                encode(&mut root, path, |byte| is_unreserved(byte) || byte == b'/');
                root.push(':');
                root
            }
            None => {
                let scheme = if self.secure { "wss" } else { "ws" };
                let mut root = format!("{scheme}://{}", self.host_header());
                if let Some(zone) = self.zone() {
                    let mut encoded = String::from("%25");
                    encode(&mut encoded, zone, is_unreserved);
                    root.insert_str(root.find(']').unwrap_or(root.len()), &encoded);
                }
                root
            }
        }
    }

    /// This one with the user name and password of another, unless it has its own.
    pub(super) fn or_userinfo_of(mut self, other: &Self) -> Self {
        if self.authority.userinfo.is_none() {
            self.authority.userinfo.clone_from(&other.authority.userinfo);
        }
        self
    }

    fn keep_userinfo(&self, target: Self) -> Self {
        if self.is_same_origin(&target) { target.or_userinfo_of(self) } else { target }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// The URL without user name and password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.root(), self.target)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Why a text is not the URL of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no scheme (RFC 6455 section 3).
    MissingScheme,
    /// The scheme is none of `ws`, `wss`, `http` and `https` (RFC 6455 section 3).
    Scheme(String),
    /// The URL has a fragment; a literal `#` is written `%23` (RFC 6455 section 3).
    Fragment,
    /// The URL has no host (RFC 6455 section 3).
    MissingHost,
    /// The host is not ASCII: pass its IDNA form, as `xn--bcher-kva.example` (RFC 6455 section
    /// 11.1.1).
    NonAsciiHost(String),
    /// What stands in brackets is not an IPv6 address (RFC 3986 section 3.2.2), or its zone is not valid (RFC 6874).
    Ipv6(String),
    /// The port is not a number from 1 to 65535 (RFC 3986 section 3.2.3).
    Port(String),
    /// A character may not stand there, or a `%` is not followed by two hexadecimal digits (RFC
    /// 3986 section 2).
    Character {
        /// Its place in the text, in bytes.
        index: usize,
    },
    /// The user name or password is not UTF-8 once it is percent-decoded (RFC 3986 section 3.2.1).
    UserInfo,
    /// A `ws+unix:` URL has no path of a socket, or one that cannot be.
    SocketPath,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingScheme => f.write_str("the URL has no scheme"),
            Self::Scheme(scheme) => write!(f, "the scheme {scheme:?} is not ws or wss"),
            Self::Fragment => f.write_str("the URL has a fragment"),
            Self::MissingHost => f.write_str("the URL has no host"),
            Self::NonAsciiHost(host) => {
                write!(f, "the host {host:?} is not ASCII: pass its IDNA form (xn--…)")
            }
            Self::Ipv6(host) => write!(f, "{host:?} is not an IPv6 address"),
            Self::Port(port) => write!(f, "the port {port:?} is not a number from 1 to 65535"),
            Self::Character { index } => write!(f, "unexpected character at index {index}"),
            Self::UserInfo => f.write_str("the user name or password is not UTF-8"),
            Self::SocketPath => f.write_str("the URL has no path of a Unix socket"),
        }
    }
}

impl std::error::Error for UrlError {}

/// Decodes the percent-encoded bytes in a part of a URL (RFC 3986 section 2.1).
///
/// `None` if two hexadecimal digits do not follow each `%`, or if the result is not UTF-8. It may hold
/// any character, `/` and control characters too.
///
/// ```
/// use framewire::handshake::percent_decode;
///
/// assert_eq!(percent_decode("caf%C3%A9").as_deref(), Some("café"));
/// assert_eq!(percent_decode("100%"), None);
/// ```
#[must_use]
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    match bad_percent(text) {
        None => decode_percent(text).map(Cow::Owned),
        Some(_) => None,
    }
}

/// Decodes a name or a value of `application/x-www-form-urlencoded` as the URL standard says: nothing is a
/// fault.
pub(super) fn decode_form(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = percent_decoded(&text.replace('+', " "));
    let text = String::from_utf8(bytes);
    Cow::Owned(text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// `user:password@host:port`, the part of a URL that names a server (RFC 3986 section 3.2).
///
/// ```
/// use framewire::handshake::Authority;
///
/// let proxy = Authority::parse("ann:s%40crt@[::1]", 1080)?;
/// assert_eq!((proxy.host(), proxy.port()), ("::1", 1080));
/// assert_eq!(proxy.userinfo(), Some(("ann", "s@crt")));
/// # Ok::<(), framewire::handshake::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// In lower case; an IPv6 address in its brackets, without its zone.
    host: String,
    /// Percent-decoded.
    zone: Option<String>,
    port: u16,
    /// Percent-decoded.
    userinfo: Option<(String, String)>,
}

impl Authority {
    /// Reads an authority, whose port is `default_port` if it names none.
    ///
    /// # Errors
    ///
    /// [`UrlError`] names the part that is wrong (RFC 3986 section 3.2).
    pub fn parse(text: &str, default_port: u16) -> Result<Self, UrlError> {
        Self::parse_at(text, 0, default_port)
    }

    /// Reads `text`, which stands at `start` in what the user wrote.
    fn parse_at(text: &str, start: usize, default_port: u16) -> Result<Self, UrlError> {
        let (userinfo, host_start) = match text.rfind('@') {
            Some(at) => (Some(decode_userinfo(&text[..at], start)?), at + 1),
            None => (None, 0),
        };
        let (host, port) = split_port(&text[host_start..])?;
        let (host, zone) = split_zone(host)?;
        check_host(&host, start + host_start)?;
        let port = match port {
            None | Some("") => default_port,
            Some(port) => parse_port(port)
                .filter(|&port| port != 0)
                .ok_or_else(|| UrlError::Port(port.to_owned()))?,
        };
        Ok(Self { host: host.to_ascii_lowercase(), zone, port, userinfo })
    }

    /// The name or address, in lower case; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        without_brackets(&self.host)
    }

    /// The zone of an IPv6 address, percent-decoded (RFC 6874).
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The IP address, if the host is one and not a name, in any of the ways that [`Url::address`] reads.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let host = self.host();
        host.parse().ok().or_else(|| parse_ipv4(host).map(IpAddr::V4))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User name and password, percent-decoded.
    #[must_use]
    pub fn userinfo(&self) -> Option<(&str, &str)> {
        self.userinfo.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// Whether both name one server, whoever the user is.
    fn is_same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.zone == other.zone && self.port == other.port
    }
}

/// Host and port, without user name and password.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({self})")
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether this is a `Host` header: a host and perhaps a port (RFC 9112 section 3.2).
pub(crate) fn is_authority(text: &str) -> bool {
    let Ok((host, port)) = split_port(text) else { return false };
    let valid_port = port.is_none_or(|port| port.is_empty() || parse_port(port).is_some());
    valid_port && (check_host(host, 0).is_ok() || is_registered_name(host))
}

/// `reg-name`, which is wider than what [`Url`] connects to (RFC 3986 section 3.2.2).
fn is_registered_name(host: &str) -> bool {
    let allowed = |byte: u8| is_unreserved(byte) || b"!$&'()*+,;=%".contains(&byte);
    !host.is_empty() && host.bytes().all(allowed) && bad_percent(host).is_none()
}

/// Splits the zone off an IPv6 address in its brackets, and decodes it.
fn split_zone(host: &str) -> Result<(Cow<'_, str>, Option<String>), UrlError> {
    let split = host.strip_prefix('[').and_then(|inner| inner.split_once("%25"));
    let Some((address, zone)) = split else { return Ok((Cow::Borrowed(host), None)) };
    let zone = zone.strip_suffix(']').and_then(percent_decode);
    let is_name = |zone: &str| {
        !zone.is_empty() && zone.chars().all(|c| !c.is_control() && !" %/\\[]".contains(c))
    };
    match zone.filter(|zone| is_name(zone)) {
        Some(zone) => Ok((Cow::Owned(format!("[{address}]")), Some(zone.into_owned()))),
        None => Err(UrlError::Ipv6(host.to_owned())),
    }
}

/// Reads an IPv4 address as browsers do (the IPv4 parser of the WHATWG's URL standard): one to four parts,
/// decimal, octal or hexadecimal, of which the last fills what the others have left.
fn parse_ipv4(host: &str) -> Option<Ipv4Addr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts: Vec<&str> = host.split('.').collect();
    let (last, front) = parts.split_last().filter(|(_, front)| front.len() < 4)?;
    let mut address = 0;
    for (part, shift) in front.iter().zip([24, 16, 8]) {
        address |= parse_ipv4_part(part).filter(|&number| number <= 0xff)? << shift;
    }
    let last = parse_ipv4_part(last).filter(|&number| number < 1 << (8 * (4 - front.len())))?;
    u32::try_from(address | last).ok().map(Ipv4Addr::from)
}

fn parse_ipv4_part(part: &str) -> Option<u64> {
    let hexadecimal = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, part.strip_prefix('0')) {
        (Some(""), _) => return Some(0),
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (part, 10),
    };
    // `from_str_radix` lets a plus sign through.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// Splits off `:port`. An IPv6 address keeps its brackets.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<&str>), UrlError> {
    let host_end = if text.starts_with('[') {
        text.find(']').ok_or_else(|| UrlError::Ipv6(text.to_owned()))? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(host_end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(UrlError::Ipv6(text.to_owned())),
    }
}

fn check_host(host: &str, start: usize) -> Result<(), UrlError> {
    if host.is_empty() {
        return Err(UrlError::MissingHost);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return address.map(drop).ok_or_else(|| UrlError::Ipv6(host.to_owned()));
    }
    if !host.is_ascii() {
        return Err(UrlError::NonAsciiHost(host.to_owned()));
    }
    match host.bytes().position(|byte| !is_unreserved(byte)) {
        Some(index) => Err(UrlError::Character { index: start + index }),
        None => Ok(()),
    }
}

pub(super) fn parse_port(port: &str) -> Option<u16> {
    // `u16::from_str` lets a plus sign through.
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn encode_target(resource: &str, start: usize) -> Result<String, UrlError> {
    if let Some(index) = bad_percent(resource) {
        return Err(UrlError::Character { index: start + index });
    }
    let mut target = String::with_capacity(resource.len() + 1);
    if !resource.starts_with('/') {
        target.push('/');
    }
    let allowed = |byte: u8| is_unreserved(byte) || b"/?:@!$&'()*+,;=%".contains(&byte);
    encode(&mut target, resource, allowed);
    // "'?' followed by the query component if the query component is non-empty"
    if target.find('?').is_some_and(|mark| mark + 1 == target.len()) {
        target.pop();
    }
    Ok(target)
}

/// Appends `text`, percent-encoded but for the bytes that are `allowed`.
pub(super) fn encode(out: &mut String, text: &str, allowed: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if allowed(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

fn decode_userinfo(text: &str, start: usize) -> Result<(String, String), UrlError> {
    let bad_character = |byte: u8| byte.is_ascii() && b"@/?[]\\\"<>^`{|}".contains(&byte);
    if let Some(index) = text.bytes().position(bad_character).or_else(|| bad_percent(text)) {
        return Err(UrlError::Character { index: start + index });
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |text| decode_percent(text).ok_or(UrlError::UserInfo);
    Ok((decode(user)?, decode(password)?))
}

/// `None` if it is not UTF-8 then.
fn decode_percent(text: &str) -> Option<String> {
    String::from_utf8(percent_decoded(text)).ok()
}

/// The bytes that are meant. A `%` without two hexadecimal digits after it stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match digit(0).zip(digit(1)).filter(|_| first == b'%') {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    decoded
}

/// The place of the first `%` that two hexadecimal digits do not follow.
fn bad_percent(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_escape = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    (0..bytes.len())
        .find(|&at| bytes[at] == b'%' && !bytes.get(at + 1..at + 3).is_some_and(is_escape))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `scheme ":"` (RFC 3986 section 3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path, and the query with its question mark.
fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// Without its segments `.` and `..` (RFC 3986 section 5.2.4). `path` begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: W002, W010, W011 (HC12)
    #[test]
    fn good_urls() {
        let cases: &[(&str, bool, &str, u16, &str, &str)] = &[
            ("ws://h", false, "h", 80, "h", "/"),
            ("WSS://Example.COM", true, "example.com", 443, "example.com", "/"),
            ("http://h:443/", false, "h", 443, "h:443", "/"),
            ("https://h:443/a", true, "h", 443, "h", "/a"),
            ("ws://h:/a", false, "h", 80, "h", "/a"),
            (
                "ws://127.0.0.1:9001/a/b?c=d&e",
                false,
                "127.0.0.1",
                9001,
                "127.0.0.1:9001",
                "/a/b?c=d&e",
            ),
            ("ws://[::1]", false, "::1", 80, "[::1]", "/"),
            ("ws://[2001:DB8::1]:8/x", false, "2001:db8::1", 8, "[2001:db8::1]:8", "/x"),
            ("ws://h?q=1", false, "h", 80, "h", "/?q=1"),
            ("ws://h/a?", false, "h", 80, "h", "/a"),
            ("ws://h/a??", false, "h", 80, "h", "/a??"),
            ("ws://h/%23", false, "h", 80, "h", "/%23"),
            ("ws://user:p%40ss@h/", false, "h", 80, "h", "/"),
            ("ws://h/a@b:c", false, "h", 80, "h", "/a@b:c"),
        ];
        for &(text, secure, host, port, header, target) in cases {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let got = (url.is_secure(), url.host(), url.port(), url.target());
            assert_eq!(got, (secure, host, port, target), "{text}");
            assert_eq!(url.host_header(), header, "{text}");
        }
    }

    // HC12
    #[test]
    fn addresses_in_all_their_ways() {
        let local = Some(IpAddr::from([127, 0, 0, 1]));
        let cases = [
            ("127.0.0.1", local),
            ("127.0.0.1.", local),
            ("127.1", local),
            ("127.0.1", local),
            ("2130706433", local),
            ("0x7f.1", local),
            ("0X7F.0x0.0x.1", local),
            ("0x7f000001", local),
            ("017700000001", local),
            ("0177.0.0.01", local),
            ("1.2.65535", Some([1, 2, 255, 255].into())),
            ("1.16777215", Some([1, 255, 255, 255].into())),
            ("4294967295", Some([255; 4].into())),
            ("0", Some([0; 4].into())),
            ("[::1]", Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))),
            ("[::1%25lo]", Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))),
            ("4294967296", None),
            ("99999999999999999999", None),
            ("256.1", None),
            ("1.2.3.256", None),
            ("1.2.65536", None),
            ("1.2.3.4.5", None),
            ("1.2.3.4.0", None),
            ("1.2.3.4..", None),
            ("1..2", None),
            ("08", None),
            ("0x7g", None),
            ("1.2.3.+4", None),
            ("example.com", None),
            ("127.0.0.1.example", None),
        ];
        for (host, address) in cases {
            let Ok(url) = Url::parse(&format!("ws://{host}/")) else {
                assert_eq!(address, None, "{host}");
                continue;
            };
            assert_eq!(url.address(), address, "{host}");
            // The server is told the host as it was written.
            assert_eq!(url.host_header(), host.replace("%25lo", "").to_lowercase(), "{host}");
        }
    }

    // RFC 6874
    #[test]
    fn zones() {
        for (text, host, zone, shown) in [
            ("ws://[fe80::1%25eth0]", "fe80::1", "eth0", "ws://[fe80::1%25eth0]/"),
            ("wss://u@[FE80::1%251]:9/a", "fe80::1", "1", "wss://[fe80::1%251]:9/a"),
            ("ws://[fe80::1%25a%2eB~]", "fe80::1", "a.B~", "ws://[fe80::1%25a.B~]/"),
            ("ws://[fe80::1%25%c3%a4]", "fe80::1", "ä", "ws://[fe80::1%25%C3%A4]/"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.host(), url.zone()), (host, Some(zone)), "{text}");
            assert_eq!(url.to_string(), shown);
            assert_eq!(Url::parse(shown).unwrap().zone(), Some(zone));
            assert!(!url.host_header().contains('%') && !url.host_and_port().contains('%'));
        }
        for host in [
            "[fe80::1%25]",
            "[fe80::1%eth0]",
            "[fe80::1%25a%]",
            "[fe80::1%25%00]",
            "[fe80::1%25a%2Fb]",
            "[fe80::1%25a%25b]",
            "[x%25eth0]",
            "[1.2.3.4%25eth0]",
        ] {
            assert!(
                matches!(Url::parse(&format!("ws://{host}/")), Err(UrlError::Ipv6(_))),
                "{host}"
            );
            assert!(!is_authority(host), "no header has a zone");
        }
        assert!(!is_authority("[fe80::1%25eth0]"));
        let [one, other] =
            ["a", "b"].map(|zone| Url::parse(&format!("ws://[fe80::1%25{zone}]/x")).unwrap());
        assert!(!one.is_same_origin(&other) && one.is_same_origin(&one.join("/y").unwrap()));
    }

    #[test]
    fn unix_sockets() {
        let cases = [
            ("ws+unix:/run/x.sock", "/run/x.sock", "/", "ws+unix:/run/x.sock:/"),
            ("WS+UNIX:/run/x:/chat?a=b:c", "/run/x", "/chat?a=b:c", "ws+unix:/run/x:/chat?a=b:c"),
            ("ws+unix:///run/x:/chat", "/run/x", "/chat", "ws+unix:/run/x:/chat"),
            ("ws+unix:run/x:chat", "run/x", "/chat", "ws+unix:run/x:/chat"),
            ("ws+unix:/a%20b%3Ac:", "/a b:c", "/", "ws+unix:/a%20b%3Ac:/"),
            ("ws+unix:////x", "//x", "/", "ws+unix:////x:/"),
            ("ws+unix:%2f%2fx:/chat", "//x", "/chat", "ws+unix:////x:/chat"),
        ];
        for (text, path, target, shown) in cases {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.socket_path(), url.target()), (Some(path), target), "{text}");
            assert_eq!((url.host_header().as_str(), url.is_secure()), ("localhost", false));
            assert_eq!(url.to_string(), shown);
            assert_eq!(Url::parse(shown), Ok(url), "{text}");
        }
        assert_eq!(Url::parse("ws://h/").unwrap().socket_path(), None);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Url::parse(text).unwrap());
            assert_eq!(a.is_same_origin(&b), b.is_same_origin(&a));
            a.is_same_origin(&b)
        };
        assert!(same("ws://h/a", "http://u:p@H:80/b?c"));
        assert!(same("wss://h", "https://h:443"));
        assert!(same("ws+unix:/s:/a", "ws+unix:/s:/b"));
        for other in ["wss://h:80", "ws://i", "ws://h:81", "ws://h.", "ws+unix:/s"] {
            assert!(!same("ws://h", other), "{other}");
        }
        assert!(!same("ws+unix:/s", "ws+unix:/t"));
        assert!(!same("ws+unix:/s", "ws://localhost"));
    }

    // req: W003
    #[test]
    fn other_characters_are_percent_encoded() {
        assert_eq!(Url::parse("ws://h/ü?ä=|").unwrap().target(), "/%C3%BC?%C3%A4=%7C");
        assert_eq!(
            Url::parse("ws://h/\\\"<>^`{}[]").unwrap().target(),
            "/%5C%22%3C%3E%5E%60%7B%7D%5B%5D"
        );
    }

    // req: W001, W003, W004 (HC12)
    #[test]
    fn bad_urls() {
        let character = |index| UrlError::Character { index };
        let cases = [
            ("", UrlError::MissingScheme),
            ("localhost", UrlError::MissingScheme),
            ("ftp://h", UrlError::Scheme("ftp".into())),
            ("ws+unix:", UrlError::SocketPath),
            ("ws+unix::/chat", UrlError::SocketPath),
            ("ws+unix://host/s", UrlError::SocketPath),
            ("ws+unix:/a%00b", UrlError::SocketPath),
            ("ws+unix:/a%ffb", UrlError::SocketPath),
            ("ws+unix:/s:/a#b", UrlError::Fragment),
            ("ws+unix:/s?a", character(10)),
            ("ws+unix:/s%4", character(10)),
            ("ws+unix:/s:/%4", character(12)),
            ("ws+unix:/s:/a b", character(13)),
            ("wss+unix:/s", UrlError::Scheme("wss+unix".into())),
            ("localhost:80", UrlError::Scheme("localhost".into())),
            ("ws://h/#", UrlError::Fragment),
            ("ws://h#a", UrlError::Fragment),
            ("ws:h", UrlError::MissingHost),
            ("ws://", UrlError::MissingHost),
            ("ws:///a", UrlError::MissingHost),
            ("ws://:80", UrlError::MissingHost),
            ("ws://u@/", UrlError::MissingHost),
            ("ws://bücher.example/", UrlError::NonAsciiHost("bücher.example".into())),
            ("ws://[::1", UrlError::Ipv6("[::1".into())),
            ("ws://[::1]x", UrlError::Ipv6("[::1]x".into())),
            ("ws://[1.2.3.4]", UrlError::Ipv6("[1.2.3.4]".into())),
            ("ws://h:0", UrlError::Port("0".into())),
            ("ws://h:65536", UrlError::Port("65536".into())),
            ("ws://h:+1", UrlError::Port("+1".into())),
            ("ws://h:80:80", UrlError::Port("80:80".into())),
            (" ws://h", character(0)),
            ("ws://h\r\n", character(6)),
            ("ws://h/a b", character(8)),
            ("ws://h/\0", character(7)),
            ("ws://h/\x7f", character(7)),
            ("ws://a%41/", character(6)),
            ("ws://a\\b/", character(6)),
            ("ws://h/%", character(7)),
            ("ws://h/a%4", character(8)),
            ("ws://h/%zz", character(7)),
            ("ws://a@b@c/", character(6)),
            ("ws://u:%FF@h/", UrlError::UserInfo),
        ];
        for (text, error) in cases {
            assert_eq!(Url::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn userinfo_is_decoded_and_not_shown() {
        let url = Url::parse("ws://us%20er:p:%C3%BC@h/a").unwrap();
        assert_eq!(url.userinfo(), Some(("us er", "p:ü")));
        assert_eq!(Url::parse("ws://user@h").unwrap().userinfo(), Some(("user", "")));
        assert_eq!(url.to_string(), "ws://h/a");
        assert_eq!(format!("{url:?}"), "Url(ws://h/a)");
        assert_eq!("ws://h/a".parse::<Url>().unwrap().userinfo(), None);
    }

    #[test]
    fn the_target_of_a_connect_names_the_port() {
        for (url, target) in
            [("ws://h", "h:80"), ("wss://h/a", "h:443"), ("ws://u@[::1]:9", "[::1]:9")]
        {
            assert_eq!(Url::parse(url).unwrap().host_and_port(), target);
        }
    }

    // req: H004
    #[test]
    fn host_headers() {
        for text in ["h", "h:80", "h:", "1.2.3.4:1", "[::1]", "[::1]:80", "a_b", "h!%41"] {
            assert!(is_authority(text), "{text:?}");
        }
        for text in
            ["", ":80", "a b", "a/b", "a@b", "h:x", "h:65536", "[::1", "::1", "[x]", "ü", "%4"]
        {
            assert!(!is_authority(text), "{text:?}");
        }
    }

    /// The examples of RFC 3986 section 5.4, as far as their scheme is one of a WebSocket.
    #[test]
    fn the_examples_of_the_rfc() {
        let base = Url::parse("ws://a/b/c/d;p?q").unwrap();
        let cases = [
            ("ws:g", Err(UrlError::MissingHost)),
            ("g:h", Err(UrlError::Scheme("g".into()))),
            ("g", Ok("ws://a/b/c/g")),
            ("./g", Ok("ws://a/b/c/g")),
            ("g/", Ok("ws://a/b/c/g/")),
            ("/g", Ok("ws://a/g")),
            ("//g", Ok("ws://g/")),
            ("?y", Ok("ws://a/b/c/d;p?y")),
            ("g?y", Ok("ws://a/b/c/g?y")),
            ("#s", Ok("ws://a/b/c/d;p?q")),
            ("g#s", Ok("ws://a/b/c/g")),
            ("g?y#s", Ok("ws://a/b/c/g?y")),
            (";x", Ok("ws://a/b/c/;x")),
            ("g;x?y#s", Ok("ws://a/b/c/g;x?y")),
            ("", Ok("ws://a/b/c/d;p?q")),
            (".", Ok("ws://a/b/c/")),
            ("./", Ok("ws://a/b/c/")),
            ("..", Ok("ws://a/b/")),
            ("../", Ok("ws://a/b/")),
            ("../g", Ok("ws://a/b/g")),
            ("../..", Ok("ws://a/")),
            ("../../g", Ok("ws://a/g")),
            ("../../../g", Ok("ws://a/g")),
            ("/./g", Ok("ws://a/g")),
            ("/../g", Ok("ws://a/g")),
            ("g.", Ok("ws://a/b/c/g.")),
            ("..g", Ok("ws://a/b/c/..g")),
            ("./../g", Ok("ws://a/b/g")),
            ("./g/.", Ok("ws://a/b/c/g/")),
            ("g/./h", Ok("ws://a/b/c/g/h")),
            ("g/../h", Ok("ws://a/b/c/h")),
            ("g;x=1/../y", Ok("ws://a/b/c/y")),
            ("g?y/../x", Ok("ws://a/b/c/g?y/../x")),
            ("/a:b", Ok("ws://a/a:b")),
            ("g\r\nX: y", Err(UrlError::Character { index: 12 })),
        ];
        for (reference, expected) in cases {
            let joined = base.join(reference).map(|url| url.to_string());
            assert_eq!(joined, expected.map(str::to_owned), "{reference:?}");
        }
    }

    #[test]
    fn a_unix_socket_stays_the_same_for_relative_references() {
        let base = Url::parse("ws+unix:/run/a%20b:/x/y").unwrap();
        let joined = base.join("z?q").unwrap();
        assert_eq!((joined.socket_path(), joined.target()), (Some("/run/a b"), "/x/z?q"));
        assert_eq!(base.join("//h/"), Err(UrlError::MissingScheme));
        assert_eq!(base.join("ws://h/").unwrap().socket_path(), None);
    }

    #[test]
    fn userinfo_stays_with_its_origin() {
        let base = Url::parse("ws://u:p@a/b").unwrap();
        for (reference, userinfo) in [
            ("c", Some(("u", "p"))),
            ("ws://a:80/c", Some(("u", "p"))),
            ("ws://v@a/c", Some(("v", ""))),
            ("ws://b/c", None),
            ("wss://a/c", None),
            ("//a:81/c", None),
        ] {
            assert_eq!(base.join(reference).unwrap().userinfo(), userinfo, "{reference}");
        }
    }
}
