use std::borrow::Cow;
use std::mem;

use crate::wire::{Opcode, Utf8Validator, append};

use super::error::ProtocolError;
use super::frame::Frame;
use super::message::{Fragment, MessageKind};
use super::receiver::Context;

/// A data message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) kind: MessageKind,
    pub(super) fragments: u32,
    /// The sum of the announced lengths of the frames so far.
    pub(super) announced: u64,
    /// Whether a piece was delivered already.
    delivered: bool,
    pub(super) payload: Payload,
}

/// What has come of a message. Text is checked as it comes, so it is kept as text.
#[derive(Debug)]
pub(super) enum Payload {
    Text { text: String, validator: Utf8Validator },
    Binary(Vec<u8>),
    Compressed(Vec<u8>),
}

/// The room that a buffer gets at first, at most, whatever length was announced.
const FIRST_ROOM: u64 = 16 * 1024;

impl Assembly {
    /// A message that begins with this frame.
    pub(super) fn new(frame: &Frame, context: &Context<'_>) -> Self {
        let text = frame.opcode == Opcode::Text;
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        let room = room(frame.length, context);
        let payload = match kind {
            _ if frame.compressed => Payload::Compressed(room),
            MessageKind::Binary => Payload::Binary(room),
            MessageKind::Text => {
                // The room is empty, so it is text.
                let text = String::from_utf8(room).unwrap_or_default();
                Payload::Text { text, validator: Utf8Validator::new() }
            }
        };
        Self { kind, fragments: 0, announced: 0, delivered: false, payload }
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match &mut self.payload {
            Payload::Text { text, validator } => {
                validator.push_into(piece, text).map_err(|_| ProtocolError::InvalidUtf8)?;
            }
            Payload::Binary(bytes) | Payload::Compressed(bytes) => append(bytes, piece),
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

/// An empty buffer for a payload of so many bytes, which does not take the announced length at its word.
fn room(length: u64, context: &Context<'_>) -> Vec<u8> {
    if context.settings.fragments {
        return Vec::new();
    }
    Vec::with_capacity(length.min(FIRST_ROOM) as usize)
}
