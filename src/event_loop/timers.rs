use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::slab::PeerId;

/// When to look at which connection again.
///
/// Lazy: activity moves a deadline away without touching the heap; the connection is looked at when the
/// old time comes, and set again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Tick, PeerId)>>,
    /// The earliest time set: every turn asks for it, more than once.
    next: Option<Duration>,
}

/// A time to look at a connection: milliseconds of the loop's clock, and one, so that a connection
/// without a timer costs no more room than one with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(NonZeroU64);

impl Tick {
    /// The first tick that is not before this time.
    pub(super) fn at(time: Duration) -> Self {
        let milliseconds = time.as_nanos().div_ceil(1_000_000);
        Self(NonZeroU64::MIN.saturating_add(u64::try_from(milliseconds).unwrap_or(u64::MAX)))
    }

    /// Whether another tick would be earlier for this time. It is not for a time of which this is the tick.
    #[inline]
    pub(super) fn is_late_for(self, time: Duration) -> bool {
        self.time().saturating_sub(time) >= Duration::from_millis(1)
    }

    #[inline]
    pub(super) fn time(self) -> Duration {
        Duration::from_millis(self.0.get() - 1)
    }
}

/// How many ticks are there before it is asked which of them are still set.
const ROOM: usize = 1024;

impl Timers {
    /// Sets a time to look at a connection.
    pub(super) fn set(&mut self, at: Tick, id: PeerId) {
        self.heap.push(Reverse((at, id)));
        self.note_next();
    }

    /// The earliest time set.
    #[inline]
    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    fn note_next(&mut self) {
        self.next = self.heap.peek().map(|Reverse((at, _))| at.time());
    }

    /// Forgets what was set for connections that have gone, or was set anew, if that is most of it: `is_set` says
    /// whether a tick is still one that its connection waits for. Called at the end of each connection.
    pub(super) fn clear_out(
        &mut self,
        connections: usize,
        mut is_set: impl FnMut(Tick, PeerId) -> bool,
    ) {
        if self.heap.len() > 4 * connections + ROOM {
            self.heap.retain(|&Reverse((at, id))| is_set(at, id));
            self.note_next();
            self.heap.shrink_to(2 * self.heap.len() + ROOM);
        }
    }

    /// Takes out all ticks that have come, with their connections, earliest first. What is set from now on is
    /// looked at in the next turn, however soon it is to come.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<(Tick, PeerId)> {
        let mut due = Vec::new();
        while self.next().is_some_and(|next| next <= now) {
            due.extend(self.heap.pop().map(|Reverse(entry)| entry));
            self.note_next();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::slab::Slab;

    #[test]
    fn ticks_come_in_order_and_never_early() {
        let id = Slab::new(0).insert(()).unwrap();
        let mut timers = Timers::default();
        for micros in [5_000_001, 3_000, 7_000, 0] {
            timers.set(Tick::at(Duration::from_micros(micros)), id);
        }
        assert_eq!(timers.take_due(Duration::ZERO), [(Tick::at(Duration::ZERO), id)]);
        assert_eq!(timers.take_due(Duration::from_micros(2_999)), []);
        assert_eq!(timers.take_due(Duration::from_millis(3)).len(), 1);
        assert_eq!(timers.next(), Some(Duration::from_millis(7)));
        assert_eq!(timers.take_due(Duration::from_secs(5)).len(), 1);
        assert_eq!(timers.take_due(Duration::from_secs(5)), []);
        assert_eq!(timers.next(), Some(Duration::from_millis(5_001)));
        for nanoseconds in [0, 1, 999_999, 1_000_000, 1_000_001] {
            let tick = Tick::at(Duration::from_nanos(nanoseconds));
            assert!(!tick.is_late_for(Duration::from_nanos(nanoseconds)), "{nanoseconds}");
            let later = Tick::at(Duration::from_nanos(nanoseconds + 1_000_000));
            assert!(later.is_late_for(Duration::from_nanos(nanoseconds)), "{nanoseconds}");
        }
        for _ in 0..2 * ROOM {
            timers.set(Tick::at(Duration::from_secs(9)), id);
        }
        timers.clear_out(ROOM, |_, _| panic!("there are few"));
        timers.clear_out(1, |at, _| at != Tick::at(Duration::from_secs(9)));
        assert_eq!((timers.heap.len(), timers.heap.capacity() <= 2 * ROOM), (1, true));
        assert_eq!(timers.next(), Some(Duration::from_millis(5_001)));
        assert_eq!(Tick::at(Duration::MAX), Tick(NonZeroU64::MAX));
        assert_eq!(size_of::<Option<Tick>>(), 8);
    }
}
