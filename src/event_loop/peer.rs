use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::handshake::ClientRequest;
use crate::protocol::{
    Compress, Config, Endpoint, Fragment, Fragments, Message, Prepared, Role, SendError, State,
    Workspace,
};
use crate::wire::CloseCode;

use super::backlogs::{Key, Outgoing};
use super::core::{Core, Shared, Slot};
use super::handle::Handle;
use super::incoming_request::IncomingRequest;
use super::route::{RouteId, Scope};
use super::slots::PeerId;
use super::transport::Socket;

/// What became of a message that was sent: ignore it, or act on it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes out at the end of this turn, or as soon as the socket takes it.
    Accepted,
    /// The same, but the output has reached its high water mark: wait for
    /// [`on_drain`](crate::Handler::on_drain) before sending much more.
    Backpressure,
    /// It goes out when the output has come down to its low water mark, unless a newer one with its key
    /// replaces it; see [`Peer::send_latest`].
    Kept,
    /// It was not sent, and this is why.
    Dropped(SendError),
}

impl Sent {
    /// Whether the message was not sent.
    pub fn is_dropped(&self) -> bool {
        matches!(self, Self::Dropped(_))
    }
}

/// One connection, during a call to the [`Handler`](crate::Handler); and, through it, the others.
///
/// Everything sent is queued and goes out in one write when the calls of this turn are over.
pub struct Peer<'l, S = ()> {
    pub(super) core: &'l mut Core<S>,
    pub(super) id: PeerId,
}

impl<S> fmt::Debug for Peer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'l, S> Peer<'l, S> {
    pub(super) fn new(core: &'l mut Core<S>, id: PeerId) -> Self {
        debug_assert!(core.slots.get(id).is_some_and(|slot| slot.session.is_some()));
        Self { core, id }
    }
}

