use std::fmt;
use std::mem;

/// Room for what is read, shared by all connections that are served in turn.
///
/// Between two turns it is empty: what a connection has not taken by the end of its turn stays with it.
pub struct Inbox {
    /// The room; or what the connection had left over when its last turn ended, in place of it.
    bytes: Vec<u8>,
    /// What was read and not taken.
    start: usize,
    end: usize,
    /// How many bytes of the room are left out in front, so that reads are copied to the border of a cache line.
    ///
    /// The kernel copies with `rep movsb`, which on AMD processors from Zen 3 on takes 3 to 7 times as long where the
    /// destination lies 1 to 31 bytes behind the source, modulo the size of a page. The source lies at the border of a page
    /// mostly, and what glibc allocates in one piece 16 bytes behind one.
    lead: usize,
    /// The room, while it has a substitute.
    room: Option<Vec<u8>>,
}

/// Bytes that were read and wait for the next turn; there are some. A connection that takes one message in each
/// turn must not move all the others each time: hence a cursor.
#[derive(Debug)]
pub(super) struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

const CACHE_LINE: usize = 64;

impl Inbox {
    /// An inbox whose room takes `room` bytes in one read, 512 at least.
    pub fn new(room: usize) -> Self {
        let bytes = vec![0; room.max(512) + CACHE_LINE - 1];
        // A `Vec` that is moved or swapped keeps its allocation, so the alignment stays.
        let lead = bytes.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE - 1);
        Self { bytes, start: 0, end: 0, lead, room: None }
    }

    /// Whether everything was taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes to take next; see [`Driver::take`](crate::Driver::take).
    #[inline]
    pub fn input(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Records how much of the [input](Self::input) is left.
    #[inline]
    pub fn set_left(&mut self, left: usize) {
        self.start = self.end.saturating_sub(left).max(self.start);
    }

    /// What is to be taken next, and what counts how much of it was.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.bytes[self.start..self.end], &mut self.start)
    }

    /// Room for a read of `size` bytes at the most; everything must have been taken.
    #[inline]
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        debug_assert!(self.is_empty());
        if let Some(room) = self.room.take() {
            self.bytes = room;
        }
        (self.start, self.end) = (0, 0);
        let size = size.min(self.bytes.len() - (CACHE_LINE - 1));
        &mut self.bytes[self.lead..self.lead + size]
    }

    /// Takes note of how many bytes were read into the room.
    #[inline]
    pub(super) fn filled(&mut self, count: usize) {
        (self.start, self.end) = (self.lead, self.lead + count);
    }

    /// Puts in what a connection had left over; everything must have been taken.
    pub(super) fn put_back(&mut self, leftover: Leftover) {
        debug_assert!(self.is_empty());
        (self.start, self.end) = (leftover.taken, leftover.bytes.len());
        let before = mem::replace(&mut self.bytes, leftover.bytes);
        self.room.get_or_insert(before);
    }

    /// Takes out what is left, for the connection to keep.
    pub(super) fn take_left(&mut self) -> Option<Box<Leftover>> {
        let is_empty = self.is_empty();
        let (start, end) = (mem::take(&mut self.start), mem::take(&mut self.end));
        match self.room.take() {
            Some(room) => {
                let bytes = mem::replace(&mut self.bytes, room);
                (!is_empty).then(|| Box::new(Leftover { bytes, taken: start }))
            }
            None => Leftover::of(&self.bytes[start..end]),
        }
    }
}

impl Leftover {
    /// Bytes that somebody else has read; `None` if there are none.
    pub(super) fn of(bytes: &[u8]) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes: bytes.to_vec(), taken: 0 }))
    }
}

impl Default for Inbox {
    /// The room of 64 KiB.
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("bytes", &(self.end - self.start)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_begins_a_cache_line() {
        let mut inboxes: Vec<_> = (0..100).map(|size| Inbox::new(500 + size)).collect();
        for (size, inbox) in inboxes.iter_mut().enumerate() {
            let most = (500 + size).max(512);
            for asked in [1, 511, usize::MAX] {
                let (room, size) = (inbox.room(asked), asked.min(most));
                assert_eq!((room.as_ptr() as usize % CACHE_LINE, room.len()), (0, size));
                room.fill(1);
                inbox.filled(size);
                assert_eq!(inbox.input(), vec![1; size]);
                inbox.set_left(0);
            }
            // A leftover replaces the room while it is read; then the room is back.
            inbox.room(3).copy_from_slice(b"abc");
            inbox.filled(3);
            inbox.set_left(2);
            let left = inbox.take_left().unwrap();
            assert!(inbox.is_empty());
            inbox.put_back(*left);
            assert_eq!(inbox.input(), b"bc");
            inbox.set_left(0);
            assert_eq!(inbox.room(usize::MAX).as_ptr() as usize % CACHE_LINE, 0);
        }
    }
}
