use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use framewire::wire::CloseFrameError;
use framewire::{CloseCode, CloseFrame, Entropy, Handle, Message, PeerId, SystemEntropy};

use crate::config::{ClusterError, Config};
use crate::counters::Counters;
use crate::listener::Listener;
use crate::node::{Applicant, Event, Node, Request, Start, Subscription};
use crate::publication::{Envelope, Member, Publication, body_of};
use crate::publisher::{Outgoing, PublishError, Published, Publisher, Then, What};
use crate::servers::Servers;
use crate::sharding::choose;
use crate::shared::{Names, Shared};

/// Requests of the event loop that may wait for the node.
const MAX_REQUESTS: usize = 65_536;

/// One of the servers that share topics, presence and connections through Redis: a node.
///
/// No call waits for Redis, unless its name says so: the event loop may make all the others. Cheap to clone. When the last clone
/// is dropped, or by [`shutdown`](Self::shutdown), the node leaves the cluster.
///
/// ```no_run
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Server};
/// use framewire_cluster::Cluster;
///
/// struct Rooms {
///     cluster: Cluster,
/// }
///
/// impl Handler for Rooms {
///     type Session = ();
///
///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
///         Decision::accept(())
///     }
///
///     fn on_open(&mut self, peer: &mut Peer<'_>) {
///         peer.subscribe("news");
///     }
///
///     fn on_message(&mut self, _peer: &mut Peer<'_>, message: Message<'_>) {
///         // To the subscribers on all machines.
///         let _ = self.cluster.publish("news", message);
///     }
///
///     fn on_subscription(&mut self, topic: &str, subscribers: usize) {
///         self.cluster.on_subscription(topic, subscribers);
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let cluster = Cluster::connect("redis://127.0.0.1:6379")?;
///     let server = Server::bind("127.0.0.1:9001")?;
///     let mut event_loop = server.into_event_loop(Rooms { cluster: cluster.clone() })?;
///     cluster.start(event_loop.handle());
///     Ok(event_loop.run()?)
/// }
/// ```
#[derive(Clone)]
pub struct Cluster(Arc<Owner>);

/// Ends the threads when the last one who can ask something of them is gone.
struct Owner {
    /// For each Redis that shares the topics, what its threads have in common.
    shards: Vec<Arc<Shared>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// A node with everything by default; see [`Config`] for more. It does not wait for Redis, which may come later.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] for a URL that cannot be used.
    pub fn connect(url: impl Into<String>) -> Result<Self, ClusterError> {
        Config::new(url).connect()
    }

    pub(crate) fn new(config: &Config, servers: Vec<Servers>) -> Result<Self, ClusterError> {
        let mut random = [0; 8];
        SystemEntropy::new().fill(&mut random).map_err(ClusterError::Random)?;
        let run = format!("{:x}", u64::from_ne_bytes(random));
        let node = config.node.clone().unwrap_or_else(|| run.clone());
        let unlinked = Arc::new(AtomicUsize::new(servers.len()));
        let shards = servers.into_iter().map(|servers| {
            let names = Names::new(&config.prefix, node.clone(), run.clone());
            Arc::new(Shared::new(config.clone(), servers, names, Arc::clone(&unlinked)))
        });
        Ok(Self(Arc::new(Owner { shards: shards.collect(), threads: Mutex::default() })))
    }

    /// Begins: the node speaks with Redis, in threads of its own, and with the event loop of this handle, or all loops that
    /// work together with it. Calls after the first one do nothing.
    pub fn start(&self, handle: Handle) {
        for shared in &self.0.shards {
            if shared.handle.set(handle.clone()).is_err() {
                return;
            }
            let listener = Listener::new(Arc::clone(shared));
            let publisher = Publisher::new(Arc::clone(shared));
            let node = Node::new(Arc::clone(shared), handle.clone());
            // It holds nothing that must be put away, and may wait for Redis for as long as its patience.
            thread::spawn(move || listener.run());
            let threads =
                [thread::spawn(move || publisher.run()), thread::spawn(move || node.run())];
            self.0.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
        }
    }

