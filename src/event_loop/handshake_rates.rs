use std::collections::HashMap;
use std::time::Duration;

use super::quota::Neighbourhood;
use super::rate_limit::{Bucket, Rate};

/// From how many addresses handshakes are counted at once.
const MOST: usize = if cfg!(test) { 64 } else { 65_536 };

/// How many handshakes each address has begun of late, where that is limited. Of whoever has begun none for long,
/// nothing is remembered.
#[derive(Debug)]
pub(super) struct HandshakeRates {
    rate: Rate,
    buckets: HashMap<Neighbourhood, Bucket>,
    /// From how many on those are forgotten that have nothing to say any more.
    sweep_at: usize,
    /// When that may be done again.
    next_sweep: Duration,
}

impl HandshakeRates {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new(), sweep_at: MOST / 64, next_sweep: Duration::ZERO }
    }

    /// Counts a handshake from there.
    ///
    /// # Errors
    ///
    /// How long it would have to wait, if that is too many; `None` for ever.
    pub(super) fn count(
        &mut self,
        from: Neighbourhood,
        now: Duration,
    ) -> Result<(), Option<Duration>> {
        let rate = self.rate;
        if !self.buckets.contains_key(&from) {
            if self.buckets.len() >= self.sweep_at && now >= self.next_sweep {
                self.sweep(now);
            }
            // An attacker with more addresses than the table holds cannot be limited by address; memory stays
            // bounded.
            if self.buckets.len() >= MOST {
                return Ok(());
            }
        }
        let bucket = self.buckets.entry(from).or_insert_with(|| Bucket::new(rate, now));
        if bucket.has_token(rate, now) {
            bucket.take(1);
            return Ok(());
        }
        Err(bucket.next_token(rate).map(|next| next.saturating_sub(now)))
    }

    /// Forgets those that are as good as new.
    fn sweep(&mut self, now: Duration) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
        self.buckets.shrink_to(self.buckets.len() * 2);
        self.sweep_at = (self.buckets.len() * 2).clamp(MOST / 64, MOST);
        // At most one sweep a second: where no bucket can be forgotten, one for each new address would be quadratic.
        self.next_sweep = now + Duration::from_secs(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Neighbourhood {
        Neighbourhood::of([192, 0, 2, last].into())
    }

    #[test]
    fn each_address_has_a_burst_and_a_rate_of_its_own() {
        let mut rates = HandshakeRates::new(Rate::new(2, 3));
        for _ in 0..3 {
            assert_eq!(rates.count(from(1), Duration::ZERO), Ok(()));
        }
        let wait = Duration::from_millis(500);
        assert_eq!(rates.count(from(1), Duration::ZERO), Err(Some(wait)));
        assert_eq!(rates.count(from(2), Duration::ZERO), Ok(()));
        assert_eq!(rates.count(from(1), wait), Ok(()));
        assert_eq!(rates.count(from(1), wait), Err(Some(wait)));
        assert_eq!(HandshakeRates::new(Rate::new(5, 0)).count(from(1), wait), Err(None));
    }

    #[test]
    fn it_remembers_so_many_at_the_most_and_forgets_them_in_time() {
        let mut rates = HandshakeRates::new(Rate::new(1, 1));
        for last in 0..=255 {
            assert_eq!(rates.count(from(last), Duration::from_millis(1)), Ok(()));
            assert!(rates.buckets.len() <= MOST);
        }
        assert!(rates.count(from(0), Duration::from_millis(1)).is_err());
        // After this time all buckets are full and can be forgotten.
        assert_eq!(rates.count(from(255), Duration::from_secs(3)), Ok(()));
        assert_eq!(rates.buckets.len(), 1);
        assert!(rates.buckets.capacity() < MOST);
    }
}
