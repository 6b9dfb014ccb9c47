//! The plain text that the next message of one direction may refer to.

use std::fmt;

/// The last bytes of everything that went one way: what a parked compression context consists of.
///
/// It grows with the bytes that really passed, to at most one and a half windows, and is cut
/// back to one window when it would grow beyond that. So every byte is moved a bounded number of
/// times, however small the messages are.
pub(super) struct History {
    bytes: Vec<u8>,
    window: usize,
}

impl History {
    /// A history of the last `window` bytes, empty and without memory of its own.
    pub(super) const fn new(window: usize) -> Self {
        Self { bytes: Vec::new(), window }
    }

    /// Notes that `text` went by.
    pub(super) fn push(&mut self, text: &[u8]) {
        let text = last(text, self.window);
        let most = self.window + self.window / 2;
        let total = self.bytes.len() + text.len();
        if total > most {
            self.bytes.drain(..total - self.window);
        }
        let needed = self.bytes.len() + text.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(2 * self.bytes.capacity()).min(most);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(text);
    }

    /// The last bytes, at most one window.
    pub(super) fn text(&self) -> &[u8] {
        last(&self.bytes, self.window)
    }

    /// Whether nothing went by.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets all that went by, and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    /// How much memory it holds.
    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl fmt::Debug for History {
    /// The text is the user's: it does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("len", &self.bytes.len())
            .field("window", &self.window)
            .finish()
    }
}

/// The last `most` bytes of `bytes`, or all of them.
pub(super) fn last(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(most)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: D032
    #[test]
    fn it_is_always_the_last_window() {
        for step in [1, 7, 100, 255, 256, 257, 384, 1000] {
            let mut history = History::new(256);
            let mut all = Vec::new();
            for round in 0..50_usize {
                let text: Vec<u8> = (0..step).map(|i| (i * 7 + round) as u8).collect();
                history.push(&text);
                all.extend_from_slice(&text);
                assert_eq!(history.text(), last(&all, 256));
                assert!(history.capacity() <= 384);
            }
        }
    }

    #[test]
    fn memory_doubles_when_it_is_short() {
        let mut history = History::new(32_768);
        for capacity in [1024, 2048, 4096, 4096, 8192] {
            history.push(&[0; 1024]);
            assert_eq!(history.capacity(), capacity);
        }
    }

    #[test]
    fn it_is_cut_back_when_it_would_be_more_than_one_and_a_half_windows() {
        let mut history = History::new(256);
        for (length, kept) in [(256, 256), (127, 383), (1, 384), (1, 256), (128, 384)] {
            history.push(&vec![0; length]);
            assert_eq!(history.bytes.len(), kept);
        }
    }

    #[test]
    fn memory_is_taken_only_for_bytes_seen() {
        let mut history = History::new(32_768);
        assert_eq!(history.capacity(), 0);
        history.push(&[0; 1024]);
        assert_eq!(history.capacity(), 1024);
        for _ in 0..1000 {
            history.push(&[1; 1024]);
        }
        assert!(history.capacity() <= 49_152);
        // Of the text, which is the user's, `Debug` shows nothing.
        let length = history.bytes.len();
        assert_eq!(format!("{history:?}"), format!("History {{ len: {length}, window: 32768 }}"));
    }
}
