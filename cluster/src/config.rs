use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::publication::{Gap, Member, Publication};
use crate::servers::Servers;
use framewire::{Message, Prepared};

/// How many messages of a topic Redis keeps. Whichever bound is reached first has the oldest messages removed; the newest one
/// always stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) age: Option<Duration>,
}

impl History {
    /// Keeps so many messages, of 1 MiB in all, for any time; a topic is forgotten a week after its last message.
    #[must_use]
    pub const fn last(count: u64) -> Self {
        Self { count, bytes: 1 << 20, age: None }
    }

    /// Keeps messages of so many bytes in all; default 1 MiB.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Keeps messages for so long, with a precision of a millisecond. Older ones go with the next publication; when
    /// nothing was published for so long, all go.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }
}

/// How what comes from the cluster is written for clients.
///
/// [`Plain`] hands messages on as they were published. [`json::Format`](crate::json) is that of the client protocol.
pub trait Format: Send + Sync {
    /// A message of a topic, for its subscribers.
    fn message(&self, publication: &Publication<'_>) -> Prepared;

    /// A member has joined a topic or left it; for its subscribers. `None`: they are not told.
    #[allow(unused_variables, reason = "the names of the parameters are documentation")]
    fn presence(&self, topic: &str, member: &Member, joined: bool) -> Option<Prepared> {
        None
    }

    /// All members of a topic, after events may have been missed; for its subscribers on this node.
    #[allow(unused_variables, reason = "the names of the parameters are documentation")]
    fn members(&self, topic: &str, members: &[Member]) -> Option<Prepared> {
        None
    }

    /// Messages of a topic are lost for all subscribers on this node.
    #[allow(unused_variables, reason = "the names of the parameters are documentation")]
    fn gap(&self, topic: &str, gap: &Gap) -> Option<Prepared> {
        None
    }

    /// Redis was lost, or is there again; for all connections.
    #[allow(unused_variables, reason = "the names of the parameters are documentation")]
    fn link(&self, linked: bool) -> Option<Prepared> {
        None
    }

    /// A message to a user or a connection.
    fn direct(&self, message: Message<'_>) -> Prepared {
        Prepared::new(message)
    }
}

/// Hands messages on as they were published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Format for Plain {
    fn message(&self, publication: &Publication<'_>) -> Prepared {
        Prepared::new(publication.message.borrowed())
    }
}

type Histories = Arc<dyn Fn(&str) -> Option<History> + Send + Sync>;

/// What a [`Cluster`](crate::Cluster) is to be like.
///
/// ```
/// use framewire_cluster::{Config, History};
///
/// # fn main() -> Result<(), framewire_cluster::ClusterError> {
/// let cluster = Config::new("redis://127.0.0.1:6379")
///     .node("frankfurt-1")
///     // Rooms can be read again, positions of mice cannot.
///     .history_by(|topic| topic.starts_with("room/").then_some(History::last(100)))
///     .connect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Config {
    /// Of the Redis that share the topics.
    pub(crate) urls: Vec<String>,
    #[cfg(feature = "tls-rustls")]
    pub(crate) certificates: redis::TlsCertificates,
    pub(crate) node: Option<String>,
    pub(crate) prefix: String,
    pub(crate) histories: Histories,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) max_waiting: usize,
    pub(crate) max_waiting_bytes: usize,
    pub(crate) drop_oldest: bool,
    pub(crate) lease: Duration,
    pub(crate) patience: Duration,
}

