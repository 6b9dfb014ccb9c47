use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use crate::handshake::{ClientRequest, Request, RequestError, Response, ResponseError};
use crate::wire::{CloseCode, CloseFrame, Opcode, validate_utf8};

use super::accept::{Accept, Opened};
use super::compression::Compression;
use super::config::{Config, Settings, Timeouts};
use super::deadlines::Due;
use super::entropy::{Entropy, EntropyError};
use super::error::{HandshakeError, ProtocolError, SendError};
use super::event::{Event, Outcome};
use super::gathered::Gathered;
use super::message::{Fragment, Message, MessageKind};
use super::opening::{Opening, Step};
use super::output::{Chunks, Output};
use super::prepared::Prepared;
use super::receiver::{Context, Received, Receiver};
use super::sender::{Compress, Sender, Sink};
use super::spares::Spares;
use super::state::{Initiator, Role, State};
use super::upgraded::Upgraded;
use super::workspace::Workspace;

/// One end of a WebSocket connection: bytes in, events out, bytes to send. It does no I/O, reads no
/// clock and has no randomness of its own.
///
/// The methods come in four families, in the order of use:
///
/// 1. **Bytes in**: [`receive`](Self::receive) until it answers `None`,
///    [`receive_direct`](Self::receive_direct) for long payloads, [`receive_eof`](Self::receive_eof)
///    at the end of the transport.
/// 2. **Words out**: [`accept`](Self::accept), [`reject`](Self::reject),
///    [`respond`](Self::respond); [`send`](Self::send), [`send_fragment`](Self::send_fragment),
///    [`ping`](Self::ping), [`close`](Self::close). They queue; they never write.
/// 3. **Bytes out**, after every call of the first two: write [`output`](Self::output), report it to
///    [`consume_output`](Self::consume_output), then look at [`wants_shutdown`](Self::wants_shutdown).
/// 4. **Time**: [`Deadlines`](crate::Deadlines) says what is due, [`expire`](Self::expire) does it.
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
#[derive(Debug)]
pub struct Connection {
    role: Role,
    /// The Pong of the latest automatic Ping has come.
    ping_answered: bool,
    /// How many Pings were sent by themselves: the latest one's number is its payload.
    pings: u32,
    phase: Phase,
    config: Config,
    receiver: Receiver,
    sender: Sender,
    compression: Option<Box<Compression>>,
    subprotocol: Option<Box<str>>,
    /// Unsent bytes; lent with the workspace while there are none.
    output: Option<Box<Output>>,
    workspace: Option<Box<Workspace>>,
    messages: u64,
}

/// Where the connection stands. Changed by [`Connection::enter`] only.
#[derive(Debug)]
enum Phase {
    Connecting(Box<Opening>),
    Open,
    Closing(Box<Closing>),
    Closed(Box<Outcome>),
}

/// What has been said of the end.
#[derive(Debug)]
struct Closing {
    initiator: Initiator,
    sent: Option<CloseFrame>,
    received: Option<CloseFrame>,
    /// The outcome, where it is not for the closing handshake to decide.
    verdict: Option<Outcome>,
}

impl Closing {
    /// Whether what the peer sends no longer matters: "an endpoint MUST NOT continue to attempt to
    /// process data" (RFC 6455 section 7.1.7), and none may follow its Close.
    fn ignores_input(&self) -> bool {
        self.received.is_some() || self.verdict.is_some()
    }

    fn outcome(&self) -> Outcome {
        if let Some(verdict) = &self.verdict {
            return verdict.clone();
        }
        match (self.sent.clone(), self.received.clone()) {
            (Some(sent), Some(received)) => {
                Outcome::Clean { sent, received, initiator: self.initiator }
            }
            (sent, received) => Outcome::Lost { sent, received },
        }
    }
}

/// Creation.
impl Connection {
    /// The server's end of a connection whose transport has just been accepted.
    pub fn server(config: &Config) -> Self {
        let opening = Opening::server(config.settings());
        Self::new(Role::Server, Phase::Connecting(Box::new(opening)), config)
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
        let mut workspace = Some(Box::new(Workspace::with_entropy(entropy)));
        let mut connection = Self::client_in(request, config, &mut workspace)?;
        connection.workspace = workspace;
        Ok(connection)
    }

