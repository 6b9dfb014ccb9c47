//! The live compressors of one codec, few and shared.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression, FlushCompress};

use super::params::{MAX_WINDOW_BITS, MIN_WINDOW_BITS};
use super::stored::{EMPTY_MESSAGE, TAIL, store, stored_length};

/// A bounded set of live compressors.
///
/// A compressor either belongs to one connection, whose last message it has just compressed, or to
/// nobody, and then serves all that compress each message on its own. The one that was used least
/// recently is given away when another is needed and the bound is reached. Its connection loses
/// time by that and nothing else, since it keeps the text to restore a compressor from.
pub(super) struct Compressors {
    /// Tells the tickets of this set from those of every other.
    id: usize,
    slots: Vec<Slot>,
    most: usize,
    /// Counts uses, for the order of eviction, and names owners.
    uses: NonZeroU64,
}

impl Compressors {
    /// A set that holds at most about `budget` bytes, and at least one compressor.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slots: Vec::new(),
            most: (budget / COMPRESSOR_BYTES).max(1),
            uses: NonZeroU64::MIN,
        }
    }

    /// Appends `payload` compressed with an empty window (RFC 7692 section 7.2.1).
    pub(super) fn compress_alone(
        &mut self,
        key: Key,
        payload: &[u8],
        scratch: &mut [u8],
        output: &mut Vec<u8>,
    ) {
        let shared = self.slots.iter().position(|slot| slot.owner.is_none() && slot.key == key);
        let index = match shared {
            Some(index) => {
                self.slots[index].compress.reset();
                index
            }
            None => self.acquire(key),
        };
        self.slots[index].used = self.next_use();
        self.run(index, payload, End::Message, scratch, output);
    }

    /// Appends `payload`, a message or a part of one, compressed with the window that `past` gives.
    /// Returns the ticket for what follows.
    pub(super) fn compress_after(
        &mut self,
        key: Key,
        past: Past<'_>,
        payload: &[u8],
        end: End,
        scratch: &mut [u8],
        output: &mut Vec<u8>,
    ) -> Option<Ticket> {
        let Past { ticket, history } = past;
        let live = ticket.filter(|ticket| self.is_live(*ticket));
        let (index, owner) = match live {
            Some(ticket) => (ticket.slot, ticket.owner),
            None => {
                let index = self.acquire(key);
                let slot = &mut self.slots[index];
                if !history.is_empty() && slot.compress.set_dictionary(history).is_err() {
                    // Without a dictionary it refers to nothing earlier, which is always valid.
                    slot.compress = key.compressor();
                }
                (index, self.next_use())
            }
        };
        let used = self.next_use();
        let slot = &mut self.slots[index];
        slot.owner = Some(owner);
        slot.used = used;
        self.run(index, payload, end, scratch, output).then_some(Ticket {
            set: self.id,
            slot: index,
            owner,
        })
    }

    /// Takes note that nothing refers any more to what the ticket stands for.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if self.is_live(ticket) {
            self.slots[ticket.slot].owner = None;
        }
    }

    fn is_live(&self, ticket: Ticket) -> bool {
        ticket.set == self.id
            && self.slots.get(ticket.slot).is_some_and(|slot| slot.owner == Some(ticket.owner))
    }

    /// A compressor as good as new that nobody owns.
    fn acquire(&mut self, key: Key) -> usize {
        if self.slots.len() < self.most {
            self.slots.push(Slot::new(key));
            return self.slots.len() - 1;
        }
        let oldest = (0..self.slots.len()).min_by_key(|index| self.slots[*index].used);
        let index = oldest.unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.key == key {
            slot.compress.reset();
            slot.owner = None;
        } else {
            *slot = Slot::new(key);
        }
        index
    }

    /// Compresses with one of the slots. `false`: that compressor is gone, the message is fine.
    fn run(
        &mut self,
        index: usize,
        payload: &[u8],
        end: End,
        scratch: &mut [u8],
        output: &mut Vec<u8>,
    ) -> bool {
        let start = output.len();
        let done = flush(&mut self.slots[index].compress, payload, scratch, output);
        if !done {
            // zlib names no reason why this should happen to a compressor that is used as here.
            // Whatever it was, blocks that are stored as they are need no compressor.
            self.slots.swap_remove(index);
        }
        if !done || output.len() - start > stored_length(payload) + TAIL.len() {
            // Noise grows by 5 % at level 1. Both forms leave the peer with the same window.
            output.truncate(start);
            store(payload, output);
            if end == End::Message {
                output.push(EMPTY_MESSAGE);
            }
        } else if end == End::Message {
            output.truncate(output.len() - TAIL.len());
        }
        done
    }

    /// Never wraps: 2^64 messages take longer than any loop runs.
    const fn next_use(&mut self) -> NonZeroU64 {
        self.uses = self.uses.saturating_add(1);
        self.uses
    }
}

