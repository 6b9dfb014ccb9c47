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
use super::send_queue::{Entry, Part, SendQueue};
use super::state::Role;
use super::workspace::Workspace;

/// Turns messages and control frames into bytes of an open connection (RFC 6455 section 6.1).
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// What most connections have no use for most of the time.
    rare: Option<Box<Rare>>,
    /// How many bytes wait for the codec, or for others that do.
    waiting_bytes: usize,
}

#[derive(Debug, Default)]
struct Rare {
    /// The fragmented message that the application has begun and not ended.
    unfinished: Option<Unfinished>,
    /// The answer to the latest Ping, while the output is congested.
    held_pong: Option<Box<[u8]>>,
    /// There while a message waits for the codec.
    waiting: Option<SendQueue>,
}

#[derive(Debug)]
struct Unfinished {
    kind: MessageKind,
    validator: Utf8Validator,
    is_compressed: bool,
}

/// Whether a message is compressed, where permessage-deflate was agreed on; elsewhere nothing is.
///
/// Do not compress secrets together with text that somebody else may choose: the length of the result
/// tells of the secret (RFC 7692 section 8).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compress {
    /// If the message reaches the configured threshold.
    #[default]
    Threshold,
    /// Always compress the message.
    Always,
    /// Never compress the message.
    Never,
}

/// A message on its way to one connection, where that is anything that is a [`Message`], or a [`Prepared`] by
/// reference: `Peer::send_latest` takes both.
#[allow(clippy::exhaustive_enums, reason = "whoever sends has to treat both")]
#[derive(Debug)]
pub enum Outgoing<'m> {
    /// A message for this connection alone, and whether to compress it.
    Own(Message<'m>, Compress),
    /// A message that was encoded beforehand, for several connections.
    Shared(&'m Prepared),
}

impl Outgoing<'_> {
    /// The length of the message in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Own(message, _) => message.len(),
            Self::Shared(prepared) => prepared.len(),
        }
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'m, M: Into<Message<'m>>> From<M> for Outgoing<'m> {
    fn from(message: M) -> Self {
        Self::Own(message.into(), Compress::Threshold)
    }
}

impl<'m> From<&'m Prepared> for Outgoing<'m> {
    fn from(prepared: &'m Prepared) -> Self {
        Self::Shared(prepared)
    }
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

/// From which length on a message is compressed in steps, where the codec has no budget for all of it.
const LONG: usize = 256 * 1024;

/// How much of it is compressed at once, and goes out as a fragment.
const STEP: usize = 128 * 1024;

/// Where frames go, and with what.
pub(super) struct Sink<'c> {
    pub(super) role: Role,
    pub(super) output: &'c mut Output,
    pub(super) compression: Option<&'c mut Compression>,
    pub(super) workspace: &'c mut Workspace,
}

impl Sender {
    /// Queues a whole message.
    pub(super) fn message(
        &mut self,
        message: Message<'_>,
        compress: Compress,
        sink: Sink<'_>,
    ) -> Result<(), SendError> {
        if self.is_unfinished() {
            return Err(SendError::UnfinishedMessage);
        }
        let (kind, payload) = message.into_parts();
        let is_compressed = sink.compresses(payload.len(), compress);
        let part = Part { kind, is_compressed, is_first: true, is_last: true };
        Ok(self.part(part, payload, sink)?)
    }

    /// Queues a message that was encoded beforehand.
    pub(super) fn prepared(
        &mut self,
        prepared: &Prepared,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        if sink.role == Role::Client || self.is_unfinished() {
            // Only unmasked frames can be shared: a client needs a masking key for each.
            return self.message(prepared.message(), Compress::Threshold, sink);
        }
        if self.is_waiting() {
            self.wait(Entry::Prepared(prepared.clone()));
        } else {
            sink.prepared(prepared);
        }
        Ok(())
    }

    /// Queues a piece of a message (RFC 6455 section 5.4).
    pub(super) fn fragment(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
        sink: Sink<'_>,
    ) -> Result<(), SendError> {
        let Fragment { kind, payload, last, .. } = fragment;
        let unfinished = self.rare.as_deref().and_then(|rare| rare.unfinished.as_ref());
        let is_first = unfinished.is_none();
        let (mut validator, is_compressed) = match unfinished {
            None => {
                // The length of a message in fragments is not known before its end.
                let length = if last { payload.len() } else { usize::MAX };
                (Utf8Validator::new(), sink.compresses(length, compress))
            }
            Some(unfinished) if unfinished.kind == kind => {
                (unfinished.validator, unfinished.is_compressed)
            }
            Some(_) => return Err(SendError::UnfinishedMessage),
        };
        if kind == MessageKind::Text {
            validator.push(&payload).map_err(|_| SendError::InvalidUtf8)?;
            if last {
                validator.finish().map_err(|_| SendError::InvalidUtf8)?;
            }
        }
        self.part(Part { kind, is_compressed, is_first, is_last: last }, payload.into(), sink)?;
        self.change(|rare| {
            rare.unfinished = (!last).then_some(Unfinished { kind, validator, is_compressed });
        });
        Ok(())
    }

