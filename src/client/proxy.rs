mod environment;
mod http;
mod socks;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

pub(super) use self::environment::from_environment;
use super::error::{ClientError, Waiting};
use super::patient::Patient;
use super::socket::Socket;
use crate::handshake::{Authority, Response, ResponseError, Url, UrlError};

/// Why a proxy did not connect to the server.
#[non_exhaustive]
#[derive(Debug)]
pub enum ProxyError {
    /// The proxy's URL cannot be read.
    Url(UrlError),
    /// The proxy's URL has a scheme other than `http`, `socks5` and `socks5h`.
    Scheme(String),
    /// The proxy could not be reached, or the connection to it broke.
    Io(io::Error),
    /// The HTTP proxy refused: here is its answer, with up to
    /// [`Config::max_rejection_body`](crate::Config::max_rejection_body) bytes of its body.
    Rejected(Arc<Response>),
    /// The answer of the HTTP proxy is not one of HTTP.
    Response(ResponseError),
    /// The HTTP proxy sent something behind its answer, where the server has nothing to say yet.
    UnexpectedData,
    /// The answer of the SOCKS proxy is not one of version 5 (RFC 1928).
    Socks,
    /// The SOCKS proxy wants an authentication that is not at hand (RFC 1928 section 3).
    SocksMethod,
    /// The SOCKS proxy did not take the user name and password (RFC 1929).
    SocksAuthentication,
    /// The SOCKS proxy could not or would not connect: its reply (RFC 1928 section 6).
    SocksReply(u8),
    /// The user name, the password or the host is too long for SOCKS, or empty where it may not be.
    SocksLength,
}

impl ProxyError {
    /// The HTTP status with which the proxy refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Rejected(response) => Some(response.status()),
            _ => None,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "the proxy's URL: {error}"),
            Self::Scheme(scheme) => {
                write!(f, "the proxy's scheme {scheme:?} is not http, socks5 or socks5h")
            }
            Self::Io(error) => write!(f, "the proxy: {error}"),
            Self::Rejected(response) => write!(f, "the proxy answered {}", response.status()),
            Self::Response(error) => write!(f, "the proxy's answer: {error}"),
            Self::UnexpectedData => f.write_str("the proxy sent something behind its answer"),
            Self::Socks => f.write_str("the proxy does not speak SOCKS 5"),
            Self::SocksMethod => f.write_str("the proxy wants another authentication"),
            Self::SocksAuthentication => {
                f.write_str("the proxy did not take the user name and password")
            }
            Self::SocksReply(reply) => {
                write!(f, "the proxy could not connect: {}", socks::reason(*reply))
            }
            Self::SocksLength => f.write_str("a name is too long or too short for SOCKS 5"),
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Response(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A server that connects to another on behalf of the client.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    kind: Kind,
    authority: Authority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

impl fmt::Debug for Proxy {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.authority)
    }
}

impl Proxy {
    /// Reads `http://user:password@host:port`, or `socks5:` or `socks5h:`; without a scheme it is
    /// `http:`. What follows the port is ignored, as by others.
    pub(super) fn parse(text: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyError::Scheme(scheme.to_owned())),
        };
        let start = text.len() - rest.len();
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if let Some(index) = authority.bytes().position(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(ProxyError::Url(UrlError::Character { index: start + index }));
        }
        let authority = Authority::parse(authority, port).map_err(|error| {
            ProxyError::Url(match error {
                UrlError::Character { index } => UrlError::Character { index: start + index },
                error => error,
            })
        })?;
        Ok(Self { kind, authority })
    }

    /// The name or address of the proxy, an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        self.authority.host()
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port()
    }

    /// Has the proxy at the other end of `socket` connect to the server of `url`.
    pub(super) fn tunnel(
        &self,
        socket: &mut Socket,
        url: &Url,
        max_body: usize,
        until: Option<Instant>,
    ) -> Result<(), ClientError> {
        let userinfo = self.authority.userinfo();
        let result = Patient::new(socket, until).map_err(ProxyError::Io).and_then(|mut stream| {
            match self.kind {
                Kind::Http => http::connect(&mut stream, url, userinfo, max_body),
                Kind::Socks5 => socks::connect(&mut stream, url, userinfo),
            }
        });
        result.map_err(of_proxy)
    }
}

/// A failure of the proxy as one of the client: out of time is out of time.
pub(super) fn of_proxy(error: ProxyError) -> ClientError {
    match error {
        ProxyError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            ClientError::TimedOut(Waiting::Connect)
        }
        error => ClientError::Proxy(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls() {
        let http = (Kind::Http, "h", 80);
        let socks = (Kind::Socks5, "h", 1080);
        let cases = [
            ("http://h", http),
            ("h", http),
            ("HTTP://H:80/", http),
            ("h:80/path?query#fragment", http),
            ("socks5://h", socks),
            ("socks5h://u:p@h:1080", socks),
            ("http://[::1]:3128", (Kind::Http, "::1", 3128)),
            ("u@1.2.3.4:3128", (Kind::Http, "1.2.3.4", 3128)),
        ];
        for (text, expected) in cases {
            let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((proxy.kind, proxy.host(), proxy.port()), expected, "{text}");
        }
        let proxy = Proxy::parse("http://us%20er:p%3Aw@h:1").unwrap();
        assert_eq!(proxy.authority.userinfo(), Some(("us er", "p:w")));
        assert_eq!(format!("{proxy:?}"), "Http(h:1)");
    }

    // attack: HC12
    #[test]
    fn bad_proxy_urls() {
        for scheme in ["https", "socks4", "ws", "file"] {
            let error = Proxy::parse(&format!("{scheme}://h")).unwrap_err();
            assert!(matches!(error, ProxyError::Scheme(named) if named == scheme));
        }
        let character = |index| UrlError::Character { index };
        let cases = [
            ("http://", UrlError::MissingHost),
            ("", UrlError::MissingHost),
            ("h:0", UrlError::Port("0".into())),
            ("http://h:x", UrlError::Port("x".into())),
            ("http://h\r\nX: y", character(8)),
            ("socks5://a b", character(10)),
            ("http://[x]", UrlError::Ipv6("[x]".into())),
            ("http://%zz@h", character(7)),
        ];
        for (text, expected) in cases {
            let error = Proxy::parse(text).unwrap_err();
            assert!(
                matches!(&error, ProxyError::Url(url) if *url == expected),
                "{text:?}: {error}"
            );
        }
    }
}
