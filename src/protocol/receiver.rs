use std::mem;

use crate::wire::{
    CloseFrame, FrameHeader, HeaderError, HeaderRules, MAX_HEADER, Opcode, apply_mask,
    validate_utf8,
};

use super::assembly::{Assembly, GATHERED, Inflated, data_kind, inflate_whole};
use super::compression::Compression;
use super::config::{Fragments, Settings};
use super::error::ProtocolError;
use super::message::{Fragment, Message, MessageKind};
use super::payload::Bytes;
use super::payload_buffer::PayloadBuffer;
use super::state::Role;
use super::timers::Progress;
use super::workspace::Workspace;

/// Turns the bytes of an open connection into messages and control frames (RFC 6455 section 6.2).
///
/// Whole frames are worked on where they lie in the input. Only what the input does not finish is kept,
/// in a box that an idle connection does not have.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    partial: Option<Box<Partial>>,
}

/// What the receiver must know of its connection.
pub(super) struct Context<'c> {
    pub(super) role: Role,
    pub(super) settings: &'c Settings,
    pub(super) compression: Option<&'c mut Compression>,
    pub(super) workspace: &'c mut Workspace,
}

#[derive(Debug, PartialEq)]
pub(super) enum Received<'i> {
    Message(Message<'i>),
    Fragment(Fragment<'i>),
    Ping(Bytes<'i>),
    Pong(Bytes<'i>),
    Close(CloseFrame),
}

impl Received<'_> {
    /// What came of inflating, if it is something.
    fn of(inflated: Inflated) -> Option<Self> {
        match inflated {
            Inflated::NeedsInput | Inflated::OutOfBudget => None,
            Inflated::Fragment(fragment) => Some(Self::Fragment(fragment)),
            Inflated::Message(message) => Some(Self::Message(message)),
        }
    }
}

#[derive(Debug, Default)]
struct Partial {
    /// The start of a header that the input did not finish.
    header: [u8; MAX_HEADER],
    header_length: usize,
    /// The frame whose payload the input did not finish.
    frame: Option<Frame>,
    /// What has come of the payload of that frame, if it is a control frame.
    control: Vec<u8>,
    /// The message whose last frame has not ended.
    assembly: Option<Assembly>,
    /// A byte of a data frame has come since [`progress`](Receiver::progress) was last asked.
    progress: bool,
}

/// A frame whose header has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    header: FrameHeader,
    /// How much of the payload has come.
    received: u64,
}

impl Frame {
    fn missing(&self) -> u64 {
        self.header.payload_len - self.received
    }

    fn unmask(&self, piece: &mut [u8]) {
        if let Some(key) = self.header.mask {
            apply_mask(piece, key, (self.received & 3) as usize);
        }
    }
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.assembly.is_none()
    }
}

/// From how many missing bytes on it is worth to read a payload straight into its buffer.
const DIRECT: u64 = 32 * 1024;

impl Receiver {
    /// Whether a message, or the header or payload of any frame, is unfinished.
    pub(super) fn is_inside_message(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether a message is under way, and if so, whether a part of it has come since the last call.
    pub(super) fn progress(&mut self) -> Option<Progress> {
        let partial = self.partial.as_deref_mut()?;
        if partial.assembly.is_none() && !partial.header_is_of_data() {
            return None;
        }
        Some(if mem::take(&mut partial.progress) { Progress::Made } else { Progress::None })
    }

    /// Takes the payload of a message, text not yet checked, from the front of `input` in the commonest
    /// case of all: nothing is unfinished, and a frame of
    /// [`decode_whole_message`](FrameHeader::decode_whole_message) stands there. In any other case it takes
    /// nothing, and [`receive`](Self::receive) is to do the work; it would say the same of this one.
    #[inline(always)]
    pub(super) fn whole_message<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        role: Role,
        settings: &Settings,
    ) -> Option<(MessageKind, &'i [u8])> {
        if self.partial.is_some() || settings.fragments != Fragments::Never {
            return None;
        }
        let rules = first_frame_rules(role, settings);
        let (header, start) = FrameHeader::decode_whole_message(input, &rules)?;
        let (frame, rest) = mem::take(input).split_at_mut(start + header.payload_len as usize);
        *input = rest;
        let payload = &mut frame[start..];
        if let Some(key) = header.mask {
            apply_mask(payload, key, 0);
        }
        Some((data_kind(header.opcode), payload))
    }

