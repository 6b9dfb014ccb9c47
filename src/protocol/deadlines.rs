use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::config::Timeouts;
use super::connection::Connection;
use super::state::State;

/// The time limits of one connection, as a value: it reads no clock and sets no timer.
///
/// `now` is the time since any fixed point, the same one for all calls. After each turn at a connection
/// call [`observe`](Self::observe); when [`next`](Self::next) has come call [`due`](Self::due), and
/// give what it says to [`Connection::expire`].
///
/// ```
/// use framewire::{Config, Connection, Deadlines, Due, State};
/// use std::time::Duration;
///
/// let mut connection = Connection::server(&Config::new());
/// let mut deadlines = Deadlines::new(Duration::ZERO);
/// assert_eq!(deadlines.next(&connection), Some(Duration::from_secs(10)));
/// // A silent client runs into the handshake deadline.
/// let due = deadlines.due(&connection, Duration::from_secs(10));
/// assert_eq!(due, Some(Due::Handshake));
/// connection.expire(due.unwrap());
/// assert_eq!(connection.state(), State::Closed);
/// ```
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// When the state was entered.
    entered: Moment,
    /// When the last byte was received.
    received: Moment,
    /// Since when an answer is awaited: the application's to the request, while connecting; then the Pong
    /// of the latest automatic Ping.
    asked: Option<Moment>,
    /// Since when output waits without progress.
    waiting: Option<Moment>,
    /// There from the opening on, where a deadline needs it: who sets none has no use for the room.
    messages: Option<Box<Messages>>,
    /// The last measured round trip, in microseconds.
    round_trip: Option<NonZeroU32>,
    state: State,
    jitter: u8,
    /// Nothing has come since the automatic Ping.
    silent: bool,
    /// The driver does not read.
    paused: bool,
}

/// What is known of the messages that come. Pauses do not count: all is as much later as they were long.
#[derive(Clone, Debug)]
struct Messages {
    /// When the connection opened.
    opened: Moment,
    /// When a part of a message came last; at first, when the connection opened.
    last: Moment,
    /// When the first byte of the unfinished message came.
    begun: Option<Moment>,
    /// How many whole messages had come at the last look.
    count: u64,
    /// Since when the driver does not read.
    paused: Option<Moment>,
}

/// Microseconds since the caller's fixed point, and one: never zero, so that an optional one is as small
/// as a certain one. Every connection holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

impl Moment {
    fn of(now: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(microseconds(now)))
    }

    fn after(self, microseconds: u64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }

    /// How many microseconds later this is; 0 if it is earlier.
    fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    fn since_start(self) -> Duration {
        Duration::from_micros(self.0.get() - 1)
    }
}

fn microseconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(duration.subsec_micros().into())
}

/// What happened in a turn at a connection, for [`Deadlines::observe`].
#[allow(clippy::exhaustive_structs, reason = "a driver can tell exactly these")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Bytes came from the peer.
    pub received: bool,
    /// The peer took bytes.
    pub sent: bool,
    /// Nothing is read from the peer for now, by the driver's or the application's choice: until a turn
    /// says otherwise, no deadline runs that asks something of what the peer sends.
    pub paused: bool,
}

/// A deadline that has passed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The opening handshake takes too long.
    Handshake,
    /// The application has not decided about a request for too long.
    Decision,
    /// No message has come since the connection opened.
    FirstMessage,
    /// Nothing has come for long: ask with a Ping.
    Ping,
    /// Nothing has followed the Ping.
    Pong,
    /// No message has come for too long.
    Idle,
    /// The connection has lived for as long as it may.
    Lifetime,
    /// A message takes too long from its first byte to its last.
    Message,
    /// The peer does not take the output.
    Write,
    /// The closing handshake takes too long.
    Close,
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "opening handshake",
            Self::Decision => "decision",
            Self::FirstMessage => "first message",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Message => "message",
            Self::Write => "write",
            Self::Close => "closing handshake",
        })
    }
}

impl Deadlines {
    /// For a connection whose transport has just been opened.
    pub fn new(now: Duration) -> Self {
        let now = Moment::of(now);
        Self {
            entered: now,
            received: now,
            asked: None,
            waiting: None,
            messages: None,
            round_trip: None,
            state: State::Connecting,
            jitter: 0,
            silent: false,
            paused: false,
        }
    }

