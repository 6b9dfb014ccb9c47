use std::fmt;

/// Room for what is read, shared by all connections that are served in turn.
///
/// Between two turns it is empty: what a connection has not taken by the end of its turn stays with it.
pub struct Inbox {
    room: Vec<u8>,
    /// What was read into the room and not taken.
    start: usize,
    end: usize,
    /// What the connection had left over when its last turn ended, in front of that.
    leftover: Option<Box<Leftover>>,
}

/// Bytes that were read and wait for the next turn; there are some. A connection that takes one message in each
/// turn must not move all the others each time: hence a cursor.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// An inbox whose room takes `room` bytes in one read, 512 at least.
    pub fn new(room: usize) -> Self {
        Self { room: vec![0; room.max(512)], start: 0, end: 0, leftover: None }
    }

    /// Whether everything was taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.leftover.as_ref().is_none_or(|leftover| leftover.is_empty())
    }

    /// What is to be taken next, and what counts how much of it was.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut [u8], &mut usize) {
        match &mut self.leftover {
            None => (&mut self.room[self.start..self.end], &mut self.start),
            Some(leftover) => {
                let Leftover { bytes, taken } = &mut **leftover;
                (&mut bytes[*taken..], taken)
            }
        }
    }

    /// Room for a read of `size` bytes at the most; everything must have been taken.
    #[inline]
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        debug_assert!(self.is_empty());
        (self.start, self.end, self.leftover) = (0, 0, None);
        let size = size.min(self.room.len());
        &mut self.room[..size]
    }

    /// Takes note of how many bytes were read into the room.
    #[inline]
    pub(super) fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
    }

    /// Puts in front what a connection had left over; the inbox must be empty.
    pub(super) fn put_back(&mut self, leftover: Option<Box<Leftover>>) {
        debug_assert!(self.is_empty());
        self.leftover = leftover;
    }

    /// Takes out what is left, for the connection to keep.
    pub(super) fn take_left(&mut self) -> Option<Box<Leftover>> {
        let rest = &self.room[self.start..self.end];
        let mut leftover = self.leftover.take().filter(|leftover| !leftover.is_empty());
        if !rest.is_empty() {
            leftover.get_or_insert_default().bytes.extend_from_slice(rest);
        }
        (self.start, self.end) = (0, 0);
        leftover
    }
}

impl Leftover {
    /// Bytes that somebody else has read; `None` if there are none.
    pub(super) fn of(bytes: &[u8]) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { bytes: bytes.to_vec(), taken: 0 }))
    }

    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
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
        f.debug_struct("Inbox")
            .field("room", &self.room.len())
            .field("bytes", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}
