use std::fmt;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::backoff::Backoff;
use super::error::{ClientError, ClientTimeout};
use super::{Client, ClientBuilder};
use crate::protocol::{Message, Outcome, SendError, SystemEntropy};
use crate::wire::CloseCode;

/// A client that connects again when the connection is lost (RFC 6455 section 7.2.3).
///
/// [`recv`](Self::recv) does it, by itself, and so does [`connect`](Self::connect), which alone is enough
/// for who only sends. Failures that time may heal are retried by the schedule of a [`Backoff`]; what they
/// are says [`Ending::is_retryable`]. All others, and the last of too many, are the caller's. A server that
/// refuses with `Retry-After` is given so many seconds more, or the time up to its date, up to [`Backoff::max_delay`].
///
/// What was sent and did not arrive is not sent again: only the application knows what still matters. It
/// says so in [`on_connect`](Self::on_connect), where it also subscribes and authenticates again.
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
pub struct Reconnecting {
    builder: ClientBuilder,
    backoff: Backoff,
    entropy: SystemEntropy,
    client: Option<Client>,
    connected: Instant,
    /// Why there is no client; `None` before the first.
    away: Option<Away>,
    read_timeout: Option<Duration>,
    on_connect: Box<OnConnect>,
    retry_if: Box<dyn FnMut(Ending<'_>) -> bool + Send>,
    wait: Box<dyn FnMut(Duration) -> ControlFlow<()> + Send>,
    time_of_day: Box<dyn FnMut() -> SystemTime + Send>,
}

type OnConnect = dyn FnMut(&mut Client) -> Result<(), ClientError> + Send;

enum Away {
    /// For a reason that is worth another attempt.
    Failed(ClientError),
    /// The same, said with a Close.
    Closed(Outcome),
    /// For a reason that was told to the caller, whose next call is another attempt.
    Told,
    /// For good.
    Ended(Outcome),
}

/// How a connection, or an attempt to make one, came to its end.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Ending<'e> {
    /// By a failure.
    Failed(&'e ClientError),
    /// By the closing handshake.
    Closed(&'e Outcome),
}

impl Ending<'_> {
    /// Whether it is worth trying again later: failures by [`ClientError::is_retryable`]; closes by
    /// their code: 1001 (going away), 1011 to 1014 (the server's trouble).
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
    /// A client with these settings, which connects when it is first used.
    pub fn new(builder: ClientBuilder) -> Self {
        Self {
            builder,
            backoff: Backoff::new(),
            entropy: SystemEntropy::new(),
            client: None,
            connected: Instant::now(),
            away: None,
            read_timeout: None,
            on_connect: Box::new(|_| Ok(())),
            retry_if: Box::new(|ending| ending.is_retryable()),
            wait: Box::new(|delay| {
                thread::sleep(delay);
                ControlFlow::Continue(())
            }),
            time_of_day: Box::new(SystemTime::now),
        }
    }

    /// Tries again by this schedule.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Calls this with each new connection, before anything else is sent or received on it. Its error
    /// is a failure of the attempt.
    pub fn on_connect(
        self,
        hook: impl FnMut(&mut Client) -> Result<(), ClientError> + Send + 'static,
    ) -> Self {
        Self { on_connect: Box::new(hook), ..self }
    }

    /// Decides what is tried again, instead of [`Ending::is_retryable`], which may be asked.
    pub fn retry_if(self, decide: impl FnMut(Ending<'_>) -> bool + Send + 'static) -> Self {
        Self { retry_if: Box::new(decide), ..self }
    }

    /// Asks this for the time of day, which the date of a `Retry-After` is held against, instead of the system.
    pub fn time_of_day(self, now: impl FnMut() -> SystemTime + Send + 'static) -> Self {
        Self { time_of_day: Box::new(now), ..self }
    }

    /// Waits with this before an attempt, instead of [`thread::sleep`]. With
    /// [`Break`](ControlFlow::Break) the attempt is given up, and the caller gets the failure that led
    /// to it; so another thread can end the waiting.
    pub fn wait_with(self, wait: impl FnMut(Duration) -> ControlFlow<()> + Send + 'static) -> Self {
        Self { wait: Box::new(wait), ..self }
    }
}

/// Use.
impl Reconnecting {
    /// The connection, made again if it was lost.
    ///
    /// # Errors
    ///
    /// The failure that was not retried, or the last before attempts ran out; another call tries
    /// further. [`SendError::Closed`] after the end.
    pub fn connect(&mut self) -> Result<&mut Client, ClientError> {
        if self.client.as_ref().is_some_and(|client| client.outcome().is_some()) {
            // The end came while sending, or in the caller's hands.
            let outcome = self.client.as_ref().and_then(|client| client.outcome().cloned());
            let error = outcome.as_ref().and_then(ClientError::of);
            self.lose(error, outcome)?;
        }
        self.establish()?;
        self.client.as_mut().ok_or(ClientError::Send(SendError::Closed))
    }

    /// The next message, from however many connections; `None` after a close that is not retried.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`ClientError::TimedOut`] of a
    /// [read](Self::set_read_timeout), after which the connection still stands.
    pub fn recv(&mut self) -> Result<Option<Message<'static>>, ClientError> {
        loop {
            self.establish()?;
            let Some(client) = &mut self.client else { return Ok(None) };
            let error = match client.recv() {
                Ok(Some(message)) => {
                    self.backoff.reset();
                    return Ok(Some(message));
                }
                Err(error @ ClientError::TimedOut(ClientTimeout::Read)) => return Err(error),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            let outcome = client.outcome().cloned();
            self.lose(error, outcome)?;
        }
    }

    /// Sends a message, if there is a connection.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] while there is none; otherwise as [`Client::send`].
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), ClientError> {
        match &mut self.client {
            Some(client) => client.send(message),
            None => Err(ClientError::Send(SendError::Closed)),
        }
    }

    /// The connection, if there is one; it may have been lost without anybody having noticed.
    pub fn client(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// How long [`recv`](Self::recv) waits for a message on a connection that stands.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
        if let Some(client) = &mut self.client {
            client.set_read_timeout(timeout);
        }
    }

    /// Closes the connection, if there is one, for good.
    ///
    /// # Errors
    ///
    /// As [`Client::close`].
    pub fn close(
        &mut self,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<Outcome, ClientError> {
        let outcome = match &mut self.client {
            Some(client) => client.close(code, reason)?,
            None => match &self.away {
                Some(Away::Ended(outcome)) => outcome.clone(),
                _ => Outcome::Lost { sent: None, received: None, cause: None },
            },
        };
        self.client = None;
        self.away = Some(Away::Ended(outcome.clone()));
        Ok(outcome)
    }

    /// How the last connection ended, once there is to be no other.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.away {
            Some(Away::Ended(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// Connects unless it is connected, or closed for good; waits before each attempt but the first.
    fn establish(&mut self) -> Result<(), ClientError> {
        while self.client.is_none() && !matches!(self.away, Some(Away::Ended(_))) {
            if self.away.is_some() && !self.wait_for_turn()? {
                return self.give_up();
            }
            match self.attempt() {
                Ok(client) => {
                    (self.client, self.away) = (Some(client), None);
                    self.connected = Instant::now();
                }
                Err(error) => self.lose(Some(error), None)?,
            }
        }
        Ok(())
    }

    fn attempt(&mut self) -> Result<Client, ClientError> {
        let mut client = self.builder.clone().connect()?;
        match (self.on_connect)(&mut client) {
            // The server closes already; how, is found out by receiving.
            Ok(()) | Err(ClientError::Send(SendError::Closing | SendError::Closed)) => {}
            Err(error) => return Err(error),
        }
        client.set_read_timeout(self.read_timeout);
        Ok(client)
    }

    /// Whether there is another attempt; then its time has come.
    fn wait_for_turn(&mut self) -> Result<bool, ClientError> {
        let Some(delay) = self.backoff.next_delay(&mut self.entropy)? else { return Ok(false) };
        let asked = match &self.away {
            Some(Away::Failed(error)) => {
                error.retry_after_at((self.time_of_day)()).unwrap_or_default()
            }
            _ => Duration::ZERO,
        };
        // Added to, so that those who were all told the same do not come back in the same moment.
        let delay = delay.saturating_add(asked.min(self.backoff.longest()));
        Ok((self.wait)(delay).is_continue())
    }

    fn give_up(&mut self) -> Result<(), ClientError> {
        match self.away.replace(Away::Told) {
            Some(Away::Failed(error)) => Err(error),
            Some(Away::Closed(outcome)) => {
                self.away = Some(Away::Ended(outcome));
                Ok(())
            }
            _ => Err(ClientError::Send(SendError::Closed)),
        }
    }

    /// Takes note that there is no connection any more; an error if it is not to be retried.
    fn lose(
        &mut self,
        error: Option<ClientError>,
        outcome: Option<Outcome>,
    ) -> Result<(), ClientError> {
        // A server that accepts and drops is no better than one that refuses.
        if self.client.take().is_some() && self.connected.elapsed() >= self.backoff.longest() {
            self.backoff.reset();
        }
        match (error, outcome) {
            (Some(error), _) => {
                if !(self.retry_if)(Ending::Failed(&error)) {
                    self.away = Some(Away::Told);
                    return Err(error);
                }
                self.away = Some(Away::Failed(error));
            }
            (None, Some(outcome)) => {
                let is_retried = (self.retry_if)(Ending::Closed(&outcome));
                let away = if is_retried { Away::Closed } else { Away::Ended };
                self.away = Some(away(outcome));
            }
            (None, None) => self.away = Some(Away::Told),
        }
        Ok(())
    }
}
