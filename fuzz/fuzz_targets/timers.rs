//! Time: whatever is said and whenever, what is due happens, nothing else does, and the engine says when to look.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use framewire::{Config, Connection, Event, Outcome, State, TimeoutKind};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    limits: Limits,
    steps: Vec<Step>,
}

/// In milliseconds; 0 is none.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Limits {
    first_message: u16,
    message: u16,
    idle: u16,
    ping: u16,
    pong: u16,
    lifetime: u16,
    write: u16,
    close: u16,
}

#[derive(Arbitrary, Debug)]
struct Step {
    jump: Jump,
    /// Looks until nothing is due any more, and not once only.
    settles: bool,
    act: Act,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Jump {
    Not,
    Milliseconds(u8),
    Far(u16),
    /// To when the engine wants to be asked, or right before.
    Next,
    BeforeNext,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Act {
    None,
    Receive(Received),
    Send,
    /// The peer takes so much of the output.
    Take(u8),
    TakeAll,
    Pause,
    Resume,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Received {
    Message,
    Begin,
    Continue,
    Finish,
    Pong,
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(input.limits);
    for step in input.steps.iter().take(100) {
        run.jump(step.jump);
        run.look(step.settles);
        if run.connection.state() != State::Open {
            return run.close();
        }
        run.act(step.act);
        run.check();
    }
});

/// A deadline, and which it is.
type Deadline = (Duration, TimeoutKind);

struct Run {
    connection: Connection,
    limits: Limits,
    now: Duration,
    opened: Duration,
    /// When the first message is counted from: pauses do not count.
    since: Duration,
    received: Duration,
    part: Duration,
    begun: Option<Duration>,
    has_message: bool,
    is_under_way: bool,
    paused: Option<Duration>,
    /// Since when output waits of which nothing is taken.
    waits: Option<Duration>,
    ping: Option<Ping>,
    pings: u32,
}

/// An automatic Ping that nothing has followed.
struct Ping {
    end: u64,
    /// When the last output that stands there or behind it was taken.
    taken: Option<Duration>,
}

fn limit(milliseconds: u16) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

impl Run {
    fn new(limits: Limits) -> Self {
        let config = Config::new()
            .jitter(0)
            .first_message_timeout(limit(limits.first_message))
            .message_timeout(limit(limits.message))
            .idle_timeout(limit(limits.idle))
            .ping_interval(limit(limits.ping))
            .pong_timeout(limit(limits.pong))
            .max_lifetime(limit(limits.lifetime))
            .write_timeout(limit(limits.write))
            .close_timeout(limit(limits.close));
        let mut connection = Connection::adopted_server(&config);
        assert_eq!(connection.handle_timeout(Duration::ZERO), None);
        Self {
            connection,
            limits,
            now: Duration::ZERO,
            opened: Duration::ZERO,
            since: Duration::ZERO,
            received: Duration::ZERO,
            part: Duration::ZERO,
            begun: None,
            has_message: false,
            is_under_way: false,
            paused: None,
            waits: None,
            ping: None,
            pings: 0,
        }
    }

    fn jump(&mut self, jump: Jump) {
        let next = self.connection.next_timeout().unwrap_or(self.now);
        self.now = self.now.max(match jump {
            Jump::Not => self.now,
            Jump::Milliseconds(count) => self.now + Duration::from_millis(count.into()),
            Jump::Far(count) => self.now + Duration::from_millis(count.into()),
            Jump::Next => next,
            Jump::BeforeNext => next.saturating_sub(Duration::from_micros(1)),
        });
    }

    /// All deadlines that there are.
    fn deadlines(&self) -> Vec<Deadline> {
        let Limits { first_message, message, idle, ping, pong, lifetime, write, .. } = self.limits;
        let mut all = Vec::new();
        let mut add = |since: Option<Duration>, milliseconds: u16, kind| {
            all.extend(since.zip(limit(milliseconds)).map(|(since, limit)| (since + limit, kind)));
        };
        if self.paused.is_none() {
            add(
                Some(self.since).filter(|_| !self.has_message),
                first_message,
                TimeoutKind::FirstMessage,
            );
            add(self.begun, message, TimeoutKind::Message);
            add(Some(self.part), idle, TimeoutKind::Idle);
            match &self.ping {
                None => add(Some(self.received), ping, TimeoutKind::Ping),
                Some(ping) => add(ping.taken, pong, TimeoutKind::Pong),
            }
        }
        add(Some(self.opened), lifetime, TimeoutKind::Lifetime);
        add(self.waits, write, TimeoutKind::Write);
        all
    }

    /// The engine wants to be asked no later than something is due, and not before there may be something.
    fn check(&self) {
        let earliest = self.deadlines().into_iter().map(|deadline| deadline.0).min();
        match (self.connection.next_timeout(), earliest) {
            (next, Some(earliest)) => {
                assert!(next.is_some_and(|next| next <= earliest), "{next:?}, {earliest:?} is due");
            }
            (next, None) => assert!(next.is_none_or(|next| next < Duration::MAX)),
        }
    }

    /// Tells the time, once or until nothing is due.
    fn look(&mut self, settles: bool) {
        let mut quiet = 0;
        for _ in 0..if settles { 40 } else { 1 } {
            if self.connection.state() != State::Open {
                return;
            }
            quiet = if self.call() { 0 } else { quiet + 1 };
            if quiet == 3 {
                break;
            }
        }
        if settles && self.connection.state() == State::Open {
            assert_eq!(quiet, 3, "it is always time");
            let late: Vec<_> =
                self.deadlines().into_iter().filter(|one| one.0 <= self.now).collect();
            assert!(late.is_empty(), "{late:?} at {:?}", self.now);
            // It wants to be asked again, but not now.
            let next = self.connection.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "{next:?} at {:?}", self.now);
            self.check();
        }
    }

    /// One call, of which only what is due may come: whether anything has.
    fn call(&mut self) -> bool {
        let due: Vec<_> = self.deadlines().into_iter().filter(|one| one.0 <= self.now).collect();
        let is_due = |kind| due.iter().any(|deadline| deadline.1 == kind);
        let queued = self.connection.queued();
        let event = self.connection.handle_timeout(self.now);
        let said: Vec<u8> = self.connection.output().flatten().copied().collect();
        let mut said = said[said.len() - (self.connection.queued() - queued) as usize..].to_vec();
        if said.starts_with(&[0x89]) && self.connection.state() != State::Open {
            // The Ping was due, too, and came first.
            self.pinged(&said.drain(..6).collect::<Vec<_>>(), is_due(TimeoutKind::Ping));
        }
        match (event, self.connection.state()) {
            (None, State::Open) if said.is_empty() => return false,
            (None, State::Open) => {
                self.pinged(&said, is_due(TimeoutKind::Ping));
                self.ping = Some(Ping { end: self.connection.queued(), taken: None });
                self.waits.get_or_insert(self.now);
            }
            (None, State::Closing) => {
                let idle = said.ends_with(b"idle timeout");
                let kind = if idle { TimeoutKind::Idle } else { TimeoutKind::Lifetime };
                assert!(
                    is_due(kind) && said[2..4] == 1001_u16.to_be_bytes(),
                    "{said:?}, due: {due:?}"
                );
            }
            (Some(Event::Failed(_)), State::Closing) => {
                let kinds = [TimeoutKind::FirstMessage, TimeoutKind::Message];
                assert!(kinds.into_iter().any(is_due), "due: {due:?}");
                assert_eq!(said[2..4], 1008_u16.to_be_bytes());
            }
            (None, State::Closed) => {
                let outcome = self.connection.outcome();
                let Some(Outcome::TimedOut { timeout, .. }) = outcome else {
                    panic!("{outcome:?}")
                };
                assert!(
                    matches!(timeout, TimeoutKind::Pong | TimeoutKind::Write) && is_due(*timeout)
                );
            }
            other => panic!("{other:?}, due: {due:?}"),
        }
        true
    }

    fn pinged(&mut self, said: &[u8], is_due: bool) {
        self.pings += 1;
        assert!(is_due, "a Ping before its time: {said:?}");
        assert_eq!(said, [&[0x89, 4][..], &self.pings.to_be_bytes()].concat());
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::None => {}
            Act::Receive(what) if self.paused.is_none() => self.receive(what),
            Act::Receive(_) => {}
            Act::Send => {
                self.connection.send("words").unwrap();
                self.waits.get_or_insert(self.now);
            }
            Act::Take(count) => self.take(count.into()),
            Act::TakeAll => self.take(usize::MAX),
            Act::Pause => {
                self.connection.pause();
                self.paused.get_or_insert(self.now);
            }
            Act::Resume => {
                self.connection.resume();
                let Some(paused) = self.paused.take() else { return };
                let later = |moment: Duration| moment + self.now.saturating_sub(paused.max(moment));
                (self.since, self.part) = (later(self.since), later(self.part));
                self.begun = self.begun.map(later);
                (self.received, self.ping) = (self.now, None);
            }
        }
    }

