/// Checks UTF-8 byte by byte, by the table of well-formed sequences (Unicode 3.9, table 3-7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utf8 {
    missing: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    pub(crate) fn new() -> Self {
        Self { missing: 0, low: 0x80, high: 0xbf }
    }

    /// Whether the text may still become UTF-8 after this byte.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        if self.missing > 0 {
            if byte < self.low || byte > self.high {
                return false;
            }
            *self = Self { missing: self.missing - 1, ..Self::new() };
            return true;
        }
        (self.missing, self.low, self.high) = match byte {
            0x00..=0x7f => return true,
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return false,
        };
        true
    }

    pub(crate) fn push_all(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.push(byte))
    }

    /// Whether the text may end here.
    pub(crate) fn may_end(&self) -> bool {
        self.missing == 0
    }
}

/// Whether this is UTF-8.
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    let mut utf8 = Utf8::new();
    utf8.push_all(bytes) && utf8.may_end()
}

#[test]
fn the_table_is_that_of_the_standard_library() {
    for code in 0..1 << 21 {
        let bytes = [
            &[(code >> 13) as u8, (code >> 5) as u8][..],
            // The last two are continuations or others by three bits each.
            &[0x7f + ((code >> 2 & 7) << 4) as u8, 0x80 | (code & 3) as u8],
        ]
        .concat();
        for end in 1..=4 {
            let expected = std::str::from_utf8(&bytes[..end]).is_ok();
            assert_eq!(is_utf8(&bytes[..end]), expected, "{bytes:x?} to {end}");
        }
    }
}
