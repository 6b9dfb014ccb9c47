use std::borrow::Cow;

use crate::wire::Opcode;

/// Text or binary (RFC 6455 section 5.6).
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(Cow<'a, str>),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
}

impl<'a> Message<'a> {
    /// A text message; `String` moves, `&str` borrows.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message; `Vec<u8>` moves, `&[u8]` borrows.
    pub fn binary(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }

    /// Whether this is a text message.
    pub fn is_text(&self) -> bool {
        self.kind() == MessageKind::Text
    }

    /// Whether this is a binary message.
    pub fn is_binary(&self) -> bool {
        self.kind() == MessageKind::Binary
    }

    /// The payload, of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text; `None` for a binary message, even if its bytes happen to be UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty; empty messages are legal and are delivered.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The payload as owned bytes, copied only if it was borrowed.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_owned().into_bytes(),
            Self::Binary(bytes) => bytes.into_owned(),
        }
    }

    /// The message detached from the input it was borrowed from, copied only if it was.
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::Text(text) => Message::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Message::Binary(Cow::Owned(bytes.into_owned())),
        }
    }

    /// The same message, borrowed.
    pub fn borrowed(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(Cow::Borrowed(text)),
            Self::Binary(bytes) => Message::Binary(Cow::Borrowed(bytes)),
        }
    }

    /// The kind, and the payload of either kind.
    pub(super) fn into_parts(self) -> (MessageKind, Cow<'a, [u8]>) {
        match self {
            Self::Text(Cow::Borrowed(text)) => (MessageKind::Text, Cow::Borrowed(text.as_bytes())),
            Self::Text(Cow::Owned(text)) => (MessageKind::Text, Cow::Owned(text.into_bytes())),
            Self::Binary(bytes) => (MessageKind::Binary, bytes),
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Message<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Binary(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Message<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Cow::Owned(bytes))
    }
}

impl<'a> From<&'a Message<'_>> for Message<'a> {
    fn from(message: &'a Message<'_>) -> Self {
        message.borrowed()
    }
}

/// A piece of a message, in either direction (RFC 6455 section 5.4).
///
/// Received pieces come where [`Config::fragments`](crate::Config::fragments) asked for them, as soon
/// as any bytes are there: their borders are neither those of the frames nor stable. A text may be cut
/// inside a code point; the pieces together are UTF-8. Those of a compressed message have 64 KiB at most.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Text or binary, the same for all pieces of a message.
    pub kind: MessageKind,
    /// This piece; it may be empty.
    pub payload: Cow<'a, [u8]>,
    /// The first piece of its message; of no account in a piece to be sent.
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
    pub fn more(kind: MessageKind, payload: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { kind, payload: payload.into(), first: false, last: false }
    }

    /// The piece to be sent that ends its message.
    pub fn last(kind: MessageKind, payload: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { last: true, ..Self::more(kind, payload) }
    }

    /// The piece detached from the input it was borrowed from.
    pub fn into_owned(self) -> Fragment<'static> {
        let Self { kind, payload, first, last } = self;
        Fragment { kind, payload: Cow::Owned(payload.into_owned()), first, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_move_or_borrow() {
        let text = String::from("text");
        let pointer = text.as_ptr();
        let (kind, payload) = Message::from(text).into_parts();
        assert_eq!((kind, payload.as_ptr()), (MessageKind::Text, pointer));

        let bytes = [1u8, 2, 3];
        let message = Message::from(&bytes);
        assert!(matches!(message, Message::Binary(Cow::Borrowed(_))));
        assert_eq!(message.clone().into_owned(), message);
        assert_eq!(Message::from(&message).into_bytes(), bytes);
        assert!(Message::from("").is_empty() && Message::from("").is_text());
    }
}
