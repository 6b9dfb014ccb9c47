use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::config::{TimeLimit, Timeouts};

/// Which of its time limits a connection has reached.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeoutKind {
    /// The opening handshake takes too long: [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Handshake,
    /// The body of a rejection takes too long:
    /// [`Config::rejection_timeout`](crate::Config::rejection_timeout). No connection ends by it: the rejection is
    /// told.
    Rejection,
    /// The application takes too long to decide about a request:
    /// [`Config::decision_timeout`](crate::Config::decision_timeout).
    Decision,
    /// No message has come since the connection opened:
    /// [`Config::first_message_timeout`](crate::Config::first_message_timeout).
    FirstMessage,
    /// Nothing has come for so long that a Ping asks whether the peer is there:
    /// [`Config::ping_interval`](crate::Config::ping_interval).
    Ping,
    /// Nothing has followed a Ping that has left: [`Config::pong_timeout`](crate::Config::pong_timeout).
    Pong,
    /// No message has come for too long: [`Config::idle_timeout`](crate::Config::idle_timeout).
    Idle,
    /// The connection has lived as long as it may:
    /// [`Config::max_lifetime`](crate::Config::max_lifetime).
    Lifetime,
    /// A message takes too long from its first byte to its last:
    /// [`Config::message_timeout`](crate::Config::message_timeout).
    Message,
    /// Output waits, and the peer takes none of it:
    /// [`Config::write_timeout`](crate::Config::write_timeout).
    Write,
    /// The peer does not end the connection after our Close, or after an HTTP answer:
    /// [`Config::close_timeout`](crate::Config::close_timeout).
    Close,
}

impl TimeoutKind {
    /// Whether the peer may have met the deadline with bytes that nobody has read yet, or by taking output
    /// that nobody has tried to write.
    fn depends_on_the_peer(self) -> bool {
        !matches!(self, Self::Decision | Self::Ping | Self::Lifetime)
    }
}

impl fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "opening handshake",
            Self::Rejection => "rejection",
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

/// Microseconds since the driver's fixed point, and one: never zero, so that an optional moment is as small
/// as a certain one. Every connection holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    pub(super) const START: Self = Self(NonZeroU64::MIN);

    /// Later than everything that happens.
    const NEVER: Self = Self(NonZeroU64::MAX);

    #[inline]
    pub(super) fn of(now: Duration) -> Self {
        // The highest moment stands for `never` and is no time.
        Self(NonZeroU64::MIN.saturating_add(microseconds(now).min(u64::MAX - 2)))
    }

    #[inline]
    fn after(self, microseconds: u64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }

    /// How many microseconds later this is; 0 if it is earlier.
    fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    #[inline]
    fn since_start(self) -> Duration {
        Duration::from_micros(self.0.get() - 1)
    }
}

#[inline]
fn microseconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(duration.subsec_micros().into())
}

/// The time limits of one connection. It is told what happens, and says what is due.
///
/// Most of what happens can only put a deadline off. So the earliest one is not worked out each time: there
/// is a [bound](Self::next) before which nothing is due, and only what brings a deadline nearer lowers it.
#[derive(Debug)]
pub(super) struct Timers {
    /// Since when the state lasts, or what is waited for in it: the decision, the end after the last byte.
    entered: Moment,
    /// When the last byte was received, or reading began again.
    received: Moment,
    /// Nothing is due before.
    bound: Moment,
    /// What most connections have no use for most of the time.
    rare: Option<Box<Rare>>,
    /// The last measured round trip, in microseconds.
    round_trip: Option<NonZeroU32>,
    /// How many automatic Pings were sent: the latest one's number is its payload.
    pings: u32,
    jitter: u8,
    /// The first call that told the time has come.
    started: bool,
    /// Nothing has come since the automatic Ping.
    silent: bool,
    /// A whole message has come since [`received`](Self::received) was last set.
    heard: bool,
    /// A whole message has come since the connection was made.
    any_message: bool,
    /// The driver does not read.
    paused: bool,
    /// A deadline has passed that the peer may have met meanwhile, and so many calls have found it so.
    overdue: Option<(TimeoutKind, u8)>,
}

#[derive(Debug, Default)]
struct Rare {
    messages: Option<Messages>,
    ping: Option<Ping>,
}

/// An automatic Ping on its way, until its Pong comes.
#[derive(Debug)]
struct Ping {
    /// The position in the output at which it ends.
    end: u64,
    left: Option<Moment>,
    /// When it left, or more output left after it.
    alive: Moment,
}

/// What is known of the messages that come. Pauses do not count: all is as much later as they were long.
#[derive(Debug)]
struct Messages {
    /// When the connection opened.
    opened: Moment,
    /// When a part of a message came last; at first, when the connection opened.
    last: Moment,
    /// When the first byte of the unfinished message came.
    begun: Option<Moment>,
    /// Since when the driver does not read.
    stopped: Option<Moment>,
}

