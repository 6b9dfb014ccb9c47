mod peers;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::{
    Compress, Endpoint, Fragment, Fragments, Message, Outcome, Outgoing, Prepared, Role, SendError,
    State, Workspace,
};
#[cfg(feature = "tls")]
use crate::tls::TlsSession;
use crate::wire::CloseCode;

use super::audience::Audience;
use super::backlog::{Key, SlowConsumer};
use super::caller::Caller;
use super::connection::{Connection, Shared};
use super::core::Core;
use super::handle::Handle;
use super::incoming_request::IncomingRequest;
use super::rate_limit::RateLimit;
use super::route::{RouteId, Scope};
use super::schedule::{TimerId, TimerOwner};
use super::sent::Sent;
use super::sessions::Sessions;
use super::slab::PeerId;
use super::topics::Subscribed;

pub use peers::Peers;

/// One connection, during a call to the [`Handler`](crate::Handler); and, through it, the others.
///
/// Everything sent is queued and goes out in one write when the calls of this turn are over.
#[doc(alias = "ServerWebSocket")]
pub struct Peer<'l, S = ()> {
    pub(super) core: &'l mut Core,
    sessions: &'l mut Sessions<S>,
    pub(super) id: PeerId,
}

impl<S> fmt::Debug for Peer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'l, S> Peer<'l, S> {
    pub(super) fn new(core: &'l mut Core, sessions: &'l mut Sessions<S>, id: PeerId) -> Self {
        debug_assert!(core.slab.get(id).is_some_and(|connection| connection.has_session));
        Self { core, sessions, id }
    }

    /// An open connection, as handlers see it.
    pub(super) fn of(
        core: &'l mut Core,
        sessions: &'l mut Sessions<S>,
        id: PeerId,
    ) -> Option<Self> {
        core.flush_broadcasts();
        core.is_peer(id).then_some(Self { core, sessions, id })
    }
}

