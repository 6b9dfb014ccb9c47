use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use super::error::{ClientError, Waiting};
use super::line::Line;
use super::wait::{PollWait, Wait};
use crate::protocol::{Compress, Connection, Event, Fragment, Message, Outcome, SendError};
use crate::wire::CloseCode;

/// What the two halves share. The lock is held for a step that never waits, so neither half can keep
/// the other from its work.
struct Shared {
    line: Mutex<Line>,
    /// Wakes the reader, whose deadlines may have changed.
    reader: Arc<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // A panic inside a step is a bug of this crate; the other half had better see the end than
        // another panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving half of a [split](super::Client::split) client.
pub struct ClientReader {
    shared: Arc<Shared>,
    wait: PollWait,
    read_timeout: Option<Duration>,
}

/// The sending half of a [split](super::Client::split) client.
pub struct ClientWriter {
    shared: Arc<Shared>,
    wait: PollWait,
}

impl fmt::Debug for ClientReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientReader").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientWriter").finish_non_exhaustive()
    }
}

/// The two halves of a client, each with a way of its own to wait for the socket.
pub(super) fn halves(
    line: Line,
    reader: PollWait,
    writer: PollWait,
    read_timeout: Option<Duration>,
) -> (ClientReader, ClientWriter) {
    let shared = Arc::new(Shared { line: Mutex::new(line), reader: reader.waker() });
    let other = Arc::clone(&shared);
    (
        ClientReader { shared, wait: reader, read_timeout },
        ClientWriter { shared: other, wait: writer },
    )
}

impl ClientReader {
    /// The next message; `None` after a clean close.
    ///
    /// # Errors
    ///
    /// As [`Client::recv`].
    pub fn recv(&mut self) -> Result<Option<Message<'static>>, ClientError> {
        loop {
            match self.next_event()? {
                Some(Event::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next event of any kind; `None` after a clean close.
    ///
    /// # Errors
    ///
    /// As [`Client::recv`].
    pub fn next_event(&mut self) -> Result<Option<Event<'static>>, ClientError> {
        let until = self.read_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let next = {
                let mut line = self.shared.lock();
                if let Some(event) = line.next_event() {
                    return Ok(Some(event));
                }
                if line.outcome().is_some() {
                    return line.error().map_or(Ok(None), Err);
                }
                if line.read() {
                    continue;
                }
                line.next_deadline()
            };
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(ClientError::TimedOut(Waiting::Read));
            }
            self.wait.wait([until, next].into_iter().flatten().min())?;
        }
    }

    /// How long [`recv`](Self::recv) waits for a message; `None` for ever.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    /// How long the last automatic Ping that was answered took to come back; `None` before the first one.
    /// It is measured in the calls that receive, so an answer that lay waiting counts its waiting too.
    /// See [`Config::ping_interval`](crate::Config::ping_interval).
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.shared.lock().round_trip_time()
    }

    /// How the connection ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().outcome().cloned()
    }
}

impl ClientWriter {
    /// Sends a message, and waits until the network has taken all of it. While it waits it takes in some
    /// messages, for the reader to deliver.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), ClientError> {
        let message = message.into();
        self.write(|connection| connection.send(message))
    }

    /// Sends a message, and says whether to compress it.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
    ) -> Result<(), ClientError> {
        let message = message.into();
        self.write(|connection| connection.send_with(message, compress))
    }

    /// Sends a piece of a message; see [`Connection::send_fragment`].
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), ClientError> {
        self.write(|connection| connection.send_fragment(fragment))
    }

    /// Sends a piece of a message, and says whether to compress the message; see
    /// [`Connection::send_fragment_with`].
    ///
    /// # Errors
    ///
    /// As [`send`](Client::send).
    pub fn send_fragment_with(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
    ) -> Result<(), ClientError> {
        self.write(|connection| connection.send_fragment_with(fragment, compress))
    }

    /// Sends a Ping with at most 125 bytes of payload.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        self.write(|connection| connection.ping(payload))
    }

    /// Begins the closing handshake; the reader's next `None` says that it is over.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] if the connection is closing already, or the code or the reason may not
    /// be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), ClientError> {
        let code = code.into();
        let result = self.write(|connection| connection.close(code, reason));
        // The reader must watch the closing deadline from now on.
        self.shared.reader.wake()?;
        result
    }

    fn write(
        &mut self,
        what: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        let end = self.shared.lock().enqueue(what)?;
        loop {
            let next = {
                let mut line = self.shared.lock();
                // The reader may be busy elsewhere: neither deadlines nor the peer's Close wait for it.
                if line.is_leaving(end) && line.read_ahead() {
                    continue;
                }
                line.read_last();
                if line.outcome().is_some() {
                    self.shared.reader.wake()?;
                }
                if !line.is_leaving(end) {
                    return line.result_of_sending(end);
                }
                line.next_deadline()
            };
            self.wait.wait(next)?;
        }
    }
}