    /// Queues a message or a part of one, or has it wait.
    fn part(
        &mut self,
        part: Part,
        payload: Cow<'_, [u8]>,
        mut sink: Sink<'_>,
    ) -> Result<(), EntropyError> {
        if self.has_to_wait(part, payload.len(), sink.workspace) {
            self.wait(Entry::Part { part, payload: payload.into_owned(), taken: 0 });
            Ok(())
        } else if part.is_compressed {
            sink.compressed(part, &payload)
        } else {
            sink.plain(part, payload)
        }
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

    /// Queues a Close, after the Pong that is still owed and what waits for the codec; nothing may be sent after
    /// it.
    pub(super) fn close(
        &mut self,
        close: &CloseFrame,
        mut sink: Sink<'_>,
    ) -> Result<(), SendError> {
        // Both keys first: after the last step that can fail, nothing is half done.
        let pong_key = if self.holds_pong() { sink.mask_key()? } else { None };
        let key = sink.mask_key()?;
        if let Some(pong) = self.take_held_pong() {
            sink.control(Opcode::Pong, &pong, pong_key);
        }
        let mut payload = Vec::with_capacity(MAX_CONTROL_PAYLOAD);
        close.encode(&mut payload);
        self.change(|rare| {
            rare.unfinished = None;
            match &mut rare.waiting {
                Some(waiting) => waiting.set_close(payload, key),
                None => sink.control(Opcode::Close, &payload, key),
            }
        });
        Ok(())
    }

    /// Keeps the answer to a Ping for when the output is no longer congested, in place of an earlier
    /// one: an endpoint "MAY elect to send a Pong frame for only the most recently processed Ping
    /// frame" (RFC 6455 section 5.5.3).
    pub(super) fn hold_pong(&mut self, payload: &[u8]) {
        self.change(|rare| rare.held_pong = Some(payload.into()));
    }

    fn holds_pong(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.held_pong.is_some())
    }

    /// The held answer, if there is one.
    pub(super) fn take_held_pong(&mut self) -> Option<Box<[u8]>> {
        if self.rare.is_none() { None } else { self.change(|rare| rare.held_pong.take()) }
    }

    /// Whether nothing is unfinished or held back.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.rare.is_none()
    }

    fn is_unfinished(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.unfinished.is_some())
    }

    /// Changes what is rare, and gives its room back if nothing of it is left.
    fn change<T>(&mut self, change: impl FnOnce(&mut Rare) -> T) -> T {
        let rare = self.rare.get_or_insert_default();
        let result = change(rare);
        self.waiting_bytes = rare.waiting.as_ref().map_or(0, SendQueue::bytes);
        if rare.unfinished.is_none() && rare.held_pong.is_none() && rare.waiting.is_none() {
            self.rare = None;
        }
        result
    }
}

/// What waits for the codec.
impl Sender {
    /// Whether a message has to wait for the codec, or for another one that does.
    fn has_to_wait(&self, part: Part, length: usize, workspace: &Workspace) -> bool {
        let is_too_much = |budget| budget == 0 || (length > LONG && length > budget);
        self.is_waiting()
            || (part.is_compressed && workspace.codec_budget().is_some_and(is_too_much))
    }

    #[cold]
    fn wait(&mut self, entry: Entry) {
        self.change(|rare| rare.waiting.get_or_insert_default().push(entry));
    }

    /// Whether a message waits for the codec.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.waiting.is_some())
    }

    /// How many bytes wait for the codec, or for others that do.
    #[inline]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Forgets what waits: nothing that is not in the output will be sent.
    pub(super) fn forget_waiting(&mut self) {
        self.change(|rare| rare.waiting = None);
    }

    /// Compresses what waits, as far as the budget allows and until the output has `high_water` bytes.
    pub(super) fn compress_waiting(
        &mut self,
        high_water: usize,
        mut sink: Sink<'_>,
    ) -> Result<(), EntropyError> {
        self.change(|rare| {
            let Some(waiting) = &mut rare.waiting else { return Ok(()) };
            while !waiting.is_empty() {
                if sink.workspace.is_out_of_budget() || sink.output.len() >= high_water {
                    return Ok(());
                }
                let Some(entry) = waiting.pop() else { break };
                if let Some(rest) = sink.entry(entry)? {
                    waiting.put_back(rest);
                }
            }
            if let Some((close, mask)) = waiting.close.take() {
                sink.control(Opcode::Close, &close, mask);
            }
            rare.waiting = None;
            Ok(())
        })
    }
}

