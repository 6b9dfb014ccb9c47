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
    decisions: Option<Decisions<S>>,
}

/// What was decided.
pub(super) enum Answer<S> {
    Accept(Accept, S),
    Reject(Response),
}

/// The way of decisions to the loop.
struct Decisions<S> {
    sender: Sender<(PeerId, Answer<S>)>,
    group: Arc<Group>,
    home: usize,
}

impl<S> Clone for Decisions<S> {
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
        // A loop that has ended has dropped the client.
        if let Some(Decisions { sender, group, home }) = self.decisions.take()
            && sender.send((self.id, answer)).is_ok()
        {
            // What this thread asks of its handle next comes behind it.
            group::order(&group, home, Command::Decided);
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

/// The loop's end: who waits for a decision, and the decisions that were made.
pub(super) struct Undecided<S> {
    decisions: Decisions<S>,
    receiver: Receiver<(PeerId, Answer<S>)>,
    /// Those who wait, each with what tells their `Pending` that they do not any more.
    waiting: HashMap<PeerId, Arc<AtomicBool>>,
}

impl<S> Undecided<S> {
    pub(super) fn new(group: Arc<Group>, home: usize) -> Self {
        let (sender, receiver) = channel();
        Self { decisions: Decisions { sender, group, home }, receiver, waiting: HashMap::new() }
    }

    pub(super) fn add(&mut self, id: PeerId, request: IncomingRequest) -> Pending<S> {
        let over = Arc::new(AtomicBool::new(false));
        self.waiting.insert(id, Arc::clone(&over));
        Pending { id, request, over, decisions: Some(self.decisions.clone()) }
    }

    /// The next decision that was made.
    pub(super) fn take(&self) -> Option<(PeerId, Answer<S>)> {
        self.receiver.try_recv().ok()
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        for (_, over) in self.waiting.drain() {
            over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether this one waited; it does no longer.
    pub(super) fn remove(&mut self, id: PeerId) -> bool {
        // Every connection that ends comes here, and hardly any ever waits.
        if self.waiting.is_empty() {
            return false;
        }
        let over = self.waiting.remove(&id);
        over.is_some_and(|over| {
            over.store(true, Ordering::Relaxed);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Peer;
    use crate::event_loop::EventLoop;
    use crate::event_loop::handler::OnMessage;
    use crate::protocol::Message;

    #[test]
    fn a_decision_can_be_made_in_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Pending<String>>();
        is_send::<EventLoop<OnMessage<fn(&mut Peer<'_>, Message<'_>)>>>();
    }
}
