use std::collections::HashMap;
use std::time::Duration;

use super::route::Scope;
use super::slab::PeerId;

/// The id of a timer of one event loop, or of several that [work together](crate::EventLoops); ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    number: u64,
    /// Where the loop has the timer.
    place: u32,
}

/// The number of the loop is in the upper bits of that of a timer.
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

/// The timers that the application has set. What is cancelled leaves no time behind at which the loop would wake for
/// nothing, and no memory but up to the place of the last timer that is left.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The number that is given next.
    next: u64,
    /// Each timer has a place here for as long as it is set, which its id names.
    places: Vec<Place>,
    /// Places that were free once, and may be gone by now or be taken again.
    free: Vec<u32>,
    /// The places of the timers, a binary heap of when they are due: at `n`, and at `2n + 1` and `2n + 2` none that
    /// come before that one.
    heap: Vec<u32>,
    /// The first timer of each connection that has any, which end with it; the places have the others.
    of_peers: HashMap<PeerId, u32>,
}

#[derive(Debug)]
struct Place {
    id: TimerId,
    at: Duration,
    /// If it repeats.
    every: Option<Duration>,
    token: u64,
    owner: TimerOwner,
    /// Where in the heap it is.
    position: u32,
    /// The neighbours among the timers of its connection.
    before: Option<u32>,
    behind: Option<u32>,
}

/// The shortest period: the system's timers know no shorter one.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// What stands at the place of a timer that is not set any more.
const UNUSED: TimerId = TimerId { number: u64::MAX, place: u32::MAX };

impl Schedule {
    /// The timers of the loop with this number.
    pub(super) fn new(loop_number: usize) -> Self {
        Self {
            next: (loop_number as u64) << NUMBER_BITS,
            places: Vec::new(),
            free: Vec::new(),
            heap: Vec::new(),
            of_peers: HashMap::new(),
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
        let place = self.free_place();
        let id = TimerId { number: self.next, place };
        self.next += 1;
        let every = every.map(|every| every.max(SHORTEST_PERIOD));
        let position = self.heap.len() as u32;
        let timer = Place { id, at, every, token, owner, position, before: None, behind: None };
        match self.places.get_mut(place as usize) {
            Some(free) => *free = timer,
            None => self.places.push(timer),
        }
        self.heap.push(place);
        self.rise(position as usize);
        if let TimerOwner::Peer(peer) = owner {
            let behind = self.of_peers.insert(peer, place);
            self.places[place as usize].behind = behind;
            if let Some(behind) = behind {
                self.places[behind as usize].before = Some(place);
            }
        }
        id
    }

    /// The place that the next timer gets.
    fn free_place(&mut self) -> u32 {
        while let Some(place) = self.free.pop() {
            if self.places.get(place as usize).is_some_and(|place| place.id == UNUSED) {
                return place;
            }
        }
        self.places.len() as u32
    }

    /// Whether the timer was set; it is not any more.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        let is_set = self.places.get(id.place as usize).is_some_and(|place| place.id == id);
        if is_set {
            self.remove(id.place);
        }
        is_set
    }

    fn remove(&mut self, place: u32) {
        let timer = &mut self.places[place as usize];
        timer.id = UNUSED;
        let Place { owner, position, before, behind, .. } = *timer;
        self.free.push(place);
        let position = position as usize;
        self.heap.swap_remove(position);
        if let Some(&moved) = self.heap.get(position) {
            self.places[moved as usize].position = position as u32;
            // It comes from another branch of the heap.
            self.rise(position);
            self.sink(position);
        }
        if let TimerOwner::Peer(peer) = owner {
            if let Some(behind) = behind {
                self.places[behind as usize].before = before;
            }
            match (before, behind) {
                (Some(before), _) => self.places[before as usize].behind = behind,
                (None, Some(behind)) => _ = self.of_peers.insert(peer, behind),
                (None, None) => _ = self.of_peers.remove(&peer),
            }
        }
        self.give_back_memory();
    }

    /// Gives back the places behind the last timer, and the memory that many timers once took.
    fn give_back_memory(&mut self) {
        while self.places.last().is_some_and(|place| place.id == UNUSED) {
            self.places.pop();
        }
        let count = self.places.len();
        if count < self.places.capacity() / 4 {
            self.free.retain(|&place| (place as usize) < count);
            self.places.shrink_to(2 * count);
            self.free.shrink_to(2 * count);
            self.heap.shrink_to(2 * count);
        }
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
        while let Some(&place) = self.of_peers.get(&peer) {
            self.remove(place);
        }
    }

    /// Cancels all.
    pub(super) fn clear(&mut self) {
        (self.places, self.free, self.heap) = Default::default();
        self.of_peers.clear();
    }

