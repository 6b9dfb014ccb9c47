use std::mem;

use crate::wire::{FrameHeader, Opcode, Utf8Validator, into_text};

use super::compression::{Compression, Inflation};
use super::error::ProtocolError;
use super::message::{Fragment, Message, MessageKind};
use super::payload::Bytes;
use super::payload_buffer::{PayloadBuffer, missing_room};
use super::workspace::Workspace;

/// A data message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    kind: MessageKind,
    fragments: u32,
    /// The sum of the announced lengths of the frames so far.
    announced: u64,
    /// Whether the message is delivered in pieces, not whole.
    pub(super) in_pieces: bool,
    /// Whether a piece was delivered already.
    delivered: bool,
    plain: Plain,
    /// There if the message is compressed.
    compressed: Option<Box<Compressed>>,
}

/// What has come of a message and is kept until it is whole. Text is checked as it comes, so it is kept as
/// text.
#[derive(Debug)]
enum Plain {
    Text { text: String, validator: Utf8Validator, limit: usize },
    Binary(PayloadBuffer),
}

/// What has come of the payload of a compressed message and is not inflated.
#[derive(Debug, Default)]
struct Compressed {
    wire: Vec<u8>,
    /// How much of `wire` the inflater has read.
    read: usize,
    /// Whether all of the payload has come.
    is_whole: bool,
    inflation: Option<Inflation>,
    /// Whether the inflater may hold text of what it has read.
    holds_text: bool,
}

/// What came of inflating.
#[derive(Debug)]
pub(super) enum Inflated {
    /// More of the payload has to come.
    NeedsInput,
    /// The [budget](Workspace::set_codec_budget) is used up.
    OutOfBudget,
    Fragment(Fragment<'static>),
    Message(Message<'static>),
}

impl Inflated {
    pub(super) fn ends_message(&self) -> bool {
        match self {
            Self::NeedsInput | Self::OutOfBudget => false,
            Self::Fragment(fragment) => fragment.last,
            Self::Message(_) => true,
        }
    }
}

/// The room that a buffer gets at first, at most, whatever length was announced.
const FIRST_ROOM: u64 = 16 * 1024;

/// How much of a compressed payload is gathered, at most. Before so much has come, or all, a message that is
/// delivered whole takes no inflater: a peer shall not have 46 KiB for a single byte.
pub(super) const GATHERED: usize = 16 * 1024;

/// How much text is inflated at once, and how long a piece of it is, at most.
const PIECE: usize = 64 * 1024;

impl Assembly {
    /// A message that begins with this frame.
    pub(super) fn new(header: &FrameHeader, in_pieces: bool) -> Self {
        let kind = data_kind(header.opcode);
        // The announced length is not trusted with memory, and says little about a compressed message.
        let keep = !in_pieces && !header.rsv1;
        let room = if keep { header.payload_len.min(FIRST_ROOM) as usize } else { 0 };
        let plain = Plain::new(kind, room);
        let compressed = header.rsv1.then(Box::default);
        Self { kind, fragments: 0, announced: 0, in_pieces, delivered: false, plain, compressed }
    }

    #[inline]
    pub(super) fn is_compressed(&self) -> bool {
        self.compressed.is_some()
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
    #[inline]
    pub(super) fn begin_frame(&mut self, header: &FrameHeader) {
        let before = self.announced;
        self.fragments += 1;
        self.announced += header.payload_len;
        if self.is_compressed() {
            return;
        }
        // More may come after a frame that is not the last. But a buffer that has grown to twice its length
        // exactly has been copied no more often than one that doubles.
        let exact = header.fin || header.payload_len >= before;
        let announced = if exact { usize::try_from(self.announced).ok() } else { None };
        let growth = announced.unwrap_or(usize::MAX);
        match &mut self.plain {
            Plain::Text { limit, .. } => *limit = growth,
            Plain::Binary(bytes) => bytes.limit_growth(growth),
        }
    }

    /// The buffer of a binary message that is kept as it comes.
    #[inline]
    pub(super) fn buffer(&mut self) -> Option<&mut PayloadBuffer> {
        match &mut self.plain {
            Plain::Binary(bytes) if self.compressed.is_none() && !self.in_pieces => Some(bytes),
            _ => None,
        }
    }

    /// Keeps a piece of a message that is not compressed.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        self.plain.append(piece)
    }

    /// The piece as an event of its own; none for an empty piece that ends nothing.
    pub(super) fn deliver<'i>(
        &mut self,
        piece: &'i [u8],
        last: bool,
    ) -> Result<Option<Fragment<'i>>, ProtocolError> {
        self.plain.check(piece)?;
        if last {
            self.plain.check_end()?;
        }
        Ok(fragment(self.kind, &mut self.delivered, piece.into(), last))
    }

