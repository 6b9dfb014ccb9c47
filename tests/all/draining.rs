//! Peers that read slowly, by a clock of numbers: whole sessions over all rates, from a byte in many turns to
//! everything at once.

use std::time::Duration;

use framewire::{
    Config, Connection, Event, Fragment, MessageKind, Outcome, Response, Role, State, TimeoutKind,
};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

const TURN: Duration = Duration::from_millis(100);
/// Long before the slowest session is over, and as many turns as it takes the slowest peer to read a byte.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The other time limits: shorter than the slowest peer needs for a byte, and longer.
const OTHERS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(20)];

/// How a peer takes what is sent to it: so many bytes, each so many turns.
#[derive(Clone, Copy, Debug)]
struct Rate {
    bytes: usize,
    turns: usize,
}

const RATES: [Rate; 9] = [
    Rate { bytes: 1, turns: 45 },
    Rate { bytes: 1, turns: 7 },
    Rate { bytes: 1, turns: 1 },
    Rate { bytes: 2, turns: 1 },
    Rate { bytes: 7, turns: 1 },
    Rate { bytes: 64, turns: 1 },
    Rate { bytes: 1500, turns: 3 },
    Rate { bytes: 65_536, turns: 1 },
    Rate { bytes: usize::MAX, turns: 1 },
];

impl Rate {
    /// What is read in this many turns, bounded.
    fn in_turns(self, turns: usize) -> usize {
        (turns / self.turns).saturating_mul(self.bytes).min(400_000)
    }
}

fn config(random: &mut Random) -> Config {
    let high = [1, 200, 1 << 20][random.below(3)];
    let mut other = || OTHERS[random.below(OTHERS.len())];
    Config::new()
        .output_high_water(high)
        .output_low_water(high / 4)
        .ping_interval(other())
        .pong_timeout(other())
        .close_timeout(other())
        .handshake_timeout(other())
        .decision_timeout(other())
        .write_timeout(WRITE_TIMEOUT)
}

/// What the engine was made to send, in order; its own Pings and Pongs stand between.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Data(Frame),
    Ping(Vec<u8>),
    Close(Frame),
}

/// The other end: reads at its rate, answers each Ping and the Close as it meets them.
struct Peer {
    role: Role,
    unread: Vec<u8>,
    met: Vec<Said>,
    /// The payloads of the Pongs that it met.
    ponged: Vec<Vec<u8>>,
    met_close: bool,
    sent_close: bool,
    /// On its way to the engine.
    answers: Vec<u8>,
}

impl Peer {
    fn new(role: Role) -> Self {
        let (unread, met, ponged, answers) = Default::default();
        Self { role, unread, met, ponged, met_close: false, sent_close: false, answers }
    }

    fn send(&mut self, frame: &Frame) {
        assert!(!self.sent_close);
        self.sent_close = frame.opcode == CLOSE;
        self.answers.extend(frame.by(self.role));
    }

    fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some(length) = first_frame(&self.unread) {
            let bytes: Vec<u8> = self.unread.drain(..length).collect();
            let [frame] = &sent_by(peer_of(self.role), &bytes)[..] else { panic!("one frame") };
            assert!(!self.met_close, "{frame:?} after the Close");
            match frame.opcode {
                CLOSE => {
                    self.met_close = true;
                    self.met.push(Said::Close(frame.clone()));
                    if !self.sent_close {
                        self.send(frame);
                    }
                }
                PING => {
                    if frame.payload.starts_with(b"app") {
                        self.met.push(Said::Ping(frame.payload.clone()));
                    }
                    if !self.sent_close {
                        self.send(&pong(&frame.payload));
                    }
                }
                PONG => self.ponged.push(frame.payload.clone()),
                _ => self.met.push(Said::Data(frame.clone())),
            }
        }
    }
}

/// How long the first frame is, if all of it is there.
fn first_frame(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let (header, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?) as usize),
        length => (2, usize::from(length)),
    };
    let whole = header + usize::from(second >> 7) * 4 + length;
    (bytes.len() >= whole).then_some(whole)
}

/// A session from OPEN to its end.
struct Session {
    random: Random,
    rate: Rate,
    connection: Connection,
    peer: Peer,
    now: Duration,
    turn: usize,
    /// Whether the driver stops reading while the output is congested, and at other times.
    pauses: bool,
    /// For how many more turns it does not read at all.
    resting: usize,
    /// Whether the driver is late now and then, by seconds.
    is_late: bool,
    said: Vec<Said>,
    /// The payload of the last Ping that the engine had taken when it began to close.
    owed_pong: Option<Vec<u8>>,
    inside_message: bool,
    positions: (u64, u64),
    outcome: Option<Outcome>,
}

impl Session {
    fn new(role: Role, rate: Rate, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = config(&mut random);
        let mut connection = match role {
            Role::Server => Connection::adopted_server(&config),
            Role::Client => Connection::adopted_client(&config, not_random(seed)),
        };
        let now = Duration::from_secs(random.below(100) as u64);
        connection.handle_timeout(now);
        Self {
            rate,
            connection,
            peer: Peer::new(peer_of(role)),
            now,
            turn: 0,
            pauses: random.once_in(2),
            resting: 0,
            // A peer that takes a byte in many turns takes many in the time in which the driver is late.
            is_late: rate.turns == 1 && random.once_in(2),
            said: Vec::new(),
            owed_pong: None,
            inside_message: false,
            positions: (0, 0),
            outcome: None,
            random,
        }
    }

