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

/// One connection over one [`Transport`]: it reads, writes, ends the sending direction, and never waits. So it runs
/// in any loop, under any poller; the crate's own event loop is one that uses it. On a socket that blocks it does as
/// well, with a thread for each connection.
///
/// # A turn
///
/// In each turn of a connection, in this order:
///
/// 1. Call [`handle_timeout`](Self::handle_timeout) with the time.
/// 2. Call [`receive`](Self::receive) as long as the turn's [`Budget`] goes on, and handle the events.
/// 3. Call [`flush`](Self::flush).
/// 4. Ask for the [`outcome`](Self::outcome). If there is one, drop the driver, and the transport with it.
///
/// Then wait, in any number of connections at a time, for the first of these:
///
/// - nothing at all, where [`has_more`](Self::has_more) says that there is something to do already;
/// - that the transport can be read: tell it by [`set_readable`](Self::set_readable). A poller should not be asked for
///   this while the connection [is stopped](Self::is_stopped);
/// - that the transport can be written, where [`wants_write`](Self::wants_write) says so: tell it by
///   [`set_writable`](Self::set_writable);
/// - that the time comes to [`next_timeout`](Self::next_timeout).
///
/// To be told of readiness that is not there does no harm, nor does a turn too many. Readiness that was told is
/// remembered until the transport says that it is [blocked](crate::Stopped::Blocked): so an edge-triggered poller
/// will do, even if a turn ends with its budget. Such a poller must also be asked whether the peer has ended its
/// direction, which is told by [`set_read_closed`](Self::set_read_closed).
///
/// After sending from outside of a turn, call [`flush`](Self::flush), or begin the next turn.
///
/// ```
/// use framewire::{Accept, Budget, Config, Driver, Endpoint, Event, Inbox, Workspace};
/// use std::net::TcpListener;
/// use std::time::{Duration, Instant};
///
/// # use std::io::{Read, Write};
/// # use std::net::{Shutdown, TcpStream};
/// # struct Ready { readable: bool, writable: bool }
/// # // The poller of a program with one socket, of the standard library alone.
/// # fn poll(socket: &TcpStream, write: bool, wait: Option<Duration>) -> std::io::Result<Ready> {
/// #     if wait == Some(Duration::ZERO) || write {
/// #         return Ok(Ready { readable: true, writable: true });
/// #     }
/// #     socket.set_nonblocking(false)?;
/// #     socket.set_read_timeout(wait)?;
/// #     let readable = socket.peek(&mut [0]).is_ok();
/// #     socket.set_nonblocking(true)?;
/// #     Ok(Ready { readable, writable: false })
/// # }
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// # let client = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
/// #     let mut stream = TcpStream::connect(address)?;
/// #     stream.write_all(
/// #         b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
/// #         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
/// #         \x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8",
/// #     )?;
/// #     let mut bytes = Vec::new();
/// #     stream.read_to_end(&mut bytes)?;
/// #     Ok(bytes)
/// # });
/// let (socket, _) = listener.accept()?;
/// socket.set_nonblocking(true)?;
/// // Of these two, one serves all connections of a thread.
/// let (mut inbox, mut workspace) = (Inbox::default(), Workspace::new());
/// let mut driver = Driver::new(Endpoint::server(&Config::new()), socket);
/// let start = Instant::now();
/// let outcome = loop {
///     driver.handle_timeout(start.elapsed(), &mut workspace);
///     let mut budget = Budget::new();
///     while budget.goes_on() {
///         match driver.receive(&mut inbox, &mut budget, &mut workspace) {
///             Some(Event::Request(_)) => {
///                 driver.endpoint_mut().accept(Accept::new(), &mut workspace)?;
///             }
///             Some(Event::Message(message)) => {
///                 driver.endpoint_mut().send(message, &mut workspace)?;
///             }
///             _ => {}
///         }
///     }
///     driver.flush(&mut workspace);
///     if let Some(outcome) = driver.outcome() {
///         break outcome;
///     }
///     let wait = if driver.has_more() {
///         Some(Duration::ZERO)
///     } else {
///         driver.next_timeout().map(|next| next.saturating_sub(start.elapsed()))
///     };
/// #   // A socket has no timeout of nothing.
/// #   let wait = if driver.has_more() { wait } else { wait.map(|wait| wait.max(Duration::from_millis(1))) };
///     // A poller of yours: it always looks whether the socket can be read.
///     let ready = poll(driver.transport(), driver.wants_write(), wait)?;
///     if ready.readable {
///         driver.set_readable();
///     }
///     if ready.writable {
///         driver.set_writable();
///     }
/// };
/// assert!(outcome.was_clean());
/// # drop(driver);
/// # let bytes = client.join().unwrap()?;
/// # assert!(bytes.starts_with(b"HTTP/1.1 101 ") && bytes.ends_with(b"\x81\x02hi\x88\x02\x03\xe8"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Over `polling` and over tokio it looks like `examples/drivers`.
#[doc(alias("tokio", "async", "own event loop"))]
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

    /// A connection over a transport of which somebody else has read the first bytes, such as a server for HTTP:
    /// these come first.
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

    /// Gives back bytes that somebody else has read off the transport since the driver was made, and before its first
    /// [`receive`](Self::receive): a header that stands before the protocol, for instance, was read with what is
    /// behind it. They come first.
    pub fn put_back(&mut self, bytes: &[u8]) {
        debug_assert!(self.leftover.is_none(), "nothing was left over yet");
        self.leftover = Leftover::of(bytes);
    }

    /// Has the driver read although too much [output](Endpoint::is_congested) waits: whoever waits for the output to
    /// leave must do that, since two that only write to each other wait for ever.
    pub fn read_while_congested(&mut self) {
        self.reads_while_congested = true;
    }

    /// The engine of the connection, to look at.
    #[inline]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The engine of the connection, to send, close, accept or pause with.
    #[inline]
    pub fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// The transport, to look at.
    #[inline]
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport, to register it or to set its options. Reading it, or writing, would break the connection.
    #[inline]
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Tells the driver that the transport may have something to read. A new driver assumes it has.
    #[inline]
    pub fn set_readable(&mut self) {
        if self.input == Input::Awaited {
            self.input = Input::Ready;
        }
    }

    /// Tells the driver that the transport has something to read, and that a read may bring less than is there: a TCP socket
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

    /// Tells the driver that the peer has ended its direction, of which pollers tell as well, under names like
    /// `is_read_closed` or `EPOLLRDHUP`: from now on it is read until its end, since nobody will tell of what is still
    /// to be read.
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

    /// Tells the driver that the transport takes something again. A new driver assumes it does.
    #[inline]
    pub fn set_writable(&mut self) {
        if self.output == Output::Blocked {
            self.output = Output::Ready;
        }
    }

    /// Tells the driver that the transport takes nothing until [`set_writable`](Self::set_writable) is called: a socket
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

    /// Reads, and handles what was read, until the next event. As long as the budget [goes on](Budget::goes_on), call
    /// it again, whether it has answered with an event or not; when it does not, the connection has kept what was
    /// left in the inbox, and another may use it.
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

    /// The first half of [`receive`](Self::receive), for programs that do as little as possible between two messages:
    /// reads if the inbox is empty, and returns an event if that makes one by itself. Afterwards, if the budget goes
    /// on, [`take`](Self::take) what the inbox has.
    // Inlined in every program: one with two kinds of handlers would call it otherwise, and a loop does little else.
    #[inline(always)]
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

    /// The second half of [`receive`](Self::receive): takes bytes from the front of `input`, which is [what the inbox
    /// has](Inbox::input), up to the next event. Without one nothing more can be taken for now, and the inbox has to
    /// be told [how much is left](Inbox::set_left) before it is filled again.
    #[inline(always)]
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
            // Input without an event: the step of inflating that this turn had is used up.
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
                self.endpoint.abort();
            }
        }
        match stopped {
            Stopped::Done => {}
            // If no event tells of the rest, reading goes on until nothing comes.
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
    #[inline(always)]
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
                self.endpoint.abort();
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
        self.endpoint.abort_with(transport::cause(error));
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
            return self.endpoint.abort();
        }
        self.endpoint.receive_eof()
    }

    /// Whether no further event will come.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::ErrorKind;

    use super::*;
    use crate::protocol::{Chunks, Config, Role};

    /// A transport that does what it is told.
    #[derive(Debug, Default)]
    struct Script {
        /// What comes, and what a read says when it has given all of it.
        incoming: VecDeque<(Vec<u8>, Stopped)>,
        /// How much each write takes; as much as it is given when there are no more.
        rooms: VecDeque<usize>,
        write_error: Option<io::Error>,
        shutdown_error: Option<io::Error>,
        sent: Vec<u8>,
        /// What each read had room for.
        asked: Vec<usize>,
        writes: usize,
        is_shut: bool,
        /// Bytes of its own that have to go out.
        held: usize,
        overhead: usize,
    }

    impl Script {
        fn comes(mut self, bytes: impl Into<Vec<u8>>, stopped: Stopped) -> Self {
            self.incoming.push_back((bytes.into(), stopped));
            self
        }
    }

    impl Transport for Script {
        fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
            assert!(!buffer.is_empty(), "a read of nothing looks like the end");
            self.asked.push(buffer.len());
            let Some((mut bytes, stopped)) = self.incoming.pop_front() else {
                return (0, Stopped::Blocked);
            };
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            if count == bytes.len() {
                return (count, stopped);
            }
            bytes.drain(..count);
            self.incoming.push_front((bytes, stopped));
            (count, Stopped::Done)
        }

        fn wire_bytes(&self, count: usize) -> usize {
            count + self.overhead
        }

        fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
            self.writes += 1;
            if let Some(error) = self.write_error.take() {
                return (0, Stopped::Broken(error));
            }
            let bytes = slices.collect::<Vec<_>>().concat();
            let room = self.rooms.pop_front().unwrap_or(usize::MAX);
            let count = bytes.len().min(room);
            self.sent.extend(&bytes[..count]);
            self.held = self.held.saturating_sub(room);
            let is_done = count == bytes.len() && self.held == 0;
            (count, if is_done { Stopped::Done } else { Stopped::Blocked })
        }

        fn is_flushed(&self) -> bool {
            self.held == 0
        }

        fn shutdown(&mut self) -> io::Result<()> {
            assert!(!self.is_shut, "shut down twice");
            self.is_shut = true;
            self.shutdown_error.take().map_or(Ok(()), Err)
        }
    }

    /// A transport that takes nothing, since it has ended.
    #[derive(Debug)]
    struct Ended;

    impl Transport for Ended {
        fn read(&mut self, _: &mut [u8]) -> (usize, Stopped) {
            (0, Stopped::Blocked)
        }

        fn write(&mut self, _: Chunks<'_>) -> (usize, Stopped) {
            (0, Stopped::Eof)
        }

        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_transport_that_has_ended_ends_the_connection_that_writes() {
        let mut workspace = Workspace::new();
        let endpoint = Endpoint::adopted(Role::Server, &Config::new());
        let mut driver = Driver::new(endpoint, Ended);
        assert!(format!("{driver:?}").starts_with("Driver { state: Open, transport: Ended"));
        driver.endpoint_mut().send("words", &mut workspace).unwrap();
        assert!(driver.wants_write());
        assert_eq!(driver.flush(&mut workspace), 0);
        let outcome = driver.outcome();
        assert!(matches!(outcome, Some(Outcome::Lost { cause: None, .. })), "{outcome:?}");
        assert!(!driver.wants_write());
    }

    /// What connections share.
    struct House {
        inbox: Inbox,
        workspace: Workspace,
    }

    impl House {
        fn new() -> Self {
            Self { inbox: Inbox::default(), workspace: Workspace::new() }
        }

        /// One turn of reading: the messages.
        fn receive(&mut self, driver: &mut Driver<Script>, mut budget: Budget<'_>) -> Vec<String> {
            let mut messages = Vec::new();
            while budget.goes_on() {
                if let Some(Event::Message(message)) =
                    driver.receive(&mut self.inbox, &mut budget, &mut self.workspace)
                {
                    messages.push(String::from_utf8(message.as_bytes().to_vec()).unwrap());
                }
            }
            assert!(self.inbox.is_empty(), "left for the next connection");
            messages
        }

        fn flush(&mut self, driver: &mut Driver<Script>) -> usize {
            driver.flush(&mut self.workspace)
        }

        fn send(&mut self, driver: &mut Driver<Script>, text: &str) {
            driver.endpoint_mut().send(text, &mut self.workspace).unwrap();
        }
    }

    fn server(transport: Script) -> Driver<Script> {
        Driver::new(Endpoint::adopted(Role::Server, &Config::new()), transport)
    }

    /// A frame of a client, with a masking key of zeros.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(length @ ..126) => bytes.push(0x80 | u8::try_from(length).unwrap()),
            Ok(length) => {
                bytes.push(0x80 | 126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend((payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    fn text(payload: &str) -> Vec<u8> {
        frame(1, payload.as_bytes())
    }

    /// A Close with the code 1000.
    fn close() -> Vec<u8> {
        frame(8, &1000_u16.to_be_bytes())
    }

    fn cause_of(outcome: Option<Outcome>) -> ErrorKind {
        let outcome = outcome.expect("it has ended");
        let cause = outcome.cause().expect("it has a cause");
        cause.downcast_ref::<io::Error>().unwrap().kind()
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_received_when_it_is_whole() {
        let mut transport = Script::default();
        for byte in text("hello") {
            transport = transport.comes([byte], Stopped::Blocked);
        }
        let (mut house, mut driver) = (House::new(), server(transport));
        for _ in 1..text("hello").len() {
            assert!(driver.has_more());
            assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
            // Each event allows one read.
            assert!(!driver.has_more());
            driver.set_readable();
        }
        assert_eq!(house.receive(&mut driver, Budget::new()), ["hello"]);
        assert_eq!(driver.transport().asked.len(), text("hello").len());
        assert!(driver.outcome().is_none());
    }

    #[test]
    fn a_write_goes_on_where_the_transport_stopped() {
        let rooms = VecDeque::from([1, 0, 3]);
        let (mut house, mut driver) = (House::new(), server(Script { rooms, ..Script::default() }));
        assert!(!driver.wants_write());
        assert_eq!(house.flush(&mut driver), 0);
        house.send(&mut driver, "hello");
        assert!(driver.wants_write());
        for (count, writes) in [(1, 1), (0, 2), (3, 3)] {
            assert_eq!(house.flush(&mut driver), count);
            // No second write before the transport is writable.
            assert_eq!(house.flush(&mut driver), 0);
            assert!(driver.wants_write());
            assert_eq!(driver.transport().writes, writes);
            driver.set_writable();
        }
        assert_eq!(house.flush(&mut driver), 3);
        assert!(!driver.wants_write());
        assert_eq!(driver.transport().sent, b"\x81\x05hello");
    }

    #[test]
    fn a_socket_that_is_still_connecting_is_not_written() {
        let (mut house, mut driver) = (House::new(), server(Script::default()));
        driver.set_not_writable();
        driver.set_not_readable();
        house.send(&mut driver, "hello");
        assert_eq!(house.flush(&mut driver), 0);
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert!(driver.wants_write() && !driver.has_more());
        assert_eq!((driver.transport().writes, driver.transport().asked.len()), (0, 0));
        driver.set_writable();
        assert_eq!(house.flush(&mut driver), 7);
    }

    #[test]
    fn what_the_transport_holds_is_written_without_output() {
        let rooms = VecDeque::from([2, 1]);
        let (mut house, mut driver) =
            (House::new(), server(Script { rooms, held: 5, ..Script::default() }));
        assert!(driver.wants_write());
        house.flush(&mut driver);
        assert!(driver.wants_write() && driver.transport().held == 3);
        driver.set_writable();
        house.flush(&mut driver);
        driver.set_writable();
        house.flush(&mut driver);
        assert!(!driver.wants_write() && driver.transport().held == 0);
        assert_eq!(driver.transport().writes, 3);
    }

    #[test]
    fn output_goes_out_after_the_peer_has_ended_its_direction() {
        let transport = Script { rooms: VecDeque::from([3]), ..Script::default() };
        let (mut house, mut driver) = (House::new(), server(transport.comes("", Stopped::Eof)));
        house.send(&mut driver, "hello");
        assert_eq!(house.flush(&mut driver), 3);
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert!(driver.is_ended() && driver.is_read_closed() && !driver.has_more());
        assert!(!driver.is_over() && driver.outcome().is_none());
        assert!(driver.wants_write());
        driver.set_writable();
        assert_eq!(house.flush(&mut driver), 4);
        for _ in 0..2 {
            let outcome = driver.outcome();
            assert!(matches!(outcome, Some(Outcome::Lost { cause: None, .. })), "{outcome:?}");
        }
        assert!(driver.is_over() && !driver.wants_write());
    }

    #[test]
    fn the_outcome_has_the_error_of_the_transport() {
        let broken = |kind: ErrorKind| Stopped::Broken(kind.into());
        let mut house = House::new();
        let transport = Script::default().comes(text("hello"), Stopped::Done);
        let mut driver = server(transport.comes("", broken(ErrorKind::ConnectionReset)));
        // Data before the error is delivered.
        assert_eq!(house.receive(&mut driver, Budget::new()), ["hello"]);
        assert_eq!(cause_of(driver.outcome()), ErrorKind::ConnectionReset);
        assert!(driver.is_over() && !driver.has_more() && !driver.wants_write());

        let write_error = Some(ErrorKind::BrokenPipe.into());
        let mut driver = server(Script { write_error, ..Script::default() });
        house.send(&mut driver, "hello");
        assert_eq!(house.flush(&mut driver), 0);
        assert_eq!(cause_of(driver.outcome()), ErrorKind::BrokenPipe);
        // After the end the transport is not touched.
        assert_eq!(house.flush(&mut driver), 0);
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert_eq!((driver.transport().writes, driver.transport().asked.len()), (1, 0));

        // The cause is taken out of an error that only wraps it.
        let inner = io::Error::from(ErrorKind::InvalidData);
        let mut driver =
            server(Script::default().comes("", Stopped::Broken(io::Error::other(inner))));
        house.receive(&mut driver, Budget::new());
        assert_eq!(cause_of(driver.outcome()), ErrorKind::InvalidData);
    }

    #[test]
    fn a_peer_that_is_gone_at_the_half_close_changes_no_clean_outcome() {
        let shutdown_error = Some(ErrorKind::NotConnected.into());
        let transport = Script { shutdown_error, ..Script::default() };
        let (mut house, mut driver) =
            (House::new(), server(transport.comes(close(), Stopped::Blocked)));
        house.receive(&mut driver, Budget::new());
        assert_eq!(house.flush(&mut driver), 4);
        assert!(driver.transport().is_shut);
        assert!(driver.outcome().unwrap().was_clean());
    }

    #[test]
    fn what_a_turn_leaves_is_kept_at_every_split() {
        let bytes = [text("one"), frame(9, b"ping"), text("two"), text(""), text("three")].concat();
        for split in 0..=bytes.len() {
            let (before, after) = bytes.split_at(split);
            let scripts = [
                (
                    &[][..],
                    Script::default().comes(before, Stopped::Done).comes(after, Stopped::Blocked),
                ),
                (before, Script::default().comes(after, Stopped::Blocked)),
            ];
            for (leftover, transport) in scripts {
                for events in [1, 2, 100] {
                    let mut house = House::new();
                    let endpoint = Endpoint::adopted(Role::Server, &Config::new());
                    let transport = Script { incoming: copy(&transport), ..Script::default() };
                    let mut driver = Driver::with_leftover(endpoint, transport, leftover);
                    let mut received = Vec::new();
                    while driver.has_more() {
                        received.extend(house.receive(&mut driver, Budget::new().events(events)));
                        // Another connection uses the inbox in between.
                        let mut other =
                            server(Script::default().comes(text("other"), Stopped::Done));
                        assert_eq!(house.receive(&mut other, Budget::new()), ["other"]);
                    }
                    assert_eq!(received, ["one", "two", "", "three"], "{split} {events}");
                    house.flush(&mut driver);
                    assert_eq!(driver.transport().sent, b"\x8a\x04ping");
                }
            }
        }
    }

    fn copy(transport: &Script) -> VecDeque<(Vec<u8>, Stopped)> {
        let stopped = |stopped: &Stopped| match stopped {
            Stopped::Done => Stopped::Done,
            _ => Stopped::Blocked,
        };
        transport.incoming.iter().map(|(bytes, end)| (bytes.clone(), stopped(end))).collect()
    }

    #[test]
    fn a_budget_of_one_event_has_one_in_each_turn() {
        let bytes = [text("one"), text("two"), text("three")].concat();
        let (mut house, mut driver) =
            (House::new(), server(Script::default().comes(bytes, Stopped::Blocked)));
        for said in ["one", "two", "three"] {
            assert!(driver.has_more());
            assert_eq!(house.receive(&mut driver, Budget::new().events(1)), [said]);
        }
        assert_eq!(driver.transport().asked.len(), 1);
        assert!(!driver.has_more());
        // A budget without events reads nothing.
        driver.set_readable();
        assert_eq!(house.receive(&mut driver, Budget::new().events(0)), [""; 0]);
        assert_eq!(driver.transport().asked.len(), 1);
        assert!(driver.has_more());
    }

    #[test]
    fn a_budget_of_no_bytes_allows_a_read_that_is_not_of_nothing() {
        let long = "long ".repeat(20_000);
        for budget in [|| Budget::new().bytes(0), || Budget::new().room(0)] {
            let transport = Script::default().comes(frame(2, long.as_bytes()), Stopped::Blocked);
            let mut driver = server(transport);
            let mut house = House { inbox: Inbox::new(512), workspace: Workspace::new() };
            let mut received = Vec::new();
            while driver.has_more() {
                received.extend(house.receive(&mut driver, budget()));
            }
            assert_eq!(received, [&*long]);
        }
    }

    #[test]
    fn the_budget_counts_what_came_from_the_wire() {
        let transport = Script { overhead: 100, ..Script::default() };
        let mut driver = server(
            transport.comes(text("one"), Stopped::Done).comes(text("two"), Stopped::Blocked),
        );
        let mut house = House::new();
        let mut budget = Budget::new().bytes(50);
        let mut events = 0;
        while budget.goes_on() {
            let event = driver.receive(&mut house.inbox, &mut budget, &mut house.workspace);
            events += usize::from(event.is_some());
        }
        assert_eq!((events, budget.received()), (1, text("one").len()));
        assert!(driver.has_more());
        assert_eq!(house.receive(&mut driver, Budget::new()), ["two"]);
    }

    #[test]
    fn nothing_is_read_while_the_application_has_paused() {
        let bytes = [text("one"), text("two")].concat();
        let transport = Script::default().comes(bytes, Stopped::Blocked);
        let (mut house, mut driver) =
            (House::new(), server(transport.comes(close(), Stopped::Blocked)));
        driver.endpoint_mut().pause(&mut house.workspace);
        assert!(driver.is_stopped() && !driver.has_more());
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert_eq!(driver.transport().asked.len(), 0);

        // Pausing between two messages of one read.
        driver.endpoint_mut().resume(&mut house.workspace);
        assert!(driver.has_more());
        let mut budget = Budget::new();
        let event = driver.receive(&mut house.inbox, &mut budget, &mut house.workspace);
        assert!(matches!(event, Some(Event::Message(message)) if message.as_text() == Some("one")));
        driver.endpoint_mut().pause(&mut house.workspace);
        assert_eq!(house.receive(&mut driver, budget), [""; 0]);
        assert!(!driver.has_more());
        driver.set_readable();
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        driver.endpoint_mut().resume(&mut house.workspace);
        let mut budget = Budget::new();
        let event = loop {
            let event = driver.receive(&mut house.inbox, &mut budget, &mut house.workspace);
            if let Some(event) = event {
                break event.into_owned();
            }
        };
        assert!(matches!(event, Event::Message(message) if message.as_text() == Some("two")));

        // Closing ends a pause, since the peer's Close has to be read.
        driver.endpoint_mut().pause(&mut house.workspace);
        assert!(driver.is_stopped());
        driver.endpoint_mut().close(1000, "", &mut house.workspace).unwrap();
        assert!(!driver.is_stopped() && driver.has_more());
        house.flush(&mut driver);
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        house.flush(&mut driver);
        assert!(driver.transport().is_shut);
    }

    #[test]
    fn nothing_is_read_while_too_much_output_waits() {
        let congested = || {
            let config = Config::new().output_high_water(5);
            let transport = Script { rooms: VecDeque::from([2]), ..Script::default() }
                .comes(text("one"), Stopped::Blocked);
            let mut driver = Driver::new(Endpoint::adopted(Role::Server, &config), transport);
            let mut house = House::new();
            house.send(&mut driver, "hello");
            assert_eq!(house.flush(&mut driver), 2);
            (house, driver)
        };
        let (mut house, mut driver) = congested();
        assert!(driver.is_stopped() && !driver.has_more() && driver.wants_write());
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert_eq!(driver.transport().asked.len(), 0);
        driver.set_writable();
        assert_eq!(house.flush(&mut driver), 5);
        assert!(driver.has_more());
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one"]);

        let (mut house, mut driver) = congested();
        driver.read_while_congested();
        assert!(driver.has_more());
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one"]);
    }

    #[test]
    fn what_still_comes_after_the_half_close_is_read_and_thrown_away_up_to_a_limit() {
        let limit = MAX_DRAINED as usize;
        for (count, is_over) in [(limit, false), (limit + 1, true)] {
            let transport = Script::default()
                .comes([close(), text("late")].concat(), Stopped::Done)
                .comes("", Stopped::Blocked);
            let (mut house, mut driver) = (House::new(), server(transport));
            // Data before the half-close does not count towards the bound.
            assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
            house.flush(&mut driver);
            assert!(driver.transport().is_shut && driver.outcome().is_none());
            driver.transport_mut().incoming.push_back((vec![0; count], Stopped::Blocked));
            driver.set_readable();
            while driver.has_more() {
                assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
            }
            assert_eq!(driver.is_over(), is_over, "{count}");
            if !is_over {
                driver.set_read_closed();
                driver.transport_mut().incoming.push_back((Vec::new(), Stopped::Eof));
                house.receive(&mut driver, Budget::new());
            }
            assert!(driver.outcome().unwrap().was_clean());
        }
    }

    #[test]
    fn a_long_message_is_read_in_place() {
        let long = "long ".repeat(100_000);
        let transport = Script::default()
            .comes(frame(2, long.as_bytes()), Stopped::Done)
            .comes(text("short"), Stopped::Done)
            .comes(text("short"), Stopped::Blocked);
        let mut driver = server(transport);
        let mut house = House { inbox: Inbox::new(20_000), workspace: Workspace::new() };
        assert_eq!(house.receive(&mut driver, Budget::new()), [&*long, "short", "short"]);
        let asked = &driver.transport().asked;
        // The beginning of a long message goes into the inbox, the rest directly into its buffer.
        assert_eq!(asked[0], 20_000);
        assert!(asked[1] > 20_000, "{asked:?}");
        // After a long message the next read leaves room for another; after a short one it does not.
        assert_eq!(asked[asked.len() - 2..], [LONG_MESSAGE_START, 20_000]);

        // No more in a turn than the budget has.
        let transport = Script::default().comes(frame(2, long.as_bytes()), Stopped::Blocked);
        let mut driver = server(transport);
        let (mut received, mut turns) = (Vec::new(), 0);
        while driver.has_more() {
            let mut budget = Budget::new().bytes(100_000);
            while budget.goes_on() {
                let event = driver.receive(&mut house.inbox, &mut budget, &mut house.workspace);
                received.extend(event.map(Event::into_owned));
            }
            assert!(budget.received() <= 100_000);
            turns += 1;
        }
        assert_eq!((received.len(), turns), (1, 6));
    }

    #[test]
    fn a_short_read_is_not_trusted_where_it_comes_in_pieces() {
        let pieces = || {
            let transport = Script::default().comes(text("one"), Stopped::Blocked);
            server(transport.comes(text("two"), Stopped::Blocked))
        };
        let (mut house, mut driver) = (House::new(), pieces());
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one"]);
        assert!(!driver.has_more());
        // `set_readable_in_pieces` holds until a read finds nothing.
        let mut driver = pieces();
        driver.set_readable_in_pieces();
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one", "two"]);
        assert_eq!(driver.transport().asked.len(), 3);
        assert!(!driver.has_more());
        driver.transport_mut().incoming.extend(pieces().transport.incoming);
        driver.set_readable();
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one"]);
        driver.set_readable_in_pieces();
        driver.set_not_readable();
        assert_eq!(house.receive(&mut driver, Budget::new()), [""; 0]);
        assert_eq!(driver.transport().incoming.len(), 1);
    }

    #[test]
    fn a_direction_that_the_peer_has_ended_is_read_to_its_end() {
        let transport = Script::default()
            .comes(text("one"), Stopped::Blocked)
            .comes(text("two"), Stopped::Blocked)
            .comes("", Stopped::Eof);
        let (mut house, mut driver) = (House::new(), server(transport));
        assert!(!driver.is_read_closed());
        driver.set_read_closed();
        // A closed direction stays closed whatever is said later.
        driver.set_not_readable();
        driver.set_readable_in_pieces();
        driver.set_readable();
        assert!(driver.is_read_closed() && !driver.is_ended());
        assert_eq!(house.receive(&mut driver, Budget::new()), ["one", "two"]);
        assert!(driver.is_ended());
        driver.set_read_closed();
        driver.set_readable();
        assert!(driver.is_ended() && !driver.has_more());
        assert!(matches!(driver.outcome(), Some(Outcome::Lost { cause: None, .. })));
    }

    #[test]
    fn a_deadline_ends_the_connection() {
        let config = Config::new().idle_timeout(Duration::from_secs(3));
        let endpoint = Endpoint::adopted(Role::Server, &config);
        let (mut house, mut driver) = (House::new(), Driver::new(endpoint, Script::default()));
        let mut now = Duration::ZERO;
        driver.handle_timeout(now, &mut house.workspace);
        while driver.outcome().is_none() {
            house.flush(&mut driver);
            now = driver.next_timeout().expect("it ends some time").max(now);
            driver.handle_timeout(now, &mut house.workspace);
        }
        assert!(
            matches!(driver.outcome(), Some(Outcome::TimedOut { .. })),
            "{:?}",
            driver.outcome()
        );
    }
}
