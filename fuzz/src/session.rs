use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url, accept_key, encode_key};
use framewire::{
    Accept, CloseFrame, Compress, Config, Event, Fragment, Fragments, HandshakeError, Message,
    MessageKind, Outcome, Prepared, ProtocolError, Response, Role, SendError, State, Workspace,
};

use crate::{Compression, Engine, Said, SharedWorkspace, pieces, read_frames, split_head};

/// The settings of a connection, small limits among them.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    /// The bits are those of the constants below.
    flags: u8,
    max_message: u16,
    max_fragments: u8,
    high_water: u16,
    window_bits: u8,
}

impl Setup {
    /// The opening handshake is done for the fuzzer, who would seldom get past it.
    const OPEN: u8 = 1;
    const DEFLATE: u8 = 2;
    const FRAGMENTS: u8 = 4;
    const MANUAL_PONG: u8 = 8;
    const NO_TAKEOVER: u8 = 16;
    const DIRECT: u8 = 32;
    const SHARED: u8 = 64;
    const DEFER: u8 = 128;

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether long payloads are read straight into their buffers.
    pub fn is_direct(self) -> bool {
        self.has(Self::DIRECT)
    }

    /// What is too late by a minute or two is due in a session that jumps.
    pub fn config(self) -> Config {
        let config = Config::new()
            .first_message_timeout(Duration::from_secs(60))
            .message_timeout(Duration::from_secs(30))
            .idle_timeout(Duration::from_secs(90))
            .max_lifetime(Duration::from_secs(300))
            .max_message_size(self.max_message.into())
            .max_fragments(self.max_fragments.into())
            .max_head_size(4096)
            .max_rejection_body(64)
            .output_high_water(self.high_water.into())
            .output_low_water(usize::from(self.high_water) / 2)
            .max_buffered_amount(2 * usize::from(self.high_water))
            .auto_pong(!self.has(Self::MANUAL_PONG))
            .fragments(match self.has(Self::FRAGMENTS) {
                true => Fragments::Always,
                false => Fragments::Never,
            })
            .subprotocols(["b", "a"]);
        if !self.has(Self::DEFLATE) {
            return config.no_deflate();
        }
        let deflate = DeflateConfig::new()
            .threshold(8)
            .level(self.window_bits >> 3 & 7)
            .and_then(|config| config.client_max_window_bits(8 + (self.window_bits & 7)))
            .unwrap()
            .server_no_context_takeover(self.has(Self::NO_TAKEOVER))
            .client_no_context_takeover(self.has(Self::NO_TAKEOVER));
        config.deflate(deflate)
    }

    /// A new connection, and the bytes that open it, if it is to be opened.
    pub fn connection(self, role: Role) -> (Engine, Vec<u8>) {
        let config = self.config();
        let mut state = 0_u32;
        // The nonce is all sevens, so that a stream can hold the right answer to it.
        let entropy = move |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = if state < 16 { 7 } else { ((state * state) >> 3) as u8 };
                state = (state + 1) % 10_000;
            }
        };
        let shared = self.has(Setup::SHARED).then(|| {
            let workspace = Workspace::with_entropy(entropy).for_many();
            Rc::new(RefCell::new(workspace))
        });
        let connection = match role {
            Role::Server => Engine::server(&config, shared.as_ref()),
            Role::Client => {
                let request = ClientRequest::new(&Url::parse("ws://h/").unwrap());
                Engine::client(request, &config, entropy, shared.as_ref()).unwrap()
            }
        };
        let opening = match role {
            _ if !self.has(Self::OPEN) => Vec::new(),
            Role::Server => upgrade_request(self.has(Self::DEFLATE)),
            Role::Client => upgrade_response(self.has(Self::DEFLATE), self.has(Self::NO_TAKEOVER)),
        };
        (connection, opening)
    }
}

/// The request of a well-behaved client.
pub fn upgrade_request(deflate: bool) -> Vec<u8> {
    let extensions = match deflate {
        true => "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        false => "",
    };
    let fields = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: a\r\n";
    format!("GET / HTTP/1.1\r\n{fields}{extensions}\r\n").into_bytes()
}

/// The answer of a well-behaved server to the nonce of sevens.
pub fn upgrade_response(deflate: bool, no_takeover: bool) -> Vec<u8> {
    let accept = accept_key(&encode_key([7; 16]));
    let accept = std::str::from_utf8(&accept).unwrap();
    let extensions = match (deflate, no_takeover) {
        (true, false) => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        (true, true) => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
        }
        (false, _) => "",
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
    )
    .into_bytes()
}

