use std::fmt;
use std::str;

/// Returns `bytes` as text, if it is UTF-8 from end to end.
///
/// # Errors
///
/// [`InvalidUtf8`]; a truncated last code point is invalid too.
#[inline]
pub fn validate_utf8(bytes: &[u8]) -> Result<&str, InvalidUtf8> {
    #[cfg(feature = "simdutf8")]
    return simdutf8::basic::from_utf8(bytes).map_err(|_| InvalidUtf8);
    #[cfg(not(feature = "simdutf8"))]
    str::from_utf8(bytes).map_err(|_| InvalidUtf8)
}

/// Checks text that arrives in pieces, and fails at the first byte that no UTF-8 can contain there.
///
/// RFC 6455 section 8.1 wants the connection failed on text that is not UTF-8; this finds it inside an
/// unfinished frame, without waiting for the message to end. After an error every method fails: another
/// text needs another validator.
///
/// ```
/// use framewire::wire::Utf8Validator;
///
/// let mut text = Utf8Validator::new();
/// assert!(text.push(b"caf\xc3").is_ok()); // ends inside a code point
/// assert!(text.push(b"\xa9").is_ok());
/// assert!(text.finish().is_ok());
/// assert!(text.push(b"\xf4\x90").is_err()); // beyond U+10FFFF, known at the second byte
/// ```
#[doc(alias = "UTF-8")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Validator {
    /// The bytes of a code point that is not yet complete.
    pending: [u8; 4],
    /// How many bytes those are, or [`FAILED`].
    length: u8,
}

/// The length that stands for a text that was not UTF-8.
const FAILED: u8 = u8::MAX;

impl Utf8Validator {
    /// A validator at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: [0; 4], length: 0 }
    }

    /// Checks the next piece.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] at the first impossible byte; the text cannot be saved by what follows.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        self.keep_failure(piece, |_| ())
    }

    /// Checks the next piece and appends what is complete of it to `text`, so that the whole need not
    /// be checked again. A code point that the piece does not finish is appended with the next piece.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    ///
    /// ```
    /// use framewire::wire::Utf8Validator;
    ///
    /// let (mut validator, mut text) = (Utf8Validator::new(), String::new());
    /// validator.push_into(b"caf\xc3", &mut text)?;
    /// assert_eq!(text, "caf");
    /// validator.push_into(b"\xa9", &mut text)?;
    /// validator.finish()?;
    /// assert_eq!(text, "café");
    /// # Ok::<(), framewire::wire::InvalidUtf8>(())
    /// ```
    #[inline]
    pub fn push_into(&mut self, piece: &[u8], text: &mut String) -> Result<(), InvalidUtf8> {
        self.keep_failure(piece, |valid| text.push_str(valid))
    }

    #[inline]
    fn keep_failure(&mut self, piece: &[u8], sink: impl FnMut(&str)) -> Result<(), InvalidUtf8> {
        let scanned = self.scan(piece, sink);
        if scanned.is_err() {
            self.length = FAILED;
        }
        scanned
    }

    fn scan(&mut self, mut piece: &[u8], mut sink: impl FnMut(&str)) -> Result<(), InvalidUtf8> {
        while self.length > 0 {
            if self.length == FAILED {
                return Err(InvalidUtf8);
            }
            let Some((&next, rest)) = piece.split_first() else { return Ok(()) };
            let end = usize::from(self.length);
            self.pending[end] = next;
            piece = rest;
            match str::from_utf8(&self.pending[..=end]) {
                Ok(character) => {
                    sink(character);
                    self.length = 0;
                }
                Err(error) if error.error_len().is_none() => self.length += 1,
                Err(_) => return Err(InvalidUtf8),
            }
        }
        let (whole, tail) = piece.split_at(whole_code_points(piece));
        sink(validate_utf8(whole)?);
        match str::from_utf8(tail) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                self.pending[..tail.len()].copy_from_slice(tail);
                self.length = tail.len() as u8;
                Ok(())
            }
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Ends the text. If it is UTF-8, the validator is then ready for the next one.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] if the text ends inside a code point, or has failed before.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if self.length > 0 {
            self.length = FAILED;
            return Err(InvalidUtf8);
        }
        Ok(())
    }
}

/// Where a code point begins that `bytes`, if it is UTF-8, does not finish; else its length.
fn whole_code_points(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let width = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return bytes.len() - if width > back { back } else { 0 };
    }
    bytes.len()
}

/// `bytes` as owned text, if it is UTF-8 from end to end.
pub(crate) fn into_text(bytes: Vec<u8>) -> Result<String, InvalidUtf8> {
    // The standard library's check is as fast as any on ASCII; on the rest, a fast check and a copy
    // cost less than its check alone.
    if bytes.is_ascii() || !cfg!(feature = "simdutf8") {
        String::from_utf8(bytes).map_err(|_| InvalidUtf8)
    } else {
        validate_utf8(&bytes).map(String::from)
    }
}

/// Bytes that are not UTF-8 where RFC 6455 section 8.1 demands it; close code 1007.
#[allow(clippy::exhaustive_structs, reason = "it has nothing to tell but itself")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text is not UTF-8")
    }
}

