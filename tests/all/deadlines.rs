//! Time limits, by a clock that the test sets.

use std::time::Duration;

use framewire::handshake::{RequestError, Response, ResponseError};
use framewire::{
    Accept, CloseCode, CloseFrame, Config, Connection, Event, Fragments, HandshakeError, Outcome,
    ProtocolError, Role, State, TimeoutKind,
};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The smallest step of the clock.
const TICK: Duration = Duration::from_micros(1);

/// A driver that comes exactly when the connection asks for it, and when the test says so. Nothing comes from
/// the peer but what the test feeds.
struct Driver {
    connection: Connection,
    now: Duration,
    /// How much the peer takes at each visit.
    takes: usize,
    /// What the peer has taken since somebody last looked.
    taken: Vec<u8>,
    seen: Vec<Event<'static>>,
    recorder: Recorder,
    visits: usize,
}

impl Driver {
    fn new(connection: Connection, now: Duration) -> Self {
        let (taken, seen) = (Vec::new(), Vec::new());
        let (recorder, takes, visits) = (Recorder::default(), usize::MAX, 0);
        let mut driver = Self { connection, now, takes, taken, seen, recorder, visits };
        driver.turn();
        driver
    }

    /// At an open connection that was opened at `now`.
    fn open(role: Role, config: &Config, now: u64) -> Self {
        Self::new(open(role, config, None), at(now))
    }

    /// Tells the time, and lets the peer take what it takes.
    fn turn(&mut self) {
        self.visits += 1;
        let before = self.seen.len();
        while let Some(event) = self.connection.handle_timeout(self.now) {
            self.seen.push(event);
            assert!(self.seen.len() < before + 3, "{:?}", self.seen);
        }
        self.write();
    }

    fn write(&mut self) {
        let bytes: Vec<u8> = self.connection.output().flatten().copied().take(self.takes).collect();
        self.connection.consume_output(bytes.len());
        self.taken.extend(bytes);
    }

    /// Comes whenever it is asked for up to this moment, and then.
    fn pass(&mut self, until: Duration) {
        let mut in_vain = 0;
        while let Some(next) = self.connection.next_timeout().filter(|next| *next < until) {
            self.now = self.now.max(next);
            let before = self.look();
            self.turn();
            let later = self.connection.next_timeout().is_none_or(|after| after > self.now);
            in_vain = if later || self.look() != before { 0 } else { in_vain + 1 };
            assert!(in_vain < 3, "it asks for nothing at {:?}: {:?}", self.now, self.connection);
        }
        self.now = self.now.max(until);
        // Whoever waits no longer than asked for comes again at once.
        for _ in 0..3 {
            self.turn();
        }
    }

    /// What a turn can change, but for the next timeout.
    fn look(&self) -> (State, usize, u64, u64) {
        let connection = &self.connection;
        (connection.state(), self.seen.len(), connection.queued(), connection.left())
    }

    /// Nothing happens before this moment, and something then.
    fn nothing_before(&mut self, moment: Duration) {
        assert_eq!(self.taken, b"", "at {:?}", self.now);
        let before = self.look();
        self.pass(moment - TICK);
        assert_eq!(self.look(), before, "at {:?}", self.now);
        self.pass(moment);
        assert_ne!(self.look(), before, "at {:?}", self.now);
    }

    /// Nothing happens up to this moment.
    fn nothing_until(&mut self, moment: Duration) {
        assert_eq!(self.taken, b"", "at {:?}", self.now);
        let before = self.look();
        self.pass(moment);
        assert_eq!(self.look(), before, "at {:?}", self.now);
    }

    /// The peer has sent this by now.
    fn feed(&mut self, now: Duration, bytes: impl AsRef<[u8]>) -> Vec<Seen> {
        self.pass(now);
        let mut bytes = bytes.as_ref().to_vec();
        let mut input = &mut bytes[..];
        while let Some(event) = self.connection.receive(&mut input) {
            self.recorder.record(event);
        }
        std::mem::take(&mut self.recorder.seen)
    }

    /// The frames that the peer has taken since the last time.
    fn frames(&mut self) -> Vec<Frame> {
        sent_by(self.connection.role(), &std::mem::take(&mut self.taken))
    }

    #[track_caller]
    fn is_closed_with(&mut self, outcome: Outcome) {
        assert_eq!(self.connection.state(), State::Closed, "at {:?}", self.now);
        assert_eq!(self.connection.outcome(), Some(&outcome));
        assert_eq!(self.connection.receive_eof(), outcome);
        assert_eq!(self.connection.next_timeout(), None);
        assert_eq!(self.connection.handle_timeout(Duration::MAX), None);
        assert_eq!(self.connection.outcome(), Some(&outcome));
    }
}

fn timed_out(timeout: TimeoutKind) -> Outcome {
    Outcome::TimedOut { timeout, sent: None, received: None }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame::new(CloseCode(code), reason).unwrap()
}

fn connecting(role: Role, config: &Config) -> Connection {
    match role {
        Role::Server => Connection::server(config),
        Role::Client => client(config),
    }
}

fn handshake_timeout(role: Role) -> HandshakeError {
    match role {
        Role::Server => HandshakeError::Request(RequestError::Timeout),
        Role::Client => HandshakeError::Response(ResponseError::Timeout),
    }
}

/// The first bytes that the peer of `role` sends.
fn head(role: Role) -> String {
    match role {
        Role::Server => request(""),
        Role::Client => response(""),
    }
}