    /// What this run of the node is called: `NAME.RUN`.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.first().names.instance
    }

    /// Whether Redis is there, or all that [share the topics](Config::shard).
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.0.shards.iter().all(|shared| shared.is_linked())
    }

    /// What the node has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let all = self.0.shards.iter().map(|shared| shared.tallies.snapshot(shared.outgoing.len()));
        all.fold(Counters::default(), Counters::plus)
    }

    /// Leaves the cluster: what waits is still published, the members of this node leave; returns whether that was done in
    /// time. The connections of the event loop stay.
    #[allow(clippy::must_use_candidate, reason = "there is nothing to be done about it")]
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.0.close();
        let end = Instant::now() + deadline;
        let threads =
            std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let (ended, all) = mpsc::channel::<()>();
        thread::spawn(move || {
            for thread in threads {
                let _ = thread.join();
            }
            drop(ended);
        });
        let left = end.saturating_duration_since(Instant::now());
        matches!(all.recv_timeout(left), Err(mpsc::RecvTimeoutError::Disconnected))
    }

    /// Where what has no topic is.
    fn first(&self) -> &Arc<Shared> {
        &self.0.shards[0]
    }

    /// Where a topic or a user is.
    fn shard(&self, name: &str) -> &Arc<Shared> {
        &self.0.shards[choose(name, self.0.shards.len())]
    }
}

/// Puts a request in the queue of the node.
fn request(shared: &Shared, request: Request) {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.events.push_beyond(Event::Request(request));
}

/// The same, unless too many wait.
fn request_if_room(shared: &Shared, wanted: Request) -> Result<(), PublishError> {
    if shared.requests.load(Ordering::Relaxed) >= MAX_REQUESTS {
        return Err(PublishError::Full);
    }
    request(shared, wanted);
    Ok(())
}

fn passing(
    shared: &Shared,
    channel: String,
    payload: Vec<u8>,
    then: Option<Then>,
) -> Result<Outgoing, PublishError> {
    if !shared.is_linked() {
        shared.tallies.rejected.count();
        return Err(PublishError::Away);
    }
    Ok(Outgoing { what: What::Passing { channel, payload }, then })
}

fn put(shared: &Shared, mut outgoing: Outgoing) -> Result<(), PublishError> {
    let bytes = outgoing.bytes();
    while let Err(rejected) = shared.outgoing.try_push(outgoing, bytes) {
        if !shared.config.drop_oldest || shared.outgoing.is_closed() {
            shared.tallies.rejected.count();
            return Err(PublishError::Full);
        }
        for oldest in shared.outgoing.take(1, Some(Instant::now())).unwrap_or_default() {
            shared.tallies.dropped.count();
            oldest.end(Err(PublishError::Dropped));
        }
        outgoing = rejected;
    }
    Ok(())
}

/// Topics.
impl Cluster {
    /// To be called from [`Handler::on_subscription`](framewire::Handler::on_subscription), of each loop: the node then listens
    /// to the topics that have subscribers here, and to no others.
    pub fn on_subscription(&self, topic: &str, subscribers: usize) {
        request(self.shard(topic), Request::Wanted(topic.to_owned(), subscribers > 0));
    }

    /// Publishes a message to the subscribers of a topic on all nodes.
    ///
    /// A topic with a [history](Config::history_by) has one order for all, in which the message gets its place when Redis has
    /// taken it; while Redis is away it waits. In a topic without a history the subscribers on this node get it at once, and
    /// the others get it at most once.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] if too many messages wait for Redis, and [`PublishError::Away`] if it is away and the topic has
    /// no history.
    pub fn publish<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<(), PublishError> {
        self.publish_with(topic, message, None, None)
    }

