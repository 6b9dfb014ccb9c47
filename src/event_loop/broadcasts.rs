use std::mem;

use crate::protocol::{Prepared, State};

use super::backlogs::Key;
use super::core::{Core, Slot};
use super::event_loop::EventLoop;
use super::handler::Handler;
use super::route::Scope;
use super::slots::PeerId;

/// How many broadcasts, and how many bytes of them, wait for the end of the turn.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 * 1024;

/// Messages to all open connections that wait for the end of the turn: each connection is then looked at
/// once for all of them, and they go out from the buffer that the connections share.
///
/// **Invariant.** Nobody can tell. Whatever else is queued for a connection, or makes one open, comes
/// after [`Core::spread`]; the connection whose turn it is does not wait, for the engine may queue replies.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    waiting: Vec<Broadcast>,
    bytes: usize,
}

#[derive(Debug)]
struct Broadcast {
    scope: Scope,
    prepared: Prepared,
    /// Those that do not get it, or have got it.
    except: [Option<PeerId>; 2],
}

impl Broadcasts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self) -> Vec<Broadcast> {
        self.bytes = 0;
        mem::take(&mut self.waiting)
    }
}

impl Broadcast {
    fn is_for<S>(&self, id: PeerId, slot: &Slot<S>) -> bool {
        self.scope.holds(slot.route) && !self.except.contains(&Some(id))
    }
}

impl<S> Core<S> {
    /// Sends to all open connections of this loop within a scope, but perhaps to one.
    pub(super) fn broadcast_here(
        &mut self,
        scope: Scope,
        prepared: Prepared,
        except: Option<PeerId>,
    ) {
        if let Some(id) = self.current.filter(|&id| except != Some(id))
            && let Some(slot) = self.slots.get_mut(id)
            && slot.connection.state() == State::Open
            && scope.holds(slot.route)
        {
            self.backlogs.send_prepared(id, slot, Key::default(), &prepared, &mut self.shared);
        }
        self.broadcasts.bytes += prepared.len();
        self.broadcasts.waiting.push(Broadcast { scope, prepared, except: [except, self.current] });
        if self.broadcasts.waiting.len() >= MOST || self.broadcasts.bytes >= MOST_BYTES {
            self.spread();
        }
    }

    /// Queues what waits for all: call this before something else is queued for one of them.
    #[inline]
    pub(super) fn spread(&mut self) {
        if !self.broadcasts.is_empty() {
            self.spread_all();
        }
    }

    #[cold]
    fn spread_all(&mut self) {
        let waiting = self.broadcasts.take();
        for (id, slot) in self.slots.iter_mut() {
            if slot.connection.state() == State::Open {
                for broadcast in &waiting {
                    if broadcast.is_for(id, slot) {
                        let prepared = &broadcast.prepared;
                        let (key, shared) = (Key::default(), &mut self.shared);
                        self.backlogs.send_prepared(id, slot, key, prepared, shared);
                    }
                }
                slot.unsettle(id, &mut self.unsettled);
            }
        }
    }
}

impl<H: Handler> EventLoop<H> {
    /// Sends what waits for all, each connection in a turn of its own.
    pub(super) fn send_broadcasts(&mut self) {
        if self.core.broadcasts.is_empty() {
            return;
        }
        let mut waiting = self.core.broadcasts.take();
        for index in 0..self.core.slots.places() {
            let Some(id) = self.core.slots.id_at(index) else { continue };
            let Some(slot) = self.core.slots.get(id) else { continue };
            if slot.connection.state() != State::Open
                || !waiting.iter().any(|broadcast| broadcast.is_for(id, slot))
            {
                continue;
            }
            self.begin(id);
            if let Some(slot) = self.core.slots.get_mut(id) {
                for broadcast in &waiting {
                    if broadcast.is_for(id, slot) {
                        let prepared = &broadcast.prepared;
                        let (key, shared) = (Key::default(), &mut self.core.shared);
                        self.core.backlogs.send_prepared(id, slot, key, prepared, shared);
                    }
                }
            }
            self.finish(id);
        }
        // What handlers have added meanwhile waits for the next turn; otherwise the list is used again.
        if self.core.broadcasts.is_empty() {
            waiting.clear();
            self.core.broadcasts.waiting = waiting;
        }
    }
}
