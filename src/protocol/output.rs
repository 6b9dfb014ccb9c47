use std::collections::VecDeque;
use std::sync::Arc;

use crate::wire::append;

use super::timers::Moment;

/// Payloads from this size up are kept where they are and go out beside the small frames, uncopied.
pub(super) const UNCOPIED: usize = 8 * 1024;

/// Bytes to send, in order: small frames run together in one buffer, large payloads stand apart.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// All that is small, in order of sending.
    bytes: Vec<u8>,
    /// How much of `bytes` has been sent.
    sent: usize,
    /// Large payloads; each goes out when `bytes` has been sent up to its `at`.
    payloads: VecDeque<Payload>,
    /// How much of the first of `payloads` has been sent.
    payload_sent: usize,
    /// What remains to be sent of all.
    remaining: usize,
    /// Since when what remains waits without progress.
    pub(super) since: Option<Moment>,
}

#[derive(Debug)]
struct Payload {
    at: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Data {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Payload {
    fn into_owned(self) -> Option<Vec<u8>> {
        match self.data {
            Data::Owned(bytes) => Some(bytes),
            Data::Shared(_) => None,
        }
    }
}

impl Output {
    /// How many bytes remain to be sent.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.remaining
    }

    /// Appends bytes, copying them.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        append(&mut self.bytes, bytes);
        self.remaining += bytes.len();
    }

    /// Appends an unmasked frame whose payload is short enough to be copied.
    #[inline]
    pub(super) fn push_copied(&mut self, first_byte: u8, payload: &[u8]) {
        debug_assert!(payload.len() < UNCOPIED);
        let length = payload.len();
        // The two shortest ways in which a length is written (RFC 6455 section 5.2), of which the first is by far the commoner.
        if length < 126 {
            self.bytes.reserve(2 + length);
            self.bytes.extend_from_slice(&[first_byte, length as u8]);
            self.bytes.extend_from_slice(payload);
            self.remaining += 2 + length;
        } else {
            let [high, low] = (length as u16).to_be_bytes();
            self.bytes.reserve(4 + length);
            self.bytes.extend_from_slice(&[first_byte, 126, high, low]);
            append(&mut self.bytes, payload);
            self.remaining += 4 + length;
        }
    }