/// This connection.
impl<S> Peer<'_, S> {
    /// The name of the connection, for a [`Handle`] or [`to`](Self::to).
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// What [`on_upgrade`](crate::Handler::on_upgrade) made for this connection.
    ///
    /// # Panics
    ///
    /// Never: a connection without a session has no peer.
    pub fn session(&mut self) -> &mut S {
        self.slot_mut().session.as_mut().expect("a peer is made for a connection with a session")
    }

    /// Queues a message.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Sent {
        self.send_with(message, Compress::Threshold)
    }

    /// Queues a message, and says whether to compress it.
    #[inline]
    pub fn send_with<'m>(&mut self, message: impl Into<Message<'m>>, compress: Compress) -> Sent {
        let message = message.into();
        // The common case: a reply, to a connection that nothing is kept for.
        if self.core.current == Some(self.id) {
            let core = &mut *self.core;
            let slot = core.slots.get_mut(self.id).expect(PRESENT);
            if !slot.governed {
                let sent = slot.queue(&mut core.shared, |connection, workspace| {
                    connection.send_with(message, compress, workspace)
                });
                if matches!(sent, Sent::Dropped(SendError::Full)) {
                    self.note_dropped();
                }
                return sent;
            }
        }
        self.send_rarely(message, compress)
    }

    #[cold]
    fn send_rarely(&mut self, message: Message<'_>, compress: Compress) -> Sent {
        if self.slot().governed {
            let message = Outgoing::Own(message, compress);
            return self.core.send_governed(self.id, Key::default(), message);
        }
        self.queue(|connection, workspace| connection.send_with(message, compress, workspace))
    }

    /// Queues a message that was encoded beforehand.
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Sent {
        if self.slot().governed {
            return self.core.send_governed(self.id, Key::default(), Outgoing::Shared(prepared));
        }
        self.queue(|connection, workspace| connection.send_prepared(prepared, workspace))
    }

    /// Queues a piece of a message; see [`Connection::send_fragment`](crate::Connection::send_fragment).
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Sent {
        self.queue(|connection, workspace| connection.send_fragment(fragment, workspace))
    }

    /// Queues a piece of a message, and says whether to compress the message; see
    /// [`Connection::send_fragment_with`](crate::Connection::send_fragment_with).
    pub fn send_fragment_with(&mut self, fragment: Fragment<'_>, compress: Compress) -> Sent {
        self.queue(|connection, workspace| {
            connection.send_fragment_with(fragment, compress, workspace)
        })
    }

    /// Chooses anew which messages of this peer are delivered in pieces, from the next one that begins: an
    /// upload that a message announces, say. See [`Config::fragments`](crate::Config::fragments).
    pub fn set_fragments(&mut self, fragments: Fragments) {
        self.slot_mut().connection.set_fragments(fragments);
    }

    /// Queues a Ping with at most 125 bytes of payload; the answer comes to
    /// [`on_pong`](crate::Handler::on_pong).
    pub fn ping(&mut self, payload: &[u8]) -> Sent {
        self.queue(|connection, workspace| connection.ping(payload, workspace))
    }

    /// Queues a Pong with at most 125 bytes of payload.
    pub fn pong(&mut self, payload: &[u8]) -> Sent {
        self.queue(|connection, workspace| connection.pong(payload, workspace))
    }

    /// Begins the closing handshake; [`on_close`](crate::Handler::on_close) says when it is over.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is closing already, or the code or the reason (of at most 123
    /// bytes) may not be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        let code = code.into();
        self.core.release_all(self.id);
        self.change(|slot, shared| slot.connection.close(code, reason, &mut shared.workspace))
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is closing already.
    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        self.core.release_all(self.id);
        self.change(|slot, shared| slot.connection.close_without_code(&mut shared.workspace))
    }

    /// Drops the connection without a Close; the peer sees 1006.
    pub fn terminate(&mut self) {
        self.change(|slot, _| (slot.doomed, slot.cut) = (true, true));
    }

    /// How many bytes wait to be written, framing included.
    pub fn buffered_amount(&self) -> usize {
        self.slot().connection.buffered_amount()
    }

    /// Stops reading from this connection: messages wait in the network until [`resume`](Self::resume).
    /// Until then nothing is asked of the peer by a deadline, but that it takes what is sent.
    pub fn pause(&mut self) {
        self.change(|slot, shared| slot.connection.pause(&mut shared.workspace));
    }

    /// Reads from this connection again.
    pub fn resume(&mut self) {
        self.change(|slot, shared| slot.connection.resume(&mut shared.workspace));
    }

    /// Whether reading is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.slot().connection.is_paused()
    }

    /// How long the last automatic Ping that was answered took to come back, the turns of both loops
    /// included; `None` before the first one. [`Config::ping_interval`] says when they are sent, which
    /// is only in silence.
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.slot().connection.round_trip_time()
    }

    /// Open, closing or closed.
    pub fn state(&self) -> State {
        self.slot().connection.state()
    }

    /// Server for a connection that was accepted, client for one that was
    /// [dialled](Self::connect).
    pub fn role(&self) -> Role {
        self.slot().connection.role()
    }

    /// Which of the [`Routes`](crate::Routes) the connection is for; `None` without routes, or if none
    /// is for it.
    #[inline]
    pub fn route(&self) -> Option<RouteId> {
        self.slot().route
    }

    /// The subprotocol agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.slot().connection.subprotocol()
    }

    /// The parameters of permessage-deflate agreed on; `None` without compression.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.slot().connection.deflate()
    }

    /// The request that opened the connection. It is kept until
    /// [`on_open`](crate::Handler::on_open) returns, and longer where
    /// [`Server::keep_requests`](crate::Server::keep_requests) says so.
    pub fn request(&self) -> Option<&IncomingRequest> {
        self.slot().request.as_ref()
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// The system's, if the peer is gone; [`io::ErrorKind::Unsupported`] for a Unix-domain socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.slot().socket.peer_address()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::Unsupported`] for a Unix-domain socket.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.slot().socket.local_address()
    }

    /// What TLS knows of the peer: its certificate, the name it asked for, the version and the cipher
    /// agreed on; `None` where TLS is not spoken.
    ///
    /// ```no_run
    /// # use framewire::Peer;
    /// fn is_known(peer: &Peer<'_>) -> bool {
    ///     peer.tls().is_some_and(|tls| tls.peer_certificates().is_some())
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&rustls::ServerConnection> {
        self.slot().socket.tls()
    }

    #[inline]
    fn queue(
        &mut self,
        write: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Sent {
        let sent = self.change(|slot, shared| slot.queue(shared, write));
        if matches!(sent, Sent::Dropped(SendError::Full)) {
            self.note_dropped();
        }
        sent
    }

    #[cold]
    fn note_dropped(&mut self) {
        if let Some(slot) = self.core.slots.get_mut(self.id) {
            self.core.backlogs.note_dropped(self.id, slot, &mut self.core.shared);
        }
    }

    /// Changes the connection, and sees to it that what follows is done at the end of the turn.
    #[inline]
    fn change<T>(&mut self, change: impl FnOnce(&mut Slot<S>, &mut Shared) -> T) -> T {
        if self.core.current == Some(self.id) {
            let slot = self.core.slots.get_mut(self.id).expect(PRESENT);
            return change(slot, &mut self.core.shared);
        }
        self.core.change(self.id, change).expect(PRESENT)
    }

    #[inline]
    fn slot(&self) -> &Slot<S> {
        self.core.slots.get(self.id).expect(PRESENT)
    }

    #[inline]
    fn slot_mut(&mut self) -> &mut Slot<S> {
        self.core.slots.get_mut(self.id).expect(PRESENT)
    }
}

