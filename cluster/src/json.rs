//! The client protocol: JSON over WebSocket, for browsers and everybody else. `PROTOCOL.md` beside this crate describes it,
//! and [`CLIENT_JS`] speaks it.
//!
//! ```no_run
//! use framewire::{IncomingRequest, Response, Server};
//! use framewire_cluster::{Config, History, json};
//!
//! /// Whoever tells a name may do everything.
//! struct Names;
//!
//! impl json::Rules for Names {
//!     fn admit(&mut self, request: &IncomingRequest) -> Result<json::User, Response> {
//!         let name = request.query_parameter("name").ok_or_else(Response::forbidden)?;
//!         Ok(json::User::named(name))
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = Config::new("redis://127.0.0.1:6379")
//!         .history(History::last(100))
//!         .format(json::Format)
//!         .connect()?;
//!     Server::bind("127.0.0.1:8080")?.run(json::Clients::new(cluster, Names))?;
//!     Ok(())
//! }
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use framewire::{
    Accept, CloseCode, Decision, Handle, Handler, HttpAnswer, IncomingRequest, Message, Outcome,
    Peer, PeerId, Peers, Prepared, Response, SlowConsumer,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{
    Cluster, Gap, Member, Position, Publication, PublishError, Published, Recipient, Start,
    Subscription,
};

/// The subprotocol of this version, which a client may ask for.
pub const SUBPROTOCOL: &str = "framewire-cluster.1";

/// The client for browsers: a module without dependencies, to be served with the page.
pub const CLIENT_JS: &str = include_str!("../client.js");

/// Topics that one client may subscribe to, and the longest name of a topic, a user or a key, in bytes.
const MAX_TOPICS: usize = 256;
const MAX_NAME: usize = 128;

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct User {
    /// The name, under which others can send to all connections of the user. It is told with what the user publishes.
    pub name: Option<String>,
    /// What others are told where the user is present.
    pub info: Value,
}

impl User {
    /// A user with a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), info: Value::Null }
    }

    /// Adds what others are told.
    #[must_use]
    pub fn with_info(mut self, info: Value) -> Self {
        self.info = info;
        self
    }
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Subscribe to a topic, which includes to read its history and to see who is present.
    Subscribe(&'a str),
    /// Publish to a topic.
    Publish(&'a str),
    /// Be present in a topic.
    Join(&'a str),
    /// Send to a user or a connection.
    Send(Recipient<'a>),
}

/// Who may come in, and do what.
#[allow(unused_variables, reason = "the names of the parameters are documentation")]
pub trait Rules {
    /// Who asks for a WebSocket; a response rejects.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead.
    fn admit(&mut self, request: &IncomingRequest) -> Result<User, Response>;

    /// Whether a user may do that; by default everything but to [send](Action::Send).
    fn may(&mut self, user: &User, action: Action<'_>) -> bool {
        !matches!(action, Action::Send(_))
    }

    /// As [`Handler::on_http`], for pages.
    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        Response::upgrade_required().into()
    }
}

/// The [`Handler`] that serves clients of the protocol.
#[derive(Debug)]
pub struct Clients<R> {
    cluster: Cluster,
    rules: R,
    handle: Option<Handle>,
}

impl<R: Rules> Clients<R> {
    /// A handler with these rules. The cluster must have [`Format`] as its format; it is started with the loop.
    pub fn new(cluster: Cluster, rules: R) -> Self {
        Self { cluster, rules, handle: None }
    }
}

/// A client, and what it has asked for.
#[derive(Debug)]
pub struct Session {
    user: User,
    topics: HashSet<String>,
}

impl<R: Rules> Handler for Clients<R> {
    type Session = Session;

    fn on_start(&mut self, peers: &mut Peers<'_, Session>) {
        self.cluster.start(peers.handle());
        self.handle = Some(peers.handle());
    }

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<Session> {
        let mut offered = request.subprotocols();
        let accept = if offered.any(|name| name == SUBPROTOCOL) {
            Accept::new().subprotocol(SUBPROTOCOL)
        } else if request.subprotocols().next().is_none() {
            Accept::new()
        } else {
            let text = format!("the subprotocol is {SUBPROTOCOL}\n");
            return Decision::reject(Response::bad_request(text));
        };
        match self.rules.admit(request) {
            Ok(user) => Decision::accept_with(accept, Session { user, topics: HashSet::new() }),
            Err(response) => Decision::reject(response),
        }
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        self.rules.on_http(request)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Session>) {
        // A client that misses a message comes back and asks for it.
        peer.set_slow_consumer(SlowConsumer::Close);
        let user = peer.session().user.name.clone();
        self.cluster.opened(peer.id(), user.as_deref());
        let connection = self.cluster.connection_id(peer.id());
        let welcome =
            json!({ "connection": connection, "user": user, "linked": self.cluster.is_linked() });
        peer.send(json!({ "welcome": welcome }).to_string());
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Session>, message: Message<'_>) {
        let Some(text) = message.as_text() else {
            // The code and the reason may be sent, so there is no error.
            let _ = peer.close(CloseCode::UNSUPPORTED_DATA, "messages are JSON here");
            return;
        };
        let request = match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            Ok(request) => Asked(request),
            Err(error) => {
                let fault = ("syntax", error.to_string());
                peer.send(refused(fault, &Value::Null).to_string());
                return;
            }
        };
        let id = request.value("id");
        if let Err(fault) = self.obey(peer, &request, &id) {
            peer.send(refused(fault, &id).to_string());
        }
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        self.cluster.on_subscription(topic, subscribers);
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Session>, _outcome: &Outcome) {
        self.cluster.closed(peer.id());
    }
}

/// A code for programs, and a text for people.
type Fault = (&'static str, String);

/// What a client says.
struct Asked<'a>(BTreeMap<String, &'a RawValue>);

impl Asked<'_> {
    fn value(&self, key: &str) -> Value {
        self.0.get(key).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    fn is(&self, key: &str) -> bool {
        self.value(key) == Value::Bool(true)
    }

    /// A name that may be one of a topic, a user or a key.
    fn name(&self, key: &str) -> Result<String, Fault> {
        match self.value(key) {
            Value::String(name)
                if (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control) =>
            {
                Ok(name)
            }
            _ => {
                let text = format!(
                    "{key:?} is a text of 1 to {MAX_NAME} bytes without control characters"
                );
                Err(("syntax", text))
            }
        }
    }

    fn data(&self) -> Result<&str, Fault> {
        let data = self.0.get("data").map(|raw| raw.get());
        data.ok_or_else(|| ("syntax", "there is no \"data\"".into()))
    }

    fn start(&self) -> Result<Start, Fault> {
        let numbers = "\"offset\" and \"last\" are numbers, \"epoch\" is a text";
        match (self.value("epoch"), self.value("offset"), self.value("last")) {
            (Value::Null, Value::Null, Value::Null) => Ok(Start::Now),
            (Value::Null, Value::Null, last) => {
                Ok(Start::Last(last.as_u64().ok_or_else(|| ("syntax", numbers.into()))?))
            }
            (Value::String(epoch), offset, _) if offset.is_u64() => {
                Ok(Start::After(Position::new(epoch, offset.as_u64().unwrap_or_default())))
            }
            _ => Err(("syntax", numbers.into())),
        }
    }
}

fn recipient(to: &Value) -> Result<Recipient<'_>, Fault> {
    match (to["user"].as_str(), to["connection"].as_str()) {
        (Some(user), None) => Ok(Recipient::User(user)),
        (None, Some(connection)) => Ok(Recipient::Connection(connection)),
        _ => Err(("syntax", "\"send\" has a \"user\" or a \"connection\"".into())),
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        let code = match error {
            PublishError::Full | PublishError::Dropped => "full",
            PublishError::Away | PublishError::Closed => "away",
            PublishError::Refused(_) => "refused",
        };
        (code, error.to_string())
    }
}

impl<R: Rules> Clients<R> {
    fn obey(
        &mut self,
        peer: &mut Peer<'_, Session>,
        asked: &Asked<'_>,
        id: &Value,
    ) -> Result<(), Fault> {
        let acts = ["subscribe", "unsubscribe", "publish", "members", "send", "ping"];
        match acts.into_iter().find(|&act| asked.0.contains_key(act)) {
            Some("subscribe") => self.subscribe(peer, asked, id.clone()),
            Some("unsubscribe") => {
                let topic = asked.name("unsubscribe")?;
                if !peer.session_mut().topics.remove(&topic) {
                    return Err(("state", format!("not subscribed to {topic:?}")));
                }
                let (send, name, id) = (self.sender(peer.id()), topic.clone(), id.clone());
                self.cluster.unsubscribe(peer.id(), &topic, move || {
                    send(json!({ "unsubscribed": name, "id": id }));
                });
                Ok(())
            }
            Some("publish") => self.publish(peer, asked, id.clone()),
            Some("members") => {
                let topic = asked.name("members")?;
                self.allow(peer, Action::Subscribe(&topic))?;
                self.tell_members(peer.id(), topic, id.clone())
            }
            Some("send") => self.send(peer, asked, id.clone()),
            Some("ping") => {
                peer.send(json!({ "pong": asked.value("ping") }).to_string());
                Ok(())
            }
            _ => Err(("syntax", format!("what is asked for is none of {acts:?}"))),
        }
    }

    fn allow(&mut self, peer: &Peer<'_, Session>, action: Action<'_>) -> Result<(), Fault> {
        if self.rules.may(&peer.session().user, action) {
            return Ok(());
        }
        Err(("forbidden", "you may not".into()))
    }

    /// What sends to a client from any thread.
    fn sender(&self, id: PeerId) -> impl Fn(Value) + Send + 'static {
        let handle = self.handle.clone();
        move |value| {
            if let Some(handle) = &handle {
                handle.send(id, value.to_string());
            }
        }
    }

    fn subscribe(
        &mut self,
        peer: &mut Peer<'_, Session>,
        asked: &Asked<'_>,
        id: Value,
    ) -> Result<(), Fault> {
        let (topic, start) = (asked.name("subscribe")?, asked.start()?);
        self.allow(peer, Action::Subscribe(&topic))?;
        let joins = asked.is("join");
        if joins {
            self.allow(peer, Action::Join(&topic))?;
        }
        let topics = &peer.session().topics;
        if topics.contains(&topic) {
            return Err(("state", format!("already subscribed to {topic:?}")));
        }
        if topics.len() >= MAX_TOPICS {
            return Err(("state", format!("{MAX_TOPICS} topics are the most")));
        }
        let (send, name) = (self.sender(peer.id()), topic.clone());
        self.cluster.subscribe(peer.id(), &topic, start, move |subscription| {
            send(subscribed(&name, &subscription, id));
        })?;
        peer.session_mut().topics.insert(topic.clone());
        if joins {
            let user = &peer.session().user;
            let info = json!({ "user": user.name, "info": user.info }).to_string();
            self.cluster.join(peer.id(), &topic, info)?;
        }
        if asked.is("members") {
            self.tell_members(peer.id(), topic, Value::Null)?;
        }
        Ok(())
    }

    fn tell_members(&self, peer: PeerId, topic: String, id: Value) -> Result<(), Fault> {
        let (send, name) = (self.sender(peer), topic.clone());
        self.cluster.members(&name, move |members| {
            send(match members {
                Some(members) => {
                    let mut told = members_of(&topic, &members);
                    told["id"] = id;
                    told
                }
                None => refused(PublishError::Away, &id),
            });
        })?;
        Ok(())
    }

    fn publish(
        &mut self,
        peer: &mut Peer<'_, Session>,
        asked: &Asked<'_>,
        id: Value,
    ) -> Result<(), Fault> {
        let (topic, data) = (asked.name("publish")?, asked.data()?);
        let key = asked.0.contains_key("key").then(|| asked.name("key")).transpose()?;
        self.allow(peer, Action::Publish(&topic))?;
        let body = body(peer.session().user.name.as_deref(), data);
        if id.is_null() {
            return Ok(self.cluster.publish_then(&topic, body, key.as_deref(), |_| ())?);
        }
        let (send, name) = (self.sender(peer.id()), topic.clone());
        self.cluster.publish_then(&topic, body, key.as_deref(), move |result| {
            send(match result {
                Ok(Published { position: Some(position), .. }) => {
                    let (epoch, offset) = (&*position.epoch, position.offset);
                    json!({ "published": name, "epoch": epoch, "offset": offset, "id": id })
                }
                Ok(_) => json!({ "published": name, "id": id }),
                Err(error) => refused(error, &id),
            });
        })?;
        Ok(())
    }

    fn send(
        &mut self,
        peer: &mut Peer<'_, Session>,
        asked: &Asked<'_>,
        id: Value,
    ) -> Result<(), Fault> {
        let (to, data) = (asked.value("send"), asked.data()?);
        let recipient = recipient(&to)?;
        self.allow(peer, Action::Send(recipient))?;
        let send = self.sender(peer.id());
        let body = body(peer.session().user.name.as_deref(), data);
        self.cluster.send(recipient, body, move |result| {
            send(match result {
                Ok(published) => json!({ "sent": published.nodes, "id": id }),
                Err(error) => refused(error, &id),
            });
        })?;
        Ok(())
    }
}

