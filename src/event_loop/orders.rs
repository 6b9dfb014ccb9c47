use crate::wire::CloseFrame;

use super::event_loop::EventLoop;
use super::handle::Command;
use super::handler::Handler;
use super::slots::PeerId;

/// How many orders of other threads are carried out before the connections get their turn.
const COMMANDS_A_TURN: usize = 4096;

/// What handles ask for.
impl<H: Handler> EventLoop<H> {
    pub(super) fn carry_out_commands(&mut self) {
        if !self.commands.look() && !self.more_commands {
            return;
        }
        self.more_commands = true;
        for _ in 0..COMMANDS_A_TURN {
            let Some(command) = self.commands.take() else {
                self.more_commands = false;
                break;
            };
            if !matches!(command, Command::Broadcast(..)) {
                self.core.spread();
            }
            match command {
                Command::Send(id, prepared) => {
                    if let Some(mut peer) = self.core.peer(id) {
                        peer.send_prepared(&prepared);
                    }
                }
                Command::Broadcast(scope, prepared, except) => {
                    self.core.broadcast_here(scope, prepared, except);
                }
                Command::SendLatest(id, key, prepared) => {
                    if let Some(mut peer) = self.core.peer(id) {
                        peer.send_latest_prepared(&key, &prepared);
                    }
                }
                Command::Publish(topic, key, prepared, except) => {
                    self.core.publish_here(&topic, key.as_deref(), except, &prepared);
                }
                Command::Subscribe(id, topic) => {
                    self.core.subscribe_as_ordered(id, &topic);
                }
                Command::Unsubscribe(id, topic) => {
                    self.core.topics.unsubscribe(id, &topic);
                }
                Command::Close(id, close) => self.close(id, &close),
                Command::Terminate(id) => {
                    if let Some(slot) = self.core.slots.get_mut(id) {
                        (slot.doomed, slot.cut) = (true, true);
                        self.core.settle_later(id);
                    }
                }
                Command::Pause(id, paused) => {
                    if let Some(slot) = self.core.slots.get_mut(id) {
                        let workspace = &mut self.core.shared.workspace;
                        if paused {
                            slot.connection.pause(workspace);
                        } else {
                            slot.connection.resume(workspace);
                        }
                        self.core.settle_later(id);
                    }
                }
                Command::Shutdown(order) => self.begin_shutdown(order),
                Command::Decided => self.take_decisions(),
                Command::Serve(socket) => self.serve(socket),
                Command::Adopt(adoption) => {
                    self.core.handle.loops.arrives(self.core.handle.home);
                    // Who asked is told of what can be told on the stream itself.
                    let _ = self.add_adopted(*adoption);
                }
            }
        }
    }

    pub(super) fn close(&mut self, id: PeerId, close: &CloseFrame) {
        self.core.release_all(id);
        if let Some(slot) = self.core.slots.get_mut(id) {
            // A connection that is closing already needs no second Close.
            let workspace = &mut self.core.shared.workspace;
            let _ = slot.connection.close(close.code(), close.reason(), workspace);
            self.core.settle_later(id);
        }
    }
}
