use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::sync::Arc;

use super::group::Group;
use super::slab::PeerId;

/// The result of a [`subscribe`](crate::Peer::subscribe), to be ignored or acted on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subscribed {
    /// The connection gets what is published to the topic from now on.
    New,
    /// The connection had subscribed already.
    Already,
    /// The connection was not subscribed, and this is why.
    Refused(TopicError),
}

impl Subscribed {
    /// Whether the connection had not subscribed to the topic before.
    pub fn is_new(self) -> bool {
        self == Self::New
    }

    /// Whether the subscription was refused.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Why a connection cannot subscribe to a topic.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicError {
    /// The connection is closing or closed: nothing more would reach it.
    NotOpen,
    /// A name of this many bytes, more than
    /// [`Server::max_topic_length`](crate::Server::max_topic_length).
    TooLong(usize),
    /// The connection has this many topics already: as many as
    /// [`Server::max_topics`](crate::Server::max_topics) allows.
    TooMany(usize),
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("connection is not open"),
            Self::TooLong(length) => write!(f, "topic name of {length} bytes is too long"),
            Self::TooMany(topics) => {
                write!(f, "connection has subscribed to {topics} topics already")
            }
        }
    }
}

impl std::error::Error for TopicError {}

/// What subscriptions may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicLimits {
    /// Topics of one connection.
    pub(super) topics: usize,
    /// Bytes of a topic's name.
    pub(super) length: usize,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { topics: 1024, length: 1024 }
    }
}

/// Who has subscribed to what: beside the connections, so that one without topics pays nothing.
#[derive(Debug, Default)]
pub(super) struct Topics {
    limits: TopicLimits,
    /// Where other loops must know of what is in this one.
    subscriber_counts: Option<(Arc<Group>, usize)>,
    numbers: HashMap<Arc<str>, u32>,
    /// By number; a number whose topic is forgotten is given to another.
    topics: Vec<Topic>,
    free: Vec<u32>,
    /// The topics of each connection that has any, with its place among their subscribers.
    places: HashMap<PeerId, BTreeMap<u32, u32>>,
    /// The topics that gained their first subscriber or lost their last one.
    turned: Vec<u32>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// In no order, so that each can leave at once.
    subscribers: Vec<PeerId>,
    /// Whether the handler was told that there are some.
    told: bool,
    /// In the list of those that have turned.
    turned: bool,
}

impl Topics {
    /// The topics of the loop with this number.
    pub(super) fn new(limits: TopicLimits, group: &Arc<Group>, home: usize) -> Self {
        let subscriber_counts = group.are_many().then(|| (Arc::clone(group), home));
        Self { limits, subscriber_counts, ..Self::default() }
    }

    pub(super) fn subscribe(&mut self, id: PeerId, name: &str) -> Subscribed {
        if name.len() > self.limits.length {
            return Subscribed::Refused(TopicError::TooLong(name.len()));
        }
        let number = self.numbers.get(name).copied();
        let count = match self.places.get(&id) {
            Some(places) if number.is_some_and(|number| places.contains_key(&number)) => {
                return Subscribed::Already;
            }
            places => places.map_or(0, BTreeMap::len),
        };
        if count >= self.limits.topics {
            return Subscribed::Refused(TopicError::TooMany(count));
        }
        let number = number.unwrap_or_else(|| self.add(name));
        let topic = &mut self.topics[number as usize];
        let place = topic.subscribers.len() as u32;
        topic.subscribers.push(id);
        self.places.entry(id).or_default().insert(number, place);
        if let Some((group, home)) = &self.subscriber_counts {
            group.count_subscriber(name, *home);
        }
        self.has_turned(number);
        Subscribed::New
    }

    /// Whether the connection had subscribed.
    pub(super) fn unsubscribe(&mut self, id: PeerId, name: &str) -> bool {
        let Some(&number) = self.numbers.get(name) else { return false };
        let Some(places) = self.places.get_mut(&id) else { return false };
        let Some(place) = places.remove(&number) else { return false };
        if places.is_empty() {
            self.places.remove(&id);
        }
        self.vacate(number, place);
        true
    }