    /// Appends whatever `write` appends to the buffer it is given, and must not otherwise change.
    #[inline]
    pub(super) fn push_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let result = write(&mut self.bytes);
        debug_assert!(self.bytes.len() >= before);
        self.remaining += self.bytes.len() - before;
        result
    }

    /// Appends an owned payload, uncopied if it is large.
    pub(super) fn push_owned(&mut self, bytes: Vec<u8>) {
        if bytes.len() < UNCOPIED {
            self.push(&bytes);
        } else {
            self.push_payload(Data::Owned(bytes));
        }
    }

    /// Appends bytes shared with other connections, uncopied if they are many.
    #[inline]
    pub(super) fn push_shared(&mut self, bytes: &Arc<[u8]>) {
        if bytes.len() < UNCOPIED {
            self.push(bytes);
        } else {
            self.push_payload(Data::Shared(Arc::clone(bytes)));
        }
    }

    fn push_payload(&mut self, data: Data) {
        self.remaining += data.as_bytes().len();
        self.payloads.push_back(Payload { at: self.bytes.len(), data });
    }

    /// The bytes to send, as slices in order, none of them empty.
    #[inline]
    pub(super) fn chunks(&self) -> Chunks<'_> {
        Chunks { output: self, sent: self.sent, next: 0, payload_sent: self.payload_sent }
    }

    /// Takes note that the first `count` bytes have been sent; more than there are counts as all. The last
    /// owned payload that has then been sent whole comes back: nobody needs it any more.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) -> Option<Vec<u8>> {
        // The common case: no large payloads, and all is sent.
        if count >= self.remaining && self.payloads.is_empty() {
            self.bytes.clear();
            (self.sent, self.remaining) = (0, 0);
            return None;
        }
        self.consume_part(count)
    }

    fn consume_part(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut count = count.min(self.remaining);
        self.remaining -= count;
        if self.remaining == 0 {
            let last = self.payloads.pop_back().and_then(Payload::into_owned);
            self.clear();
            return last;
        }
        let mut last = None;
        loop {
            let border = self.payloads.front().map_or(self.bytes.len(), |payload| payload.at);
            let small = count.min(border - self.sent);
            self.sent += small;
            count -= small;
            if count == 0 {
                break;
            }
            let Some(payload) = self.payloads.front() else { break };
            let left = payload.data.as_bytes().len() - self.payload_sent;
            if count < left {
                self.payload_sent += count;
                break;
            }
            count -= left;
            self.payload_sent = 0;
            last = self.payloads.pop_front().and_then(Payload::into_owned);
        }
        last
    }

    /// Forgets everything unsent and keeps the buffer.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.payloads.clear();
        (self.sent, self.payload_sent, self.remaining) = (0, 0, 0);
    }

    /// Moves what is unsent into an output of just the size that it needs, if the buffer has more room than
    /// that besides; this one is then empty and keeps its buffer. A peer that reads slowly but for ever must
    /// not make the buffer grow for ever; and moving costs less than was sent since the last time.
    pub(super) fn split_off_unsent(&mut self) -> Option<Self> {
        let unsent = self.bytes.len() - self.sent;
        if self.bytes.capacity() - unsent <= unsent.max(4096) {
            return None;
        }
        let mut rest = Self { bytes: self.bytes[self.sent..].to_vec(), ..Self::default() };
        (rest.remaining, rest.payload_sent) = (self.remaining, self.payload_sent);
        rest.since = self.since;
        rest.payloads = std::mem::take(&mut self.payloads);
        for payload in &mut rest.payloads {
            payload.at -= self.sent;
        }
        self.clear();
        Some(rest)
    }

    /// Gives back what an exceptional burst made the buffer grow to, as far as nothing is in it.
    #[inline]
    pub(super) fn shrink_to(&mut self, capacity: usize) {
        self.bytes.shrink_to(capacity);
    }
}

/// The slices of an output; see [`Endpoint::output`](crate::Endpoint::output).
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    output: &'a Output,
    sent: usize,
    next: usize,
    payload_sent: usize,
}

