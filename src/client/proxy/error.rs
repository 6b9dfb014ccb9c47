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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// Each says what the proxy did, and names no cause that it has said already.
    #[test]
    fn what_a_proxy_did_is_told_once() {
        let url = || crate::handshake::Url::parse("x").unwrap_err();
        for (error, text, cause) in [
            (ProxyError::Url(url()), "the URL of the proxy", Some(url().to_string())),
            (ProxyError::Scheme("ftp".into()), "\"ftp\" is not http", None),
            (
                ProxyError::Response(ResponseError::Truncated),
                "not HTTP",
                Some(ResponseError::Truncated.to_string()),
            ),
            (ProxyError::UnexpectedData, "after its answer", None),
            (ProxyError::Socks, "SOCKS 5", None),
            (ProxyError::SocksMethod, "another method", None),
            (ProxyError::SocksAuthentication, "rejected the user name", None),
            (ProxyError::SocksLength, "too long or too short", None),
        ] {
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.source().map(ToString::to_string), cause, "{error}");
            assert_eq!(error.status(), None);
        }
    }

    /// In the words of RFC 1928 section 6.
    #[test]
    fn replies_of_socks_have_their_own_words() {
        let words: Vec<_> =
            (1..=9).map(|reply| ProxyError::SocksReply(reply).to_string()).collect();
        let expected = [
            "general failure",
            "not allowed",
            "network unreachable",
            "host unreachable",
            "connection refused",
            "time to live expired",
            "command not supported",
            "address type not supported",
            "unknown reply",
        ];
        for (word, expected) in words.iter().zip(expected) {
            assert!(word.ends_with(expected), "{word}");
        }
    }
}
