use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::background::Task;
use super::backoff::Backoff;
use super::closer::{CloseRequest, Closer};
use super::error::{ClientError, ClientTimeout};
use super::messages::{Messages, Receive, receiving};
use super::reconnect_link::Link;
use super::reconnecting_writer::{
    IfUnsent, ReconnectingWriter, Unsent, is_deadline, is_of_connection,
};
use super::{Client, ClientBuilder};
use crate::protocol::{Event, Message, Outcome, SendError, State, SystemEntropy, TimeoutKind};
use crate::wire::CloseCode;

/// How often, at least, the clocks are compared while nothing comes.
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// By how much the clock of the day gets ahead of the other one when the machine sleeps, and hardly otherwise.
const SLEPT: Duration = Duration::from_secs(10);

/// A client that connects again when the connection is lost (RFC 6455 section 7.2.3).
///
/// [`recv`](Self::recv) does it, by itself, and so does [`connect`](Self::connect), which alone is enough
/// for a program that only sends. Failures that time may heal are retried by the schedule of a [`Backoff`]; what they
/// are says [`Ending::is_retryable`]. All others, and the last of too many, are the caller's. A server that
/// refuses with `Retry-After` is given so many seconds more, or the time up to its date, up to [`Backoff::max_delay`].
///
/// What has left and did not arrive is not sent again: only the application knows what still matters. It
/// says so in [`on_connect`](Self::on_connect), where it also subscribes and authenticates again. What has not left is
/// given back, or sent over the next connection: [`if_unsent`](Self::if_unsent).
///
/// One thread receives, and others may send by a [`writer`](Self::writer); a [`closer`](Self::closer) ends it all from
/// any thread, the sleep before an attempt included.
///
/// Where the machine has slept, as the clock of the day tells, the server is asked with a Ping at once whether it is still
/// there, and has [`Config::pong_timeout`](crate::Config::pong_timeout) to say anything; an attempt that was waited for is
/// made at once.
///
/// ```no_run
/// use framewire::{Backoff, Client, Reconnecting};
///
/// let mut feed = Reconnecting::new(Client::builder("wss://example.com/feed")?)
///     .backoff(Backoff::new().max_attempts(20))
///     .on_connect(|client| client.send("subscribe"));
/// while let Some(message) = feed.recv()? {
///     println!("{message:?}");
/// }
/// # Ok::<(), framewire::ClientError>(())
/// ```
#[doc(alias("reconnect", "ReconnectingWebSocket", "retry", "reconnection"))]
#[must_use = "it connects when it is used"]
pub struct Reconnecting {
    builder: ClientBuilder,
    closer: Closer,
    backoff: Backoff,
    entropy: SystemEntropy,
    link: Arc<Link>,
    client: Option<Client>,
    /// What connections that are over have received, for [`recv`](Self::recv).
    received: VecDeque<Message<'static>>,
    connected: Instant,
    /// Why there is no client; `None` before the first.
    disconnected: Option<Disconnected>,
    /// When the next attempt is to be made, once that is known.
    next_attempt: Option<Instant>,
    /// The attempt that a thread of its own makes.
    attempt: Option<Task<Result<Client, ClientError>>>,
    /// How many connections, and attempts, in turn have ended by a deadline.
    deadlines: u32,
    max_deadlines: Option<u32>,
    read_timeout: Option<Duration>,
    if_unsent: IfUnsent,
    on_connect: Box<OnConnect>,
    retry_if: Box<dyn FnMut(Ending<'_>) -> bool + Send>,
    wait: Option<Box<dyn FnMut(Duration) -> ControlFlow<()> + Send>>,
    time_of_day: Box<dyn FnMut() -> SystemTime + Send>,
    /// What both clocks said last.
    clocks: Option<(Instant, SystemTime)>,
    /// By when the server has to say something.
    answer_by: Option<Instant>,
}

type OnConnect = dyn FnMut(&mut Client) -> Result<(), ClientError> + Send;

enum Disconnected {
    /// For a reason that is worth another attempt.
    Failed(ClientError),
    /// The same, said with a Close.
    Closed(Outcome),
    /// For a reason that was told to the caller, whose next call is another attempt.
    Told,
    /// For good.
    Ended(Outcome),
}

/// How a connection, or an attempt to connect, ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Ending<'e> {
    /// With an error.
    Failed(&'e ClientError),
    /// With the closing handshake.
    Closed(&'e Outcome),
}

impl Ending<'_> {
    /// Whether another attempt may succeed later: failures by [`ClientError::is_retryable`]; closes by their code:
    /// 1001 (going away), 1011 to 1014 (the server's trouble).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(error) => error.is_retryable(),
            Self::Closed(outcome) => {
                matches!(outcome.code(), CloseCode(1001 | 1006 | 1011..=1014))
            }
        }
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("builder", &self.builder)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Settings.
impl Reconnecting {
    /// A client with these settings, which connects when it is first used. It is ended by the
    /// [closer of the builder](ClientBuilder::closer).
    pub fn new(builder: ClientBuilder) -> Self {
        let (closer, link) = (builder.closer(), Arc::<Link>::default());
        closer.attach(&link);
        Self {
            builder,
            closer,
            backoff: Backoff::new(),
            entropy: SystemEntropy::new(),
            link,
            client: None,
            received: VecDeque::new(),
            connected: Instant::now(),
            disconnected: None,
            next_attempt: None,
            attempt: None,
            deadlines: 0,
            max_deadlines: Some(10),
            read_timeout: None,
            if_unsent: IfUnsent::GiveBack,
            on_connect: Box::new(|_| Ok(())),
            retry_if: Box::new(|ending| ending.is_retryable()),
            wait: None,
            time_of_day: Box::new(SystemTime::now),
            clocks: None,
            answer_by: None,
        }
    }

