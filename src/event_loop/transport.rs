use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

/// A connected socket of any kind that the loop serves.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A listening socket of any kind.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// Why a read or a write came to its end, behind the count of the bytes that it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// All that was asked for was moved; there may be more.
    Done,
    /// The socket has, or takes, nothing more for now; an event will tell when it does.
    Blocked,
    /// The peer has ended its direction.
    Eof,
    /// The connection is broken.
    Broken,
}

impl Stopped {
    fn by(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::Blocked } else { Self::Broken }
    }
}

/// The most slices given to one vectored write.
const SLICES: usize = 64;

impl Socket {
    /// One `read`. A count that does not fill the buffer has emptied the socket: the next byte brings a
    /// new event.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        let result = retry(|| match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(buffer),
        });
        match result {
            Ok(0) => (0, Stopped::Eof),
            Ok(count) if count == buffer.len() => (count, Stopped::Done),
            Ok(count) => (count, Stopped::Blocked),
            Err(error) => (0, Stopped::by(&error)),
        }
    }

    /// Appends up to `limit` bytes to `buffer`, with as many reads as it takes.
    pub(super) fn read_into(&mut self, buffer: &mut Vec<u8>, limit: usize) -> (usize, Stopped) {
        let before = buffer.len();
        let result = match self {
            Self::Tcp(stream) => stream.take(limit as u64).read_to_end(buffer),
            #[cfg(unix)]
            Self::Unix(stream) => stream.take(limit as u64).read_to_end(buffer),
        };
        // What came before an error is in the buffer all the same.
        let count = buffer.len() - before;
        let stopped = match result {
            Ok(_) if count == limit => Stopped::Done,
            Ok(_) => Stopped::Eof,
            Err(error) => Stopped::by(&error),
        };
        (count, stopped)
    }

    /// One write of all these slices together.
    pub(super) fn write<'a>(
        &mut self,
        mut slices: impl Iterator<Item = &'a [u8]>,
    ) -> (usize, Stopped) {
        let Some(first) = slices.next() else { return (0, Stopped::Done) };
        let (written, total) = match slices.next() {
            None => (retry(|| self.write_one(first)), first.len()),
            Some(second) => {
                let mut room = [IoSlice::new(&[]); SLICES];
                let mut count = 0;
                let mut total = 0;
                for slice in [first, second].into_iter().chain(slices).take(SLICES) {
                    room[count] = IoSlice::new(slice);
                    count += 1;
                    total += slice.len();
                }
                (retry(|| self.write_many(&room[..count])), total)
            }
        };
        match written {
            Ok(written) if written == total => (written, Stopped::Done),
            // A short write says that the socket is full; asking it again would only say so once more.
            Ok(written) => (written, Stopped::Blocked),
            Err(error) => (0, Stopped::by(&error)),
        }
    }

    fn write_one(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_many(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    /// Ends the sending direction; the peer reads what was sent, and then the end.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
        }
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(unix)]
            Self::Unix(stream) => stream,
        }
    }
}

impl Listener {
    /// The next connection, ready to be registered.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = retry(|| listener.accept())?;
                // A frame that waits for the answer to an earlier one is what Nagle's algorithm makes
                // of small messages. A socket that refuses works all the same.
                let _ = stream.set_nodelay(true);
                Ok(Socket::Tcp(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = retry(|| listener.accept())?;
                Ok(Socket::Unix(stream))
            }
        }
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            #[cfg(unix)]
            Self::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }
}

#[cfg(unix)]
fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a Unix-domain socket has no IP address")
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
