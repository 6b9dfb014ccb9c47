//! What is told to the `log` crate, where the feature `log` is on: which connection, what, and why;
//! never a payload, the value of a header or a URL.
//!
//! Targets are `framewire::accept`, `handshake`, `connection`, `limits` and `shutdown`. What a peer does
//! is debug or info, what the system refuses is a warning.

use std::error::Error;
use std::fmt;

use crate::handshake::{HeaderListError, RequestError, ResponseError};
use crate::protocol::{HandshakeError, Outcome};

use super::slab::PeerId;

/// `event!(Level, "target", "format", …)`; nothing is formatted for a level that nobody listens to.
#[cfg(feature = "log")]
macro_rules! event {
    ($level:ident, $target:literal, $($message:tt)+) => {
        ::log::log!(target: concat!("framewire::", $target), ::log::Level::$level, $($message)+)
    };
}

#[cfg(not(feature = "log"))]
macro_rules! event {
    ($level:ident, $target:literal, $($message:tt)+) => {
        if false {
            let _ = format_args!($($message)+);
        }
    };
}

pub(super) use event;

/// Tells how a connection ended.
pub(super) fn log_end(id: PeerId, is_opened: bool, outcome: &Outcome) {
    match outcome {
        _ if is_opened => event!(Debug, "connection", "{id} closed: {outcome}"),
        Outcome::HandshakeFailed(error) => {
            event!(Info, "handshake", "{id} failed: {}", Fault(error));
        }
        Outcome::Rejected(_) => event!(Debug, "handshake", "{id} {outcome}"),
        _ => event!(Debug, "handshake", "{id} lost before it was open"),
    }
}

/// A fault without the words of the peer.
struct Fault<'e>(&'e HandshakeError);

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use HandshakeError::{Request, Response};
        f.write_str(match self.0 {
            Request(RequestError::UnsupportedVersion(_)) => {
                "the WebSocket version is not supported"
            }
            Request(RequestError::InvalidList {
                error: HeaderListError::Duplicated { .. },
                ..
            }) => "a subprotocol is listed twice",
            Response(ResponseError::SubprotocolNotRequested(_)) => {
                "the server chose a subprotocol that was not requested"
            }
            Response(ResponseError::ExtensionParameters(_)) => {
                "the server chose invalid extension parameters"
            }
            Response(ResponseError::ExtensionNotOffered(_)) => {
                "the server chose an extension that was not offered"
            }
            Response(ResponseError::RepeatedExtension(_)) => "the server chose an extension twice",
            error => {
                return match error.source() {
                    Some(fault) => write!(f, "{error}: {fault}"),
                    None => error.fmt(f),
                };
            }
        })
    }
}
