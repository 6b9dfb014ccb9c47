use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{ClientRequest, HttpDate, Request, RequestError, Response, ResponseError};
use crate::wire::{CloseCode, CloseFrame, FrameHeader, Opcode, validate_utf8};

use super::accept::{Accept, Opened};
use super::cause::Cause;
use super::compression::Compression;
use super::config::{Config, Fragments, Settings, Timeouts};
use super::entropy::EntropyError;
use super::error::{HandshakeError, ProtocolError, SendError};
use super::event::{Event, Outcome};
use super::message::{Fragment, Message, MessageKind};
use super::opening::{Opening, Step};
use super::output::{Chunks, Output, UNCOPIED};
use super::partial_request::PartialRequest;
use super::payload_buffer::PayloadBuffer;
use super::prepared::Prepared;
use super::receiver::{Context, Received, Receiver};
use super::sender::{Compress, Sender, Sink};
use super::state::{Initiator, Role, State};
use super::timers::{AwaitedEvent, Moment, TimeoutKind, Timers};
use super::upgraded::Upgraded;
use super::workspace::Workspace;

/// One end of a WebSocket connection, for programs that have many: what connections share is a
/// [`Workspace`], which is given to every call that needs it. A [`Connection`](crate::Connection) is one of these
/// with a workspace of its own, and its documentation is where the calls are explained.
///
/// An idle endpoint holds no buffer: what it needs to send it borrows from the workspace until all has left.
/// Any workspace will do at any call, but it is worth it to stay with one.
///
/// ```
/// use framewire::{Accept, Config, Endpoint, Event, Workspace};
/// use std::time::Duration;
///
/// let mut workspace = Workspace::new().for_many();
/// let mut endpoints = vec![Endpoint::server(&Config::new()), Endpoint::server(&Config::new())];
/// for endpoint in &mut endpoints {
///     assert_eq!(endpoint.handle_timeout(Duration::ZERO, &mut workspace), None);
///     let mut bytes = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
///         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///         Sec-WebSocket-Version: 13\r\n\r\n".to_vec();
///     let mut input = &mut bytes[..];
///     while let Some(event) = endpoint.receive(&mut input, &mut workspace) {
///         if let Event::Request(_) = event {
///             endpoint.accept(Accept::new(), &mut workspace)?;
///         }
///     }
///     // Write it to the socket, then:
///     let written = endpoint.output().map(<[u8]>::len).sum();
///     endpoint.consume_output(written, &mut workspace);
///     assert_eq!(endpoint.next_timeout(), Some(Duration::from_secs(20)));
/// }
/// # Ok::<(), framewire::SendError>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    role: Role,
    phase: Phase,
    config: Config,
    receiver: Receiver,
    sender: Sender,
    compression: Option<Box<Compression>>,
    subprotocol: Option<Box<str>>,
    /// There while it holds something, or may soon.
    output: Option<Box<Output>>,
    /// How many bytes have left, in all.
    left: u64,
    timers: Timers,
}

/// Where the connection stands. Changed by [`Endpoint::enter`] only.
#[derive(Debug)]
enum Phase {
    Connecting(Box<Opening>),
    Open,
    Closing(Box<Closing>),
    Closed(Box<Ended>),
}

impl Phase {
    /// Of a connection that ends before it was open.
    #[cold]
    fn keep_partial(&mut self, request: Option<Box<PartialRequest>>) {
        if let Some(partial) = self.partial() {
            *partial = request;
        }
    }

    fn partial(&mut self) -> Option<&mut Option<Box<PartialRequest>>> {
        match self {
            Self::Connecting(_) | Self::Open => None,
            Self::Closing(closing) => Some(&mut closing.partial),
            Self::Closed(ended) => Some(&mut ended.partial),
        }
    }
}

/// What has been said of the end.
#[derive(Debug)]
struct Closing {
    initiator: Initiator,
    sent: Option<CloseFrame>,
    received: Option<CloseFrame>,
    /// The outcome, where it is not for the closing handshake to decide.
    verdict: Option<Outcome>,
    /// Of an HTTP answer.
    answered: Answered,
    /// Of a server that does not open the connection.
    partial: Option<Box<PartialRequest>>,
}

/// What was known when an HTTP answer was written.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    is_head: bool,
    date: Option<HttpDate>,
}

impl Answered {
    fn encode(self, response: &Response, bytes: &mut Vec<u8>) {
        response.encode(if self.is_head { "HEAD" } else { "GET" }, self.date, bytes);
    }
}

#[derive(Debug)]
struct Ended {
    outcome: Outcome,
    partial: Option<Box<PartialRequest>>,
    /// How many bytes were queued and have not left.
    unsent: usize,
    /// Whether no byte of a request has come.
    is_silent: bool,
}

impl Closing {
    /// A close that one side begins, of which nothing else is known yet.
    fn by(initiator: Initiator) -> Self {
        Self {
            initiator,
            sent: None,
            received: None,
            verdict: None,
            answered: Answered::default(),
            partial: None,
        }
    }

    /// Whether what the peer sends no longer matters: "an endpoint MUST NOT continue to attempt to
    /// process data" (RFC 6455 section 7.1.7), and none may follow its Close.
    fn ignores_input(&self) -> bool {
        self.received.is_some() || self.verdict.is_some()
    }

    /// How the connection ends with so many bytes unsent. A Close is the last thing that is queued: while
    /// anything is unsent, it has not left.
    fn outcome(&self, unsent: usize, by: EndedBy) -> Outcome {
        if let Some(verdict) = &self.verdict {
            return verdict.clone();
        }
        let sent = self.sent.clone().filter(|_| unsent == 0);
        match (sent, self.received.clone()) {
            (Some(sent), Some(received)) => {
                Outcome::Clean { sent, received, initiator: self.initiator }
            }
            (sent, received) => by.outcome(sent, received),
        }
    }
}

/// What ends a connection without a closing handshake.
#[derive(Debug)]
enum EndedBy {
    /// The transport, for this reason if one is known.
    Transport(Option<Cause>),
    Timeout(TimeoutKind),
}

impl EndedBy {
    fn outcome(self, sent: Option<CloseFrame>, received: Option<CloseFrame>) -> Outcome {
        match self {
            Self::Transport(cause) => Outcome::Lost { sent, received, cause },
            Self::Timeout(timeout) => Outcome::TimedOut { timeout, sent, received },
        }
    }
}

/// Creation. The clocks of an endpoint start with the first [`handle_timeout`](Self::handle_timeout).
impl Endpoint {
    /// The server's end of a connection whose transport has just been accepted.
    pub fn server(config: &Config) -> Self {
        let opening = Opening::server(config.settings());
        Self::new(Role::Server, Phase::Connecting(Box::new(opening)), config)
    }

    /// The client's end of a connection whose transport has just been opened: the request is in the
    /// output.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy for the nonce.
    pub fn client(
        request: ClientRequest,
        config: &Config,
        workspace: &mut Workspace,
    ) -> Result<Self, EntropyError> {
        let mut nonce = [0; 16];
        workspace.fill_entropy(&mut nonce)?;
        let mut output = workspace.take_output();
        let opening = Opening::client(request, nonce, config.settings(), &mut output);
        let mut endpoint = Self::new(Role::Client, Phase::Connecting(Box::new(opening)), config);
        output.since = Some(workspace.now());
        endpoint.output = Some(output);
        Ok(endpoint)
    }

    /// The server's end of a connection that another HTTP server accepts with a 101 of its own; see
    /// [`Connection::upgraded`](crate::Connection::upgraded).
    pub fn upgraded(upgraded: Upgraded, config: &Config) -> Self {
        Self::new(Role::Server, Phase::Connecting(Box::new(Opening::upgraded(upgraded))), config)
    }

