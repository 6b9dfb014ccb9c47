use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::handshake::{Request, Response};
use crate::protocol::{Connection, Deadlines, Event, Outcome, Prepared, State, Turn};
use crate::pump::{self, Bytes, Filled, Stopped, Transport};
use crate::wire::CloseFrame;

use super::core::{Core, Slot, Unread, token};
use super::handle::{Command, Commands, Handle, handle};
use super::handler::{Decision, Handler};
use super::peer::Peer;
use super::server::Server;
use super::slots::{PeerId, Slots};
use super::timers::Timers;
use super::transport::{Listener, Socket};

/// The room that one read of a socket gets; shared by all connections.
const READ_ROOM: usize = 512 * 1024;

/// How many bytes a connection that is being closed may still send before it is cut off.
const MAX_DRAINED: u32 = 4 * 1024 * 1024;

/// How many connections are accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = 256;

/// How many orders of other threads are carried out before the connections get their turn.
const COMMANDS_A_TURN: usize = 4096;

/// How long accepting pauses when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const WAKE: Token = Token(usize::MAX);
/// The listeners have the tokens below this one.
const FIRST_LISTENER: usize = usize::MAX - 1;

/// Accepts, reads, calls the handler and writes, on one thread.
///
/// Made by [`Server::handler`] or [`Server::on_message`]. Either [`run`](Self::run) it, or call
/// [`run_once`](Self::run_once) from a loop of your own.
pub struct EventLoop<H: Handler> {
    handler: H,
    core: Core<H::Session>,
    poll: Poll,
    events: Events,
    commands: Commands,
    /// Orders may wait that nobody wakes the loop for again.
    more_commands: bool,
    listeners: Vec<Listening>,
    max_connections: usize,
    buffer: Vec<u8>,
    /// Connections that have more to read than their share of one turn.
    unfinished: Vec<PeerId>,
    /// When the loop was made: the fixed point of all times.
    start: Instant,
    now: Duration,
    /// When to try to accept again, after the system had no more sockets to give.
    accept_again: Option<Duration>,
    /// By when all connections must be gone, once a shutdown has begun.
    shutdown: Option<Duration>,
}

struct Listening {
    listener: Listener,
    /// Connections may wait that no readiness event will tell of.
    ready: bool,
}

impl<H: Handler> fmt::Debug for EventLoop<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("connections", &self.core.slots.len())
            .finish_non_exhaustive()
    }
}

