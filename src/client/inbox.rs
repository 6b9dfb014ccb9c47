use std::collections::VecDeque;

use crate::io::transport::{self, Filled, Transport};
use crate::protocol::{Connection, Event};

/// The room that one read gets.
const ROOM: usize = 64 * 1024;

/// How much is read into a long message before the caller gets its turn.
const SHARE: usize = 512 * 1024;

/// What was read from the transport and waits for the caller to want the next event.
///
/// Taking one event at a time matters: what stands behind a message may be a fault, after which an answer
/// to that message could no longer be sent.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An inbox with these bytes in it, which came before the transport was the caller's.
    pub(super) fn new(leftover: &[u8]) -> Self {
        let mut bytes = vec![0; ROOM.max(leftover.len())];
        bytes[..leftover.len()].copy_from_slice(leftover);
        Self { bytes, start: 0, end: leftover.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads once; the inbox must be empty.
    pub(super) fn fill(
        &mut self,
        connection: &mut Connection,
        transport: &mut (impl Transport + ?Sized),
    ) -> Filled {
        debug_assert!(self.is_empty());
        let (connection, workspace) = connection.as_parts_mut();
        let filled = transport::fill(connection, transport, workspace, &mut self.bytes, SHARE);
        (self.start, self.end) = match filled.bytes {
            transport::Bytes::Buffered => (0, filled.count),
            transport::Bytes::Direct(_) => (0, 0),
        };
        filled
    }

    /// Gives the connection what it takes up to the next event.
    pub(super) fn take(
        &mut self,
        connection: &mut Connection,
        events: &mut VecDeque<Event<'static>>,
    ) {
        let mut input = &mut self.bytes[self.start..self.end];
        let event = connection.receive(&mut input).map(Event::into_owned);
        self.start = self.end - input.len();
        // Nothing taken and nothing to tell of: a client never leaves bytes for later.
        debug_assert!(event.is_some() || self.is_empty());
        events.extend(event);
    }
}
