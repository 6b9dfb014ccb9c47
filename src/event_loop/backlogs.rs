use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::mem;

use crate::protocol::{Compress, Endpoint, Message, Prepared, SendError, State};
use crate::wire::CloseCode;

use super::core::{Core, Shared, Slot};
use super::counting::Counting;
use super::event_loop::EventLoop;
use super::handler::Handler;
use super::logging::event;
use super::peer::{Peer, Sent};
use super::slots::PeerId;

/// What is done about a connection whose peer does not take what is sent to it: when more than
/// [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes wait for it, or its share of
/// [`Server::max_buffered_total`](crate::Server::max_buffered_total).
///
/// Only messages are meant: Pings, Pongs and a Close are never refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// Further messages are dropped until there is room again.
    #[default]
    DropNew,
    /// The same, but of those that would be dropped the newest is kept in place of the one before, and
    /// sent when the output has come down to
    /// [`Config::output_low_water`](crate::Config::output_low_water): one for each topic, and one that
    /// was sent to no topic. Right where a message says how things are, and the next one replaces it; see
    /// [`Peer::send_latest`] for more than one such thing.
    Latest,
    /// The connection is closed with 1013 (try again later): its peer may come back and begin anew. What
    /// waits may still be read within [`Config::close_timeout`](crate::Config::close_timeout).
    Close,
}

/// What may wait in a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct BacklogLimits {
    pub(super) policy: SlowConsumer,
    /// Bytes for all connections; `usize::MAX` for any number, which is then not counted.
    pub(super) total: usize,
    /// Messages that are kept for one connection.
    pub(super) keys: usize,
}

impl Default for BacklogLimits {
    fn default() -> Self {
        Self { policy: SlowConsumer::default(), total: usize::MAX, keys: 1024 }
    }
}

/// A message on its way to a connection.
#[derive(Debug)]
pub(super) enum Outgoing<'m> {
    Own(Message<'m>, Compress),
    Shared(&'m Prepared),
}

impl Outgoing<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Own(message, _) => message.len(),
            Self::Shared(prepared) => prepared.len(),
        }
    }
}

/// What a message replaces while it waits: the one with the same key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key<'k> {
    pub(super) topic: Option<&'k str>,
    /// `None` for a message that was sent without one.
    pub(super) name: Option<&'k str>,
}

impl Key<'_> {
    fn owned(self) -> OwnedKey {
        (self.topic.map(Box::from), self.name.map(Box::from))
    }

    fn len(self) -> usize {
        self.topic.map_or(0, str::len) + self.name.map_or(0, str::len)
    }
}

type OwnedKey = (Option<Box<str>>, Option<Box<str>>);

/// What waits for slow consumers beside their output, and what it comes to.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    pub(super) limits: BacklogLimits,
    hasher: RandomState,
    kept: HashMap<PeerId, Kept>,
    /// How many messages each connection has lost of which the handler was not told.
    dropped: HashMap<PeerId, u64>,
    /// How many bytes wait for each connection, by the index of its id, where they are limited.
    counted: Vec<usize>,
    total: usize,
    /// How many messages were dropped in all.
    dropped_ever: u64,
    /// For how many connections bytes wait.
    holders: usize,
}

/// Messages of which only the latest for each key is kept, in the order in which the keys came.
#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: OwnedKey,
    length: usize,
    message: KeptMessage,
}

