use std::fmt;
use std::io::{self, Read, Write};

use super::transport::{self, Stopped, Transport};
use crate::protocol::Chunks;

/// A transport of any stream that does not block: one that answers `WouldBlock` when it would have to wait.
///
/// Nothing is concluded from a short read or write: it is read and written until the stream says `WouldBlock`, so
/// that a stream with buffers of its own will do, such as TLS, and an edge-triggered poller. After each write the
/// stream is flushed. A read of 0 bytes is the end.
///
/// ```
/// use framewire::{Config, Driver, Endpoint, NonBlocking};
/// use std::net::{Shutdown, TcpListener, TcpStream};
///
/// # let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// let socket = TcpStream::connect(address)?;
/// socket.set_nonblocking(true)?;
/// // It stands for a stream that is no transport by itself.
/// let stream = NonBlocking::with_shutdown(socket, |socket| socket.shutdown(Shutdown::Write));
/// let driver = Driver::new(Endpoint::server(&Config::new()), stream);
/// # assert_eq!(driver.transport().get_ref().peer_addr()?, address);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct NonBlocking<S> {
    stream: S,
    shutdown: fn(&mut S) -> io::Result<()>,
    /// Whether the stream has flushed all that it took.
    is_flushed: bool,
}

impl<S> NonBlocking<S> {
    /// A transport whose sending direction is not ended before it is dropped: `Read + Write` has no word for that.
    /// A peer that waits for the end of the stream, as a client does after the closing handshake, then waits for
    /// [`Config::close_timeout`](crate::Config::close_timeout).
    pub fn new(stream: S) -> Self {
        Self::with_shutdown(stream, |_| Ok(()))
    }

    /// A transport whose sending direction is ended by `shutdown`: for TLS with its `close_notify`, for a socket
    /// with `Shutdown::Write`.
    pub fn with_shutdown(stream: S, shutdown: fn(&mut S) -> io::Result<()>) -> Self {
        Self { stream, shutdown, is_flushed: true }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, to register it or to set its options. Reading it, or writing, would break the connection.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream without its wrapper.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Write> NonBlocking<S> {
    /// Has the stream send what it holds, after it took `count` bytes.
    fn flush(&mut self, count: usize) -> (usize, Stopped) {
        let flushed = transport::retry(|| self.stream.flush());
        self.is_flushed = flushed.is_ok();
        (count, flushed.map_or_else(Stopped::by, |()| Stopped::Done))
    }
}

impl<S: Read + Write> Transport for NonBlocking<S> {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        match transport::read(&mut self.stream, buffer) {
            (count, Stopped::Blocked) if count > 0 => (count, Stopped::Done),
            read => read,
        }
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        match transport::write(&mut self.stream, slices) {
            (count, Stopped::Done) => self.flush(count),
            (count, Stopped::Blocked) if count > 0 => self.flush(count),
            // The stream's own buffer may be full, which no poller would tell of.
            (count, Stopped::Blocked) if !self.is_flushed => self.flush(count),
            written => written,
        }
    }

    fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    fn shutdown(&mut self) -> io::Result<()> {
        (self.shutdown)(&mut self.stream)
    }
}

impl<S: fmt::Debug> fmt::Debug for NonBlocking<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NonBlocking").field(&self.stream).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::ErrorKind;

    use super::*;
    use crate::io::{Budget, Driver, Inbox};
    use crate::protocol::{Config, Endpoint, Event, Role, Workspace};

    /// A stream with a buffer for what it sends, as TLS has.
    #[derive(Debug, Default)]
    struct Buffering {
        incoming: VecDeque<io::Result<&'static [u8]>>,
        buffer: Vec<u8>,
        /// How much the buffer takes, and how much each flush sends.
        capacity: usize,
        flushes: VecDeque<usize>,
        sent: Vec<u8>,
        is_ended: bool,
    }

