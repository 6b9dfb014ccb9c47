mod builder;
mod message_stream;

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;

pub use self::builder::ClientBuilder;
pub use self::message_stream::MessageStream;

use super::blocking_stream::BlockingStream;
use super::connection::ClientConnection;
use super::error::{ClientError, ClientTimeout};
use super::sending::sending;
use super::socket::Socket;
use super::split::{self, ClientReader, ClientWriter};
use super::wait::{BlocksItself, PollWait, Wait};
use crate::handshake::{ClientRequest, Response, ResponseError};
use crate::protocol::{
    Compress, Config, Endpoint, Event, Fragment, HandshakeError, Message, Outcome, Role, SendError,
    State, SystemEntropy, Workspace,
};
use crate::wire::CloseCode;

/// How long a client that only sends may leave unread what the peer says.
const UNREAD: Duration = Duration::from_secs(1);

/// A WebSocket client that blocks: no runtime, no callbacks.
///
/// Pings are answered, deadlines kept and the closing handshake is done inside the calls; so call
/// [`recv`](Self::recv) often, or [`split`](Self::split) the client and receive in a thread of its own.
/// Dropping a client without [`close`](Self::close) ends the connection without a Close.
///
/// ```
/// # use framewire::{Server, Client};
/// # let server = Server::bind("127.0.0.1:0")?;
/// # let address = server.local_addr()?;
/// # std::thread::spawn(move || {
/// #     server.on_message(|peer, message| { peer.send(message); }).unwrap().run().unwrap()
/// # });
/// let mut client = Client::connect(&format!("ws://{address}/"))?;
/// client.send("hello")?;
/// let reply = client.recv()?.expect("not closed yet");
/// assert_eq!(reply.as_text(), Some("hello"));
/// let outcome = client.close(1000, "done")?;
/// assert!(outcome.was_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    connection: ClientConnection,
    wait: Waits,
    read_timeout: Option<Duration>,
    response: Option<Arc<Response>>,
}

/// The two ways to wait: by an event system, with the socket for whoever else must wait for it, or not
/// at all.
enum Waits {
    Poll(PollWait, Socket),
    Itself(BlocksItself),
}