    /// Either end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted(role: Role, config: &Config) -> Self {
        Self::new(role, Phase::Open, config)
    }

    fn new(role: Role, phase: Phase, config: &Config) -> Self {
        let mut timers = Timers::new();
        if let Phase::Open = phase {
            timers.watch_messages(Moment::START, &config.settings().timeouts);
        }
        Self {
            role,
            phase,
            config: config.clone(),
            receiver: Receiver::default(),
            sender: Sender::default(),
            compression: None,
            subprotocol: None,
            output: None,
            left: 0,
            timers,
        }
    }
}

/// What there is to know.
impl Endpoint {
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

    /// The role of this end: client or server.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The subprotocol that was negotiated, once the connection is open.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The parameters of permessage-deflate that were negotiated, once the connection is open; `None` without.
    #[cfg(feature = "deflate")]
    pub fn deflate(&self) -> Option<crate::deflate::DeflateParams> {
        self.compression.as_deref().map(Compression::params)
    }

    /// How many bytes wait in the output, framing included, and how many wait
    /// [for the codec](Workspace::set_codec_budget) to get there.
    #[inline]
    pub fn buffered_amount(&self) -> usize {
        self.output_length() + self.sender.waiting_bytes()
    }

    #[inline]
    fn output_length(&self) -> usize {
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

    /// Whether so much waits in the output that messages are rejected with [`SendError::Full`]:
    /// more than [`Config::max_buffered_amount`].
    #[inline]
    pub fn is_full(&self) -> bool {
        self.buffered_amount() > self.max_buffered_amount()
    }

    /// The [`Config::max_buffered_amount`] of the current settings.
    #[inline]
    pub fn max_buffered_amount(&self) -> usize {
        self.settings().max_buffered_amount
    }

    /// How many bytes were queued since the connection was made, framing and handshake included. It only
    /// grows.
    #[inline]
    pub fn queued(&self) -> u64 {
        let unsent = match &self.phase {
            Phase::Closed(ended) => ended.unsent,
            _ => self.output_length(),
        };
        self.left + unsent as u64
    }

    /// How many of the [queued](Self::queued) bytes have left, as
    /// [`consume_output`](Self::consume_output) was told. It only grows; a message that was queued when
    /// `queued` said `n` afterwards has left when this has come to `n`.
    #[inline]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether a message or a frame has begun and not ended.
    pub fn is_inside_message(&self) -> bool {
        self.receiver.is_inside_message()
    }

    /// Whether there is more to inflate of a compressed message that came: in that case
    /// [`receive`](Self::receive) answers `None` although it has not taken all of its input, since the
    /// [budget](Workspace::set_codec_budget) is used up. Call it with what is left of the input, or with none if
    /// nothing is, in the next turn.
    #[inline]
    pub fn awaits_codec(&self) -> bool {
        self.receiver.awaits_codec()
    }

    /// Whether the server waits for [`accept`](Self::accept) or [`respond`](Self::respond): until then
    /// [`receive`](Self::receive) takes nothing.
    pub fn awaits_decision(&self) -> bool {
        matches!(&self.phase, Phase::Connecting(opening) if opening.awaits_decision())
    }

    /// The request that waits for an answer, or `None`.
    pub fn request(&self) -> Option<&Arc<Request>> {
        match &self.phase {
            Phase::Connecting(opening) => opening.request(),
            _ => None,
        }
    }

    /// How the connection ended, once it has: once its [`state`](Self::state) is [`State::Closed`].
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Closed(ended) => Some(&ended.outcome),
            _ => None,
        }
    }

    /// Whether the connection of a server ended before any byte of a request came: some health checks connect and
    /// leave at once.
    pub fn ended_in_silence(&self) -> bool {
        matches!(&self.phase, Phase::Closed(ended) if ended.is_silent)
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the settings of the connection: limits hold from the next frame on, time limits from when they began
    /// to run. What the handshake has agreed on stays.
    pub fn set_config(&mut self, config: Config, workspace: &mut Workspace) {
        let was_congested = self.is_congested();
        self.before_time(workspace);
        self.config = config;
        self.congestion_changes(was_congested, workspace);
        if matches!(self.phase, Phase::Open) {
            self.timers.watch_messages(workspace.now(), &self.config.settings().timeouts);
        }
        self.refresh_timers();
    }

    /// Changes which messages are delivered in pieces, from the next one that begins; see [`Config::fragments`].
    pub fn set_fragments(&mut self, fragments: Fragments) {
        if self.settings().fragments != fragments {
            self.config = self.config.clone().fragments(fragments);
        }
    }

    fn settings(&self) -> &Settings {
        self.config.settings()
    }
}

