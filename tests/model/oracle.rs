//! What a connection must do, by the RFCs and by its documentation. Nothing here asks the connection.

use std::collections::VecDeque;

use framewire::wire::CloseFrameError;
use framewire::{
    CloseCode, CloseFrame, Compress, HandshakeError, Initiator, Outcome, ProtocolError, SendError,
    State, TimeoutKind,
};

use super::clock::{Clock, Ping, Waiting};
use super::engine::Draws;
use super::frames::Written;
use super::handshakes::{self, AnswerKind};
use super::http::{Agreed, Head, Parameters, accept_of, agree, agree_as_client, base64};
use super::inflate::Inflate;
use super::reader::{CloseBody, Reader, Seen, may_be_sent};
use super::settings::{DeflateKnobs, Knobs, SPOKEN};
use super::utf8::Utf8;

/// A connection as the model has it.
pub(crate) struct Oracle {
    pub(crate) client: bool,
    pub(crate) knobs: Knobs,
    pub(crate) stage: Stage,
    pub(crate) clock: Clock,
    pub(crate) reader: Reader,
    /// The end of a compressed message that came and was not told of: it is to be inflated first.
    pub(crate) unsaid: Option<Seen>,
    /// A compressed message was under way when nothing more was received.
    pub(crate) breaks_off: bool,
    /// Something was compressed that nobody saw.
    pub(crate) clears_deflated: bool,
    pub(crate) agreed: Option<Agreed>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) paused: bool,
    pub(crate) held_pong: Option<Vec<u8>>,
    /// The subprotocols that a client asks for.
    asked: &'static [&'static str],
    /// From which length on messages are compressed.
    threshold: usize,
    /// Reads what this connection compresses.
    inflate: Option<Inflate>,
    unfinished: Option<Unfinished>,
    /// What was sent of a compressed message in parts: as it is, and on the wire.
    parts: Option<(Vec<u8>, Vec<u8>)>,
    /// Messages, or parts of them, that wait for the codec or for others that do.
    waiting: VecDeque<Waits>,
    /// The Close behind them, and its key.
    waiting_close: Option<(Vec<u8>, Option<[u8; 4]>)>,
    /// How long the connection says that they are.
    waiting_bytes: usize,
    /// The output that has not left.
    pub(crate) pending: VecDeque<u8>,
    pub(crate) left: u64,
    /// How much was queued, once the connection is closed.
    queued_at_end: Option<u64>,
    /// What the call under way must have queued.
    out: Vec<Expected>,
    /// How long that is, where it is known.
    out_length: usize,
    /// The codec may do nothing in the calls that come.
    pub(crate) out_of_budget: bool,
    draws: Draws,
    pub(crate) counts: Counts,
}

/// Where the connection stands.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Connecting(Opening),
    Open,
    Closing(Closing),
    Closed(End),
}

#[derive(Clone, Debug)]
pub(crate) enum Opening {
    /// Server: so many bytes of the request are missing.
    Reading {
        request: handshakes::Request,
        missing: usize,
    },
    Deciding {
        request: handshakes::Request,
    },
    Answering,
    /// Server: somebody else answered the request; whether the application was told.
    Upgraded {
        told: bool,
        agreed: Option<Agreed>,
        subprotocol: Option<String>,
    },
    /// Client: so many bytes of the answer have come, of those that are enough; none are for a body that
    /// ends with the transport.
    Waiting {
        answer: handshakes::Answer,
        come: usize,
        enough: Option<usize>,
        offered: Option<DeflateKnobs>,
        most_body: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) by_peer: bool,
    pub(crate) sent: Option<CloseBody>,
    pub(crate) received: Option<CloseBody>,
    pub(crate) verdict: Option<End>,
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Clean { sent: CloseBody, received: CloseBody, by_peer: bool },
    Failed(ProtocolError),
    HandshakeFailed(HandshakeError),
    Rejected { status: u16, body: Vec<u8> },
    Lost { sent: Option<CloseBody>, received: Option<CloseBody> },
    TimedOut { kind: TimeoutKind, sent: Option<CloseBody>, received: Option<CloseBody> },
}

/// A message of which pieces were sent.
struct Unfinished {
    text: bool,
    utf8: Utf8,
    compressed: bool,
}

/// What waits for the codec.
struct Waits {
    first: u8,
    payload: Vec<u8>,
    as_is: Form,
    /// It ends a message, which is text or not.
    ends: Option<bool>,
}

/// What must stand in the output.
enum Expected {
    Request,
    Switching { agreed: Option<Agreed>, offers: Vec<Parameters>, subprotocol: Option<String> },
    Answer { status: u16, body: Option<Vec<u8>> },
    Frame { first: u8, payload: Vec<u8>, key: Option<[u8; 4]>, as_is: Form },
}

/// What becomes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Compressed,
    /// It is a part of a compressed message, the last one or not.
    Part {
        last: bool,
    },
}

/// What a workspace counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) texts: u64,
    pub(crate) binaries: u64,
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    pub(crate) inflated: (u64, u64),
    pub(crate) deflated: (u64, u64),
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Borrowed,
    Owned,
    Always,
    Never,
    Prepared,
}

impl Oracle {
    pub(crate) fn new(client: bool, knobs: Knobs, stage: Stage) -> Self {
        let mut oracle = Self {
            client,
            knobs,
            stage: Stage::Closed(End::Lost { sent: None, received: None }),
            clock: Clock::default(),
            reader: Reader::new(!client, None),
            unsaid: None,
            breaks_off: false,
            clears_deflated: false,
            agreed: None,
            subprotocol: None,
            paused: false,
            held_pong: None,
            asked: &[],
            threshold: 0,
            inflate: None,
            unfinished: None,
            parts: None,
            waiting: VecDeque::new(),
            waiting_close: None,
            waiting_bytes: 0,
            pending: VecDeque::new(),
            left: 0,
            queued_at_end: None,
            out: Vec::new(),
            out_length: 0,
            out_of_budget: false,
            draws: Draws::new(),
            counts: Counts::default(),
        };
        if let Stage::Connecting(Opening::Waiting { answer, .. }) = &stage {
            oracle.asked = answer.asked;
            oracle.push(Expected::Request);
        }
        oracle.enter(stage);
        oracle
    }