impl Sink<'_> {
    /// What [`Sender::message`] does where the sender is [plain](Sender::is_plain) and nothing is compressed.
    #[inline]
    pub(super) fn plain_message(mut self, message: Message<'_>) -> Result<(), SendError> {
        let (kind, payload) = message.into_parts();
        let header = FrameHeader::new(kind.opcode(), payload.len() as u64);
        Ok(self.frame(header, payload, Some(kind))?)
    }

    /// A message, or a part of one, compressed.
    #[cold]
    fn compressed(&mut self, part: Part, payload: &[u8]) -> Result<(), EntropyError> {
        let mask = self.mask_key()?;
        let Some(compression) = self.compression.as_deref_mut() else { return Ok(()) };
        let mut bytes = self.workspace.take_scratch();
        if part.is_last {
            compression.compress(payload, &mut bytes, self.workspace);
            self.note_sent(part.kind);
        } else {
            compression.compress_part(payload, &mut bytes, self.workspace);
        }
        // "RSV1 … on the first fragment of a data message" (RFC 7692 section 6).
        let header = FrameHeader { rsv1: part.is_first, mask, ..part.header(bytes.len()) };
        push_frame(header, Cow::Borrowed(&bytes), self.output);
        self.workspace.keep_scratch(bytes);
        Ok(())
    }

    /// What has waited, or the front part of it; the rest comes back.
    fn entry(&mut self, entry: Entry) -> Result<Option<Entry>, EntropyError> {
        match entry {
            Entry::Prepared(prepared) => self.prepared(&prepared),
            Entry::Part { part, payload, .. } if !part.is_compressed => {
                self.plain(part, Cow::Owned(payload))?;
            }
            Entry::Part { part, payload, taken } => {
                let end = payload.len().min(taken + STEP);
                let (is_first, is_last) = (taken == 0, end == payload.len());
                let step = Part {
                    is_first: part.is_first && is_first,
                    is_last: part.is_last && is_last,
                    ..part
                };
                self.compressed(step, &payload[taken..end])?;
                if !is_last {
                    return Ok(Some(Entry::Part { part, payload, taken: end }));
                }
            }
        }
        Ok(None)
    }

    /// Whether a message of this length is compressed.
    fn compresses(&self, length: usize, compress: Compress) -> bool {
        let compression = self.compression.as_deref();
        compression.is_some_and(|compression| compress.applies(length, compression.threshold()))
    }

    /// A message, or a part of one, as it is.
    fn plain(&mut self, part: Part, payload: Cow<'_, [u8]>) -> Result<(), EntropyError> {
        let ended = part.is_last.then_some(part.kind);
        self.frame(part.header(payload.len()), payload, ended)
    }

    /// A server's message that was encoded beforehand.
    #[inline]
    pub(super) fn prepared(&mut self, prepared: &Prepared) {
        self.note_sent(prepared.kind());
        #[cfg(feature = "deflate")]
        if let Some(compression) = self.compression.as_deref_mut()
            && prepared.len() >= compression.threshold()
        {
            let frame = prepared.compressed(compression, &mut self.workspace.codec);
            self.workspace.metrics.deflated.add(prepared.len(), payload_length(frame));
            self.output.push_shared(frame);
            return;
        }
        self.output.push_shared(prepared.plain());
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
    ) -> Result<(), EntropyError> {
        // The commonest frame of all: its header is two bytes.
        if self.role == Role::Server && payload.len() < 126 {
            self.output.push_copied(header.first_byte(), &payload);
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
    let header = FrameHeader::decode(frame).ok().flatten();
    frame.len() - header.map_or(0, |(_, length)| length)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const WHOLE: Part =
        Part { kind: MessageKind::Binary, is_compressed: true, is_first: true, is_last: true };

    fn sink<'c>(role: Role, output: &'c mut Output, workspace: &'c mut Workspace) -> Sink<'c> {
        Sink { role, output, compression: None, workspace }
    }

    #[test]
    fn a_message_waits_for_the_codec_if_it_is_long_and_passes_the_budget() {
        let plain = Part { is_compressed: false, ..WHOLE };
        for (part, length, budget, waits) in [
            (WHOLE, LONG + 1, None, false),
            (WHOLE, 1, Some(0), true),
            (plain, 1, Some(0), false),
            // What is not long is compressed at once, as long as there is any budget.
            (WHOLE, 100, Some(1), false),
            (WHOLE, LONG, Some(1), false),
            (WHOLE, LONG + 1, Some(LONG), true),
            (WHOLE, LONG + 1, Some(LONG + 1), false),
            (WHOLE, LONG + 1, Some(LONG + 2), false),
        ] {
            let mut workspace = Workspace::new();
            workspace.set_codec_budget(budget);
            let found = Sender::default().has_to_wait(part, length, &workspace);
            assert_eq!(found, waits, "{length}, {budget:?}");
        }
    }

    #[test]
    fn an_owned_payload_that_is_large_stays_where_it_is() {
        for (length, stays) in [(UNCOPIED - 1, false), (UNCOPIED, true), (UNCOPIED + 1, true)] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut output = Output::default();
                let payload = vec![7; length];
                let place = payload.as_ptr();
                let header = FrameHeader { mask, ..WHOLE.header(length) };
                push_frame(header, Cow::Owned(payload), &mut output);
                assert_eq!(output.chunks().any(|chunk| chunk.as_ptr() == place), stays);
            }
        }
    }

    #[test]
    fn the_room_for_a_frame_is_that_of_the_frame() {
        let mut output = Output::default();
        push_frame(WHOLE.header(1000), Cow::Borrowed(&[7; 1000]), &mut output);
        assert_eq!(output.push_with(|bytes| bytes.capacity()), 1004);
    }

    #[test]
    fn a_client_draws_a_key_for_each_frame_and_no_other() {
        let draws = Arc::new(AtomicUsize::new(0));
        for pong in [false, true] {
            let count = Arc::clone(&draws);
            let mut workspace = Workspace::with_entropy(move |key: &mut [u8]| {
                key.fill(1 + count.fetch_add(1, Ordering::Relaxed) as u8);
            });
            let (mut sender, mut output) = (Sender::default(), Output::default());
            if pong {
                sender.hold_pong(b"");
            }
            let before = draws.load(Ordering::Relaxed);
            let sink = sink(Role::Client, &mut output, &mut workspace);
            sender.close(&CloseFrame::empty(), sink).unwrap();
            let frames = output.len() / 6;
            assert_eq!(frames, 1 + usize::from(pong));
            assert_eq!(draws.load(Ordering::Relaxed) - before, frames);
        }
    }

    #[test]
    fn control_frames_are_counted_by_their_kind() {
        let (mut sender, mut output) = (Sender::default(), Output::default());
        let mut workspace = Workspace::new();
        for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Ping] {
            let sink = sink(Role::Server, &mut output, &mut workspace);
            sender.control(opcode, b"", sink).unwrap();
        }
        let sink = sink(Role::Server, &mut output, &mut workspace);
        sender.close(&CloseFrame::empty(), sink).unwrap();
        let metrics = workspace.take_metrics();
        assert_eq!((metrics.pings_sent, metrics.pongs_sent), (2, 1));
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn what_was_not_to_be_compressed_is_not_when_it_has_waited() {
        use crate::deflate::{DeflateConfig, DeflateParams};
        let (params, config) = (DeflateParams::default(), DeflateConfig::new().threshold(0));
        let mut compression = Compression::new(params, Role::Server, &config);
        let (mut output, mut workspace) = (Output::default(), Workspace::new());
        for (is_compressed, first) in [(false, 0x82), (true, 0xc2)] {
            let part = Part { is_compressed, ..WHOLE };
            let entry = Entry::Part { part, payload: vec![7; 1000], taken: 0 };
            let compression = Some(&mut compression);
            let mut sink = Sink {
                role: Role::Server,
                output: &mut output,
                compression,
                workspace: &mut workspace,
            };
            assert!(sink.entry(entry).unwrap().is_none());
            assert_eq!(output.chunks().next().map(|chunk| chunk[0]), Some(first));
            output.clear();
        }
        // What is prepared counts with the length that it has on the wire.
        workspace.take_metrics();
        let prepared = Prepared::new(vec![7; 1000]);
        let compression = Some(&mut compression);
        Sink { role: Role::Server, output: &mut output, compression, workspace: &mut workspace }
            .prepared(&prepared);
        let metrics = workspace.take_metrics();
        assert_eq!(metrics.deflated.plain, 1000);
        assert_eq!(metrics.deflated.compressed, output.len() as u64 - 2);
    }
}
