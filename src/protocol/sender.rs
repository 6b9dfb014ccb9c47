use std::borrow::Cow;

use crate::wire::{
    CloseFrame, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, Utf8Validator, append,
    apply_mask,
};

use super::compression::Compression;
use super::entropy::EntropyError;
use super::error::SendError;
use super::message::{Fragment, Message, MessageKind};
use super::output::{Output, UNCOPIED};
use super::prepared::Prepared;
use super::state::Role;
use super::workspace::Workspace;

/// Turns messages and control frames into bytes of an open connection (RFC 6455 section 6.1).
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// The fragmented message that the application has begun and not ended.
    unfinished: Option<Box<Unfinished>>,
    /// The answer to the latest Ping, while the output is congested.
    held_pong: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Unfinished {
    kind: MessageKind,
    validator: Utf8Validator,
}

/// Whether a message is compressed, where permessage-deflate was agreed on; elsewhere nothing is.
///
/// Do not compress secrets together with text that somebody else may choose: the length of the result
/// tells of the secret (RFC 7692 section 8).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// From the configured threshold up.
    #[default]
    Threshold,
    /// In any case.
    Always,
    /// Not this message.
    Never,
}

impl Compress {
    fn applies(self, length: usize, threshold: usize) -> bool {
        match self {
            Self::Threshold => length >= threshold,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Where frames go, and with what.
pub(super) struct Sink<'c> {
    pub(super) role: Role,
    pub(super) output: &'c mut Output,
    pub(super) compression: Option<&'c mut Compression>,
    pub(super) workspace: &'c mut Workspace,
}

impl Sender {
    /// Queues a whole message.
    #[inline]
    pub(super) fn message(
        &mut self,
        message: Message<'_>,
        compress: Compress,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        if self.unfinished.is_some() {
            return Err(SendError::UnfinishedMessage);
        }
        let (kind, payload) = message.into_parts();
        if let Some(compression) = &sink.compression
            && compress.applies(payload.len(), compression.threshold())
        {
            sink.compressed(kind, &payload)?;
            sink.note_sent(kind);
            return Ok(());
        }
        sink.frame(FrameHeader::new(kind.opcode(), payload.len() as u64), payload, Some(kind))
    }

    /// Queues a message that was encoded beforehand.
    pub(super) fn prepared(
        &mut self,
        prepared: &Prepared,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        if self.unfinished.is_some() || sink.role == Role::Client {
            // Only unmasked frames can be shared: a client needs a masking key for each.
            return self.message(prepared.message(), Compress::Threshold, sink);
        }
        #[cfg(feature = "deflate")]
        if let Some(compression) = sink.compression.as_deref_mut()
            && prepared.len() >= compression.threshold()
        {
            let frame = prepared.compressed(compression, &mut sink.workspace.codec);
            sink.workspace.metrics.deflated.add(prepared.len(), payload_length(frame));
            sink.output.push_shared(frame);
            sink.note_sent(prepared.kind());
            return Ok(());
        }
        sink.output.push_shared(prepared.plain());
        sink.note_sent(prepared.kind());
        Ok(())
    }

    /// Queues a piece of a message (RFC 6455 section 5.4).
    pub(super) fn fragment(
        &mut self,
        fragment: Fragment<'_>,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        let Fragment { kind, payload, last, .. } = fragment;
        let mut validator = match self.unfinished.as_deref() {
            None => Utf8Validator::new(),
            Some(unfinished) if unfinished.kind == kind => unfinished.validator,
            Some(_) => return Err(SendError::UnfinishedMessage),
        };
        if kind == MessageKind::Text {
            validator.push(&payload).map_err(|_| SendError::InvalidUtf8)?;
            if last {
                validator.finish().map_err(|_| SendError::InvalidUtf8)?;
            }
        }
        let opcode = if self.unfinished.is_some() { Opcode::Continuation } else { kind.opcode() };
        let header = FrameHeader { fin: last, ..FrameHeader::new(opcode, payload.len() as u64) };
        sink.frame(header, payload, last.then_some(kind))?;
        self.unfinished = (!last).then(|| Box::new(Unfinished { kind, validator }));
        Ok(())
    }

    /// Queues a Ping or a Pong.
    pub(super) fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(SendError::ControlTooLong(payload.len()));
        }
        let key = sink.mask_key()?;
        sink.control(opcode, payload, key);
        Ok(())
    }