// attack: HC05
#[test]
fn the_body_of_a_rejection_has_a_second_after_its_head() {
    let heads = ["", "Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"];
    for (head, body) in heads.into_iter().zip(["part", "part", "4\r\npart\r\n"]) {
        let default = || Config::new();
        let none = || default().rejection_timeout(None);
        for (config, begun, ended) in [
            (default(), 103, 104),
            (default().rejection_timeout(at(3)), 103, 106),
            (none(), 103, 110),
            // What the handshake may take in all is not made longer by it.
            (default().rejection_timeout(at(3)), 108, 110),
        ] {
            let mut driver = Driver::new(connecting(Role::Client, &config), at(100));
            driver.taken.clear();
            let head = format!("HTTP/1.1 403 Forbidden\r\n{head}\r\n");
            let (front, last) = head.split_at(head.len() - 1);
            assert_eq!(driver.feed(at(102), front), vec![]);
            assert_eq!(driver.feed(at(begun), last), vec![]);
            // Progress does not put it off.
            assert_eq!(driver.feed(at(begun) + TICK, body), vec![]);
            driver.nothing_before(at(ended));
            let outcome = driver.connection.outcome().cloned();
            let Some(Outcome::Rejected(response)) = &outcome else { panic!("{outcome:?}") };
            assert_eq!((response.status(), response.body_bytes()), (403, &b"part"[..]));
            assert!(driver.seen.is_empty() && driver.connection.state() == State::Closed);
        }
    }
    // An interim response is none, and neither is a head that is not whole.
    for unfinished in ["HTTP/1.1 103 x\r\n\r\n", "HTTP/1.1 403 x\r\n"] {
        let mut driver = Driver::new(connecting(Role::Client, &Config::new()), at(100));
        driver.taken.clear();
        assert_eq!(driver.feed(at(103), unfinished), vec![]);
        driver.nothing_before(at(110));
        assert_eq!(driver.seen, [Event::HandshakeFailed(handshake_timeout(Role::Client))]);
    }
}

// req: W106
// attack: HC04, HS05, HS06
#[test]
fn progress_does_not_extend_the_handshake() {
    for role in ROLES {
        let mut driver = Driver::new(connecting(role, &Config::new()), at(100));
        driver.taken.clear();
        let head = head(role);
        for second in 0..10u64 {
            let byte = head.as_bytes()[second as usize];
            assert_eq!(driver.feed(at(100 + second), [byte]), vec![]);
        }
        driver.nothing_before(at(110));
        assert_eq!(driver.seen, [Event::HandshakeFailed(handshake_timeout(role))]);
        // Just dropped: nobody who is that slow reads an answer.
        assert_eq!(driver.taken, b"");
        driver.is_closed_with(Outcome::HandshakeFailed(handshake_timeout(role)));
    }
}

#[test]
fn a_decision_has_a_time_of_its_own() {
    let mut driver = Driver::new(Connection::server(&Config::new()), at(100));
    driver.feed(at(107), request(""));
    assert!(driver.connection.awaits_decision());
    // The client has done its part.
    driver.nothing_before(at(117));
    let error = HandshakeError::Request(RequestError::DecisionTimeout);
    assert_eq!(driver.seen, [Event::HandshakeFailed(error.clone())]);
    assert!(driver.taken.starts_with(b"HTTP/1.1 503 "));
    assert!(driver.connection.wants_shutdown());
    assert_eq!(driver.connection.receive_eof(), Outcome::HandshakeFailed(error));
    // A decision in time leaves nothing behind: a message begins to count from its own first byte.
    let config = Config::new().message_timeout(at(3)).ping_interval(None);
    let mut driver = Driver::new(Connection::server(&config), at(0));
    driver.feed(at(0), request(""));
    driver.pass(at(8));
    driver.connection.accept(Accept::new()).unwrap();
    driver.write();
    driver.taken.clear();
    driver.feed(at(9), [0x81]);
    driver.nothing_before(at(12));
}

// attack: FL07
#[test]
fn silence_is_asked_and_then_given_up() {
    for role in ROLES {
        let mut driver = Driver::open(role, &Config::new(), 0);
        driver.nothing_before(at(20));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        // Any byte is a sign of life.
        driver.feed(at(39), &pong("").by(peer_of(role))[..1]);
        driver.nothing_before(at(59));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 2])]);
        driver.nothing_before(at(79));
        driver.is_closed_with(timed_out(TimeoutKind::Pong));
    }
}

// req: W092, W094
// attack: CL06, CL07, CL08
#[test]
fn a_closing_handshake_has_an_end() {
    for role in ROLES {
        for answered in [false, true] {
            let mut driver = Driver::open(role, &Config::new(), 0);
            driver.pass(at(7));
            driver.connection.close(1000, "").unwrap();
            driver.write();
            assert_eq!(driver.frames(), [close(1000, "")]);
            if answered {
                driver.feed(at(7), close(1000, "").by(peer_of(role)));
                assert_eq!(driver.connection.wants_shutdown(), role == Role::Server);
            }
            // Data that keeps coming does not extend it.
            for second in 8..12 {
                driver.feed(at(second), text("flood").by(peer_of(role)));
            }
            driver.nothing_before(at(12));
            let sent = Some(close_frame(1000, ""));
            let outcome = driver.connection.receive_eof();
            assert_eq!(outcome.was_clean(), answered);
            if !answered {
                let timeout = TimeoutKind::Close;
                driver.is_closed_with(Outcome::TimedOut { timeout, sent, received: None });
            }
        }
    }
}

// req: W092
#[test]
fn the_time_of_a_close_begins_when_it_has_left() {
    for role in ROLES {
        for progress in [false, true] {
            let config = Config::new().ping_interval(None);
            let mut driver = Driver::open(role, &config, 0);
            driver.takes = 0;
            driver.connection.send(vec![7; 100_000]).unwrap();
            driver.connection.close(1000, "").unwrap();
            driver.nothing_until(at(29));
            if !progress {
                driver.nothing_before(at(30));
                // It was queued, and never sent.
                driver.is_closed_with(timed_out(TimeoutKind::Write));
                continue;
            }
            // Ages pass while the peer reads, however slowly.
            for second in 1..100 {
                driver.takes = 1;
                driver.pass(at(29 * second));
                driver.taken.clear();
                driver.takes = 0;
            }
            assert_eq!(driver.connection.state(), State::Closing);
            driver.pass(at(2880));
            driver.takes = usize::MAX;
            driver.write();
            driver.taken.clear();
            let left = driver.now;
            driver.nothing_before(left + at(5));
            let (timeout, sent) = (TimeoutKind::Close, Some(close_frame(1000, "")));
            driver.is_closed_with(Outcome::TimedOut { timeout, sent, received: None });
        }
    }
}

