//! Header fields: an ordered, compact list of them (RFC 9110 section 5).

use std::collections::TryReserveError;
use std::hash::{Hash, Hasher};
use std::{fmt, mem, slice};

use super::names::COOKIE;

/// The header fields of a request or a response, in their order.
///
/// Names are tokens and compare without regard to ASCII case; values are bytes, since RFC 9110
/// section 5.5 lets bytes of 0x80 and above through. All text lies in one allocation and the ends
/// of names and values in a second one, so that a kept request is small.
///
/// ```
/// use framewire::handshake::Headers;
///
/// let mut headers = Headers::new();
/// headers.append("Cookie", "a=1")?;
/// headers.append("X-Room", "lobby")?;
/// assert_eq!(headers.get_str("cookie"), Some("a=1"));
/// assert!(headers.append("X-Room", "lobby\r\nSet-Cookie: b=2").is_err());
/// # Ok::<(), framewire::handshake::InvalidHeader>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    /// Name, value, name, value, … with nothing between.
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// The bits of the names, by [`name_bit`]: most headers that are asked for are not there.
    names: u64,
}

/// Where a field ends in `bytes`; it starts where the one before ends.
#[derive(Clone, Copy)]
struct Field {
    name_end: u32,
    value_end: u32,
}

/// The values of the fields of one name.
struct Values<'h, 'n> {
    bytes: &'h [u8],
    fields: slice::Iter<'h, Field>,
    /// Where the next field starts.
    start: usize,
    name: &'n [u8],
}

impl<'h> Iterator for Values<'h, '_> {
    type Item = &'h [u8];

    #[inline]
    fn next(&mut self) -> Option<&'h [u8]> {
        for field in self.fields.by_ref() {
            let (name_end, value_end) = (field.name_end as usize, field.value_end as usize);
            let start = mem::replace(&mut self.start, value_end);
            // Most of the others differ in length already.
            if name_end - start == self.name.len()
                && is_same(&self.bytes[start..name_end], self.name)
            {
                return Some(&self.bytes[name_end..value_end]);
            }
        }
        None
    }
}

impl Headers {
    /// No fields. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with_capacity(bytes: usize, fields: usize) -> Self {
        let (bytes, fields) = (Vec::with_capacity(bytes), Vec::with_capacity(fields));
        Self { bytes, fields, names: 0 }
    }

    /// Takes room for so many bytes of names and values more, in so many fields.
    pub(super) fn try_reserve(
        &mut self,
        bytes: usize,
        fields: usize,
    ) -> Result<(), TryReserveError> {
        self.bytes.try_reserve_exact(bytes)?;
        self.fields.try_reserve_exact(fields)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The value of the first field of this name; `None` also if it is not UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The values of all fields of this name, in their order.
    #[inline]
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let name = name.as_bytes();
        let is_possible = self.names & name_bit(name) != 0;
        let fields = if is_possible { self.fields.iter() } else { [].iter() };
        Values { bytes: &self.bytes, fields, start: 0, name }
    }

    /// All fields, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // A name is a token, so it is always UTF-8.
        self.raw().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// Whether a field of this name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether one of the fields of this name lists `token`, by [`has_token`].
    ///
    /// ```
    /// # use framewire::handshake::Headers;
    /// let mut headers = Headers::new();
    /// headers.append("Connection", "keep-alive, Upgrade")?;
    /// assert!(headers.has_token("connection", "upgrade"));
    /// assert!(!headers.has_token("connection", "alive"));
    /// # Ok::<(), framewire::handshake::InvalidHeader>(())
    /// ```
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name).any(|value| has_token(value, token))
    }

    /// The number of fields; two of the same name count as two.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds a field after the others.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if the name is not a token, or if the value holds a control byte other
    /// than the tab (so never CR, LF or NUL) or begins or ends with white space (RFC 9110 section
    /// 5.5). Nothing is added then.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidHeader> {
        let value = value.as_ref();
        check_field(name, value)?;
        self.push(name.as_bytes(), value)
    }

    /// Replaces all fields of this name by one, which stands last.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append). Nothing is changed then.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidHeader> {
        let value = value.as_ref();
        check_field(name, value)?;
        if self.contains(name) {
            // Fields lie without gaps, so one cannot be taken out in place.
            let mut kept = Self::with_capacity(self.bytes.len(), self.fields.len());
            for (field, value) in self.raw() {
                if !field.eq_ignore_ascii_case(name.as_bytes()) {
                    kept.push(field, value)?;
                }
            }
            *self = kept;
        }
        self.push(name.as_bytes(), value)
    }

    /// Adds a field that is known to be well-formed.
    #[inline]
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let name_end = self.bytes.len() + name.len();
        let ends = (u32::try_from(name_end), u32::try_from(name_end + value.len()));
        let (Ok(name_end), Ok(value_end)) = ends else { return Err(InvalidHeader::TooLarge) };
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.fields.push(Field { name_end, value_end });
        self.names |= name_bit(name);
        Ok(())
    }

    /// What the fields take as lines.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.bytes.len() + 4 * self.fields.len()
    }

    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.fields.iter().map(move |field| {
            let (name_end, value_end) = (field.name_end as usize, field.value_end as usize);
            let name = &self.bytes[start..name_end];
            start = value_end;
            (name, &self.bytes[name_end..value_end])
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &[u8]| value.escape_ascii().to_string();
        f.debug_list().entries(self.iter().map(|(name, value)| (name, text(value)))).finish()
    }
}

