//! The thread that publishes: it takes what waits, sends it as one batch, and reads the answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use redis::{Connection, ErrorKind, RedisError, RedisResult, Value};

use crate::config::History;
use crate::logging::say;
use crate::publication::Position;
use crate::scripts::{Script, Scripts};
use crate::shared::{Backoff, Shared};

/// Commands that are sent before the first answer is read.
const BATCH: usize = 256;

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// Too many messages wait for Redis, or for this node. Try again later: whoever publishes is faster than Redis.
    Full,
    /// Redis is away, and the topic has no history in whose order the message could wait. The subscribers on this node got it.
    Away,
    /// It was dropped to make room for newer ones.
    Dropped,
    /// Redis has refused it, for want of memory for instance; this is what it said.
    Refused(String),
    /// The cluster was shut down. The message may have been published or not.
    Closed,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many messages wait"),
            Self::Away => f.write_str("Redis is away"),
            Self::Dropped => f.write_str("dropped for newer messages"),
            Self::Refused(error) => write!(f, "Redis has refused it: {error}"),
            Self::Closed => f.write_str("the cluster was shut down"),
        }
    }
}

impl std::error::Error for PublishError {}

/// What Redis has made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Where it stands in the history of its topic; `None` where that has none. An offset of 0: it was published
    /// before under the same key, and that is no longer kept.
    pub position: Option<Position>,
    /// How many nodes got it, as far as Redis knows; `None` where there is a history.
    pub nodes: Option<u64>,
}

/// Is told how a publication ended.
pub(crate) type Then = Box<dyn FnOnce(Result<Published, PublishError>) + Send>;

pub(crate) struct Outgoing {
    pub(crate) what: What,
    pub(crate) then: Option<Then>,
}

pub(crate) enum What {
    Stored { topic: String, key: Option<String>, history: History, body: Vec<u8> },
    Passing { channel: String, payload: Vec<u8> },
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> usize {
        match &self.what {
            What::Stored { topic, body, .. } => topic.len() + body.len(),
            What::Passing { channel, payload } => channel.len() + payload.len(),
        }
    }

    pub(crate) fn end(self, result: Result<Published, PublishError>) {
        if let Some(then) = self.then {
            then(result);
        }
    }
}

pub(crate) struct Publisher {
    shared: Arc<Shared>,
    redis: Option<(Connection, Scripts)>,
    backoff: Backoff,
    /// What was taken from the queue and is not answered, each with its number in this run.
    batch: VecDeque<(u64, Outgoing)>,
    next: u64,
    /// Redis refuses messages, which was said.
    refusing: bool,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            redis: None,
            backoff: Backoff::new(),
            batch: VecDeque::new(),
            next: 1,
            refusing: false,
        }
    }

    /// Publishes until the queue is closed, and then what is in it, if Redis is there.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            if self.batch.is_empty() {
                let Some(taken) = shared.outgoing.take(BATCH, None) else { break };
                for outgoing in taken {
                    self.batch.push_back((self.next, outgoing));
                    self.next += 1;
                }
            }
            match self.exchange() {
                Ok(()) => {
                    if self.backoff.succeed() {
                        say!(Info, "publishing to Redis again");
                    }
                }
                Err(error) => {
                    self.redis = None;
                    if self.backoff.fail() {
                        say!(Warn, "cannot publish to Redis: {error}");
                    }
                    if shared.outgoing.wait_closed(self.backoff.until()) {
                        break;
                    }
                }
            }
        }
        let rest = shared.outgoing.take(usize::MAX, Some(Instant::now())).unwrap_or_default();
        for outgoing in self.batch.into_iter().map(|(_, outgoing)| outgoing).chain(rest) {
            shared.tallies.failed.count();
            outgoing.end(Err(PublishError::Closed));
        }
    }

    /// Sends the batch and takes out of it what is answered.
    fn exchange(&mut self) -> RedisResult<()> {
        if self.redis.is_none() {
            self.redis = Some(self.shared.connect_for_commands()?);
        }
        let (connection, scripts) = self.redis.as_mut().expect("it was made above");
        let mut commands = Vec::new();
        for (number, outgoing) in &self.batch {
            pack(&self.shared, scripts, *number, &outgoing.what, &mut commands);
        }
        connection.send_packed_command(&commands)?;
        while !self.batch.is_empty() {
            let answer = connection.recv_response()?;
            let result = match answer {
                Value::ServerError(error) => {
                    let error = RedisError::from(error);
                    if is_passing(&error) {
                        // It is sent once more, and what comes after it too; what is stored already is known again.
                        return Err(error);
                    }
                    if !self.refusing {
                        say!(Warn, "Redis refuses messages: {error}");
                    }
                    self.refusing = true;
                    self.shared.tallies.failed.count();
                    Err(PublishError::Refused(error.to_string()))
                }
                answer => {
                    if self.refusing {
                        say!(Info, "Redis takes messages again");
                    }
                    self.refusing = false;
                    self.shared.tallies.published.count();
                    Ok(read(&answer)?)
                }
            };
            if let Some((_, outgoing)) = self.batch.pop_front() {
                outgoing.end(result);
            }
        }
        Ok(())
    }
}

fn pack(shared: &Shared, scripts: &Scripts, number: u64, what: &What, commands: &mut Vec<u8>) {
    let names = &shared.names;
    let command = match what {
        What::Stored { topic, key, history, body } => {
            let (facts, stream) = (names.facts(topic), names.stream(topic));
            let server = names.server();
            let key = key.as_ref().map(|key| names.key(topic, key));
            let keys: Vec<&str> =
                [facts.as_str(), &stream, &server].into_iter().chain(key.as_deref()).collect();
            let age = history.age.map_or(0, |age| age.as_millis().max(1));
            let mut command = scripts.call(Script::Publish, &keys);
            command.arg(shared.new_epoch()).arg(names.topic(topic));
            command.arg(&names.node).arg(&names.run).arg(number).arg(body);
            command
                .arg(history.count)
                .arg(history.bytes)
                .arg(u64::try_from(age).unwrap_or(u64::MAX));
            command
        }
        What::Passing { channel, payload } => {
            let mut command = redis::cmd("PUBLISH");
            command.arg(channel).arg(payload);
            command
        }
    };
    command.write_packed_command(commands);
}

fn read(answer: &Value) -> RedisResult<Published> {
    if let Value::Int(nodes) = answer {
        return Ok(Published { position: None, nodes: u64::try_from(*nodes).ok() });
    }
    let (epoch, offset): (String, u64) = redis::from_redis_value(answer)?;
    Ok(Published { position: Some(Position::new(epoch, offset)), nodes: None })
}

/// Whether the same command may well succeed soon, with another connection.
fn is_passing(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BusyLoadingError
            | ErrorKind::NoScriptError
            | ErrorKind::TryAgain
            | ErrorKind::ClusterDown
            | ErrorKind::MasterDown
            | ErrorKind::ReadOnly
            | ErrorKind::AuthenticationFailed
    ) || error.code() == Some("NOAUTH")
}