    /// Takes what the call drew that is judged next.
    pub(crate) fn drew(&mut self, draws: Draws) {
        assert!(self.draws.is_empty(), "a draw for nothing: {:?}", self.draws);
        self.draws.extend(draws);
    }

    pub(crate) fn state(&self) -> State {
        match self.stage {
            Stage::Connecting(_) => State::Connecting,
            Stage::Open => State::Open,
            Stage::Closing(_) => State::Closing,
            Stage::Closed(_) => State::Closed,
        }
    }

    /// What waits, the output and what is to get there.
    pub(crate) fn buffered(&self) -> usize {
        self.output_length() + self.waiting_bytes
    }

    pub(crate) fn output_length(&self) -> usize {
        self.pending.len() + self.out_length
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queued_at_end.unwrap_or_else(|| self.left + self.output_length() as u64)
    }

    /// Whether something waits for the codec.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the connection's word for how much waits, which is about as long as it will be.
    pub(crate) fn set_waiting_bytes(&mut self, bytes: usize) -> Result<(), String> {
        let plain: usize = self.waiting.iter().map(|waits| waits.payload.len()).sum();
        let close = self.waiting_close.as_ref().map_or(0, |close| close.0.len());
        let least = plain + close;
        let most = least + 14 * (self.waiting.len() + usize::from(self.waiting_close.is_some()));
        self.waiting_bytes = bytes;
        if (least..=most).contains(&bytes) {
            return Ok(());
        }
        Err(format!("{bytes} bytes wait, and not {least} to {most}"))
    }

    fn is_output_high(&self) -> bool {
        self.output_length() >= self.knobs.high_water.max(1)
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.buffered() >= self.knobs.high_water.max(1)
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.buffered() <= self.knobs.low_water.min(self.knobs.high_water)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffered() > self.knobs.max_buffered
    }

    pub(crate) fn is_inside(&self) -> bool {
        let inside = self.reader.is_inside() || self.unsaid.is_some();
        matches!(self.stage, Stage::Open | Stage::Closing(_)) && inside
    }

    pub(crate) fn awaits_decision(&self) -> bool {
        matches!(
            self.stage,
            Stage::Connecting(Opening::Deciding { .. } | Opening::Upgraded { told: true, .. })
        )
    }

    pub(crate) fn has_request(&self) -> bool {
        self.awaits_decision() || matches!(self.stage, Stage::Connecting(Opening::Answering))
    }

    pub(crate) fn wants_shutdown(&self) -> bool {
        let Stage::Closing(closing) = &self.stage else { return false };
        let finished = closing.verdict.is_some() || (!self.client && closing.received.is_some());
        finished && self.buffered() == 0
    }

    /// Whether what comes from the peer means nothing any more.
    pub(crate) fn is_deaf(&self) -> bool {
        match &self.stage {
            Stage::Closing(closing) => closing.received.is_some() || closing.verdict.is_some(),
            Stage::Closed(_) => true,
            _ => false,
        }
    }

    fn waiting(&self) -> Waiting {
        match &self.stage {
            Stage::Connecting(_) if self.awaits_decision() => Waiting::Decision,
            Stage::Connecting(_) => Waiting::Handshake,
            Stage::Open => Waiting::Open,
            Stage::Closing(_) if self.is_waiting() => Waiting::Codec,
            Stage::Closing(_) => Waiting::End,
            Stage::Closed(_) => Waiting::Closed,
        }
    }

    fn enter(&mut self, stage: Stage) {
        let is_open = matches!(stage, Stage::Open);
        self.stage = stage;
        self.clock.enter(is_open, &self.knobs.limits);
    }

    /// Ends the conversation: what is queued goes out, nothing more is received.
    fn finish(&mut self, verdict: End) {
        self.breaks_off |= self.unsaid.is_some() || self.reader.inflates();
        self.forget_waiting();
        self.reader = Reader::new(!self.client, None);
        self.unsaid = None;
        let (sent, received, verdict) = (None, None, Some(verdict));
        self.enter(Stage::Closing(Closing { by_peer: false, sent, received, verdict }));
    }
}

/// What waits for the codec.
impl Oracle {
    fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_close = None;
        self.waiting_bytes = 0;
    }

    /// Compresses what waits, until the output is high. How long each frame becomes, the connection knows.
    fn compress_waiting(&mut self, frames: &mut VecDeque<usize>) {
        if !self.is_waiting() || self.is_output_high() {
            return;
        }
        let mut length = self.output_length();
        while length < self.knobs.high_water.max(1) {
            let Some(Waits { first, payload, as_is, ends }) = self.waiting.pop_front() else {
                if let Some((payload, key)) = self.waiting_close.take() {
                    self.push_control(0x88, &payload, key);
                }
                break;
            };
            let Ok(key) = self.key() else {
                self.finish(End::Lost { sent: None, received: None });
                return;
            };
            self.push(Expected::Frame { first, payload, key, as_is });
            if let Some(text) = ends {
                self.count(text);
            }
            // Of a connection that has ended meanwhile, nobody knows.
            length += frames.pop_front().unwrap_or(1);
            self.out_length = length - self.pending.len();
        }
        if self.waiting.is_empty()
            && let Some((payload, key)) = self.waiting_close.take()
        {
            self.push_control(0x88, &payload, key);
        }
    }

    /// What follows when the connection has told how much waits still.
    pub(crate) fn release_pong(&mut self) {
        if !self.is_congested()
            && matches!(self.stage, Stage::Open)
            && let Some(payload) = self.held_pong.take()
        {
            self.pong_or_lose(&payload);
        }
    }
}