    /// The same with the entropy of a workspace that is [lent](Self::lend) to each connection in turn.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy for the nonce.
    pub fn client_in(
        request: ClientRequest,
        config: &Config,
        workspace: &mut Option<Box<Workspace>>,
    ) -> Result<Self, EntropyError> {
        let mut nonce = [0; 16];
        workspace.get_or_insert_default().fill_entropy(&mut nonce)?;
        let mut output = Output::default();
        let opening = Opening::client(request, nonce, config.settings(), &mut output);
        let phase = Phase::Connecting(Box::new(opening));
        let mut connection = Self::new(Role::Client, phase, config);
        connection.output = Some(Box::new(output));
        Ok(connection)
    }

    /// The server's end of a connection that another HTTP server accepts with a 101 of its own. The
    /// request comes as [`Event::Request`](crate::Event::Request) all the same, before anything is read:
    /// [`accept`](Self::accept) then sends nothing, and what it says of subprotocol, header fields and
    /// compression is void; [`reject`](Self::reject) sends a Close.
    pub fn upgraded(upgraded: Upgraded, config: &Config) -> Self {
        Self::new(Role::Server, Phase::Connecting(Box::new(Opening::upgraded(upgraded))), config)
    }

    /// The client's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_client(config: &Config, entropy: impl Entropy + Send + 'static) -> Self {
        let mut connection = Self::new(Role::Client, Phase::Open, config);
        connection.workspace = Some(Box::new(Workspace::with_entropy(entropy)));
        connection
    }

    /// The server's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_server(config: &Config) -> Self {
        Self::new(Role::Server, Phase::Open, config)
    }

    fn new(role: Role, phase: Phase, config: &Config) -> Self {
        Self {
            role,
            ping_answered: false,
            pings: 0,
            phase,
            config: config.clone(),
            receiver: Receiver::default(),
            sender: Sender::default(),
            compression: None,
            subprotocol: None,
            output: None,
            workspace: None,
            messages: 0,
        }
    }
}

/// What there is to know.
impl Connection {
    /// The state, as RFC 6455 names it.
    #[inline]
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Connecting(_) => State::Connecting,
            Phase::Open => State::Open,
            Phase::Closing(_) => State::Closing,
            Phase::Closed(_) => State::Closed,
        }
    }

    /// Client or server.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The subprotocol agreed on, once the connection is open.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The parameters of permessage-deflate agreed on, once the connection is open; `None` without.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.compression.as_deref().map(Compression::params)
    }

    /// How many bytes wait in the output, framing included.
    #[inline]
    pub fn buffered_amount(&self) -> usize {
        self.output.as_deref().map_or(0, Output::len)
    }

    /// Whether the output has reached [`Config::output_high_water`]: stop reading from the transport
    /// until it is [drained](Self::is_drained), or the peer can make the output grow.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.buffered_amount() >= self.settings().output_high_water.max(1)
    }

    /// Whether the output has come down to [`Config::output_low_water`].
    #[inline]
    pub fn is_drained(&self) -> bool {
        let settings = self.settings();
        self.buffered_amount() <= settings.output_low_water.min(settings.output_high_water)
    }

    /// Whether so much waits in the output that messages are refused.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.buffered_amount() > self.max_buffered_amount()
    }

    /// [`Config::max_buffered_amount`].
    #[inline]
    pub(crate) fn max_buffered_amount(&self) -> usize {
        self.settings().max_buffered_amount
    }

    /// Whether a message or a frame has begun and not ended.
    pub fn is_inside_message(&self) -> bool {
        self.receiver.is_inside_message()
    }

    /// How many whole messages have been received.
    pub fn messages_received(&self) -> u64 {
        self.messages
    }

    /// Whether the server waits for [`accept`](Self::accept) or [`reject`](Self::reject): until then
    /// [`receive`](Self::receive) takes nothing.
    pub fn awaits_decision(&self) -> bool {
        matches!(&self.phase, Phase::Connecting(opening) if opening.awaits_decision())
    }

    /// Whether the Pong of the latest automatic Ping has come.
    #[inline]
    pub(crate) fn is_ping_answered(&self) -> bool {
        self.ping_answered
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.settings().timeouts
    }

    /// Goes on with other settings.
    #[cfg(feature = "mio")]
    pub(crate) fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    fn settings(&self) -> &Settings {
        self.config.settings()
    }
}

