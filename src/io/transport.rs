//! What every driver of an [`Endpoint`] does with its transport: one read, and the writes.

use std::io::{self, IoSlice, Read, Write};

use crate::protocol::{Cause, Chunks, Endpoint, Event, PayloadBuffer, Workspace};

/// The most slices given to one vectored write.
pub(crate) const SLICES: usize = 64;

/// A byte stream that a connection runs over.
pub trait Transport {
    /// One read. [`Stopped::Blocked`] says that nothing is left, but perhaps the end: only with a count
    /// of 0 will an event tell of everything that is still to come. [`Stopped::Broken`] comes with a count of 0,
    /// so that nothing is lost that came before.
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped);

    /// How many bytes the last read, by either method, took off the wire, when `count` came out of it: what it
    /// has cost, for budgets. TLS takes more than it gives, and may take much and give nothing.
    fn wire_bytes(&self, count: usize) -> usize {
        count
    }

    /// Reads up to `limit` bytes behind those of the payload, until nothing is left to read.
    ///
    /// A short read is no reason to stop here: the peer is sending, and what it sends meanwhile costs less
    /// now than in a turn of its own.
    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        let mut total = 0;
        loop {
            let (count, stopped) = self.read(payload.room(limit - total));
            payload.advance(count);
            total += count;
            if total == limit || count == 0 {
                return (total, stopped);
            }
        }
    }

    /// One write of these slices together, as far as they fit into it.
    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped);

    /// Whether the transport itself holds bytes that are to go out, as TLS does; a write, even of
    /// nothing, then goes on with them.
    fn is_flushed(&self) -> bool {
        true
    }

    /// Ends the sending direction; the peer reads what was sent, and then the end.
    fn shutdown(&mut self) -> io::Result<()>;
}

/// A socket that does not block.
pub(crate) trait Stream: Read + Write {
    /// Ends the sending direction; the peer reads what was sent, and then the end.
    fn shutdown(&mut self) -> io::Result<()>;
}

impl<S: Stream> Transport for S {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        read(self, buffer)
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        write(self, slices)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Stream::shutdown(self)
    }
}

/// Why a read or a write came to its end, behind the count of the bytes that it moved.
#[derive(Debug)]
pub enum Stopped {
    /// All that was asked for was moved; there may be more.
    Done,
    /// The transport has, or takes, nothing more for now.
    Blocked,
    /// The peer has ended its direction.
    Eof,
    /// The transport is broken.
    Broken(io::Error),
}

impl Stopped {
    pub(crate) fn by(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::Blocked } else { Self::Broken(error) }
    }

    /// Whether all that was asked for was moved.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the transport has, or takes, nothing more for now.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked)
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

/// What one read came to.
#[derive(Debug)]
pub(crate) struct Filled {
    /// How many bytes came.
    pub(crate) count: usize,
    pub(crate) stopped: Stopped,
    /// Where the bytes went.
    pub(crate) bytes: Bytes,
}

/// Where the bytes of a read went.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// Into the buffer: give them to [`Endpoint::receive`].
    Buffered,
    /// Into the payload of a long message, which may be whole by now.
    Direct(Option<Event<'static>>),
}

/// Reads as much as fits into `buffer`; or, where a long message is under way, up to `share` bytes
/// straight into its payload.
pub(crate) fn fill(
    connection: &mut Endpoint,
    transport: &mut (impl Transport + ?Sized),
    workspace: &mut Workspace,
    buffer: &mut [u8],
    share: usize,
) -> Filled {
    let direct = connection.receive_direct(
        |payload, missing| transport.read_into(payload, missing.min(share)),
        workspace,
    );
    if let Some(((count, stopped), event)) = direct {
        return Filled { count, stopped, bytes: Bytes::Direct(event) };
    }
    let (count, stopped) = transport.read(buffer);
    Filled { count, stopped, bytes: Bytes::Buffered }
}

/// Writes until nothing is left or the transport stops: how many bytes went out, and why it ended.
pub(crate) fn flush(
    connection: &mut Endpoint,
    transport: &mut (impl Transport + ?Sized),
    workspace: &mut Workspace,
) -> (usize, Stopped) {
    let mut total = 0;
    // What waits for the codec is no output yet.
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
const TELLS_AGAIN: bool = cfg!(all(
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
