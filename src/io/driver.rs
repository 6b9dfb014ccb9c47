use std::time::Duration;
use std::{fmt, io};

use super::budget::Budget;
use super::inbox::{Inbox, Leftover};
use super::transport::{self, Stopped, Transport};
use crate::protocol::{Endpoint, Event, Outcome, State, Workspace};

/// The room of a read in which a long message probably begins.
const LONG_MESSAGE_START: usize = 16 * 1024;

/// How many bytes a connection that is being closed may still send before it is dropped.
const MAX_DRAINED: u32 = 4 * 1024 * 1024;

/// One connection over one transport: reads, writes, ends the sending direction, and never waits. The event loop
/// and the blocking client are two ways to wait in between.
///
/// In each turn, call [`handle_timeout`](Self::handle_timeout), then [`receive`](Self::receive) as long as its
/// [`Budget`] goes on, then [`flush`](Self::flush), then [`outcome`](Self::outcome). Wait
/// until the transport can be read, or written where [`wants_write`](Self::wants_write) says so, or until
/// [`next_timeout`](Self::next_timeout); do not wait where [`has_more`](Self::has_more) says that there is
/// something to do already. Of what was waited for tell it by [`set_readable`](Self::set_readable) and
/// [`set_writable`](Self::set_writable).
pub struct Driver<T> {
    endpoint: Endpoint,
    transport: T,
    /// What was read and may not be taken yet.
    leftover: Option<Box<Leftover>>,
    /// How many bytes were read and thrown away since the sending direction was ended.
    drained: u32,
    input: Input,
    output: Output,
    /// The last read that found something went straight into a long message.
    has_long_messages: bool,
    reads_while_congested: bool,
}

/// What is known of the receiving direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Nothing is there, until the transport is said to be readable.
    Awaited,
    /// There may be something.
    Ready,
    /// The same, and a short read does not mean that it was all.
    Pieces,
    /// The peer has ended its direction, so that nobody will tell of what is still to be read.
    Last,
    /// It was read to its end. What is queued still goes out.
    Ended,
}

/// What is known of the sending direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Ready,
    /// The transport takes nothing more, until it is said to be writable.
    Blocked,
    /// It was ended.
    Shut,
}

impl<T: Transport> Driver<T> {
    /// A connection over a transport that is connected, or is about to be.
    pub fn new(endpoint: Endpoint, transport: T) -> Self {
        Self::with_leftover(endpoint, transport, &[])
    }

    /// The same, with bytes that somebody else has read from the transport.
    pub fn with_leftover(endpoint: Endpoint, transport: T, leftover: &[u8]) -> Self {
        Self {
            endpoint,
            transport,
            leftover: Leftover::of(leftover),
            drained: 0,
            input: Input::Ready,
            output: Output::Ready,
            has_long_messages: false,
            reads_while_congested: false,
        }
    }

    /// Has it read although too much [output](Endpoint::is_congested) waits: whoever waits for the output to
    /// leave must do that, since two that only write to each other wait for ever.
    pub fn read_while_congested(&mut self) {
        self.reads_while_congested = true;
    }

    /// The engine of the connection: send with it, and call [`flush`](Self::flush) then.
    #[inline]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same, to be changed.
    #[inline]
    pub fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// The transport.
    #[inline]
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The same, to be registered or asked.
    #[inline]
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Tells that the transport may have something to read. A new driver assumes it has.
    #[inline]
    pub fn set_readable(&mut self) {
        if self.input == Input::Awaited {
            self.input = Input::Ready;
        }
    }

    /// Tells that the transport has something to read, and that a read may bring less than is there: a TCP socket
    /// with urgent data does that.
    pub fn set_readable_in_pieces(&mut self) {
        if matches!(self.input, Input::Awaited | Input::Ready) {
            self.input = Input::Pieces;
        }
    }

    /// Tells that nothing is there to read until [`set_readable`](Self::set_readable) is called.
    pub fn set_not_readable(&mut self) {
        if matches!(self.input, Input::Ready | Input::Pieces) {
            self.input = Input::Awaited;
        }
    }

    /// Tells that the peer has ended its direction, of which pollers tell as well: nobody will tell of what
    /// is still to be read.
    #[inline]
    pub fn set_read_closed(&mut self) {
        if self.input != Input::Ended {
            self.input = Input::Last;
        }
    }

    /// Whether the peer has ended its direction, as far as that is known.
    pub fn is_read_closed(&self) -> bool {
        matches!(self.input, Input::Last | Input::Ended)
    }

