//! DEFLATE as the model reads it (RFC 1951): small, slow, and with reasons.

/// What the receiver of one direction remembers.
#[derive(Clone, Debug)]
pub(crate) struct Inflate {
    window: usize,
    takeover: bool,
    history: Vec<u8>,
}

/// What came of a payload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inflated {
    pub(crate) text: Vec<u8>,
    /// It is not DEFLATE, or not a whole message of it.
    pub(crate) corrupt: bool,
    /// A receiver may take it or leave it: it breaks a rule in which no text is lost, or one on which the
    /// RFCs and the decoders of this world differ.
    pub(crate) doubtful: bool,
    /// Reading stopped, for the text is too long by far.
    pub(crate) endless: bool,
    /// There are so many final blocks that a receiver may lose patience.
    pub(crate) many_finals: bool,
}

/// What is appended to each payload (RFC 7692 section 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// From how many final blocks on a receiver may lose patience.
const MANY_FINAL_BLOCKS: usize = 30;

impl Inflate {
    pub(crate) fn new(window_bits: u8, takeover: bool) -> Self {
        Self { window: 1 << window_bits, takeover, history: Vec::new() }
    }

    /// Reads the payload of a whole message, up to `most` bytes of text and somewhat more.
    pub(crate) fn message(&self, payload: &[u8], most: usize) -> Inflated {
        let wire = [payload, &TAIL].concat();
        let mut reading = Reading::new(self, &wire, most);
        let outcome = reading.blocks();
        let mut inflated = reading.inflated;
        match outcome {
            // Text of the tail means that it fell into a block.
            Ok(()) => inflated.corrupt |= inflated.text.len() > reading.before_tail,
            Err(Stop::Corrupt) => inflated.corrupt = true,
            Err(Stop::End) if reading.final_at == Some(8 * payload.len()) => {
                // It ended with a final block, without the octet that should follow.
                (inflated.doubtful, inflated.corrupt) = (true, false);
            }
            Err(Stop::End) => inflated.corrupt = true,
            Err(Stop::Endless) => inflated.endless = true,
        }
        if inflated.corrupt {
            inflated.text.truncate(reading.before_tail);
        }
        if payload.is_empty() {
            (inflated.doubtful, inflated.corrupt) = (true, false);
        }
        inflated
    }

    /// Reads what has come of the payload of an unfinished message: `corrupt` if nothing can mend it.
    pub(crate) fn prefix(&self, payload: &[u8], most: usize) -> Inflated {
        let mut reading = Reading::new(self, payload, most);
        let outcome = reading.blocks();
        let mut inflated = reading.inflated;
        inflated.corrupt = outcome == Err(Stop::Corrupt);
        inflated.endless = outcome == Err(Stop::Endless);
        inflated
    }

