use std::io;
use std::time::Duration;

use mio::{Interest, Token};

use super::listener::Listener;
use super::selector::Registry;
use super::socket::Socket;

/// How long accepting pauses when the system has no more sockets to give.
const PAUSE: Duration = Duration::from_millis(100);

/// The listeners have the tokens from this one downwards.
const FIRST_LISTENER: usize = usize::MAX - 1;

/// The listening sockets, and what is known of who waits there.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Listening>,
    /// Connections may wait at one of them.
    is_ready: bool,
    /// When to try to accept again, after the system had no more sockets to give.
    again: Option<Duration>,
}

#[derive(Debug)]
struct Listening {
    listener: Listener,
    /// Connections may wait that no readiness event will tell of.
    is_ready: bool,
}

/// What came of one try to accept a connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Socket(Socket),
    /// The one that waited is gone; another may be there.
    Aborted,
    /// Nobody waits.
    Nobody,
    /// The system has no more sockets to give. Nothing is accepted for a while.
    Failed(io::Error),
}

impl Acceptor {
    /// Asks for the events of these listeners.
    pub(super) fn new(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Self> {
        let mut listening = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            let token = Token(FIRST_LISTENER - index);
            listener.check()?;
            registry.register(listener.source(), token, Interest::READABLE)?;
            listening.push(Listening { listener, is_ready: false });
        }
        Ok(Self { listeners: listening, is_ready: false, again: None })
    }

    /// How many listeners there are.
    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<&Listener> {
        self.listeners.first().map(|listening| &listening.listener)
    }

    /// Takes note of an event, if it is one of a listener.
    #[inline]
    pub(super) fn note_event(&mut self, token: Token) -> bool {
        let Some(listening) = self.listeners.get_mut(FIRST_LISTENER - token.0) else {
            return false;
        };
        listening.is_ready = true;
        self.is_ready = true;
        true
    }

    /// Whether connections may wait that can be accepted without waiting for anything.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.again.is_none() && self.is_ready
    }

    /// When accepting goes on after a pause.
    pub(super) fn next(&self) -> Option<Duration> {
        self.again
    }

    /// Whether there may be somebody to accept, and accepting does not pause.
    #[inline]
    pub(super) fn may_accept(&mut self, now: Duration) -> bool {
        self.is_ready && !self.is_paused(now)
    }

    fn is_paused(&mut self, now: Duration) -> bool {
        let paused = self.again.is_some_and(|again| again > now);
        if !paused {
            self.again = None;
        }
        paused
    }

    /// Tries to accept one connection of a listener.
    pub(super) fn accept(&mut self, index: usize, now: Duration) -> Accepted {
        let Some(listening) = self.listeners.get_mut(index).filter(|l| l.is_ready) else {
            return Accepted::Nobody;
        };
        match listening.listener.accept() {
            Ok(socket) => Accepted::Socket(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listening.is_ready = false;
                self.is_ready = self.listeners.iter().any(|listening| listening.is_ready);
                Accepted::Nobody
            }
            Err(error) if is_of_one_connection(&error) => Accepted::Aborted,
            // Out of descriptors or memory: that passes when others leave, and no event will tell, so the
            // clock has to.
            Err(error) => {
                self.again = Some(now + PAUSE);
                Accepted::Failed(error)
            }
        }
    }

    /// Listens no more.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
        self.is_ready = false;
        self.again = None;
    }
}

/// Whether an error of `accept` is one of the connection that waited, which accept(2) reports there: the next one
/// may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, PermissionDenied, TimedOut,
    };
    // EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET and EOPNOTSUPP, which have no kind.
    let by_number = cfg!(any(target_os = "linux", target_os = "android"))
        && error.raw_os_error().is_some_and(|n| matches!(n, 64 | 71 | 92 | 95 | 112));
    by_number
        || matches!(
            error.kind(),
            ConnectionAborted
                | ConnectionRefused
                | ConnectionReset
                | HostUnreachable
                | NetworkDown
                | NetworkUnreachable
                | PermissionDenied
                | TimedOut
        )
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_one_connection_stops_no_other() {
        // EPERM, ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, ECONNABORTED, ECONNRESET,
        // ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH.
        for number in [1, 64, 71, 92, 95, 100, 101, 103, 104, 110, 112, 113] {
            let error = io::Error::from_raw_os_error(number);
            assert!(is_of_one_connection(&error), "{error}");
        }
        // ENOMEM, EINVAL, ENFILE, EMFILE, ENOBUFS.
        for number in [12, 22, 23, 24, 105] {
            let error = io::Error::from_raw_os_error(number);
            assert!(!is_of_one_connection(&error), "{error}");
        }
    }
}
