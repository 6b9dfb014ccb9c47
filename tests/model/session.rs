//! Plays a script: each call is made of the connection, and judged by the oracle.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use framewire::handshake::{ClientRequest, HeadLimits, RequestParts, Url};
use framewire::{
    Accept, Compress, Config, Event, Fragment, HandshakeError, Message, MessageKind, Outcome,
    Prepared, ProtocolError, Response, Role, SendError, State, Upgraded, Workspace,
};

use super::deflate::Deflate;
use super::engine::{Engine, Shared, Source};
use super::frames::{Frame, Written};
use super::handshakes::{AnswerKind, KEY, PATH, RequestKind};
use super::http::{agree, base64};
use super::oracle::{Answered, Choice, Due, End, How, Opening, Oracle, Stage, body_of};
use super::random::{Draw, Random, payload};
use super::reader::{Seen, deliver};
use super::script::{Birth, Flaw, Jump, Say, Script, Setup, Step};
use super::settings::{Knobs, SPOKEN};

pub(crate) struct Session {
    engine: Engine,
    oracle: Oracle,
    source: Source,
    peer: Peer,
    neighbour: Option<Neighbour>,
    setup: Setup,
    /// The bytes that are judged were read straight into their buffer.
    direct: bool,
    /// Chooses where the codec has no budget.
    thrift: Random,
    reached: Reached,
}

/// What a session has come to: the names of events, errors and outcomes.
pub(crate) type Reached = BTreeSet<String>;

/// Plays all of it, and panics where the connection and the oracle differ.
pub(crate) fn play(script: &Script) -> Reached {
    let mut session = Session::begin(&script.setup);
    for step in &script.steps {
        session.step(step);
    }
    session.end();
    session.reached
}

