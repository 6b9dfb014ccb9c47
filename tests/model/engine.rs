//! The engine by either of its faces.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use framewire::deflate::Codec;
use framewire::handshake::ClientRequest;
use framewire::{
    Accept, Compress, Config, Connection, Endpoint, Entropy, EntropyError, Event, Fragment,
    Fragments, Message, Metrics, Outcome, PayloadBuffer, Prepared, Response, Role, SendError,
    Upgraded, Workspace,
};

use super::random::{Draw, Random};

/// The workspace of several endpoints.
pub(crate) type Shared = Rc<RefCell<Workspace>>;

/// A connection, or an endpoint with a workspace that another one uses too.
pub(crate) enum Engine {
    Alone(Connection),
    Shared(Endpoint, Shared),
}

macro_rules! call {
    ($engine:expr, $method:ident($($argument:expr),*)) => {
        match $engine {
            Engine::Alone(connection) => connection.$method($($argument),*),
            Engine::Shared(endpoint, workspace) => {
                endpoint.$method($($argument,)* &mut workspace.borrow_mut())
            }
        }
    };
}

impl Deref for Engine {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        match self {
            Self::Alone(connection) => connection,
            Self::Shared(endpoint, _) => endpoint,
        }
    }
}

impl Engine {
    pub(crate) fn server(config: &Config, shared: Option<&Shared>) -> Self {
        match shared {
            None => Self::Alone(Connection::server(config)),
            Some(workspace) => Self::Shared(Endpoint::server(config), Rc::clone(workspace)),
        }
    }

    pub(crate) fn upgraded(upgraded: Upgraded, config: &Config, shared: Option<&Shared>) -> Self {
        match shared {
            None => Self::Alone(Connection::upgraded(upgraded, config)),
            Some(workspace) => {
                Self::Shared(Endpoint::upgraded(upgraded, config), Rc::clone(workspace))
            }
        }
    }

    pub(crate) fn adopted(
        role: Role,
        config: &Config,
        entropy: Source,
        shared: Option<&Shared>,
    ) -> Self {
        match (shared, role) {
            (None, Role::Client) => Self::Alone(Connection::adopted_client(config, entropy)),
            (None, Role::Server) => Self::Alone(Connection::adopted_server(config)),
            (Some(workspace), _) => {
                Self::Shared(Endpoint::adopted(role, config), Rc::clone(workspace))
            }
        }
    }

    pub(crate) fn client(
        request: ClientRequest,
        config: &Config,
        entropy: Source,
        shared: Option<&Shared>,
    ) -> Result<Self, EntropyError> {
        Ok(match shared {
            None => Self::Alone(Connection::client(request, config, entropy)?),
            Some(workspace) => {
                let endpoint = Endpoint::client(request, config, &mut workspace.borrow_mut())?;
                Self::Shared(endpoint, Rc::clone(workspace))
            }
        })
    }

    pub(crate) fn take_metrics(&mut self) -> Metrics {
        match self {
            Self::Alone(connection) => connection.as_parts_mut().1.take_metrics(),
            Self::Shared(_, workspace) => workspace.borrow_mut().take_metrics(),
        }
    }

    /// Every compressor has to be made anew for each message.
    pub(crate) fn keep_no_compressor(&mut self) {
        match self {
            Self::Alone(connection) => {
                *connection.as_parts_mut().1.codec_mut() = Codec::with_live_budget(0);
            }
            Self::Shared(_, workspace) => {
                *workspace.borrow_mut().codec_mut() = Codec::with_live_budget(0);
            }
        }
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        match self {
            Self::Alone(connection) => connection.seed(seed),
            Self::Shared(endpoint, _) => endpoint.seed(seed),
        }
    }

    pub(crate) fn set_config(&mut self, config: Config) {
        call!(self, set_config(config));
    }

    pub(crate) fn set_time(&mut self, now: Duration) {
        match self {
            Self::Alone(connection) => connection.set_time(now),
            Self::Shared(_, workspace) => workspace.borrow_mut().set_time(now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) -> Option<Event<'static>> {
        call!(self, handle_timeout(now))
    }

    pub(crate) fn pause(&mut self) {
        call!(self, pause());
    }

    pub(crate) fn resume(&mut self) {
        call!(self, resume());
    }

    pub(crate) fn receive<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        call!(self, receive(input))
    }

