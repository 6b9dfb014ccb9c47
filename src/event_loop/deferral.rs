use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::handshake::Response;
use crate::protocol::Accept;

use super::commands::Command;
use super::group::{self, Group};
use super::incoming_request::IncomingRequest;
use super::slab::PeerId;

/// A request that waits for its answer, which any thread may give; see
/// [`Decision::defer`](crate::Decision::defer).
///
/// The client waits until [`accept`](Self::accept) or [`reject`](Self::reject) is called, and nothing is
/// read from it meanwhile. There are three other ends: after
/// [`Config::decision_timeout`](crate::Config::decision_timeout) it is answered 503; if this value is
/// dropped, 500; and a client that leaves is forgotten. A decision that comes later changes nothing, and
/// its session is dropped.
pub struct Pending<S = ()> {
    id: PeerId,
    request: IncomingRequest,
    over: Arc<AtomicBool>,
    /// Until the answer is given.
    decisions: Option<Decisions<Answer<S>>>,
}

/// What was decided.
pub(super) enum Answer<S> {
    Accept(Accept, S),
    Reject(Response),
}

/// A plain request that waits for its answer, which any thread may give; see
/// [`HttpAnswer::defer`](crate::HttpAnswer::defer).
///
/// The client waits until [`respond`](Self::respond) is called. As with [`Pending`], there are three other ends:
/// after [`Config::decision_timeout`](crate::Config::decision_timeout) it is answered 503; if this value is
/// dropped, 500; and a client that leaves is forgotten.
pub struct PendingAnswer {
    id: PeerId,
    request: IncomingRequest,
    over: Arc<AtomicBool>,
    /// Until the answer is given.
    answers: Option<Decisions<Response>>,
}

/// The way of decisions to the loop.
struct Decisions<T> {
    sender: Sender<(PeerId, T)>,
    group: Arc<Group>,
    home: usize,
}

impl<T> Decisions<T> {
    fn send(self, id: PeerId, decision: T) {
        // A loop that has ended has dropped the client.
        if self.sender.send((id, decision)).is_ok() {
            // What this thread asks of its handle next comes behind it.
            group::order(&self.group, self.home, Command::Decided);
        }
    }
}

impl<T> Clone for Decisions<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), group: Arc::clone(&self.group), home: self.home }
    }
}

impl<S> Pending<S> {
    /// The name that the connection has from now on; a [`Handle`](crate::Handle) reaches it when it is
    /// accepted.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The request.
    pub fn request(&self) -> &IncomingRequest {
        &self.request
    }

    /// Whether nobody waits any more: the client is gone, or was answered 503.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Opens the connection as [`Config`](crate::Config) says, with this session.
    pub fn accept(self, session: S) {
        self.accept_with(Accept::new(), session);
    }

    /// Opens the connection with the subprotocol, the header fields or the lack of compression that
    /// `accept` says.
    pub fn accept_with(mut self, accept: Accept, session: S) {
        self.decide(Answer::Accept(accept, session));
    }

    /// Answers with an HTTP response, such as [`Response::forbidden`].
    pub fn reject(mut self, response: Response) {
        self.decide(Answer::Reject(response));
    }

    fn decide(&mut self, answer: Answer<S>) {
        if let Some(decisions) = self.decisions.take() {
            decisions.send(self.id, answer);
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
        f.debug_struct("Pending").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PendingAnswer {
    /// The request.
    pub fn request(&self) -> &IncomingRequest {
        &self.request
    }

    /// Whether nobody waits any more: the client is gone, or was answered 503.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Answers, and ends the connection by that.
    pub fn respond(mut self, response: Response) {
        if let Some(answers) = self.answers.take() {
            answers.send(self.id, response);
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if let Some(answers) = self.answers.take() {
            answers.send(self.id, Response::new(500).body("no answer was found\n"));
        }
    }
}

impl fmt::Debug for PendingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingAnswer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The loop's end: who waits for a decision, and the decisions that were made.
pub(super) struct Undecided<S> {
    decisions: Decisions<Answer<S>>,
    receiver: Receiver<(PeerId, Answer<S>)>,
    answers: Decisions<Response>,
    /// Of plain requests.
    answered: Receiver<(PeerId, Response)>,
    /// Those who wait, each with what tells their `Pending` that they do not any more.
    waiting: HashMap<PeerId, Deferred>,
}

struct Deferred {
    over: Arc<AtomicBool>,
    /// For the answer to a plain request.
    is_plain: bool,
}

impl<S> Undecided<S> {
    pub(super) fn new(group: Arc<Group>, home: usize) -> Self {
        let ((sender, receiver), (answers, answered)) = (channel(), channel());
        let answers = Decisions { sender: answers, group: Arc::clone(&group), home };
        let decisions = Decisions { sender, group, home };
        Self { decisions, receiver, answers, answered, waiting: HashMap::new() }
    }

    fn wait(&mut self, id: PeerId, is_plain: bool) -> Arc<AtomicBool> {
        let over = Arc::new(AtomicBool::new(false));
        self.waiting.insert(id, Deferred { over: Arc::clone(&over), is_plain });
        over
    }

    pub(super) fn add_plain(&mut self, id: PeerId, request: IncomingRequest) -> PendingAnswer {
        let over = self.wait(id, true);
        PendingAnswer { id, request, over, answers: Some(self.answers.clone()) }
    }

    pub(super) fn add(&mut self, id: PeerId, request: IncomingRequest) -> Pending<S> {
        let over = self.wait(id, false);
        Pending { id, request, over, decisions: Some(self.decisions.clone()) }
    }

    /// The next decision that was made.
    pub(super) fn take(&self) -> Option<(PeerId, Answer<S>)> {
        self.receiver.try_recv().ok()
    }

    /// Whether a plain request of this one waits for its answer.
    pub(super) fn is_plain(&self, id: PeerId) -> bool {
        self.waiting.get(&id).is_some_and(|waiting| waiting.is_plain)
    }

    /// The next answer to a plain request that was given.
    pub(super) fn take_answer(&self) -> Option<(PeerId, Response)> {
        self.answered.try_recv().ok()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        for (_, Deferred { over, .. }) in self.waiting.drain() {
            over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether this one waited; it does no longer.
    pub(super) fn remove(&mut self, id: PeerId) -> bool {
        // Every connection that ends comes here, and hardly any ever waits.
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
