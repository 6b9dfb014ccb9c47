use std::fmt;
use std::io::{self, Read, Write};

use super::Client;
use crate::client::closer::Closer;
use crate::client::error::{ClientError, ClientTimeout};
use crate::client::split::{ClientReader, ClientWriter};
use crate::protocol::{Message, Outcome};

/// A WebSocket as a stream of bytes, for crates that speak over streams; made by
/// [`Client::into_stream`].
///
/// Each write is one binary message; put a [`BufWriter`](std::io::BufWriter) around it to send fewer.
/// Reading ends, with `Ok(0)`, at the peer's clean close. [`close`](Self::close) closes.
#[derive(Debug)]
pub struct MessageStream {
    client: Client,
    unread: Unread,
}

/// The half of a [`MessageStream`] that reads.
#[derive(Debug)]
pub struct MessageReader {
    reader: ClientReader,
    unread: Unread,
}

/// The half of a [`MessageStream`] that writes: each write is one binary message. Clones of it write from other threads.
#[doc(alias("streaming upload", "progress"))]
#[derive(Clone, Debug)]
pub struct MessageWriter {
    writer: ClientWriter,
}

/// What was received and not read.
struct Unread {
    message: Message<'static>,
    read: usize,
}

impl MessageStream {
    pub(super) fn new(client: Client) -> Self {
        Self { client, unread: Unread { message: Message::binary(&[][..]), read: 0 } }
    }

    /// Splits the stream into a reading and a writing half, for two threads.
    ///
    /// Here the standard input goes to the server until it ends, and what comes from there to the standard output:
    ///
    /// ```no_run
    /// use framewire::Client;
    /// use std::{io, thread};
    ///
    /// let (mut reader, mut writer) = Client::connect("ws://127.0.0.1:9001/")?.into_stream().split()?;
    /// thread::spawn(move || io::copy(&mut io::stdin(), &mut writer).map(|_| writer.close()));
    /// io::copy(&mut reader, &mut io::stdout())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClientError::NotSplittable`] as [`Client::split`].
    pub fn split(self) -> Result<(MessageReader, MessageWriter), ClientError> {
        let Self { client, unread } = self;
        let (reader, writer) = client.split()?;
        Ok((MessageReader { reader, unread }, MessageWriter { writer }))
    }

    /// Closes the connection with 1000 and waits for the peer's Close.
    ///
    /// # Errors
    ///
    /// As [`Client::close`].
    pub fn close(&mut self) -> Result<Outcome, ClientError> {
        self.client.close(1000, "")
    }

    /// Returns a [`Closer`], which ends the connection from any thread.
    pub fn closer(&self) -> Closer {
        self.client.closer()
    }

    /// Returns the client, and the bytes that were received and not read.
    pub fn into_inner(self) -> (Client, Vec<u8>) {
        (self.client, self.unread.rest().to_vec())
    }
}

impl MessageReader {
    /// Returns a [`Closer`], which ends the connection from any thread.
    pub fn closer(&self) -> Closer {
        self.reader.closer()
    }
}

impl MessageWriter {
    /// Begins the closing handshake with 1000; reading ends with `Ok(0)` when it is over.
    ///
    /// # Errors
    ///
    /// As [`ClientWriter::close`].
    pub fn close(&mut self) -> Result<(), ClientError> {
        self.writer.close(1000, "")
    }

    /// Returns a [`Closer`], which ends the connection from any thread.
    pub fn closer(&self) -> Closer {
        self.writer.closer()
    }
}

impl Unread {
    fn rest(&self) -> &[u8] {
        &self.message.as_bytes()[self.read..]
    }

    fn read(
        &mut self,
        buffer: &mut [u8],
        mut recv: impl FnMut() -> Result<Option<Message<'static>>, ClientError>,
    ) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.read == self.message.len() {
            match recv().map_err(into_io)? {
                Some(message) => (self.message, self.read) = (message, 0),
                None => return Ok(0),
            }
        }
        let rest = self.rest();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

fn write(buffer: &[u8], send: impl FnOnce(&[u8]) -> Result<(), ClientError>) -> io::Result<usize> {
    if !buffer.is_empty() {
        send(buffer).map_err(into_io)?;
    }
    Ok(buffer.len())
}

/// How much it is, and not what.
impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.rest().len())
    }
}

impl Read for MessageStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.unread.read(buffer, || self.client.recv())
    }
}

impl Read for MessageReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.unread.read(buffer, || self.reader.recv())
    }
}

impl Write for MessageStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        write(buffer, |buffer| self.client.send(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        // A write waits until the network has taken the message.
        Ok(())
    }
}

impl Write for MessageWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        write(buffer, |buffer| self.writer.send(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        // A write waits until the network has taken the message.
        Ok(())
    }
}

fn into_io(error: ClientError) -> io::Error {
    let kind = match &error {
        ClientError::Io(error) => error.kind(),
        ClientError::TimedOut(ClientTimeout::Read) => io::ErrorKind::WouldBlock,
        ClientError::TimedOut(_) => io::ErrorKind::TimedOut,
        ClientError::Lost(outcome) => {
            let cause = outcome.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
            cause.map_or(io::ErrorKind::ConnectionReset, io::Error::kind)
        }
        ClientError::Aborted => io::ErrorKind::ConnectionAborted,
        ClientError::Send(_) => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SendError;

    /// By the kind a program that knows only streams tells a timeout from an end.
    #[test]
    fn an_error_of_a_stream_has_the_kind_that_fits() {
        let lost = |cause: Option<io::ErrorKind>| {
            let cause = cause.map(|kind| io::Error::from(kind).into());
            ClientError::Lost(Outcome::Lost { sent: None, received: None, cause })
        };
        for (error, kind) in [
            (io::Error::from(io::ErrorKind::NotFound).into(), io::ErrorKind::NotFound),
            (ClientError::TimedOut(ClientTimeout::Read), io::ErrorKind::WouldBlock),
            (ClientError::TimedOut(ClientTimeout::Write), io::ErrorKind::TimedOut),
            (lost(None), io::ErrorKind::ConnectionReset),
            (lost(Some(io::ErrorKind::TimedOut)), io::ErrorKind::TimedOut),
            (ClientError::Aborted, io::ErrorKind::ConnectionAborted),
            (ClientError::Send(SendError::Closed), io::ErrorKind::BrokenPipe),
            (ClientError::NotSplittable, io::ErrorKind::InvalidData),
        ] {
            let text = error.to_string();
            let error = into_io(error);
            assert_eq!((error.kind(), error.to_string()), (kind, text));
        }
    }

    #[test]
    fn what_was_received_and_not_read_is_told_by_its_length() {
        let unread = Unread { message: Message::text("seven b"), read: 3 };
        assert_eq!(format!("{unread:?}"), "4 bytes");
    }
}
