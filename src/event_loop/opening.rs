use std::sync::Arc;

use crate::handshake::{Request, Response};
use crate::protocol::Accept;

use super::event_loop::EventLoop;
use super::handler::{Choice, Decision, Handler};
use super::incoming_request::IncomingRequest;
use super::logging::event;
use super::peer::Peer;
use super::pending::Answer;
use super::refusing::OpeningError;
use super::slots::PeerId;

/// How a request is decided.
impl<H: Handler> EventLoop<H> {
    pub(super) fn upgrade(&mut self, id: PeerId, request: Arc<Request>) {
        if self.shutdown.is_some() {
            let error = OpeningError::ShuttingDown;
            return self.reject(id, Some(error), Response::service_unavailable());
        }
        let mut request = IncomingRequest::new(request);
        let Decision { choice, route } = self.handler.on_upgrade(&request);
        if let Choice::Reject(response) = choice {
            return self.reject(id, None, response);
        }
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if let Some(route) = route {
            slot.connection.set_config(route.config, &mut self.core.shared.workspace);
            slot.route = Some(route.id);
            request = request.routed(&route.pattern);
        }
        slot.request = Some(request.clone());
        match choice {
            Choice::Accept(accept, session) => self.open(id, accept, session),
            Choice::Reject(_) => {}
            Choice::Defer(begin) => {
                // No event will tell a second time that the client is gone already.
                slot.doomed |= slot.read_closed;
                begin(self.core.undecided.add(id, request));
            }
        }
    }

    /// Carries out what was decided elsewhere.
    pub(super) fn take_decisions(&mut self) {
        while let Some((id, answer)) = self.core.undecided.take() {
            // Nobody waits for the others any more.
            if self.core.undecided.remove(id) {
                self.begin(id);
                match answer {
                    Answer::Accept(accept, session) => self.open(id, accept, session),
                    Answer::Reject(response) => self.reject(id, None, response),
                }
                self.finish(id);
            }
        }
    }

    fn open(&mut self, id: PeerId, accept: Accept, session: H::Session) {
        let Some(slot) = self.core.slots.get_mut(id) else { return };
        if slot.connection.accept(accept, &mut self.core.shared.workspace).is_err() {
            // The handler chose a subprotocol that was not offered: its fault, not the peer's.
            return self.reject(id, None, Response::new(500));
        }
        slot.session = Some(session);
        self.core.count_opened(id);
        self.handler.on_open(&mut Peer::new(&mut self.core, id));
        if !self.core.keep_requests
            && let Some(slot) = self.core.slots.get_mut(id)
        {
            slot.request = None;
        }
    }

    /// Turns an upgrade down.
    pub(super) fn respond(&mut self, id: PeerId, response: Response) {
        if let Some(status) = self.answer(id, response) {
            self.core.shared.counting.rejected(status);
            event!(Info, "handshake", "{id} refused with status {status}");
        }
    }

    /// Answers a request of any kind; with which status, if it still waited.
    pub(super) fn answer(&mut self, id: PeerId, response: Response) -> Option<u16> {
        let slot = self.core.slots.get_mut(id)?;
        let status = response.status();
        let workspace = &mut self.core.shared.workspace;
        if slot.connection.respond(response, workspace).is_ok() {
            return Some(status);
        }
        // The handler's answer is no final one.
        slot.connection.respond(Response::new(500), workspace).is_ok().then_some(500)
    }

    /// Does not let a request wait for a decision while everything ends.
    pub(super) fn refuse_undecided(&mut self, id: PeerId) {
        if self.core.undecided.remove(id) {
            let error = OpeningError::ShuttingDown;
            self.reject(id, Some(error), Response::service_unavailable());
            self.core.settle_later(id);
        }
    }
}
