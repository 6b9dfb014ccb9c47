use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::proxy::error::ProxyError;
use super::redirect::error::RedirectError;
use crate::handshake::{ClientRequestError, HttpDate, Response, ResponseError, UrlError};
use crate::protocol::{
    EntropyError, HandshakeError, InvalidConfig, Outcome, ProtocolError, SendError,
};
#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// Why a client could not connect, send or receive. Its text says what happened, and its
/// [sources](std::error::Error::source) why, in words of their own: print the chain.
#[non_exhaustive]
#[derive(Debug)]
pub enum ClientError {
    /// The URL is not one of a WebSocket.
    Url(UrlError),
    /// The request cannot be made: a header field or a subprotocol that may not be sent.
    Request(ClientRequestError),
    /// The configuration cannot work.
    Config(InvalidConfig),
    /// The name could not be resolved, the address could not be reached, or the transport failed. The text of a
    /// failure to connect names the URL; its sources the name or the address, and what the system said.
    Io(io::Error),
    /// A time limit was reached; the value says which. After a `read` the connection can still be used.
    TimedOut(ClientTimeout),
    /// The server's answer to the opening handshake breaks the protocol.
    Handshake(ResponseError),
    /// The server answered the opening handshake with another status than 101: here is the answer, with
    /// up to [`Config::max_rejection_body`](crate::Config::max_rejection_body) bytes of its body.
    #[doc(alias("unexpected-response", "Unexpected server response"))]
    Rejected(Arc<Response>),
    /// The proxy did not connect to the server.
    Proxy(ProxyError),
    /// The server redirected to a URL that the client does not follow.
    Redirect(RedirectError),
    /// The server redirected more often than
    /// [`ClientBuilder::redirects`](crate::ClientBuilder::redirects) allows.
    #[doc(alias = "Maximum redirects exceeded")]
    TooManyRedirects,
    /// The server broke the protocol.
    Protocol(ProtocolError),
    /// The transport ended without a closing handshake, or a time limit of this side ended it; the browser's
    /// 1006. The [`Outcome`] says which, has the peer's Close if that has come, and the error of the transport
    /// if that failed ([`Outcome::cause`]), which is the source of this one.
    Lost(Outcome),
    /// This side ended the connection, by [`Closer::abort`](crate::Closer::abort) or
    /// [`Client::abort`](crate::Client::abort), or by [`Closer::close`](crate::Closer::close) before there was a
    /// connection to close.
    Aborted,
    /// The message cannot be sent.
    Send(SendError),
    /// There is no entropy for masking keys.
    Entropy(EntropyError),
    /// TLS failed: the server's certificate is not to be trusted, or the server refused, broke the
    /// protocol of TLS, or does not speak it.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// A `wss:` URL needs the feature `tls`, which this build does not have.
    TlsNotBuilt,
    /// This transport cannot be split: it has no second handle to wait with.
    NotSplittable,
}

/// Which step took too long.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientTimeout {
    /// Resolving the name of this host, within
    /// [`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout).
    Resolve(Box<str>),
    /// Connecting to this host, within
    /// [`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout).
    Connect(Box<str>),
    /// The answer of this proxy, within
    /// [`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout).
    Proxy(Box<str>),
    /// The handshake of TLS with the server of this URL, told without its query, within
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Tls(Box<str>),
    /// The opening handshake with the server of this URL, told without its query, or with "the server" where only a
    /// stream is known, within [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Handshake(Box<str>),
    /// The next message, within [`Client::set_read_timeout`](crate::Client::set_read_timeout).
    Read,
    /// Writing what was sent, within the timeout of a stream that [blocks by itself](crate::Client::handshake).
    Write,
}

impl ClientError {
    /// The HTTP status of a rejection by the server; for one by the proxy, ask [`ProxyError::status`].
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Rejected(response) => Some(response.status()),
            _ => None,
        }
    }

    /// How long the server, or the proxy, that rejected asks to wait before the next attempt: the seconds
    /// of its `Retry-After`, or those up to the date that this says (RFC 9110 section 10.2.3), by the clock of the
    /// system. `None` without one.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_at(SystemTime::now())
    }

    /// Returns what [`retry_after`](Self::retry_after) does, with `now` as the time of day.
    pub fn retry_after_at(&self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Rejected(response) | Self::Proxy(ProxyError::Rejected(response)) => {
                let value = response.headers().get_str("Retry-After")?;
                if let Some(date) = HttpDate::parse(value) {
                    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                    return Some(date.duration_since_1970().saturating_sub(now));
                }
                // `parse` would accept a sign, which HTTP does not.
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let seconds = value.parse().ok().filter(|_| digits)?;
                Some(Duration::from_secs(seconds))
            }
            _ => None,
        }
    }

    /// Whether the same attempt may succeed later: the server or the proxy could not be reached, did not
    /// answer, was lost, or answered 429, 502, 503 or 504. Not where the URL, the request, the
    /// protocol or the server's other answers are the reason.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io(error) | Self::Proxy(ProxyError::Io(error)) => is_passing(error.kind()),
            Self::TimedOut(waiting) => *waiting != ClientTimeout::Read,
            Self::Lost(_) | Self::Handshake(ResponseError::Truncated) => true,
            #[cfg(feature = "tls")]
            Self::Tls(error) | Self::Proxy(ProxyError::Tls(_, error)) => {
                matches!(error, TlsError::Ended)
            }
            Self::Rejected(response) | Self::Proxy(ProxyError::Rejected(response)) => {
                matches!(response.status(), 429 | 502..=504)
            }
            // General failure, unreachable, refused, expired; but not: not allowed or not supported.
            Self::Proxy(ProxyError::SocksReply(reply)) => matches!(reply, 1 | 3..=6),
            _ => false,
        }
    }

    /// What the end of a connection is to the caller who wanted more of it; `None` for a clean end.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Clean { .. } => return None,
            Outcome::Failed(error) => Self::Protocol(*error),
            Outcome::HandshakeFailed(HandshakeError::Response(error)) => error.clone().into(),
            Outcome::Rejected(response) => Self::Rejected(Arc::clone(response)),
            outcome => Self::lost(outcome.clone()),
        })
    }

    /// A connection that was lost, by a failure of TLS perhaps.
    pub(super) fn lost(outcome: Outcome) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = outcome.cause().and_then(|cause| cause.downcast_ref::<TlsError>()) {
            return Self::Tls(error.clone());
        }
        Self::Lost(outcome)
    }
}

