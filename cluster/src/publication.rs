use std::fmt;
use std::sync::Arc;

use framewire::{Message, MessageKind};

/// Where a message stands in the history of its topic.
///
/// Offsets count up by one within an epoch. An epoch ends when Redis has lost messages, or the whole topic: then what a client
/// has says nothing about what it has missed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch of the topic.
    pub epoch: Arc<str>,
    /// The number of the message in it, from 1. 0 is before the first one.
    pub offset: u64,
}

impl Position {
    /// The position of a message.
    pub fn new(epoch: impl Into<Arc<str>>, offset: u64) -> Self {
        Self { epoch: epoch.into(), offset }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of epoch {}", self.offset, self.epoch)
    }
}

/// A message of a topic, as it comes to the subscribers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication<'a> {
    /// The topic it was published to.
    pub topic: &'a str,
    /// Its position in the history of the topic; `None` where the topic has no history.
    pub position: Option<&'a Position>,
    /// What was published.
    pub message: Message<'a>,
}

/// Messages that a subscriber has missed, and will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// These offsets, both included, are not kept any more.
    Trimmed {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The epoch of the topic has changed: it cannot be known what was missed.
    Epoch,
    /// Redis was away, and the topic has no history: perhaps nothing was missed.
    Away,
}

/// A connection that is in a topic, on any node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The id of the connection in the cluster.
    pub connection: String,
    /// What was told of it when it [joined](crate::Cluster::join).
    pub info: String,
}

/// What goes over a channel of Redis.
#[derive(Debug, PartialEq)]
pub(crate) enum Envelope<'a> {
    /// A message that was stored, and when: what tells it from another one with the same offset, if Redis has lost some.
    Stored { epoch: &'a str, offset: u64, stamp: u64, body: &'a [u8] },
    /// A message that is not stored, and the node that has delivered it already.
    Passing { instance: &'a str, body: &'a [u8] },
    /// A member has joined or left.
    Presence { connection: &'a str, info: &'a str, joined: bool },
    /// A message to a user, or to one connection of the node whose channel it is.
    Direct { peer: Option<u64>, body: &'a [u8] },
    /// The same may be disconnected.
    Close { peer: Option<u64>, code: u16, reason: &'a str },
}

impl<'a> Envelope<'a> {
    /// `None` for what no node of this version has written.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let (head, body) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]);
        let mut words = head.splitn(3, ' ');
        let mut word = || words.next();
        let text = || std::str::from_utf8(body).ok();
        Some(match kind {
            b'h' => Self::Stored {
                epoch: word()?,
                offset: word()?.parse().ok()?,
                stamp: word()?.parse().ok()?,
                body,
            },
            b'm' => Self::Passing { instance: head, body },
            b'+' | b'-' => Self::Presence { connection: head, info: text()?, joined: kind == b'+' },
            b's' => Self::Direct { peer: peer_of(head)?, body },
            b'c' => {
                let code = word()?.parse().ok()?;
                Self::Close { peer: peer_of(word()?)?, code, reason: text()? }
            }
            _ => return None,
        })
    }

    /// Of those that a node writes itself; scripts write the others.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let number = |peer: &Option<u64>| peer.map(|peer| peer.to_string()).unwrap_or_default();
        match self {
            Self::Passing { instance, body } => [b"m", instance.as_bytes(), b"\n", body].concat(),
            Self::Direct { peer, body } => [b"s", number(peer).as_bytes(), b"\n", body].concat(),
            Self::Close { peer, code, reason } => {
                format!("c{code} {}\n{reason}", number(peer)).into_bytes()
            }
            Self::Stored { epoch, offset, stamp, body } => {
                [format!("h{epoch} {offset} {stamp}\n").as_bytes(), body].concat()
            }
            Self::Presence { connection, info, joined } => {
                let sign = if *joined { '+' } else { '-' };
                format!("{sign}{connection}\n{info}").into_bytes()
            }
        }
    }
}

/// Nothing stands for all.
fn peer_of(word: &str) -> Option<Option<u64>> {
    if word.is_empty() { Some(None) } else { word.parse().ok().map(Some) }
}

/// A message as bytes: its kind, and what is in it.
pub(crate) fn body_of(message: &Message<'_>) -> Vec<u8> {
    let kind = if message.kind() == MessageKind::Text { b"t" } else { b"b" };
    [kind, message.as_bytes()].concat()
}

/// The message again.
pub(crate) fn message_of(body: &[u8]) -> Option<Message<'_>> {
    let (kind, payload) = body.split_first()?;
    match kind {
        b't' => Some(Message::text(std::str::from_utf8(payload).ok()?)),
        b'b' => Some(Message::binary(payload)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened() {
        for envelope in [
            Envelope::Stored { epoch: "1f", offset: 7, stamp: 9, body: b"t{\n}" },
            Envelope::Passing { instance: "a.1", body: b"b\n\xff" },
            Envelope::Presence { connection: "a.1/7", info: "{}", joined: true },
            Envelope::Presence { connection: "a.1/7", info: "", joined: false },
            Envelope::Direct { peer: Some(7), body: b"t" },
            Envelope::Direct { peer: None, body: b"t" },
            Envelope::Close { peer: None, code: 1008, reason: "go away\n" },
            Envelope::Close { peer: Some(7), code: 4000, reason: "" },
        ] {
            assert_eq!(Envelope::open(&envelope.seal()), Some(envelope));
        }
    }

    #[test]
    fn what_others_wrote_is_not() {
        for bytes in
            [&b""[..], b"w", b"h\n", b"h1f 7\n", b"h1f x 9\n", b"x\n", b"+a\n\xff", b"sx\n", b"c\n"]
        {
            assert_eq!(Envelope::open(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn messages_keep_their_kind() {
        for message in [Message::text("é"), Message::binary(b"\xff"), Message::text("")] {
            assert_eq!(message_of(&body_of(&message)), Some(message));
        }
        assert_eq!((message_of(b""), message_of(b"t\xff"), message_of(b"x")), (None, None, None));
    }
}