    /// Publishes a message, and calls a function with what became of it, on another thread: it may use a
    /// [`Handle`]. If the call fails, the function is not called.
    ///
    /// A message with a `key` is stored once, whoever publishes it with that key again within five minutes; it must have
    /// a history for that. So a client that has not heard of an answer can ask once more, of any node.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_then<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
        key: Option<&str>,
        then: impl FnOnce(Result<Published, PublishError>) + Send + 'static,
    ) -> Result<(), PublishError> {
        self.publish_with(topic, message, key, Some(Box::new(then)))
    }

    /// Publishes a message and waits for what becomes of it: not for threads that run an event loop.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; `Full` if there is no room or no answer until the timeout, and then the message may be published
    /// later.
    pub fn publish_wait<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
        timeout: Duration,
    ) -> Result<Published, PublishError> {
        let deadline = Instant::now() + timeout;
        let (sender, answer) = mpsc::sync_channel(1);
        let then: Then = Box::new(move |result| drop(sender.send(result)));
        let outgoing = self.outgoing(topic, &message.into(), None, Some(then))?;
        let bytes = outgoing.bytes();
        let shared = self.shard(topic);
        if shared.outgoing.push(outgoing, bytes, Some(deadline)).is_err() {
            shared.tallies.rejected.count();
            return Err(PublishError::Full);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        answer.recv_timeout(left).unwrap_or(Err(PublishError::Full))
    }

    fn publish_with<'m>(
        &self,
        topic: &str,
        message: impl Into<Message<'m>>,
        key: Option<&str>,
        then: Option<Then>,
    ) -> Result<(), PublishError> {
        let outgoing = self.outgoing(topic, &message.into(), key, then)?;
        put(self.shard(topic), outgoing)
    }

    /// The message for Redis; to subscribers on this node it is published, if there is no history.
    fn outgoing(
        &self,
        topic: &str,
        message: &Message<'_>,
        key: Option<&str>,
        then: Option<Then>,
    ) -> Result<Outgoing, PublishError> {
        let shared = self.shard(topic);
        let body = body_of(message);
        if let Some(history) = (shared.config.histories)(topic) {
            let (topic, key) = (topic.to_owned(), key.map(str::to_owned));
            return Ok(Outgoing { what: What::Stored { topic, key, history, body }, then });
        }
        if let Some(handle) = shared.handle.get() {
            let publication = Publication { topic, position: None, message: message.borrowed() };
            handle.publish(topic, shared.config.format.message(&publication));
        }
        let payload = Envelope::Passing { instance: &shared.names.instance, body: &body }.seal();
        passing(shared, shared.names.topic(topic), payload, then)
    }

    /// Subscribes a connection to a topic, with what it has missed; in place of
    /// [`Peer::subscribe`](framewire::Peer::subscribe), which does for topics without a history too.
    ///
    /// `then` is called first, on another thread, with what the subscriber can rely on. Then the connection is sent what it has
    /// missed, in order, and from then on what is new: nothing twice, and nothing is left out but what the gap says. While Redis
    /// is away, that waits. Without a history the connection is subscribed before `then` is called, and nothing waits.
    ///
    /// A connection that has subscribed already must not be subscribed again.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] if too many requests wait for the node.
    pub fn subscribe(
        &self,
        peer: PeerId,
        topic: &str,
        start: Start,
        then: impl FnOnce(Subscription) + Send + 'static,
    ) -> Result<(), PublishError> {
        let shared = self.shard(topic);
        let (topic, then) = (topic.to_owned(), Box::new(then));
        request_if_room(shared, Request::Subscribe(Applicant { peer, topic, start, then }))
    }

    /// Unsubscribes a connection from a topic, in order with [`subscribe`](Self::subscribe), and has it
    /// [leave](Self::leave). `then` is called on another thread: what it sends comes after the last message of the topic.
    pub fn unsubscribe(&self, peer: PeerId, topic: &str, then: impl FnOnce() + Send + 'static) {
        request(self.shard(topic), Request::Unsubscribe(peer, topic.to_owned(), Box::new(then)));
    }
}

/// Connections, users and presence.
impl Cluster {
    /// What a connection of this node is called in the cluster: `NAME.RUN/NUMBER`.
    #[must_use]
    pub fn connection_id(&self, peer: PeerId) -> String {
        self.first().names.connection(peer)
    }

    /// Tells the node of a connection, so that others can send to it or to its user; to be called from
    /// [`Handler::on_open`](framewire::Handler::on_open), with [`closed`](Self::closed) at the end.
    pub fn opened(&self, peer: PeerId, user: Option<&str>) {
        if let Some(user) = user {
            request(self.shard(user), Request::Open(peer, Some(user.to_owned())));
        }
        if user.is_none_or(|user| !Arc::ptr_eq(self.shard(user), self.first())) {
            request(self.first(), Request::Open(peer, None));
        }
    }

    /// A connection has ended: it leaves all topics. To be called from
    /// [`Handler::on_close`](framewire::Handler::on_close).
    pub fn closed(&self, peer: PeerId) {
        for shared in &self.0.shards {
            request(shared, Request::Gone(peer));
        }
    }

