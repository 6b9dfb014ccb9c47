use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::connection::Connection;
use super::event::State;

/// How long each part of a connection may take; `None` is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Option<Duration>,
    pub(crate) decision: Option<Duration>,
    pub(crate) first_message: Option<Duration>,
    pub(crate) ping: Option<Duration>,
    pub(crate) pong: Option<Duration>,
    pub(crate) message: Option<Duration>,
    pub(crate) write: Option<Duration>,
    pub(crate) close: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Some(Duration::from_secs(10)),
            decision: Some(Duration::from_secs(10)),
            first_message: None,
            ping: Some(Duration::from_secs(20)),
            pong: Some(Duration::from_secs(20)),
            message: None,
            write: Some(Duration::from_secs(30)),
            close: Some(Duration::from_secs(5)),
        }
    }
}

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
    state: State,
    /// When the state was entered.
    entered: Moment,
    /// When the last byte was received.
    received: Moment,
    /// When the Ping was sent that nothing has followed yet.
    pinged: Option<Moment>,
    /// When the first byte of the unfinished message came; or the request that awaits a decision.
    begun: Option<Moment>,
    /// Since when output waits without progress.
    waiting: Option<Moment>,
    /// How many whole messages had come then.
    messages: u64,
}

/// Milliseconds since the caller's fixed point, and one: never zero, so that an optional one is as small
/// as a certain one. Every connection holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

impl Moment {
    fn of(now: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(milliseconds(now)))
    }

    fn after(self, timeout: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(timeout)))
    }

    fn since_start(self) -> Duration {
        Duration::from_millis(self.0.get() - 1)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What happened in a turn at a connection, for [`Deadlines::observe`].
#[allow(clippy::exhaustive_structs, reason = "a transport can do exactly these two")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Bytes came from the peer.
    pub received: bool,
    /// The peer took bytes.
    pub sent: bool,
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
            state: State::Connecting,
            entered: now,
            received: now,
            pinged: None,
            begun: None,
            waiting: None,
            messages: 0,
        }
    }

    /// Takes note of a turn at the connection: what the transport did, and the state it left.
    #[inline]
    pub fn observe(&mut self, connection: &Connection, now: Duration, turn: Turn) {
        let now = Moment::of(now);
        let state = connection.state();
        if state != self.state {
            (self.state, self.entered, self.begun) = (state, now, None);
        }
        if turn.received {
            self.received = now;
            self.pinged = None;
        }
        let messages = connection.messages_received();
        let begun = connection.is_inside_message() || connection.awaits_decision();
        self.begun = match (begun, self.begun) {
            (true, Some(since)) if messages == self.messages => Some(since),
            (true, _) => Some(now),
            (false, _) => None,
        };
        self.messages = messages;
        self.waiting = match (connection.buffered_amount() > 0, self.waiting) {
            (true, Some(since)) if !turn.sent => Some(since),
            (true, _) => Some(now),
            (false, _) => None,
        };
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
            self.pinged = Some(now);
        }
        Some(due)
    }

    fn earliest(&self, connection: &Connection) -> Option<(Moment, Due)> {
        let timeouts = connection.timeouts();
        let after = |since: Option<Moment>, timeout: Option<Duration>, due| {
            Some((since?.after(timeout?), due))
        };
        let entered = Some(self.entered);
        let mut candidates = [const { None }; 4];
        match self.state {
            State::Connecting => {
                // Once the request is whole it is not the client who takes long.
                candidates[0] = match connection.awaits_decision() {
                    true => after(self.begun, timeouts.decision, Due::Decision),
                    false => after(entered, timeouts.handshake, Due::Handshake),
                };
            }
            State::Open => {
                if self.messages == 0 {
                    candidates[0] = after(entered, timeouts.first_message, Due::FirstMessage);
                }
                candidates[1] = match self.pinged {
                    Some(_) => after(self.pinged, timeouts.pong, Due::Pong),
                    None => after(Some(self.received), timeouts.ping, Due::Ping),
                };
                candidates[2] = after(self.begun, timeouts.message, Due::Message);
                candidates[3] = after(self.waiting, timeouts.write, Due::Write);
            }
            State::Closing => candidates[0] = after(entered, timeouts.close, Due::Close),
            State::Closed => {}
        }
        candidates.into_iter().flatten().min_by_key(|(moment, _)| *moment)
    }
}