    /// Waits between attempts as this schedule says.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many time limits of this side, reached in a row by a connection or an attempt to connect, are answered
    /// with another attempt; the next one is returned to the caller, whose next call tries again. Default 10, `None`
    /// for always. A deadline that no server can meet would otherwise be met for ever. A message that comes begins
    /// the count anew.
    pub fn max_timeouts(mut self, times: impl Into<Option<u32>>) -> Self {
        self.max_deadlines = times.into();
        self
    }

    /// Says what to do with a message that could not be sent; by default it is given back. It holds for
    /// [`send`](Self::send), and for the [writers](Self::writer) that are made afterwards.
    #[doc(alias("offline queue", "resend"))]
    pub fn if_unsent(mut self, if_unsent: IfUnsent) -> Self {
        self.if_unsent = if_unsent;
        self
    }

    /// Calls this with each new connection, before anything else is sent or received on it: it may subscribe again.
    /// Its error is a failure of the attempt.
    pub fn on_connect(
        mut self,
        hook: impl FnMut(&mut Client) -> Result<(), ClientError> + Send + 'static,
    ) -> Self {
        self.on_connect = Box::new(hook);
        self
    }

    /// Decides after which endings the client tries again, in place of [`Ending::is_retryable`], which the function
    /// may call.
    pub fn retry_if(mut self, decide: impl FnMut(Ending<'_>) -> bool + Send + 'static) -> Self {
        self.retry_if = Box::new(decide);
        self
    }

    /// Takes the time of day from this function instead of the system: to compare the date of a `Retry-After` with,
    /// and to notice by a jump that the machine has slept.
    pub fn time_of_day(mut self, now: impl FnMut() -> SystemTime + Send + 'static) -> Self {
        self.time_of_day = Box::new(now);
        self
    }

    /// Waits before each attempt with this function, instead of sleeping until the delay is over or the
    /// [closer](Self::closer) is used. With [`Break`](ControlFlow::Break) the attempt is given up, and the caller
    /// gets the failure that led to it. Neither the closer nor a read timeout ends this waiting, nor does a sleep of
    /// the machine.
    pub fn wait_with(
        mut self,
        wait: impl FnMut(Duration) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.wait = Some(Box::new(wait));
        self
    }
}

/// Use.
impl Reconnecting {
    /// Returns the connection, and connects first if there is none; waits for the end of one that is closing, unless
    /// the [closer](Self::closer) closes it. What an earlier connection has received is kept for
    /// [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// The failure that was not retried, or the last before attempts ran out; another call tries
    /// further. [`SendError::Closed`] after the end, and [`ClientError::Aborted`] once where the closer has aborted it.
    pub fn connect(&mut self) -> Result<&mut Client, ClientError> {
        self.notice_end()?;
        self.establish(None)?;
        self.client.as_mut().ok_or(ClientError::Send(SendError::Closed))
    }