/// Neither is compressed yet: that is done when it is sent, if it is.
#[derive(Debug)]
enum KeptMessage {
    Own(Message<'static>, Compress),
    Shared(Prepared),
}

impl Backlogs {
    pub(super) fn new(limits: BacklogLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    fn is_limited(&self) -> bool {
        self.limits.total < usize::MAX
    }

    /// Gives a new connection the policy of the server.
    pub(super) fn adopt<S>(&self, slot: &mut Slot<S>) {
        slot.slow = self.limits.policy;
        self.govern(slot);
    }

    /// Whether messages to a connection with this policy have to come to [`send`](Self::send).
    pub(super) fn govern<S>(&self, slot: &mut Slot<S>) {
        slot.governed = slot.kept || slot.slow == SlowConsumer::Latest || self.is_limited();
    }

    /// Sends a message, keeps it for later, or drops it.
    pub(super) fn send<S>(
        &mut self,
        id: PeerId,
        slot: &mut Slot<S>,
        key: Key<'_>,
        message: Outgoing<'_>,
        shared: &mut Shared,
    ) -> Sent {
        let open = slot.connection.state() == State::Open;
        let full = open && (slot.connection.is_full() || self.is_over_share(id, message.len()));
        let waits = match key.name {
            Some(_) => slot.kept || full || slot.connection.is_congested(),
            None if slot.slow == SlowConsumer::Latest => full || (slot.kept && self.keeps(id, key)),
            None => false,
        };
        let sent = if waits && open {
            self.keep(id, slot, key, message, &mut shared.counting)
        } else if full {
            Sent::Dropped(SendError::Full)
        } else {
            slot.queue(shared, |connection, workspace| match message {
                Outgoing::Own(message, compress) => {
                    connection.send_with(message, compress, workspace)
                }
                Outgoing::Shared(prepared) => connection.send_prepared(prepared, workspace),
            })
        };
        if matches!(sent, Sent::Dropped(SendError::Full)) {
            self.note_dropped(id, slot, shared);
        }
        self.count(id, slot);
        sent
    }

    /// The same with the workspace that the connection has.
    pub(super) fn send_prepared<S>(
        &mut self,
        id: PeerId,
        slot: &mut Slot<S>,
        key: Key<'_>,
        prepared: &Prepared,
        shared: &mut Shared,
    ) -> Sent {
        if slot.governed || key.name.is_some() {
            return self.send(id, slot, key, Outgoing::Shared(prepared), shared);
        }
        let sent = slot
            .queue(shared, |connection, workspace| connection.send_prepared(prepared, workspace));
        if matches!(sent, Sent::Dropped(SendError::Full)) {
            self.note_dropped(id, slot, shared);
        }
        sent
    }

    /// A message could not be sent since too much waits already.
    #[cold]
    pub(super) fn note_dropped<S>(&mut self, id: PeerId, slot: &mut Slot<S>, shared: &mut Shared) {
        if !std::mem::replace(&mut slot.dropped, true) {
            event!(Debug, "limits", "{id} does not take what is sent: messages are dropped");
        }
        self.count_dropped(id);
        if slot.slow == SlowConsumer::Close {
            // A connection that is closing already needs no second Close.
            let _ = slot.connection.close(
                CloseCode::TRY_AGAIN_LATER,
                "too much output waits",
                &mut shared.workspace,
            );
        }
    }

    fn count_dropped(&mut self, id: PeerId) {
        *self.dropped.entry(id).or_default() += 1;
        self.dropped_ever += 1;
    }

    pub(super) fn dropped_ever(&self) -> u64 {
        self.dropped_ever
    }

    /// How many bytes wait for all connections, where they are limited.
    pub(super) fn total(&self) -> Option<usize> {
        self.is_limited().then_some(self.total)
    }

    /// How many messages were dropped since the last time.
    pub(super) fn take_dropped(&mut self, id: PeerId) -> u64 {
        self.dropped.remove(&id).unwrap_or_default()
    }

    /// How many messages are kept for a connection.
    pub(super) fn kept(&self, id: PeerId) -> usize {
        self.kept.get(&id).map_or(0, |kept| kept.entries.len())
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one((key.topic, key.name))
    }

    fn keeps(&self, id: PeerId, key: Key<'_>) -> bool {
        let hash = self.hash(key);
        self.kept.get(&id).is_some_and(|kept| kept.position(hash, key).is_some())
    }

    fn keep<S>(
        &mut self,
        id: PeerId,
        slot: &mut Slot<S>,
        key: Key<'_>,
        message: Outgoing<'_>,
        counting: &mut Counting,
    ) -> Sent {
        let hash = self.hash(key);
        let length = message.len() + key.len();
        let most = slot.connection.max_buffered_amount();
        let over_share = self.is_over_share(id, message.len());
        let kept = self.kept.entry(id).or_default();
        let position = kept.position(hash, key);
        let replaced = position.map_or(0, |at| kept.entries[at].length);
        let grows = length > replaced;
        let too_many = position.is_none() && kept.entries.len() >= self.limits.keys;
        if too_many
            || (grows && kept.bytes > 0 && (kept.bytes - replaced + length > most || over_share))
        {
            return Sent::Dropped(SendError::Full);
        }
        kept.bytes = kept.bytes - replaced + length;
        let message = match message {
            Outgoing::Own(message, compress) => KeptMessage::Own(message.into_owned(), compress),
            Outgoing::Shared(prepared) => KeptMessage::Shared(prepared.clone()),
        };
        match position {
            Some(at) => {
                (kept.entries[at].length, kept.entries[at].message) = (length, message);
                if key.name.is_none() {
                    // Nobody has said that the one before might be replaced.
                    slot.dropped = true;
                    self.count_dropped(id);
                }
            }
            None => kept.entries.push_back(Entry { hash, key: key.owned(), length, message }),
        }
        (slot.kept, slot.governed) = (true, true);
        slot.hold_back(counting);
        Sent::Kept
    }

    /// Queues what is kept for a connection while `room` says that there is room for it; whether anything
    /// was.
    pub(super) fn release<S>(
        &mut self,
        id: PeerId,
        slot: &mut Slot<S>,
        shared: &mut Shared,
        room: impl Fn(&Endpoint) -> bool,
    ) -> bool {
        let mut released = false;
        if let Some(kept) = self.kept.get_mut(&id) {
            while room(&slot.connection)
                && let Some(entry) = kept.entries.front()
            {
                let sent = slot.queue(shared, |connection, workspace| match &entry.message {
                    KeptMessage::Own(message, compress) => {
                        connection.send_with(message.borrowed(), *compress, workspace)
                    }
                    KeptMessage::Shared(prepared) => connection.send_prepared(prepared, workspace),
                });
                if matches!(sent, Sent::Dropped(SendError::UnfinishedMessage)) {
                    // Its turn comes when that one is finished.
                    break;
                }
                released = true;
                kept.bytes -= entry.length;
                kept.entries.pop_front();
            }
            if kept.entries.is_empty() {
                self.kept.remove(&id);
                slot.kept = false;
                self.govern(slot);
            }
        }
        self.count(id, slot);
        released
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: PeerId) {
        // Every connection that ends comes here, and hardly any has something kept or dropped.
        if !self.kept.is_empty() {
            self.kept.remove(&id);
        }
        if !self.dropped.is_empty() {
            self.dropped.remove(&id);
        }
        self.set_count(id, 0);
    }

    /// Takes note of how many bytes wait for a connection, where that is limited.
    pub(super) fn count<S>(&mut self, id: PeerId, slot: &Slot<S>) {
        if self.is_limited() {
            let kept = self.kept.get(&id).map_or(0, |kept| kept.bytes);
            self.set_count(id, slot.connection.buffered_amount() + kept);
        }
    }

    fn set_count(&mut self, id: PeerId, bytes: usize) {
        if !self.is_limited() {
            return;
        }
        if self.counted.len() <= id.index() {
            self.counted.resize(id.index() + 1, 0);
        }
        let before = mem::replace(&mut self.counted[id.index()], bytes);
        self.total = self.total - before + bytes;
        self.holders = self.holders - usize::from(before > 0) + usize::from(bytes > 0);
    }

    fn counted(&self, id: PeerId) -> usize {
        self.counted.get(id.index()).copied().unwrap_or_default()
    }

    /// Whether this message would be too much for all connections together, and this connection is one
    /// of those that it is too much for: what others do not read takes nothing from who reads.
    fn is_over_share(&self, id: PeerId, length: usize) -> bool {
        let BacklogLimits { total, .. } = self.limits;
        self.is_limited()
            && self.total.saturating_add(length) > total
            && self.counted(id).saturating_add(length) > total / self.holders.max(1)
    }
}

impl Kept {
    fn position(&self, hash: u64, key: Key<'_>) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let (topic, name) = &entry.key;
            entry.hash == hash && topic.as_deref() == key.topic && name.as_deref() == key.name
        })
    }
}

