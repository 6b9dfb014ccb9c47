use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::Interest;

use super::wait::ConnectWait;

/// A stream that has only so long for what is still to come.
pub(super) trait ShortenDeadline {
    /// All that matters has come: what follows has a moment left, the first time that this is said.
    fn shorten_deadline(&mut self);
}

/// A stream that does not block, used as if it did until a time has come; for what is said before the
/// WebSocket's own handshake.
pub(super) struct DeadlineStream<'s, S> {
    stream: &'s mut S,
    wait: &'s mut ConnectWait,
    until: Option<Instant>,
    /// How long the body of a rejection may take from when its head has come.
    grace: Option<Duration>,
}

impl<'s, S> DeadlineStream<'s, S> {
    /// `wait` waits for the socket that the stream is, or runs over.
    pub(super) fn new(
        stream: &'s mut S,
        wait: &'s mut ConnectWait,
        until: Option<Instant>,
        grace: Option<Duration>,
    ) -> Self {
        Self { stream, wait, until, grace }
    }

    fn repeat<T>(
        &mut self,
        interest: Interest,
        mut step: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match step(self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait.wait(self.until, interest)?;
        }
    }
}

impl<S> ShortenDeadline for DeadlineStream<'_, S> {
    fn shorten_deadline(&mut self) {
        let soon = self.grace.and_then(|grace| Instant::now().checked_add(grace));
        self.until = self.until.into_iter().chain(soon).min();
    }
}

impl<S: Read> Read for DeadlineStream<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.repeat(Interest::READABLE, |stream| stream.read(buffer))
    }
}

impl<S: Write> Write for DeadlineStream<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.repeat(Interest::WRITABLE, |stream| stream.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.repeat(Interest::WRITABLE, Write::flush)
    }
}
