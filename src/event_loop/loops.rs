use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use mio::{Poll, Token, Waker};

use super::counting::Published;
use super::handle::{Command, Handle};
use super::quota::Quota;
use super::slots::PeerId;

/// The loops that work together, as each of them and every handle sees them; often it is one.
#[derive(Debug)]
pub(super) struct Loops {
    links: Vec<Link>,
    census: Census,
    /// How many connections come from each address, where that is limited.
    quota: OnceLock<Mutex<Quota>>,
}

/// The way to one loop.
#[derive(Debug)]
struct Link {
    commands: Sender<Command>,
    wakeup: Arc<Wakeup>,
    /// How many connections it has, as of the end of its last turn.
    connections: AtomicUsize,
    /// How many are on their way to it.
    arriving: AtomicUsize,
    published: Published,
}

#[derive(Debug)]
struct Wakeup {
    waker: Waker,
    /// Whether the loop was woken and has not looked yet: one system call then does for many commands.
    woken: AtomicBool,
}

/// A loop's end of its handles.
#[derive(Debug)]
pub(super) struct Commands {
    receiver: Receiver<Command>,
    wakeup: Arc<Wakeup>,
}

/// What a loop needs before it is made: it has a number, and others know how to reach it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) poll: Poll,
    pub(super) commands: Commands,
    pub(super) handle: Handle,
}

/// Seats for so many loops that work together.
pub(super) fn seats(count: usize, wake: Token) -> io::Result<Vec<Seat>> {
    let (mut links, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let poll = Poll::new()?;
        let (commands, receiver) = channel();
        let waker = Waker::new(poll.registry(), wake)?;
        let wakeup = Arc::new(Wakeup { waker, woken: AtomicBool::new(false) });
        ends.push((poll, Commands { receiver, wakeup: Arc::clone(&wakeup) }));
        let (connections, arriving) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let published = Published::default();
        links.push(Link { commands, wakeup, connections, arriving, published });
    }
    let loops = Arc::new(Loops { links, census: Census::default(), quota: OnceLock::new() });
    let seats = ends.into_iter().enumerate().map(|(home, (poll, commands))| {
        let handle = Handle { loops: Arc::clone(&loops), home };
        Seat { poll, commands, handle }
    });
    Ok(seats.collect())
}

impl Commands {
    /// Whether a handle has woken the loop since it last looked, and so there may be commands. From now on
    /// handles wake it again.
    #[inline]
    pub(super) fn look(&self) -> bool {
        // Reading is all that most turns do: a write of one that nobody changes would cost more.
        self.wakeup.woken.load(Ordering::SeqCst) && self.wakeup.woken.swap(false, Ordering::SeqCst)
    }

    /// The next command, if there is one.
    pub(super) fn take(&self) -> Option<Command> {
        self.receiver.try_recv().ok()
    }
}

impl Loops {
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn are_many(&self) -> bool {
        self.links.len() > 1
    }

    /// Orders something of one loop and wakes it; whether it is there to hear it.
    pub(super) fn order(&self, number: usize, command: Command) -> bool {
        let heard = self.order_quietly(number, command).is_none();
        if heard {
            self.wake(number);
        }
        heard
    }

    /// Orders something of one loop, which has to be [woken](Self::wake) then; if it is not there to hear
    /// it, the order comes back.
    pub(super) fn order_quietly(&self, number: usize, command: Command) -> Option<Command> {
        match self.links.get(number) {
            Some(link) => link.commands.send(command).err().map(|error| error.0),
            None => Some(command),
        }
    }

    pub(super) fn wake(&self, number: usize) {
        if let Some(link) = self.links.get(number)
            && !link.wakeup.woken.swap(true, Ordering::SeqCst)
        {
            // It cannot fail while the loop is there.
            let _ = link.wakeup.waker.wake();
        }
    }

    /// Orders the same of all loops.
    pub(super) fn order_all(&self, command: impl Fn() -> Command) {
        for number in 0..self.links.len() {
            self.order(number, command());
        }
    }

