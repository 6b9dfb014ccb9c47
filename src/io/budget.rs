use std::fmt;

/// How many events are handled before the clock is looked at.
const BATCH: usize = 32;

/// What one connection may cost in one turn, before the others get theirs: bytes that are read, and events that
/// are handled, whatever way they come.
///
/// ```
/// # use framewire::Budget;
/// let begun = std::time::Instant::now();
/// let is_over = || begun.elapsed().as_millis() >= 1;
/// let budget = Budget::new().bytes(1024 * 1024).events(256).until(&is_over);
/// # drop(budget);
/// ```
pub struct Budget<'c> {
    bytes: usize,
    /// What is left of the events, and how many of them before the next look at the clock.
    events: usize,
    batch: usize,
    room: usize,
    is_over: Option<&'c dyn Fn() -> bool>,
    received: usize,
    has_read: bool,
    is_done: bool,
}

impl<'c> Budget<'c> {
    /// A budget of 2 MiB and 512 events.
    #[inline]
    pub fn new() -> Self {
        Self {
            bytes: 2 * 1024 * 1024,
            events: 512 - BATCH,
            batch: BATCH,
            room: usize::MAX,
            is_over: None,
            received: 0,
            has_read: false,
            is_done: false,
        }
    }

    /// Sets how many bytes of the network may be read, those of TLS and of framing included. One read is allowed in
    /// any case, and 0 is taken for 1.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        // A read of nothing would look like the end.
        self.bytes = bytes.max(1);
        self
    }

    /// Sets how many events may be handled.
    #[must_use]
    pub fn events(mut self, events: usize) -> Self {
        self.batch = events.min(BATCH);
        self.events = events - self.batch;
        self
    }

    /// Reads at most this many bytes at once, since what is read and not handled in this turn has to be kept for the
    /// next; 0 is taken for 1.
    #[inline]
    #[must_use]
    pub fn room(mut self, bytes: usize) -> Self {
        self.room = bytes.max(1);
        self
    }

    /// Ends the turn also when this function says so: it is called at most once for each read, and again after 32
    /// events. So one read and 32 events are allowed in any case.
    #[inline]
    #[must_use]
    pub fn until(mut self, is_over: &'c dyn Fn() -> bool) -> Self {
        self.is_over = Some(is_over);
        self
    }

    /// Whether to call [`Driver::receive`](crate::Driver::receive) again in this turn. It does not once nothing is
    /// left to be taken for now, or the budget is used up.
    #[inline]
    pub fn goes_on(&self) -> bool {
        !self.is_done
    }

    /// How many bytes the connection was given so far, without those of TLS.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The size of the next read, if there may be one.
    #[inline]
    pub(super) fn next_read(&mut self) -> Option<usize> {
        if self.has_read && self.may_not_read_again() {
            self.end();
            return None;
        }
        Some(self.room)
    }

    #[cold]
    fn may_not_read_again(&mut self) -> bool {
        self.bytes == 0 || self.is_over.is_some_and(|is_over| is_over())
    }

    /// The turn is over.
    #[inline]
    pub(super) fn finish(&mut self) {
        self.is_done = true;
    }

    /// Nothing more is allowed in this turn.
    pub(super) fn end(&mut self) {
        (self.events, self.batch) = (0, 0);
    }

    /// How many bytes may still be received.
    #[inline]
    pub(super) fn bytes_left(&self) -> usize {
        self.bytes
    }

    /// Takes note of so many bytes for the connection, which were so many in the network.
    #[inline]
    pub(super) fn note_read(&mut self, bytes: usize, wire: usize) {
        self.has_read = true;
        self.received += bytes;
        self.bytes = self.bytes.saturating_sub(wire);
    }

    #[inline]
    pub(super) fn note_event(&mut self) {
        self.batch -= 1;
    }

    #[inline]
    pub(super) fn is_used_up(&mut self) -> bool {
        self.batch == 0 && self.has_no_more()
    }

    #[cold]
    fn has_no_more(&mut self) -> bool {
        if self.events > 0 && self.is_over.is_none_or(|is_over| !is_over()) {
            self.batch = self.events.min(BATCH);
            self.events -= self.batch;
            return false;
        }
        self.events = 0;
        true
    }
}

impl Default for Budget<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("bytes", &self.bytes)
            .field("events", &(self.events + self.batch))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_used_up_stays_so() {
        for events in [0, 1, 31, 32, 33, 64, 100] {
            let mut budget = Budget::new().events(events);
            let mut handled = 0;
            while !budget.is_used_up() {
                budget.note_event();
                handled += 1;
            }
            assert_eq!(handled, events);
            assert!(budget.is_used_up());
        }
        let mut budget = Budget::new().bytes(10);
        budget.note_read(9, 9);
        assert!(budget.next_read().is_some());
        budget.note_read(1, 9);
        assert_eq!(budget.next_read(), None);
        assert!(budget.is_used_up());
        assert_eq!((budget.received(), budget.bytes_left()), (10, 0));
    }

    #[test]
    fn the_clock_is_looked_at_once_in_a_batch_and_before_a_second_read() {
        let looks = Cell::new(0);
        let is_over = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        let mut budget = Budget::new().until(&is_over);
        assert_eq!(budget.next_read(), Some(usize::MAX));
        budget.note_read(1, 1);
        let mut handled = 0;
        while !budget.is_used_up() {
            budget.note_event();
            handled += 1;
        }
        assert_eq!((handled, looks.get()), (96, 3));
        looks.set(1);
        let mut budget = Budget::new().until(&is_over).room(7);
        budget.note_read(1, 1);
        assert_eq!(budget.next_read(), Some(7));
        assert_eq!(budget.next_read(), None);
        // The last read ends the batch.
        assert!(budget.is_used_up());
    }
}
