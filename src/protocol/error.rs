use std::fmt;

use crate::handshake::{InvalidHeader, RequestError, ResponseError};
use crate::wire::{CloseCode, CloseFrameError, HeaderError};

use super::entropy::EntropyError;
use super::timers::TimeoutKind;

/// The peer broke the protocol or a limit on an open connection.
///
/// The connection has then failed (RFC 6455 section 7.1.7): the Close with
/// [`close_code`](Self::close_code) is in the output and nothing more is received.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolError {
    /// A header that no frame can have, or not the next one of this connection (RFC 6455 sections 5.1 to
    /// 5.5).
    Header(HeaderError),
    /// Text that is not UTF-8 (RFC 6455 section 8.1).
    #[doc(alias = "WS_ERR_INVALID_UTF8")]
    InvalidUtf8,
    /// A Close whose body is malformed (RFC 6455 sections 5.5.1 and 7.4).
    #[doc(alias = "WS_ERR_INVALID_CLOSE_CODE")]
    Close(CloseFrameError),
    /// A message longer than [`max_message_size`](crate::Config::max_message_size), which is given
    /// (RFC 6455 section 10.4). For a compressed message the inflated length counts.
    #[doc(alias = "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH")]
    MessageTooBig(usize),
    /// There was no memory for a message, of which so many bytes were to be kept then. No limit was passed: it is this
    /// side that lacks something. What holds the payload of a message fails so, whatever its length; an allocation of
    /// a few kilobytes that fails ends the program, as always in Rust.
    OutOfMemory(usize),
    /// More fragments in a message than [`max_fragments`](crate::Config::max_fragments), which is given
    /// (RFC 6455 section 10.4).
    #[doc(alias = "WS_ERR_TOO_MANY_BUFFERED_PARTS")]
    TooManyFragments(u32),
    /// A compressed payload that does not inflate (RFC 7692 section 7.2.2).
    #[doc(alias = "zlib error")]
    CorruptDeflate,
    /// A compressed message in which final blocks follow each other far more closely than any compressor
    /// ends them (RFC 7692 section 7.2.3.4): to go on after each would cost more than the message is worth.
    TooManyFinalBlocks,
    /// The peer took longer over its messages than it may: [`TimeoutKind::Message`] or [`TimeoutKind::FirstMessage`].
    Timeout(TimeoutKind),
}

impl ProtocolError {
    /// The code of the Close that is sent to the peer (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Header(error) => error.close_code(),
            Self::Close(CloseFrameError::InvalidUtf8) => CloseCode::INVALID_PAYLOAD,
            Self::Close(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::CorruptDeflate => CloseCode::INVALID_PAYLOAD,
            // "a message that is too big for it to process", at this moment.
            Self::MessageTooBig(_) | Self::OutOfMemory(_) => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments(_) | Self::TooManyFinalBlocks | Self::Timeout(_) => {
                CloseCode::POLICY_VIOLATION
            }
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::InvalidUtf8 => f.write_str("text is not UTF-8"),
            Self::Close(error) => error.fmt(f),
            Self::MessageTooBig(limit) => write!(f, "message is longer than {limit} bytes"),
            Self::OutOfMemory(bytes) => write!(f, "no memory for a message of {bytes} bytes"),
            Self::TooManyFragments(limit) => write!(f, "message has more than {limit} fragments"),
            Self::CorruptDeflate => f.write_str("compressed message does not inflate"),
            Self::TooManyFinalBlocks => f.write_str("compressed message has too many final blocks"),
            Self::Timeout(kind) => write!(f, "timeout: {kind}"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// The opening handshake failed by the peer's fault (RFC 6455 section 4).
#[allow(clippy::exhaustive_enums, reason = "a handshake is a request and a response")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeError {
    /// Server: the request, which is answered with an HTTP status.
    Request(RequestError),
    /// Client: the response.
    Response(ResponseError),
}

impl HandshakeError {
    /// Whether the handshake took too long: the request, the response or, at a server, the application's decision.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Request(RequestError::Timeout | RequestError::DecisionTimeout)
                | Self::Response(ResponseError::Timeout)
        )
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Request(error) => error.source(),
            Self::Response(error) => error.source(),
        }
    }
}

impl From<RequestError> for HandshakeError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<ResponseError> for HandshakeError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

/// Why something cannot be sent; nothing of it was.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SendError {
    /// The opening handshake is not over.
    Connecting,
    /// The closing handshake has begun: no data may follow a Close (RFC 6455 section 5.5.1).
    Closing,
    /// The connection is closed.
    Closed,
    /// The peer does not take what is sent: more than
    /// [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes wait already.
    Full,
    /// There is no request to answer: it was answered already, or this is a client.
    NothingToAnswer,
    /// A Ping or Pong with a payload of this many bytes, more than 125 (RFC 6455 section 5.5).
    ControlTooLong(usize),
    /// A close code or reason that may not be sent (RFC 6455 section 7.4).
    Close(CloseFrameError),
    /// A whole message, or a fragment of the other kind, inside an unfinished fragmented message
    /// (RFC 6455 section 5.4).
    UnfinishedMessage,
    /// Text fragments that do not add up to UTF-8 (RFC 6455 section 5.6).
    InvalidUtf8,
    /// A subprotocol that the client did not offer (RFC 6455 section 4.2.2).
    SubprotocolNotOffered(Box<str>),
    /// A header field that may not be sent, or one that the handshake sets itself.
    Header(InvalidHeader),
    /// A status below 200 or above 599 where a final answer is wanted.
    Status(u16),
    /// There was no entropy for the masking key.
    Entropy(EntropyError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connection is not open yet"),
            Self::Closing => f.write_str("connection is closing"),
            Self::Closed => f.write_str("connection is closed"),
            Self::Full => f.write_str("the limit of unsent output is reached"),
            Self::NothingToAnswer => f.write_str("no request waits for an answer"),
            Self::ControlTooLong(length) => {
                write!(f, "control payload of {length} bytes, more than 125")
            }
            Self::Close(error) => error.fmt(f),
            Self::UnfinishedMessage => f.write_str("a fragmented message is unfinished"),
            Self::InvalidUtf8 => f.write_str("text fragments are not UTF-8"),
            Self::SubprotocolNotOffered(name) => {
                write!(f, "subprotocol {name:?} was not offered by the client")
            }
            Self::Header(error) => error.fmt(f),
            Self::Status(status) => write!(f, "status {status} is not a final HTTP status"),
            Self::Entropy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

impl From<CloseFrameError> for SendError {
    fn from(error: CloseFrameError) -> Self {
        Self::Close(error)
    }
}

impl From<EntropyError> for SendError {
    fn from(error: EntropyError) -> Self {
        Self::Entropy(error)
    }
}

impl From<InvalidHeader> for SendError {
    fn from(error: InvalidHeader) -> Self {
        Self::Header(error)
    }
}
