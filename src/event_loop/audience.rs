use std::sync::Arc;

use super::route::{RouteId, Scope};
use super::slab::PeerId;

/// Which connections a message is published to: everyone, those of a route, or the subscribers of a topic.
///
/// [`Peer::publish`](crate::Peer::publish), [`Handle::publish`](crate::Handle::publish) and
/// [`EventLoop::publish`](crate::EventLoop::publish) take one, and reach exactly the connections that it names: the
/// sender too, if it is one of them, unless [`except`](Self::except) leaves it out. A string by itself is the name of
/// a topic.
///
/// ```
/// use framewire::{Audience, Peer};
///
/// fn on_move(peer: &mut Peer<'_>, room: &str, player: &str, position: String) {
///     // To all subscribers of a topic.
///     peer.publish(room, "somebody moves");
///     // To everyone else.
///     peer.publish(Audience::everyone().except(peer.id()), "somebody moves somewhere");
///     // To all of the same route; a peer that lags behind gets only the newest position of this player.
///     peer.publish(Audience::route(peer.route()).latest(player), position);
/// }
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Audience<'a>(Selection<&'a str>);

impl<'a> Audience<'a> {
    /// All open connections, whatever their route, in all loops that work together.
    pub fn everyone() -> Self {
        Self::of(Recipients::Open(Scope::All))
    }

    /// The open connections of a route, which [`Routes::id`](crate::Routes::id) names. With
    /// [`Peer::route`](crate::Peer::route), those of the same route as that peer; `None` means the connections that
    /// are for no route: all of them, where there are no [`Routes`](crate::Routes).
    pub fn route(route: impl Into<Option<RouteId>>) -> Self {
        Self::of(Recipients::Open(Scope::Route(route.into())))
    }

    /// The open subscribers of a topic; see [`Peer::subscribe`](crate::Peer::subscribe).
    pub fn topic(name: &'a str) -> Self {
        Self::of(Recipients::Subscribers(name))
    }

    /// Leaves out one connection, whether or not it belongs to the audience. Only one can be left out: a second call
    /// replaces the first.
    #[doc(alias("socket.broadcast", "everyone but the sender"))]
    pub fn except(mut self, id: PeerId) -> Self {
        self.0.except = Some(id);
        self
    }

    /// Sends only the newest message with this key to connections that do not keep up, as
    /// [`Peer::send_latest`](crate::Peer::send_latest) does for one. A key of a topic is another one than the same
    /// key of another topic. Those of everyone, of routes and of `send_latest` are the same.
    pub fn latest(mut self, key: &'a str) -> Self {
        self.0.key = Some(key);
        self
    }

    fn of(recipients: Recipients<&'a str>) -> Self {
        Self(Selection { recipients, except: None, key: None })
    }

    pub(super) fn selection(self) -> Selection<&'a str> {
        self.0
    }
}

/// The subscribers of the topic with this name.
impl<'a> From<&'a str> for Audience<'a> {
    fn from(topic: &'a str) -> Self {
        Self::topic(topic)
    }
}

/// The subscribers of the topic with this name.
impl<'a> From<&'a String> for Audience<'a> {
    fn from(topic: &'a String) -> Self {
        Self::topic(topic)
    }
}

/// The open connections of this route.
impl From<RouteId> for Audience<'_> {
    fn from(route: RouteId) -> Self {
        Self::route(route)
    }
}

/// An audience, with names that are borrowed or, on the way to another loop, shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Selection<T> {
    pub(super) recipients: Recipients<T>,
    pub(super) except: Option<PeerId>,
    /// Only the newest message with this key counts.
    pub(super) key: Option<T>,
}

/// Those who get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Recipients<T> {
    /// Open connections.
    Open(Scope),
    /// The open ones of those that have subscribed to a topic.
    Subscribers(T),
}

impl Selection<&str> {
    /// For another loop.
    pub(super) fn shared(self) -> Selection<Arc<str>> {
        let recipients = match self.recipients {
            Recipients::Open(scope) => Recipients::Open(scope),
            Recipients::Subscribers(topic) => Recipients::Subscribers(topic.into()),
        };
        Selection { recipients, except: self.except, key: self.key.map(Arc::from) }
    }
}

impl Selection<Arc<str>> {
    pub(super) fn borrowed(&self) -> Selection<&str> {
        let recipients = match &self.recipients {
            Recipients::Open(scope) => Recipients::Open(*scope),
            Recipients::Subscribers(topic) => Recipients::Subscribers(&**topic),
        };
        Selection { recipients, except: self.except, key: self.key.as_deref() }
    }
}