/// This connection.
impl<S> Peer<'_, S> {
    /// The id of the connection, for a [`Handle`] or [`to`](Self::to).
    #[doc(alias("socket.id", "connection id"))]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The session that [`on_upgrade`](crate::Handler::on_upgrade) made for this connection.
    ///
    /// # Panics
    ///
    /// Never: a connection without a session has no peer.
    #[doc(alias("getUserData", "user data"))]
    pub fn session(&self) -> &S {
        self.sessions.get(self.id).expect(HAS_SESSION)
    }

    /// The session that [`on_upgrade`](crate::Handler::on_upgrade) made for this connection, to change it.
    ///
    /// # Panics
    ///
    /// Never, as [`session`](Self::session).
    pub fn session_mut(&mut self) -> &mut S {
        self.sessions.get_mut(self.id).expect(HAS_SESSION)
    }

    /// Queues a message.
    #[doc(alias("cork", "emit"))]
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Sent {
        self.send_with(message, Compress::Threshold)
    }

    /// Queues a message, and says whether to compress it.
    #[inline]
    pub fn send_with<'m>(&mut self, message: impl Into<Message<'m>>, compress: Compress) -> Sent {
        let message = message.into();
        match self.core.send_copied(self.id, message.kind(), message.as_bytes()) {
            Some(false) => Sent::Accepted,
            Some(true) => Sent::Backpressure,
            None => self.core.send(self.id, Key::default(), Outgoing::Own(message, compress)),
        }
    }

    /// Queues a message that was encoded beforehand.
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Sent {
        self.core.send(self.id, Key::default(), Outgoing::Shared(prepared))
    }

    /// Queues a piece of a message; see [`Connection::send_fragment`](crate::Connection::send_fragment).
    #[doc(alias("download", "chunked", "send in pieces"))]
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Sent {
        self.send_fragment_with(fragment, Compress::Threshold)
    }

    /// Queues a piece of a message, and says whether to compress the message; see
    /// [`Connection::send_fragment_with`](crate::Connection::send_fragment_with).
    pub fn send_fragment_with(&mut self, fragment: Fragment<'_>, compress: Compress) -> Sent {
        let id = self.id;
        self.change(|connection, shared| connection.send_fragment(id, fragment, compress, shared))
    }

    /// Changes which messages of this peer are delivered in pieces, from the next one that begins: for an upload that
    /// a message announces, for example. See [`Config::fragments`](crate::Config::fragments).
    pub fn set_fragments(&mut self, fragments: Fragments) {
        self.connection_mut().endpoint_mut().set_fragments(fragments);
    }

    /// Queues a Ping with at most 125 bytes of payload; the answer comes to
    /// [`on_pong`](crate::Handler::on_pong).
    pub fn ping(&mut self, payload: &[u8]) -> Sent {
        self.queue(|endpoint, workspace| endpoint.ping(payload, workspace))
    }

    /// Queues a Pong with at most 125 bytes of payload.
    pub fn pong(&mut self, payload: &[u8]) -> Sent {
        self.queue(|endpoint, workspace| endpoint.pong(payload, workspace))
    }

    /// Begins the closing handshake; [`on_close`](crate::Handler::on_close) says when it is over.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is closing already, or the code or the reason (of at most 123
    /// bytes) may not be sent.
    #[doc(alias("end", "disconnect"))]
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        let code = code.into();
        let closed = self.core.change_behind_all(self.id, |endpoint, workspace| {
            endpoint.close(code, reason, workspace)
        });
        closed.expect(PRESENT)
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is closing already.
    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        self.core.close_without_code(self.id)
    }

    /// Closes the connection in the way another one has ended, as a proxy does: with the code and the reason of the
    /// Close that came there, with a Close without a body if that one had none (1005), and without a Close if none
    /// came (1006).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is closing already.
    ///
    /// ```
    /// use framewire::{Outcome, Peer, PeerId};
    ///
    /// /// The session is the other side of a relayed conversation.
    /// fn on_close(peer: &mut Peer<'_, Option<PeerId>>, outcome: &Outcome) {
    ///     let other = *peer.session();
    ///     if let Some(mut other) = other.and_then(|other| peer.to(other)) {
    ///         let _ = other.close_like(outcome);
    ///     }
    /// }
    /// ```
    pub fn close_like(&mut self, outcome: &Outcome) -> Result<(), SendError> {
        match outcome.received() {
            Some(close) if close.code().is_sendable() => self.close(close.code(), close.reason()),
            Some(_) => self.close_without_code(),
            None => {
                self.abort();
                Ok(())
            }
        }
    }

    /// Drops the connection without a Close; the peer sees 1006.
    #[doc(alias("terminate", "destroy", "kick"))]
    pub fn abort(&mut self) {
        self.change(|connection, _| connection.abort());
    }

    /// How many bytes wait to be written, framing included.
    #[doc(alias = "getBufferedAmount")]
    pub fn buffered_amount(&self) -> usize {
        self.connection().endpoint().buffered_amount()
    }

    /// Stops reading from this connection: messages wait in the network until [`resume`](Self::resume).
    /// Until then nothing is asked of the peer by a deadline, but that it takes what is sent.
    pub fn pause(&mut self) {
        self.change(|connection, shared| connection.pause(shared));
    }

    /// Resumes reading from this connection.
    pub fn resume(&mut self) {
        self.change(|connection, shared| connection.resume(shared));
    }

    /// Whether reading is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.connection().is_paused()
    }

    /// The round-trip time of the last automatic Ping that was answered, the turns of both loops included; `None`
    /// before the first one. [`Config::ping_interval`](crate::Config::ping_interval) says when they are sent, which
    /// is only in silence.
    #[doc(alias("latency", "rtt"))]
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.connection().endpoint().round_trip_time()
    }

    /// The state of the connection: open, closing or closed.
    #[doc(alias = "readyState")]
    pub fn state(&self) -> State {
        self.connection().endpoint().state()
    }

    /// The role of this end: server for a connection that was accepted, client for one that was
    /// [dialled](crate::Peers::connect).
    pub fn role(&self) -> Role {
        self.connection().endpoint().role()
    }

    /// Which of the [`Routes`](crate::Routes) the connection is for; `None` without routes, or if none
    /// is for it.
    #[inline]
    pub fn route(&self) -> Option<RouteId> {
        self.connection().route
    }

    /// The subprotocol that was negotiated.
    #[doc(alias = "protocol")]
    pub fn subprotocol(&self) -> Option<&str> {
        self.connection().endpoint().subprotocol()
    }

    /// The parameters of permessage-deflate that were negotiated; `None` without compression.
    #[doc(alias = "extensions")]
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.connection().endpoint().deflate()
    }

    /// The request that opened the connection. It is kept until
    /// [`on_open`](crate::Handler::on_open) returns, and longer where
    /// [`Server::keep_requests`](crate::Server::keep_requests) says so.
    pub fn request(&self) -> Option<&IncomingRequest> {
        self.connection().request.as_ref()
    }

    /// Who the peer is: the address, the listener, TLS, and what proxies say. It is put together when it is asked
    /// for.
    pub fn caller(&self) -> Caller {
        self.core.caller(self.id)
    }

    /// The peer's address, as [`Caller::address`] has it: behind a proxy that is believed, that of the client.
    ///
    /// # Errors
    ///
    /// The system's, if the peer is gone; [`io::ErrorKind::Unsupported`] for a Unix-domain socket, and where a
    /// proxy keeps the address to itself.
    #[doc(alias("getRemoteAddress", "remoteAddress", "client address"))]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.core.peer_addr(self.id)
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::Unsupported`] for a Unix-domain socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.connection().driver.transport().local_addr()
    }

    /// What TLS knows of the peer: its certificate, the name it asked for, the version and the cipher
    /// agreed on; `None` where TLS is not spoken, or this is its client. It is a copy, made at each call.
    ///
    /// ```no_run
    /// # use framewire::Peer;
    /// fn is_known(peer: &Peer<'_>) -> bool {
    ///     peer.tls().is_some_and(|tls| !tls.certificates().is_empty())
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<TlsSession> {
        self.connection().driver.transport().tls()
    }

    #[inline]
    fn queue(
        &mut self,
        write: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Sent {
        let id = self.id;
        self.change(|connection, shared| connection.queue_or_drop(id, shared, write))
    }

    /// Changes the connection, and sees to it that what follows is done at the end of the turn.
    #[inline]
    fn change<T>(&mut self, change: impl FnOnce(&mut Connection, &mut Shared) -> T) -> T {
        self.core.change(self.id, change).expect(PRESENT)
    }

    #[inline]
    fn connection(&self) -> &Connection {
        self.core.slab.get(self.id).expect(PRESENT)
    }

    #[inline]
    fn connection_mut(&mut self) -> &mut Connection {
        self.core.slab.get_mut(self.id).expect(PRESENT)
    }
}

