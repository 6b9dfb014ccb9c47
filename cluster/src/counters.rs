use std::sync::atomic::{AtomicU64, Ordering};

/// What a node has done since it began, as [`Cluster::counters`](crate::Cluster::counters) tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that Redis has taken.
    pub published: u64,
    /// Messages that were not taken in, since too many waited or Redis was away.
    pub rejected: u64,
    /// Messages that were dropped to make room for newer ones.
    pub dropped: u64,
    /// Messages that Redis has refused, for want of memory for instance.
    pub failed: u64,
    /// Messages that came from Redis, of topics that have subscribers here.
    pub received: u64,
    /// Messages that were read from a history, after a gap of this node or for a client that came back.
    pub recovered: u64,
    /// Gaps that no history could fill, of this node or of a client that came back.
    pub gaps: u64,
    /// How often Redis was lost.
    pub lost: u64,
    /// Messages that wait for Redis now.
    pub waiting: u64,
}

macro_rules! tallies {
    ($($name:ident),+) => {
        /// The same numbers, while they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Tallies { $(pub(crate) $name: Tally),+ }

        impl Tallies {
            pub(crate) fn snapshot(&self, waiting: usize) -> Counters {
                Counters { waiting: waiting as u64, $($name: self.$name.0.load(Ordering::Relaxed)),+ }
            }
        }
    };
}

impl Counters {
    /// Those of the same node with another Redis are added.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            rejected: self.rejected + other.rejected,
            dropped: self.dropped + other.dropped,
            failed: self.failed + other.failed,
            received: self.received + other.received,
            recovered: self.recovered + other.recovered,
            gaps: self.gaps + other.gaps,
            lost: self.lost + other.lost,
            waiting: self.waiting + other.waiting,
        }
    }
}

tallies!(published, rejected, dropped, failed, received, recovered, gaps, lost);

#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns what it was before.
    pub(crate) fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
