//! A compressor that makes all that DEFLATE allows, and nothing well: any mixture of blocks, any complete
//! code, matches here and there (RFC 1951).

use std::collections::HashMap;

use super::inflate::{DISTANCE_BITS, DISTANCES, LENGTH_BITS, LENGTHS, ORDER};
use super::random::{Draw, Random};

/// What the sender of one direction remembers.
#[derive(Clone, Debug)]
pub(crate) struct Deflate {
    window: usize,
    takeover: bool,
    history: Vec<u8>,
}

impl Deflate {
    pub(crate) fn new(window_bits: u8, takeover: bool) -> Self {
        Self { window: 1 << window_bits, takeover, history: Vec::new() }
    }

    /// The payload of a message with this text (RFC 7692 section 7.2.1).
    pub(crate) fn message(&mut self, text: &[u8], random: &mut Random) -> Vec<u8> {
        let (mut bits, mut finals) = (Bits::default(), 0);
        let known = [&self.history, text].concat();
        let mut at = self.history.len();
        while at < known.len() || random.percent(10) {
            let end = match random.below(3) {
                0 => known.len(),
                _ => known.len().min(at + random.length(5000)),
            };
            let last = finals < 4 && random.percent(5);
            finals += usize::from(last);
            bits.put(last.into(), 1);
            let block = &known[at..end];
            match random.below(3) {
                0 => {
                    bits.put(0, 2);
                    bits.align();
                    let block = &block[..block.len().min(0xffff)];
                    bits.put(block.len(), 16);
                    bits.put(!block.len() & 0xffff, 16);
                    for &byte in block {
                        bits.put(byte.into(), 8);
                    }
                    at += block.len();
                }
                1 => {
                    bits.put(1, 2);
                    let mut lengths = [8; 288];
                    lengths[144..256].fill(9);
                    lengths[256..280].fill(7);
                    let tokens = tokens(&known, at, end, self.window, random);
                    bits.tokens(&tokens, &codes(&lengths), &codes(&[5; 30]));
                    at = end;
                }
                _ => {
                    bits.put(2, 2);
                    let tokens = tokens(&known, at, end, self.window, random);
                    bits.dynamic(&tokens, random);
                    at = end;
                }
            }
            if last {
                bits.align();
            }
        }
        // What remains of an empty stored block when its last four bytes are taken away.
        bits.put(0, 3);
        bits.align();
        if self.takeover {
            self.history = known[known.len().saturating_sub(self.window)..].to_vec();
        }
        bits.bytes
    }
}

enum Token {
    Literal(u8),
    Match { length: usize, distance: usize },
}

/// Text as literals and matches, which reach back into what comes before `at`.
fn tokens(known: &[u8], at: usize, end: usize, window: usize, random: &mut Random) -> Vec<Token> {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let begin = at.saturating_sub(window);
    for place in begin..at.saturating_sub(2) {
        places.insert(&known[place..place + 3], place);
    }
    let keen = random.pick(&[0, 50, 95, 100]);
    let (mut tokens, mut at) = (Vec::new(), at);
    while at < end {
        let trigram = known.get(at..at + 3).filter(|_| at + 3 <= end);
        let before = trigram.and_then(|trigram| places.insert(trigram, at));
        // Now and then the farthest one, or almost.
        let other = match trigram {
            Some(trigram) if random.percent(10) => {
                let from = at.saturating_sub(window);
                let places = from..at.min(from + 600);
                places.into_iter().find(|&place| known[place..].starts_with(trigram))
            }
            _ => None,
        };
        let candidate =
            other.or(before).filter(|before| at - before <= window && random.percent(keen));
        let Some(before) = candidate else {
            tokens.push(Token::Literal(known[at]));
            at += 1;
            continue;
        };
        let most = (end - at).min(258);
        let same = (0..most).take_while(|&step| known[before + step] == known[at + step]).count();
        let length = if random.percent(80) { same } else { random.between(3, same) };
        tokens.push(Token::Match { length, distance: at - before });
        at += length;
    }
    tokens
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are taken; 0 for all.
    used: u32,
}

