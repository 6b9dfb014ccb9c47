use std::collections::VecDeque;

use crate::wire::{FrameHeader, MAX_CONTROL_PAYLOAD, Opcode};

use super::message::MessageKind;
use super::prepared::Prepared;

/// Messages that wait for the codec, or for others that do, in order; and the Close after them.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    entries: VecDeque<Entry>,
    /// How many bytes the entries and the Close have, with about as much framing as they will get.
    bytes: usize,
    /// The payload, and a client's masking key.
    pub(super) close: Option<(Vec<u8>, Option<[u8; 4]>)>,
}

#[derive(Debug)]
pub(super) enum Entry {
    Part {
        part: Part,
        payload: Vec<u8>,
        /// How much of the payload has been compressed.
        taken: usize,
    },
    Prepared(Prepared),
}

/// What is sent of a message: all of it, or what a fragment has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) kind: MessageKind,
    pub(super) is_compressed: bool,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

impl Part {
    /// The header of a frame with this part, whose payload has so many bytes.
    pub(super) fn header(self, length: usize) -> FrameHeader {
        let opcode = if self.is_first { self.kind.opcode() } else { Opcode::Continuation };
        FrameHeader { fin: self.is_last, ..FrameHeader::new(opcode, length as u64) }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        FRAMING
            + match self {
                Self::Part { payload, taken, .. } => payload.len() - taken,
                Self::Prepared(prepared) => prepared.len(),
            }
    }
}

impl SendQueue {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits but the Close, if there is one.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends what is to be sent after all others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// What is to be sent next.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// Puts back what is left of [`pop`](Self::pop).
    pub(super) fn put_back(&mut self, rest: Entry) {
        self.bytes += rest.bytes();
        self.entries.push_front(rest);
    }

    /// Has the Close wait until all else is sent.
    pub(super) fn set_close(&mut self, payload: Vec<u8>, mask: Option<[u8; 4]>) {
        debug_assert!(self.close.is_none() && payload.len() <= MAX_CONTROL_PAYLOAD);
        self.bytes += FRAMING + payload.len();
        self.close = Some((payload, mask));
    }
}

/// The shortest header.
const FRAMING: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_with_its_framing() {
        let part =
            Part { kind: MessageKind::Text, is_compressed: true, is_first: true, is_last: true };
        let entry = |taken| Entry::Part { part, payload: vec![0; 1000], taken };
        let mut queue = SendQueue::default();
        assert!(queue.is_empty());
        queue.push(entry(0));
        queue.push(Entry::Prepared(Prepared::new("prepared")));
        assert_eq!((queue.bytes(), queue.is_empty()), (1002 + 10, false));
        // Half of it is compressed, and goes on later.
        assert!(matches!(queue.pop(), Some(Entry::Part { taken: 0, .. })));
        assert_eq!(queue.bytes(), 10);
        queue.put_back(entry(500));
        assert_eq!(queue.bytes(), 502 + 10);
        queue.set_close(vec![0; 20], None);
        assert_eq!(queue.bytes(), 502 + 10 + 22);
        assert!(matches!(queue.pop(), Some(Entry::Part { taken: 500, .. })));
        assert!(matches!(queue.pop(), Some(Entry::Prepared(_))));
        // The Close goes out when nothing else waits.
        assert_eq!((queue.bytes(), queue.is_empty()), (22, true));
        assert!(queue.pop().is_none());
    }
}
