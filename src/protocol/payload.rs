use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::str::Utf8Error;

/// The payload of a text message: UTF-8 (RFC 6455 section 5.6), read like a `str`.
///
/// What was received borrows from the input where one whole frame lay there, and owns its memory where it was
/// assembled from pieces or inflated. [`into_string`](Self::into_string) and [`into_owned`](Self::into_owned)
/// copy only what is borrowed; what comes of `into_owned` can be given to another thread.
///
/// ```
/// use framewire::{Message, Text};
///
/// let Message::Text(text) = Message::from("move 3 4") else { unreachable!() };
/// assert!(text.starts_with("move"));
/// assert_eq!(text, "move 3 4");
///
/// let kept: Text<'static> = text.into_owned();
/// std::thread::spawn(move || assert_eq!(kept.into_string(), "move 3 4")).join().unwrap();
/// ```
#[doc(alias = "Utf8Bytes")]
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, str>);

/// The payload of a binary message, of a Ping or a Pong, or of a piece of a message: read like a `[u8]`.
///
/// What was received borrows from the input where one whole frame lay there, and owns its memory where it was
/// assembled from pieces or inflated. [`into_vec`](Self::into_vec) and [`into_owned`](Self::into_owned) copy only
/// what is borrowed; what comes of `into_owned` can be given to another thread.
///
/// ```
/// use framewire::{Bytes, Message};
///
/// let Message::Binary(bytes) = Message::from(vec![1, 2, 3]) else { unreachable!() };
/// assert_eq!(bytes.first(), Some(&1));
/// assert_eq!(bytes, [1, 2, 3]);
///
/// let kept: Bytes<'static> = bytes.into_owned();
/// assert_eq!(kept.into_vec(), [1, 2, 3]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// The text.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a `String`; copied only if it was borrowed.
    #[inline]
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }

    /// The text detached from what it was borrowed from; copied only if it was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// Borrows the text from this one.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }

    /// The bytes of the text, not copied.
    #[inline]
    #[must_use]
    pub fn into_bytes(self) -> Bytes<'a> {
        match self.0 {
            Cow::Borrowed(text) => Bytes(Cow::Borrowed(text.as_bytes())),
            Cow::Owned(text) => Bytes(Cow::Owned(text.into_bytes())),
        }
    }
}

impl<'a> Bytes<'a> {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a `Vec`; copied only if they were borrowed.
    #[inline]
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_owned()
    }

    /// The bytes detached from what they were borrowed from; copied only if they were borrowed.
    #[must_use]
    pub fn into_owned(self) -> Bytes<'static> {
        Bytes(Cow::Owned(self.0.into_owned()))
    }

    /// Borrows the bytes from these.
    #[must_use]
    pub fn borrowed(&self) -> Bytes<'_> {
        Bytes(Cow::Borrowed(&self.0))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Bytes<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl Borrow<[u8]> for Bytes<'_> {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Conversions that borrow where they can, and copy nothing.
macro_rules! convert {
    ($payload:ident: $($from:ty = $convert:expr),+ $(,)?) => {$(
        impl<'a> From<$from> for $payload<'a> {
            #[inline]
            fn from(from: $from) -> Self {
                let convert: fn($from) -> _ = $convert;
                Self(convert(from))
            }
        }
    )+};
}

convert!(Text:
    &'a str = Cow::Borrowed,
    &'a String = |text| Cow::Borrowed(text.as_str()),
    String = Cow::Owned,
    Box<str> = |text| Cow::Owned(text.into()),
    Cow<'a, str> = |text| text,
    &'a Text<'_> = |text| Cow::Borrowed(text.as_str()),
);
convert!(Bytes:
    &'a [u8] = Cow::Borrowed,
    &'a Vec<u8> = |bytes| Cow::Borrowed(bytes.as_slice()),
    Vec<u8> = Cow::Owned,
    Box<[u8]> = |bytes| Cow::Owned(bytes.into()),
    Cow<'a, [u8]> = |bytes| bytes,
    &'a Bytes<'_> = |bytes| Cow::Borrowed(bytes.as_slice()),
    Text<'a> = |text| text.into_bytes().0,
);

