//! What the bytes of a peer mean, byte by byte (RFC 6455 sections 5 to 8, RFC 7692 section 6).

use framewire::wire::{CloseFrameError, HeaderError, Opcode, ReservedBit};
use framewire::{CloseCode, ProtocolError};

use super::inflate::Inflate;
use super::settings::Knobs;
use super::utf8::{Utf8, is_utf8};

/// The body of a Close: `None` without one.
pub(crate) type CloseBody = Option<(u16, String)>;

/// What stands at the end of some bytes.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A message; the connection may fail with one of `or` as well.
    Message {
        text: bool,
        payload: Vec<u8>,
        /// How long it was on the wire, if it was compressed.
        compressed: Option<usize>,
        pieces: Option<Delivered>,
        or: Vec<ProtocolError>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(CloseBody),
    /// The connection must fail with one of these; where a compressed message does not end well, it may deliver
    /// pieces of what is good of it before.
    Fault(Vec<ProtocolError>, Option<Good>),
}

/// What is good of a compressed message that fails at its end.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    pub(crate) text: bool,
    pub(crate) front: Vec<u8>,
    pub(crate) pieces: Option<Delivered>,
}

impl Seen {
    /// Whether this is the end of a compressed message: it need not be told of before it is inflated.
    pub(crate) fn takes_a_codec(&self) -> bool {
        matches!(self, Self::Message { compressed: Some(_), .. } | Self::Fault(_, Some(_)))
    }
}

/// How much of a message was delivered in pieces; `None` before the first one.
pub(crate) type Delivered = Option<usize>;

/// The reading end of an open connection.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    masked: bool,
    inflate: Option<Inflate>,
    header: Vec<u8>,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
    /// Whether a byte of a data frame has come since somebody last asked.
    progress: bool,
}

#[derive(Clone, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    key: [u8; 4],
    length: u64,
    read: u64,
}

#[derive(Clone, Debug)]
struct Message {
    text: bool,
    compressed: bool,
    /// It is delivered as it comes, and so far this much of it was.
    pieces: Option<Delivered>,
    frames: u32,
    announced: u64,
    /// What has come, as it stood on the wire.
    bytes: Vec<u8>,
    utf8: Utf8,
}

impl Reader {
    pub(crate) fn new(masked: bool, inflate: Option<Inflate>) -> Self {
        let (header, frame, control, message) = (Vec::new(), None, Vec::new(), None);
        Self { masked, inflate, header, frame, control, message, progress: false }
    }

    /// Whether a message or a frame has begun and not ended.
    pub(crate) fn is_inside(&self) -> bool {
        !self.header.is_empty() || self.frame.is_some() || self.message.is_some()
    }

    /// Whether a message, or the header of its first frame, has begun and not ended.
    pub(crate) fn message_has_begun(&self) -> bool {
        self.message.is_some() || self.header.first().is_some_and(|first| first & 0x08 == 0)
    }

