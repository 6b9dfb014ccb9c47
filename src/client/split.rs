use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use super::error::{ClientError, Waiting};
use super::inbox::Inbox;
use super::line::Line;
use super::wait::{PollWait, Wait};
use super::{Client, Waits};
use crate::protocol::{Compress, Connection, Event, Fragment, Message, Outcome, SendError};
use crate::wire::CloseCode;

/// What the two halves share. The lock is held for a step that never waits, so neither half can keep
/// the other from its work.
struct Shared {
    common: Mutex<Common>,
    /// Wakes the reader, whose deadlines may have changed.
    reader: Arc<Waker>,
}

struct Common {
    line: Line,
    /// For the reader, from deadlines that the writer has met.
    events: VecDeque<Event<'static>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Common> {
        // A panic inside a step is a bug of this crate; the other half had better see the end than
        // another panic.
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving half of a [split](Client::split) client.
pub struct ClientReader {
    shared: Arc<Shared>,
    wait: PollWait,
    events: VecDeque<Event<'static>>,
    inbox: Inbox,
    read_timeout: Option<Duration>,
}

/// The sending half of a [split](Client::split) client.
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

pub(super) fn split(client: Client) -> Result<(ClientReader, ClientWriter), ClientError> {
    let Client { line, wait, events: received, inbox, read_timeout, .. } = client;
    let Waits::Poll(reader, socket) = wait else { return Err(ClientError::NotSplittable) };
    let writer = socket.waiter()?;
    let common = Mutex::new(Common { line, events: VecDeque::new() });
    let shared = Arc::new(Shared { common, reader: reader.waker() });
    let (wait, other) = (reader, Arc::clone(&shared));
    let reader = ClientReader { shared, wait, events: received, inbox, read_timeout };
    Ok((reader, ClientWriter { shared: other, wait: writer }))
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
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let next = {
                let mut common = self.shared.lock();
                let Common { line, events } = &mut *common;
                if !events.is_empty() {
                    self.events.append(events);
                    continue;
                }
                if line.outcome().is_some() {
                    return line.error().map_or(Ok(None), Err);
                }
                if line.read(&mut self.inbox, &mut self.events) || !self.events.is_empty() {
                    continue;
                }
                line.next_deadline()
            };
            self.wait.wait([until, next].into_iter().flatten().min())?;
            let mut common = self.shared.lock();
            common.line.settle();
            common.line.tick(&mut self.events);
            drop(common);
            if self.events.is_empty() && until.is_some_and(|until| until <= Instant::now()) {
                return Err(ClientError::TimedOut(Waiting::Read));
            }
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
        self.shared.lock().line.round_trip_time()
    }

    /// How the connection ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().line.outcome().cloned()
    }
}

impl ClientWriter {
    /// Sends a message, and waits until the network has taken it.
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
        self.shared.lock().line.enqueue(what)?;
        loop {
            let next = {
                let mut common = self.shared.lock();
                let Common { line, events } = &mut *common;
                line.settle();
                // The reader may be busy elsewhere, and deadlines do not wait for it.
                line.tick(events);
                if line.outcome().is_some() {
                    self.shared.reader.wake()?;
                }
                if !line.has_unsent() {
                    return line.result_of_sending();
                }
                line.next_deadline()
            };
            self.wait.wait(next)?;
        }
    }
}
