use std::cell::Cell;
use std::io;
use std::mem;

thread_local! {
    /// Room for ciphertext, which all connections of a thread use in turn, so that it is filled with zeros only once.
    static SHARED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes with a cursor, at the front of room for more of them.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Room {
    /// The room of this thread; without any where somebody else has it, as when one connection reads through another.
    pub(super) fn shared() -> Self {
        // A thread that ends has none.
        Self { bytes: SHARED.try_with(Cell::take).unwrap_or_default(), start: 0, end: 0 }
    }

    /// Gives the room to the thread, if it has none that is larger, and leaves what is in it, in as many bytes.
    pub(super) fn give_back(&mut self) {
        if self.bytes.capacity() == self.len() {
            // It is no larger than what is in it.
            return;
        }
        let left = Self::of(self.bytes());
        let room = mem::replace(self, left).bytes;
        let _ = SHARED.try_with(|shared| {
            let other = shared.take();
            shared.set(if other.len() > room.len() { other } else { room });
        });
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), start: 0, end: bytes.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// How much is allocated.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// The room stays.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Gives up the room as well.
    pub(super) fn free(&mut self) {
        *self = Self::default();
    }

    /// Room for so many bytes more.
    pub(super) fn space(&mut self, size: usize) -> &mut [u8] {
        if self.start > 0 && self.bytes.len() < self.end + size {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        if self.bytes.len() < self.end + size {
            self.bytes.resize(self.end + size, 0);
        }
        &mut self.bytes[self.end..self.end + size]
    }

    /// The first `count` bytes of the [space](Self::space) have been filled.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.filled(bytes.len());
    }
}

/// Takes all that is written.
impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ciphertext that was read: what a connection has kept of earlier reads, and then what is in the room of the thread.
///
/// A record that comes in many small parts is put together where it is kept, and moves once, when the rest of it has
/// come: so the work is linear in the bytes that came.
pub(super) struct Input {
    /// What is to be processed next: what was kept, or what is in the room of the thread.
    next: Room,
    /// The room of the thread, empty, while `next` is what was kept.
    other: Option<Room>,
}

impl Input {
    pub(super) fn new(kept: Room) -> Self {
        let shared = Room::shared();
        if kept.is_empty() {
            Self { next: shared, other: None }
        } else {
            Self { next: kept, other: Some(shared) }
        }
    }

    /// What is left, for the connection to keep.
    pub(super) fn into_kept(self) -> Room {
        let Self { mut next, other } = self;
        match other {
            None => next.give_back(),
            Some(mut shared) => shared.give_back(),
        }
        if next.is_empty() {
            next.free();
        }
        next
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.next.bytes()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.next.bytes_mut()
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.next.consume(count);
    }

    pub(super) fn clear(&mut self) {
        self.next.clear();
    }

    /// Reads up to `size` bytes more; `missing` of them are enough to go on with.
    pub(super) fn read<T>(
        &mut self,
        size: usize,
        missing: usize,
        read: impl FnOnce(&mut [u8]) -> (usize, T),
    ) -> (usize, T) {
        let Some(mut shared) = self.other.take() else {
            let (count, answer) = read(self.next.space(size));
            self.next.filled(count);
            return (count, answer);
        };
        // What comes stands behind the place of what was kept.
        let kept = self.next.len();
        shared.space(kept + size);
        shared.filled(kept);
        let (count, answer) = read(shared.space(size));
        shared.filled(count);
        if count >= missing {
            shared.bytes_mut()[..kept].copy_from_slice(self.next.bytes());
            self.next = shared;
        } else {
            self.next.append(&shared.bytes()[kept..]);
            shared.clear();
            self.other = Some(shared);
        }
        (count, answer)
    }
}