#[test]
fn the_time_of_an_answer_begins_when_it_has_left() {
    for progress in [false, true] {
        let mut driver = Driver::new(Connection::server(&Config::new()), at(0));
        driver.takes = 0;
        driver.pass(at(1));
        let mut request = *b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let event = driver.connection.receive(&mut &mut request[..]);
        assert!(matches!(event, Some(Event::Http(_))));
        driver.connection.respond(Response::new(200).body(vec![b'x'; 1_000_000])).unwrap();
        let outcome = |driver: &Driver| driver.connection.outcome().cloned();
        if !progress {
            driver.nothing_before(at(31));
            assert!(matches!(outcome(&driver), Some(Outcome::Rejected(_))));
            continue;
        }
        for second in 1..100 {
            driver.takes = 1000;
            driver.pass(at(20 * second));
            driver.taken.clear();
            driver.takes = 0;
        }
        assert_eq!(driver.connection.state(), State::Closing);
        driver.takes = usize::MAX;
        driver.write();
        driver.taken.clear();
        assert!(driver.connection.wants_shutdown());
        let left = driver.now;
        driver.nothing_before(left + at(5));
        assert!(matches!(outcome(&driver), Some(Outcome::Rejected(_))));
    }
}

// attack: FM06
#[test]
fn a_message_that_takes_too_long_fails_with_1008() {
    for role in ROLES {
        let config = Config::new().message_timeout(at(30)).ping_interval(None);
        let mut driver = Driver::open(role, &config, 0);
        let peer = peer_of(role);
        driver.nothing_until(at(99));
        driver.feed(at(100), text("a").more().by(peer));
        for second in [110, 120, 129] {
            driver.feed(at(second), continuation("b").more().by(peer));
        }
        // One that ends in time makes way for the next, even in one read.
        let ends = [continuation("c").by(peer), text("d").more().by(peer)].concat();
        assert_eq!(driver.feed(at(129), ends), [said("abbbc")]);
        driver.nothing_until(at(140));
        // The first byte counts.
        driver.feed(at(150), continuation("e").more().by(peer));
        driver.nothing_before(at(159));
        let error = ProtocolError::Timeout(TimeoutKind::Message);
        assert_eq!(driver.seen, [Event::Failed(error)]);
        assert_eq!(driver.frames(), [close(1008, &error.to_string())]);
        assert!(driver.connection.wants_shutdown());
        driver.nothing_before(at(164));
        driver.is_closed_with(Outcome::Failed(error));
    }
}

// attack: FM06
#[test]
fn a_message_in_pieces_or_in_a_buffer_takes_no_longer() {
    for role in ROLES {
        for pieces in [false, true] {
            let fragments = if pieces { Fragments::Always } else { Fragments::Never };
            let config =
                Config::new().message_timeout(at(30)).ping_interval(None).fragments(fragments);
            let mut driver = Driver::open(role, &config, 0);
            let stream = binary(vec![7; 500_000]).by(peer_of(role));
            driver.feed(at(100), &stream[..50_000]);
            for second in 101..130 {
                driver.pass(at(second));
                let piece = &stream[10_000 * (second as usize - 96)..][..10_000];
                let direct = driver.connection.receive_direct(|buffer, _| buffer.append(piece));
                assert_eq!(direct.is_none(), pieces);
                if pieces {
                    driver.feed(at(second), piece);
                }
            }
            driver.nothing_before(at(130));
            let error = ProtocolError::Timeout(TimeoutKind::Message);
            assert_eq!(driver.seen, [Event::Failed(error)]);
        }
    }
}

#[test]
fn the_first_message_has_a_deadline_of_its_own() {
    for role in ROLES {
        let config = Config::new().first_message_timeout(at(5)).ping_interval(None);
        let mut driver = Driver::open(role, &config, 0);
        driver.feed(at(4), ping("not one").by(peer_of(role)));
        driver.write();
        assert_eq!(driver.frames(), [pong("not one")]);
        driver.nothing_before(at(5));
        let error = ProtocolError::Timeout(TimeoutKind::FirstMessage);
        assert_eq!(driver.seen, [Event::Failed(error)]);
        assert_eq!(driver.frames(), [close(1008, &error.to_string())]);

        // It is enough that it has come, in whatever way.
        for pieces in [false, true] {
            let fragments = if pieces { Fragments::Always } else { Fragments::Never };
            for stream in
                [text("in time").by(peer_of(role)), binary(vec![7; 9000]).by(peer_of(role))]
            {
                for cut in [0, 1, stream.len() / 2] {
                    let mut driver = Driver::open(role, &config.clone().fragments(fragments), 0);
                    let (front, back) = stream.split_at(cut);
                    driver.feed(at(3), front);
                    driver.feed(at(4), back);
                    driver.nothing_until(at(1000));
                }
            }
        }
    }
}

// attack: CL16, FL03
#[test]
fn output_that_nobody_takes_ends_the_connection() {
    for role in ROLES {
        let config = Config::new().ping_interval(None);
        let mut driver = Driver::open(role, &config, 0);
        driver.pass(at(10));
        driver.takes = 0;
        driver.connection.send(vec![0; 100_000]).unwrap();
        let (queued, left) = (driver.connection.queued(), driver.connection.left());
        // Progress, however small, counts.
        driver.nothing_until(at(39));
        driver.connection.consume_output(1);
        driver.feed(at(50), text("nothing to do with it").by(peer_of(role)));
        driver.nothing_before(at(69));
        assert_eq!(
            (driver.connection.state(), driver.connection.buffered_amount()),
            (State::Closed, 0)
        );
        assert_eq!((driver.connection.queued(), driver.connection.left()), (queued, left + 1));
        driver.is_closed_with(timed_out(TimeoutKind::Write));
        // Once all is taken there is no deadline.
        let mut driver = Driver::open(role, &config, 0);
        driver.takes = 0;
        driver.connection.send("x").unwrap();
        driver.pass(at(10));
        driver.takes = usize::MAX;
        driver.pass(at(11));
        driver.taken.clear();
        driver.nothing_until(at(1000));
        // And what is sent then has all the time that there is.
        driver.takes = 0;
        driver.connection.send("y").unwrap();
        driver.nothing_before(at(1030));
    }
}

#[test]
fn what_is_queued_after_a_while_has_all_of_its_time() {
    for role in ROLES {
        let mut driver = Driver::open(role, &Config::new().ping_interval(None), 0);
        driver.takes = 0;
        driver.now = at(100);
        driver.connection.set_time(driver.now);
        driver.connection.send("x").unwrap();
        driver.nothing_before(at(130));
    }
}

