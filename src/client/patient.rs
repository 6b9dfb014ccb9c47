use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::Interest;

use super::socket::Socket;
use super::wait::{PollWait, Wait};

/// A stream that has only so long for what is still to come.
pub(super) trait Hurry {
    /// All that matters has come: what follows has a [moment](GRACE) left.
    fn hurry(&mut self);
}

/// How long the body of a rejection may take from when its head has come.
const GRACE: Duration = Duration::from_secs(1);

/// A socket that does not block, used as if it did until a time has come; for what is said before the
/// WebSocket's own handshake.
pub(super) struct Patient<'s> {
    socket: &'s mut Socket,
    wait: PollWait,
    until: Option<Instant>,
    is_hurried: bool,
}

impl<'s> Patient<'s> {
    pub(super) fn new(socket: &'s mut Socket, until: Option<Instant>) -> io::Result<Self> {
        Ok(Self { wait: socket.waiter()?, socket, until, is_hurried: false })
    }

    fn repeat<T>(
        &mut self,
        interest: Interest,
        mut step: impl FnMut(&mut Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match step(self.socket) {
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

impl Hurry for Patient<'_> {
    fn hurry(&mut self) {
        if !std::mem::replace(&mut self.is_hurried, true) {
            let soon = Instant::now() + GRACE;
            self.until = Some(self.until.map_or(soon, |until| until.min(soon)));
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.repeat(Interest::READABLE, |socket| socket.read(buffer))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.repeat(Interest::WRITABLE, |socket| socket.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