/// The others.
impl<S> Peer<'_, S> {
    /// Sends a message to all open connections, this one included, whatever their route:
    /// [`publish`](Self::publish) to [`Audience::everyone`]; returns for how many it is.
    #[doc(alias("io.emit", "send to all"))]
    pub fn broadcast(&mut self, message: impl Into<Prepared>) -> usize {
        self.publish(Audience::everyone(), message)
    }

    /// Sends a message to an audience: the subscribers of a topic, which a string names, the connections of a route,
    /// or everyone. It reaches exactly those: this connection too if it is one of them, unless
    /// [`except`](Audience::except) leaves it out. It is encoded, and compressed, once, and not at all if a topic has
    /// nobody.
    ///
    /// Returns for how many open connections it is, as far as this loop knows: of other
    /// [loops](crate::EventLoops) that are those of a topic that are closing, too, and one that is left out.
    /// Each gets the message behind what it was sent before, and before what it is sent later; one that has no room
    /// for it loses it, which [`on_dropped`](crate::Handler::on_dropped) tells.
    ///
    /// ```
    /// use framewire::{Audience, Message, Peer};
    ///
    /// fn on_message(peer: &mut Peer<'_>, message: Message<'_>) {
    ///     // To everyone but the sender.
    ///     let others = peer.publish(Audience::everyone().except(peer.id()), message);
    ///     // To the subscribers of a topic, of which the sender may be one.
    ///     peer.publish("log", format!("{} spoke to {others}", peer.id()));
    /// }
    /// ```
    #[doc(alias("pubsub", "multicast", "io.to", "send to room"))]
    pub fn publish<'a>(
        &mut self,
        audience: impl Into<Audience<'a>>,
        message: impl Into<Prepared>,
    ) -> usize {
        self.core.publish(audience.into(), message)
    }

    /// Another open connection of this loop, by its id; `None` if it is not open any more.
    pub fn to(&mut self, id: PeerId) -> Option<Peer<'_, S>> {
        Peer::of(self.core, self.sessions, id)
    }

    /// The open connections of this loop, this one included; ws's `clients`. Of the same route, where there are
    /// routes.
    #[doc(alias("clients", "clientTracking"))]
    pub fn peers(&mut self) -> Peers<'_, S> {
        let scope = Scope::Route(self.route());
        Peers::new(self.core, self.sessions, scope)
    }

    /// A handle to the loop, for other threads.
    pub fn handle(&self) -> Handle {
        self.core.handle.clone()
    }
}

