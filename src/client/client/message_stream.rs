use std::fmt;
use std::io::{self, Read, Write};

use super::Client;
use crate::client::error::{ClientError, ClientTimeout};
use crate::protocol::{Message, Outcome};

/// A WebSocket as a stream of bytes, for crates that speak over streams; made by
/// [`Client::into_stream`].
///
/// Each write is one binary message; put a [`BufWriter`](std::io::BufWriter) around it to send fewer.
/// Reading ends, with `Ok(0)`, at the peer's clean close. [`close`](Self::close) closes.
pub struct MessageStream {
    client: Client,
    message: Message<'static>,
    read: usize,
}

impl MessageStream {
    pub(super) fn new(client: Client) -> Self {
        Self { client, message: Message::binary(&[][..]), read: 0 }
    }

    /// Closes the connection with 1000 and waits for the peer's Close.
    ///
    /// # Errors
    ///
    /// As [`Client::close`].
    pub fn close(&mut self) -> Result<Outcome, ClientError> {
        self.client.close(1000, "")
    }

    /// The client again, with what was received and not read.
    pub fn into_inner(self) -> (Client, Vec<u8>) {
        (self.client, self.message.as_bytes()[self.read..].to_vec())
    }
}

impl fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").finish_non_exhaustive()
    }
}

impl Read for MessageStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.read == self.message.len() {
            match self.client.recv().map_err(into_io)? {
                Some(message) => (self.message, self.read) = (message, 0),
                None => return Ok(0),
            }
        }
        let rest = &self.message.as_bytes()[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for MessageStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if !buffer.is_empty() {
            self.client.send(buffer).map_err(into_io)?;
        }
        Ok(buffer.len())
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
        ClientError::Send(_) => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
