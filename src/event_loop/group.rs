use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use mio::Token;

use super::commands::{Command, PeerCommand};
use super::handshake_rates::HandshakeRates;
use super::metrics::Published;
use super::open_counts::OpenCounts;
use super::queue::Queue;
use super::quota::Quota;
use super::rate_limit::Rate;
use super::selector::{Selector, Waker};
use super::shutdown::ShutdownReport;
use super::slab::PeerId;

/// How many bytes of messages may wait for a loop, unless a server says otherwise.
pub(super) const MAX_QUEUED: usize = 16 * 1024 * 1024;

/// The loops that work together, as each of them and every handle sees them; often it is one.
#[derive(Debug)]
pub(super) struct Group {
    links: Vec<Link>,
    subscriber_counts: SubscriberCounts,
    open: Arc<OpenCounts>,
    /// How many connections come from each address, where that is limited.
    quota: OnceLock<Mutex<Quota>>,
    /// How many handshakes come from each address, where that is limited.
    handshakes: OnceLock<Mutex<HandshakeRates>>,
    /// How many bytes of messages may wait for one loop.
    max_queued: AtomicUsize,
}

/// The way to one loop.
#[derive(Debug)]
struct Link {
    arrival: Arc<Arrival>,
    /// How many connections it serves, as of the end of its last turn.
    connections: AtomicUsize,
    /// How many are on their way to it.
    arriving: AtomicUsize,
    published: Published,
    /// What became of its connections, once it has been shut down.
    report: Mutex<Option<ShutdownReport>>,
}

/// What both ends of a queue know.
#[derive(Debug)]
struct Arrival {
    commands: Queue<Command>,
    waker: Waker,
    /// Whether the loop was woken and has not looked yet: one system call then does for many commands.
    woken: AtomicBool,
    /// Whether the loop has had a turn.
    is_served: AtomicBool,
    /// How many bytes of messages are on their way.
    bytes: AtomicUsize,
    /// Whether the loop takes nothing any more.
    is_over: AtomicBool,
    /// How many threads wait until there are fewer.
    waiting: AtomicUsize,
    /// For those.
    lock: Mutex<()>,
    room: Condvar,
}

/// A loop's end of its queue.
#[derive(Debug)]
pub(super) struct Commands {
    arrival: Arc<Arrival>,
}

/// What a loop needs before it is made: it has a number, and others know how to reach it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) selector: Selector,
    pub(super) commands: Commands,
    pub(super) group: Arc<Group>,
    pub(super) home: usize,
}

/// A message was rejected since the queue of an event loop is full; see
/// [`Server::max_queued_bytes`](crate::Server::max_queued_bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue of the event loop is full")
    }
}

impl std::error::Error for QueueFull {}

/// What to do with a message for which a queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// Wait for room. A thread that runs a loop does not, since it may be the one that makes it; and nobody does
    /// before the loop has had its first turn.
    Wait,
    /// Give it up.
    Fail,
}

/// Members for so many loops that work together.
pub(super) fn members(count: usize, wake: Token) -> io::Result<Vec<Member>> {
    // One clock for all loops, so that they can exchange times.
    let start = Instant::now();
    members_at((0..count).map(|_| Selector::new(start)), wake)
}

/// Members for the loops of these selectors.
pub(super) fn members_at(
    selectors: impl Iterator<Item = io::Result<Selector>>,
    wake: Token,
) -> io::Result<Vec<Member>> {
    let (mut links, mut ends) = (Vec::new(), Vec::new());
    for (number, selector) in selectors.enumerate() {
        let selector = selector?;
        let arrival = Arc::new(Arrival {
            commands: Queue::new(),
            waker: selector.waker(wake, number)?,
            woken: AtomicBool::new(false),
            is_served: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(()),
            room: Condvar::new(),
        });
        ends.push((selector, Commands { arrival: Arc::clone(&arrival) }));
        links.push(Link {
            arrival,
            connections: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            published: Published::default(),
            report: Mutex::new(None),
        });
    }
    let group = Arc::new(Group {
        links,
        subscriber_counts: SubscriberCounts::default(),
        open: Arc::default(),
        quota: OnceLock::new(),
        handshakes: OnceLock::new(),
        max_queued: AtomicUsize::new(MAX_QUEUED),
    });
    let members = ends.into_iter().enumerate().map(|(home, (selector, commands))| {
        let group = Arc::clone(&group);
        Member { selector, commands, group, home }
    });
    Ok(members.collect())
}

