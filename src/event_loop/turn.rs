use std::mem;

use crate::handshake::Response;
use crate::io::transport::{self, Bytes, Filled, Stopped};
use crate::protocol::{Event, State};

use super::core::{Shared, Slot, Unread};
use super::counting::Count;
use super::event_loop::{EventLoop, READ_ROOM};
use super::handler::Handler;
use super::incoming_request::IncomingRequest;
use super::peer::Peer;
use super::slots::PeerId;

/// How much of a long message is read before the others get their turn: one that is read to its end and
/// answered at once is still in the processor's cache.
const LONG_MESSAGE_SHARE: usize = 2 * 1024 * 1024;

/// The room of a read in which a long message probably begins.
const LONG_MESSAGE_START: usize = 16 * 1024;

/// How many bytes a connection that is being closed may still send before it is cut off.
const MAX_DRAINED: u32 = 4 * 1024 * 1024;

/// A turn at one connection.
impl<H: Handler> EventLoop<H> {
    /// Reads, handles and writes what there is.
    pub(super) fn turn(&mut self, id: PeerId) {
        self.begin(id);
        self.read(id);
        self.finish(id);
    }

    /// Gives those who had more than their share of the last turn another.
    pub(super) fn continue_unfinished(&mut self) {
        for id in mem::take(&mut self.unfinished) {
            if let Some(slot) = self.core.slots.get_mut(id) {
                slot.unfinished = false;
                self.turn(id);
            }
        }
    }

    pub(super) fn begin(&mut self, id: PeerId) {
        if !self.core.broadcasts.is_empty()
            && self.core.slots.get(id).is_some_and(|s| s.connection.state() == State::Connecting)
        {
            // What was sent to all before a connection is open is not for it.
            self.core.spread();
        }
        self.core.current = Some(id);
        self.tell_time(id);
    }

    pub(super) fn finish(&mut self, id: PeerId) {
        self.settle(id);
        self.core.current = None;
    }

    /// Tells a connection the time, at the head of its turn. What is due is done by that.
    #[inline]
    fn tell_time(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && let Some(event) =
                slot.connection.handle_timeout(self.core.now, &mut self.core.shared.workspace)
        {
            self.refused(id, &event);
        }
    }

    /// Reads the socket, one share of it at most: the others are served before the rest.
    pub(super) fn read(&mut self, id: PeerId) {
        self.receive_unread(id);
        let mut buffer = mem::take(&mut self.buffer);
        while let Some(slot) = self.core.slots.get_mut(id)
            && slot.readable
            && !slot.doomed
            && !slot.is_stopped()
        {
            let Slot { connection, socket, .. } = slot;
            let Shared { workspace, counting } = &mut self.core.shared;
            // Who sends long messages most likely begins another: what comes behind its beginning is
            // then read straight into it, and need not be copied.
            let room = if slot.long_messages { LONG_MESSAGE_START } else { READ_ROOM };
            let Filled { count, stopped, bytes } = transport::fill(
                connection,
                socket,
                workspace,
                &mut buffer[..room],
                LONG_MESSAGE_SHARE,
            );
            counting.add_many(Count::BytesReceived, count);
            // Where the peer has ended its direction no further event comes: read on to the end.
            slot.readable = stopped == Stopped::Done || slot.read_closed;
            if slot.shut {
                slot.drained = slot.drained.saturating_add(count as u32);
                slot.doomed |= slot.drained > MAX_DRAINED;
            }
            if count > 0 {
                slot.long_messages = matches!(bytes, Bytes::Direct(_));
            }
            let share_used = match bytes {
                Bytes::Buffered => {
                    let left = self.receive(id, &mut buffer[..count]);
                    if left > 0
                        && let Some(slot) = self.core.slots.get_mut(id)
                    {
                        slot.keep_unread(&buffer[count - left..count]);
                    }
                    count == READ_ROOM
                }
                Bytes::Direct(event) => {
                    if let Some(event) = event {
                        self.dispatch(id, event);
                    }
                    count == LONG_MESSAGE_SHARE
                }
            };
            match stopped {
                Stopped::Done if share_used => {
                    self.read_later(id);
                    break;
                }
                Stopped::Done | Stopped::Blocked => {}
                Stopped::Eof => self.end_of_input(id),
                Stopped::Broken => self.broken(id),
            }
        }
        self.buffer = buffer;
    }

    pub(super) fn read_later(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && !mem::replace(&mut slot.unfinished, true)
        {
            self.unfinished.push(id);
        }
    }

    /// Gives what was left over when reading stopped to the connection, if it may take it now.
    pub(super) fn receive_unread(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id)
            && slot.unread.is_some()
            && !slot.is_stopped()
            && let Some(mut unread) = slot.unread.take()
        {
            let Unread { bytes, taken } = &mut *unread;
            let left = self.receive(id, &mut bytes[*taken..]);
            if left > 0
                && let Some(slot) = self.core.slots.get_mut(id)
            {
                unread.taken = unread.bytes.len() - left;
                slot.unread = Some(unread);
            }
        }
    }

    /// Gives bytes to the connection and its events to the handler. Returns how many bytes at the end
    /// are left, since reading stopped before them.
    pub(super) fn receive(&mut self, id: PeerId, mut input: &mut [u8]) -> usize {
        while let Some(slot) = self.core.slots.get_mut(id) {
            if slot.doomed {
                return 0;
            }
            if slot.is_stopped() {
                break;
            }
            let workspace = &mut self.core.shared.workspace;
            let Some(event) = slot.connection.receive(&mut input, workspace) else { break };
            self.dispatch(id, event);
        }
        input.len()
    }

    #[inline]
    pub(super) fn dispatch(&mut self, id: PeerId, event: Event<'_>) {
        match event {
            Event::Message(message) => {
                self.core.shared.counting.message_received(message.kind());
                self.handler.on_message(&mut Peer::new(&mut self.core, id), message);
            }
            event => self.dispatch_rare(id, event),
        }
    }

    #[cold]
    pub(super) fn dispatch_rare(&mut self, id: PeerId, event: Event<'_>) {
        match event {
            Event::Request(request) => self.upgrade(id, request),
            Event::Open(_) => {
                self.core.count_opened(id);
                self.handler.on_open(&mut Peer::new(&mut self.core, id));
                self.close_if_draining(id);
            }
            Event::Http(request) => {
                self.core.shared.counting.add(Count::Requests);
                let response = match &self.shutdown {
                    None => self.handler.on_http(&IncomingRequest::new(request)),
                    Some(_) => Response::service_unavailable(),
                };
                self.answer(id, response);
            }
            Event::Fragment(fragment) => {
                if fragment.last {
                    self.core.shared.counting.message_received(fragment.kind);
                }
                self.handler.on_fragment(&mut Peer::new(&mut self.core, id), fragment);
            }
            Event::Ping(payload) => {
                self.core.shared.counting.add(Count::PingsReceived);
                self.handler.on_ping(&mut Peer::new(&mut self.core, id), payload);
            }
            Event::Pong(payload) => {
                self.core.shared.counting.add(Count::PongsReceived);
                self.handler.on_pong(&mut Peer::new(&mut self.core, id), payload);
            }
            event @ Event::HandshakeFailed(_) => self.refused(id, &event),
            // What follows from these is in the output already, and in the outcome at the end.
            _ => {}
        }
    }
}