    /// When the next timer is due.
    #[inline]
    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.first().map(|&place| self.places[place as usize].at)
    }

    /// What tells the timers that are set now from those that will be: see [`take_due`](Self::take_due).
    pub(super) fn limit(&self) -> TimerId {
        TimerId { number: self.next, place: 0 }
    }

    /// Takes the timer that is due first, of those below a limit. One that repeats is set anew, for a time that is
    /// still to come, and so does not drift.
    pub(super) fn take_due(
        &mut self,
        now: Duration,
        limit: TimerId,
    ) -> Option<(TimerOwner, Timer)> {
        let &place = self.heap.first()?;
        let timer = &mut self.places[place as usize];
        let Place { id, at, every, token, owner, .. } = *timer;
        if at > now || id >= limit {
            return None;
        }
        let late = now - at;
        let mut periods = 1;
        if let Some(every) = every {
            let missed = late.as_nanos() / every.as_nanos();
            periods += u64::try_from(missed).unwrap_or(u64::MAX - 1);
            let behind = (late.as_nanos() % every.as_nanos()) as u64;
            timer.at = now.saturating_add(every - Duration::from_nanos(behind));
            self.sink(0);
        } else {
            self.remove(place);
        }
        Some((owner, Timer { id, token, periods, late }))
    }

    /// Whether the timer at one position of the heap is due before that at another: of two at the same time, the one
    /// that was set first.
    fn comes_before(&self, one: usize, other: usize) -> bool {
        let key = |position: usize| {
            let timer = &self.places[self.heap[position] as usize];
            (timer.at, timer.id)
        };
        key(one) < key(other)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for position in [one, other] {
            self.places[self.heap[position] as usize].position = position as u32;
        }
    }

    /// Moves a timer towards the front of the heap, as far as it comes before others.
    fn rise(&mut self, mut position: usize) {
        while position > 0 && self.comes_before(position, (position - 1) / 2) {
            self.swap(position, (position - 1) / 2);
            position = (position - 1) / 2;
        }
    }

    /// Moves a timer towards the end of the heap, as far as others come before it.
    fn sink(&mut self, mut position: usize) {
        loop {
            let mut first = position;
            for child in [2 * position + 1, 2 * position + 2] {
                if child < self.heap.len() && self.comes_before(child, first) {
                    first = child;
                }
            }
            if first == position {
                return;
            }
            self.swap(position, first);
            position = first;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty() && self.of_peers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::simulation::random::Random;
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

    /// Beside a list that is searched for everything.
    #[test]
    fn any_order_of_calls_has_the_timers_of_a_plain_list() {
        #[derive(Clone, Copy)]
        struct Set {
            id: TimerId,
            at: Duration,
            every: Option<Duration>,
            owner: TimerOwner,
        }
        let mut random = Random::new(1);
        let mut slab = Slab::new(0);
        let peers: Vec<_> = (0..5).map(|_| slab.insert(()).unwrap()).collect();
        for _ in 0..50 {
            let (mut schedule, mut list) = (Schedule::new(0), Vec::<Set>::new());
            let (mut now, mut gone) = (Duration::ZERO, Vec::new());
            for step in 0..400 {
                // The list grows at first, and is worked off in the end.
                match random.below(if step < 200 { 6 } else { 10 }) {
                    0..=3 => {
                        let at = now + ms(random.below(20) as u64);
                        let every = (random.below(3) == 0).then(|| ms(1 + random.below(9) as u64));
                        let owner = match peers.get(random.below(8)) {
                            Some(&peer) => TimerOwner::Peer(peer),
                            None => ANY,
                        };
                        let id = schedule.set(owner, at, every, step);
                        list.push(Set { id, at, every, owner });
                    }
                    4 | 6 | 7 if !list.is_empty() => {
                        let Set { id, .. } = list.remove(random.below(list.len()));
                        assert!(schedule.cancel(id));
                        gone.push(id);
                    }
                    8 => {
                        let ended = peers[random.below(peers.len())];
                        schedule.end_peer(ended);
                        list.retain(|set| match set.owner {
                            TimerOwner::Peer(peer) => peer != ended,
                            TimerOwner::Loop(_) => true,
                        });
                    }
                    _ => now += ms(random.below(4) as u64),
                }
                let limit = schedule.limit();
                loop {
                    list.sort_by_key(|set| (set.at, set.id));
                    assert_eq!(schedule.next(), list.first().map(|set| set.at));
                    let taken = schedule.take_due(now, limit).map(|(_, timer)| timer.id);
                    let first = list.first_mut().filter(|set| set.at <= now);
                    assert_eq!(taken, first.as_ref().map(|set| set.id));
                    match first {
                        None => break,
                        Some(Set { at, every: Some(every), .. }) => {
                            let periods = 1 + (now - *at).as_nanos() / every.as_nanos();
                            *at += *every * periods as u32;
                        }
                        Some(_) => gone.push(list.remove(0).id),
                    }
                }
                assert!(!gone.iter().any(|&id| schedule.cancel(id)));
            }
        }
    }

    #[test]
    fn memory_of_many_timers_is_given_back() {
        let mut schedule = Schedule::new(0);
        let stays = schedule.set(ANY, ms(1), None, 0);
        for _ in 0..3 {
            let many: Vec<_> = (0..10_000).map(|_| schedule.set(ANY, ms(2), None, 1)).collect();
            assert_eq!(schedule.places.len(), 10_001);
            assert!(many.into_iter().all(|id| schedule.cancel(id)));
            assert!(schedule.places.capacity() < 10, "{}", schedule.places.capacity());
            assert!(schedule.heap.capacity() < 10 && schedule.free.capacity() < 10);
        }
        assert!(schedule.cancel(stays) && schedule.is_empty());
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