/// The outside.
impl<H: Handler> EventLoop<H> {
    pub(super) fn new(server: Server, handler: H) -> io::Result<Self> {
        let Server { listeners, config, max_connections, keep_requests } = server;
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let (handle, commands) = handle(&registry, WAKE)?;
        let mut listening = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.register(&registry, Token(FIRST_LISTENER - index))?;
            listening.push(Listening { listener, ready: false });
        }
        Ok(Self {
            handler,
            core: Core {
                slots: Slots::new(),
                registry,
                config,
                keep_requests,
                handle,
                timers: Timers::default(),
                workspace: None,
                current: None,
                unsettled: Vec::new(),
            },
            poll,
            events: Events::with_capacity(1024),
            commands,
            more_commands: false,
            listeners: listening,
            max_connections,
            buffer: vec![0; READ_ROOM],
            unfinished: Vec::new(),
            start: Instant::now(),
            now: Duration::ZERO,
            accept_again: None,
            shutdown: None,
        })
    }

    /// Serves until a [`Handle::shutdown`] is carried out.
    ///
    /// # Errors
    ///
    /// The system's, if waiting for events fails. What goes wrong with one connection ends that
    /// connection only, and a socket that cannot be accepted is tried again.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_finished() {
            self.run_once(None)?;
        }
        Ok(())
    }

    /// Waits for events, `timeout` at most (`None`: as long as it takes), and handles them.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = [timeout, self.until_next()].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        self.now = self.start.elapsed();
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKE => {}
                Token(number) if FIRST_LISTENER - number < self.listeners.len() => {
                    self.listeners[FIRST_LISTENER - number].ready = true;
                }
                Token(number) => {
                    let id = PeerId::from_u64(number as u64);
                    if let Some(slot) = self.core.slots.get_mut(id) {
                        slot.readable |= event.is_readable() || event.is_read_closed();
                        slot.read_closed |= event.is_read_closed();
                        slot.blocked &= !event.is_writable();
                        self.turn(id);
                    }
                }
            }
        }
        self.events = events;
        self.continue_unfinished();
        self.carry_out_commands();
        self.accept();
        self.look_at_timers();
        self.settle_all();
        Ok(())
    }

    /// Whether a shutdown was carried out: nothing listens and nobody is connected any more.
    pub fn is_finished(&self) -> bool {
        self.shutdown.is_some() && self.core.slots.len() == 0
    }

    /// A way to this loop from other threads.
    pub fn handle(&self) -> Handle {
        self.core.handle.clone()
    }

    /// The address of the first listening socket.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::NotConnected`] if nothing listens any more.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self.listeners.first() {
            Some(listening) => listening.listener.local_address(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// How many connections there are, those that are opening or closing included.
    pub fn connections(&self) -> usize {
        self.core.slots.len()
    }

    /// The open connections.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.core.open_peers()
    }

    /// An open connection, to act on it between two turns; what is sent goes out in the next.
    pub fn peer(&mut self, id: PeerId) -> Option<Peer<'_, H::Session>> {
        self.core.peer(id)
    }

    /// Sends a message to all open connections, in the next turn.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) {
        self.core.broadcast(&message.into(), None);
    }

    /// How long the loop may sleep; `None` for until something happens.
    fn until_next(&self) -> Option<Duration> {
        if self.more_commands
            || !self.unfinished.is_empty()
            || !self.core.unsettled.is_empty()
            || (self.accept_again.is_none() && self.listeners.iter().any(|l| l.ready))
        {
            return Some(Duration::ZERO);
        }
        let next = [self.core.timers.next(), self.accept_again, self.shutdown];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_sub(self.now))
    }
}

/// Accepting.
impl<H: Handler> EventLoop<H> {
    fn accept(&mut self) {
        if self.accept_again.is_some_and(|again| again > self.now) {
            return;
        }
        self.accept_again = None;
        for index in 0..self.listeners.len() {
            let mut budget = ACCEPTS_A_TURN;
            while self.listeners[index].ready && budget > 0 {
                budget -= 1;
                match self.listeners[index].listener.accept() {
                    Ok(socket) => self.add(socket),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => self.listeners[index].ready = false,
                        // This one went away while it waited; the next one may be well.
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
                        // Out of descriptors or memory: that passes when others leave, and no event
                        // will tell, so the clock has to.
                        _ => {
                            self.accept_again = Some(self.now + ACCEPT_PAUSE);
                            return;
                        }
                    },
                }
            }
        }
    }

    fn add(&mut self, socket: Socket) {
        if self.core.slots.len() >= self.max_connections {
            let mut refusal = Vec::new();
            Response::service_unavailable().encode(&mut refusal);
            return socket.refuse(&refusal, &mut self.buffer);
        }
        let connection = Connection::server(&self.core.config);
        let slot = Slot::new(connection, socket, Deadlines::new(self.now));
        let Some(id) = self.core.slots.insert(slot) else { return };
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        let source = slot.socket.source();
        if self.core.registry.register(source, token(id), Interest::READABLE).is_err() {
            self.core.slots.remove(id);
            return;
        }
        self.set_timer(id);
    }
}

/// A turn at one connection.
impl<H: Handler> EventLoop<H> {
    /// Reads, handles and writes what there is.
    fn turn(&mut self, id: PeerId) {
        self.begin(id);
        self.read(id);
        self.finish(id);
    }

    fn begin(&mut self, id: PeerId) {
        self.core.current = Some(id);
        if let Some(slot) = self.core.slots.get_mut(id) {
            let workspace = self.core.workspace.take().unwrap_or_default();
            self.core.workspace = slot.connection.lend(workspace);
        }
    }

    fn finish(&mut self, id: PeerId) {
        self.settle(id);
        self.core.current = None;
        if let Some(slot) = self.core.slots.get_mut(id)
            && let Some(workspace) = slot.connection.reclaim()
        {
            self.core.workspace = Some(workspace);
        }
    }