    /// Shortens the Ping interval and the maximum lifetime by a part that differs with the seed, such as
    /// the connection's number: at the most by [`Config::jitter`](crate::Config::jitter). Connections
    /// that were opened together are then neither pinged nor closed together. Seeds that count up are
    /// spread evenly; without one nothing is shortened.
    ///
    /// ```
    /// use framewire::{Config, Connection, Deadlines};
    /// use std::time::Duration;
    ///
    /// let config = Config::new().ping_interval(Duration::from_secs(20)).jitter(25);
    /// let connection = Connection::adopted_server(&config);
    /// for seed in 0..1000 {
    ///     let mut deadlines = Deadlines::new(Duration::ZERO).seed(seed);
    ///     deadlines.observe(&connection, Duration::ZERO, Default::default());
    ///     let ping = deadlines.next(&connection).unwrap();
    ///     assert!(ping > Duration::from_secs(15) && ping <= Duration::from_secs(20));
    /// }
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        // Multiples of the golden ratio lie as far from each other as can be.
        self.jitter = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        self
    }

    /// How long the last automatic Ping that was answered took to come back, from being queued to its
    /// Pong being received, to the precision of the caller's `now`; `None` before the first one.
    #[inline]
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip.map(|micros| Duration::from_micros(micros.get().into()))
    }

    /// Takes note of a turn at the connection: what the transport did, and the state it left.
    #[inline]
    pub fn observe(&mut self, connection: &Connection, now: Duration, turn: Turn) {
        self.note(connection, now, turn);
    }

    /// The same. If it answers `false`, what [`next`](Self::next) says has not become earlier.
    #[inline]
    pub(crate) fn note(&mut self, connection: &Connection, now: Duration, turn: Turn) -> bool {
        let now = Moment::of(now);
        let state = connection.state();
        let was_plain = self.is_plain() && state == self.state && turn.paused == self.paused;
        if state != self.state {
            self.enter(connection, now, state);
        }
        if turn.received || turn.paused != self.paused {
            // It is not the peer's silence if nobody listens.
            self.received = now;
            self.silent = false;
        }
        if self.asked.is_some() && connection.is_ping_answered() {
            self.ping_answered(now);
        }
        if state == State::Connecting {
            self.asked = connection.awaits_decision().then_some(self.asked.unwrap_or(now));
        }
        self.paused = turn.paused;
        if let Some(messages) = &mut self.messages {
            messages.observe(connection, now, turn);
        }
        self.waiting = match (connection.buffered_amount() > 0, self.waiting) {
            (true, Some(since)) if !turn.sent => Some(since),
            (true, _) => Some(now),
            (false, _) => None,
        };
        !(was_plain && self.is_plain())
    }

    /// Whether the connection is open and no deadline runs but those for a Ping and for its lifetime: the
    /// first is put off by what comes, and the other one stands.
    fn is_plain(&self) -> bool {
        self.state == State::Open
            && !self.silent
            && self.waiting.is_none()
            && self.messages.is_none()
    }

    #[cold]
    fn enter(&mut self, connection: &Connection, now: Moment, state: State) {
        (self.state, self.entered, self.asked) = (state, now, None);
        let Timeouts { first_message, message, idle, .. } = connection.timeouts();
        let watched = [first_message, message, idle].into_iter().any(Option::is_some);
        self.messages = (state == State::Open && watched).then(|| {
            let count = connection.messages_received();
            Box::new(Messages { opened: now, last: now, begun: None, count, paused: None })
        });
    }

    #[cold]
    fn ping_answered(&mut self, now: Moment) {
        let Some(pinged) = self.asked.take() else { return };
        let micros = u32::try_from(now.since(pinged)).unwrap_or(u32::MAX);
        self.round_trip = NonZeroU32::new(micros.max(1));
    }

    /// When [`due`](Self::due) should be asked next, if nothing else happens; `None` for never.
    pub fn next(&self, connection: &Connection) -> Option<Duration> {
        self.earliest(connection).map(|(moment, _)| moment.since_start())
    }

    /// The earliest deadline that has passed, if any. Give it to [`Connection::expire`], call
    /// [`observe`](Self::observe), then ask again; without the `observe` the answer may be the same.
    pub fn due(&mut self, connection: &Connection, now: Duration) -> Option<Due> {
        let now = Moment::of(now);
        let (moment, due) = self.earliest(connection)?;
        if moment > now {
            return None;
        }
        if due == Due::Ping {
            (self.asked, self.silent) = (Some(now), true);
        }
        Some(due)
    }

    fn earliest(&self, connection: &Connection) -> Option<(Moment, Due)> {
        let timeouts = connection.timeouts();
        let mut earliest: Option<(Moment, Due)> = None;
        let mut consider = |since: Option<Moment>, timeout: Option<Duration>, jitter, due| {
            if let (Some(since), Some(timeout)) = (since, timeout) {
                let moment = since.after(shortened(microseconds(timeout), timeouts.jitter, jitter));
                if earliest.is_none_or(|(first, _)| moment < first) {
                    earliest = Some((moment, due));
                }
            }
        };
        let entered = Some(self.entered);
        match self.state {
            // Once the request is whole it is not the client who takes long.
            State::Connecting if connection.awaits_decision() => {
                consider(self.asked, timeouts.decision, 0, Due::Decision);
            }
            State::Connecting => consider(entered, timeouts.handshake, 0, Due::Handshake),
            State::Open => {
                if !self.paused {
                    if let Some(messages) = self.messages.as_deref() {
                        if messages.count == 0 {
                            let opened = Some(messages.opened);
                            consider(opened, timeouts.first_message, 0, Due::FirstMessage);
                        }
                        consider(messages.begun, timeouts.message, 0, Due::Message);
                        consider(Some(messages.last), timeouts.idle, 0, Due::Idle);
                    }
                    if self.silent {
                        consider(self.asked, timeouts.pong, 0, Due::Pong);
                    } else {
                        consider(Some(self.received), timeouts.ping, self.jitter, Due::Ping);
                    }
                }
                consider(self.waiting, timeouts.write, 0, Due::Write);
                consider(entered, timeouts.lifetime, self.jitter, Due::Lifetime);
            }
            State::Closing => consider(entered, timeouts.close, 0, Due::Close),
            State::Closed => {}
        }
        earliest
    }
}