/// Bytes in.
impl Connection {
    /// Takes bytes from the front of `input` up to the next event.
    ///
    /// Call it again, with what it left of `input`, until it answers `None`; then write the
    /// [output](Self::output). What the peer's fault is comes as an event, never as an error, and the
    /// right answer to it is in the output by then; so is every reply that the RFC demands. `None` means
    /// that all of `input` was taken, but for one case: a server that
    /// [awaits a decision](Self::awaits_decision) takes nothing, and what is left must be given again
    /// after it.
    ///
    /// The payload is unmasked in place: the event borrows from `input`, not from the connection.
    // A few instructions matter here, and the compiler's measure stands just below what this has.
    #[inline(always)]
    pub fn receive<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        if let Phase::Open = self.phase {
            if input.is_empty() {
                return None;
            }
            let settings = self.config.settings();
            if let Some((kind, payload)) = self.receiver.whole_message(input, self.role, settings) {
                let message = match kind {
                    MessageKind::Binary => Message::Binary(Cow::Borrowed(payload)),
                    MessageKind::Text => match validate_utf8(payload) {
                        Ok(text) => Message::Text(Cow::Borrowed(text)),
                        Err(_) => return Some(self.fail(ProtocolError::InvalidUtf8)),
                    },
                };
                self.messages += 1;
                return Some(Event::Message(message));
            }
        }
        self.receive_uncommon(input)
    }

    fn receive_uncommon<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        loop {
            match &self.phase {
                Phase::Open => {}
                Phase::Closing(closing) if !closing.ignores_input() => {}
                Phase::Connecting(_) => match self.receive_opening(input) {
                    Some(event) => return Some(event),
                    None if matches!(self.phase, Phase::Connecting(_)) => return None,
                    None => continue,
                },
                Phase::Closing(_) | Phase::Closed(_) => {
                    *input = &mut [];
                    return None;
                }
            }
            let mut context = Context {
                role: self.role,
                settings: self.config.settings(),
                compression: self.compression.as_deref_mut(),
                workspace: &mut self.workspace,
            };
            return match self.receiver.receive(input, &mut context) {
                Ok(Some(Received::Message(message))) => {
                    self.messages += 1;
                    Some(Event::Message(message))
                }
                Ok(Some(received)) => Some(self.handle(received)),
                Ok(None) => None,
                Err(error) => Some(self.fail(error)),
            };
        }
    }

    /// Lets `read` append bytes of the transport to the payload of a long message under way, which
    /// saves a copy; `None` if none is under way, and then `read` was not called.
    ///
    /// `read` is given the buffer and how many bytes the frame misses, and must append at most so many.
    /// The event, if the message is then whole, comes beside what `read` answered.
    pub fn receive_direct<R>(
        &mut self,
        read: impl FnOnce(&mut Vec<u8>, usize) -> R,
    ) -> Option<(R, Option<Event<'static>>)> {
        self.receive_direct_into(|gathered, missing, _| gathered.change(|vec| read(vec, missing)))
    }

    /// The same with the room behind the payload, and with the spare buffers of the workspace.
    pub(crate) fn receive_direct_into<R>(
        &mut self,
        read: impl FnOnce(&mut Gathered, usize, &mut Spares) -> R,
    ) -> Option<(R, Option<Event<'static>>)> {
        match &self.phase {
            Phase::Open => {}
            Phase::Closing(closing) if !closing.ignores_input() => {}
            _ => return None,
        }
        let settings = self.config.settings();
        let (buffer, missing) = self.receiver.direct_buffer(settings)?;
        let before = buffer.len();
        let result = match self.workspace.as_deref_mut() {
            Some(workspace) => read(buffer, missing, &mut workspace.spares),
            None => read(buffer, missing, &mut Spares::default()),
        };
        let mut context = Context {
            role: self.role,
            settings,
            compression: self.compression.as_deref_mut(),
            workspace: &mut self.workspace,
        };
        let event = match self.receiver.direct_received(before, &mut context) {
            Ok(None) => None,
            Ok(Some(received)) => Some(self.handle(received)),
            Err(error) => Some(self.fail(error)),
        };
        Some((result, event))
    }

    /// Takes note that the transport has ended, and says how the connection did. Drop the transport.
    ///
    /// The answer is the same however often it is asked for.
    pub fn receive_eof(&mut self) -> Outcome {
        self.finish_rejection();
        self.terminate()
    }

    /// A refusal whose body never came whole is a refusal all the same: whether there is one.
    fn finish_rejection(&mut self) -> bool {
        let Phase::Connecting(opening) = &mut self.phase else { return false };
        let Some(response) = opening.receive_eof() else { return false };
        self.finish(Outcome::Rejected(Arc::new(response)));
        true
    }

    /// Takes note that the transport is dropped without further ado, and says how the connection
    /// ended. Nothing more is sent or received.
    pub fn terminate(&mut self) -> Outcome {
        let outcome = match &self.phase {
            Phase::Connecting(_) | Phase::Open => Outcome::Lost { sent: None, received: None },
            Phase::Closing(closing) => closing.outcome(),
            Phase::Closed(outcome) => return (**outcome).clone(),
        };
        self.receiver = Receiver::default();
        self.sender = Sender::default();
        if let Some(output) = &mut self.output {
            output.clear();
        }
        self.enter(Phase::Closed(Box::new(outcome.clone())));
        outcome
    }

    #[cold]
    fn handle<'i>(&mut self, received: Received<'i>) -> Event<'i> {
        match received {
            Received::Message(message) => {
                self.messages += 1;
                Event::Message(message)
            }
            Received::Fragment(fragment) => {
                self.messages += u64::from(fragment.last);
                Event::Fragment(fragment)
            }
            Received::Ping(payload) => {
                // "MUST send a Pong frame in response, unless it already received a Close frame"
                // (RFC 6455 section 5.5.2); after our own Close nothing may follow.
                if self.settings().auto_pong && matches!(self.phase, Phase::Open) {
                    if self.is_congested() {
                        self.sender.hold_pong(&payload);
                    } else if self.pong(&payload).is_err() {
                        self.finish(Outcome::Lost { sent: None, received: None });
                    }
                }
                Event::Ping(payload)
            }
            Received::Pong(payload) => {
                self.ping_answered |= self.pings > 0 && *payload == self.pings.to_be_bytes();
                Event::Pong(payload)
            }
            Received::Close(close) => {
                self.receive_close(close.clone());
                Event::Close(close)
            }
        }
    }

    /// Answers the peer's Close with the same code and reason, or takes it as the answer to ours.
    fn receive_close(&mut self, close: CloseFrame) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.received = Some(close);
            return;
        }
        let sent = self.queue_close(&close).is_ok().then(|| close.clone());
        self.enter(Phase::Closing(Box::new(Closing {
            initiator: Initiator::Remote,
            sent,
            received: Some(close),
            verdict: None,
        })));
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> Event<'static> {
        if matches!(self.phase, Phase::Open) {
            let reason = error.to_string();
            let code = error.close_code();
            let close = CloseFrame::new(code, &reason)
                .or_else(|_| CloseFrame::new(code, ""))
                .unwrap_or_else(|_| CloseFrame::empty());
            // Without entropy there is no Close; the transport ends all the same.
            let _ = self.queue_close(&close);
        }
        self.finish(Outcome::Failed(error));
        Event::Failed(error)
    }

    /// Ends the conversation with this outcome: what is queued goes out, nothing more is received.
    fn finish(&mut self, verdict: Outcome) {
        self.receiver = Receiver::default();
        let (initiator, verdict) = (Initiator::Local, Some(verdict));
        self.enter(Phase::Closing(Box::new(Closing {
            initiator,
            sent: None,
            received: None,
            verdict,
        })));
    }

    /// The one place where the phase changes.
    fn enter(&mut self, phase: Phase) {
        debug_assert!(
            !matches!(
                (&self.phase, &phase),
                (Phase::Closed(_), _)
                    | (_, Phase::Connecting(_))
                    | (Phase::Closing(_), Phase::Open)
            ),
            "{:?} cannot follow {:?}",
            phase,
            self.phase
        );
        self.phase = phase;
    }
}

