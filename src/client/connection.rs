use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::Interest;

use super::error::ClientError;
use super::transport::{ClientStream, ClientTransport};
use crate::io::transport::Transport;
use crate::io::{Budget, Driver, Inbox};
use crate::protocol::{Cause, Endpoint, Event, Outcome, SendError, State, TimeoutKind, Workspace};
use crate::wire::CloseFrame;

/// How much is read into a long message before the caller gets its turn.
const SHARE: usize = 512 * 1024;

/// How much an event takes beside its payload, about.
const EVENT_SIZE: usize = size_of::<Event<'static>>();

/// How many events are taken in before something is sent: a flood must not put the sending off for ever.
const CAUGHT_UP: usize = 1024;

/// A connection with its clock, and what was received of it for later: one step at a time, never waiting.
pub(super) struct ClientConnection {
    driver: Driver<ClientTransport>,
    workspace: Workspace,
    /// What was read and waits for the caller to want the next event. One is taken at a time: what stands behind
    /// a message may be a fault, after which an answer to that message could no longer be sent.
    inbox: Inbox,
    events: VecDeque<Event<'static>>,
    /// How many bytes the events hold.
    held: usize,
    /// Nobody will ever ask for the events.
    discards: bool,
    /// The fixed point of the connection's clock.
    start: Instant,
    /// When the transport was last read.
    last_read: Duration,
    /// How the connection ended, which others may look at without the lock of this.
    outcome: Arc<OnceLock<Outcome>>,
    /// This side wanted no more of it, and did not close it.
    is_aborted: bool,
    /// By when the closing must be over, however much is under way.
    close_by: Option<Duration>,
    /// The position in the output up to which the transport has nothing left to send.
    flushed_to: u64,
}

impl ClientConnection {
    pub(super) fn new(
        endpoint: Endpoint,
        workspace: Workspace,
        transport: Box<dyn ClientStream>,
    ) -> Self {
        Self::with_leftover(endpoint, workspace, transport, &[])
    }