    /// Receives the next message, over as many connections as that takes; `None` after a close that is not retried,
    /// and after one by the [closer](Self::closer). What a connection has received comes before its end and before
    /// what the next one receives.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`ClientError::TimedOut`] of a
    /// [read](Self::set_read_timeout), after which it can go on to be used.
    pub fn recv(&mut self) -> Result<Option<Message<'static>>, ClientError> {
        if let Some(message) = self.received.pop_front() {
            return Ok(Some(message));
        }
        let until = self.read_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.establish(until)?;
            self.look_at_clocks();
            let check = Instant::now().checked_add(CLOCK_INTERVAL);
            let next = [until, check, self.answer_by].into_iter().flatten().min();
            let Some(client) = &mut self.client else { return Ok(None) };
            let error = match client.next_event_until(next) {
                Ok(Some(event)) => {
                    self.answer_by = None;
                    if let Event::Message(message) = event {
                        self.begin_anew();
                        return Ok(Some(message));
                    }
                    continue;
                }
                Err(ClientError::TimedOut(ClientTimeout::Read)) => {
                    let now = Instant::now();
                    if self.answer_by.is_some_and(|by| by <= now) {
                        let timeout = TimeoutKind::Pong;
                        let outcome = Outcome::TimedOut { timeout, sent: None, received: None };
                        self.lose(Some(ClientError::Lost(outcome)))?;
                    } else if until.is_some_and(|until| until <= now) {
                        return Err(ClientError::TimedOut(ClientTimeout::Read));
                    }
                    continue;
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            self.lose(error)?;
        }
    }

    /// Iterates over the messages of all connections: until a close that is not retried, or until an error, which
    /// comes once, as the last item.
    pub fn messages(&mut self) -> Messages<&mut Self> {
        Messages::new(self)
    }

    /// Sends a message over the connection, if there is one. With [`IfUnsent::SendAgain`] one is made, as often as it
    /// takes.
    ///
    /// # Errors
    ///
    /// [`Unsent`] with the message and the reason: [`SendError::Closed`] while there is no connection; otherwise as
    /// [`Client::send`], and with [`IfUnsent::SendAgain`] as [`connect`](Self::connect).
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Unsent> {
        let message = message.into();
        loop {
            let sends_again = self.if_unsent == IfUnsent::SendAgain;
            if sends_again && let Err(error) = self.connect() {
                return Err(Unsent::new(message, error));
            }
            let result = match &mut self.client {
                Some(client) => client.send(message.borrowed()),
                None => Err(ClientError::Send(SendError::Closed)),
            };
            let Err(error) = result else { return Ok(()) };
            // It is sent once more on the next connection, if the end of this one allows another.
            if !sends_again || self.closer.is_requested() || !is_of_connection(&error) {
                return Err(Unsent::new(message, error));
            }
        }
    }

    /// Returns a writer for another thread, which sends over whatever connection there is. This thread must go on to
    /// [receive](Self::recv): only that connects again.
    ///
    /// ```no_run
    /// use framewire::{Client, IfUnsent, Reconnecting};
    ///
    /// let mut feed = Reconnecting::new(Client::builder("wss://example.com/feed")?)
    ///     .if_unsent(IfUnsent::SendAgain)
    ///     .on_connect(|client| client.send("subscribe"));
    /// let mut writer = feed.writer();
    /// std::thread::spawn(move || writer.send("an order"));
    /// while let Some(message) = feed.recv()? {
    ///     println!("{message:?}");
    /// }
    /// # Ok::<(), framewire::ClientError>(())
    /// ```
    pub fn writer(&self) -> ReconnectingWriter {
        ReconnectingWriter::new(Arc::clone(&self.link), self.closer.clone(), self.if_unsent)
    }

    /// Returns what ends this client for good, from any thread: a connection that stands, one that is being made, and
    /// the sleep before the next attempt.
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// The connection, if there is one; it may have been lost without anybody having noticed.
    pub fn client(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// How long [`recv`](Self::recv) waits for a message, with a connection and without. An attempt to connect goes on
    /// meanwhile, in a thread of its own.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
        if let Some(client) = &mut self.client {
            client.set_read_timeout(timeout);
        }
    }

