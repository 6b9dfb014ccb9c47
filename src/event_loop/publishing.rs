use std::sync::atomic::Ordering;

use crate::protocol::{Prepared, State};

use super::backlogs::Key;
use super::core::Core;
use super::event_loop::EventLoop;
use super::handle::{Command, Handle};
use super::handler::Handler;
use super::peer::Peer;
use super::route::Scope;
use super::slots::PeerId;
use super::topics::{Subscribed, TopicError};

impl<S> Core<S> {
    pub(super) fn subscribe(&mut self, id: PeerId, topic: &str) -> Subscribed {
        let slot = self.slots.get(id);
        if slot.is_none_or(|slot| slot.connection.state() != State::Open) {
            return Subscribed::Refused(TopicError::NotOpen);
        }
        self.topics.subscribe(id, topic)
    }

    /// The same for a handle, which has had it counted already.
    pub(super) fn subscribe_as_ordered(&mut self, id: PeerId, topic: &str) {
        let _ = self.subscribe(id, topic);
        let Handle { loops, home } = &self.handle;
        if loops.are_many() {
            loops.discount_subscriber(topic, *home);
        }
    }

    /// How many connections have subscribed to a topic, in all loops.
    pub(super) fn subscribers(&self, topic: &str) -> usize {
        let loops = &self.handle.loops;
        if loops.are_many() {
            return loops.subscribers(topic);
        }
        self.topics.subscribers(topic).len()
    }

    /// Sends to all open connections of all loops within a scope, but perhaps to one.
    pub(super) fn broadcast(&mut self, scope: Scope, prepared: Prepared, except: Option<PeerId>) {
        self.outbox.order_others(|| Command::Broadcast(scope, prepared.clone(), except));
        self.broadcast_here(scope, prepared, except);
    }

    /// Sends to the open subscribers of a topic, in all loops, what `message` makes, if there are any; to
    /// how many.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        key: Option<&str>,
        except: Option<PeerId>,
        message: impl Into<Prepared>,
    ) -> usize {
        let Handle { loops, home } = &self.handle;
        let others = if loops.are_many() { loops.others(topic, *home) } else { None };
        let subscribers = self.topics.subscribers(topic);
        if others.is_none() && subscribers.iter().all(|&id| Some(id) == except) {
            return 0;
        }
        let prepared = message.into();
        let mut count = 0;
        if let Some((name, counts)) = others {
            for (number, subscribers) in counts.iter().enumerate() {
                let subscribers = subscribers.load(Ordering::SeqCst);
                if number != *home && subscribers > 0 {
                    let (name, key) = (name.clone(), key.map(Box::from));
                    self.outbox
                        .order(number, Command::Publish(name, key, prepared.clone(), except));
                    count += subscribers;
                }
            }
        }
        count + self.publish_here(topic, key, except, &prepared)
    }

    /// Sends to the open subscribers of a topic in this loop; to how many.
    pub(super) fn publish_here(
        &mut self,
        topic: &str,
        key: Option<&str>,
        except: Option<PeerId>,
        prepared: &Prepared,
    ) -> usize {
        self.spread();
        let key = Key { topic: Some(topic), name: key };
        let subscribers = self.topics.subscribers(topic);
        let mut count = 0;
        for &id in subscribers {
            if Some(id) != except
                && let Some(slot) = self.slots.get_mut(id)
                && slot.connection.state() == State::Open
            {
                let sent = self.backlogs.send_prepared(id, slot, key, prepared, &mut self.shared);
                count += usize::from(!sent.is_dropped());
                slot.unsettle(id, &mut self.unsettled);
            }
        }
        count
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
    /// Has this connection get what is published to a topic from now on.
    ///
    /// ```
    /// use framewire::{Peer, Subscribed};
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
    ///             peer.publish(&room, line);
    ///         }
    ///     }
    /// }
    /// # fn main() -> std::io::Result<()> {
    /// let server = framewire::Server::bind("127.0.0.1:0")?;
    /// let mut event_loop = server.on_message(|peer, message| {
    ///     if let Some(line) = message.as_text() {
    ///         on_line(peer, line);
    ///     }
    /// })?;
    /// # event_loop.handle().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    /// event_loop.run()
    /// # }
    /// ```
    pub fn subscribe(&mut self, topic: &str) -> Subscribed {
        self.core.subscribe(self.id, topic)
    }

    /// Ends that again; whether this connection had subscribed.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.core.topics.unsubscribe(self.id, topic)
    }

    /// Whether this connection has subscribed to a topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.core.topics.is_subscribed(self.id, topic)
    }

    /// The topics that this connection has subscribed to, in no particular order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.core.topics.of(self.id)
    }

    /// Sends a message to all subscribers of a topic but this connection, which need not be one; to how
    /// many. It is encoded, and compressed, once, and not at all if there is nobody.
    ///
    /// Each of them gets it behind what it was sent before, and before what it is sent later. What is
    /// dropped for one, as `send` would answer [`Sent::Dropped`](crate::Sent::Dropped), is not counted.
    pub fn publish(&mut self, topic: &str, message: impl Into<Prepared>) -> usize {
        self.core.publish(topic, None, Some(self.id), message)
    }

    /// The same, and to this connection too if it is a subscriber.
    pub fn publish_all(&mut self, topic: &str, message: impl Into<Prepared>) -> usize {
        self.core.publish(topic, None, None, message)
    }

    /// How many connections have subscribed to a topic, those included that are closing.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.subscribers(topic)
    }

    /// All topics that have subscribers in this loop, with their number, in no particular order.
    pub fn all_topics(&self) -> impl Iterator<Item = (&str, usize)> {
        self.core.topics.iter()
    }
}

