use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::handshake::{RequestError, Response};
#[cfg(feature = "tls")]
use crate::io::transport::Transport;
use crate::protocol::{Event, HandshakeError, Outcome};
#[cfg(feature = "tls")]
use crate::tls::TlsError;

use super::event_loop::EventLoop;
use super::handler::Handler;
use super::slots::PeerId;

/// Why a connection that came in did not become a WebSocket; for
/// [`Handler::on_handshake_error`].
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum OpeningError {
    /// The request was at fault, was refused by [`Config`](crate::Config), or took too long.
    Handshake(RequestError),
    /// The handler refused it, or there was no route for it, with this response.
    Rejected(Arc<Response>),
    /// TLS failed.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// The client went away before it was answered.
    Lost,
    /// There are as many connections as [`Server::max_connections`](crate::Server::max_connections)
    /// allows. 503.
    TooManyConnections,
    /// There are as many from there as
    /// [`Server::max_connections_per_ip`](crate::Server::max_connections_per_ip) allows. 429.
    TooManyFromAddress,
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
            Self::Lost => f.write_str("the client went away before it was answered"),
            Self::TooManyConnections => f.write_str("too many connections"),
            Self::TooManyFromAddress => f.write_str("too many connections from this address"),
            Self::ShuttingDown => f.write_str("the server shuts down"),
        }
    }
}

impl std::error::Error for OpeningError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => Some(error),
            _ => None,
        }
    }
}

/// What becomes of those that are not let in.
impl<H: Handler> EventLoop<H> {
    /// Asks the handler for an answer in place of this one.
    pub(super) fn tell_refusal(
        &mut self,
        error: &OpeningError,
        address: Option<SocketAddr>,
        response: Response,
    ) -> Response {
        self.handler.on_handshake_error(error, address).unwrap_or(response)
    }

    fn address(&self, id: PeerId) -> Option<SocketAddr> {
        self.core.slots.get(id)?.socket.peer_address().ok()
    }

    /// Answers an upgrade with something else.
    pub(super) fn reject(&mut self, id: PeerId, error: Option<OpeningError>, response: Response) {
        let error = error.unwrap_or_else(|| OpeningError::Rejected(Arc::new(response.clone())));
        let response = self.tell_refusal(&error, self.address(id), response);
        self.respond(id, response);
    }

    /// The engine has found a request at fault, and has queued its answer.
    #[cold]
    pub(super) fn refused(&mut self, id: PeerId, event: &Event<'_>) {
        // One that was dialled ends by `on_close`.
        let Event::HandshakeFailed(HandshakeError::Request(error)) = event else { return };
        #[cfg(feature = "tls")]
        let Some(slot) = self.core.slots.get(id) else { return };
        let error = OpeningError::Handshake(error.clone());
        // Who does not speak TLS and stays is too slow as well, in the end.
        #[cfg(feature = "tls")]
        let error = slot.socket.tls_error().map_or(error, |tls| OpeningError::Tls(tls.clone()));
        let answer = self.handler.on_handshake_error(&error, self.address(id));
        if let (Some(response), Some(slot)) = (answer, self.core.slots.get_mut(id)) {
            // Whoever was too slow has nothing queued, and hears nothing.
            let _ = slot.connection.answer_instead(&response);
        }
    }

    /// A connection has gone that was never open.
    #[cold]
    pub(super) fn never_opened(&mut self, id: PeerId, outcome: &Outcome) {
        let Some(slot) = self.core.slots.get(id) else { return };
        if !matches!(outcome, Outcome::Lost { .. }) {
            // Of which was told when it was refused.
            return;
        }
        let error = OpeningError::Lost;
        #[cfg(feature = "tls")]
        let error = slot.socket.tls_error().map_or(error, |tls| OpeningError::Tls(tls.clone()));
        let address = slot.socket.peer_address().ok();
        // There is nobody to answer any more.
        let _ = self.handler.on_handshake_error(&error, address);
    }
}