/// The opening handshake.
impl Connection {
    fn receive_opening<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        let Phase::Connecting(opening) = &mut self.phase else { return None };
        let (used, step) = opening.receive(input, self.config.settings());
        *input = &mut mem::take(input)[used..];
        match step {
            Step::Nothing => None,
            Step::Request(request) => Some(Event::Request(request)),
            Step::Http(request) => Some(Event::Http(request)),
            Step::Unanswered => {
                self.answer(Response::upgrade_required(), None);
                None
            }
            Step::Open(opened, response) => {
                self.open(opened);
                Some(Event::Open(response))
            }
            Step::Rejected(response) => {
                self.finish(Outcome::Rejected(Arc::new(response)));
                None
            }
            Step::RequestFailed(error) => Some(self.refuse(error)),
            Step::ResponseFailed(error) => {
                let error = HandshakeError::Response(error);
                self.finish(Outcome::HandshakeFailed(error.clone()));
                Some(Event::HandshakeFailed(error))
            }
        }
    }

    /// Answers as the fault demands.
    fn refuse(&mut self, error: RequestError) -> Event<'static> {
        let response = Response::from(&error);
        let error = HandshakeError::Request(error);
        self.answer(response, Some(Outcome::HandshakeFailed(error.clone())));
        Event::HandshakeFailed(error)
    }

    fn open(&mut self, opened: Opened) {
        self.subprotocol = opened.subprotocol;
        self.compression = opened.compression;
        self.enter(Phase::Open);
    }

    /// Server: opens the connection that [`Event::Request`] asked for; the 101 is then in the output.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::SubprotocolNotOffered`]; the request then still
    /// waits for its answer.
    pub fn accept(&mut self, mut accept: Accept) -> Result<(), SendError> {
        let Phase::Connecting(opening) = &mut self.phase else {
            return Err(SendError::NothingToAnswer);
        };
        let output = self.output.get_or_insert_default();
        let config = accept.take_config().unwrap_or_else(|| self.config.clone());
        let opened = opening.accept(accept, config.settings(), output)?;
        self.config = config;
        self.open(opened);
        Ok(())
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
        match &self.phase {
            Phase::Connecting(opening) if opening.awaits_answer() => {}
            _ => return Err(SendError::NothingToAnswer),
        }
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        self.answer(response, None);
        Ok(())
    }

    /// Server: says this in place of the answer that was queued for a request at fault, right after
    /// [`Event::HandshakeFailed`] told of it.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`] if nothing was queued, or some of it was written;
    /// [`SendError::Status`] for a status that is not final.
    pub fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        let refused = matches!(&self.phase, Phase::Closing(closing)
            if matches!(closing.verdict, Some(Outcome::HandshakeFailed(_))));
        match &mut self.output {
            Some(output) if refused && output.chunks().next().is_some_and(begins_answer) => {
                output.clear();
                output.push_with(|bytes| response.encode(bytes));
                Ok(())
            }
            _ => Err(SendError::NothingToAnswer),
        }
    }

    fn answer(&mut self, response: Response, verdict: Option<Outcome>) {
        if matches!(&self.phase, Phase::Connecting(opening) if opening.is_upgraded()) {
            self.close_upgraded(&response);
        } else {
            self.output.get_or_insert_default().push_with(|bytes| response.encode(bytes));
        }
        self.finish(verdict.unwrap_or_else(|| Outcome::Rejected(Arc::new(response))));
    }

    /// Says by a Close what cannot be said by an HTTP answer any more.
    fn close_upgraded(&mut self, response: &Response) {
        let code = match response.status() {
            503 => CloseCode::TRY_AGAIN_LATER,
            500..=599 => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::POLICY_VIOLATION,
        };
        let reason = format!("{} {}", response.status(), response.reason_phrase());
        let close = CloseFrame::new(code, &reason).or_else(|_| CloseFrame::new(code, ""));
        self.enter(Phase::Open);
        // A server needs no entropy, and a code from this list may be sent: it cannot fail.
        let _ = self.queue_close(&close.unwrap_or_else(|_| CloseFrame::empty()));
    }

    /// The request that waits for an answer, or `None`.
    pub fn request(&self) -> Option<&Arc<Request>> {
        match &self.phase {
            Phase::Connecting(opening) => opening.request(),
            _ => None,
        }
    }
}

