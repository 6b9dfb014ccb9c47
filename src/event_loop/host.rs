use std::mem;
use std::sync::Arc;

use crate::handshake::Response;
use crate::protocol::{Bytes, Fragment, Message, Outcome};

use super::application::{Application, CallTarget, Decided, Verdict, VerdictChoice};
use super::attempt::Attempt;
use super::core::Core;
use super::deferral::{Answer, Decisions};
use super::group::Group;
use super::handler::{Choice, Handler, HttpAnswer};
use super::incoming_request::IncomingRequest;
use super::loop_handle::{Call, Calls};
use super::opening_error::OpeningError;
use super::peer::{Peer, Peers};
use super::route::Scope;
use super::schedule::Timer;
use super::sessions::Sessions;
use super::slab::PeerId;
use super::sources::SourceEvent;

/// A handler and all that has its types: what is compiled for each handler, so as little as possible.
pub(super) struct Host<H: Handler> {
    pub(super) handler: H,
    pub(super) sessions: Sessions<H::Session>,
    decisions: Decisions<H::Session>,
    calls: Calls<H>,
    /// Set aside, until it is certain that its connection opens.
    session: Option<H::Session>,
    /// Set aside, until it is certain that its connection is there.
    call: Option<Call<H>>,
}

impl<H: Handler> Host<H> {
    pub(super) fn new(handler: H, calls: Calls<H>, group: &Arc<Group>) -> Self {
        Self {
            handler,
            sessions: Sessions::default(),
            decisions: Decisions::new(Arc::clone(group)),
            calls,
            session: None,
            call: None,
        }
    }

    /// Calls the handler for a connection that it knows.
    #[inline]
    fn for_peer(
        &mut self,
        core: &mut Core,
        id: PeerId,
        call: impl FnOnce(&mut H, &mut Peer<'_, H::Session>),
    ) {
        call(&mut self.handler, &mut Peer::new(core, &mut self.sessions, id));
    }
}

impl<'h, H: Handler + 'h> Application<'h> for Host<H> {
    fn on_start(&mut self, core: &mut Core) {
        self.handler.on_start(&mut Peers::new(core, &mut self.sessions, Scope::All));
    }

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Verdict<'h> {
        let decision = self.handler.on_upgrade(request);
        let choice = match decision.choice {
            Choice::Accept(accept, session) => {
                self.session = Some(session);
                VerdictChoice::Now(Decided::Accept(accept))
            }
            Choice::Reject(response) => VerdictChoice::Now(Decided::Reject(response)),
            Choice::Defer(begin) => {
                let sender = self.decisions.sender();
                VerdictChoice::Defer(Box::new(move |waiting| begin(sender.pending(waiting))))
            }
        };
        Verdict { choice, route: decision.route }
    }

    fn next_decision(&mut self) -> Option<(PeerId, Decided)> {
        let (id, answer) = self.decisions.take()?;
        let decided = match answer {
            Answer::Accept(accept, session) => {
                self.session = Some(session);
                Decided::Accept(accept)
            }
            Answer::Reject(response) => Decided::Reject(response),
        };
        Some((id, decided))
    }

    fn keep_session(&mut self, id: PeerId) {
        if let Some(session) = self.session.take() {
            self.sessions.insert(id, session);
        }
    }

    fn drop_session(&mut self) {
        self.session = None;
    }

    fn forget(&mut self, id: PeerId) {
        self.sessions.remove(id);
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        self.handler.on_http(request)
    }

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.handler.on_handshake_error(error, attempt)
    }

    fn on_open(&mut self, core: &mut Core, id: PeerId) {
        self.for_peer(core, id, |handler, peer| handler.on_open(peer));
    }

    fn on_message(&mut self, core: &mut Core, id: PeerId, message: Message<'_>) {
        self.for_peer(core, id, |handler, peer| handler.on_message(peer, message));
    }

    fn on_fragment(&mut self, core: &mut Core, id: PeerId, fragment: Fragment<'_>) {
        self.for_peer(core, id, |handler, peer| handler.on_fragment(peer, fragment));
    }

    fn on_drain(&mut self, core: &mut Core, id: PeerId) {
        self.for_peer(core, id, |handler, peer| handler.on_drain(peer));
    }

    fn on_dropped(&mut self, core: &mut Core, id: PeerId, messages: u64) {
        self.for_peer(core, id, |handler, peer| handler.on_dropped(peer, messages));
    }

    fn on_rate_limited(&mut self, core: &mut Core, id: PeerId, messages: u64) {
        self.for_peer(core, id, |handler, peer| handler.on_rate_limited(peer, messages));
    }

    fn on_ping(&mut self, core: &mut Core, id: PeerId, payload: Bytes<'_>) {
        self.for_peer(core, id, |handler, peer| handler.on_ping(peer, payload));
    }

    fn on_pong(&mut self, core: &mut Core, id: PeerId, payload: Bytes<'_>) {
        self.for_peer(core, id, |handler, peer| handler.on_pong(peer, payload));
    }

    fn on_timer(&mut self, core: &mut Core, scope: Scope, timer: Timer) {
        self.handler.on_timer(&mut Peers::new(core, &mut self.sessions, scope), timer);
    }

    fn on_peer_timer(&mut self, core: &mut Core, id: PeerId, timer: Timer) {
        self.for_peer(core, id, |handler, peer| handler.on_peer_timer(peer, timer));
    }

    fn on_source(&mut self, core: &mut Core, scope: Scope, event: SourceEvent) {
        self.handler.on_source(&mut Peers::new(core, &mut self.sessions, scope), event);
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        self.handler.on_subscription(topic, subscribers);
    }

    fn on_close(&mut self, core: &mut Core, id: PeerId, outcome: &Outcome) {
        self.for_peer(core, id, |handler, peer| handler.on_close(peer, outcome));
    }

    fn next_call(&mut self, ticket: u64) -> Option<CallTarget> {
        let call = self.calls.take(ticket)?;
        let target = match &call {
            Call::Loop(_) => CallTarget::Loop,
            &Call::Peer(id, _) => CallTarget::Peer(id),
        };
        self.call = Some(call);
        Some(target)
    }

    fn call(&mut self, core: &mut Core) {
        match mem::take(&mut self.call) {
            Some(Call::Loop(function)) => {
                let mut peers = Peers::new(core, &mut self.sessions, Scope::All);
                function(&mut self.handler, &mut peers);
            }
            Some(Call::Peer(id, function)) => self.for_peer(core, id, function),
            None => {}
        }
    }

    fn drop_call(&mut self) {
        self.call = None;
    }

    fn end(&mut self) {
        self.calls.end();
        self.decisions.end();
    }
}