    /// One turn of the driver: the time, bytes in, bytes out.
    fn turn(&mut self) {
        self.turn += 1;
        self.now += TURN;
        if self.is_late && self.random.once_in(50) {
            self.now += Duration::from_millis(self.random.below(20_000) as u64);
        }
        assert_eq!(self.connection.handle_timeout(self.now), None);
        self.check();
        self.rest();
        let connection = &mut self.connection;
        let stops = connection.is_paused() || (self.pauses && connection.is_congested());
        if !stops {
            let mut bytes = std::mem::take(&mut self.peer.answers);
            let mut input = &mut bytes[..];
            while let Some(event) = connection.receive(&mut input) {
                if let Event::Ping(payload) = &event
                    && connection.state() == State::Open
                {
                    self.owed_pong = Some(payload.to_vec());
                }
                assert!(!matches!(event, Event::Failed(_)), "{event:?}");
                if let Event::Close(theirs) = event {
                    self.owed_pong = None;
                    if !self.said.iter().any(|said| matches!(said, Said::Close(_))) {
                        self.said.push(Said::Close(close(theirs.code().0, "")));
                    }
                }
            }
        }
        if self.turn.is_multiple_of(self.rate.turns) {
            let mut wanted = self.rate.bytes;
            // What is taken may make room for a Pong that was held.
            loop {
                let bytes: Vec<u8> = connection.output().flatten().copied().take(wanted).collect();
                if bytes.is_empty() {
                    break;
                }
                connection.consume_output(bytes.len());
                wanted -= bytes.len();
                self.peer.read(&bytes);
            }
        }
        self.check();
        let connection = &mut self.connection;
        // The server ends first, whichever it is.
        let ended = match self.peer.role {
            Role::Server => self.peer.met_close && self.peer.sent_close,
            Role::Client => connection.wants_shutdown(),
        };
        if ended && self.peer.answers.is_empty() && self.outcome.is_none() {
            self.outcome = Some(connection.receive_eof());
        }
    }

    /// Has the driver read nothing for some turns, once in a while before the end.
    fn rest(&mut self) {
        self.resting = match self.resting {
            0 if self.pauses && self.random.once_in(100) => self.random.below(60),
            turns => turns.saturating_sub(1),
        };
        if self.resting > 0 && self.connection.state() == State::Open {
            self.connection.pause();
        } else {
            self.connection.resume();
        }
    }

    /// What holds at all times.
    fn check(&mut self) {
        let connection = &self.connection;
        let (queued, left) = (connection.queued(), connection.left());
        assert!(queued >= self.positions.0 && left >= self.positions.1);
        if connection.state() != State::Closed {
            assert_eq!(queued - left, connection.buffered_amount() as u64);
        }
        self.positions = (queued, left);
        if connection.state() == State::Closed && self.outcome.is_none() {
            self.outcome = connection.outcome().cloned();
        }
    }

    /// The application says something, or nothing; the peer too.
    fn speak(&mut self, most: usize) {
        let mut length = self.random.below(most.max(1) + 1);
        if self.random.once_in(3) {
            length = length.min(10);
        }
        let payload = self.random.bytes(length);
        let connection = &mut self.connection;
        let before = connection.buffered_amount();
        match self.random.below(6) {
            0 | 1 => match connection.send(&payload[..]) {
                Ok(()) => self.said.push(Said::Data(binary(&payload))),
                Err(_) => assert_eq!(connection.buffered_amount(), before),
            },
            2 | 3 => {
                let (first, last) = (!self.inside_message, self.random.once_in(3));
                let fragment = match last {
                    true => Fragment::last(MessageKind::Binary, &payload[..]),
                    false => Fragment::more(MessageKind::Binary, &payload[..]),
                };
                if connection.send_fragment(fragment).is_ok() {
                    let frame = if first { binary(&payload) } else { continuation(&payload) };
                    self.said.push(Said::Data(if last { frame } else { frame.more() }));
                    self.inside_message = !last;
                }
            }
            4 => {
                let payload = format!("app {}", self.said.len()).into_bytes();
                connection.ping(&payload).unwrap();
                self.said.push(Said::Ping(payload));
            }
            _ => {}
        }
        match self.random.below(10) {
            0 => {
                let payload = self.random.next().to_be_bytes();
                self.peer.send(&ping(payload));
            }
            1 => self.peer.send(&binary(&payload[..length.min(100)])),
            _ => {}
        }
    }

    fn close(&mut self) {
        self.connection.close(1000, "").unwrap();
        self.said.push(Said::Close(close(1000, "")));
    }

    /// All that was said arrives in order, and nothing after the Close.
    fn check_met(&self) {
        assert!(self.peer.met == self.said, "{:?}\ninstead of\n{:?}", self.peer.met, self.said);
        if let Some(owed) = &self.owed_pong {
            assert_eq!(self.peer.ponged.last(), Some(owed), "the Pong before the Close");
        }
    }
}

