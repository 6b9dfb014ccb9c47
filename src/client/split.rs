use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::closer::Closer;
use super::error::ClientError;
use super::messages::{Messages, Receive, receiving};
use super::sending::sending;
use super::shared_connection::SharedConnection;
use super::wait::Waiter;
use crate::handshake::Response;
use crate::protocol::{
    Compress, Endpoint, Event, Fragment, Message, Outcome, SendError, Workspace,
};
use crate::wire::{CloseCode, CloseFrame};

/// How long the writer leaves unread what the peer says, while the reader is busy elsewhere.
const UNREAD: Duration = Duration::from_millis(50);

/// The receiving half of a [split](super::Client::split) client.
#[doc(alias = "SplitStream")]
pub struct ClientReader {
    shared: Arc<SharedConnection>,
    waiter: Waiter,
    read_timeout: Option<Duration>,
}

/// The sending half of a [split](super::Client::split) client. Clones of it send from as many threads as one likes;
/// fragments of one message have to be sent by one of them, with nothing of the others between.
#[doc(alias = "SplitSink")]
pub struct ClientWriter {
    shared: Arc<SharedConnection>,
    waiter: Waiter,
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

impl Clone for ClientWriter {
    fn clone(&self) -> Self {
        writer(Arc::clone(&self.shared))
    }
}

/// The two halves of a client, each with a way of its own to wait for the socket.
pub(super) fn halves(
    shared: Arc<SharedConnection>,
    waiter: Waiter,
    read_timeout: Option<Duration>,
) -> (ClientReader, ClientWriter) {
    let writer = writer(Arc::clone(&shared));
    (ClientReader { shared, waiter, read_timeout }, writer)
}

/// What sends, in whatever thread.
pub(super) fn writer(shared: Arc<SharedConnection>) -> ClientWriter {
    ClientWriter { shared, waiter: Waiter::Later }
}

/// What a client and either half of it know of the connection.
macro_rules! knowing {
    () => {
        /// The subprotocol that the server chose.
        pub fn subprotocol(&self) -> Option<&str> {
            self.shared.subprotocol()
        }

        /// The server's answer to the opening handshake; `None` for an [adopted](crate::Client::adopt) stream.
        pub fn response(&self) -> Option<&Response> {
            self.shared.response()
        }

        /// How many bytes were sent or queued and have not left yet, framing included.
        pub fn buffered_amount(&self) -> usize {
            self.shared.buffered_amount()
        }

        /// How the connection ended, once it has.
        pub fn outcome(&self) -> Option<&Outcome> {
            self.shared.outcome()
        }

        /// Returns a [`Closer`](crate::Closer), which ends the connection from any thread, whatever other threads
        /// wait for.
        pub fn closer(&self) -> Closer {
            self.shared.closer()
        }
    };
}

pub(super) use knowing;

impl ClientReader {
    knowing!();

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
        self.shared.next_event(&mut self.waiter, until)
    }

    /// Iterates over the messages until the connection ends: by a clean close, or by an error, which comes once, as
    /// the last item. The reader itself is such an iterator, too, in a `for` loop.
    pub fn messages(&mut self) -> Messages<&mut Self> {
        Messages::new(self)
    }

    /// How long [`recv`](Self::recv) waits for a message; `None` for ever.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    /// The round-trip time of the last automatic Ping that was answered; `None` before the first one. It is measured
    /// in the calls that receive, so an answer that lay waiting counts its waiting too. See
    /// [`Config::ping_interval`](crate::Config::ping_interval).
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.shared.round_trip_time()
    }
}

receiving!(ClientReader);

impl Drop for ClientReader {
    /// The writer reads from now on, and throws the messages away.
    fn drop(&mut self) {
        self.shared.drop_reader();
    }
}

/// Each call that sends first reads what has come, if the reader was dropped, or is busy elsewhere and nothing was read
/// for 50 ms: Pings are answered and a Close is heeded. Messages are kept for the reader, as in [`send`](Self::send), or
/// thrown away if there is none.
impl ClientWriter {
    knowing!();

    sending!();

    /// Begins the closing handshake, and waits until its Close has left; the reader's next `None` says that it is over.
    ///
    /// The Close follows what other threads are sending. If that, the peer's Close and the end of the transport take
    /// longer than [`Config::close_timeout`](crate::Config::close_timeout) from now on, the connection is dropped, as by
    /// [`Closer::close`], which does not wait.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] if the connection is closing already, or the code or the reason may not
    /// be sent; [`ClientError::Lost`] if the Close did not leave in time.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), ClientError> {
        let close = CloseFrame::new(code.into(), reason).map_err(SendError::from)?;
        self.shared.close(&mut self.waiter, &close)
    }

    fn write(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        self.shared.send(&mut self.waiter, UNREAD, what)
    }
}
