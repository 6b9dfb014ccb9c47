use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::handshake::RequestParts;
use crate::protocol::{Outcome, Prepared, Upgraded};
use crate::wire::{CloseCode, CloseFrame, CloseFrameError};

use super::adopt::{AdoptedStream, Adoption};
use super::answers::{Answers, answers};
use super::audience::{Audience, Recipients, Selection};
use super::commands::{Command, PeerCommand};
use super::counters::Counters;
use super::group::{self, Group, QueueFull, WhenFull};
use super::metrics::Published;
use super::shutdown::{Reporter, Shutdown, ShutdownOrder};
use super::slab::PeerId;

/// Controls an event loop, or all that [work together](crate::EventLoops), from any thread: send, broadcast, close,
/// shut down.
///
/// Calls are carried out by the loop in the order in which one handle made them, in its next turn. They do not
/// fail if the connection is gone meanwhile. Cheap to clone.
///
/// Messages wait for the loop in a queue of [bounded](crate::Server::max_queued_bytes) size, whose present one is
/// [`queued_bytes`](Self::queued_bytes). Where it is full, a call that sends waits until the loop has taken some
/// up, and a call that tries to send, such as [`try_publish`](Self::try_publish), fails. No call waits on a thread
/// that runs a loop itself, or before the loop has had its first turn.
///
/// Within a call of a [`Handler`](crate::Handler), what is asked of a handle is carried out when the turn of the loop
/// is over, behind all that handlers have sent in that turn by a [`Peer`](crate::Peer).
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let server = framewire::Server::bind("127.0.0.1:9001")?;
/// let mut event_loop = server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
/// let handle = event_loop.handle();
/// std::thread::spawn(move || handle.broadcast("hello from another thread"));
/// event_loop.run()
/// # }
/// ```
#[doc(alias("Sender", "UnboundedSender"))]
#[derive(Clone)]
pub struct Handle {
    group: Arc<Group>,
    /// The loop that it is of.
    home: usize,
}

impl Handle {
    pub(super) fn new(group: Arc<Group>, home: usize) -> Self {
        Self { group, home }
    }

    /// The loops that work together, and which of them it is of.
    #[inline]
    pub(super) fn group_and_home(&self) -> (&Arc<Group>, usize) {
        (&self.group, self.home)
    }

    /// Where that loop tells what it has done.
    #[inline]
    pub(super) fn published(&self) -> &Published {
        self.group.published_by(self.home)
    }

    /// Sends a message to one connection.
    pub fn send(&self, id: PeerId, message: impl Into<Prepared>) {
        let command = PeerCommand::Send(message.into());
        let _ = self.order_message(id, command, WhenFull::Wait);
    }

    /// Sends a message to one connection, or fails and sends nothing if the queue of its loop is full.
    ///
    /// # Errors
    ///
    /// [`QueueFull`].
    pub fn try_send(&self, id: PeerId, message: impl Into<Prepared>) -> Result<(), QueueFull> {
        self.order_message(id, PeerCommand::Send(message.into()), WhenFull::Fail)
    }

    fn order_message(
        &self,
        id: PeerId,
        command: PeerCommand,
        when_full: WhenFull,
    ) -> Result<(), QueueFull> {
        let number = Group::loop_of(id);
        let command = Command::Peer(id, command);
        self.group.reserve(number..number + 1, command.bytes(), when_full)?;
        group::order(&self.group, number, command);
        Ok(())
    }

    /// Sends a message to all open connections, whatever their route: [`publish`](Self::publish) to
    /// [`Audience::everyone`].
    pub fn broadcast(&self, message: impl Into<Prepared>) {
        self.publish(Audience::everyone(), message);
    }