impl fmt::Debug for Compressors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressors")
            .field("live", &self.slots.len())
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// What one compressor is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    level: u8,
    window_bits: u8,
}

impl Key {
    /// Takes any numbers and brings them into the ranges that zlib has.
    pub(super) fn new(level: u8, window_bits: u8) -> Self {
        Self {
            level: level.min(9),
            window_bits: window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS),
        }
    }

    pub(super) const fn level(self) -> u8 {
        self.level
    }

    pub(super) const fn window_bits(self) -> u8 {
        self.window_bits
    }

    /// flate2 has no windows of 8 bits and panics when asked for one. It needs none: zlib keeps 262
    /// bytes of look-ahead inside its window, so with 9 bits no distance exceeds 512 - 262 = 250
    /// bytes, which a window of 256 covers. The tests measure it.
    fn compressor(self) -> Compress {
        let bits = self.window_bits.max(9);
        Compress::new_with_window_bits(Compression::new(self.level.into()), false, bits)
    }
}

/// A connection's claim to a live compressor. Copies are harmless: it holds until the compressor is
/// given away, and no two claims are ever equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    set: usize,
    slot: usize,
    owner: NonZeroU64,
}

/// What a message, or a part of one, may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    /// The compressor that has just passed it, if it has not been given away.
    pub(super) ticket: Option<Ticket>,
    /// What another one is restored from otherwise.
    pub(super) history: &'a [u8],
}

/// What ends with the bytes that are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A part of a message, with the four bytes that end an empty block.
    Part,
    /// The message: it goes without them, and the receiver adds them again (RFC 7692 section 7.2.1).
    Message,
}

struct Slot {
    key: Key,
    owner: Option<NonZeroU64>,
    used: NonZeroU64,
    compress: Compress,
}

impl Slot {
    fn new(key: Key) -> Self {
        Self { key, owner: None, used: NonZeroU64::MIN, compress: key.compressor() }
    }
}

/// Compresses all of `payload` and ends at a byte boundary with an empty stored block. `false` if zlib
/// would not.
fn flush(
    compress: &mut Compress,
    payload: &[u8],
    scratch: &mut [u8],
    output: &mut Vec<u8>,
) -> bool {
    let start = output.len();
    let mut rest = payload;
    loop {
        let (total_in, total_out) = (compress.total_in(), compress.total_out());
        if compress.compress(rest, scratch, FlushCompress::Sync).is_err() {
            return false;
        }
        let read = (compress.total_in() - total_in) as usize;
        let written = (compress.total_out() - total_out) as usize;
        rest = &rest[read..];
        output.extend_from_slice(&scratch[..written]);
        // Room was left, so nothing is waiting inside.
        if written < scratch.len() {
            return rest.is_empty() && output[start..].ends_with(&TAIL);
        }
    }
}

/// A compressor with the largest window; the smallest has two thirds of it.
pub(super) const COMPRESSOR_BYTES: usize = 380_032;

