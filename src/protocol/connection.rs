use std::ops::Deref;
use std::time::Duration;

use crate::handshake::{ClientRequest, HttpDate, Response};
use crate::wire::CloseCode;

use super::accept::Accept;
use super::cause::Cause;
use super::config::{Config, Fragments};
use super::endpoint::Endpoint;
use super::entropy::{Entropy, EntropyError};
use super::error::SendError;
use super::event::{Event, Outcome};
use super::message::{Fragment, Message};
use super::partial_request::PartialRequest;
use super::payload_buffer::PayloadBuffer;
use super::prepared::Prepared;
use super::sender::Compress;
use super::state::Role;
use super::upgraded::Upgraded;
use super::workspace::Workspace;

/// One end of a WebSocket connection: bytes in, events out, bytes to send. It does no I/O, reads no
/// clock and has no randomness of its own.
///
/// The methods come in four families, in the order of use:
///
/// 1. **Time**: [`handle_timeout`](Self::handle_timeout) tells what time it is, at the head of each turn;
///    [`next_timeout`](Endpoint::next_timeout) says when to come back if nothing happens.
/// 2. **Bytes in**: [`receive`](Self::receive) until it answers `None`,
///    [`receive_direct`](Self::receive_direct) for long payloads, [`receive_eof`](Self::receive_eof)
///    at the end of the transport.
/// 3. **What to send**: [`accept`](Self::accept), [`reject`](Self::reject),
///    [`respond`](Self::respond); [`send`](Self::send), [`send_fragment`](Self::send_fragment),
///    [`ping`](Self::ping), [`close`](Self::close). They queue; they never write.
/// 4. **Bytes out**, after every call of the others: write [`output`](Endpoint::output), report it to
///    [`consume_output`](Self::consume_output), then look at [`wants_shutdown`](Endpoint::wants_shutdown).
///
/// A program that has many connections uses [`Endpoint`]: the same, with what connections can share as an
/// argument. What can be asked of either is there, and reached from here.
///
/// ```
/// use framewire::{Accept, Config, Connection, Event};
///
/// let mut connection = Connection::server(&Config::new());
/// let mut bytes = b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
///     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///     Sec-WebSocket-Version: 13\r\n\r\n\
///     \x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
///
/// let mut input = &mut bytes[..];
/// while let Some(event) = connection.receive(&mut input) {
///     match event {
///         Event::Request(request) => {
///             assert_eq!(request.path(), "/chat");
///             connection.accept(Accept::new())?;
///         }
///         Event::Message(message) => connection.send(message)?,
///         _ => {}
///     }
/// }
/// let output: Vec<u8> = connection.output().flatten().copied().collect();
/// assert!(output.starts_with(b"HTTP/1.1 101 ") && output.ends_with(b"\x81\x05Hello"));
/// # Ok::<(), framewire::SendError>(())
/// ```
///
/// With nothing under way it holds at most 64 KiB, whatever it has sent and received, and the states of its
/// compressors if compression was agreed on and used.
#[doc(alias("sans-io", "wasm", "WebSocketContext", "no I/O"))]
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    workspace: Box<Workspace>,
}

/// Creation. The clocks of a connection start with the first [`handle_timeout`](Self::handle_timeout).
impl Connection {
    /// The server's end of a connection whose transport has just been accepted.
    pub fn server(config: &Config) -> Self {
        Self::from_parts(Endpoint::server(config), Workspace::new())
    }