    /// Queues a Close, after the Pong that is still owed; nothing may be sent after it.
    pub(super) fn close(
        &mut self,
        close: &CloseFrame,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        // Nothing is changed before the last step that can fail.
        let pong_key = if self.held_pong.is_some() { sink.mask_key()? } else { None };
        let key = sink.mask_key()?;
        if let Some(pong) = self.held_pong.take() {
            sink.control(Opcode::Pong, &pong, pong_key);
        }
        self.unfinished = None;
        let mut payload = Vec::with_capacity(MAX_CONTROL_PAYLOAD);
        close.encode(&mut payload);
        sink.control(Opcode::Close, &payload, key);
        Ok(())
    }

    /// Keeps the answer to a Ping for when the output is no longer congested, in place of an earlier
    /// one: an endpoint "MAY elect to send a Pong frame for only the most recently processed Ping
    /// frame" (RFC 6455 section 5.5.3).
    pub(super) fn hold_pong(&mut self, payload: &[u8]) {
        self.held_pong = Some(payload.into());
    }

    /// Whether the answer to a Ping is held.
    #[inline]
    pub(super) fn holds_pong(&self) -> bool {
        self.held_pong.is_some()
    }

    /// The held answer, if there is one.
    #[inline]
    pub(super) fn take_held_pong(&mut self) -> Option<Box<[u8]>> {
        self.held_pong.take()
    }
}

impl Sink<'_> {
    #[cold]
    fn compressed(&mut self, kind: MessageKind, payload: &[u8]) -> Result<(), SendError> {
        let key = self.mask_key()?;
        let Some(compression) = self.compression.as_deref_mut() else { return Ok(()) };
        let payload = compression.compress(self.workspace, payload);
        let header = FrameHeader::new(kind.opcode(), payload.len() as u64);
        let header = FrameHeader { rsv1: true, mask: key, ..header };
        push_frame(header, Cow::Borrowed(payload), self.output);
        #[cfg(feature = "deflate")]
        self.workspace.trim_scratch();
        Ok(())
    }

    /// A Ping, a Pong or a Close.
    fn control(&mut self, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
        let header = FrameHeader { mask, ..FrameHeader::new(opcode, payload.len() as u64) };
        push_frame(header, Cow::Borrowed(payload), self.output);
        match opcode {
            Opcode::Ping => self.workspace.metrics.pings_sent += 1,
            Opcode::Pong => self.workspace.metrics.pongs_sent += 1,
            _ => {}
        }
    }

    /// Queues a frame of data, and counts the message that it ends.
    #[inline]
    fn frame(
        &mut self,
        header: FrameHeader,
        payload: Cow<'_, [u8]>,
        ended: Option<MessageKind>,
    ) -> Result<(), SendError> {
        // The commonest frame of all: its header is two bytes.
        if self.role == Role::Server && payload.len() < 126 {
            self.output.push_small(header.first_byte(), &payload);
        } else {
            let header = FrameHeader { mask: self.mask_key()?, ..header };
            push_frame(header, payload, self.output);
        }
        if let Some(kind) = ended {
            self.note_sent(kind);
        }
        Ok(())
    }

    /// Counts a whole message.
    #[inline]
    fn note_sent(&mut self, kind: MessageKind) {
        self.workspace.metrics.message_sent(kind);
    }

    /// A new masking key for a client's frame, none for a server's (RFC 6455 sections 5.1 and 5.3).
    #[inline]
    fn mask_key(&mut self) -> Result<Option<[u8; 4]>, EntropyError> {
        if self.role == Role::Server {
            return Ok(None);
        }
        let mut key = [0; 4];
        self.workspace.fill_entropy(&mut key)?;
        Ok(Some(key))
    }
}

/// How long the payload of a whole unmasked frame is.
#[cfg(feature = "deflate")]
fn payload_length(frame: &[u8]) -> usize {
    match FrameHeader::decode(frame) {
        Ok(Some((_, header))) => frame.len() - header,
        _ => frame.len(),
    }
}

#[inline]
fn push_frame(header: FrameHeader, payload: Cow<'_, [u8]>, output: &mut Output) {
    let mut room = [0; MAX_HEADER];
    let encoded = header.encode(&mut room);
    match (payload, header.mask) {
        (Cow::Owned(mut payload), mask) if payload.len() >= UNCOPIED => {
            if let Some(key) = mask {
                apply_mask(&mut payload, key, 0);
            }
            output.push(encoded);
            output.push_owned(payload);
        }
        (payload, mask) => output.push_with(|bytes| {
            bytes.reserve(encoded.len() + payload.len());
            bytes.extend_from_slice(encoded);
            let start = bytes.len();
            append(bytes, &payload);
            if let Some(key) = mask {
                apply_mask(&mut bytes[start..], key, 0);
            }
        }),
    }
}
