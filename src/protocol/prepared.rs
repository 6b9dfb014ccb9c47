use std::sync::Arc;
#[cfg(feature = "deflate")]
use std::sync::OnceLock;

use crate::wire::{FrameHeader, MAX_HEADER};

#[cfg(feature = "deflate")]
use super::compression::Compression;
use super::message::{Message, MessageKind};
#[cfg(feature = "deflate")]
use crate::deflate::Codec;

/// A message that is encoded once, and compressed at most once for each window size, however many
/// connections it is sent to.
///
/// Cheap to clone and to send between threads. Make one where the same message goes to several peers.
///
/// ```
/// use framewire::{Message, Prepared};
///
/// let prepared = Prepared::new("to everybody");
/// assert_eq!(prepared.message(), Message::from("to everybody"));
/// ```
#[doc(alias("PreparedMessage", "encode once"))]
#[derive(Clone, Debug)]
pub struct Prepared(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    kind: MessageKind,
    /// Where the payload begins in `plain`.
    payload: usize,
    /// The unmasked frame, header and payload.
    plain: Arc<[u8]>,
    /// The compressed frame by window bits, 8 to 15.
    #[cfg(feature = "deflate")]
    compressed: [OnceLock<Arc<[u8]>>; 8],
}

impl Prepared {
    /// Encodes a message.
    pub fn new<'m>(message: impl Into<Message<'m>>) -> Self {
        let (kind, payload) = message.into().into_parts();
        let mut room = [0; MAX_HEADER];
        let header = FrameHeader::new(kind.opcode(), payload.len() as u64);
        let header = header.encode(&mut room);
        Self(Arc::new(Encoded {
            kind,
            payload: header.len(),
            plain: [header, &payload].concat().into(),
            #[cfg(feature = "deflate")]
            compressed: Default::default(),
        }))
    }

    /// The message.
    pub fn message(&self) -> Message<'_> {
        let payload = &self.0.plain[self.0.payload..];
        match self.0.kind {
            // A text is UTF-8 when it is prepared, so nothing is lost here.
            MessageKind::Text => Message::from(String::from_utf8_lossy(payload)),
            MessageKind::Binary => Message::from(payload),
        }
    }

    /// The length of the message in bytes.
    pub fn len(&self) -> usize {
        self.0.plain.len() - self.0.payload
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn kind(&self) -> MessageKind {
        self.0.kind
    }

    /// The whole unmasked frame.
    pub(super) fn plain(&self) -> &Arc<[u8]> {
        &self.0.plain
    }

    /// The whole unmasked frame, compressed without reference to earlier messages, for this connection.
    #[cfg(feature = "deflate")]
    pub(super) fn compressed(
        &self,
        compression: &mut Compression,
        codec: &mut Codec,
    ) -> &Arc<[u8]> {
        let payload = &self.0.plain[self.0.payload..];
        let bits = compression.params().server_max_window_bits().clamp(8, 15);
        let frame = self.0.compressed[usize::from(bits - 8)].get_or_init(|| {
            let compressed = compression.compress_detached(codec, payload);
            let header = FrameHeader::new(self.0.kind.opcode(), compressed.len() as u64);
            let header = FrameHeader { rsv1: true, ..header };
            [header.encode(&mut [0; MAX_HEADER]), &compressed].concat().into()
        });
        compression.note_sent(payload);
        frame
    }
}

/// The same message: nothing is copied.
impl From<&Self> for Prepared {
    fn from(prepared: &Self) -> Self {
        prepared.clone()
    }
}

impl<'m, M: Into<Message<'m>>> From<M> for Prepared {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::{DeflateConfig, accept_offer};
    use crate::handshake::parse_extensions;
    use crate::protocol::state::Role;

    #[test]
    fn each_window_has_a_frame_of_its_own() {
        let prepared = Prepared::new("to everybody");
        let mut codec = Codec::new();
        let mut frame = |bits: u8| {
            let config = DeflateConfig::new();
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let offer = parse_extensions(offer.as_bytes()).unwrap();
            let (params, _) = accept_offer(&offer, &config).unwrap();
            let mut compression = Compression::new(params, Role::Server, &config);
            Arc::clone(prepared.compressed(&mut compression, &mut codec))
        };
        let frames: Vec<Arc<[u8]>> = (9..=15).map(&mut frame).collect();
        for (index, own) in frames.iter().enumerate() {
            assert!(Arc::ptr_eq(own, &frame(9 + index as u8)));
            assert!(frames[..index].iter().all(|other| !Arc::ptr_eq(own, other)));
        }
    }
}