    /// The message that was kept.
    pub(super) fn into_message(self) -> Result<Message<'static>, ProtocolError> {
        self.plain.into_message()
    }
}

/// A compressed message.
impl Assembly {
    /// How much more of the payload may be gathered now.
    pub(super) fn wire_room(&self) -> usize {
        let gathered = self.compressed.as_ref().map_or(0, |compressed| compressed.wire.len());
        GATHERED.saturating_sub(gathered)
    }

    /// A message in one frame for whose whole payload [`inflate_whole`] was not enough.
    pub(super) fn of_whole(
        header: &FrameHeader,
        payload: &[u8],
        in_pieces: bool,
        inflation: Inflation,
    ) -> Result<Self, ProtocolError> {
        let mut assembly = Self::new(header, in_pieces);
        let (mut wire, inflation) = (Vec::new(), Some(inflation));
        let lacking = |_| ProtocolError::OutOfMemory(payload.len());
        wire.try_reserve_exact(payload.len()).map_err(lacking)?;
        wire.extend_from_slice(payload);
        let compressed = Compressed { wire, is_whole: true, inflation, ..Compressed::default() };
        assembly.compressed = Some(Box::new(compressed));
        Ok(assembly)
    }

    /// Gathers a piece of the payload, which may be its end.
    pub(super) fn gather(&mut self, piece: &[u8], is_last: bool) {
        if let Some(compressed) = &mut self.compressed {
            compressed.wire.extend_from_slice(piece);
            compressed.is_whole |= is_last;
        }
    }

    /// Whether there is something to [`inflate`](Self::inflate).
    #[inline]
    pub(super) fn can_inflate(&self) -> bool {
        self.compressed.as_ref().is_some_and(|compressed| {
            let begins =
                if self.in_pieces || compressed.inflation.is_some() { 1 } else { GATHERED };
            compressed.wire.len() >= begins || compressed.holds_text || compressed.is_whole
        })
    }

    /// Inflates what was gathered, up to the next event.
    ///
    /// In whatever parts the message comes, and however often this stops for want of budget, it is the first
    /// fault in its text that counts.
    pub(super) fn inflate(
        &mut self,
        compression: &mut Compression,
        workspace: &mut Workspace,
        limit: usize,
    ) -> Result<Inflated, ProtocolError> {
        let Some(compressed) = &mut self.compressed else { return Ok(Inflated::NeedsInput) };
        if compressed.is_whole && compressed.inflation.is_none() {
            let wire = &compressed.wire;
            let whole =
                inflate_whole(self.kind, wire, self.in_pieces, compression, workspace, limit)?;
            if let Some(whole) = whole {
                return Ok(whole);
            }
            // It takes more than this budget, and the next may be no larger: from here on the steps are kept.
            compressed.inflation = Some(compression.begin_inflation(workspace, limit));
        }
        loop {
            let Compressed { wire, read, is_whole, inflation, holds_text } = &mut **compressed;
            let room = workspace.codec_budget().map_or(PIECE, |budget| budget.min(PIECE));
            if room == 0 {
                return Ok(Inflated::OutOfBudget);
            }
            let inflation =
                inflation.get_or_insert_with(|| compression.begin_inflation(workspace, limit));
            let mut rest = &wire[*read..];
            let mut step = |output: &mut Vec<u8>, workspace: &mut Workspace| {
                compression.inflate(inflation, &mut rest, output, room, workspace)
            };
            let mut piece = Vec::new();
            *holds_text = match &mut self.plain {
                plain if self.in_pieces => {
                    let outcome = step(&mut piece, workspace);
                    plain.check(&piece)?;
                    outcome?
                }
                Plain::Binary(bytes) => bytes.change(|bytes| step(bytes, workspace))?,
                text @ Plain::Text { .. } => {
                    let mut scratch = workspace.take_scratch();
                    let outcome = step(&mut scratch, workspace);
                    let appended = text.append(&scratch);
                    workspace.keep_scratch(scratch);
                    appended?;
                    outcome?
                }
            };
            *read = wire.len() - rest.len();
            let is_read = *read == wire.len() && !*holds_text;
            if is_read {
                wire.clear();
                *read = 0;
            }
            let ended = is_read && *is_whole;
            if ended && let Some(inflation) = compressed.inflation.take() {
                compression.finish_inflation(inflation, workspace)?;
            }
            if self.in_pieces {
                if ended {
                    self.plain.check_end()?;
                }
                let fragment = fragment(self.kind, &mut self.delivered, piece.into(), ended);
                if let Some(fragment) = fragment {
                    return Ok(Inflated::Fragment(fragment));
                }
            } else if ended {
                let plain = mem::replace(&mut self.plain, Plain::new(self.kind, 0));
                return plain.into_message().map(Inflated::Message);
            }
            if is_read {
                return Ok(Inflated::NeedsInput);
            }
        }
    }
}