/// Output.
impl Oracle {
    fn push(&mut self, expected: Expected) {
        if self.output_length() == 0 {
            self.clock.output_since = Some(self.clock.now);
        }
        self.out_length += match &expected {
            Expected::Frame { payload, key, as_is: Form::Plain, .. } => {
                let length = payload.len();
                let extra = if length < 126 {
                    0
                } else if length < 0x1_0000 {
                    2
                } else {
                    8
                };
                2 + extra + key.map_or(0, |key| key.len()) + length
            }
            // As good as any: no position in it is asked for before it is known.
            _ => 1,
        };
        self.out.push(expected);
    }

    /// A masking key, if this end masks; `Err` if there is none to be had.
    fn key(&mut self) -> Result<Option<[u8; 4]>, ()> {
        if !self.client {
            return Ok(None);
        }
        let draw = self.draws.pop_front().expect("each frame of a client needs a draw");
        draw.ok_or(()).map(|key| Some(key.try_into().expect("a key has four bytes")))
    }

    fn push_control(&mut self, first: u8, payload: &[u8], key: Option<[u8; 4]>) {
        match first {
            0x89 => self.counts.pings += 1,
            0x8a => self.counts.pongs += 1,
            _ => {}
        }
        self.push(Expected::Frame { first, payload: payload.to_vec(), key, as_is: Form::Plain });
    }

    /// Queues a Close, and the Pong that is owed before it.
    fn push_close(&mut self, close: &CloseBody) -> Result<(), ()> {
        let pong_key = if self.held_pong.is_some() { self.key()? } else { None };
        let key = self.key()?;
        if let Some(pong) = self.held_pong.take() {
            self.push_control(0x8a, &pong, pong_key);
        }
        self.unfinished = None;
        let payload = close.as_ref().map_or_else(Vec::new, |(code, reason)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        });
        if self.is_waiting() {
            self.waiting_close = Some((payload, key));
        } else {
            self.push_control(0x88, &payload, key);
        }
        Ok(())
    }

    /// Checks what the call has queued: `tail` is what the output has more than before.
    pub(crate) fn check_output(&mut self, tail: &[u8]) -> Result<(), String> {
        let mut rest = tail;
        for expected in std::mem::take(&mut self.out) {
            self.check_one(expected, &mut rest)?;
        }
        if !self.draws.is_empty() {
            return Err(format!("a draw for nothing: {:?}", self.draws));
        }
        if !rest.is_empty() {
            let shown = &rest[..rest.len().min(40)];
            return Err(format!("{} bytes for nothing: {shown:02x?}", rest.len()));
        }
        self.out_length = 0;
        self.pending.extend(tail);
        Ok(())
    }

    fn check_one(&mut self, expected: Expected, rest: &mut &[u8]) -> Result<(), String> {
        match expected {
            Expected::Frame { first, payload, key, as_is } => {
                let written = Written::read(rest)?;
                if (written.first, written.key) != (first, key) {
                    return Err(format!(
                        "a frame with {:02x} and the key {:?}, not {first:02x} and {key:?}",
                        written.first, written.key
                    ));
                }
                if as_is == Form::Plain {
                    return same(&written.payload, &payload);
                }
                self.counts.deflated.0 += payload.len() as u64;
                self.counts.deflated.1 += written.payload.len() as u64;
                if first & 0x40 != 0 && as_is != Form::Compressed {
                    self.parts = Some((Vec::new(), Vec::new()));
                }
                self.check_compressed(payload, written.payload, as_is)
            }
            Expected::Answer { status, body } => {
                let head = Head::read(rest)?;
                if !head.start.starts_with(&format!("HTTP/1.1 {status} ")) {
                    return Err(format!("{} and not {status}", head.start));
                }
                let length = head.get("content-length").map_or(Ok(0), |length| length.parse());
                let length: usize = length.map_err(|_| "no length")?;
                let written = rest.split_off(..length).ok_or("the body is cut short")?;
                body.map_or(Ok(()), |body| same(written, &body))
            }
            Expected::Switching { agreed, offers, subprotocol } => {
                let head = Head::read(rest)?;
                let field = |name| head.get(name).unwrap_or_default();
                let right = head.start.starts_with("HTTP/1.1 101 ")
                    && field("upgrade").eq_ignore_ascii_case("websocket")
                    && field("connection").eq_ignore_ascii_case("upgrade")
                    && field("sec-websocket-accept") == accept_of(handshakes::KEY)
                    && head.get("sec-websocket-protocol") == subprotocol
                    && head.get("content-length").is_none();
                if !right {
                    return Err(format!("{head:?}"));
                }
                check_agreement(head.get("sec-websocket-extensions"), agreed, &offers)
            }
            Expected::Request => {
                let head = Head::read(rest)?;
                let nonce = self.draws.pop_front().flatten().unwrap_or_default();
                let field = |name| head.get(name).unwrap_or_default();
                let right = head.start == format!("GET {} HTTP/1.1", handshakes::PATH)
                    && field("host") == "example.com"
                    && field("upgrade").eq_ignore_ascii_case("websocket")
                    && field("connection").eq_ignore_ascii_case("upgrade")
                    && field("sec-websocket-version") == "13"
                    && field("sec-websocket-key") == base64(&nonce)
                    && field("sec-websocket-protocol") == self.asked.join(", ");
                if !right || nonce.len() != 16 {
                    return Err(format!("{head:?} for the nonce {nonce:?}"));
                }
                let limited = |bits: u8| Some(bits).filter(|&bits| bits < 15);
                let expected = self.knobs.deflation(true).map(|knobs| Parameters {
                    server_forgets: knobs.server_forgets,
                    client_forgets: knobs.client_forgets,
                    server_bits: limited(knobs.server_bits),
                    client_bits: limited(knobs.client_bits).or(Some(0)),
                    unknown: false,
                });
                let offer = head.get("sec-websocket-extensions");
                let offer = offer.map(|offer| Parameters::read(&offer)).transpose()?;
                if offer != expected {
                    return Err(format!("offered {offer:?} and not {expected:?}"));
                }
                Ok(())
            }
        }
    }

    /// Checks a compressed message, or the part of one that ends here.
    fn check_compressed(
        &mut self,
        payload: Vec<u8>,
        written: Vec<u8>,
        form: Form,
    ) -> Result<(), String> {
        let inflate = self.inflate.as_mut().ok_or("compressed without an agreement")?;
        let (payload, written) = match &mut self.parts {
            Some((text, wire)) => {
                text.extend(payload);
                wire.extend(written);
                (&*text, &*wire)
            }
            None => (&payload, &written),
        };
        let inflated = match form {
            Form::Part { last: false } => inflate.prefix(written, payload.len()),
            _ => inflate.message(written, payload.len()),
        };
        if inflated.corrupt || inflated.doubtful || inflated.many_finals {
            return Err(format!("badly compressed: {inflated:?}"));
        }
        if form == (Form::Part { last: false }) {
            // What is in the compressor still comes with the next part.
            let front = payload.get(..inflated.text.len()).ok_or("more than was sent")?;
            return same(&inflated.text, front);
        }
        same(&inflated.text, payload)?;
        inflate.keep(payload);
        self.parts = None;
        Ok(())
    }

    /// Takes note that so many bytes were written.
    pub(crate) fn consume(&mut self, count: usize) {
        let buffered = self.pending.len();
        let count = count.min(buffered);
        self.pending.drain(..count);
        self.left += count as u64;
        let now = self.clock.now;
        if count > 0 {
            self.clock.output_since = Some(now).filter(|_| !self.pending.is_empty());
            if let Some(ping) = self.clock.ping.as_mut().filter(|ping| ping.end <= self.left) {
                ping.left.get_or_insert(now);
                ping.alive = now;
            }
            if !matches!(self.stage, Stage::Open) {
                // What is waited for can only come after the last byte.
                self.clock.entered = now;
                self.refresh();
            }
        }
        self.note_reading();
        if buffered > 0
            && !self.is_congested()
            && matches!(self.stage, Stage::Open)
            && let Some(payload) = self.held_pong.take()
        {
            self.pong_or_lose(&payload);
        }
    }

    /// Takes the connection's word for how much was queued when it ended, since what waited for the codec got
    /// into the output before.
    pub(crate) fn ended_while_waiting(&mut self, queued: u64) {
        self.draws.clear();
        self.queued_at_end = Some(queued);
        self.clears_deflated = true;
    }

    /// Whether the peer is read changes with the output, and with pauses.
    pub(crate) fn note_reading(&mut self) {
        let reads = !self.paused && !self.is_congested();
        let stopped = self.clock.stopped.is_some();
        self.clock.reads(reads || !matches!(self.stage, Stage::Open));
        if stopped && self.clock.stopped.is_none() {
            self.refresh();
        }
    }

    /// Answers a Ping; a connection that cannot is lost.
    fn pong_or_lose(&mut self, payload: &[u8]) {
        match self.key() {
            Ok(key) => self.push_control(0x8a, payload, key),
            Err(()) => self.finish(End::Lost { sent: None, received: None }),
        }
    }
}