/// A session of which this is printed if it fails.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in {}", self.0);
        }
    }
}

fn sessions(count: u64, run: impl Fn(Session)) {
    for role in ROLES {
        for rate in RATES {
            for seed in 0..count {
                let _name = Name(format!("session {role:?} {rate:?} {seed}"));
                run(Session::new(role, rate, seed));
            }
        }
    }
}

/// Lets both sides speak for some turns.
fn converse(session: &mut Session) {
    let turns = 20 + session.random.below(150);
    let mut budget = session.rate.in_turns(turns).max(20);
    for _ in 0..turns {
        if session.random.once_in(4) && budget > 0 {
            let before = session.connection.buffered_amount();
            session.speak(budget);
            let more = session.connection.buffered_amount().saturating_sub(before);
            budget = budget.saturating_sub(more);
        }
        session.turn();
        assert_eq!(session.outcome, None);
    }
}

/// Whatever takes what is sent to it, at any rate, gets all of it, and the closing handshake ends it.
#[test]
fn nothing_ends_a_connection_whose_peer_behaves() {
    sessions(25, |mut session| {
        converse(&mut session);
        if session.random.once_in(2) {
            session.close();
        } else {
            session.peer.send(&close(1001, ""));
        }
        while session.outcome.is_none() {
            session.turn();
            assert!(session.turn < 100_000, "it comes to an end");
        }
        session.check_met();
        assert!(session.outcome.as_ref().unwrap().was_clean(), "{:?}", session.outcome);
    });
}

/// A transport that ends at any time: what is clean was complete, and what was sent had left.
#[test]
fn an_end_at_any_time_is_told_as_it_was() {
    let (clean, unclean) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    sessions(25, |mut session| {
        converse(&mut session);
        match session.random.below(3) {
            0 => session.close(),
            1 => session.peer.send(&close(1001, "")),
            _ => {
                session.close();
                session.peer.send(&close(1001, ""));
            }
        }
        for _ in 0..session.random.below(30) {
            if session.outcome.is_none() {
                session.turn();
            }
        }
        let Session { connection, peer, .. } = &mut session;
        let outcome = connection.receive_eof();
        let sent = match &outcome {
            Outcome::Clean { sent, .. } => Some(sent),
            Outcome::Lost { sent, .. } => sent.as_ref(),
            other => panic!("{other:?}"),
        };
        assert_eq!(sent.is_some(), peer.met_close, "{outcome:?}");
        if outcome.was_clean() {
            assert!(peer.sent_close && peer.answers.is_empty());
            session.check_met();
            clean.set(clean.get() + 1);
        } else {
            unclean.set(unclean.get() + 1);
        }
    });
    assert!(clean.get() > 100 && unclean.get() > 100, "{clean:?} {unclean:?}");
}

/// Only a peer that takes nothing is given up, in every state, and that after the time for it.
#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    sessions(10, |mut session| {
        converse(&mut session);
        session.connection.send("one more").ok();
        match session.random.below(3) {
            0 => session.close(),
            1 => session.peer.send(&close(1001, "")),
            _ => {}
        }
        session.turn();
        let since = session.now;
        let before = TURN * session.rate.turns as u32;
        (session.rate, session.is_late) = (Rate { bytes: 0, turns: 1 }, false);
        if session.connection.buffered_amount() == 0 {
            return;
        }
        while session.outcome.is_none() {
            session.turn();
            assert!(session.now < since + 2 * WRITE_TIMEOUT);
        }
        assert!(session.now + before >= since + WRITE_TIMEOUT);
        let Some(Outcome::TimedOut { timeout, sent, .. }) = &session.outcome else {
            panic!("{:?}", session.outcome)
        };
        assert_eq!((*timeout, sent), (TimeoutKind::Write, &None));
    });
}

/// An HTTP answer has no closing handshake: it arrives whole.
#[test]
fn http_answers_arrive_whole() {
    for rate in RATES {
        let mut random = Random::new(rate.bytes as u64);
        let mut connection = Connection::server(&config(&mut random));
        connection.handle_timeout(Duration::ZERO);
        let mut head = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        assert!(matches!(connection.receive(&mut &mut head[..]), Some(Event::Http(_))));
        let body = random.bytes(rate.in_turns(300).max(30));
        connection.respond(Response::new(200).body(body.clone())).unwrap();
        let mut met = Vec::new();
        let mut turn = 0;
        while !connection.wants_shutdown() {
            turn += 1;
            assert!(turn < 100_000 && connection.state() != State::Closed, "{rate:?}");
            assert_eq!(connection.handle_timeout(TURN * turn), None);
            if (turn as usize).is_multiple_of(rate.turns) {
                let before = met.len();
                met.extend(connection.output().flatten().take(rate.bytes));
                connection.consume_output(met.len() - before);
            }
        }
        assert!(met.ends_with(&body), "{rate:?}");
        assert!(matches!(connection.receive_eof(), Outcome::Rejected(_)));
    }
}
