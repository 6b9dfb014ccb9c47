use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{io, iter};

use crate::handshake::ClientRequest;
use crate::io::Driver;
use crate::protocol::{Config, Endpoint, MessageKind, Outgoing, Prepared, SendError, Workspace};
use crate::wire::CloseFrame;

use super::audience::{Audience, Recipients, Selection};
use super::backlog::{Buffered, Key};
use super::broadcast::{Broadcast, BroadcastList, Broadcasts};
use super::caller::{Caller, Told};
use super::callers::Callers;
use super::commands::Command;
use super::connection::{Connection, Origin, Release, Shared};
use super::counters::Counters;
use super::deferral::Undecided;
use super::group::Outbox;
use super::handle::Handle;
use super::listener::{ListenerFacts, ListenerIndex};
use super::logging::event;
use super::metrics::{Count, Counting, Published};
use super::rate_limit::RateLimit;
use super::route::{RouteId, Scope};
use super::route_members::RouteMembers;
use super::schedule::{Schedule, TimerId, TimerOwner};
use super::selector::{Clock, Registry};
use super::sent::Sent;
use super::settings::Settings;
use super::slab::{PeerId, Slab};
use super::socket::{Socket, no_address};
use super::sources::Sources;
use super::timers::Timers;
use super::topics::{Subscribed, TopicError, Topics};

/// All connections of a loop and what they share: everything but the handler and its sessions, so that the handler
/// can be called with it.
pub(super) struct Core {
    pub(super) slab: Slab<Connection>,
    pub(super) registry: Registry,
    pub(super) config: Config,
    pub(super) keep_requests: bool,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) handle: Handle,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    /// The timers of the application.
    pub(super) schedule: Schedule,
    pub(super) sources: Sources,
    clock: Clock,
    pub(super) topics: Topics,
    broadcasts: Broadcasts,
    members: RouteMembers,
    pub(super) undecided: Undecided,
    pub(super) callers: Callers,
    listeners: Arc<[ListenerFacts]>,
    pub(super) shared: Shared,
    /// The connection whose turn it is; it is settled when the turn is over.
    pub(super) current: Option<PeerId>,
    /// Connections that were changed outside their own turn and are to be settled after it.
    pub(super) unsettled: Vec<PeerId>,
    /// The time of this turn, since the loop was made.
    pub(super) now: Duration,
    /// A shutdown has begun: nothing is dialled any more.
    pub(super) is_ending: bool,
    /// How many of the connections were dialled.
    dialled: usize,
    /// How many have come in beyond the limit.
    spares: usize,
}

impl Core {
    pub(super) fn new(
        registry: Registry,
        clock: Clock,
        handle: Handle,
        settings: &Settings,
    ) -> Self {
        let (group, home) = handle.group_and_home();
        let open = Arc::clone(group.open());
        group.set_max_queued(settings.max_queued);
        if let Some(limit) = settings.max_connections_per_ip {
            group.set_quota(limit);
        }
        if let Some(rate) = settings.max_handshakes_per_ip {
            group.set_handshake_rate(rate);
        }
        Self {
            slab: Slab::new(home),
            registry,
            config: settings.config.clone(),
            keep_requests: settings.keep_requests,
            rate_limit: settings.rate_limit,
            undecided: Undecided::new(Arc::clone(group)),
            outbox: Outbox::new(Arc::clone(group), home),
            topics: Topics::new(settings.topics, group, home),
            handle,
            timers: Timers::default(),
            schedule: Schedule::new(home),
            sources: Sources::default(),
            clock,
            broadcasts: Broadcasts::default(),
            members: RouteMembers::default(),
            callers: Callers::default(),
            listeners: Arc::clone(&settings.listeners),
            shared: Shared {
                workspace: Workspace::new().for_many(),
                counting: Counting::default(),
                buffered: Buffered::new(settings.backlogs),
                open,
            },
            current: None,
            unsettled: Vec::new(),
            now: Duration::ZERO,
            is_ending: false,
            dialled: 0,
            spares: 0,
        }
    }

    /// Sets a timer of the application, which does not come before so much time has passed.
    pub(super) fn set_timer(&mut self, owner: TimerOwner, after: Duration, token: u64) -> TimerId {
        let at = self.clock.now().saturating_add(after);
        self.schedule.set(owner, at, None, token)
    }

