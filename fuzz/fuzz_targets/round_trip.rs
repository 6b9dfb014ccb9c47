//! Two connections joined: every message arrives once, in order, equal; then both close.

#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Accept, CloseCode, Compress, Config, Event, Fragment, Fragments, Initiator, Message,
    MessageKind, Outcome, Prepared, SendError, State, Workspace,
};
use framewire_fuzz::Engine;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    client: Settings,
    server: Settings,
    ops: Vec<Op>,
    close: Closing,
}

#[derive(Arbitrary, Debug)]
struct Settings {
    deflate: bool,
    /// From which length on messages come in pieces.
    fragments: Option<u8>,
    /// How many bytes this end may inflate or compress in a turn.
    budget: Option<u16>,
    /// Uses a workspace that the other end may use too.
    shared: bool,
    level: u8,
    server_bits: u8,
    client_bits: u8,
    server_forgets: bool,
    client_forgets: bool,
    threshold: u8,
}

impl Settings {
    fn config(&self) -> Config {
        let from = |bytes: u8| Fragments::From(bytes.into());
        let config = Config::new().fragments(self.fragments.map_or(Fragments::Never, from));
        if !self.deflate {
            return config.no_deflate();
        }
        let deflate = DeflateConfig::new()
            .level(self.level % 10)
            .and_then(|config| config.server_max_window_bits(8 + self.server_bits % 8))
            .and_then(|config| config.client_max_window_bits(8 + self.client_bits % 8))
            .unwrap()
            .server_no_context_takeover(self.server_forgets)
            .client_no_context_takeover(self.client_forgets)
            .threshold(self.threshold.into());
        config.deflate(deflate)
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Threshold,
    Always,
    Never,
    Prepared,
    Owned,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Send {
        by_client: bool,
        way: Way,
        text: bool,
        length: u16,
        seed: u8,
    },
    Pieces {
        by_client: bool,
        text: bool,
        lengths: [u8; 3],
        ping: bool,
        seed: u8,
    },
    Ping {
        by_client: bool,
        length: u8,
    },
    Deliver {
        by_client: bool,
        count: u16,
    },
    /// Time passes, and both ends are told.
    Wait {
        milliseconds: u16,
    },
}

#[derive(Arbitrary, Debug)]
struct Closing {
    by_client: bool,
    by_both: bool,
    /// Whether all is delivered before.
    after_all: bool,
    code: u8,
    reason: u8,
}

fuzz_target!(|input: Input| {
    let mut pair = Pair::new(&input);
    for op in input.ops.iter().take(64) {
        pair.op(op);
    }
    pair.close(&input.close);
});

struct End {
    connection: Engine,
    budget: Option<usize>,
    now: Duration,
    /// What the other end sent and this one has not received.
    coming: VecDeque<Message<'static>>,
    pings: VecDeque<Vec<u8>>,
    pongs: VecDeque<Vec<u8>>,
    /// How many Pings this end sent by itself.
    heartbeats: u32,
    joined: Vec<u8>,
    close: Option<framewire::CloseFrame>,
}

struct Pair {
    client: End,
    server: End,
    now: Duration,
}

impl Pair {
    fn new(input: &Input) -> Self {
        let end = |connection, settings: &Settings| End {
            connection,
            budget: settings.budget.map(|bytes| 1 + usize::from(bytes)),
            now: Duration::ZERO,
            coming: VecDeque::new(),
            pings: VecDeque::new(),
            pongs: VecDeque::new(),
            heartbeats: 0,
            joined: Vec::new(),
            close: None,
        };
        let request = ClientRequest::new(&Url::parse("ws://h/").unwrap());
        let mut state = 1_u32;
        let entropy = move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        };
        let workspace = Rc::new(RefCell::new(Workspace::with_entropy(entropy)));
        let own = |shared: bool| shared.then_some(&workspace);
        let config = input.client.config();
        let client = Engine::client(request, &config, entropy, own(input.client.shared)).unwrap();
        let server = Engine::server(&input.server.config(), own(input.server.shared));
        Self {
            client: end(client, &input.client),
            server: end(server, &input.server),
            now: Duration::ZERO,
        }
    }

