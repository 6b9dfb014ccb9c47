use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use framewire::{Handle, PeerId};
use redis::{Connection, ErrorKind, RedisResult};

use crate::config::Config;
use crate::counters::Tallies;
use crate::logging::say;
use crate::node::Event;
use crate::publisher::Outgoing;
use crate::queue::Queue;
use crate::scripts::{Script, Scripts};
use crate::servers::Servers;

/// What wakes the thread that listens, on the node's own channel.
pub(crate) const WAKE: &[u8] = b"w";

/// Messages from Redis that may wait in the node, and bytes of them.
const MAX_INCOMING: usize = 4096;
const MAX_INCOMING_BYTES: usize = 16 << 20;

/// What the three threads and the event loop share. The loop never waits for any of it.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) servers: Servers,
    pub(crate) names: Names,
    pub(crate) handle: OnceLock<Handle>,
    /// To the thread that publishes.
    pub(crate) outgoing: Queue<Outgoing>,
    /// To the thread that is the node.
    pub(crate) events: Queue<Event>,
    /// Of those events, how many are requests that can be refused.
    pub(crate) requests: AtomicUsize,
    /// Channels that the thread that listens has to subscribe to (true) or leave, in order.
    pub(crate) orders: Mutex<Vec<(String, bool)>>,
    /// Redis is there: what others publish comes, and what we publish goes.
    pub(crate) linked: AtomicBool,
    /// How many Redis of those that share the topics are not.
    pub(crate) unlinked: Arc<AtomicUsize>,
    pub(crate) tallies: Tallies,
    /// How many names for epochs this run has given.
    epochs: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        servers: Servers,
        names: Names,
        unlinked: Arc<AtomicUsize>,
    ) -> Self {
        let outgoing = Queue::new(config.max_waiting, config.max_waiting_bytes);
        Self {
            config,
            servers,
            names,
            handle: OnceLock::new(),
            outgoing,
            events: Queue::new(MAX_INCOMING, MAX_INCOMING_BYTES),
            requests: AtomicUsize::new(0),
            orders: Mutex::default(),
            linked: AtomicBool::new(false),
            unlinked,
            tallies: Tallies::default(),
            epochs: AtomicU64::new(0),
        }
    }

    pub(crate) fn orders(&self) -> MutexGuard<'_, Vec<(String, bool)>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::SeqCst)
    }

    /// A name for an epoch, which none has had.
    pub(crate) fn new_epoch(&self) -> String {
        let number = self.epochs.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.names.run)
    }

    /// A connection for commands, with the scripts loaded, to a Redis that knows which one it is.
    pub(crate) fn connect_for_commands(&self) -> RedisResult<(Connection, Scripts)> {
        let mut connection = self.connect()?;
        let scripts = Scripts::load(&mut connection)?;
        match identity(&mut connection) {
            Ok(server) => {
                let mut note = scripts.call(Script::Server, &[&self.names.server()]);
                note.arg(server).arg(self.new_epoch()).query::<()>(&mut connection)?;
            }
            Err(error) if error.code() == Some("NOPERM") => {
                say!(Debug, "failovers are not noticed, since INFO is forbidden: {error}");
            }
            Err(error) => return Err(error),
        }
        Ok((connection, scripts))
    }

    /// A connection on which nothing waits for ever.
    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        self.servers.connect(self.config.patience)
    }
}

/// What no other process of Redis is called, nor this one after it was a replica.
fn identity(connection: &mut Connection) -> RedisResult<String> {
    let mut name = String::new();
    for (section, field) in [("server", "run_id:"), ("replication", "master_replid:")] {
        let info: String = redis::cmd("INFO").arg(section).query(connection)?;
        let Some(id) = info.lines().find_map(|line| line.strip_prefix(field)) else {
            return Err((ErrorKind::ResponseError, "INFO does not say which server it is").into());
        };
        name.push_str(id.trim());
    }
    Ok(name)
}

/// The names in Redis.
#[derive(Debug)]
pub(crate) struct Names {
    prefix: String,
    /// The node, and this run of it.
    pub(crate) node: String,
    pub(crate) run: String,
    /// Both: what no other run of any node is called.
    pub(crate) instance: String,
}

impl Names {
    pub(crate) fn new(prefix: &str, node: String, run: String) -> Self {
        let instance = format!("{node}.{run}");
        Self { prefix: prefix.to_owned(), node, run, instance }
    }

    /// Where messages to a topic go.
    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}t:{topic}", self.prefix)
    }

    /// Where messages to a user go.
    pub(crate) fn user(&self, user: &str) -> String {
        format!("{}u:{user}", self.prefix)
    }

    /// Where messages to connections of a node go.
    pub(crate) fn node(&self, instance: &str) -> String {
        format!("{}i:{instance}", self.prefix)
    }

    /// What a connection of this node is called in the cluster.
    pub(crate) fn connection(&self, peer: PeerId) -> String {
        format!("{}/{}", self.instance, peer.as_u64())
    }

    pub(crate) fn own(&self) -> String {
        self.node(&self.instance)
    }

    /// Epoch, offset and producers of a topic.
    pub(crate) fn facts(&self, topic: &str) -> String {
        format!("{}facts:{topic}", self.prefix)
    }

    pub(crate) fn stream(&self, topic: &str) -> String {
        format!("{}stream:{topic}", self.prefix)
    }

    /// That a message with this key was published.
    pub(crate) fn key(&self, topic: &str, key: &str) -> String {
        format!("{}key:{}:{topic}:{key}", self.prefix, topic.len())
    }

    pub(crate) fn members(&self, topic: &str) -> String {
        format!("{}members:{topic}", self.prefix)
    }

    /// The topics in which a node has members.
    pub(crate) fn topics_of(&self, instance: &str) -> String {
        format!("{}topics:{instance}", self.prefix)
    }

    /// The nodes with the ends of their leases.
    pub(crate) fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    /// The nodes with their numbers of connections.
    pub(crate) fn connections(&self) -> String {
        format!("{}connections", self.prefix)
    }

    /// Which server has spoken last.
    pub(crate) fn server(&self) -> String {
        format!("{}server", self.prefix)
    }

    /// The topic of a channel of a topic.
    pub(crate) fn topic_of<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.prefix)?.strip_prefix("t:")
    }
}

/// The first and the longest pause before Redis is tried again; they double.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When Redis may be tried again.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    until: Instant,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { pause: FIRST_PAUSE, until: Instant::now() }
    }

    /// It has failed. Returns whether it was fine before, so that it is said once.
    pub(crate) fn fail(&mut self) -> bool {
        let first = self.pause == FIRST_PAUSE;
        self.until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        first
    }

    /// When to try again.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// It works. Returns whether it had failed before.
    pub(crate) fn succeed(&mut self) -> bool {
        let failed = self.pause != FIRST_PAUSE;
        self.pause = FIRST_PAUSE;
        failed
    }
}