    /// The same for one that repeats.
    pub(super) fn set_interval(
        &mut self,
        owner: TimerOwner,
        every: Duration,
        token: u64,
    ) -> TimerId {
        let at = self.clock.now().saturating_add(every);
        self.schedule.set(owner, at, Some(every), token)
    }

    /// Sees to it that this connection is settled when the current turn is over.
    pub(super) fn settle_later(&mut self, id: PeerId) {
        if let Some(connection) = self.slab.get_mut(id) {
            connection.unsettle(id, &mut self.unsettled);
        }
    }

    /// What is known of a listener.
    pub(super) fn listener(&self, index: ListenerIndex) -> Option<&ListenerFacts> {
        self.listeners.get(index.get())
    }

    /// Who is at the other end of a socket that was accepted at a listener.
    pub(super) fn caller_at(
        &self,
        socket: &Socket,
        listener: Option<ListenerIndex>,
        told: Told,
    ) -> Caller {
        let facts = listener.and_then(|index| Some((index, self.listener(index)?)));
        Caller::of(socket, facts, told)
    }

    /// Who is at the other end of a connection.
    pub(super) fn caller(&self, id: PeerId) -> Caller {
        match self.slab.get(id) {
            Some(connection) => {
                let socket = connection.driver.transport();
                self.caller_at(socket, connection.listener, self.callers.told(id))
            }
            None => Caller::default(),
        }
    }

    /// The address of who is at the other end of a connection.
    pub(super) fn peer_addr(&self, id: PeerId) -> io::Result<SocketAddr> {
        let connection = self.slab.get(id).ok_or(io::ErrorKind::NotConnected)?;
        let remote = connection.driver.transport().peer_addr();
        let told = self.callers.told(id);
        match told.address(remote.as_ref().ok().copied()) {
            Some(address) => Ok(address),
            None => Err(remote.err().unwrap_or_else(no_address)),
        }
    }

