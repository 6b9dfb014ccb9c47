use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use mio::{Interest, Token};

use crate::io::Driver;
use crate::protocol::{
    Compress, Endpoint, Fragment, MessageKind, Outgoing, Prepared, SendError, State, Workspace,
};
use crate::wire::CloseCode;

use super::backlog::{Backlog, Buffered, Key, Replaced, Room, SlowConsumer, enqueue};
use super::incoming_request::IncomingRequest;
use super::listener::ListenerIndex;
use super::logging::event;
use super::metrics::{Count, Counting};
use super::open_counts::OpenCounts;
use super::rate_limit::{Piece, RateLimit, RateLimiter, Verdict};
use super::route::{RouteId, Scope};
use super::selector::Registry;
use super::sent::Sent;
use super::slab::PeerId;
use super::socket::Socket;
use super::timers::{Tick, Timers};

/// What the connections of a loop use in turn.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) workspace: Workspace,
    pub(super) counting: Counting,
    pub(super) buffered: Buffered,
    /// How many are open, in the other loops too.
    pub(super) open: Arc<OpenCounts>,
}

/// One connection of a loop.
pub(super) struct Connection {
    pub(super) driver: Driver<Socket>,
    pub(super) request: Option<IncomingRequest>,
    /// What waits for a slow consumer beside the output.
    backlog: Option<Box<Backlog>>,
    /// How fast it may send, where that is limited.
    limiter: Option<Box<RateLimiter>>,
    /// The earliest time at which the timers will look at this connection.
    pub(super) timer: Option<Tick>,
    /// Of [`Routes`](super::Routes), if it is for one of them.
    pub(super) route: Option<RouteId>,
    pub(super) origin: Origin,
    /// Where it was accepted, by the place of the listener.
    pub(super) listener: Option<ListenerIndex>,
    slow: SlowConsumer,
    /// From the upgrade on: handlers know it.
    pub(super) has_session: bool,
    /// It has to begin with a header of the PROXY protocol, or may.
    pub(super) awaits_proxy_header: bool,
    /// The application was told of backpressure and waits for `on_drain`.
    awaits_drain: bool,
    /// This side has aborted it.
    pub(super) is_aborted: bool,
    /// Its opening handshake succeeded.
    pub(super) is_opened: bool,
    /// It is one of those that are counted as open.
    is_counted_open: bool,
    /// The handler has panicked in a call for it, and is not called for it any more.
    pub(super) has_panicked: bool,
    /// Events for writing are asked for.
    is_watched_for_writing: bool,
    /// In the list of those that were changed outside their turn.
    is_unsettled: bool,
    /// In the list of those with something left to read.
    pub(super) is_unfinished: bool,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    /// Beyond the number of connections that there may be, to ask plain requests.
    Spare,
    /// While the loop is being shut down: it is not waited for.
    AcceptedLate,
    /// Somebody else gave the socket to the loop, and may hold it too.
    Adopted,
    AdoptedLate,
    Dialled,
}

impl Origin {
    pub(super) fn is_late(self) -> bool {
        matches!(self, Self::AcceptedLate | Self::AdoptedLate)
    }

    pub(super) fn is_adopted(self) -> bool {
        matches!(self, Self::Adopted | Self::AdoptedLate)
    }

    /// The same while the loop is being shut down.
    pub(super) fn late(self) -> Self {
        match self {
            Self::Accepted => Self::AcceptedLate,
            Self::Adopted => Self::AdoptedLate,
            other => other,
        }
    }
}

impl Connection {
    pub(super) fn new(driver: Driver<Socket>, origin: Origin, slow: SlowConsumer) -> Self {
        Self {
            driver,
            has_session: false,
            request: None,
            backlog: None,
            limiter: None,
            timer: None,
            route: None,
            origin,
            listener: None,
            slow,
            awaits_proxy_header: false,
            awaits_drain: false,
            is_aborted: false,
            is_opened: false,
            is_counted_open: false,
            has_panicked: false,
            is_watched_for_writing: origin == Origin::Dialled,
            is_unsettled: false,
            is_unfinished: false,
        }
    }

