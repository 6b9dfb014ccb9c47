use std::mem;

use crate::io::transport::Transport;
use crate::protocol::{Outcome, State};

use super::event_loop::EventLoop;
use super::handler::Handler;
use super::logging::{event, log_end};
use super::peer::Peer;
use super::slots::PeerId;

/// The end of a turn, and the end of a connection.
impl<H: Handler> EventLoop<H> {
    /// Settles one connection outside its turn.
    pub(super) fn settle_turn(&mut self, id: PeerId) {
        self.begin(id);
        self.finish(id);
    }

    /// Settles those that were changed outside their turn.
    pub(super) fn settle_all(&mut self) {
        // Settling calls the handler, which may change further connections. Those wait for the next
        // turn, which comes at once: two that send to each other in `on_drain` would never end.
        self.send_broadcasts();
        for id in mem::take(&mut self.core.unsettled) {
            if self.core.slots.get(id).is_some_and(|slot| slot.unsettled) {
                self.settle_turn(id);
            }
        }
    }

    /// Writes what there is, and draws the consequences of all that happened in the turn.
    pub(super) fn settle(&mut self, id: PeerId) {
        self.tell_of_dropped(id);
        let mut drained = false;
        let slot = loop {
            let Some(slot) = self.core.slots.get_mut(id) else { return };
            slot.write(id, &self.core.registry, &mut self.core.shared);
            slot.unsettled = false;
            if slot.doomed || slot.connection.state() == State::Closed {
                return self.drop_connection(id);
            }
            if slot.kept
                && slot.connection.is_drained()
                && self.core.backlogs.release(id, slot, &mut self.core.shared, |connection| {
                    !connection.is_congested()
                })
            {
                continue;
            }
            if slot.ended && slot.connection.buffered_amount() == 0 {
                let outcome = slot.connection.receive_eof();
                return self.remove(id, &outcome);
            }
            if !slot.backpressure || !slot.connection.is_drained() {
                break slot;
            }
            if drained {
                // A peer may take as fast as `on_drain` sends; the others are served in between.
                slot.unsettle(id, &mut self.core.unsettled);
                break slot;
            }
            slot.backpressure = false;
            if slot.ended || slot.session.is_none() || slot.connection.state() != State::Open {
                break slot;
            }
            drained = true;
            self.handler.on_drain(&mut Peer::new(&mut self.core, id));
        };
        self.core.backlogs.count(id, slot);
        if slot.dropped {
            slot.unsettle(id, &mut self.core.unsettled);
        }
        if !slot.shut && slot.connection.wants_shutdown() {
            slot.shut = true;
            if slot.socket.shutdown().is_err() {
                // The peer is gone already.
                return self.drop_connection(id);
            }
            // What the transport itself has to say last may have to wait.
            slot.blocked |= !slot.socket.is_flushed();
            slot.watch_writing(&self.core.registry, id);
        }
        let paused = slot.is_stopped();
        slot.set_timer(id, &mut self.core.timers);
        if (slot.readable || slot.unread.is_some()) && !paused {
            self.read_later(id);
        }
    }

    pub(super) fn look_at_timers(&mut self) {
        while let Some((at, id)) = self.core.timers.pop(self.core.now) {
            self.core.spread();
            let Some(slot) = self.core.slots.get_mut(id) else { continue };
            if slot.timer != Some(at) {
                continue;
            }
            slot.timer = None;
            let unsent = slot.connection.buffered_amount();
            let awaited = slot.connection.awaits_decision();
            self.begin(id);
            let Some(slot) = self.core.slots.get_mut(id) else { continue };
            if slot.connection.state() == State::Closed {
                slot.cut = true;
                event!(Debug, "limits", "{id} is past its deadline");
                if let Some(draining) = &mut self.shutdown
                    && slot.session.is_some()
                {
                    draining.note_unsent(unsent);
                }
            }
            if awaited && !slot.connection.awaits_decision() {
                self.core.undecided.remove(id);
            }
            self.finish(id);
        }
    }

    /// The peer has ended its direction. It may still read: what is queued goes out first.
    pub(super) fn end_of_input(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id) {
            (slot.readable, slot.read_closed, slot.ended) = (false, false, true);
        }
    }

    /// The transport is broken.
    pub(super) fn broken(&mut self, id: PeerId) {
        self.drop_connection(id);
    }

    /// Ends the connection as it stands.
    fn drop_connection(&mut self, id: PeerId) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if let Some(draining) = &mut self.shutdown
            && slot.session.is_some()
        {
            draining.note_unsent(slot.connection.buffered_amount());
        }
        let outcome = slot.connection.terminate();
        self.remove(id, &outcome);
    }

    /// Tells the handler how the connection ended, and forgets it.
    pub(super) fn remove(&mut self, id: PeerId, outcome: &Outcome) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        // What the handler still sends to others is sent with the workspace of the loop.
        self.core.current = None;
        self.core.shared.counting.end(slot, outcome);
        log_end(id, slot, outcome);
        // The system forgets a socket when it is dropped, unless somebody else holds it too. An error would
        // change nothing.
        if slot.shared {
            let _ = self.core.registry.deregister(slot.socket.source());
        }
        if let Some(draining) = &mut self.shutdown {
            draining.note_end(slot, outcome);
        }
        if slot.session.is_some() {
            self.handler.on_close(&mut Peer::new(&mut self.core, id), outcome);
        } else {
            self.never_opened(id, outcome);
        }
        if let Some(mut quota) = self.core.handle.loops.quota() {
            quota.leave(id);
        }
        self.core.topics.leave(id);
        self.core.backlogs.forget(id);
        self.core.undecided.remove(id);
        self.core.slots.remove(id);
    }
}
