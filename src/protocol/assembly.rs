use std::borrow::Cow;
use std::mem;

use crate::wire::{FrameHeader, Utf8Validator};

use super::error::ProtocolError;
use super::message::{Fragment, MessageKind};
use super::payload_buffer::{PayloadBuffer, missing_room};

/// A data message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) kind: MessageKind,
    fragments: u32,
    /// The sum of the announced lengths of the frames so far.
    announced: u64,
    /// Whether a piece was delivered already.
    delivered: bool,
    pub(super) payload: Payload,
}

/// What has come of a message. Text is checked as it comes, so it is kept as text.
#[derive(Debug)]
pub(super) enum Payload {
    Text { text: String, validator: Utf8Validator, limit: usize },
    Binary(PayloadBuffer),
    Compressed(PayloadBuffer),
}

/// The room that a buffer gets at first, at most, whatever length was announced.
const FIRST_ROOM: u64 = 16 * 1024;

impl Assembly {
    /// A message that begins with this frame. Room is made if it is to be kept, not delivered in pieces.
    pub(super) fn new(kind: MessageKind, header: &FrameHeader, keep: bool) -> Self {
        // This does not take the announced length at its word.
        let room = if keep { header.payload_len.min(FIRST_ROOM) as usize } else { 0 };
        let payload = match kind {
            _ if header.rsv1 => Payload::Compressed(PayloadBuffer::with_capacity(room)),
            MessageKind::Binary => Payload::Binary(PayloadBuffer::with_capacity(room)),
            MessageKind::Text => {
                let (text, validator) = (String::with_capacity(room), Utf8Validator::new());
                Payload::Text { text, validator, limit: usize::MAX }
            }
        };
        Self { kind, fragments: 0, announced: 0, delivered: false, payload }
    }

    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.payload, Payload::Compressed(_))
    }

    /// How many frames there have been.
    pub(super) fn fragments(&self) -> u32 {
        self.fragments
    }

    /// How long the payloads of all frames so far are together.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// Takes note of the next frame of the message.
    pub(super) fn begin_frame(&mut self, header: &FrameHeader) {
        let before = self.announced;
        self.fragments += 1;
        self.announced += header.payload_len;
        // More may come after a frame that is not the last. But a buffer that has grown to twice its length
        // exactly has been copied no more often than one that doubles.
        let exact = header.fin || header.payload_len >= before;
        let announced = if exact { usize::try_from(self.announced).ok() } else { None };
        let growth = announced.unwrap_or(usize::MAX);
        match &mut self.payload {
            Payload::Text { limit, .. } => *limit = growth,
            Payload::Binary(bytes) | Payload::Compressed(bytes) => bytes.limit_growth(growth),
        }
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match &mut self.payload {
            Payload::Text { text, validator, limit } => {
                // Three bytes of a code point may have come before.
                let more = (piece.len() + 3).min(limit.saturating_sub(text.len()));
                let room = missing_room(text.len(), text.capacity(), more, *limit);
                text.reserve_exact(room);
                validator.push_into(piece, text).map_err(|_| ProtocolError::InvalidUtf8)?;
            }
            Payload::Binary(bytes) | Payload::Compressed(bytes) => bytes.append(piece),
        }
        Ok(())
    }

    /// The piece as an event of its own; none for an empty piece that ends nothing.
    pub(super) fn deliver<'i>(
        &mut self,
        piece: &'i [u8],
        last: bool,
    ) -> Result<Option<Fragment<'i>>, ProtocolError> {
        if let Payload::Text { validator, .. } = &mut self.payload {
            validator.push(piece).map_err(|_| ProtocolError::InvalidUtf8)?;
            if last {
                validator.finish().map_err(|_| ProtocolError::InvalidUtf8)?;
            }
        }
        if piece.is_empty() && !last {
            return Ok(None);
        }
        let first = !mem::replace(&mut self.delivered, true);
        Ok(Some(Fragment { kind: self.kind, payload: Cow::Borrowed(piece), first, last }))
    }
}