impl Messages {
    fn observe(&mut self, connection: &Connection, now: Moment, turn: Turn) {
        if let Some(since) = self.paused {
            let length = now.since(since);
            self.opened = self.opened.after(length);
            self.last = self.last.after(length);
            self.begun = self.begun.map(|begun| begun.after(length));
        }
        self.paused = turn.paused.then_some(now);
        let (count, inside) = (connection.messages_received(), connection.is_inside_message());
        self.begun = match self.begun {
            Some(since) if inside && count == self.count => Some(since),
            _ => inside.then_some(now),
        };
        if count != self.count || (inside && turn.received) {
            self.last = now;
        }
        self.count = count;
    }
}

/// `micros` less `jitter` 256ths of `percent` per cent of it.
fn shortened(micros: u64, percent: u8, jitter: u8) -> u64 {
    // In 65536ths, and the two halves apart: nothing overflows.
    let part = u64::from(percent.min(100)) * u64::from(jitter) * 64 / 25;
    micros - (micros >> 16) * part - (((micros & 0xffff) * part) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Config;

    /// Every sequence of five turns out of these, with output and messages that begin and end.
    #[test]
    fn what_comes_sooner_is_noted() {
        let seconds = Duration::from_secs;
        let plain = Config::new()
            .ping_interval(seconds(7))
            .pong_timeout(seconds(30))
            .write_timeout(seconds(2));
        let strict = plain.clone().idle_timeout(seconds(5)).message_timeout(seconds(2));
        let (mut sooner, mut not_sooner) = (0, 0);
        for config in [plain.max_lifetime(seconds(20)), strict] {
            for sequence in 0..9_u32.pow(5) {
                let mut connection = Connection::adopted_server(&config);
                let mut deadlines = Deadlines::new(Duration::ZERO).seed(3);
                deadlines.observe(&connection, Duration::ZERO, Turn::default());
                let mut now = Duration::ZERO;
                for place in 0..5 {
                    let before = deadlines.next(&connection);
                    let kind = sequence / 9_u32.pow(place) % 9;
                    now += seconds(1);
                    let mut turn = Turn::default();
                    match kind {
                        0 => turn.received = true,
                        1 => turn.paused = true,
                        2 => {
                            let mut begun = *b"\x82\x85\x00\x00\x00\x00he";
                            connection.receive(&mut &mut begun[..]);
                            turn.received = true;
                        }
                        3 => {
                            let mut rest = *b"llo";
                            connection.receive(&mut &mut rest[..]);
                            turn.received = true;
                        }
                        4 => {
                            // Not when it has failed or closed.
                            connection.send("words").ok();
                        }
                        5 => {
                            connection.consume_output(3);
                            turn.sent = true;
                        }
                        6 => connection.consume_output(usize::MAX),
                        7 => now += seconds(6),
                        _ => {
                            if let Some(due) = deadlines.due(&connection, now) {
                                connection.expire(due);
                            }
                        }
                    }
                    let noted = deadlines.note(&connection, now, turn);
                    let after = deadlines.next(&connection);
                    let is_sooner = match (before, after) {
                        (Some(before), Some(after)) => after < before,
                        (before, after) => before.is_none() && after.is_some(),
                    };
                    assert!(noted || !is_sooner, "{sequence} {place}: {before:?} {after:?}");
                    sooner += u32::from(is_sooner);
                    not_sooner += u32::from(!noted);
                }
            }
        }
        assert!(sooner > 1000 && not_sooner > 1000, "{sooner} {not_sooner}");
    }
}