    /// Whether a compressed message is under way.
    pub(crate) fn inflates(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.compressed)
    }

    /// Whether a part of a message has come since the last time.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// How many bytes the payload of the data frame under way misses.
    pub(crate) fn missing_of_data(&self) -> Option<usize> {
        let frame = self.frame.as_ref().filter(|frame| frame.opcode < 8)?;
        Some((frame.length - frame.read) as usize)
    }

    /// Reads on, up to the end of what means something: how many bytes that took, and what it is.
    pub(crate) fn advance(&mut self, bytes: &[u8], knobs: &Knobs) -> (usize, Option<Seen>) {
        let mut at = 0;
        while at < bytes.len() {
            let seen = if self.frame.is_some() {
                let count = self.payload_count(bytes.len() - at);
                let piece = &bytes[at..at + count];
                at += count;
                self.payload(piece, knobs)
            } else {
                at += 1;
                self.header_byte(bytes[at - 1], knobs)
            };
            if seen.is_some() {
                return (at, seen);
            }
        }
        (at, None)
    }

    fn payload_count(&self, available: usize) -> usize {
        let missing = self.frame.as_ref().map_or(0, |frame| frame.length - frame.read);
        available.min(usize::try_from(missing).unwrap_or(usize::MAX))
    }

    fn header_byte(&mut self, byte: u8, knobs: &Knobs) -> Option<Seen> {
        self.header.push(byte);
        let faults = self.header_faults(knobs);
        if !faults.is_empty() {
            return Some(Seen::Fault(faults, None));
        }
        let first = self.header[0];
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        self.progress |= opcode < 8;
        let code = self.header.get(1)? & 0x7f;
        let extra = match code {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let end = 2 + extra + if self.masked { 4 } else { 0 };
        if self.header.len() < end {
            return None;
        }
        let length = match extra {
            0 => code.into(),
            _ => number(&self.header[2..2 + extra]),
        };
        let key = match self.header[2 + extra..].first_chunk() {
            Some(key) if self.masked => *key,
            _ => [0; 4],
        };
        if self.too_many_fragments(knobs) {
            let fault = ProtocolError::TooManyFragments(knobs.max_fragments);
            return Some(Seen::Fault(vec![fault], None));
        }
        self.header.clear();
        self.frame = Some(Frame { fin, opcode, key, length, read: 0 });
        if opcode < 8 {
            let message = self.message.get_or_insert_with(|| Message {
                text: opcode == 1,
                compressed: first & 0x40 != 0,
                pieces: knobs.pieces.include(fin, length).then_some(None),
                frames: 0,
                announced: 0,
                bytes: Vec::new(),
                utf8: Utf8::new(),
            });
            message.frames += 1;
            message.announced += length;
        }
        if length == 0 { self.payload(&[], knobs) } else { None }
    }

    /// What the last byte of the header shows to be wrong.
    fn header_faults(&self, knobs: &Knobs) -> Vec<ProtocolError> {
        let first = self.header[0];
        let number_of = first & 0x0f;
        let opcode = Opcode::from_u8(number_of);
        let (control, rsv1) = (number_of >= 8, first & 0x40 != 0);
        let mut faults = Vec::new();
        if self.header.len() == 1 {
            match opcode {
                None => faults.push(HeaderError::ReservedOpcode(number_of)),
                Some(opcode) if control && first & 0x80 == 0 => {
                    faults.push(HeaderError::FragmentedControl(opcode));
                }
                _ => {}
            }
            if rsv1 && (self.inflate.is_none() || control || number_of == 0) {
                faults.push(HeaderError::ReservedBit(ReservedBit::Rsv1));
            }
            if first & 0x20 != 0 {
                faults.push(HeaderError::ReservedBit(ReservedBit::Rsv2));
            }
            if first & 0x10 != 0 {
                faults.push(HeaderError::ReservedBit(ReservedBit::Rsv3));
            }
            match (number_of, &self.message) {
                (0, None) => faults.push(HeaderError::UnexpectedContinuation),
                (1 | 2, Some(_)) => faults.push(HeaderError::ExpectedContinuation),
                _ => {}
            }
            return faults.into_iter().map(ProtocolError::Header).collect();
        }
        let second = self.header[1];
        let code = second & 0x7f;
        let mut faults: Vec<ProtocolError> = Vec::new();
        if self.header.len() == 2 {
            if let Some(opcode) = opcode.filter(|_| control && code > 125) {
                faults.push(ProtocolError::Header(HeaderError::ControlTooLong(opcode)));
            }
            match (self.masked, second & 0x80 != 0) {
                (true, false) => faults.push(ProtocolError::Header(HeaderError::Unmasked)),
                (false, true) => faults.push(ProtocolError::Header(HeaderError::Masked)),
                _ => {}
            }
            if number_of == 8 && code == 1 {
                faults.push(ProtocolError::Header(HeaderError::CloseTooShort));
            }
        }
        if !control && self.header.len() <= 2 + size_of_length(code).0 {
            faults.extend(self.length_faults(knobs));
        }
        faults
    }

    /// What the length of the next data frame shows to be wrong, as far as it has come.
    fn length_faults(&self, knobs: &Knobs) -> Vec<ProtocolError> {
        let (first, code) = match self.header[..] {
            [first, second, ..] => (first, second & 0x7f),
            _ => return Vec::new(),
        };
        let mut faults = Vec::new();
        let (size, least) = size_of_length(code);
        // What has come of the length leaves a range.
        let come = &self.header[2..self.header.len().min(2 + size)];
        let (lowest, highest) = match size {
            0 => (code.into(), code.into()),
            _ => {
                let missing = size - come.len();
                let lowest = (0..missing).fold(number(come), |sum, _| sum << 8);
                (lowest, (0..missing).fold(lowest, |sum, at| sum | 0xff << (8 * at)))
            }
        };
        let most = self.most_announced(first & 0x40 != 0, knobs);
        if lowest.max(least) > most {
            faults.push(ProtocolError::MessageTooBig(knobs.max_message));
        }
        if lowest >> 63 != 0 {
            faults.push(ProtocolError::Header(HeaderError::LengthTopBit));
        }
        if highest < least {
            faults.push(ProtocolError::Header(HeaderError::NonMinimalLength));
        }
        faults
    }

    /// The longest payload that the next data frame may announce.
    fn most_announced(&self, rsv1: bool, knobs: &Knobs) -> u64 {
        let (compressed, announced) = match &self.message {
            Some(message) => (message.compressed, message.announced),
            None => (rsv1, 0),
        };
        let most = knobs.max_message as u64;
        let most = if compressed { 2 * most + 1024 } else { most };
        most.saturating_sub(announced)
    }

    fn too_many_fragments(&self, knobs: &Knobs) -> bool {
        let continues = self.header.first().is_some_and(|first| first & 0x0f == 0);
        let frames = self.message.as_ref().map_or(0, |message| message.frames);
        continues && frames >= knobs.max_fragments
    }

    fn payload(&mut self, piece: &[u8], knobs: &Knobs) -> Option<Seen> {
        let frame = self.frame.as_mut()?;
        let at = frame.read;
        let plain = piece.iter().zip(at..).map(|(byte, at)| byte ^ frame.key[(at % 4) as usize]);
        frame.read += piece.len() as u64;
        let (ended, fin, opcode) = (frame.read == frame.length, frame.fin, frame.opcode);
        if opcode >= 8 {
            self.control.extend(plain);
        } else {
            self.progress = true;
            let message = self.message.as_mut()?;
            for byte in plain {
                message.bytes.push(byte);
                if message.text && !message.compressed && !message.utf8.push(byte) {
                    return Some(Seen::Fault(vec![ProtocolError::InvalidUtf8], None));
                }
            }
        }
        if !ended {
            return None;
        }
        self.frame = None;
        match opcode {
            0..=7 if !fin => None,
            0..=7 => Some(self.end_message(knobs)),
            9 => Some(Seen::Ping(std::mem::take(&mut self.control))),
            10 => Some(Seen::Pong(std::mem::take(&mut self.control))),
            _ => Some(close(&std::mem::take(&mut self.control))),
        }
    }

    fn end_message(&mut self, knobs: &Knobs) -> Seen {
        let Some(message) = self.message.take() else { unreachable!("a message has begun") };
        let Message { text, pieces, .. } = message;
        if !message.compressed {
            if text && !message.utf8.may_end() {
                return Seen::Fault(vec![ProtocolError::InvalidUtf8], None);
            }
            let (payload, compressed, or) = (message.bytes, None, Vec::new());
            return Seen::Message { text, payload, compressed, pieces, or };
        }
        let Some(inflate) = &mut self.inflate else { unreachable!("RSV1 was allowed") };
        let inflated = inflate.message(&message.bytes, knobs.max_message);
        let mut faults = faults_of_text(text, &inflated.text, knobs);
        // The first fault in the text counts, and this one comes behind it.
        if faults.is_empty() {
            if inflated.corrupt {
                faults.push(ProtocolError::CorruptDeflate);
            } else if text && !is_utf8(&inflated.text) {
                faults.push(ProtocolError::InvalidUtf8);
            }
        }
        let good = faults.is_empty();
        if inflated.doubtful {
            faults.push(ProtocolError::CorruptDeflate);
        }
        if inflated.many_finals {
            faults.push(ProtocolError::TooManyFinalBlocks);
        }
        if !good {
            return Seen::Fault(faults, Some(Good { text, front: inflated.text, pieces }));
        }
        inflate.keep(&inflated.text);
        let compressed = Some(message.bytes.len());
        Seen::Message { text, payload: inflated.text, compressed, pieces, or: faults }
    }

    /// What may be found wrong already with what has come, although it need not before more has come.
    pub(crate) fn early_faults(&self, knobs: &Knobs) -> Vec<ProtocolError> {
        let mut faults = Vec::new();
        if self.too_many_fragments(knobs) {
            faults.push(ProtocolError::TooManyFragments(knobs.max_fragments));
        }
        // The settings may have changed since the length came.
        if self.header.first().is_some_and(|first| first & 0x08 == 0) {
            faults.extend(self.length_faults(knobs));
        }
        if let (Some(message), Some(inflate)) = (&self.message, &self.inflate)
            && message.compressed
        {
            let inflated = inflate.prefix(&message.bytes, knobs.max_message);
            faults.extend(faults_of_text(message.text, &inflated.text, knobs));
            if inflated.corrupt || inflated.doubtful {
                faults.push(ProtocolError::CorruptDeflate);
            }
            if inflated.many_finals {
                faults.push(ProtocolError::TooManyFinalBlocks);
            }
        }
        faults
    }
}

