use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use mio::{Registry, Token, Waker};

use crate::protocol::Prepared;
use crate::wire::{CloseCode, CloseFrame, CloseFrameError};

use super::adopting::Adoption;
use super::draining::ShutdownOrder;
use super::routes::{RouteId, Scope};
use super::shutdown::Shutdown;
use super::slots::PeerId;

/// A way to an event loop from any thread: send, broadcast, close, shut down.
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
    commands: Sender<Command>,
    wakeup: Arc<Wakeup>,
}

#[derive(Debug)]
struct Wakeup {
    waker: Waker,
    /// Whether the loop was woken and has not looked yet: one system call then does for many commands.
    woken: AtomicBool,
}

/// What a handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Send(PeerId, Prepared),
    SendLatest(PeerId, Box<str>, Prepared),
    Broadcast(Scope, Prepared, Option<PeerId>),
    /// The topic, and the key if only the latest counts.
    Publish(Box<str>, Option<Box<str>>, Prepared, Option<PeerId>),
    Subscribe(PeerId, Box<str>),
    Unsubscribe(PeerId, Box<str>),
    Close(PeerId, CloseFrame),
    Terminate(PeerId),
    Pause(PeerId, bool),
    Shutdown(ShutdownOrder),
    /// Decisions wait in the channel of their own, which has the type of the sessions.
    Decided,
    Adopt(Box<Adoption>),
}

/// The loop's end of its handles.
#[derive(Debug)]
pub(super) struct Commands {
    receiver: Receiver<Command>,
    wakeup: Arc<Wakeup>,
}

pub(super) fn handle(registry: &Registry, token: Token) -> io::Result<(Handle, Commands)> {
    let (commands, receiver) = channel();
    let waker = Waker::new(registry, token)?;
    let wakeup = Arc::new(Wakeup { waker, woken: AtomicBool::new(false) });
    Ok((Handle { commands, wakeup: Arc::clone(&wakeup) }, Commands { receiver, wakeup }))
}

impl Commands {
    /// Tells the handles that the loop is looking; call it before taking commands.
    pub(super) fn look(&self) {
        self.wakeup.woken.store(false, Ordering::SeqCst);
    }

    /// The next command, if there is one.
    pub(super) fn take(&self) -> Option<Command> {
        self.receiver.try_recv().ok()
    }
}

impl Handle {
    /// Sends a message to one connection.
    pub fn send(&self, id: PeerId, message: impl Into<Prepared>) {
        self.order(Command::Send(id, message.into()));
    }

    /// Sends a message to all open connections.
    pub fn broadcast(&self, message: impl Into<Prepared>) {
        self.order(Command::Broadcast(Scope::All, message.into(), None));
    }

    /// Sends a message to all open connections but one.
    pub fn broadcast_except(&self, id: PeerId, message: impl Into<Prepared>) {
        self.order(Command::Broadcast(Scope::All, message.into(), Some(id)));
    }

    /// Sends a message to all open connections of a route, which [`Routes::id`](crate::Routes::id) names.
    pub fn broadcast_route(&self, route: RouteId, message: impl Into<Prepared>) {
        self.order(Command::Broadcast(Scope::Route(Some(route)), message.into(), None));
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
        self.order(Command::Close(id, CloseFrame::new(code.into(), reason)?));
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
        self.order(Command::Terminate(id));
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
        let (report, reports) = channel();
        self.order(Command::Shutdown(ShutdownOrder { close, spread, deadline, report }));
        Ok(Shutdown(reports))
    }

    pub(super) fn order(&self, command: Command) -> bool {
        let heard = self.commands.send(command).is_ok();
        if heard && !self.wakeup.woken.swap(true, Ordering::SeqCst) {
            // It cannot fail while the loop is there.
            let _ = self.wakeup.waker.wake();
        }
        heard
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
