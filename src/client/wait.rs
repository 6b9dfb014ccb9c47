use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::io::transport::TELLS_AGAIN;

/// A way to sleep until a transport can be read or written.
pub(super) trait Wait {
    /// Sleeps until the transport may be what is wanted of it, readable or writable, or until the time has come.
    /// Waking for nothing is allowed.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::TimedOut`] by a transport that does its own waiting, when it did
    /// so in vain.
    fn wait(&mut self, until: Option<Instant>, interest: Interest) -> io::Result<()>;
}

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// Waits for a socket, or for another thread.
pub(super) struct PollWait {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// Registered, so it must live as long.
    source: Box<dyn Source + Send>,
}

impl PollWait {
    /// Waits for this socket to become readable or writable. Edges only: try first, then wait.
    pub(super) fn new(source: impl Source + Send + 'static) -> io::Result<Self> {
        let mut source = Box::new(source);
        let poll = Poll::new()?;
        poll.registry().register(&mut *source, SOCKET, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self { poll, events: Events::with_capacity(4), waker, source })
    }

    /// What another thread ends the waiting with.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }
}

impl Wait for PollWait {
    fn wait(&mut self, until: Option<Instant>, interest: Interest) -> io::Result<()> {
        if !TELLS_AGAIN {
            // The socket is not read and written through mio, which so does not learn that it had nothing left.
            self.poll.registry().reregister(&mut *self.source, SOCKET, interest)?;
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

/// Does not wait: the transport blocks by itself, as long as its own timeouts say.
pub(super) struct BlocksItself;

impl Wait for BlocksItself {
    fn wait(&mut self, until: Option<Instant>, _: Interest) -> io::Result<()> {
        let now = Instant::now();
        // It has waited already, in vain. If that was for one of our deadlines, all is well.
        match until {
            Some(until) if until <= now + Duration::from_millis(1) => Ok(()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
