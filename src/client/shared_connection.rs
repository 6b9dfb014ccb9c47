use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::closer::{Closable, CloseRequest, Closer};
use super::connection::ClientConnection;
use super::error::{ClientError, ClientTimeout};
use super::socket::Socket;
use super::wait::Waiter;
use super::waker::Waker;
use crate::handshake::Response;
use crate::protocol::{Endpoint, Event, Outcome, SendError, State, Workspace};
use crate::wire::CloseFrame;

/// A connection of which each thread takes its step: one receives, others send, and any of them ends it. The lock is
/// held for a step, which waits for nothing but a stream that blocks by itself; so nobody keeps others from their work.
pub(super) struct SharedConnection {
    state: Mutex<SharedState>,
    /// What all threads wait for; `None` for a stream that blocks by itself, which only one thread uses.
    socket: Option<Socket>,
    closer: Closer,
    outcome: Arc<OnceLock<Outcome>>,
    response: Option<Arc<Response>>,
    subprotocol: Option<Box<str>>,
}

struct SharedState {
    connection: ClientConnection,
    reader: Reader,
    blocked_writers: Vec<BlockedWriter>,
}

/// Where the thread that receives is. While it does not wait for the next event, those that send do its reading.
enum Reader {
    /// It is to be woken by this.
    Waiting(Arc<Waker>),
    /// It was woken, or does something else.
    Busy,
    /// It wants nothing more.
    Dropped,
}

/// A thread that waits until the output up to a position has left.
struct BlockedWriter {
    end: u64,
    waker: Arc<Waker>,
}

impl SharedState {
    /// Wakes those whose waiting is over.
    fn wake(&mut self) {
        let Self { connection, blocked_writers, .. } = self;
        blocked_writers.retain(|writer| {
            let is_blocked = connection.is_leaving(writer.end);
            if !is_blocked {
                writer.waker.wake();
            }
            is_blocked
        });
        if connection.has_events() || connection.outcome().is_some() {
            self.wake_reader();
        }
    }

    /// The next event that was taken in. Those who send read on where it makes room for more: whoever receives may
    /// wait for them next.
    fn next_event(&mut self) -> Option<Event<'static>> {
        let had_room = self.connection.has_room();
        let event = self.connection.next_event()?;
        if !had_room && self.connection.has_room() {
            self.wake_writers();
        }
        Some(event)
    }

    fn wake_reader(&mut self) {
        if let Reader::Waiting(waker) = &self.reader {
            waker.wake();
            self.reader = Reader::Busy;
        }
    }

    fn close(&mut self, request: &CloseRequest) {
        match request {
            CloseRequest::Abort => {
                self.connection.abort();
            }
            CloseRequest::Close(close) => {
                // A connection that is closing already goes on closing as it was.
                let _ = self.connection.close_in_time(close);
            }
        }
        self.wake_all();
    }

    /// Has everybody look at what has become of the connection and its deadlines.
    fn wake_all(&mut self) {
        self.wake_reader();
        self.wake_writers();
    }

    fn wake_writers(&mut self) {
        for writer in self.blocked_writers.drain(..) {
            writer.waker.wake();
        }
    }
}

impl Closable for SharedConnection {
    fn close(&self, request: &CloseRequest) {
        // The thread of a blocking stream may hold the lock for long; it sees the request by itself when it is back.
        if self.socket.is_some() {
            self.lock().close(request);
        }
    }
}