const PRESENT: &str = "the connection stays during a call";
const HAS_SESSION: &str = "a peer is made for a connection with a session";

/// Slow consumers: what becomes of messages to a peer that does not take them as fast as they are sent.
impl<S> Peer<'_, S> {
    /// Sends a message of which only the newest counts, such as a price or a position: at once to a peer that keeps
    /// up, and only the newest with this key to one that does not.
    ///
    /// From when the output has reached [`Config::output_high_water`](crate::Config::output_high_water)
    /// until it has come down to [`Config::output_low_water`](crate::Config::output_low_water), messages
    /// are [kept](Sent::Kept) beside it, each in place of the one before with the same key. Then they are
    /// sent, in the order in which their keys came. So a peer that reads nothing for an hour costs one
    /// message for each key, and when it wakes it gets how things are and not how they were. What is kept
    /// is not compressed before it is sent.
    ///
    /// Kept messages may come to [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes
    /// and [`Server::max_latest_keys`](crate::Server::max_latest_keys) keys; beyond that a message is
    /// dropped. What is sent by other calls meanwhile overtakes what is kept. A
    /// [`close`](Self::close) sends it first; a connection that ends in another way does not.
    ///
    /// ```
    /// use framewire::{Peer, Sent};
    ///
    /// /// However often it is called, and however slowly the peer reads.
    /// fn tell_price(peer: &mut Peer<'_>, share: &str, price: u32) {
    ///     match peer.send_latest(share, format!("{share} {price}")) {
    ///         Sent::Dropped(error) => println!("{}: {error}", peer.id()),
    ///         Sent::Kept => println!("{} lags behind", peer.id()),
    ///         _ => {}
    ///     }
    /// }
    /// ```
    ///
    /// `message` is a [`Message`], or a [`Prepared`] by reference. [`Audience::latest`] does the same for many
    /// connections.
    #[doc(alias("volatile", "last value"))]
    pub fn send_latest<'m>(&mut self, key: &str, message: impl Into<Outgoing<'m>>) -> Sent {
        let key = Key { topic: None, name: Some(key) };
        self.core.send(self.id, key, message.into())
    }

    /// Says how many messages and bytes a second this connection may send from now on, in place of what
    /// [`Server::rate_limit`](crate::Server::rate_limit) says for all; `None` for any number. It begins with a full
    /// burst.
    pub fn set_rate_limit(&mut self, limit: impl Into<Option<RateLimit>>) {
        let (limit, now) = (limit.into(), self.core.now);
        self.change(|connection, shared| connection.set_rate_limit(limit, now, shared));
    }

    /// How many messages are [kept](Self::send_latest) for this connection.
    pub fn kept_messages(&self) -> usize {
        self.connection().kept_messages()
    }

    /// Says what is done when too much waits for this connection, in place of what
    /// [`Server::slow_consumer`](crate::Server::slow_consumer) says for all.
    pub fn set_slow_consumer(&mut self, policy: SlowConsumer) {
        self.connection_mut().set_slow_consumer(policy);
    }
}

