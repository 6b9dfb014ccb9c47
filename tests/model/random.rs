/// The numbers of the simulated worlds.
#[path = "../../src/event_loop/simulation/random.rs"]
mod numbers;

pub(crate) use numbers::Random;

/// What only sessions draw.
pub(crate) trait Draw {
    fn byte(&mut self) -> u8;

    /// A length: most are short, and the borders of headers and buffers come often.
    fn length(&mut self, most: usize) -> usize;
}

impl Draw for Random {
    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn length(&mut self, most: usize) -> usize {
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
            let words = if random.percent(50) { &words[..plain] } else { &words[..] };
            while bytes.len() < length {
                bytes.extend_from_slice(random.pick(words).as_bytes());
            }
        }
    }
    bytes
}
