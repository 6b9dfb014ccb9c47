use std::fmt;
use std::sync::Arc;

use crate::handshake::{ProxyHeaderError, RequestError, Response};
#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// Why a connection that came in did not become a WebSocket; for
/// [`Handler::on_handshake_error`](crate::Handler::on_handshake_error).
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum OpeningError {
    /// The request was at fault, was rejected by [`Config`](crate::Config), or took too long.
    Handshake(RequestError),
    /// The handler rejected the request with this response, or there was no route for it.
    Rejected(Arc<Response>),
    /// TLS failed.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// The connection did not begin as the [PROXY protocol](crate::ProxyProtocol) demands of its listener. It is
    /// ended without an answer.
    ProxyHeader(ProxyHeaderError),
    /// The client went away before it was answered.
    Lost,
    /// There are as many connections as [`Server::max_connections`](crate::Server::max_connections)
    /// allows. 503.
    TooManyConnections,
    /// There are as many connections from that address as
    /// [`Server::max_connections_per_ip`](crate::Server::max_connections_per_ip) allows. 429.
    TooManyFromAddress,
    /// As many handshakes have come from that address of late as
    /// [`Server::max_handshakes_per_ip`](crate::Server::max_handshakes_per_ip) allows. 429.
    TooManyHandshakes,
    /// The loop shuts down. 503.
    ShuttingDown,
}

impl fmt::Display for OpeningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => error.fmt(f),
            Self::Rejected(response) => write!(f, "rejected with status {}", response.status()),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            Self::ProxyHeader(error) => error.fmt(f),
            Self::Lost => f.write_str("the client went away before it was answered"),
            Self::TooManyConnections => f.write_str("too many connections"),
            Self::TooManyFromAddress => f.write_str("too many connections from this address"),
            Self::TooManyHandshakes => f.write_str("too many handshakes from this address"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
        }
    }
}

impl std::error::Error for OpeningError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // `Display` prints their text already; what is left is their own source.
            Self::Handshake(error) => error.source(),
            Self::ProxyHeader(error) => error.source(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            _ => None,
        }
    }
}