/// Bytes in.
impl Endpoint {
    /// Takes bytes from the front of `input` up to the next event; see
    /// [`Connection::receive`](crate::Connection::receive).
    // Called for every message; the compiler by itself finds it a little too long to inline.
    #[inline(always)]
    pub fn receive<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        if let Phase::Open = self.phase {
            if input.is_empty() {
                self.timers.settle_heard(workspace.now(), &self.config.settings().timeouts);
                if !self.receiver.awaits_codec() {
                    return None;
                }
            }
            let settings = self.config.settings();
            if let Some((kind, payload)) = self.receiver.whole_message(input, self.role, settings) {
                let message = match kind {
                    MessageKind::Binary => Message::from(payload),
                    MessageKind::Text => match validate_utf8(payload) {
                        Ok(text) => Message::from(text),
                        Err(_) => return Some(self.fail(ProtocolError::InvalidUtf8, workspace)),
                    },
                };
                self.timers.message_heard();
                return Some(Event::Message(message));
            }
        }
        self.receive_uncommon(input, workspace)
    }

    fn receive_uncommon<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        self.timers.settle_heard(workspace.now(), &self.config.settings().timeouts);
        loop {
            match &self.phase {
                Phase::Open if input.is_empty() => {}
                Phase::Open => {
                    self.timers.received(workspace.now(), &self.config.settings().timeouts);
                }
                Phase::Closing(closing) if !closing.ignores_input() => {}
                Phase::Connecting(_) => match self.receive_opening(input, workspace) {
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
                workspace,
            };
            let received = self.receiver.receive(input, &mut context);
            return self.received(received, workspace);
        }
    }

    /// Lets `read` read from the transport straight into the payload of a long message under way, which saves a copy;
    /// `None` if none is under way, and then `read` was not called. See
    /// [`Connection::receive_direct`](crate::Connection::receive_direct).
    #[inline]
    pub fn receive_direct<R>(
        &mut self,
        read: impl FnOnce(&mut PayloadBuffer, usize) -> R,
        workspace: &mut Workspace,
    ) -> Option<(R, Option<Event<'static>>)> {
        // Most often nothing is under way at all.
        if self.receiver.is_inside_message() { self.read_direct(read, workspace) } else { None }
    }

    fn read_direct<R>(
        &mut self,
        read: impl FnOnce(&mut PayloadBuffer, usize) -> R,
        workspace: &mut Workspace,
    ) -> Option<(R, Option<Event<'static>>)> {
        let (buffer, missing) = self.receiver.direct_buffer()?;
        // Inside a frame of data the input still matters: whatever ends that ends the frame, too.
        debug_assert!(match &self.phase {
            Phase::Closing(closing) => !closing.ignores_input(),
            phase => matches!(phase, Phase::Open),
        });
        let before = buffer.len();
        buffer.reuse(&mut workspace.pool, missing);
        let result = read(buffer, missing);
        if buffer.len() > before {
            self.timers.received(workspace.now(), &self.config.settings().timeouts);
        }
        let received = self.receiver.direct_received(before);
        Some((result, self.received(received, workspace)))
    }

    /// Makes an event of what the receiver found.
    #[inline]
    fn received<'i>(
        &mut self,
        received: Result<Option<Received<'i>>, ProtocolError>,
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        match received {
            Ok(Some(Received::Message(message))) => {
                self.timers.message_ended(workspace.now());
                Some(Event::Message(message))
            }
            Ok(Some(received)) => Some(self.handle(received, workspace)),
            Ok(None) => {
                self.note_progress(workspace.now());
                None
            }
            Err(error) => Some(self.fail(error, workspace)),
        }
    }

    /// Takes note of the message under way, if one is, after something has come that does not end it.
    fn note_progress(&mut self, now: Moment) {
        let under_way = self.receiver.progress();
        self.timers.message_goes_on(under_way, now, &self.config.settings().timeouts);
    }

    /// Takes note that the transport has ended, and says how the connection did. Drop the transport.
    ///
    /// The answer is the same however often it is asked for.
    pub fn receive_eof(&mut self) -> Outcome {
        match self.unfinished_rejection() {
            Some(outcome) => self.end_as(outcome),
            None => self.end(EndedBy::Transport(None)),
        }
    }

    /// A rejection whose body never came whole is a rejection all the same.
    fn unfinished_rejection(&mut self) -> Option<Outcome> {
        let Phase::Connecting(opening) = &mut self.phase else { return None };
        Some(Outcome::Rejected(Arc::new(opening.receive_eof()?)))
    }

    /// Takes note that the transport is dropped without further ado, and says how the connection
    /// ended. Nothing more is sent or received.
    pub fn abort(&mut self) -> Outcome {
        self.end(EndedBy::Transport(None))
    }

    /// Takes note that the transport has failed, and why, and says how the connection ended. Drop the
    /// transport. See [`Connection::abort_with`](crate::Connection::abort_with).
    pub fn abort_with(&mut self, cause: impl Into<Cause>) -> Outcome {
        match self.unfinished_rejection() {
            Some(outcome) => self.end_as(outcome),
            None => self.end(EndedBy::Transport(Some(cause.into()))),
        }
    }

    fn end(&mut self, by: EndedBy) -> Outcome {
        let outcome = match &self.phase {
            Phase::Closed(ended) => return ended.outcome.clone(),
            Phase::Closing(closing) => closing.outcome(self.buffered_amount(), by),
            _ => by.outcome(None, None),
        };
        self.end_as(outcome)
    }

    fn end_as(&mut self, outcome: Outcome) -> Outcome {
        let unsent = self.output_length();
        let is_silent = matches!(&self.phase, Phase::Connecting(opening) if opening.is_silent());
        (self.receiver, self.sender) = (Receiver::default(), Sender::default());
        self.output = None;
        // The time does not matter: no deadline runs in this phase.
        let now = Moment::START;
        self.enter(
            Phase::Closed(Box::new(Ended {
                outcome: outcome.clone(),
                unsent,
                is_silent,
                partial: None,
            })),
            now,
        );
        outcome
    }

    #[cold]
    fn handle<'i>(&mut self, received: Received<'i>, workspace: &mut Workspace) -> Event<'i> {
        match received {
            Received::Message(message) => {
                self.timers.message_ended(workspace.now());
                Event::Message(message)
            }
            Received::Fragment(fragment) => {
                if fragment.last {
                    self.timers.message_ended(workspace.now());
                } else {
                    self.note_progress(workspace.now());
                }
                Event::Fragment(fragment)
            }
            Received::Ping(payload) => {
                self.note_progress(workspace.now());
                // "MUST send a Pong frame in response, unless it already received a Close frame"
                // (RFC 6455 section 5.5.2); after our own Close nothing may follow.
                if self.settings().auto_pong && matches!(self.phase, Phase::Open) {
                    if self.is_congested() {
                        self.sender.hold_pong(&payload);
                    } else {
                        self.pong_or_finish(&payload, workspace);
                    }
                }
                Event::Ping(payload)
            }
            Received::Pong(payload) => {
                self.note_progress(workspace.now());
                self.timers.pong_received(&payload, workspace.now());
                Event::Pong(payload)
            }
            Received::Close(close) => {
                self.receive_close(close.clone(), workspace);
                Event::Close(close)
            }
        }
    }

    /// Answers a Ping, or gives the connection up if there is no entropy for that: the peer "MUST" have its
    /// Pong.
    fn pong_or_finish(&mut self, payload: &[u8], workspace: &mut Workspace) {
        if let Err(error) = self.pong(payload, workspace) {
            self.finish(lost(error), workspace.now());
        }
    }

    /// Answers the peer's Close with the same code and reason, or takes it as the answer to ours.
    fn receive_close(&mut self, close: CloseFrame, workspace: &mut Workspace) {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.received = Some(close);
            return;
        }
        let sent = self.queue_close(&close, workspace).is_ok().then(|| close.clone());
        let received = Some(close);
        let closing = Closing { sent, received, ..Closing::by(Initiator::Remote) };
        self.enter(Phase::Closing(Box::new(closing)), workspace.now());
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError, workspace: &mut Workspace) -> Event<'static> {
        if matches!(self.phase, Phase::Open) {
            self.sender.forget_waiting();
            let reason = error.to_string();
            let code = error.close_code();
            let close = CloseFrame::new(code, &reason)
                .or_else(|_| CloseFrame::new(code, ""))
                .unwrap_or_else(|_| CloseFrame::empty());
            // Fails without entropy for the masking key; then the transport ends without a Close.
            let _ = self.queue_close(&close, workspace);
        }
        self.finish(Outcome::Failed(error), workspace.now());
        Event::Failed(error)
    }

    /// Ends the conversation with this outcome: what is queued goes out, nothing more is received.
    fn finish(&mut self, verdict: Outcome, now: Moment) {
        self.finish_answered(verdict, Answered::default(), now);
    }

    fn finish_answered(&mut self, verdict: Outcome, answered: Answered, now: Moment) {
        self.receiver = Receiver::default();
        self.sender.forget_waiting();
        let verdict = Some(verdict);
        let closing = Closing { verdict, answered, ..Closing::by(Initiator::Local) };
        self.enter(Phase::Closing(Box::new(closing)), now);
    }

    /// The one place where the phase changes.
    fn enter(&mut self, mut phase: Phase, now: Moment) {
        if let Phase::Closing(_) | Phase::Closed(_) = &phase {
            let kept = match &mut self.phase {
                Phase::Connecting(opening) => opening.partial_request(),
                before => before.partial().and_then(Option::take),
            };
            phase.keep_partial(kept);
        }
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
        let is_open = matches!(self.phase, Phase::Open);
        self.timers.enter(is_open, now, &self.config.settings().timeouts);
        self.refresh_timers();
    }
}