/// Inflates the whole payload of a message at once, if there is budget for that, and if it makes no more than
/// one piece where pieces are wanted. `None`: nothing has happened, and it has to be
/// [gathered](Assembly::gather).
pub(super) fn inflate_whole(
    kind: MessageKind,
    payload: &[u8],
    in_pieces: bool,
    compression: &mut Compression,
    workspace: &mut Workspace,
    limit: usize,
) -> Result<Option<Inflated>, ProtocolError> {
    let room = if in_pieces { PIECE } else { usize::MAX };
    let mut bytes = match compression.inflate_whole(payload, room, limit, workspace) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        // Invalid UTF-8 may stand before the corrupt data, and the first fault counts: read it again in steps.
        Err(_) if kind == MessageKind::Text => return Ok(None),
        Err(error) => return Err(error),
    };
    bytes.shrink_to_fit();
    let message = match kind {
        MessageKind::Text => {
            Message::from(into_text(bytes).map_err(|_| ProtocolError::InvalidUtf8)?)
        }
        MessageKind::Binary => Message::from(bytes),
    };
    if !in_pieces {
        return Ok(Some(Inflated::Message(message)));
    }
    let (kind, payload) = (message.kind(), message.into_bytes());
    Ok(Some(Inflated::Fragment(Fragment { kind, payload, first: true, last: true })))
}

/// The piece as it is delivered; an empty one that ends nothing is not.
fn fragment<'i>(
    kind: MessageKind,
    delivered: &mut bool,
    payload: Bytes<'i>,
    last: bool,
) -> Option<Fragment<'i>> {
    if payload.is_empty() && !last {
        return None;
    }
    let first = !mem::replace(delivered, true);
    Some(Fragment { kind, payload, first, last })
}

/// The kind of a message that begins with this opcode.
#[inline]
pub(super) fn data_kind(opcode: Opcode) -> MessageKind {
    if opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary }
}

impl Plain {
    fn new(kind: MessageKind, room: usize) -> Self {
        match kind {
            MessageKind::Binary => Self::Binary(PayloadBuffer::with_capacity(room)),
            MessageKind::Text => {
                let (text, validator) = (String::with_capacity(room), Utf8Validator::new());
                Self::Text { text, validator, limit: usize::MAX }
            }
        }
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match self {
            Self::Text { text, validator, limit } => {
                // Three bytes of a code point may have come before.
                let more = (piece.len() + 3).min(limit.saturating_sub(text.len()));
                let room = missing_room(text.len(), text.capacity(), more, *limit);
                let length = text.len() + piece.len();
                let lacking = |_| ProtocolError::OutOfMemory(length);
                text.try_reserve_exact(room).map_err(lacking)?;
                validator.push_into(piece, text).map_err(|_| ProtocolError::InvalidUtf8)?;
            }
            Self::Binary(bytes) => {
                bytes.append(piece);
                bytes.check()?;
            }
        }
        Ok(())
    }

    /// Checks a piece that is not kept.
    fn check(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match self {
            Self::Text { validator, .. } => {
                validator.push(piece).map_err(|_| ProtocolError::InvalidUtf8)
            }
            Self::Binary(_) => Ok(()),
        }
    }