    /// A connection with bytes that somebody else has read from the transport.
    pub(super) fn with_leftover(
        endpoint: Endpoint,
        mut workspace: Workspace,
        transport: Box<dyn ClientStream>,
        leftover: &[u8],
    ) -> Self {
        let mut driver = Driver::with_leftover(endpoint, ClientTransport::new(transport), leftover);
        driver.read_while_congested();
        // Starts its clock.
        driver.handle_timeout(Duration::ZERO, &mut workspace);
        Self {
            driver,
            workspace,
            inbox: Inbox::default(),
            events: VecDeque::new(),
            held: 0,
            discards: false,
            start: Instant::now(),
            last_read: Duration::ZERO,
            outcome: Arc::default(),
            is_aborted: false,
            close_by: None,
            flushed_to: 0,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.driver.endpoint()
    }

    /// Whether the transport is about a handshake of its own.
    pub(super) fn is_securing(&self) -> bool {
        self.driver.transport().is_securing()
    }

    /// How the connection ended, once it has.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// Where the outcome is put, once there is one.
    pub(super) fn shared_outcome(&self) -> Arc<OnceLock<Outcome>> {
        Arc::clone(&self.outcome)
    }

    fn is_over(&self) -> bool {
        self.outcome().is_some()
    }

    /// What the end of the connection is to the caller who wanted more of it; `None` for a clean end,
    /// or before the end.
    pub(super) fn error(&self) -> Option<ClientError> {
        let outcome = self.outcome()?;
        if self.is_aborted { Some(ClientError::Aborted) } else { ClientError::of(outcome) }
    }

    /// Whether the transport may still take what was queued up to this position in the output.
    pub(super) fn is_leaving(&self, end: u64) -> bool {
        !self.is_over() && !self.is_broken() && !self.has_left(end)
    }

    fn is_broken(&self) -> bool {
        self.driver.transport().failure().is_some()
    }

    fn has_left(&self, end: u64) -> bool {
        self.flushed_to >= end
    }

    /// What came of sending what was queued up to this position, once it is no longer
    /// [leaving](Self::is_leaving).
    pub(super) fn result_of_sending(&self, end: u64) -> Result<(), ClientError> {
        if self.has_left(end) {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            let received = self.outcome().and_then(Outcome::received).cloned();
            let cause = self.driver.transport().failure().cloned();
            ClientError::lost(Outcome::Lost { sent: None, received, cause })
        }))
    }

    pub(super) fn round_trip_time(&self) -> Option<Duration> {
        self.endpoint().round_trip_time()
    }

    /// When the next deadline comes, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let next = [self.driver.next_timeout(), self.close_by].into_iter().flatten().min()?;
        self.start.checked_add(next)
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Interest {
        let readable = Interest::READABLE;
        if self.driver.wants_write() { readable.add(Interest::WRITABLE) } else { readable }
    }

    /// Whether no message can be queued before something has left.
    pub(super) fn is_full(&self) -> bool {
        !self.is_over() && self.endpoint().state() == State::Open && self.endpoint().is_full()
    }

    /// Queues something: the position in the output at which it ends. A connection that has ended says why.
    pub(super) fn queue(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<u64, ClientError> {
        // The time of a message that is queued behind other output is counted from that of the first.
        if self.endpoint().buffered_amount() == 0 {
            self.workspace.set_time(self.start.elapsed());
        }
        self.put(what)
    }

    /// The same, at the time that the engine was told last.
    fn put(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<u64, ClientError> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        what(self.driver.endpoint_mut(), &mut self.workspace)?;
        Ok(self.endpoint().queued())
    }

    /// Queues something and sends what the transport takes of it: the position in the output at which it ends.
    pub(super) fn enqueue(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<u64, ClientError> {
        self.workspace.set_time(self.start.elapsed());
        let end = self.put(what)?;
        self.settle();
        Ok(end)
    }

    /// Begins the closing handshake: where its Close ends. It has to be over in time, whatever is under way, and by
    /// whomever it was begun.
    pub(super) fn close_in_time(&mut self, close: &CloseFrame) -> Result<u64, ClientError> {
        let result = self.enqueue(|endpoint, workspace| {
            if *close == CloseFrame::empty() {
                endpoint.close_without_code(workspace)
            } else {
                endpoint.close(close.code(), close.reason(), workspace)
            }
        });
        if self.close_by.is_none() && self.endpoint().state() == State::Closing {
            let limit = self.endpoint().config().close_time_limit();
            self.close_by = limit.and_then(|limit| self.start.elapsed().checked_add(limit));
        }
        result
    }

    /// The next event that was taken in.
    pub(super) fn next_event(&mut self) -> Option<Event<'static>> {
        let event = self.events.pop_front()?;
        self.held -= size_of_event(&event);
        Some(event)
    }

    /// Throws away what was taken in.
    pub(super) fn clear_events(&mut self) {
        self.events.clear();
        self.held = 0;
    }

    /// Throws away whatever comes from now on: nobody will ask for it.
    pub(super) fn discard_events(&mut self) {
        self.discards = true;
        self.clear_events();
    }

    /// Whether events wait.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes the next event from the inbox, reading first if that is empty: whether anything has come, or is
    /// to be tried again before waiting. What is due by now is done before it reads.
    pub(super) fn read(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        self.driver.endpoint_mut().resume(&mut self.workspace);
        let reads = self.inbox.is_empty();
        if reads {
            self.tick();
            if self.is_over() {
                return true;
            }
            // Two threads may wait for the same transport, and only one of them was told that it is readable.
            self.driver.set_readable_in_pieces();
        }
        let mut budget = Budget::new().bytes(SHARE).events(1);
        let mut event = self.driver.fill(&mut self.inbox, &mut budget, &mut self.workspace);
        if reads {
            self.last_read = self.start.elapsed();
            self.workspace.set_time(self.last_read);
        }
        if event.is_none() && budget.goes_on() {
            event = self.take(&mut budget);
        }
        let has_come = event.is_some();
        self.keep(event);
        if self.driver.is_ended() {
            // What has come is taken without a budget: the peer is gone, so there will be no more of it.
            while !self.inbox.is_empty() {
                let event = self.take(&mut Budget::new());
                if event.is_none() {
                    break;
                }
                self.keep(event);
            }
            // If the peer has ended only its own direction, what we owe it may still arrive.
            self.settle();
            if !self.is_over() {
                let failure = self.driver.transport().failure().cloned();
                let endpoint = self.driver.endpoint_mut();
                let outcome = match failure {
                    None => endpoint.receive_eof(),
                    Some(cause) => endpoint.abort_with(cause),
                };
                self.end(outcome);
            }
            return true;
        }
        // What was there already has mostly nothing to be answered.
        if reads || self.endpoint().buffered_amount() > 0 || self.endpoint().state() != State::Open
        {
            self.settle();
        }
        // Without any of these, only bytes of the transport itself have come, such as a TLS record without data.
        has_come || self.driver.has_more() || !self.inbox.is_empty() || self.is_over()
    }

    /// What the inbox has up to the next event.
    fn take(&mut self, budget: &mut Budget<'_>) -> Option<Event<'static>> {
        let mut input = self.inbox.input();
        let event = self.driver.take(&mut input, budget, &mut self.workspace);
        let event = event.map(Event::into_owned);
        let left = input.len();
        self.inbox.set_left(left);
        event
    }

    fn keep(&mut self, event: Option<Event<'static>>) {
        if let Some(event) = event.filter(|_| !self.discards) {
            self.held += size_of_event(&event);
            self.events.push_back(event);
        }
    }

    /// Whether more may be taken in for later: nothing is there, or less than
    /// [`Config::max_buffered_amount`](crate::Config::max_buffered_amount).
    pub(super) fn has_room(&self) -> bool {
        self.held == 0 || self.held < self.endpoint().max_buffered_amount()
    }

    /// Reads for later while something is sent, as long as not too much was: whether to try again before waiting.
    pub(super) fn read_ahead(&mut self) -> bool {
        if self.has_room() {
            return self.read();
        }
        // While nobody reads, the deadlines for what the peer should send are suspended.
        self.driver.endpoint_mut().pause(&mut self.workspace);
        self.tick();
        self.settle();
        false
    }

    /// Reads for later what has come by now, if nothing was read for so long: a caller who only sends has the
    /// peer's Pings answered, its Pongs counted, and its Close heeded.
    pub(super) fn catch_up(&mut self, unread: Duration) {
        if self.start.elapsed().saturating_sub(self.last_read) < unread {
            return;
        }
        for _ in 0..CAUGHT_UP {
            if !self.read_ahead() {
                break;
            }
        }
    }

    /// Reads what the peer said last, when nothing can be sent any more: that tells why.
    pub(super) fn read_last(&mut self) {
        while self.is_broken() && !self.is_over() && self.read() {}
    }

    /// Writes what the transport takes, and draws the consequences of all that happened.
    pub(super) fn settle(&mut self) {
        if self.is_over() {
            return;
        }
        self.driver.set_writable();
        let count = self.driver.flush(&mut self.workspace);
        // A TLS session that has failed looks flushed, though it has sent nothing: such a one does not count.
        if self.driver.transport().is_flushed() && (count > 0 || !self.is_broken()) {
            self.flushed_to = self.endpoint().left();
        }
        if self.endpoint().state() == State::Closed {
            self.end_without_close();
        }
    }

    /// Tells the connection the time, which does what is due. Before the next time stands a turn in which
    /// the transport is read and written: what the peer has met meanwhile is no longer due.
    fn tick(&mut self) {
        let event = self.driver.handle_timeout(self.start.elapsed(), &mut self.workspace);
        self.keep(event);
        if self.endpoint().state() == State::Closed {
            self.end_without_close();
        }
        if !self.is_over() && self.close_by.is_some_and(|by| by <= self.start.elapsed()) {
            let outcome = match self.driver.endpoint_mut().abort() {
                Outcome::Lost { sent, received, .. } => {
                    Outcome::TimedOut { timeout: TimeoutKind::Close, sent, received }
                }
                outcome => outcome,
            };
            self.end(outcome);
        }
    }

    /// Ends the connection because this side wants no more of it.
    pub(super) fn abort(&mut self) -> Outcome {
        self.is_aborted |= !self.is_over();
        self.end_without_close()
    }

    /// Ends the connection without a Close.
    pub(super) fn end_without_close(&mut self) -> Outcome {
        let failure = self.driver.transport().failure().cloned();
        let endpoint = self.driver.endpoint_mut();
        let outcome = match failure {
            None => endpoint.abort(),
            Some(cause) => endpoint.abort_with(cause),
        };
        self.end(outcome.clone());
        outcome
    }

    /// Ends the connection, for this reason.
    pub(super) fn end_with(&mut self, cause: impl Into<Cause>) {
        let outcome = self.driver.endpoint_mut().abort_with(cause);
        self.end(outcome);
    }

    /// Takes note of the end, and lets the peer see it.
    fn end(&mut self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            self.driver.transport_mut().close();
        }
    }
}