/// Timers of this connection: they end with it, before [`on_close`](crate::Handler::on_close).
impl<S> Peer<'_, S> {
    /// Calls [`on_peer_timer`](crate::Handler::on_peer_timer) once with this connection, after the given time and not
    /// before. `token` tells the application which timer it is; several may have the same.
    ///
    /// ```
    /// # use framewire::{Decision, IncomingRequest, Message};
    /// use framewire::{Handler, Peer, Timer, TimerId};
    /// use std::time::Duration;
    ///
    /// /// Closes what has said nothing for a minute. The session is its timer.
    /// struct Patient;
    ///
    /// impl Handler for Patient {
    ///     type Session = Option<TimerId>;
    ///
    /// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<Option<TimerId>> { Decision::accept(None) }
    ///     fn on_open(&mut self, peer: &mut Peer<'_, Option<TimerId>>) {
    ///         *peer.session_mut() = Some(peer.set_timer(Duration::from_secs(60), 0));
    ///     }
    ///
    ///     fn on_message(&mut self, peer: &mut Peer<'_, Option<TimerId>>, _: Message<'_>) {
    ///         if let Some(timer) = peer.session_mut().take() {
    ///             peer.cancel_timer(timer);
    ///         }
    ///         *peer.session_mut() = Some(peer.set_timer(Duration::from_secs(60), 0));
    ///     }
    ///
    ///     fn on_peer_timer(&mut self, peer: &mut Peer<'_, Option<TimerId>>, _: Timer) {
    ///         let _ = peer.close(1000, "idle");
    ///     }
    /// }
    /// ```
    #[doc(alias("setTimeout", "delay"))]
    pub fn set_timer(&mut self, after: Duration, token: u64) -> TimerId {
        self.core.set_timer(TimerOwner::Peer(self.id), after, token)
    }

    /// Calls [`Handler::on_peer_timer`](crate::Handler::on_peer_timer) once for each period: the first time after one
    /// period, and from then on without drifting. A period of less than a millisecond counts as one. See
    /// [`Peers::set_interval`].
    pub fn set_interval(&mut self, every: Duration, token: u64) -> TimerId {
        self.core.set_interval(TimerOwner::Peer(self.id), every, token)
    }

    /// Cancels a timer, of this connection or any other of the loop; returns whether it was still set. It is not
    /// called any more then, even if its time has come.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.core.schedule.cancel(timer)
    }
}

/// Topics: names under which connections gather; what is published to one reaches all who have
/// subscribed to it. Rooms and channels are topics, too. One is there while it has a subscriber, and needs
/// no making. A connection leaves all of its topics at its end, when
/// [`on_close`](crate::Handler::on_close) is over.
///
/// A name is compared byte by byte, and nothing in it is a wildcard: matching patterns would cost every
/// publish a search (uWebSockets has given it up for that). Where topics form a tree, subscribe to each
/// name on the way, and publish to the one that is meant: `news` and `news/sport`.
impl<S> Peer<'_, S> {
    /// Subscribes this connection to a topic: it gets what is published from now on.
    ///
    /// ```
    /// use framewire::{Audience, Peer, Subscribed};
    ///
    /// /// `+room` enters a room, `-room` leaves it, and all else is said in all rooms one is in.
    /// fn on_line(peer: &mut Peer<'_>, line: &str) {
    ///     if let Some(room) = line.strip_prefix('+') {
    ///         if let Subscribed::Refused(error) = peer.subscribe(room) {
    ///             peer.send(error.to_string());
    ///         }
    ///     } else if let Some(room) = line.strip_prefix('-') {
    ///         peer.unsubscribe(room);
    ///     } else {
    ///         let rooms: Vec<String> = peer.topics().map(str::to_owned).collect();
    ///         for room in rooms {
    ///             peer.publish(Audience::topic(&room).except(peer.id()), line);
    ///         }
    ///     }
    /// }
    /// # fn main() -> std::io::Result<()> {
    /// let server = framewire::Server::bind("127.0.0.1:0")?;
    /// let mut event_loop = server.on_message(|peer, message| {
    ///     if let Some(line) = message.as_text() {
    ///         on_line(peer, line);
    ///     }
    /// }).into_event_loop()?;
    /// # event_loop.handle().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    /// event_loop.run()
    /// # }
    /// ```
    #[doc(alias("room", "channel", "join"))]
    pub fn subscribe(&mut self, topic: &str) -> Subscribed {
        self.core.subscribe(self.id, topic)
    }

    /// Unsubscribes this connection from a topic; returns whether it had subscribed.
    #[doc(alias = "leave")]
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.core.topics.unsubscribe(self.id, topic)
    }

    /// Whether this connection has subscribed to a topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.core.topics.is_subscribed(self.id, topic)
    }

    /// The topics that this connection has subscribed to, in no particular order.
    #[doc(alias("getTopics", "rooms"))]
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.core.topics.of(self.id)
    }
}