impl Commands {
    /// The loop begins to have turns.
    pub(super) fn serve(&self) {
        self.arrival.is_served.store(true, Ordering::SeqCst);
    }

    /// Whether a handle has woken the loop since it last looked, and so there may be commands. From now on
    /// handles wake it again.
    #[inline]
    pub(super) fn look(&self) -> bool {
        let woken = &self.arrival.woken;
        // Most turns only load: a swap each time would cost a write to a shared cache line.
        woken.load(Ordering::SeqCst) && woken.swap(false, Ordering::SeqCst)
    }

    /// Whether a handle has woken the loop and it has not looked. A wake-up can be lost where mio has nothing but
    /// poll to wait with, if a socket is registered at the same moment: so it must not wait without asking this.
    #[inline]
    pub(super) fn are_announced(&self) -> bool {
        self.arrival.woken.load(Ordering::SeqCst)
    }

    /// The next command, if there is one.
    pub(super) fn take(&self) -> Option<Command> {
        let command = self.arrival.commands.take(|_| true)?;
        let bytes = command.bytes();
        if bytes > 0 {
            self.arrival.bytes.fetch_sub(bytes, Ordering::SeqCst);
            if self.arrival.waiting.load(Ordering::SeqCst) > 0 {
                self.arrival.make_room();
            }
        }
        Some(command)
    }

