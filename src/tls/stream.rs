use std::io::{self, IoSlice, Read, Write};

use super::TlsSocket;
use crate::client::ClientStream;
use crate::io::transport::{Stopped, Transport};
use crate::protocol::{Chunks, PayloadBuffer};

/// TLS as a stream of bytes that does not block, for what is spoken through it to somebody further away: `CONNECT`
/// to a proxy, and then perhaps TLS again.
#[derive(Debug)]
pub(crate) struct TlsStream<S>(TlsSocket<S>);

impl<S> TlsStream<S> {
    pub(crate) fn new(socket: TlsSocket<S>) -> Self {
        Self(socket)
    }
}

/// What a stream answers, of what a transport does.
fn answer((count, stopped): (usize, Stopped)) -> io::Result<usize> {
    match stopped {
        _ if count > 0 => Ok(count),
        Stopped::Done | Stopped::Eof => Ok(0),
        Stopped::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        Stopped::Broken(error) => Err(error),
    }
}

impl<S: Transport + Write> Read for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            (0, Stopped::Blocked) => {
                // A handshake answers what it has read.
                self.flush()?;
                Err(io::ErrorKind::WouldBlock.into())
            }
            read => answer(read),
        }
    }
}

/// Who is told that it would block has to offer the same bytes again, as TLS does.
impl<S: Transport + Write> Write for TlsStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Ok(0);
        }
        answer(self.0.write_slices(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        answer(self.0.send()).map(drop)
    }
}

impl<S: Transport + Write> Transport for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        self.0.read(buffer)
    }

    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        self.0.read_into(payload, limit)
    }

    fn wire_bytes(&self, count: usize) -> usize {
        self.0.wire_bytes(count)
    }

    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        self.0.write(slices)
    }

    fn is_flushed(&self) -> bool {
        self.0.is_flushed()
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown()
    }
}

impl<S: Transport + Write + Send> ClientStream for TlsStream<S> {}