impl Session {
    fn begin(setup: &Setup) -> Self {
        let source = Source::new(setup.seed);
        let shared = setup
            .shared
            .then(|| Rc::new(RefCell::new(Workspace::with_entropy(source.clone()).for_many())));
        let (config, knobs) = (setup.knobs.config(), setup.knobs.clone());
        assert_eq!(config.validate(), Ok(()));
        let client = setup.role == Role::Client;
        let mut peer = Peer::new(client, setup.seed);
        let (engine, stage) = match &setup.birth {
            Birth::Adopted => {
                let engine = Engine::adopted(setup.role, &config, source.clone(), shared.as_ref());
                (engine, Stage::Open)
            }
            Birth::Asked(request) => {
                peer.wire = request.write();
                let missing = peer.wire.len();
                let stage = Opening::Reading { request: request.clone(), missing };
                (Engine::server(&config, shared.as_ref()), Stage::Connecting(stage))
            }
            Birth::Upgraded(request) => {
                let knobs = knobs.deflation(false);
                let agreed = agree(&request.offers, knobs.as_ref());
                let upgraded = upgraded(request, &config, agreed.is_some());
                let chosen = SPOKEN.into_iter().find(|name| request.subprotocols.contains(name));
                let subprotocol = chosen.map(str::to_owned);
                let stage = Opening::Upgraded { told: false, agreed, subprotocol };
                let engine = Engine::upgraded(upgraded, &config, shared.as_ref());
                (engine, Stage::Connecting(stage))
            }
            Birth::Asks(answer) => {
                let url = Url::parse(&format!("ws://example.com{PATH}")).expect("a good address");
                let request = ClientRequest::new(&url)
                    .subprotocols(answer.asked.iter().copied())
                    .expect("good names");
                let made = Engine::client(request, &config, source.clone(), shared.as_ref());
                let engine = made.expect("the source has not failed yet");
                let stage = Opening::Waiting {
                    answer: answer.clone(),
                    come: 0,
                    enough: None,
                    offered: knobs.deflation(true),
                    most_body: knobs.max_rejection_body,
                };
                (engine, Stage::Connecting(stage))
            }
        };
        let mut oracle = Oracle::new(client, knobs, stage);
        let draws = source.take_draws();
        if let Birth::Asks(answer) = &setup.birth {
            let nonce = draws[0].as_ref().expect("the source has not failed yet");
            peer.wire = answer.write(&base64(nonce));
            peer.is_silent = matches!(answer.kind, AnswerKind::Reject { .. });
            if let Stage::Connecting(Opening::Waiting { enough, most_body, .. }) = &mut oracle.stage
            {
                *enough = answer.enough(&peer.wire, *most_body);
            }
        }
        oracle.drew(draws);
        let neighbour = shared.as_ref().map(Neighbour::new);
        let thrift = Random::new(setup.seed ^ 0x3333);
        let (setup, reached) = (setup.clone(), Reached::new());
        let keeps_no_compressor = setup.keeps_no_compressor;
        let mut session =
            Self { engine, oracle, source, peer, neighbour, setup, direct: false, thrift, reached };
        if keeps_no_compressor {
            session.engine.keep_no_compressor();
        }
        session.audit();
        session
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Time(jump) => {
                let now = self.at(*jump);
                self.handle_timeout(now);
            }
            // A workspace does not know whose output has grown to where nothing is read.
            Step::SetTime(_) if self.setup.shared && self.oracle.is_congested() => {}
            Step::SetTime(jump) => {
                let now = self.at(*jump);
                self.engine.set_time(Duration::from_micros(now));
                self.oracle.clock.now = self.oracle.clock.now.max(now);
            }
            Step::Peer(_) if self.peer.is_silent => {}
            Step::Peer(say) => {
                let pings = self.oracle.clock.pings.to_be_bytes();
                let agreed = self.oracle.agreed;
                self.peer.learn(self.setup.role, agreed);
                self.peer.say(say, &pings);
            }
            Step::Deliver { count, direct, seed } => self.deliver(*count, *direct, *seed),
            Step::Send { text, length, seed, how } => {
                self.send(*text, &payload(*text, *length, *seed), *how);
            }
            Step::Fragment { text, length, seed, last, broken, compress } => {
                let mut piece = payload(*text, *length, *seed);
                if *broken {
                    piece.pop();
                }
                self.send_fragment(*text, &piece, *last, *compress);
            }
            Step::Ping(length) => self.send_control(0x89, &vec![b'p'; *length]),
            Step::Pong(length) => self.send_control(0x8a, &vec![b'q'; *length]),
            Step::Close { code, reason } => {
                let reason = "r".repeat(*reason);
                let result = self.engine.close(*code, &reason);
                self.judge(result, |oracle| oracle.close(&Some((*code, reason))));
            }
            Step::CloseWithoutCode => {
                let result = self.engine.close_without_code();
                self.judge(result, |oracle| oracle.close(&None));
            }
            Step::Accept(choice) => self.accept(choice),
            Step::Respond { status, length, reject } => self.respond(*status, *length, *reject),
            Step::AnswerInstead { status, length } => {
                let body = vec![b'i'; *length];
                let response = Response::new(*status).body(body.clone());
                let before = self.oracle.pending.clone();
                let result = self.engine.answer_instead(&response);
                let expected = self.oracle.answer_instead(*status, &body);
                if expected.is_err() {
                    self.oracle.pending = before;
                }
                self.judge(result, |_| expected);
            }
            Step::Write(count) => self.write(*count),
            Step::Pause => {
                self.engine.pause();
                self.oracle.paused = true;
                self.audit();
            }
            Step::Resume => {
                self.engine.resume();
                self.oracle.resume();
                self.audit();
            }
            Step::SetConfig { seed } => {
                let mut knobs = changed(&self.oracle.knobs, *seed);
                // Which of two limits holds in the middle of a message is nobody's business.
                if self.oracle.is_inside() {
                    knobs.max_message = self.oracle.knobs.max_message;
                }
                self.engine.set_config(knobs.config());
                self.drew();
                self.oracle.set_knobs(knobs);
                self.audit();
            }
            Step::SetFragments(pieces) => {
                self.engine.set_fragments(pieces.fragments());
                self.oracle.knobs.pieces = *pieces;
                self.audit();
            }
            Step::Seed(seed) => {
                self.engine.seed(*seed);
                self.oracle.refresh();
                self.audit();
            }
            Step::FailEntropy(others) => self.source.fail_after(*others),
            Step::Neighbour(length) => {
                if let Some(neighbour) = &mut self.neighbour {
                    neighbour.turn(*length);
                }
            }
            Step::Eof => self.transport_ends(true),
            Step::Abort => self.transport_ends(false),
        }
        self.check_next_timeout();
    }

    /// The rest of the output leaves, the transport ends, and all is said.
    fn end(&mut self) {
        self.write(usize::MAX);
        self.write(usize::MAX);
        self.transport_ends(true);
        for _ in 0..2 {
            self.transport_ends(false);
            self.transport_ends(true);
        }
        self.send(true, b"late", How::Borrowed);
        self.deliver(usize::MAX, true, 0);
        self.handle_timeout(u64::MAX / 4);
        let counted = self.engine.take_metrics();
        let expected = &self.oracle.counts;
        let others = self.neighbour.as_ref().map_or(0, |neighbour| neighbour.sent);
        let of = |counts: &framewire::CompressionMetrics| (counts.plain, counts.compressed);
        if self.oracle.clears_deflated {
            return;
        }
        assert_eq!(
            (counted.text_messages_sent, counted.binary_messages_sent),
            (expected.texts, expected.binaries + others),
            "messages that were counted"
        );
        assert_eq!(
            (counted.pings_sent, counted.pongs_sent, of(&counted.deflated)),
            (expected.pings, expected.pongs, expected.deflated),
            "Pings, Pongs and deflated bytes that were counted"
        );
        let failed = matches!(&self.oracle.stage, Stage::Closed(End::Failed(_)));
        let inflated = of(&counted.inflated);
        // Of a message that failed or did not end, some may have been inflated.
        let right = failed || self.oracle.breaks_off || inflated == expected.inflated;
        assert!(right, "{inflated:?} bytes that were inflated, expected {:?}", expected.inflated);
    }

    fn at(&self, jump: Jump) -> u64 {
        let now = self.oracle.clock.now;
        let next = self.engine.next_timeout().map_or(now, |next| next.as_micros() as u64);
        match jump {
            Jump::Next => now.max(next),
            Jump::Before => now.max(next.saturating_sub(1)),
            Jump::By(micros) => now + micros,
            Jump::Back => now / 2,
        }
    }

    /// Tells the time until nothing more comes of it.
    fn handle_timeout(&mut self, now: u64) {
        loop {
            self.thrift();
            let known = self.oracle.pending.len();
            let event = self.engine.handle_timeout(Duration::from_micros(now));
            self.no_thrift();
            self.drew();
            let output: Vec<u8> = self.engine.output().flatten().skip(known).copied().collect();
            let waiting = self.engine.buffered_amount()
                - (known + output.len()).min(self.engine.buffered_amount());
            let waited = self.oracle.is_waiting();
            let due = self.oracle.handle_timeout(now, lengths(&output), waiting);
            if waited && self.engine.state() == State::Closed {
                self.oracle.ended_while_waiting(self.engine.queued());
            }
            self.oracle.out_of_budget = false;
            if let Some(event) = &event {
                self.reach("Time", event);
            }
            match (&event, due) {
                (None, None) => {}
                (Some(Event::Failed(error)), Some(Due::Failed(other))) => assert_eq!(*error, other),
                (Some(Event::HandshakeFailed(error)), Some(Due::HandshakeFailed)) => {
                    assert!(error.is_timeout());
                    if self.oracle.awaits_decision() {
                        self.oracle.handshake_failed(error.clone());
                    } else {
                        self.oracle.end(End::HandshakeFailed(error.clone()));
                    }
                }
                (event, due) => panic!("{event:?} of time, expected {due:?}"),
            }
            self.audit();
            let next = self.engine.next_timeout().map(|next| next.as_micros() as u64);
            let now = self.oracle.clock.now;
            if self.oracle.clock.overdue.is_some() {
                assert!(next.is_some_and(|next| next <= now), "overdue and next at {next:?}");
            } else if event.is_none() && !self.oracle.is_waiting() {
                assert!(next.is_none_or(|next| next > now), "nothing is due and next is now");
            }
            if event.is_none() {
                return;
            }
        }
    }

    /// What holds after each call; and what the call has queued must be what the oracle says.
    fn audit(&mut self) {
        let (engine, oracle) = (&self.engine, &mut self.oracle);
        let output: Vec<u8> = engine.output().flatten().copied().collect();
        assert!(engine.output().all(|chunk| !chunk.is_empty()));
        let (front, back) = oracle.pending.as_slices();
        let known = oracle.pending.len();
        assert!(
            output.starts_with(front) && output[front.len()..].starts_with(back),
            "output that waited has changed"
        );
        if let Err(error) = oracle.check_output(&output[known..]) {
            panic!("output: {error}");
        }
        assert_eq!(engine.state(), oracle.state());
        let waiting = engine.buffered_amount().checked_sub(output.len());
        if let Err(error) = oracle.set_waiting_bytes(waiting.expect("output counts as buffered")) {
            panic!("waiting: {error}");
        }
        oracle.note_reading();
        assert_eq!(
            (engine.left(), engine.queued()),
            (oracle.left, oracle.queued()),
            "left, queued"
        );
        assert_eq!(engine.is_congested(), oracle.is_congested(), "congested");
        assert_eq!(engine.is_drained(), oracle.is_drained(), "drained");
        assert_eq!(engine.is_full(), oracle.is_full(), "full");
        assert_eq!(engine.max_buffered_amount(), oracle.knobs.max_buffered);
        assert_eq!(engine.is_inside_message(), oracle.is_inside(), "inside a message");
        let awaits = oracle.unsaid.is_some() || oracle.reader.inflates();
        assert!(!engine.awaits_codec() || awaits, "awaits the codec");
        assert!(engine.awaits_codec() || oracle.unsaid.is_none(), "awaits no codec");
        assert_eq!(engine.awaits_decision(), oracle.awaits_decision(), "awaits a decision");
        assert_eq!(engine.request().is_some(), oracle.has_request(), "has a request");
        assert_eq!(engine.wants_shutdown(), oracle.wants_shutdown(), "wants shutdown");
        assert_eq!(engine.is_paused(), oracle.paused, "paused");
        assert_eq!(engine.subprotocol(), oracle.subprotocol.as_deref());
        let params = engine.deflate();
        assert_eq!(params.is_some(), oracle.agreed.is_some(), "compression");
        if let (Some(params), Some(agreed)) = (params, oracle.agreed) {
            assert_eq!(params.server_no_context_takeover(), agreed.server_forgets);
            assert_eq!(params.client_no_context_takeover(), agreed.client_forgets);
            assert_eq!(params.server_max_window_bits(), agreed.server_bits);
            assert_eq!(params.client_max_window_bits(), agreed.client_bits);
        }
        let round_trip = oracle.clock.round_trip.map(Duration::from_micros);
        assert_eq!(engine.round_trip_time(), round_trip, "round trip");
        match &oracle.stage {
            Stage::Closed(end) => {
                let outcome = engine.outcome().expect("it has ended");
                assert!(end.is(outcome), "{outcome:?}, expected {end:?}");
                let sends_all = oracle.queued() == oracle.left;
                assert!(!outcome.was_clean() || sends_all, "clean, and not all has left");
            }
            _ => assert_eq!(engine.outcome(), None),
        }
    }

    /// The connection must not want to be told the time too late. It may be late to know of what has come,
    /// until all that came was taken.
    fn check_next_timeout(&self) {
        let (engine, oracle) = (&self.engine, &self.oracle);
        let next = engine.next_timeout().map(|next| next.as_micros() as u64);
        match oracle.next_timeout() {
            Some((latest, kind)) => assert!(
                next.is_some_and(|next| next <= latest),
                "next timeout at {next:?}, which is later than {latest} of {kind:?}"
            ),
            None if oracle.state() == State::Closed => assert_eq!(next, None),
            None => {}
        }
    }

    /// Notes the names at the front of what the engine says, without what they hold.
    fn reach(&mut self, kind: &str, said: &impl Debug) {
        let mut front = format!("{said:?}");
        let end = front.find(|letter: char| !letter.is_alphabetic() && letter != '(');
        front.truncate(end.unwrap_or(front.len()));
        self.reached.insert(format!("{kind} {}", front.trim_end_matches('(')));
    }

    fn drew(&mut self) {
        self.oracle.drew(self.source.take_draws());
    }

    /// Compares the answer of a call with what it must be.
    fn judge(
        &mut self,
        result: Result<(), SendError>,
        expect: impl FnOnce(&mut Oracle) -> Result<(), Vec<SendError>>,
    ) {
        self.drew();
        match (&result, expect(&mut self.oracle)) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(errors)) if errors.contains(error) => self.reach("SendError", error),
            (result, expected) => panic!("{result:?}, expected {expected:?}"),
        }
        self.audit();
    }

    /// Leaves the codec without a budget now and then, until `no_thrift`.
    fn thrift(&mut self) {
        self.oracle.out_of_budget = self.setup.thrifty && self.thrift.percent(50);
        if self.oracle.out_of_budget {
            self.engine.set_codec_budget(Some(0));
        }
    }

    fn no_thrift(&mut self) {
        self.engine.set_codec_budget(None);
    }

    fn send(&mut self, text: bool, payload: &[u8], how: How) {
        let message = match text {
            true => Message::from(std::str::from_utf8(payload).expect("text")),
            false => Message::from(payload),
        };
        self.thrift();
        let engine = &mut self.engine;
        let result = match how {
            How::Borrowed => engine.send(message),
            How::Owned => engine.send(message.into_owned()),
            How::Always => engine.send_with(message, Compress::Always),
            How::Never => engine.send_with(message, Compress::Never),
            How::Prepared => engine.send_prepared(&Prepared::new(message)),
        };
        self.no_thrift();
        self.judge(result, |oracle| oracle.send(text, payload, how));
        self.oracle.out_of_budget = false;
    }

    fn send_fragment(&mut self, text: bool, piece: &[u8], last: bool, compress: Option<Compress>) {
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        let fragment = if last { Fragment::last(kind, piece) } else { Fragment::more(kind, piece) };
        self.thrift();
        let result = match compress {
            None => self.engine.send_fragment(fragment),
            Some(compress) => self.engine.send_fragment_with(fragment, compress),
        };
        self.no_thrift();
        let compress = compress.unwrap_or_default();
        self.judge(result, |oracle| oracle.send_fragment(text, piece, last, compress));
        self.oracle.out_of_budget = false;
    }

    fn send_control(&mut self, first: u8, payload: &[u8]) {
        let result = match first {
            0x89 => self.engine.ping(payload),
            _ => self.engine.pong(payload),
        };
        self.judge(result, |oracle| oracle.send_control(first, payload));
    }

    fn accept(&mut self, choice: &Choice) {
        let mut accept = Accept::new();
        if choice.no_deflate {
            accept = accept.no_deflate();
        }
        accept = match choice.subprotocol {
            None => accept,
            Some("") => accept.no_subprotocol(),
            Some(name) => accept.subprotocol(name),
        };
        if let Some(knobs) = &choice.knobs {
            accept = accept.config(knobs.config());
        }
        let accept = accept.header("X-Test", "1").expect("a good field");
        let result = self.engine.accept(accept);
        self.judge(result, |oracle| oracle.accept(choice));
    }

    fn respond(&mut self, status: u16, length: usize, reject: bool) {
        let body = vec![b'h'; length];
        let response = Response::new(status).body(body.clone());
        let result = match reject {
            true => self.engine.reject(response),
            false => self.engine.respond(response),
        };
        self.judge(result, |oracle| oracle.respond(status, &body));
    }

    fn write(&mut self, count: usize) {
        self.engine.consume_output(count);
        self.drew();
        self.oracle.consume(count);
        self.audit();
    }

    fn transport_ends(&mut self, by_eof: bool) {
        let outcome = match by_eof {
            true => self.engine.receive_eof(),
            false => self.engine.abort(),
        };
        self.drew();
        let end = self.oracle.transport_ended(by_eof);
        match &outcome {
            Outcome::TimedOut { timeout, .. } => self.reach("TimedOut", timeout),
            outcome => self.reach("Outcome", outcome),
        }
        assert!(end.is(&outcome), "{outcome:?}, expected {end:?}");
        check_words(&outcome);
        self.audit();
    }
}