    /// Reads the socket, one share of it at most: the others are served before the rest.
    fn read(&mut self, id: PeerId) {
        self.receive_unread(id);
        let mut buffer = mem::take(&mut self.buffer);
        while let Some(slot) = self.core.slots.get_mut(id)
            && slot.readable
            && !slot.doomed
            && !slot.is_stopped()
        {
            let Slot { connection, socket, .. } = slot;
            let Filled { count, stopped, bytes } = pump::fill(connection, socket, &mut buffer);
            slot.turn.received |= count > 0;
            // Where the peer has ended its direction no further event comes: read on to the end.
            slot.readable = stopped == Stopped::Done || slot.read_closed;
            if slot.shut {
                slot.drained = slot.drained.saturating_add(count as u32);
                slot.doomed |= slot.drained > MAX_DRAINED;
            }
            let share_used = match bytes {
                Bytes::Buffered => {
                    let left = self.receive(id, &mut buffer[..count]);
                    if let Some(slot) = self.core.slots.get_mut(id) {
                        slot.unread.keep(&buffer[..count], left);
                    }
                    true
                }
                Bytes::Direct(None) => true,
                Bytes::Direct(Some(event)) => {
                    self.dispatch(id, event);
                    count == READ_ROOM
                }
            };
            match stopped {
                Stopped::Done if share_used => {
                    self.read_later(id);
                    break;
                }
                Stopped::Done | Stopped::Blocked => {}
                Stopped::Eof => self.end_of_input(id),
                Stopped::Broken => self.broken(id),
            }
        }
        self.buffer = buffer;
    }

    fn read_later(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && !mem::replace(&mut slot.unfinished, true)
        {
            self.unfinished.push(id);
        }
    }

    /// Gives what was left over when reading stopped to the connection, if it may take it now.
    fn receive_unread(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && !slot.unread.is_empty()
            && !slot.is_stopped()
        {
            let Unread { mut bytes, taken } = mem::take(&mut slot.unread);
            let left = self.receive(id, &mut bytes[taken..]);
            if left > 0
                && let Some(slot) = self.core.slots.get_mut(id)
            {
                let taken = bytes.len() - left;
                slot.unread = Unread { bytes, taken };
            }
        }
    }

    /// Gives bytes to the connection and its events to the handler. Returns how many bytes at the end
    /// are left, since reading stopped before them.
    fn receive(&mut self, id: PeerId, mut input: &mut [u8]) -> usize {
        while let Some(slot) = self.core.slots.get_mut(id) {
            if slot.doomed {
                return 0;
            }
            if slot.is_stopped() {
                break;
            }
            let Some(event) = slot.connection.receive(&mut input) else { break };
            self.dispatch(id, event);
        }
        input.len()
    }

    #[inline]
    fn dispatch(&mut self, id: PeerId, event: Event<'_>) {
        match event {
            Event::Message(message) => {
                self.handler.on_message(&mut Peer::new(&mut self.core, id), message);
            }
            event => self.dispatch_rare(id, event),
        }
    }

    #[cold]
    fn dispatch_rare(&mut self, id: PeerId, event: Event<'_>) {
        match event {
            Event::Request(request) => self.upgrade(id, request),
            Event::Http(request) => {
                let response = match self.shutdown {
                    None => self.handler.on_http(&request),
                    Some(_) => Response::service_unavailable(),
                };
                self.respond(id, response);
            }
            Event::Fragment(fragment) => {
                self.handler.on_fragment(&mut Peer::new(&mut self.core, id), fragment);
            }
            Event::Ping(payload) => {
                self.handler.on_ping(&mut Peer::new(&mut self.core, id), payload);
            }
            Event::Pong(payload) => {
                self.handler.on_pong(&mut Peer::new(&mut self.core, id), payload);
            }
            // What follows from these is in the output already, and in the outcome at the end.
            _ => {}
        }
    }

    fn upgrade(&mut self, id: PeerId, request: Arc<Request>) {
        if self.shutdown.is_some() {
            return self.respond(id, Response::service_unavailable());
        }
        match self.handler.on_upgrade(&request) {
            Decision::Reject(response) => self.respond(id, response),
            Decision::Accept(accept, session) => {
                let Some(slot) = self.core.slots.get_mut(id) else { return };
                if slot.connection.accept(accept).is_err() {
                    // The handler chose a subprotocol that was not offered: its fault, not the peer's.
                    return self.respond(id, Response::new(500));
                }
                slot.session = Some(session);
                slot.request = Some(request);
                self.handler.on_open(&mut Peer::new(&mut self.core, id));
                if !self.core.keep_requests
                    && let Some(slot) = self.core.slots.get_mut(id)
                {
                    slot.request = None;
                }
            }
        }
    }