    pub(crate) fn receive_direct<R>(
        &mut self,
        read: impl FnOnce(&mut PayloadBuffer, usize) -> R,
    ) -> Option<(R, Option<Event<'static>>)> {
        call!(self, receive_direct(read))
    }

    pub(crate) fn receive_eof(&mut self) -> Outcome {
        match self {
            Self::Alone(connection) => connection.receive_eof(),
            Self::Shared(endpoint, _) => endpoint.receive_eof(),
        }
    }

    pub(crate) fn abort(&mut self) -> Outcome {
        match self {
            Self::Alone(connection) => connection.abort(),
            Self::Shared(endpoint, _) => endpoint.abort(),
        }
    }

    pub(crate) fn accept(&mut self, accept: Accept) -> Result<(), SendError> {
        call!(self, accept(accept))
    }

    pub(crate) fn reject(&mut self, response: Response) -> Result<(), SendError> {
        match self {
            Self::Alone(connection) => connection.reject(response),
            Self::Shared(endpoint, workspace) => {
                endpoint.respond(response, &mut workspace.borrow_mut())
            }
        }
    }

    pub(crate) fn respond(&mut self, response: Response) -> Result<(), SendError> {
        call!(self, respond(response))
    }

    pub(crate) fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        match self {
            Self::Alone(connection) => connection.answer_instead(response),
            Self::Shared(endpoint, _) => endpoint.answer_instead(response),
        }
    }

    pub(crate) fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        call!(self, send(message))
    }

    pub(crate) fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
    ) -> Result<(), SendError> {
        call!(self, send_with(message, compress))
    }

    pub(crate) fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        call!(self, send_prepared(prepared))
    }

    pub(crate) fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), SendError> {
        call!(self, send_fragment(fragment))
    }

    pub(crate) fn send_fragment_with(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
    ) -> Result<(), SendError> {
        call!(self, send_fragment_with(fragment, compress))
    }

    pub(crate) fn set_fragments(&mut self, fragments: Fragments) {
        match self {
            Self::Alone(connection) => connection.set_fragments(fragments),
            Self::Shared(endpoint, _) => endpoint.set_fragments(fragments),
        }
    }

    pub(crate) fn set_codec_budget(&mut self, bytes: Option<usize>) {
        match self {
            Self::Alone(connection) => connection.as_parts_mut().1.set_codec_budget(bytes),
            Self::Shared(_, workspace) => workspace.borrow_mut().set_codec_budget(bytes),
        }
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        call!(self, ping(payload))
    }

    pub(crate) fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        call!(self, pong(payload))
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Result<(), SendError> {
        call!(self, close(code, reason))
    }

    pub(crate) fn close_without_code(&mut self) -> Result<(), SendError> {
        call!(self, close_without_code())
    }

    pub(crate) fn consume_output(&mut self, count: usize) {
        call!(self, consume_output(count));
    }
}

/// What an engine drew: the bytes, or `None` where the source failed.
pub(crate) type Draws = VecDeque<Option<Vec<u8>>>;

/// A source of entropy that tells what it gave, and fails when it is told to.
#[derive(Clone)]
pub(crate) struct Source(Arc<Mutex<Tap>>);

struct Tap {
    random: Random,
    draws: Draws,
    /// The how manieth draw from now on fails; 0 for none.
    fails: usize,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        Self(Arc::new(Mutex::new(Tap { random, draws: Draws::new(), fails: 0 })))
    }

    fn tap(&self) -> MutexGuard<'_, Tap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the draw fail that comes after so many others.
    pub(crate) fn fail_after(&self, others: usize) {
        self.tap().fails = others + 1;
    }

    pub(crate) fn take_draws(&self) -> Draws {
        std::mem::take(&mut self.tap().draws)
    }
}

impl Entropy for Source {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut tap = self.tap();
        if tap.fails > 0 {
            tap.fails -= 1;
            if tap.fails == 0 {
                tap.draws.push_back(None);
                return Err(EntropyError::default());
            }
        }
        for byte in bytes.iter_mut() {
            *byte = tap.random.byte();
        }
        tap.draws.push_back(Some(bytes.to_vec()));
        Ok(())
    }
}
