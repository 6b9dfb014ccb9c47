//! A small, slow DEFLATE decoder that shares no code with the library (RFC 1951).
//!
//! It knows of a window what the peer was promised and no more, and fails on every distance beyond it,
//! which zlib does not. What is no DEFLATE data, and what is no whole message of it (RFC 7692 section
//! 7.2.2), it refuses exactly where zlib and the library do.

/// The receiving end of one direction with context takeover.
pub(crate) struct StrictInflate {
    window: usize,
    text: Vec<u8>,
    /// The largest distance so far.
    pub(crate) farthest: usize,
}

impl StrictInflate {
    /// A receiver that remembers `window` bytes and no more.
    pub(crate) fn new(window: usize) -> Self {
        Self { window, text: Vec::new(), farthest: 0 }
    }

    /// Empties the window, as a receiver without context takeover does after each message.
    #[allow(dead_code, reason = "not every test that includes this file goes without takeover")]
    pub(crate) fn forget(&mut self) {
        self.text.clear();
    }

    /// The plain text of the next message, of its whole payload without the four octets that the sender
    /// has left out.
    pub(crate) fn message(&mut self, wire: &[u8]) -> Result<Vec<u8>, &'static str> {
        if self.text.len() > 2 * self.window {
            self.text.drain(..self.text.len() - self.window);
        }
        let start = self.text.len();
        if wire.is_empty() {
            return Ok(Vec::new());
        }
        let sent = 8 * wire.len();
        let wire = [wire, &TAIL].concat();
        let mut bits = Bits { bytes: &wire, position: 0, sent };
        while bits.position < 8 * wire.len() {
            let last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(&mut bits)?,
                1 => {
                    let mut lengths = [8; 288];
                    lengths[144..256].fill(9);
                    lengths[256..280].fill(7);
                    // Two of the 32 codes for distances stand for nothing (RFC 1951 section 3.2.6).
                    self.coded(&mut bits, &Code::new(&lengths), &Code::new(&[5; 32]))?;
                }
                2 => {
                    let (literals, distances) = dynamic(&mut bits)?;
                    self.coded(&mut bits, &literals, &distances)?;
                }
                _ => return Err("block type"),
            }
            if last {
                bits.align();
                // Some senders put no octet after a final block (RFC 7692 section 7.2.3.4).
                if bits.position == sent {
                    break;
                }
            }
        }
        Ok(self.text[start..].to_vec())
    }

    fn stored(&mut self, bits: &mut Bits<'_>) -> Result<(), &'static str> {
        bits.align();
        let (length, complement) = (bits.take(16)?, bits.take(16)?);
        if length != !complement & 0xffff {
            return Err("stored length");
        }
        for _ in 0..length {
            let byte = bits.take(8)? as u8;
            bits.is_text()?;
            self.text.push(byte);
        }
        Ok(())
    }

    fn coded(
        &mut self,
        bits: &mut Bits<'_>,
        literals: &Code,
        distances: &Code,
    ) -> Result<(), &'static str> {
        loop {
            let symbol = literals.read(bits)?;
            match symbol {
                0..=255 => {
                    bits.is_text()?;
                    self.text.push(symbol as u8);
                }
                256 => return Ok(()),
                257..=285 => {
                    let index = symbol - 257;
                    let length = LENGTHS[index] + bits.take(LENGTH_BITS[index])?;
                    let index = distances.read(bits)?;
                    if index >= 30 {
                        return Err("distance code");
                    }
                    let distance = DISTANCES[index] + bits.take(DISTANCE_BITS[index])?;
                    if distance > self.window || distance > self.text.len() {
                        return Err("distance");
                    }
                    bits.is_text()?;
                    self.farthest = self.farthest.max(distance);
                    for _ in 0..length {
                        self.text.push(self.text[self.text.len() - distance]);
                    }
                }
                _ => return Err("length code"),
            }
        }
    }
}

/// The end of an empty stored block, which does not go over the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

