mod answering;
mod creating;
mod expiring;
mod sending;

use std::borrow::Cow;
use std::sync::Arc;

use crate::wire::{CloseFrame, validate_utf8};

use super::compression::Compression;
use super::config::{Config, Settings};
use super::deadlines::Timeouts;
use super::error::ProtocolError;
use super::event::{Event, Initiator, Outcome, Role, State};
use super::gathered::Gathered;
use super::message::{Message, MessageKind};
use super::opening::Opening;
use super::output::Output;
use super::receiver::{Context, Received, Receiver};
use super::sender::Sender;
use super::spares::Spares;
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
    #[inline]
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