    /// Checks that text does not end inside a code point.
    fn check_end(&mut self) -> Result<(), ProtocolError> {
        match self {
            Self::Text { validator, .. } => {
                validator.finish().map_err(|_| ProtocolError::InvalidUtf8)
            }
            Self::Binary(_) => Ok(()),
        }
    }

    fn into_message(self) -> Result<Message<'static>, ProtocolError> {
        Ok(match self {
            Self::Text { mut text, mut validator, .. } => {
                validator.finish().map_err(|_| ProtocolError::InvalidUtf8)?;
                text.shrink_to_fit();
                Message::from(text)
            }
            Self::Binary(bytes) => Message::from(bytes.into_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(assembly: &mut Assembly) -> usize {
        match &mut assembly.plain {
            Plain::Text { text, .. } => text.capacity(),
            Plain::Binary(bytes) => bytes.change(|bytes| bytes.capacity()),
        }
    }

    #[test]
    fn a_buffer_grows_to_what_is_announced_and_doubles_after_short_frames() {
        for opcode in [Opcode::Text, Opcode::Binary] {
            let last = |length| FrameHeader::new(opcode, length as u64);
            let more = |length| FrameHeader { fin: false, ..last(length) };
            let begun = || {
                let mut assembly = Assembly::new(&more(20_000), false);
                assembly.begin_frame(&more(20_000));
                for _ in 0..2 {
                    assembly.append(&[b'a'; 10_000]).unwrap();
                }
                assembly
            };
            let next = |assembly: &mut Assembly, header: FrameHeader| {
                assembly.begin_frame(&header);
                assembly.append(&vec![b'a'; header.payload_len as usize]).unwrap();
                capacity(assembly)
            };
            assert_eq!(capacity(&mut begun()), 20_000);
            // The last frame, however short it is.
            assert_eq!(next(&mut begun(), last(10)), 20_010);
            // One that is as long as all before it; after a shorter one there may be many more.
            let mut assembly = begun();
            assert_eq!(next(&mut assembly, more(20_000)), 40_000);
            let room = next(&mut assembly, more(1000));
            // Of text, up to three bytes more could have come.
            assert!((82_000..=82_006).contains(&room), "{room}");
        }
    }

    #[test]
    fn a_compressed_payload_is_gathered_up_to_a_bound() {
        let header = FrameHeader { rsv1: true, ..FrameHeader::new(Opcode::Binary, 1 << 20) };
        let mut whole = Assembly::new(&header, false);
        assert_eq!(whole.wire_room(), GATHERED);
        whole.gather(&[0; GATHERED - 1], false);
        assert_eq!((whole.wire_room(), whole.can_inflate()), (1, false));
        whole.gather(&[0], false);
        assert_eq!((whole.wire_room(), whole.can_inflate()), (0, true));
        // A short message is inflated when it is whole, and one in pieces as it comes.
        let mut short = Assembly::new(&header, false);
        short.gather(&[0], true);
        assert!(short.can_inflate());
        let mut in_pieces = Assembly::new(&header, true);
        assert!(!in_pieces.can_inflate());
        in_pieces.gather(&[0], false);
        assert!(in_pieces.can_inflate());
    }

    #[cfg(feature = "deflate")]
    mod compressed {
        use super::*;
        use crate::deflate::{DeflateConfig, DeflateParams};
        use crate::protocol::metrics::CompressionMetrics;
        use crate::protocol::state::Role;

        const LIMIT: usize = 1 << 20;

        fn codec() -> (Compression, Workspace) {
            let config = DeflateConfig::new();
            let compression = Compression::new(DeflateParams::default(), Role::Server, &config);
            (compression, Workspace::new())
        }

        fn compressed(plain: &[u8]) -> Vec<u8> {
            let (mut compression, mut workspace) = codec();
            let mut wire = Vec::new();
            compression.compress(plain, &mut wire, &mut workspace);
            wire
        }

        #[test]
        fn a_payload_that_is_there_is_inflated_at_once() {
            let wire = compressed(b"at once");
            for kind in [MessageKind::Text, MessageKind::Binary] {
                let whole = |in_pieces, wire: &[u8]| {
                    let (mut compression, mut workspace) = codec();
                    inflate_whole(kind, wire, in_pieces, &mut compression, &mut workspace, LIMIT)
                };
                match whole(false, &wire) {
                    Ok(Some(Inflated::Message(message))) => {
                        assert_eq!((message.kind(), message.as_bytes()), (kind, &b"at once"[..]));
                    }
                    other => panic!("{other:?}"),
                }
                match whole(true, &wire) {
                    Ok(Some(Inflated::Fragment(fragment))) => {
                        assert_eq!((fragment.kind, fragment.payload), (kind, b"at once".into()));
                        assert!(fragment.first && fragment.last);
                    }
                    other => panic!("{other:?}"),
                }
                // A block of the type that does not exist. Text before it may be what is at fault first.
                match (kind, whole(false, &[0xff])) {
                    (MessageKind::Text, Ok(None)) => {}
                    (MessageKind::Binary, Err(error)) => {
                        assert_eq!(error, ProtocolError::CorruptDeflate);
                    }
                    (_, other) => panic!("{other:?}"),
                }
            }
        }

        #[test]
        fn what_was_too_much_for_one_turn_goes_on_in_the_next() {
            let wire = compressed(&[b'a'; 100_000]);
            let header = FrameHeader::new(Opcode::Binary, wire.len() as u64);
            let header = FrameHeader { rsv1: true, ..header };
            let (mut compression, mut workspace) = codec();
            let inflation = compression.begin_inflation(&mut workspace, LIMIT);
            let mut assembly = Assembly::of_whole(&header, &wire, false, inflation).unwrap();
            // Nothing is inflated twice.
            for turn in 1..=4 {
                workspace.set_codec_budget(30_000);
                let inflated = assembly.inflate(&mut compression, &mut workspace, LIMIT);
                match inflated {
                    Ok(Inflated::OutOfBudget) if turn < 4 => {
                        assert_eq!(workspace.metrics.inflated.plain, turn * 30_000);
                        assert!(assembly.can_inflate());
                    }
                    Ok(Inflated::Message(message)) if turn == 4 => {
                        assert_eq!(message.as_bytes(), [b'a'; 100_000]);
                    }
                    other => panic!("{turn}: {other:?}"),
                }
            }
        }

        #[test]
        fn text_that_waits_for_a_turn_when_all_of_the_payload_is_read_is_not_lost() {
            // A final block of 1,549 letters whose last byte has the last match and the end of the block.
            let wire = [0x4b, 0x1c, 0x05, 0xa3, 0x60, 0x14, 0x8c, 0x82, 0x51, 0x30, 0x0a, 0x00];
            let header = FrameHeader::new(Opcode::Binary, wire.len() as u64);
            let header = FrameHeader { rsv1: true, ..header };
            let (mut compression, mut workspace) = codec();
            let inflation = compression.begin_inflation(&mut workspace, LIMIT);
            let mut assembly = Assembly::of_whole(&header, &wire, false, inflation).unwrap();
            workspace.set_codec_budget(1500);
            let inflated = assembly.inflate(&mut compression, &mut workspace, LIMIT);
            assert!(matches!(inflated, Ok(Inflated::OutOfBudget)), "{inflated:?}");
            let read = CompressionMetrics { plain: 1500, compressed: wire.len() as u64 };
            assert_eq!(workspace.metrics.inflated, read);
            workspace.set_codec_budget(None);
            match assembly.inflate(&mut compression, &mut workspace, LIMIT) {
                Ok(Inflated::Message(message)) => assert_eq!(message.as_bytes(), [b'a'; 1549]),
                other => panic!("{other:?}"),
            }
        }

        #[test]
        fn once_it_is_inflated_every_byte_is_as_it_comes() {
            let wire = compressed(b"some text, and some more text");
            let header = FrameHeader::new(Opcode::Text, 10);
            let (compression, mut workspace) = codec();
            let inflation = compression.begin_inflation(&mut workspace, LIMIT);
            let mut assembly = Assembly::of_whole(&header, &[], false, inflation).unwrap();
            assembly.compressed.as_mut().unwrap().is_whole = false;
            assert!(!assembly.can_inflate());
            assembly.gather(&wire[..1], false);
            assert!(assembly.can_inflate());
        }
    }
}
