//! What the event loop and the two threads that speak with Redis share. Nobody waits for another for long:
//! the loop never, the threads for Redis.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Client, Connection, RedisResult};

/// Messages that may wait for Redis, and for the loop; each has 16 KiB at the most.
pub(crate) const OUTGOING: usize = 4096;
pub(crate) const INCOMING: usize = 1024;

/// How long Redis has for one thing, and how often it is tried whether it is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// The first and the longest pause before Redis is tried again; they double.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the thread that publishes is given.
pub(crate) enum Outgoing {
    Message {
        channel: String,
        payload: Vec<u8>,
    },
    /// The subscriptions have changed: a message on our own channel wakes the other thread.
    Wake,
    /// The last there is.
    End,
}

/// The names in Redis of one process.
#[derive(Debug)]
pub(crate) struct Names {
    /// The node's name, and what tells this run from its others.
    pub(crate) instance: String,
    prefix: String,
}

impl Names {
    pub(crate) fn new(node: &str, run: u64, prefix: String) -> Self {
        Self { instance: format!("{node}.{run:016x}"), prefix }
    }

    /// Where this process tells itself that Redis is there.
    pub(crate) fn own_channel(&self) -> String {
        format!("{}node:{}", self.prefix, self.instance)
    }

    pub(crate) fn channel(&self, topic: &str) -> String {
        format!("{}topic:{topic}", self.prefix)
    }

    pub(crate) fn topic<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&self.prefix)?.strip_prefix("topic:")
    }

    /// Whether this process published it.
    pub(crate) fn is_own(&self, publisher: &str) -> bool {
        publisher.strip_prefix(&self.instance).is_some_and(|rest| rest.starts_with('.'))
    }
}

pub(crate) struct Bridge {
    pub(crate) names: Names,
    subscriptions: Mutex<Subscriptions>,
    outgoing: SyncSender<Outgoing>,
    /// A wake is on its way already.
    woken: AtomicBool,
    /// What nobody could be given since the queue was full.
    overflowed: AtomicU64,
}

/// What is asked of Redis.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// The topics that have subscribers here.
    pub(crate) wanted: HashSet<String>,
    /// Those of them that Redis has confirmed.
    pub(crate) linked: HashSet<String>,
    /// What Redis was not told yet, in order: a topic, and whether it is wanted.
    pub(crate) changes: Vec<(String, bool)>,
}

impl Bridge {
    pub(crate) fn new(names: Names, outgoing: SyncSender<Outgoing>) -> Self {
        Self {
            names,
            subscriptions: Mutex::default(),
            outgoing,
            woken: AtomicBool::new(false),
            overflowed: AtomicU64::new(0),
        }
    }

    /// No one panics while holding it, and a set is whole in any case.
    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_linked(&self, topic: &str) -> bool {
        self.subscriptions().linked.contains(topic)
    }

    /// A topic has its first subscriber here, or none any more.
    pub(crate) fn want(&self, topic: &str, wanted: bool) {
        {
            let mut subscriptions = self.subscriptions();
            if wanted {
                subscriptions.wanted.insert(topic.to_owned());
            } else {
                subscriptions.wanted.remove(topic);
                subscriptions.linked.remove(topic);
            }
            subscriptions.changes.push((topic.to_owned(), wanted));
        }
        if !self.woken.swap(true, Ordering::SeqCst)
            && self.outgoing.try_send(Outgoing::Wake).is_err()
        {
            // The queue is full; the next heartbeat does it.
            self.woken.store(false, Ordering::SeqCst);
        }
    }

    /// The thread that publishes has the wake.
    pub(crate) fn wake_taken(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// Has the thread that publishes end when it has done what was given to it before; waits for room.
    pub(crate) fn end(&self) {
        // It has ended already, if it cannot be told.
        let _ = self.outgoing.send(Outgoing::End);
    }

    /// Gives a message to the thread that publishes; one that finds no room is counted as lost.
    pub(crate) fn publish(&self, topic: &str, payload: Vec<u8>) {
        let channel = self.names.channel(topic);
        if let Err(TrySendError::Full(_)) =
            self.outgoing.try_send(Outgoing::Message { channel, payload })
        {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_overflowed(&self) -> u64 {
        self.overflowed.swap(0, Ordering::Relaxed)
    }
}

/// A connection on which nothing waits for ever.
pub(crate) fn connect(client: &Client) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// How long to wait before Redis is tried again.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// This time's pause; the next is twice as long.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
