use std::borrow::Cow;
use std::mem;

use crate::wire::{Opcode, Utf8Validator};

use super::config::Settings;
use super::error::ProtocolError;
use super::message::{Fragment, MessageKind};

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
    pub(super) fn new(opcode: Opcode, compressed: bool, length: u64, settings: &Settings) -> Self {
        let kind = if opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
        let room = if settings.fragments { 0 } else { length.min(FIRST_ROOM) as usize };
        let payload = match kind {
            _ if compressed => Payload::Compressed(Vec::with_capacity(room)),
            MessageKind::Binary => Payload::Binary(Vec::with_capacity(room)),
            MessageKind::Text => {
                let (text, validator) = (String::with_capacity(room), Utf8Validator::new());
                Payload::Text { text, validator }
            }
        };
        Self { kind, fragments: 0, announced: 0, delivered: false, payload }
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match &mut self.payload {
            Payload::Text { text, validator } => {
                validator.push_into(piece, text).map_err(|_| ProtocolError::InvalidUtf8)?;
            }
            Payload::Binary(bytes) | Payload::Compressed(bytes) => bytes.extend_from_slice(piece),
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
