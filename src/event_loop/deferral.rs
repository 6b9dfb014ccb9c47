use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::handshake::Response;
use crate::protocol::Accept;

use super::commands::{Command, PeerCommand};
use super::group::{self, Group};
use super::incoming_request::IncomingRequest;
use super::queue::Queue;
use super::slab::PeerId;

/// A request for a WebSocket that waits for the decision, which any thread may make; see
/// [`Decision::defer`](crate::Decision::defer).
///
/// The client waits until [`accept`](Self::accept) or [`reject`](Self::reject) is called, and nothing is
/// read from it meanwhile. There are three other ends: after
/// [`Config::decision_timeout`](crate::Config::decision_timeout) it is answered 503; if this value is
/// dropped, 500; and a client that leaves is forgotten. A decision that comes later changes nothing, and
/// its session is dropped.
pub struct Pending<S = ()> {
    waiting: Waiting,
    /// Until the answer is given.
    sender: Option<DecisionSender<S>>,
}

/// What was decided.
pub(super) enum Answer<S> {
    Accept(Accept, S),
    Reject(Response),
}

/// A plain HTTP request that waits for its answer, which any thread may give; see
/// [`HttpAnswer::defer`](crate::HttpAnswer::defer).
///
/// The client waits until [`respond`](Self::respond) is called. As with [`Pending`], there are three other ends:
/// after [`Config::decision_timeout`](crate::Config::decision_timeout) it is answered 503; if this value is
/// dropped, 500; and a client that leaves is forgotten.
pub struct PendingAnswer {
    waiting: Waiting,
    /// Where the answer goes, until it is given.
    group: Option<Arc<Group>>,
}

/// A request that waits.
pub(super) struct Waiting {
    id: PeerId,
    request: IncomingRequest,
    over: Arc<AtomicBool>,
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The way of decisions to the loop: they have the type of the sessions, and so cannot go with the other commands.
pub(super) struct DecisionSender<S> {
    queue: Arc<Queue<(PeerId, Answer<S>)>>,
    group: Arc<Group>,
}

impl<S> DecisionSender<S> {
    pub(super) fn pending(self, waiting: Waiting) -> Pending<S> {
        Pending { waiting, sender: Some(self) }
    }

    fn send(self, id: PeerId, answer: Answer<S>) {
        // It is refused where the loop has ended, and with it the client's connection.
        if self.queue.push((id, answer)).is_ok() {
            // The order goes through the same queue as those of the handle, so it keeps its place among those of this
            // thread.
            group::order(&self.group, Group::loop_of(id), Command::Decided);
        }
    }
}

impl<S> Pending<S> {
    /// The id that the connection has from now on; a [`Handle`](crate::Handle) reaches it when it is accepted.
    pub fn id(&self) -> PeerId {
        self.waiting.id
    }

    /// The request.
    pub fn request(&self) -> &IncomingRequest {
        &self.waiting.request
    }

    /// Whether it is too late to answer: the client is gone, or was answered 503.
    pub fn is_over(&self) -> bool {
        self.waiting.is_over()
    }

    /// Opens the connection as [`Config`](crate::Config) says, with this session.
    pub fn accept(self, session: S) {
        self.accept_with(Accept::new(), session);
    }

    /// Opens the connection as [`Accept`] says: with a subprotocol, with header fields, or without compression.
    pub fn accept_with(mut self, accept: Accept, session: S) {
        self.decide(Answer::Accept(accept, session));
    }

    /// Answers with an HTTP response, such as [`Response::forbidden`].
    pub fn reject(mut self, response: Response) {
        self.decide(Answer::Reject(response));
    }

    fn decide(&mut self, answer: Answer<S>) {
        if let Some(sender) = self.sender.take() {
            sender.send(self.waiting.id, answer);
        }
    }
}

impl<S> Drop for Pending<S> {
    fn drop(&mut self) {
        self.decide(Answer::Reject(Response::new(500).body("no decision was made\n")));
    }
}

impl<S> fmt::Debug for Pending<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.waiting.id).finish_non_exhaustive()
    }
}

