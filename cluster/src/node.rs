//! The thread that is the node: it knows the topics that have subscribers here, how far each of them is, and who is in them.
//!
//! All that comes from Redis, and all that is asked of the node, goes through its one queue, and what it has the event loop do
//! goes through one handle, in order. So a client that comes back is sent what it has missed, up to where the topic is on this
//! node, and then subscribed: what follows finds it there, and nothing comes twice or is left out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use framewire::{Handle, PeerId, Prepared};
use redis::{Connection, FromRedisValue, RedisResult};

use crate::config::History;
use crate::logging::say;
use crate::publication::{Envelope, Gap, Member, Position, Publication, message_of};
use crate::scripts::{Script, Scripts};
use crate::shared::{Backoff, Shared, WAKE};

/// Events that are taken from the queue at once, and messages that are read from a history at once.
const EVENTS: usize = 64;
const PAGE: usize = 500;

/// How long a topic without subscribers is still listened to: somebody may come back.
const LINGER: Duration = Duration::from_secs(10);

pub(crate) enum Event {
    /// The node's own channel is heard: Redis is there.
    Heard,
    /// Nothing is heard any more.
    Unheard,
    /// Messages on this channel are heard from now on.
    Subscribed(String),
    /// A message on a channel.
    Message(String, Vec<u8>),
    Request(Request),
}

pub(crate) enum Request {
    /// A topic has got its first subscriber in a loop, or lost its last one.
    Wanted(String, bool),
    Subscribe(Applicant),
    Unsubscribe(PeerId, String, Box<dyn FnOnce() + Send>),
    Open(PeerId, Option<String>),
    Gone(PeerId),
    Join(PeerId, String, String),
    Leave(PeerId, String),
    Members(String, ThenMembers),
    Connections(Box<dyn FnOnce(Option<u64>) + Send>),
}

/// From where on a subscriber gets the messages of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// From now on: from where the topic is on this node, which may be a moment behind Redis.
    Now,
    /// With so many of the newest messages of the history, then from now on.
    Last(u64),
    /// Whatever came after the message at this position, then from now on.
    After(Position),
}

/// What a subscriber can rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Where the topic is: the position of the newest message that is sent from its history. `None` without a history.
    pub position: Option<Position>,
    /// Messages from the history that are sent before what is new.
    pub recovered: u64,
    /// What was missed and is lost. After it the subscriber gets all that is kept.
    pub gap: Option<Gap>,
    /// Whether messages of other nodes come; otherwise Redis is away, and the topic has no history.
    pub linked: bool,
}

type ThenMembers = Box<dyn FnOnce(Option<Vec<Member>>) + Send>;

/// Somebody who waits to be subscribed.
pub(crate) struct Applicant {
    pub(crate) peer: PeerId,
    pub(crate) topic: String,
    pub(crate) start: Start,
    pub(crate) then: Box<dyn FnOnce(Subscription) + Send>,
}

pub(crate) struct Node {
    shared: Arc<Shared>,
    handle: Handle,
    redis: Option<(Connection, Scripts)>,
    backoff: Backoff,
    heard: bool,
    topics: HashMap<String, Topic>,
    users: HashMap<String, HashSet<PeerId>>,
    peers: HashMap<u64, Known>,
    next_beat: Instant,
}

struct Topic {
    history: Option<History>,
    /// Redis has confirmed that it is heard.
    linked: bool,
    /// It was linked, and others may have published while it was not.
    interrupted: bool,
    /// The newest message that the loop was given, and when it was stored (0: not known).
    newest: Option<(Position, u64)>,
    /// The epochs that it has had, each with its first offset; the last one is that of the newest message.
    chain: Vec<(String, u64)>,
    /// In how many loops it has subscribers.
    loops: usize,
    /// When it last had none, or was asked for.
    touched: Instant,
    waiting: VecDeque<Applicant>,
    /// Who of this node is present, and what is told of them.
    members: HashMap<PeerId, String>,
    /// Somebody wants to know who is present.
    has_presence: bool,
    /// Redis has to be told of the members when it is linked: so those of them who subscribe hear of themselves.
    is_untold: bool,
    /// Who has asked for the members since then.
    asking: Vec<ThenMembers>,
}

