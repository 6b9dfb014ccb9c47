use std::io;

use crate::io::transport::{self, Stopped, Transport};
use crate::protocol::{Cause, Chunks, PayloadBuffer};

/// What a client has for a transport.
pub(crate) trait ClientStream: Transport + Send {
    /// Whether it is about a handshake of its own, as TLS is at first.
    fn is_securing(&self) -> bool {
        false
    }
}

/// The transport of a client. When a write has failed it is still read, up to where it has nothing left: what the
/// peer sent last may say why. To the driver that is its end.
pub(super) struct ClientTransport {
    /// `None` once the connection has ended: whoever still holds this has no use for it any more.
    inner: Option<Box<dyn ClientStream>>,
    /// Why nothing can be written.
    failure: Option<Cause>,
    /// The sending direction was ended, which is done once.
    is_shut: bool,
}

impl ClientTransport {
    pub(super) fn new(inner: Box<dyn ClientStream>) -> Self {
        Self { inner: Some(inner), failure: None, is_shut: false }
    }

    /// Whether the transport is about a handshake of its own.
    pub(super) fn is_securing(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.is_securing())
    }

    /// Why nothing can be written, if a write has failed.
    pub(super) fn failure(&self) -> Option<&Cause> {
        self.failure.as_ref()
    }

    /// Lets the peer see the end.
    pub(super) fn close(&mut self) {
        // Others may hold the socket, to wait for it.
        let _ = self.shutdown();
        self.inner = None;
    }

    fn reading_stopped(&self, count: usize, stopped: Stopped) -> (usize, Stopped) {
        match stopped {
            Stopped::Blocked | Stopped::Broken(_) if self.failure.is_some() && count == 0 => {
                (0, Stopped::Eof)
            }
            stopped => (count, stopped),
        }
    }
}

impl Transport for ClientTransport {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        let Some(inner) = &mut self.inner else { return (0, Stopped::Eof) };
        let (count, stopped) = inner.read(buffer);
        self.reading_stopped(count, stopped)
    }

    fn wire_bytes(&self, count: usize) -> usize {
        self.inner.as_ref().map_or(count, |inner| inner.wire_bytes(count))
    }

    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        let Some(inner) = &mut self.inner else { return (0, Stopped::Eof) };
        let (count, stopped) = inner.read_into(payload, limit);
        self.reading_stopped(count, stopped)
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        let Some(inner) = &mut self.inner else {
            return (0, Stopped::Broken(io::ErrorKind::NotConnected.into()));
        };
        if self.failure.is_some() {
            return (0, Stopped::Blocked);
        }
        match inner.write(slices) {
            (count, Stopped::Broken(error)) => {
                self.failure = Some(transport::cause(error));
                (count, Stopped::Blocked)
            }
            other => other,
        }
    }

    fn is_flushed(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_flushed())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if let Some(inner) = self.inner.as_mut().filter(|_| !self.is_shut) {
            self.is_shut = true;
            // If this fails the peer is gone, which reading will tell.
            let _ = inner.shutdown();
        }
        Ok(())
    }
}

/// A transport that takes everything, and holds it for as long as it is told to.
#[cfg(test)]
pub(super) struct Holding(pub(super) std::sync::Arc<std::sync::atomic::AtomicBool>);

#[cfg(test)]
impl ClientStream for Holding {}

#[cfg(test)]
impl Transport for Holding {
    fn read(&mut self, _: &mut [u8]) -> (usize, Stopped) {
        (0, Stopped::Blocked)
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        let count = slices.map(<[u8]>::len).sum();
        (count, if self.is_flushed() { Stopped::Done } else { Stopped::Blocked })
    }

    fn is_flushed(&self) -> bool {
        !self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}