    /// A connection is present in a topic from now on, of which the subscribers are told. `info` is told with it: a name
    /// perhaps. It is present until it [leaves](Self::leave) or [ends](Self::closed), or its node is dead for longer than its
    /// [lease](Config::lease).
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] if too many requests wait for the node.
    pub fn join(
        &self,
        peer: PeerId,
        topic: &str,
        info: impl Into<String>,
    ) -> Result<(), PublishError> {
        request_if_room(self.shard(topic), Request::Join(peer, topic.to_owned(), info.into()))
    }

    /// A connection is no longer present in a topic.
    pub fn leave(&self, peer: PeerId, topic: &str) {
        request(self.shard(topic), Request::Leave(peer, topic.to_owned()));
    }

    /// Asks who is in a topic, on all nodes; `then` is called on another thread, with `None` if Redis is away.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] if too many requests wait for the node.
    pub fn members(
        &self,
        topic: &str,
        then: impl FnOnce(Option<Vec<Member>>) + Send + 'static,
    ) -> Result<(), PublishError> {
        request_if_room(self.shard(topic), Request::Members(topic.to_owned(), Box::new(then)))
    }

    /// Asks how many connections all nodes have, as each of them has told within a third of its lease; `then` is called on
    /// another thread, with `None` if Redis is away.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] if too many requests wait for the node.
    pub fn connections(
        &self,
        then: impl FnOnce(Option<u64>) + Send + 'static,
    ) -> Result<(), PublishError> {
        request_if_room(self.first(), Request::Connections(Box::new(then)))
    }

    /// Sends a message to a user or a connection, on whichever nodes that is; at most once. `then` is called on another thread;
    /// [`Published::nodes`] says how many nodes have taken it: 0 if there is nobody.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish) of a topic without a history.
    pub fn send<'m>(
        &self,
        to: Recipient<'_>,
        message: impl Into<Message<'m>>,
        then: impl FnOnce(Result<Published, PublishError>) + Send + 'static,
    ) -> Result<(), PublishError> {
        let body = body_of(&message.into());
        let (shared, channel, peer) = self.address(to);
        let payload = Envelope::Direct { peer, body: &body }.seal();
        put(shared, passing(shared, channel, payload, Some(Box::new(then)))?)
    }

    /// Closes all connections of a user, or one connection, on whichever nodes that is.
    ///
    /// # Errors
    ///
    /// [`DisconnectError`]: the code or the reason cannot be sent, or as [`send`](Self::send).
    pub fn disconnect(
        &self,
        whom: Recipient<'_>,
        code: impl Into<CloseCode>,
        reason: &str,
    ) -> Result<(), DisconnectError> {
        let code = code.into();
        CloseFrame::new(code, reason).map_err(DisconnectError::Close)?;
        let (shared, channel, peer) = self.address(whom);
        let payload = Envelope::Close { peer, code: code.into(), reason }.seal();
        let outgoing = passing(shared, channel, payload, None);
        outgoing.and_then(|outgoing| put(shared, outgoing)).map_err(DisconnectError::Publish)
    }

    fn address(&self, to: Recipient<'_>) -> (&Shared, String, Option<u64>) {
        match to {
            Recipient::User(user) => {
                let shared = self.shard(user);
                (shared, shared.names.user(user), None)
            }
            Recipient::Connection(id) => {
                let (node, peer) = id.rsplit_once('/').unwrap_or((id, ""));
                // No connection has the last number.
                let shared = self.first();
                (shared, shared.names.node(node), Some(peer.parse().unwrap_or(u64::MAX)))
            }
        }
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipient<'a> {
    /// All connections of a user, by the name given to [`Cluster::opened`].
    User(&'a str),
    /// One connection, by its [id](Cluster::connection_id).
    Connection(&'a str),
}

/// Why nobody can be disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The code or the reason, of at most 123 bytes, may not be sent.
    Close(CloseFrameError),
    /// The other nodes cannot be told.
    Publish(PublishError),
}

impl fmt::Display for DisconnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(error) => error.fmt(f),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DisconnectError {}

impl Owner {
    fn close(&self) {
        for shared in &self.shards {
            shared.outgoing.close();
            shared.events.close();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.node_id())
            .field("is_linked", &self.is_linked())
            .finish_non_exhaustive()
    }
}
