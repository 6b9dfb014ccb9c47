use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use super::connection::ClientConnection;
use super::error::{ClientError, ClientTimeout};
use super::sending::sending;
use super::wait::{PollWait, Wait};
use crate::protocol::{
    Compress, Endpoint, Event, Fragment, Message, Outcome, SendError, Workspace,
};
use crate::wire::CloseCode;

/// How long the writer leaves unread what the peer says, while the reader is busy elsewhere.
const UNREAD: Duration = Duration::from_millis(50);

/// What the two halves share. The lock is held for a step that never waits, so neither half can keep
/// the other from its work.
struct Shared {
    state: Mutex<SharedState>,
    /// Wakes the reader, whose deadlines may have changed.
    reader: Arc<Waker>,
}

struct SharedState {
    connection: ClientConnection,
    reader: ReaderState,
}

/// Where the reader is. While it does not wait for the next event, the writer reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReaderState {
    Waiting,
    /// It was woken, or does something else.
    Busy,
    /// It was dropped.
    Dropped,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        // A panic inside a step is a bug of this crate; the other half had better see the end than
        // another panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the reader if something has come for it.
    fn tell_reader(&self, shared: &mut SharedState) -> io::Result<()> {
        let has_news = shared.connection.has_events() || shared.connection.outcome().is_some();
        if has_news && shared.reader == ReaderState::Waiting {
            shared.reader = ReaderState::Busy;
            self.reader.wake()?;
        }
        Ok(())
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
    connection: ClientConnection,
    reader: PollWait,
    writer: PollWait,
    read_timeout: Option<Duration>,
) -> (ClientReader, ClientWriter) {
    let state = SharedState { connection, reader: ReaderState::Busy };
    let shared = Arc::new(Shared { state: Mutex::new(state), reader: reader.waker() });
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
    /// As [`Client::recv`](crate::Client::recv).
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
    /// As [`Client::recv`](crate::Client::recv).
    pub fn next_event(&mut self) -> Result<Option<Event<'static>>, ClientError> {
        let until = self.read_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let (next, interest) = {
                let mut shared = self.shared.lock();
                shared.reader = ReaderState::Busy;
                let connection = &mut shared.connection;
                if let Some(event) = connection.next_event() {
                    return Ok(Some(event));
                }
                if connection.outcome().is_some() {
                    return connection.error().map_or(Ok(None), Err);
                }
                if connection.read() {
                    continue;
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Err(ClientError::TimedOut(ClientTimeout::Read));
                }
                let wanted = (connection.next_deadline(), connection.interest());
                shared.reader = ReaderState::Waiting;
                wanted
            };
            self.wait.wait([until, next].into_iter().flatten().min(), interest)?;
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
        self.shared.lock().connection.round_trip_time()
    }

    /// How the connection ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().connection.outcome().cloned()
    }
}

impl Drop for ClientReader {
    /// The writer reads from now on, and throws the messages away.
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.reader = ReaderState::Dropped;
        shared.connection.discard_events();
    }
}

/// While the reader is busy elsewhere, or was dropped, each call first reads what has come: Pings are answered and a
/// Close is heeded. Messages are kept for the reader, as in [`send`](Self::send), or thrown away if there is none.
impl ClientWriter {
    sending!();

    /// Begins the closing handshake; the reader's next `None` says that it is over.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] if the connection is closing already, or the code or the reason may not
    /// be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), ClientError> {
        let code = code.into();
        let result = self.write(|endpoint, workspace| endpoint.close(code, reason, workspace));
        // The reader must watch the closing deadline from now on.
        self.shared.reader.wake()?;
        result
    }

    /// How the connection ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.lock().connection.outcome().cloned()
    }

    fn write(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        let end = {
            let mut shared = self.shared.lock();
            match shared.reader {
                ReaderState::Waiting => {}
                ReaderState::Busy => shared.connection.catch_up(UNREAD),
                ReaderState::Dropped => shared.connection.catch_up(Duration::ZERO),
            }
            shared.connection.enqueue(what)?
        };
        loop {
            let (next, interest) = {
                let mut shared = self.shared.lock();
                // The reader may be busy elsewhere: neither deadlines nor the peer's Close wait for it.
                let goes_on = shared.connection.is_leaving(end) && shared.connection.read_ahead();
                if !goes_on {
                    shared.connection.read_last();
                }
                self.shared.tell_reader(&mut shared)?;
                if goes_on {
                    continue;
                }
                let connection = &shared.connection;
                if !connection.is_leaving(end) {
                    return connection.result_of_sending(end);
                }
                (connection.next_deadline(), connection.interest())
            };
            self.wait.wait(next, interest)?;
        }
    }
}
