use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::route::Scope;
use super::slab::PeerId;

/// The id of a timer of one event loop, or of several that [work together](crate::EventLoops); ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

/// The number of the loop is in the upper bits of an id.
const NUMBER_BITS: u32 = 56;

/// A timer that has expired, as [`Handler::on_timer`](crate::Handler::on_timer) and
/// [`on_peer_timer`](crate::Handler::on_peer_timer) get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    id: TimerId,
    token: u64,
    periods: u64,
    late: Duration,
}

impl Timer {
    /// The id that the timer got when it was set.
    #[must_use]
    pub fn id(&self) -> TimerId {
        self.id
    }

    /// The number that the timer was set with.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How many periods have ended since the last call: 1 if the call is in time, and always 1 for a timer that does
    /// not repeat. After a turn of the loop that has taken long, one call tells of all the periods that have ended
    /// meanwhile, so their sum is right.
    #[must_use]
    pub fn periods(&self) -> u64 {
        self.periods
    }

    /// How long ago the first of these periods ended, at the beginning of the turn of the loop. Where there is only
    /// one, that is how late the call is.
    #[must_use]
    pub fn late(&self) -> Duration {
        self.late
    }
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum TimerOwner {
    /// The loop's, for the connections within a scope.
    Loop(Scope),
    Peer(PeerId),
}

/// The timers that the application has set. What is cancelled leaves nothing behind: neither memory, nor a time at
/// which the loop would wake for nothing.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The id that is given next.
    next: u64,
    timers: BTreeMap<TimerId, Entry>,
    /// In the order in which they are due.
    order: BTreeSet<(Duration, TimerId)>,
    /// Those of connections, which end with them.
    of_peers: BTreeSet<(PeerId, TimerId)>,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    /// If it repeats.
    every: Option<Duration>,
    token: u64,
    owner: TimerOwner,
}

/// The shortest period: the system's timers know no shorter one.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

impl Schedule {
    /// The timers of the loop with this number.
    pub(super) fn new(loop_number: usize) -> Self {
        Self {
            next: (loop_number as u64) << NUMBER_BITS,
            timers: BTreeMap::new(),
            order: BTreeSet::new(),
            of_peers: BTreeSet::new(),
        }
    }

    /// Sets a timer for a time, and then perhaps again and again.
    pub(super) fn set(
        &mut self,
        owner: TimerOwner,
        at: Duration,
        every: Option<Duration>,
        token: u64,
    ) -> TimerId {
        let id = TimerId(self.next);
        self.next += 1;
        let every = every.map(|every| every.max(SHORTEST_PERIOD));
        self.order.insert((at, id));
        self.timers.insert(id, Entry { at, every, token, owner });
        if let TimerOwner::Peer(peer) = owner {
            self.of_peers.insert((peer, id));
        }
        id
    }

