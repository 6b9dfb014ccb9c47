mod environment;
pub(super) mod error;
#[cfg(all(test, target_os = "linux"))]
mod faults;
mod http;
mod socks;

use std::fmt;
use std::io::{Read, Write};
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Instant;

pub(super) use self::environment::from_environment;
pub use self::error::ProxyError;
use super::deadline_stream::DeadlineStream;
use super::error::{ClientError, ClientTimeout, in_context, timed_out_or};
use super::wait::ConnectWait;
use crate::handshake::{Authority, Headers, Url, UrlError};
#[cfg(feature = "tls")]
use crate::io::transport::Stream;
use crate::protocol::Config;
#[cfg(feature = "tls")]
use crate::tls::{TlsError, TlsSocket, TlsStream};

/// A server that connects to another on behalf of the client.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    kind: Kind,
    authority: Authority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    /// HTTP over TLS.
    Https,
    Socks5,
}

impl fmt::Debug for Proxy {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.authority)
    }
}

impl Proxy {
    /// Reads `http://user:password@host:port`, or `https:`, `socks5:` or `socks5h:`; without a scheme it is
    /// `http:`. What follows the port is ignored, as by others.
    pub(super) fn parse(text: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
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

    /// What of the proxy is to be resolved; see [`host_to_resolve`].
    pub(super) fn host(&self) -> String {
        host_to_resolve(&self.authority)
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.kind == Kind::Https
    }

    /// Puts TLS around a socket that is connected to the proxy, whose certificate has to be for its host.
    #[cfg(feature = "tls")]
    pub(super) fn secure<S: Stream>(
        &self,
        tls: Arc<rustls::ClientConfig>,
        socket: S,
    ) -> Result<TlsStream<S>, ClientError> {
        let tls = TlsSocket::client(tls, self.authority.host(), socket);
        tls.map(TlsStream::new).map_err(|error| self.failed(error.into()))
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port()
    }

    /// Has the proxy at the other end of `stream`, which `wait` waits for, connect to the server of `url`.
    pub(super) fn tunnel(
        &self,
        stream: &mut (impl Read + Write),
        wait: &mut ConnectWait,
        url: &Url,
        headers: &Headers,
        config: &Config,
        until: Option<Instant>,
    ) -> Result<(), ClientError> {
        let userinfo = self.authority.userinfo();
        let mut stream = DeadlineStream::new(stream, wait, until, config.rejection_time_limit());
        let result = match self.kind {
            Kind::Http | Kind::Https => {
                let request = http::request(url, userinfo, headers);
                http::connect(&mut stream, &request, config.rejection_body_limit())
            }
            Kind::Socks5 => socks::connect(&mut stream, url, userinfo),
        };
        result.map_err(|error| match error {
            ProxyError::Io(error) => {
                let waiting = || ClientTimeout::Proxy(self.authority.to_string().into());
                self.failed(timed_out_or(error, until, waiting))
            }
            error => ClientError::Proxy(error),
        })
    }

    /// A failure to connect to the proxy, or to speak with it.
    pub(super) fn failed(&self, error: ClientError) -> ClientError {
        #[cfg(feature = "tls")]
        let error = match error {
            ClientError::Io(error) => {
                match error.get_ref().and_then(|error| error.downcast_ref()) {
                    Some(error) => ClientError::Tls(TlsError::clone(error)),
                    None => ClientError::Io(error),
                }
            }
            error => error,
        };
        let error = match error {
            ClientError::Io(error) => ProxyError::Io(in_context(&self.authority, error)),
            #[cfg(feature = "tls")]
            ClientError::Tls(error) => ProxyError::Tls(self.authority.to_string().into(), error),
            error => return error,
        };
        ClientError::Proxy(error)
    }
}

/// The host of a server as resolvers take it: an address in its common form, without brackets and with its zone, or
/// a name.
pub(super) fn host_to_resolve(authority: &Authority) -> String {
    match (authority.address(), authority.zone()) {
        (_, Some(zone)) => format!("{}%{zone}", authority.host()),
        (Some(address), None) => address.to_string(),
        (None, None) => authority.host().to_owned(),
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
            ("https://h", (Kind::Https, "h", 443)),
            ("http://[::1]:3128", (Kind::Http, "::1", 3128)),
            ("[fe80::1%251]:8", (Kind::Http, "fe80::1%1", 8)),
            ("u@1.2.3.4:3128", (Kind::Http, "1.2.3.4", 3128)),
            // An IPv4 address in a short form is an address, not a name to resolve.
            ("http://127.1:3128", (Kind::Http, "127.0.0.1", 3128)),
        ];
        for (text, expected) in cases {
            let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((proxy.kind, &*proxy.host(), proxy.port()), expected, "{text}");
        }
        let proxy = Proxy::parse("http://us%20er:p%3Aw@h:1").unwrap();
        assert_eq!(proxy.authority.userinfo(), Some(("us er", "p:w")));
        assert_eq!(format!("{proxy:?}"), "Http(h:1)");
    }

    // attack: HC12
    #[test]
    fn bad_proxy_urls() {
        for scheme in ["ftp", "socks4", "ws", "file"] {
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