/// Equal names (without regard to ASCII case) and values in the same order.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.raw().zip(other.raw()).all(|(a, b)| a.0.eq_ignore_ascii_case(b.0) && a.1 == b.1)
    }
}

impl Eq for Headers {}

impl Hash for Headers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        for (name, value) in self.raw() {
            name.to_ascii_lowercase().hash(state);
            value.hash(state);
        }
    }
}

/// Whether two words are the same but for the case of their letters. Most are written alike, which is seen sooner.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || one.eq_ignore_ascii_case(other)
}

/// One bit of 64 for a name, by its length and its last letter. No header that a server looks for and seldom finds has
/// that of one that most requests bring.
#[inline]
fn name_bit(name: &[u8]) -> u64 {
    let last = name.last().map_or(0, |last| usize::from(last | 0x20));
    1 << ((name.len() + 3 * last) % 64)
}

/// Why a header cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is not a token (RFC 9110 section 5.1).
    Name(String),
    /// The value of the header of this name holds a control byte, or white space at its ends
    /// (RFC 9110 section 5.5).
    Value(String),
    /// The header of this name is written by the handshake itself (RFC 6455 section 4).
    Reserved(String),
    /// The chosen subprotocol is not a token (RFC 6455 section 4.2.2, item 4).
    Subprotocol(String),
    /// The reason phrase holds a control byte (RFC 9112 section 4).
    Reason(String),
    /// This cannot stand in a cookie (RFC 6265 section 4.1.1).
    Cookie(String),
    /// All headers together reach 4 GiB.
    TooLarge,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is not a header name"),
            Self::Value(name) => write!(f, "the value of the header {name} cannot be sent"),
            Self::Reserved(name) => {
                write!(f, "the header {name:?} is written by the handshake and cannot be set")
            }
            Self::Subprotocol(name) => write!(f, "{name:?} is not a subprotocol name"),
            Self::Reason(reason) => write!(f, "{reason:?} is not a reason phrase"),
            Self::Cookie(text) => write!(f, "{text:?} is not allowed in a cookie"),
            Self::TooLarge => f.write_str("the headers are too large"),
        }
    }
}

impl std::error::Error for InvalidHeader {}

/// Whether `value`, a comma-separated list, has `token` as one of its elements.
///
/// ASCII case is disregarded, and a part of an element never matches (RFC 9110 section 7.6.1, RFC
/// 6455 section 4.2.1).
///
/// ```
/// use framewire::handshake::has_token;
///
/// assert!(has_token(b"keep-alive, Upgrade", "upgrade"));
/// assert!(!has_token(b"notupgrade", "upgrade"));
/// ```
#[must_use]
pub fn has_token(value: &[u8], token: &str) -> bool {
    let is_token = |part: &[u8]| is_same(trim(part), token.as_bytes());
    // Most values are one token.
    is_token(value) || value.split(|&byte| byte == b',').any(is_token)
}

/// Whether `bytes` is a token: one or more of the characters that names are made of (RFC 9110
/// section 5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether a field value may hold this byte: visible ASCII, space, tab and `obs-text`.
#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Without the spaces and tabs around it (`OWS`, RFC 9110 section 5.6.3).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The pairs in all `Cookie` fields, as one list and without white space around them (RFC 6265 section 4.2.1).
pub(crate) fn cookie_pairs(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).flat_map(|line| line.split(|&byte| byte == b';')).map(trim)
}