/// The opening handshake.
impl Endpoint {
    fn receive_opening<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        let Phase::Connecting(opening) = &mut self.phase else { return None };
        let (used, step) = opening.receive(input, self.config.settings());
        *input = &mut mem::take(input)[used..];
        if used > 0 {
            self.timers.received(workspace.now(), &self.config.settings().timeouts);
        }
        match step {
            Step::Body { awaited } => {
                if awaited {
                    let timeouts = &self.config.settings().timeouts;
                    output(&mut self.output, &mut self.timers, timeouts, workspace)
                        .push_with(|bytes| bytes.extend_from_slice(CONTINUE));
                }
                self.receive_opening(input, workspace)
            }
            Step::Nothing => {
                if opening.note_rejection(workspace.now()) {
                    self.refresh_timers();
                }
                None
            }
            Step::Request(request) => {
                // The deadline of the handshake was for the client; from now on the application may take its time.
                self.timers.renew(workspace.now());
                self.refresh_timers();
                Some(Event::Request(request))
            }
            Step::Http(request) => Some(Event::Http(request)),
            Step::Unanswered => {
                self.answer(Response::upgrade_required(), None, workspace);
                None
            }
            Step::Open(opened, response) => {
                self.open(opened, workspace.now());
                Some(Event::Open(response))
            }
            Step::Rejected(response) => {
                self.finish(Outcome::Rejected(Arc::new(response)), workspace.now());
                None
            }
            Step::RequestFailed(error) => Some(self.refuse(error, workspace)),
            Step::ResponseFailed(error) => {
                let error = HandshakeError::Response(error);
                self.finish(Outcome::HandshakeFailed(error.clone()), workspace.now());
                Some(Event::HandshakeFailed(error))
            }
        }
    }

    /// Answers as the fault demands.
    fn refuse(&mut self, error: RequestError, workspace: &mut Workspace) -> Event<'static> {
        let response = self.settings().response_to(&error);
        let error = HandshakeError::Request(error);
        let outcome = Outcome::HandshakeFailed(error.clone());
        self.answer(response, Some(outcome), workspace);
        Event::HandshakeFailed(error)
    }

    fn open(&mut self, opened: Opened, now: Moment) {
        self.subprotocol = opened.subprotocol;
        self.compression = opened.compression;
        self.enter(Phase::Open, now);
    }

    /// Server: opens the connection that [`Event::Request`] asked for; the 101 is then in the output.
    ///
    /// # Errors
    ///
    /// As [`Connection::accept`](crate::Connection::accept).
    pub fn accept(
        &mut self,
        mut accept: Accept,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let Phase::Connecting(opening) = &mut self.phase else {
            return Err(SendError::NothingToAnswer);
        };
        let timeouts = &self.config.settings().timeouts;
        let output = output(&mut self.output, &mut self.timers, timeouts, workspace);
        let config = accept.take_config().unwrap_or_else(|| self.config.clone());
        let opened = opening.accept(accept, config.settings(), output)?;
        self.config = config;
        self.open(opened, workspace.now());
        Ok(())
    }

    /// Server: answers any request that waits with this response, in place of a 101. The connection then ends:
    /// it serves one request.
    ///
    /// # Errors
    ///
    /// As [`Connection::respond`](crate::Connection::respond).
    pub fn respond(
        &mut self,
        response: Response,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        match &self.phase {
            Phase::Connecting(opening) if opening.awaits_answer() => {}
            _ => return Err(SendError::NothingToAnswer),
        }
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        self.answer(response, None, workspace);
        Ok(())
    }

    /// Server: promises the answer to the plain request of [`Event::Http`] for later.
    ///
    /// # Errors
    ///
    /// As [`Connection::respond_later`](crate::Connection::respond_later).
    pub fn respond_later(&mut self, workspace: &mut Workspace) -> Result<(), SendError> {
        let Phase::Connecting(opening) = &mut self.phase else {
            return Err(SendError::NothingToAnswer);
        };
        if !opening.promise() {
            return Err(SendError::NothingToAnswer);
        }
        // The deadline of the handshake was for the client; from now on the application may take its time.
        self.timers.renew(workspace.now());
        self.refresh_timers();
        Ok(())
    }

    /// Server: trusts what [`Config::trusted_proxies`] say of clients, since the transport comes from one of them. To
    /// be called before anything is received; see [`Connection::trust_proxy`](crate::Connection::trust_proxy).
    pub fn trust_proxy(&mut self) {
        if let Phase::Connecting(opening) = &mut self.phase {
            opening.trust_proxy(self.config.settings());
        }
    }

    /// Server: takes what was read of a request that did not open the connection; `None` if nothing was read, or it
    /// was taken already.
    pub fn take_partial_request(&mut self) -> Option<PartialRequest> {
        self.phase.partial()?.take().map(|partial| *partial)
    }

    /// Server: sends this in place of the answer that was queued for a request at fault, right after
    /// [`Event::HandshakeFailed`] told of it.
    ///
    /// # Errors
    ///
    /// As [`Connection::answer_instead`](crate::Connection::answer_instead).
    pub fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        let Phase::Closing(closing) = &self.phase else { return Err(SendError::NothingToAnswer) };
        if !matches!(closing.verdict, Some(Outcome::HandshakeFailed(_))) {
            return Err(SendError::NothingToAnswer);
        }
        // Nothing of the answer has been sent, though a `100 Continue` may have been.
        let is_whole = self.left == 0 || self.left == CONTINUE.len() as u64;
        match &mut self.output {
            Some(output) if is_whole && output.chunks().next().is_some_and(begins_answer) => {
                output.clear();
                output.push_with(|bytes| closing.answered.encode(response, bytes));
                Ok(())
            }
            _ => Err(SendError::NothingToAnswer),
        }
    }

    fn answer(&mut self, response: Response, verdict: Option<Outcome>, workspace: &mut Workspace) {
        let mut answered = Answered { is_head: false, date: workspace.date() };
        match &self.phase {
            Phase::Connecting(opening) if opening.is_upgraded() => {
                self.close_upgraded(&response, workspace);
            }
            phase => {
                answered.is_head = matches!(phase, Phase::Connecting(opening) if opening.is_head());
                let timeouts = &self.config.settings().timeouts;
                output(&mut self.output, &mut self.timers, timeouts, workspace)
                    .push_with(|bytes| answered.encode(&response, bytes));
            }
        }
        let verdict = verdict.unwrap_or_else(|| Outcome::Rejected(Arc::new(response)));
        self.finish_answered(verdict, answered, workspace.now());
    }

    /// Says by a Close what cannot be said by an HTTP answer any more.
    fn close_upgraded(&mut self, response: &Response, workspace: &mut Workspace) {
        let code = match response.status() {
            503 => CloseCode::TRY_AGAIN_LATER,
            500..=599 => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::POLICY_VIOLATION,
        };
        let reason = format!("{} {}", response.status(), response.reason_phrase());
        let close = CloseFrame::new(code, &reason).or_else(|_| CloseFrame::new(code, ""));
        self.enter(Phase::Open, workspace.now());
        // Cannot fail: a server needs no entropy, and these codes may be sent.
        let _ = self.queue_close(&close.unwrap_or_else(|_| CloseFrame::empty()), workspace);
    }
}