fn dynamic(bits: &mut Bits<'_>) -> Result<(Code, Code), &'static str> {
    let literals = bits.take(5)? + 257;
    let distances = bits.take(5)? + 1;
    let count = bits.take(4)? + 4;
    if literals > 286 || distances > 30 {
        return Err("too many symbols");
    }
    let mut lengths = [0; 19];
    for index in ORDER.iter().take(count) {
        lengths[*index] = bits.take(3)?;
    }
    let code = Code::new(&lengths);
    if !code.is_complete() {
        return Err("code of lengths");
    }
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            16 => (*lengths.last().ok_or("nothing to repeat")?, bits.take(2)? + 3),
            17 => (0, bits.take(3)? + 3),
            18 => (0, bits.take(7)? + 11),
            length => (length, 1),
        };
        lengths.resize(lengths.len() + times, value);
    }
    if lengths.len() > literals + distances {
        return Err("too many lengths");
    }
    if lengths[256] == 0 {
        return Err("no end of block");
    }
    let codes = (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]));
    if !codes.0.is_usable() || !codes.1.is_usable() {
        return Err("code");
    }
    Ok(codes)
}

/// A canonical Huffman code (RFC 1951 section 3.2.2).
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|s| lengths[*s] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        for symbol in &symbols {
            counts[lengths[*symbol]] += 1;
        }
        Self { counts, symbols }
    }

    /// Whether every sequence of bits stands for symbols.
    fn is_complete(&self) -> bool {
        self.left() == Some(0)
    }

    /// One code of one bit may stand alone, or no code at all (RFC 1951 section 3.2.7).
    fn is_usable(&self) -> bool {
        let alone = self.counts[1] == self.symbols.len() && self.symbols.len() < 2;
        self.is_complete() || alone
    }

    /// How many codes of 15 bits are not in use; `None` if more are than there can be.
    fn left(&self) -> Option<usize> {
        let mut left = 1_usize;
        for count in &self.counts[1..] {
            left = (2 * left).checked_sub(*count)?;
        }
        Some(left)
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<usize, &'static str> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            if code < first + count {
                return Ok(self.symbols[index + code - first]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err("code")
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where what was sent ends and what was left out begins.
    sent: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<usize, &'static str> {
        if self.position + count > 8 * self.bytes.len() {
            return Err("end of input");
        }
        let at = self.position / 8;
        let bytes = self.bytes[at..].iter().take(4).rev();
        let value = bytes.fold(0, |value, byte| value << 8 | usize::from(*byte));
        let value = value >> (self.position % 8) & ((1 << count) - 1);
        self.position += count;
        Ok(value)
    }

    fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }

    /// The four octets that were left out belong to an empty block: no text comes of them.
    fn is_text(&self) -> Result<(), &'static str> {
        if self.position > self.sent { Err("text in the tail") } else { Ok(()) }
    }
}

const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LENGTHS: [usize; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_BITS: [usize; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCES: [usize; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_BITS: [usize; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

#[cfg(test)]
mod tests {
    use super::*;

    // req: D031
    #[test]
    fn it_checks_distances() {
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let mut wide = StrictInflate::new(5);
        assert_eq!(wide.message(&hello).unwrap(), b"Hello");
        assert_eq!(wide.message(&again).unwrap(), b"Hello");
        assert_eq!(wide.farthest, 5);
        let mut narrow = StrictInflate::new(4);
        assert_eq!(narrow.message(&hello).unwrap(), b"Hello");
        assert_eq!(narrow.message(&again), Err("distance"));
        wide.forget();
        assert_eq!(wide.message(&again), Err("distance"));
    }

    // req: D032, D034
    #[test]
    fn it_wants_whole_messages() {
        let mut inflate = StrictInflate::new(32_768);
        for whole in [&[][..], &[0x00], &[0x01], &[0x03, 0x00], &[0x03, 0x00, 0x00]] {
            assert_eq!(inflate.message(whole), Ok(Vec::new()), "{whole:02x?}");
        }
        for broken in [
            &[0x06][..],
            &[0x04],
            &[0x02],
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07],
            // The tail would be its text.
            &[0x00, 0x04, 0x00, 0xfb, 0xff],
        ] {
            assert!(inflate.message(broken).is_err(), "{broken:02x?}");
        }
    }
}