pub(crate) fn encode_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Whether this may be sent as a field.
pub(crate) fn check_field(name: &str, value: &[u8]) -> Result<(), InvalidHeader> {
    if !is_token(name.as_bytes()) {
        return Err(InvalidHeader::Name(name.to_owned()));
    }
    if !value.iter().all(|&byte| is_value_byte(byte)) || trim(value).len() != value.len() {
        return Err(InvalidHeader::Value(name.to_owned()));
    }
    Ok(())
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(
            byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
                | b'`' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::super::names::*;
    use super::*;

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.append("Host", "example.com").unwrap();
        headers.append("Cookie", b"a=\xff").unwrap();
        headers.append("cookie", "b=2").unwrap();
        headers
    }

    // req: W025
    #[test]
    fn get_disregards_case_and_keeps_order() {
        let headers = sample();
        assert_eq!(headers.get("HOST"), Some(&b"example.com"[..]));
        assert_eq!(headers.get_str("Cookie"), None);
        assert_eq!(headers.get_all("COOKIE").collect::<Vec<_>>(), [&b"a=\xff"[..], b"b=2"]);
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "Cookie", "cookie"]);
        assert_eq!((headers.len(), headers.is_empty()), (3, false));
        assert!(headers.get("Cook").is_none());
    }

    #[test]
    fn set_replaces_all_of_the_name() {
        let mut headers = sample();
        headers.set("COOKIE", "c=3").unwrap();
        assert_eq!(headers.get_all("cookie").collect::<Vec<_>>(), [b"c=3"]);
        assert_eq!(headers.get_str("host"), Some("example.com"));
        assert!(headers.set("Host", "a\nb").is_err());
        assert_eq!(headers.len(), 2);
    }

    // req: H007
    #[test]
    fn append_refuses_what_would_forge_lines() {
        let mut headers = Headers::new();
        for name in ["", "a b", "a:", "a\r\nb", "ä", "a\0"] {
            assert_eq!(headers.append(name, "x"), Err(InvalidHeader::Name(name.into())));
        }
        for value in ["a\rb", "a\nb", "a\r\nb: c", "\0", "\x1f", "\x7f", " a", "a ", "\ta", "a\t"] {
            assert_eq!(headers.append("A", value), Err(InvalidHeader::Value("A".into())));
        }
        assert!(headers.is_empty());
        for value in [&b""[..], b"a\tb", b"\x80\xff"] {
            headers.append("A", value).unwrap();
        }
    }

    // req: W029
    #[test]
    fn tokens_match_whole() {
        assert!(has_token(b"keep-alive , \tUPGRADE", "upgrade"));
        for value in
            [&b""[..], b"notupgrade", b"upgradex", b"up grade", b"up,grade", b"\xffupgrade"]
        {
            assert!(!has_token(value, "upgrade"), "{value:?}");
        }
        let mut headers = Headers::new();
        headers.append("Connection", "keep-alive").unwrap();
        headers.append("Connection", "Upgrade").unwrap();
        assert!(headers.has_token("connection", "upgrade"));
    }

    #[test]
    fn what_is_seldom_there_has_a_bit_of_its_own() {
        let sought = [TRANSFER_ENCODING, CONTENT_LENGTH, PROTOCOL, EXTENSIONS];
        let common =
            [HOST, UPGRADE, CONNECTION, KEY, VERSION, ORIGIN, COOKIE, "User-Agent", "Accept"];
        let more = ["Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma"];
        for name in common.into_iter().chain(more) {
            assert!(sought.iter().all(|one| name_bit(one.as_bytes()) != name_bit(name.as_bytes())));
            let upper = name.to_ascii_uppercase();
            assert_eq!(name_bit(upper.as_bytes()), name_bit(name.as_bytes()));
        }
    }

    #[test]
    fn token_bytes() {
        let tokens = (0..=255).filter(|&byte| is_token_byte(byte)).count();
        assert_eq!(tokens, 10 + 26 + 26 + 15);
        assert!(
            !is_token(b"") && is_token(b"!#$%&'*+-.^_`|~") && !is_token(b"\"(),/:;<=>?@[\\]{}")
        );
    }

    #[test]
    fn equality_and_debug() {
        assert_eq!(sample(), sample());
        let mut other = sample();
        other.append("X", "y").unwrap();
        assert_ne!(sample(), other);
        let one = |name, value| {
            let mut headers = Headers::new();
            headers.append(name, value).unwrap();
            headers
        };
        for (name, value) in [("A", "c"), ("B", "b"), ("B", "c")] {
            assert_ne!(one("A", "b"), one(name, value));
        }
        // Equal headers have equal hashes, however their names are written.
        let mut written_otherwise = Headers::new();
        for (name, value) in sample().iter() {
            written_otherwise.append(&name.to_ascii_uppercase(), value).unwrap();
        }
        let hash = |headers| BuildHasherDefault::<DefaultHasher>::default().hash_one(headers);
        assert_eq!(sample(), written_otherwise);
        assert_eq!(hash(sample()), hash(written_otherwise));
        assert_ne!(hash(one("A", "b")), hash(one("A", "c")));
        assert_ne!(hash(one("A", "b")), hash(one("B", "b")));
        assert!(format!("{:?}", sample()).contains("\\\\xff"));
    }
}