/// Words out.
impl Connection {
    /// Queues a message, compressed where that was agreed on and the message reaches the threshold.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, or a fragmented message is unfinished.
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
        let (sender, sink) = self.message_sink()?;
        sender.message(message.into(), compress, sink)
    }

    /// Queues a message that was encoded beforehand, sharing its bytes where they are many.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink()?;
        sender.prepared(prepared, sink)
    }

    /// Queues a piece of a message in a frame of its own, uncompressed; the message ends with the piece
    /// that is the `last`. Until then no other message can be sent, but Pings, Pongs and a Close can.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, the piece is of another kind than the first one, or
    /// pieces of text do not make up UTF-8.
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink()?;
        sender.fragment(fragment, sink)
    }

    /// Queues a Ping with at most 125 bytes of payload, which the Pong repeats.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.control(Opcode::Ping, payload, sink)
    }

    /// Queues a Pong with at most 125 bytes of payload, asked for or not (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.control(Opcode::Pong, payload, sink)
    }

    /// Begins the closing handshake with a code and a reason of at most 123 bytes. Nothing can be sent
    /// afterwards; messages are still received until the peer's Close comes.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, or the code or the reason may not be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        self.begin_close(CloseFrame::new(code.into(), reason)?)
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open.
    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        self.begin_close(CloseFrame::empty())
    }

    fn begin_close(&mut self, close: CloseFrame) -> Result<(), SendError> {
        self.queue_close(&close)?;
        let (initiator, sent) = (Initiator::Local, Some(close));
        let closing = Closing { initiator, sent, received: None, verdict: None };
        self.enter(Phase::Closing(Box::new(closing)));
        Ok(())
    }

    fn queue_close(&mut self, close: &CloseFrame) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.close(close, sink)
    }

    /// Where messages go, unless too much waits there already.
    #[inline]
    fn message_sink(&mut self) -> Result<(&mut Sender, Sink<'_>), SendError> {
        if self.is_full() && matches!(self.phase, Phase::Open) {
            return Err(SendError::Full);
        }
        self.sink()
    }

    #[inline]
    fn sink(&mut self) -> Result<(&mut Sender, Sink<'_>), SendError> {
        match self.phase {
            Phase::Open => {}
            Phase::Connecting(_) => return Err(SendError::Connecting),
            Phase::Closing(_) => return Err(SendError::Closing),
            Phase::Closed(_) => return Err(SendError::Closed),
        }
        let sink = Sink {
            role: self.role,
            output: self.output.get_or_insert_default(),
            compression: self.compression.as_deref_mut(),
            workspace: &mut self.workspace,
        };
        Ok((&mut self.sender, sink))
    }
}