    /// Tells that the transport takes something again. A new driver assumes it does.
    #[inline]
    pub fn set_writable(&mut self) {
        if self.output == Output::Blocked {
            self.output = Output::Ready;
        }
    }

    /// Tells that the transport takes nothing until [`set_writable`](Self::set_writable) is called: a socket
    /// that is still connecting, for instance.
    pub fn set_not_writable(&mut self) {
        if self.output == Output::Ready {
            self.output = Output::Blocked;
        }
    }

    /// Whether to wait until the transport can be written.
    #[inline]
    pub fn wants_write(&self) -> bool {
        let has_output = self.endpoint.queued() > self.endpoint.left();
        let waits = has_output || !self.transport.is_flushed();
        waits && self.endpoint.state() != State::Closed
    }

    /// Whether there is something to do without waiting for the transport: to read on what there is, or to go on
    /// with a long message that is compressed or inflated.
    #[inline]
    pub fn has_more(&self) -> bool {
        let readable = !matches!(self.input, Input::Awaited | Input::Ended)
            || self.leftover.is_some()
            || self.endpoint.awaits_codec();
        readable && !self.is_stopped() && self.endpoint.state() != State::Closed
    }

    /// Whether nothing may be read for now: the application said so, has to decide, or must first get
    /// rid of output. A pause ends with the Close: without reading there is no closing handshake.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        let endpoint = &self.endpoint;
        (endpoint.is_congested() && !self.reads_while_congested)
            || (endpoint.is_paused() && endpoint.state() == State::Open)
            || endpoint.awaits_decision()
    }

    /// Tells the time, at the head of a turn; see [`Endpoint::handle_timeout`].
    #[inline]
    pub fn handle_timeout(
        &mut self,
        now: Duration,
        workspace: &mut Workspace,
    ) -> Option<Event<'static>> {
        self.endpoint.handle_timeout(now, workspace)
    }

    /// When to begin the next turn at the latest; see [`Endpoint::next_timeout`].
    #[inline]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.endpoint.next_timeout()
    }

    /// Goes on until the next event, and reads where there is nothing else to take. As long as the budget
    /// [goes on](Budget::goes_on), call it again, whether it has answered with an event or not; when it does not,
    /// the connection has kept what was left in the inbox, and another may use it.
    ///
    /// Reading ends for the turn when the budget is used up, when nothing is left, or when nothing may be read:
    /// reading is [paused](Endpoint::pause), a decision is [awaited](Endpoint::awaits_decision), or too much
    /// [output](Endpoint::is_congested) waits.
    #[inline]
    pub fn receive<'i>(
        &mut self,
        inbox: &'i mut Inbox,
        budget: &mut Budget<'_>,
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        let event = self.fill(inbox, budget, workspace);
        if event.is_some() || !budget.goes_on() {
            return event;
        }
        let (mut input, taken) = inbox.parts();
        let before = input.len();
        let event = self.take(&mut input, budget, workspace);
        *taken += before - input.len();
        event
    }

    /// The first half of [`receive`](Self::receive), for whoever wants to do as little as possible between two
    /// messages: reads if the inbox is empty, and answers with an event if that makes one by itself. Afterwards,
    /// if the budget goes on, [`take`](Self::take) what the inbox has.
    #[inline]
    pub fn fill(
        &mut self,
        inbox: &mut Inbox,
        budget: &mut Budget<'_>,
        workspace: &mut Workspace,
    ) -> Option<Event<'static>> {
        if self.is_stopped() || budget.is_used_up() {
            self.stop(inbox, budget);
            return None;
        }
        if !inbox.is_empty() {
            return None;
        }
        if self.leftover.is_some() || self.endpoint.awaits_codec() {
            self.resume(inbox, budget, workspace);
            return None;
        }
        let is_over = matches!(self.input, Input::Awaited | Input::Ended)
            || self.endpoint.state() == State::Closed;
        if !is_over && let Some(room) = budget.next_read() {
            return self.read(inbox, room, budget, workspace);
        }
        budget.finish();
        None
    }

    /// The second half: takes bytes from the front of `input`, which is [what the inbox has](Inbox::input), up to
    /// the next event. Without one nothing more can be taken for now, and the inbox has to be told
    /// [how much is left](Inbox::set_left) before it is filled again.
    #[inline]
    pub fn take<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        budget: &mut Budget<'_>,
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        if self.is_stopped() || budget.is_used_up() {
            return None;
        }
        let event = self.endpoint.receive(input, workspace);
        if event.is_some() {
            budget.note_event();
        } else if !input.is_empty() {
            // What may be inflated in this turn was.
            budget.end();
        }
        event
    }

    /// Ends the turn's reading: what is left stays with the connection.
    #[cold]
    fn stop(&mut self, inbox: &mut Inbox, budget: &mut Budget<'_>) {
        budget.finish();
        if let Some(left) = inbox.take_left() {
            debug_assert!(self.leftover.is_none());
            self.leftover = Some(left);
        }
        if self.endpoint.state() == State::Closed {
            self.leftover = None;
        }
    }

    /// Goes on with what the last turn has left over.
    #[cold]
    fn resume(&mut self, inbox: &mut Inbox, budget: &mut Budget<'_>, workspace: &mut Workspace) {
        if let Some(leftover) = self.leftover.take() {
            inbox.put_back(*leftover);
        } else if workspace.codec_budget() == Some(0) {
            budget.end();
        }
    }

    /// Reads once: into the inbox, or straight into a long message, which may be whole by now.
    fn read(
        &mut self,
        inbox: &mut Inbox,
        room: usize,
        budget: &mut Budget<'_>,
        workspace: &mut Workspace,
    ) -> Option<Event<'static>> {
        // A peer that sends long messages most likely begins another: what comes behind its beginning is
        // then read straight into it, and need not be copied.
        let room = if self.has_long_messages { room.min(LONG_MESSAGE_START) } else { room };
        let share = budget.bytes_left();
        let direct = self.endpoint.receive_direct(
            |payload, missing| self.transport.read_into(payload, missing.min(share)),
            workspace,
        );
        let (count, stopped, event) = match direct {
            Some(((count, stopped), event)) => {
                self.has_long_messages |= count > 0;
                (count, stopped, event)
            }
            None => {
                let (count, stopped) = self.transport.read(inbox.room(room));
                inbox.filled(count);
                self.has_long_messages &= count == 0;
                (count, stopped, None)
            }
        };
        let wire = self.transport.wire_bytes(count);
        budget.note_read(count, wire);
        if self.output == Output::Shut {
            self.drained = self.drained.saturating_add(u32::try_from(wire).unwrap_or(u32::MAX));
            if self.drained > MAX_DRAINED {
                self.endpoint.terminate();
            }
        }
        match stopped {
            Stopped::Done => {}
            // Where nobody tells of the rest it is read to its end.
            Stopped::Blocked if self.input != Input::Ready && count > 0 => {}
            Stopped::Blocked => self.input = Input::Awaited,
            Stopped::Eof => self.input = Input::Ended,
            Stopped::Broken(error) => self.fail(error),
        }
        if event.is_some() {
            budget.note_event();
        }
        event
    }

    /// Writes what the transport takes of the output, and ends the sending direction where the engine wants
    /// that: how many bytes it took.
    #[inline]
    pub fn flush(&mut self, workspace: &mut Workspace) -> usize {
        if self.output == Output::Blocked || self.endpoint.state() == State::Closed {
            return 0;
        }
        let (count, stopped) = transport::flush(&mut self.endpoint, &mut self.transport, workspace);
        match stopped {
            Stopped::Done => {}
            Stopped::Blocked if self.output == Output::Ready => self.output = Output::Blocked,
            Stopped::Blocked => {}
            Stopped::Eof => {
                self.endpoint.terminate();
            }
            Stopped::Broken(error) => self.fail(error),
        }
        if self.output == Output::Ready && self.endpoint.wants_shutdown() {
            self.output = Output::Shut;
            if let Err(error) = self.transport.shutdown() {
                // The peer is gone already.
                self.fail(error);
            }
        }
        count
    }

    /// The transport has failed.
    #[cold]
    fn fail(&mut self, error: io::Error) {
        self.endpoint.terminate_with(transport::cause(error));
    }

    /// Whether the connection has ended, and how: drop the driver then. The answer stays the same.
    #[inline]
    pub fn outcome(&mut self) -> Option<Outcome> {
        if self.is_over() { Some(self.ended()) } else { None }
    }

    /// Whether the connection has ended.
    #[inline]
    pub fn is_over(&self) -> bool {
        // A peer that has ended its direction may still read: what is queued for it goes out first.
        self.endpoint.state() == State::Closed
            || (self.input == Input::Ended && self.endpoint.buffered_amount() == 0)
    }

    #[cold]
    fn ended(&mut self) -> Outcome {
        if self.endpoint.state() == State::Closed {
            return self.endpoint.terminate();
        }
        self.endpoint.receive_eof()
    }

    /// Whether nothing will come any more.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.input == Input::Ended
    }
}

impl<T: fmt::Debug> fmt::Debug for Driver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("state", &self.endpoint.state())
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
