use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::Interest;
use mio::event::Source;

use crate::event_loop::audience::Audience;
use crate::event_loop::backlog::Key;
use crate::event_loop::core::Core;
use crate::event_loop::counters::Counters;
use crate::event_loop::handle::Handle;
use crate::event_loop::route::{RouteId, Scope};
use crate::event_loop::schedule::{TimerId, TimerOwner};
use crate::event_loop::sessions::Sessions;
use crate::event_loop::slab::PeerId;
use crate::event_loop::socket::Socket;
use crate::event_loop::sources::SourceId;
use crate::handshake::ClientRequest;
use crate::protocol::{Config, Prepared};

use super::Peer;

/// The connections of an event loop, during a call to the [`Handler`](crate::Handler) or between two turns.
///
/// [`Peer::peers`] and [`EventLoop::peers`](crate::EventLoop::peers) give it. What it lists are the open connections:
/// from a peer those of the same route, where there are [`Routes`](crate::Routes), otherwise all. Where several loops
/// [work together](crate::EventLoops), it has the connections of its own loop.
///
/// ```
/// use framewire::Peer;
///
/// /// Sends to those who are in the same room. The session is the name of the room.
/// fn tell_room(peer: &mut Peer<'_, String>, text: &str) {
///     let room = peer.session().clone();
///     peer.peers().for_each(|other| {
///         if *other.session() == room {
///             other.send(text);
///         }
///     });
/// }
/// ```
pub struct Peers<'l, S = ()> {
    core: &'l mut Core,
    sessions: &'l mut Sessions<S>,
    scope: Scope,
}

impl<S> fmt::Debug for Peers<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'l, S> Peers<'l, S> {
    pub(in crate::event_loop) fn new(
        core: &'l mut Core,
        sessions: &'l mut Sessions<S>,
        scope: Scope,
    ) -> Self {
        Self { core, sessions, scope }
    }

    /// Which connections these are.
    pub(in crate::event_loop) fn scope(&self) -> Scope {
        self.scope
    }

    /// Those of them within a scope.
    pub(in crate::event_loop) fn within(&mut self, scope: Scope) -> Peers<'_, S> {
        Peers { core: self.core, sessions: self.sessions, scope }
    }
}

