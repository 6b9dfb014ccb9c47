use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use framewire::handshake::ClientRequest;
use framewire::{
    Accept, CloseCode, Compress, Config, Connection, Endpoint, Entropy, EntropyError, Event,
    Fragment, Fragments, Message, Outcome, PayloadBuffer, Prepared, Response, Role, SendError,
    Workspace,
};

/// The workspace of several endpoints, each of which is served in turn.
pub type SharedWorkspace = Rc<RefCell<Workspace>>;

/// A connection by either face of the engine, so that one program drives both.
pub enum Engine {
    /// A connection with a workspace of its own.
    Alone(Connection),
    /// An endpoint, and the workspace that others use too.
    Shared(Endpoint, SharedWorkspace),
}

/// The same call of either face: the second takes the workspace as its last argument.
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
    pub fn server(config: &Config, shared: Option<&SharedWorkspace>) -> Self {
        match shared {
            None => Self::Alone(Connection::server(config)),
            Some(workspace) => Self::Shared(Endpoint::server(config), Rc::clone(workspace)),
        }
    }

    /// A shared workspace has its own source of entropy, and `entropy` is not asked.
    pub fn client(
        request: ClientRequest,
        config: &Config,
        entropy: impl Entropy + Send + 'static,
        shared: Option<&SharedWorkspace>,
    ) -> Result<Self, EntropyError> {
        Ok(match shared {
            None => Self::Alone(Connection::client(request, config, entropy)?),
            Some(workspace) => {
                let endpoint = Endpoint::client(request, config, &mut workspace.borrow_mut())?;
                Self::Shared(endpoint, Rc::clone(workspace))
            }
        })
    }

    pub fn adopted(role: Role, config: &Config, workspace: &SharedWorkspace) -> Self {
        Self::Shared(Endpoint::adopted(role, config), Rc::clone(workspace))
    }

    pub fn seed(&mut self, seed: u64) {
        match self {
            Self::Alone(connection) => connection.seed(seed),
            Self::Shared(endpoint, _) => endpoint.seed(seed),
        }
    }

    pub fn set_config(&mut self, config: Config) {
        call!(self, set_config(config))
    }

    pub fn set_fragments(&mut self, fragments: Fragments) {
        match self {
            Self::Alone(connection) => connection.set_fragments(fragments),
            Self::Shared(endpoint, _) => endpoint.set_fragments(fragments),
        }
    }

    pub fn set_codec_budget(&mut self, bytes: Option<usize>) {
        match self {
            Self::Alone(connection) => connection.as_parts_mut().1.set_codec_budget(bytes),
            Self::Shared(_, workspace) => workspace.borrow_mut().set_codec_budget(bytes),
        }
    }

    pub fn set_time(&mut self, now: Duration) {
        match self {
            Self::Alone(connection) => connection.set_time(now),
            Self::Shared(_, workspace) => workspace.borrow_mut().set_time(now),
        }
    }

    pub fn handle_timeout(&mut self, now: Duration) -> Option<Event<'static>> {
        call!(self, handle_timeout(now))
    }

    pub fn pause(&mut self) {
        call!(self, pause())
    }

    pub fn resume(&mut self) {
        call!(self, resume())
    }

    pub fn receive<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        call!(self, receive(input))
    }

    pub fn receive_direct<R>(
        &mut self,
        read: impl FnOnce(&mut PayloadBuffer, usize) -> R,
    ) -> Option<(R, Option<Event<'static>>)> {
        call!(self, receive_direct(read))
    }

    pub fn receive_eof(&mut self) -> Outcome {
        match self {
            Self::Alone(connection) => connection.receive_eof(),
            Self::Shared(endpoint, _) => endpoint.receive_eof(),
        }
    }

    pub fn abort(&mut self) -> Outcome {
        match self {
            Self::Alone(connection) => connection.abort(),
            Self::Shared(endpoint, _) => endpoint.abort(),
        }
    }

    pub fn accept(&mut self, accept: Accept) -> Result<(), SendError> {
        call!(self, accept(accept))
    }

    pub fn reject(&mut self, response: Response) -> Result<(), SendError> {
        match self {
            Self::Alone(connection) => connection.reject(response),
            Self::Shared(endpoint, workspace) => {
                endpoint.respond(response, &mut workspace.borrow_mut())
            }
        }
    }

    pub fn respond_later(&mut self) -> Result<(), SendError> {
        call!(self, respond_later())
    }

    pub fn respond(&mut self, response: Response) -> Result<(), SendError> {
        call!(self, respond(response))
    }

    pub fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        match self {
            Self::Alone(connection) => connection.answer_instead(response),
            Self::Shared(endpoint, _) => endpoint.answer_instead(response),
        }
    }

    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        call!(self, send(message))
    }

    pub fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
    ) -> Result<(), SendError> {
        call!(self, send_with(message, compress))
    }

    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        call!(self, send_prepared(prepared))
    }

    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), SendError> {
        call!(self, send_fragment(fragment))
    }

    pub fn send_fragment_with(
        &mut self,
        fragment: Fragment<'_>,
        compress: Compress,
    ) -> Result<(), SendError> {
        call!(self, send_fragment_with(fragment, compress))
    }

    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        call!(self, ping(payload))
    }

    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        call!(self, pong(payload))
    }

    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        call!(self, close(code, reason))
    }

    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        call!(self, close_without_code())
    }

    pub fn consume_output(&mut self, count: usize) {
        call!(self, consume_output(count))
    }
}