    #[inline]
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.driver.endpoint()
    }

    #[inline]
    pub(super) fn endpoint_mut(&mut self) -> &mut Endpoint {
        self.driver.endpoint_mut()
    }

    /// Gives back what was read before TLS or the engine read anything.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if !self.driver.transport_mut().put_back(bytes) {
            self.driver.put_back(bytes);
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.endpoint().state() == State::Open
    }

    /// It is open from now on.
    pub(super) fn count_open(&mut self, shared: &Shared) {
        if self.is_open() && !mem::replace(&mut self.is_counted_open, true) {
            shared.open.add(self.route);
        }
    }

    /// It is counted no more, if it has ceased to be open.
    #[inline]
    pub(super) fn uncount_unless_open(&mut self, shared: &Shared) {
        if self.is_counted_open && !self.is_open() {
            self.uncount_open(shared);
        }
    }

    /// It is counted no more.
    #[cold]
    pub(super) fn uncount_open(&mut self, shared: &Shared) {
        if mem::take(&mut self.is_counted_open) {
            shared.open.remove(self.route);
        }
    }

    /// Whether it is counted as one that is open within this scope.
    pub(super) fn is_counted_within(&self, scope: Scope) -> bool {
        self.is_counted_open && scope.holds(self.route)
    }

    /// Ends it without a Close.
    pub(super) fn abort(&mut self) {
        if self.endpoint().state() != State::Closed {
            self.endpoint_mut().abort();
            self.is_aborted = true;
        }
    }

    /// Queues something, and says what became of it.
    fn queue(
        &mut self,
        shared: &mut Shared,
        write: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Sent {
        match write(self.driver.endpoint_mut(), &mut shared.workspace) {
            Err(error) => Sent::Dropped(error),
            Ok(()) if self.endpoint().is_congested() => {
                self.hold_back(&mut shared.counting);
                Sent::Backpressure
            }
            Ok(()) => Sent::Accepted,
        }
    }

    /// The same, and takes note if there was no room for it.
    #[inline]
    pub(super) fn queue_or_drop(
        &mut self,
        id: PeerId,
        shared: &mut Shared,
        write: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Sent {
        let written = write(self.driver.endpoint_mut(), &mut shared.workspace);
        if written.is_ok() && !self.endpoint().is_congested() {
            return Sent::Accepted;
        }
        // A function of its own, so that the common case needs no stack for an error.
        self.held_back_or_dropped(id, shared, written)
    }

    #[cold]
    fn held_back_or_dropped(
        &mut self,
        id: PeerId,
        shared: &mut Shared,
        written: Result<(), SendError>,
    ) -> Sent {
        let sent = self.queue(shared, |_, _| written);
        if matches!(sent, Sent::Dropped(SendError::Full)) {
            self.note_dropped(id, shared);
        }
        sent
    }

    /// Queues a message that need only be copied: whether there is backpressure now. `None` where the case is another
    /// one, and nothing was queued.
    #[inline]
    pub(super) fn send_copied(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        shared: &mut Shared,
    ) -> Option<bool> {
        if self.is_governed(&shared.buffered)
            || !self.endpoint_mut().send_copied(kind, payload, &mut shared.workspace)
        {
            return None;
        }
        let is_congested = self.endpoint().is_congested();
        if is_congested {
            self.hold_back(&mut shared.counting);
        }
        Some(is_congested)
    }

    /// Sends a message that neither has a key nor waits: the one way of all that most connections ever need.
    #[inline]
    pub(super) fn send_at_once(
        &mut self,
        id: PeerId,
        message: Outgoing<'_>,
        shared: &mut Shared,
    ) -> Sent {
        self.queue_or_drop(id, shared, |endpoint, workspace| enqueue(message, endpoint, workspace))
    }

    /// Sends a message, keeps it for later, or drops it.
    #[inline]
    pub(super) fn send(
        &mut self,
        id: PeerId,
        key: Key<'_>,
        message: Outgoing<'_>,
        shared: &mut Shared,
    ) -> Sent {
        if key.name.is_none() && !self.is_governed(&shared.buffered) {
            return self.send_at_once(id, message, shared);
        }
        self.send_governed(id, key, message, shared)
    }

    /// Sends a message of which nobody is told what became of it: behind a message that was begun it waits.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        id: PeerId,
        key: Key<'_>,
        prepared: &Prepared,
        shared: &mut Shared,
    ) -> Sent {
        let sent = self.send(id, key, Outgoing::Shared(prepared), shared);
        if matches!(sent, Sent::Dropped(SendError::UnfinishedMessage)) {
            return self.deliver_behind(id, prepared, shared);
        }
        sent
    }

    /// Sends a piece of a message, and behind the last one what waited for that.
    pub(super) fn send_fragment(
        &mut self,
        id: PeerId,
        fragment: Fragment<'_>,
        compress: Compress,
        shared: &mut Shared,
    ) -> Sent {
        let sent = self.queue_or_drop(id, shared, |endpoint, workspace| {
            endpoint.send_fragment_with(fragment, compress, workspace)
        });
        if !sent.is_dropped() && self.backlog.is_some() {
            self.send_what_waited(id, shared);
        }
        sent
    }

    #[cold]
    fn deliver_behind(&mut self, id: PeerId, prepared: &Prepared, shared: &mut Shared) -> Sent {
        let room = self.endpoint().max_buffered_amount();
        let waiting = self.endpoint().buffered_amount();
        let backlog = self.backlog.get_or_insert_default();
        if waiting + backlog.bytes() + prepared.len() > room {
            self.note_dropped(id, shared);
            return Sent::Dropped(SendError::Full);
        }
        backlog.wait_behind(prepared);
        self.count(id, &mut shared.buffered);
        Sent::Kept
    }

    /// Sends what waited behind a message that was begun, if that is finished.
    #[cold]
    fn send_what_waited(&mut self, id: PeerId, shared: &mut Shared) {
        while let Some(prepared) = self.backlog.as_mut().and_then(|b| b.first_behind().cloned()) {
            match self.send_at_once(id, Outgoing::Shared(&prepared), shared) {
                Sent::Dropped(SendError::UnfinishedMessage) => break,
                // The caller of `send` was told of a full buffer already.
                Sent::Dropped(SendError::Full) => {}
                Sent::Dropped(_) => self.note_dropped(id, shared),
                _ => {}
            }
            if let Some(backlog) = &mut self.backlog {
                backlog.remove_first_behind();
            }
        }
        self.forget_empty_backlog();
        self.count(id, &mut shared.buffered);
    }

    /// Whether messages to it may have to wait beside the output, or are counted.
    #[inline]
    pub(super) fn is_governed(&self, buffered: &Buffered) -> bool {
        self.slow == SlowConsumer::Latest || self.backlog.is_some() || buffered.is_limited()
    }

    #[cold]
    fn send_governed(
        &mut self,
        id: PeerId,
        key: Key<'_>,
        message: Outgoing<'_>,
        shared: &mut Shared,
    ) -> Sent {
        let open = self.is_open();
        let full =
            open && (self.endpoint().is_full() || shared.buffered.is_over_share(id, message.len()));
        let waits = match key.name {
            Some(_) => self.keeps_messages() || full || self.endpoint().is_congested(),
            None if self.slow == SlowConsumer::Latest => full || self.keeps(key, shared),
            None => false,
        };
        let sent = if waits && open {
            self.keep(id, key, message, shared)
        } else if full {
            Sent::Dropped(SendError::Full)
        } else {
            self.queue(shared, |endpoint, workspace| enqueue(message, endpoint, workspace))
        };
        if matches!(sent, Sent::Dropped(SendError::Full)) {
            self.note_dropped(id, shared);
        }
        self.count(id, &mut shared.buffered);
        sent
    }

    fn keep(
        &mut self,
        id: PeerId,
        key: Key<'_>,
        message: Outgoing<'_>,
        shared: &mut Shared,
    ) -> Sent {
        let room = Room {
            keys: shared.buffered.limits.keys,
            bytes: self.endpoint().max_buffered_amount(),
            is_over_share: shared.buffered.is_over_share(id, message.len()),
        };
        let hash = shared.buffered.hash(key);
        let backlog = self.backlog.get_or_insert_default();
        let Some(replaced) = backlog.keep(hash, key, message, room) else {
            self.forget_empty_backlog();
            return Sent::Dropped(SendError::Full);
        };
        if replaced == Replaced::One && key.name.is_none() {
            // The message that was replaced had no key, so its sender did not offer it for replacement: it counts as
            // dropped.
            backlog.note_dropped();
            shared.counting.add(Count::Dropped);
        }
        self.hold_back(&mut shared.counting);
        Sent::Kept
    }

    /// Queues what is kept for it, until the output has come up to its high water mark, or all of it before a
    /// Close; whether anything was.
    pub(super) fn release(&mut self, id: PeerId, release: Release, shared: &mut Shared) -> bool {
        let mut released = false;
        while let Some(mut backlog) = self.backlog.take() {
            // Also asks whether it is full: the low water mark may be set above the hard limit.
            let full = release == Release::Some
                && (self.endpoint().is_congested() || self.endpoint().is_full());
            let Some(message) = backlog.first().filter(|_| !full) else {
                self.backlog = Some(backlog);
                break;
            };
            let sent =
                self.queue(shared, |endpoint, workspace| enqueue(message, endpoint, workspace));
            // A whole message cannot go out inside a fragmented one: it waits until that is finished.
            let waits = matches!(sent, Sent::Dropped(SendError::UnfinishedMessage));
            if !waits {
                released = true;
                backlog.remove_first();
            }
            self.backlog = Some(backlog);
            if waits {
                break;
            }
            if matches!(sent, Sent::Dropped(SendError::Full)) {
                self.note_dropped(id, shared);
            }
        }
        self.forget_empty_backlog();
        self.count(id, &mut shared.buffered);
        released
    }

    fn forget_empty_backlog(&mut self) {
        if self.backlog.as_ref().is_some_and(|backlog| backlog.is_empty()) {
            self.backlog = None;
        }
    }

    /// How many messages are kept for it.
    pub(super) fn kept_messages(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.len())
    }

    /// Whether there are any.
    #[inline]
    pub(super) fn keeps_messages(&self) -> bool {
        self.backlog.is_some() && self.kept_messages() > 0
    }

    fn keeps(&self, key: Key<'_>, shared: &Shared) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.keeps(shared.buffered.hash(key), key))
    }

    /// A message could not be sent since too much waits already.
    #[cold]
    fn note_dropped(&mut self, id: PeerId, shared: &mut Shared) {
        if self.backlog.get_or_insert_default().note_dropped() {
            event!(Debug, "limits", "{id} does not take what is sent: messages are dropped");
        }
        shared.counting.add(Count::Dropped);
        if self.slow == SlowConsumer::Close {
            // A connection that is closing already needs no second Close.
            let _ = self.endpoint_mut().close(
                CloseCode::TRY_AGAIN_LATER,
                "too much output waits",
                &mut shared.workspace,
            );
            self.uncount_unless_open(shared);
        }
    }

    /// How many messages it has lost of which the handler is to be told now.
    #[inline]
    pub(super) fn take_dropped(&mut self) -> Option<u64> {
        let backlog = self.backlog.as_deref_mut()?;
        backlog.is_to_tell().then(|| backlog.take_dropped())
    }

    /// The handler was told.
    pub(super) fn told_of_dropped(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            backlog.told();
        }
        self.forget_empty_backlog();
    }

    /// Whether the handler is to be told of dropped messages in the next turn.
    #[inline]
    pub(super) fn has_dropped(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.is_to_tell())
    }

    pub(super) fn set_slow_consumer(&mut self, policy: SlowConsumer) {
        self.slow = policy;
    }

    /// Takes note of how many bytes wait for it, where that is limited.
    #[inline]
    pub(super) fn count(&self, id: PeerId, buffered: &mut Buffered) {
        if buffered.is_limited() {
            let kept = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes());
            buffered.set(id, self.endpoint().buffered_amount() + kept);
        }
    }

    /// The application is to wait for `on_drain`.
    fn hold_back(&mut self, counting: &mut Counting) {
        if !mem::replace(&mut self.awaits_drain, true) {
            counting.add(Count::Backpressure);
        }
    }

    /// Whether the application waits for `on_drain` and the output has come down to its low water mark.
    #[inline]
    pub(super) fn is_relieved(&self) -> bool {
        self.awaits_drain && self.endpoint().is_drained()
    }

    /// The application waits no more: whether it is to be told.
    pub(super) fn take_relief(&mut self) -> bool {
        self.awaits_drain = false;
        !self.driver.is_ended() && self.has_session && self.is_open()
    }

    /// Puts the connection into the list of those to settle, unless it is there.
    #[inline]
    pub(super) fn unsettle(&mut self, id: PeerId, unsettled: &mut Vec<PeerId>) {
        if !mem::replace(&mut self.is_unsettled, true) {
            unsettled.push(id);
        }
    }

    #[inline]
    pub(super) fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }

    /// Writes what the socket takes of the output.
    #[inline(always)]
    pub(super) fn write(&mut self, shared: &mut Shared) {
        self.is_unsettled = false;
        self.uncount_unless_open(shared);
        let Shared { workspace, counting, .. } = shared;
        let count = self.driver.flush(workspace);
        counting.add_many(Count::BytesSent, count);
    }

    /// Sets the timer, unless it will go off early enough anyway: as early as a tick can, which is up to a
    /// millisecond behind its deadline.
    #[inline]
    pub(super) fn set_timer(&mut self, id: PeerId, timers: &mut Timers) {
        if let Some(next) = self.next_timeout()
            && self.timer.is_none_or(|set| set.is_late_for(next))
        {
            self.set_timer_at(Tick::at(next), id, timers);
        }
    }

    #[cold]
    fn set_timer_at(&mut self, next: Tick, id: PeerId, timers: &mut Timers) {
        self.timer = Some(next);
        timers.set(next, id);
    }

    /// When it is to have a turn, even if nothing happens.
    #[inline]
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let next = self.driver.next_timeout();
        if self.limiter.is_none() { next } else { self.next_timeout_with_limit(next) }
    }

    #[cold]
    fn next_timeout_with_limit(&self, next: Option<Duration>) -> Option<Duration> {
        let limit = self.limiter.as_ref().and_then(|limiter| limiter.next_timeout());
        [next, limit].into_iter().flatten().min()
    }

    /// Stops reading for the application.
    pub(super) fn pause(&mut self, shared: &mut Shared) {
        if let Some(limiter) = &mut self.limiter {
            limiter.set_paused(true);
        }
        self.endpoint_mut().pause(&mut shared.workspace);
    }

    /// Reads again, unless it has to wait for its rate limit.
    pub(super) fn resume(&mut self, shared: &mut Shared) {
        if let Some(limiter) = &mut self.limiter {
            limiter.set_paused(false);
            if limiter.is_holding() {
                return;
            }
        }
        self.endpoint_mut().resume(&mut shared.workspace);
    }

    /// Whether the application has stopped reading.
    pub(super) fn is_paused(&self) -> bool {
        match &self.limiter {
            Some(limiter) if limiter.is_holding() => limiter.is_paused(),
            _ => self.endpoint().is_paused(),
        }
    }

    /// Limits how fast it may send from now on, or does so no more.
    pub(super) fn set_rate_limit(
        &mut self,
        limit: Option<RateLimit>,
        now: Duration,
        shared: &mut Shared,
    ) {
        let is_paused = self.is_paused();
        let limiter = match &self.limiter {
            Some(before) => before.followed_by(limit, now),
            None => limit.map(|limit| RateLimiter::new(limit, now)),
        };
        self.limiter = limiter.map(Box::new);
        if self.driver.is_read_closed() {
            self.cease_waiting_for_limit(shared);
        }
        if self.limiter.as_ref().is_some_and(|limiter| limiter.is_holding()) {
            self.hold(now, shared);
        }
        if is_paused {
            self.pause(shared);
        } else {
            self.resume(shared);
        }
    }

    /// Stops reading for the rate limit.
    fn hold(&mut self, now: Duration, shared: &mut Shared) {
        let endpoint = self.driver.endpoint_mut();
        if let Some(limiter) = &mut self.limiter {
            limiter.set_paused(endpoint.is_paused());
            limiter.ping_after(endpoint.config().ping_time_limit(), now);
        }
        endpoint.pause(&mut shared.workspace);
    }

    #[inline]
    pub(super) fn is_rate_limited(&self) -> bool {
        self.limiter.is_some()
    }

    /// Decides by its rate limit whether a message, or a piece of one, is delivered.
    #[cold]
    pub(super) fn passes_limit(
        &mut self,
        bytes: usize,
        piece: Piece,
        now: Duration,
        shared: &mut Shared,
    ) -> bool {
        let Some(limiter) = &mut self.limiter else { return true };
        match limiter.judge(bytes, piece, now) {
            Verdict::Deliver => true,
            Verdict::DeliverAndPause => {
                shared.counting.add(Count::RateLimited);
                self.hold(now, shared);
                true
            }
            Verdict::Drop => {
                if piece.is_first {
                    shared.counting.add(Count::RateLimited);
                }
                false
            }
            Verdict::Close => {
                shared.counting.add(Count::RateLimited);
                // A connection that is closing already needs no second Close.
                let _ = self.endpoint_mut().close(
                    CloseCode::POLICY_VIOLATION,
                    "too many messages",
                    &mut shared.workspace,
                );
                self.uncount_unless_open(shared);
                false
            }
            Verdict::Ignore => false,
        }
    }

    /// Goes on to read, if it has waited for its rate limit, and for nothing else, long enough; asks whether the peer is
    /// there, if it waits for long.
    #[cold]
    pub(super) fn release_limit(&mut self, now: Duration, shared: &mut Shared) {
        let Some(limiter) = &mut self.limiter else { return };
        if limiter.take_release(now) {
            self.endpoint_mut().resume(&mut shared.workspace);
        } else if limiter.is_ping_due(now) {
            limiter.ping_after(self.driver.endpoint().config().ping_time_limit(), now);
            // Without room for a Ping there is output enough that the peer has to take, which shows as well that it
            // lives.
            let _ = self.endpoint_mut().ping(b"", &mut shared.workspace);
        }
    }

    /// The peer has ended its direction: to wait would not slow it down any more.
    #[cold]
    pub(super) fn cease_waiting_for_limit(&mut self, shared: &mut Shared) {
        if self.limiter.as_mut().is_some_and(|limiter| limiter.drop_from_now_on()) {
            self.endpoint_mut().resume(&mut shared.workspace);
        }
    }

    /// How many messages its rate limit has dropped since the last time.
    #[cold]
    pub(super) fn take_rate_limited(&mut self) -> u64 {
        self.limiter.as_mut().map_or(0, |limiter| limiter.take_dropped())
    }

    /// Asks for events for writing while output waits, and only then.
    ///
    /// # Errors
    ///
    /// The system's. Without events the output would wait for ever: the connection is to be dropped.
    #[inline]
    pub(super) fn watch_writing(&mut self, registry: &Registry, id: PeerId) -> io::Result<()> {
        let waits = self.driver.wants_write();
        if self.is_watched_for_writing != waits {
            let source = self.driver.transport_mut().source();
            registry.reregister(source, token(id), interest(waits))?;
            self.is_watched_for_writing = waits;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn is_counted_open(&self) -> bool {
        self.is_counted_open
    }

    #[cfg(test)]
    pub(super) fn is_watched_for_writing(&self) -> bool {
        self.is_watched_for_writing
    }

    /// Asks for events.
    pub(super) fn register(&mut self, registry: &Registry, id: PeerId) -> io::Result<()> {
        let interest = interest(self.is_watched_for_writing);
        registry.register(self.driver.transport_mut().source(), token(id), interest)
    }
}

/// What is to be released of the messages that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// What the output has room for.
    Some,
    /// All, since the connection is about to be closed.
    All,
}

/// What events are asked for. Urgent data is no data to a WebSocket, but a read ends where it stands.
fn interest(writing: bool) -> Interest {
    let interest = Interest::READABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    if writing { interest | Interest::WRITABLE } else { interest }
}

/// The token of a connection's socket. On machines with narrow words the generation is lost; an event
/// for a place whose connection has changed is then a spurious one, which does no harm.
fn token(id: PeerId) -> Token {
    Token(id.as_u64() as usize)
}