    fn sides(&mut self, by_client: bool) -> (&mut End, &mut End) {
        match by_client {
            true => (&mut self.client, &mut self.server),
            false => (&mut self.server, &mut self.client),
        }
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Send { by_client, way, text, length, seed } => {
                let (from, to) = self.sides(by_client);
                from.send(to, message(text, length.into(), seed), way);
            }
            Op::Pieces { by_client, text, lengths, ping, seed } => {
                let (from, to) = self.sides(by_client);
                from.send_pieces(to, text, lengths.map(usize::from), ping, seed);
            }
            Op::Ping { by_client, length } => {
                let (from, to) = self.sides(by_client);
                from.ping(to, &vec![length; usize::from(length % 126)]);
            }
            Op::Deliver { by_client, count } => {
                let (from, to) = self.sides(by_client);
                from.deliver(to, count.into());
            }
            Op::Wait { milliseconds } => self.wait(Duration::from_millis(milliseconds.into())),
        }
    }

    /// No deadline ends a connection whose peer behaves: each end hears all that the other one said
    /// before its own time goes on.
    fn wait(&mut self, duration: Duration) {
        // Nothing waits for the codec then, so that only a Ping can be new.
        self.deliver_all();
        let until = self.now + duration;
        while self.now < until {
            self.now = until.min(self.now + Duration::from_secs(4));
            self.client.wait(&mut self.server, self.now);
            self.server.wait(&mut self.client, self.now);
            self.deliver_all();
        }
    }

    fn deliver_all(&mut self) {
        while self.client.connection.buffered_amount() + self.server.connection.buffered_amount()
            > 0
        {
            self.client.deliver(&mut self.server, usize::MAX);
            self.server.deliver(&mut self.client, usize::MAX);
        }
    }

    fn close(mut self, closing: &Closing) {
        // Both have to be open first.
        while self.server.connection.state() == State::Connecting {
            self.client.deliver(&mut self.server, 100);
        }
        while self.client.connection.state() == State::Connecting {
            self.server.deliver(&mut self.client, 100);
        }
        assert_eq!(self.client.connection.deflate(), self.server.connection.deflate());
        if closing.after_all {
            self.deliver_all();
            for end in [&self.client, &self.server] {
                assert!(end.pongs.is_empty(), "a Ping was not answered");
            }
        }
        let codes = [1000, 1001, 1011, 3000, 4999];
        let code = CloseCode(codes[usize::from(closing.code) % codes.len()]);
        let reason = "é".repeat(usize::from(closing.reason) % 62);
        let (first, second) = self.sides(closing.by_client);
        first.connection.close(code, &reason).unwrap();
        assert_eq!(first.connection.send("late"), Err(SendError::Closing));
        if closing.by_both {
            second.connection.close_without_code().unwrap();
        }
        self.deliver_all();
        for end in [&self.client, &self.server] {
            assert!(end.coming.is_empty() && end.pings.is_empty(), "something did not arrive");
        }
        let (first, second) = self.sides(closing.by_client);
        let (ours, theirs) = (first.connection.receive_eof(), second.connection.receive_eof());
        let Outcome::Clean { sent, received, initiator: Initiator::Local } = ours else {
            panic!("{ours:?}");
        };
        assert_eq!((sent.code(), sent.reason()), (code, &*reason));
        let initiator = if closing.by_both { Initiator::Local } else { Initiator::Remote };
        assert!(closing.by_both || sent == received, "a Close is answered with its own code");
        assert_eq!(theirs, Outcome::Clean { sent: received, received: sent, initiator });
    }
}

impl End {
    fn wait(&mut self, to: &mut Self, now: Duration) {
        self.now = now;
        let queued = self.connection.queued();
        assert_eq!(self.connection.handle_timeout(now), None);
        if self.connection.queued() > queued {
            self.heartbeats += 1;
            to.pings.push_back(self.heartbeats.to_be_bytes().to_vec());
            self.pongs.push_back(self.heartbeats.to_be_bytes().to_vec());
        }
    }

    fn send(&mut self, to: &mut Self, message: Message<'static>, way: Way) {
        // Nothing is left of the budget every now and then.
        let budget = self.budget.map(|budget| if budget % 2 == 0 { budget } else { 0 });
        self.connection.set_codec_budget(budget);
        let sent = match way {
            Way::Threshold => self.connection.send(&message),
            Way::Always => self.connection.send_with(&message, Compress::Always),
            Way::Never => self.connection.send_with(&message, Compress::Never),
            Way::Prepared => self.connection.send_prepared(&Prepared::new(&message)),
            Way::Owned => self.connection.send(message.clone()),
        };
        if self.was_sent(sent) {
            to.coming.push_back(message);
        }
    }

