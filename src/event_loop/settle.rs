use std::mem;

use crate::protocol::{Due, Outcome, State, Turn};
use crate::pump::{self, Stopped, Transport};

use super::counting::Count;
use super::event_loop::EventLoop;
use super::handler::Handler;
use super::logging::{event, log_end};
use super::peer::Peer;
use super::slots::PeerId;
use super::timers::Tick;

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
        loop {
            self.write(id);
            let Some(slot) = self.core.slots.get_mut(id) else { return };
            slot.unsettled = false;
            if slot.doomed || slot.connection.state() == State::Closed {
                return self.drop_connection(id);
            }
            if slot.kept
                && slot.connection.is_drained()
                && self.core.backlogs.release(id, slot, |connection| !connection.is_congested())
            {
                continue;
            }
            if slot.ended && slot.connection.buffered_amount() == 0 {
                let outcome = slot.connection.receive_eof();
                return self.remove(id, &outcome);
            }
            if !slot.backpressure || !slot.connection.is_drained() {
                break;
            }
            if drained {
                // A peer may take as fast as `on_drain` sends; the others are served in between.
                self.core.settle_later(id);
                break;
            }
            slot.backpressure = false;
            if slot.ended || slot.session.is_none() || slot.connection.state() != State::Open {
                break;
            }
            drained = true;
            self.handler.on_drain(&mut Peer::new(&mut self.core, id));
        }
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        self.core.backlogs.count(id, slot);
        if slot.dropped {
            self.core.settle_later(id);
        }
        let Some(slot) = self.core.slots.get_mut(id) else { return };
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
        let turn = Turn { paused: slot.is_stopped(), ..mem::take(&mut slot.turn) };
        slot.deadlines.observe(&slot.connection, self.core.now, turn);
        let more = (slot.readable || slot.unread.is_some()) && !slot.is_stopped();
        if more {
            self.read_later(id);
        }
        self.set_timer(id);
    }

    pub(super) fn write(&mut self, id: PeerId) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if !slot.blocked && !slot.doomed {
            let (count, stopped) = pump::flush(&mut slot.connection, &mut slot.socket);
            slot.turn.sent |= count > 0;
            self.core.counting.add_many(Count::BytesSent, count);
            slot.blocked = stopped == Stopped::Blocked;
            slot.doomed |= matches!(stopped, Stopped::Eof | Stopped::Broken);
        }
        slot.watch_writing(&self.core.registry, id);
    }

    /// Sets the timer of a connection, unless it will go off early enough anyway.
    pub(super) fn set_timer(&mut self, id: PeerId) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if let Some(next) = slot.deadlines.next(&slot.connection)
            && let next = Tick::at(next)
            && slot.timer.is_none_or(|set| next < set)
        {
            slot.timer = Some(next);
            self.core.timers.set(next, id);
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
            let (mut expired, mut failed) = (false, None);
            while let Some(due) = slot.deadlines.due(&slot.connection, self.core.now) {
                let unsent = slot.connection.buffered_amount();
                // Pings are counted there, and a client's masked with it.
                slot.connection.swap_workspace(&mut self.core.workspace);
                failed = slot.connection.expire(due);
                slot.connection.swap_workspace(&mut self.core.workspace);
                expired = true;
                if due != Due::Ping {
                    event!(Debug, "limits", "{id} is past its deadline: {due}");
                }
                if slot.connection.state() == State::Closed {
                    slot.cut = true;
                    if let Some(draining) = &mut self.shutdown
                        && slot.session.is_some()
                    {
                        draining.note_unsent(unsent);
                    }
                }
                if slot.connection.state() != State::Open {
                    break;
                }
            }
            if let Some(event) = failed {
                self.refused(id, &event);
            }
            let Some(slot) = self.core.slots.get(id) else { continue };
            if expired && !slot.connection.awaits_decision() {
                self.core.undecided.remove(id);
            }
            if expired { self.settle_turn(id) } else { self.set_timer(id) }
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
        let workspace = slot.connection.reclaim();
        if workspace.is_some() {
            self.core.workspace = workspace;
        }
        // What the handler still sends to others is sent with the workspace of the loop.
        self.core.current = None;
        self.core.counting.end(slot, outcome);
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