/// A connection, what its application does, and what comes from the peer in which portions.
#[derive(Arbitrary, Debug)]
pub struct Session<'a> {
    setup: Setup,
    actions: [u8; 16],
    cuts: [u8; 16],
    /// By how much the time goes on before each portion; 0 is not at all.
    jumps: [u8; 16],
    stream: &'a [u8],
}

impl Session<'_> {
    /// Plays the session and panics where an invariant of the engine does not hold.
    pub fn check(&self, role: Role) {
        let (mut connection, opening) = self.setup.connection(role);
        let bound = connection.buffered_amount() + opening.len() + self.stream.len() + 1024;
        connection.seed(self.setup.max_fragments.into());
        let neighbour = match &connection {
            Engine::Alone(_) => None,
            Engine::Shared(_, workspace) => Some(Neighbour::new(workspace)),
        };
        let input = [&opening, self.stream].concat();
        let mut request = &input[..];
        // So many empty lines before a request are ignored.
        for _ in 0..4 {
            request = request.strip_prefix(b"\r\n").unwrap_or(request);
        }
        let is_head = request.starts_with(b"HEAD ");
        let mut run = Run {
            is_head,
            bound,
            connection,
            role,
            setup: self.setup,
            actions: self.actions.iter().copied().cycle(),
            jumps: self.jumps.iter().copied().cycle(),
            now: Duration::ZERO,
            queued: 0,
            neighbour,
            input: Vec::new(),
            written: Vec::new(),
            expected: Vec::new(),
            rank: 0,
            end: None,
            cut: false,
            held_pong: None,
            heartbeats: 0,
            unfinished: None,
            joined: None,
        };
        run.turn(&opening);
        for piece in pieces(self.stream, &self.cuts) {
            run.turn(piece);
        }
        run.finish();
    }
}

/// Another connection of the same workspace, which takes a turn after each of the first one's.
struct Neighbour {
    connection: Engine,
    waiting: Vec<u8>,
}

impl Neighbour {
    fn new(workspace: &SharedWorkspace) -> Self {
        let connection = Engine::adopted(Role::Server, &Config::new(), workspace);
        Self { connection, waiting: Vec::new() }
    }

    /// Says something, and writes some of what waits.
    fn turn(&mut self) {
        self.connection.send("what a neighbour says").unwrap();
        self.waiting.extend_from_slice(b"\x81\x15what a neighbour says");
        let output: Vec<u8> = self.connection.output().flatten().copied().collect();
        assert!(output == self.waiting, "the neighbour says something else");
        let count = if output.len() < 60 { 10 } else { output.len() };
        self.connection.consume_output(count);
        self.waiting.drain(..count);
    }
}

/// The last event of a connection.
#[derive(Debug)]
enum End {
    Close(CloseFrame),
    Failed(ProtocolError),
    HandshakeFailed(HandshakeError),
}

struct Run<A> {
    /// The request is a HEAD: its answer has no content, whatever length it names.
    is_head: bool,
    connection: Engine,
    role: Role,
    setup: Setup,
    actions: A,
    jumps: A,
    now: Duration,
    /// The position that the output has come to.
    queued: u64,
    neighbour: Option<Neighbour>,
    /// What a connection that awaits a decision left.
    input: Vec<u8>,
    written: Vec<u8>,
    /// What was said, by what was asked for and what the RFC demands.
    expected: Vec<Said>,
    /// The most that all of the output may come to.
    bound: usize,
    /// How far the state has come.
    rank: u8,
    end: Option<End>,
    /// The connection ended before all was written.
    cut: bool,
    held_pong: Option<Vec<u8>>,
    /// How many Pings were sent by themselves.
    heartbeats: u32,
    /// The fragmented message that the application has begun.
    unfinished: Option<(MessageKind, Vec<u8>)>,
    /// The pieces of the message that is being received.
    joined: Option<(MessageKind, Vec<u8>)>,
}

