use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::error::{ClientError, Waiting};
use super::inbox::Inbox;
use crate::protocol::{Chunks, Connection, Event, Outcome, SendError, State, TimeoutKind};
use crate::pump::{self, Bytes, Filled, Stopped, Transport};

/// A connection with its transport and its clock: one step at a time, never waiting.
pub(super) struct Line {
    connection: Connection,
    transport: Box<dyn Transport + Send>,
    /// The fixed point of the connection's clock.
    start: Instant,
    /// The sending direction was ended.
    shut: bool,
    /// Nothing can be sent any more; reading still tells what the peer said last.
    is_broken: bool,
    outcome: Option<Outcome>,
    /// What was wrong with TLS, if that has ended the connection.
    #[cfg(feature = "tls")]
    tls_error: Option<crate::tls::TlsError>,
}

impl Line {
    pub(super) fn new(mut connection: Connection, transport: Box<dyn Transport + Send>) -> Self {
        // Starts its clock.
        connection.handle_timeout(Duration::ZERO);
        Self {
            connection,
            transport,
            start: Instant::now(),
            shut: false,
            is_broken: false,
            outcome: None,
            #[cfg(feature = "tls")]
            tls_error: None,
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
        let error = ClientError::of(self.outcome()?)?;
        #[cfg(feature = "tls")]
        if let (ClientError::Lost(_), Some(failure)) = (&error, &self.tls_error) {
            return Some(ClientError::Tls(failure.clone()));
        }
        Some(error)
    }

    /// Whether bytes wait that the transport did not take.
    pub(super) fn has_unsent(&self) -> bool {
        self.outcome.is_none()
            && !self.is_broken
            && (self.connection.buffered_amount() > 0 || !self.transport.is_flushed())
    }

    /// What came of sending something, when nothing of it waits any more.
    pub(super) fn result_of_sending(&self) -> Result<(), ClientError> {
        match &self.outcome {
            Some(Outcome::TimedOut { timeout: TimeoutKind::Write, .. }) => {
                Err(ClientError::TimedOut(Waiting::Write))
            }
            Some(_) => self.error().map_or(Ok(()), Err),
            None if self.is_broken => {
                Err(ClientError::Lost(Outcome::Lost { sent: None, received: None }))
            }
            None => Ok(()),
        }
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

    /// Queues something and sends what the transport takes of it.
    pub(super) fn enqueue(
        &mut self,
        what: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.connection.set_time(self.start.elapsed());
        what(&mut self.connection)?;
        self.settle();
        Ok(())
    }

    /// Takes the next event from the inbox, reading first if that is empty: whether to try again before
    /// waiting.
    pub(super) fn read(
        &mut self,
        inbox: &mut Inbox,
        events: &mut VecDeque<Event<'static>>,
    ) -> bool {
        if self.outcome.is_some() {
            return false;
        }
        if !inbox.is_empty() {
            inbox.take(&mut self.connection, events);
            self.settle();
            return true;
        }
        let Filled { count, stopped, bytes } =
            inbox.fill(&mut self.connection, &mut *self.transport);
        self.connection.set_time(self.start.elapsed());
        if let Bytes::Direct(event) = bytes {
            events.extend(event);
        }
        // At the end all is taken at once: there will be nobody to answer.
        let ended = matches!(stopped, Stopped::Eof | Stopped::Broken);
        while !inbox.is_empty() {
            inbox.take(&mut self.connection, events);
            if !ended {
                break;
            }
        }
        match stopped {
            Stopped::Done | Stopped::Blocked => {}
            Stopped::Eof => {
                // What is owed to the peer may still reach it, if only its direction has ended.
                self.settle();
                let outcome = self.connection.receive_eof();
                self.end(outcome);
            }
            Stopped::Broken => {
                self.terminate();
            }
        }
        self.settle();
        // Bytes of the transport's own may have been all that came.
        count > 0 || stopped == Stopped::Done || self.outcome.is_some()
    }

    /// Writes what the transport takes, and draws the consequences of all that happened.
    pub(super) fn settle(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let (connection, workspace) = self.connection.as_parts_mut();
        let (_, stopped) = pump::flush(connection, &mut *self.transport, workspace);
        self.is_broken |= stopped == Stopped::Broken;
        if !self.shut && self.connection.wants_shutdown() && self.transport.is_flushed() {
            self.shut = true;
            // A peer that is gone already is found out by reading.
            let _ = self.transport.shutdown();
        }
        if self.connection.state() == State::Closed {
            self.terminate();
        }
    }

    /// Tells the connection the time, which does what is due.
    pub(super) fn tick(&mut self, events: &mut VecDeque<Event<'static>>) {
        while self.outcome.is_none()
            && let Some(event) = self.connection.handle_timeout(self.start.elapsed())
        {
            events.push_back(event);
        }
        self.settle();
    }

    /// Ends the connection without a Close.
    pub(super) fn terminate(&mut self) -> Outcome {
        let outcome = self.connection.terminate();
        self.end(outcome.clone());
        outcome
    }

    /// Takes note of the end, and lets the peer see it: whoever still holds this has no use for the
    /// transport any more.
    fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        #[cfg(feature = "tls")]
        if let Some(error) = self.transport.tls_error() {
            self.tls_error = Some(error.clone());
        }
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
        (0, Stopped::Broken)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}
