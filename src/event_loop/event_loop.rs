use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::handshake::ClientRequest;
use crate::protocol::{Config, Prepared};

use super::backlogs::Backlogs;
use super::broadcasts::Broadcasts;
use super::core::{Core, Shared};
use super::draining::Draining;
use super::handle::Handle;
use super::handler::Handler;
use super::loops::{Commands, Outbox, Seat, seats};
use super::peer::Peer;
use super::pending::Undecided;
use super::route::Scope;
use super::server::Server;
use super::slots::{PeerId, Slots};
use super::timers::Timers;
use super::topics::Topics;
use super::transport::{Listener, Socket};

/// The room that one read of a socket gets; shared by all connections.
pub(super) const READ_ROOM: usize = 512 * 1024;

/// How many events are taken from the system at once; few in unit tests, so that more are there now and then.
const EVENTS: usize = if cfg!(test) { 4 } else { 1024 };

pub(super) const WAKE: Token = Token(usize::MAX);
/// The listeners have the tokens below this one.
const FIRST_LISTENER: usize = usize::MAX - 1;

/// Accepts, reads, calls the handler and writes, on one thread.
///
/// Made by [`Server::handler`] or [`Server::on_message`]. Either [`run`](Self::run) it, or call
/// [`run_once`](Self::run_once) from a loop of your own.
pub struct EventLoop<H: Handler> {
    pub(super) handler: H,
    pub(super) core: Core<H::Session>,
    pub(super) poll: Poll,
    /// The room for them, which is taken out while they are gone through.
    pub(super) events: Option<Events>,
    pub(super) commands: Commands,
    /// Orders may wait that nobody wakes the loop for again.
    pub(super) more_commands: bool,
    pub(super) listeners: Vec<Listening>,
    pub(super) max_connections: usize,
    /// Where the connections of one address are counted.
    pub(super) buffer: Vec<u8>,
    /// Connections that have more to read than their share of one turn.
    pub(super) unfinished: Vec<PeerId>,
    /// When the loop was made: the fixed point of all times.
    pub(super) start: Instant,
    /// When to try to accept again, after the system had no more sockets to give.
    pub(super) accept_again: Option<Duration>,
    /// Once a shutdown has begun.
    pub(super) shutdown: Option<Box<Draining>>,
}