/// A connection of this node.
struct Known {
    id: PeerId,
    user: Option<String>,
    /// Where it is present.
    topics: HashSet<String>,
}

/// A message of a history.
struct Entry {
    offset: u64,
    stamp: u64,
    body: Vec<u8>,
}

impl Topic {
    /// The last message that whoever has this one has in common with the epoch of today; `None`: it cannot be known.
    fn last_common(&self, position: &Position) -> Option<u64> {
        let index = self.chain.iter().position(|(epoch, _)| **epoch == *position.epoch)?;
        let next = self.chain.get(index + 1);
        Some(
            next.map_or(position.offset, |(_, first)| position.offset.min(first.saturating_sub(1))),
        )
    }
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, handle: Handle) -> Self {
        Self {
            shared,
            handle,
            redis: None,
            backoff: Backoff::new(),
            heard: false,
            topics: HashMap::new(),
            users: HashMap::new(),
            peers: HashMap::new(),
            next_beat: Instant::now(),
        }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let deadline = if self.heard && !shared.is_linked() {
                self.next_beat.min(self.backoff.until())
            } else {
                self.next_beat
            };
            let Some(events) = shared.events.take(EVENTS, Some(deadline)) else { break };
            for event in events {
                self.take(event);
            }
            if self.heard && !shared.is_linked() && Instant::now() >= self.backoff.until() {
                self.attempt(Self::link);
            }
            if Instant::now() >= self.next_beat {
                self.next_beat = Instant::now() + self.period();
                self.forget_topics();
                if shared.is_linked() {
                    self.attempt(Self::beat);
                }
            }
        }
        if let Err(error) = self.say_goodbye() {
            say!(Warn, "the other nodes are not told of the end of this one: {error}");
        }
    }

    /// How often something must be heard from this node, for the others and for its own listener.
    fn period(&self) -> Duration {
        (self.shared.config.lease / 3).min(self.shared.config.patience / 2)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Heard => {
                self.heard = true;
                self.attempt(Self::link);
            }
            Event::Unheard => {
                self.heard = false;
                // What has ended one connection has often ended the other one.
                self.redis = None;
                self.unlink();
            }
            Event::Subscribed(channel) => {
                let topic = self.shared.names.topic_of(&channel).map(str::to_owned);
                if let Some(topic) = topic {
                    self.attempt(|node| node.topic_is_linked(&topic));
                }
            }
            Event::Message(channel, payload) => {
                self.attempt(|node| node.hear(&channel, &payload));
            }
            Event::Request(request) => {
                self.shared.requests.fetch_sub(1, Ordering::Relaxed);
                self.serve(request);
            }
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Wanted(topic, true) => {
                let entry = self.topic(&topic);
                entry.loops += 1;
                self.attempt(|node| node.order_topic(&topic));
            }
            Request::Wanted(topic, false) => {
                let entry = self.topic(&topic);
                entry.loops = entry.loops.saturating_sub(1);
                entry.touched = Instant::now();
            }
            Request::Subscribe(applicant) => {
                let topic = applicant.topic.clone();
                let entry = self.topic(&topic);
                entry.touched = Instant::now();
                entry.waiting.push_back(applicant);
                self.attempt(|node| {
                    node.order_topic(&topic)?;
                    node.admit(&topic)
                });
                self.admit_without_history(&topic);
            }
            Request::Unsubscribe(peer, topic, then) => {
                if let Some(entry) = self.topics.get_mut(&topic) {
                    entry.waiting.retain(|applicant| applicant.peer != peer);
                }
                self.handle.unsubscribe(peer, &topic);
                then();
                self.leave(peer, &topic);
            }
            Request::Open(peer, user) => {
                self.known(peer).user.clone_from(&user);
                if let Some(user) = user
                    && self.users.entry(user.clone()).or_default().insert(peer)
                    && self.users[&user].len() == 1
                {
                    let channel = self.shared.names.user(&user);
                    self.attempt(|node| node.order(channel, true));
                }
            }
            Request::Gone(peer) => self.forget(peer),
            Request::Join(peer, topic, info) => self.join(peer, topic, info),
            Request::Leave(peer, topic) => self.leave(peer, &topic),
            Request::Members(topic, then) => {
                let entry = self.topic(&topic);
                entry.has_presence = true;
                if entry.is_untold {
                    entry.asking.push(then);
                } else {
                    self.answer_members(&topic, [then]);
                }
            }
            Request::Connections(then) => {
                let mut count = None;
                self.attempt(|node| {
                    let (nodes, hash) =
                        (node.shared.names.nodes(), node.shared.names.connections());
                    let found: Vec<(String, u64)> =
                        node.call(Script::Living, &[&nodes, &hash], &[])?;
                    count = Some(found.into_iter().map(|(_, count)| count).sum());
                    Ok(())
                });
                then(count);
            }
        }
    }

    /// Does what needs Redis, if it is linked or to be linked. A failure unlinks; what was not done then is done when it is
    /// linked again, since it can be seen from what the node knows.
    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> RedisResult<()>) {
        if let Err(error) = action(self) {
            self.redis = None;
            if self.backoff.fail() {
                say!(Warn, "Redis does not answer: {error}");
            }
            self.unlink();
        }
    }

    fn unlink(&mut self) {
        if !self.shared.linked.swap(false, Ordering::SeqCst) {
            return;
        }
        self.shared.tallies.lost.count();
        for topic in self.topics.values_mut() {
            topic.interrupted |= topic.linked;
            topic.linked = false;
            topic.asking.drain(..).for_each(|then| then(None));
        }
        if self.shared.unlinked.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(told) = self.shared.config.format.link(false)
        {
            self.handle.broadcast(told);
        }
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            self.admit_without_history(&topic);
        }
    }

    /// Listens to Redis again, for all that is wanted, and tells it who is here.
    fn link(&mut self) -> RedisResult<()> {
        if !self.heard || Instant::now() < self.backoff.until() {
            return Ok(());
        }
        if self.redis.is_none() {
            self.redis = Some(self.shared.connect_for_commands()?);
        }
        let names = &self.shared.names;
        let topics = self.topics.keys().map(|topic| (names.topic(topic), true));
        let users = self.users.keys().map(|user| (names.user(user), true));
        self.shared.orders().extend(topics.chain(users));
        self.beat()?;
        for topic in self.present_topics() {
            self.sync(&topic)?;
        }
        if self.backoff.succeed() {
            say!(Info, "Redis answers again");
        }
        if !self.shared.linked.swap(true, Ordering::SeqCst)
            && self.shared.unlinked.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(told) = self.shared.config.format.link(true)
        {
            self.handle.broadcast(told);
        }
        Ok(())
    }

    fn call<T: FromRedisValue>(
        &mut self,
        script: Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> RedisResult<T> {
        let (connection, scripts) = linked(&mut self.redis)?;
        scripts.call(script, keys).arg(arguments).query(connection)
    }
}

