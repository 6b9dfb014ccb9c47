use crate::wire::append;

use super::buffer_pool::BufferPool;
use super::error::ProtocolError;

/// The payload of a message under way, followed by room that further bytes can be read into.
///
/// Safe Rust has to fill room before it can be read into. What a read leaves of it stays for the next read, in
/// this turn or a later one; only what is [appended](Self::append) in between takes its place.
#[derive(Debug)]
pub struct PayloadBuffer {
    /// The payload so far, and then the room.
    bytes: Vec<u8>,
    length: usize,
    /// The length that the buffer does not grow beyond before so many bytes have come.
    limit: usize,
    /// How long the payload was to be when there was no memory for that; otherwise 0.
    lacking: usize,
}

impl PayloadBuffer {
    /// Nothing yet, in a buffer that takes so many bytes without moving.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), length: 0, limit: usize::MAX, lacking: 0 }
    }

    /// Takes note of how long the payload is going to be, as far as is known.
    pub(super) fn limit_growth(&mut self, limit: usize) {
        self.limit = limit;
    }

    #[allow(clippy::len_without_is_empty)]
    /// How many bytes of the payload have come.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Appends bytes that were read elsewhere. Where there is no memory for them they are lost, and the connection
    /// fails as soon as it is told of what came.
    pub fn append(&mut self, piece: &[u8]) {
        let limit = self.limit;
        let has_room = self.change(|bytes| {
            let room = missing_room(bytes.len(), bytes.capacity(), piece.len(), limit);
            let has_room = bytes.try_reserve_exact(room).is_ok();
            if has_room {
                append(bytes, piece);
            }
            has_room
        });
        if !has_room {
            self.lacking = self.length.saturating_add(piece.len());
        }
    }

    /// An error if something of the payload was lost for want of memory.
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        if self.lacking == 0 { Ok(()) } else { Err(ProtocolError::OutOfMemory(self.lacking)) }
    }

    /// What has come from the byte `start` on.
    pub(super) fn tail_mut(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start..self.length).unwrap_or_default()
    }

    /// Takes everything from the byte `length` on back.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Lets `change` append to the payload as to any other buffer.
    pub(super) fn change<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.bytes.truncate(self.length);
        let result = change(&mut self.bytes);
        self.length = self.bytes.len();
        result
    }

    /// The payload, in a buffer of its own length.
    pub(super) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.length);
        self.bytes.shrink_to_fit();
        self.bytes
    }
}

/// How much room to reserve behind `length` bytes, exactly, so that `more` can be appended: up to twice as
/// much as there will be then, but not beyond `limit`.
pub(super) fn missing_room(length: usize, capacity: usize, more: usize, limit: usize) -> usize {
    let needed = length.saturating_add(more);
    if needed <= capacity {
        return 0;
    }
    needed.saturating_mul(2).min(limit).max(needed) - length
}

/// Room to read into.
impl PayloadBuffer {
    /// How much room is filled at once: a buffer grows as its bytes come, not as they are announced.
    const STEP: usize = 256 * 1024;

    /// Moves to a spare buffer, if there is one for a payload to which another `missing` bytes will come, and
    /// little has come as yet.
    pub(super) fn reuse(&mut self, pool: &mut BufferPool, missing: usize) {
        if self.length <= missing / 4
            && self.bytes.len() < self.length.saturating_add(missing)
            && let Some(mut spare) = pool.take(self.length.saturating_add(missing))
        {
            spare[..self.length].copy_from_slice(&self.bytes[..self.length]);
            self.bytes = spare;
        }
    }

    /// Some room behind the payload, of at most `limit` bytes; none only for a limit of 0, and where there is no memory
    /// for more. Then nothing is to be read: the connection fails as soon as it is told of what came before.
    pub fn room(&mut self, limit: usize) -> &mut [u8] {
        if self.length == self.bytes.len() {
            let room = limit.min(Self::STEP);
            if self.bytes.capacity() - self.length < room {
                // Doubles, up to what is announced.
                let twice = self.length.saturating_add(self.length.max(Self::STEP));
                let capacity = twice.min(self.limit).max(self.length + room);
                if self.bytes.try_reserve_exact(capacity - self.length).is_err() {
                    self.lacking = capacity;
                    return &mut [];
                }
            }
            self.bytes.resize(self.length + room, 0);
        }
        let end = self.bytes.len().min(self.length.saturating_add(limit));
        &mut self.bytes[self.length..end]
    }