pub(super) struct Listening {
    pub(super) listener: Listener,
    /// Connections may wait that no readiness event will tell of.
    pub(super) ready: bool,
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
        let seat = seats(1, WAKE)?.swap_remove(0);
        Self::seated(server, || handler, seat)
    }

    /// Makes the loop of this seat, and then its handler.
    pub(super) fn seated(
        server: Server,
        handler: impl FnOnce() -> H,
        seat: Seat,
    ) -> io::Result<Self> {
        let Seat { poll, commands, handle } = seat;
        let Server {
            listeners,
            config,
            max_connections,
            max_connections_per_ip,
            keep_requests,
            topics,
            backlogs,
        } = server;
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let registry = poll.registry().try_clone()?;
        if let Some(limit) = max_connections_per_ip {
            handle.loops.set_quota(limit);
        }
        let mut listening = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.register(&registry, Token(FIRST_LISTENER - index))?;
            listening.push(Listening { listener, ready: false });
        }
        Ok(Self {
            handler: handler(),
            core: Core {
                slots: Slots::new(handle.home),
                registry,
                config,
                keep_requests,
                undecided: Undecided::new(handle.clone()),
                outbox: Outbox::new(handle.clone()),
                topics: Topics::new(topics, &handle),
                handle,
                timers: Timers::default(),
                backlogs: Backlogs::new(backlogs),
                broadcasts: Broadcasts::default(),
                shared: Shared::new(),
                current: None,
                unsettled: Vec::new(),
                now: Duration::ZERO,
            },
            poll,
            events: None,
            commands,
            more_commands: false,
            listeners: listening,
            max_connections,
            buffer: vec![0; READ_ROOM],
            unfinished: Vec::new(),
            start: Instant::now(),
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
    ///
    /// # Panics
    ///
    /// Where the handler does. Whoever catches that must drop the loop, and its connections with it: the
    /// rest of the turn is lost, and what was to be read in it is not announced again.
    pub fn run_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = earlier(timeout, self.until_next());
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        self.wait(&mut events, timeout)?;
        self.core.now = self.start.elapsed();
        self.core.shared.workspace.set_time(self.core.now);
        // Where a deadline has come, whatever lay there by now is read first, however much it is.
        let mut rounds = self.core.slots.len() / EVENTS;
        while self.handle_events(&events) == EVENTS
            && rounds > 0
            && self.core.timers.next().is_some_and(|next| next <= self.core.now)
        {
            rounds -= 1;
            self.wait(&mut events, Some(Duration::ZERO))?;
        }
        self.events = Some(events);
        self.continue_unfinished();
        self.carry_out_commands();
        self.accept();
        self.drain();
        self.look_at_timers();
        self.core.outbox.wake();
        self.settle_all();
        self.evict();
        self.tell_of_topics();
        self.finish_draining();
        self.core.outbox.wake();
        self.core.handle.loops.set_connections(self.core.handle.home, self.core.slots.len());
        self.publish_counters();
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Gives each connection that can be read or written its turn: how many events there were.
    fn handle_events(&mut self, events: &Events) -> usize {
        let mut count = 0;
        for event in events {
            count += 1;
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
                        // Who ends its direction before it has an answer does not wait for one.
                        slot.doomed |= slot.read_closed && slot.connection.awaits_decision();
                        self.turn(id);
                    }
                }
            }
        }
        count
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
        self.core.open_peers(Scope::All)
    }

    /// An open connection, to act on it between two turns; what is sent goes out in the next.
    pub fn peer(&mut self, id: PeerId) -> Option<Peer<'_, H::Session>> {
        self.core.peer(id)
    }

    /// Opens a connection to a server, which the handler is told of like any other; see
    /// [`Peer::connect`].
    ///
    /// # Errors
    ///
    /// The system's, if connecting cannot even begin.
    ///
    /// ```no_run
    /// use framewire::handshake::{ClientRequest, Url};
    /// use framewire::{Config, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut event_loop = Server::none().on_message(|_, message| println!("{message:?}"))?;
    /// let request = ClientRequest::new(&Url::parse("ws://127.0.0.1:9001/")?);
    /// for _ in 0..1000 {
    ///     let address = "127.0.0.1:9001".parse()?;
    ///     event_loop.connect(address, request.clone(), &Config::new(), ())?;
    /// }
    /// event_loop.run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(
        &mut self,
        address: SocketAddr,
        request: ClientRequest,
        config: &Config,
        session: H::Session,
    ) -> io::Result<PeerId> {
        self.core.dial(Socket::connect(address)?, request, config, session, None)
    }

    /// Opens a connection to a server over TLS; see [`connect`](Self::connect). `server_name` is the name,
    /// or the IP address, that the server's certificate must have; `tls` is a
    /// [`TlsClient`](crate::TlsClient) or a [`rustls::ClientConfig`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and for a name that cannot be one of a server.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        &mut self,
        address: SocketAddr,
        server_name: &str,
        tls: impl Into<Arc<rustls::ClientConfig>>,
        request: ClientRequest,
        config: &Config,
        session: H::Session,
    ) -> io::Result<PeerId> {
        let socket = Socket::connect_tls(address, server_name, tls.into())?;
        self.core.dial(socket, request, config, session, None)
    }

    /// Sends a message to all open connections, in the next turn.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) {
        self.core.broadcast(Scope::All, message.into(), None);
    }

    /// How long the loop may sleep; `None` for until something happens.
    fn until_next(&self) -> Option<Duration> {
        if self.more_commands
            || !self.unfinished.is_empty()
            || !self.core.unsettled.is_empty()
            || !self.core.broadcasts.is_empty()
            || self.core.topics.have_turned()
            || (self.accept_again.is_none() && self.listeners.iter().any(|l| l.ready))
        {
            return Some(Duration::ZERO);
        }
        let draining = self.shutdown.as_deref().and_then(Draining::next);
        let next = earlier(earlier(self.core.timers.next(), self.accept_again), draining)?;
        Some(next.saturating_sub(self.core.now))
    }
}

/// Of two times, where there are two.
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::thread;

    use super::*;
    use crate::event_loop::handler::Decision;
    use crate::event_loop::incoming_request::IncomingRequest;
    use crate::protocol::{Config, Message};

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

    /// Takes its time with the first request.
    struct Slow(bool);

    impl Handler for Slow {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            let since = Instant::now();
            while std::mem::take(&mut self.0) && since.elapsed() < Duration::from_millis(5) {
                self.0 = true;
            }
            Decision::accept(())
        }

        fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    }

    /// A loop that is late hears everybody before it gives anybody up, however many there are.
    #[test]
    fn what_lies_there_is_read_before_it_is_too_late() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_address().unwrap();
        // Over when the handler is done with the first request.
        let config = Config::new().handshake_timeout(Duration::from_micros(1));
        let mut event_loop = server.config(config).handler(Slow(true)).unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let mut clients = Vec::new();
        for _ in 0..10 * EVENTS {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            clients.push(stream);
        }
        for _ in 0..10 * clients.len() {
            event_loop.run_once(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(event_loop.peers().count(), clients.len());
    }
}