    fn send_pieces(
        &mut self,
        to: &mut Self,
        text: bool,
        lengths: [usize; 3],
        ping: bool,
        seed: u8,
    ) {
        let whole = message(text, lengths.iter().sum(), seed);
        let mut rest = whole.as_bytes();
        for (index, length) in lengths.into_iter().enumerate() {
            let last = index + 1 == lengths.len();
            let (piece, later) =
                rest.split_at(if last { rest.len() } else { length.min(rest.len()) });
            rest = later;
            let kind = whole.kind();
            let fragment =
                if last { Fragment::last(kind, piece) } else { Fragment::more(kind, piece) };
            let sent = self.connection.send_fragment(fragment);
            if !self.was_sent(sent) {
                return;
            }
            if !last {
                assert_eq!(self.connection.send("between"), Err(SendError::UnfinishedMessage));
            }
            if ping && !last {
                self.ping(to, b"between");
            }
        }
        to.coming.push_back(whole);
    }

    fn ping(&mut self, to: &mut Self, payload: &[u8]) {
        let sent = self.connection.ping(payload);
        if self.was_sent(sent) {
            to.pings.push_back(payload.to_vec());
            self.pongs.push_back(payload.to_vec());
        }
    }

    /// Before the connection is open nothing can be sent; later everything can.
    fn was_sent(&self, sent: Result<(), SendError>) -> bool {
        let connecting = self.connection.state() == State::Connecting;
        assert_eq!(sent, if connecting { Err(SendError::Connecting) } else { Ok(()) });
        !connecting
    }

    /// Takes up to `count` bytes of this end's output to the other one.
    fn deliver(&mut self, to: &mut Self, count: usize) {
        if self.connection.state() == State::Open || self.connection.state() == State::Closing {
            self.connection.set_codec_budget(self.budget);
            assert_eq!(self.connection.handle_timeout(self.now), None);
        }
        let mut bytes: Vec<u8> = self.connection.output().flatten().take(count).copied().collect();
        self.connection.consume_output(bytes.len());
        let mut input = &mut bytes[..];
        loop {
            to.connection.set_codec_budget(to.budget);
            while let Some(event) = to.connection.receive(&mut input) {
                to.event(event);
            }
            if !to.connection.awaits_codec() {
                break;
            }
            assert!(to.budget.is_some());
        }
        assert!(input.is_empty());
    }

    fn event(&mut self, event: Event<'_>) {
        assert!(self.close.is_none(), "{event:?} after the Close");
        match event {
            Event::Request(_) => self.connection.accept(Accept::new()).unwrap(),
            Event::Open(_) => {}
            Event::Message(message) => self.arrived(&message),
            Event::Fragment(Fragment { kind, payload, last, .. }) => {
                self.joined.extend_from_slice(&payload);
                if last {
                    let whole = std::mem::take(&mut self.joined);
                    self.arrived(&match kind {
                        MessageKind::Text => Message::from(String::from_utf8(whole).unwrap()),
                        MessageKind::Binary => Message::from(whole),
                    });
                }
            }
            Event::Ping(payload) => {
                assert_eq!(self.pings.pop_front().as_deref(), Some(&*payload));
            }
            Event::Pong(payload) => {
                // A congested peer may answer the latest Ping only.
                let answered = self.pongs.iter().position(|ping| *ping == *payload);
                self.pongs.drain(..=answered.expect("a Pong for nothing"));
            }
            Event::Close(close) => self.close = Some(close),
            event => panic!("{event:?}"),
        }
    }

    fn arrived(&mut self, message: &Message<'_>) {
        let expected = self.coming.pop_front().expect("a message that nobody sent");
        assert!(*message == expected, "another message arrived");
    }
}

fn message(text: bool, length: usize, seed: u8) -> Message<'static> {
    // One seed in four gives noise, the others text that compresses; few are long.
    let length = if seed & 12 == 12 { length } else { length % 600 };
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    if text {
        let letters = ["a", "b", "é", "€", "😀", "framewire ", "\0"];
        let mut text = String::new();
        while text.len() < length {
            text.push_str(letters[usize::from(next()) % letters.len()]);
        }
        return Message::from(text);
    }
    let noise = if seed & 3 == 0 { 255 } else { 3 };
    Message::from((0..length).map(|_| next() & noise).collect::<Vec<u8>>())
}