impl PendingAnswer {
    /// The request.
    pub fn request(&self) -> &IncomingRequest {
        &self.waiting.request
    }

    /// Whether it is too late to answer: the client is gone, or was answered 503.
    pub fn is_over(&self) -> bool {
        self.waiting.is_over()
    }

    /// Answers, and ends the connection by that.
    pub fn respond(mut self, response: Response) {
        self.answer(response);
    }

    fn answer(&mut self, response: Response) {
        if let Some(group) = self.group.take() {
            group::order_peer(&group, self.waiting.id, PeerCommand::Answer(response));
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.answer(Response::new(500).body("no answer was found\n"));
    }
}

impl fmt::Debug for PendingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingAnswer").field("id", &self.waiting.id).finish_non_exhaustive()
    }
}

/// The end of that way: the decisions that were made.
pub(super) struct Decisions<S> {
    queue: Arc<Queue<(PeerId, Answer<S>)>>,
    group: Arc<Group>,
}

impl<S> Decisions<S> {
    pub(super) fn new(group: Arc<Group>) -> Self {
        Self { queue: Arc::new(Queue::new()), group }
    }

    /// A way for one decision.
    pub(super) fn sender(&self) -> DecisionSender<S> {
        DecisionSender { queue: Arc::clone(&self.queue), group: Arc::clone(&self.group) }
    }

    /// The next decision that was made.
    pub(super) fn take(&self) -> Option<(PeerId, Answer<S>)> {
        self.queue.take(|_| true)
    }

    /// Takes none from now on, and drops those that are there.
    pub(super) fn end(&self) {
        self.queue.end();
    }
}

impl<S> Drop for Decisions<S> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Those who wait for a decision, each with what tells its [`Waiting`] that it does not any more.
pub(super) struct Undecided {
    group: Arc<Group>,
    waiting: HashMap<PeerId, Deferred>,
}

struct Deferred {
    over: Arc<AtomicBool>,
    /// For the answer to a plain request.
    is_plain: bool,
}

impl Undecided {
    pub(super) fn new(group: Arc<Group>) -> Self {
        Self { group, waiting: HashMap::new() }
    }

    fn wait(&mut self, id: PeerId, request: IncomingRequest, is_plain: bool) -> Waiting {
        let over = Arc::new(AtomicBool::new(false));
        self.waiting.insert(id, Deferred { over: Arc::clone(&over), is_plain });
        Waiting { id, request, over }
    }

    pub(super) fn add_plain(&mut self, id: PeerId, request: IncomingRequest) -> PendingAnswer {
        let waiting = self.wait(id, request, true);
        PendingAnswer { waiting, group: Some(Arc::clone(&self.group)) }
    }

    pub(super) fn add(&mut self, id: PeerId, request: IncomingRequest) -> Waiting {
        self.wait(id, request, false)
    }

    /// Nobody waits any more.
    pub(super) fn end(&mut self) {
        for (_, Deferred { over, .. }) in self.waiting.drain() {
            over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a plain request of this one waits for its answer.
    pub(super) fn is_plain(&self, id: PeerId) -> bool {
        self.waiting.get(&id).is_some_and(|waiting| waiting.is_plain)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether this one waited; it does no longer.
    pub(super) fn remove(&mut self, id: PeerId) -> bool {
        // Called for every connection that ends, while hardly any is ever waiting.
        if self.waiting.is_empty() {
            return false;
        }
        let waiting = self.waiting.remove(&id);
        waiting.is_some_and(|Deferred { over, .. }| {
            over.store(true, Ordering::Relaxed);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Callbacks, EventLoop, Routes};

    #[test]
    fn a_decision_can_be_made_in_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Pending<String>>();
        is_send::<PendingAnswer>();
        is_send::<EventLoop<Callbacks>>();
        is_send::<EventLoop<Routes>>();
    }
}