/// How long the frames are that stand in these bytes.
fn lengths(mut bytes: &[u8]) -> VecDeque<usize> {
    let mut lengths = VecDeque::new();
    while !bytes.is_empty() {
        let before = bytes.len();
        if Written::read(&mut bytes).is_err() {
            break;
        }
        lengths.push_back(before - bytes.len());
    }
    lengths
}

/// What the codec may do for one call.
fn any_budget(random: &mut Random) -> Option<usize> {
    match random.below(4) {
        0 => Some(random.pick(&[0, 0, 1, 10])),
        1 => Some(random.below(5000)),
        _ => None,
    }
}

/// What an outcome says of itself.
fn check_words(outcome: &Outcome) {
    let code = outcome.received().map_or(1006, |close| close.code().0);
    assert_eq!(outcome.code().0, code);
    assert_eq!(outcome.was_clean(), matches!(outcome, Outcome::Clean { .. }));
    assert!(!outcome.to_string().is_empty());
}

/// Some other settings.
fn changed(knobs: &Knobs, seed: u64) -> Knobs {
    let mut random = Random::new(seed);
    let others = Knobs::any(&mut random);
    let mut knobs = knobs.clone();
    for _ in 0..2 {
        match random.below(8) {
            0 => knobs.max_message = others.max_message,
            1 => knobs.max_fragments = others.max_fragments,
            2 => (knobs.high_water, knobs.low_water) = (others.high_water, others.low_water),
            3 => knobs.max_buffered = others.max_buffered,
            4 => knobs.auto_pong = others.auto_pong,
            5 => knobs.pieces = others.pieces,
            6 => knobs.deflate = others.deflate.clone(),
            _ => knobs.limits = others.limits.clone(),
        }
    }
    knobs
}

