//! What every driver of an [`Endpoint`] does with its transport: one read, and the writes.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use crate::protocol::{Cause, Chunks, Endpoint, PayloadBuffer, Workspace};

/// The most slices given to one vectored write.
pub(crate) const SLICES: usize = 64;

/// A byte stream that a [`Driver`](crate::Driver) reads and writes without ever waiting for it.
///
/// `std`'s `TcpStream` and `UnixStream` are transports; [`NonBlocking`](crate::NonBlocking) makes one of anything else that
/// implements `Read + Write`. Implement it yourself where a stream cannot be had, or where more is known of it
/// than `Read` and `Write` can express, as with TLS.
///
/// Each of [`read`](Self::read) and [`write`](Self::write) answers how many bytes it moved and why it
/// [stopped](Stopped) there. The reason decides when the driver calls again: after [`Stopped::Done`] in the same
/// turn, after [`Stopped::Blocked`] once it is told that the transport is ready again
/// ([`Driver::set_readable`](crate::Driver::set_readable),
/// [`Driver::set_writable`](crate::Driver::set_writable)), and after the others not at all.
///
/// ```
/// use framewire::{Chunks, Config, Driver, Endpoint, Stopped, Transport};
/// use std::io;
///
/// /// What some other program has received, and what it is to send.
/// #[derive(Default)]
/// struct Memory {
///     received: Vec<u8>,
///     to_send: Vec<u8>,
///     is_ended: bool,
/// }
///
/// impl Transport for Memory {
///     fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
///         let count = buffer.len().min(self.received.len());
///         buffer[..count].copy_from_slice(&self.received[..count]);
///         self.received.drain(..count);
///         // Nothing else tells how much is there, so it is read until nothing is left.
///         (count, if count > 0 { Stopped::Done } else { Stopped::Blocked })
///     }
///
///     fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
///         let before = self.to_send.len();
///         self.to_send.extend(slices.flatten());
///         (self.to_send.len() - before, Stopped::Done)
///     }
///
///     fn shutdown(&mut self) -> io::Result<()> {
///         self.is_ended = true;
///         Ok(())
///     }
/// }
///
/// let mut driver = Driver::new(Endpoint::server(&Config::new()), Memory::default());
/// driver.transport_mut().received.extend(b"GET / HTTP/1.1\r\n");
/// driver.set_readable();
/// assert!(driver.has_more());
/// ```
#[doc(alias("custom transport", "AsyncRead"))]
pub trait Transport {
    /// Reads once, into the front of `buffer`, which is never empty: how many bytes came, and why no more did.
    ///
    /// - [`Stopped::Done`]: call again for more. It is the right answer, too, for a read that came short where
    ///   nothing is known of what else there is.
    /// - [`Stopped::Blocked`]: nothing is left for now, and whoever waits for the transport will be told of all that
    ///   is still to come. With a count it may be said only where a short read means that nothing is left, as it
    ///   does with a socket; the end may follow even so, and if the poller has told of that already,
    ///   [`Driver::set_read_closed`](crate::Driver::set_read_closed) must be called. Bytes that the transport
    ///   holds itself, such as plaintext that it has decrypted already, must have been given first: no poller tells
    ///   of them.
    /// - [`Stopped::Eof`]: the peer has ended its direction, and all that came before was given. The count is 0.
    /// - [`Stopped::Broken`]: the transport has failed. The count is 0, so that nothing is lost that came before:
    ///   give it first, with `Done`, and the error next time.
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped);

    /// How many bytes the last read, by either method, took off the wire, when `count` came out of it: what it
    /// has cost, for [budgets](crate::Budget::bytes).
    ///
    /// By default `count`. TLS takes more off the wire than it gives, and may take much and give nothing.
    fn wire_bytes(&self, count: usize) -> usize {
        count
    }

    /// Reads up to `limit` bytes, of which there is at least one, to the end of the payload of a long message:
    /// what came in all, and why it ended, with the same promises as [`read`](Self::read).
    ///
    /// By default it reads into the [room](PayloadBuffer::room) of the payload until nothing is left to read. A
    /// transport that has the bytes in a buffer of its own can [append](PayloadBuffer::append) them.
    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        // A short read is no reason to stop here: the peer is sending, and what it sends meanwhile costs less
        // now than in a turn of its own.
        let mut total = 0;
        loop {
            let room = payload.room(limit - total);
            if room.is_empty() {
                // There is no memory for more, and a read into nothing would look like the end.
                return (total, Stopped::Done);
            }
            let (count, stopped) = self.read(room);
            payload.advance(count);
            total += count;
            if total == limit || count == 0 {
                return (total, stopped);
            }
        }
    }

    /// Writes once, as much of these slices as the transport takes, in their order: how many bytes it took, and
    /// why no more. The slices together are the output that waits. There may be none: then
    /// [what the transport holds](Self::is_flushed) is to go on.
    ///
    /// - [`Stopped::Done`]: call again, if there is more.
    /// - [`Stopped::Blocked`]: the transport takes nothing more, and whoever waits for it will be told when it does.
    /// - [`Stopped::Eof`] or [`Stopped::Broken`]: the connection ends here, with the error as the cause of its
    ///   outcome if there is one.
    ///
    /// Bytes that were counted are gone from the output, and a Close among them counts as sent.
    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped);

    /// Whether nothing that was taken by [`write`](Self::write) still waits inside the transport, as ciphertext
    /// does. As long as something does, the driver wants to write, and calls `write` even without any slices.
    ///
    /// By default it is.
    fn is_flushed(&self) -> bool {
        true
    }

    /// Ends the sending direction, and not the other: the peer reads what was sent, and then the end. Called once,
    /// when all output has left, and nothing is written afterwards.
    ///
    /// Where that cannot be done, do nothing: a peer that waits for the end then waits until its own deadline, or
    /// until the driver is dropped, which happens at [`Config::close_timeout`](crate::Config::close_timeout) at the
    /// latest.
    ///
    /// # Errors
    ///
    /// Of the transport. The connection ends with it.
    fn shutdown(&mut self) -> io::Result<()>;
}