#[test]
fn a_request_that_nobody_takes_ends_the_connection() {
    let config = Config::new().handshake_timeout(None);
    let mut driver = Driver::new(Connection::server(&config), at(0));
    driver.nothing_until(at(1000));
    let mut client = client(&config);
    assert_eq!(client.handle_timeout(at(5)), None);
    while client.state() != State::Closed {
        let next = client.next_timeout().unwrap();
        assert!(next <= at(35));
        assert_eq!(client.handle_timeout(next), None);
    }
    assert_eq!(client.receive_eof(), timed_out(TimeoutKind::Write));
}

/// Whatever a peer that keeps to the deadlines has done meanwhile lies unread, or in the network.
#[test]
fn a_driver_that_is_late_ends_no_healthy_connection() {
    type Prepare = fn(Role, &Config) -> Connection;
    type Meet = fn(&mut Connection);
    fn opened(role: Role, config: &Config) -> Connection {
        let mut connection = open(role, config, None);
        connection.handle_timeout(at(0));
        connection
    }
    let cases: [(&str, Prepare, Meet); 7] = [
        (
            "handshake",
            |role, config| {
                let mut connection = connecting(role, config);
                drain(&mut connection);
                connection.handle_timeout(at(0));
                feed(&mut connection, &head(role).as_bytes()[..30]);
                connection
            },
            |connection| {
                let head = head(connection.role());
                assert_eq!(feed(connection, &head.as_bytes()[30..]).len(), 1);
            },
        ),
        ("first message", opened, |connection| {
            let peer = peer_of(connection.role());
            assert_eq!(feed(connection, &text("first").by(peer)), [said("first")]);
        }),
        (
            "message",
            |role, config| {
                let mut connection = opened(role, config);
                feed(&mut connection, &text("be").more().by(peer_of(role)));
                connection
            },
            |connection| {
                let peer = peer_of(connection.role());
                assert_eq!(feed(connection, &continuation("gun").by(peer)), [said("begun")]);
            },
        ),
        (
            "pong",
            |role, config| {
                let mut connection = opened(role, config);
                connection.handle_timeout(at(4));
                assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 1])]);
                connection
            },
            |connection| {
                let peer = peer_of(connection.role());
                feed(connection, &[pong([0, 0, 0, 1]).by(peer), text("a").by(peer)].concat());
            },
        ),
        (
            "idle",
            |role, config| {
                let mut connection = opened(role, config);
                feed(&mut connection, &text("one").by(peer_of(role)));
                connection
            },
            |connection| {
                let peer = peer_of(connection.role());
                feed(connection, &text("another").by(peer));
            },
        ),
        (
            "write",
            |role, config| {
                let mut connection = opened(role, config);
                feed(&mut connection, &text("one").by(peer_of(role)));
                connection.send(vec![7; 1000]).unwrap();
                connection
            },
            |connection| {
                let peer = peer_of(connection.role());
                connection.consume_output(10);
                feed(connection, &text("another").by(peer));
            },
        ),
        (
            "close",
            |role, config| {
                let mut connection = opened(role, config);
                connection.close(1000, "").unwrap();
                drain(&mut connection);
                connection
            },
            |connection| {
                let peer = peer_of(connection.role());
                assert_eq!(feed(connection, &close(1000, "").by(peer)).len(), 1);
                assert!(connection.receive_eof().was_clean());
            },
        ),
    ];
    let all = Config::new()
        .handshake_timeout(at(5))
        .first_message_timeout(at(5))
        .message_timeout(at(5))
        .idle_timeout(at(5))
        .ping_interval(at(4))
        .pong_timeout(at(5))
        .write_timeout(at(5))
        .close_timeout(at(5));
    for (name, prepare, meet) in cases {
        // Each by itself, and one where several are due at once.
        let single = Config::new()
            .handshake_timeout(None)
            .ping_interval(None)
            .write_timeout(None)
            .close_timeout(None);
        let single = match name {
            "handshake" => single.handshake_timeout(at(5)),
            "first message" => single.first_message_timeout(at(5)),
            "message" => single.message_timeout(at(5)),
            "pong" => single.ping_interval(at(4)).pong_timeout(at(5)),
            "idle" => single.idle_timeout(at(5)),
            "write" => single.write_timeout(at(5)),
            _ => single.close_timeout(at(5)),
        };
        for config in [single, all.clone()] {
            for role in ROLES {
                // A driver reads after it has told the time, or before, and gives what it has read then.
                for calls in [1, 2] {
                    for late in [at(11), at(100_000), at(1 << 40)] {
                        let mut connection = prepare(role, &config);
                        let state = connection.state();
                        for _ in 0..calls {
                            assert_eq!(connection.handle_timeout(late), None, "{name}");
                            assert_eq!(connection.state(), state, "{name} {calls} {late:?}");
                            assert!(connection.next_timeout().unwrap() <= late);
                        }
                        meet(&mut connection);
                        if name == "close" {
                            continue;
                        }
                        for _ in 0..3 {
                            assert_eq!(connection.handle_timeout(late), None, "{name}");
                        }
                        let expected = match (name, role) {
                            ("handshake", Role::Server) => State::Connecting,
                            _ => State::Open,
                        };
                        assert_eq!(connection.state(), expected, "{name} {calls} {late:?}");
                    }
                }
                // Where nothing lies unread it ends, without further waiting.
                let mut connection = prepare(role, &config);
                let state = connection.state();
                for _ in 0..3 {
                    assert_eq!(connection.state(), state, "{name}");
                    connection.handle_timeout(at(100));
                }
                assert_ne!(connection.state(), state, "{name}");
            }
        }
    }
}

/// A deadline that has passed and was then met, or put off, is not held against another one.
#[test]
fn each_deadline_is_judged_by_itself() {
    for role in ROLES {
        let config =
            Config::new().ping_interval(None).write_timeout(at(12)).message_timeout(at(10));
        let peer = peer_of(role);
        let mut connection = open(role, &config, None);
        connection.handle_timeout(at(0));
        connection.send(vec![7; 1000]).unwrap();
        feed(&mut connection, &text("be").more().by(peer));
        // Both are overdue; the rest of the message lies unread, and then there is room for the output.
        for _ in 0..2 {
            assert_eq!(connection.handle_timeout(at(100)), None);
        }
        assert_eq!(feed(&mut connection, &continuation("gun").by(peer)), [said("begun")]);
        for _ in 0..2 {
            assert_eq!(connection.handle_timeout(at(100)), None);
        }
        connection.consume_output(1);
        for _ in 0..3 {
            assert_eq!(connection.handle_timeout(at(100)), None);
        }
        assert_eq!(connection.state(), State::Open);
    }
}