impl Chunks<'_> {
    /// No slices at all.
    pub(super) fn none() -> Self {
        static NOTHING: Output = Output {
            bytes: Vec::new(),
            sent: 0,
            payloads: VecDeque::new(),
            payload_sent: 0,
            remaining: 0,
            since: None,
        };
        NOTHING.chunks()
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let output = self.output;
        let payload = output.payloads.get(self.next);
        let border = payload.map_or(output.bytes.len(), |payload| payload.at);
        if self.sent < border {
            let chunk = &output.bytes[self.sent..border];
            self.sent = border;
            return Some(chunk);
        }
        let chunk = &payload?.data.as_bytes()[self.payload_sent..];
        self.next += 1;
        self.payload_sent = 0;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Output, Vec<u8>) {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for round in 0..6u8 {
            let small = vec![round; 700 * usize::from(round)];
            let large = vec![0x80 | round; UNCOPIED + usize::from(round)];
            output.push(&small);
            expected.extend(&small);
            match round % 3 {
                0 => output.push_owned(large.clone()),
                1 => output.push_shared(&large.clone().into()),
                _ => output.push_with(|bytes| bytes.extend(&large)),
            }
            expected.extend(&large);
        }
        output.push_owned(vec![7; 3]);
        expected.extend([7; 3]);
        (output, expected)
    }

    #[test]
    fn a_large_payload_stays_where_it_is_and_a_small_one_is_copied() {
        for (length, stays) in [(UNCOPIED - 1, false), (UNCOPIED, true), (UNCOPIED + 1, true)] {
            let (owned, shared) = (vec![1; length], Arc::<[u8]>::from(vec![2; length]));
            for place in [owned.as_ptr(), shared.as_ptr()] {
                let mut output = Output::default();
                output.push_owned(owned.clone());
                output.push_shared(&shared);
                assert_eq!(output.len(), 2 * length);
                let is_there = output.chunks().any(|chunk| chunk.as_ptr() == place);
                assert_eq!(is_there, stays && place == shared.as_ptr(), "{length}");
            }
            let (mut output, place) = (Output::default(), owned.as_ptr());
            output.push_owned(owned);
            assert_eq!(output.chunks().any(|chunk| chunk.as_ptr() == place), stays, "{length}");
            // Sent whole, it comes back.
            let back = output.consume(length);
            assert_eq!(
                back.map(|bytes| (bytes.as_ptr(), bytes.len())),
                stays.then_some((place, length))
            );
        }
    }

    #[test]
    fn frames_that_are_copied_count_with_their_headers() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (UNCOPIED - 1, 4)] {
            let mut output = Output::default();
            for frames in 1..3 {
                output.push_copied(0x82, &vec![7; length]);
                assert_eq!(output.len(), frames * (header + length));
                assert_eq!(output.chunks().map(<[u8]>::len).sum::<usize>(), output.len());
            }
        }
    }

    #[test]
    fn a_buffer_shrinks_when_nothing_is_in_it() {
        let mut output = Output::default();
        output.push(&[1; 5000]);
        output.shrink_to(100);
        assert!(output.bytes.capacity() >= 5000 && output.len() == 5000);
        output.consume(5000);
        output.shrink_to(100);
        assert_eq!(output.bytes.capacity(), 100);
    }

    #[test]
    fn what_is_unsent_moves_only_where_it_leaves_much_room() {
        for (length, sent, moves) in
            [(5000, 1000, false), (9000, 4096, false), (9000, 4999, true), (20_000, 10_001, true)]
        {
            let mut output = Output::default();
            output.push_with(|bytes| {
                bytes.reserve_exact(length);
                bytes.resize(length, 1);
            });
            output.consume(sent);
            let rest = output.split_off_unsent();
            assert_eq!(rest.is_some(), moves, "{sent} of {length}");
            assert_eq!(rest.unwrap_or(output).len(), length - sent);
        }
    }

    #[test]
    fn the_order_survives_any_partial_writes() {
        for step in [1, 3, 699, 4096, UNCOPIED, UNCOPIED + 1, 30_000, usize::MAX] {
            let (mut output, expected) = sample();
            let mut seen: Vec<u8> = Vec::new();
            while output.len() > 0 {
                let all: Vec<u8> = output.chunks().flatten().copied().collect();
                assert!(output.chunks().all(|chunk| !chunk.is_empty()));
                assert_eq!(all.len(), output.len());
                let count = step.min(all.len());
                seen.extend(&all[..count]);
                output.consume(step);
                if let Some(rest) = output.split_off_unsent() {
                    output = rest;
                }
                if step == 1 {
                    // Every byte alone is slow in a debug build; the borders are what matters.
                    let skip = output.len().min(3989);
                    let all: Vec<u8> = output.chunks().flatten().copied().collect();
                    seen.extend(&all[..skip]);
                    output.consume(skip);
                }
            }
            assert!(seen == expected, "step {step}");
            assert_eq!(output.chunks().next(), None);
        }
    }

    #[test]
    fn the_buffer_of_a_slow_reader_stays_bounded() {
        let mut output = Output::default();
        output.push(&[1; 10_000]);
        for _ in 0..10_000 {
            output.push(&[2; 1000]);
            output.consume(1000);
            output = output.split_off_unsent().unwrap_or(output);
        }
        assert_eq!(output.len(), 10_000);
        assert!(output.bytes.len() < 40_000);
    }

    #[test]
    fn the_room_for_a_frame_is_that_of_the_frame() {
        for (length, header) in [(60, 2), (125, 2), (126, 4), (UNCOPIED - 1, 4)] {
            let mut output = Output::default();
            output.push_copied(0x82, &vec![7; length]);
            assert_eq!(output.bytes.capacity(), header + length);
        }
    }
}
