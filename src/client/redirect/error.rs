use std::fmt;

use crate::handshake::UrlError;

/// Why a redirect was not followed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedirectError {
    /// `Location` is not the URL of a WebSocket.
    Url(UrlError),
    /// From `wss:` to `ws:`: what was asked for under encryption would be sent in the clear.
    Insecure,
    /// To a Unix socket: a remote server may not choose one of this machine's.
    UnixSocket,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("the server redirected to a URL that is not a WebSocket's"),
            Self::Insecure => f.write_str("the server redirected from wss: to ws:"),
            Self::UnixSocket => f.write_str("the server redirected to a Unix socket"),
        }
    }
}

impl std::error::Error for RedirectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            _ => None,
        }
    }
}