    fn receive(&mut self, what: Received) {
        let (first, goes_on) = match what {
            Received::Message if !self.is_under_way => (0x81, false),
            Received::Begin if !self.is_under_way => (0x01, true),
            Received::Continue if self.is_under_way => (0x00, true),
            Received::Finish if self.is_under_way => (0x80, false),
            Received::Pong => (0x8a, self.is_under_way),
            _ => return,
        };
        let mut bytes = [first, 0x82, 0, 0, 0, 0, b'a', b'b'];
        let mut input = &mut bytes[..];
        while let Some(event) = self.connection.receive(&mut input) {
            assert!(matches!(event, Event::Message(_) | Event::Pong(_)), "{event:?}");
        }
        assert!(input.is_empty());
        (self.received, self.ping, self.is_under_way) = (self.now, None, goes_on);
        if first == 0x8a {
            return;
        }
        self.part = self.now;
        if goes_on {
            self.begun.get_or_insert(self.now);
        } else {
            (self.has_message, self.begun) = (true, None);
        }
    }

    fn take(&mut self, count: usize) {
        let count = count.min(self.connection.buffered_amount());
        if count == 0 {
            return;
        }
        self.connection.consume_output(count);
        self.waits = (self.connection.buffered_amount() > 0).then_some(self.now);
        if let Some(ping) = &mut self.ping
            && ping.end <= self.connection.left()
        {
            ping.taken = Some(self.now);
        }
    }

    /// What follows a Close of its own: it leaves, and the peer has so long to end the connection, or to take it.
    fn close(mut self) {
        if self.connection.state() == State::Closing {
            self.connection.consume_output(self.connection.buffered_amount());
            let expected = limit(self.limits.close).map(|limit| self.now + limit);
            assert_eq!(self.connection.handle_timeout(self.now), None);
            let Some(end) = expected else { return };
            assert!(self.connection.next_timeout().is_some_and(|next| next <= end));
            assert_eq!(self.connection.handle_timeout(end - Duration::from_micros(1)), None);
            assert_eq!(self.connection.state(), State::Closing);
            for _ in 0..3 {
                assert_eq!(self.connection.handle_timeout(end), None);
            }
        }
        assert_eq!(self.connection.state(), State::Closed);
        assert_eq!(self.connection.next_timeout(), None);
    }
}