/// Whether a part of the message under way has come, its headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    None,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwaitedEvent {
    Handshake,
    /// For the body of a rejection, of which the head has come at this moment.
    Rejection(Moment),
    Decision,
    /// Open, and what the peer sends is read.
    Messages,
    /// Open, and nothing is read for now.
    Nothing,
    /// For the codec, before the Close can be queued.
    Codec,
    /// For the peer to end the connection.
    End,
    Closed,
}

impl Timers {
    /// How many calls find a deadline overdue before the next one takes it for due. After the first of them the
    /// driver reads what lies there, and writes what it can; if it reads before it tells the time, it gives
    /// what it has read only after the second.
    const PATIENCE: u8 = 2;

    pub(super) fn new() -> Self {
        Self {
            entered: Moment::START,
            received: Moment::START,
            // The first call that tells the time starts the clocks.
            bound: Moment::START,
            rare: None,
            round_trip: None,
            pings: 0,
            jitter: 0,
            started: false,
            silent: false,
            heard: false,
            any_message: false,
            paused: false,
            overdue: None,
        }
    }

    pub(super) fn seed(&mut self, seed: u64) {
        // Multiples of the golden ratio, modulo one, spread successive connections evenly.
        self.jitter = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }

    /// Whether something may be due.
    #[inline]
    pub(super) fn may_be_due(&self, now: Moment) -> bool {
        self.bound <= now
    }

    /// Starts all clocks, if they do not run: whether they did not.
    pub(super) fn start(&mut self, now: Moment) -> bool {
        if self.started {
            return false;
        }
        (self.started, self.entered, self.received) = (true, now, now);
        if let Some(messages) = self.messages() {
            (messages.opened, messages.last) = (now, now);
            messages.begun = messages.begun.map(|_| now);
            messages.stopped = messages.stopped.map(|_| now);
        }
        true
    }

    #[inline]
    fn messages(&mut self) -> Option<&mut Messages> {
        self.rare.as_deref_mut()?.messages.as_mut()
    }

    /// The bound before which nothing is due.
    #[inline]
    pub(super) fn next(&self) -> Option<Duration> {
        (self.bound < Moment::NEVER).then(|| self.bound.since_start())
    }