impl Wait for Waits {
    fn wait(&mut self, until: Option<Instant>, interest: Interest) -> std::io::Result<()> {
        match self {
            Self::Poll(poll, _) => poll.wait(until, interest),
            Self::Itself(itself) => itself.wait(until, interest),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Opening.
impl Client {
    /// Connects to a `ws:` or `wss:` URL with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    ///
    /// [`ClientError`] says which step failed.
    pub fn connect(url: &str) -> Result<Self, ClientError> {
        Self::builder(url)?.connect()
    }

    /// Begins a connection with settings of its own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`].
    pub fn builder(url: &str) -> Result<ClientBuilder, ClientError> {
        ClientBuilder::new(url)
    }

    /// Does the opening handshake over a stream that blocks, such as one of a proxy or of another TLS
    /// library. Deadlines are looked at when a read or a write of the stream returns: give it timeouts
    /// of its own if it has them.
    ///
    /// # Errors
    ///
    /// [`ClientError`] says what the server did wrong, or with which status it refused.
    pub fn handshake(
        stream: impl Read + Write + Send + 'static,
        request: ClientRequest,
        config: &Config,
    ) -> Result<Self, ClientError> {
        config.validate().map_err(ClientError::Config)?;
        let mut workspace = Workspace::with_entropy(SystemEntropy::new());
        let endpoint = Endpoint::client(request, config, &mut workspace)?;
        let connection =
            ClientConnection::new(endpoint, workspace, Box::new(BlockingStream(stream)));
        Self::new(connection, Waits::Itself(BlocksItself)).opened("the server")
    }

    /// Goes on with a stream on which somebody else did the opening handshake; `leftover` is what they
    /// read behind the 101. No subprotocol and no compression are agreed on.
    ///
    /// # Errors
    ///
    /// [`ClientError::Config`].
    pub fn adopt(
        stream: impl Read + Write + Send + 'static,
        leftover: &[u8],
        config: &Config,
    ) -> Result<Self, ClientError> {
        config.validate().map_err(ClientError::Config)?;
        let workspace = Workspace::with_entropy(SystemEntropy::new());
        let endpoint = Endpoint::adopted(Role::Client, config);
        let stream = Box::new(BlockingStream(stream));
        let connection = ClientConnection::with_leftover(endpoint, workspace, stream, leftover);
        let mut client = Self::new(connection, Waits::Itself(BlocksItself));
        client.connection.settle();
        Ok(client)
    }

    fn new(connection: ClientConnection, wait: Waits) -> Self {
        Self { connection, wait, read_timeout: None, response: None }
    }

    /// The client once the server has accepted, which is called so in errors.
    fn opened(mut self, server: &str) -> Result<Self, ClientError> {
        self.connection.settle();
        // The transport does the handshake of TLS in its reads and writes.
        let mut is_securing = true;
        let late = |is_securing| {
            let waiting = if is_securing { ClientTimeout::Tls } else { ClientTimeout::Handshake };
            ClientError::TimedOut(waiting(server.into()))
        };
        while self.state() == State::Connecting {
            is_securing = self.connection.is_securing();
            match self.keep_on() {
                Err(ClientError::TimedOut(_)) => return Err(late(is_securing)),
                result => result?,
            }
        }
        match self.connection.next_event() {
            Some(Event::Open(response)) => {
                self.response = Some(response);
                Ok(self)
            }
            Some(Event::HandshakeFailed(HandshakeError::Response(ResponseError::Timeout))) => {
                Err(late(is_securing))
            }
            Some(Event::HandshakeFailed(HandshakeError::Response(error))) => Err(error.into()),
            _ => {
                // Nothing is owed to a server that refused, nor is the rest of its body of use.
                let outcome = self.connection.terminate();
                Err(self.connection.error().unwrap_or(ClientError::Lost(outcome)))
            }
        }
    }
}

/// What there is to know.
impl Client {
    /// Where the connection stands.
    pub fn state(&self) -> State {
        match self.connection.outcome() {
            Some(_) => State::Closed,
            None => self.connection.endpoint().state(),
        }
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.connection.endpoint().subprotocol()
    }

    /// The parameters of permessage-deflate that the server accepted.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.connection.endpoint().deflate()
    }

    /// The server's answer to the opening handshake; `None` for an [adopted](Self::adopt) stream.
    pub fn response(&self) -> Option<&Response> {
        self.response.as_deref()
    }

    /// How many bytes were sent and wait here, framing included.
    pub fn buffered_amount(&self) -> usize {
        self.connection.endpoint().buffered_amount()
    }

    /// How long the last automatic Ping that was answered took to come back; `None` before the first one.
    /// It is measured in the calls that receive, so an answer that lay waiting counts its waiting too.
    /// See [`Config::ping_interval`].
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.connection.round_trip_time()
    }

    /// How the connection ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.connection.outcome()
    }
}

/// Sending.
impl Client {
    sending!();

    fn write(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        // A stream that blocks by itself might do so for ever.
        let may_read = matches!(self.wait, Waits::Poll(..));
        if may_read {
            self.connection.catch_up(UNREAD);
        }
        let end = self.connection.enqueue(what)?;
        while self.connection.is_leaving(end) {
            if self.connection.read_ahead() || !self.connection.is_leaving(end) {
                continue;
            }
            match self.sleep(None) {
                // A stream's own timeout is none as long as a deadline is to come.
                Err(ClientError::TimedOut(_)) if self.connection.next_deadline().is_some() => {}
                Err(ClientError::TimedOut(_)) => {
                    return Err(ClientError::TimedOut(ClientTimeout::Write));
                }
                result => result?,
            }
        }
        if may_read {
            self.connection.read_last();
        }
        self.connection.result_of_sending(end)
    }
}

