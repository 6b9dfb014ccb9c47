//! A real Redis, nodes in threads, and clients that wait for what they are told.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use framewire::{Client, Config as Wire, Handle, IncomingRequest, Response, Server};
use framewire_cluster::json::{Action, Clients, Format, Rules, User};
use framewire_cluster::{Cluster, Config, History};
use serde_json::{Value, json};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is true.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it does not become true");
    }
}

/// A Redis of a test's own, on a Unix-domain socket.
pub(crate) struct Redis {
    folder: PathBuf,
    child: Option<Child>,
    /// Arguments of its own.
    more: Vec<String>,
}

impl Redis {
    /// `None`, and a word about it, where no redis-server is installed.
    pub(crate) fn start() -> Option<Self> {
        let redis = Self::stopped()?;
        Some(redis.started())
    }

    /// One that is not started yet.
    pub(crate) fn stopped() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            assert!(
                std::env::var_os("CLUSTER_REQUIRED").is_none(),
                "there is no redis-server, and CLUSTER_REQUIRED is set"
            );
            eprintln!("skipped: there is no redis-server");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fw-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Self { folder, child: None, more: Vec::new() })
    }

    pub(crate) fn started(mut self) -> Self {
        self.begin();
        self
    }

    /// With more arguments, which may name files in its folder.
    #[cfg(all(feature = "log", feature = "tls-rustls"))]
    pub(crate) fn with(mut self, arguments: impl Fn(&Path) -> Vec<String>) -> Self {
        self.more = arguments(&self.folder);
        self.started()
    }

    /// Starts it, with what it had stored.
    pub(crate) fn begin(&mut self) {
        let command = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket"])
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(&self.folder)
            .args(&self.more)
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(command.unwrap());
        let end = Instant::now() + PATIENCE;
        while self.try_ask(&["PING"]).is_none() {
            assert!(Instant::now() < end, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The URL for a user of its ACL.
    pub(crate) fn url_for(&self, user: &str, password: &str) -> String {
        format!("{}?user={user}&pass={password}", self.url())
    }

    /// The answer to a command.
    pub(crate) fn ask(&self, words: &[&str]) -> redis::Value {
        self.try_ask(words).unwrap_or_else(|| panic!("Redis does not take {words:?}"))
    }

    fn try_ask(&self, words: &[&str]) -> Option<redis::Value> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).ok()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

/// A server of the client protocol.
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    handle: Handle,
    url: String,
    thread: Option<JoinHandle<()>>,
}

/// Whoever tells a name has it, and may do everything but what `secret/` begins.
struct Everybody;

impl Rules for Everybody {
    fn admit(&mut self, request: &IncomingRequest) -> Result<User, Response> {
        let name = request.query_parameter("name");
        Ok(name.map_or_else(User::default, |name| User::named(name).with_info(json!({ "age": 7 }))))
    }

    fn may(&mut self, _user: &User, action: Action<'_>) -> bool {
        !matches!(action, Action::Subscribe(topic) | Action::Publish(topic) if topic.starts_with("secret/"))
    }
}

/// Topics that begin with `room` have a history of 20.
pub(crate) fn config(url: String) -> Config {
    Config::new(url)
        .history_by(|topic| topic.starts_with("room").then_some(History::last(20)))
        .patience(Duration::from_secs(2))
        .lease(Duration::from_secs(1))
}

impl Node {
    pub(crate) fn new(redis: &Redis, name: &str) -> Self {
        Self::with(config(redis.url()).node(name))
    }

    pub(crate) fn with(config: Config) -> Self {
        let cluster = config.format(Format).connect().unwrap();
        let wire = Wire::new().ping_interval(None);
        let server = Server::bind("127.0.0.1:0").unwrap().config(wire);
        let mut event_loop =
            server.into_event_loop(Clients::new(cluster.clone(), Everybody)).unwrap();
        let url = format!("ws://{}", event_loop.local_addr().unwrap());
        let handle = event_loop.handle();
        let thread = thread::spawn(move || event_loop.run().unwrap());
        Self { cluster, handle, url, thread: Some(thread) }
    }

    /// A client that has heard the welcome.
    pub(crate) fn client(&self) -> TestClient {
        self.client_of("")
    }

    /// A client that is a user, and whose node is linked.
    pub(crate) fn linked_client(&self, user: &str) -> TestClient {
        let mut client = self.client_of(user);
        if client.welcome["linked"] != true {
            client.hears(|told| told["linked"] == true);
        }
        client
    }

    pub(crate) fn client_of(&self, user: &str) -> TestClient {
        let url =
            if user.is_empty() { self.url.clone() } else { format!("{}/?name={user}", self.url) };
        let mut client = Client::connect(&url).unwrap();
        client.set_read_timeout(Some(PATIENCE));
        let mut client = TestClient { client, kept: VecDeque::new(), welcome: Value::Null };
        client.welcome = client.hears(|told| told["welcome"].is_object())["welcome"].clone();
        client
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        assert!(self.cluster.shutdown(PATIENCE), "the threads of the cluster end");
    }
}

pub(crate) struct TestClient {
    client: Client,
    /// What has come, and nobody has waited for.
    kept: VecDeque<Value>,
    pub(crate) welcome: Value,
}

impl TestClient {
    pub(crate) fn says(&mut self, what: Value) {
        self.client.send(what.to_string()).unwrap();
    }

    /// The next that was told, of those that nobody has waited for.
    pub(crate) fn next(&mut self) -> Value {
        self.kept.pop_front().unwrap_or_else(|| self.read())
    }

    fn read(&mut self) -> Value {
        let message =
            self.client.recv().expect("it comes in time").expect("the connection is open");
        serde_json::from_str(message.as_text().unwrap()).unwrap()
    }

    /// Waits for something; what comes before it can still be asked for.
    pub(crate) fn hears(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.kept.iter().position(&what) {
            return self.kept.remove(index).unwrap();
        }
        loop {
            let told = self.read();
            if what(&told) {
                return told;
            }
            self.kept.push_back(told);
        }
    }

    /// Says something with an id, and waits for its answer.
    pub(crate) fn asks(&mut self, mut what: Value) -> Value {
        what["id"] = 1.into();
        self.says(what);
        self.hears(|told| told["id"] == 1)
    }

    /// Subscribes, and waits until what others publish comes.
    pub(crate) fn subscribes(&mut self, topic: &str) -> Value {
        let told = self.asks(json!({ "subscribe": topic }));
        assert_eq!(told["subscribed"], topic, "{told}");
        told
    }

    pub(crate) fn publishes(&mut self, topic: &str, data: impl Into<Value>) -> Value {
        let told = self.asks(json!({ "publish": topic, "data": data.into() }));
        assert_eq!(told["published"], topic, "{told}");
        told
    }

    /// The data of so many messages of a topic.
    pub(crate) fn gets(&mut self, topic: &str, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.hears(|told| told["topic"] == topic)["data"].clone()).collect()
    }

    /// That nothing else has come, as far as this node and Redis are done. Redis may be lost and found more than once.
    pub(crate) fn has_heard_all(&mut self) {
        self.asks(json!({ "members": "nobody" }));
        self.says(json!({ "ping": 7 }));
        self.hears(|told| told["pong"] == 7);
        self.kept.retain(|told| told["linked"].is_null());
        assert_eq!(self.kept, [] as [Value; 0]);
    }

    /// How the connection ends.
    pub(crate) fn ends_with(&mut self) -> u16 {
        while self.client.recv().unwrap().is_some() {}
        let outcome = self.client.outcome().unwrap();
        u16::from(outcome.received().unwrap().code())
    }
}

impl Node {
    /// Whether the node speaks a subprotocol; it refuses those who offer none that it does.
    pub(crate) fn speaks(&self, subprotocol: &str, yes: bool) {
        let client = Client::builder(&self.url).unwrap().subprotocols([subprotocol]).unwrap();
        let chosen =
            client.connect().ok().and_then(|client| client.subprotocol().map(str::to_owned));
        assert_eq!(chosen.as_deref(), yes.then_some(subprotocol));
    }
}
