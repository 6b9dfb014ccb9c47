use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::handshake::{Request, Response};
use crate::wire::{CloseCode, CloseFrame};

use super::cause::Cause;
use super::error::{HandshakeError, ProtocolError};
use super::message::{Fragment, Message};
use super::payload::Bytes;
use super::state::Initiator;
use super::timers::TimeoutKind;

/// What [`Connection::receive`](crate::Connection::receive) found in the input.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// Server: a client asks to open a WebSocket. Answer with
    /// [`accept`](crate::Connection::accept) or [`reject`](crate::Connection::reject), now or later;
    /// until then nothing more is received.
    Request(Arc<Request>),
    /// Server: a plain HTTP request: a `GET` or a `HEAD`, or of a method of
    /// [`Config::http_methods`](crate::Config::http_methods). Answer with
    /// [`respond`](crate::Connection::respond), or promise it with
    /// [`respond_later`](crate::Connection::respond_later), before the next `receive`; otherwise 426 Upgrade
    /// Required is answered then.
    Http(Arc<Request>),
    /// Client: the server accepted; the connection is open.
    Open(Arc<Response>),
    /// A whole message.
    Message(Message<'a>),
    /// A piece of a message, where [`Config::fragments`](crate::Config::fragments) asked for pieces.
    Fragment(Fragment<'a>),
    /// A Ping; its Pong is already in the output, unless
    /// [`Config::auto_pong`](crate::Config::auto_pong) left that to you.
    Ping(Bytes<'a>),
    /// A Pong, asked for or not.
    Pong(Bytes<'a>),
    /// The peer's Close; the answer is already in the output. The last event of a clean connection.
    Close(CloseFrame),
    /// The opening handshake failed by the peer's fault; a server's HTTP answer is already in the
    /// output.
    HandshakeFailed(HandshakeError),
    /// The peer broke the protocol; the Close is already in the output. The last event.
    Failed(ProtocolError),
}

impl Event<'_> {
    /// The event detached from the input it was borrowed from.
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Request(request) => Event::Request(request),
            Self::Http(request) => Event::Http(request),
            Self::Open(response) => Event::Open(response),
            Self::Message(message) => Event::Message(message.into_owned()),
            Self::Fragment(fragment) => Event::Fragment(fragment.into_owned()),
            Self::Ping(payload) => Event::Ping(payload.into_owned()),
            Self::Pong(payload) => Event::Pong(payload.into_owned()),
            Self::Close(close) => Event::Close(close),
            Self::HandshakeFailed(error) => Event::HandshakeFailed(error),
            Self::Failed(error) => Event::Failed(error),
        }
    }
}

/// How a connection ended: each connection has exactly one outcome, which is the last thing to be reported of it.
#[doc(alias("CloseEvent", "wasClean"))]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Both Closes have passed: ours has left, and the peer's has come (RFC 6455 section 7.1.4). All that was
    /// queued before ours has left, too.
    Clean {
        /// The Close that was sent.
        sent: CloseFrame,
        /// The Close that was received.
        received: CloseFrame,
        /// Who sent the first one.
        initiator: Initiator,
    },
    /// The peer broke the protocol (RFC 6455 section 7.1.7).
    Failed(ProtocolError),
    /// The opening handshake failed by the peer's fault.
    HandshakeFailed(HandshakeError),
    /// The server answered the opening handshake with another status than 101, or, at the server, the
    /// request was answered with such a status.
    Rejected(Arc<Response>),
    /// The transport ended without a closing handshake (RFC 6455 section 7.1.5).
    Lost {
        /// The Close that was sent, if one has left; one that was only queued does not count.
        sent: Option<CloseFrame>,
        /// The Close that was received, if one was.
        received: Option<CloseFrame>,
        /// Why, if more is known than that: the transport failed. `None` where the peer ended it in good order,
        /// and where this side did.
        cause: Option<Cause>,
    },
    /// A time limit of this side ended the connection without a closing handshake.
    TimedOut {
        /// Which one.
        timeout: TimeoutKind,
        /// The Close that was sent, if one has left.
        sent: Option<CloseFrame>,
        /// The Close that was received, if one was.
        received: Option<CloseFrame>,
    },
}

impl Outcome {
    /// The close code that the RFC has reported (section 7.1.5): the peer's, 1005 if its Close had
    /// none, 1006 if there was no Close or the connection failed.
    pub fn code(&self) -> CloseCode {
        self.received().map_or(CloseCode::ABNORMAL, CloseFrame::code)
    }

    /// The peer's close reason (RFC 6455 section 7.1.6), empty if there was none. Not for end users.
    pub fn reason(&self) -> &str {
        self.received().map_or("", CloseFrame::reason)
    }

    /// Whether the closing handshake was completed by both sides, so that nothing was left unsent; the
    /// browser's `wasClean`.
    pub fn was_clean(&self) -> bool {
        matches!(self, Self::Clean { .. })
    }

    /// The peer's Close, if it came and the connection did not fail.
    pub fn received(&self) -> Option<&CloseFrame> {
        match self {
            Self::Clean { received, .. } => Some(received),
            Self::Lost { received, .. } | Self::TimedOut { received, .. } => received.as_ref(),
            _ => None,
        }
    }

    /// Why the connection was [lost](Self::Lost), if more is known than that: the error of the transport.
    ///
    /// The event loop and the client give what the system said, a [`std::io::Error`], or what went wrong with
    /// TLS, a `TlsError`. Where there was no entropy for what the protocol demands, it is a
    /// [`SendError`](crate::SendError).
    ///
    /// ```
    /// use framewire::{Config, Connection};
    /// use std::io::{Error, ErrorKind};
    ///
    /// let mut connection = Connection::adopted_server(&Config::new());
    /// let outcome = connection.abort_with(Error::from(ErrorKind::ConnectionReset));
    /// let error = outcome.cause().and_then(|cause| cause.downcast_ref::<Error>());
    /// assert_eq!(error.map(Error::kind), Some(ErrorKind::ConnectionReset));
    /// assert_eq!(outcome.to_string(), "lost without a closing handshake: connection reset");
    /// ```
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self {
            Self::Lost { cause, .. } => cause.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { received, initiator, .. } => {
                write!(f, "closed by {initiator} with {}", received.code())
            }
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::HandshakeFailed(error) => match error.source() {
                Some(fault) => write!(f, "handshake failed: {error}: {fault}"),
                None => write!(f, "handshake failed: {error}"),
            },
            Self::Rejected(response) => write!(f, "rejected with status {}", response.status()),
            Self::Lost { cause: Some(cause), .. } => {
                write!(f, "lost without a closing handshake: {cause}")
            }
            Self::Lost { .. } => f.write_str("lost without a closing handshake"),
            Self::TimedOut { timeout, .. } => write!(f, "timeout: {timeout}"),
        }
    }
}