/// What the peer says on an open connection.
impl Oracle {
    /// A byte of the peer has come.
    pub(crate) fn heard(&mut self) {
        (self.clock.received, self.clock.silent) = (self.clock.now, false);
    }

    /// The clocks of messages, after some bytes of frames, and at the end of a message or not.
    pub(crate) fn note_message(&mut self, ended: bool) {
        let progress = self.reader.take_progress();
        let begun = self.reader.message_has_begun() || self.unsaid.is_some();
        self.clock.any_message |= ended;
        let now = self.clock.now;
        if let Some(messages) =
            self.clock.messages.as_mut().filter(|_| matches!(self.stage, Stage::Open))
        {
            if progress || ended {
                messages.last = now;
            }
            messages.begun = match messages.begun {
                Some(since) if begun && !ended => Some(since),
                _ => begun.then_some(now),
            };
        }
    }

    pub(crate) fn pinged(&mut self, payload: &[u8]) {
        if self.knobs.auto_pong && matches!(self.stage, Stage::Open) {
            if self.is_congested() {
                self.held_pong = Some(payload.to_vec());
            } else {
                self.pong_or_lose(payload);
            }
        }
    }

    pub(crate) fn ponged(&mut self, payload: &[u8]) {
        if payload == self.clock.pings.to_be_bytes()
            && let Some(Ping { left: Some(left), .. }) = self.clock.ping.take_if(|_| true)
        {
            self.clock.round_trip = Some((self.clock.now - left).max(1));
        }
    }

    pub(crate) fn closed_by_peer(&mut self, close: CloseBody) {
        if let Stage::Closing(closing) = &mut self.stage {
            closing.received = Some(close);
            return;
        }
        let sent = self.push_close(&close).is_ok().then(|| close.clone());
        let (received, verdict) = (Some(close), None);
        self.enter(Stage::Closing(Closing { by_peer: true, sent, received, verdict }));
    }