impl<S> Peers<'_, S> {
    /// The connections of one of the [`Routes`](crate::Routes): what is set, registered or dialled through them
    /// belongs to that route, and its handler is told of it.
    pub fn route(&mut self, route: RouteId) -> Peers<'_, S> {
        self.within(Scope::Route(Some(route)))
    }

    /// One open connection by its id, whatever its route; `None` if it is not open, or not one of this loop.
    pub fn get(&mut self, id: PeerId) -> Option<Peer<'_, S>> {
        Peer::of(self.core, self.sessions, id)
    }

    /// The ids of the open connections, in no particular order. They do not borrow the connections, so each can be
    /// reached by [`get`](Self::get), or [`Peer::to`], on the way. They are as of now: one that was closed meanwhile
    /// is not found any more.
    ///
    /// ```
    /// use framewire::Peer;
    ///
    /// /// Sends to all but one.
    /// fn tell_others(peer: &mut Peer<'_>, text: &str) {
    ///     for id in peer.peers().ids() {
    ///         if id != peer.id()
    ///             && let Some(mut other) = peer.to(id)
    ///         {
    ///             other.send(text);
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn ids(&self) -> Vec<PeerId> {
        self.core.open_peers(self.scope).collect()
    }

    /// Calls a function with each open connection, in no particular order. It allocates nothing.
    #[doc(alias = "forEach")]
    pub fn for_each(&mut self, mut function: impl FnMut(&mut Peer<'_, S>)) {
        // Nobody joins or leaves the slab during a call but by dialling: whoever is dialled meanwhile is not open.
        let mut from = 0;
        while let Some(place) = self.core.next_place(self.scope, from) {
            from = place + 1;
            let Some(id) = self.core.slab.id_at(place) else { continue };
            let Some(mut peer) = Peer::of(self.core, self.sessions, id) else { continue };
            if self.scope.holds(peer.route()) {
                function(&mut peer);
            }
        }
    }

    /// Sends a message to all open connections, whatever their route and in all loops:
    /// [`publish`](Self::publish) to [`Audience::everyone`]; returns for how many it is.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) -> usize {
        self.publish(Audience::everyone(), message)
    }

    /// Sends a message to an audience: the subscribers of a topic, which a string names, the connections of a route,
    /// or everyone, in all loops. Returns for how many it is; see [`Peer::publish`].
    pub fn publish<'a>(
        &mut self,
        audience: impl Into<Audience<'a>>,
        message: impl Into<Prepared>,
    ) -> usize {
        self.core.publish(audience.into(), message)
    }

    /// Sends a message to the open connections of this loop for which `condition` holds, whatever their route, as
    /// [`broadcast`](Self::broadcast) does; returns how many these are. It is encoded once, and not at all if it is
    /// for nobody. Each connection is asked about, so a topic is cheaper where the same few are meant again and
    /// again, and it reaches the other loops as well.
    ///
    /// ```
    /// use framewire::Peer;
    ///
    /// struct Player {
    ///     team: u8,
    /// }
    ///
    /// fn tell_team(peer: &mut Peer<'_, Player>, text: &str) -> usize {
    ///     let team = peer.session().team;
    ///     peer.peers().broadcast_if(|other| other.session().team == team, text)
    /// }
    /// ```
    pub fn broadcast_if(
        &mut self,
        mut condition: impl FnMut(&Peer<'_, S>) -> bool,
        message: impl Into<Prepared>,
    ) -> usize {
        let (mut message, mut prepared) = (Some(message), None);
        let mut count = 0;
        self.within(Scope::All).for_each(|peer| {
            if condition(peer) {
                let prepared = prepared.get_or_insert_with(|| message.take().map(Into::into));
                if let Some(prepared) = prepared {
                    peer.core.deliver(peer.id, Key::default(), prepared);
                    count += 1;
                }
            }
        });
        count
    }

    /// How many open connections there are. They are counted one by one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.open_peers(self.scope).count()
    }

    /// Whether there is no open connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.core.open_peers(self.scope).next().is_none()
    }

    /// How many connections the loop has, of all routes, those that are opening or closing included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.core.slab.len()
    }

    /// The ids of the open connections of this loop that have [subscribed](Peer::subscribe) to a topic, whatever
    /// their route, in no particular order.
    #[doc(alias = "fetchSockets")]
    #[must_use]
    pub fn subscribers_of(&self, topic: &str) -> Vec<PeerId> {
        let subscribers = self.core.topics.subscribers(topic).iter();
        subscribers.copied().filter(|&id| self.core.is_peer(id)).collect()
    }

    /// How many connections have subscribed to a topic, in all loops that work together, including those that are
    /// closing.
    #[doc(alias = "numSubscribers")]
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.subscribers(topic)
    }

    /// All topics that have subscribers in this loop, with their number, in no particular order.
    pub fn topics(&self) -> impl Iterator<Item = (&str, usize)> {
        self.core.topics.iter()
    }

    /// Opens a connection to a server, which the handler is told of like any other: by
    /// [`on_open`](crate::Handler::on_open) when the server has accepted, and by
    /// [`on_close`](crate::Handler::on_close) in any case at the end. It belongs to the route whose peers these are, if
    /// they are those of one.
    ///
    /// Resolve names elsewhere: that may take long, and all connections would wait for it.
    ///
    /// ```no_run
    /// use framewire::handshake::{ClientRequest, Url};
    /// use framewire::{Config, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::unbound().on_message(|_, message| println!("{message:?}"));
    /// let mut event_loop = server.into_event_loop()?;
    /// let request = ClientRequest::new(&Url::parse("ws://127.0.0.1:9001/")?);
    /// for _ in 0..1000 {
    ///     let address = "127.0.0.1:9001".parse()?;
    ///     event_loop.peers().connect(address, request.clone(), &Config::new(), ())?;
    /// }
    /// event_loop.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's, if connecting cannot even begin; [`io::ErrorKind::InvalidInput`] for a [`Config`] that cannot
    /// work; [`io::ErrorKind::NotConnected`] once a shutdown has begun.
    #[doc(alias = "outgoing connections")]
    pub fn connect(
        &mut self,
        address: SocketAddr,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let socket = self.core.registry.connect(address)?;
        self.dial(socket, request, config, session)
    }

    /// Opens a connection to a server over TLS; see [`connect`](Self::connect). `server_name` is the name, or the IP
    /// address, that the server's certificate must have; `tls` is a [`TlsClient`](crate::TlsClient) or a
    /// [`rustls::ClientConfig`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and for a name that cannot be one of a server.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        &mut self,
        address: SocketAddr,
        server_name: &str,
        tls: impl Into<std::sync::Arc<rustls::ClientConfig>>,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let socket =
            self.core.registry.connect(address)?.with_tls_client(server_name, tls.into())?;
        self.dial(socket, request, config, session)
    }

    fn dial(
        &mut self,
        socket: Socket,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let id = self.core.dial(socket, request, config, self.scope.route())?;
        self.sessions.insert(id, session);
        Ok(id)
    }

    /// Calls [`Handler::on_timer`](crate::Handler::on_timer) once, after the given time and not before. `token` tells
    /// the application which timer it is; several may have the same.
    ///
    /// Timers of an event loop that has ended are not called any more.
    #[doc(alias("us_timer", "schedule"))]
    pub fn set_timer(&mut self, after: Duration, token: u64) -> TimerId {
        self.core.set_timer(TimerOwner::Loop(self.scope), after, token)
    }

    /// Calls [`Handler::on_timer`](crate::Handler::on_timer) once for each period: the first time after one period,
    /// and from then on without drifting. A period of less than a millisecond counts as one.
    ///
    /// A loop that is late calls once for all the periods that have ended meanwhile, and
    /// [says how many](crate::Timer::periods).
    ///
    /// ```
    /// # use framewire::{Decision, IncomingRequest, Message, Peer};
    /// use framewire::{Handler, Peers, Timer};
    /// use std::time::Duration;
    ///
    /// const TICK: u64 = 1;
    ///
    /// /// Tells everybody how the world is, 60 times a second.
    /// struct Game {
    ///     age: u64,
    /// }
    ///
    /// impl Handler for Game {
    ///     type Session = ();
    ///
    ///     fn on_start(&mut self, peers: &mut Peers<'_>) {
    ///         peers.set_interval(Duration::from_secs(1) / 60, TICK);
    ///     }
    ///
    ///     fn on_timer(&mut self, peers: &mut Peers<'_>, timer: Timer) {
    ///         self.age += timer.periods();
    ///         let now = self.age.to_string();
    ///         peers.for_each(|peer| drop(peer.send_latest("world", &*now)));
    ///     }
    /// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    /// #   fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    /// }
    /// ```
    #[doc(alias("interval", "tick", "cron"))]
    pub fn set_interval(&mut self, every: Duration, token: u64) -> TimerId {
        self.core.set_interval(TimerOwner::Loop(self.scope), every, token)
    }

    /// Cancels a timer of this loop, or of one of its connections; returns whether it was still set. It is not called
    /// any more then, even if its time has come.
    #[doc(alias("clearTimeout", "clearInterval"))]
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.core.schedule.cancel(timer)
    }

    /// Registers another source of events with the loop, such as a UDP socket or a pipe:
    /// [`Handler::on_source`](crate::Handler::on_source) is called with them. `token` tells the application which
    /// source it is, and collides with nothing; several may have the same.
    ///
    /// Events tell of changes: read until [`io::ErrorKind::WouldBlock`]. The types are those of
    /// [`mio`]. Deregister the source before it is dropped.
    ///
    /// # Errors
    ///
    /// The system's, if the source cannot be watched.
    ///
    /// ```
    /// # use framewire::{Decision, IncomingRequest, Message, Peer};
    /// use framewire::mio::{Interest, net::UdpSocket};
    /// use framewire::{Handler, Peers, SourceEvent};
    ///
    /// /// Passes on what comes by UDP.
    /// struct Feed(UdpSocket);
    ///
    /// impl Handler for Feed {
    ///     type Session = ();
    ///
    ///     fn on_start(&mut self, peers: &mut Peers<'_>) {
    ///         peers.register_source(&mut self.0, 0, Interest::READABLE).expect("a socket can be watched");
    ///     }
    ///
    ///     fn on_source(&mut self, peers: &mut Peers<'_>, _event: SourceEvent) {
    ///         let mut room = [0; 1500];
    ///         while let Ok(length) = self.0.recv(&mut room) {
    ///             peers.for_each(|peer| drop(peer.send(&room[..length])));
    ///         }
    ///     }
    /// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    /// #   fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    /// }
    /// ```
    #[doc(alias("file descriptor", "eventfd", "epoll", "poll"))]
    pub fn register_source(
        &mut self,
        source: &mut (impl Source + ?Sized),
        token: u64,
        interest: Interest,
    ) -> io::Result<SourceId> {
        self.core.sources.register(&self.core.registry, source, token, interest, self.scope)
    }

    /// Changes which events of a source are waited for.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::NotFound`] for a source that is not registered.
    pub fn reregister_source(
        &mut self,
        id: SourceId,
        source: &mut (impl Source + ?Sized),
        interest: Interest,
    ) -> io::Result<()> {
        self.core.sources.reregister(&self.core.registry, id, source, interest)
    }

    /// Deregisters a source of events: the handler is not called for it from now on, even if it has some.
    ///
    /// # Errors
    ///
    /// As [`reregister_source`](Self::reregister_source).
    pub fn deregister_source(
        &mut self,
        id: SourceId,
        source: &mut (impl Source + ?Sized),
    ) -> io::Result<()> {
        self.core.sources.deregister(&self.core.registry, id, source)
    }

    /// What this loop has done so far; [`Handle::counters`] adds up all loops that work together.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// A handle to the loop, for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.core.handle.clone()
    }
}
