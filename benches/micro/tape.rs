//! A transport in memory, which never keeps anybody waiting: what is read from it comes round again and
//! again, what is written is gone.

use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use framewire::wire::Opcode;
use framewire_benches::{Stream, letters};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The length of payloads to compare with.
pub(crate) const LENGTHS: [usize; 5] = [20, 125, 1024, 16_384, 1 << 20];

pub(crate) struct Tape {
    bytes: Vec<u8>,
    at: usize,
}

impl Tape {
    /// Binary frames with payloads of that length, masked, some 64 KiB in all.
    pub(crate) fn new(length: usize) -> Self {
        let frames = (65_536 / (length + 8)).max(1);
        Self { bytes: Stream::new(Opcode::Binary, &letters(length), frames).bytes, at: 0 }
    }

    /// The next bytes, `most` of them or fewer; never none.
    pub(crate) fn next(&mut self, most: usize) -> &[u8] {
        let start = self.at;
        let end = self.bytes.len().min(start + most);
        self.at = if end == self.bytes.len() { 0 } else { end };
        &self.bytes[start..end]
    }
}

impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(divan::black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        buffer.put_slice(self.next(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(divan::black_box(bytes).len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(divan::black_box(slices).iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a future that has nothing to wait for: no executor could cost less.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a tape is always ready"),
    }
}