/// Bytes out.
impl Connection {
    /// The bytes to send, as slices in order: write them, together by a vectored write if there are
    /// several, and report how many went out to [`consume_output`](Self::consume_output).
    pub fn output(&self) -> Chunks<'_> {
        self.output.as_deref().map_or_else(Chunks::none, Output::chunks)
    }

    /// Takes note that the first `count` bytes of the output were written. Look at
    /// [`wants_shutdown`](Self::wants_shutdown) next.
    pub fn consume_output(&mut self, count: usize) {
        let Some(output) = &mut self.output else { return };
        if let Some(sent) = output.consume(count)
            && let Some(workspace) = self.workspace.as_deref_mut()
        {
            workspace.keep_spare(sent);
        }
        if !self.is_congested()
            && let Some(payload) = self.sender.take_held_pong()
        {
            // Not open any more means that a Close was sent, and no Pong is owed.
            let _ = self.pong(&payload);
        }
    }

    /// Whether to end the sending direction of the transport now, and go on reading until its end.
    ///
    /// A server does so when both Closes have passed, so that the peer can read the last one; either
    /// side does so after it failed the connection, or refused it. A client that has no fault to find
    /// waits for the server's end (RFC 6455 section 7.1.1), under [`Due::Close`](crate::Due::Close).
    pub fn wants_shutdown(&self) -> bool {
        let Phase::Closing(closing) = &self.phase else { return false };
        let finished = match self.role {
            Role::Server => closing.ignores_input(),
            Role::Client => closing.verdict.is_some(),
        };
        finished && self.buffered_amount() == 0
    }

    /// Lends what connections share; what the connection held before, if anything, comes back.
    ///
    /// Between `lend` and [`reclaim`](Self::reclaim) stands one turn at this connection: bytes in, words
    /// out, bytes out.
    #[inline]
    pub fn lend(&mut self, mut workspace: Box<Workspace>) -> Option<Box<Workspace>> {
        if self.output.is_none() {
            self.output = workspace.output.take();
        }
        self.workspace.replace(workspace)
    }

    /// Exchanges the workspace alone: output stays where it is.
    #[cfg(feature = "mio")]
    pub(crate) fn swap_workspace(&mut self, workspace: &mut Option<Box<Workspace>>) {
        std::mem::swap(&mut self.workspace, workspace);
    }

    /// Counts that the output has reached its high water mark.
    #[cfg(feature = "mio")]
    #[cold]
    pub(crate) fn note_backpressure(&mut self) {
        if let Some(workspace) = self.workspace.as_deref_mut() {
            workspace.tally_mut().rare().backpressure += 1;
        }
    }

    /// Takes the workspace back. Output that is unsent stays with the connection, in a buffer of the
    /// size that it needs.
    #[inline]
    pub fn reclaim(&mut self) -> Option<Box<Workspace>> {
        let workspace = self.workspace.as_deref_mut()?;
        if workspace.output.is_none()
            && let Some(mut output) = self.output.take()
        {
            if output.len() > 0 {
                self.output = Some(Box::new(output.split_off_unsent()));
            }
            output.shrink_to(Workspace::OUTPUT_KEPT);
            workspace.output = Some(output);
        }
        if self.buffered_amount() == 0 {
            self.output = None;
        }
        self.workspace.take()
    }
}