impl<'a, const N: usize> From<&'a [u8; N]> for Bytes<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

/// The bytes as text, if they are UTF-8; not copied.
///
/// ```
/// use framewire::{Bytes, Text};
///
/// assert_eq!(Text::try_from(Bytes::from(&b"text"[..])).unwrap(), "text");
/// assert!(Text::try_from(Bytes::from(vec![0xff])).is_err());
/// ```
impl<'a> TryFrom<Bytes<'a>> for Text<'a> {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes<'a>) -> Result<Self, Utf8Error> {
        match bytes.0 {
            Cow::Borrowed(bytes) => Ok(Self(Cow::Borrowed(std::str::from_utf8(bytes)?))),
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Self(Cow::Owned(text))),
                Err(error) => Err(error.utf8_error()),
            },
        }
    }
}

impl<'a> From<Text<'a>> for Cow<'a, str> {
    #[inline]
    fn from(text: Text<'a>) -> Self {
        text.0
    }
}

impl<'a> From<Bytes<'a>> for Cow<'a, [u8]> {
    #[inline]
    fn from(bytes: Bytes<'a>) -> Self {
        bytes.0
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.into_string()
    }
}

impl From<Bytes<'_>> for Vec<u8> {
    fn from(bytes: Bytes<'_>) -> Self {
        bytes.into_vec()
    }
}

/// Compares with what a test or a handler has at hand.
macro_rules! compare {
    ($payload:ident, $target:ty: $($other:ty),+) => {$(
        impl PartialEq<$other> for $payload<'_> {
            fn eq(&self, other: &$other) -> bool {
                let (own, other): (&$target, &$target) = (self, other.as_ref());
                own == other
            }
        }

        impl PartialEq<$payload<'_>> for $other {
            fn eq(&self, other: &$payload<'_>) -> bool {
                other == self
            }
        }
    )+};
}

compare!(Text, str: str, &str, String);
compare!(Bytes, [u8]: [u8], &[u8], Vec<u8>);

impl<const N: usize> PartialEq<[u8; N]> for Bytes<'_> {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == other[..]
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Bytes<'_> {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owned_is_never_copied() {
        let text = String::from("text");
        let at = text.as_ptr();
        let text = Text::from(text).into_owned().into_bytes();
        assert_eq!(text.as_ptr(), at);
        let text = Text::try_from(text).unwrap();
        assert_eq!(text.as_ptr(), at);
        let text = text.into_string();
        assert_eq!(text.as_ptr(), at);

        let bytes = vec![1, 2, 3];
        let at = bytes.as_ptr();
        let bytes = Bytes::from(bytes).into_owned();
        let bytes = bytes.into_vec();
        assert_eq!(bytes.as_ptr(), at);
    }

    #[test]
    fn a_payload_is_equal_to_what_it_is_read_like() {
        let (text, bytes) = (Text::from("text"), Bytes::from(&b"text"[..]));
        assert!(text == "text" && *"text" == text);
        assert!(bytes == b"text" && bytes == *b"text" && bytes == b"text".to_vec());
        assert!(text != "Text" && bytes != b"Text" && bytes != b"text".as_slice()[1..]);
        assert_eq!((text.to_string(), format!("{text:?}")), ("text".into(), "\"text\"".into()));
        assert_eq!((text.borrowed(), bytes.borrowed()), (text.clone(), bytes.clone()));
        let (text, bytes): (Cow<'_, str>, Cow<'_, [u8]>) = (text.into(), bytes.into());
        assert!(matches!(text, Cow::Borrowed("text")) && matches!(bytes, Cow::Borrowed(b"text")));
    }

    #[test]
    fn bytes_are_compared_with_arrays_by_value() {
        let bytes = Bytes::from(&b"text"[..]);
        assert!(bytes == *b"text" && bytes != *b"Text" && bytes != *b"longer");
    }
}