impl Bits {
    fn put(&mut self, value: usize, count: usize) {
        for bit in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn align(&mut self) {
        self.used = 0;
    }

    /// A code, whose first bit is its highest.
    fn code(&mut self, code: (usize, usize)) {
        let (code, length) = code;
        assert!(length > 0, "a symbol without a code");
        for bit in (0..length).rev() {
            self.put(code >> bit & 1, 1);
        }
    }

    fn tokens(
        &mut self,
        tokens: &[Token],
        literals: &[(usize, usize)],
        distances: &[(usize, usize)],
    ) {
        for token in tokens {
            match *token {
                Token::Literal(byte) => self.code(literals[usize::from(byte)]),
                Token::Match { length, distance } => {
                    let index = symbol(&LENGTHS, length);
                    self.code(literals[257 + index]);
                    self.put(length - LENGTHS[index], LENGTH_BITS[index]);
                    let index = symbol(&DISTANCES, distance);
                    self.code(distances[index]);
                    self.put(distance - DISTANCES[index], DISTANCE_BITS[index]);
                }
            }
        }
        self.code(literals[256]);
    }

    /// The rest of a dynamic block, with any complete codes.
    fn dynamic(&mut self, tokens: &[Token], random: &mut Random) {
        let (mut literals, mut distances) = (vec![256], Vec::new());
        for token in tokens {
            match *token {
                Token::Literal(byte) => literals.push(byte.into()),
                Token::Match { length, distance } => {
                    literals.push(257 + symbol(&LENGTHS, length));
                    distances.push(symbol(&DISTANCES, distance));
                }
            }
        }
        let literals = any_lengths(literals, 286, 15, random);
        // "If only one distance code is used, it is encoded using one bit" (RFC 1951 section 3.2.7).
        distances.dedup();
        let distances = match distances[..] {
            [] => vec![0],
            [one] if random.percent(50) => (0..=one).map(|at| usize::from(at == one)).collect(),
            _ => any_lengths(distances, 30, 15, random),
        };
        self.put(literals.len() - 257, 5);
        self.put(distances.len() - 1, 5);
        let runs = runs(&[&literals[..], &distances].concat(), random);
        let lengths = any_lengths(runs.iter().map(|run| run.0).collect(), 19, 7, random);
        let lengths: Vec<usize> =
            ORDER.iter().map(|&at| lengths.get(at).copied().unwrap_or(0)).collect();
        let used = lengths.iter().rposition(|&length| length > 0).map_or(4, |last| last + 1);
        self.put(used.max(4) - 4, 4);
        for &length in &lengths[..used.max(4)] {
            self.put(length, 3);
        }
        let mut by_symbol = [0; 19];
        for (place, &length) in lengths.iter().enumerate() {
            by_symbol[ORDER[place]] = length;
        }
        let run_codes = codes(&by_symbol);
        for (symbol, extra, bits) in runs {
            self.code(run_codes[symbol]);
            self.put(extra, bits);
        }
        self.tokens(tokens, &codes(&literals), &codes(&distances));
    }
}

/// The place of the greatest base that is not above `value`.
fn symbol(bases: &[usize], value: usize) -> usize {
    bases.partition_point(|&base| base <= value) - 1
}

/// Lengths of a complete code for these symbols, in any shape.
fn any_lengths(mut used: Vec<usize>, all: usize, most: usize, random: &mut Random) -> Vec<usize> {
    used.sort_unstable();
    used.dedup();
    while used.len() < 2 || (used.len() < all && random.percent(20)) {
        let another = random.below(all);
        if let Err(place) = used.binary_search(&another) {
            used.insert(place, another);
        }
    }
    // A tree whose leaves are split one after the other.
    let mut leaves = vec![0];
    while leaves.len() < used.len() {
        let at = random.below(leaves.len());
        if leaves[at] < most {
            leaves[at] += 1;
            leaves.push(leaves[at]);
        }
    }
    let mut lengths = vec![0; used[used.len() - 1] + 1];
    for symbol in used {
        lengths[symbol] = leaves.swap_remove(random.below(leaves.len()));
    }
    lengths
}

/// Lengths as symbols with extra bits: value, extra, and how many bits that has.
fn runs(lengths: &[usize], random: &mut Random) -> Vec<(usize, usize, usize)> {
    let (mut runs, mut at) = (Vec::new(), 0);
    while at < lengths.len() {
        let same = lengths[at..].iter().take_while(|&&length| length == lengths[at]).count();
        let repeats = at > 0 && lengths[at - 1] == lengths[at];
        let count = match lengths[at] {
            0 if same >= 11 && random.percent(80) => {
                let count = random.between(11, same.min(138));
                runs.push((18, count - 11, 7));
                count
            }
            0 if same >= 3 && random.percent(80) => {
                let count = random.between(3, same.min(10));
                runs.push((17, count - 3, 3));
                count
            }
            _ if same >= 3 && repeats && random.percent(80) => {
                let count = random.between(3, same.min(6));
                runs.push((16, count - 3, 2));
                count
            }
            length => {
                runs.push((length, 0, 0));
                1
            }
        };
        at += count;
    }
    runs
}

/// The codes and their lengths (RFC 1951 section 3.2.2).
fn codes(lengths: &[usize]) -> Vec<(usize, usize)> {
    let mut codes = vec![(0, 0); lengths.len()];
    let mut code = 0;
    for length in 1..=15 {
        code <<= 1;
        for symbol in (0..lengths.len()).filter(|&symbol| lengths[symbol] == length) {
            codes[symbol] = (code, length);
            code += 1;
        }
    }
    codes
}

#[test]
fn all_that_it_makes_is_read() {
    use super::inflate::Inflate;
    use super::random::payload;

    let mut random = Random::new(1);
    for round in 0..300 {
        let (bits, takeover) = (random.between(8, 15) as u8, random.percent(70));
        let mut deflate = Deflate::new(bits, takeover);
        let mut inflate = Inflate::new(bits, takeover);
        for _ in 0..4 {
            let length = random.length(9000);
            let text = payload(random.percent(50), length, random.next());
            let wire = deflate.message(&text, &mut random);
            let inflated = inflate.message(&wire, text.len());
            assert!(inflated.text == text, "round {round}: another text");
            assert!(!inflated.corrupt && !inflated.doubtful, "round {round}: {inflated:?}");
            inflate.keep(&text);
        }
    }
}
