use crate::protocol::{Compress, Message, Prepared};

use super::backlogs::{Key, Outgoing, SlowConsumer};
use super::event_loop::EventLoop;
use super::handle::{Command, Handle};
use super::handler::Handler;
use super::peer::{Peer, Sent};
use super::slots::PeerId;

/// Slow consumers: what becomes of messages to a peer that does not take them as fast as they are sent.
impl<S> Peer<'_, S> {
    /// Sends a message that says how things are now, such as a price or a position: to a peer that keeps
    /// up, at once; to one that does not, only the newest with this key.
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
    pub fn send_latest<'m>(&mut self, key: &str, message: impl Into<Message<'m>>) -> Sent {
        let key = Key { topic: None, name: Some(key) };
        let message = Outgoing::Own(message.into(), Compress::Threshold);
        self.core.send_governed(self.id, key, message)
    }

    pub(super) fn send_latest_prepared(&mut self, key: &str, prepared: &Prepared) -> Sent {
        let key = Key { topic: None, name: Some(key) };
        self.core.send_governed(self.id, key, Outgoing::Shared(prepared))
    }

    /// [Publishes](Self::publish) a message of which each subscriber that does not keep up gets only the
    /// newest with this key, as by [`send_latest`](Self::send_latest). A key of one topic is another one
    /// than the same key of another topic.
    pub fn publish_latest(
        &mut self,
        topic: &str,
        key: &str,
        message: impl Into<Prepared>,
    ) -> usize {
        self.core.publish(topic, Some(key), Some(self.id), message)
    }

    /// The same, and to this connection too if it is a subscriber.
    pub fn publish_latest_all(
        &mut self,
        topic: &str,
        key: &str,
        message: impl Into<Prepared>,
    ) -> usize {
        self.core.publish(topic, Some(key), None, message)
    }

    /// How many messages are [kept](Self::send_latest) for this connection.
    pub fn kept_messages(&self) -> usize {
        self.core.backlogs.kept(self.id)
    }

    /// Says what is done when too much waits for this connection, in place of what
    /// [`Server::slow_consumer`](crate::Server::slow_consumer) says for all.
    pub fn set_slow_consumer(&mut self, policy: SlowConsumer) {
        if let Some(slot) = self.core.slots.get_mut(self.id) {
            slot.slow = policy;
            self.core.backlogs.govern(slot);
        }
    }
}

/// Slow consumers; see [`Peer::send_latest`].
impl<H: Handler> EventLoop<H> {
    /// Publishes a message, in the next turn, of which each subscriber that does not keep up gets only the
    /// newest with this key; to how many.
    pub fn publish_latest(
        &mut self,
        topic: &str,
        key: &str,
        message: impl Into<Prepared>,
    ) -> usize {
        self.core.publish(topic, Some(key), None, message)
    }
}

/// Slow consumers; see [`Peer::send_latest`](crate::Peer::send_latest).
impl Handle {
    /// Sends a message to one connection, which gets only the newest with this key if it does not keep up.
    pub fn send_latest(&self, id: PeerId, key: &str, message: impl Into<Prepared>) {
        self.order_of(id, Command::SendLatest(id, key.into(), message.into()));
    }

    /// Publishes a message of which each subscriber that does not keep up gets only the newest with this
    /// key.
    pub fn publish_latest(&self, topic: &str, key: &str, message: impl Into<Prepared>) {
        self.publish_by_handle(topic, Some(key), message.into(), None);
    }
}
