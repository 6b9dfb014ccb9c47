//! Numbers from a fixed seed, and the ways to cut a stream.

/// xorshift: the same numbers on every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = (self.next() >> 24) as u8;
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    /// Text of about `length` bytes, of code points of every width.
    pub(crate) fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 4);
        while text.len() < length {
            text.push(match self.below(8) {
                0 => 'é',
                1 => '漢',
                2 => '😀',
                _ => char::from(b'a' + self.below(26) as u8),
            });
        }
        text
    }
}

/// A way to cut a stream: where, in ascending order.
pub(crate) type Cuts = Vec<usize>;

/// From how many bytes on a stream is cut at some places instead of at all.
const LONG: usize = 400;

/// Whole, byte by byte, in every two parts (a sample of them if there are many), and in random
/// portions.
pub(crate) fn all_cuts(length: usize) -> Vec<Cuts> {
    let mut random = Random::new(length as u64);
    let mut all = vec![vec![], (1..length).collect()];
    if length <= LONG {
        all.extend((1..length).map(|cut| vec![cut]));
    } else {
        // The start is where headers are; the rest is sampled.
        all.extend((1..40).map(|cut| vec![cut]));
        all.extend((0..40).map(|_| vec![1 + random.below(length - 1)]));
    }
    if length > 2 {
        all.extend((0..24).map(|_| random_cuts(&mut random, length)));
    }
    all
}

/// Random portions, small and large ones mixed.
pub(crate) fn random_cuts(random: &mut Random, length: usize) -> Cuts {
    let mut cuts = Vec::new();
    let mut at = 0;
    loop {
        let most = [2, 5, 17, 1 + length / 3][random.below(4)];
        at += 1 + random.below(most.max(1));
        if at >= length {
            return cuts;
        }
        cuts.push(at);
    }
}

/// The portions of `stream` between the cuts.
pub(crate) fn portions<'s>(stream: &'s [u8], cuts: &[usize]) -> Vec<&'s [u8]> {
    let mut portions = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for &cut in cuts {
        portions.push(&stream[from..cut]);
        from = cut;
    }
    portions.push(&stream[from..]);
    portions
}

#[test]
fn every_cut_gives_the_stream_again() {
    for length in [1, 2, 3, 100, 1000] {
        let stream = Random::new(1).bytes(length);
        let cuts = all_cuts(length);
        assert!(cuts.len() >= 2);
        for cuts in cuts {
            let portions = portions(&stream, &cuts);
            assert!(portions.iter().all(|portion| !portion.is_empty()));
            assert_eq!(portions.concat(), stream);
        }
    }
}