/// Topics.
impl Node {
    fn topic(&mut self, topic: &str) -> &mut Topic {
        if !self.topics.contains_key(topic) {
            let new = Topic {
                history: (self.shared.config.histories)(topic),
                linked: false,
                interrupted: false,
                newest: None,
                chain: Vec::new(),
                loops: 0,
                touched: Instant::now(),
                waiting: VecDeque::new(),
                members: HashMap::new(),
                has_presence: false,
                is_untold: false,
                asking: Vec::new(),
            };
            self.topics.insert(topic.to_owned(), new);
        }
        self.topics.get_mut(topic).expect("it was put there")
    }

    /// Has the listener listen to a topic, unless it does.
    fn order_topic(&mut self, topic: &str) -> RedisResult<()> {
        if self.topic(topic).linked {
            return Ok(());
        }
        let channel = self.shared.names.topic(topic);
        self.order(channel, true)
    }

    fn order(&mut self, channel: String, wanted: bool) -> RedisResult<()> {
        if !self.shared.is_linked() {
            return Ok(()); // It is ordered with everything else then.
        }
        self.shared.orders().push((channel, wanted));
        self.wake()
    }

    fn wake(&mut self) -> RedisResult<()> {
        let own = self.shared.names.own();
        let (connection, _) = linked(&mut self.redis)?;
        redis::cmd("PUBLISH").arg(own).arg(WAKE).query(connection)
    }

