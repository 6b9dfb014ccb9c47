use std::time::Duration;

use crate::protocol::{Entropy, EntropyError};

/// A schedule of random delays between attempts to connect, as RFC 6455 section 7.2.3 wants it, so that the clients
/// of a server that has restarted do not all reconnect at once.
///
/// The first retry comes after a random delay of up to 5 s. Then each delay is drawn between the half and
/// the whole of a bound that begins with 5 s and doubles up to a minute. It never ends, unless told to.
///
/// ```
/// use framewire::{Backoff, SystemEntropy};
/// use std::time::Duration;
///
/// let mut backoff = Backoff::new().first_delay(Duration::ZERO).max_attempts(2);
/// let mut entropy = SystemEntropy::new();
/// assert_eq!(backoff.next_delay(&mut entropy)?, Some(Duration::ZERO));
/// let second = backoff.next_delay(&mut entropy)?.unwrap();
/// assert!((Duration::from_millis(2500)..=Duration::from_secs(5)).contains(&second));
/// assert_eq!(backoff.next_delay(&mut entropy)?, None);
/// # Ok::<(), framewire::EntropyError>(())
/// ```
#[doc(alias("exponential backoff", "retry delay"))]
#[must_use = "a schedule does nothing by itself"]
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    base: Duration,
    max: Duration,
    max_attempts: Option<u32>,
    attempts: u32,
}

impl Backoff {
    /// A schedule with the default delays.
    pub fn new() -> Self {
        let five = Duration::from_secs(5);
        Self {
            first: five,
            base: five,
            max: Duration::from_secs(60),
            max_attempts: None,
            attempts: 0,
        }
    }

    /// The longest delay before the first retry; default 5 s.
    pub fn first_delay(self, longest: Duration) -> Self {
        Self { first: longest, ..self }
    }

    /// The longest delay before the second retry, which doubles for each that follows; default 5 s.
    pub fn base_delay(self, longest: Duration) -> Self {
        Self { base: longest, ..self }
    }

    /// The longest delay of all; default 60 s.
    pub fn max_delay(self, longest: Duration) -> Self {
        Self { max: longest, ..self }
    }

    /// The most retries in a row; by default there is no limit.
    pub fn max_attempts(self, attempts: impl Into<Option<u32>>) -> Self {
        Self { max_attempts: attempts.into(), ..self }
    }

    /// Returns how long to wait before the next retry, and counts that retry; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`EntropyError`].
    pub fn next_delay(
        &mut self,
        entropy: &mut (impl Entropy + ?Sized),
    ) -> Result<Option<Duration>, EntropyError> {
        if self.max_attempts.is_some_and(|max| self.attempts >= max) {
            return Ok(None);
        }
        let (shortest, longest) = match self.attempts {
            0 => (Duration::ZERO, self.first.min(self.max)),
            attempts => {
                let factor = 2u32.saturating_pow(attempts - 1);
                let longest = self.base.saturating_mul(factor).min(self.max);
                (longest / 2, longest)
            }
        };
        let mut chance = [0; 4];
        entropy.fill(&mut chance)?;
        self.attempts = self.attempts.saturating_add(1);
        let chance = u128::from(u32::from_le_bytes(chance));
        let nanos = (longest - shortest).as_nanos() * chance / u128::from(u32::MAX);
        let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        // Both casts are lossless: the seconds come from a `Duration`, the nanoseconds are a remainder.
        Ok(Some(shortest + Duration::new(seconds as u64, nanos as u32)))
    }

    /// How many retries there were since the beginning or the last [`reset`](Self::reset).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts the schedule anew, after a connection that worked.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    pub(super) fn longest(&self) -> Duration {
        self.max
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(backoff: &mut Backoff, chance: u8, count: usize) -> Vec<u64> {
        let mut entropy = |bytes: &mut [u8]| bytes.fill(chance);
        let mut next = || backoff.next_delay(&mut entropy).unwrap();
        (0..count).map_while(|_| next()).map(|delay| delay.as_millis() as u64).collect()
    }

    // req: W107
    #[test]
    fn delays_double_between_their_bounds_up_to_the_longest() {
        let low = delays(&mut Backoff::new(), 0, 8);
        assert_eq!(low, [0, 2_500, 5_000, 10_000, 20_000, 30_000, 30_000, 30_000]);
        let high = delays(&mut Backoff::new(), 0xff, 8);
        assert_eq!(high, [5_000, 5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
        let middle = delays(&mut Backoff::new(), 0x80, 3);
        assert_eq!(middle, [2_509, 3_754, 7_509]);
    }

    #[test]
    fn settings_and_the_end() {
        let second = Duration::from_secs(1);
        let mut backoff =
            Backoff::new().first_delay(second / 2).base_delay(second).max_delay(second * 3);
        assert_eq!(delays(&mut backoff, 0xff, 4), [500, 1000, 2000, 3000]);
        assert_eq!(backoff.attempts(), 4);
        backoff.reset();
        let mut backoff = backoff.max_attempts(3);
        assert_eq!(delays(&mut backoff, 0xff, 9), [500, 1000, 2000]);
        assert_eq!(delays(&mut backoff, 0xff, 9), [0; 0]);
        backoff.reset();
        assert_eq!(delays(&mut backoff, 0xff, 1), [500]);
        assert_eq!(delays(&mut Backoff::new().max_attempts(0), 0, 1), [0; 0]);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut backoff = Backoff::new()
            .first_delay(Duration::MAX)
            .base_delay(Duration::MAX)
            .max_delay(Duration::MAX);
        backoff.attempts = u32::MAX;
        let mut entropy = |bytes: &mut [u8]| bytes.fill(0xff);
        assert!(backoff.next_delay(&mut entropy).unwrap().is_some());
        backoff.reset();
        assert!(backoff.next_delay(&mut entropy).unwrap().is_some());
        struct Dry;
        impl Entropy for Dry {
            fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
                Err(EntropyError)
            }
        }
        assert_eq!(backoff.next_delay(&mut Dry), Err(EntropyError));
    }
}