/// What an application sends. The calls queue; they never write.
impl Endpoint {
    /// Queues a message, compressed where that was agreed on and the message reaches the threshold.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    #[inline]
    pub fn send<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        self.send_with(message, Compress::Threshold, workspace)
    }

    /// Queues a message, and says whether to compress it.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    #[inline]
    pub fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let message = message.into();
        // That is asked for a client, too; to ask here first saves it from looking at the message.
        if self.role == Role::Server
            && self.send_copied(message.kind(), message.as_bytes(), workspace)
        {
            Ok(())
        } else if self.compression.is_none() && self.sender.is_plain() {
            self.send_plain(message, workspace)
        } else {
            self.send_uncommon(message, compress, workspace)
        }
    }

    /// Queues a message that needs nothing but to be copied behind others: a server's, not too long, on an open
    /// connection without compression where nothing is unfinished. False where it is not as simple as that: nothing
    /// was queued then, and [`send`](Self::send) does what has to be done, or says why it cannot.
    ///
    /// A driver that asks this first need not hand a [`Message`] on for most of what it sends.
    ///
    /// ```
    /// use framewire::{Config, Endpoint, MessageKind, Role, Workspace};
    ///
    /// let mut endpoint = Endpoint::adopted(Role::Server, &Config::new());
    /// let mut workspace = Workspace::new();
    /// if !endpoint.send_copied(MessageKind::Text, b"hi", &mut workspace) {
    ///     endpoint.send("hi", &mut workspace)?;
    /// }
    /// assert!(endpoint.output().flatten().eq(b"\x81\x02hi"));
    /// # Ok::<(), framewire::SendError>(())
    /// ```
    #[inline]
    pub fn send_copied(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        workspace: &mut Workspace,
    ) -> bool {
        let is_simple = matches!(self.phase, Phase::Open)
            && self.role == Role::Server
            && self.compression.is_none()
            && self.sender.is_plain()
            && payload.len() < UNCOPIED
            && self.output_length() <= self.max_buffered_amount();
        if is_simple {
            let timeouts = &self.config.settings().timeouts;
            let output = output(&mut self.output, &mut self.timers, timeouts, workspace);
            let header = FrameHeader::new(kind.opcode(), payload.len() as u64);
            output.push_copied(header.first_byte(), payload);
            workspace.metrics.message_sent(kind);
        }
        is_simple
    }

    #[inline]
    fn send_plain(
        &mut self,
        message: Message<'_>,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let mut sink = self.common_sink(workspace)?;
        sink.compression = None;
        sink.plain_message(message)
    }

    #[cold]
    fn send_uncommon(
        &mut self,
        message: Message<'_>,
        compress: Compress,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink(workspace)?;
        sender.message(message, compress, sink)?;
        self.note_waiting();
        Ok(())
    }

    /// Queues a message that was encoded beforehand, sharing its bytes where they are many.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    pub fn send_prepared(
        &mut self,
        prepared: &Prepared,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        if self.role == Role::Server && self.sender.is_plain() {
            self.common_sink(workspace)?.prepared(prepared);
            return Ok(());
        }
        let (sender, sink) = self.message_sink(workspace)?;
        sender.prepared(prepared, sink)?;
        self.note_waiting();
        Ok(())
    }

    /// Queues a piece of a message in a frame of its own, compressed where that was agreed on.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_fragment`](crate::Connection::send_fragment).
    pub fn send_fragment(
        &mut self,
        fragment: Fragment<'_>,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        self.send_fragment_with(fragment, Compress::Threshold, workspace)
    }

    /// Queues a piece of a message in a frame of its own, and says whether to compress the message: the first
    /// piece decides.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_fragment`](crate::Connection::send_fragment).
    pub fn send_fragment_with(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink(workspace)?;
        sender.fragment(fragment, compress, sink)?;
        self.note_waiting();
        Ok(())
    }

    /// Queues a Ping with at most 125 bytes of payload, which the Pong repeats.
    ///
    /// # Errors
    ///
    /// As [`Connection::ping`](crate::Connection::ping).
    pub fn ping(&mut self, payload: &[u8], workspace: &mut Workspace) -> Result<(), SendError> {
        let (sender, sink) = self.sink(workspace)?;
        sender.control(Opcode::Ping, payload, sink)
    }

    /// Queues a Pong with at most 125 bytes of payload, asked for or not (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    ///
    /// As [`Connection::pong`](crate::Connection::pong).
    pub fn pong(&mut self, payload: &[u8], workspace: &mut Workspace) -> Result<(), SendError> {
        let (sender, sink) = self.sink(workspace)?;
        sender.control(Opcode::Pong, payload, sink)
    }

    /// Begins the closing handshake with a code and a reason of at most 123 bytes.
    ///
    /// # Errors
    ///
    /// As [`Connection::close`](crate::Connection::close).
    pub fn close(
        &mut self,
        code: impl Into<CloseCode>,
        reason: &str,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        self.begin_close(CloseFrame::new(code.into(), reason)?, workspace)
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// As [`Connection::close`](crate::Connection::close).
    pub fn close_without_code(&mut self, workspace: &mut Workspace) -> Result<(), SendError> {
        self.begin_close(CloseFrame::empty(), workspace)
    }

    fn begin_close(
        &mut self,
        close: CloseFrame,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        self.queue_close(&close, workspace)?;
        let closing = Closing { sent: Some(close), ..Closing::by(Initiator::Local) };
        self.enter(Phase::Closing(Box::new(closing)), workspace.now());
        Ok(())
    }

    fn queue_close(
        &mut self,
        close: &CloseFrame,
        workspace: &mut Workspace,
    ) -> Result<(), SendError> {
        let (sender, sink) = self.sink(workspace)?;
        sender.close(close, sink)
    }

    /// Where messages go, unless too much waits there already, while the sender is plain: nothing waits for the
    /// codec then.
    #[inline]
    fn common_sink<'c>(&'c mut self, workspace: &'c mut Workspace) -> Result<Sink<'c>, SendError> {
        if !matches!(self.phase, Phase::Open) {
            return self.sink(workspace).map(|(_, sink)| sink);
        }
        if self.output_length() > self.max_buffered_amount() {
            return Err(SendError::Full);
        }
        self.sink(workspace).map(|(_, sink)| sink)
    }

    /// Where messages go, unless too much waits there already.
    #[inline]
    fn message_sink<'c>(
        &'c mut self,
        workspace: &'c mut Workspace,
    ) -> Result<(&'c mut Sender, Sink<'c>), SendError> {
        if matches!(self.phase, Phase::Open) && self.is_full() {
            return Err(SendError::Full);
        }
        self.sink(workspace)
    }

    #[inline]
    fn sink<'c>(
        &'c mut self,
        workspace: &'c mut Workspace,
    ) -> Result<(&'c mut Sender, Sink<'c>), SendError> {
        match self.phase {
            Phase::Open => {}
            Phase::Connecting(_) => return Err(SendError::Connecting),
            Phase::Closing(_) => return Err(SendError::Closing),
            Phase::Closed(_) => return Err(SendError::Closed),
        }
        let timeouts = &self.config.settings().timeouts;
        let sink = Sink {
            role: self.role,
            output: output(&mut self.output, &mut self.timers, timeouts, workspace),
            compression: self.compression.as_deref_mut(),
            workspace,
        };
        Ok((&mut self.sender, sink))
    }
}