/// What another server makes of a request that it answers itself.
fn upgraded(request: &super::handshakes::Request, config: &Config, compressed: bool) -> Upgraded {
    let good = "the parts of a good request";
    let mut parts = RequestParts::new("GET", PATH).expect(good);
    let names = request.subprotocols.join(", ");
    let offers: Vec<String> = request.offers.iter().map(|offer| offer.write()).collect();
    let offers = offers.join(", ");
    for (name, value) in [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", &names),
        ("Sec-WebSocket-Extensions", &offers),
    ] {
        if !value.is_empty() {
            parts = parts.header(name, value).expect(good);
        }
    }
    let request = parts.read(HeadLimits::default()).expect(good);
    let (upgraded, headers) = Upgraded::accept(request, Accept::new(), config).expect(good);
    assert_eq!(headers.get_str("Sec-WebSocket-Extensions").is_some(), compressed);
    upgraded
}

/// Bytes in.
impl Session {
    fn deliver(&mut self, count: usize, direct: bool, seed: u64) {
        let mut random = Random::new(seed);
        let count = count.min(self.peer.wire.len());
        let rest = self.peer.wire.split_off(count);
        let whole = std::mem::replace(&mut self.peer.wire, rest);
        let mut bytes = whole.clone();
        let mut input = &mut bytes[..];
        let mut at = 0;
        loop {
            let missing = self.oracle.reader.missing_of_data();
            if direct
                && !input.is_empty()
                && self.receive_direct(&mut input, &whole, &mut at, &mut random)
            {
                assert!(missing.is_some(), "no data frame is under way");
                continue;
            }
            let budget = if self.setup.meager { any_budget(&mut random) } else { None };
            self.engine.set_codec_budget(budget);
            let event = self.engine.receive(&mut input);
            self.engine.set_codec_budget(None);
            self.drew();
            let taken = &whole[at..whole.len() - input.len()];
            at = whole.len() - input.len();
            let more = event.is_some();
            let event = event.map(Event::into_owned);
            if let Some(event) = &event {
                self.reach("Event", event);
            }
            let limited = budget.is_some() && self.engine.awaits_codec();
            self.received(event.as_ref(), taken, &whole[at..], limited);
            self.audit();
            if let Some(event) = event {
                self.react(&event, &mut random);
            }
            if !more && (!limited || random.percent(50)) {
                break;
            }
        }
        let left = input.len();
        let awaits = self.oracle.awaits_decision() || self.engine.awaits_codec();
        assert!(left == 0 || awaits, "{left} bytes are left");
        self.peer.wire.splice(0..0, whole[whole.len() - left..].iter().copied());
    }

