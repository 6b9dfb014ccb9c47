use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::wire::Opcode;

use super::payload::{Bytes, Text};

/// Text or binary (RFC 6455 section 5.6).
#[doc(alias = "binaryType")]
#[allow(clippy::exhaustive_enums, reason = "RFC 6455 knows exactly these two")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes whose meaning is the application's.
    Binary,
}

impl MessageKind {
    /// The opcode of the first frame of such a message.
    pub(super) const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A whole message, received or to be sent (RFC 6455 section 5.6).
///
/// A received message borrows from the input where one whole frame lay there, and owns its payload
/// where it was assembled from pieces or inflated. Sending an owned message moves a large payload to
/// the output without a copy.
///
/// ```
/// use framewire::Message;
///
/// let message = Message::from("héllo");
/// assert!(message.is_text());
/// assert_eq!(message.as_bytes().len(), 6);
/// assert_eq!(Message::from(vec![1, 2, 3]).as_text(), None);
/// ```
#[allow(clippy::exhaustive_enums, reason = "RFC 6455 knows exactly these two")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(Text<'a>),
    /// Bytes.
    Binary(Bytes<'a>),
}

impl<'a> Message<'a> {
    /// A text message; `String` moves, `&str` borrows.
    #[must_use]
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message; `Vec<u8>` moves, `&[u8]` borrows.
    #[doc(alias = "Uint8Array")]
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes<'a>>) -> Self {
        Self::Binary(bytes.into())
    }

    /// The kind of the message: text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }

    /// Whether this is a text message.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.kind() == MessageKind::Text
    }

    /// Whether this is a binary message.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.kind() == MessageKind::Binary
    }

    /// The payload, of either kind.
    #[doc(alias("ArrayBuffer", "blob"))]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text; `None` for a binary message, even if its bytes happen to be UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The length of the payload in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty; empty messages are legal and are delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The text of a text message; not copied. [`as_text`](Self::as_text) looks at it without taking it.
    ///
    /// # Errors
    ///
    /// [`UnexpectedKind`] if this is a binary message.
    pub fn into_text(self) -> Result<Text<'a>, UnexpectedKind> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(_) => Err(UnexpectedKind(MessageKind::Binary)),
        }
    }

    /// The bytes of a binary message; not copied. [`into_bytes`](Self::into_bytes) takes those of either kind.
    ///
    /// # Errors
    ///
    /// [`UnexpectedKind`] if this is a text message.
    pub fn into_binary(self) -> Result<Bytes<'a>, UnexpectedKind> {
        match self {
            Self::Binary(bytes) => Ok(bytes),
            Self::Text(_) => Err(UnexpectedKind(MessageKind::Text)),
        }
    }

    /// The payload, of either kind; not copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes<'a> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The message detached from the input it was borrowed from, to be kept or given to another thread; copied
    /// only if it was borrowed.
    #[must_use]
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::Text(text) => Message::Text(text.into_owned()),
            Self::Binary(bytes) => Message::Binary(bytes.into_owned()),
        }
    }

    /// Borrows the message from this one.
    #[must_use]
    pub fn borrowed(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text.borrowed()),
            Self::Binary(bytes) => Message::Binary(bytes.borrowed()),
        }
    }

    /// Writes a value as JSON, of any type that serde can serialise, and makes a text message of it. With the feature
    /// `json`.
    ///
    /// # Errors
    ///
    /// [`JsonError`] if the value cannot be written as JSON, as a map cannot whose keys are no strings.
    ///
    /// ```
    /// use framewire::Message;
    ///
    /// let message = Message::from_json(&("join", 3))?;
    /// assert_eq!(message, "[\"join\",3]");
    /// let (verb, room): (String, u8) = message.json()?;
    /// assert_eq!((verb.as_str(), room), ("join", 3));
    /// # Ok::<(), framewire::JsonError>(())
    /// ```
    #[doc(alias("JSON.stringify", "serialize"))]
    #[cfg(feature = "json")]
    pub fn from_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        serde_json::to_string(value).map(Self::from).map_err(JsonError)
    }

    /// Reads the message as JSON, into any type that serde can deserialise: the value may borrow from the message.
    /// Binary messages are read as well. With the feature `json`.
    ///
    /// # Errors
    ///
    /// [`JsonError`] if it is not JSON, or not that of such a value. Nothing is done to the connection: a peer that
    /// speaks nonsense may be answered by a Close with [`CloseCode::INVALID_PAYLOAD`](crate::CloseCode).
    #[doc(alias("serde", "JSON.parse", "deserialize"))]
    #[cfg(feature = "json")]
    pub fn json<'m, T: serde::Deserialize<'m>>(&'m self) -> Result<T, JsonError> {
        match self {
            Self::Text(text) => serde_json::from_str(text),
            Self::Binary(bytes) => serde_json::from_slice(bytes),
        }
        .map_err(JsonError)
    }

    /// The kind, and the payload of either kind.
    pub(super) fn into_parts(self) -> (MessageKind, Cow<'a, [u8]>) {
        match self {
            Self::Text(text) => (MessageKind::Text, text.into_bytes().into()),
            Self::Binary(bytes) => (MessageKind::Binary, bytes.into()),
        }
    }
}