    /// Sends a message to an audience: the subscribers of a topic, which a string names, the connections of a route,
    /// or everyone. It is encoded in this thread, once for all.
    ///
    /// How many that are only the loops know when they come to it, so nothing is told;
    /// [`Peer::publish`](crate::Peer::publish) tells it.
    ///
    /// ```
    /// use framewire::{Audience, Handle};
    ///
    /// fn tell_price(handle: &Handle, share: &str, price: u32) {
    ///     // To the subscribers of "prices"; who lags behind gets only the newest price of each share.
    ///     handle.publish(Audience::topic("prices").latest(share), format!("{share} {price}"));
    /// }
    /// ```
    pub fn publish<'a>(&self, audience: impl Into<Audience<'a>>, message: impl Into<Prepared>) {
        // With `WhenFull::Wait` it does not fail.
        let _ = self.publish_when(audience.into(), message.into(), WhenFull::Wait);
    }

    /// Sends a message to an audience, or fails and sends nothing to anybody if the queue of one of its loops is
    /// full.
    ///
    /// # Errors
    ///
    /// [`QueueFull`].
    pub fn try_publish<'a>(
        &self,
        audience: impl Into<Audience<'a>>,
        message: impl Into<Prepared>,
    ) -> Result<(), QueueFull> {
        self.publish_when(audience.into(), message.into(), WhenFull::Fail)
    }

    /// Orders it of all loops that may have somebody of the audience.
    fn publish_when(
        &self,
        audience: Audience<'_>,
        prepared: Prepared,
        when_full: WhenFull,
    ) -> Result<(), QueueFull> {
        let (group, selection) = (&self.group, audience.selection());
        if let Recipients::Subscribers(topic) = selection.recipients
            && group.are_many()
        {
            // No loop has this number, so the counts of all loops come.
            let Some((name, counts)) = group.others(topic, usize::MAX) else { return Ok(()) };
            let has_some = |&number: &usize| counts[number].load(Ordering::SeqCst) > 0;
            let loops = (0..counts.len()).filter(has_some);
            let recipients = Recipients::Subscribers(name);
            let selection = Selection { recipients, ..selection.shared() };
            return self.order_all(loops, selection, prepared, when_full);
        }
        self.order_all(0..group.len(), selection.shared(), prepared, when_full)
    }

    fn order_all(
        &self,
        loops: impl Iterator<Item = usize> + Clone,
        selection: Selection<Arc<str>>,
        prepared: Prepared,
        when_full: WhenFull,
    ) -> Result<(), QueueFull> {
        let command = || Command::Publish(selection.clone(), prepared.clone());
        self.group.reserve(loops.clone(), command().bytes(), when_full)?;
        for number in loops {
            group::order(&self.group, number, command());
        }
        Ok(())
    }

    /// How many bytes of messages, sent by handles, wait for the loops to take them up; see
    /// [`Server::max_queued_bytes`](crate::Server::max_queued_bytes).
    pub fn queued_bytes(&self) -> usize {
        self.group.queued_bytes()
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
        self.order_peer(id, PeerCommand::Close(CloseFrame::new(code.into(), reason)?));
        Ok(())
    }

    /// Stops reading from one connection until [`resume`](Self::resume); see
    /// [`Peer::pause`](crate::Peer::pause).
    pub fn pause(&self, id: PeerId) {
        self.order_peer(id, PeerCommand::Pause);
    }

    /// Resumes reading from one connection.
    pub fn resume(&self, id: PeerId) {
        self.order_peer(id, PeerCommand::Resume);
    }

    /// Drops one connection without a Close.
    pub fn abort(&self, id: PeerId) {
        self.order_peer(id, PeerCommand::Abort);
    }

    /// Shuts the loop down gracefully: every open connection gets a Close with this code and reason, such as 1001 or
    /// 1012, and what is not closed within `deadline` is dropped. Until all these are gone, who still comes, or waits
    /// for an answer, is answered 503; then the loop listens no more, and [`EventLoop::run`](crate::EventLoop::run)
    /// returns.
    ///
    /// What comes back can be waited for. The same order once more changes the deadline, and sends the
    /// Closes that were not yet sent: a second one with a deadline of zero ends at once.
    ///
    /// # Errors
    ///
    /// [`CloseFrameError`] if the code or the reason (of at most 123 bytes) may not be sent.
    #[doc(alias("graceful shutdown", "SIGTERM", "ctrlc", "stop"))]
    pub fn shutdown(
        &self,
        code: impl Into<CloseCode>,
        reason: &str,
        deadline: Duration,
    ) -> Result<Shutdown, CloseFrameError> {
        self.shutdown_spread(code, reason, Duration::ZERO, deadline)
    }

    /// Shuts the loop down like [`shutdown`](Self::shutdown), but the Closes go out one after the other over a time
    /// of `spread`, which is no longer than the deadline: thousands of clients do not all connect again in the same
    /// second. Who has not got its Close yet is served as before.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    #[doc(alias("rolling restart", "drain connections", "Kubernetes"))]
    pub fn shutdown_spread(
        &self,
        code: impl Into<CloseCode>,
        reason: &str,
        spread: Duration,
        deadline: Duration,
    ) -> Result<Shutdown, CloseFrameError> {
        let close = Some(CloseFrame::new(code.into(), reason)?);
        Ok(self.order_shutdown(close, spread, deadline))
    }

    /// Stops listening and keeps the connections, as `close()` of a server does in ws. Those that are open go on as
    /// before and may dial; who still comes, or waits for an answer, is answered 503. When the last connection has
    /// gone, the loop ends as after a [`shutdown`](Self::shutdown), and [`EventLoop::run`](crate::EventLoop::run)
    /// returns.
    ///
    /// What comes back can be waited for. A [`shutdown`](Self::shutdown) may follow, for those that stay too long.
    ///
    /// ```
    /// # use framewire::Server;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut event_loop = Server::bind("127.0.0.1:0")?.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let handle = event_loop.handle();
    /// let end = handle.stop_listening();
    /// event_loop.run()?; // Nobody is connected.
    /// assert!(end.wait().is_some_and(|report| report.was_clean()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop_listening(&self) -> Shutdown {
        self.order_shutdown(None, Duration::ZERO, Duration::MAX)
    }

    /// Orders the end of all loops.
    fn order_shutdown(
        &self,
        close: Option<CloseFrame>,
        spread: Duration,
        deadline: Duration,
    ) -> Shutdown {
        let (report, reports) = Reporter::new(self.group.len());
        let order = ShutdownOrder { close, spread, deadline, report };
        for number in 0..self.group.len() {
            group::order(&self.group, number, Command::Shutdown(order.clone()));
        }
        Shutdown(reports)
    }

    /// Asks which connections are open, in all loops that work together. How many there are is known without
    /// asking: [`counters`](Self::counters).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let server = framewire::Server::bind("127.0.0.1:0")?;
    /// let mut event_loop = server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let handle = event_loop.handle();
    /// let thread = std::thread::spawn(move || {
    ///     for id in handle.peers().wait() {
    ///         println!("{id} is connected");
    ///     }
    ///     handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    /// });
    /// event_loop.run()?;
    /// # thread.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn peers(&self) -> PeerList {
        let (answerer, lists) = answers();
        for number in 0..self.group.len() {
            group::order(&self.group, number, Command::List(answerer.clone()));
        }
        PeerList(lists)
    }

    /// Closes one connection in the way another one has ended, as a proxy does; see
    /// [`Peer::close_like`](crate::Peer::close_like).
    pub fn close_like(&self, id: PeerId, outcome: &Outcome) {
        self.order_peer(
            id,
            match outcome.received() {
                Some(close) if close.code().is_sendable() => PeerCommand::Close(close.clone()),
                Some(_) => PeerCommand::CloseWithoutCode,
                None => PeerCommand::Abort,
            },
        );
    }

    fn order_peer(&self, id: PeerId, command: PeerCommand) {
        group::order_peer(&self.group, id, command);
    }

    /// Has the loop serve a connection that another server has accepted; see
    /// [`EventLoop::adopt`](crate::EventLoop::adopt). If there is no room for it, it is answered 503.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop =
    ///     framewire::Server::unbound().on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let handle = event_loop.handle();
    /// std::thread::spawn(move || -> std::io::Result<()> {
    ///     for stream in std::net::TcpListener::bind("127.0.0.1:9001")?.incoming() {
    ///         handle.adopt(stream?, "", "")?;
    ///     }
    ///     Ok(())
    /// });
    /// event_loop.run()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's, if the stream cannot be made non-blocking; [`io::ErrorKind::NotConnected`] if the
    /// loop has ended or is gone, and the stream is closed then.
    #[doc(alias = "handleUpgrade")]
    pub fn adopt(
        &self,
        stream: impl Into<AdoptedStream>,
        head: impl AsRef<[u8]>,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adoption(Adoption::new(stream, None, [head.as_ref(), leftover.as_ref()])?)
    }

    /// Has the loop serve a connection that another server has accepted, with a request that it has parsed already; see
    /// [`EventLoop::adopt_request`](crate::EventLoop::adopt_request).
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_request(
        &self,
        stream: impl Into<AdoptedStream>,
        request: &RequestParts,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adopt(stream, request.to_head(), leftover)
    }

    /// Has the loop serve a connection to which another server has sent the 101; see
    /// [`EventLoop::adopt_upgraded`](crate::EventLoop::adopt_upgraded).
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_upgraded(
        &self,
        stream: impl Into<AdoptedStream>,
        upgraded: Upgraded,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adoption(Adoption::new(stream, Some(upgraded), [&[], leftover.as_ref()])?)
    }

    fn adoption(&self, adoption: Box<Adoption>) -> io::Result<()> {
        let (lightest, _) = self.group.lightest();
        self.group.departs(lightest);
        if self.group.order(lightest, Command::Adopt(adoption)) {
            return Ok(());
        }
        self.group.arrives(lightest);
        Err(io::Error::new(io::ErrorKind::NotConnected, "the event loop is gone"))
    }

    /// Sends a message to one connection, which gets only the newest with this key if it does not keep up.
    pub fn send_latest(&self, id: PeerId, key: &str, message: impl Into<Prepared>) {
        let command = PeerCommand::SendLatest(key.into(), message.into());
        let _ = self.order_message(id, command, WhenFull::Wait);
    }

    /// Wakes the loop, or each of those that [work together](crate::EventLoops), for one turn:
    /// [`EventLoop::run_once`](crate::EventLoop::run_once) returns, even if nothing has happened. Whoever has put
    /// something where a loop of one's own looks between two turns calls this then.
    ///
    /// To have a function called there, see [`LoopHandle::call`](crate::LoopHandle::call).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::sync::mpsc::channel;
    ///
    /// let server = framewire::Server::bind("127.0.0.1:0")?;
    /// let mut event_loop = server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let handle = event_loop.handle();
    /// let (sender, receiver) = channel();
    /// let thread = std::thread::spawn(move || {
    ///     sender.send("done").unwrap();
    ///     handle.wake();
    /// });
    /// let news = loop {
    ///     event_loop.run_once(None)?;
    ///     if let Ok(news) = receiver.try_recv() {
    ///         break news;
    ///     }
    /// };
    /// assert_eq!(news, "done");
    /// # thread.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn wake(&self) {
        for number in 0..self.group.len() {
            self.group.wake(number);
        }
    }

    /// What the loop, or all that [work together](crate::EventLoops), have done up to the end of the latest turn; the
    /// loops are not interrupted for it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let server = framewire::Server::bind("127.0.0.1:0")?;
    /// # let event_loop = server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let handle = event_loop.handle();
    /// let counters = handle.counters();
    /// println!("{} connections, {} messages", counters.open, counters.received.messages());
    /// # assert_eq!(counters, framewire::Counters::default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn counters(&self) -> Counters {
        self.group.published().map(Published::snapshot).sum()
    }

    /// Subscribes a connection to a topic: it gets what is published from now on, also what this handle publishes
    /// right after this call. Nobody is told if it is refused, as [`Peer::subscribe`](crate::Peer::subscribe) would
    /// be.
    pub fn subscribe(&self, id: PeerId, topic: &str) {
        if self.group.are_many() {
            // Counted here already, so that what is published before the loop carries this out is sent to that loop.
            self.group.count_subscriber(topic, Group::loop_of(id));
        }
        self.order_peer(id, PeerCommand::Subscribe(topic.into()));
    }

    /// Unsubscribes a connection from a topic.
    pub fn unsubscribe(&self, id: PeerId, topic: &str) {
        self.order_peer(id, PeerCommand::Unsubscribe(topic.into()));
    }
}

/// The open connections that [`Handle::peers`] has asked for.
#[derive(Debug)]
#[must_use = "it has to be waited for"]
pub struct PeerList(Answers<Vec<PeerId>>);

impl PeerList {
    /// Waits until all loops have answered: the ids of the connections that were open then, in no particular order.
    /// Loops that have ended have none.
    ///
    /// Do not call this on the thread of a loop, which would wait for itself:
    /// [`Peer::peers`](crate::Peer::peers) is there.
    #[must_use]
    pub fn wait(self) -> Vec<PeerId> {
        std::iter::from_fn(|| self.0.next(None)).flatten().collect()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
