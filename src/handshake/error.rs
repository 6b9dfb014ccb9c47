//! What can be wrong with a handshake, and what the server answers.

use std::fmt;

use super::head::HeadFault;
use super::header_list::HeaderListError;

/// Why an opening handshake failed.
///
/// The first family is found by a server in a request and has a [`status`](Self::status) to answer
/// with; `Response::from(&error)` is that answer. The second family is found by a client in a
/// response: there is nobody to answer, [`status`](Self::status) is `None`, and the connection is
/// failed (RFC 6455 section 4.1).
///
/// ```
/// use framewire::handshake::{HeadLimits, RequestReader};
///
/// let mut reader = RequestReader::new(HeadLimits::default());
/// let error = reader.read(b"POST /chat HTTP/1.1\r\n").unwrap_err();
/// assert_eq!(error.status(), Some(405));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The request breaks the syntax of HTTP or a limit (RFC 9112 sections 2 to 5): 400, 414, 431.
    RequestHead(HeadFault),
    /// The first byte is that of a TLS record: `wss:` spoken to a plain port. 400.
    TlsHello,
    /// The request line is that of the HTTP/2 preface (RFC 9113 section 3.4). 400.
    Http2Preface,
    /// The method is not `GET` (RFC 6455 section 4.2.1, item 1). 405.
    MethodNotAllowed,
    /// The HTTP version is not 1.1 (RFC 6455 section 4.2.1, item 1). 505.
    HttpVersionNotSupported,
    /// The request target has neither origin form nor absolute form, or holds a byte that no
    /// target may hold (RFC 9112 section 3.2). 400.
    InvalidTarget,
    /// The request announces a body, or announces it badly (RFC 9112 section 6, RFC 9110 section
    /// 7.8). 400. The name is that of the header which says so.
    RequestBody(&'static str),
    /// A header that the handshake needs is missing (RFC 6455 section 4.2.1). 400.
    MissingHeader(&'static str),
    /// A header that may stand once stands more often (RFC 6455 section 11.3, RFC 9112 section
    /// 3.2). 400.
    RepeatedHeader(&'static str),
    /// A header has a value that its definition does not allow (RFC 6455 section 4.2.1). 400.
    InvalidHeader(&'static str),
    /// A list header breaks its grammar (RFC 6455 sections 4.1, 4.3 and 9.1). 400.
    InvalidList {
        /// The header.
        name: &'static str,
        /// What is wrong in it.
        error: HeaderListError,
    },
    /// A version of the WebSocket protocol other than 13 and 8 (RFC 6455 section 4.4). 426.
    UnsupportedVersion(u8),
    /// The path is not one that is served (RFC 6455 section 4.2.2, item 4). 404.
    PathNotServed,
    /// The origin is not one that pages may come from (RFC 6455 section 10.2). 403.
    OriginRefused,
    /// The name in `Host` is not one that is served. 403.
    HostRefused,
    /// The handshake took longer than it may; nobody waits for an answer, so none is given.
    Timeout,
    /// The server's application did not decide about the request in time. 503.
    DecisionTimeout,

    /// The response breaks the syntax of HTTP or a limit (RFC 9112 sections 2 to 5).
    ResponseHead(HeadFault),
    /// The peer closed its side before the head of the response was whole.
    ResponseTruncated,
    /// A 101 of an HTTP version other than 1.1 (RFC 9110 section 7.8).
    ResponseHttpVersion,
    /// More than four interim responses (RFC 9110 section 15.2) before the final one.
    TooManyInterimResponses,
    /// A 101 with `Content-Length` or `Transfer-Encoding` (RFC 9112 section 6), or another response
    /// whose length cannot be told. The name is that of the header.
    ResponseFraming(&'static str),
    /// The status is not 101 (RFC 6455 section 4.1): the server did not switch protocols.
    UnexpectedStatus(u16),
    /// The response lacks a header that it needs (RFC 6455 section 4.1).
    ResponseMissingHeader(&'static str),
    /// The response repeats a header that may stand once (RFC 6455 section 11.3).
    ResponseRepeatedHeader(&'static str),
    /// The response has a header with a value that is not allowed (RFC 6455 section 4.1).
    ResponseInvalidHeader(&'static str),
    /// A list header of the response breaks its grammar (RFC 6455 section 9.1).
    ResponseInvalidList {
        /// The header.
        name: &'static str,
        /// What is wrong in it.
        error: HeaderListError,
    },
    /// `Sec-WebSocket-Accept` is not the answer to the key (RFC 6455 section 4.1).
    AcceptMismatch,
    /// The server chose a subprotocol that was not asked for (RFC 6455 section 4.1).
    SubprotocolNotRequested(String),
    /// Subprotocols were asked for, and the server chose none.
    NoSubprotocol,
    /// The server chose an extension that was not offered (RFC 6455 section 4.1).
    ExtensionNotOffered(String),
    /// The server chose an extension with parameters that cannot be (RFC 7692 section 7): why.
    ExtensionParameters(String),
    /// The server chose an extension twice (RFC 7692 section 5.1).
    RepeatedExtension(String),
}

impl HandshakeError {
    /// The HTTP status that a server answers with; `None` for a fault in a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        Some(match self {
            Self::RequestHead(fault) => fault.status(),
            Self::OriginRefused | Self::HostRefused => 403,
            Self::PathNotServed => 404,
            Self::MethodNotAllowed => 405,
            Self::UnsupportedVersion(_) => 426,
            Self::DecisionTimeout => 503,
            Self::HttpVersionNotSupported => 505,
            Self::TlsHello
            | Self::Http2Preface
            | Self::InvalidTarget
            | Self::RequestBody(_)
            | Self::MissingHeader(_)
            | Self::RepeatedHeader(_)
            | Self::InvalidHeader(_)
            | Self::InvalidList { .. } => 400,
            _ => return None,
        })
    }
}

impl fmt::Display for HandshakeError {
    // Text from the peer is written with `{:?}`, so that no control character reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHead(fault) => write!(f, "malformed request: {fault}"),
            Self::TlsHello => f.write_str("a TLS hello on a port that speaks plain HTTP"),
            Self::Http2Preface => f.write_str("HTTP/2 is not spoken here"),
            Self::MethodNotAllowed => f.write_str("the method is not GET"),
            Self::HttpVersionNotSupported => f.write_str("the HTTP version is not 1.1"),
            Self::InvalidTarget => f.write_str("invalid request target"),
            Self::RequestBody(name) => {
                write!(f, "the request must not have a body, but has {name}")
            }
            Self::MissingHeader(name) => write!(f, "missing {name} header"),
            Self::RepeatedHeader(name) => write!(f, "repeated {name} header"),
            Self::InvalidHeader(name) => write!(f, "invalid {name} header"),
            Self::InvalidList { name, error } => write!(f, "invalid {name} header: {error}"),
            Self::UnsupportedVersion(version) => {
                write!(f, "WebSocket version {version} is not supported, 13 and 8 are")
            }
            Self::PathNotServed => f.write_str("nothing is served at this path"),
            Self::OriginRefused => f.write_str("pages of this origin are not served"),
            Self::HostRefused => f.write_str("this host is not served here"),
            Self::Timeout => f.write_str("the opening handshake took too long"),
            Self::DecisionTimeout => f.write_str("it was not decided in time; try again later"),
            Self::ResponseHead(fault) => write!(f, "malformed response: {fault}"),
            Self::ResponseTruncated => f.write_str("the response ended inside its head"),
            Self::ResponseHttpVersion => {
                f.write_str("the server switched protocols in an HTTP version other than 1.1")
            }
            Self::TooManyInterimResponses => f.write_str("too many interim responses"),
            Self::ResponseFraming(name) => {
                write!(f, "the response has a {name} header that it must not have")
            }
            Self::UnexpectedStatus(status) => {
                write!(f, "the server answered {status}, not 101 Switching Protocols")
            }
            Self::ResponseMissingHeader(name) => write!(f, "the response has no {name} header"),
            Self::ResponseRepeatedHeader(name) => {
                write!(f, "the response repeats the {name} header")
            }
            Self::ResponseInvalidHeader(name) => {
                write!(f, "the response has an invalid {name} header")
            }
            Self::ResponseInvalidList { name, error } => {
                write!(f, "the response has an invalid {name} header: {error}")
            }
            Self::AcceptMismatch => {
                f.write_str("the Sec-WebSocket-Accept header does not answer the key")
            }
            Self::SubprotocolNotRequested(name) => {
                write!(f, "the server chose the subprotocol {name:?}, which was not requested")
            }
            Self::NoSubprotocol => f.write_str("the server chose none of the subprotocols"),
            Self::ExtensionParameters(error) => {
                write!(f, "the server chose impossible extension parameters: {error}")
            }
            Self::ExtensionNotOffered(name) => {
                write!(f, "the server chose the extension {name:?}, which was not offered")
            }
            Self::RepeatedExtension(name) => {
                write!(f, "the server chose the extension {name:?} twice")
            }
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::RequestHead(fault) | Self::ResponseHead(fault) => Some(fault),
            Self::InvalidList { error, .. } | Self::ResponseInvalidList { error, .. } => {
                Some(error)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_by_fault() {
        let cases: [(HandshakeError, Option<u16>); 9] = [
            (HandshakeError::DecisionTimeout, Some(503)),
            (HandshakeError::RequestHead(HeadFault::BareLineFeed), Some(400)),
            (HandshakeError::RequestHead(HeadFault::StartLineTooLong), Some(414)),
            (HandshakeError::RequestHead(HeadFault::TooLarge), Some(431)),
            (HandshakeError::MethodNotAllowed, Some(405)),
            (HandshakeError::HttpVersionNotSupported, Some(505)),
            (HandshakeError::UnsupportedVersion(7), Some(426)),
            (HandshakeError::ResponseHead(HeadFault::TooLarge), None),
            (HandshakeError::AcceptMismatch, None),
        ];
        for (error, status) in cases {
            assert_eq!(error.status(), status, "{error}");
        }
    }

    // HS37: what the peer wrote is escaped.
    #[test]
    fn display_escapes_the_peer() {
        let error = HandshakeError::SubprotocolNotRequested("\x1b[31m\n".into());
        assert!(!error.to_string().contains(['\x1b', '\n']));
    }
}