/// What is sent to a peer is no excuse for what it sends.
#[test]
fn output_that_leaves_puts_off_nothing_that_is_asked_of_messages() {
    for role in ROLES {
        for timeout in [TimeoutKind::FirstMessage, TimeoutKind::Message, TimeoutKind::Idle] {
            let config = Config::new().ping_interval(None).output_high_water(1000);
            let config = match timeout {
                TimeoutKind::FirstMessage => config.first_message_timeout(at(10)),
                TimeoutKind::Message => config.message_timeout(at(10)),
                _ => config.idle_timeout(at(10)),
            };
            // A little, and as much as makes a driver cease to read, if it stayed.
            for length in [30, 3000] {
                let mut driver = Driver::open(role, &config, 0);
                driver.feed(at(0), text("endless").more().by(peer_of(role)));
                // Something is said all the time, and leaves.
                let mut moment = at(0);
                while driver.connection.state() == State::Open {
                    driver.connection.send(vec![7; length]).unwrap();
                    driver.write();
                    driver.now = moment;
                    driver.turn();
                    moment += Duration::from_millis(100);
                    assert!(moment < at(11), "{timeout:?} {length}");
                }
                assert!(moment > at(10), "{timeout:?} {length}");
            }
        }
    }
}

// attack: OS11
#[test]
fn odd_clocks_do_no_harm() {
    for role in ROLES {
        // A jump of hours: asked first, not closed at once.
        let mut driver = Driver::open(role, &Config::new(), 0);
        driver.now = at(100_000);
        driver.turn();
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        assert_eq!(driver.connection.state(), State::Open);
        // FL08: it is heard, whatever it says.
        driver.feed(at(100_001), pong("another").by(peer_of(role)));
        driver.nothing_before(at(100_021));
        // Data at the same instant as the deadline wins.
        let config = Config::new().ping_interval(None).idle_timeout(at(20));
        let mut driver = Driver::open(role, &config, 0);
        driver.pass(at(19));
        driver.now = at(20);
        driver.turn();
        feed(&mut driver.connection, &text("").by(peer_of(role)));
        driver.nothing_before(at(40));
        // A clock that runs backwards only makes things later.
        let mut driver = Driver::open(role, &Config::new(), 1000);
        assert_eq!(driver.connection.handle_timeout(at(5)), None);
        driver.nothing_before(at(1020));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
    }
    // The ends of time, and timeouts that no clock reaches.
    let moments = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX, at(u64::MAX)];
    for timeout in moments {
        let config = Config::new()
            .handshake_timeout(timeout)
            .decision_timeout(timeout)
            .first_message_timeout(timeout)
            .ping_interval(timeout)
            .pong_timeout(timeout)
            .message_timeout(timeout)
            .idle_timeout(timeout)
            .max_lifetime(timeout)
            .write_timeout(timeout)
            .close_timeout(timeout);
        for now in moments {
            for later in moments {
                for role in ROLES {
                    let mut connection = open(role, &config, None);
                    connection.seed(u64::MAX);
                    connection.set_time(now);
                    connection.send("unsent").unwrap();
                    feed(&mut connection, &text("begun").more().by(peer_of(role)));
                    connection.handle_timeout(now);
                    if timeout == Duration::MAX || timeout == at(u64::MAX) {
                        assert!(
                            connection.next_timeout().is_none_or(|next| next >= now.min(later))
                        );
                    }
                    for _ in 0..20 {
                        connection.handle_timeout(later);
                    }
                    // Never is never due early: ages pass before a deadline that far away.
                    if timeout == Duration::MAX && later < at(1 << 40) && now < at(1 << 40) {
                        assert_eq!(connection.state(), State::Open);
                    }
                }
            }
        }
    }
}

#[test]
fn deadlines_can_be_switched_off() {
    for role in ROLES {
        let config = Config::new()
            .handshake_timeout(None)
            .ping_interval(None)
            .write_timeout(None)
            .close_timeout(None);
        let mut fresh = connecting(role, &config);
        assert_eq!(fresh.handle_timeout(at(0)), None);
        assert_eq!(fresh.next_timeout(), None);
        let mut driver = Driver::open(role, &config, 0);
        driver.takes = 0;
        driver.connection.send("unsent").unwrap();
        driver.nothing_until(at(1));
        assert_eq!(driver.connection.next_timeout(), None);
        driver.connection.close(1000, "").unwrap();
        driver.nothing_until(Duration::MAX);
        assert_eq!(driver.connection.next_timeout(), None);
    }
}

// attack: FL07
#[test]
fn a_message_must_come_now_and_then() {
    for role in ROLES {
        let config = Config::new().idle_timeout(at(60)).ping_interval(None);
        let peer = peer_of(role);
        let fresh = || Driver::open(role, &config, 0);
        fresh().nothing_before(at(60));
        // Control frames show that somebody is there, not that there is anything to say.
        let mut driver = fresh();
        driver.feed(at(50), [ping("").by(peer), pong("").by(peer)].concat());
        driver.write();
        driver.taken.clear();
        driver.nothing_before(at(60));
        // Nor does what is sent.
        let mut driver = fresh();
        driver.pass(at(55));
        driver.connection.send("a").unwrap();
        driver.write();
        driver.taken.clear();
        driver.nothing_before(at(60));
        // A message does, and every part of a long one.
        let mut driver = fresh();
        driver.feed(at(59), text("b").by(peer));
        driver.feed(at(118), text("c").more().by(peer));
        for second in [170, 220] {
            driver.feed(at(second), continuation("d").more().by(peer));
        }
        driver.nothing_before(at(280));
        assert_eq!(driver.frames(), [close(1001, "idle timeout")]);
        driver.feed(at(281), close(1001, "").by(peer));
        assert!(driver.connection.receive_eof().was_clean());
    }
}