    #[inline]
    pub(super) fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip.map(|micros| Duration::from_micros(micros.get().into()))
    }

    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether neither messages nor a Ping are watched, so that nothing but time can make anything due.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.rare.is_none()
    }

    /// The state has changed, or what is waited for in it.
    pub(super) fn enter(&mut self, is_open: bool, now: Moment, timeouts: &Timeouts) {
        (self.entered, self.overdue) = (now, None);
        self.rare = None;
        if is_open {
            self.watch_messages(now, timeouts);
        }
    }

    /// Watches the messages that come from now on, if a time limit needs it and they are not watched already.
    pub(super) fn watch_messages(&mut self, now: Moment, timeouts: &Timeouts) {
        let Timeouts { first_message, message, idle, .. } = timeouts;
        if [first_message, message, idle].into_iter().any(|limit| *limit != TimeLimit::NONE) {
            let stopped = self.paused.then_some(now);
            let rare = self.rare.get_or_insert_default();
            rare.messages.get_or_insert(Messages { opened: now, last: now, begun: None, stopped });
        }
    }

    /// The clock of the state begins anew.
    pub(super) fn renew(&mut self, now: Moment) {
        self.entered = now;
    }

    /// Bytes have come.
    #[inline]
    pub(super) fn received(&mut self, now: Moment, timeouts: &Timeouts) {
        self.received = now;
        if std::mem::take(&mut self.silent) {
            // The next Ping may be due before the wait for the Pong would have ended.
            let micros = shortened(timeouts.ping.as_micros(), timeouts.jitter, self.jitter);
            self.bound = self.bound.min(now.after(micros));
        }
    }

    /// A whole message has come, of those that come many at a time: [`settle_heard`](Self::settle_heard) does
    /// what follows for all of them.
    #[inline]
    pub(super) fn message_heard(&mut self) {
        self.heard = true;
    }

    /// Takes note of the messages that were [heard](Self::message_heard), if there were any.
    #[inline]
    pub(super) fn settle_heard(&mut self, now: Moment, timeouts: &Timeouts) {
        if std::mem::take(&mut self.heard) {
            self.received(now, timeouts);
            self.message_ended(now);
        }
    }

    /// A whole message has come.
    #[inline]
    pub(super) fn message_ended(&mut self, now: Moment) {
        self.any_message = true;
        if let Some(messages) = self.messages() {
            (messages.last, messages.begun) = (now, None);
        }
    }

    /// Something has come that ends no message: one is under way, or none is.
    #[inline]
    pub(super) fn message_goes_on(
        &mut self,
        under_way: Option<Progress>,
        now: Moment,
        timeouts: &Timeouts,
    ) {
        let Some(messages) = self.messages() else { return };
        let Some(progress) = under_way else {
            messages.begun = None;
            return;
        };
        if progress == Progress::Made {
            messages.last = now;
        }
        if messages.begun.is_none() {
            messages.begun = Some(now);
            self.lower(now, timeouts.message);
        }
    }

    /// Output begins to wait.
    #[inline]
    pub(super) fn output_begins(&mut self, now: Moment, timeouts: &Timeouts) {
        self.lower(now, timeouts.write);
    }

    /// Output has left, up to this position.
    pub(super) fn output_left(&mut self, left: u64, now: Moment, timeouts: &Timeouts) {
        if let Some(rare) = self.rare.as_deref_mut()
            && let Some(ping) = &mut rare.ping
            && ping.end <= left
        {
            // The peer takes what is behind the Ping, so it is alive although the Pong is not here yet.
            ping.alive = now;
            if ping.left.is_none() {
                ping.left = Some(now);
                self.lower(now, timeouts.pong);
            }
        }
    }

    /// Reading stops until [`reading_resumes`](Self::reading_resumes).
    pub(super) fn reading_stops(&mut self, now: Moment) {
        if let Some(rare) = self.rare.as_deref_mut()
            && let Some(messages) = &mut rare.messages
        {
            messages.stopped.get_or_insert(now);
        }
    }

    /// The peer's silence was not its own: all that asks something of what it sends begins anew, or is as
    /// much later as the pause was long.
    pub(super) fn reading_resumes(&mut self, now: Moment) {
        (self.received, self.silent) = (now, false);
        if let Some(rare) = self.rare.as_deref_mut()
            && let Some(messages) = &mut rare.messages
        {
            // A message that arrived while reading was stopped counts from its arrival.
            let since = messages.stopped.take().unwrap_or(now);
            let later = |moment: Moment| moment.after(now.since(since.max(moment)));
            messages.opened = later(messages.opened);
            messages.last = later(messages.last);
            messages.begun = messages.begun.map(later);
        }
    }

    /// The payload of the next automatic Ping.
    pub(super) fn next_ping(&self) -> [u8; 4] {
        self.pings.wrapping_add(1).max(1).to_be_bytes()
    }

    /// The Ping of [`next_ping`](Self::next_ping) was queued, and ends at this position.
    pub(super) fn ping_queued(&mut self, end: u64, now: Moment) {
        (self.pings, self.silent) = (self.pings.wrapping_add(1).max(1), true);
        let ping = Ping { end, left: None, alive: now };
        self.rare.get_or_insert_default().ping = Some(ping);
    }

    /// A Ping that could not be queued is tried again an interval later.
    pub(super) fn ping_failed(&mut self, now: Moment) {
        self.received = now;
    }

    /// A Pong with this payload has come.
    pub(super) fn pong_received(&mut self, payload: &[u8], now: Moment) {
        let Some(rare) = self.rare.as_deref_mut() else { return };
        if rare.ping.is_none() || payload != self.pings.to_be_bytes() {
            return;
        }
        if let Some(left) = rare.ping.take().and_then(|ping| ping.left) {
            let micros = u32::try_from(now.since(left)).unwrap_or(u32::MAX);
            self.round_trip = NonZeroU32::new(micros.max(1));
        }
        if rare.messages.is_none() {
            self.rare = None;
        }
    }

    /// There is something to do as soon as may be.
    pub(super) fn make_due(&mut self) {
        // Of a deadline that has passed, the bound is to be remembered; and it is time for that already.
        if self.overdue.is_none() {
            self.bound = Moment::START;
        }
    }

    /// Works the bound out anew.
    pub(super) fn refresh(
        &mut self,
        timeouts: &Timeouts,
        waiting: AwaitedEvent,
        output_since: Option<Moment>,
    ) {
        // Before the first call that tells the time only the end is sure: it has no deadline.
        if self.started || waiting == AwaitedEvent::Closed {
            let before = self.bound;
            self.bound = self.earliest(timeouts, waiting, output_since).0;
            if self.bound != before {
                self.overdue = None;
            }
        }
    }

    /// What is due now, if anything. What the peer may have met meanwhile is due only when it is found so
    /// a [third](Self::PATIENCE) time.
    pub(super) fn due(
        &mut self,
        now: Moment,
        timeouts: &Timeouts,
        waiting: AwaitedEvent,
        output_since: Option<Moment>,
    ) -> Option<TimeoutKind> {
        let (earliest, kind) = self.earliest(timeouts, waiting, output_since);
        let same = std::mem::replace(&mut self.bound, earliest) == earliest;
        let overdue = self.overdue.take().filter(|_| same);
        // The clock may have come to where no time is later.
        if earliest > now || earliest == Moment::NEVER {
            return None;
        }
        let found = overdue.filter(|&(overdue, _)| overdue == kind).map_or(0, |(_, found)| found);
        if kind.depends_on_the_peer() && found < Self::PATIENCE {
            self.overdue = Some((kind, found + 1));
            return None;
        }
        Some(kind)
    }

    /// Nothing is due later than so long from now.
    #[inline]
    fn lower(&mut self, now: Moment, limit: TimeLimit) {
        self.bound = self.bound.min(now.after(limit.as_micros()));
    }

    /// The earliest deadline, and which it is; [`Moment::NEVER`] if there is none.
    fn earliest(
        &self,
        timeouts: &Timeouts,
        waiting: AwaitedEvent,
        output_since: Option<Moment>,
    ) -> (Moment, TimeoutKind) {
        let mut earliest = (Moment::NEVER, TimeoutKind::Lifetime);
        let mut consider = |since: Option<Moment>, limit: TimeLimit, jitter, kind| {
            if let (Some(since), true) = (since, limit != TimeLimit::NONE) {
                let micros = shortened(limit.as_micros(), timeouts.jitter, jitter);
                let moment = since.after(micros);
                if moment < earliest.0 {
                    earliest = (moment, kind);
                }
            }
        };
        let entered = Some(self.entered);
        match waiting {
            AwaitedEvent::Handshake => {
                consider(entered, timeouts.handshake, 0, TimeoutKind::Handshake);
            }
            AwaitedEvent::Rejection(since) => {
                consider(Some(since), timeouts.rejection, 0, TimeoutKind::Rejection);
                consider(entered, timeouts.handshake, 0, TimeoutKind::Handshake);
            }
            // The request is complete: now the application decides.
            AwaitedEvent::Decision => {
                consider(entered, timeouts.decision, 0, TimeoutKind::Decision);
            }
            AwaitedEvent::Messages => {
                let rare = self.rare.as_deref();
                if let Some(messages) = rare.and_then(|rare| rare.messages.as_ref()) {
                    if !self.any_message {
                        let opened = Some(messages.opened);
                        consider(opened, timeouts.first_message, 0, TimeoutKind::FirstMessage);
                    }
                    consider(messages.begun, timeouts.message, 0, TimeoutKind::Message);
                    consider(Some(messages.last), timeouts.idle, 0, TimeoutKind::Idle);
                }
                if self.silent {
                    let ping = rare.and_then(|rare| rare.ping.as_ref());
                    let alive = ping.filter(|ping| ping.left.is_some()).map(|ping| ping.alive);
                    consider(alive, timeouts.pong, 0, TimeoutKind::Pong);
                } else {
                    consider(Some(self.received), timeouts.ping, self.jitter, TimeoutKind::Ping);
                }
                consider(entered, timeouts.lifetime, self.jitter, TimeoutKind::Lifetime);
            }
            AwaitedEvent::Nothing => {
                consider(entered, timeouts.lifetime, self.jitter, TimeoutKind::Lifetime);
            }
            // The time for the peer's end starts when all is sent; before that the deadline for progress applies.
            AwaitedEvent::End if output_since.is_none() => {
                consider(entered, timeouts.close, 0, TimeoutKind::Close);
            }
            AwaitedEvent::End | AwaitedEvent::Codec => {}
            AwaitedEvent::Closed => return earliest,
        }
        consider(output_since, timeouts.write, 0, TimeoutKind::Write);
        earliest
    }
}

/// `micros` less `jitter` 256ths of `percent` per cent of it.
fn shortened(micros: u64, percent: u8, jitter: u8) -> u64 {
    // In 65536ths, high and low bits apart, so that nothing overflows.
    let part = u64::from(percent.min(100)) * u64::from(jitter) * 64 / 25;
    micros - (micros >> 16) * part - (((micros & 0xffff) * part) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_apart_as_long_as_there_are_microseconds() {
        for micros in [0, 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 2] {
            let time = Duration::from_micros(micros);
            assert_eq!(Moment::of(time).since_start(), time);
        }
        assert!(Moment::of(Duration::MAX) < Moment::NEVER);
    }

    #[test]
    fn a_jitter_takes_its_share_of_the_high_and_of_the_low_bits() {
        for micros in [0xffff, 1 << 16, 20_000_000, u64::MAX] {
            let half = shortened(micros, 100, 128);
            assert!(micros / 2 <= half && half <= micros / 2 + 1, "{micros}: {half}");
            assert_eq!(shortened(micros, 0, 255), micros);
            assert_eq!(shortened(micros, 100, 0), micros);
        }
        assert_eq!(shortened(1 << 16, 25, 64), (1 << 16) - (1 << 12));
    }
}
