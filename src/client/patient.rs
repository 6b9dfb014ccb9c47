use std::io::{self, Read, Write};
use std::time::Instant;

use mio::Interest;

use super::socket::Socket;
use super::wait::{PollWait, Wait};

/// A socket that does not block, used as if it did until a time has come; for what is said before the
/// WebSocket's own handshake.
pub(super) struct Patient<'s> {
    socket: &'s mut Socket,
    wait: PollWait,
    until: Option<Instant>,
}

impl<'s> Patient<'s> {
    pub(super) fn new(socket: &'s mut Socket, until: Option<Instant>) -> io::Result<Self> {
        Ok(Self { wait: socket.waiter()?, socket, until })
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