impl<'a> From<Text<'a>> for Message<'a> {
    #[inline]
    fn from(text: Text<'a>) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Bytes<'a>> for Message<'a> {
    #[inline]
    fn from(bytes: Bytes<'a>) -> Self {
        Self::Binary(bytes)
    }
}

/// Text makes text messages, bytes make binary ones.
macro_rules! convert {
    ($($kind:ident: $from:ty),+ $(,)?) => {$(
        impl<'a> From<$from> for Message<'a> {
            #[inline]
            fn from(payload: $from) -> Self {
                Self::$kind(payload.into())
            }
        }
    )+};
}

convert!(
    Text: &'a str,
    Text: &'a String,
    Text: String,
    Text: Box<str>,
    Text: Cow<'a, str>,
    Text: &'a Text<'_>,
    Binary: &'a [u8],
    Binary: &'a Vec<u8>,
    Binary: Vec<u8>,
    Binary: Box<[u8]>,
    Binary: Cow<'a, [u8]>,
    Binary: &'a Bytes<'_>,
);

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl<'a> From<&'a Message<'_>> for Message<'a> {
    fn from(message: &'a Message<'_>) -> Self {
        message.borrowed()
    }
}

impl AsRef<[u8]> for Message<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// A text is written as it is; of a binary message, its length.
///
/// ```
/// use framewire::Message;
///
/// assert_eq!(Message::from("hello").to_string(), "hello");
/// assert_eq!(Message::from(b"\0\x01").to_string(), "<binary, 2 bytes>");
/// ```
impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Display::fmt(text, f),
            Self::Binary(bytes) => write!(f, "<binary, {} bytes>", bytes.len()),
        }
    }
}

/// Equal if it is a text message with this text.
impl PartialEq<str> for Message<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_text() == Some(other)
    }
}

/// Equal if it is a text message with this text.
impl PartialEq<&str> for Message<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_text() == Some(*other)
    }
}

/// A message is not of the kind that was asked for.
///
/// ```
/// use framewire::{Message, MessageKind};
///
/// let error = Message::from(b"bytes").into_text().unwrap_err();
/// assert_eq!(error.kind(), MessageKind::Binary);
/// assert_eq!(error.to_string(), "a text message was expected, and this one is binary");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnexpectedKind(MessageKind);

impl UnexpectedKind {
    /// The kind that the message has.
    #[must_use]
    pub fn kind(self) -> MessageKind {
        self.0
    }
}

impl fmt::Display for UnexpectedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            MessageKind::Text => "a binary message was expected, and this one is text",
            MessageKind::Binary => "a text message was expected, and this one is binary",
        })
    }
}

impl Error for UnexpectedKind {}

/// The text of a text message; copied only if it was borrowed.
impl TryFrom<Message<'_>> for String {
    type Error = UnexpectedKind;

    fn try_from(message: Message<'_>) -> Result<Self, UnexpectedKind> {
        message.into_text().map(Text::into_string)
    }
}

/// The bytes of a binary message; copied only if they were borrowed.
impl TryFrom<Message<'_>> for Vec<u8> {
    type Error = UnexpectedKind;

    fn try_from(message: Message<'_>) -> Result<Self, UnexpectedKind> {
        message.into_binary().map(Bytes::into_vec)
    }
}

/// A message is not the JSON that was asked for, or a value cannot be written as JSON. With the feature `json`.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct JsonError(serde_json::Error);

#[cfg(feature = "json")]
impl JsonError {
    /// Whether the text is not JSON at all, or ends before the value does; otherwise it is JSON of another shape
    /// than the type has.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        self.0.is_syntax() || self.0.is_eof()
    }
}

/// What serde_json says, with line and column.
#[cfg(feature = "json")]
impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON: {}", self.0)
    }
}

