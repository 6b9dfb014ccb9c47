use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::RequestParts;
use crate::protocol::{Prepared, Upgraded};

use super::adopt::{AdoptedStream, Adoption};
use super::application::Application;
use super::audience::Audience;
use super::counters::Counters;
use super::group::{Member, members};
use super::handle::Handle;
use super::handler::Handler;
use super::host::Host;
use super::listener::Listener;
use super::loop_handle::{CallQueues, Calls, LoopHandle, call_queues};
use super::peer::{Peer, Peers};
use super::reactor::{Parts, Reactor, WAKE};
use super::route::Scope;
use super::settings::Settings;
use super::shutdown::ShutdownReport;
use super::slab::PeerId;

/// Accepts, reads, calls the handler and writes, on one thread.
///
/// Made by [`Server::into_event_loop`](crate::Server::into_event_loop) or [`Server::on_message`](crate::Server::on_message).
/// Either [`run`](Self::run) it, or call [`run_once`](Self::run_once) from a loop of your own.
///
/// Dropping a loop ends its connections without a Close; the handler is told of each by
/// [`on_close`](Handler::on_close).
#[doc(alias("reactor", "runtime"))]
pub struct EventLoop<H: Handler> {
    reactor: Reactor<Host<H>>,
    queues: Arc<CallQueues<H>>,
}

impl<H: Handler> fmt::Debug for EventLoop<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("connections", &self.reactor.core.slab.len())
            .finish_non_exhaustive()
    }
}

/// The outside.
impl<H: Handler> EventLoop<H> {
    pub(super) fn new(
        listeners: Vec<Listener>,
        settings: &Settings,
        handler: H,
    ) -> io::Result<Self> {
        Self::making(listeners, settings, |_| handler)
    }

    /// Makes a loop that works alone, and then its handler.
    pub(super) fn making(
        listeners: Vec<Listener>,
        settings: &Settings,
        handler: impl FnOnce(LoopHandle<H>) -> H,
    ) -> io::Result<Self> {
        let member = members(1, WAKE)?.swap_remove(0);
        let (queues, mut calls) = call_queues(1);
        Self::of_member(listeners, settings, handler, member, (queues, calls.swap_remove(0)))
    }

    /// Makes the loop of this member, and then its handler.
    pub(super) fn of_member(
        listeners: Vec<Listener>,
        settings: &Settings,
        handler: impl FnOnce(LoopHandle<H>) -> H,
        member: Member,
        (queues, calls): (Arc<CallQueues<H>>, Calls<H>),
    ) -> io::Result<Self> {
        let parts = Parts::new(listeners, settings, member)?;
        let handle = &parts.core.handle;
        let handler = handler(LoopHandle::new(handle.clone(), Arc::clone(&queues)));
        let host = Host::new(handler, calls, handle.group_and_home().0);
        let reactor = Reactor::new(parts, settings, host);
        Ok(Self { reactor, queues })
    }

    /// What runs: the same for all handlers.
    fn erased_mut(&mut self) -> &mut Reactor<dyn Application<'_> + '_> {
        &mut self.reactor
    }

    #[cfg(test)]
    pub(super) fn erased(&self) -> &Reactor<dyn Application<'_> + '_> {
        &self.reactor
    }

    /// Serves until a [`Handle::shutdown`] is carried out, or a [`Handle::stop_listening`] and the last connection has
    /// gone.
    ///
    /// # Errors
    ///
    /// The system's, if waiting for events fails. What goes wrong with one connection ends that
    /// connection only, and a socket that cannot be accepted is tried again.
    pub fn run(&mut self) -> io::Result<()> {
        self.erased_mut().run()
    }

