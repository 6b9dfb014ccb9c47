use std::any::Any;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::protocol::Message;
use crate::wire::CloseCode;

use super::callbacks::Callbacks;
use super::event_loop::EventLoop;
use super::group::{Member, members};
use super::handle::Handle;
use super::handler::Handler;
use super::listener::Listener;
use super::loop_handle::{LoopHandle, call_queues};
use super::peer::Peer;
use super::reactor::WAKE;
use super::settings::Settings;
use super::slab::MAX_LOOPS;

/// How long the connections of the other loops have to close when one loop has failed.
const GRACE: Duration = Duration::from_secs(5);

/// Several event loops that serve one port together, a thread each; made by [`Server::threads`](crate::Server::threads).
///
/// The first loop accepts, and gives each connection to the loop that has the fewest; there it stays. Each
/// loop has a [`Handler`] of its own, so that handlers share nothing unless you have them share it.
///
/// What goes to all, or to a topic, goes over all loops: [`broadcast`](Peer::broadcast),
/// [`publish`](Peer::publish) and the like are carried out in the own loop at once, and in the others in
/// their next turn, encoded once for all; a loop without subscribers of the topic is not bothered. Each
/// receiver gets what one peer, or one thread, publishes in its order. A [`Handle`] reaches every
/// connection, wherever it is. What a [`Peer`] can list or touch is of its own loop: [`Peer::peers`],
/// [`Peer::to`], [`Peers::connections`](crate::Peers::connections), [`Peers::topics`](crate::Peers::topics), and what
/// [`Handler::on_subscription`] tells.
///
/// A handler that panics ends its loop, whose connections are lost. The others then close theirs with 1001,
/// within 5 s, and [`run`](Self::run) answers with an error: half a server is not left behind.
///
/// ```
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Server};
///
/// /// Tells everybody, and says from which thread.
/// struct Room(usize);
///
/// impl Handler for Room {
///     type Session = ();
///
///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
///         Decision::accept(())
///     }
///
///     fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
///         if let Some(text) = message.as_text() {
///             peer.broadcast(format!("{text} (by thread {})", self.0));
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let loops = Server::bind("127.0.0.1:0")?.threads(2)?;
/// println!("listening on ws://{}", loops.local_addr()?);
/// # loops.handle().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
/// loops.run(Room)
/// # }
/// ```
#[derive(Debug)]
pub struct EventLoops {
    listeners: Vec<Listener>,
    settings: Settings,
    members: Vec<Member>,
}

impl EventLoops {
    pub(super) fn new(
        listeners: Vec<Listener>,
        settings: Settings,
        threads: usize,
    ) -> io::Result<Self> {
        if !(1..=MAX_LOOPS).contains(&threads) {
            let message = format!("{threads} threads: 1 to {MAX_LOOPS} can work together");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        settings.config.validate().map_err(invalid)?;
        Ok(Self { listeners, settings, members: members(threads, WAKE)? })
    }

    /// A handle to all loops, for use from any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.members[0].group), self.members[0].home)
    }

    /// The address of the first listening socket.
    ///
    /// # Errors
    ///
    /// As [`Server::local_addr`](crate::Server::local_addr).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.listeners.first() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Serves until a [`Handle::shutdown`] has been carried out in all loops. `handler` makes the handler of each, in
    /// its thread, and is told its number, from 0.
    ///
    /// # Errors
    ///
    /// The system's, if a thread cannot be made, or a loop cannot be or fails; [`io::ErrorKind::Other`] if
    /// a handler panicked, with its words. In any case all loops have come to their end.
    pub fn run<H: Handler>(self, handler: impl Fn(usize) -> H + Sync) -> io::Result<()> {
        self.run_with(|handle: LoopHandle<H>| handler(handle.number()))
    }

    /// Serves like [`run`](Self::run); what makes the handler of a loop gets a handle to it, which knows the
    /// [number](LoopHandle::number) of the loop too. All of these handles work together:
    /// [`LoopHandle::call_all`] calls a function in each loop.
    ///
    /// ```
    /// use framewire::{Decision, Handler, IncomingRequest, LoopHandle, Message, Peer, Server};
    ///
    /// /// Counts the messages of all loops, in each of them.
    /// struct Counter {
    ///     loops: LoopHandle<Self>,
    ///     messages: u64,
    /// }
    ///
    /// impl Handler for Counter {
    ///     type Session = ();
    ///
    ///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
    ///         Decision::accept(())
    ///     }
    ///
    ///     fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {
    ///         self.loops.call_all(|counter, _| counter.messages += 1);
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let loops = Server::bind("127.0.0.1:0")?.threads(2)?;
    /// # loops.handle().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    /// loops.run_with(|loops| Counter { loops, messages: 0 })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_with<H: Handler>(
        self,
        handler: impl Fn(LoopHandle<H>) -> H + Sync,
    ) -> io::Result<()> {
        let (queues, calls) = call_queues(self.members.len());
        let (handler, settings) = (&handler, &self.settings);
        let mut listeners = self.listeners;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut result = Ok(());
            for (number, (member, calls)) in self.members.into_iter().zip(calls).enumerate() {
                // Only the first loop gets the listeners.
                let listeners = mem::take(&mut listeners);
                let mut guard =
                    ShutdownOnDrop(Some(Handle::new(Arc::clone(&member.group), member.home)));
                let queues = (Arc::clone(&queues), calls);
                let thread = move || {
                    let result = EventLoop::of_member(listeners, settings, handler, member, queues)
                        .and_then(|mut event_loop| event_loop.run());
                    if result.is_ok() {
                        guard.disarm();
                    }
                    result
                };
                let name = format!("framewire-{number}");
                match thread::Builder::new().name(name).spawn_scoped(scope, thread) {
                    Ok(thread) => threads.push(thread),
                    // The closure was dropped with its guard, which shuts down the loops that run already.
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            for (number, thread) in threads.into_iter().enumerate() {
                let ended = thread.join().unwrap_or_else(|panic| Err(panicked(number, &*panic)));
                result = result.and(ended);
            }
            result
        })
    }

    /// Serves like [`run`](Self::run), and gives every message to a function, which all threads share.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let server = framewire::Server::bind("127.0.0.1:9001")?;
    /// server.threads(4)?.serve(|peer, message| peer.send(message))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn serve<R>(
        self,
        function: impl Fn(&mut Peer<'_>, Message<'_>) -> R + Sync,
    ) -> io::Result<()> {
        let function = &function;
        self.run(|_| Callbacks::new().on_message(function))
    }
}

/// Ends the other loops when it is dropped with a handle: on an error, and on a panic.
struct ShutdownOnDrop(Option<Handle>);

impl ShutdownOnDrop {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            // 1001 may be sent, so this does not fail.
            let _ = handle.shutdown(CloseCode::GOING_AWAY, "", GRACE);
        }
    }
}

fn panicked(number: usize, panic: &(dyn Any + Send)) -> io::Error {
    let words = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (None, Some(words)) => words.as_str(),
        (None, None) => "without a word",
    };
    io::Error::other(format!("the handler of loop {number} panicked: {words}"))
}