    /// Closes the connection, or gives up the attempt to make one, for good. Messages that were not received yet are thrown away, as by
    /// [`Client::close`].
    ///
    /// # Errors
    ///
    /// As [`Client::close`].
    pub fn close(
        &mut self,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<Outcome, ClientError> {
        if self.attempt.is_some() {
            // Without this, a connection that is being made would stay open with nobody to serve it.
            self.closer.abort();
        }
        let outcome = match &mut self.client {
            Some(client) => client.close(code, reason)?,
            None => match &self.disconnected {
                Some(Disconnected::Ended(outcome)) => outcome.clone(),
                _ => LOST,
            },
        };
        self.client = None;
        self.received.clear();
        self.disconnect(Disconnected::Ended(outcome.clone()));
        Ok(outcome)
    }

    /// How the last connection ended, once the client does not connect again.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.disconnected {
            Some(Disconnected::Ended(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// There is no connection any more; those who wait for one are told where none is to come.
    fn disconnect(&mut self, why: Disconnected) {
        self.link.change(|state| {
            state.writer = None;
            state.is_given_up = matches!(why, Disconnected::Told | Disconnected::Ended(_));
        });
        self.disconnected = Some(why);
    }

    /// Takes note of an end that came, or began, while sending, or in the caller's hands; what was received until then
    /// is kept.
    fn notice_end(&mut self) -> Result<(), ClientError> {
        let Some(client) = &mut self.client else { return Ok(()) };
        match client.state() {
            State::Closed => {}
            // After a close of our own, the caller goes on receiving until it is complete.
            State::Closing if !self.closer.is_requested() => {}
            _ => return Ok(()),
        }
        let mut has_received = false;
        let error = loop {
            match client.next_event_until(None) {
                Ok(Some(Event::Message(message))) => {
                    has_received = true;
                    self.received.push_back(message);
                }
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if has_received {
            self.begin_anew();
        }
        self.lose(error)
    }

    /// Forgets the failures: there is a server that works.
    fn begin_anew(&mut self) {
        self.backoff.reset();
        self.deadlines = 0;
    }

    /// Connects unless it is connected, or closed for good; waits before each attempt but the first.
    ///
    /// # Errors
    ///
    /// The failure that is not retried; [`ClientTimeout::Read`] when the time is up, of the waiting or of an attempt.
    fn establish(&mut self, until: Option<Instant>) -> Result<(), ClientError> {
        while self.client.is_none() && !matches!(self.disconnected, Some(Disconnected::Ended(_))) {
            if self.closer.is_requested() {
                return self.end_as_requested(None, LOST);
            }
            if matches!(self.disconnected, Some(Disconnected::Told)) {
                self.link.change(|state| state.is_given_up = false);
            }
            let is_first = self.disconnected.is_none() || self.attempt.is_some();
            if !is_first && !self.wait_for_turn(until)? {
                return self.give_up();
            }
            let Some(attempted) = self.attempt(until) else {
                return Err(ClientError::TimedOut(ClientTimeout::Read));
            };
            match attempted {
                Ok(client) => {
                    self.link.connected(client.writer());
                    (self.client, self.disconnected) = (Some(client), None);
                    self.connected = Instant::now();
                    (self.clocks, self.answer_by) = (None, None);
                }
                Err(error) => self.lose(Some(error))?,
            }
        }
        Ok(())
    }

    /// What comes of an attempt; `None` when the time is up before that.
    fn attempt(&mut self, until: Option<Instant>) -> Option<Result<Client, ClientError>> {
        let builder = self.builder.clone().with_closer(self.closer.clone());
        let connected = if until.is_none() && self.attempt.is_none() {
            builder.connect()
        } else {
            self.attempt_beside(builder, until)?
        };
        Some(connected.and_then(|mut client| {
            match (self.on_connect)(&mut client) {
                // The server is closing already; receiving tells with which code.
                Ok(()) | Err(ClientError::Send(SendError::Closing | SendError::Closed)) => {}
                Err(error) => return Err(error),
            }
            client.set_read_timeout(self.read_timeout);
            Ok(client)
        }))
    }

    /// Has a thread of its own connect, unless one does already; it goes on when the time is up.
    fn attempt_beside(
        &mut self,
        builder: ClientBuilder,
        until: Option<Instant>,
    ) -> Option<Result<Client, ClientError>> {
        if self.attempt.is_none() {
            let link = Arc::clone(&self.link);
            let connect = move || builder.connect();
            match Task::spawn("framewire-connect", connect, move || link.change(|_| ())) {
                Ok(task) => self.attempt = Some(task),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let mut state = self.link.lock();
        loop {
            if let Some(result) = self.attempt.as_ref().and_then(Task::result) {
                self.attempt = None;
                return Some(result.unwrap_or_else(|error| Err(error.into())));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            state = self.link.wait(state, until);
        }
    }

    /// Whether there is another attempt; then its time has come.
    fn wait_for_turn(&mut self, until: Option<Instant>) -> Result<bool, ClientError> {
        if self.next_attempt.is_none() {
            let Some(delay) = self.backoff.next_delay(&mut self.entropy)? else { return Ok(false) };
            let asked = match &self.disconnected {
                Some(Disconnected::Failed(error)) => {
                    error.retry_after_at((self.time_of_day)()).unwrap_or_default()
                }
                _ => Duration::ZERO,
            };
            // Added to the random delay, so that clients that were all told the same time do not come back at once.
            let delay = delay.saturating_add(asked.min(self.backoff.longest()));
            if let Some(wait) = &mut self.wait {
                return Ok(wait(delay).is_continue());
            }
            self.next_attempt = Instant::now().checked_add(delay);
            self.clocks = None;
        }
        while let Some(next) = self.next_attempt {
            if self.has_slept() {
                break;
            }
            let now = Instant::now();
            if next <= now || self.closer.is_requested() {
                break;
            }
            if until.is_some_and(|until| until <= now) {
                return Err(ClientError::TimedOut(ClientTimeout::Read));
            }
            let check = now.checked_add(CLOCK_INTERVAL);
            let wake = [Some(next), until, check].into_iter().flatten().min();
            let state = self.link.lock();
            // Checked under the lock that a close request takes as well, so that none is missed before the wait.
            if !self.closer.is_requested() {
                drop(self.link.wait(state, wake));
            }
        }
        self.next_attempt = None;
        Ok(true)
    }

    fn give_up(&mut self) -> Result<(), ClientError> {
        let (why, result) = match self.disconnected.take() {
            Some(Disconnected::Closed(outcome)) => (Disconnected::Ended(outcome), Ok(())),
            Some(Disconnected::Failed(error)) => (Disconnected::Told, Err(error)),
            _ => (Disconnected::Told, Err(ClientError::Send(SendError::Closed))),
        };
        self.disconnect(why);
        result
    }

    /// Takes note that there is no connection any more; an error if it is not to be retried.
    fn lose(&mut self, error: Option<ClientError>) -> Result<(), ClientError> {
        let client = self.client.take();
        // A server that accepts connections and drops them soon is backed off from, like one that refuses them.
        if client.is_some() && self.connected.elapsed() >= self.backoff.longest() {
            self.begin_anew();
        }
        // Writers may still hold the connection, so it is aborted rather than dropped.
        let outcome = client.map_or(LOST, |mut client| client.abort());
        if self.closer.is_requested() {
            return self.end_as_requested(error, outcome);
        }
        let Some(error) = error else {
            let goes_on = (self.retry_if)(Ending::Closed(&outcome));
            let why = if goes_on { Disconnected::Closed } else { Disconnected::Ended };
            self.disconnect(why(outcome));
            return Ok(());
        };
        self.deadlines = if is_deadline(&error) { self.deadlines + 1 } else { 0 };
        let is_last = self.max_deadlines.is_some_and(|max| self.deadlines > max);
        if is_last || !(self.retry_if)(Ending::Failed(&error)) {
            self.deadlines = 0;
            self.disconnect(Disconnected::Told);
            return Err(error);
        }
        self.disconnect(Disconnected::Failed(error));
        Ok(())
    }

    /// Ends for good: by an error where the closer has aborted it, or where a connection was not closed in time.
    fn end_as_requested(
        &mut self,
        error: Option<ClientError>,
        outcome: Outcome,
    ) -> Result<(), ClientError> {
        self.disconnect(Disconnected::Ended(outcome));
        match (self.closer.requested(), error) {
            (Some(CloseRequest::Abort), _) => Err(ClientError::Aborted),
            (_, Some(error @ ClientError::Lost(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the server whether it is still there, if the machine has slept.
    fn look_at_clocks(&mut self) {
        if self.client.is_none() || !self.has_slept() {
            return;
        }
        if let Some(client) = &mut self.client {
            // If this fails, receiving tells why.
            let _ = client.ping_without_waiting();
            let limit = self.builder.pong_time_limit();
            self.answer_by = limit.and_then(|limit| Instant::now().checked_add(limit));
        }
    }

    /// Whether the clock of the day has got ahead of the other one, which stands still while the machine sleeps.
    fn has_slept(&mut self) -> bool {
        let (now, time) = (Instant::now(), (self.time_of_day)());
        let Some((then, time_then)) = self.clocks.replace((now, time)) else { return false };
        let by_day = time.duration_since(time_then).unwrap_or_default();
        by_day.saturating_sub(now.saturating_duration_since(then)) >= SLEPT
    }
}

receiving!(Reconnecting);

impl Drop for Reconnecting {
    /// Nothing is left behind: no connection that a writer holds, and no attempt.
    fn drop(&mut self) {
        if let Some(client) = &mut self.client {
            client.abort();
        }
        if self.attempt.is_some() {
            self.closer.abort();
        }
        self.disconnect(Disconnected::Ended(LOST));
    }
}

/// How a connection ended that there never was.
const LOST: Outcome = Outcome::Lost { sent: None, received: None, cause: None };
