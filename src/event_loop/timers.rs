use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::slots::PeerId;

/// When to look at which connection again.
///
/// Lazy: activity moves a deadline away without touching the heap; the connection is looked at when the
/// old time comes, and set again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, PeerId)>>,
}

impl Timers {
    /// Sets a time to look at a connection.
    pub(super) fn set(&mut self, at: Duration, id: PeerId) {
        self.heap.push(Reverse((at, id)));
    }

    /// The earliest time set.
    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the earliest time that has come, with its connection.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(Duration, PeerId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