    /// Whether a compressed message under way could be inflated further, if the codec had a budget for it, or
    /// if the event that came last had not come first.
    #[inline]
    pub(super) fn awaits_codec(&self) -> bool {
        self.partial.as_deref().is_some_and(Partial::can_inflate)
    }

    /// Consumes bytes from the front of `input` up to and including those that make up one event;
    /// `None` if there is none yet, and then all of `input` is consumed, unless the receiver
    /// [awaits the codec](Self::awaits_codec).
    #[inline]
    pub(super) fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        context: &mut Context<'_>,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        if self.partial.is_none()
            && let Some((header, start)) = read_header(input, None, context)?
        {
            // The common case first: a whole frame in the input.
            if let Ok(length) = usize::try_from(header.payload_len)
                && length <= input.len() - start
                && header.fin
                && (!header.rsv1 || is_inflated_at_once(&header, context))
            {
                let (bytes, rest) = mem::take(input).split_at_mut(start + length);
                *input = rest;
                let payload = &mut bytes[start..];
                if let Some(key) = header.mask {
                    apply_mask(payload, key, 0);
                }
                if !header.rsv1 {
                    return whole_frame(&header, payload, context.settings).map(Some);
                }
                if let Some(received) = self.inflate_frame(header, payload, context)? {
                    return Ok(Some(received));
                }
            } else {
                *input = &mut mem::take(input)[start..];
                self.partial.get_or_insert_default().begin_frame(header, context);
            }
        } else if input.is_empty() && !self.awaits_codec() {
            return Ok(None);
        }
        self.receive_partial(input, context)
    }

    /// A compressed message in one whole frame. `None` if its text is too much for the budget or for one piece:
    /// it is then a message under way.
    fn inflate_frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<Option<Received<'static>>, ProtocolError> {
        let Context { settings, compression, workspace, .. } = context;
        // Always there: without permessage-deflate a header with RSV1 is rejected.
        let Some(compression) = compression.as_deref_mut() else { return Ok(None) };
        let (kind, in_pieces) = (data_kind(header.opcode), settings.fragments.include(&header));
        let limit = settings.max_message_size;
        let whole = inflate_whole(kind, payload, in_pieces, compression, workspace, limit)?;
        if whole.is_none() {
            let inflation = compression.begin_inflation(workspace, limit);
            let assembly = Assembly::of_whole(&header, payload, in_pieces, inflation)?;
            let partial = self.partial.get_or_insert_default();
            (partial.assembly, partial.progress) = (Some(assembly), true);
        }
        Ok(whole.and_then(Received::of))
    }

    fn receive_partial<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        context: &mut Context<'_>,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        let partial = self.partial.get_or_insert_default();
        let received = partial.receive(input, context);
        if partial.is_idle() {
            self.partial = None;
        }
        received
    }

    /// The buffer of a long payload under way, and how many bytes it misses. The caller may append up
    /// to so many bytes of the transport to it, and must then call
    /// [`direct_received`](Self::direct_received) with the length that the buffer had before.
    pub(super) fn direct_buffer(&mut self) -> Option<(&mut PayloadBuffer, usize)> {
        let partial = self.partial.as_deref_mut()?;
        let frame = partial.frame.as_ref().filter(|frame| !frame.header.opcode.is_control())?;
        let missing = frame.missing();
        if missing < DIRECT {
            return None;
        }
        let buffer = partial.assembly.as_mut()?.buffer()?;
        Some((buffer, usize::try_from(missing).unwrap_or(usize::MAX)))
    }

    /// Takes note that bytes of the transport were appended to the direct buffer, which had `before`
    /// bytes then.
    pub(super) fn direct_received(
        &mut self,
        before: usize,
    ) -> Result<Option<Received<'static>>, ProtocolError> {
        let Some(partial) = self.partial.as_deref_mut() else { return Ok(None) };
        let received = partial.direct_received(before);
        if partial.is_idle() {
            self.partial = None;
        }
        received
    }
}