    /// The peer broke the protocol.
    pub(crate) fn fail(&mut self, error: ProtocolError) {
        if matches!(self.stage, Stage::Open) {
            self.forget_waiting();
            let reason = error.to_string();
            let reason = if reason.len() <= 123 { reason } else { String::new() };
            // Without entropy there is no Close.
            let _ = self.push_close(&Some((code_of(error), reason)));
        }
        self.finish(End::Failed(error));
    }
}

/// The opening handshake.
impl Oracle {
    fn open(
        &mut self,
        agreed: Option<Agreed>,
        knobs: Option<DeflateKnobs>,
        subprotocol: Option<String>,
    ) {
        self.threshold = knobs.map_or(1024, |knobs| knobs.threshold);
        self.agreed = agreed;
        self.subprotocol = subprotocol;
        let by_server = agreed.map(|it| Inflate::new(it.server_bits, !it.server_forgets));
        let by_client = agreed.map(|it| Inflate::new(it.client_bits, !it.client_forgets));
        let (mine, peers) =
            if self.client { (by_client, by_server) } else { (by_server, by_client) };
        self.inflate = mine;
        self.reader = Reader::new(!self.client, peers);
        self.enter(Stage::Open);
    }

    /// Client: the whole answer of the peer has come. An event must come of it, or not.
    pub(crate) fn answered(&mut self) -> Answered {
        let Stage::Connecting(Opening::Waiting { answer, offered, most_body, .. }) = &self.stage
        else {
            unreachable!("a client waits for an answer");
        };
        let (answer, offered, most_body) = (answer.clone(), *offered, *most_body);
        match answer.kind {
            AnswerKind::Broken(_) => return Answered::Failed,
            AnswerKind::Reject { status, length, .. } => {
                let mut body = handshakes::Answer::body(length);
                body.truncate(most_body);
                self.finish(End::Rejected { status, body });
                return Answered::Rejected;
            }
            AnswerKind::Accept => {}
        }
        let agreed = match (&answer.deflate, &offered) {
            _ if !answer.fits_subprotocols() => return Answered::Failed,
            (None, _) => None,
            (Some(_), None) => return Answered::Failed,
            (Some(parameters), Some(knobs)) => match agree_as_client(parameters, knobs) {
                None => return Answered::Failed,
                agreed => agreed,
            },
        };
        self.open(agreed, offered, answer.subprotocol.map(str::to_owned));
        Answered::Opened
    }

    /// The handshake has failed with what the connection says is wrong.
    pub(crate) fn handshake_failed(&mut self, error: HandshakeError) {
        if !self.client {
            let HandshakeError::Request(error) = &error else { panic!("{error:?} at a server") };
            self.answer_with(error.status(), None);
        }
        self.finish(End::HandshakeFailed(error));
    }

    /// Answers by HTTP, or by a Close where somebody else has sent the 101.
    fn answer_with(&mut self, status: u16, body: Option<Vec<u8>>) {
        if !matches!(self.stage, Stage::Connecting(Opening::Upgraded { .. })) {
            self.push(Expected::Answer { status, body });
            return;
        }
        let code = match status {
            503 => 1013,
            500..=599 => 1011,
            _ => 1008,
        };
        let reason = match status {
            200 => "200 OK",
            403 => "403 Forbidden",
            404 => "404 Not Found",
            500 => "500 Internal Server Error",
            503 => "503 Service Unavailable",
            _ => unreachable!("no script says {status}"),
        };
        self.push_close(&Some((code, reason.to_owned()))).expect("a server needs no key");
    }

    /// The application answers a request.
    pub(crate) fn respond(&mut self, status: u16, body: &[u8]) -> Result<(), Vec<SendError>> {
        if !self.has_request() {
            return Err(vec![SendError::NothingToAnswer]);
        }
        self.answer_with(status, Some(body.to_vec()));
        self.finish(End::Rejected { status, body: body.to_vec() });
        Ok(())
    }

    /// Nobody answered a plain request before the next bytes were to be read.
    pub(crate) fn unanswered(&mut self) {
        self.push(Expected::Answer { status: 426, body: None });
        self.finish(End::Rejected { status: 426, body: Vec::new() });
    }

    /// The application says something else to a request at fault.
    pub(crate) fn answer_instead(
        &mut self,
        status: u16,
        body: &[u8],
    ) -> Result<(), Vec<SendError>> {
        let failed = matches!(
            &self.stage,
            Stage::Closing(Closing { verdict: Some(End::HandshakeFailed(_)), .. })
        );
        let front: Vec<u8> = self.pending.iter().take(5).copied().collect();
        if !failed || self.left > 0 || front != b"HTTP/" {
            return Err(vec![SendError::NothingToAnswer]);
        }
        self.pending.clear();
        let since = self.clock.output_since;
        self.push(Expected::Answer { status, body: Some(body.to_vec()) });
        self.clock.output_since = since;
        Ok(())
    }

    /// The application accepts the request.
    pub(crate) fn accept(&mut self, choice: &Choice) -> Result<(), Vec<SendError>> {
        let knobs = choice.knobs.as_ref().unwrap_or(&self.knobs).clone();
        let deflation = knobs.deflation(false);
        match &self.stage {
            Stage::Connecting(Opening::Deciding { request }) => {
                let offered = |name: &str| request.subprotocols.contains(&name);
                let subprotocol = match choice.subprotocol {
                    Some("") => None,
                    Some(name) if !offered(name) => {
                        return Err(vec![SendError::SubprotocolNotOffered(name.into())]);
                    }
                    Some(name) => Some(name),
                    None => SPOKEN.into_iter().find(|name| offered(name)),
                };
                let subprotocol = subprotocol.map(str::to_owned);
                let knobs_used = deflation.as_ref().filter(|_| !choice.no_deflate);
                let agreed = agree(&request.offers, knobs_used);
                let offers = request.offers.clone();
                self.push(Expected::Switching { agreed, offers, subprotocol: subprotocol.clone() });
                self.knobs = knobs;
                self.open(agreed, deflation, subprotocol);
                Ok(())
            }
            Stage::Connecting(Opening::Upgraded { told: true, agreed, subprotocol }) => {
                let (agreed, subprotocol) = (*agreed, subprotocol.clone());
                self.knobs = knobs;
                self.open(agreed, deflation, subprotocol);
                Ok(())
            }
            _ => Err(vec![SendError::NothingToAnswer]),
        }
    }
}