/// Bytes out.
impl Endpoint {
    /// The bytes to send, as slices in order: write them, together by a vectored write if there are
    /// several, and report how many went out to [`consume_output`](Self::consume_output).
    #[inline]
    pub fn output(&self) -> Chunks<'_> {
        self.output.as_deref().map_or_else(Chunks::none, Output::chunks)
    }

    /// Takes note that the first `count` bytes of the output were written. Look at
    /// [`wants_shutdown`](Self::wants_shutdown) next.
    #[inline]
    pub fn consume_output(&mut self, count: usize, workspace: &mut Workspace) {
        let settings = self.config.settings();
        // The common case: all is sent, and nothing has been waiting for that.
        if let Some(output) = &mut self.output
            && count >= output.len()
            && output.len() < settings.output_high_water
            && matches!(self.phase, Phase::Open)
            && self.timers.is_plain()
            && self.sender.is_plain()
        {
            self.left += output.len() as u64;
            if let Some(sent) = output.consume(count) {
                workspace.keep_buffer(sent);
            }
            if let Some(output) = self.output.take() {
                workspace.keep_output(output);
            }
            return;
        }
        self.consume_uncommon(count, workspace);
    }

    fn consume_uncommon(&mut self, count: usize, workspace: &mut Workspace) {
        let was_congested = self.is_congested();
        let Some(output) = &mut self.output else { return };
        let count = count.min(output.len());
        if let Some(sent) = output.consume(count) {
            workspace.keep_buffer(sent);
        }
        if count > 0 {
            self.left += count as u64;
            output.since = Some(workspace.now());
            let timeouts = &self.config.settings().timeouts;
            self.timers.output_left(self.left, workspace.now(), timeouts);
        }
        let rest = if output.len() > 0 { output.split_off_unsent().map(Box::new) } else { None };
        if output.len() == 0
            && let Some(emptied) = mem::replace(&mut self.output, rest)
        {
            workspace.keep_output(emptied);
        }
        if count > 0 && !matches!(self.phase, Phase::Open) {
            // The deadlines of these phases start with the last byte sent: only then can the peer answer or end.
            self.timers.renew(workspace.now());
            self.refresh_timers();
        }
        self.congestion_changes(was_congested, workspace);
        self.note_waiting();
    }

    /// Does what follows when the output, or what waits to get there, has become less, or may be more.
    fn congestion_changes(&mut self, was_congested: bool, workspace: &mut Workspace) {
        if was_congested {
            self.note_reading(workspace.now());
        }
        // In any other phase a Close was sent, and no Pong is owed.
        if !self.is_congested()
            && let Some(payload) = self.sender.take_held_pong()
            && matches!(self.phase, Phase::Open)
        {
            self.pong_or_finish(&payload, workspace);
        }
    }

    /// Compresses what waits, as far as the budget goes and the peer takes it.
    fn compress_waiting(&mut self, workspace: &mut Workspace) {
        let was_congested = self.is_congested();
        let settings = self.config.settings();
        let sink = Sink {
            role: self.role,
            output: output(&mut self.output, &mut self.timers, &settings.timeouts, workspace),
            compression: self.compression.as_deref_mut(),
            workspace,
        };
        if let Err(error) = self.sender.compress_waiting(settings.output_high_water.max(1), sink) {
            self.finish(lost(error), workspace.now());
        }
        self.congestion_changes(was_congested, workspace);
    }

    fn is_output_high(&self) -> bool {
        self.output_length() >= self.settings().output_high_water.max(1)
    }

    /// Whether to end the sending direction of the transport now, and go on reading until its end.
    ///
    /// A server does so when both Closes have passed, so that the peer can read the last one; either
    /// side does so after it failed the connection, or refused it. A client that has no fault to find
    /// waits for the server's end (RFC 6455 section 7.1.1), for
    /// [`Config::close_timeout`] at most.
    #[inline]
    pub fn wants_shutdown(&self) -> bool {
        let Phase::Closing(closing) = &self.phase else { return false };
        let finished = match self.role {
            Role::Server => closing.ignores_input(),
            Role::Client => closing.verdict.is_some(),
        };
        finished && self.buffered_amount() == 0
    }
}

/// Time.
impl Endpoint {
    /// Tells the time, and does what is due; see
    /// [`Connection::handle_timeout`](crate::Connection::handle_timeout).
    #[inline]
    pub fn handle_timeout(
        &mut self,
        now: Duration,
        workspace: &mut Workspace,
    ) -> Option<Event<'static>> {
        self.before_time(workspace);
        workspace.set_time(now);
        if self.timers.may_be_due(workspace.now()) { self.expire(workspace) } else { None }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, if nothing else happens, by the
    /// clock of that call; `None` for never. It may be earlier than anything is due, and long past: then in the
    /// next turn.
    #[inline]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Tells the connection that the driver does not read from the transport until [`resume`](Self::resume):
    /// meanwhile no deadline runs that asks something of what the peer sends.
    pub fn pause(&mut self, workspace: &mut Workspace) {
        self.timers.set_paused(true);
        self.note_reading(workspace.now());
    }

    /// Tells the connection that the driver reads again.
    pub fn resume(&mut self, workspace: &mut Workspace) {
        if self.timers.is_paused() {
            self.timers.set_paused(false);
            self.note_reading(workspace.now());
        }
    }

    /// To be called before the time goes on: if the output has grown to where nothing is read, that is so from
    /// now on.
    #[inline]
    pub(super) fn before_time(&mut self, workspace: &Workspace) {
        if !self.timers.is_plain() && self.is_congested() {
            self.timers.reading_stops(workspace.now());
        }
    }

    /// Whether reading is [paused](Self::pause).
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.timers.is_paused()
    }

    /// Shortens the Ping interval and the maximum lifetime by a part that differs with the seed; see
    /// [`Connection::seed`](crate::Connection::seed).
    pub fn seed(&mut self, seed: u64) {
        self.timers.seed(seed);
        self.refresh_timers();
    }

    /// The round-trip time of the last automatic Ping that was answered, from when it had left to when its Pong was
    /// received, to the precision of the driver's clock; `None` before the first one.
    #[inline]
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.timers.round_trip_time()
    }

    fn awaited_event(&self) -> AwaitedEvent {
        match &self.phase {
            Phase::Connecting(opening) if opening.awaits_decision() => AwaitedEvent::Decision,
            Phase::Connecting(opening) => {
                opening.rejected().map_or(AwaitedEvent::Handshake, AwaitedEvent::Rejection)
            }
            Phase::Open if self.timers.is_paused() || self.is_congested() => AwaitedEvent::Nothing,
            Phase::Open => AwaitedEvent::Messages,
            Phase::Closing(_) if self.sender.is_waiting() => AwaitedEvent::Codec,
            Phase::Closing(_) => AwaitedEvent::End,
            Phase::Closed(_) => AwaitedEvent::Closed,
        }
    }

    /// The driver has begun to read or ceased to, or may have.
    fn note_reading(&mut self, now: Moment) {
        if self.timers.is_paused() || self.is_congested() {
            self.timers.reading_stops(now);
        } else {
            self.timers.reading_resumes(now);
            self.refresh_timers();
        }
    }

    /// Since when output waits without progress.
    fn output_since(&self) -> Option<Moment> {
        self.output.as_deref().filter(|output| output.len() > 0)?.since
    }

    fn refresh_timers(&mut self) {
        let (waiting, since) = (self.awaited_event(), self.output_since());
        self.timers.refresh(&self.config.settings().timeouts, waiting, since);
        self.note_waiting();
    }

    /// What waits for the codec has its turn when the next one begins.
    fn note_waiting(&mut self) {
        if self.sender.is_waiting() && !self.is_output_high() {
            self.timers.make_due();
        }
    }

    #[cold]
    fn expire(&mut self, workspace: &mut Workspace) -> Option<Event<'static>> {
        if self.sender.is_waiting() {
            self.compress_waiting(workspace);
        }
        let event = self.expire_all(workspace);
        self.note_waiting();
        event
    }

    fn expire_all(&mut self, workspace: &mut Workspace) -> Option<Event<'static>> {
        if self.timers.start(workspace.now())
            && let Some(output) = &mut self.output
        {
            output.since = Some(workspace.now());
        }
        self.timers.settle_heard(workspace.now(), &self.config.settings().timeouts);
        // Several deadlines may be due; the bound is for one that is due again at once.
        for _ in 0..10 {
            let (waiting, since) = (self.awaited_event(), self.output_since());
            let due = self.timers.due(
                workspace.now(),
                &self.config.settings().timeouts,
                waiting,
                since,
            )?;
            let event = self.expire_one(due, workspace);
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn expire_one(
        &mut self,
        due: TimeoutKind,
        workspace: &mut Workspace,
    ) -> Option<Event<'static>> {
        match due {
            TimeoutKind::Ping => {
                let payload = self.timers.next_ping();
                match self.ping(&payload, workspace) {
                    Ok(()) => self.timers.ping_queued(self.queued(), workspace.now()),
                    // Fails without entropy for the masking key.
                    Err(_) => self.timers.ping_failed(workspace.now()),
                }
                None
            }
            TimeoutKind::Idle => self.go_away("idle timeout", workspace),
            TimeoutKind::Lifetime => self.go_away("maximum lifetime reached", workspace),
            TimeoutKind::FirstMessage | TimeoutKind::Message => {
                Some(self.fail(ProtocolError::Timeout(due), workspace))
            }
            TimeoutKind::Handshake | TimeoutKind::Rejection => {
                if let Some(outcome) = self.unfinished_rejection() {
                    self.end_as(outcome);
                    return None;
                }
                let error = match self.role {
                    Role::Server => HandshakeError::Request(RequestError::Timeout),
                    Role::Client => HandshakeError::Response(ResponseError::Timeout),
                };
                self.end_as(Outcome::HandshakeFailed(error.clone()));
                Some(Event::HandshakeFailed(error))
            }
            TimeoutKind::Decision => {
                let error = RequestError::DecisionTimeout;
                if matches!(&self.phase, Phase::Connecting(opening) if opening.is_plain()) {
                    self.answer(Response::from(&error), None, workspace);
                    return None;
                }
                Some(self.refuse(error, workspace))
            }
            TimeoutKind::Pong | TimeoutKind::Write | TimeoutKind::Close => {
                self.end(EndedBy::Timeout(due));
                None
            }
        }
    }

    fn go_away(&mut self, reason: &str, workspace: &mut Workspace) -> Option<Event<'static>> {
        if let Err(error) = self.close(CloseCode::GOING_AWAY, reason, workspace) {
            // There is no entropy for a Close.
            self.abort_with(error);
        }
        None
    }
}