    /// Whether the connection took bytes, or none, in this way.
    fn receive_direct(
        &mut self,
        input: &mut &mut [u8],
        whole: &[u8],
        at: &mut usize,
        random: &mut Random,
    ) -> bool {
        let before = self.oracle.reader.missing_of_data();
        let available = input.len();
        let received = self.engine.receive_direct(|buffer, missing| {
            assert_eq!(Some(missing), before, "missing");
            let length = buffer.len();
            let most = missing.min(available);
            let count = if random.percent(60) { most } else { random.below(most + 1) };
            let (now, later) = std::mem::take(input).split_at_mut(count);
            *input = later;
            if random.percent(50) {
                buffer.append(now);
            } else {
                let mut rest = &*now;
                while !rest.is_empty() {
                    let room = buffer.room(missing - (now.len() - rest.len()));
                    let count = rest.len().min(room.len());
                    room[..count].copy_from_slice(&rest[..count]);
                    buffer.advance(count);
                    rest = &rest[count..];
                }
            }
            assert_eq!(buffer.len(), length + count);
            count
        });
        self.drew();
        let Some((count, event)) = received else { return false };
        let taken = &whole[*at..*at + count];
        *at += count;
        self.direct = true;
        self.received(event.as_ref(), taken, &whole[*at..], false);
        self.direct = false;
        self.audit();
        if let Some(event) = &event {
            self.reach("Direct", event);
            self.react(event, random);
        }
        // So that a read of nothing does not repeat for ever.
        count > 0 || event.is_some()
    }