impl<S> Core<S> {
    /// Sends one message the long way round, past what is kept and counted.
    #[cold]
    pub(super) fn send_governed(
        &mut self,
        id: PeerId,
        key: Key<'_>,
        message: Outgoing<'_>,
    ) -> Sent {
        let Some(slot) = self.slots.get_mut(id) else { return Sent::Dropped(SendError::Closed) };
        let sent = self.backlogs.send(id, slot, key, message, &mut self.shared);
        if self.current != Some(id) {
            slot.unsettle(id, &mut self.unsettled);
        }
        sent
    }

    /// Queues all that is kept for a connection that is about to be closed.
    pub(super) fn release_all(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.kept) {
            self.backlogs.release(id, slot, &mut self.shared, |_| true);
        }
    }

    /// The connections to drop so that what waits for the others is within the limit: those for which
    /// most waits.
    fn to_evict(&self) -> Vec<PeerId> {
        let mut holders: Vec<_> = self
            .slots
            .iter()
            // What those have was not offered to the socket yet.
            .filter(|(_, slot)| !slot.unsettled)
            .map(|(id, _)| (Reverse(self.backlogs.counted(id)), id))
            .filter(|&(Reverse(bytes), _)| bytes > 0)
            .collect();
        holders.sort_unstable();
        let waiting: usize = holders.iter().map(|&(Reverse(bytes), _)| bytes).sum();
        let mut excess = waiting.saturating_sub(self.backlogs.limits.total);
        let mut evicted = Vec::new();
        for (Reverse(bytes), id) in holders {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            evicted.push(id);
        }
        evicted
    }
}

impl<H: Handler> EventLoop<H> {
    /// Drops those for which most waits, where more waits than is allowed.
    pub(super) fn evict(&mut self) {
        if self.core.backlogs.total > self.core.backlogs.limits.total {
            for id in self.core.to_evict() {
                if let Some(slot) = self.core.slots.get_mut(id) {
                    (slot.doomed, slot.cut) = (true, true);
                    event!(Info, "limits", "{id} is dropped: most of what waits is for it");
                    self.settle_turn(id);
                }
            }
        }
    }

    /// Tells the handler of the messages that this connection has lost.
    pub(super) fn tell_of_dropped(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get(id)
            && slot.dropped
            && slot.session.is_some()
        {
            let count = self.core.backlogs.take_dropped(id);
            self.handler.on_dropped(&mut Peer::new(&mut self.core, id), count);
            // Who sends there and loses that, too, is told of it the next time, or that has no end.
            if let Some(slot) = self.core.slots.get_mut(id) {
                slot.dropped = false;
            }
        }
    }
}