    /// Remembers the text of a message that was read.
    pub(crate) fn keep(&mut self, text: &[u8]) {
        if self.takeover {
            self.history.extend_from_slice(text);
            let most = 32_768;
            if self.history.len() > 4 * most {
                self.history.drain(..self.history.len() - most);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Corrupt,
    /// The input ended inside a block.
    End,
    Endless,
}

struct Reading<'w> {
    wire: &'w [u8],
    /// In bits.
    position: usize,
    window: usize,
    history: &'w [u8],
    inflated: Inflated,
    most: usize,
    /// Where the last final block ended.
    final_at: Option<usize>,
    finals: usize,
    /// How much text there was when the tail began.
    before_tail: usize,
}

impl<'w> Reading<'w> {
    fn new(of: &'w Inflate, wire: &'w [u8], most: usize) -> Self {
        Self {
            wire,
            position: 0,
            window: of.window,
            history: &of.history,
            inflated: Inflated::default(),
            most: most.saturating_add(70_000),
            final_at: None,
            finals: 0,
            before_tail: 0,
        }
    }

    fn blocks(&mut self) -> Result<(), Stop> {
        while self.position < 8 * self.wire.len() {
            let last = self.take(1)? == 1;
            match self.take(2)? {
                0 => self.stored()?,
                1 => {
                    let mut lengths = [8; 288];
                    lengths[144..256].fill(9);
                    lengths[256..280].fill(7);
                    self.coded(&Code::new(&lengths), &Code::new(&[5; 32]))?;
                }
                2 => {
                    let (literals, distances) = self.codes()?;
                    self.coded(&literals, &distances)?;
                }
                _ => return Err(Stop::Corrupt),
            }
            if last {
                self.align();
                self.finals += 1;
                self.final_at = Some(self.position);
                self.inflated.many_finals |= self.finals > MANY_FINAL_BLOCKS;
            }
        }
        Ok(())
    }

    fn stored(&mut self) -> Result<(), Stop> {
        self.align();
        let (length, complement) = (self.take(16)?, self.take(16)?);
        if length != !complement & 0xffff {
            return Err(Stop::Corrupt);
        }
        for _ in 0..length {
            let byte = self.take(8)? as u8;
            self.push(byte)?;
        }
        Ok(())
    }

    fn coded(&mut self, literals: &Code, distances: &Code) -> Result<(), Stop> {
        loop {
            let symbol = literals.read(self)?;
            match symbol {
                0..=255 => self.push(symbol as u8)?,
                256 => return Ok(()),
                257..=285 => {
                    let index = symbol - 257;
                    let length = LENGTHS[index] + self.take(LENGTH_BITS[index])?;
                    let index = distances.read(self)?;
                    if index >= 30 {
                        return Err(Stop::Corrupt);
                    }
                    let distance = DISTANCES[index] + self.take(DISTANCE_BITS[index])?;
                    self.copy(length, distance)?;
                }
                _ => return Err(Stop::Corrupt),
            }
        }
    }

    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Stop> {
        let text = self.inflated.text.len();
        if distance > text + self.history.len() {
            return Err(Stop::Corrupt);
        }
        // The peer broke a rule, and the text is right, if it is still known.
        self.inflated.doubtful |= distance > self.window;
        for _ in 0..length {
            let text = self.inflated.text.len();
            let byte = if distance <= text {
                self.inflated.text[text - distance]
            } else {
                self.history[self.history.len() + text - distance]
            };
            self.push(byte)?;
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) -> Result<(), Stop> {
        if self.inflated.text.len() >= self.most {
            return Err(Stop::Endless);
        }
        self.inflated.text.push(byte);
        if self.position <= 8 * self.wire.len().saturating_sub(TAIL.len()) {
            self.before_tail = self.inflated.text.len();
        }
        Ok(())
    }

    /// The codes of a dynamic block.
    fn codes(&mut self) -> Result<(Code, Code), Stop> {
        let literals = self.take(5)? + 257;
        let distances = self.take(5)? + 1;
        // Lengths that are "never used", and more than zlib takes.
        self.inflated.doubtful |= literals > 286 || distances > 30;
        let mut lengths = [0; 19];
        for index in ORDER.iter().take(self.take(4)? + 4) {
            lengths[*index] = self.take(3)?;
        }
        let code = self.code(&lengths, Kind::Lengths)?;
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (value, times) = match code.read(self)? {
                16 => (*lengths.last().ok_or(Stop::Corrupt)?, self.take(2)? + 3),
                17 => (0, self.take(3)? + 3),
                18 => (0, self.take(7)? + 11),
                length => (length, 1),
            };
            lengths.resize(lengths.len() + times, value);
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return Err(Stop::Corrupt);
        }
        let (literals, distances) = lengths.split_at(literals);
        Ok((self.code(literals, Kind::Literals)?, self.code(distances, Kind::Distances)?))
    }

    fn code(&mut self, lengths: &[usize], kind: Kind) -> Result<Code, Stop> {
        let used = lengths.iter().filter(|&&length| length > 0);
        let space: usize = used.clone().map(|&length| 1 << (15 - length)).sum();
        if space > 1 << 15 {
            return Err(Stop::Corrupt);
        }
        if space < 1 << 15 {
            // "One distance code of zero bits means that there are no distance codes used at all"; and a
            // single one has one bit (RFC 1951 section 3.2.7). Other incomplete codes are not told of.
            let alone = used.clone().count() == 1 && used.clone().all(|&length| length == 1);
            let told = kind == Kind::Distances && (lengths == [0] || alone);
            self.inflated.doubtful |= !told;
        }
        Ok(Code::new(lengths))
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<usize, Stop> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.wire.get(self.position / 8).ok_or(Stop::End)?;
            value |= usize::from(byte >> (self.position % 8) & 1) << bit;
            self.position += 1;
        }
        Ok(value)
    }

    fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Lengths,
    Literals,
    Distances,
}

/// A canonical Huffman code (RFC 1951 section 3.2.2).
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|&at| lengths[at] > 0).collect();
        symbols.sort_by_key(|&symbol| lengths[symbol]);
        for &symbol in &symbols {
            counts[lengths[symbol]] += 1;
        }
        Self { counts, symbols }
    }

    fn read(&self, reading: &mut Reading<'_>) -> Result<usize, Stop> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= reading.take(1)?;
            if code < first + count {
                return Ok(self.symbols[index + code - first]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Stop::Corrupt)
    }
}

pub(crate) const ORDER: [usize; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
pub(crate) const LENGTHS: [usize; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
pub(crate) const LENGTH_BITS: [usize; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
pub(crate) const DISTANCES: [usize; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
pub(crate) const DISTANCE_BITS: [usize; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

#[test]
fn the_examples_of_the_rfc_come_out() {
    let mut inflate = Inflate::new(15, true);
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        let Inflated { text, corrupt, doubtful, .. } = inflate.message(payload, 5);
        assert_eq!((&text[..], corrupt, doubtful), (&b"Hello"[..], false, false), "{payload:x?}");
        inflate.keep(&text);
    }
    assert!(inflate.message(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07], 5).corrupt);
    assert!(!inflate.prefix(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9], 5).corrupt);
    assert!(inflate.prefix(&[0x06], 5).corrupt);
    assert!(Inflate::new(15, false).message(&[0xf2, 0x00, 0x11, 0x00, 0x00], 5).corrupt);
}