    impl Read for Buffering {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes =
                self.incoming.pop_front().unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))?;
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    impl Write for Buffering {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.capacity - self.buffer.len());
            self.buffer.extend(&bytes[..count]);
            if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            let count = self.flushes.pop_front().unwrap_or(usize::MAX).min(self.buffer.len());
            self.sent.extend(self.buffer.drain(..count));
            if self.buffer.is_empty() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
        }
    }

    fn driver(stream: Buffering) -> Driver<NonBlocking<Buffering>> {
        let transport = NonBlocking::with_shutdown(stream, |stream| {
            stream.is_ended = true;
            Ok(())
        });
        Driver::new(Endpoint::adopted(Role::Server, &Config::new()), transport)
    }

    #[test]
    fn it_is_read_until_it_would_block() {
        let incoming = VecDeque::from([
            Ok(&b"\x81\x82\0\0\0\0h"[..]),
            Err(ErrorKind::Interrupted.into()),
            Ok(b"i"),
            Err(ErrorKind::WouldBlock.into()),
            Ok(b"\x82\x80\0\0\0\0"),
            Ok(b""),
        ]);
        let mut driver = driver(Buffering { incoming, ..Buffering::default() });
        let (mut inbox, mut workspace) = (Inbox::default(), Workspace::new());
        for (messages, left) in [(1, 2), (0, 2), (1, 0)] {
            let (mut budget, mut count) = (Budget::new(), 0);
            while budget.goes_on() {
                let event = driver.receive(&mut inbox, &mut budget, &mut workspace);
                count += usize::from(matches!(event, Some(Event::Message(_))));
            }
            assert_eq!((count, driver.transport().get_ref().incoming.len()), (messages, left));
            assert!(!driver.has_more());
            // The second time no event has come.
            if left == 2 && count == 0 {
                driver.set_readable();
            }
        }
        assert!(driver.is_ended());
    }

    #[test]
    fn a_buffer_of_its_own_is_filled_and_flushed() {
        let flushes = VecDeque::from([4, 0, 1, 1]);
        let stream = Buffering { capacity: 5, flushes, ..Buffering::default() };
        let (mut driver, mut workspace) = (driver(stream), Workspace::new());
        driver.endpoint_mut().send("hello, world", &mut workspace).unwrap();
        let mut turns = 0;
        while driver.wants_write() {
            driver.set_writable();
            driver.flush(&mut workspace);
            turns += 1;
            assert!(turns < 20);
        }
        let stream = driver.transport().get_ref();
        assert_eq!(stream.sent, b"\x81\x0chello, world");
        assert!(stream.flushes.is_empty() && turns > 1 && !stream.is_ended);

        // The end comes after what the buffer holds.
        driver.transport_mut().get_mut().flushes = VecDeque::from([3]);
        let mut faulty = *b"\x83\x80\0\0\0\0";
        drop(driver.endpoint_mut().receive(&mut &mut faulty[..], &mut workspace));
        driver.flush(&mut workspace);
        assert!(driver.wants_write() && !driver.transport().get_ref().is_ended);
        driver.set_writable();
        driver.flush(&mut workspace);
        assert!(driver.transport().get_ref().is_ended);
    }

    #[test]
    fn an_error_of_a_flush_ends_the_connection() {
        #[derive(Debug)]
        struct Broken;

        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
        }

        impl Write for Broken {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(ErrorKind::BrokenPipe.into())
            }
        }

        let endpoint = Endpoint::adopted(Role::Server, &Config::new());
        let mut driver = Driver::new(endpoint, NonBlocking::new(Broken));
        let mut workspace = Workspace::new();
        driver.endpoint_mut().send("hello", &mut workspace).unwrap();
        driver.flush(&mut workspace);
        let outcome = driver.outcome().unwrap();
        let cause = outcome.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_stream_comes_out_as_it_is() {
        let mut stream = NonBlocking::new(Buffering { capacity: 3, ..Buffering::default() });
        stream.get_mut().write_all(b"abc").unwrap();
        // The wrapper says what is in it.
        assert_eq!(format!("{stream:?}"), format!("NonBlocking({:?})", stream.get_ref()));
        assert_eq!(stream.into_inner().buffer, b"abc");
    }
}