    /// Whether the timer was set; it is not any more.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        let Some(entry) = self.timers.remove(&id) else { return false };
        self.order.remove(&(entry.at, id));
        if let TimerOwner::Peer(peer) = entry.owner {
            self.of_peers.remove(&(peer, id));
        }
        true
    }

    /// Cancels the timers of a connection.
    #[inline]
    pub(super) fn end_peer(&mut self, peer: PeerId) {
        if !self.of_peers.is_empty() {
            self.cancel_of(peer);
        }
    }

    #[cold]
    fn cancel_of(&mut self, peer: PeerId) {
        let all = (peer, TimerId(0))..=(peer, TimerId(u64::MAX));
        while let Some(&(_, id)) = self.of_peers.range(all.clone()).next() {
            self.cancel(id);
        }
    }

    /// Cancels all.
    pub(super) fn clear(&mut self) {
        self.timers.clear();
        self.order.clear();
        self.of_peers.clear();
    }

    /// When the next timer is due.
    #[inline]
    pub(super) fn next(&self) -> Option<Duration> {
        if self.order.is_empty() { None } else { self.order.first().map(|&(at, _)| at) }
    }

    /// The id that will be given next: those of the timers that are set now are below it.
    pub(super) fn limit(&self) -> TimerId {
        TimerId(self.next)
    }

    /// Takes the timer that is due first, of those below a limit. One that repeats is set anew, for a time that is
    /// still to come, and so does not drift.
    pub(super) fn take_due(
        &mut self,
        now: Duration,
        limit: TimerId,
    ) -> Option<(TimerOwner, Timer)> {
        let &(at, id) = self.order.first().filter(|&&(at, id)| at <= now && id < limit)?;
        self.order.pop_first();
        let late = now - at;
        let entry = self.timers.get_mut(&id)?;
        let (owner, token) = (entry.owner, entry.token);
        let mut periods = 1;
        if let Some(every) = entry.every {
            let missed = late.as_nanos() / every.as_nanos();
            periods += u64::try_from(missed).unwrap_or(u64::MAX - 1);
            let behind = (late.as_nanos() % every.as_nanos()) as u64;
            entry.at = now.saturating_add(every - Duration::from_nanos(behind));
            self.order.insert((entry.at, id));
        } else {
            self.timers.remove(&id);
            if let TimerOwner::Peer(peer) = owner {
                self.of_peers.remove(&(peer, id));
            }
        }
        Some((owner, Timer { id, token, periods, late }))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.timers.is_empty() && self.order.is_empty() && self.of_peers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::slab::Slab;

    const ANY: TimerOwner = TimerOwner::Loop(Scope::All);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn due(schedule: &mut Schedule, now: Duration) -> Vec<(u64, u64, Duration)> {
        let limit = schedule.limit();
        let mut due = Vec::new();
        while let Some((_, timer)) = schedule.take_due(now, limit) {
            due.push((timer.token, timer.periods, timer.late));
        }
        due
    }

    #[test]
    fn timers_come_in_order_never_early_and_once() {
        let mut schedule = Schedule::new(0);
        for (after, token) in [(5, 1), (3, 2), (9, 3), (3, 4)] {
            schedule.set(ANY, ms(after), None, token);
        }
        assert_eq!(schedule.next(), Some(ms(3)));
        assert_eq!(due(&mut schedule, ms(3) - Duration::from_nanos(1)), []);
        assert_eq!(due(&mut schedule, ms(4)), [(2, 1, ms(1)), (4, 1, ms(1))]);
        assert_eq!(due(&mut schedule, ms(100)), [(1, 1, ms(95)), (3, 1, ms(91))]);
        assert!(schedule.is_empty() && schedule.next().is_none());
    }

    #[test]
    fn a_repeating_timer_loses_no_period_and_does_not_drift() {
        let every = Duration::from_nanos(16_666_667);
        for step in [1, 7, 16, 17, 100, 3000] {
            let mut schedule = Schedule::new(0);
            schedule.set(ANY, every, Some(every), 7);
            let (mut periods, mut now) = (0, Duration::ZERO);
            for _ in 0..1000 {
                now += ms(step);
                for (_, count, late) in due(&mut schedule, now) {
                    assert_eq!(late, now - every * (periods + 1));
                    periods += count as u32;
                }
                assert_eq!(u128::from(periods), now.as_nanos() / every.as_nanos(), "{step}");
                assert_eq!(schedule.next(), Some(every * (periods + 1)));
            }
        }
    }

    #[test]
    fn what_is_cancelled_or_ends_leaves_nothing() {
        let mut peers = Slab::new(0);
        let (one, other) = (peers.insert(()).unwrap(), peers.insert(()).unwrap());
        let mut schedule = Schedule::new(3);
        let own = schedule.set(ANY, ms(1), Some(ms(1)), 0);
        let first = schedule.set(TimerOwner::Peer(one), ms(2), None, 1);
        schedule.set(TimerOwner::Peer(other), ms(2), Some(ms(5)), 2);
        schedule.set(TimerOwner::Peer(one), ms(4), Some(ms(5)), 3);
        assert!(schedule.cancel(first) && !schedule.cancel(first));
        schedule.end_peer(one);
        assert_eq!(due(&mut schedule, ms(4)), [(0, 4, ms(3)), (2, 1, ms(2))]);
        assert!(schedule.cancel(own));
        schedule.end_peer(other);
        assert!(schedule.is_empty());
        // Ids of other loops name nothing here.
        let there = Schedule::new(0).set(ANY, ms(1), None, 0);
        let here = schedule.set(ANY, ms(1), None, 0);
        assert!(!schedule.cancel(there) && schedule.cancel(here));
    }

    #[test]
    fn what_is_set_on_the_way_waits_for_the_next_time() {
        let mut schedule = Schedule::new(0);
        schedule.set(ANY, Duration::ZERO, None, 0);
        let limit = schedule.limit();
        let mut count = 0;
        while schedule.take_due(Duration::ZERO, limit).is_some() {
            schedule.set(ANY, Duration::ZERO, None, 0);
            count += 1;
        }
        assert_eq!((count, schedule.next()), (1, Some(Duration::ZERO)));
    }

    #[test]
    fn times_without_end_are_taken() {
        let mut schedule = Schedule::new(0);
        schedule.set(ANY, Duration::MAX, Some(Duration::MAX), 0);
        schedule.set(ANY, ms(1), Some(Duration::MAX), 1);
        schedule.set(ANY, ms(1), Some(Duration::ZERO), 2);
        assert_eq!(due(&mut schedule, ms(1)), [(1, 1, Duration::ZERO), (2, 1, Duration::ZERO)]);
        assert_eq!(due(&mut schedule, ms(3)), [(2, 2, ms(1))]);
    }
}