fn refused(fault: impl Into<Fault>, id: &Value) -> Value {
    let (code, text) = fault.into();
    json!({ "error": { "code": code, "text": text }, "id": id })
}

fn subscribed(topic: &str, subscription: &Subscription, id: Value) -> Value {
    let mut told = json!({ "subscribed": topic, "linked": subscription.linked, "id": id });
    if let Some(position) = &subscription.position {
        told["epoch"] = Value::from(&*position.epoch);
        told["offset"] = position.offset.into();
        told["recovered"] = subscription.recovered.into();
    }
    if let Some(gap) = &subscription.gap {
        told["gap"] = gap_of(gap);
    }
    told
}

fn gap_of(gap: &Gap) -> Value {
    match gap {
        Gap::Trimmed { from, to } => json!({ "why": "trimmed", "from": from, "to": to }),
        Gap::Epoch => json!({ "why": "epoch" }),
        Gap::Away => json!({ "why": "away" }),
    }
}

fn member_of(member: &Member) -> Value {
    let mut told: Value = serde_json::from_str(&member.info).unwrap_or_default();
    if !told.is_object() {
        told = json!({ "info": member.info });
    }
    told["connection"] = member.connection.as_str().into();
    told
}

fn members_of(topic: &str, members: &[Member]) -> Value {
    let members: Vec<Value> = members.iter().map(member_of).collect();
    json!({ "members": topic, "list": members })
}