    /// Judges an event, or none, that came of these bytes; `rest` are those that were not taken, and if they
    /// are `limited` that is no wonder.
    fn received(&mut self, event: Option<&Event<'_>>, taken: &[u8], rest: &[u8], limited: bool) {
        // What lies there is heard, even if it is not taken yet.
        let open = matches!(self.oracle.stage, Stage::Open) && !self.direct;
        let heard = !taken.is_empty() || (open && !rest.is_empty());
        if heard && !self.oracle.is_deaf() {
            self.oracle.heard();
        }
        match &self.oracle.stage {
            _ if self.oracle.is_deaf() => {
                assert!(event.is_none() && rest.is_empty(), "{event:?} after the end");
            }
            Stage::Connecting(opening) => {
                let opening = opening.clone();
                self.received_opening(opening, event, taken, rest);
            }
            _ => self.received_frames(event, taken, rest, limited),
        }
    }

    fn received_opening(
        &mut self,
        opening: Opening,
        event: Option<&Event<'_>>,
        taken: &[u8],
        rest: &[u8],
    ) {
        let oracle = &mut self.oracle;
        match opening {
            Opening::Reading { request, missing } => {
                let ended = taken.len() == missing;
                match (event, request.kind) {
                    (Some(Event::HandshakeFailed(error)), RequestKind::Broken(status)) => {
                        let HandshakeError::Request(fault) = error else { panic!("{error:?}") };
                        assert_eq!(fault.status(), status);
                        oracle.handshake_failed(error.clone());
                    }
                    (Some(Event::Request(told)), RequestKind::Upgrade) if ended => {
                        assert!(told.is_upgrade() && told.target() == PATH);
                        assert!(told.subprotocols().eq(request.subprotocols.iter().copied()));
                        oracle.stage = Stage::Connecting(Opening::Deciding { request });
                        oracle.clock.entered = oracle.clock.now;
                    }
                    (Some(Event::Http(told)), RequestKind::Plain) if ended => {
                        assert!(!told.is_upgrade() && told.target() == PATH);
                        oracle.stage = Stage::Connecting(Opening::Answering);
                    }
                    (None, _) if taken.len() < missing && rest.is_empty() => {
                        let missing = missing - taken.len();
                        let stage = Opening::Reading { request, missing };
                        oracle.stage = Stage::Connecting(stage);
                    }
                    _ => panic!("{event:?} of a request that misses {missing} bytes"),
                }
            }
            Opening::Upgraded { told: false, agreed, subprotocol } => {
                assert!(matches!(event, Some(Event::Request(_))) && taken.is_empty());
                let stage = Opening::Upgraded { told: true, agreed, subprotocol };
                oracle.stage = Stage::Connecting(stage);
                oracle.clock.entered = oracle.clock.now;
            }
            Opening::Deciding { .. } | Opening::Upgraded { .. } => {
                assert!(event.is_none() && taken.is_empty(), "{event:?} before a decision");
            }
            Opening::Answering => {
                assert!(event.is_none() && rest.is_empty());
                oracle.unanswered();
            }
            Opening::Waiting { answer, come, enough, offered, most_body } => {
                let come = come + taken.len();
                match event {
                    Some(Event::HandshakeFailed(error)) => {
                        assert!(matches!(error, HandshakeError::Response(_)));
                        assert!(!oracle.answer_is_good(), "{error:?} of a good answer");
                        oracle.handshake_failed(error.clone());
                    }
                    Some(Event::Open(response)) => {
                        assert_eq!((response.status(), Some(come)), (101, enough));
                        let answered = oracle.answered();
                        assert!(matches!(answered, Answered::Opened), "a bad answer is taken");
                    }
                    None if enough.is_some_and(|enough| enough <= come) => {
                        let answered = oracle.answered();
                        assert!(matches!(answered, Answered::Rejected), "nothing of an answer");
                        assert!(rest.is_empty());
                    }
                    None => {
                        assert!(rest.is_empty());
                        let stage = Opening::Waiting { answer, come, enough, offered, most_body };
                        oracle.stage = Stage::Connecting(stage);
                    }
                    event => panic!("{event:?} of an answer"),
                }
            }
        }
    }

