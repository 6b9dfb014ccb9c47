use crate::handshake::Response;
use crate::protocol::{Accept, Bytes, Fragment, Message, Outcome};

use super::attempt::Attempt;
use super::core::Core;
use super::deferral::Waiting;
use super::handler::HttpAnswer;
use super::incoming_request::IncomingRequest;
use super::opening_error::OpeningError;
use super::route::{Route, Scope};
use super::schedule::Timer;
use super::slab::PeerId;
use super::sources::SourceEvent;

/// What a loop knows of its [`Handler`](super::Handler): neither its type nor that of its sessions, so that the loop is
/// compiled once and not for each handler. There is one implementation, [`Host`](super::host::Host).
///
/// A session is made before it is certain that its connection opens. Until then it is set aside, one at a time, and
/// either [kept](Self::keep_session) or [dropped](Self::drop_session).
pub(super) trait Application<'h> {
    fn on_start(&mut self, core: &mut Core);

    /// Decides on a request for a WebSocket, and sets the session aside.
    fn on_upgrade(&mut self, request: &IncomingRequest) -> Verdict<'h>;

    /// The next decision that was made elsewhere, whose session is set aside.
    fn next_decision(&mut self) -> Option<(PeerId, Decided)>;

    /// Gives the connection the session that was set aside.
    fn keep_session(&mut self, id: PeerId);

    /// Drops a session that is still set aside.
    fn drop_session(&mut self);

    /// Drops the session of a connection that has ended.
    fn forget(&mut self, id: PeerId);

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer;

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response>;

    fn on_open(&mut self, core: &mut Core, id: PeerId);

    fn on_message(&mut self, core: &mut Core, id: PeerId, message: Message<'_>);

    fn on_fragment(&mut self, core: &mut Core, id: PeerId, fragment: Fragment<'_>);

    fn on_drain(&mut self, core: &mut Core, id: PeerId);

    fn on_dropped(&mut self, core: &mut Core, id: PeerId, messages: u64);

    fn on_rate_limited(&mut self, core: &mut Core, id: PeerId, messages: u64);

    fn on_ping(&mut self, core: &mut Core, id: PeerId, payload: Bytes<'_>);

    fn on_pong(&mut self, core: &mut Core, id: PeerId, payload: Bytes<'_>);

    fn on_timer(&mut self, core: &mut Core, scope: Scope, timer: Timer);

    fn on_peer_timer(&mut self, core: &mut Core, id: PeerId, timer: Timer);

    fn on_source(&mut self, core: &mut Core, scope: Scope, event: SourceEvent);

    fn on_subscription(&mut self, topic: &str, subscribers: usize);

    fn on_close(&mut self, core: &mut Core, id: PeerId, outcome: &Outcome);

    /// Takes the function with this ticket out of its queue, to be [called](Self::call) next: for whom it is.
    fn next_call(&mut self, ticket: u64) -> Option<CallTarget>;

    /// Calls that function.
    fn call(&mut self, core: &mut Core);

    /// Drops it instead.
    fn drop_call(&mut self);

    /// Drops the functions and decisions that have come too late, and takes none any more.
    fn end(&mut self);
}

/// What a handler says to a request for a WebSocket.
pub(super) struct Verdict<'h> {
    pub(super) choice: VerdictChoice<'h>,
    pub(super) route: Option<Route>,
}

pub(super) enum VerdictChoice<'h> {
    Now(Decided),
    /// The function is told of the request that waits.
    Defer(Box<dyn FnOnce(Waiting) + 'h>),
}

/// What has been decided about a request for a WebSocket.
pub(super) enum Decided {
    Accept(Accept),
    Reject(Response),
}

/// For whom a function of a [`LoopHandle`](super::LoopHandle) is.
pub(super) enum CallTarget {
    Loop,
    Peer(PeerId),
}