/// The others.
impl<S> Peer<'_, S> {
    /// Sends a message to all open connections, this one included; it is encoded, and compressed, once.
    /// Where there are [`Routes`](crate::Routes), all of the same route are meant.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) {
        self.core.broadcast(Scope::Route(self.route()), message.into(), None);
    }

    /// Sends a message to all open connections, whatever their route.
    pub fn broadcast_everywhere(&mut self, message: impl Into<Prepared>) {
        self.core.broadcast(Scope::All, message.into(), None);
    }

    /// Sends a message to all open connections but this one; of the same route, where there are routes.
    pub fn broadcast_others(&mut self, message: impl Into<Prepared>) {
        self.core.broadcast(Scope::Route(self.route()), message.into(), Some(self.id));
    }

    /// Another open connection, by its id; `None` if it is not open any more.
    pub fn to(&mut self, id: PeerId) -> Option<Peer<'_, S>> {
        self.core.peer(id)
    }

    /// The open connections, this one included; ws's `clients`. Of the same route, where there are
    /// routes.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.core.open_peers(Scope::Route(self.route()))
    }

    /// How many connections there are, those that are still opening or closing included.
    pub fn connections(&self) -> usize {
        self.core.slots.len()
    }

    /// Opens a connection to a server from within the loop; it belongs to the route of this one. [`on_open`](crate::Handler::on_open) is
    /// called when it has accepted, and [`on_close`](crate::Handler::on_close) in any case at the end.
    ///
    /// Resolve names elsewhere: that may take long, and all connections would wait for it.
    ///
    /// # Errors
    ///
    /// The system's, if connecting cannot even begin; [`io::ErrorKind::InvalidInput`] for a
    /// [`Config`] that cannot work.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let route = self.route();
        self.core.dial(Socket::connect(address)?, request, config, session, route)
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
        tls: impl Into<std::sync::Arc<rustls::ClientConfig>>,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let socket = Socket::connect_tls(address, server_name, tls.into())?;
        let route = self.route();
        self.core.dial(socket, request, config, session, route)
    }

    /// A handle to the loop, for other threads.
    pub fn handle(&self) -> Handle {
        self.core.handle.clone()
    }
}

const PRESENT: &str = "the connection stays during a call";