/// Pieces.
impl Reader {
    /// Takes note that a piece of the message under way was delivered: what is wrong with that.
    pub(crate) fn deliver(
        &mut self,
        piece: &[u8],
        text: bool,
        first: bool,
        knobs: &Knobs,
    ) -> Result<(), String> {
        let Some(message) = self.message.as_mut() else {
            return Err("no message is under way".into());
        };
        let inflated;
        let come = match &self.inflate {
            Some(inflate) if message.compressed => {
                inflated = inflate.prefix(&message.bytes, knobs.max_message).text;
                &inflated
            }
            _ => &message.bytes,
        };
        let pieces = message.pieces.as_mut();
        deliver(pieces, come, piece, (message.text, text), first)
    }

    /// Whether all that came of a message was delivered, as far as that is promised.
    pub(crate) fn is_delivered(&self) -> bool {
        let Some(message) = &self.message else { return true };
        let Some(pieces) = message.pieces.filter(|_| !message.compressed) else { return true };
        pieces.unwrap_or(0) == message.bytes.len()
    }
}

/// Takes note of a piece: whether it is what comes next of `come`, and wanted.
pub(crate) fn deliver(
    pieces: Option<&mut Delivered>,
    come: &[u8],
    piece: &[u8],
    kinds: (bool, bool),
    first: bool,
) -> Result<(), String> {
    let Some(delivered) = pieces.filter(|_| !piece.is_empty()) else {
        return Err("a piece that is not wanted".into());
    };
    if kinds.0 != kinds.1 || delivered.is_none() != first {
        return Err(format!("text and not {kinds:?}, first {first}"));
    }
    let from = delivered.unwrap_or(0);
    if !come[from.min(come.len())..].starts_with(piece) {
        return Err("a piece that is not what came".into());
    }
    *delivered = Some(from + piece.len());
    Ok(())
}

