use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::inbox::Inbox;
use crate::io::transport::{self, Bytes, Filled, Stopped, Transport};
use crate::protocol::{Cause, Chunks, Connection, Event, Outcome, SendError, State};

/// How many events are taken in for later while something is sent.
const READ_AHEAD: usize = 64;

/// A connection with its transport and its clock: one step at a time, never waiting.
pub(super) struct Line {
    connection: Connection,
    transport: Box<dyn Transport + Send>,
    inbox: Inbox,
    events: VecDeque<Event<'static>>,
    /// The fixed point of the connection's clock.
    start: Instant,
    /// The sending direction was ended.
    shut: bool,
    /// Why nothing can be sent any more; reading still tells what the peer said last.
    broken: Option<Cause>,
    outcome: Option<Outcome>,
    /// The connection ended while the transport still held bytes that were to go out.
    was_cut: bool,
}

impl Line {
    pub(super) fn new(connection: Connection, transport: Box<dyn Transport + Send>) -> Self {
        Self::with_leftover(connection, transport, &[])
    }

    /// A line with bytes that somebody else has read from the transport.
    pub(super) fn with_leftover(
        mut connection: Connection,
        transport: Box<dyn Transport + Send>,
        leftover: &[u8],
    ) -> Self {
        // Starts its clock.
        connection.handle_timeout(Duration::ZERO);
        Self {
            connection,
            transport,
            inbox: Inbox::new(leftover),
            events: VecDeque::new(),
            start: Instant::now(),
            shut: false,
            broken: None,
            outcome: None,
            was_cut: false,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How the connection ended, once it has.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What the end of the connection is to the caller who wanted more of it; `None` for a clean end,
    /// or before the end.
    pub(super) fn error(&self) -> Option<ClientError> {
        ClientError::of(self.outcome()?)
    }

    /// Whether the transport may still take what was queued up to this position in the output.
    pub(super) fn is_leaving(&self, end: u64) -> bool {
        self.outcome.is_none() && self.broken.is_none() && !self.has_left(end)
    }

    fn has_left(&self, end: u64) -> bool {
        self.connection.left() >= end && self.transport.is_flushed() && !self.was_cut
    }

    /// What came of sending what was queued up to this position, once it is no longer
    /// [leaving](Self::is_leaving).
    pub(super) fn result_of_sending(&self, end: u64) -> Result<(), ClientError> {
        if self.has_left(end) {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            let received = self.outcome().and_then(Outcome::received).cloned();
            ClientError::lost(Outcome::Lost { sent: None, received, cause: self.broken.clone() })
        }))
    }

    pub(super) fn round_trip_time(&self) -> Option<Duration> {
        self.connection.round_trip_time()
    }

    /// When the next deadline comes, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        self.start.checked_add(self.connection.next_timeout()?)
    }

    /// Queues something and sends what the transport takes of it: the position in the output at which it
    /// ends.
    pub(super) fn enqueue(
        &mut self,
        what: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<u64, SendError> {
        self.connection.set_time(self.start.elapsed());
        what(&mut self.connection)?;
        let end = self.connection.queued();
        self.settle();
        Ok(end)
    }

    /// The next event that was taken in.
    pub(super) fn next_event(&mut self) -> Option<Event<'static>> {
        self.events.pop_front()
    }

    /// Throws away what was taken in.
    pub(super) fn clear_events(&mut self) {
        self.events.clear();
    }

    /// Takes the next event from the inbox, reading first if that is empty: whether anything has come, or is
    /// to be tried again before waiting. What is due by now is done before it reads.
    pub(super) fn read(&mut self) -> bool {
        if self.outcome.is_some() {
            return false;
        }
        let before = self.events.len();
        self.connection.resume();
        if !self.inbox.is_empty() {
            self.inbox.take(&mut self.connection, &mut self.events);
            self.settle();
            return true;
        }
        self.tick();
        if self.outcome.is_some() {
            return true;
        }
        let Filled { count, stopped, bytes } =
            self.inbox.fill(&mut self.connection, &mut *self.transport);
        self.connection.set_time(self.start.elapsed());
        if let Bytes::Direct(event) = bytes {
            self.events.extend(event);
        }
        // At the end all is taken at once: there will be nobody to answer.
        let ended = matches!(stopped, Stopped::Eof | Stopped::Broken(_));
        while !self.inbox.is_empty() {
            self.inbox.take(&mut self.connection, &mut self.events);
            if !ended {
                break;
            }
        }
        // Bytes of the transport's own may have been all that came.
        let more = count > 0 || !stopped.is_blocked();
        match stopped {
            Stopped::Done | Stopped::Blocked => {}
            Stopped::Eof => {
                // What is owed to the peer may still reach it, if only its direction has ended.
                self.settle();
                let outcome = match self.broken.take() {
                    None => self.connection.receive_eof(),
                    Some(cause) => self.connection.terminate_with(cause),
                };
                self.end(outcome);
            }
            Stopped::Broken(error) => {
                let outcome = self.connection.terminate_with(transport::cause(error));
                self.end(outcome);
            }
        }
        self.settle();
        let more = more || self.outcome.is_some();
        more || self.events.len() > before
    }

    /// Reads for later while something is sent, as long as little was: whether to try again before waiting.
    pub(super) fn read_ahead(&mut self) -> bool {
        if self.events.len() < READ_AHEAD {
            return self.read();
        }
        // Nothing is asked of what the peer sends while nobody reads it.
        self.connection.pause();
        self.tick();
        self.settle();
        false
    }

    /// Reads what the peer said last, when nothing can be sent any more: that tells why.
    pub(super) fn read_last(&mut self) {
        while self.broken.is_some() && self.outcome.is_none() && self.read() {}
    }

    /// Writes what the transport takes, and draws the consequences of all that happened.
    pub(super) fn settle(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let (connection, workspace) = self.connection.as_parts_mut();
        let (_, stopped) = transport::flush(connection, &mut *self.transport, workspace);
        if let Stopped::Broken(error) = stopped {
            self.broken.get_or_insert_with(|| transport::cause(error));
        }
        if !self.shut && self.connection.wants_shutdown() && self.transport.is_flushed() {
            self.shut = true;
            // A peer that is gone already is found out by reading.
            let _ = self.transport.shutdown();
        }
        if self.connection.state() == State::Closed {
            self.terminate();
        }
    }

    /// Tells the connection the time, which does what is due. Before the next time stands a turn in which
    /// the transport is read and written: what the peer has met meanwhile is no longer due.
    fn tick(&mut self) {
        self.events.extend(self.connection.handle_timeout(self.start.elapsed()));
        if self.connection.state() == State::Closed {
            self.terminate();
        }
    }

    /// Ends the connection without a Close.
    pub(super) fn terminate(&mut self) -> Outcome {
        let outcome = match self.broken.take() {
            None => self.connection.terminate(),
            Some(cause) => self.connection.terminate_with(cause),
        };
        self.end(outcome.clone());
        outcome
    }

    /// Takes note of the end, and lets the peer see it: whoever still holds this has no use for the
    /// transport any more.
    fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.was_cut = !self.transport.is_flushed();
        // Others may hold the socket, to wait for it.
        let _ = self.transport.shutdown();
        self.transport = Box::new(Gone);
    }
}

/// The transport of a connection that has ended.
struct Gone;

impl Transport for Gone {
    fn read(&mut self, _: &mut [u8]) -> (usize, Stopped) {
        (0, Stopped::Eof)
    }

    fn write(&mut self, _: Chunks<'_>) -> (usize, Stopped) {
        (0, Stopped::Broken(io::ErrorKind::NotConnected.into()))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}