    /// The client's end of a connection whose transport has just been opened: the request is in the
    /// output. `entropy` serves for the nonce of the handshake and the masking keys.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy for the nonce.
    ///
    /// ```
    /// use framewire::handshake::{ClientRequest, Url};
    /// use framewire::{Config, Connection};
    ///
    /// let request = ClientRequest::new(&Url::parse("ws://example.com/chat")?);
    /// let not_random = |bytes: &mut [u8]| bytes.fill(7);
    /// let connection = Connection::client(request, &Config::new(), not_random)?;
    /// let head: Vec<u8> = connection.output().flatten().copied().collect();
    /// assert!(head.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(
        request: ClientRequest,
        config: &Config,
        entropy: impl Entropy + Send + 'static,
    ) -> Result<Self, EntropyError> {
        let mut workspace = Workspace::with_entropy(entropy);
        let endpoint = Endpoint::client(request, config, &mut workspace)?;
        Ok(Self::from_parts(endpoint, workspace))
    }

    /// The server's end of a connection that another HTTP server accepts with a 101 of its own. The
    /// request comes as [`Event::Request`] all the same, before anything is read:
    /// [`accept`](Self::accept) then sends nothing, and what it says of subprotocol, header fields and
    /// compression is void; [`reject`](Self::reject) sends a Close.
    pub fn upgraded(upgraded: Upgraded, config: &Config) -> Self {
        Self::from_parts(Endpoint::upgraded(upgraded, config), Workspace::new())
    }

    /// The client's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_client(config: &Config, entropy: impl Entropy + Send + 'static) -> Self {
        Self::from_parts(Endpoint::adopted(Role::Client, config), Workspace::with_entropy(entropy))
    }

    /// The server's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_server(config: &Config) -> Self {
        Self::from_parts(Endpoint::adopted(Role::Server, config), Workspace::new())
    }

    /// A connection of an endpoint that has just been made, and a workspace for it alone. One that is
    /// [for many](Workspace::for_many) connections keeps larger buffers for this one, too.
    pub fn from_parts(endpoint: Endpoint, workspace: Workspace) -> Self {
        Self { endpoint, workspace: Box::new(workspace) }
    }
}

/// For drivers.
impl Connection {
    /// The endpoint and its workspace, for a driver that is written for [`Endpoint`].
    pub fn as_parts_mut(&mut self) -> (&mut Endpoint, &mut Workspace) {
        (&mut self.endpoint, &mut self.workspace)
    }
}

/// What there is to know: everything that can be asked of an [`Endpoint`].
impl Deref for Connection {
    type Target = Endpoint;

    #[inline]
    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Settings.
impl Connection {
    /// Changes the settings of the connection: limits hold from the next frame on, time limits from when they began
    /// to run. What the handshake has agreed on stays.
    pub fn set_config(&mut self, config: Config) {
        self.endpoint.set_config(config, &mut self.workspace);
    }

    /// Changes which messages are delivered in pieces, from the next one that begins; see [`Config::fragments`].
    ///
    /// ```
    /// use framewire::{Config, Connection, Event, Fragments};
    ///
    /// let mut connection = Connection::adopted_client(&Config::new(), |_: &mut [u8]| {});
    /// let mut bytes = b"\x81\x06upload\x82\x05bytes".to_vec();
    /// let mut input = &mut bytes[..];
    /// assert!(matches!(connection.receive(&mut input), Some(Event::Message(_))));
    /// connection.set_fragments(Fragments::Always);
    /// assert!(matches!(connection.receive(&mut input), Some(Event::Fragment(_))));
    /// ```
    pub fn set_fragments(&mut self, fragments: Fragments) {
        self.endpoint.set_fragments(fragments);
    }