/// What an error of connecting is, where there was time until then: the system, a proxy's socket and a resolver of the
/// caller's have timeouts of their own, which are no deadline of this client's.
pub(super) fn timed_out_or(
    error: io::Error,
    until: Option<Instant>,
    waiting: impl FnOnce() -> ClientTimeout,
) -> ClientError {
    let is_late = until.is_some_and(|until| until <= Instant::now());
    if is_late && error.kind() == io::ErrorKind::TimedOut {
        return ClientError::TimedOut(waiting());
    }
    ClientError::Io(error)
}

/// The error with what was done when it came. What the system said is its source.
pub(super) fn in_context(what: impl fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), InContext { what: what.to_string(), error })
}

#[derive(Debug)]
struct InContext {
    what: String,
    error: io::Error,
}

impl fmt::Display for InContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for InContext {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Whether the system may say otherwise the next time. What it says of names that cannot be resolved has
/// no kind.
fn is_passing(kind: io::ErrorKind) -> bool {
    !matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::Unsupported
    )
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut(waiting) => waiting.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Rejected(response) => {
                write!(f, "the server answered {}", response.status())?;
                match response.reason_phrase() {
                    "" => Ok(()),
                    reason => write!(f, " {}", reason.escape_debug()),
                }
            }
            Self::Proxy(error) => error.fmt(f),
            Self::Redirect(error) => error.fmt(f),
            Self::TooManyRedirects => f.write_str("the server redirected too often"),
            Self::Protocol(_) => f.write_str("the server broke the protocol"),
            Self::Lost(outcome) => {
                match outcome {
                    Outcome::TimedOut { timeout, .. } => {
                        write!(f, "the connection was given up: {timeout} timeout")?;
                    }
                    _ => f.write_str("the connection was lost without a closing handshake")?,
                }
                if let Some(close) = outcome.received() {
                    write!(f, ", after a Close with {}", close.code())?;
                }
                Ok(())
            }
            Self::Send(error) => error.fmt(f),
            Self::Entropy(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            Self::TlsNotBuilt => f.write_str("wss: needs the feature \"tls\" of framewire"),
            Self::Aborted => f.write_str("the connection was ended by this side"),
            Self::NotSplittable => f.write_str("this transport cannot be split"),
        }
    }
}