    /// Limits the connections from each address, in all loops together.
    pub(super) fn set_quota(&self, limit: usize) {
        self.quota.get_or_init(|| Mutex::new(Quota::new(limit)));
    }

    #[inline]
    pub(super) fn has_quota(&self) -> bool {
        self.quota.get().is_some()
    }

    pub(super) fn quota(&self) -> Option<MutexGuard<'_, Quota>> {
        self.quota.get().map(|quota| quota.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one more subscriber of a topic in a loop.
    pub(super) fn count_subscriber(&self, topic: &str, number: usize) {
        if number < self.links.len() {
            self.census.add(topic, number, self.links.len());
        }
    }

    /// Counts one less.
    pub(super) fn discount_subscriber(&self, topic: &str, number: usize) {
        self.census.remove(topic, number);
    }

    /// How many subscribers a topic has in all loops.
    pub(super) fn subscribers(&self, topic: &str) -> usize {
        self.census.subscribers(topic)
    }

    /// The name of a topic, with the other loops that have subscribers of it and how many.
    pub(super) fn others(&self, topic: &str, home: usize) -> Option<(Arc<str>, Counts)> {
        let (name, counts) = self.census.of(topic)?;
        let other = |(number, count): (usize, &AtomicUsize)| {
            number != home && count.load(Ordering::SeqCst) > 0
        };
        counts.iter().enumerate().any(other).then_some((name, counts))
    }

    /// What each loop has counted.
    pub(super) fn published(&self) -> impl Iterator<Item = &Published> {
        self.links.iter().map(|link| &link.published)
    }

    /// The same of one loop.
    #[inline]
    pub(super) fn published_by(&self, number: usize) -> &Published {
        &self.links[number].published
    }

    /// Takes note of how many connections a loop has.
    pub(super) fn set_connections(&self, number: usize, connections: usize) {
        if self.are_many() {
            self.links[number].connections.store(connections, Ordering::SeqCst);
        }
    }

    /// The loop with the fewest connections, and how many there are in all.
    pub(super) fn lightest(&self) -> (usize, usize) {
        let (mut lightest, mut least, mut total) = (0, usize::MAX, 0);
        for (number, link) in self.links.iter().enumerate() {
            let arriving = link.arriving.load(Ordering::SeqCst);
            let load = link.connections.load(Ordering::SeqCst) + arriving;
            total += load;
            if load < least {
                (lightest, least) = (number, load);
            }
        }
        (lightest, total)
    }

    /// A connection is on its way to a loop.
    pub(super) fn departs(&self, number: usize) {
        self.links[number].arriving.fetch_add(1, Ordering::SeqCst);
    }

    /// It has come, or will not.
    pub(super) fn arrives(&self, number: usize) {
        self.links[number].arriving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many subscribers each topic has in each loop, those included whose subscription is on its way.
#[derive(Debug, Default)]
struct Census(RwLock<HashMap<Arc<str>, Counts>>);

pub(super) type Counts = Arc<[AtomicUsize]>;

impl Census {
    /// Counts one more.
    fn add(&self, topic: &str, number: usize, loops: usize) {
        // Nothing that panics is done under the lock.
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = table.get(topic) {
            counts[number].fetch_add(1, Ordering::SeqCst);
            return;
        }
        drop(table);
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let counts = table
            .entry(topic.into())
            .or_insert_with(|| (0..loops).map(|_| AtomicUsize::new(0)).collect());
        counts[number].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one less.
    fn remove(&self, topic: &str, number: usize) {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let last = table.get(topic).is_some_and(|counts| {
            counts[number].fetch_sub(1, Ordering::SeqCst);
            sum(counts) == 0
        });
        drop(table);
        if last {
            let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if table.get(topic).is_some_and(|counts| sum(counts) == 0) {
                table.remove(topic);
            }
        }
    }

    /// The name of a topic and how many subscribers it has in each loop, if it has any.
    fn of(&self, topic: &str) -> Option<(Arc<str>, Counts)> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.get_key_value(topic).map(|(name, counts)| (Arc::clone(name), Arc::clone(counts)))
    }

    /// How many subscribers a topic has in all loops.
    fn subscribers(&self, topic: &str) -> usize {
        self.of(topic).map_or(0, |(_, counts)| sum(&counts))
    }
}

fn sum(counts: &Counts) -> usize {
    counts.iter().map(|count| count.load(Ordering::SeqCst)).sum()
}

/// The orders of one loop to the others, which are woken when its turn is over: once, and not for each.
#[derive(Debug)]
pub(super) struct Outbox {
    handle: Handle,
    /// By number, those that are to be woken.
    waiting: Vec<bool>,
    any: bool,
}

impl Outbox {
    pub(super) fn new(handle: Handle) -> Self {
        Self { waiting: vec![false; handle.loops.len()], any: false, handle }
    }

    /// Orders something of another loop; if it is not there to hear it, the order comes back.
    pub(super) fn order(&mut self, number: usize, command: Command) -> Option<Command> {
        let unheard = self.handle.loops.order_quietly(number, command);
        if unheard.is_none() {
            (self.waiting[number], self.any) = (true, true);
        }
        unheard
    }

    /// Orders the same of all other loops.
    pub(super) fn order_others(&mut self, command: impl Fn() -> Command) {
        for number in 0..self.waiting.len() {
            if number != self.handle.home {
                self.order(number, command());
            }
        }
    }

    #[inline]
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.any) {
            for (number, waiting) in self.waiting.iter_mut().enumerate() {
                if std::mem::take(waiting) {
                    self.handle.loops.wake(number);
                }
            }
        }
    }
}

impl Handle {
    /// Orders something of the loop that has a connection.
    pub(super) fn order_of(&self, id: PeerId, command: Command) {
        self.loops.order(id.loop_number(), command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_census_forgets_topics_without_subscribers() {
        let census = Census::default();
        for _ in 0..2 {
            census.add("x", 2, 3);
            census.add("x", 0, 3);
            census.add("y", 1, 3);
            census.add("x", 2, 3);
            let (name, counts) = census.of("x").unwrap();
            let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
            assert_eq!((&*name, counts), ("x", vec![1, 0, 2]));
            assert_eq!((census.subscribers("x"), census.subscribers("y")), (3, 1));
            census.remove("x", 2);
            census.remove("x", 0);
            census.remove("x", 2);
            census.remove("y", 1);
            assert!(census.of("x").is_none() && census.subscribers("y") == 0);
            assert!(census.0.read().unwrap().is_empty());
        }
    }

    #[test]
    fn counting_in_many_threads_ends_at_nothing() {
        let census = Census::default();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let census = &census;
                scope.spawn(move || {
                    for n in 0..2000 {
                        let topic = ["a", "b", "c"][n % 3];
                        census.add(topic, number, 4);
                        assert!(census.subscribers(topic) > 0);
                        census.remove(topic, number);
                    }
                });
            }
        });
        assert!(census.0.read().unwrap().is_empty());
    }

    #[test]
    fn the_lightest_loop_is_found_with_what_is_on_its_way() {
        let seats = seats(3, Token(0)).unwrap();
        let loops = &seats[0].handle.loops;
        let mut given = [0; 3];
        for _ in 0..30 {
            let (number, _) = loops.lightest();
            loops.departs(number);
            given[number] += 1;
        }
        assert_eq!((given, loops.lightest().1), ([10; 3], 30));
        loops.set_connections(1, 5);
        loops.arrives(1);
        assert_eq!(loops.lightest(), (0, 34));
        (0..10).for_each(|_| loops.arrives(2));
        assert_eq!(loops.lightest(), (2, 24));
        assert!(!loops.order(3, Command::Terminate(PeerId::from_u64(0))));
    }
}
