//! What a client finds wrong with a response.

use std::fmt;

use super::deflate_error::DeflateError;
use super::head::HeadError;
use super::header_list::HeaderListError;

/// Why a client does not take a response as the end of its opening handshake.
///
/// "The client MUST _Fail the WebSocket Connection_" then (RFC 6455 section 4.1): there is nobody to
/// answer. Of a name that the server has sent, errors quote 256 bytes at most.
///
/// ```
/// use framewire::handshake::{HeadLimits, ResponseError, ResponseReader};
///
/// let mut reader = ResponseReader::new(HeadLimits::default(), 1024);
/// let error = reader.read(b"HTTP/1.0 101 Switching Protocols\r\n\r\n").unwrap_err();
/// assert_eq!(error, ResponseError::HttpVersion);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// The head breaks the syntax of HTTP or a limit (RFC 9112 sections 2 to 5).
    Head(HeadError),
    /// The answer is an alert or a handshake record of TLS (RFC 8446 section 5.1): the port is one for `wss:`.
    PeerSpeaksTls,
    /// The peer closed its side before the head was whole.
    Truncated,
    /// A 101 of an HTTP version other than 1.1 (RFC 9110 section 7.8).
    HttpVersion,
    /// More than four interim responses (RFC 9110 section 15.2) before the final one.
    TooManyInterimResponses,
    /// A response other than a 101 whose length cannot be told (RFC 9112 section 6.3). The name is that of
    /// the header.
    Framing(&'static str),
    /// The status is not 101 (RFC 6455 section 4.1): the server did not switch protocols.
    UnexpectedStatus(u16),
    /// A header that the handshake needs is missing (RFC 6455 section 4.1).
    MissingHeader(&'static str),
    /// A header that may stand once stands more often (RFC 6455 section 11.3).
    RepeatedHeader(&'static str),
    /// A header has a value that is not allowed (RFC 6455 section 4.1).
    #[doc(alias = "Invalid Upgrade header")]
    InvalidHeader(&'static str),
    /// A list header breaks its grammar (RFC 6455 section 9.1).
    #[doc(alias = "Invalid Sec-WebSocket-Extensions header")]
    InvalidList {
        /// The header.
        name: &'static str,
        /// What is wrong in it.
        error: HeaderListError,
    },
    /// `Sec-WebSocket-Accept` is not the answer to the key (RFC 6455 section 4.1).
    #[doc(alias = "Invalid Sec-WebSocket-Accept header")]
    AcceptMismatch,
    /// The server chose a subprotocol that was not asked for (RFC 6455 section 4.1).
    #[doc(alias = "Server sent a subprotocol but none was requested")]
    SubprotocolNotRequested(String),
    /// Subprotocols were asked for, and the server chose none.
    #[doc(alias = "Server sent no subprotocol")]
    NoSubprotocol,
    /// The server chose an extension that was not offered (RFC 6455 section 4.1).
    ExtensionNotOffered(String),
    /// The server chose permessage-deflate with parameters that do not fit what was offered (RFC 7692 section 7).
    ExtensionParameters(DeflateError),
    /// The server chose an extension twice (RFC 7692 section 5.1).
    RepeatedExtension(String),
    /// The response did not come whole in time.
    Timeout,
    /// There is no memory for a head of this length.
    OutOfMemory,
}

impl fmt::Display for ResponseError {
    // Text from the peer is written with `{:?}`, so that no control character reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(_) => f.write_str("malformed response"),
            Self::PeerSpeaksTls => f.write_str("the peer speaks TLS here: the URL should say wss:"),
            Self::Truncated => f.write_str("the response ended inside its head"),
            Self::HttpVersion => {
                f.write_str("the server switched protocols in an HTTP version other than 1.1")
            }
            Self::TooManyInterimResponses => f.write_str("too many interim responses"),
            Self::Framing(name) => {
                write!(f, "the {name} header of the response does not tell its length")
            }
            Self::UnexpectedStatus(status) => {
                write!(f, "the server answered {status}, not 101 Switching Protocols")
            }
            Self::MissingHeader(name) => write!(f, "the response has no {name} header"),
            Self::RepeatedHeader(name) => write!(f, "the response repeats the {name} header"),
            Self::InvalidHeader(name) | Self::InvalidList { name, .. } => {
                write!(f, "the response has an invalid {name} header")
            }
            Self::AcceptMismatch => {
                f.write_str("the Sec-WebSocket-Accept header does not answer the key")
            }
            Self::SubprotocolNotRequested(name) => {
                write!(f, "the server chose the subprotocol {name:?}, which was not requested")
            }
            Self::NoSubprotocol => f.write_str("the server chose none of the subprotocols"),
            Self::ExtensionParameters(_) => {
                f.write_str("the server chose invalid extension parameters")
            }
            Self::ExtensionNotOffered(name) => {
                write!(f, "the server chose the extension {name:?}, which was not offered")
            }
            Self::RepeatedExtension(name) => {
                write!(f, "the server chose the extension {name:?} twice")
            }
            Self::Timeout => f.write_str("the opening handshake took too long"),
            Self::OutOfMemory => f.write_str("there is no memory for the response"),
        }
    }
}

impl std::error::Error for ResponseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            Self::InvalidList { error, .. } => Some(error),
            Self::ExtensionParameters(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HeadError> for ResponseError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // HS37: what the peer wrote is escaped.
    #[test]
    fn display_escapes_the_peer() {
        let error = ResponseError::SubprotocolNotRequested("\x1b[31m\n".into());
        assert!(!error.to_string().contains(['\x1b', '\n']));
    }
}