    /// Takes a connection out of all its topics.
    pub(super) fn leave(&mut self, id: PeerId) {
        if self.places.is_empty() {
            return;
        }
        for (number, place) in self.places.remove(&id).unwrap_or_default() {
            self.vacate(number, place);
        }
    }

    pub(super) fn is_subscribed(&self, id: PeerId, name: &str) -> bool {
        let number = self.numbers.get(name);
        number.is_some_and(|number| self.places.get(&id).is_some_and(|p| p.contains_key(number)))
    }

    /// The topics of one connection.
    pub(super) fn of(&self, id: PeerId) -> impl Iterator<Item = &str> {
        let numbers = self.places.get(&id).into_iter().flat_map(BTreeMap::keys);
        numbers.map(|&number| &*self.topics[number as usize].name)
    }

    pub(super) fn subscribers(&self, name: &str) -> &[PeerId] {
        match self.numbers.get(name) {
            Some(&number) => &self.topics[number as usize].subscribers,
            None => &[],
        }
    }

    /// The topics that have subscribers, with their number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        let topics = self.numbers.values().map(|&number| &self.topics[number as usize]);
        let topics = topics.map(|topic| (&*topic.name, topic.subscribers.len()));
        topics.filter(|&(_, count)| count > 0)
    }

    /// Whether some may have [turned](Self::take_turned).
    pub(super) fn have_turned(&self) -> bool {
        !self.turned.is_empty()
    }

    /// The topics that have subscribers now and had none when they were last taken, or the other way round, with
    /// their number. Those that have none are forgotten.
    pub(super) fn take_turned(&mut self) -> Vec<(Arc<str>, usize)> {
        let mut turned = Vec::new();
        for number in mem::take(&mut self.turned) {
            let topic = &mut self.topics[number as usize];
            let count = topic.subscribers.len();
            topic.turned = false;
            if mem::replace(&mut topic.told, count > 0) != (count > 0) {
                turned.push((Arc::clone(&topic.name), count));
            }
            if count == 0 {
                self.numbers.remove(&topic.name);
                (topic.name, topic.subscribers) = (Arc::default(), Vec::new());
                self.free.push(number);
            }
        }
        turned
    }

    fn add(&mut self, name: &str) -> u32 {
        let name: Arc<str> = name.into();
        let topic =
            Topic { name: Arc::clone(&name), subscribers: Vec::new(), told: false, turned: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.topics[number as usize] = topic;
                number
            }
            None => {
                self.topics.push(topic);
                self.topics.len() as u32 - 1
            }
        };
        self.numbers.insert(name, number);
        number
    }

    /// Gives the place of a subscriber that has left to the last one.
    fn vacate(&mut self, number: u32, place: u32) {
        let Topic { subscribers, name, .. } = &mut self.topics[number as usize];
        if let Some((group, home)) = &self.subscriber_counts {
            group.discount_subscriber(name, *home);
        }
        subscribers.swap_remove(place as usize);
        if let Some(moved) = subscribers.get(place as usize)
            && let Some(places) = self.places.get_mut(moved)
        {
            places.insert(number, place);
        }
        // Memory of a topic that was once large is given back.
        if subscribers.len() < subscribers.capacity() / 4 {
            subscribers.shrink_to(subscribers.len() * 2);
        }
        self.has_turned(number);
    }

    fn has_turned(&mut self, number: u32) {
        let topic = &mut self.topics[number as usize];
        let turned = topic.told == topic.subscribers.is_empty();
        if (turned || topic.subscribers.is_empty()) && !mem::replace(&mut topic.turned, true) {
            self.turned.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event_loop::slab::Slab;

    fn ids(count: usize) -> Vec<PeerId> {
        let mut slab = Slab::new(0);
        (0..count).map(|_| slab.insert(()).unwrap()).collect()
    }

    fn topics_of(limits: TopicLimits) -> Topics {
        Topics { limits, ..Topics::default() }
    }

    fn told(topics: &mut Topics) -> Vec<(String, usize)> {
        topics.take_turned().into_iter().map(|(name, count)| (name.to_string(), count)).collect()
    }

    #[test]
    fn the_table_agrees_with_plain_sets() {
        const NAMES: [&str; 5] = ["", "a", "b", "a/b", "ä"];
        let ids = ids(7);
        let mut topics = topics_of(TopicLimits { topics: 4, length: 3 });
        let mut model: BTreeSet<(PeerId, &str)> = BTreeSet::new();
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let mut random = 1_u64;
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = (random >> 33) as usize;
            let (id, name) = (ids[draw % 7], NAMES[draw / 7 % 5]);
            match draw / 35 % 9 {
                0..4 => {
                    let count = model.iter().filter(|(owner, _)| *owner == id).count();
                    let expected = match model.contains(&(id, name)) {
                        true => Subscribed::Already,
                        false if count == 4 => Subscribed::Refused(TopicError::TooMany(4)),
                        false => Subscribed::New,
                    };
                    assert_eq!(topics.subscribe(id, name), expected, "step {step}");
                    if expected.is_new() {
                        model.insert((id, name));
                    }
                }
                4..7 => assert_eq!(topics.unsubscribe(id, name), model.remove(&(id, name))),
                7 => {
                    topics.leave(id);
                    model.retain(|(owner, _)| *owner != id);
                }
                _ => {
                    let now: BTreeSet<_> = model.iter().map(|(_, name)| *name).collect();
                    let told = told(&mut topics);
                    assert_eq!(told.len(), now.symmetric_difference(&known).count());
                    for (name, count) in told {
                        assert_eq!(count > 0, now.contains(name.as_str()));
                        assert_ne!(count > 0, known.contains(name.as_str()));
                    }
                    known = now;
                }
            }
            let mut subscribers = topics.subscribers(name).to_vec();
            subscribers.sort();
            let expected = model.iter().filter(|(_, of)| *of == name).map(|(id, _)| *id);
            assert_eq!(subscribers, expected.collect::<Vec<_>>(), "step {step}");
            let own: BTreeSet<_> = topics.of(id).collect();
            let expected = model.iter().filter(|(of, _)| *of == id).map(|(_, name)| *name);
            assert_eq!(own, expected.collect());
            assert_eq!(topics.is_subscribed(id, name), model.contains(&(id, name)));
            assert_eq!(topics.iter().map(|(_, count)| count).sum::<usize>(), model.len());
        }
        ids.iter().for_each(|&id| topics.leave(id));
        told(&mut topics);
        assert!(topics.numbers.is_empty() && topics.places.is_empty());
        assert!(topics.topics.len() <= NAMES.len() && topics.free.len() == topics.topics.len());
    }

    #[test]
    fn what_comes_and_goes_in_one_turn_is_not_told_and_is_forgotten() {
        let id = ids(1)[0];
        let mut topics = Topics::default();
        for n in 0..1000 {
            let name = n.to_string();
            assert!(topics.subscribe(id, &name).is_new());
            assert!(topics.unsubscribe(id, &name));
        }
        assert_eq!(told(&mut topics), []);
        assert!(topics.numbers.is_empty() && !topics.have_turned());
        assert!(topics.subscribe(id, "x").is_new());
        assert_eq!(told(&mut topics), [("x".to_owned(), 1)]);
        assert!(topics.unsubscribe(id, "x") && topics.subscribe(id, "x").is_new());
        assert_eq!(told(&mut topics), []);
        topics.leave(id);
        assert_eq!(told(&mut topics), [("x".to_owned(), 0)]);
    }

    #[test]
    fn what_is_refused_leaves_nothing_behind() {
        let id = ids(1)[0];
        let mut topics = topics_of(TopicLimits { topics: 0, length: 3 });
        let refused = topics.subscribe(id, "long");
        assert_eq!(refused, Subscribed::Refused(TopicError::TooLong(4)));
        assert_eq!(topics.subscribe(id, "abc"), Subscribed::Refused(TopicError::TooMany(0)));
        assert!(topics.numbers.is_empty() && topics.places.is_empty() && !topics.have_turned());
        assert_eq!(TopicError::TooLong(4).to_string(), "topic name of 4 bytes is too long");
    }
}