/// Receiving.
impl Client {
    /// The next message; `None` after a clean close.
    ///
    /// # Errors
    ///
    /// [`ClientError::Lost`] if the connection ended without a closing handshake,
    /// [`ClientError::Protocol`] if the server broke the protocol, [`ClientError::TimedOut`] if none
    /// came within the [read timeout](Self::set_read_timeout): then the client can still be used.
    pub fn recv(&mut self) -> Result<Option<Message<'static>>, ClientError> {
        loop {
            match self.next_event()? {
                Some(Event::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next event of any kind: messages, fragments where [`Config::fragments`] asked for them,
    /// Pings, Pongs and the peer's Close; `None` after a clean close.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn next_event(&mut self) -> Result<Option<Event<'static>>, ClientError> {
        let until = self.read_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(event) = self.connection.next_event() {
                return Ok(Some(event));
            }
            if self.connection.outcome().is_some() {
                return self.connection.error().map_or(Ok(None), Err);
            }
            self.step(until)?;
        }
    }

    /// The messages, until the connection ends.
    pub fn messages(&mut self) -> impl Iterator<Item = Result<Message<'static>, ClientError>> {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let message = self.recv().transpose();
            ended = matches!(message, Some(Err(_)));
            message
        })
    }

    /// How long [`recv`](Self::recv) waits for a message; `None`, as at first, for ever.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    /// One step towards an end that a deadline of the connection also brings: a stream's own timeout is
    /// none as long as that has not come.
    fn keep_on(&mut self) -> Result<(), ClientError> {
        match self.step(None) {
            Err(ClientError::TimedOut(_)) if self.connection.next_deadline().is_some() => Ok(()),
            result => result,
        }
    }

    /// Takes the next event in, reading if need be, or sleeps if there is nothing to read.
    fn step(&mut self, until: Option<Instant>) -> Result<(), ClientError> {
        if self.connection.read() {
            return Ok(());
        }
        self.sleep(until)?;
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(ClientError::TimedOut(ClientTimeout::Read));
        }
        Ok(())
    }

    /// Sleeps until something can be read or written, or a deadline comes.
    fn sleep(&mut self, until: Option<Instant>) -> Result<(), ClientError> {
        let next = [until, self.connection.next_deadline()].into_iter().flatten().min();
        match self.wait.wait(next, self.connection.interest()) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(ClientError::TimedOut(ClientTimeout::Read))
            }
            result => Ok(result?),
        }
    }
}

/// Closing, and other uses.
impl Client {
    /// Closes the connection with a code and a reason of at most 123 bytes, and waits for the peer's
    /// Close and the end of the transport. Messages that come meanwhile are thrown away: receive them
    /// first if they matter.
    ///
    /// A connection that is closed or closing already is only waited for.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] for a code or a reason that may not be sent.
    pub fn close(
        &mut self,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<Outcome, ClientError> {
        let code = code.into();
        let closing =
            self.connection.enqueue(|endpoint, workspace| endpoint.close(code, reason, workspace));
        match closing {
            Err(error) if self.state() == State::Open => Err(error),
            _ => Ok(self.finish()),
        }
    }

    /// Drops the connection without a Close; the peer sees 1006.
    pub fn terminate(&mut self) -> Outcome {
        self.connection.terminate()
    }

    /// Waits for the end.
    fn finish(&mut self) -> Outcome {
        loop {
            self.connection.clear_events();
            if let Some(outcome) = self.connection.outcome() {
                return outcome.clone();
            }
            if self.keep_on().is_err() {
                return self.connection.terminate();
            }
        }
    }

    /// Parts the client into two halves for two threads: one receives, one sends. Pings are answered
    /// and the closing handshake is done by whichever half is at hand.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotSplittable`] for a client over a stream that was [given](Self::handshake) to
    /// it; the client is dropped.
    pub fn split(self) -> Result<(ClientReader, ClientWriter), ClientError> {
        let Self { connection, wait, read_timeout, .. } = self;
        let Waits::Poll(reader, socket) = wait else { return Err(ClientError::NotSplittable) };
        Ok(split::halves(connection, reader, socket.waiter()?, read_timeout))
    }

    /// Uses the connection as a stream of bytes: what is written goes out as binary messages, what is
    /// read is the payload of the messages that come, of either kind, one after the other.
    pub fn into_stream(self) -> MessageStream {
        MessageStream::new(self)
    }
}
