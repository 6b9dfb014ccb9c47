use std::mem;
use std::sync::Arc;

use crate::protocol::Prepared;

use super::backlog::Key;
use super::route::{RouteId, Scope};
use super::slab::PeerId;

/// How many broadcasts, and how many bytes of them, wait for the end of the turn.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 * 1024;

/// Messages to all open connections that wait for the end of the turn: each connection is then looked at
/// once for all of them, and they go out from the buffer that the connections share.
///
/// **Invariant.** Nobody can tell. Whatever else is queued for a connection, or makes one open, comes
/// after them; the connection whose turn it is does not wait, for the engine may queue replies.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    waiting: BroadcastList,
    bytes: usize,
    /// Those that are being sent, to one connection after the other: each has its turn then, in which more may come.
    sending: BroadcastList,
    /// The first place whose connection has not got them.
    next: usize,
}

/// Such messages.
#[derive(Debug, Default)]
pub(super) struct BroadcastList {
    list: Vec<Broadcast>,
    /// For whom they are; each scope once.
    scopes: Vec<Scope>,
    /// Connections that did not wait, and how many of the first ones are done for each; by their ids.
    ahead: Vec<(PeerId, usize)>,
}

#[derive(Debug)]
pub(super) struct Broadcast {
    scope: Scope,
    /// Only the newest message with this key counts.
    key: Option<Arc<str>>,
    prepared: Prepared,
    /// Those that do not get it, or have got it.
    except: [Option<PeerId>; 2],
}

impl Broadcasts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.list.is_empty()
    }

    /// Whether any connection has not got all of them.
    #[inline]
    pub(super) fn are_left(&self) -> bool {
        !self.waiting.list.is_empty() || !self.sending.list.is_empty()
    }

    pub(super) fn waiting(&self) -> &BroadcastList {
        &self.waiting
    }

    pub(super) fn sending(&self) -> &BroadcastList {
        &self.sending
    }

    /// A connection has got all that waits.
    pub(super) fn note_ahead(&mut self, id: PeerId) {
        let BroadcastList { list, ahead, .. } = &mut self.waiting;
        match ahead.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => ahead[at].1 = list.len(),
            Err(at) => ahead.insert(at, (id, list.len())),
        }
    }

    /// Begins to send what waits.
    pub(super) fn begin_sending(&mut self) {
        self.bytes = 0;
        self.next = 0;
        mem::swap(&mut self.waiting, &mut self.sending);
    }

    /// The connection at this place gets it now.
    #[inline]
    pub(super) fn send_at(&mut self, place: usize) {
        self.next = place + 1;
    }

    /// All have got it.
    pub(super) fn end_sending(&mut self) {
        self.sending.clear();
        // Keeps the allocation for the next broadcasts, unless new ones have a list already.
        if self.waiting.list.is_empty() {
            mem::swap(&mut self.waiting, &mut self.sending);
        }
    }

    /// Puts one more behind the others: whether that is as much as may wait.
    pub(super) fn add(&mut self, broadcast: Broadcast) -> bool {
        self.bytes += broadcast.prepared.len();
        if !self.waiting.scopes.contains(&broadcast.scope) {
            self.waiting.scopes.push(broadcast.scope);
        }
        self.waiting.list.push(broadcast);
        self.waiting.list.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// Takes out what is still to be sent to all from a place on, with that, and what waits for all.
    pub(super) fn take(&mut self) -> (BroadcastList, usize, BroadcastList) {
        self.bytes = 0;
        (mem::take(&mut self.sending), self.next, mem::take(&mut self.waiting))
    }

    /// Uses the list again.
    pub(super) fn give_back(&mut self, mut waiting: BroadcastList) {
        waiting.clear();
        self.waiting = waiting;
    }
}

impl BroadcastList {
    /// For whom they are; each scope once.
    #[inline]
    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Those that are for this connection, which is for this route.
    #[inline]
    pub(super) fn of(
        &self,
        id: PeerId,
        route: Option<RouteId>,
    ) -> impl Iterator<Item = &Broadcast> {
        let is_for = move |broadcast: &&Broadcast| {
            broadcast.scope.holds(route) && !broadcast.except.contains(&Some(id))
        };
        let done = if self.ahead.is_empty() { 0 } else { self.done(id) };
        self.list[done..].iter().filter(is_for)
    }

    #[cold]
    fn done(&self, id: PeerId) -> usize {
        let found = self.ahead.binary_search_by_key(&id, |&(id, _)| id);
        found.map_or(0, |at| self.ahead[at].1)
    }

    fn clear(&mut self) {
        self.list.clear();
        self.scopes.clear();
        self.ahead.clear();
    }
}

impl Broadcast {
    pub(super) fn new(
        scope: Scope,
        key: Option<&str>,
        prepared: Prepared,
        except: [Option<PeerId>; 2],
    ) -> Self {
        Self { scope, key: key.map(Arc::from), prepared, except }
    }

    #[inline]
    pub(super) fn key(&self) -> Key<'_> {
        Key { topic: None, name: self.key.as_deref() }
    }

    #[inline]
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}