fn size_of_event(event: &Event<'_>) -> usize {
    let payload = match event {
        Event::Message(message) => message.len(),
        Event::Fragment(fragment) => fragment.payload.len(),
        Event::Ping(payload) | Event::Pong(payload) => payload.len(),
        _ => 0,
    };
    EVENT_SIZE + payload
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::client::transport::Holding;
    use crate::io::transport::Stopped;
    use crate::protocol::{Chunks, Config, Role, SystemEntropy};

    fn connection(transport: impl ClientStream + 'static) -> ClientConnection {
        let endpoint = Endpoint::adopted(Role::Client, &Config::new());
        let workspace = Workspace::with_entropy(SystemEntropy::new());
        ClientConnection::new(endpoint, workspace, Box::new(transport))
    }

    #[test]
    fn what_has_left_is_told_so_whatever_is_held_afterwards() {
        let holds = Arc::new(AtomicBool::new(false));
        let mut connection = connection(Holding(Arc::clone(&holds)));
        let mut send =
            || connection.enqueue(|endpoint, workspace| endpoint.send("words", workspace)).unwrap();
        let first = send();
        holds.store(true, Ordering::Relaxed);
        let second = send();
        assert!(!connection.is_leaving(first));
        assert!(connection.is_leaving(second));
        connection.end_without_close();
        connection.result_of_sending(first).unwrap();
        let error = connection.result_of_sending(second).unwrap_err();
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
    }
    /// A transport that takes a message of five bytes, and then breaks.
    struct Breaking(Option<usize>);

    impl ClientStream for Breaking {}

    impl Transport for Breaking {
        fn read(&mut self, _: &mut [u8]) -> (usize, Stopped) {
            (0, Stopped::Blocked)
        }

        fn write(&mut self, _: Chunks<'_>) -> (usize, Stopped) {
            match self.0.take() {
                Some(count) => (count, Stopped::Done),
                None => (0, Stopped::Broken(io::ErrorKind::BrokenPipe.into())),
            }
        }

        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_has_left_is_told_so_where_the_rest_could_not() {
        let mut connection = connection(Breaking(Some(2 + 4 + 5)));
        let mut queue =
            || connection.queue(|endpoint, workspace| endpoint.send("words", workspace)).unwrap();
        let (first, second) = (queue(), queue());
        connection.settle();
        connection.result_of_sending(first).unwrap();
        let error = connection.result_of_sending(second).unwrap_err();
        assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
    }
}