    fn topic_is_linked(&mut self, topic: &str) -> RedisResult<()> {
        if !self.shared.is_linked() || !self.topics.contains_key(topic) {
            return Ok(());
        }
        if self.topics[topic].history.is_some() {
            self.catch_up(topic)?;
        }
        let entry = self.topic(topic);
        entry.linked = true;
        if std::mem::take(&mut entry.interrupted) {
            if entry.history.is_none() {
                self.tell_gap(topic, &Gap::Away);
            }
            if self.topics[topic].has_presence {
                let members = self.members(topic)?;
                if let Some(told) = self.shared.config.format.members(topic, &members) {
                    self.handle.publish(topic, told);
                }
            }
        }
        self.admit(topic)?;
        if self.topics[topic].is_untold {
            self.sync(topic)?;
            let entry = self.topic(topic);
            entry.is_untold = false;
            let asking = std::mem::take(&mut entry.asking);
            self.answer_members(topic, asking);
        }
        Ok(())
    }

    fn tell_gap(&self, topic: &str, gap: &Gap) {
        self.shared.tallies.gaps.count();
        if let Some(told) = self.shared.config.format.gap(topic, gap) {
            self.handle.publish(topic, told);
        }
    }

    /// Gives the loop what the history has beyond the newest message that it was given. The first time it only looks how
    /// far the topic is.
    fn catch_up(&mut self, topic: &str) -> RedisResult<()> {
        let (epoch, top) = self.where_is(topic, None)?;
        let Some((newest, mut stamp)) = self.topic(topic).newest.clone() else {
            self.topic(topic).newest = Some((Position::new(epoch, top), 0));
            return Ok(());
        };
        let mut at = newest.offset;
        if *newest.epoch != *epoch {
            let common = self.topics[topic].last_common(&newest);
            if common != Some(at) {
                self.tell_gap(topic, &Gap::Epoch);
                (at, stamp) = (common.unwrap_or(0), 0);
            }
            self.topic(topic).newest = Some((Position::new(epoch.clone(), at), stamp));
        } else if top < at {
            return self.begin_epoch(topic, &epoch);
        }
        // From the newest one that is known: it must still be the same.
        let mut from = at.max(1);
        loop {
            let entries = self.read(topic, from, u64::MAX)?;
            for entry in &entries {
                if entry.offset == at && stamp != 0 && entry.stamp != stamp && from == at {
                    return self.begin_epoch(topic, &epoch);
                }
                if entry.offset <= at {
                    continue;
                }
                if entry.offset > at + 1 {
                    self.tell_gap(topic, &Gap::Trimmed { from: at + 1, to: entry.offset - 1 });
                }
                at = entry.offset;
                self.shared.tallies.recovered.count();
                self.deliver(topic, &epoch, entry.offset, entry.stamp, &entry.body);
            }
            if entries.len() < PAGE {
                break;
            }
            from = at + 1;
        }
        if at < top {
            self.tell_gap(topic, &Gap::Trimmed { from: at + 1, to: top });
            self.topic(topic).newest = Some((Position::new(epoch, top), 0));
        }
        Ok(())
    }

    /// Redis has lost messages that were delivered: what is published now has offsets that others have had.
    fn begin_epoch(&mut self, topic: &str, old: &str) -> RedisResult<()> {
        let (epoch, top) = self.where_is(topic, Some(old))?;
        say!(Warn, "Redis has lost messages of {topic:?}; a new epoch begins at {top}");
        self.tell_gap(topic, &Gap::Epoch);
        self.topic(topic).newest = Some((Position::new(epoch, top), 0));
        Ok(())
    }