/// How a request is accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// This one, or none for `""`; by the settings without.
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) no_deflate: bool,
    pub(crate) knobs: Option<Knobs>,
}

/// What comes of an answer.
pub(crate) enum Answered {
    Opened,
    Rejected,
    Failed,
}

/// What an application sends.
impl Oracle {
    /// Why nothing can be sent now.
    fn state_error(&self) -> Option<SendError> {
        match self.stage {
            Stage::Connecting(_) => Some(SendError::Connecting),
            Stage::Open => None,
            Stage::Closing(_) => Some(SendError::Closing),
            Stage::Closed(_) => Some(SendError::Closed),
        }
    }

    /// Why no message can be sent now, or no piece of the other kind.
    fn message_errors(&self, text: Option<bool>) -> Vec<SendError> {
        if let Some(error) = self.state_error() {
            return vec![error];
        }
        let mut errors = Vec::new();
        if self.is_full() {
            errors.push(SendError::Full);
        }
        if self.unfinished.as_ref().is_some_and(|unfinished| text != Some(unfinished.text)) {
            errors.push(SendError::UnfinishedMessage);
        }
        errors
    }

    pub(crate) fn send(
        &mut self,
        text: bool,
        payload: &[u8],
        how: How,
    ) -> Result<(), Vec<SendError>> {
        let errors = self.message_errors(None);
        if !errors.is_empty() {
            return Err(errors);
        }
        let wanted = match how {
            How::Always => true,
            How::Never => false,
            How::Borrowed | How::Owned | How::Prepared => payload.len() >= self.threshold,
        };
        let compressed = wanted && self.agreed.is_some();
        let first = if text { 0x81 } else { 0x82 } | if compressed { 0x40 } else { 0 };
        let as_is = if compressed { Form::Compressed } else { Form::Plain };
        // What was compressed beforehand takes no time.
        let takes_time = compressed && (how != How::Prepared || self.client);
        let waits = Waits { first, payload: payload.to_vec(), as_is, ends: Some(text) };
        self.push_or_wait(waits, takes_time)
    }

    /// Queues a frame; if something waits, or the codec would take time that it has not, it waits too.
    fn push_or_wait(&mut self, waits: Waits, takes_time: bool) -> Result<(), Vec<SendError>> {
        if self.is_waiting() || (takes_time && self.out_of_budget) {
            self.waiting_bytes += waits.payload.len();
            self.waiting.push_back(waits);
            return Ok(());
        }
        let key = self.key().map_err(|()| vec![entropy_error()])?;
        let Waits { first, payload, as_is, ends } = waits;
        self.push(Expected::Frame { first, payload, key, as_is });
        if let Some(text) = ends {
            self.count(text);
        }
        Ok(())
    }

    fn count(&mut self, text: bool) {
        *(if text { &mut self.counts.texts } else { &mut self.counts.binaries }) += 1;
    }

