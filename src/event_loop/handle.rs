use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Prepared;
use crate::wire::{CloseCode, CloseFrame, CloseFrameError};

use super::adopting::Adoption;
use super::draining::ShutdownOrder;
use super::loops::Loops;
use super::route::{RouteId, Scope};
use super::shutdown::{Reporter, Shutdown};
use super::slots::PeerId;
use super::transport::Socket;

/// A way to an event loop, or to all that [work together](crate::EventLoops), from any thread: send,
/// broadcast, close, shut down.
///
/// Calls are carried out by the loop in the order in which one handle made them, in its next turn. They
/// do not wait and do not fail if the connection is gone meanwhile. Cheap to clone.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let server = framewire::Server::bind("127.0.0.1:9001")?;
/// let mut event_loop = server.on_message(|peer, message| { peer.send(message); })?;
/// let handle = event_loop.handle();
/// std::thread::spawn(move || handle.broadcast("hello from another thread"));
/// event_loop.run()
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(super) loops: Arc<Loops>,
    /// The loop that it is of.
    pub(super) home: usize,
}

/// What a handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Send(PeerId, Prepared),
    SendLatest(PeerId, Box<str>, Prepared),
    Broadcast(Scope, Prepared, Option<PeerId>),
    /// The topic, and the key if only the latest counts.
    Publish(Arc<str>, Option<Box<str>>, Prepared, Option<PeerId>),
    Subscribe(PeerId, Arc<str>),
    Unsubscribe(PeerId, Box<str>),
    Close(PeerId, CloseFrame),
    Terminate(PeerId),
    Pause(PeerId, bool),
    Shutdown(ShutdownOrder),
    /// Decisions wait in the channel of their own, which has the type of the sessions.
    Decided,
    Adopt(Box<Adoption>),
    /// A connection that another loop has accepted.
    Serve(Socket),
}

impl Handle {
    /// Sends a message to one connection.
    pub fn send(&self, id: PeerId, message: impl Into<Prepared>) {
        self.order_of(id, Command::Send(id, message.into()));
    }

    /// Sends a message to all open connections.
    pub fn broadcast(&self, message: impl Into<Prepared>) {
        self.broadcast_in(Scope::All, message.into(), None);
    }

    /// Sends a message to all open connections but one.
    pub fn broadcast_except(&self, id: PeerId, message: impl Into<Prepared>) {
        self.broadcast_in(Scope::All, message.into(), Some(id));
    }

    /// Sends a message to all open connections of a route, which [`Routes::id`](crate::Routes::id) names.
    pub fn broadcast_route(&self, route: RouteId, message: impl Into<Prepared>) {
        self.broadcast_in(Scope::Route(Some(route)), message.into(), None);
    }

    fn broadcast_in(&self, scope: Scope, prepared: Prepared, except: Option<PeerId>) {
        self.loops.order_all(|| Command::Broadcast(scope, prepared.clone(), except));
    }

    /// Begins the closing handshake of one connection.
    ///
    /// # Errors
    ///
    /// [`CloseFrameError`] if the code or the reason (of at most 123 bytes) may not be sent.
    pub fn close(
        &self,
        id: PeerId,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<(), CloseFrameError> {
        self.order_of(id, Command::Close(id, CloseFrame::new(code.into(), reason)?));
        Ok(())
    }

    /// Stops reading from one connection until [`resume`](Self::resume); see
    /// [`Peer::pause`](crate::Peer::pause).
    pub fn pause(&self, id: PeerId) {
        self.order(Command::Pause(id, true));
    }

    /// Reads from one connection again.
    pub fn resume(&self, id: PeerId) {
        self.order(Command::Pause(id, false));
    }

    /// Drops one connection without a Close.
    pub fn terminate(&self, id: PeerId) {
        self.order_of(id, Command::Terminate(id));
    }

    /// Ends the loop in good order: every open connection gets a Close with this code and reason, such as
    /// 1001 or 1012, and what is not closed within `deadline` is dropped. Until all these are gone, who
    /// still comes, or waits for an answer, is answered 503; then the loop listens no more, and
    /// [`EventLoop::run`](crate::EventLoop::run) returns.
    ///
    /// What comes back can be waited for. The same order once more changes the deadline, and sends the
    /// Closes that were not yet sent: a second one with a deadline of zero ends at once.
    ///
    /// # Errors
    ///
    /// [`CloseFrameError`] if the code or the reason (of at most 123 bytes) may not be sent.
    pub fn shutdown(
        &self,
        code: impl Into<CloseCode>,
        reason: &str,
        deadline: Duration,
    ) -> Result<Shutdown, CloseFrameError> {
        self.shutdown_spread(code, reason, Duration::ZERO, deadline)
    }

    /// The same, but the Closes go out one after the other over a time of `spread`, which is no longer
    /// than the deadline: thousands of clients do not all connect again in the same second. Who has not
    /// got its Close yet is served as before.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_spread(
        &self,
        code: impl Into<CloseCode>,
        reason: &str,
        spread: Duration,
        deadline: Duration,
    ) -> Result<Shutdown, CloseFrameError> {
        let close = CloseFrame::new(code.into(), reason)?;
        let (report, reports) = Reporter::new(self.loops.len());
        self.loops.order_all(|| {
            let (close, report) = (close.clone(), report.clone());
            Command::Shutdown(ShutdownOrder { close, spread, deadline, report })
        });
        Ok(Shutdown(reports))
    }

    /// Orders something of the loop that the handle is of.
    pub(super) fn order(&self, command: Command) {
        self.loops.order(self.home, command);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