impl std::error::Error for InvalidUtf8 {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The validator's answer byte by byte: `Err(n)` if byte n was rejected or, at the end, the length.
    fn bytewise(bytes: &[u8]) -> Result<(), usize> {
        let mut text = Utf8Validator::new();
        for (index, byte) in bytes.iter().enumerate() {
            text.push(&[*byte]).map_err(|_| index)?;
        }
        text.finish().map_err(|_| bytes.len())
    }

    fn check(bytes: &[u8]) {
        let expected = str::from_utf8(bytes).is_ok();
        assert_eq!(validate_utf8(bytes).is_ok(), expected, "{bytes:02x?}");
        assert_eq!(bytewise(bytes).is_ok(), expected, "{bytes:02x?}");
        for split in 0..=bytes.len() {
            let mut text = Utf8Validator::new();
            let (front, back) = bytes.split_at(split);
            let valid =
                text.push(front).and_then(|()| text.push(back)).and_then(|()| text.finish());
            assert_eq!(valid.is_ok(), expected, "{bytes:02x?} at {split}");
        }
    }

    // req: W078, W112
    #[test]
    fn accepts_exactly_what_the_standard_library_accepts() {
        for scalar in 0..=0x10_ffff {
            if let Some(character) = char::from_u32(scalar) {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                assert_eq!(bytewise(bytes), Ok(()));
                assert!(validate_utf8(bytes).is_ok());
            }
        }
        for first in 0..=255u8 {
            check(&[first]);
            for second in 0..=255u8 {
                check(&[first, second]);
            }
        }
        for third in 0..=255u8 {
            check(&[0xe0, 0xa0, third]);
            check(&[0xed, 0xa0, third]);
            check(&[0xf0, 0x90, third, 0x80]);
            check(&[0xf4, 0x8f, 0xbf, third]);
            check(&[0xf4, third, 0xbf, 0xbf]);
        }
    }

    // req: W078
    #[test]
    fn fails_at_the_first_impossible_byte() {
        let good = "κόσμε".as_bytes();
        for (bad, at) in [
            (&b"\xf4\x90"[..], 1),
            (b"\xed\xa0", 1),
            (b"\xe0\x80", 1),
            (b"\xf0\x8f", 1),
            (b"\xc0", 0),
            (b"\xff", 0),
            (b"\xf5", 0),
            (b"\x80", 0),
            (b"\xe2\x82x", 2),
        ] {
            let bytes = [good, bad, good].concat();
            assert_eq!(bytewise(&bytes), Err(good.len() + at), "{bad:02x?}");
            check(&bytes);
        }
    }

    // req: W078
    #[test]
    fn what_is_complete_is_appended_wherever_a_text_is_cut() {
        for whole in ["", "ascii", "é", "aé", "€uro", "😀", "x😀é€z"] {
            for split in 0..=whole.len() {
                let (front, back) = whole.as_bytes().split_at(split);
                let (mut validator, mut text) = (Utf8Validator::new(), String::new());
                validator.push_into(front, &mut text).unwrap();
                let complete = (0..=split).rfind(|&end| whole.is_char_boundary(end)).unwrap();
                assert_eq!(text, whole[..complete], "{whole} at {split}");
                validator.push_into(back, &mut text).unwrap();
                assert_eq!(text, whole, "{whole} at {split}");
                assert_eq!(into_text(whole.into()).as_deref(), Ok(whole));
            }
        }
        assert_eq!(into_text(b"a\xff".to_vec()), Err(InvalidUtf8));
    }

    // req: W078
    #[test]
    fn a_text_that_ends_inside_a_code_point_is_invalid() {
        assert_eq!(bytewise(b"\xf0\x9f\x98"), Err(3));
        let mut text = Utf8Validator::new();
        text.push(b"\xf0\x9f\x98").unwrap();
        assert!(text.finish().is_err());
    }

    // req: W078, W112
    #[test]
    fn what_failed_stays_failed_and_what_ended_begins_anew() {
        let wrong: [&[&[u8]]; 6] = [
            &[b"\xff"],
            &[b"ok\xc0"],
            &[b"\xe2", b"x"],
            &[b"\xe2\x82", b"\x82\xff"],
            &[b"\xc3"],
            &[],
        ];
        for pieces in wrong {
            for next in ["", "a", "\u{82}", "é"] {
                for method in 0..3 {
                    let mut text = Utf8Validator::new();
                    let failed = pieces.iter().any(|piece| text.push(piece).is_err());
                    let failed = failed || text.finish().is_err();
                    assert_eq!(failed, !pieces.is_empty());
                    let mut kept = String::new();
                    let answer = match method {
                        0 => text.push(next.as_bytes()),
                        1 => text.push_into(next.as_bytes(), &mut kept),
                        _ => text.finish(),
                    };
                    assert_eq!(answer.is_err(), failed, "{pieces:?} {next:?} {method}");
                    assert!(!failed || kept.is_empty());
                    assert_eq!(text.finish().is_err(), failed);
                    assert_eq!(text.push(b"").is_err(), failed);
                }
            }
        }
    }
}