impl SharedConnection {
    /// A connection that is open, which this closer ends. `socket` is another handle to what it runs over.
    pub(super) fn new(
        connection: ClientConnection,
        response: Option<Arc<Response>>,
        socket: Option<Socket>,
        closer: Closer,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            outcome: connection.shared_outcome(),
            subprotocol: connection.endpoint().subprotocol().map(Into::into),
            state: Mutex::new(SharedState {
                connection,
                reader: Reader::Busy,
                blocked_writers: Vec::new(),
            }),
            socket,
            closer,
            response,
        });
        shared.closer.attach(&shared);
        shared
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        // A panic inside a step is a bug of this crate; the others had better see the end than another panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another thread may use it at the same time.
    pub(super) fn is_splittable(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn closer(&self) -> Closer {
        self.closer.clone()
    }

    pub(super) fn response(&self) -> Option<&Response> {
        self.response.as_deref()
    }

    pub(super) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    pub(super) fn state(&self) -> State {
        match self.outcome() {
            Some(_) => State::Closed,
            None => self.lock().connection.endpoint().state(),
        }
    }

    #[cfg(feature = "deflate")]
    pub(super) fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.lock().connection.endpoint().deflate()
    }

    pub(super) fn buffered_amount(&self) -> usize {
        self.lock().connection.endpoint().buffered_amount()
    }

    pub(super) fn round_trip_time(&self) -> Option<Duration> {
        self.lock().connection.round_trip_time()
    }

    /// The next event; `None` after a clean close.
    pub(super) fn next_event(
        &self,
        waiter: &mut Waiter,
        until: Option<Instant>,
    ) -> Result<Option<Event<'static>>, ClientError> {
        let waker = waiter.waker(self.socket.as_ref())?;
        loop {
            let (next, interest) = {
                let mut state = self.lock();
                state.reader = Reader::Busy;
                self.look_at_closer(&mut state);
                if let Some(event) = state.next_event() {
                    return Ok(Some(event));
                }
                if self.outcome().is_some() {
                    return state.connection.error().map_or(Ok(None), Err);
                }
                if self.socket.is_none() {
                    // What is queued has to leave before the stream blocks.
                    state.connection.settle();
                }
                let goes_on = state.connection.read();
                // The lock is not given away for what is there already.
                let event = state.next_event();
                state.wake();
                if event.is_some() {
                    return Ok(event);
                }
                if goes_on {
                    continue;
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Err(ClientError::TimedOut(ClientTimeout::Read));
                }
                if let Some(waker) = &waker {
                    state.reader = Reader::Waiting(Arc::clone(waker));
                }
                (state.connection.next_deadline(), state.connection.interest())
            };
            match waiter.wait([until, next].into_iter().flatten().min(), interest) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(ClientError::TimedOut(ClientTimeout::Read));
                }
                result => result?,
            }
        }
    }

    /// Queues something, and waits until it has left. Who does not receive meanwhile reads first what has come, if
    /// nothing was read for so long.
    pub(super) fn send(
        &self,
        waiter: &mut Waiter,
        unread: Duration,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        let end = {
            let mut state = self.lock();
            self.look_at_closer(&mut state);
            // A stream that blocks by itself might do so for ever.
            if self.socket.is_some() {
                match state.reader {
                    Reader::Waiting(_) => {}
                    Reader::Busy => state.connection.catch_up(unread),
                    Reader::Dropped => state.connection.catch_up(Duration::ZERO),
                }
            }
            let mut state = self.wait_for_room(state, waiter)?;
            let end = state.connection.enqueue(what)?;
            state.wake();
            if !state.connection.is_leaving(end) {
                return self.result_of_sending(&mut state, end);
            }
            end
        };
        self.wait_until_left(waiter, end)
    }

    /// Queues something, which leaves with what is sent next.
    pub(super) fn queue(
        &self,
        waiter: &mut Waiter,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        let mut state = self.lock();
        self.look_at_closer(&mut state);
        let mut state = self.wait_for_room(state, waiter)?;
        state.connection.queue(what)?;
        Ok(())
    }

    /// Queues something and sends what the transport takes of it at once.
    pub(super) fn begin(
        &self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        let mut state = self.lock();
        state.connection.enqueue(what)?;
        state.wake();
        Ok(())
    }

    /// Begins the closing handshake, and waits until its Close has left.
    pub(super) fn close(&self, waiter: &mut Waiter, close: &CloseFrame) -> Result<(), ClientError> {
        let end = {
            let mut state = self.lock();
            let end = state.connection.close_in_time(close);
            // From now on the other threads have other deadlines to wait for.
            state.wake_all();
            end?
        };
        self.wait_until_left(waiter, end)
    }

    /// Begins the closing handshake, unless it was begun, and waits for the end of the connection.
    pub(super) fn finish(
        &self,
        waiter: &mut Waiter,
        close: &CloseFrame,
    ) -> Result<Outcome, ClientError> {
        let closing = self
            .lock()
            .connection
            .enqueue(|endpoint, workspace| endpoint.close(close.code(), close.reason(), workspace));
        match closing {
            Err(error) if self.state() == State::Open => return Err(error),
            _ => {}
        }
        loop {
            match self.next_event(waiter, None) {
                Ok(Some(_)) => {}
                // A timeout of the stream itself counts only where no deadline of ours is pending.
                Err(ClientError::TimedOut(_)) if self.next_deadline().is_some() => {}
                _ => return Ok(self.end_without_close()),
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.lock().connection.next_deadline()
    }

    /// Ends the connection because this side wants no more of it.
    pub(super) fn abort(&self) -> Outcome {
        self.lock().close(&CloseRequest::Abort);
        self.end_without_close()
    }

    /// The outcome; a connection that has none is ended.
    fn end_without_close(&self) -> Outcome {
        let mut state = self.lock();
        if let Some(outcome) = self.outcome() {
            return outcome.clone();
        }
        let outcome = state.connection.end_without_close();
        state.wake_all();
        outcome
    }

    /// Nobody receives any more: those who send read from now on, and throw the messages away.
    pub(super) fn drop_reader(&self) {
        let mut state = self.lock();
        state.reader = Reader::Dropped;
        state.connection.discard_events();
        // With the events gone, a writer that waits for room can read on.
        state.wake_all();
    }

    /// Waits as long as so much waits in the output that no message can be queued.
    fn wait_for_room<'s>(
        &'s self,
        mut state: MutexGuard<'s, SharedState>,
        waiter: &mut Waiter,
    ) -> Result<MutexGuard<'s, SharedState>, ClientError> {
        while state.connection.is_full() {
            let endpoint = state.connection.endpoint();
            let end = endpoint.queued() - endpoint.max_buffered_amount() as u64;
            drop(state);
            self.wait_until_left(waiter, end)?;
            state = self.lock();
        }
        Ok(state)
    }

    /// Waits until the output has left up to this position.
    fn wait_until_left(&self, waiter: &mut Waiter, end: u64) -> Result<(), ClientError> {
        let waker = match waiter.waker(self.socket.as_ref()) {
            Ok(waker) => waker,
            Err(error) => return self.fail(error, end),
        };
        loop {
            let (next, interest) = {
                let mut state = self.lock();
                self.look_at_closer(&mut state);
                if let Some(waker) = &waker {
                    state.blocked_writers.retain(|writer| !Arc::ptr_eq(&writer.waker, waker));
                }
                // The reader may be busy elsewhere, and deadlines and the peer's Close must not wait for it: this
                // thread reads.
                let goes_on = state.connection.is_leaving(end) && state.connection.read_ahead();
                state.wake();
                if goes_on {
                    continue;
                }
                if !state.connection.is_leaving(end) {
                    return self.result_of_sending(&mut state, end);
                }
                if let Some(waker) = &waker {
                    let waker = Arc::clone(waker);
                    state.blocked_writers.push(BlockedWriter { end, waker });
                }
                (state.connection.next_deadline(), state.connection.interest())
            };
            match waiter.wait(next, interest) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    // A timeout of the stream itself counts only where no deadline of ours is pending.
                    if next.is_none() {
                        return Err(ClientError::TimedOut(ClientTimeout::Write));
                    }
                }
                Err(error) => return self.fail(error, end),
                Ok(()) => {}
            }
        }
    }

    /// Ends the connection, since the system does not let a thread wait until the output has left up to this position:
    /// what is queued must not leave after the thread was told that it has not.
    fn fail(&self, error: io::Error, end: u64) -> Result<(), ClientError> {
        let mut state = self.lock();
        state.connection.end_with(error);
        state.wake_all();
        state.connection.result_of_sending(end)
    }

    fn result_of_sending(&self, state: &mut SharedState, end: u64) -> Result<(), ClientError> {
        if self.socket.is_some() {
            state.connection.read_last();
            state.wake();
        }
        state.connection.result_of_sending(end)
    }

    /// Does what the closer was asked for, where it could not do so itself.
    fn look_at_closer(&self, state: &mut SharedState) {
        if self.socket.is_none()
            && let Some(request) = self.closer.requested()
            && self.outcome().is_none()
        {
            match &request {
                CloseRequest::Close(_) if state.connection.endpoint().state() != State::Open => {}
                request => state.close(request),
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::client::transport::Holding;
    use crate::protocol::{Config, Role, SystemEntropy};

    #[test]
    fn a_connection_ends_with_the_waiting_for_it() {
        // No event system waits for a file.
        let file = OwnedFd::from(File::open("/dev/null").unwrap());
        let socket = Socket::Tcp(TcpStream::from(file));
        let endpoint = Endpoint::adopted(Role::Client, &Config::new());
        let workspace = Workspace::with_entropy(SystemEntropy::new());
        let transport = Box::new(Holding(Arc::new(true.into())));
        let connection = ClientConnection::new(endpoint, workspace, transport);
        let shared = SharedConnection::new(connection, None, Some(socket), Closer::new());
        let sent = shared.send(&mut Waiter::Later, Duration::MAX, |endpoint, workspace| {
            endpoint.send("words", workspace)
        });
        let Err(ClientError::Lost(outcome)) = sent else { panic!("{sent:?}") };
        let cause = outcome.cause().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(shared.outcome(), Some(&outcome));
    }
}