    fn respond(&mut self, id: PeerId, response: Response) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && slot.connection.respond(response).is_err()
        {
            // The handler's answer is no final one.
            let _ = slot.connection.respond(Response::new(500));
        }
    }
}

/// The end of a turn, and the end of a connection.
impl<H: Handler> EventLoop<H> {
    /// Writes what there is, and draws the consequences of all that happened in the turn.
    fn settle(&mut self, id: PeerId) {
        let mut drained = false;
        loop {
            self.write(id);
            let Some(slot) = self.core.slots.get_mut(id) else { return };
            slot.unsettled = false;
            if slot.doomed || slot.connection.state() == State::Closed {
                let outcome = slot.connection.terminate();
                return self.remove(id, &outcome);
            }
            if slot.ended && slot.connection.buffered_amount() == 0 {
                let outcome = slot.connection.receive_eof();
                return self.remove(id, &outcome);
            }
            if !slot.backpressure || !slot.connection.is_drained() {
                break;
            }
            if drained {
                // A peer may take as fast as `on_drain` sends; the others are served in between.
                self.core.settle_later(id);
                break;
            }
            slot.backpressure = false;
            if slot.ended || slot.session.is_none() || slot.connection.state() != State::Open {
                break;
            }
            drained = true;
            self.handler.on_drain(&mut Peer::new(&mut self.core, id));
        }
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if !slot.shut && slot.connection.wants_shutdown() {
            slot.shut = true;
            if slot.socket.shutdown().is_err() {
                // The peer is gone already.
                let outcome = slot.connection.terminate();
                return self.remove(id, &outcome);
            }
            // What the transport itself has to say last may have to wait.
            slot.blocked |= !slot.socket.is_flushed();
            slot.watch_writing(&self.core.registry, id);
        }
        let turn = mem::take(&mut slot.turn);
        slot.deadlines.observe(&slot.connection, self.now, turn);
        let more = (slot.readable || !slot.unread.is_empty()) && !slot.is_stopped();
        if more {
            self.read_later(id);
        }
        self.set_timer(id);
    }

    fn write(&mut self, id: PeerId) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if !slot.blocked && !slot.doomed {
            let (count, stopped) = pump::flush(&mut slot.connection, &mut slot.socket);
            slot.turn.sent |= count > 0;
            slot.blocked = stopped == Stopped::Blocked;
            slot.doomed |= matches!(stopped, Stopped::Eof | Stopped::Broken);
        }
        slot.watch_writing(&self.core.registry, id);
    }

    /// Sets the timer of a connection, unless it will go off early enough anyway.
    fn set_timer(&mut self, id: PeerId) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if let Some(next) = slot.deadlines.next(&slot.connection)
            && slot.timer.is_none_or(|set| next < set)
        {
            slot.timer = Some(next);
            self.core.timers.set(next, id);
        }
    }

    fn look_at_timers(&mut self) {
        while let Some((at, id)) = self.core.timers.pop(self.now) {
            let Some(slot) = self.core.slots.get_mut(id) else { continue };
            if slot.timer != Some(at) {
                continue;
            }
            slot.timer = None;
            if slot.is_stopped() {
                // It is not the peer's silence if nobody listens.
                let turn = Turn { received: true, ..Turn::default() };
                slot.deadlines.observe(&slot.connection, self.now, turn);
            }
            let mut expired = false;
            while let Some(due) = slot.deadlines.due(&slot.connection, self.now) {
                slot.connection.expire(due);
                expired = true;
                if slot.connection.state() != State::Open {
                    break;
                }
            }
            if expired { self.settle_turn(id) } else { self.set_timer(id) }
        }
        if self.shutdown.is_some_and(|deadline| deadline <= self.now) {
            for id in self.core.slots.ids().collect::<Vec<_>>() {
                if let Some(slot) = self.core.slots.get_mut(id) {
                    slot.doomed = true;
                }
                self.settle_turn(id);
            }
        }
    }

    /// The peer has ended its direction. It may still read: what is queued goes out first.
    fn end_of_input(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id) {
            (slot.readable, slot.read_closed, slot.ended) = (false, false, true);
        }
    }

    /// The transport is broken.
    fn broken(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id) {
            let outcome = slot.connection.terminate();
            self.remove(id, &outcome);
        }
    }

    /// Tells the handler how the connection ended, and forgets it.
    fn remove(&mut self, id: PeerId, outcome: &Outcome) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        let workspace = slot.connection.reclaim();
        if workspace.is_some() {
            self.core.workspace = workspace;
        }
        // The socket goes when the slot is dropped; an error here would change nothing.
        let _ = self.core.registry.deregister(slot.socket.source());
        if slot.session.is_some() {
            self.handler.on_close(&mut Peer::new(&mut self.core, id), outcome);
        }
        self.core.slots.remove(id);
    }
}

