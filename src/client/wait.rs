use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token};

use super::closer::Closer;
use super::socket::Socket;
use super::waker::Waker;
use crate::io::transport::TELLS_AGAIN;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(usize::MAX);

/// Waits for sockets, or for another thread.
pub(super) struct PollWait {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// Registered, so it must live as long.
    source: Option<Box<dyn Source + Send>>,
}

impl PollWait {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self { poll, events: Events::with_capacity(8), waker, source: None })
    }

    /// Waits for this socket to become readable or writable. Edges only: try first, then wait.
    pub(super) fn of(socket: &Socket) -> io::Result<Self> {
        let mut wait = Self::new()?;
        wait.watch(socket)?;
        Ok(wait)
    }

    /// Waits for this socket from now on.
    pub(super) fn watch(&mut self, socket: &Socket) -> io::Result<()> {
        let mut source = socket.source()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut *source, SOCKET, interest)?;
        self.source = Some(source);
        Ok(())
    }

    /// What another thread ends the waiting with.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Sleeps until the socket may be what is wanted of it, readable or writable, until another thread wakes this one,
    /// or until the time has come. Waking for nothing is allowed.
    pub(super) fn wait(&mut self, until: Option<Instant>, interest: Interest) -> io::Result<()> {
        if let Some(source) = self.source.as_mut().filter(|_| !TELLS_AGAIN) {
            // Reads and writes bypass mio here, so it cannot know that they came to `WouldBlock`.
            self.poll.registry().reregister(&mut **source, SOCKET, interest)?;
        }
        self.poll(until)
    }

    fn poll(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.events.clear();
        if self.waker.take_woken() {
            // Woken since the caller last looked; the system may have lost that event.
            return Ok(());
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let result = self.poll.poll(&mut self.events, timeout);
        // The caller looks at everything now, so a mark set in the meantime is served.
        self.waker.take_woken();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

/// Waits while a connection is being made, until a [`Closer`] ends that.
pub(super) struct ConnectWait {
    wait: PollWait,
    closer: Closer,
}

impl ConnectWait {
    pub(super) fn new(closer: &Closer) -> io::Result<Self> {
        let wait = PollWait::new()?;
        closer.attach(&wait.waker);
        Ok(Self { wait, closer: closer.clone() })
    }

    /// Waits for this socket from now on.
    pub(super) fn watch(&mut self, socket: &Socket) -> io::Result<()> {
        self.wait.watch(socket)
    }

    pub(super) fn waker(&self) -> Arc<Waker> {
        self.wait.waker()
    }

    /// Where to register other sockets, with tokens that are small numbers.
    pub(super) fn registry(&self) -> &Registry {
        self.wait.poll.registry()
    }

    /// As [`PollWait::wait`].
    ///
    /// # Errors
    ///
    /// The system's, and one that says nothing where the closer was used.
    pub(super) fn wait(&mut self, until: Option<Instant>, interest: Interest) -> io::Result<()> {
        self.wait.wait(until, interest)?;
        self.goes_on()
    }

    /// Sleeps until something comes of a registered socket, and tells of which ones.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub(super) fn poll(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        self.wait.poll(until)?;
        self.goes_on()?;
        let tokens = self.wait.events.iter().map(mio::event::Event::token);
        Ok(tokens.filter(|&token| token != WAKE).collect())
    }

    fn goes_on(&self) -> io::Result<()> {
        let is_closed = self.closer.is_requested();
        if is_closed { Err(io::Error::other("the client was closed")) } else { Ok(()) }
    }

    /// For the connection that was made.
    pub(super) fn into_inner(self) -> PollWait {
        self.wait
    }
}

/// How a thread waits for a connection.
pub(super) enum Waiter {
    /// By an event system.
    Poll(PollWait),
    /// By an event system, once it has to.
    Later,
    /// Not at all: the transport blocks by itself, as long as its own timeouts say.
    BlocksItself,
    /// Not at all: the transport goes on between two of its calls. So often, and no more.
    #[cfg(test)]
    Simulated { left: u32 },
}

impl Waiter {
    /// What another thread wakes this one with; none where the transport blocks by itself.
    pub(super) fn waker(&mut self, socket: Option<&Socket>) -> io::Result<Option<Arc<Waker>>> {
        if let (Self::Later, Some(socket)) = (&*self, socket) {
            *self = Self::Poll(PollWait::of(socket)?);
        }
        Ok(match self {
            Self::Poll(wait) => Some(wait.waker()),
            _ => None,
        })
    }

    /// As [`PollWait::wait`].
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::TimedOut`] where the transport does its own waiting, and did so in vain.
    pub(super) fn wait(&mut self, until: Option<Instant>, interest: Interest) -> io::Result<()> {
        if let Self::Poll(wait) = self {
            return wait.wait(until, interest);
        }
        #[cfg(test)]
        if let Self::Simulated { left } = self {
            *left = left.checked_sub(1).expect("something comes of the waiting");
            return Ok(());
        }
        // A timeout is no error where one of our own deadlines was waited for.
        match until {
            Some(until) if until <= Instant::now() + Duration::from_millis(1) => Ok(()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
