//! What a server finds wrong with a request.

use std::fmt;

use super::head::HeadError;
use super::header_list::HeaderListError;

/// What is wrong with a request, or why a server does not accept it as the opening handshake of a WebSocket
/// (RFC 6455 section 4.2).
///
/// Each has a [`status`](Self::status) to answer with; `Response::from(&error)` is that answer. Of a name that the client
/// has sent, errors quote 256 bytes at most.
///
/// ```
/// use framewire::Response;
/// use framewire::handshake::{HeadLimits, RequestError, RequestReader};
///
/// let mut reader = RequestReader::new(HeadLimits::default());
/// let error = reader.read(b"GET /chat HTTP/2.0\r\n").unwrap_err();
/// assert_eq!((&error, error.status()), (&RequestError::HttpVersionNotSupported, 505));
/// let response = Response::from(&RequestError::MethodNotAllowed);
/// assert_eq!(response.headers().get_str("Allow"), Some("GET, HEAD"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestError {
    /// The head breaks the syntax of HTTP or a limit (RFC 9112 sections 2 to 5): 400, 414, 431.
    Head(HeadError),
    /// The first byte is that of a TLS record: `wss:` spoken to a plain port. 400.
    TlsHello,
    /// The request line is that of the HTTP/2 preface (RFC 9113 section 3.4). 400.
    Http2Preface,
    /// The method is not one that is served: `GET` and `HEAD`, and those of
    /// [`Config::http_methods`](crate::Config::http_methods) (RFC 9110 section 15.5.6). 405.
    MethodNotAllowed,
    /// The first line, or the first bytes, are those of the PROXY protocol, which is not expected here: in an event
    /// loop `Server::proxy_protocol` says where it is. 400.
    ProxyHeader,
    /// `Forwarded` and `X-Forwarded-For` name different clients; at most one of them was written by a proxy.
    /// See [`ForwardedFields`](super::ForwardedFields). 400.
    ForwardedTwice,
    /// The HTTP version is neither 1.1 nor 1.0 (RFC 9110 section 15.6.6). 505.
    HttpVersionNotSupported,
    /// The request target has not a form that goes with the method, or holds a byte that no
    /// target may hold (RFC 9112 section 3.2). 400.
    InvalidTarget,
    /// A `GET` or a `HEAD` announces a body, or a request of another method announces it badly or does not
    /// keep to it (RFC 9112 section 6, RFC 9110 section 7.8). 400. The name is that of the header which says so.
    Body(&'static str),
    /// The length of the body is not told, where it must be (RFC 1945 section 7.2.2). 411.
    LengthRequired,
    /// The body is longer than [`Config::max_request_body`](crate::Config::max_request_body). 413.
    BodyTooLarge,
    /// The body has a transfer coding besides `chunked` (RFC 9112 section 6.1). 501.
    TransferCoding,
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
    OriginRejected,
    /// The name in `Host` is not one that is served. 403.
    HostRejected,
    /// The request did not come whole in time (RFC 9110 section 15.5.9). 408, which an engine leaves
    /// unsaid: a client that sends nothing does not wait for an answer.
    Timeout,
    /// The server's application did not decide about the request in time. 503.
    DecisionTimeout,
    /// There is no memory for a head or a body of this length. 503.
    OutOfMemory,
}

impl RequestError {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Head(HeadError::StartLineTooLong) => 414,
            Self::Head(HeadError::TooLarge | HeadError::TooManyHeaders) => 431,
            Self::Head(_)
            | Self::TlsHello
            | Self::Http2Preface
            | Self::ProxyHeader
            | Self::ForwardedTwice
            | Self::InvalidTarget
            | Self::Body(_)
            | Self::MissingHeader(_)
            | Self::RepeatedHeader(_)
            | Self::InvalidHeader(_)
            | Self::InvalidList { .. } => 400,
            Self::OriginRejected | Self::HostRejected => 403,
            Self::PathNotServed => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::LengthRequired => 411,
            Self::BodyTooLarge => 413,
            Self::UnsupportedVersion(_) => 426,
            Self::TransferCoding => 501,
            Self::DecisionTimeout | Self::OutOfMemory => 503,
            Self::HttpVersionNotSupported => 505,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(_) => f.write_str("malformed request"),
            Self::TlsHello => f.write_str("a TLS hello on a port that speaks plain HTTP"),
            Self::Http2Preface => f.write_str("HTTP/2 is not supported"),
            Self::MethodNotAllowed => f.write_str("the method is not allowed"),
            Self::HttpVersionNotSupported => f.write_str("the HTTP version is neither 1.1 nor 1.0"),
            Self::InvalidTarget => f.write_str("invalid request target"),
            Self::Body(name) => write!(f, "the body is not allowed or malformed: {name}"),
            Self::LengthRequired => f.write_str("missing Content-Length header"),
            Self::BodyTooLarge => f.write_str("the body is too large"),
            Self::TransferCoding => f.write_str("the only transfer coding supported is chunked"),
            Self::MissingHeader(name) => write!(f, "missing {name} header"),
            Self::RepeatedHeader(name) => write!(f, "repeated {name} header"),
            Self::InvalidHeader(name) | Self::InvalidList { name, .. } => {
                write!(f, "invalid {name} header")
            }
            Self::UnsupportedVersion(version) => {
                write!(f, "WebSocket version {version} is not supported, 13 and 8 are")
            }
            Self::ProxyHeader => {
                f.write_str("a header of the PROXY protocol, which this server does not expect")
            }
            Self::ForwardedTwice => {
                f.write_str("Forwarded and X-Forwarded-For do not name the same client")
            }
            Self::PathNotServed => f.write_str("nothing is served at this path"),
            Self::OriginRejected => f.write_str("this origin is not allowed"),
            Self::HostRejected => f.write_str("this host is not served here"),
            Self::Timeout => f.write_str("the opening handshake took too long"),
            Self::DecisionTimeout => {
                f.write_str("the request was not decided in time; try again later")
            }
            Self::OutOfMemory => f.write_str("there is no memory for the request"),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            Self::InvalidList { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<HeadError> for RequestError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_a_status() {
        for (error, status) in [
            (RequestError::Head(HeadError::BareLineFeed), 400),
            (RequestError::Head(HeadError::StartLineTooLong), 414),
            (RequestError::Head(HeadError::TooLarge), 431),
            (RequestError::Head(HeadError::TooManyHeaders), 431),
            (RequestError::OriginRejected, 403),
            (RequestError::MethodNotAllowed, 405),
            (RequestError::Timeout, 408),
            (RequestError::LengthRequired, 411),
            (RequestError::BodyTooLarge, 413),
            (RequestError::TransferCoding, 501),
            (RequestError::UnsupportedVersion(7), 426),
            (RequestError::DecisionTimeout, 503),
            (RequestError::OutOfMemory, 503),
            (RequestError::HttpVersionNotSupported, 505),
        ] {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
