//! The thread that listens to Redis: to the topics that have subscribers here, and to a channel of our own,
//! on which the publishing thread says every second that Redis is there, and at once that the topics have
//! changed. So it needs no time-outs to look after other things, and knows soon when Redis is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use framewire::Prepared;
use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, Value};
use serde_json::json;

use crate::bridge::{self, Backoff, Bridge};
use crate::envelope;
use crate::inbox::Inbox;
use crate::numbers::{Arrival, Taken};

/// Topics that are asked for in one command.
const TOPICS_AT_ONCE: usize = 512;

pub(crate) struct Subscriber {
    client: Client,
    bridge: Arc<Bridge>,
    inbox: Inbox,
    taken: Taken,
    backoff: Backoff,
    /// When something last came.
    heard: Instant,
    /// The topics that were linked when Redis went away, and since when.
    interrupted: HashMap<String, Instant>,
    /// What Redis has confirmed before it was known that we can publish, too.
    unproven: Option<Vec<String>>,
    /// Something has been said about it, so its end is said, too.
    away: bool,
}

impl Subscriber {
    pub(crate) fn new(client: Client, bridge: Arc<Bridge>, inbox: Inbox) -> Self {
        Self {
            client,
            bridge,
            inbox,
            taken: Taken::default(),
            backoff: Backoff::new(),
            heard: Instant::now(),
            interrupted: HashMap::new(),
            unproven: Some(Vec::new()),
            away: false,
        }
    }

    /// Listens until the loop is gone.
    pub(crate) fn run(mut self) {
        while !self.inbox.is_closed() {
            let Err(error) = self.listen();
            if self.inbox.is_closed() {
                break;
            }
            if !self.away {
                eprintln!("cannot hear Redis: {error}; only what this node publishes is delivered");
                self.away = true;
            }
            let linked = std::mem::take(&mut self.bridge.subscriptions().linked);
            for topic in linked {
                self.inbox.put(&topic, json!({ "unlinked": topic }).to_string());
                self.interrupted.insert(topic, self.heard);
            }
            thread::sleep(self.backoff.pause());
        }
    }

    /// Listens until something fails.
    fn listen(&mut self) -> RedisResult<std::convert::Infallible> {
        let mut connection = bridge::connect(&self.client)?;
        let topics: HashSet<String> = {
            let mut subscriptions = self.bridge.subscriptions();
            // All that is wanted is asked for now.
            subscriptions.changes.clear();
            subscriptions.wanted.clone()
        };
        self.interrupted.retain(|topic, _| topics.contains(topic));
        self.unproven = Some(Vec::new());
        let own_channel = self.bridge.names.own_channel();
        order(&mut connection, "SUBSCRIBE", std::slice::from_ref(&own_channel))?;
        let topics: Vec<_> = topics.into_iter().collect();
        for topics in topics.chunks(TOPICS_AT_ONCE) {
            let channels: Vec<_> =
                topics.iter().map(|topic| self.bridge.names.channel(topic)).collect();
            order(&mut connection, "SUBSCRIBE", &channels)?;
        }
        loop {
            let push = Push::of(connection.recv_response()?)?;
            self.heard = Instant::now();
            match push.kind.as_str() {
                "message" if push.channel == own_channel => {
                    self.prove();
                    self.pass_on_changes(&mut connection)?;
                }
                "message" => self.deliver(&push),
                "subscribe" => self.confirm(&push.channel),
                "unsubscribe" => self.leave(&push.channel),
                _ => {}
            }
        }
    }

    /// What we have published has come back: Redis is there, in both directions.
    fn prove(&mut self) {
        let Some(topics) = self.unproven.take() else { return };
        self.backoff = Backoff::new();
        if self.away {
            eprintln!("hearing Redis again, {} topics", topics.len());
            self.away = false;
        }
        for topic in topics {
            self.link(&topic);
        }
    }

    fn confirm(&mut self, channel: &str) {
        let names = &self.bridge.names;
        let Some(topic) = names.topic(channel).map(str::to_owned) else { return };
        match &mut self.unproven {
            Some(topics) => topics.push(topic),
            None => self.link(&topic),
        }
    }

    /// From now on, what is published anywhere reaches the subscribers of this topic.
    fn link(&mut self, topic: &str) {
        {
            let mut subscriptions = self.bridge.subscriptions();
            if !subscriptions.wanted.contains(topic) {
                return;
            }
            subscriptions.linked.insert(topic.to_owned());
        }
        if let Some(since) = self.interrupted.remove(topic) {
            let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            eprintln!("gap: nothing was heard on {topic:?} for {milliseconds} ms");
            let gap = json!({ "gap": { "topic": topic, "milliseconds": milliseconds } });
            self.inbox.put(topic, gap.to_string());
        }
        self.inbox.put(topic, json!({ "linked": topic }).to_string());
    }

    fn leave(&mut self, channel: &str) {
        if let Some(topic) = self.bridge.names.topic(channel) {
            self.bridge.subscriptions().linked.remove(topic);
            self.taken.forget(topic);
        }
    }

    fn pass_on_changes(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let changes = std::mem::take(&mut self.bridge.subscriptions().changes);
        for one in changes.chunk_by(|(_, one), (_, other)| one == other) {
            let channels: Vec<_> =
                one.iter().map(|(topic, _)| self.bridge.names.channel(topic)).collect();
            for channels in channels.chunks(TOPICS_AT_ONCE) {
                order(connection, if one[0].1 { "SUBSCRIBE" } else { "UNSUBSCRIBE" }, channels)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, push: &Push) {
        let names = &self.bridge.names;
        let Some(topic) = names.topic(&push.channel) else { return };
        let Some((publisher, number, text)) = envelope::open(&push.payload) else {
            eprintln!("somebody else has published on {:?}; ignored", push.channel);
            return;
        };
        // The subscribers here have it already.
        if names.is_own(publisher) {
            return;
        }
        match self.taken.take(topic, publisher, number) {
            Arrival::InOrder => {}
            Arrival::Again => return,
            Arrival::After { from, to } => {
                eprintln!("gap: {from} to {to} of {publisher} on {topic:?} have not come");
                let gap = json!({ "topic": topic, "publisher": publisher, "from": from, "to": to });
                self.inbox.put(topic, json!({ "gap": gap }).to_string());
            }
        }
        self.inbox.put(topic, Prepared::new(text));
    }
}

fn order(connection: &mut Connection, name: &str, channels: &[String]) -> RedisResult<()> {
    connection.send_packed_command(&redis::cmd(name).arg(channels).get_packed_command())
}

/// What Redis says to who subscribes.
struct Push {
    kind: String,
    channel: String,
    /// Of a message.
    payload: Vec<u8>,
}

impl Push {
    fn of(value: Value) -> RedisResult<Self> {
        let mut parts = match value {
            Value::Array(parts) => parts.into_iter(),
            Value::ServerError(error) => return Err(error.into()),
            _ => return Err(unexpected()),
        };
        let mut bytes = || match parts.next() {
            Some(Value::BulkString(bytes)) => bytes,
            _ => Vec::new(),
        };
        let kind = String::from_utf8(bytes()).map_err(|_| unexpected())?;
        let channel = String::from_utf8(bytes()).map_err(|_| unexpected())?;
        Ok(Self { kind, channel, payload: bytes() })
    }
}

fn unexpected() -> RedisError {
    (ErrorKind::ResponseError, "an answer that is none to a subscription").into()
}