/// Topics; see [`Peer::subscribe`].
impl<H: Handler> EventLoop<H> {
    /// Sends a message to all subscribers of a topic, in the next turn; to how many.
    pub fn publish(&mut self, topic: &str, message: impl Into<Prepared>) -> usize {
        self.core.publish(topic, None, None, message)
    }

    /// How many connections have subscribed to a topic, those included that are closing.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.subscribers(topic)
    }

    /// All topics that have subscribers, with their number, in no particular order.
    pub fn all_topics(&self) -> impl Iterator<Item = (&str, usize)> {
        self.core.topics.iter()
    }

    /// Tells the handler of topics that have their first subscriber, or none any more.
    pub(super) fn tell_of_topics(&mut self) {
        if self.core.topics.have_turned() {
            let handler = &mut self.handler;
            self.core.topics.tell(|topic, count| handler.on_subscription(topic, count));
        }
    }
}

/// Topics; see [`Peer::subscribe`](crate::Peer::subscribe).
impl Handle {
    /// Sends a message to all subscribers of a topic. It is encoded in this thread.
    pub fn publish(&self, topic: &str, message: impl Into<Prepared>) {
        self.publish_by_handle(topic, None, message.into(), None);
    }

    /// Sends a message to all subscribers of a topic but one.
    pub fn publish_except(&self, id: PeerId, topic: &str, message: impl Into<Prepared>) {
        self.publish_by_handle(topic, None, message.into(), Some(id));
    }

    /// Has a connection get what is published to a topic from now on: also what this handle publishes
    /// right behind it. Nobody is told if it is refused, as [`Peer::subscribe`](crate::Peer::subscribe)
    /// would be.
    pub fn subscribe(&self, id: PeerId, topic: &str) {
        let number = id.loop_number();
        if self.loops.are_many() {
            // So that what is published before the loop has come to it is sent there.
            self.loops.count_subscriber(topic, number);
        }
        self.loops.order(number, Command::Subscribe(id, topic.into()));
    }

    /// Ends that again.
    pub fn unsubscribe(&self, id: PeerId, topic: &str) {
        self.order_of(id, Command::Unsubscribe(id, topic.into()));
    }

    /// Orders it of all loops that have subscribers.
    pub(super) fn publish_by_handle(
        &self,
        topic: &str,
        key: Option<&str>,
        prepared: Prepared,
        except: Option<PeerId>,
    ) {
        if !self.loops.are_many() {
            return self.order(Command::Publish(
                topic.into(),
                key.map(Box::from),
                prepared,
                except,
            ));
        }
        // There is no loop with this number: all are others.
        if let Some((name, counts)) = self.loops.others(topic, usize::MAX) {
            for (number, subscribers) in counts.iter().enumerate() {
                if subscribers.load(Ordering::SeqCst) > 0 {
                    let (name, key) = (name.clone(), key.map(Box::from));
                    let order = Command::Publish(name, key, prepared.clone(), except);
                    self.loops.order(number, order);
                }
            }
        }
    }
}