    fn received_frames(
        &mut self,
        event: Option<&Event<'_>>,
        taken: &[u8],
        rest: &[u8],
        limited: bool,
    ) {
        let direct = self.direct;
        let oracle = &mut self.oracle;
        let knobs = oracle.knobs.clone();
        if let Some(Event::Failed(error)) = event {
            // What is behind the fault need not have been taken.
            let mut faults = oracle.reader.early_faults(&knobs);
            let seen = oracle
                .unsaid
                .take()
                .or_else(|| oracle.reader.advance(&[taken, rest].concat(), &knobs).1);
            match &seen {
                Some(Seen::Fault(more, _)) => faults.extend(more),
                Some(Seen::Message { or, .. }) => faults.extend(or),
                _ => {}
            }
            faults.extend(oracle.reader.early_faults(&knobs));
            assert!(faults.contains(error), "{error:?}, expected one of {faults:?} in {seen:?}");
            return oracle.fail(*error);
        }
        let mut seen = match oracle.unsaid.take() {
            Some(unsaid) => {
                assert!(taken.is_empty(), "bytes are taken before {unsaid:?} is told of");
                Some(unsaid)
            }
            None => {
                let (used, seen) = oracle.reader.advance(taken, &knobs);
                assert_eq!(used, taken.len(), "{event:?} comes too late after {seen:?}");
                seen
            }
        };
        let ended = match event {
            Some(Event::Message(_)) => true,
            Some(Event::Fragment(piece)) => piece.last,
            _ => false,
        };
        if !ended && seen.as_ref().is_some_and(Seen::takes_a_codec) {
            assert!(event.is_some() || limited, "nothing of {seen:?}");
            oracle.unsaid = seen.take();
        }
        if direct || !taken.is_empty() || ended {
            oracle.note_message(ended);
        }
        if let Some(Seen::Message { payload, compressed: Some(length), .. }) = &seen {
            oracle.counts.inflated.0 += payload.len() as u64;
            oracle.counts.inflated.1 += *length as u64;
        }
        let kind_of = |text| if text { MessageKind::Text } else { MessageKind::Binary };
        match (event, seen) {
            (None, None) => {
                assert!(rest.is_empty() || direct || limited, "bytes are left");
                assert!(oracle.reader.is_delivered(), "something that came was not delivered");
            }
            (Some(Event::Message(message)), Some(Seen::Message { text, payload, pieces, .. })) => {
                assert!(pieces.is_none(), "a whole message where pieces are wanted");
                assert_eq!(message.kind(), kind_of(text));
                assert!(message.as_bytes() == payload, "another message");
            }
            (Some(Event::Fragment(piece)), Some(Seen::Message { text, payload, pieces, .. })) => {
                let delivered = pieces.expect("whole messages are wanted");
                assert_eq!((piece.kind, piece.last), (kind_of(text), true));
                assert_eq!(piece.first, delivered.is_none(), "first");
                assert!(*piece.payload == payload[delivered.unwrap_or(0)..], "another message");
            }
            (Some(Event::Fragment(piece)), None) => {
                assert!(!piece.last, "the last piece, before the end");
                let text = piece.kind == MessageKind::Text;
                let delivered = match &mut oracle.unsaid {
                    Some(Seen::Message { text: kind, payload, pieces, .. }) => {
                        let pieces = pieces.as_mut();
                        deliver(pieces, payload, &piece.payload, (*kind, text), piece.first)
                    }
                    Some(Seen::Fault(_, Some(good))) => {
                        let pieces = good.pieces.as_mut();
                        deliver(pieces, &good.front, &piece.payload, (good.text, text), piece.first)
                    }
                    _ => oracle.reader.deliver(&piece.payload, text, piece.first, &knobs),
                };
                if let Err(error) = delivered {
                    panic!("piece: {error}");
                }
            }
            (Some(Event::Ping(payload)), Some(Seen::Ping(expected))) => {
                assert_eq!(**payload, expected);
                oracle.pinged(&expected);
            }
            (Some(Event::Pong(payload)), Some(Seen::Pong(expected))) => {
                assert_eq!(**payload, expected);
                oracle.ponged(&expected);
            }
            (Some(Event::Close(close)), Some(Seen::Close(expected))) => {
                assert_eq!(body_of(close), expected);
                oracle.closed_by_peer(expected);
            }
            (event, seen) => panic!("{event:?}, expected {seen:?}"),
        }
    }

    /// What the application does at an event.
    fn react(&mut self, event: &Event<'_>, random: &mut Random) {
        match event {
            Event::Request(_) if random.percent(self.setup.eager) => {
                self.accept(&Choice::default());
            }
            Event::Http(_) if random.percent(50) => self.respond(404, 10, false),
            Event::Message(message) if random.percent(self.setup.echoes) => {
                let how = random.pick(&[How::Borrowed, How::Owned, How::Prepared]);
                self.send(message.is_text(), message.as_bytes(), how);
            }
            Event::Ping(payload) if !self.oracle.knobs.auto_pong && random.percent(50) => {
                self.send_control(0x8a, payload);
            }
            Event::Failed(ProtocolError::MessageTooBig(_)) => {
                self.send(true, b"too late", How::Borrowed);
            }
            _ => {}
        }
    }
}

/// The other end: what it says goes into `wire`, to be delivered.
struct Peer {
    masks: bool,
    random: Random,
    wire: Vec<u8>,
    deflate: Option<Deflate>,
    /// All that it said would be the body of its rejection.
    is_silent: bool,
}

impl Peer {
    fn new(of_client: bool, seed: u64) -> Self {
        let random = Random::new(seed ^ 0x5555);
        Self { masks: !of_client, random, wire: Vec::new(), deflate: None, is_silent: false }
    }