    pub(crate) fn send_fragment(
        &mut self,
        text: bool,
        payload: &[u8],
        last: bool,
        compress: Compress,
    ) -> Result<(), Vec<SendError>> {
        let mut errors = self.message_errors(Some(text));
        let mut utf8 =
            self.unfinished.as_ref().map_or_else(Utf8::new, |unfinished| unfinished.utf8);
        let right = !text || (utf8.push_all(payload) && (!last || utf8.may_end()));
        if self.state_error().is_none() && !right {
            errors.push(SendError::InvalidUtf8);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let opcode = match (&self.unfinished, text) {
            (Some(_), _) => 0,
            (None, true) => 1,
            (None, false) => 2,
        };
        // The first piece decides; how long the message will be, nothing tells but the end.
        let compressed = self.unfinished.as_ref().map_or_else(
            || {
                let wanted = match compress {
                    Compress::Always => true,
                    Compress::Never => false,
                    _ => !last || payload.len() >= self.threshold,
                };
                wanted && self.agreed.is_some()
            },
            |unfinished| unfinished.compressed,
        );
        let rsv1 = if compressed && opcode != 0 { 0x40 } else { 0 };
        let first = opcode | rsv1 | if last { 0x80 } else { 0 };
        let as_is = if compressed { Form::Part { last } } else { Form::Plain };
        let ends = last.then_some(text);
        self.push_or_wait(Waits { first, payload: payload.to_vec(), as_is, ends }, compressed)?;
        self.unfinished = (!last).then_some(Unfinished { text, utf8, compressed });
        Ok(())
    }

    pub(crate) fn send_control(&mut self, first: u8, payload: &[u8]) -> Result<(), Vec<SendError>> {
        let too_long = (payload.len() > 125).then_some(SendError::ControlTooLong(payload.len()));
        let errors: Vec<SendError> = self.state_error().into_iter().chain(too_long).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let key = self.key().map_err(|()| vec![entropy_error()])?;
        self.push_control(first, payload, key);
        Ok(())
    }

    pub(crate) fn close(&mut self, close: &CloseBody) -> Result<(), Vec<SendError>> {
        let mut errors: Vec<SendError> = self.state_error().into_iter().collect();
        if let Some((code, reason)) = close {
            if !may_be_sent(*code) {
                errors.push(SendError::Close(CloseFrameError::InvalidCode(CloseCode(*code))));
            }
            if reason.len() > 123 {
                errors.push(SendError::Close(CloseFrameError::ReasonTooLong(reason.len())));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.push_close(close).map_err(|()| vec![entropy_error()])?;
        let (sent, received, verdict) = (Some(close.clone()), None, None);
        self.enter(Stage::Closing(Closing { by_peer: false, sent, received, verdict }));
        Ok(())
    }
}

/// Time, settings and the end.
impl Oracle {
    /// Does what is due: the event that must come of it, if one must. `frames` are the lengths of what the
    /// connection has queued, and `waiting_bytes` what it says to wait still.
    pub(crate) fn handle_timeout(
        &mut self,
        now: u64,
        mut frames: VecDeque<usize>,
        waiting_bytes: usize,
    ) -> Option<Due> {
        self.clock.now = self.clock.now.max(now);
        if !self.out_of_budget && self.is_waiting() {
            self.compress_waiting(&mut frames);
            self.waiting_bytes = if self.is_waiting() { waiting_bytes } else { 0 };
            self.note_reading();
            self.release_pong();
        }
        self.clock.tell(now);
        loop {
            self.note_reading();
            let waiting = self.waiting();
            let kind = self.clock.due(waiting, &self.knobs.limits)?;
            let (sent, received) = (None, None);
            match kind {
                TimeoutKind::Ping => self.ping_by_itself(),
                TimeoutKind::Idle => self.go_away("idle timeout"),
                TimeoutKind::Lifetime => self.go_away("maximum lifetime reached"),
                TimeoutKind::FirstMessage | TimeoutKind::Message => {
                    let error = ProtocolError::Timeout(kind);
                    self.fail(error);
                    return Some(Due::Failed(error));
                }
                TimeoutKind::Decision => return Some(Due::HandshakeFailed),
                TimeoutKind::Handshake => {
                    if let Some(end) = self.unfinished_rejection() {
                        self.end(end);
                        return None;
                    }
                    return Some(Due::HandshakeFailed);
                }
                TimeoutKind::Pong | TimeoutKind::Write | TimeoutKind::Close => {
                    let end = match &self.stage {
                        Stage::Closing(closing) => self.end_of(closing, Some(kind)),
                        _ => End::TimedOut { kind, sent, received },
                    };
                    self.end(end);
                }
                _ => unreachable!("{kind:?} is new"),
            }
        }
    }

    fn ping_by_itself(&mut self) {
        let Ok(key) = self.key() else {
            // It is tried again an interval later.
            self.clock.received = self.clock.now;
            return;
        };
        self.clock.pings += 1;
        let payload = self.clock.pings.to_be_bytes();
        self.push_control(0x89, &payload, key);
        let (end, alive) = (self.queued(), self.clock.now);
        self.clock.ping = Some(Ping { end, left: None, alive });
        self.clock.silent = true;
    }

    fn go_away(&mut self, reason: &str) {
        if self.close(&Some((1001, reason.to_owned()))).is_err() {
            self.end(End::Lost { sent: None, received: None });
        }
    }

    /// A rejection whose body has not come whole is a rejection all the same.
    pub(crate) fn unfinished_rejection(&self) -> Option<End> {
        let Stage::Connecting(Opening::Waiting { answer, come, most_body, .. }) = &self.stage
        else {
            return None;
        };
        let AnswerKind::Reject { status, length, .. } = answer.kind else { return None };
        let whole = answer.write("");
        let come = &whole[..*come];
        let head = come.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let body = handshakes::Answer::body(length);
        let body = &body[..unchunked(answer, come.len() - head).min(*most_body)];
        Some(End::Rejected { status, body: body.to_vec() })
    }

    fn end_of(&self, closing: &Closing, kind: Option<TimeoutKind>) -> End {
        if let Some(verdict) = &closing.verdict {
            return verdict.clone();
        }
        let sent = closing.sent.clone().filter(|_| self.buffered() == 0);
        match (sent, closing.received.clone(), kind) {
            (Some(sent), Some(received), _) => {
                End::Clean { sent, received, by_peer: closing.by_peer }
            }
            (sent, received, None) => End::Lost { sent, received },
            (sent, received, Some(kind)) => End::TimedOut { kind, sent, received },
        }
    }

    /// The transport is gone: how the connection ended.
    pub(crate) fn transport_ended(&mut self, by_eof: bool) -> End {
        let end = match &self.stage {
            Stage::Closed(end) => return end.clone(),
            Stage::Closing(closing) => self.end_of(closing, None),
            _ => {
                let rejection = if by_eof { self.unfinished_rejection() } else { None };
                rejection.unwrap_or(End::Lost { sent: None, received: None })
            }
        };
        self.end(end.clone());
        end
    }

    pub(crate) fn end(&mut self, end: End) {
        self.queued_at_end = Some(self.queued());
        self.pending.clear();
        self.forget_waiting();
        self.breaks_off |= self.unsaid.is_some() || self.reader.inflates();
        self.unsaid = None;
        self.out.clear();
        self.out_length = 0;
        self.clock.output_since = None;
        self.enter(Stage::Closed(end));
    }

    pub(crate) fn resume(&mut self) {
        if std::mem::replace(&mut self.paused, false) && !matches!(self.stage, Stage::Open) {
            self.heard();
            self.refresh();
        }
    }

    pub(crate) fn set_knobs(&mut self, knobs: Knobs) {
        self.knobs = knobs;
        if matches!(self.stage, Stage::Open) {
            self.clock.watch(&self.knobs.limits);
        }
        self.note_reading();
        self.release_pong();
        self.refresh();
    }

    /// The deadline that comes first, and which it is; before the time was ever told, that is at once.
    pub(crate) fn next_timeout(&self) -> Option<(u64, Option<TimeoutKind>)> {
        let waiting = self.waiting();
        if !self.clock.started && waiting != Waiting::Closed {
            return Some((0, None));
        }
        if self.is_waiting() && !self.is_output_high() {
            return Some((self.clock.now, None));
        }
        self.clock.first(waiting, &self.knobs.limits).map(|(moment, kind)| (moment, Some(kind)))
    }

    /// All deadlines were worked out anew: one that was overdue and is no longer the first is forgotten.
    pub(crate) fn refresh(&mut self) {
        let first = self.clock.first(self.waiting(), &self.knobs.limits);
        self.clock.overdue =
            self.clock.overdue.filter(|&(kind, moment, _)| first == Some((moment, kind)));
    }
}

/// What a deadline brings about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Due {
    Failed(ProtocolError),
    HandshakeFailed,
}

impl End {
    /// Whether this is what the connection says.
    pub(crate) fn is(&self, outcome: &Outcome) -> bool {
        let closes = |ours: &Option<CloseBody>, theirs: &Option<CloseFrame>| {
            *ours == theirs.as_ref().map(body_of)
        };
        match (self, outcome) {
            (
                Self::Clean { sent, received, by_peer },
                Outcome::Clean { sent: one, received: other, initiator },
            ) => {
                let expected = if *by_peer { Initiator::Remote } else { Initiator::Local };
                (body_of(one), body_of(other), *initiator)
                    == (sent.clone(), received.clone(), expected)
            }
            (Self::Failed(error), Outcome::Failed(other)) => error == other,
            (Self::HandshakeFailed(error), Outcome::HandshakeFailed(other)) => error == other,
            (Self::Rejected { status, body }, Outcome::Rejected(response)) => {
                let same = *status == 426 || body == response.body_bytes();
                *status == response.status() && same
            }
            (Self::Lost { sent, received }, Outcome::Lost { sent: one, received: other, .. }) => {
                closes(sent, one) && closes(received, other)
            }
            (
                Self::TimedOut { kind, sent, received },
                Outcome::TimedOut { timeout, sent: one, received: other },
            ) => kind == timeout && closes(sent, one) && closes(received, other),
            _ => false,
        }
    }
}

/// The body of a Close that the connection tells of.
pub(crate) fn body_of(close: &CloseFrame) -> CloseBody {
    match close.code() {
        CloseCode(1005) => None,
        CloseCode(code) => Some((code, close.reason().to_owned())),
    }
}

/// The code that tells the peer of a fault (RFC 6455 section 7.4.1).
fn code_of(error: ProtocolError) -> u16 {
    match error {
        ProtocolError::Header(_) => 1002,
        ProtocolError::Close(CloseFrameError::InvalidUtf8) => 1007,
        ProtocolError::Close(_) => 1002,
        ProtocolError::InvalidUtf8 | ProtocolError::CorruptDeflate => 1007,
        ProtocolError::MessageTooBig(_) => 1009,
        ProtocolError::TooManyFragments(_)
        | ProtocolError::TooManyFinalBlocks
        | ProtocolError::Timeout(_) => 1008,
        _ => unreachable!("{error:?} is new"),
    }
}

fn entropy_error() -> SendError {
    SendError::Entropy(framewire::EntropyError::default())
}

/// How much of the body stands in so many of its bytes on the wire.
fn unchunked(answer: &handshakes::Answer, come: usize) -> usize {
    let AnswerKind::Reject { body: handshakes::BodyKind::Chunked, length, .. } = answer.kind else {
        return come;
    };
    let (mut rest, mut text) = (come, 0);
    while text < length && rest > 0 {
        let chunk = (length - text).min(100);
        let head = format!("{chunk:x}\r\n").len();
        text += rest.saturating_sub(head).min(chunk);
        rest = rest.saturating_sub(head + chunk + 2);
    }
    text
}

fn check_agreement(
    answer: Option<String>,
    agreed: Option<Agreed>,
    offers: &[Parameters],
) -> Result<(), String> {
    let answer = answer.map(|answer| Parameters::read(&answer)).transpose()?;
    let (answer, agreed) = match (answer, agreed) {
        (None, None) => return Ok(()),
        (Some(answer), Some(agreed)) => (answer, agreed),
        other => return Err(format!("agreed {other:?}")),
    };
    let right = answer.server_forgets == agreed.server_forgets
        && answer.client_forgets == agreed.client_forgets
        && answer.server_bits.unwrap_or(15) == agreed.server_bits
        && answer.client_bits.unwrap_or(15) == agreed.client_bits;
    // A limit on the server is repeated (RFC 7692 section 7.1.2.1), one on the client only said to a
    // client that knows of it (section 7.1.2.2).
    let fits = offers.iter().any(|offer| {
        (offer.server_bits.is_none() || answer.server_bits.is_some())
            && (offer.client_bits.is_some() || answer.client_bits.is_none())
    });
    if right && fits { Ok(()) } else { Err(format!("answered {answer:?}, agreed {agreed:?}")) }
}

fn same(written: &[u8], expected: &[u8]) -> Result<(), String> {
    if written == expected {
        return Ok(());
    }
    let at = written.iter().zip(expected).take_while(|(one, other)| one == other).count();
    Err(format!("{} bytes and not {}; the first {at} are right", written.len(), expected.len()))
}

impl Oracle {
    /// Client: whether the answer is one that must be taken.
    pub(crate) fn answer_is_good(&self) -> bool {
        let Stage::Connecting(Opening::Waiting { answer, offered, .. }) = &self.stage else {
            return false;
        };
        match (&answer.deflate, offered) {
            _ if answer.kind != AnswerKind::Accept || !answer.fits_subprotocols() => false,
            (None, _) => true,
            (Some(_), None) => false,
            (Some(parameters), Some(knobs)) => agree_as_client(parameters, knobs).is_some(),
        }
    }
}