/// What the header of a frame outside any message may be.
#[inline]
fn first_frame_rules(role: Role, settings: &Settings) -> HeaderRules {
    let mut rules = match role {
        Role::Server => HeaderRules::masked(),
        Role::Client => HeaderRules::unmasked(),
    };
    rules.max_payload_len = settings.max_message_size as u64;
    rules
}

/// Reads a header from the front of `bytes`, and refuses a message as soon as it shows that the message will
/// pass a limit (RFC 6455 section 10.4); `None` if it is unfinished.
#[inline]
fn read_header(
    bytes: &[u8],
    assembly: Option<&Assembly>,
    context: &Context<'_>,
) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    let settings = context.settings;
    let mut rules = first_frame_rules(context.role, settings);
    rules.rsv1 = context.compression.is_some();
    rules.max_rsv1_payload_len = compressed_limit(settings);
    if let Some(assembly) = assembly {
        rules.inside_message = true;
        let limit = if assembly.is_compressed() {
            rules.max_rsv1_payload_len
        } else {
            rules.max_payload_len
        };
        rules.max_payload_len = limit.saturating_sub(assembly.announced());
    }
    let read = FrameHeader::decode_with(bytes, &rules).map_err(|error| match error {
        HeaderError::PayloadTooLong(_) => ProtocolError::MessageTooBig(settings.max_message_size),
        error => ProtocolError::Header(error),
    })?;
    if let (Some((header, _)), Some(assembly)) = (&read, assembly)
        && !header.opcode.is_control()
        && assembly.fragments() >= settings.max_fragments
    {
        return Err(ProtocolError::TooManyFragments(settings.max_fragments));
    }
    Ok(read)
}

/// How many bytes a compressed message may have on the wire. What counts is the inflated size; but a foreign
/// compressor may make data that cannot be compressed longer by an eighth, and adds a few bytes a block.
fn compressed_limit(settings: &Settings) -> u64 {
    (settings.max_message_size as u64).saturating_mul(2).saturating_add(1024)
}

/// Whether a compressed message that lies whole in the input is best inflated where it lies. Another one is
/// read as if it came bit by bit, so that work on it can stop.
fn is_inflated_at_once(header: &FrameHeader, context: &Context<'_>) -> bool {
    match context.workspace.codec_budget() {
        Some(0) => false,
        None if !context.settings.fragments.include(header) => true,
        _ => header.payload_len <= GATHERED as u64,
    }
}

/// A final frame that lies whole in the input and is not compressed, outside a fragmented message or a control
/// frame.
#[inline]
fn whole_frame<'i>(
    header: &FrameHeader,
    payload: &'i [u8],
    settings: &Settings,
) -> Result<Received<'i>, ProtocolError> {
    match header.opcode {
        Opcode::Text | Opcode::Binary | Opcode::Continuation => {
            let message = match data_kind(header.opcode) {
                MessageKind::Text => match validate_utf8(payload) {
                    Ok(text) => Message::from(text),
                    Err(_) => return Err(ProtocolError::InvalidUtf8),
                },
                MessageKind::Binary => Message::from(payload),
            };
            if !settings.fragments.include(header) {
                return Ok(Received::Message(message));
            }
            let (kind, payload) = (message.kind(), message.into_bytes());
            Ok(Received::Fragment(Fragment { kind, payload, first: true, last: true }))
        }
        Opcode::Ping => Ok(Received::Ping(payload.into())),
        Opcode::Pong => Ok(Received::Pong(payload.into())),
        Opcode::Close => {
            CloseFrame::decode(payload).map(Received::Close).map_err(ProtocolError::Close)
        }
    }
}