    /// Takes nothing from now on: what is there is dropped, what comes is handed back, and nobody waits for room.
    pub(super) fn end(&self) {
        self.arrival.commands.end();
        self.arrival.is_over.store(true, Ordering::SeqCst);
        self.arrival.make_room();
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.end();
    }
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // A poisoned lock is usable: it guards no data.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn make_room(&self) {
        drop(self.lock());
        self.room.notify_all();
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // Fails only when the loop is gone, which then needs no waking.
            let _ = self.waker.wake();
        }
    }

    /// How many bytes of messages wait; none of them wait any more for a loop that is over.
    fn queued(&self) -> usize {
        let is_over = self.is_over.load(Ordering::SeqCst);
        if is_over { 0 } else { self.bytes.load(Ordering::SeqCst) }
    }

    fn has_room(&self, bytes: usize, limit: usize) -> bool {
        let queued = self.queued();
        // A message longer than the whole limit is let in when the queue is empty.
        queued == 0 || queued.saturating_add(bytes) <= limit
    }

    /// Waits until there is room for so many bytes, or nobody is there to make it.
    #[cold]
    fn wait_for_room(&self, bytes: usize, limit: usize) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock();
        while !self.has_room(bytes, limit) {
            guard = self.room.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn are_many(&self) -> bool {
        self.links.len() > 1
    }

    /// How many bytes of messages may wait for each loop.
    pub(super) fn set_max_queued(&self, bytes: usize) {
        self.max_queued.store(bytes, Ordering::SeqCst);
    }

    /// How many bytes of messages wait for all loops.
    pub(super) fn queued_bytes(&self) -> usize {
        self.links.iter().map(|link| link.arrival.queued()).sum()
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
    /// it, the order comes back. A loop that has come to its end reports at once, if it is to end.
    pub(super) fn order_quietly(&self, number: usize, command: Command) -> Option<Command> {
        let Some(link) = self.links.get(number) else { return Some(command) };
        // The lock is held until the order is queued: after its report the loop looks at the queue once more.
        let report = command.is_answered().then(|| link.report());
        if let Some(Some(report)) = report.as_deref() {
            if let Command::Shutdown(order) = &command {
                order.report.send(report);
            }
            return Some(command);
        }
        let bytes = command.bytes();
        if bytes > 0 {
            link.arrival.bytes.fetch_add(bytes, Ordering::SeqCst);
        }
        let command = link.arrival.commands.push(command).err();
        if bytes > 0 && command.is_some() {
            link.arrival.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
        command
    }

    pub(super) fn wake(&self, number: usize) {
        if let Some(link) = self.links.get(number) {
            link.arrival.wake();
        }
    }

    /// The loop that has a connection: every order that names one goes there.
    pub(super) fn loop_of(id: PeerId) -> usize {
        id.loop_number()
    }

    /// Makes sure that these loops have room for so many bytes of a message.
    pub(super) fn reserve(
        &self,
        loops: impl Iterator<Item = usize> + Clone,
        bytes: usize,
        when_full: WhenFull,
    ) -> Result<(), QueueFull> {
        let limit = self.max_queued.load(Ordering::SeqCst);
        let full = |number: &usize| {
            self.links.get(*number).is_some_and(|link| !link.arrival.has_room(bytes, limit))
        };
        while let Some(number) = loops.clone().find(full) {
            match when_full {
                WhenFull::Fail => return Err(QueueFull),
                WhenFull::Wait if RUNS_LOOPS.get() => return Ok(()),
                WhenFull::Wait => {
                    let arrival = &self.links[number].arrival;
                    if !arrival.is_served.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    arrival.wake();
                    arrival.wait_for_room(bytes, limit);
                }
            }
        }
        Ok(())
    }

    /// Takes note of the end of a loop: from now on whoever orders it is told at once.
    pub(super) fn set_report(&self, number: usize, report: &ShutdownReport) {
        if let Some(link) = self.links.get(number) {
            *link.report() = Some(report.clone());
        }
    }

    /// Limits the connections from each address, in all loops together.
    pub(super) fn set_quota(&self, limit: usize) {
        self.quota.get_or_init(|| Mutex::new(Quota::new(limit)));
    }

    /// Limits the handshakes from each address, in all loops together.
    pub(super) fn set_handshake_rate(&self, rate: Rate) {
        self.handshakes.get_or_init(|| Mutex::new(HandshakeRates::new(rate)));
    }

    /// What is known of handshakes, where they are limited.
    pub(super) fn handshakes(&self) -> Option<MutexGuard<'_, HandshakeRates>> {
        self.handshakes.get().map(|rates| rates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[inline]
    pub(super) fn has_quota(&self) -> bool {
        self.quota.get().is_some()
    }

    pub(super) fn quota(&self) -> Option<MutexGuard<'_, Quota>> {
        self.quota.get().map(|quota| quota.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many connections are open in all loops.
    pub(super) fn open(&self) -> &Arc<OpenCounts> {
        &self.open
    }

    /// Counts one more subscriber of a topic in a loop.
    pub(super) fn count_subscriber(&self, topic: &str, number: usize) {
        if number < self.links.len() {
            self.subscriber_counts.add(topic, number, self.links.len());
        }
    }

    /// Counts one less.
    pub(super) fn discount_subscriber(&self, topic: &str, number: usize) {
        self.subscriber_counts.remove(topic, number);
    }

    /// How many subscribers a topic has in all loops.
    pub(super) fn subscribers(&self, topic: &str) -> usize {
        self.subscriber_counts.subscribers(topic)
    }

    /// The name of a topic, with the other loops that have subscribers of it and how many.
    pub(super) fn others(&self, topic: &str, home: usize) -> Option<(Arc<str>, Counts)> {
        let (name, counts) = self.subscriber_counts.of(topic)?;
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
    #[inline]
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

impl Link {
    fn report(&self) -> MutexGuard<'_, Option<ShutdownReport>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many subscribers each topic has in each loop, those included whose subscription is on its way.
#[derive(Debug, Default)]
struct SubscriberCounts(RwLock<HashMap<Arc<str>, Counts>>);

pub(super) type Counts = Arc<[AtomicUsize]>;

impl SubscriberCounts {
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
    group: Arc<Group>,
    home: usize,
    /// By number, those that are to be woken.
    waiting: Vec<bool>,
    any: bool,
}

impl Outbox {
    pub(super) fn new(group: Arc<Group>, home: usize) -> Self {
        Self { waiting: vec![false; group.len()], any: false, group, home }
    }

    /// Orders something of another loop; if it is not there to hear it, the order comes back.
    pub(super) fn order(&mut self, number: usize, command: Command) -> Option<Command> {
        let unheard = self.group.order_quietly(number, command);
        if unheard.is_none() {
            (self.waiting[number], self.any) = (true, true);
        }
        unheard
    }

    /// Orders the same of all other loops.
    pub(super) fn order_others(&mut self, command: impl Fn() -> Command) {
        for number in 0..self.waiting.len() {
            if number != self.home {
                self.order(number, command());
            }
        }
    }

    #[inline]
    pub(super) fn wake(&mut self) {
        if mem::take(&mut self.any) {
            for (number, waiting) in self.waiting.iter_mut().enumerate() {
                if mem::take(waiting) {
                    self.group.wake(number);
                }
            }
        }
    }
}

thread_local! {
    /// How many loops have a turn on this thread: one can run within a handler of another.
    static TURNS: Cell<usize> = const { Cell::new(0) };
    /// Whether loops have had a turn on this thread, and so may depend on it for the next.
    static RUNS_LOOPS: Cell<bool> = const { Cell::new(false) };
    /// Whether their handlers have asked something of handles in this turn, and what.
    static HAS_ORDERS: Cell<bool> = const { Cell::new(false) };
    static ORDERS: RefCell<Vec<Order>> = const { RefCell::new(Vec::new()) };
}

/// What is asked of which loop.
type Order = (Arc<Group>, usize, Command);

/// A turn of a loop: what its handlers ask of handles meanwhile is carried out behind all that they do
/// themselves, whichever loop it is for.
#[derive(Debug)]
pub(super) struct Turn;

impl Turn {
    #[inline]
    pub(super) fn begin() -> Self {
        TURNS.set(TURNS.get() + 1);
        RUNS_LOOPS.set(true);
        Self
    }
}

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        TURNS.set(TURNS.get() - 1);
        if HAS_ORDERS.get() && TURNS.get() == 0 {
            order_what_waits();
        }
    }
}

#[cold]
fn order_what_waits() {
    HAS_ORDERS.set(false);
    for (group, number, command) in ORDERS.take() {
        group.order(number, command);
    }
}

/// Orders something of a loop, at once or at the end of the turn of the loop that this thread runs.
/// Whether the loop is there to hear it, or may be then.
pub(super) fn order(group: &Arc<Group>, number: usize, command: Command) -> bool {
    if !is_loop_thread() {
        return group.order(number, command);
    }
    HAS_ORDERS.set(true);
    ORDERS.with_borrow_mut(|orders| orders.push((Arc::clone(group), number, command)));
    true
}

/// Orders something for one connection.
pub(super) fn order_peer(group: &Arc<Group>, id: PeerId, command: PeerCommand) {
    order(group, Group::loop_of(id), Command::Peer(id, command));
}

fn is_loop_thread() -> bool {
    TURNS.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_census_forgets_topics_without_subscribers() {
        let subscriber_counts = SubscriberCounts::default();
        for _ in 0..2 {
            subscriber_counts.add("x", 2, 3);
            subscriber_counts.add("x", 0, 3);
            subscriber_counts.add("y", 1, 3);
            subscriber_counts.add("x", 2, 3);
            let (name, counts) = subscriber_counts.of("x").unwrap();
            let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
            assert_eq!((&*name, counts), ("x", vec![1, 0, 2]));
            assert_eq!(
                (subscriber_counts.subscribers("x"), subscriber_counts.subscribers("y")),
                (3, 1)
            );
            subscriber_counts.remove("x", 2);
            subscriber_counts.remove("x", 0);
            subscriber_counts.remove("x", 2);
            subscriber_counts.remove("y", 1);
            assert!(subscriber_counts.of("x").is_none() && subscriber_counts.subscribers("y") == 0);
            assert!(subscriber_counts.0.read().unwrap().is_empty());
        }
    }

    #[test]
    fn counting_in_many_threads_ends_at_nothing() {
        let subscriber_counts = SubscriberCounts::default();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let subscriber_counts = &subscriber_counts;
                scope.spawn(move || {
                    for n in 0..2000 {
                        let topic = ["a", "b", "c"][n % 3];
                        subscriber_counts.add(topic, number, 4);
                        assert!(subscriber_counts.subscribers(topic) > 0);
                        subscriber_counts.remove(topic, number);
                    }
                });
            }
        });
        assert!(subscriber_counts.0.read().unwrap().is_empty());
    }

    #[test]
    fn the_lightest_loop_is_found_with_what_is_on_its_way() {
        let members = members(3, Token(0)).unwrap();
        let group = &members[0].group;
        let mut given = [0; 3];
        for _ in 0..30 {
            let (number, _) = group.lightest();
            group.departs(number);
            given[number] += 1;
        }
        assert_eq!((given, group.lightest().1), ([10; 3], 30));
        group.set_connections(1, 5);
        group.arrives(1);
        assert_eq!(group.lightest(), (0, 34));
        (0..10).for_each(|_| group.arrives(2));
        assert_eq!(group.lightest(), (2, 24));
        assert!(!group.order(3, Command::Decided));
    }
}