    /// Shortens the Ping interval and the maximum lifetime by a part that differs with the seed, such as the
    /// connection's number: at most by [`Config::jitter`]. Connections that were opened together are then neither
    /// pinged nor closed together. Seeds that count up are spread evenly; without one nothing is shortened.
    ///
    /// ```
    /// use framewire::{Config, Connection};
    /// use std::time::Duration;
    ///
    /// let config = Config::new().ping_interval(Duration::from_secs(20)).jitter(25);
    /// for seed in 0..1000 {
    ///     let mut connection = Connection::adopted_server(&config);
    ///     connection.seed(seed);
    ///     connection.handle_timeout(Duration::ZERO);
    ///     let ping = connection.next_timeout().unwrap();
    ///     assert!(ping > Duration::from_secs(15) && ping <= Duration::from_secs(20));
    /// }
    /// ```
    pub fn seed(&mut self, seed: u64) {
        self.endpoint.seed(seed);
    }
}

/// Time.
impl Connection {
    /// Tells the time, and does what is due: sends a Ping, closes with 1001, fails with 1008, answers a
    /// request that nobody has decided about with 503, or ends the connection. `now` is the time since any
    /// fixed point, the same one for all calls; the first call starts the clocks.
    ///
    /// Call it at the head of each turn, before anything else, and when
    /// [`next_timeout`](Endpoint::next_timeout) has come. Then read, write, and wait again. An event comes
    /// where the connection failed; call it again until it answers `None`. If the
    /// [`state`](Endpoint::state) is then [`State::Closed`](crate::State::Closed), drop the transport: the
    /// [`outcome`](Endpoint::outcome) names the deadline.
    ///
    /// A deadline that the peer may have met, with bytes that lie unread or by making room for output, is
    /// not taken at its word at once: `next_timeout` then says that it is time now, and only if the next two
    /// calls find that nothing has come in between does the connection end. So a program that was held up
    /// loses no healthy connection by that, whether it reads before it tells the time or after.
    ///
    /// ```
    /// use framewire::{Config, Connection, Outcome, State, TimeoutKind};
    /// use std::time::Duration;
    ///
    /// let config = Config::new().ping_interval(None).idle_timeout(Duration::from_secs(15));
    /// let mut connection = Connection::adopted_server(&config);
    /// connection.handle_timeout(Duration::ZERO);
    /// while connection.output().next().is_none() {
    ///     let now = connection.next_timeout().unwrap();
    ///     // Wait for the transport or until then; read what there is; then:
    ///     connection.handle_timeout(now);
    /// }
    /// let output: Vec<u8> = connection.output().flatten().copied().collect();
    /// assert_eq!(output, b"\x88\x0e\x03\xe9idle timeout");
    /// // Nobody takes it.
    /// while connection.state() != State::Closed {
    ///     connection.handle_timeout(connection.next_timeout().unwrap());
    /// }
    /// let outcome = connection.outcome();
    /// assert!(matches!(outcome, Some(Outcome::TimedOut { timeout: TimeoutKind::Write, .. })));
    /// ```
    #[inline]
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Event<'static>> {
        self.endpoint.handle_timeout(now, &mut self.workspace)
    }

    /// Tells the time and does nothing that is due, for a program that is not at the head of a turn: before it queues
    /// something after a while, for example.
    #[inline]
    pub fn set_time(&mut self, now: Duration) {
        self.endpoint.before_time(&self.workspace);
        self.workspace.set_time(now);
    }

    /// Tells a server the time of day, which its HTTP answers name as `Date`; see [`Workspace::set_date`].
    pub fn set_date(&mut self, date: Option<HttpDate>) {
        self.workspace.set_date(date);
    }

    /// Tells the connection that the program does not read from the transport until [`resume`](Self::resume):
    /// meanwhile no deadline runs that asks something of what the peer sends. That nothing is read while the
    /// connection is [congested](Endpoint::is_congested) needs no telling.
    pub fn pause(&mut self) {
        self.endpoint.pause(&mut self.workspace);
    }

    /// Tells the connection that the program reads again.
    pub fn resume(&mut self) {
        self.endpoint.resume(&mut self.workspace);
    }
}