#[test]
fn a_connection_lives_for_so_long_and_no_longer() {
    for role in ROLES {
        let config = Config::new().max_lifetime(at(3600)).ping_interval(None);
        let mut driver = Driver::open(role, &config, 100);
        for second in [1000, 2000, 3699] {
            driver.feed(at(second), text("busy").by(peer_of(role)));
        }
        driver.nothing_before(at(3700));
        assert_eq!(driver.frames(), [close(1001, "maximum lifetime reached")]);
        // Who does not answer is dropped like at any other close.
        driver.nothing_before(at(3705));
        let (timeout, received) = (TimeoutKind::Close, None);
        let sent = Some(close_frame(1001, "maximum lifetime reached"));
        driver.is_closed_with(Outcome::TimedOut { timeout, sent, received });
    }
}

/// A peer that has said nothing is told so, and not how long connections live.
#[test]
fn of_two_limits_that_are_met_at_once_silence_is_named() {
    for role in ROLES {
        let config = Config::new().ping_interval(None).idle_timeout(at(20)).max_lifetime(at(20));
        let mut driver = Driver::open(role, &config, 0);
        driver.nothing_before(at(20));
        assert_eq!(driver.frames(), [close(1001, "idle timeout")]);
    }
}

#[test]
fn what_a_pause_holds_up_is_not_held_against_the_peer() {
    for role in ROLES {
        let config = Config::new()
            .first_message_timeout(at(10))
            .message_timeout(at(10))
            .idle_timeout(at(30))
            .max_lifetime(at(1000));
        let peer = peer_of(role);
        // The lifetime goes on, and nothing else: no Ping whose Pong nobody would read.
        let mut driver = Driver::open(role, &config, 0);
        driver.pass(at(4));
        driver.connection.pause();
        assert!(driver.connection.is_paused());
        driver.nothing_before(at(1000));
        assert_eq!(driver.frames(), [close(1001, "maximum lifetime reached")]);

        let mut driver = Driver::open(role, &config, 0);
        driver.pass(at(4));
        driver.connection.pause();
        driver.nothing_until(at(104));
        driver.connection.resume();
        // The first message has 6 s left.
        driver.nothing_until(at(110) - TICK);
        feed(&mut driver.connection, &text("begun").more().by(peer));
        driver.nothing_before(at(110));
        assert_eq!(driver.seen, [Event::Failed(ProtocolError::Timeout(TimeoutKind::FirstMessage))]);

        let mut driver = Driver::open(role, &config, 0);
        driver.feed(at(5), text("begun").more().by(peer));
        for (from, to) in [(7, 57), (57, 107)] {
            driver.pass(at(from));
            driver.connection.pause();
            driver.connection.pause();
            driver.pass(at(to));
            driver.connection.resume();
            driver.connection.resume();
        }
        driver.feed(at(108), continuation("ended").by(peer));
        driver.nothing_before(at(128));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        driver.feed(at(130), text("begun").more().by(peer));
        driver.pass(at(132));
        driver.connection.pause();
        driver.pass(at(232));
        driver.connection.resume();
        // 8 s are left for the message.
        driver.nothing_before(at(240));
        assert_eq!(driver.seen, [Event::Failed(ProtocolError::Timeout(TimeoutKind::Message))]);

        // Output that nobody takes is another matter.
        let mut driver = Driver::open(role, &config, 0);
        driver.takes = 0;
        driver.connection.send("a").unwrap();
        driver.connection.pause();
        driver.nothing_before(at(30));
        driver.is_closed_with(timed_out(TimeoutKind::Write));
        // A Ping that was sent before the pause is not missed after it.
        let mut driver = Driver::open(role, &Config::new(), 0);
        driver.pass(at(20));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        driver.pass(at(21));
        driver.connection.pause();
        driver.nothing_until(at(321));
        driver.connection.resume();
        driver.nothing_before(at(341));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 2])]);
        // One that began before there was anything to read, and ended after it.
        let mut connection = connecting(role, &config);
        connection.pause();
        drain(&mut connection);
        feed(&mut connection, head(role).as_bytes());
        if role == Role::Server {
            connection.accept(Accept::new()).unwrap();
        }
        let mut driver = Driver::new(connection, at(0));
        driver.taken.clear();
        driver.nothing_until(at(500));
        driver.connection.resume();
        driver.nothing_before(at(510));
        assert_eq!(driver.seen, [Event::Failed(ProtocolError::Timeout(TimeoutKind::FirstMessage))]);
    }
}

/// A congested connection is not read, so it is as if it was paused.
#[test]
fn what_congestion_holds_up_is_not_held_against_the_peer() {
    for role in ROLES {
        let config = Config::new()
            .output_high_water(1000)
            .output_low_water(100)
            .message_timeout(at(10))
            .idle_timeout(at(30))
            .write_timeout(at(50))
            .max_lifetime(at(1000));
        let peer = peer_of(role);
        for paused in [false, true] {
            let mut driver = Driver::open(role, &config, 0);
            driver.feed(at(0), text("begun").more().by(peer));
            driver.pass(at(4));
            driver.takes = 0;
            driver.connection.send(vec![7; 3000]).unwrap();
            driver.write();
            for second in [40, 80, 104] {
                driver.nothing_until(at(second));
                if paused && second == 80 {
                    driver.connection.pause();
                }
                driver.connection.consume_output(1);
            }
            driver.connection.consume_output(usize::MAX);
            if paused {
                // It goes on where one ends and the other does not.
                driver.nothing_until(at(200));
                driver.connection.resume();
            }
            let resumed = driver.now;
            driver.nothing_before(resumed + at(6));
            assert_eq!(driver.seen, [Event::Failed(ProtocolError::Timeout(TimeoutKind::Message))]);
        }
        // Much that is sent, and leaves at once, holds nothing up.
        for timeout in [TimeoutKind::Message, TimeoutKind::FirstMessage] {
            let config = match timeout {
                TimeoutKind::Message => config.clone(),
                _ => config.clone().first_message_timeout(at(10)).message_timeout(None),
            };
            let mut driver = Driver::open(role, &config, 0);
            driver.feed(at(0), text("begun").more().by(peer));
            for second in 1..10 {
                driver.pass(at(second));
                driver.connection.send(vec![7; 3000]).unwrap();
                driver.write();
            }
            driver.taken.clear();
            driver.nothing_before(at(10));
            assert_eq!(driver.seen, [Event::Failed(ProtocolError::Timeout(timeout))]);
        }
    }
}