    /// Changes a connection, if it is there. Outside its own turn it is settled later.
    #[inline]
    pub(super) fn change<T>(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut Connection, &mut Shared) -> T,
    ) -> Option<T> {
        if self.current == Some(id) {
            if self.has_broadcasts() {
                self.catch_up(id);
            }
            // If the change closes it, it goes on being counted as open until its turn ends; `count_open` allows for
            // that.
            return Some(change(self.slab.get_mut(id)?, &mut self.shared));
        }
        self.change_other(id, change)
    }

    #[cold]
    fn change_other<T>(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut Connection, &mut Shared) -> T,
    ) -> Option<T> {
        // Broadcasts that were sent before this come before it.
        self.flush_broadcasts();
        let connection = self.slab.get_mut(id)?;
        connection.unsettle(id, &mut self.unsettled);
        let result = change(connection, &mut self.shared);
        connection.uncount_unless_open(&self.shared);
        Some(result)
    }

    /// Sends a message in the common case, as a short reply to the connection whose turn it is, with nothing held back:
    /// whether there is backpressure now. `None` where the case is another one, and nothing was sent.
    #[inline]
    pub(super) fn send_copied(
        &mut self,
        id: PeerId,
        kind: MessageKind,
        payload: &[u8],
    ) -> Option<bool> {
        if self.current != Some(id) || self.has_broadcasts() {
            return None;
        }
        self.slab.get_mut(id)?.send_copied(kind, payload, &mut self.shared)
    }

    /// Sends one message to one connection, behind all that was sent to it before.
    pub(super) fn send(&mut self, id: PeerId, key: Key<'_>, message: Outgoing<'_>) -> Sent {
        self.change(id, |connection, shared| connection.send(id, key, message, shared))
            .unwrap_or(Sent::Dropped(SendError::Closed))
    }

    /// The same for somebody who is not told what became of it: behind a message that was begun it waits.
    pub(super) fn deliver(&mut self, id: PeerId, key: Key<'_>, prepared: &Prepared) {
        self.change(id, |connection, shared| connection.deliver(id, key, prepared, shared));
    }

    /// Changes the engine of a connection behind all that is kept for it.
    pub(super) fn change_behind_all<T>(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut Endpoint, &mut Workspace) -> T,
    ) -> Option<T> {
        self.change(id, |connection, shared| {
            connection.release(id, Release::All, shared);
            change(connection.endpoint_mut(), &mut shared.workspace)
        })
    }

    /// Begins the closing handshake, behind all that is kept for the connection.
    pub(super) fn close(&mut self, id: PeerId, close: &CloseFrame) -> Result<(), SendError> {
        let closed = self.change_behind_all(id, |endpoint, workspace| {
            endpoint.close(close.code(), close.reason(), workspace)
        });
        closed.unwrap_or(Err(SendError::Closed))
    }

    /// Begins it without a code.
    pub(super) fn close_without_code(&mut self, id: PeerId) -> Result<(), SendError> {
        let closed = self.change_behind_all(id, Endpoint::close_without_code);
        closed.unwrap_or(Err(SendError::Closed))
    }

    /// How many connections there are of those that a server may have so many of.
    pub(super) fn served(&self) -> usize {
        self.slab.len() - self.dialled - self.spares
    }

    /// How many have come in beyond that.
    pub(super) fn spares(&self) -> usize {
        self.spares
    }

    /// Makes a connection one of the others that has come in as a spare one.
    pub(super) fn admit_spare(&mut self, id: PeerId) {
        if let Some(connection) = self.slab.get_mut(id)
            && connection.origin == Origin::Spare
        {
            connection.origin = Origin::Accepted;
            self.spares -= 1;
        }
    }

    /// Tells the other loops how many that are.
    pub(super) fn publish_connections(&self) {
        let (group, home) = self.handle.group_and_home();
        group.set_connections(home, self.served());
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.topics.leave(id);
        self.schedule.end_peer(id);
        self.undecided.remove(id);
        self.callers.remove(id);
        self.shared.buffered.set(id, 0);
        self.remove(id);
        let slab = &self.slab;
        self.timers.clear_out(slab.len(), |at, id| {
            slab.get(id).is_some_and(|connection| connection.timer == Some(at))
        });
    }

    fn remove(&mut self, id: PeerId) {
        if let Some(mut connection) = self.slab.remove(id) {
            if let Some(route) = connection.route {
                self.members.remove(route, id.index());
            }
            connection.uncount_open(&self.shared);
            self.dialled -= usize::from(connection.origin == Origin::Dialled);
            self.spares -= usize::from(connection.origin == Origin::Spare);
        }
    }

    /// Puts a connection in; `None` if there is no id left to give.
    fn insert(&mut self, connection: Connection) -> Option<PeerId> {
        let (origin, route) = (connection.origin, connection.route);
        let id = self.slab.insert(connection)?;
        if let Some(route) = route {
            self.members.add(route, id.index());
        }
        self.dialled += usize::from(origin == Origin::Dialled);
        self.spares += usize::from(origin == Origin::Spare);
        self.shared.counting.add(Count::Connections);
        if let Some(connection) = self.slab.get_mut(id) {
            connection.endpoint_mut().seed(id.as_u64());
            // The first call starts the clocks of its deadlines.
            connection.driver.handle_timeout(self.now, &mut self.shared.workspace);
        }
        Some(id)
    }

    /// Puts a connection in and asks for its events.
    pub(super) fn register(&mut self, connection: Connection) -> io::Result<PeerId> {
        let id = self.insert(connection).ok_or(io::ErrorKind::QuotaExceeded)?;
        if let Some(connection) = self.slab.get_mut(id) {
            if let Err(error) = connection.register(&self.registry, id) {
                self.remove(id);
                self.shared.counting.end_unheard();
                return Err(error);
            }
            connection.set_timer(id, &mut self.timers);
        }
        Ok(id)
    }

    /// Begins to open a connection over a socket that begins to connect; the caller gives it its session.
    pub(super) fn dial(
        &mut self,
        socket: Socket,
        request: ClientRequest,
        config: &Config,
        route: Option<RouteId>,
    ) -> io::Result<PeerId> {
        if self.is_ending {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the event loop is shutting down",
            ));
        }
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let endpoint = Endpoint::client(request, config, &mut self.shared.workspace)
            .map_err(io::Error::other)?;
        let mut driver = Driver::new(endpoint, socket);
        // The first event for writing tells that the connection is established.
        driver.set_not_readable();
        driver.set_not_writable();
        let mut connection = self.connection(driver, Origin::Dialled);
        (connection.has_session, connection.route) = (true, route);
        let id = self.register(connection)?;
        event!(Debug, "connection", "{id} dialled");
        self.settle_later(id);
        Ok(id)
    }

    /// A connection with the policy of the server.
    pub(super) fn connection(&self, driver: Driver<Socket>, origin: Origin) -> Connection {
        Connection::new(driver, origin, self.shared.buffered.limits.policy)
    }

    /// Whether this is an open connection of which handlers know.
    pub(super) fn is_peer(&self, id: PeerId) -> bool {
        self.slab.get(id).is_some_and(|connection| connection.has_session && connection.is_open())
    }

    pub(super) fn open_peers(&self, scope: Scope) -> impl Iterator<Item = PeerId> {
        let mut from = 0;
        let ids = iter::from_fn(move || self.next_open(scope, &mut from));
        ids.map(|(id, _)| id)
    }

    /// The first open connection within a scope from a place on, which moves to the next one.
    fn next_open(&self, scope: Scope, from: &mut usize) -> Option<(PeerId, &Connection)> {
        loop {
            let place = self.next_place(scope, *from)?;
            *from = place + 1;
            if let Some((id, connection)) = self.slab.at(place)
                && connection.is_open()
                && scope.holds(connection.route)
            {
                return Some((id, connection));
            }
        }
    }

    /// The first place from this one on at which there may be a connection within a scope.
    #[inline]
    pub(super) fn next_place(&self, scope: Scope, from: usize) -> Option<usize> {
        self.members.next(scope, from, self.slab.places())
    }

    /// The first place from this one on at which there may be one that some of these messages are for.
    #[inline]
    fn next_place_of(&self, list: &BroadcastList, from: usize) -> Option<usize> {
        match list.scopes() {
            &[scope] => self.next_place(scope, from),
            scopes => scopes.iter().filter_map(|&scope| self.next_place(scope, from)).min(),
        }
    }

    /// Has a connection be of this route from now on.
    pub(super) fn set_route(&mut self, id: PeerId, route: RouteId) {
        if let Some(connection) = self.slab.get_mut(id) {
            if let Some(before) = connection.route.replace(route) {
                self.members.remove(before, id.index());
            }
            self.members.add(route, id.index());
        }
    }

    /// A connection is open from now on.
    pub(super) fn count_opened(&mut self, id: PeerId) {
        if let Some(connection) = self.slab.get_mut(id) {
            connection.is_opened = true;
            connection.count_open(&self.shared);
            self.shared.counting.add(Count::Accepted);
            event!(Debug, "handshake", "{id} open");
        }
    }

    #[inline(always)]
    pub(super) fn publish_counters(&mut self) {
        let Shared { workspace, counting, buffered, .. } = &mut self.shared;
        publish(counting, workspace, buffered, self.handle.published());
    }

    /// What the loop has done so far, also in this turn.
    pub(super) fn counters(&self) -> Counters {
        let Shared { workspace, counting, buffered, .. } = &self.shared;
        let published = self.handle.published();
        publish(&mut counting.clone(), workspace, buffered, published);
        published.snapshot()
    }

    /// The connections to drop so that what waits for the others is within the limit.
    pub(super) fn to_evict(&self) -> Vec<PeerId> {
        // The output of unsettled connections has not been offered to their sockets yet.
        let settled = self.slab.iter().filter(|(_, connection)| !connection.is_unsettled());
        self.shared.buffered.to_evict(settled.map(|(id, _)| id))
    }

    /// Sends to an audience, in all loops, what `message` makes: to how many. A topic without subscribers makes
    /// nothing.
    pub(super) fn publish(
        &mut self,
        audience: Audience<'_>,
        message: impl Into<Prepared>,
    ) -> usize {
        let mut message = Some(message);
        self.publish_made(audience, &mut || message.take().map(Into::into))
    }

    /// Sends what is made only where somebody gets it.
    fn publish_made(
        &mut self,
        audience: Audience<'_>,
        make: &mut dyn FnMut() -> Option<Prepared>,
    ) -> usize {
        let selection = audience.selection();
        let (group, home) = self.handle.group_and_home();
        let are_many = group.are_many();
        match selection.recipients {
            Recipients::Open(scope) => {
                let Some(prepared) = make() else { return 0 };
                if are_many {
                    let shared = selection.shared();
                    self.outbox.order_others(|| Command::Publish(shared.clone(), prepared.clone()));
                }
                let count = self.count_open(scope, selection.except);
                self.broadcast_here(scope, selection, prepared);
                count
            }
            Recipients::Subscribers(topic) => {
                let others = if are_many { group.others(topic, home) } else { None };
                let is_left_out = |&id: &PeerId| Some(id) == selection.except;
                if others.is_none() && self.topics.subscribers(topic).iter().all(is_left_out) {
                    return 0;
                }
                let Some(prepared) = make() else { return 0 };
                let mut count = 0;
                if let Some((name, counts)) = others {
                    let recipients = Recipients::Subscribers(name);
                    let shared = Selection { recipients, ..selection.shared() };
                    for (number, subscribers) in counts.iter().enumerate() {
                        let subscribers = subscribers.load(Ordering::SeqCst);
                        if number != home && subscribers > 0 {
                            let command = Command::Publish(shared.clone(), prepared.clone());
                            self.outbox.order(number, command);
                            count += subscribers;
                        }
                    }
                }
                count + self.publish_to_subscribers(topic, selection, &prepared)
            }
        }
    }

    /// Sends to those of an audience that are in this loop; what that costs, in deliveries.
    pub(super) fn publish_here(&mut self, selection: Selection<&str>, prepared: Prepared) -> usize {
        match selection.recipients {
            Recipients::Open(scope) => {
                self.broadcast_here(scope, selection, prepared);
                self.members.count(scope, self.slab.len())
            }
            Recipients::Subscribers(topic) => {
                self.publish_to_subscribers(topic, selection, &prepared)
            }
        }
    }

    /// How many connections are open within a scope, in all loops, without one that is left out.
    fn count_open(&mut self, scope: Scope, except: Option<PeerId>) -> usize {
        // Only the current connection can have closed without being uncounted; the others are when their turn ends.
        if let Some(connection) = self.current.and_then(|id| self.slab.get_mut(id)) {
            connection.uncount_unless_open(&self.shared);
        }
        let is_left_out = except
            .and_then(|id| self.slab.get(id))
            .is_some_and(|connection| connection.is_counted_within(scope));
        self.shared.open.within(scope).saturating_sub(usize::from(is_left_out))
    }

    /// Sends to all open connections of this loop within a scope, but perhaps to one.
    fn broadcast_here(&mut self, scope: Scope, selection: Selection<&str>, prepared: Prepared) {
        let Selection { except, key, .. } = selection;
        // The current connection gets its broadcasts at once, since the engine may queue replies to it behind them.
        if let Some(id) = self.current
            && self.has_broadcasts()
        {
            self.catch_up(id);
        }
        if let Some(id) = self.current.filter(|&id| except != Some(id))
            && let Some(connection) = self.slab.get_mut(id)
            && connection.is_open()
            && scope.holds(connection.route)
        {
            let key = Key { topic: None, name: key };
            connection.deliver(id, key, &prepared, &mut self.shared);
        }
        if self.broadcasts.add(Broadcast::new(scope, key, prepared, [except, self.current])) {
            self.flush_broadcasts();
        }
    }

    /// Whether broadcasts wait for the end of the turn.
    #[inline]
    pub(super) fn has_broadcasts(&self) -> bool {
        !self.broadcasts.is_empty()
    }

    /// Whether a connection that opens now would get messages that were sent to all before.
    #[inline]
    pub(super) fn owes_broadcasts(&self) -> bool {
        self.broadcasts.are_left()
    }

    /// Queues what waits for all: call this before something else is queued for one of them.
    #[inline]
    pub(super) fn flush_broadcasts(&mut self) {
        if self.broadcasts.are_left() {
            self.flush_all_broadcasts();
        }
    }

    /// Queues what waits for all for this connection only, whose turn it is.
    #[cold]
    pub(super) fn catch_up(&mut self, id: PeerId) {
        if let Some(connection) = self.slab.get_mut(id)
            && connection.is_open()
        {
            for broadcast in self.broadcasts.waiting().of(id, connection.route) {
                connection.deliver(id, broadcast.key(), broadcast.prepared(), &mut self.shared);
            }
            self.broadcasts.note_ahead(id);
        }
    }

    #[cold]
    fn flush_all_broadcasts(&mut self) {
        let (sending, next, waiting) = self.broadcasts.take();
        let mut from = 0;
        loop {
            let places =
                [self.next_place_of(&sending, from.max(next)), self.next_place_of(&waiting, from)];
            let Some(place) = places.into_iter().flatten().min() else { break };
            from = place + 1;
            let Some(id) = self.slab.id_at(place) else { continue };
            let Some(connection) = self.slab.get_mut(id).filter(|c| c.is_open()) else { continue };
            let sending = sending.of(id, connection.route).filter(|_| place >= next);
            let mut messages = sending.chain(waiting.of(id, connection.route)).peekable();
            if messages.peek().is_some() {
                for broadcast in messages {
                    connection.deliver(id, broadcast.key(), broadcast.prepared(), &mut self.shared);
                }
                connection.unsettle(id, &mut self.unsettled);
            }
        }
        self.broadcasts.give_back(waiting);
    }

    /// Begins to send what waits for all, by [`deliver_broadcasts`](Self::deliver_broadcasts), to each connection in
    /// a turn of its own.
    pub(super) fn begin_broadcasts(&mut self) {
        self.broadcasts.begin_sending();
    }

    /// The first connection from a place on that one of those is for.
    #[inline]
    pub(super) fn next_addressed(&self, mut from: usize) -> Option<PeerId> {
        let sending = self.broadcasts.sending();
        loop {
            let place = self.next_place_of(sending, from)?;
            from = place + 1;
            if let Some((id, connection)) = self.slab.at(place)
                && connection.is_open()
                && sending.of(id, connection.route).next().is_some()
            {
                return Some(id);
            }
        }
    }

    /// Queues them for one connection.
    #[inline]
    pub(super) fn deliver_broadcasts(&mut self, id: PeerId) {
        self.broadcasts.send_at(id.index());
        if let Some(connection) = self.slab.get_mut(id) {
            for broadcast in self.broadcasts.sending().of(id, connection.route) {
                connection.deliver(id, broadcast.key(), broadcast.prepared(), &mut self.shared);
            }
        }
    }

    /// All have them.
    pub(super) fn end_broadcasts(&mut self) {
        self.broadcasts.end_sending();
    }

    pub(super) fn subscribe(&mut self, id: PeerId, topic: &str) -> Subscribed {
        if !self.slab.get(id).is_some_and(Connection::is_open) {
            return Subscribed::Refused(TopicError::NotOpen);
        }
        self.topics.subscribe(id, topic)
    }

    /// The same for a handle, which has had it counted already.
    pub(super) fn subscribe_as_ordered(&mut self, id: PeerId, topic: &str) {
        let _ = self.subscribe(id, topic);
        let (group, home) = self.handle.group_and_home();
        if group.are_many() {
            group.discount_subscriber(topic, home);
        }
    }

    /// How many connections have subscribed to a topic, in all loops.
    pub(super) fn subscribers(&self, topic: &str) -> usize {
        let (group, _) = self.handle.group_and_home();
        if group.are_many() {
            return group.subscribers(topic);
        }
        self.topics.subscribers(topic).len()
    }

    /// Sends to the open subscribers of a topic in this loop, but perhaps to one; to how many.
    fn publish_to_subscribers(
        &mut self,
        topic: &str,
        selection: Selection<&str>,
        prepared: &Prepared,
    ) -> usize {
        self.flush_broadcasts();
        let key = Key { topic: Some(topic), name: selection.key };
        let mut count = 0;
        for &id in self.topics.subscribers(topic) {
            if Some(id) != selection.except
                && let Some(connection) = self.slab.get_mut(id)
                && connection.is_open()
            {
                connection.deliver(id, key, prepared, &mut self.shared);
                count += 1;
                connection.unsettle(id, &mut self.unsettled);
            }
        }
        count
    }
}

/// Has everybody see what was counted, here and elsewhere.
#[inline]
fn publish(
    counting: &mut Counting,
    workspace: &Workspace,
    buffered: &Buffered,
    published: &Published,
) {
    counting.copy(workspace.metrics());
    counting.set(Count::Buffered, buffered.total().map_or(0, |total| total as u64 + 1));
    counting.publish(published);
}