/// How a connection ends that cannot send what it owes to its peer: there is no entropy for it.
fn lost(error: impl Into<SendError>) -> Outcome {
    EndedBy::Transport(Some(error.into().into())).outcome(None, None)
}

/// What a client may wait for before it sends a body (RFC 9110 section 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether this is the whole or the front part of an answer, and not a Close.
fn begins_answer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 ")
}

/// The output to append to; if nothing waits in it, it begins to wait now.
#[inline]
fn output<'o>(
    output: &'o mut Option<Box<Output>>,
    timers: &mut Timers,
    timeouts: &Timeouts,
    workspace: &mut Workspace,
) -> &'o mut Output {
    let output = output.get_or_insert_with(|| workspace.take_output());
    if output.len() == 0 {
        output.since = Some(workspace.now());
        timers.output_begins(workspace.now(), timeouts);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{HeadLimits, RequestParts, Url};

    const MESSAGE: [u8; 98] = [7; 98];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A server whose connection was opened at 0, with nothing to do but what the settings say.
    fn open(config: &Config) -> (Endpoint, Workspace) {
        let mut workspace = Workspace::new();
        let mut endpoint = Endpoint::adopted(Role::Server, config);
        assert_eq!(endpoint.handle_timeout(at(0), &mut workspace), None);
        (endpoint, workspace)
    }

    fn quiet() -> Config {
        Config::new().ping_interval(None).write_timeout(None)
    }

    fn receive<'i>(
        endpoint: &mut Endpoint,
        mut input: &'i mut [u8],
        workspace: &mut Workspace,
    ) -> Option<Event<'i>> {
        endpoint.receive(&mut input, workspace)
    }

    fn output(endpoint: &Endpoint) -> Vec<u8> {
        endpoint.output().flatten().copied().collect()
    }

    fn request(method: &str) -> Vec<u8> {
        format!(
            "{method} / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn an_output_that_is_as_long_as_it_may_be_takes_one_more_message() {
        let prepared = Prepared::new(&MESSAGE[..]);
        let (mut endpoint, mut workspace) = open(&Config::new().max_buffered_amount(100));
        assert_eq!(endpoint.config().settings().max_buffered_amount, 100);
        endpoint.send_prepared(&prepared, &mut workspace).unwrap();
        assert!(!endpoint.is_full());
        endpoint.send_prepared(&prepared, &mut workspace).unwrap();
        assert!(endpoint.is_full());
        let full = endpoint.send_prepared(&prepared, &mut workspace);
        assert_eq!(full, Err(SendError::Full));
    }

    #[test]
    fn silence_counts_from_when_reading_goes_on() {
        let config = Config::new().output_high_water(100).output_low_water(0);
        for (length, due) in [(97, 20), (98, 35)] {
            let (mut endpoint, mut workspace) = open(&config);
            endpoint.send(&MESSAGE[..length], &mut workspace).unwrap();
            assert_eq!(endpoint.is_congested(), length == 98);
            assert_eq!(endpoint.handle_timeout(at(15), &mut workspace), None);
            endpoint.consume_output(usize::MAX, &mut workspace);
            assert_eq!(endpoint.next_timeout(), Some(at(due)), "{length}");
        }
    }

    #[test]
    fn what_is_left_of_a_long_output_moves_and_its_buffer_serves_others() {
        let config = Config::new().output_high_water(10_000).output_low_water(0);
        for left in [0, 10] {
            let (mut first, mut workspace) = open(&config);
            let (mut second, _) = open(&config);
            for _ in 0..4 {
                first.send(&[1; 5000], &mut workspace).unwrap();
            }
            let place = first.output().next().unwrap().as_ptr();
            let all = output(&first);
            first.consume_output(all.len() - left, &mut workspace);
            assert_eq!(output(&first), all[all.len() - left..]);
            assert_eq!(first.output.is_some(), left > 0);
            second.send("x", &mut workspace).unwrap();
            assert_eq!(second.output().next().unwrap().as_ptr(), place);
        }
    }

    #[test]
    fn what_leaves_puts_off_the_handshake_and_nothing_once_it_is_over() {
        let mut workspace = Workspace::with_entropy(|bytes: &mut [u8]| bytes.fill(7));
        let request = ClientRequest::new(&Url::parse("ws://example.com/").unwrap());
        let config = quiet().handshake_timeout(at(10)).max_lifetime(at(60));
        let mut client = Endpoint::client(request, &config, &mut workspace).unwrap();
        client.handle_timeout(at(0), &mut workspace);
        for (now, count, due) in [(2, 1, 12), (4, 0, 12), (6, 1, 16)] {
            client.handle_timeout(at(now), &mut workspace);
            client.consume_output(count, &mut workspace);
            assert_eq!(client.next_timeout(), Some(at(due)), "{now}");
        }

        let (mut server, mut workspace) = open(&config);
        server.send("text", &mut workspace).unwrap();
        server.handle_timeout(at(50), &mut workspace);
        server.consume_output(1, &mut workspace);
        server.handle_timeout(at(60), &mut workspace);
        assert_eq!(server.state(), State::Closing);
    }

    #[test]
    fn output_holds_up_the_peer_where_it_is_congested_and_nowhere_else() {
        let config = quiet().idle_timeout(at(60)).output_high_water(100).output_low_water(0);
        let (mut endpoint, mut workspace) = open(&config);
        endpoint.send("a little", &mut workspace).unwrap();
        for now in [10, 20] {
            endpoint.handle_timeout(at(now), &mut workspace);
        }
        endpoint.consume_output(usize::MAX, &mut workspace);
        endpoint.handle_timeout(at(50), &mut workspace);
        endpoint.send(&MESSAGE[..], &mut workspace).unwrap();
        endpoint.handle_timeout(at(55), &mut workspace);
        endpoint.consume_output(usize::MAX, &mut workspace);
        assert_eq!(endpoint.next_timeout(), Some(at(65)));
    }

    #[test]
    fn an_answer_that_was_not_given_does_not_wait_to_be_sent() {
        let config = Config::new().decision_timeout(None);
        let (mut server, mut workspace) = (Endpoint::server(&config), Workspace::new());
        server.handle_timeout(at(0), &mut workspace);
        let mut bytes = request("GET");
        assert!(receive(&mut server, &mut bytes, &mut workspace).is_some());
        let accept = Accept::new().subprotocol("not offered");
        assert!(server.accept(accept, &mut workspace).is_err());
        for now in [30, 40, 50, 60] {
            assert_eq!(server.handle_timeout(at(now), &mut workspace), None);
            assert_eq!(server.state(), State::Connecting);
        }
        server.accept(Accept::new(), &mut workspace).unwrap();
    }

    /// A server whose request has come after a second, and which is open since the third.
    fn open_since_the_third_second() -> (Endpoint, Workspace) {
        let (mut server, mut workspace) = (Endpoint::server(&Config::new()), Workspace::new());
        server.handle_timeout(at(0), &mut workspace);
        server.handle_timeout(at(1), &mut workspace);
        let mut bytes = request("GET");
        assert!(receive(&mut server, &mut bytes, &mut workspace).is_some());
        server.handle_timeout(at(3), &mut workspace);
        assert!(receive(&mut server, &mut [], &mut workspace).is_none());
        server.accept(Accept::new(), &mut workspace).unwrap();
        server.consume_output(usize::MAX, &mut workspace);
        (server, workspace)
    }

    #[test]
    fn the_peer_was_last_heard_when_bytes_came() {
        let (mut server, mut workspace) = open_since_the_third_second();
        // Whatever is read straight into the payload counts, and an attempt to read does not.
        let mut header = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        server.handle_timeout(at(4), &mut workspace);
        assert!(receive(&mut server, &mut header, &mut workspace).is_none());
        for (now, bytes) in [(6, &b"payload"[..]), (8, b"")] {
            server.handle_timeout(at(now), &mut workspace);
            let read = |payload: &mut PayloadBuffer, _| payload.append(bytes);
            assert_eq!(server.receive_direct(read, &mut workspace), Some(((), None)));
        }
        server.handle_timeout(at(25), &mut workspace);
        assert_eq!((server.next_timeout(), output(&server)), (Some(at(26)), Vec::new()));
    }

    #[test]
    fn the_clock_begins_with_the_bytes_of_the_request() {
        let (mut server, mut workspace) = open_since_the_third_second();
        server.handle_timeout(at(20), &mut workspace);
        assert_eq!((server.next_timeout(), output(&server)), (Some(at(21)), Vec::new()));
    }

    #[test]
    fn a_closing_connection_reads_a_long_message_directly_too() {
        let (mut server, mut workspace) = open(&Config::new());
        let mut header = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert!(receive(&mut server, &mut header, &mut workspace).is_none());
        server.close(CloseCode::NORMAL, "", &mut workspace).unwrap();
        let read = |payload: &mut PayloadBuffer, missing| payload.append(&vec![7; missing]);
        let came = server.receive_direct(read, &mut workspace);
        assert_eq!(came, Some(((), Some(Event::Message(Message::from(vec![7; 1 << 16]))))));
    }

    #[test]
    fn another_answer_keeps_to_the_request_and_the_date() {
        let config = Config::new().hosts(["elsewhere.example"]);
        for (method, body) in [("GET", "\r\n\r\nnobody"), ("HEAD", "\r\n\r\n")] {
            let (mut server, mut workspace) = (Endpoint::server(&config), Workspace::new());
            workspace.set_date(Some(HttpDate::since_1970(Duration::ZERO)));
            let mut bytes =
                format!("{method} / HTTP/1.1\r\nHost: example.com\r\n\r\n").into_bytes();
            let event = receive(&mut server, &mut bytes, &mut workspace);
            assert!(matches!(event, Some(Event::HandshakeFailed(_))), "{event:?}");
            server.answer_instead(&Response::text("nobody")).unwrap();
            let answer = String::from_utf8(output(&server)).unwrap();
            assert!(answer.contains("\r\nDate: Thu, 01 Jan 1970"), "{answer}");
            assert!(answer.ends_with(body), "{answer}");
        }
    }

    #[test]
    fn the_answer_to_a_head_request_at_fault_has_no_body() {
        for (method, has_body) in [("GET", true), ("HEAD", false)] {
            let (mut server, mut workspace) = (Endpoint::server(&Config::new()), Workspace::new());
            let mut bytes = format!("{method} / HTTP/1.1\r\nno header\r\n\r\n").into_bytes();
            let event = receive(&mut server, &mut bytes, &mut workspace);
            assert!(matches!(event, Some(Event::HandshakeFailed(_))), "{event:?}");
            let answer = String::from_utf8(output(&server)).unwrap();
            assert_ne!(answer.ends_with("\r\n\r\n"), has_body, "{answer}");
        }
    }

    #[test]
    fn a_close_is_not_answered_over() {
        let parts = RequestParts::new("GET", "/").unwrap();
        let fields = [
            ("Host", "example.com"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        let add = |parts: RequestParts, (name, value)| parts.header(name, value).unwrap();
        let request = fields.into_iter().fold(parts, add).read(HeadLimits::default()).unwrap();
        let config = Config::new().decision_timeout(at(5));
        let mut server = Endpoint::upgraded(Upgraded::new(request), &config);
        let mut workspace = Workspace::new();
        server.handle_timeout(at(0), &mut workspace);
        assert!(receive(&mut server, &mut [], &mut workspace).is_some());
        let event = server.handle_timeout(at(5), &mut workspace);
        assert!(matches!(event, Some(Event::HandshakeFailed(_))), "{event:?}");
        let close = output(&server);
        assert_eq!(close[0], 0x88);
        let answer = server.answer_instead(&Response::new(400));
        assert_eq!((answer, output(&server)), (Err(SendError::NothingToAnswer), close));
    }

    #[test]
    fn a_connection_is_silent_until_a_byte_comes() {
        for (bytes, is_silent) in [(&b""[..], true), (b"G", false)] {
            let (mut server, mut workspace) = (Endpoint::server(&Config::new()), Workspace::new());
            assert!(receive(&mut server, &mut bytes.to_vec(), &mut workspace).is_none());
            server.receive_eof();
            assert_eq!(server.ended_in_silence(), is_silent);
            assert_eq!(server.take_partial_request().is_none(), is_silent);
        }
    }

    /// The same with permessage-deflate.
    #[cfg(feature = "deflate")]
    fn compressing(config: &Config) -> (Endpoint, Workspace) {
        use crate::deflate::{DeflateConfig, DeflateParams};
        let (mut endpoint, workspace) = open(config);
        let compression =
            Compression::new(DeflateParams::default(), Role::Server, &DeflateConfig::new());
        endpoint.compression = Some(Box::new(compression));
        (endpoint, workspace)
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn what_waits_for_the_codec_asks_for_no_turn_while_the_output_is_high() {
        let (mut endpoint, mut workspace) =
            compressing(&quiet().output_high_water(100).output_low_water(0));
        endpoint.send_with(&MESSAGE[..], Compress::Never, &mut workspace).unwrap();
        workspace.set_codec_budget(0);
        endpoint.send_with(&MESSAGE[..], Compress::Always, &mut workspace).unwrap();
        workspace.set_codec_budget(None);
        for now in 1..4 {
            endpoint.handle_timeout(at(now), &mut workspace);
            assert_eq!((endpoint.next_timeout(), output(&endpoint).len()), (None, 100));
        }
        endpoint.consume_output(usize::MAX, &mut workspace);
        assert_eq!(endpoint.next_timeout(), Some(at(0)));
        endpoint.handle_timeout(at(4), &mut workspace);
        assert_eq!(output(&endpoint)[0], 0xc2);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn what_waits_for_the_codec_holds_up_the_peer_where_nothing_is_in_the_output() {
        let config = quiet().idle_timeout(at(60)).output_low_water(0);
        let (mut endpoint, mut workspace) = compressing(&config);
        workspace.set_codec_budget(0);
        endpoint.send_with(&MESSAGE[..], Compress::Always, &mut workspace).unwrap();
        endpoint.consume_output(0, &mut workspace);
        // It is too much from now on, so that nothing is read until it has gone to the output.
        endpoint.set_config(config.output_high_water(100), &mut workspace);
        endpoint.handle_timeout(at(10), &mut workspace);
        workspace.set_codec_budget(None);
        endpoint.handle_timeout(at(50), &mut workspace);
        assert_eq!((output(&endpoint)[0], endpoint.next_timeout()), (0xc2, Some(at(110))));
    }
}