/// Time.
impl Connection {
    /// Does what a passed deadline demands: a Ping, a Close with 1001 or 1008, an answer of 503, or the
    /// end of the connection.
    ///
    /// An event comes back where the connection failed. If the [`state`](Self::state) is then
    /// [`State::Closed`], drop the transport.
    pub fn expire(&mut self, due: Due) -> Option<Event<'static>> {
        match (due, self.state()) {
            (_, State::Closed) => None,
            (Due::Ping, _) => {
                (self.pings, self.ping_answered) = (self.pings.wrapping_add(1).max(1), false);
                // Not open any more means that another deadline watches the connection.
                let _ = self.ping(&self.pings.to_be_bytes());
                None
            }
            (Due::Idle, State::Open) => self.go_away("idle timeout"),
            (Due::Lifetime, State::Open) => self.go_away("maximum lifetime reached"),
            (Due::FirstMessage | Due::Message, State::Open) => {
                Some(self.fail(ProtocolError::Deadline(due)))
            }
            (Due::Handshake, State::Connecting) => {
                if self.finish_rejection() {
                    self.terminate();
                    return None;
                }
                let error = match self.role {
                    Role::Server => HandshakeError::Request(RequestError::Timeout),
                    Role::Client => HandshakeError::Response(ResponseError::Timeout),
                };
                self.finish(Outcome::HandshakeFailed(error.clone()));
                self.terminate();
                Some(Event::HandshakeFailed(error))
            }
            (Due::Decision, _) => {
                // Decided meanwhile means that nobody waits any more.
                self.awaits_decision().then(|| self.refuse(RequestError::DecisionTimeout))
            }
            _ => {
                self.terminate();
                None
            }
        }
    }

    fn go_away(&mut self, reason: &str) -> Option<Event<'static>> {
        if self.close(CloseCode::GOING_AWAY, reason).is_err() {
            // There is no entropy for a Close.
            self.terminate();
        }
        None
    }
}

/// Whether this is the whole or the front part of an answer, and not a Close.
fn begins_answer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 ")
}