/// The peer can answer a Ping only when it has come to it.
// attack: FL07
#[test]
fn the_time_of_a_pong_begins_when_the_ping_has_left() {
    for role in ROLES {
        let config = Config::new().ping_interval(at(10)).pong_timeout(at(10));
        let mut driver = Driver::open(role, &config, 0);
        driver.takes = 0;
        driver.connection.send(vec![7; 5000]).unwrap();
        // The Ping waits behind the message, of which a little leaves now and then.
        for second in 1..200 {
            driver.pass(at(second));
            if second % 10 == 0 {
                driver.connection.consume_output(20);
            }
            assert_eq!(driver.connection.state(), State::Open, "{second}");
        }
        driver.takes = usize::MAX;
        driver.pass(at(200));
        driver.taken.clear();
        driver.nothing_before(at(210));
        driver.is_closed_with(timed_out(TimeoutKind::Pong));

        // What follows the Ping and leaves shows that the peer is there, too.
        let mut driver = Driver::open(role, &config, 0);
        driver.pass(at(10));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        driver.takes = 0;
        driver.connection.send(vec![7; 5000]).unwrap();
        for second in [19, 28, 37, 46] {
            driver.nothing_until(at(second));
            driver.connection.consume_output(1);
        }
        driver.nothing_before(at(56));
        driver.is_closed_with(timed_out(TimeoutKind::Pong));
    }
}

/// A peer that has answered is asked again when it has been silent for so long, however long it may take to
/// answer.
#[test]
fn an_answered_ping_is_followed_by_the_next_in_time() {
    for role in ROLES {
        let config = Config::new().ping_interval(at(5)).pong_timeout(at(60));
        for answer in [pong([0, 0, 0, 1]), text("here"), binary(vec![0; 70_000]), text("h").more()]
        {
            for cut in [1, usize::MAX] {
                let mut driver = Driver::open(role, &config, 0);
                driver.nothing_before(at(5));
                assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
                let bytes = answer.by(peer_of(role));
                let (start, rest) = bytes.split_at(bytes.len().saturating_sub(cut));
                driver.feed(at(6), start);
                driver.feed(at(7), rest);
                driver.nothing_before(at(12));
                assert_eq!(driver.frames(), [ping([0, 0, 0, 2])]);
            }
        }
    }
}

#[test]
fn a_round_trip_is_measured_by_the_pong_that_belongs_to_the_ping() {
    for role in ROLES {
        let peer = peer_of(role);
        let mut driver = Driver::open(role, &Config::new(), 0);
        assert_eq!(driver.connection.round_trip_time(), None);
        let millis = Duration::from_millis;
        // A Pong before any Ping, even one with the number of the next, tells nothing.
        driver.feed(at(0), [pong([0; 4]).by(peer), pong([0, 0, 0, 1]).by(peer)].concat());
        for (number, trip) in [(1, millis(7)), (2, Duration::from_micros(13)), (3, millis(0))] {
            driver.takes = 0;
            driver.now = at(100 * u64::from(number));
            driver.turn();
            // It leaves later than it is queued.
            driver.takes = usize::MAX;
            let sent = driver.now + at(3);
            driver.now = sent;
            driver.turn();
            let asked = driver.frames();
            assert_eq!(asked, [ping(u32::to_be_bytes(number))]);
            let before = driver.connection.round_trip_time();
            // The application's own, an answer to an older one, and a message.
            let others =
                [pong("mine").by(peer), pong([0; 4]).by(peer), text("a").by(peer)].concat();
            driver.feed(sent, others);
            assert_eq!(driver.connection.round_trip_time(), before);
            driver.feed(sent + trip, pong(&asked[0].payload).by(peer));
            let measured = trip.max(TICK);
            assert_eq!(driver.connection.round_trip_time(), Some(measured));
            // The same again is no news.
            driver.feed(sent + at(9), pong(&asked[0].payload).by(peer));
            assert_eq!(driver.connection.round_trip_time(), Some(measured));
        }
        // An answer to a Ping that has not left is none.
        driver.takes = 0;
        driver.pass(driver.now + at(20));
        let before = driver.connection.round_trip_time();
        driver.feed(driver.now + at(1), pong([0, 0, 0, 4]).by(peer));
        assert_eq!(driver.connection.round_trip_time(), before);
    }
}

#[test]
fn connections_that_were_opened_together_are_not_pinged_together() {
    let config = Config::new().max_lifetime(at(100)).jitter(50);
    let first = |config: &Config, seed| {
        let mut connection = open(Role::Server, config, None);
        connection.seed(seed);
        connection.handle_timeout(at(0));
        // The bound is exact when nothing has happened.
        let next = connection.next_timeout().unwrap();
        assert_eq!(connection.handle_timeout(next - TICK), None);
        assert_eq!(connection.buffered_amount(), 0);
        assert_eq!(connection.handle_timeout(next), None);
        assert!(connection.buffered_amount() > 0);
        next
    };
    let mut pings = std::collections::HashMap::new();
    for seed in 0..10_000 {
        let ping = first(&config, seed);
        assert!(ping > at(10) && ping <= at(20), "{ping:?}");
        *pings.entry(ping).or_insert(0) += 1;
        // The lifetime is spread alike.
        let end = first(&config.clone().ping_interval(None), seed);
        assert!(end > at(50) && end <= at(100), "{end:?}");
    }
    assert_eq!(pings.len(), 256);
    assert!(pings.values().all(|&count| count < 50), "{pings:?}");
    // Without a jitter all is as it was set.
    assert_eq!(first(&Config::new().jitter(0), 77), at(20));
}

#[test]
fn other_settings_hold_from_when_their_deadlines_began() {
    for role in ROLES {
        let mut driver = Driver::open(role, &Config::new().ping_interval(None), 0);
        driver.nothing_until(at(3));
        driver.connection.set_config(Config::new().ping_interval(at(5)));
        driver.nothing_before(at(5));
        assert_eq!(driver.frames(), [ping([0, 0, 0, 1])]);
        driver.nothing_until(at(6));
        driver.connection.set_config(Config::new().ping_interval(at(5)).pong_timeout(at(30)));
        driver.nothing_before(at(35));
        driver.is_closed_with(timed_out(TimeoutKind::Pong));
        // One that is watched only now.
        let mut driver = Driver::open(role, &Config::new().ping_interval(None), 0);
        driver.nothing_until(at(100));
        driver.connection.set_config(Config::new().ping_interval(None).idle_timeout(at(5)));
        driver.nothing_before(at(105));
        assert_eq!(driver.frames(), [close(1001, "idle timeout")]);
    }
}

