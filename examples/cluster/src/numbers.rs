//! The numbers of messages: a publisher counts what it publishes to each topic, and who receives finds
//! out from that what it has missed.

use std::collections::HashMap;

/// Clients choose the names of topics, so a table of them is bounded.
const MAX_TOPICS: usize = 65_536;
/// Each start of a node is a publisher of its own.
const MAX_PUBLISHERS: usize = 256;

/// The numbers of what this node publishes.
#[derive(Debug)]
pub(crate) struct Given {
    /// Names this run of this node.
    instance: String,
    /// Counts how often the table was begun anew: with another name, so that numbers never come twice.
    table: u64,
    last: HashMap<String, u64>,
}

impl Given {
    pub(crate) fn new(instance: String) -> Self {
        Self { instance, table: 0, last: HashMap::new() }
    }

    /// The publisher's name and the number for one more message to a topic.
    pub(crate) fn next(&mut self, topic: &str) -> (String, u64) {
        let number = match self.last.get_mut(topic) {
            Some(last) => {
                *last += 1;
                *last
            }
            None => {
                if self.last.len() >= MAX_TOPICS {
                    self.last.clear();
                    self.table += 1;
                }
                self.last.insert(topic.to_owned(), 1);
                1
            }
        };
        (format!("{}.{}", self.instance, self.table), number)
    }
}

/// What a number says about the message that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Nothing is known to be missing before it.
    InOrder,
    /// These, both included, were published before it and have not come.
    After { from: u64, to: u64 },
    /// It, or a later one, has come already.
    Again,
}

/// The last number of each publisher to each topic that has come.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    topics: HashMap<String, HashMap<String, u64>>,
}

impl Taken {
    /// Notes a message. The first of a publisher to a topic is where the count begins: what was published
    /// before somebody subscribed is not missed.
    pub(crate) fn take(&mut self, topic: &str, publisher: &str, number: u64) -> Arrival {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), HashMap::new());
        }
        let Some(publishers) = self.topics.get_mut(topic) else { return Arrival::InOrder };
        let Some(last) = publishers.get_mut(publisher) else {
            if publishers.len() >= MAX_PUBLISHERS {
                publishers.clear();
            }
            publishers.insert(publisher.to_owned(), number);
            return Arrival::InOrder;
        };
        let expected = *last + 1;
        if number < expected {
            return Arrival::Again;
        }
        *last = number;
        if number == expected {
            Arrival::InOrder
        } else {
            Arrival::After { from: expected, to: number - 1 }
        }
    }

    /// Nobody here subscribes to it any more.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_counted_by_itself() {
        let mut given = Given::new("a.1f".into());
        assert_eq!(given.next("news"), ("a.1f.0".into(), 1));
        assert_eq!(given.next("news"), ("a.1f.0".into(), 2));
        assert_eq!(given.next("sport"), ("a.1f.0".into(), 1));
    }

    #[test]
    fn a_full_table_is_begun_anew_under_another_name() {
        let mut given = Given::new("a.1f".into());
        for topic in 0..MAX_TOPICS {
            given.next(&topic.to_string());
        }
        assert_eq!(given.next("0"), ("a.1f.0".into(), 2));
        assert_eq!(given.next("one more"), ("a.1f.1".into(), 1));
        assert_eq!(given.next("0"), ("a.1f.1".into(), 1));
    }

    #[test]
    fn gaps_and_repetitions_are_told() {
        let mut taken = Taken::default();
        let mut take = |topic, publisher, number| taken.take(topic, publisher, number);
        assert_eq!(take("news", "a", 5), Arrival::InOrder);
        assert_eq!(take("news", "a", 6), Arrival::InOrder);
        assert_eq!(take("news", "a", 6), Arrival::Again);
        assert_eq!(take("news", "a", 10), Arrival::After { from: 7, to: 9 });
        assert_eq!(take("news", "a", 8), Arrival::Again);
        assert_eq!(take("news", "b", 3), Arrival::InOrder);
        assert_eq!(take("sport", "a", 1), Arrival::InOrder);
    }

    #[test]
    fn a_forgotten_topic_begins_anywhere() {
        let mut taken = Taken::default();
        taken.take("news", "a", 1);
        taken.forget("news");
        assert_eq!(taken.take("news", "a", 9), Arrival::InOrder);
    }
}