static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::strict_inflate::StrictInflate;

    // req: D027
    #[test]
    fn a_scratch_that_is_exactly_filled_changes_nothing() {
        let text: Vec<u8> = (0..4000_u32).map(|i| ((i * i) >> 3) as u8).collect();
        for size in (16..400).chain([3900, 4000, 4005, 4010]) {
            let mut compress = Key::new(6, 15).compressor();
            let mut peer = StrictInflate::new(32_768);
            let mut scratch = vec![0; size];
            for part in text.chunks(777) {
                let mut wire = Vec::new();
                assert!(flush(&mut compress, part, &mut scratch, &mut wire));
                wire.truncate(wire.len() - TAIL.len());
                assert_eq!(peer.message(&wire).unwrap(), part, "scratch of {size}");
            }
        }
    }

    /// `text` compressed by a set of its own.
    fn alone(key: Key, text: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        Compressors::new(0).compress_alone(key, text, &mut [0; 1024], &mut wire);
        wire
    }

    // req: D030
    #[test]
    fn a_message_that_stands_alone_depends_on_its_key_and_on_nothing_before_it() {
        let text = b"to and fro, ".repeat(20);
        let keys = [Key::new(6, 15), Key::new(0, 15), Key::new(6, 9), Key::new(1, 15)];
        // One compressor, which each key takes from the one before, and one for each.
        for most in [1, keys.len()] {
            let mut set = Compressors::new(most * COMPRESSOR_BYTES);
            for key in [keys, keys].concat() {
                let mut wire = vec![7; 5000];
                set.compress_alone(key, &text, &mut [0; 1024], &mut wire);
                assert_eq!(wire.split_off(5000), alone(key, &text), "{key:?}");
                assert_eq!(wire, [7; 5000]);
            }
            assert_eq!(set.slots.len(), most);
        }
    }

    // req: D031
    #[test]
    fn a_message_refers_to_what_was_sent_by_a_compressor_that_is_gone() {
        let key = Key::new(6, 15);
        let text: Vec<u8> = (0..300_u32).map(|i| ((i * i) >> 3) as u8).collect();
        let past = Past { ticket: None, history: &text };
        let mut wire = Vec::new();
        Compressors::new(0).compress_after(
            key,
            past,
            &text,
            End::Message,
            &mut [0; 1024],
            &mut wire,
        );
        assert!(wire.len() < alone(key, &text).len() / 4, "{wire:02x?}");
    }

    // req: D030
    #[test]
    fn a_compressor_that_is_given_back_serves_others() {
        let key = Key::new(6, 15);
        let mut set = Compressors::new(2 * COMPRESSOR_BYTES);
        let (mut scratch, mut wire) = ([0; 1024], Vec::new());
        let past = Past { ticket: None, history: b"" };
        let ticket =
            set.compress_after(key, past, b"abc", End::Message, &mut scratch, &mut wire).unwrap();
        set.release(ticket);
        assert!(!set.is_live(ticket));
        set.compress_alone(key, b"abc", &mut scratch, &mut wire);
        assert_eq!(set.slots.len(), 1);
    }

    // req: D030, D031
    #[test]
    fn a_ticket_of_another_set_or_of_an_earlier_owner_is_void() {
        let key = Key::new(6, 15);
        let (mut one, mut other) = (Compressors::new(0), Compressors::new(0));
        let (mut scratch, mut wire) = (vec![0; 1024], Vec::new());
        let mut compress = |set: &mut Compressors, ticket, history, text: &[u8]| {
            let past = Past { ticket, history };
            set.compress_after(key, past, text, End::Message, &mut scratch, &mut wire)
        };
        let ticket = compress(&mut one, None, b"", b"abc");
        assert!(one.is_live(ticket.unwrap()));
        let foreign = compress(&mut other, ticket, b"abc", b"d");
        assert!(!one.is_live(foreign.unwrap()));
        one.compress_alone(key, b"xyz", &mut scratch, &mut wire);
        assert!(!one.is_live(ticket.unwrap()));
        assert_eq!(one.slots.len(), 1);
    }
}