#[cfg(feature = "json")]
impl Error for JsonError {}

/// A piece of a message, in either direction (RFC 6455 section 5.4).
///
/// Received pieces come where [`Config::fragments`](crate::Config::fragments) asked for them, as soon
/// as any bytes are there: their borders are neither those of the frames nor stable. A text may be cut
/// inside a code point; the pieces together are UTF-8. Those of a compressed message have 64 KiB at most.
#[doc(alias("continuation", "chunk"))]
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fragment<'a> {
    /// Text or binary, the same for all pieces of a message.
    pub kind: MessageKind,
    /// This piece; it may be empty.
    pub payload: Bytes<'a>,
    /// The first piece of its message; ignored in a piece to be sent.
    pub first: bool,
    /// The last piece of its message.
    pub last: bool,
}

impl<'a> Fragment<'a> {
    /// A piece to be sent, which others follow.
    ///
    /// ```
    /// use framewire::{Fragment, MessageKind};
    ///
    /// let pieces = [
    ///     Fragment::more(MessageKind::Binary, &b"begin"[..]),
    ///     Fragment::last(MessageKind::Binary, &b"end"[..]),
    /// ];
    /// assert_eq!(pieces.map(|piece| piece.last), [false, true]);
    /// ```
    #[must_use]
    pub fn more(kind: MessageKind, payload: impl Into<Bytes<'a>>) -> Self {
        Self { kind, payload: payload.into(), first: false, last: false }
    }

    /// The piece to be sent that ends its message.
    #[must_use]
    pub fn last(kind: MessageKind, payload: impl Into<Bytes<'a>>) -> Self {
        Self { last: true, ..Self::more(kind, payload) }
    }

    /// The piece detached from the input it was borrowed from.
    #[must_use]
    pub fn into_owned(self) -> Fragment<'static> {
        let Self { kind, payload, first, last } = self;
        Fragment { kind, payload: payload.into_owned(), first, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "json")]
    #[test]
    fn json_is_read_from_either_kind_and_its_errors_say_where() {
        let message = Message::from_json(&vec![1, 2]).unwrap();
        assert_eq!(message, "[1,2]");
        assert_eq!(
            Message::binary(message.clone().into_bytes()).json::<Vec<u8>>().unwrap(),
            [1, 2]
        );
        // Borrowed from the message.
        assert_eq!(Message::from("\"text\"").json::<&str>().unwrap(), "text");

        let error = Message::from("[1, tow]").json::<Vec<u8>>().unwrap_err();
        assert_eq!(error.to_string(), "JSON: expected ident at line 1 column 6");
        assert!(
            error.is_syntax() && Message::from("[1").json::<Vec<u8>>().unwrap_err().is_syntax()
        );
        assert!(!Message::from("[1, 256]").json::<Vec<u8>>().unwrap_err().is_syntax());
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(
            Message::from_json(&keys).unwrap_err().to_string(),
            "JSON: key must be a string"
        );
    }

    #[test]
    fn a_message_is_taken_apart_without_a_copy_and_by_its_kind() {
        let (text, bytes) = (String::from("text"), vec![1, 2]);
        let (text_at, bytes_at) = (text.as_ptr(), bytes.as_ptr());
        let text = String::try_from(Message::from(text)).unwrap();
        let bytes = Vec::try_from(Message::from(bytes)).unwrap();
        assert_eq!((text.as_ptr(), bytes.as_ptr()), (text_at, bytes_at));

        let error = Message::from(text).into_binary().unwrap_err();
        assert_eq!(error.to_string(), "a binary message was expected, and this one is text");
        assert_eq!(Message::from(bytes).into_text().unwrap_err().kind(), MessageKind::Binary);
        let (text, bytes) = (Message::from("a"), Message::from(b"a"));
        assert!(text == "a" && text != "b" && bytes != "a");
        assert_eq!(Message::from(Cow::Borrowed("a")).as_ref(), b"a");
    }

    #[test]
    fn conversions_move_or_borrow() {
        let text = String::from("text");
        let pointer = text.as_ptr();
        let (kind, payload) = Message::from(text).into_parts();
        assert_eq!((kind, payload.as_ptr()), (MessageKind::Text, pointer));

        let bytes = [1u8, 2, 3];
        let message = Message::from(&bytes);
        assert_eq!(message.as_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(message.clone().into_owned(), message);
        assert_eq!(Message::from(&message).into_bytes(), bytes);
        assert!(Message::from("").is_empty() && Message::from("").is_text());
    }
}