impl<A: Iterator<Item = u8>> Run<A> {
    fn turn(&mut self, piece: &[u8]) {
        self.tell_time();
        if self.connection.awaits_decision() {
            self.decide();
        }
        let mut bytes = std::mem::take(&mut self.input);
        bytes.extend_from_slice(piece);
        let mut input = &mut bytes[..];
        if self.setup.is_direct() {
            self.receive_direct(&mut input);
        }
        loop {
            let (state, congested) = (self.connection.state(), self.connection.is_congested());
            let before = input.len();
            let Some(event) = self.connection.receive(&mut input) else { break };
            // Of a stream that is at fault, nothing has to be taken; and what was taken may make many pieces.
            let took =
                input.len() < before || matches!(event, Event::Failed(_) | Event::Fragment(_));
            assert!(took, "an event out of nothing");
            self.event(event, state, congested);
            self.look();
        }
        assert!(input.is_empty() || self.connection.awaits_decision(), "input was left");
        self.input = input.to_vec();
        let action = self.action();
        self.act_unasked(action);
        self.look();
        let count = self.action();
        self.flush(usize::from(count) * 8);
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.turn();
            self.look();
        }
    }

    /// Begins a turn at another time, or the same.
    fn tell_time(&mut self) {
        let jump = self.jumps.next().unwrap_or_default();
        let next = self.connection.next_timeout().unwrap_or_default();
        self.now = self.now.max(match jump % 8 {
            0 => self.now,
            1 => self.now + Duration::from_millis(jump.into()),
            2 => self.now + Duration::from_millis(100 * u64::from(jump)),
            3 => self.now + Duration::from_secs(jump.into()),
            4 => next.saturating_sub(Duration::from_micros(1)),
            _ => next,
        });
        // Calls until nothing more is due are right, and so is a single one.
        let calls = if jump < 128 { 1 } else { 8 };
        for _ in 0..calls {
            let mut before = self.connection.state();
            while let Some(event) = self.handle_timeout() {
                self.event(event, before, false);
                before = self.connection.state();
            }
        }
        let next = self.connection.next_timeout();
        assert!(calls == 1 || next.is_none_or(|next| next > self.now), "it is always time");
    }

    /// Does what is due, and takes note of what was said by it.
    fn handle_timeout(&mut self) -> Option<Event<'static>> {
        let (before, queued) = (self.connection.state(), self.connection.queued());
        let event = self.connection.handle_timeout(self.now);
        if self.connection.state() == State::Closed && before != State::Closed {
            self.cut = true;
        } else if before == State::Open {
            let count = (self.connection.queued() - queued) as usize;
            let output: Vec<u8> = self.connection.output().flatten().copied().collect();
            let said = &output[output.len() - count..];
            for said in read_frames(said, self.role == Role::Client, None, false) {
                self.said_by_itself(said, event.as_ref());
            }
        }
        self.look();
        event
    }

    /// A frame that time has brought about.
    fn said_by_itself(&mut self, said: Said, event: Option<&Event<'_>>) {
        match &said {
            Said::Ping(payload) => {
                self.heartbeats += 1;
                assert_eq!(*payload, self.heartbeats.to_be_bytes());
            }
            // It comes before the Close, and both are told of with that.
            Said::Pong(payload) => return assert_eq!(self.held_pong.as_ref(), Some(payload)),
            Said::Close(payload) => match event {
                Some(Event::Failed(_)) => return,
                Some(event) => panic!("{event:?} of time"),
                None => {
                    let reasons = [&b"idle timeout"[..], b"maximum lifetime reached"];
                    assert!(payload.starts_with(&1001_u16.to_be_bytes()));
                    assert!(reasons.contains(&&payload[2..]));
                }
            },
            Said::Message { .. } => panic!("a message of itself"),
        }
        self.expect(said);
    }

    fn receive_direct(&mut self, input: &mut &mut [u8]) {
        let (state, congested) = (self.connection.state(), self.connection.is_congested());
        let received = self.connection.receive_direct(|buffer, missing| {
            let (piece, rest) = std::mem::take(input).split_at_mut(missing.min(input.len()));
            buffer.append(piece);
            *input = rest;
        });
        if let Some(((), Some(event))) = received {
            self.event(event, state, congested);
            self.look();
        }
    }

    fn action(&mut self) -> u8 {
        self.actions.next().unwrap_or_default()
    }

    /// What holds at any moment.
    fn look(&mut self) {
        let rank = match self.connection.state() {
            State::Connecting => 0,
            State::Open => 1,
            State::Closing => 2,
            State::Closed => 3,
        };
        assert!(rank >= self.rank, "the state went back");
        self.rank = rank;
        let buffered = self.connection.buffered_amount();
        let chunks: Vec<&[u8]> = self.connection.output().collect();
        assert!(chunks.iter().all(|chunk| !chunk.is_empty()));
        assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), buffered);
        assert!(self.written.len() + buffered <= self.bound, "the output grows by itself");
        assert_eq!(self.connection.left(), self.written.len() as u64);
        assert!(self.connection.queued() >= self.queued, "what was queued is queued no more");
        self.queued = self.connection.queued();
        let unsent = self.queued - self.connection.left();
        assert!(unsent == buffered as u64 || rank == 3);
        if rank == 3 {
            assert_eq!(self.connection.next_timeout(), None);
        }
        if self.connection.wants_shutdown() {
            assert!(rank == 2 && buffered == 0);
        }
        if self.connection.awaits_decision() {
            assert!(self.connection.request().is_some() && rank == 0 && self.rank == 0);
        }
    }

    fn event(&mut self, event: Event<'_>, before: State, congested: bool) {
        assert!(self.end.is_none(), "{event:?} after {:?}", self.end);
        let after = self.connection.state();
        match event {
            Event::Request(request) => {
                assert!(request.is_upgrade() && self.role == Role::Server);
                assert!(self.connection.awaits_decision());
                self.decide();
            }
            Event::Http(request) => {
                assert!(!request.is_upgrade() && self.role == Role::Server);
                match self.action() % 4 {
                    0 | 1 => self.connection.respond(Response::not_found()).unwrap(),
                    2 => {
                        self.connection.respond_later().unwrap();
                        assert!(self.connection.awaits_decision());
                    }
                    _ => {}
                }
            }
            Event::Open(response) => {
                assert_eq!(
                    (response.status(), before, after),
                    (101, State::Connecting, State::Open)
                );
            }
            Event::Message(message) => {
                assert!(!self.setup.has(Setup::FRAGMENTS));
                let kind = message.kind();
                self.message(kind, &message.into_bytes());
            }
            Event::Fragment(Fragment { kind, payload, first, last, .. }) => {
                assert!(self.setup.has(Setup::FRAGMENTS));
                assert_eq!(first, self.joined.is_none());
                let (begun, mut joined) = self.joined.take().unwrap_or((kind, Vec::new()));
                assert_eq!(begun, kind);
                joined.extend_from_slice(&payload);
                assert!(joined.len() <= self.setup.max_message.into());
                if last {
                    self.message(kind, &joined);
                } else {
                    self.joined = Some((kind, joined));
                }
            }
            Event::Ping(payload) => {
                assert!(payload.len() <= 125);
                if before == State::Open && !self.setup.has(Setup::MANUAL_PONG) {
                    if congested {
                        self.held_pong = Some(payload.into_vec());
                    } else {
                        self.expect(Said::Pong(payload.into_vec()));
                    }
                } else if self.setup.has(Setup::MANUAL_PONG) && self.action().is_multiple_of(2) {
                    let result = self.connection.pong(&payload);
                    self.sent(result, Said::Pong(payload.into_vec()));
                }
            }
            Event::Pong(payload) => assert!(payload.len() <= 125),
            Event::Close(close) => {
                assert_eq!(after, State::Closing);
                if before == State::Open {
                    self.expect(close_of(&close));
                }
                self.end = Some(End::Close(close));
            }
            Event::HandshakeFailed(error) => {
                assert_eq!(before, State::Connecting);
                self.end = Some(End::HandshakeFailed(error));
            }
            Event::Failed(error) => {
                assert_eq!(after, State::Closing);
                if before == State::Open {
                    let reason = error.to_string();
                    let close = CloseFrame::new(error.close_code(), &reason).unwrap();
                    self.expect(close_of(&close));
                }
                self.end = Some(End::Failed(error));
            }
            _ => unreachable!("an event that nobody knows"),
        }
    }

    fn decide(&mut self) {
        let action = self.action();
        let is_plain = self.connection.request().is_some_and(|request| !request.is_upgrade());
        match action % 8 {
            _ if is_plain => {
                assert_eq!(self.connection.accept(Accept::new()), Err(SendError::NothingToAnswer));
                if action.is_multiple_of(2) {
                    self.connection.respond(Response::not_found()).unwrap();
                    assert_eq!(self.connection.state(), State::Closing);
                }
            }
            0 | 1 if self.setup.has(Setup::DEFER) => {}
            2 => {
                assert_eq!(self.connection.respond(Response::forbidden()), Ok(()));
                assert_eq!(self.connection.state(), State::Closing);
            }
            3 => {
                let accept = Accept::new().subprotocol("a").no_deflate();
                let offered = self.connection.request().unwrap().subprotocols().any(|n| n == "a");
                assert_eq!(self.connection.accept(accept).is_ok(), offered);
            }
            _ => {
                assert_eq!(self.connection.accept(Accept::new()), Ok(()));
                assert_eq!(self.connection.state(), State::Open);
            }
        }
    }

    fn message(&mut self, kind: MessageKind, payload: &[u8]) {
        assert!(payload.len() <= self.setup.max_message.into());
        let text = kind == MessageKind::Text;
        let message = match kind {
            MessageKind::Text => Message::from(std::str::from_utf8(payload).expect("UTF-8")),
            MessageKind::Binary => Message::from(payload),
        };
        let said = Said::Message { text, payload: payload.to_vec() };
        let (front, back) = payload.split_at(payload.len() / 2);
        let action = self.action();
        match action % 12 {
            0 => {}
            1 => {
                let result = self.connection.send_with(message, Compress::Always);
                self.sent(result, said);
            }
            2 => {
                let result = self.connection.send_prepared(&Prepared::new(message));
                self.sent(result, said);
            }
            3 => {
                self.fragment(kind, front, false);
                self.fragment(kind, back, true);
            }
            4 => self.fragment(kind, front, false),
            5 => self.fragment(kind, payload, true),
            6 => {
                let payload = payload[..payload.len().min(125)].to_vec();
                let result = self.connection.ping(&payload);
                self.sent(result, Said::Ping(payload));
            }
            7 => self.act_unasked(action),
            8 => {
                let result = self.connection.send(message.clone().into_owned());
                self.sent(result, said.clone());
                let result = self.connection.send_with(message, Compress::Never);
                self.sent(result, said);
            }
            _ => {
                let result = self.connection.send(message);
                self.sent(result, said);
            }
        }
    }

    fn fragment(&mut self, kind: MessageKind, payload: &[u8], last: bool) {
        let fragment = match last {
            true => Fragment::last(kind, payload),
            false => Fragment::more(kind, payload),
        };
        let result = self.connection.send_fragment(fragment);
        let Ok(()) = result else { return self.refused(result.unwrap_err()) };
        let (begun, mut whole) = self.unfinished.take().unwrap_or((kind, Vec::new()));
        assert_eq!(begun, kind);
        whole.extend_from_slice(payload);
        // Compressed, it may be longer by a block's header and an empty block.
        self.bound += payload.len() + 14 + 10;
        if last {
            self.expected.push(Said::Message { text: kind == MessageKind::Text, payload: whole });
        } else {
            self.unfinished = Some((kind, whole));
        }
    }

    /// Something the application does of its own accord.
    fn act_unasked(&mut self, action: u8) {
        match action {
            0..=9 => {
                let (code, reason) = (995 + u16::from(action) * 2, "é".repeat(action.into()));
                let result = self.connection.close(code, &reason);
                let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
                self.sent(result, Said::Close(payload));
            }
            10 => {
                let result = self.connection.close_without_code();
                self.sent(result, Said::Close(Vec::new()));
            }
            11 | 12 => {
                let result = self.connection.pong(b"unasked");
                self.sent(result, Said::Pong(b"unasked".to_vec()));
            }
            13 => self.connection.pause(),
            14 => self.connection.resume(),
            15 => {
                self.now += Duration::from_secs(1);
                self.connection.set_time(self.now);
            }
            16 | 17 => {
                self.cut = true;
                drop(match action {
                    16 => self.connection.abort(),
                    _ => self.connection.receive_eof(),
                });
            }
            _ => {}
        }
    }

    fn expect(&mut self, said: Said) {
        let length = match &said {
            Said::Message { payload, .. } => payload.len() + payload.len() / 1000 + 32,
            Said::Ping(payload) | Said::Pong(payload) | Said::Close(payload) => payload.len() + 6,
        };
        self.bound += length;
        if matches!(said, Said::Close(_)) {
            self.unfinished = None;
            if let Some(payload) = self.held_pong.take() {
                self.expect(Said::Pong(payload));
            }
        }
        self.expected.push(said);
    }

    fn sent(&mut self, result: Result<(), SendError>, said: Said) {
        match result {
            Ok(()) => self.expect(said),
            Err(error) => self.refused(error),
        }
    }

    /// A refusal has to have its reason.
    fn refused(&self, error: SendError) {
        let state = self.connection.state();
        match error {
            SendError::Connecting => assert_eq!(state, State::Connecting),
            SendError::Closing => assert_eq!(state, State::Closing),
            SendError::Closed => assert_eq!(state, State::Closed),
            SendError::UnfinishedMessage => assert!(self.unfinished.is_some()),
            SendError::Full => {
                let most = 2 * usize::from(self.setup.high_water);
                assert!(self.connection.buffered_amount() > most);
            }
            SendError::InvalidUtf8 => assert_eq!(state, State::Open),
            SendError::Close(_) => {}
            error => panic!("refused: {error}"),
        }
    }

    /// Writes up to `most` bytes.
    fn flush(&mut self, most: usize) {
        let buffered = self.connection.buffered_amount();
        let count = most.min(buffered);
        let output = self.connection.output().flatten().take(count);
        self.written.extend(output);
        let high_water = usize::from(self.setup.high_water).max(1);
        self.connection.consume_output(count);
        if buffered - count < high_water
            && let Some(payload) = self.held_pong.take()
            && self.connection.state() == State::Open
        {
            self.expect(Said::Pong(payload));
        }
        self.look();
    }

    fn finish(mut self) {
        while self.connection.buffered_amount() > 0 {
            self.flush(usize::MAX);
        }
        let failed = !matches!(self.end, None | Some(End::Close(_)));
        if failed && !self.cut {
            assert!(self.connection.wants_shutdown(), "a failed connection waits for nothing");
        }
        self.check_output();

        let outcome = self.connection.receive_eof();
        assert_eq!(self.connection.receive_eof(), outcome, "another answer the second time");
        assert_eq!(self.connection.abort(), outcome);
        assert_eq!(self.connection.state(), State::Closed);
        assert_eq!(self.connection.send("late"), Err(SendError::Closed));
        assert_eq!(self.connection.receive(&mut &mut b"\x81\x80\0\0\0\0".to_vec()[..]), None);
        assert_eq!(self.connection.buffered_amount(), 0);
        match (self.end, outcome) {
            (Some(End::Close(close)), Outcome::Clean { sent, received, .. }) => {
                assert_eq!(received, close);
                assert!(self.cut || self.expected.last() == Some(&close_of(&sent)));
            }
            (Some(End::Failed(error)), Outcome::Failed(same)) => assert_eq!(error, same),
            (Some(End::HandshakeFailed(error)), Outcome::HandshakeFailed(same)) => {
                assert_eq!(error, same);
            }
            (
                end,
                Outcome::Lost { sent, received, .. } | Outcome::TimedOut { sent, received, .. },
            ) => {
                match end {
                    None => assert_eq!(received, None),
                    Some(End::Close(close)) => assert_eq!((&sent, received), (&None, Some(close))),
                    Some(end) => panic!("lost after {end:?}"),
                }
                let close = sent.map(|close| close_of(&close));
                assert!(close.is_none() || self.expected.last() == close.as_ref());
            }
            (None, Outcome::Rejected(response)) => assert_ne!(response.status(), 101),
            (end, outcome) => panic!("{outcome:?} after {end:?}"),
        }
    }

    /// Reads all that was written as a careful peer would.
    fn check_output(&self) {
        if self.cut && !self.written.windows(4).any(|four| four == b"\r\n\r\n") {
            return;
        }
        if self.role == Role::Server && self.written.is_empty() {
            assert!(self.expected.is_empty());
            return;
        }
        let head = split_head(&self.written);
        if self.role == Role::Server && !head.start.starts_with("HTTP/1.1 101 ") {
            assert!(head.start.starts_with("HTTP/1.1 ") && self.expected.is_empty());
            let length = head.get("content-length").map(<[u8]>::to_vec).unwrap_or_default();
            let length: usize = String::from_utf8(length).unwrap().parse().unwrap();
            let is_whole = head.rest.len() == if self.is_head { 0 } else { length };
            assert!(is_whole || self.cut);
            return;
        }
        let client = self.role == Role::Client;
        let compression = self.connection.deflate().map(|params| Compression {
            takeover: !match self.role {
                Role::Server => params.server_no_context_takeover(),
                Role::Client => params.client_no_context_takeover(),
            },
        });
        let said = read_frames(head.rest, client, compression, self.cut);
        if self.cut {
            assert!(self.expected.starts_with(&said));
        } else {
            assert_eq!(said, self.expected);
        }
    }
}

fn close_of(close: &CloseFrame) -> Said {
    let mut payload = Vec::new();
    close.encode(&mut payload);
    Said::Close(payload)
}
