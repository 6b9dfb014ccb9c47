use std::cmp::Reverse;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use crate::protocol::{Compress, Endpoint, Message, Outgoing, Prepared, SendError, Workspace};

use super::slab::PeerId;

/// What to do about a connection whose peer does not take what is sent to it: when more than
/// [`Config::max_buffered_amount`](crate::Config::max_buffered_amount) bytes wait for it, or its share of
/// [`Server::max_buffered_total`](crate::Server::max_buffered_total).
///
/// Only messages are meant: Pings, Pongs and a Close are never refused.
#[doc(alias("closeOnBackpressureLimit", "slow client", "slow reader"))]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlowConsumer {
    /// Further messages are dropped until there is room again.
    #[default]
    DropNew,
    /// Further messages are dropped, except the newest one, which is kept in place of the one before and sent when
    /// the output has come down to [`Config::output_low_water`](crate::Config::output_low_water): one for each topic,
    /// and one that was sent to no topic. Right where a message says how things are, and the next one replaces it;
    /// see [`Peer::send_latest`](crate::Peer::send_latest) for more than one such thing.
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

/// Queues a message.
#[inline]
pub(super) fn enqueue(
    message: Outgoing<'_>,
    endpoint: &mut Endpoint,
    workspace: &mut Workspace,
) -> Result<(), SendError> {
    match message {
        Outgoing::Own(message, compress) => endpoint.send_with(message, compress, workspace),
        Outgoing::Shared(prepared) => endpoint.send_prepared(prepared, workspace),
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

/// What waits for one connection beside its output, and what it has lost. Hardly any connection has one.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Messages of which only the latest for each key is kept, in the order in which the keys came.
    entries: VecDeque<Entry>,
    /// Messages that wait until another, which was begun, is finished.
    behind: VecDeque<Prepared>,
    bytes: usize,
    /// How many messages were dropped of which the handler was not told.
    dropped: u64,
    /// It is to be told of them at the end of the turn.
    is_to_tell: bool,
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

impl Backlog {
    /// How many messages are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.behind.is_empty() && self.dropped == 0 && !self.is_to_tell
    }

    /// Whether the handler is to be told of dropped messages.
    pub(super) fn is_to_tell(&self) -> bool {
        self.is_to_tell
    }

    /// A message was dropped: whether that is the first of which the handler is to be told.
    pub(super) fn note_dropped(&mut self) -> bool {
        self.dropped += 1;
        !mem::replace(&mut self.is_to_tell, true)
    }

    /// How many messages were dropped since the last time.
    pub(super) fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }

    /// The handler was told. What it has lost while it was, it is told the next time, or that has no end.
    pub(super) fn told(&mut self) {
        self.is_to_tell = false;
    }

    /// Whether a message with this key is kept.
    pub(super) fn keeps(&self, hash: u64, key: Key<'_>) -> bool {
        self.position(hash, key).is_some()
    }

    fn position(&self, hash: u64, key: Key<'_>) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let (topic, name) = &entry.key;
            entry.hash == hash && topic.as_deref() == key.topic && name.as_deref() == key.name
        })
    }

    /// Keeps a message in place of the one with the same key: whether it replaced one, or `None` where it
    /// does not fit into `room`.
    pub(super) fn keep(
        &mut self,
        hash: u64,
        key: Key<'_>,
        message: Outgoing<'_>,
        room: Room,
    ) -> Option<Replaced> {
        let length = message.len() + key.len();
        let position = self.position(hash, key);
        let before = position.map_or(0, |at| self.entries[at].length);
        let grows = length > before;
        let too_many = position.is_none() && self.entries.len() >= room.keys;
        let too_long = self.bytes - before + length > room.bytes || room.is_over_share;
        if too_many || (grows && self.bytes > 0 && too_long) {
            return None;
        }
        self.bytes = self.bytes - before + length;
        let message = match message {
            Outgoing::Own(message, compress) => KeptMessage::Own(message.into_owned(), compress),
            Outgoing::Shared(prepared) => KeptMessage::Shared(prepared.clone()),
        };
        match position {
            Some(at) => {
                (self.entries[at].length, self.entries[at].message) = (length, message);
                Some(Replaced::One)
            }
            None => {
                self.entries.push_back(Entry { hash, key: key.owned(), length, message });
                Some(Replaced::None)
            }
        }
    }

    /// Has a message wait until another is finished.
    pub(super) fn wait_behind(&mut self, prepared: &Prepared) {
        self.bytes += prepared.len();
        self.behind.push_back(prepared.clone());
    }

    /// The first of those that wait so.
    pub(super) fn first_behind(&self) -> Option<&Prepared> {
        self.behind.front()
    }

    /// Forgets that one.
    pub(super) fn remove_first_behind(&mut self) {
        if let Some(prepared) = self.behind.pop_front() {
            self.bytes -= prepared.len();
        }
    }

    /// The message that is to be sent first.
    pub(super) fn first(&self) -> Option<Outgoing<'_>> {
        self.entries.front().map(|entry| match &entry.message {
            KeptMessage::Own(message, compress) => Outgoing::Own(message.borrowed(), *compress),
            KeptMessage::Shared(prepared) => Outgoing::Shared(prepared),
        })
    }

    /// Forgets that one.
    pub(super) fn remove_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.length;
        }
    }
}

/// What may be kept for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) keys: usize,
    pub(super) bytes: usize,
    /// More waits for it than its share of what may wait for all.
    pub(super) is_over_share: bool,
}

/// Whether a message that is kept replaced another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaced {
    One,
    None,
}

/// How much waits for all connections of a loop, and how much of that for which.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) limits: BacklogLimits,
    hasher: RandomState,
    /// How many bytes wait for each connection, by the index of its id, where they are limited.
    counted: Vec<usize>,
    total: usize,
    /// For how many connections bytes wait.
    holders: usize,
}

impl Buffered {
    pub(super) fn new(limits: BacklogLimits) -> Self {
        let (hasher, counted) = (RandomState::new(), Vec::new());
        Self { limits, hasher, counted, total: 0, holders: 0 }
    }

    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.limits.total < usize::MAX
    }

    /// Whether more waits than is allowed.
    #[inline]
    pub(super) fn is_too_much(&self) -> bool {
        self.total > self.limits.total
    }

    /// How many bytes wait for all connections, where they are limited.
    pub(super) fn total(&self) -> Option<usize> {
        self.is_limited().then_some(self.total)
    }

    pub(super) fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one((key.topic, key.name))
    }

    /// Takes note of how many bytes wait for a connection, where that is limited.
    pub(super) fn set(&mut self, id: PeerId, bytes: usize) {
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
    pub(super) fn is_over_share(&self, id: PeerId, length: usize) -> bool {
        let BacklogLimits { total, .. } = self.limits;
        self.is_limited()
            && self.total.saturating_add(length) > total
            && self.counted(id).saturating_add(length) > total / self.holders.max(1)
    }

    /// Of these connections, those to drop so that what waits for the others is within the limit: those for
    /// which most waits.
    pub(super) fn to_evict(&self, connections: impl Iterator<Item = PeerId>) -> Vec<PeerId> {
        let mut holders: Vec<_> = connections
            .map(|id| (Reverse(self.counted(id)), id))
            .filter(|&(Reverse(bytes), _)| bytes > 0)
            .collect();
        holders.sort_unstable();
        let waiting: usize = holders.iter().map(|&(Reverse(bytes), _)| bytes).sum();
        let mut excess = waiting.saturating_sub(self.limits.total);
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
