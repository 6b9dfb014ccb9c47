use std::mem;

use crate::protocol::Prepared;

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
    waiting: Waiting,
    bytes: usize,
}

/// Those messages, taken out to be sent.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Broadcast>);

#[derive(Debug)]
pub(super) struct Broadcast {
    scope: Scope,
    prepared: Prepared,
    /// Those that do not get it, or have got it.
    except: [Option<PeerId>; 2],
}

impl Broadcasts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.0.is_empty()
    }

    /// Puts one more behind the others: whether that is as much as may wait.
    pub(super) fn add(&mut self, broadcast: Broadcast) -> bool {
        self.bytes += broadcast.prepared.len();
        self.waiting.0.push(broadcast);
        self.waiting.0.len() >= MOST || self.bytes >= MOST_BYTES
    }

    pub(super) fn take(&mut self) -> Waiting {
        self.bytes = 0;
        mem::take(&mut self.waiting)
    }

    /// Uses the list again, unless handlers have added to another meanwhile.
    pub(super) fn give_back(&mut self, mut waiting: Waiting) {
        if self.waiting.0.is_empty() {
            waiting.0.clear();
            self.waiting = waiting;
        }
    }
}

impl Waiting {
    /// Those that are for this connection, which is for this route.
    #[inline]
    pub(super) fn of(&self, id: PeerId, route: Option<RouteId>) -> impl Iterator<Item = &Prepared> {
        let is_for = move |broadcast: &&Broadcast| {
            broadcast.scope.holds(route) && !broadcast.except.contains(&Some(id))
        };
        self.0.iter().filter(is_for).map(|broadcast| &broadcast.prepared)
    }
}

impl Broadcast {
    pub(super) fn new(scope: Scope, prepared: Prepared, except: [Option<PeerId>; 2]) -> Self {
        Self { scope, prepared, except }
    }
}
