//! When what is due, as the model has it: everything is kept, and worked out anew each time.

use framewire::TimeoutKind;

use super::settings::Limits;

/// The clocks of one connection, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) now: u64,
    /// The time was told once.
    pub(crate) started: bool,
    /// Since when the state lasts, or what is waited for in it.
    pub(crate) entered: u64,
    /// When the last byte came.
    pub(crate) received: u64,
    /// Since when output waits without progress.
    pub(crate) output_since: Option<u64>,
    /// Nothing has come since the last automatic Ping.
    pub(crate) silent: bool,
    pub(crate) ping: Option<Ping>,
    /// How many automatic Pings were queued.
    pub(crate) pings: u32,
    pub(crate) round_trip: Option<u64>,
    /// A whole message has come.
    pub(crate) any_message: bool,
    pub(crate) messages: Option<Messages>,
    /// The deadline that was found to have passed, and that the peer may have met; and how often.
    pub(crate) overdue: Option<(TimeoutKind, u64, u32)>,
    /// Since when nothing is read.
    pub(crate) stopped: Option<u64>,
}

/// An automatic Ping whose Pong has not come.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    /// The position at which it ends.
    pub(crate) end: u64,
    pub(crate) left: Option<u64>,
    /// When output left last, from the Ping on.
    pub(crate) alive: u64,
}

/// The clocks of messages, which exist from when a time limit needs them.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    /// Since when they exist.
    pub(crate) watched: u64,
    pub(crate) opened: u64,
    pub(crate) last: u64,
    pub(crate) begun: Option<u64>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Handshake,
    Decision,
    Open,
    End,
    /// For the codec, before a Close can be sent.
    Codec,
    Closed,
}

impl Clock {
    /// Tells the time; the first time starts all clocks.
    pub(crate) fn tell(&mut self, now: u64) {
        self.now = self.now.max(now);
        let now = self.now;
        if !std::mem::replace(&mut self.started, true) {
            (self.entered, self.received) = (now, now);
            self.output_since = self.output_since.map(|_| now);
            self.stopped = self.stopped.map(|_| now);
            if let Some(messages) = &mut self.messages {
                let begun = messages.begun.map(|_| now);
                *messages = Messages { watched: now, opened: now, last: now, begun };
            }
        }
    }

    /// Begins to wait for something else.
    pub(crate) fn enter(&mut self, is_open: bool, limits: &Limits) {
        self.entered = self.now;
        self.overdue = None;
        (self.ping, self.messages) = (None, None);
        self.stopped = self.stopped.map(|_| self.now);
        if is_open {
            self.watch(limits);
        }
    }

    /// Watches messages from now on, if a limit needs it.
    pub(crate) fn watch(&mut self, limits: &Limits) {
        if [limits.first_message, limits.message, limits.idle].iter().any(Option::is_some) {
            let now = self.now;
            let clocks = Messages { watched: now, opened: now, last: now, begun: None };
            self.messages.get_or_insert(clocks);
        }
    }

    /// Takes note of whether the peer is read.
    pub(crate) fn reads(&mut self, reads: bool) {
        match (reads, self.stopped) {
            (false, None) => self.stopped = Some(self.now),
            (true, Some(since)) => {
                self.stopped = None;
                (self.received, self.silent) = (self.now, false);
                if let Some(messages) = &mut self.messages {
                    // What came all the same counts from when it came.
                    let since = since.max(messages.watched);
                    let later = |moment: u64| moment + self.now - since.max(moment);
                    messages.opened = later(messages.opened);
                    messages.last = later(messages.last);
                    messages.begun = messages.begun.map(later);
                }
            }
            _ => {}
        }
    }

    /// The deadline that comes first.
    pub(crate) fn first(&self, waiting: Waiting, limits: &Limits) -> Option<(u64, TimeoutKind)> {
        let mut all = Vec::new();
        let mut add = |since: Option<u64>, limit: Option<u64>, kind| {
            if let (Some(since), Some(limit)) = (since, limit) {
                all.push((since + limit, kind));
            }
        };
        let entered = Some(self.entered);
        match waiting {
            Waiting::Handshake => add(entered, limits.handshake, TimeoutKind::Handshake),
            Waiting::Decision => add(entered, limits.decision, TimeoutKind::Decision),
            Waiting::Open => {
                add(entered, limits.lifetime, TimeoutKind::Lifetime);
                if self.stopped.is_none() {
                    if let Some(messages) = &self.messages {
                        let opened = Some(messages.opened).filter(|_| !self.any_message);
                        add(opened, limits.first_message, TimeoutKind::FirstMessage);
                        add(messages.begun, limits.message, TimeoutKind::Message);
                        add(Some(messages.last), limits.idle, TimeoutKind::Idle);
                    }
                    let ping = self.ping.as_ref().filter(|ping| ping.left.is_some());
                    if self.silent {
                        add(ping.map(|ping| ping.alive), limits.pong, TimeoutKind::Pong);
                    } else {
                        add(Some(self.received), limits.ping, TimeoutKind::Ping);
                    }
                }
            }
            Waiting::End if self.output_since.is_none() => {
                add(entered, limits.close, TimeoutKind::Close);
            }
            Waiting::End | Waiting::Codec => {}
            Waiting::Closed => return None,
        }
        add(self.output_since, limits.write, TimeoutKind::Write);
        all.into_iter().min_by_key(|deadline| deadline.0)
    }

    /// What is due now. What the peer may have met is due when it is found so three times.
    pub(crate) fn due(&mut self, waiting: Waiting, limits: &Limits) -> Option<TimeoutKind> {
        let first = self.first(waiting, limits).filter(|first| first.0 <= self.now);
        let overdue = self.overdue.take();
        let (moment, kind) = first?;
        let certain =
            matches!(kind, TimeoutKind::Decision | TimeoutKind::Ping | TimeoutKind::Lifetime);
        let found = overdue.filter(|overdue| (overdue.0, overdue.1) == (kind, moment));
        let found = found.map_or(0, |overdue| overdue.2) + 1;
        if certain || found == 3 {
            return Some(kind);
        }
        self.overdue = Some((kind, moment, found));
        None
    }
}