/// What is done between the turns.
impl<H: Handler> EventLoop<H> {
    fn continue_unfinished(&mut self) {
        for id in mem::take(&mut self.unfinished) {
            if let Some(slot) = self.core.slots.get_mut(id) {
                slot.unfinished = false;
                self.turn(id);
            }
        }
    }

    fn settle_turn(&mut self, id: PeerId) {
        self.begin(id);
        self.finish(id);
    }

    fn settle_all(&mut self) {
        // Settling calls the handler, which may change further connections. Those wait for the next
        // turn, which comes at once: two that send to each other in `on_drain` would never end.
        for id in mem::take(&mut self.core.unsettled) {
            self.settle_turn(id);
        }
    }

    fn carry_out_commands(&mut self) {
        self.commands.look();
        self.more_commands = true;
        for _ in 0..COMMANDS_A_TURN {
            let Some(command) = self.commands.take() else {
                self.more_commands = false;
                break;
            };
            match command {
                Command::Send(id, prepared) => {
                    if let Some(mut peer) = self.core.peer(id) {
                        peer.send_prepared(&prepared);
                    }
                }
                Command::Broadcast(prepared, except) => self.core.broadcast(&prepared, except),
                Command::Close(id, close) => self.close(id, &close),
                Command::Terminate(id) => {
                    if let Some(slot) = self.core.slots.get_mut(id) {
                        slot.doomed = true;
                        self.core.settle_later(id);
                    }
                }
                Command::Shutdown(close, deadline) => self.begin_shutdown(close, deadline),
            }
        }
    }

    fn close(&mut self, id: PeerId, close: &CloseFrame) {
        if let Some(slot) = self.core.slots.get_mut(id) {
            // A connection that is closing already needs no second Close.
            let _ = slot.connection.close(close.code(), close.reason());
            self.core.settle_later(id);
        }
    }

    fn begin_shutdown(&mut self, close: CloseFrame, deadline: Duration) {
        self.listeners.clear();
        self.accept_again = None;
        let ids: Vec<_> = self.core.slots.ids().collect();
        for id in ids {
            self.close(id, &close);
        }
        self.shutdown = Some(self.now.saturating_add(deadline));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::thread;

    use super::*;

    fn answer_to(said: &'static [u8]) -> Vec<u8> {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_address().unwrap();
        let mut event_loop = server
            .on_message(|peer, message| {
                peer.send(message);
            })
            .unwrap();
        let handle = event_loop.handle();
        let client = thread::spawn(move || {
            let mut answer = Vec::new();
            let result = TcpStream::connect(address).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                stream.write_all(said)?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut answer)
            });
            handle.shutdown(1001, "", Duration::ZERO).unwrap();
            result.map(|_| answer)
        });
        event_loop.run().unwrap();
        client.join().unwrap().unwrap()
    }

    #[test]
    fn a_peer_that_has_ended_its_direction_is_still_answered() {
        let answer = answer_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with(b"HTTP/1.1 426 "), "{}", answer.escape_ascii());
        let answer = answer_to(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
            \x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8",
        );
        assert!(answer.ends_with(b"\x81\x02hi\x88\x02\x03\xe8"), "{}", answer.escape_ascii());
    }
}
