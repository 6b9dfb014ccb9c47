mod builder;
mod message_stream;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::builder::ClientBuilder;
pub use self::message_stream::{MessageReader, MessageStream, MessageWriter};

use super::blocking_stream::BlockingStream;
use super::closer::Closer;
use super::connection::ClientConnection;
use super::error::{ClientError, ClientTimeout};
use super::messages::{Messages, Receive, receiving};
use super::sending::sending;
use super::shared_connection::SharedConnection;
use super::socket::Socket;
use super::split::{self, ClientReader, ClientWriter, knowing};
use super::wait::Waiter;
use crate::handshake::{ClientRequest, Response, ResponseError};
use crate::protocol::{
    Compress, Config, Endpoint, Event, Fragment, HandshakeError, Message, Outcome, Role, SendError,
    State, SystemEntropy, Workspace,
};
use crate::wire::{CloseCode, CloseFrame};

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
/// #     server.on_message(|peer, message| { peer.send(message); }).into_event_loop().unwrap().run().unwrap()
/// # });
/// let mut client = Client::connect(&format!("ws://{address}/"))?;
/// client.send("hello")?;
/// let reply = client.recv()?.expect("not closed yet");
/// assert_eq!(reply.as_text(), Some("hello"));
/// let outcome = client.close(1000, "done")?;
/// assert!(outcome.was_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("WebSocket", "websocket client"))]
pub struct Client {
    shared: Arc<SharedConnection>,
    waiter: Waiter,
    read_timeout: Option<Duration>,
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
    #[doc(alias("connect_async", "dial", "new WebSocket"))]
    pub fn connect(url: &str) -> Result<Self, ClientError> {
        Self::builder(url)?.connect()
    }

    /// Returns a builder, to connect with other settings.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`].
    #[doc(alias("connect_with_config", "client_with_config", "IntoClientRequest"))]
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
    #[doc(alias("createConnection", "client_async"))]
    pub fn handshake(
        stream: impl Read + Write + Send + 'static,
        request: ClientRequest,
        config: &Config,
    ) -> Result<Self, ClientError> {
        config.validate().map_err(ClientError::Config)?;
        let mut workspace = Workspace::with_entropy(SystemEntropy::new());
        let endpoint = Endpoint::client(request, config, &mut workspace)?;
        let stream = Box::new(BlockingStream(stream));
        let connection = ClientConnection::new(endpoint, workspace, stream);
        Self::open(connection, Waiter::BlocksItself, None, Closer::new(), "the server")
    }

    /// Takes over a stream on which somebody else did the opening handshake; `leftover` is what they read behind the
    /// 101. No subprotocol and no compression are agreed on.
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
        let mut connection = ClientConnection::with_leftover(endpoint, workspace, stream, leftover);
        connection.settle();
        let shared = SharedConnection::new(connection, None, None, Closer::new());
        Ok(Self { shared, waiter: Waiter::BlocksItself, read_timeout: None })
    }

    /// The client once the server has accepted, which is called so in errors, unless the closer ends that. `socket` is
    /// another handle to what the connection runs over.
    pub(super) fn open(
        mut connection: ClientConnection,
        mut waiter: Waiter,
        socket: Option<Socket>,
        closer: Closer,
        server: &str,
    ) -> Result<Self, ClientError> {
        connection.settle();
        // The transport does the handshake of TLS in its reads and writes.
        let mut is_securing = true;
        let late = |is_securing| {
            let timeout = if is_securing { ClientTimeout::Tls } else { ClientTimeout::Handshake };
            ClientError::TimedOut(timeout(server.into()))
        };
        while connection.outcome().is_none() && connection.endpoint().state() == State::Connecting {
            is_securing = connection.is_securing();
            if closer.is_requested() {
                connection.abort();
                return Err(ClientError::Aborted);
            }
            if connection.read() {
                continue;
            }
            let next = connection.next_deadline();
            match waiter.wait(next, connection.interest()) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    // A timeout of the stream itself counts only where no deadline of ours is pending.
                    if next.is_none() {
                        return Err(late(is_securing));
                    }
                }
                result => result?,
            }
        }
        match connection.next_event() {
            Some(Event::Open(response)) => {
                let shared = SharedConnection::new(connection, Some(response), socket, closer);
                Ok(Self { shared, waiter, read_timeout: None })
            }
            Some(Event::HandshakeFailed(HandshakeError::Response(ResponseError::Timeout))) => {
                Err(late(is_securing))
            }
            Some(Event::HandshakeFailed(HandshakeError::Response(error))) => Err(error.into()),
            _ => {
                // A server that rejected the upgrade is owed no Close, and the rest of its body is of no use.
                let outcome = connection.end_without_close();
                Err(connection.error().unwrap_or(ClientError::Lost(outcome)))
            }
        }
    }
}

/// What there is to know.
impl Client {
    /// The state of the connection.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    knowing!();

    /// The parameters of permessage-deflate that the server accepted.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.shared.deflate()
    }

    /// The round-trip time of the last automatic Ping that was answered; `None` before the first one. It is measured
    /// in the calls that receive, so an answer that lay waiting counts its waiting too. See
    /// [`Config::ping_interval`].
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.shared.round_trip_time()
    }
}

/// Sending.
impl Client {
    sending!();

    fn write(
        &mut self,
        what: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Result<(), ClientError> {
        self.shared.send(&mut self.waiter, UNREAD, what)
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
    #[doc(alias("read_message", "next"))]
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
        self.next_event_until(until)
    }

    pub(super) fn next_event_until(
        &mut self,
        until: Option<Instant>,
    ) -> Result<Option<Event<'static>>, ClientError> {
        self.shared.next_event(&mut self.waiter, until)
    }

    /// Iterates over the messages until the connection ends: by a clean close, or by an error, which comes once, as
    /// the last item. The client itself is such an iterator, too, in a `for` loop.
    pub fn messages(&mut self) -> Messages<&mut Self> {
        Messages::new(self)
    }

    /// How long [`recv`](Self::recv) waits for a message; `None`, as at first, for ever.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }
}

receiving!(Client);

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
        let close = CloseFrame::new(code.into(), reason).map_err(SendError::from)?;
        self.shared.finish(&mut self.waiter, &close)
    }

    /// Drops the connection without a Close; the peer sees 1006.
    pub fn abort(&mut self) -> Outcome {
        self.shared.abort()
    }

    /// Splits the client into two halves for two threads: one receives, the other sends. Pings are answered and the
    /// closing handshake is done by whichever half is at hand.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotSplittable`] for a client over a stream that was [given](Self::handshake) to
    /// it; the client is dropped.
    #[doc(alias("full duplex", "two threads"))]
    pub fn split(self) -> Result<(ClientReader, ClientWriter), ClientError> {
        let Self { shared, waiter, read_timeout } = self;
        if !shared.is_splittable() {
            return Err(ClientError::NotSplittable);
        }
        Ok(split::halves(shared, waiter, read_timeout))
    }

    /// What sends beside this client, for another thread.
    pub(super) fn writer(&self) -> ClientWriter {
        split::writer(Arc::clone(&self.shared))
    }

    /// Sends a Ping, and waits for nothing.
    pub(super) fn ping_without_waiting(&mut self) -> Result<(), ClientError> {
        self.shared.begin(|endpoint, workspace| endpoint.ping(b"", workspace))
    }

    /// Uses the connection as a stream of bytes: what is written goes out as binary messages, what is
    /// read is the payload of the messages that come, of either kind, one after the other.
    #[doc(alias("createWebSocketStream", "stream", "duplex"))]
    pub fn into_stream(self) -> MessageStream {
        MessageStream::new(self)
    }
}