impl Config {
    /// What `url` names is connected to: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `redis+unix:///PATH`, and with
    /// the feature `tls-rustls` also `rediss://…`.
    ///
    /// Where Redis has replicas, there are two ways to find the one that is the primary, now and after a failover:
    ///
    /// - `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],…/SERVICE[/DATABASE]` asks Sentinels, whose port is 26379
    ///   if the URL does not say. The user is that of Redis; Sentinels are asked without one.
    /// - `redis://HOST:PORT,HOST:PORT,…` tries one after the other and takes none that is a replica. That finds *a* primary:
    ///   whoever makes a replica the primary has to see to it that the old one is none, and does not come back as one.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            #[cfg(feature = "tls-rustls")]
            certificates: redis::TlsCertificates { client_tls: None, root_cert: None },
            node: None,
            prefix: "framewire:".into(),
            histories: Arc::new(|_| None),
            format: Arc::new(Plain),
            max_waiting: 4096,
            max_waiting_bytes: 16 << 20,
            drop_oldest: false,
            lease: Duration::from_secs(10),
            patience: Duration::from_secs(5),
        }
    }

    /// Shares the topics among one more Redis, for more than one can carry. Each topic is in one of them, with its history and
    /// its members, by a hash of its name; so is what is sent to a user. Nodes are linked when they have all of them.
    ///
    /// All nodes must have the same ones in the same order. One more at the end takes its share of the topics from the others:
    /// those begin a new epoch, without what they had.
    pub fn shard(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Trusts a Redis of `rediss:` whose certificate leads to one of these, as PEM, in place of those of the system.
    #[cfg(feature = "tls-rustls")]
    pub fn tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.root_cert = Some(pem.into());
        self
    }

    /// Shows Redis this certificate with its chain, and proves it with this key, both as PEM. It asks for one unless it is
    /// configured with `tls-auth-clients no`.
    #[cfg(feature = "tls-rustls")]
    pub fn tls_identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let (client_cert, client_key) = (chain.into(), key.into());
        self.certificates.client_tls = Some(redis::ClientTlsConfig { client_cert, client_key });
        self
    }

    /// What this node is called: 1 to 64 letters, digits, `-`, `_` and `.`; by default something random. A name that stays over
    /// restarts keeps what Redis remembers small.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// What all names in Redis begin with, default `framewire:`. Clusters with different prefixes know nothing of each other.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Keeps a history of all topics; by default there is none, and messages are delivered at most once. All nodes must
    /// say the same.
    pub fn history(self, history: History) -> Self {
        self.history_by(move |_| Some(history))
    }

    /// Says for each topic whether it has a history. All nodes must say the same.
    pub fn history_by(
        mut self,
        histories: impl Fn(&str) -> Option<History> + Send + Sync + 'static,
    ) -> Self {
        self.histories = Arc::new(histories);
        self
    }

    /// How messages are written for clients; by default [`Plain`].
    pub fn format(mut self, format: impl Format + 'static) -> Self {
        self.format = Arc::new(format);
        self
    }

    /// How many messages, and bytes of them, may wait for Redis: 4,096 and 16 MiB by default. Beyond that
    /// [`Cluster::publish`](crate::Cluster::publish) fails with [`PublishError::Full`](crate::PublishError::Full), which is
    /// back-pressure for whoever publishes.
    pub fn max_waiting(mut self, messages: usize, bytes: usize) -> Self {
        (self.max_waiting, self.max_waiting_bytes) = (messages, bytes);
        self
    }

    /// Makes room by dropping the oldest of the messages that wait for Redis, in place of failing; they are
    /// [counted](crate::Counters::dropped).
    pub fn drop_oldest(mut self, yes: bool) -> Self {
        self.drop_oldest = yes;
        self
    }

    /// How long a node that says nothing counts as alive; by default 10 s, at least 30 ms. A node speaks three times
    /// in that time. The members of a dead node leave at the latest after twice as long.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(30));
        self
    }

    /// How long Redis may take to connect or to answer before it counts as away; default 5 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.max(Duration::from_millis(1));
        self
    }

    /// Makes the cluster, which does not wait for Redis.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] for what cannot be used; a Redis that is not there is no error.
    pub fn connect(self) -> Result<crate::Cluster, ClusterError> {
        let servers = self.urls.iter().map(|url| {
            Servers::of(&self, url).map_err(|error| ClusterError::Url(error.to_string()))
        });
        let servers = servers.collect::<Result<_, _>>()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if let Some(node) = &self.node
            && (!(1..=64).contains(&node.len()) || !node.bytes().all(is_plain))
        {
            return Err(ClusterError::Node(node.clone()));
        }
        crate::Cluster::new(&self, servers)
    }
}

impl fmt::Debug for Config {
    /// Without the URL, which may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("node", &self.node)
            .field("prefix", &self.prefix)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Why a cluster cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterError {
    /// The URL or a certificate cannot be read, or needs a feature that is not there.
    Url(String),
    /// A node cannot have this name.
    Node(String),
    /// The system gives no random numbers.
    Random(framewire::EntropyError),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "the URL of Redis: {error}"),
            Self::Node(name) => write!(f, "{name:?} cannot be the name of a node"),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

impl std::error::Error for ClusterError {}