    /// Waits for events, `timeout` at most (`None`: as long as it takes), and handles them.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// Where the handler does, or a function that a [`LoopHandle`] has given, unless [`Server::on_panic`](crate::Server::on_panic) says otherwise. Whoever
    /// catches that must drop the loop, and its connections with it: the rest of the turn is lost, and what was
    /// to be read in it is not announced again.
    #[doc(alias("step", "integrate"))]
    pub fn run_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.erased_mut().run_once(timeout)
    }

    /// A way to this loop from other threads.
    pub fn handle(&self) -> Handle {
        self.reactor.core.handle.clone()
    }

    /// A way to this loop from other threads that knows the type of its handler, to have functions called with it.
    pub fn loop_handle(&self) -> LoopHandle<H> {
        LoopHandle::new(self.reactor.core.handle.clone(), Arc::clone(&self.queues))
    }

    /// The address of the first listening socket.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::NotConnected`] if nothing listens any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.reactor.first_listener() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.reactor.app.handler
    }

    /// The handler, to change it between two turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.reactor.app.handler
    }

    /// How many connections there are, those that are opening or closing included.
    pub fn connections(&self) -> usize {
        self.reactor.core.slab.len()
    }

    /// The open connections, to act on them between two turns; what is sent goes out in the next.
    pub fn peers(&mut self) -> Peers<'_, H::Session> {
        self.erased_mut().look_at_the_clock();
        let Reactor { core, app, .. } = &mut self.reactor;
        Peers::new(core, &mut app.sessions, Scope::All)
    }

    /// An open connection, to act on it between two turns; what is sent goes out in the next.
    pub fn peer(&mut self, id: PeerId) -> Option<Peer<'_, H::Session>> {
        self.erased_mut().look_at_the_clock();
        let Reactor { core, app, .. } = &mut self.reactor;
        Peer::of(core, &mut app.sessions, id)
    }

    /// Sends a message to all open connections, in the next turn: [`publish`](Self::publish) to
    /// [`Audience::everyone`]; returns for how many it is.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) -> usize {
        self.publish(Audience::everyone(), message)
    }

    /// Sends a message to an audience, in the next turn: the subscribers of a topic, which a string names, the
    /// connections of a route, or everyone. Returns for how many it is; see [`Peer::publish`].
    pub fn publish<'a>(
        &mut self,
        audience: impl Into<Audience<'a>>,
        message: impl Into<Prepared>,
    ) -> usize {
        self.reactor.core.publish(audience.into(), message)
    }

    /// What this loop has done so far; [`Handle::counters`] adds up all that work together.
    pub fn counters(&self) -> Counters {
        self.reactor.core.counters()
    }

    /// Whether a shutdown was carried out: nothing listens and nobody is connected any more.
    pub fn is_finished(&self) -> bool {
        self.reactor.is_finished()
    }

    /// What became of the connections when the loop was shut down; `None` until that is over.
    ///
    /// ```
    /// # use framewire::Server;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = Server::bind("127.0.0.1:0")?.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// # event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    /// event_loop.run()?;
    /// if let Some(report) = event_loop.shutdown_report() {
    ///     println!("{report}");
    /// }
    /// # assert!(event_loop.shutdown_report().is_some_and(|report| report.was_clean()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_report(&self) -> Option<&ShutdownReport> {
        self.reactor.shutdown_report()
    }
}

/// Connections that another server has accepted.
impl<H: Handler> EventLoop<H> {
    /// Serves a connection that another server has accepted, as if it had come in here: the request is
    /// judged by the same rules, a bad one is answered on this stream, and the handler decides.
    ///
    /// `head` is what was read of the request, byte for byte: all of it, a part, or nothing; `leftover`
    /// is what was read behind it. Nothing of it is lost. The handler is called in the next turn.
    ///
    /// # Errors
    ///
    /// The system's, if the stream cannot be watched; [`io::ErrorKind::QuotaExceeded`] if there are as
    /// many connections as [`Server::max_connections`](crate::Server::max_connections) allows, which has
    /// then been answered 503.
    ///
    /// ```no_run
    /// use std::io::Read;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop =
    ///     framewire::Server::unbound().on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let (mut stream, _) = std::net::TcpListener::bind("127.0.0.1:9001")?.accept()?;
    /// let mut head = [0; 100];
    /// let count = stream.read(&mut head)?;
    /// // Here would be decided whether this is a request for a WebSocket.
    /// event_loop.adopt(stream, &head[..count], "")?;
    /// event_loop.run()
    /// # }
    /// ```
    pub fn adopt(
        &mut self,
        stream: impl Into<AdoptedStream>,
        head: impl AsRef<[u8]>,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.erased_mut().add_adopted(*Adoption::new(
            stream,
            None,
            [head.as_ref(), leftover.as_ref()],
        )?)
    }

    /// Serves a connection that another server has accepted, with a request that it has parsed already; see
    /// [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_request(
        &mut self,
        stream: impl Into<AdoptedStream>,
        request: &RequestParts,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.adopt(stream, request.to_head(), leftover)
    }

    /// Serves a connection to which another server has sent the 101; `leftover` is what was read behind
    /// the request.
    ///
    /// [`on_upgrade`](Handler::on_upgrade) is asked all the same, since it makes the session. What it
    /// accepts with says nothing any more, and a rejection becomes a Close; see
    /// [`Connection::upgraded`](crate::Connection::upgraded).
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_upgraded(
        &mut self,
        stream: impl Into<AdoptedStream>,
        upgraded: Upgraded,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.erased_mut().add_adopted(*Adoption::new(
            stream,
            Some(upgraded),
            [&[], leftover.as_ref()],
        )?)
    }
}

impl<H: Handler> Drop for EventLoop<H> {
    fn drop(&mut self) {
        self.erased_mut().drop_all();
    }
}