/// Bytes in.
impl Connection {
    /// Takes bytes from the front of `input` up to the next event.
    ///
    /// Call it again, with what it left of `input`, until it answers `None`; then write the
    /// [output](Endpoint::output). What the peer's fault is comes as an event, never as an error, and the
    /// right answer to it is in the output by then; so is every reply that the RFC demands. `None` means
    /// that all of `input` was taken, but for one case: a server that
    /// [awaits a decision](Endpoint::awaits_decision) takes nothing, and what is left must be given again
    /// after it.
    ///
    /// The payload is unmasked in place: the event borrows from `input`, not from the connection.
    #[inline(always)]
    pub fn receive<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        self.endpoint.receive(input, &mut self.workspace)
    }

    /// Lets `read` read from the transport straight into the payload of a long message under way, which saves a copy;
    /// `None` if none is under way, and then `read` was not called.
    ///
    /// `read` is given the buffer and how many bytes the frame misses, and must append at most so many.
    /// The event, if the message is then whole, comes beside what `read` answered.
    pub fn receive_direct<R>(
        &mut self,
        read: impl FnOnce(&mut PayloadBuffer, usize) -> R,
    ) -> Option<(R, Option<Event<'static>>)> {
        self.endpoint.receive_direct(read, &mut self.workspace)
    }

    /// Takes note that the transport has ended, and says how the connection did. Drop the transport.
    ///
    /// The answer is the same however often it is asked for.
    pub fn receive_eof(&mut self) -> Outcome {
        self.endpoint.receive_eof()
    }

    /// Takes note that the transport is dropped without further ado, and says how the connection
    /// ended. Nothing more is sent or received.
    pub fn abort(&mut self) -> Outcome {
        self.endpoint.abort()
    }

    /// Takes note that the transport has failed, and why, and says how the connection ended. Nothing more is
    /// sent or received: drop the transport.
    ///
    /// A connection that is lost by that, while it is being opened too, has the error as the
    /// [`cause`](Outcome::cause) of its outcome. Where the outcome was certain already, it stays: after both
    /// Closes have passed, after the peer broke the protocol, and for a server's rejection, though its body may
    /// be cut short.
    ///
    /// ```
    /// use framewire::{Config, Connection, Event};
    /// use std::io::Read;
    ///
    /// fn receive(connection: &mut Connection, transport: &mut impl Read) {
    ///     let mut buffer = [0; 4096];
    ///     match transport.read(&mut buffer) {
    ///         Ok(0) => println!("{}", connection.receive_eof()),
    ///         Ok(count) => {
    ///             let mut input = &mut buffer[..count];
    ///             while let Some(event) = connection.receive(&mut input) {
    ///                 println!("{event:?}");
    ///             }
    ///         }
    ///         Err(error) => println!("{}", connection.abort_with(error)),
    ///     }
    /// }
    /// # struct Broken;
    /// # impl Read for Broken {
    /// #     fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
    /// #         Err(std::io::ErrorKind::ConnectionReset.into())
    /// #     }
    /// # }
    /// # let mut connection = Connection::adopted_server(&Config::new());
    /// # receive(&mut connection, &mut Broken);
    /// # assert!(connection.outcome().is_some_and(|outcome| outcome.cause().is_some()));
    /// ```
    pub fn abort_with(&mut self, cause: impl Into<Cause>) -> Outcome {
        self.endpoint.abort_with(cause)
    }
}

/// The opening handshake.
impl Connection {
    /// Server: opens the connection that [`Event::Request`] asked for; the 101 is then in the output.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::SubprotocolNotOffered`]; the request then still
    /// waits for its answer.
    pub fn accept(&mut self, accept: Accept) -> Result<(), SendError> {
        self.endpoint.accept(accept, &mut self.workspace)
    }

    /// Server: answers the request of [`Event::Request`] with this response in place of the 101. Where
    /// somebody else has sent the 101 already ([`upgraded`](Self::upgraded)), a Close is sent: with 1008,
    /// 1011 for a status from 500 up, or 1013 for 503.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::Status`] for a status that is not final.
    pub fn reject(&mut self, response: Response) -> Result<(), SendError> {
        self.respond(response)
    }

    /// Server: answers the plain HTTP request of [`Event::Http`], or any request that waits.
    ///
    /// The connection then ends: it serves one request.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::Status`] for a status that is not final.
    pub fn respond(&mut self, response: Response) -> Result<(), SendError> {
        self.endpoint.respond(response, &mut self.workspace)
    }