    /// Learns what was agreed on.
    fn learn(&mut self, role: Role, agreed: Option<super::http::Agreed>) {
        if let Some(agreed) = agreed
            && self.deflate.is_none()
        {
            self.deflate = Some(match role {
                Role::Server => Deflate::new(agreed.client_bits, !agreed.client_forgets),
                Role::Client => Deflate::new(agreed.server_bits, !agreed.server_forgets),
            });
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) -> Frame {
        let key = self.masks.then(|| [0; 4].map(|_| self.random.byte()));
        Frame::new(first, payload, key)
    }

    fn push(&mut self, first: u8, payload: &[u8]) {
        self.frame(first, payload).write(&mut self.wire);
    }

    fn say(&mut self, say: &Say, pings: &[u8]) {
        match *say {
            Say::Ping(length) => self.push(0x89, &vec![b'P'; length]),
            Say::Pong(length) => self.push(0x8a, &vec![b'Q'; length]),
            Say::RightPong => self.push(0x8a, pings),
            Say::CloseWithoutCode => self.push(0x88, &[]),
            Say::Close { code, reason } => {
                let mut body = code.to_be_bytes().to_vec();
                body.resize(2 + reason, b'R');
                self.push(0x88, &body);
            }
            Say::Frame { first, length } => self.push(first, &payload(true, length, 1)),
            Say::Noise { length, seed } => {
                let mut random = Random::new(seed);
                self.wire.extend((0..length).map(|_| random.byte()));
            }
            Say::Header { first, length, size, cut } => {
                let mask_bit = if self.masks { 0x80 } else { 0 };
                let mut header = vec![first];
                match size {
                    0 => header.push(mask_bit | length as u8),
                    2 => {
                        header.push(mask_bit | 126);
                        header.extend((length as u16).to_be_bytes());
                    }
                    _ => {
                        header.push(mask_bit | 127);
                        header.extend(length.to_be_bytes());
                    }
                }
                header.extend([1, 2, 3, 4]);
                header.truncate(cut);
                self.wire.extend(header);
            }
            Say::Message { text, length, seed, shape, compress, frames, flaw } => {
                self.random = Random::new(shape);
                let body = payload(text, length, seed);
                self.message(text, body, compress, frames, flaw);
            }
        }
    }

    fn message(
        &mut self,
        text: bool,
        mut body: Vec<u8>,
        compress: bool,
        frames: usize,
        flaw: Option<Flaw>,
    ) {
        let start = self.wire.len();
        if flaw == Some(Flaw::Text) {
            let at = self.random.below(body.len() + 1);
            body.insert(at, self.random.pick(&[0x80, 0xff, 0xc0, 0xe2, 0xf0]));
        }
        let mut first = if text { 1 } else { 2 };
        if let Some(deflate) = self.deflate.as_mut().filter(|_| compress) {
            body = deflate.message(&body, &mut self.random);
            first |= 0x40;
            if flaw == Some(Flaw::Payload) {
                self.corrupt(&mut body);
            }
        }
        for number in 0..frames {
            let last = number + 1 == frames;
            let count = if last { body.len() } else { self.random.below(body.len() + 1) };
            let rest = body.split_off(count);
            let fin = if last && flaw != Some(Flaw::Endless) { 0x80 } else { 0 };
            let mut frame = self.frame(first | fin, &body);
            let hit = last || self.random.percent(30);
            match flaw.filter(|_| hit) {
                Some(Flaw::Mask) => {
                    frame.key = if self.masks { None } else { Some([1, 2, 3, 4]) };
                }
                Some(Flaw::Length) => frame.waste = self.random.between(1, 2) as u8,
                Some(Flaw::Reserved) => frame.first |= self.random.pick(&[0x40, 0x20, 0x10, 0x70]),
                _ => {}
            }
            frame.write(&mut self.wire);
            if !last && self.random.percent(25) {
                let ping = self.random.length(125);
                self.push(0x89, &vec![b'B'; ping]);
            }
            body = rest;
            first = 0;
        }
        if flaw == Some(Flaw::Bit) {
            let at = start + self.random.below(self.wire.len() - start);
            self.wire[at] ^= 1 << self.random.below(8);
        }
    }

    fn corrupt(&mut self, body: &mut Vec<u8>) {
        for _ in 0..self.random.between(1, 3) {
            let at = self.random.below(body.len() + 1);
            match self.random.below(4) {
                0 => body.truncate(at),
                1 => body.insert(at, self.random.byte()),
                _ => {
                    if let Some(byte) = body.get_mut(at) {
                        *byte ^= 1 << self.random.below(8);
                    }
                }
            }
        }
    }
}

/// Another connection of the workspace: it says something now and then, and does not write all of it.
struct Neighbour {
    engine: Engine,
    waiting: Vec<u8>,
    sent: u64,
}

impl Neighbour {
    fn new(workspace: &Shared) -> Self {
        let config = Config::new();
        let source = Source::new(0);
        let engine = Engine::adopted(Role::Server, &config, source, Some(workspace));
        Self { engine, waiting: Vec::new(), sent: 0 }
    }

    fn turn(&mut self, length: usize) {
        let message = vec![b'n'; length];
        self.engine.send(message.clone()).expect("it is open");
        self.sent += 1;
        Frame::new(0x82, message, None).write(&mut self.waiting);
        let output: Vec<u8> = self.engine.output().flatten().copied().collect();
        assert!(output == self.waiting, "the neighbour says something else");
        let count = if output.len() < 5000 { output.len() / 2 } else { output.len() };
        self.engine.consume_output(count);
        self.waiting.drain(..count);
    }
}