/// Whatever happens, and in whatever state: a driver that comes when it is asked for does not come in vain,
/// and the state is one that can follow.
#[test]
fn a_driver_that_follows_does_not_spin() {
    for seed in 1..=3000 {
        let mut random = Random::new(seed);
        let role = ROLES[random.below(2)];
        let mut timeout = || [None, Some(at(1)), Some(at(3)), Some(at(10))][random.below(4)];
        let config = Config::new()
            .handshake_timeout(timeout())
            .decision_timeout(timeout())
            .first_message_timeout(timeout())
            .ping_interval(timeout())
            .pong_timeout(timeout())
            .message_timeout(timeout())
            .idle_timeout(timeout())
            .max_lifetime(timeout())
            .write_timeout(timeout())
            .close_timeout(timeout())
            .output_high_water(2000)
            .output_low_water(100);
        let fresh = random.once_in(4);
        let connection = if fresh { connecting(role, &config) } else { open(role, &config, None) };
        let mut driver = Driver::new(connection, Duration::ZERO);
        let peer = peer_of(role);
        let mut whole = Vec::new();
        for frame in [text("a"), text("b").more(), ping("c"), continuation("d"), pong([0, 0, 0, 1])]
        {
            whole.extend(frame.by(peer));
        }
        let mut stream = if fresh { head(role).into_bytes() } else { Vec::new() };
        for _ in 0..60 {
            let before = driver.connection.state();
            let connection = &mut driver.connection;
            match random.below(12) {
                0 => connection.pause(),
                1 => connection.resume(),
                // Not in every state.
                2 => drop(connection.send(vec![7; random.below(3000)])),
                3 if random.once_in(10) => drop(connection.close(1000, "")),
                4 => drop(connection.accept(Accept::new())),
                5 => driver.takes = [0, 1, 100, usize::MAX][random.below(4)],
                6 => connection.set_config(config.clone()),
                7..=9 => {
                    if stream.is_empty() {
                        stream.extend(&whole);
                    }
                    let count = random.below(stream.len() + 1);
                    let mut bytes: Vec<u8> = stream.drain(..count).collect();
                    let mut input = &mut bytes[..];
                    while connection.receive(&mut input).is_some() {}
                }
                _ => {
                    driver.visits = 0;
                    let from = driver.now;
                    driver.pass(from + Duration::from_millis(random.below(5000) as u64));
                    let length = (driver.now - from).as_secs() as usize + 1;
                    assert!(driver.visits <= 20 * length, "{} visits in {length} s", driver.visits);
                }
            }
            let after = driver.connection.state();
            let order = |state| match state {
                State::Connecting => 0,
                State::Open => 1,
                State::Closing => 2,
                State::Closed => 3,
            };
            assert!(order(after) >= order(before), "seed {seed}: {before:?} {after:?}");
            assert_eq!(after == State::Closed, driver.connection.outcome().is_some());
        }
    }
}

/// How many Pings stand whole among these frames, of which the last may be cut off.
fn pings_in(bytes: &[u8]) -> usize {
    let (mut rest, mut pings) = (bytes, 0);
    while let [first, second, ..] = *rest {
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (header, length) = match (second & 0x7f, rest.get(2..4)) {
            (126, Some(length)) => (4, usize::from(length[0]) << 8 | usize::from(length[1])),
            (126, None) => break,
            (length, _) => (2, usize::from(length)),
        };
        let Some(behind) = rest.get(header + mask + length..) else { break };
        rest = behind;
        pings += usize::from(first & 0x0f == PING);
    }
    pings
}

/// A peer that answers and reads, however slowly, loses its connection to nothing.
#[test]
fn a_peer_that_behaves_is_kept_at_any_rate() {
    const LENGTH: usize = 1500;
    for role in ROLES {
        for rate in [1, 7, 50, 333, 1000, usize::MAX] {
            // How often the driver comes, in seconds.
            for pace in [1, 7, 29] {
                let config = Config::new()
                    .ping_interval(at(20))
                    .output_high_water(800)
                    .output_low_water(200)
                    .idle_timeout(at(60));
                let mut driver = Driver::open(role, &config, 0);
                driver.takes = rate;
                driver.connection.send(vec![7; LENGTH]).unwrap();
                driver.connection.close(1000, "bye").unwrap();
                let expected = driver.connection.queued() - driver.connection.left();
                let mut moment = at(0);
                while driver.connection.buffered_amount() > 0 {
                    moment += at(pace);
                    driver.pass(moment);
                    assert_eq!(driver.connection.state(), State::Closing, "{rate} {pace}");
                }
                let frames = driver.frames();
                assert_eq!(frames, [binary(vec![7; LENGTH]), close(1000, "bye")]);
                assert!(expected > LENGTH as u64);
                driver.feed(moment + at(4), close(1000, "bye").by(peer_of(role)));
                assert!(driver.connection.receive_eof().was_clean(), "{rate} {pace}");

                // With its Pings among what it reads, which it answers as it meets them.
                let config = config.clone().idle_timeout(None);
                let mut driver = Driver::open(role, &config, 0);
                driver.takes = rate;
                let (mut moment, mut read, mut answered) = (at(0), Vec::new(), 0);
                for _ in 0..3 {
                    driver.connection.send(vec![7; LENGTH]).unwrap();
                }
                while read.len() < 3 * LENGTH + 100 {
                    moment += at(pace);
                    driver.pass(moment);
                    read.append(&mut driver.taken);
                    let pings = pings_in(&read);
                    for number in answered..pings {
                        let number = (number as u32 + 1).to_be_bytes();
                        driver.feed(moment, pong(number).by(peer_of(role)));
                    }
                    if pings > answered && !driver.connection.is_congested() {
                        driver.feed(moment, text("there").by(peer_of(role)));
                    }
                    answered = pings;
                    assert_eq!(driver.connection.state(), State::Open, "{rate} {pace} {moment:?}");
                }
            }
        }
    }
}
