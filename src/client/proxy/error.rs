use std::sync::Arc;
use std::{fmt, io};

use crate::handshake::{Response, ResponseError, UrlError};
#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// Why a proxy did not connect to the server.
#[non_exhaustive]
#[derive(Debug)]
pub enum ProxyError {
    /// The proxy's URL cannot be read.
    Url(UrlError),
    /// The proxy's URL has a scheme other than `http`, `https`, `socks5` and `socks5h`.
    Scheme(String),
    /// The proxy could not be reached, or the connection to it broke.
    Io(io::Error),
    /// TLS to this proxy failed, as TLS to the server does in [`ClientError::Tls`](crate::ClientError::Tls).
    #[cfg(feature = "tls")]
    Tls(Box<str>, TlsError),
    /// The HTTP proxy rejected the request: here is its answer, with up to
    /// [`Config::max_rejection_body`](crate::Config::max_rejection_body) bytes of its body.
    Rejected(Arc<Response>),
    /// The answer of the HTTP proxy is not one of HTTP.
    Response(ResponseError),
    /// The HTTP proxy sent data after its answer, before the server had anything to send.
    UnexpectedData,
    /// The answer of the SOCKS proxy is not one of version 5 (RFC 1928).
    Socks,
    /// The SOCKS proxy demands a method of authentication that the client does not have (RFC 1928 section 3).
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
            Self::Url(_) => f.write_str("the URL of the proxy cannot be read"),
            Self::Scheme(scheme) => {
                write!(f, "the proxy's scheme {scheme:?} is not http, https, socks5 or socks5h")
            }
            Self::Io(error) => write!(f, "the connection to the proxy {error} failed"),
            #[cfg(feature = "tls")]
            Self::Tls(proxy, _) => write!(f, "TLS to the proxy {proxy} failed"),
            Self::Rejected(response) => write!(f, "the proxy answered {}", response.status()),
            Self::Response(_) => f.write_str("the proxy's answer is not HTTP"),
            Self::UnexpectedData => f.write_str("the proxy sent data after its answer"),
            Self::Socks => f.write_str("the proxy does not speak SOCKS 5"),
            Self::SocksMethod => f.write_str("the proxy demands another method of authentication"),
            Self::SocksAuthentication => {
                f.write_str("the proxy rejected the user name and password")
            }
            Self::SocksReply(reply) => {
                write!(f, "the proxy could not connect: {}", reason(*reply))
            }
            Self::SocksLength => f.write_str("a name is too long or too short for SOCKS 5"),
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            // It is named already; what went wrong stands below.
            Self::Io(error) => error.source(),
            #[cfg(feature = "tls")]
            Self::Tls(_, error) => Some(error),
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

/// What a reply says (RFC 1928 section 6).
fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reply",
    }
}
