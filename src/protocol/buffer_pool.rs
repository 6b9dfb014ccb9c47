use std::ops::RangeInclusive;

/// Buffers of long payloads that were sent. The next long messages are read into them as they are, where
/// fresh room would have to be filled first, page by page.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    /// The last one kept is the warmest.
    buffers: Vec<Vec<u8>>,
}

impl BufferPool {
    /// Shorter ones cost nothing, longer ones are too rare.
    const LENGTHS: RangeInclusive<usize> = 64 << 10..=2 << 20;

    /// How many bytes are kept at the most.
    const TOTAL: usize = 4 << 20;

    /// Keeps a buffer, unless it is not worth it; the oldest make room.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        if !Self::LENGTHS.contains(&buffer.len()) {
            return;
        }
        let mut total: usize = self.buffers.iter().map(Vec::capacity).sum();
        total += buffer.capacity();
        while total > Self::TOTAL && !self.buffers.is_empty() {
            total -= self.buffers.remove(0).capacity();
        }
        if total <= Self::TOTAL {
            self.buffers.push(buffer);
        }
    }

    /// Gives out a buffer of at least this length, and less than twice as long.
    pub(super) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (length..length.saturating_mul(2)).contains(&buffer.len());
        let index = self.buffers.iter().rposition(fits)?;
        Some(self.buffers.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_fits_is_given_out_once() {
        let mut pool = BufferPool::default();
        pool.keep(vec![1; 100_000]);
        pool.keep(vec![2; 100_000]);
        assert_eq!(pool.take(100_001), None);
        assert_eq!(pool.take(50_000), None);
        assert_eq!(pool.take(50_001).unwrap(), [2; 100_000]);
        assert_eq!(pool.take(100_000).unwrap(), [1; 100_000]);
        assert_eq!(pool.take(100_000), None);
        assert_eq!(pool.take(usize::MAX), None);
        assert_eq!(pool.take(0), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = BufferPool::default();
        let (short, long) = (*BufferPool::LENGTHS.start() - 1, *BufferPool::LENGTHS.end() + 1);
        for length in [0, short, long] {
            pool.keep(vec![0; length]);
            assert_eq!(pool.take(length), None);
        }
        // Capacity counts, used or not.
        pool.keep(Vec::with_capacity(BufferPool::TOTAL + 1));
        let mut held = Vec::with_capacity(BufferPool::TOTAL + 1);
        held.resize(100_000, 0);
        pool.keep(held);
        assert_eq!(pool.take(100_000), None);
        for number in 0..10 {
            pool.keep(vec![number; 1 << 20]);
        }
        for number in (6..10).rev() {
            assert_eq!(pool.take(1 << 20).unwrap()[0], number);
        }
        assert_eq!(pool.take(1 << 20), None);
        // One that takes much room has as many others go as it needs.
        for _ in 0..4 {
            pool.keep(vec![0; 1 << 20]);
        }
        let mut held = Vec::with_capacity(BufferPool::TOTAL);
        held.resize(1 << 20, 7);
        pool.keep(held);
        assert_eq!(pool.take(1 << 20).unwrap()[0], 7);
        assert_eq!(pool.take(1 << 20), None);
    }
}
