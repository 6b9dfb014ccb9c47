/// Numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From `low` up to and including `high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// One of the choices, as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(usize, T)]) -> T {
        let total = choices.iter().map(|choice| choice.0).sum();
        let mut at = self.below(total);
        for &(weight, choice) in choices {
            if at < weight {
                return choice;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }

    /// A length: most are short, and the borders of headers and buffers come often.
    pub(crate) fn length(&mut self, most: usize) -> usize {
        let length = match self.below(16) {
            0 => 0,
            1 => 1,
            2 => self.between(124, 128),
            3 => self.below(most.max(1)),
            4 | 5 => self.below(1500),
            _ => self.below(100),
        };
        length.min(most)
    }
}

/// A payload of about this length: noise, a run, a short period or words, or text with code points of all
/// lengths.
pub(crate) fn payload(text: bool, length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = ["price", "volume", "{\"id\":", "null", ", ", "bid", "0.", "17", "é", "€", "😀"];
    let plain = words.len() - 3;
    let mut bytes = Vec::with_capacity(length);
    match random.below(4) {
        0 if !text => bytes.extend((0..length).map(|_| random.byte())),
        1 if !text => {
            let period = random.between(1, 700);
            bytes.extend((0..length).map(|index| ((index % period * 31) >> 2) as u8));
        }
        0 => {
            let letters = ["a", "\0", "é", "\u{7ff}", "\u{800}", "€", "\u{ffff}", "😀"];
            while bytes.len() < length {
                bytes.extend_from_slice(random.pick(&letters).as_bytes());
            }
        }
        2 => bytes.resize(length, b'a' + random.byte() % 26),
        _ => {
            let words = if random.chance(50) { &words[..plain] } else { &words[..] };
            while bytes.len() < length {
                bytes.extend_from_slice(random.pick(words).as_bytes());
            }
        }
    }
    bytes
}