/// A socket of the standard library, which has to be told not to block: `set_nonblocking(true)`.
macro_rules! socket {
    ($socket:ty) => {
        /// Set it to [non-blocking](std::net::TcpStream::set_nonblocking) first, or reads and writes wait, each
        /// for as long as its own timeout says.
        impl Transport for $socket {
            fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
                read(self, buffer)
            }

            fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
                write(self, slices)
            }

            fn shutdown(&mut self) -> io::Result<()> {
                Self::shutdown(self, Shutdown::Write)
            }
        }
    };
}

socket!(std::net::TcpStream);
#[cfg(unix)]
socket!(std::os::unix::net::UnixStream);

/// A socket of a driver's own that does not block: short reads and writes say that nothing more is to be had.
pub(crate) trait Stream: Read + Write {
    /// Ends the sending direction; the peer reads what was sent, and then the end.
    fn shutdown(&mut self) -> io::Result<()>;

    /// What a read or a write of so many bytes says of it, where a system would say this: of simulated sockets there
    /// is more than one kind.
    #[cfg(test)]
    fn stopped(&self, _count: usize, stopped: Stopped) -> Stopped {
        stopped
    }
}

#[doc(hidden)]
impl<S: Stream> Transport for S {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        let moved = read(self, buffer);
        #[cfg(test)]
        let moved = (moved.0, self.stopped(moved.0, moved.1));
        moved
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        let moved = write(self, slices);
        #[cfg(test)]
        let moved = (moved.0, self.stopped(moved.0, moved.1));
        moved
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Stream::shutdown(self)
    }
}

/// Why a read or a write of a [`Transport`] moved no more bytes; each method says which of these it may return.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "these four are all that a driver has to tell apart")]
pub enum Stopped {
    /// More may be moved at once.
    Done,
    /// The transport has, or takes, nothing more for now.
    Blocked,
    /// The peer has ended its direction.
    Eof,
    /// The transport is broken. The error is the cause of the connection's [outcome](crate::Outcome::Lost).
    Broken(io::Error),
}

impl Stopped {
    /// What an error of a stream that does not block means: [`Blocked`](Self::Blocked) if it is `WouldBlock`.
    pub fn by(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::Blocked } else { Self::Broken(error) }
    }

    /// Whether all that was asked for was moved.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// What the application is told of the error of a transport: the error that is wrapped in it, if it says