/// Says which deadline has passed.
impl fmt::Display for ClientTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(host) => {
                write!(f, "resolving {host} took longer than the connect timeout")
            }
            Self::Connect(host) => {
                write!(f, "connecting to {host} took longer than the connect timeout")
            }
            Self::Proxy(proxy) => {
                write!(f, "the answer of the proxy {proxy} took longer than the connect timeout")
            }
            Self::Tls(url) => {
                write!(f, "the TLS handshake with {url} took longer than the handshake timeout")
            }
            Self::Handshake(url) => {
                write!(f, "the opening handshake with {url} took longer than the handshake timeout")
            }
            Self::Read => f.write_str("no message came within the read timeout"),
            Self::Write => {
                f.write_str("the stream did not take the output within its write timeout")
            }
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // `Display` has already printed the message of each of these; what is left is its own source.
            Self::Url(error) => error.source(),
            Self::Request(error) => error.source(),
            Self::Config(error) => error.source(),
            Self::Io(error) => error.source(),
            Self::Handshake(error) => error.source(),
            Self::Proxy(error) => error.source(),
            Self::Redirect(error) => error.source(),
            Self::Send(error) => error.source(),
            Self::Entropy(error) => error.source(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            Self::Protocol(error) => Some(error),
            Self::Lost(outcome) => outcome.cause().map(|cause| cause as _),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {$(
        impl From<$error> for ClientError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from!(UrlError => Url, ClientRequestError => Request, InvalidConfig => Config, io::Error => Io,
    SendError => Send, EntropyError => Entropy);
#[cfg(feature = "tls")]
from!(TlsError => Tls);

impl From<ResponseError> for ClientError {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Timeout => Self::TimedOut(ClientTimeout::Handshake("the server".into())),
            error => Self::Handshake(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::protocol::{Initiator, TimeoutKind};
    use crate::wire::{CloseCode, CloseFrame};

    /// An error and all that it is caused by, as a program prints them.
    fn chain(error: &ClientError) -> Vec<String> {
        let mut chain = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            chain.push(error.to_string());
            source = error.source();
        }
        chain
    }

    fn lost(cause: Option<io::Error>) -> Outcome {
        Outcome::Lost { sent: None, received: None, cause: cause.map(Into::into) }
    }

    /// What is printed already is not printed again as its own cause.
    #[test]
    fn each_error_says_everything_once() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let timed_out =
            Outcome::TimedOut { timeout: TimeoutKind::Pong, sent: None, received: None };
        let closed = Outcome::Lost {
            sent: None,
            received: Some(CloseFrame::new(1001.into(), "").unwrap()),
            cause: None,
        };
        let url = crate::handshake::Url::parse("ftp://h/").unwrap_err();
        let url_text = url.to_string();
        let cases: Vec<(ClientError, Vec<String>)> = vec![
            (url.into(), vec![url_text]),
            (reset().into(), vec![reset().to_string()]),
            (SendError::Closed.into(), vec![SendError::Closed.to_string()]),
            (EntropyError::default().into(), vec![EntropyError::default().to_string()]),
            (ResponseError::Truncated.into(), vec![ResponseError::Truncated.to_string()]),
            (
                ClientError::Protocol(ProtocolError::InvalidUtf8),
                vec![
                    "the server broke the protocol".into(),
                    ProtocolError::InvalidUtf8.to_string(),
                ],
            ),
            (
                ClientError::Lost(lost(Some(reset()))),
                vec![
                    "the connection was lost without a closing handshake".into(),
                    reset().to_string(),
                ],
            ),
            (
                ClientError::Lost(timed_out),
                vec!["the connection was given up: pong timeout".into()],
            ),
            (
                ClientError::Lost(closed),
                vec![
                    "the connection was lost without a closing handshake, after a Close with 1001"
                        .into(),
                ],
            ),
            (ClientError::TooManyRedirects, vec!["the server redirected too often".into()]),
            (ClientError::Aborted, vec!["the connection was ended by this side".into()]),
            (ClientError::NotSplittable, vec!["this transport cannot be split".into()]),
            (ClientError::TlsNotBuilt, vec!["wss: needs the feature \"tls\" of framewire".into()]),
        ];
        for (error, expected) in &cases {
            assert_eq!(chain(error), *expected, "{error:?}");
        }
    }

    #[test]
    fn a_timeout_names_what_was_waited_for_and_how_long() {
        let host = || "h:1".into();
        for (timeout, names) in [
            (ClientTimeout::Resolve(host()), ["h:1", "connect timeout"]),
            (ClientTimeout::Connect(host()), ["h:1", "connect timeout"]),
            (ClientTimeout::Proxy(host()), ["proxy h:1", "connect timeout"]),
            (ClientTimeout::Tls(host()), ["TLS handshake with h:1", "handshake timeout"]),
            (ClientTimeout::Handshake(host()), ["opening handshake with h:1", "handshake timeout"]),
            (ClientTimeout::Read, ["message", "read timeout"]),
            (ClientTimeout::Write, ["output", "write timeout"]),
        ] {
            let text = ClientError::TimedOut(timeout.clone()).to_string();
            assert!(names.iter().all(|name| text.contains(name)), "{timeout:?}: {text}");
            // What is only slow now may be faster then; a message that does not come says nothing of it.
            let retryable = ClientError::TimedOut(timeout.clone()).is_retryable();
            assert_eq!(retryable, timeout != ClientTimeout::Read, "{timeout:?}");
        }
        let late = ClientError::from(ResponseError::Timeout);
        assert!(matches!(late, ClientError::TimedOut(ClientTimeout::Handshake(_))), "{late:?}");
    }

    #[test]
    fn an_outcome_is_an_error_unless_it_is_clean() {
        let close = CloseFrame::new(CloseCode::NORMAL, "").unwrap();
        let clean =
            Outcome::Clean { sent: close.clone(), received: close, initiator: Initiator::Local };
        assert!(ClientError::of(&clean).is_none());
        let broken = ResponseError::Truncated;
        let failed = Outcome::HandshakeFailed(HandshakeError::Response(broken.clone()));
        let error = ClientError::of(&failed).unwrap();
        assert!(matches!(&error, ClientError::Handshake(same) if *same == broken), "{error:?}");
        let error = ClientError::of(&lost(None)).unwrap();
        assert!(matches!(error, ClientError::Lost(_)) && error.is_retryable());
        assert_eq!((error.status(), error.retry_after()), (None, None));
    }
}
