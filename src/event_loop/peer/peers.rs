use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::event_loop::audience::Audience;
use crate::event_loop::core::Core;
use crate::event_loop::counters::Counters;
use crate::event_loop::handle::Handle;
use crate::event_loop::route::Scope;
use crate::event_loop::slab::PeerId;
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
    core: &'l mut Core<S>,
    scope: Scope,
}

impl<S> fmt::Debug for Peers<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'l, S> Peers<'l, S> {
    pub(in crate::event_loop) fn new(core: &'l mut Core<S>, scope: Scope) -> Self {
        Self { core, scope }
    }
}

impl<S> Peers<'_, S> {
    /// One open connection by its id, whatever its route; `None` if it is not open, or not one of this loop.
    pub fn get(&mut self, id: PeerId) -> Option<Peer<'_, S>> {
        Peer::of(self.core, id)
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
    pub fn for_each(&mut self, mut function: impl FnMut(&mut Peer<'_, S>)) {
        // Nobody joins or leaves the slab during a call but by dialling: whoever is dialled meanwhile is not open.
        for index in 0..self.core.slab.places() {
            let Some(id) = self.core.slab.id_at(index) else { continue };
            let Some(mut peer) = Peer::of(self.core, id) else { continue };
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

    /// Sends a message to the open connections of this loop for which `condition` holds, whatever their route; returns
    /// to how many. It is encoded once, and not at all if it is for nobody. Each connection is asked about, so a topic
    /// is cheaper where the same few are meant again and again, and it reaches the other loops as well.
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
        condition: impl FnMut(&Peer<'_, S>) -> bool,
        message: impl Into<Prepared>,
    ) -> usize {
        Peer::broadcast_in(self.core, condition, message)
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
    #[must_use]
    pub fn subscribers_of(&self, topic: &str) -> Vec<PeerId> {
        let subscribers = self.core.topics.subscribers(topic).iter();
        subscribers.copied().filter(|&id| self.core.is_peer(id)).collect()
    }

    /// How many connections have subscribed to a topic, in all loops that work together, those included that are
    /// closing.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.subscribers(topic)
    }

    /// All topics that have subscribers in this loop, with their number, in no particular order.
    pub fn topics(&self) -> impl Iterator<Item = (&str, usize)> {
        self.core.topics.iter()
    }

    /// Opens a connection to a server; see [`Peer::connect`]. It belongs to the route whose peers these are, if they
    /// are those of one.
    ///
    /// # Errors
    ///
    /// The system's, if connecting cannot even begin; [`io::ErrorKind::InvalidInput`] for a [`Config`] that cannot
    /// work; [`io::ErrorKind::NotConnected`] once a shutdown has begun.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        request: ClientRequest,
        config: &Config,
        session: S,
    ) -> io::Result<PeerId> {
        let socket = self.core.registry.connect(address)?;
        self.core.dial(socket, request, config, session, self.scope.route())
    }

    /// Opens a connection to a server over TLS; see [`Peer::connect_tls`].
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
        self.core.dial(socket, request, config, session, self.scope.route())
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