/// nothing but that there is one, as an error of TLS is.
#[cold]
pub(crate) fn cause(error: io::Error) -> Cause {
    if error.kind() == io::ErrorKind::Other && error.get_ref().is_some() {
        match error.into_inner() {
            Some(inner) => inner.into(),
            None => io::Error::from(io::ErrorKind::Other).into(),
        }
    } else {
        error.into()
    }
}

/// Writes until nothing is left or the transport stops: how many bytes went out, and why it ended.
pub(crate) fn flush(
    connection: &mut Endpoint,
    transport: &mut (impl Transport + ?Sized),
    workspace: &mut Workspace,
) -> (usize, Stopped) {
    let mut total = 0;
    // `queued` counts what waits for the compressor, too, which is no output yet.
    while connection.queued() > connection.left() || !transport.is_flushed() {
        let (count, stopped) = transport.write(connection.output());
        total += count;
        connection.consume_output(count, workspace);
        if !stopped.is_done() {
            return (total, stopped);
        }
    }
    (total, Stopped::Done)
}

/// Whether mio tells of a socket again when more comes, although it was not read until it had nothing left. Its
/// backends for epoll and kqueue do. The others, poll and that of Windows, tell of a socket once, and again only
/// after it has said [`WouldBlock`](io::ErrorKind::WouldBlock).
pub(crate) const TELLS_AGAIN: bool = cfg!(all(
    any(
        target_os = "android",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "illumos",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "openbsd",
    ),
    not(mio_unsupported_force_poll_poll),
));

/// What a read or a write says of a socket that moved less than it was asked to: it has, or takes, no more. Asking
/// it again would only say so once more, but there where it has to be asked.
const SHORT: Stopped = if TELLS_AGAIN { Stopped::Blocked } else { Stopped::Done };

/// One read of a stream, repeated while it is interrupted.
#[inline]
pub(crate) fn read(stream: &mut impl Read, buffer: &mut [u8]) -> (usize, Stopped) {
    match retry(|| stream.read(buffer)) {
        Ok(0) => (0, Stopped::Eof),
        Ok(count) if count == buffer.len() => (count, Stopped::Done),
        Ok(count) => (count.min(buffer.len()), SHORT),
        Err(error) => (0, Stopped::by(error)),
    }
}

/// One write of several slices, vectored where there are more than one.
pub(crate) fn write(stream: &mut impl Write, mut slices: Chunks<'_>) -> (usize, Stopped) {
    let Some(first) = slices.next() else { return (0, Stopped::Done) };
    let (written, total) = match slices.next() {
        None => (retry(|| stream.write(first)), first.len()),
        Some(second) => {
            let mut room = [IoSlice::new(&[]); SLICES];
            let (mut count, mut total) = (0, 0);
            for slice in [first, second].into_iter().chain(slices).take(SLICES) {
                room[count] = IoSlice::new(slice);
                count += 1;
                total += slice.len();
            }
            (retry(|| stream.write_vectored(&room[..count])), total)
        }
    };
    match written {
        Ok(0) => (0, Stopped::Broken(io::ErrorKind::WriteZero.into())),
        Ok(written) if written >= total => (total, Stopped::Done),
        Ok(written) => (written, SHORT),
        Err(error) => (0, Stopped::by(error)),
    }
}

pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends block here, so that each waits for the other.
    fn ends_one_direction(mut transport: impl Transport, mut peer: impl Read + Write) {
        transport.shutdown().unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        peer.write_all(b"late").unwrap();
        let mut buffer = [0; 4];
        let mut filled = 0;
        while filled < buffer.len() {
            let (count, stopped) = transport.read(&mut buffer[filled..]);
            assert!(count > 0, "{stopped:?}");
            filled += count;
        }
        assert_eq!(&buffer, b"late");
        drop(peer);
        assert!(matches!(transport.read(&mut buffer), (0, Stopped::Eof)));
    }

    #[test]
    fn the_half_close_of_a_socket_leaves_the_other_direction_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ends_one_direction(listener.accept().unwrap().0, peer);
        #[cfg(unix)]
        {
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            ends_one_direction(one, other);
        }
    }
}