    /// The epoch and the newest offset of a topic, after the end of an epoch that is over.
    fn where_is(&mut self, topic: &str, over: Option<&str>) -> RedisResult<(String, u64)> {
        let names = &self.shared.names;
        let (facts, stream, server) = (names.facts(topic), names.stream(topic), names.server());
        let new = self.shared.new_epoch();
        let arguments: Vec<&str> = [new.as_str()].into_iter().chain(over).collect();
        let (epoch, top, chain): (_, _, String) =
            self.call(Script::Open, &[&facts, &stream, &server], &arguments)?;
        let words: Vec<&str> = chain.split(' ').collect();
        let links = words
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?)));
        self.topic(topic).chain = links.collect();
        Ok((epoch, top))
    }

    /// Some messages of the history, from an offset on and up to another one.
    fn read(&mut self, topic: &str, from: u64, to: u64) -> RedisResult<Vec<Entry>> {
        let stream = self.shared.names.stream(topic);
        let (connection, _) = linked(&mut self.redis)?;
        let mut command = redis::cmd("XRANGE");
        command.arg(stream).arg(from).arg(to).arg("COUNT").arg(PAGE);
        let found: Vec<(String, Vec<Vec<u8>>)> = command.query(connection)?;
        let entries = found.into_iter().filter_map(|(id, fields)| {
            let (offset, stamp) = id.split_once('-')?;
            let body = fields.into_iter().nth(1)?;
            Some(Entry { offset: offset.parse().ok()?, stamp: stamp.parse().ok()?, body })
        });
        Ok(entries.collect())
    }

    fn write(&self, topic: &str, position: Option<&Position>, body: &[u8]) -> Option<Prepared> {
        let message = message_of(body)?;
        Some(self.shared.config.format.message(&Publication { topic, position, message }))
    }

    /// Gives the loop a message for the subscribers of a topic.
    fn deliver(&mut self, topic: &str, epoch: &str, offset: u64, stamp: u64, body: &[u8]) {
        let entry = self.topic(topic);
        let epoch = match &entry.newest {
            Some((newest, _)) if *newest.epoch == *epoch => Arc::clone(&newest.epoch),
            _ => epoch.into(),
        };
        let position = Position { epoch, offset };
        entry.newest = Some((position.clone(), stamp));
        if let Some(message) = self.write(topic, Some(&position), body) {
            self.handle.publish(topic, message);
        }
    }

    /// Subscribes those who wait for a topic that is linked.
    fn admit(&mut self, topic: &str) -> RedisResult<()> {
        loop {
            let entry = self.topic(topic);
            if !entry.linked {
                return Ok(());
            }
            let Some(applicant) = entry.waiting.pop_front() else { return Ok(()) };
            let found = match entry.history {
                Some(_) => self.recover(topic, &applicant.start),
                None => Ok((without_history(true), Vec::new())),
            };
            let (subscription, entries) = match found {
                Ok(found) => found,
                Err(error) => {
                    self.topic(topic).waiting.push_front(applicant);
                    return Err(error);
                }
            };
            let epoch = subscription.position.as_ref().map(|position| Arc::clone(&position.epoch));
            self.shared.tallies.recovered.add(subscription.recovered);
            self.shared.tallies.gaps.add(u64::from(subscription.gap.is_some()));
            if epoch.is_none() {
                self.admit_now(applicant, subscription);
                continue;
            }
            (applicant.then)(subscription);
            for entry in entries {
                let position = epoch.clone().map(|epoch| Position { epoch, offset: entry.offset });
                if let Some(message) = self.write(topic, position.as_ref(), &entry.body) {
                    self.handle.send(applicant.peer, message);
                }
            }
            self.handle.subscribe(applicant.peer, topic);
        }
    }

    /// Subscribes those who wait for a topic that has no history, while Redis is away.
    fn admit_without_history(&mut self, topic: &str) {
        let away = !self.shared.is_linked();
        let Some(entry) = self.topics.get_mut(topic) else { return };
        if entry.history.is_some() || !away {
            return;
        }
        entry.interrupted = true;
        for applicant in std::mem::take(&mut entry.waiting) {
            self.admit_now(applicant, without_history(false));
        }
    }

    /// Subscribes to a topic without a history. The event loop publishes to that by itself: whoever is told of the subscription
    /// must have it.
    fn admit_now(&self, applicant: Applicant, subscription: Subscription) {
        self.handle.subscribe(applicant.peer, &applicant.topic);
        (applicant.then)(subscription);
    }

    /// What somebody gets who starts there, up to where the topic is on this node.
    fn recover(&mut self, topic: &str, start: &Start) -> RedisResult<(Subscription, Vec<Entry>)> {
        if let Start::After(position) = start {
            let (newest, _) = self.newest(topic);
            let is_ahead = position.epoch == newest.epoch && position.offset > newest.offset;
            if is_ahead || self.topics[topic].last_common(position).is_none() {
                // The client was with a node that is ahead, or Redis has lost messages.
                self.catch_up(topic)?;
                let (newest, _) = self.newest(topic);
                if position.epoch == newest.epoch && position.offset > newest.offset {
                    self.begin_epoch(topic, &position.epoch)?;
                }
            }
        }
        let (newest, _) = self.newest(topic);
        let (from, mut gap) = match start {
            Start::Now => (newest.offset + 1, None),
            Start::Last(count) => (newest.offset.saturating_sub(*count) + 1, None),
            Start::After(position) => match self.topics[topic].last_common(position) {
                Some(common) if common == position.offset => (common + 1, None),
                common => (common.unwrap_or(0) + 1, Some(Gap::Epoch)),
            },
        };
        let mut entries = Vec::new();
        let mut next = from;
        while next <= newest.offset {
            let page = self.read(topic, next, newest.offset)?;
            let is_last = page.len() < PAGE;
            entries.extend(page);
            next = entries.last().map_or(u64::MAX, |entry| entry.offset + 1);
            if is_last {
                break;
            }
        }
        if matches!(start, Start::After(_)) && gap.is_none() && from <= newest.offset {
            let first = entries.first().map_or(newest.offset + 1, |entry| entry.offset);
            gap = (first > from).then(|| Gap::Trimmed { from, to: first - 1 });
        }
        let recovered = entries.len() as u64;
        Ok((Subscription { position: Some(newest), recovered, gap, linked: true }, entries))
    }

    /// Of a topic that is linked and has a history.
    fn newest(&self, topic: &str) -> (Position, u64) {
        self.topics[topic].newest.clone().expect("the topic is linked")
    }

    fn hear(&mut self, channel: &str, payload: &[u8]) -> RedisResult<()> {
        let Some(envelope) = Envelope::open(payload) else {
            say!(Debug, "an unknown message on {channel:?}");
            return Ok(());
        };
        let names = &self.shared.names;
        let topic = names.topic_of(channel).filter(|&topic| self.topics.contains_key(topic));
        let format = &self.shared.config.format;
        match (envelope, topic) {
            (Envelope::Stored { epoch, offset, stamp, body }, Some(topic)) => {
                self.shared.tallies.received.count();
                if !self.topics[topic].linked {
                    return Ok(()); // It is read when the topic is caught up with.
                }
                let (newest, _) = self.newest(topic);
                if *newest.epoch != *epoch || offset > newest.offset + 1 {
                    return self.catch_up(topic);
                }
                if offset == newest.offset + 1 {
                    self.deliver(topic, epoch, offset, stamp, body);
                }
            }
            (Envelope::Passing { instance, body }, Some(topic)) => {
                self.shared.tallies.received.count();
                if instance != self.shared.names.instance
                    && let Some(message) = self.write(topic, None, body)
                {
                    self.handle.publish(topic, message);
                }
            }
            (Envelope::Presence { connection, info, joined }, Some(topic)) => {
                let member = Member { connection: connection.into(), info: info.into() };
                if let Some(told) = format.presence(topic, &member, joined) {
                    self.handle.publish(topic, told);
                }
            }
            (Envelope::Direct { peer, body }, _) => {
                let Some(message) = message_of(body) else { return Ok(()) };
                let told = format.direct(message);
                for id in self.addressees(channel, peer) {
                    self.handle.send(id, told.clone());
                }
            }
            (Envelope::Close { peer, code, reason }, _) => {
                for id in self.addressees(channel, peer) {
                    // The code and the reason were tried where they were given.
                    let _ = self.handle.close(id, code, reason);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The connections of a user, or one of this node.
    fn addressees(&self, channel: &str, peer: Option<u64>) -> Vec<PeerId> {
        match peer {
            Some(peer) => self.peers.get(&peer).map(|known| known.id).into_iter().collect(),
            None => {
                let prefix = self.shared.names.user("");
                let user = channel.strip_prefix(&prefix).and_then(|user| self.users.get(user));
                user.into_iter().flatten().copied().collect()
            }
        }
    }

    /// Listens no more to topics that nobody has wanted for a while.
    fn forget_topics(&mut self) {
        let Self { shared, topics, .. } = self;
        let mut unwanted = Vec::new();
        topics.retain(|topic, entry| {
            let is_wanted = entry.loops > 0
                || !entry.waiting.is_empty()
                || !entry.members.is_empty()
                || entry.touched.elapsed() < LINGER;
            if !is_wanted {
                unwanted.push((shared.names.topic(topic), false));
            }
            is_wanted
        });
        if shared.is_linked() && !unwanted.is_empty() {
            shared.orders().extend(unwanted);
            self.attempt(Self::wake);
        }
    }
}

/// Connections and presence.
impl Node {
    fn known(&mut self, peer: PeerId) -> &mut Known {
        let new = || Known { id: peer, user: None, topics: HashSet::new() };
        self.peers.entry(peer.as_u64()).or_insert_with(new)
    }

    fn forget(&mut self, peer: PeerId) {
        let Some(known) = self.peers.remove(&peer.as_u64()) else { return };
        for topic in known.topics {
            self.leave(peer, &topic);
        }
        if let Some(user) = known.user
            && let Some(ids) = self.users.get_mut(&user)
        {
            ids.remove(&peer);
            if ids.is_empty() {
                self.users.remove(&user);
                let channel = self.shared.names.user(&user);
                self.attempt(|node| node.order(channel, false));
            }
        }
    }

    fn join(&mut self, peer: PeerId, topic: String, info: String) {
        self.known(peer).topics.insert(topic.clone());
        let entry = self.topic(&topic);
        entry.has_presence = true;
        entry.members.insert(peer, info.clone());
        if !entry.linked {
            entry.is_untold = true;
            self.attempt(|node| node.order_topic(&topic));
            return;
        }
        let names = &self.shared.names;
        let (channel, connection) = (names.topic(&topic), names.connection(peer));
        let (members, topics) = self.presence_keys(&topic);
        self.attempt(|node| {
            node.call(Script::Join, &[&members, &topics], &[&channel, &connection, &info, &topic])
        });
    }

    fn leave(&mut self, peer: PeerId, topic: &str) {
        if let Some(known) = self.peers.get_mut(&peer.as_u64()) {
            known.topics.remove(topic);
        }
        let Some(entry) = self.topics.get_mut(topic) else { return };
        if entry.members.remove(&peer).is_none() {
            return;
        }
        let is_last = entry.members.is_empty();
        entry.touched = Instant::now();
        if !self.shared.is_linked() {
            return;
        }
        let names = &self.shared.names;
        let (channel, connection) = (names.topic(topic), names.connection(peer));
        let (members, topics) = self.presence_keys(topic);
        let mut arguments = vec![channel.as_str(), &connection];
        arguments.extend(is_last.then_some(topic));
        self.attempt(|node| node.call(Script::Leave, &[&members, &topics], &arguments));
    }

    fn presence_keys(&self, topic: &str) -> (String, String) {
        let names = &self.shared.names;
        (names.members(topic), names.topics_of(&names.instance))
    }

    /// Who is in a topic, on all nodes that are alive.
    fn members(&mut self, topic: &str) -> RedisResult<Vec<Member>> {
        let (nodes, members) = (self.shared.names.nodes(), self.shared.names.members(topic));
        let found: Vec<(String, String)> = self.call(Script::Living, &[&nodes, &members], &[])?;
        Ok(found.into_iter().map(|(connection, info)| Member { connection, info }).collect())
    }

    fn answer_members(&mut self, topic: &str, asking: impl IntoIterator<Item = ThenMembers>) {
        let mut members = None;
        if self.shared.is_linked() {
            self.attempt(|node| {
                members = Some(node.members(topic)?);
                Ok(())
            });
        }
        asking.into_iter().for_each(|then| then(members.clone()));
    }

    /// Topics in which this node has members, or Redis believes that it has.
    fn present_topics(&mut self) -> Vec<String> {
        let key = self.shared.names.topics_of(&self.shared.names.instance);
        let mut topics: HashSet<String> = self
            .redis
            .as_mut()
            .and_then(|(connection, _)| redis::cmd("SMEMBERS").arg(key).query(connection).ok())
            .unwrap_or_default();
        let own = self.topics.iter().filter(|(_, entry)| !entry.members.is_empty());
        topics.extend(own.map(|(topic, _)| topic.clone()));
        topics.into_iter().collect()
    }

    /// Makes Redis's list of this node's members in a topic that of the node.
    fn sync(&mut self, topic: &str) -> RedisResult<()> {
        let members = self.topics.get(topic).map(|entry| &entry.members);
        let members: Vec<(String, String)> = members
            .into_iter()
            .flatten()
            .map(|(&peer, info)| (self.shared.names.connection(peer), info.clone()))
            .collect();
        let instance = self.shared.names.instance.clone();
        self.sync_of(&instance, topic, &members)
    }

    fn sync_of(
        &mut self,
        instance: &str,
        topic: &str,
        members: &[(String, String)],
    ) -> RedisResult<()> {
        let names = &self.shared.names;
        let keys = (names.members(topic), names.topics_of(instance));
        let (channel, prefix) = (names.topic(topic), format!("{instance}/"));
        let mut arguments = vec![channel.as_str(), topic, &prefix];
        arguments.extend(members.iter().flat_map(|(name, info)| [name.as_str(), info]));
        self.call(Script::Sync, &[&keys.0, &keys.1], &arguments)
    }

    /// Says that this node is alive, and has the members of those leave that are not.
    fn beat(&mut self) -> RedisResult<()> {
        self.wake()?;
        let (nodes, connections) = (self.shared.names.nodes(), self.shared.names.connections());
        let instance = self.shared.names.instance.clone();
        let lease = self.shared.config.lease.as_millis().to_string();
        let open = self.handle.counters().open.to_string();
        let (new, dead): (bool, Vec<String>) =
            self.call(Script::Beat, &[&nodes, &connections], &[&instance, &lease, &open])?;
        if new {
            // Others may have taken it for dead.
            for topic in self.present_topics() {
                self.sync(&topic)?;
            }
        }
        for dead in dead {
            say!(Info, "node {dead} is dead");
            self.bury(&dead)?;
        }
        Ok(())
    }

    /// Has the members of a node leave, and forgets it.
    fn bury(&mut self, instance: &str) -> RedisResult<()> {
        let names = &self.shared.names;
        let keys = (names.topics_of(instance), names.nodes(), names.connections());
        let (connection, _) = linked(&mut self.redis)?;
        let topics: Vec<String> = redis::cmd("SMEMBERS").arg(&keys.0).query(connection)?;
        for topic in topics {
            self.sync_of(instance, &topic, &[])?;
        }
        let (connection, _) = linked(&mut self.redis)?;
        let mut end = redis::pipe();
        end.cmd("ZREM").arg(&keys.1).arg(instance).ignore();
        end.cmd("HDEL").arg(&keys.2).arg(instance).ignore();
        end.query(connection)
    }

    /// Has the own members leave, and the listener end.
    fn say_goodbye(&mut self) -> RedisResult<()> {
        if self.redis.is_none() {
            return Ok(());
        }
        self.shared.linked.store(false, Ordering::SeqCst);
        let instance = self.shared.names.instance.clone();
        self.bury(&instance)?;
        self.wake()
    }
}

fn without_history(linked: bool) -> Subscription {
    Subscription { position: None, recovered: 0, gap: None, linked }
}

/// The connection for commands.
fn linked(redis: &mut Option<(Connection, Scripts)>) -> RedisResult<(&mut Connection, &Scripts)> {
    match redis {
        Some((connection, scripts)) => Ok((connection, scripts)),
        None => Err((redis::ErrorKind::IoError, "there is no connection").into()),
    }
}