    /// Server: promises the answer to the plain request of [`Event::Http`] for later: until
    /// [`respond`](Self::respond) nothing more is received, for [`Config::decision_timeout`] at most, after
    /// which 503 is answered.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`].
    ///
    /// ```
    /// use framewire::{Config, Connection, Event, Response};
    ///
    /// let mut connection = Connection::server(&Config::new());
    /// let mut bytes = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    /// let mut input = &mut bytes[..];
    /// assert!(matches!(connection.receive(&mut input), Some(Event::Http(_))));
    /// connection.respond_later()?;
    /// assert_eq!(connection.receive(&mut input), None);
    /// // When it is found:
    /// connection.respond(Response::text("at last\n"))?;
    /// # Ok::<(), framewire::SendError>(())
    /// ```
    pub fn respond_later(&mut self) -> Result<(), SendError> {
        self.endpoint.respond_later(&mut self.workspace)
    }

    /// Server: trusts what [`Config::trusted_proxies`] say of clients, since the transport comes from one of them, by
    /// its address. To be called before anything is received; without it their fields mean nothing.
    pub fn trust_proxy(&mut self) {
        self.endpoint.trust_proxy();
    }

    /// Server: takes what was read of a request that did not open the connection, after
    /// [`Event::HandshakeFailed`] or the end; `None` if nothing was read, or it was taken already.
    pub fn take_partial_request(&mut self) -> Option<PartialRequest> {
        self.endpoint.take_partial_request()
    }

    /// Server: sends this in place of the answer that was queued for a request at fault, right after
    /// [`Event::HandshakeFailed`] told of it.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`] if nothing was queued, or some of it was written;
    /// [`SendError::Status`] for a status that is not final.
    pub fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        self.endpoint.answer_instead(response)
    }
}

/// What an application sends. The calls queue; they never write. If one answers with an error, nothing was
/// queued and nothing has changed.
impl Connection {
    /// Queues a message, compressed where that was agreed on and the message reaches the threshold.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, a fragmented message is unfinished, or
    /// [too much](Config::max_buffered_amount) waits already.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.send_with(message, Compress::Threshold)
    }

    /// Queues a message, and says whether to compress it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
    ) -> Result<(), SendError> {
        self.endpoint.send_with(message, compress, &mut self.workspace)
    }

    /// Queues a message that was encoded beforehand, sharing its bytes where they are many.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        self.endpoint.send_prepared(prepared, &mut self.workspace)
    }

    /// Queues a piece of a message in a frame of its own; the message ends with the piece that is the `last`.
    /// Until then no other message can be sent, but Pings, Pongs and a Close can.
    ///
    /// Where compression was agreed on, the message is compressed unless its first piece is its last one and does
    /// not reach the threshold. Each piece is compressed so that the peer can inflate it when it comes.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, the piece is of another kind than the first one, or
    /// pieces of text do not make up UTF-8.
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), SendError> {
        self.endpoint.send_fragment(fragment, &mut self.workspace)
    }

    /// Queues a piece of a message in a frame of its own, and says whether to compress the message: the first
    /// piece decides, and later ones follow.
    ///
    /// # Errors
    ///
    /// As [`send_fragment`](Self::send_fragment).
    pub fn send_fragment_with(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
    ) -> Result<(), SendError> {
        self.endpoint.send_fragment_with(fragment, compress, &mut self.workspace)
    }

    /// Queues a Ping with at most 125 bytes of payload, which the Pong repeats.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.endpoint.ping(payload, &mut self.workspace)
    }

    /// Queues a Pong with at most 125 bytes of payload, asked for or not (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.endpoint.pong(payload, &mut self.workspace)
    }

    /// Begins the closing handshake with a code and a reason of at most 123 bytes. Nothing can be sent
    /// afterwards; messages are still received until the peer's Close comes. All that was queued before
    /// goes out first.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, or the code or the reason may not be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        self.endpoint.close(code, reason, &mut self.workspace)
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open.
    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        self.endpoint.close_without_code(&mut self.workspace)
    }
}

/// Bytes out.
impl Connection {
    /// Takes note that the first `count` bytes of the [output](Endpoint::output) were written. Look at
    /// [`wants_shutdown`](Endpoint::wants_shutdown) next.
    #[inline]
    pub fn consume_output(&mut self, count: usize) {
        self.endpoint.consume_output(count, &mut self.workspace);
    }
}