/// What is wrong with the front of a text that was inflated: the first fault in it.
fn faults_of_text(text: bool, inflated: &[u8], knobs: &Knobs) -> Vec<ProtocolError> {
    let front = &inflated[..inflated.len().min(knobs.max_message)];
    if text && !Utf8::new().push_all(front) {
        return vec![ProtocolError::InvalidUtf8];
    }
    if inflated.len() > knobs.max_message {
        return vec![ProtocolError::MessageTooBig(knobs.max_message)];
    }
    Vec::new()
}

fn close(payload: &[u8]) -> Seen {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Seen::Close(None);
    };
    let code = u16::from_be_bytes(*code);
    let mut faults = Vec::new();
    if !may_be_sent(code) {
        faults.push(ProtocolError::Close(CloseFrameError::InvalidCode(CloseCode(code))));
    }
    if !is_utf8(reason) {
        faults.push(ProtocolError::Close(CloseFrameError::InvalidUtf8));
    }
    if !faults.is_empty() {
        return Seen::Fault(faults, None);
    }
    Seen::Close(Some((code, String::from_utf8_lossy(reason).into_owned())))
}

/// Whether a code may stand in a Close (RFC 6455 section 7.4 and the registry of IANA).
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// How many bytes of length follow the second byte of a header, and which length they have at least.
fn size_of_length(code: u8) -> (usize, u64) {
    match code {
        126 => (2, 126),
        127 => (8, 0x1_0000),
        _ => (0, 0),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}
