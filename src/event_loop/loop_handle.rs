use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::commands::Command;
use super::group::{self, Group, WhenFull};
use super::handle::Handle;
use super::handler::Handler;
use super::peer::{Peer, Peers};
use super::queue::Queue;
use super::slab::PeerId;

/// A [`Handle`] that knows the type of the handler, and so can run functions with it on the loop's thread, called
/// from any other: uWebSockets' `Loop::defer`.
///
/// [`EventLoop::loop_handle`](crate::EventLoop::loop_handle) gives it, and
/// [`Server::run_with`](crate::Server::run_with) and [`EventLoops::run_with`](crate::EventLoops::run_with) make a
/// handler with it. Everything that a [`Handle`] does, it does too.
///
/// Functions are called in the order in which one handle gave them, together with everything else that is asked of
/// it. A loop that waits is woken at once. Within a call of a handler they are called when the turn of the loop is over.
/// They wait in the queue of [bounded](crate::Server::max_queued_bytes) size beside messages, and a call waits
/// for room there as a send does.
///
/// A function must not block: all connections wait for it. One that panics is treated as a handler that panics;
/// see [`OnPanic`](crate::OnPanic).
///
/// ```
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Server};
///
/// /// What the loop knows, and no other thread may touch.
/// struct Prices(Vec<u32>);
///
/// impl Handler for Prices {
///     type Session = ();
///
///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
///         Decision::accept(())
///     }
///
///     fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {}
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = Server::bind("127.0.0.1:0")?.into_event_loop(Prices(Vec::new()))?;
/// let handle = event_loop.loop_handle();
/// let feed = std::thread::spawn(move || {
///     for price in [17, 18, 16] {
///         handle.call(move |prices, peers| {
///             prices.0.push(price);
///             peers.for_each(|peer| drop(peer.send(price.to_string())));
///         });
///     }
///     handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
/// });
/// event_loop.run()?;
/// assert_eq!(event_loop.handler().0, [17, 18, 16]);
/// # feed.join().unwrap();
/// # Ok(())
/// # }
/// ```
pub struct LoopHandle<H: Handler> {
    handle: Handle,
    queues: Arc<CallQueues<H>>,
}

impl<H: Handler> LoopHandle<H> {
    pub(super) fn new(handle: Handle, queues: Arc<CallQueues<H>>) -> Self {
        Self { handle, queues }
    }

    /// Calls a function with the handler and the connections of its loop; returns whether the loop was there to take
    /// it.
    ///
    /// A loop that ends before it comes to the function drops it: a channel that the function holds an end of tells
    /// of that.
    #[doc(alias("defer", "call_soon_threadsafe", "dispatch"))]
    pub fn call(
        &self,
        function: impl FnOnce(&mut H, &mut Peers<'_, H::Session>) + Send + 'static,
    ) -> bool {
        let (_, home) = self.handle.group_and_home();
        self.order(home, Call::Loop(Box::new(function)))
    }

    /// Calls a function once in each of the loops that work together, with the handler and the connections there;
    /// returns whether all loops were there to take it.
    pub fn call_all(
        &self,
        mut function: impl FnMut(&mut H, &mut Peers<'_, H::Session>) + Clone + Send + 'static,
    ) -> bool {
        let (group, _) = self.handle.group_and_home();
        let mut all = true;
        for number in 1..group.len() {
            let mut function = function.clone();
            let call = Call::Loop(Box::new(move |handler, peers| function(handler, peers)));
            all &= self.order(number, call);
        }
        all & self.order(0, Call::Loop(Box::new(move |handler, peers| function(handler, peers))))
    }

    /// Calls a function with an open connection and the handler of its loop, whichever of those that work together
    /// that is; returns whether the loop was there to take it. The function is dropped if the connection is not open,
    /// or no longer when the loop comes to it.
    pub fn call_peer(
        &self,
        id: PeerId,
        function: impl FnOnce(&mut H, &mut Peer<'_, H::Session>) + Send + 'static,
    ) -> bool {
        self.order(Group::loop_of(id), Call::Peer(id, Box::new(function)))
    }

    /// The number of its loop among those that work together, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.handle.group_and_home().1
    }

    /// A handle that does not know the type of the handler.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn order(&self, number: usize, call: Call<H>) -> bool {
        let (group, _) = self.handle.group_and_home();
        let Some(queue) = self.queues.queues.get(number) else { return false };
        let ticket = self.queues.next_ticket.fetch_add(1, Ordering::Relaxed);
        let command = Command::Call(ticket);
        let _ = group.reserve(number..number + 1, command.bytes(), WhenFull::Wait);
        // The function goes first, so that the command finds it; the command keeps its place among those of this
        // thread.
        queue.push((ticket, call)).is_ok() && group::order(group, number, command)
    }
}

impl<H: Handler> Clone for LoopHandle<H> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), queues: Arc::clone(&self.queues) }
    }
}

impl<H: Handler> Deref for LoopHandle<H> {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl<H: Handler> fmt::Debug for LoopHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("number", &self.number()).finish_non_exhaustive()
    }
}

/// A function that is to be called on the thread of a loop.
pub(super) enum Call<H: Handler> {
    Loop(LoopFunction<H>),
    Peer(PeerId, PeerFunction<H>),
}

type LoopFunction<H> = Box<dyn FnOnce(&mut H, &mut Peers<'_, <H as Handler>::Session>) + Send>;
type PeerFunction<H> = Box<dyn FnOnce(&mut H, &mut Peer<'_, <H as Handler>::Session>) + Send>;

/// The ways of functions to the loops: they have the type of the handler, and so cannot go with the other commands.
/// Each has a ticket, and a command with that ticket says when its turn has come.
pub(super) struct CallQueues<H: Handler> {
    queues: Vec<Queue<(u64, Call<H>)>>,
    next_ticket: AtomicU64,
}

/// A loop's end of its queue.
pub(super) struct Calls<H: Handler> {
    queues: Arc<CallQueues<H>>,
    number: usize,
}

/// The queues of so many loops that work together.
pub(super) fn call_queues<H: Handler>(loops: usize) -> (Arc<CallQueues<H>>, Vec<Calls<H>>) {
    let queues = (0..loops).map(|_| Queue::new()).collect();
    let queues = Arc::new(CallQueues { queues, next_ticket: AtomicU64::new(0) });
    let calls = (0..loops).map(|number| Calls { queues: Arc::clone(&queues), number });
    let calls = calls.collect();
    (queues, calls)
}

impl<H: Handler> Calls<H> {
    /// The function with this ticket, which was put there before the command that asks for it.
    pub(super) fn take(&self, ticket: u64) -> Option<Call<H>> {
        let queue = self.queues.queues.get(self.number)?;
        queue.take(|&(number, _)| number == ticket).map(|(_, call)| call)
    }

    /// Takes none from now on, and drops those that are there.
    pub(super) fn end(&self) {
        if let Some(queue) = self.queues.queues.get(self.number) {
            queue.end();
        }
    }
}

impl<H: Handler> Drop for Calls<H> {
    fn drop(&mut self) {
        self.end();
    }
}