    /// Records that the first `count` bytes of the room have been filled.
    pub fn advance(&mut self, count: usize) {
        self.length = self.length.saturating_add(count).min(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &mut PayloadBuffer, limit: usize, bytes: &[u8]) {
        let room = payload.room(limit);
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        payload.advance(count);
    }

    #[test]
    fn appended_and_read_bytes_stand_in_order() {
        let mut payload = PayloadBuffer::with_capacity(2);
        payload.append(b"ab");
        read(&mut payload, 10, b"cd");
        payload.append(b"ef");
        read(&mut payload, 3, b"ghi-");
        read(&mut payload, 0, b"-");
        payload.change(|bytes| bytes.push(b'j'));
        read(&mut payload, usize::MAX, b"");
        assert_eq!(payload.len(), 10);
        assert_eq!(payload.tail_mut(6), b"ghij");
        assert_eq!(payload.tail_mut(11), b"");
        payload.truncate(9);
        payload.truncate(12);
        assert_eq!(payload.into_vec(), b"abcdefghi");
    }

    #[test]
    fn room_is_bounded_and_kept() {
        let mut payload = PayloadBuffer::with_capacity(0);
        assert_eq!(payload.room(0), b"");
        assert_eq!(payload.room(100).len(), 100);
        payload.room(100).fill(7);
        assert_eq!(payload.room(100), [7; 100]);
        payload.advance(40);
        // The rest of the room is returned before more is filled with zeros.
        assert_eq!(payload.room(100), [7; 60]);
        assert_eq!(payload.room(20), [7; 20]);
        payload.advance(60);
        assert_eq!(payload.room(usize::MAX).len(), PayloadBuffer::STEP);
        payload.advance(usize::MAX);
        assert_eq!(payload.len(), 100 + PayloadBuffer::STEP);
        // The buffer grows by as much as there is, up to what is announced.
        payload.limit_growth(150 + 2 * PayloadBuffer::STEP);
        assert_eq!(payload.room(PayloadBuffer::STEP + 50).len(), PayloadBuffer::STEP);
        payload.advance(PayloadBuffer::STEP);
        assert_eq!(payload.room(50).len(), 50);
        assert_eq!(payload.bytes.capacity(), 150 + 2 * PayloadBuffer::STEP);
    }

    #[test]
    fn a_spare_takes_over_what_has_come() {
        let spare = || {
            let mut pool = BufferPool::default();
            pool.keep(vec![9; 100_000]);
            pool
        };
        let mut payload = PayloadBuffer::with_capacity(3);
        payload.append(b"abc");
        payload.reuse(&mut spare(), 99_997);
        assert_eq!(payload.room(usize::MAX), vec![9; 99_997]);
        payload.advance(1);
        // A buffer that has room for the rest already takes none from the pool.
        let mut pool = spare();
        payload.reuse(&mut pool, 99_996);
        assert!(pool.take(100_000).is_some());
        assert_eq!(payload.into_vec(), b"abc\x09");

        // No buffer is taken where too much would have to be copied, or none is long enough.
        let mut late = PayloadBuffer::with_capacity(0);
        late.append(&[1; 30_000]);
        late.reuse(&mut spare(), 70_000);
        late.reuse(&mut spare(), 140_000);
        assert_eq!(late.room(10), [0; 10]);
    }

    #[test]
    fn room_is_missing_where_more_comes_than_fits() {
        for (length, capacity, more, limit, missing) in [
            (0, 0, 0, usize::MAX, 0),
            (10, 20, 10, usize::MAX, 0),
            // Twice as much as there will be, unless that is more than is announced.
            (10, 20, 11, usize::MAX, 32),
            (10, 20, 11, 30, 20),
            (10, 20, 11, 5, 11),
            (10, 20, usize::MAX, usize::MAX, usize::MAX - 10),
        ] {
            let room = missing_room(length, capacity, more, limit);
            assert_eq!(room, missing, "{length}, {capacity}, {more}, {limit}");
        }
    }

    #[test]
    fn a_buffer_that_has_room_does_not_grow() {
        let mut payload = PayloadBuffer::with_capacity(100);
        assert_eq!(payload.room(100).len(), 100);
        assert_eq!(payload.bytes.capacity(), 100);
    }

    #[test]
    fn what_is_lost_for_want_of_memory_is_told_with_its_length() {
        let mut payload = PayloadBuffer::with_capacity(0);
        payload.append(b"kept");
        assert_eq!(payload.check(), Ok(()));
        // As `append` and `room` leave it: tests/failing_memory has memory really fail there.
        payload.lacking = 100;
        assert_eq!(payload.check(), Err(ProtocolError::OutOfMemory(100)));
    }
}