impl Partial {
    fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        context: &mut Context<'_>,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        loop {
            if self.assembly.as_ref().is_some_and(Assembly::is_compressed)
                && let Some(received) = self.receive_compressed(input, context)
            {
                return received;
            }
            let Some(frame) = &mut self.frame else {
                if self.read_header(input, context)? {
                    continue;
                }
                return Ok(None);
            };
            let missing = usize::try_from(frame.missing()).unwrap_or(usize::MAX);
            let count = missing.min(input.len());
            let (piece, rest) = mem::take(input).split_at_mut(count);
            *input = rest;
            frame.unmask(piece);
            frame.received += count as u64;
            let (header, ended) = (frame.header, frame.missing() == 0);
            if ended {
                self.frame = None;
            }
            let event = if header.opcode.is_control() {
                self.control_piece(&header, piece, ended, context)
            } else {
                self.data_piece(&header, piece, ended)
            };
            if input.is_empty() || !matches!(event, Ok(None)) {
                return event;
            }
        }
    }

    /// Takes what comes of a compressed message, and inflates it before anything else is done. `None`: there is
    /// more input, and what comes next is a header or belongs to a control frame.
    #[cold]
    fn receive_compressed(
        &mut self,
        input: &mut &mut [u8],
        context: &mut Context<'_>,
    ) -> Option<Result<Option<Received<'static>>, ProtocolError>> {
        loop {
            if self.can_inflate()
                && let Some(inflated) = self.inflate(context)
            {
                return Some(inflated);
            }
            let assembly = self.assembly.as_mut()?;
            let frame = self.frame.as_mut().filter(|frame| !frame.header.opcode.is_control())?;
            let missing = usize::try_from(frame.missing()).unwrap_or(usize::MAX);
            let count = missing.min(input.len()).min(assembly.wire_room());
            let (piece, rest) = mem::take(input).split_at_mut(count);
            *input = rest;
            frame.unmask(piece);
            frame.received += count as u64;
            self.progress |= count > 0;
            let (is_last, ended) = (frame.header.fin, frame.missing() == 0);
            assembly.gather(piece, is_last && ended);
            if ended {
                self.frame = None;
            }
            if input.is_empty() && !self.can_inflate() {
                return Some(Ok(None));
            }
        }
    }

    fn can_inflate(&self) -> bool {
        self.assembly.as_ref().is_some_and(Assembly::can_inflate)
    }

    /// Inflates what was taken; `None` where that was not enough for an event.
    fn inflate(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<Result<Option<Received<'static>>, ProtocolError>> {
        let Context { settings, compression, workspace, .. } = context;
        // Always there: without permessage-deflate a header with RSV1 is rejected.
        let (assembly, compression) = (self.assembly.as_mut()?, compression.as_deref_mut()?);
        match assembly.inflate(compression, workspace, settings.max_message_size) {
            Ok(Inflated::NeedsInput) => None,
            Ok(inflated) => {
                if inflated.ends_message() {
                    self.assembly = None;
                }
                Some(Ok(Received::of(inflated)))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads a header that may have begun in an earlier input: whether it is whole.
    #[cold]
    fn read_header(
        &mut self,
        input: &mut &mut [u8],
        context: &mut Context<'_>,
    ) -> Result<bool, ProtocolError> {
        let before = self.header_length;
        let count = input.len().min(MAX_HEADER - before);
        self.header[before..before + count].copy_from_slice(&input[..count]);
        let bytes = &self.header[..before + count];
        let read = read_header(bytes, self.assembly.as_ref(), context)?;
        let Some((header, length)) = read else {
            // The room fits the longest header, so an incomplete one has taken all of the input.
            self.header_length = before + count;
            self.progress |= self.header_is_of_data();
            *input = &mut mem::take(input)[count..];
            return Ok(false);
        };
        self.header_length = 0;
        *input = &mut mem::take(input)[length - before..];
        self.begin_frame(header, context);
        Ok(true)
    }

    /// Whether the start of a header has come, and it is that of a data frame.
    fn header_is_of_data(&self) -> bool {
        let first = self.header[..self.header_length].first();
        let opcode = first.and_then(|first| Opcode::from_u8(first & 0x0f));
        opcode.is_some_and(|opcode| !opcode.is_control())
    }

    fn begin_frame(&mut self, header: FrameHeader, context: &Context<'_>) {
        if !header.opcode.is_control() {
            self.progress = true;
            let in_pieces = context.settings.fragments.include(&header);
            let new = || Assembly::new(&header, in_pieces);
            self.assembly.get_or_insert_with(new).begin_frame(&header);
        }
        self.frame = Some(Frame { header, received: 0 });
    }

    fn control_piece<'i>(
        &mut self,
        header: &FrameHeader,
        piece: &'i [u8],
        ended: bool,
        context: &mut Context<'_>,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        if ended && self.control.is_empty() {
            return whole_frame(header, piece, context.settings).map(Some);
        }
        self.control.reserve_exact(header.payload_len as usize - self.control.len());
        self.control.extend_from_slice(piece);
        if !ended {
            return Ok(None);
        }
        let payload = mem::take(&mut self.control);
        Ok(Some(match header.opcode {
            Opcode::Ping => Received::Ping(payload.into()),
            Opcode::Pong => Received::Pong(payload.into()),
            _ => Received::Close(CloseFrame::decode(&payload).map_err(ProtocolError::Close)?),
        }))
    }

    fn data_piece<'i>(
        &mut self,
        header: &FrameHeader,
        piece: &'i [u8],
        frame_ended: bool,
    ) -> Result<Option<Received<'i>>, ProtocolError> {
        let Some(assembly) = self.assembly.as_mut() else { return Ok(None) };
        self.progress = true;
        let last = frame_ended && header.fin;
        if assembly.in_pieces {
            let fragment = assembly.deliver(piece, last)?;
            if last {
                self.assembly = None;
            }
            return Ok(fragment.map(Received::Fragment));
        }
        assembly.append(piece)?;
        self.end_of_frame(last)
    }

    /// Delivers the message if its last frame has ended.
    fn end_of_frame(&mut self, last: bool) -> Result<Option<Received<'static>>, ProtocolError> {
        if !last {
            return Ok(None);
        }
        let Some(assembly) = self.assembly.take() else { return Ok(None) };
        assembly.into_message().map(Received::Message).map(Some)
    }

    fn direct_received(
        &mut self,
        before: usize,
    ) -> Result<Option<Received<'static>>, ProtocolError> {
        let (Some(frame), Some(assembly)) = (self.frame.as_mut(), self.assembly.as_mut()) else {
            return Ok(None);
        };
        let Some(bytes) = assembly.buffer() else { return Ok(None) };
        bytes.check()?;
        let piece = bytes.tail_mut(before);
        // A caller that appended more than was missing has broken the stream; what is too much is
        // dropped, so that the next header is at least looked for where it can be.
        let missing = usize::try_from(frame.missing()).unwrap_or(usize::MAX);
        let count = piece.len().min(missing);
        frame.unmask(&mut piece[..count]);
        bytes.truncate(before + count);
        frame.received += count as u64;
        self.progress |= count > 0;
        let frame = *frame;
        if frame.missing() > 0 {
            return Ok(None);
        }
        self.frame = None;
        self.end_of_frame(frame.header.fin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::config::Config;

    /// A client's receiver: what it receives is not masked.
    struct Fixture {
        receiver: Receiver,
        config: Config,
        compression: Option<Compression>,
        workspace: Workspace,
    }

    type Outcome<'i> = Result<Option<Received<'i>>, ProtocolError>;

    impl Fixture {
        fn new(config: Config) -> Self {
            let (receiver, workspace) = (Receiver::default(), Workspace::new());
            Self { receiver, config, compression: None, workspace }
        }

        #[cfg(feature = "deflate")]
        fn with_deflate() -> Self {
            use crate::deflate::{DeflateConfig, DeflateParams};
            let (params, config) = (DeflateParams::default(), DeflateConfig::new());
            let compression = Some(Compression::new(params, Role::Client, &config));
            Self { compression, ..Self::new(Config::new()) }
        }

        fn context(&mut self) -> Context<'_> {
            Context {
                role: Role::Client,
                settings: self.config.settings(),
                compression: self.compression.as_mut(),
                workspace: &mut self.workspace,
            }
        }

        /// What comes of these bytes, and how many are left of them.
        fn receive<'i>(&mut self, mut input: &'i mut [u8]) -> (Outcome<'i>, usize) {
            let mut receiver = mem::take(&mut self.receiver);
            let received = receiver.receive(&mut input, &mut self.context());
            self.receiver = receiver;
            (received, input.len())
        }

        /// Takes all of these bytes, of which nothing comes yet.
        fn take(&mut self, bytes: &[u8]) {
            assert_eq!(self.receive(&mut bytes.to_vec()), (Ok(None), 0));
        }
    }

    fn header(header: FrameHeader) -> Vec<u8> {
        header.encode(&mut [0; MAX_HEADER]).to_vec()
    }

    fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(FrameHeader::new(opcode, payload.len() as u64));
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_whole_message_is_taken_at_the_first_look() {
        let bytes = [frame(Opcode::Text, b"text"), b"more".to_vec()].concat();
        let whole = |fixture: &mut Fixture| {
            let mut bytes = bytes.clone();
            let mut input = &mut bytes[..];
            let settings = fixture.config.settings();
            let found = fixture.receiver.whole_message(&mut input, Role::Client, settings);
            let found = found.map(|(kind, payload)| (kind, payload.to_vec()));
            (found, input.to_vec())
        };
        let mut fixture = Fixture::new(Config::new());
        let found = Some((MessageKind::Text, b"text".to_vec()));
        assert_eq!(whole(&mut fixture), (found, b"more".to_vec()));
        // Neither inside another frame, nor where pieces are wanted.
        fixture.take(&[0x82]);
        assert_eq!(whole(&mut fixture), (None, bytes.clone()));
        let mut fixture = Fixture::new(Config::new().fragments(Fragments::Always));
        assert_eq!(whole(&mut fixture), (None, bytes.clone()));
    }

    #[test]
    fn a_whole_frame_is_delivered_where_it_lies() {
        for budget in [None, Some(0)] {
            let mut fixture = Fixture::new(Config::new());
            fixture.workspace.set_codec_budget(budget);
            let mut bytes = frame(Opcode::Binary, &[7; 20_000]);
            let place = bytes[4..].as_ptr();
            let (received, left) = fixture.receive(&mut bytes);
            let Ok(Some(Received::Message(message))) = received else { panic!("{received:?}") };
            assert_eq!((message.as_bytes().as_ptr(), left), (place, 0));
        }
    }

    #[test]
    fn a_long_payload_is_read_into_its_buffer_from_some_length_on() {
        for (length, direct) in [(DIRECT - 1, false), (DIRECT, true), (DIRECT + 1, true)] {
            let mut fixture = Fixture::new(Config::new());
            fixture.take(&header(FrameHeader::new(Opcode::Binary, length)));
            let buffer = fixture.receiver.direct_buffer();
            assert_eq!(buffer.map(|(_, missing)| missing), direct.then_some(length as usize));
        }
    }

    #[test]
    fn progress_is_made_by_every_byte_of_a_message_and_by_nothing_else() {
        let progress = |fixture: &mut Fixture| fixture.receiver.progress();
        let mut fixture = Fixture::new(Config::new());
        assert_eq!(progress(&mut fixture), None);
        // The start of a header, that of a control frame first.
        fixture.take(&[0x89]);
        assert_eq!(progress(&mut fixture), None);
        let mut fixture = Fixture::new(Config::new());
        for byte in header(FrameHeader::new(Opcode::Binary, 2 * DIRECT)) {
            fixture.take(&[byte]);
            assert_eq!(progress(&mut fixture), Some(Progress::Made));
            assert_eq!(progress(&mut fixture), Some(Progress::None));
        }
        fixture.take(b"a");
        assert_eq!(progress(&mut fixture), Some(Progress::Made));
        fixture.take(b"");
        assert_eq!(progress(&mut fixture), Some(Progress::None));
        for (bytes, made) in [(&b""[..], Progress::None), (b"b", Progress::Made)] {
            let (buffer, _) = fixture.receiver.direct_buffer().unwrap();
            let before = buffer.len();
            buffer.append(bytes);
            assert_eq!(fixture.receiver.direct_received(before), Ok(None));
            assert_eq!(progress(&mut fixture), Some(made));
        }

        // Between the frames of a message, too.
        let mut fixture = Fixture::new(Config::new());
        fixture.take(&[0x02, 0x00]);
        assert_eq!(progress(&mut fixture), Some(Progress::Made));
        fixture.take(&[0x89]);
        assert_eq!(progress(&mut fixture), Some(Progress::None));
        let mut rest = [0];
        let (received, _) = fixture.receive(&mut rest);
        assert_eq!(received, Ok(Some(Received::Ping(b"".into()))));
        fixture.take(&[0x80]);
        assert_eq!(progress(&mut fixture), Some(Progress::Made));
    }

    #[test]
    fn a_control_frame_in_parts_takes_no_more_room_than_it_needs() {
        let mut fixture = Fixture::new(Config::new());
        let mut bytes = frame(Opcode::Ping, &[7; 100]);
        fixture.take(&bytes[..30]);
        fixture.take(&bytes[30..60]);
        let (received, _) = fixture.receive(&mut bytes[60..]);
        let Ok(Some(Received::Ping(payload))) = received else { panic!("{received:?}") };
        let payload = payload.into_vec();
        assert_eq!((payload.capacity(), &payload[..]), (100, &[7; 100][..]));
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_compressed_frame_is_inflated_where_it_lies_unless_that_takes_too_long() {
        let of_length = |length| FrameHeader::new(Opcode::Binary, length as u64);
        for (fragments, budget, length, at_once) in [
            (Fragments::Never, None, GATHERED + 1, true),
            (Fragments::Always, None, GATHERED + 1, false),
            (Fragments::Always, None, GATHERED, true),
            (Fragments::From(100_000), None, 99_999, true),
            (Fragments::From(100_000), None, 100_000, false),
            (Fragments::Never, Some(1), GATHERED, true),
            (Fragments::Never, Some(1), GATHERED + 1, false),
            (Fragments::Never, Some(0), 0, false),
        ] {
            let mut fixture = Fixture::new(Config::new().fragments(fragments));
            fixture.workspace.set_codec_budget(budget);
            let found = is_inflated_at_once(&of_length(length), &fixture.context());
            assert_eq!(found, at_once, "{fragments:?}, {budget:?}, {length}");
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn without_a_budget_little_of_a_compressed_message_is_taken() {
        let mut fixture = Fixture::with_deflate();
        fixture.workspace.set_codec_budget(0);
        let start = header(FrameHeader { rsv1: true, ..FrameHeader::new(Opcode::Binary, 100_000) });
        let mut bytes = [start, vec![0; 100_000]].concat();
        assert_eq!(fixture.receive(&mut bytes), (Ok(None), 100_000 - GATHERED));
        assert!(fixture.receiver.awaits_codec());
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_compressed_message_makes_progress_as_it_comes_and_not_as_it_is_inflated() {
        let mut fixture = Fixture::with_deflate();
        let mut payload = Vec::new();
        let mut sender = Fixture::with_deflate();
        let compression = sender.compression.as_mut().unwrap();
        let plain: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        compression.compress(&plain, &mut payload, &mut sender.workspace);
        let length = payload.len();
        let first = header(FrameHeader {
            fin: false,
            rsv1: true,
            ..FrameHeader::new(Opcode::Binary, length as u64)
        });
        fixture.take(&[first, payload[..10].to_vec()].concat());
        assert_eq!(fixture.receiver.progress(), Some(Progress::Made));
        fixture.take(&payload[10..20]);
        assert_eq!(fixture.receiver.progress(), Some(Progress::Made));
        fixture.take(&payload[20..]);
        assert_eq!(fixture.receiver.progress(), Some(Progress::Made));
        // The last frame brings no payload: all that it takes is inflated in several turns.
        fixture.workspace.set_codec_budget(30_000);
        fixture.take(&[0x80, 0x00]);
        assert_eq!(fixture.receiver.progress(), Some(Progress::Made));
        loop {
            fixture.workspace.set_codec_budget(30_000);
            match fixture.receive(&mut []) {
                (Ok(None), 0) => {
                    assert_eq!(fixture.receiver.progress(), Some(Progress::None));
                }
                (Ok(Some(Received::Message(message))), 0) => {
                    assert_eq!(message.as_bytes(), plain);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_turn_of_the_codec_alone_is_no_progress_inside_a_frame_either() {
        let mut fixture = Fixture::with_deflate();
        let start = header(FrameHeader { rsv1: true, ..FrameHeader::new(Opcode::Binary, 100_000) });
        // A stored block, which is as long on the wire as it is inflated.
        let block = [&[0x00, 0xff, 0xff, 0x00, 0x00][..], &[7; GATHERED - 5]].concat();
        fixture.workspace.set_codec_budget(10_000);
        fixture.take(&[start, block].concat());
        assert_eq!(fixture.receiver.progress(), Some(Progress::Made));
        assert!(fixture.receiver.awaits_codec());
        fixture.workspace.set_codec_budget(None);
        fixture.take(b"");
        assert!(!fixture.receiver.awaits_codec());
        assert_eq!(fixture.receiver.progress(), Some(Progress::None));
    }
}