/// A message for a server to publish to clients of the protocol, as if a user had published it; `data` is JSON.
///
/// ```
/// # use framewire_cluster::json;
/// assert_eq!(json::body(Some("ann"), "[1, 2]"), r#"{"from":"ann","data":[1, 2]}"#);
/// assert_eq!(json::body(None, "7"), r#"{"data":7}"#);
/// ```
#[must_use]
pub fn body(from: Option<&str>, data: &str) -> String {
    match from {
        Some(from) => format!(r#"{{"from":{},"data":{data}}}"#, Value::from(from)),
        None => format!(r#"{{"data":{data}}}"#),
    }
}

/// The format of the protocol, which [`Config::format`](crate::Config::format) takes.
///
/// A message is a text as [`body`] makes it; any other text is told as the JSON string `data`, and a binary one as `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Format;

impl crate::Format for Format {
    fn message(&self, publication: &Publication<'_>) -> Prepared {
        let mut told = format!(r#"{{"topic":{}"#, Value::from(publication.topic));
        if let Some(position) = publication.position {
            let epoch = Value::from(&*position.epoch);
            let _ = write!(told, r#","epoch":{epoch},"offset":{}"#, position.offset);
        }
        finish(told, &publication.message)
    }

    fn presence(&self, topic: &str, member: &Member, joined: bool) -> Option<Prepared> {
        let act = if joined { "joined" } else { "left" };
        Some(Prepared::new(json!({ act: topic, "member": member_of(member) }).to_string()))
    }

    fn members(&self, topic: &str, members: &[Member]) -> Option<Prepared> {
        Some(Prepared::new(members_of(topic, members).to_string()))
    }

    fn gap(&self, topic: &str, gap: &Gap) -> Option<Prepared> {
        Some(Prepared::new(json!({ "gap": gap_of(gap), "topic": topic }).to_string()))
    }

    fn link(&self, linked: bool) -> Option<Prepared> {
        Some(Prepared::new(json!({ "linked": linked }).to_string()))
    }

    fn direct(&self, message: Message<'_>) -> Prepared {
        finish(r#"{"direct":true"#.into(), &message)
    }
}

/// Adds what was published to an object that has begun.
fn finish(mut told: String, message: &Message<'_>) -> Prepared {
    match message.as_text() {
        Some(text) if text.starts_with("{\"from\":") || text.starts_with("{\"data\":") => {
            told.push(',');
            told.push_str(&text[1..]);
        }
        other => {
            let _ = write!(told, r#","data":{}}}"#, Value::from(other));
        }
    }
    Prepared::new(told)
}
