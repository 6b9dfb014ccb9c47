use std::io;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::Token;

use crate::handshake::{HttpDate, ProxyHeader, ProxyHeaderError, Request, Response};
use crate::io::{Budget, Driver, Inbox, Stopped};
use crate::protocol::{Accept, Endpoint, Event, HandshakeError, Outcome, PartialRequest, State};
use crate::wire::CloseCode;

use super::acceptor::{Accepted, Acceptor};
use super::adopt::Adoption;
use super::application::{Application, CallTarget, Decided, Verdict, VerdictChoice};
use super::attempt::Attempt;
use super::backlog::Key;
use super::caller::Told;
use super::commands::{Command, PeerCommand};
use super::connection::{Connection, Origin, Release};
use super::core::Core;
use super::group::{Commands, Member, Turn};
use super::handle::Handle;
use super::handler::{HttpAnswer, HttpChoice};
use super::incoming_request::IncomingRequest;
use super::listener::{Listener, ListenerIndex};
use super::logging::{event, log_end};
use super::metrics::Count;
use super::opening_error::OpeningError;
use super::quota::Neighbourhood;
use super::rate_limit::Piece;
use super::readiness::Readiness;
use super::route::Scope;
use super::schedule::{Timer, TimerOwner};
use super::selector::{Clock, Events, Selector};
use super::settings::{OnPanic, Settings};
use super::shutdown::{Departure, Draining, ShutdownOrder, ShutdownReport};
use super::slab::PeerId;
use super::socket::Socket;

// Unit tests have smaller numbers, so that they reach the limits.

/// The room that one read of a socket gets; shared by all connections.
pub(super) const READ_ROOM: usize = if cfg!(test) { 16 * 1024 } else { 512 * 1024 };

/// The room of a read when the loop is late already: what is read and not handled in this turn has to be kept.
const SHORT_READ_ROOM: usize = if cfg!(test) { 1024 } else { 16 * 1024 };

/// How long a turn of the loop may have taken before its connections get no more than one read, or one batch of
/// messages, each.
const LONG_TURN: Duration = Duration::from_millis(1);

/// After how many connections the loop looks whether it is late.
const LOOK_EVERY: usize = 16;

/// How many bytes a connection may inflate and compress in one turn.
#[cfg(feature = "deflate")]
const CODEC_BUDGET: usize = if cfg!(test) { 8 * 1024 } else { 128 * 1024 };

/// What a connection may cost in one turn: bytes and events.
#[cfg(test)]
pub(super) const SMALL_BUDGET: (usize, usize) = (48 * 1024, 40);

/// How many events are taken from the system at once.
const EVENTS: usize = if cfg!(test) { 4 } else { 1024 };

/// How many connections are accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = if cfg!(test) { 2 } else { 256 };

/// How many orders of other threads are carried out before the connections get their turn, and to how many
/// connections messages are delivered by them.
const COMMANDS_A_TURN: usize = if cfg!(test) { 6 } else { 4096 };
const DELIVERIES_A_TURN: usize = if cfg!(test) { 12 } else { 16 * 1024 };

/// How long is waited for a timer of the application at most: mio counts milliseconds in 32 bits.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Of how many timers of the application the handler is told before the others get their turn.
const TIMERS_A_TURN: usize = if cfg!(test) { 6 } else { 4096 };

/// How long the request of a spare connection may take at the most.
const SPARE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const WAKE: Token = Token(usize::MAX);

/// The loop itself, which knows its handler only as an [`Application`].
pub(super) struct Reactor<A: ?Sized> {
    pub(super) core: Core,
    selector: Selector,
    clock: Clock,
    /// Whether there has been a turn.
    has_started: bool,
    /// The room for them, which is taken out while they are gone through.
    events: Option<Events>,
    commands: Commands,
    /// Orders may wait that nobody wakes the loop for again.
    has_more_commands: bool,
    acceptor: Acceptor,
    max_connections: usize,
    spare_connections: usize,
    on_panic: OnPanic,
    /// Taken out while a connection has its turn.
    inbox: Option<Box<Inbox>>,
    /// Connections that have more to read than their share of one turn.
    unfinished: Vec<PeerId>,
    /// Those of the turn before, who are to have another in this one.
    continued: Vec<PeerId>,
    /// When the time of day is to be looked up again.
    next_date: Duration,
    pace: Pace,
    /// Whether the rate limit of the connection that is being read has dropped messages.
    has_rate_limited: bool,
    /// Once a shutdown has begun.
    shutdown: Option<Box<Draining>>,
    pub(super) app: A,
}

/// How many connections had their turn in this turn of the loop, and whether that has taken long.
#[derive(Debug, Default)]
struct Pace {
    turns: usize,
    is_late: bool,
}

/// What a loop is made of, but for what it calls.
pub(super) struct Parts {
    pub(super) core: Core,
    selector: Selector,
    commands: Commands,
    acceptor: Acceptor,
}

impl Parts {
    /// Of a loop that works together with others.
    pub(super) fn new(
        listeners: Vec<Listener>,
        settings: &Settings,
        member: Member,
    ) -> io::Result<Self> {
        let Member { selector, commands, group, home } = member;
        settings.config.validate().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let registry = selector.registry()?;
        let acceptor = Acceptor::new(listeners, &registry)?;
        let core = Core::new(registry, selector.clock(), Handle::new(group, home), settings);
        Ok(Self { core, selector, commands, acceptor })
    }
}

impl<A> Reactor<A> {
    pub(super) fn new(parts: Parts, settings: &Settings, app: A) -> Self {
        let Parts { core, selector, commands, acceptor } = parts;
        Self {
            core,
            clock: selector.clock(),
            selector,
            has_started: false,
            events: None,
            commands,
            has_more_commands: false,
            acceptor,
            max_connections: settings.max_connections,
            spare_connections: settings.spare_connections,
            on_panic: settings.on_panic,
            inbox: None,
            unfinished: Vec::new(),
            continued: Vec::new(),
            next_date: Duration::ZERO,
            pace: Pace::default(),
            has_rate_limited: false,
            shutdown: None,
            app,
        }
    }
}

/// What can be seen from outside.
impl<A: ?Sized> Reactor<A> {
    /// The first of the sockets that listen.
    pub(super) fn first_listener(&self) -> Option<&Listener> {
        self.acceptor.first()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.shutdown.as_deref().is_some_and(Draining::is_over)
    }

    pub(super) fn shutdown_report(&self) -> Option<&ShutdownReport> {
        self.shutdown.as_deref().and_then(Draining::report)
    }
}

/// Turns of the loop.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// See [`EventLoop::run`](super::EventLoop::run).
    pub(super) fn run(&mut self) -> io::Result<()> {
        while !self.is_finished() {
            self.run_once(None)?;
        }
        Ok(())
    }

    /// See [`EventLoop::run_once`](super::EventLoop::run_once).
    pub(super) fn run_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = match self.events.take() {
            Some(events) => events,
            None => self.start(),
        };
        let timeout = earlier(timeout, self.until_next());
        self.selector.wait(&mut events, timeout)?;
        let _turn = Turn::begin();
        self.look_at_the_clock();
        self.pace = Pace::default();
        // What becomes unfinished during this turn goes to the other list, so that nobody has two turns in one.
        if !self.unfinished.is_empty() {
            mem::swap(&mut self.unfinished, &mut self.continued);
        }
        // Where a deadline has come, whatever lay there by now is read first, however much it is.
        let mut rounds = self.core.slab.len() / EVENTS;
        while self.handle_events(&events) == EVENTS
            && rounds > 0
            && self.core.timers.next().is_some_and(|next| next <= self.core.now)
        {
            rounds -= 1;
            self.selector.wait(&mut events, Some(Duration::ZERO))?;
        }
        self.events = Some(events);
        if !self.continued.is_empty() {
            self.continue_unfinished();
        }
        self.carry_out_commands();
        if self.acceptor.may_accept(self.core.now) {
            self.accept();
        }
        self.drain();
        self.look_at_timers();
        self.look_at_schedule();
        self.core.outbox.wake();
        if self.core.has_broadcasts() || !self.core.unsettled.is_empty() {
            self.settle_all();
        }
        self.evict();
        self.tell_of_topics();
        self.finish_draining();
        self.core.outbox.wake();
        self.core.publish_connections();
        self.core.publish_counters();
        Ok(())
    }

    /// Begins to have turns; the room for events.
    #[cold]
    fn start(&mut self) -> Events {
        self.commands.serve();
        if !mem::replace(&mut self.has_started, true) {
            let _turn = Turn::begin();
            self.look_at_the_clock();
            self.call_for_loop(|app, core| app.on_start(core));
            self.core.outbox.wake();
        }
        self.selector.events(EVENTS)
    }

    /// Tells everything the time.
    pub(super) fn look_at_the_clock(&mut self) {
        self.core.now = self.clock.now();
        self.core.shared.workspace.set_time(self.core.now);
        if self.next_date <= self.core.now {
            self.look_at_the_calendar();
        }
    }

    /// Looks up the time of day for the answers of HTTP, once in a second.
    #[cold]
    fn look_at_the_calendar(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        self.core.shared.workspace.set_date(since.map(HttpDate::since_1970));
        let passed = since.map_or(0, |since| since.subsec_nanos());
        self.next_date =
            self.core.now + Duration::from_secs(1) - Duration::from_nanos(passed.into());
    }

    /// Gives each connection that can be read or written its turn: how many events there were.
    fn handle_events(&mut self, events: &Events) -> usize {
        let mut count = 0;
        events.for_each(|event| {
            count += 1;
            self.handle_event(event);
        });
        count
    }

    #[inline(always)]
    fn handle_event(&mut self, event: Readiness) {
        if event.token == WAKE || self.acceptor.note_event(event.token) {
            return;
        }
        let id = PeerId::from_u64(event.token.0 as u64);
        let Some(connection) = self.core.slab.get_mut(id) else {
            return self.tell_of_source(event);
        };
        let driver = &mut connection.driver;
        if event.is_readable {
            driver.set_readable();
        }
        if event.is_writable {
            driver.set_writable();
        }
        if event.is_priority {
            driver.set_readable_in_pieces();
        }
        if event.is_read_closed {
            driver.set_read_closed();
            // A client that ends its direction before it has an answer has given up.
            if driver.endpoint().awaits_decision() {
                driver.endpoint_mut().abort();
            }
            if connection.is_rate_limited() {
                connection.cease_waiting_for_limit(&mut self.core.shared);
            }
        }
        // An unfinished connection has its turn with the other unfinished ones.
        if !connection.is_unfinished {
            self.turn(id);
        }
    }

    /// Tells of an event that is of no connection: of a source of the application, if it is not just late.
    #[cold]
    fn tell_of_source(&mut self, event: Readiness) {
        if let Some((scope, event)) = self.core.sources.event(event) {
            self.call_for_loop(|app, core| app.on_source(core, scope, event));
        }
    }

    /// How long the loop may sleep; `None` for until something happens.
    #[inline]
    pub(super) fn until_next(&self) -> Option<Duration> {
        if self.has_more_commands
            || self.commands.are_announced()
            || !self.unfinished.is_empty()
            || !self.core.unsettled.is_empty()
            || self.core.has_broadcasts()
            || self.core.topics.have_turned()
            || self.acceptor.is_ready()
        {
            return Some(Duration::ZERO);
        }
        let mut next = self.core.timers.next();
        let mut now = self.core.now;
        // These are rare.
        if let Some(due) = self.core.schedule.next() {
            next = earlier(next, Some(due.min(now + LONGEST_WAIT)));
            // A turn may have taken long, so the clock is read again: a timer should not be late by that.
            now = self.clock.now();
        }
        if let Some(again) = self.acceptor.next() {
            next = earlier(next, Some(again));
        }
        if let Some(draining) = &self.shutdown {
            next = earlier(next, draining.next());
        }
        let next = next?;
        Some(next.saturating_sub(now))
    }
}

/// How connections come in.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    pub(super) fn add_adopted(&mut self, adoption: Adoption) -> io::Result<PeerId> {
        let Adoption { socket, upgraded, bytes } = adoption;
        self.look_at_the_clock();
        let config = &self.core.config;
        let endpoint = match upgraded {
            None => Endpoint::server(config),
            Some(upgraded) => Endpoint::upgraded(upgraded, config),
        };
        if self.lightest_loop().is_none() {
            self.reject_for_all(socket, None);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        // No event tells of what TLS has decrypted already; a new driver reads without one.
        let driver = |socket| Driver::with_leftover(endpoint, socket, &bytes);
        let id = self
            .admit(socket, driver, Origin::Adopted, None)
            .ok_or(io::ErrorKind::QuotaExceeded)?;
        self.read_later(id);
        Ok(id)
    }
}

/// How connections come in.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    fn accept(&mut self) {
        for index in 0..self.acceptor.len() {
            let listener = ListenerIndex::new(index);
            for _ in 0..ACCEPTS_A_TURN {
                match self.acceptor.accept(index, self.core.now) {
                    Accepted::Socket(socket) => self.assign(socket, listener),
                    Accepted::Aborted => {}
                    Accepted::Nobody => break,
                    Accepted::Failed(error) => {
                        self.core.shared.counting.add(Count::AcceptErrors);
                        event!(Warn, "accept", "cannot accept for now: {error}");
                        return;
                    }
                }
            }
        }
    }

    /// The loop that has the fewest connections; `None` if all together have as many as they may.
    fn lightest_loop(&self) -> Option<usize> {
        let (group, home) = self.core.handle.group_and_home();
        let served = self.core.served();
        let (number, total) = if group.are_many() {
            group.set_connections(home, served);
            group.lightest()
        } else {
            (home, served)
        };
        (total < self.max_connections).then_some(number)
    }

    /// Gives a connection that was accepted to the loop that has the fewest.
    fn assign(&mut self, mut socket: Socket, listener: ListenerIndex) {
        let Some(number) = self.lightest_loop() else {
            return self.serve_as_spare(socket, listener);
        };
        let (group, home) = self.core.handle.group_and_home();
        // During a shutdown the listening loop itself answers new clients.
        if number != home && self.shutdown.is_none() {
            group.departs(number);
            match self.core.outbox.order(number, Command::Serve(socket, listener)) {
                // The other loop has ended; this one will soon, and rejects the client.
                Some(Command::Serve(back, _)) => {
                    self.core.handle.group_and_home().0.arrives(number);
                    socket = back;
                }
                _ => return,
            }
        }
        self.serve(socket, listener);
    }

    fn serve(&mut self, socket: Socket, listener: ListenerIndex) {
        let endpoint = Endpoint::server(&self.core.config);
        self.serve_as(Origin::Accepted, endpoint, socket, listener);
    }

    /// Lets a connection in beyond the limit, to ask plain requests: a few at a time, and not for long.
    fn serve_as_spare(&mut self, socket: Socket, listener: ListenerIndex) {
        if self.core.spares() >= self.spare_connections || self.shutdown.is_some() {
            return self.reject_for_all(socket, Some(listener));
        }
        let timeout = self.core.config.handshake_time_limit();
        let timeout = timeout.map_or(SPARE_TIMEOUT, |own| own.min(SPARE_TIMEOUT));
        let endpoint = Endpoint::server(&self.core.config.clone().handshake_timeout(timeout));
        self.serve_as(Origin::Spare, endpoint, socket, listener);
    }

    fn serve_as(
        &mut self,
        origin: Origin,
        endpoint: Endpoint,
        socket: Socket,
        listener: ListenerIndex,
    ) {
        let driver = |socket| {
            let mut driver = Driver::new(endpoint, socket);
            driver.set_not_readable();
            driver
        };
        self.admit(socket, driver, origin, Some(listener));
    }

    /// Whether this connection is no spare one, or there is room by now for it not to be.
    fn has_room_for(&mut self, id: PeerId) -> bool {
        if self.core.slab.get(id).is_none_or(|connection| connection.origin != Origin::Spare) {
            return true;
        }
        let has_room = self.lightest_loop().is_some();
        if has_room {
            self.core.admit_spare(id);
        }
        has_room
    }

    /// Serves a connection that another loop has accepted.
    fn serve_for_another(&mut self, socket: Socket, listener: ListenerIndex) {
        self.serve(socket, listener);
        let (group, home) = self.core.handle.group_and_home();
        group.set_connections(home, self.core.served());
        group.arrives(home);
    }

    /// Lets a connection in, unless there are as many from its address as there may be, in all loops.
    fn admit(
        &mut self,
        socket: Socket,
        driver: impl FnOnce(Socket) -> Driver<Socket>,
        origin: Origin,
        listener: Option<ListenerIndex>,
    ) -> Option<PeerId> {
        let entry = self.entry(&socket, listener);
        if let Entry::Rejected = entry {
            let error = OpeningError::ProxyHeader(ProxyHeaderError::NotAccepted);
            self.reject_at_once(socket, listener, &error, Response::new(400));
            return None;
        }
        let (group, _) = self.core.handle.group_and_home();
        if !matches!(entry, Entry::Direct) || !group.has_quota() {
            let id = self.register(driver(socket), origin, listener)?;
            self.enter(id, &entry);
            return Some(id);
        }
        let group = Arc::clone(group);
        let home = socket.peer_addr().ok().map(|address| Neighbourhood::of(address.ip()));
        // The lock is held until the connection is counted, so that no other loop gives the same place away.
        let quota = group.quota();
        if let (Some(counted), Some(home)) = (&quota, home)
            && !counted.has_room(home)
        {
            // The handler is called next and must not be called under the lock.
            drop(quota);
            let response = Response::too_many_requests();
            self.reject_at_once(socket, listener, &OpeningError::TooManyFromAddress, response);
            return None;
        }
        let id = self.register(driver(socket), origin, listener)?;
        if let (Some(mut quota), Some(home)) = (quota, home) {
            quota.enter(id, home);
        }
        Some(id)
    }

    /// How a connection that has come in is known.
    fn entry(&self, socket: &Socket, listener: Option<ListenerIndex>) -> Entry {
        let protocol =
            listener.and_then(|index| self.core.listener(index)?.proxy_protocol.as_deref());
        let proxies = self.core.config.proxies();
        if protocol.is_none() && proxies.is_none() {
            return Entry::Direct;
        }
        let address = socket.peer_addr().ok();
        if let Some(protocol) = protocol {
            // A peer that has disconnected has no address any more, and so cannot be trusted.
            let is_known = address.is_some() || socket.is_unix();
            if is_known && protocol.accepts(address.map(|address| address.ip())) {
                return Entry::Announced;
            }
            if protocol.is_required() {
                return Entry::Rejected;
            }
        }
        if self.is_trusted(address, socket.is_unix()) { Entry::Trusted } else { Entry::Direct }
    }

    /// Whether this is a proxy that is believed.
    fn is_trusted(&self, address: Option<SocketAddr>, is_unix: bool) -> bool {
        self.core.config.proxies().is_some_and(|proxies| match address {
            Some(address) => proxies.trusts(address.ip()),
            None => is_unix && proxies.trusts_unix_sockets(),
        })
    }

    /// Has a connection go on as its entry demands.
    fn enter(&mut self, id: PeerId, entry: &Entry) {
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        match entry {
            Entry::Trusted => connection.endpoint_mut().trust_proxy(),
            Entry::Announced => {
                connection.awaits_proxy_header = true;
                self.core.callers.await_header(id);
            }
            Entry::Direct | Entry::Rejected => {}
        }
    }

    /// Counts a connection as one from this address, unless there are as many from there as there may be.
    fn count_from(&mut self, id: PeerId, address: Option<SocketAddr>) -> bool {
        let (group, _) = self.core.handle.group_and_home();
        let (Some(mut quota), Some(address)) = (group.quota(), address) else { return true };
        if quota.counts(id) {
            return true;
        }
        let home = Neighbourhood::of(address.ip());
        let has_room = quota.has_room(home);
        if has_room {
            quota.enter(id, home);
        }
        has_room
    }

    fn register(
        &mut self,
        driver: Driver<Socket>,
        origin: Origin,
        listener: Option<ListenerIndex>,
    ) -> Option<PeerId> {
        let origin = if self.shutdown.is_some() { origin.late() } else { origin };
        let mut connection = self.core.connection(driver, origin);
        connection.listener = listener;
        match self.core.register(connection) {
            Ok(id) => {
                if let Some(draining) = &mut self.shutdown {
                    draining.note_late();
                }
                event!(Debug, "accept", "{id} accepted");
                Some(id)
            }
            Err(error) => {
                event!(Warn, "accept", "a connection cannot be watched: {error}");
                None
            }
        }
    }

    /// Rejects a connection, since there are as many as there may be.
    fn reject_for_all(&mut self, socket: Socket, listener: Option<ListenerIndex>) {
        let response = Response::service_unavailable();
        self.reject_at_once(socket, listener, &OpeningError::TooManyConnections, response);
    }

    /// Rejects a connection of which nothing was read.
    #[cold]
    fn reject_at_once(
        &mut self,
        mut socket: Socket,
        listener: Option<ListenerIndex>,
        error: &OpeningError,
        response: Response,
    ) {
        let caller = self.core.caller_at(&socket, listener, Told::default());
        let attempt = Attempt::new(caller, PartialRequest::default());
        let response = self.tell_opening_error(error, &attempt).unwrap_or(response);
        let mut refusal = Vec::new();
        response.encode("GET", self.core.shared.workspace.date(), &mut refusal);
        socket.refuse(&refusal);
        self.core.shared.counting.add(Count::Refused);
        event!(Info, "accept", "refused: {error}");
        if let Some(draining) = &mut self.shutdown {
            draining.note_refused();
        }
    }
}

/// How a request is decided.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// The request with its caller, whom it may have told of; `None` if there are as many from there as there may
    /// be.
    fn incoming(&mut self, id: PeerId, request: Arc<Request>) -> Option<IncomingRequest> {
        if let Some(forwarded) = request.forwarded() {
            self.core.callers.told_mut(id).forwarded = Some(Arc::clone(forwarded));
        }
        let caller = self.core.caller(id);
        let has_room = self.count_from(id, caller.address());
        has_room.then(|| IncomingRequest::new(request, caller))
    }

    fn upgrade(&mut self, id: PeerId, request: Arc<Request>) {
        if self.shutdown.is_some() {
            let error = OpeningError::ShuttingDown;
            return self.reject(id, Some(error), Response::service_unavailable());
        }
        if !self.has_room_for(id) {
            let error = OpeningError::TooManyConnections;
            return self.reject(id, Some(error), Response::service_unavailable());
        }
        let Some(mut request) = self.incoming(id, request) else {
            let error = OpeningError::TooManyFromAddress;
            return self.reject(id, Some(error), Response::too_many_requests());
        };
        if let Err(wait) = self.count_handshake(request.caller().address()) {
            let response = too_many_handshakes(wait);
            return self.reject(id, Some(OpeningError::TooManyHandshakes), response);
        }
        let verdict = self.call(id, |app| app.on_upgrade(&request));
        let Some(Verdict { choice, route }) = verdict else {
            return self.reject(id, None, Response::new(500));
        };
        if let VerdictChoice::Now(Decided::Reject(response)) = choice {
            return self.reject(id, None, response);
        }
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        if let Some(route) = route {
            let workspace = &mut self.core.shared.workspace;
            connection.endpoint_mut().set_config(route.config, workspace);
            request = request.routed(&route.pattern);
            self.core.set_route(id, route.id);
        }
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        connection.request = Some(request.clone());
        match choice {
            VerdictChoice::Now(Decided::Accept(accept)) => self.open(id, accept),
            VerdictChoice::Now(Decided::Reject(_)) => {}
            VerdictChoice::Defer(begin) => {
                // No event will tell a second time that the client is gone already.
                if connection.driver.is_read_closed() {
                    connection.endpoint_mut().abort();
                }
                let waiting = self.core.undecided.add(id, request);
                // Where this panics, the request is answered by the end of what was pending.
                self.call_for_nobody(|_| begin(waiting));
            }
        }
    }

    /// Counts a handshake from this address, unless as many have come from there as may: how long it would have to
    /// wait then, `None` for ever.
    fn count_handshake(&mut self, address: Option<SocketAddr>) -> Result<(), Option<Duration>> {
        let (group, _) = self.core.handle.group_and_home();
        let (Some(mut handshakes), Some(address)) = (group.handshakes(), address) else {
            return Ok(());
        };
        let counted = handshakes.count(Neighbourhood::of(address.ip()), self.core.now);
        drop(handshakes);
        if counted.is_err() {
            self.core.shared.counting.add(Count::HandshakesRateLimited);
        }
        counted
    }

    /// A plain request.
    fn answer_plain(&mut self, id: PeerId, request: Arc<Request>) {
        if self.shutdown.is_some() {
            self.answer(id, Response::service_unavailable());
            return;
        }
        let Some(mut request) = self.incoming(id, request) else {
            self.answer(id, Response::too_many_requests());
            return;
        };
        let answer = self.call(id, |app| app.on_http(&request));
        let answer = answer.unwrap_or_else(|| Response::new(500).into());
        let HttpAnswer { choice, pattern } = answer;
        match choice {
            HttpChoice::Now(response) => drop(self.answer(id, response)),
            HttpChoice::Defer(begin) => {
                let Some(connection) = self.core.slab.get_mut(id) else { return };
                if let Some(pattern) = pattern {
                    request = request.routed(&pattern);
                }
                // The request waits: it has come in this turn.
                let workspace = &mut self.core.shared.workspace;
                let _ = connection.endpoint_mut().respond_later(workspace);
                // No event will tell a second time that the client is gone already.
                if connection.driver.is_read_closed() {
                    connection.endpoint_mut().abort();
                }
                let pending = self.core.undecided.add_plain(id, request);
                // Where this panics, the request is answered by the end of what was pending.
                self.call_for_nobody(|_| begin(pending));
            }
        }
    }

    /// Carries out what was decided elsewhere.
    fn take_decisions(&mut self) {
        while let Some((id, decided)) = self.app.next_decision() {
            // Decisions about connections that have ended in the meantime are dropped.
            if self.core.undecided.remove(id) {
                self.begin(id);
                // If its deadline has come just now, it was answered by that.
                let waits = |c: &Connection| c.endpoint().awaits_decision();
                match decided {
                    _ if !self.core.slab.get(id).is_some_and(waits) => {}
                    Decided::Accept(accept) => self.open(id, accept),
                    Decided::Reject(response) => self.reject(id, None, response),
                }
                self.finish(id);
            }
            self.app.drop_session();
        }
    }

    /// Opens a connection with the session that was set aside.
    fn open(&mut self, id: PeerId, accept: Accept) {
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        let workspace = &mut self.core.shared.workspace;
        if connection.endpoint_mut().accept(accept, workspace).is_err() {
            // The handler chose a subprotocol that was not offered: its fault, not the peer's.
            self.app.drop_session();
            return self.reject(id, None, Response::new(500));
        }
        connection.has_session = true;
        self.app.keep_session(id);
        if let Some(limit) = self.core.rate_limit {
            connection.set_rate_limit(Some(limit), self.core.now, &mut self.core.shared);
        }
        self.core.count_opened(id);
        self.call_for_peer(id, |app, core| app.on_open(core, id));
        if !self.core.keep_requests
            && let Some(connection) = self.core.slab.get_mut(id)
        {
            connection.request = None;
        }
    }

    /// Answers an upgrade with something else.
    fn reject(&mut self, id: PeerId, error: Option<OpeningError>, response: Response) {
        let error = error.unwrap_or_else(|| OpeningError::Rejected(Arc::new(response.clone())));
        let attempt = self.attempt(id);
        let response = self.tell_opening_error(&error, &attempt).unwrap_or(response);
        if let Some(status) = self.answer(id, response) {
            self.core.shared.counting.rejected(status);
            event!(Info, "handshake", "{id} refused with status {status}");
        }
    }

    /// Answers a request of any kind; with which status, if it still waited.
    fn answer(&mut self, id: PeerId, response: Response) -> Option<u16> {
        let endpoint = self.core.slab.get_mut(id)?.endpoint_mut();
        let status = response.status();
        let workspace = &mut self.core.shared.workspace;
        if endpoint.respond(response, workspace).is_ok() {
            return Some(status);
        }
        // The handler's response has an interim status (1xx), which cannot end a request.
        endpoint.respond(Response::new(500), workspace).is_ok().then_some(500)
    }

    /// Does not let a request wait for a decision while everything ends.
    fn reject_undecided(&mut self, id: PeerId) {
        if !self.core.undecided.remove(id) {
            return;
        }
        let response = Response::service_unavailable();
        let request = self.core.slab.get(id).and_then(|one| one.endpoint().request());
        if request.is_some_and(|request| request.is_upgrade()) {
            self.reject(id, Some(OpeningError::ShuttingDown), response);
        } else {
            self.answer(id, response);
        }
        self.core.settle_later(id);
    }

    /// What is known of a connection that does not become a WebSocket.
    #[cold]
    fn attempt(&mut self, id: PeerId) -> Attempt {
        let caller = self.core.caller(id);
        let read = self.core.slab.get_mut(id).and_then(|connection| {
            let endpoint = connection.endpoint_mut();
            let waiting = endpoint.request().map(PartialRequest::from);
            waiting.or_else(|| endpoint.take_partial_request())
        });
        Attempt::new(caller, read.unwrap_or_default())
    }

    /// Tells the handler why a connection did not become a WebSocket: what it answers instead.
    fn tell_opening_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.call_for_nobody(|app| app.on_handshake_error(error, attempt)).flatten()
    }

    /// What TLS has found, if it has failed; otherwise this error.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "there is no TLS"))]
    fn or_error_of_tls(&self, id: PeerId, error: OpeningError) -> OpeningError {
        #[cfg(feature = "tls")]
        if let Some(connection) = self.core.slab.get(id)
            && let Some(error) = connection.driver.transport().tls_error()
        {
            return OpeningError::Tls(error.clone());
        }
        error
    }

    /// The engine has found a request at fault, and has queued its answer.
    #[cold]
    fn handshake_failed(&mut self, id: PeerId, event: &Event<'_>) {
        // A dialled connection ends with `on_close` instead.
        let Event::HandshakeFailed(HandshakeError::Request(error)) = event else { return };
        // A client that does not speak TLS times out, too; then the error of TLS is what to tell.
        let error = self.or_error_of_tls(id, OpeningError::Handshake(error.clone()));
        let attempt = self.attempt(id);
        let answer = self.tell_opening_error(&error, &attempt);
        if let (Some(response), Some(connection)) = (answer, self.core.slab.get_mut(id)) {
            // Fails after a timeout, where no answer is queued that could be replaced.
            let _ = connection.endpoint_mut().answer_instead(&response);
        }
    }

    /// Whether a connection that has ended has brought no byte.
    fn has_said_nothing(&self, id: PeerId) -> bool {
        self.core.slab.get(id).is_some_and(|connection| {
            #[cfg(feature = "tls")]
            if connection.driver.transport().has_heard_tls() {
                return false;
            }
            connection.endpoint().ended_in_silence()
        })
    }

    /// A connection has gone that was never open.
    #[cold]
    fn never_opened(&mut self, id: PeerId, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Lost { .. }) {
            // A rejected request was told of when it was rejected.
            return;
        }
        if self.core.callers.is_rejected(id) || self.has_said_nothing(id) {
            return;
        }
        if self.core.undecided.is_plain(id) {
            // A plain request asked for no WebSocket, so none has failed.
            return;
        }
        let error = self.or_error_of_tls(id, OpeningError::Lost);
        let attempt = self.attempt(id);
        // The client has gone, so the answer goes nowhere.
        let _ = self.tell_opening_error(&error, &attempt);
    }
}

/// Headers of the PROXY protocol.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// Reads the header with which a connection has to begin; whether it goes on with what is behind it.
    #[cold]
    fn read_proxy_header(&mut self, id: PeerId) -> bool {
        let mut room = [0; 512];
        loop {
            let Core { slab, callers, .. } = &mut self.core;
            let (Some(connection), Some(reader)) = (slab.get_mut(id), callers.reader(id)) else {
                return false;
            };
            let (count, stopped) = connection.driver.transport_mut().read_ahead(&mut room);
            match reader.read(&room[..count]) {
                Ok(Some((header, used))) => {
                    connection.put_back(&room[used..count]);
                    return self.go_on_behind(id, Some(header));
                }
                Ok(None) => {}
                Err(ProxyHeaderError::Missing) if self.may_lack_header(id) => {
                    let Core { slab, callers, .. } = &mut self.core;
                    if let (Some(connection), Some(reader)) = (slab.get_mut(id), callers.reader(id))
                    {
                        connection.put_back(&[&reader.taken(), &room[..count]].concat());
                    }
                    return self.go_on_behind(id, None);
                }
                Err(error) => {
                    self.reject_unheard(id, &OpeningError::ProxyHeader(error), None);
                    return false;
                }
            }
            match stopped {
                Stopped::Done => {}
                Stopped::Blocked => {
                    connection.driver.set_not_readable();
                    return false;
                }
                Stopped::Eof => {
                    connection.endpoint_mut().abort();
                    return false;
                }
                Stopped::Broken(error) => {
                    connection.endpoint_mut().abort_with(error);
                    return false;
                }
            }
        }
    }

    /// Whether a connection may begin without a header.
    fn may_lack_header(&self, id: PeerId) -> bool {
        let listener = self.core.slab.get(id).and_then(|connection| connection.listener);
        let facts = listener.and_then(|listener| self.core.listener(listener));
        let protocol = facts.and_then(|facts| facts.proxy_protocol.as_deref());
        protocol.is_some_and(|protocol| !protocol.is_required())
    }

    /// Goes on behind a header, or where it might have stood, now that the address is known.
    fn go_on_behind(&mut self, id: PeerId, header: Option<ProxyHeader>) -> bool {
        let Core { slab, callers, .. } = &mut self.core;
        let Some(connection) = slab.get_mut(id) else { return false };
        connection.awaits_proxy_header = false;
        callers.end_wait(id);
        if let Some(header) = header {
            callers.told_mut(id).header = Some(Arc::new(header));
        }
        let socket = connection.driver.transport();
        let remote = socket.peer_addr().ok();
        let address = callers.told(id).address_by_header(remote);
        // A Unix socket is trusted only for who is at its other end, not for the client that a PROXY header names.
        let is_unix = socket.is_unix() && header.is_none_or(|header| header.is_local());
        if self.is_trusted(address, is_unix) {
            self.enter(id, &Entry::Trusted);
            return true;
        }
        if !self.count_from(id, address) {
            let response = Response::too_many_requests();
            self.reject_unheard(id, &OpeningError::TooManyFromAddress, Some(response));
            return false;
        }
        true
    }

    /// Rejects a connection of which no request was read.
    fn reject_unheard(&mut self, id: PeerId, error: &OpeningError, response: Option<Response>) {
        let attempt = self.attempt(id);
        let own = self.tell_opening_error(error, &attempt);
        event!(Info, "accept", "{id} refused: {error}");
        self.core.callers.reject(id);
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        if let Some(response) = response.map(|response| own.unwrap_or(response)) {
            let mut refusal = Vec::new();
            response.encode("GET", self.core.shared.workspace.date(), &mut refusal);
            connection.driver.transport_mut().refuse(&refusal);
        }
        connection.abort();
    }
}

/// A turn at one connection.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// Reads, handles and writes what there is.
    fn turn(&mut self, id: PeerId) {
        self.begin(id);
        self.read(id);
        self.finish(id);
    }

    /// Settles one connection outside its turn.
    fn settle_turn(&mut self, id: PeerId) {
        self.begin(id);
        self.finish(id);
    }

    /// Gives those who had more than their share of the last turn another.
    fn continue_unfinished(&mut self) {
        let mut continued = mem::take(&mut self.continued);
        for id in continued.drain(..) {
            if let Some(connection) = self.core.slab.get_mut(id) {
                connection.is_unfinished = false;
                self.turn(id);
            }
        }
        self.continued = continued;
    }

    #[inline]
    fn begin(&mut self, id: PeerId) {
        if self.core.owes_broadcasts()
            && self.core.slab.get(id).is_some_and(|c| c.endpoint().state() == State::Connecting)
        {
            // Broadcasts from before it opened are not for it.
            self.core.flush_broadcasts();
        }
        self.begin_open(id);
    }

    /// The same for one that is not opening.
    #[inline(always)]
    fn begin_open(&mut self, id: PeerId) {
        self.core.current = Some(id);
        #[cfg(feature = "deflate")]
        self.core.shared.workspace.set_codec_budget(CODEC_BUDGET);
        self.tell_time(id);
    }

    fn finish(&mut self, id: PeerId) {
        self.settle(id);
        self.core.current = None;
    }

    /// Tells a connection the time, at the head of its turn. What is due is done by that.
    #[inline(always)]
    fn tell_time(&mut self, id: PeerId) {
        if let Some(connection) = self.core.slab.get_mut(id)
            && let Some(event) =
                connection.driver.handle_timeout(self.core.now, &mut self.core.shared.workspace)
        {
            self.handshake_failed(id, &event);
        }
    }

    /// Whether this turn of the loop has taken long already; looked at now and then.
    #[inline]
    fn is_late(&mut self) -> bool {
        self.pace.turns += 1;
        if self.pace.turns.is_multiple_of(LOOK_EVERY) {
            self.pace.is_late = self.clock.now() - self.core.now > LONG_TURN;
        }
        self.pace.is_late
    }

    /// Reads the socket, as much as one turn allows: the others are served before the rest.
    fn read(&mut self, id: PeerId) {
        if self.core.slab.get(id).is_some_and(|connection| connection.awaits_proxy_header)
            && !self.read_proxy_header(id)
        {
            return;
        }
        let late = self.is_late();
        let (clock, now) = (self.clock.clone(), self.core.now);
        let is_over = move || late || clock.now() - now > LONG_TURN;
        let room = if late { SHORT_READ_ROOM } else { READ_ROOM };
        let mut budget = Budget::new().room(room).until(&is_over);
        #[cfg(test)]
        {
            budget = budget.bytes(SMALL_BUDGET.0).events(SMALL_BUDGET.1);
        }
        let mut inbox = self.inbox.take().unwrap_or_else(|| Box::new(Inbox::new(READ_ROOM)));
        while budget.goes_on()
            && let Some(connection) = self.core.slab.get_mut(id)
        {
            let workspace = &mut self.core.shared.workspace;
            if let Some(event) = connection.driver.fill(&mut inbox, &mut budget, workspace) {
                if connection.is_rate_limited() {
                    self.dispatch_limited(id, event);
                } else {
                    self.dispatch_direct(id, event);
                }
            } else if budget.goes_on() {
                let mut input = inbox.input();
                self.take(id, &mut input, &mut budget);
                let left = input.len();
                inbox.set_left(left);
            }
        }
        self.core.shared.counting.add_many(Count::BytesReceived, budget.received());
        self.inbox = Some(inbox);
        if self.has_rate_limited {
            self.tell_of_rate_limited(id);
        }
    }

    /// Passes an event of a connection with a rate limit on, unless the limit has the message dropped.
    #[cold]
    #[inline(never)]
    fn dispatch_limited(&mut self, id: PeerId, event: Event<'_>) {
        let (bytes, piece) = match &event {
            Event::Message(message) => (message.len(), Piece::WHOLE),
            Event::Fragment(fragment) => {
                let piece = Piece { is_first: fragment.first, is_last: fragment.last };
                (fragment.payload.len(), piece)
            }
            _ => return self.dispatch_direct(id, event),
        };
        let (now, shared) = (self.core.now, &mut self.core.shared);
        let connection = self.core.slab.get_mut(id);
        if connection.is_some_and(|connection| connection.passes_limit(bytes, piece, now, shared)) {
            self.dispatch_direct(id, event);
        } else {
            self.has_rate_limited = true;
        }
    }

    /// Tells the handler how many messages of a connection its rate limit has dropped.
    #[cold]
    fn tell_of_rate_limited(&mut self, id: PeerId) {
        self.has_rate_limited = false;
        let dropped = self.core.slab.get_mut(id).map_or(0, Connection::take_rate_limited);
        if dropped > 0 {
            self.call_for_peer(id, |app, core| app.on_rate_limited(core, id, dropped));
        }
    }

    /// Takes the messages that were read.
    // Not inlined, so that its variables stay in registers.
    #[inline(never)]
    fn take(&mut self, id: PeerId, input: &mut &mut [u8], budget: &mut Budget<'_>) {
        while let Some(connection) = self.core.slab.get_mut(id)
            && let Some(event) =
                connection.driver.take(input, budget, &mut self.core.shared.workspace)
        {
            if connection.is_rate_limited() {
                self.dispatch_limited(id, event);
            } else {
                self.dispatch(id, event);
            }
            // The engine is asked once even without input, since it may have an event without any.
            if input.is_empty() {
                break;
            }
        }
    }

    fn read_later(&mut self, id: PeerId) {
        if let Some(connection) = self.core.slab.get_mut(id)
            && !mem::replace(&mut connection.is_unfinished, true)
        {
            self.unfinished.push(id);
        }
    }

    #[inline(always)]
    fn dispatch(&mut self, id: PeerId, event: Event<'_>) {
        match event {
            Event::Message(message) => {
                self.core.shared.counting.message_received(message.kind());
                if self.on_panic == OnPanic::EndLoop {
                    return self.app.on_message(&mut self.core, id, message);
                }
                self.call_for_peer(id, |app, core| app.on_message(core, id, message));
            }
            event => self.dispatch_rare(id, event),
        }
    }

    /// Off the path of short messages: of a long one, which was read into its place, and of a connection with a rate limit.
    #[inline(never)]
    fn dispatch_direct(&mut self, id: PeerId, event: Event<'_>) {
        self.dispatch(id, event);
    }

    #[cold]
    fn dispatch_rare(&mut self, id: PeerId, event: Event<'_>) {
        let counting = &mut self.core.shared.counting;
        match event {
            Event::Request(request) => self.upgrade(id, request),
            Event::Open(_) => {
                self.core.count_opened(id);
                self.call_for_peer(id, |app, core| app.on_open(core, id));
                self.close_if_draining(id);
            }
            Event::Http(request) => {
                counting.add(Count::Requests);
                self.answer_plain(id, request);
            }
            Event::Fragment(fragment) => {
                if fragment.last {
                    counting.message_received(fragment.kind);
                }
                self.call_for_peer(id, |app, core| app.on_fragment(core, id, fragment));
            }
            Event::Ping(payload) => {
                counting.add(Count::PingsReceived);
                self.call_for_peer(id, |app, core| app.on_ping(core, id, payload));
            }
            Event::Pong(payload) => {
                counting.add(Count::PongsReceived);
                self.call_for_peer(id, |app, core| app.on_pong(core, id, payload));
            }
            event @ Event::HandshakeFailed(_) => self.handshake_failed(id, &event),
            // The other events need nothing here: their answers are in the output, their consequences in the outcome.
            _ => {}
        }
    }
}

/// Calls of the handler.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// Calls it for a connection that it knows.
    #[inline]
    fn call_for_peer(
        &mut self,
        id: PeerId,
        call: impl FnOnce(&mut (dyn Application<'h> + 'h), &mut Core),
    ) {
        if self.on_panic == OnPanic::EndLoop {
            return call(&mut self.app, &mut self.core);
        }
        if self.core.slab.get(id).is_some_and(|connection| !connection.has_panicked) {
            self.call_guarded(id, call);
        }
    }

    /// Calls it for a connection that it may not know yet; `None` if it has panicked.
    fn call<R>(
        &mut self,
        id: PeerId,
        call: impl FnOnce(&mut (dyn Application<'h> + 'h)) -> R,
    ) -> Option<R> {
        if self.on_panic == OnPanic::EndLoop {
            return Some(call(&mut self.app));
        }
        self.call_guarded(id, |app, _| call(app))
    }

    /// The same, about no connection of the loop.
    fn call_for_nobody<R>(
        &mut self,
        call: impl FnOnce(&mut (dyn Application<'h> + 'h)) -> R,
    ) -> Option<R> {
        if self.on_panic == OnPanic::EndLoop {
            return Some(call(&mut self.app));
        }
        // Unwind safety: the owner chose to go on with the handler after a panic, and the call does not touch the
        // loop.
        catch_unwind(AssertUnwindSafe(|| call(&mut self.app))).ok()
    }

    /// Calls it for all of the connections, or some.
    #[cold]
    fn call_for_loop(&mut self, call: impl FnOnce(&mut (dyn Application<'h> + 'h), &mut Core)) {
        let (app, core) = (&mut self.app, &mut self.core);
        let call = || call(app, core);
        if self.on_panic == OnPanic::EndLoop {
            call();
        } else if catch_unwind(AssertUnwindSafe(call)).is_err() {
            // As in `call_for_peer`, but there is no connection to close.
            event!(
                Warn,
                "connection",
                "the handler has panicked, in a call that is about no connection"
            );
        }
    }

    #[cold]
    fn call_guarded<R>(
        &mut self,
        id: PeerId,
        call: impl FnOnce(&mut (dyn Application<'h> + 'h), &mut Core) -> R,
    ) -> Option<R> {
        let (app, core) = (&mut self.app, &mut self.core);
        // The handler is used again by the wish of its owner; what it can do to the loop by a peer is done as a
        // whole before it comes back to it.
        let result = catch_unwind(AssertUnwindSafe(|| call(app, core)));
        if result.is_err() {
            event!(Warn, "connection", "{id}: the handler has panicked");
            if let Some(connection) = self.core.slab.get_mut(id) {
                connection.has_panicked = true;
                let workspace = &mut self.core.shared.workspace;
                let code = CloseCode::INTERNAL_ERROR;
                // A connection that is closing already needs no second Close.
                let _ = connection.endpoint_mut().close(code, "", workspace);
            }
        }
        result.ok()
    }
}

/// What handles ask for.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    fn carry_out_commands(&mut self) {
        if !self.commands.look() && !self.has_more_commands {
            return;
        }
        self.has_more_commands = true;
        let mut deliveries = 0;
        let mut first_call = None;
        for _ in 0..COMMANDS_A_TURN {
            if deliveries >= DELIVERIES_A_TURN {
                break;
            }
            let Some(command) = self.commands.take() else {
                self.has_more_commands = false;
                break;
            };
            match command {
                Command::Peer(id, command) => self.carry_out_for_peer(id, command),
                Command::Publish(selection, prepared) => {
                    deliveries += self.core.publish_here(selection.borrowed(), prepared);
                }
                Command::Shutdown(order) => self.begin_shutdown(order),
                Command::List(answerer) => {
                    answerer.send(self.core.open_peers(Scope::All).collect());
                }
                Command::Decided => self.take_decisions(),
                Command::Call(ticket) => {
                    let since = *first_call.get_or_insert_with(|| self.clock.now());
                    self.carry_out_call(ticket);
                    if self.clock.now() - since > LONG_TURN {
                        break;
                    }
                }
                Command::Serve(socket, listener) => self.serve_for_another(socket, listener),
                Command::Adopt(adoption) => {
                    let (group, home) = self.core.handle.group_and_home();
                    group.arrives(home);
                    // `adopt` has returned already; a failure is answered on the stream itself.
                    let _ = self.add_adopted(*adoption);
                }
            }
        }
    }

    /// Calls a function that a handle has given.
    #[cold]
    fn carry_out_call(&mut self, ticket: u64) {
        match self.app.next_call(ticket) {
            Some(CallTarget::Loop) => self.call_for_loop(|app, core| app.call(core)),
            Some(CallTarget::Peer(id)) => {
                self.core.flush_broadcasts();
                if self.core.is_peer(id) {
                    self.core.settle_later(id);
                    self.call_for_peer(id, |app, core| app.call(core));
                }
                self.app.drop_call();
            }
            None => {}
        }
    }

    fn carry_out_for_peer(&mut self, id: PeerId, command: PeerCommand) {
        match command {
            PeerCommand::Send(prepared) => {
                if self.core.is_peer(id) {
                    self.core.deliver(id, Key::default(), &prepared);
                }
            }
            PeerCommand::SendLatest(key, prepared) => {
                if self.core.is_peer(id) {
                    let key = Key { topic: None, name: Some(&key) };
                    self.core.deliver(id, key, &prepared);
                }
            }
            PeerCommand::Subscribe(topic) => self.core.subscribe_as_ordered(id, &topic),
            PeerCommand::Unsubscribe(topic) => {
                self.core.topics.unsubscribe(id, &topic);
            }
            PeerCommand::Close(close) => {
                // A connection that is closing already needs no second Close.
                let _ = self.core.close(id, &close);
            }
            PeerCommand::CloseWithoutCode => {
                self.core.flush_broadcasts();
                if self.core.is_peer(id) {
                    let _ = self.core.close_without_code(id);
                }
            }
            PeerCommand::Abort => {
                self.core.change(id, |connection, _| connection.abort());
            }
            PeerCommand::Pause => {
                self.core.change(id, |connection, shared| connection.pause(shared));
            }
            PeerCommand::Resume => {
                self.core.change(id, |connection, shared| connection.resume(shared));
            }
            PeerCommand::Answer(response) => {
                // Decisions about connections that have ended in the meantime are dropped.
                if self.core.undecided.remove(id) {
                    self.begin(id);
                    self.answer(id, response);
                    self.finish(id);
                }
            }
        }
    }
}

/// The end of a turn, and the end of a connection.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// Settles those that were changed outside their turn.
    fn settle_all(&mut self) {
        // Settling calls the handler, which may change further connections. Those wait for the next
        // turn, which comes at once: two that send to each other in `on_drain` would never end.
        self.send_broadcasts();
        for id in mem::take(&mut self.core.unsettled) {
            if self.core.slab.get(id).is_some_and(Connection::is_unsettled) {
                self.settle_turn(id);
            }
        }
    }

    /// Sends what waits for all, each connection in a turn of its own.
    fn send_broadcasts(&mut self) {
        if !self.core.has_broadcasts() {
            return;
        }
        self.core.begin_broadcasts();
        let mut from = 0;
        while let Some(id) = self.core.next_addressed(from) {
            from = id.index() + 1;
            self.begin_open(id);
            self.core.deliver_broadcasts(id);
            self.finish(id);
        }
        self.core.end_broadcasts();
    }

    /// Writes what there is, and draws the consequences of all that happened in the turn.
    fn settle(&mut self, id: PeerId) {
        self.tell_of_dropped(id);
        let mut drained = false;
        let connection = loop {
            let Some(connection) = self.core.slab.get_mut(id) else { return };
            connection.write(&mut self.core.shared);
            if connection.keeps_messages()
                && connection.endpoint().is_drained()
                && connection.release(id, Release::Some, &mut self.core.shared)
            {
                continue;
            }
            // Not before the release above: a peer that has ended its direction still gets what is kept for it.
            if connection.driver.is_over() {
                return self.remove(id);
            }
            if !connection.is_relieved() {
                break connection;
            }
            if drained {
                // A peer may take as fast as `on_drain` sends; the others are served in between.
                connection.unsettle(id, &mut self.core.unsettled);
                break connection;
            }
            if !connection.take_relief() {
                break connection;
            }
            drained = true;
            self.call_for_peer(id, |app, core| app.on_drain(core, id));
        };
        connection.count(id, &mut self.core.shared.buffered);
        if connection.has_dropped() {
            connection.unsettle(id, &mut self.core.unsettled);
        }
        if let Err(error) = connection.watch_writing(&self.core.registry, id) {
            connection.endpoint_mut().abort_with(error);
            return self.remove(id);
        }
        connection.set_timer(id, &mut self.core.timers);
        if connection.driver.has_more() {
            self.read_later(id);
        }
    }

    #[inline]
    fn look_at_timers(&mut self) {
        if self.core.timers.next().is_some_and(|next| next <= self.core.now) {
            self.take_due_timers();
        }
    }

    /// Tells the handler of the timers of the application whose time has come.
    #[inline]
    fn look_at_schedule(&mut self) {
        if self.core.schedule.next().is_some_and(|next| next <= self.core.now) {
            self.tell_of_timers();
        }
    }

    #[cold]
    fn tell_of_timers(&mut self) {
        // Timers that are set by `on_timer` wait for the next turn.
        let limit = self.core.schedule.limit();
        for _ in 0..TIMERS_A_TURN {
            let Some((owner, timer)) = self.core.schedule.take_due(self.core.now, limit) else {
                break;
            };
            match owner {
                TimerOwner::Loop(scope) => {
                    self.call_for_loop(|app, core| app.on_timer(core, scope, timer));
                }
                TimerOwner::Peer(id) => self.tell_of_peer_timer(id, timer),
            }
        }
    }

    fn tell_of_peer_timer(&mut self, id: PeerId, timer: Timer) {
        self.core.flush_broadcasts();
        self.begin(id);
        // A deadline may have ended it just now.
        let is_there = |connection: &Connection| {
            connection.has_session && connection.endpoint().state() != State::Closed
        };
        if self.core.slab.get(id).is_some_and(is_there) {
            self.call_for_peer(id, |app, core| app.on_peer_timer(core, id, timer));
        }
        self.finish(id);
    }

    fn take_due_timers(&mut self) {
        for (at, id) in self.core.timers.take_due(self.core.now) {
            self.core.flush_broadcasts();
            let Some(connection) = self.core.slab.get_mut(id) else { continue };
            if connection.timer != Some(at) {
                continue;
            }
            connection.timer = None;
            let awaited = connection.endpoint().awaits_decision();
            self.begin(id);
            let Some(connection) = self.core.slab.get_mut(id) else { continue };
            if connection.is_rate_limited() {
                connection.release_limit(self.core.now, &mut self.core.shared);
            }
            if connection.endpoint().state() == State::Closed {
                connection.is_aborted = true;
                event!(Debug, "limits", "{id} is past its deadline");
            }
            if awaited && !connection.endpoint().awaits_decision() {
                self.core.undecided.remove(id);
            }
            self.finish(id);
        }
    }

    /// Drops those for which most waits, where more waits than is allowed.
    fn evict(&mut self) {
        if self.core.shared.buffered.is_too_much() {
            for id in self.core.to_evict() {
                event!(Info, "limits", "{id} is dropped: most of what waits is for it");
                self.abort(id);
            }
        }
    }

    /// Ends a connection without a Close, at once.
    fn abort(&mut self, id: PeerId) {
        if let Some(connection) = self.core.slab.get_mut(id) {
            connection.abort();
            self.settle_turn(id);
        }
    }

    /// Tells the handler of the messages that this connection has lost.
    fn tell_of_dropped(&mut self, id: PeerId) {
        let has_dropped = |connection: &Connection| connection.has_dropped();
        if self.core.has_broadcasts() && self.core.slab.get(id).is_some_and(has_dropped) {
            // Broadcasts that it drops are told in this call as well; what is dropped during the call waits for the
            // next one.
            self.core.catch_up(id);
        }
        if let Some(connection) = self.core.slab.get_mut(id)
            && connection.has_session
            && let Some(count) = connection.take_dropped()
        {
            self.call_for_peer(id, |app, core| app.on_dropped(core, id, count));
            if let Some(connection) = self.core.slab.get_mut(id) {
                connection.told_of_dropped();
            }
        }
    }

    /// Tells the handler of topics that have their first subscriber, or none any more.
    fn tell_of_topics(&mut self) {
        if self.core.topics.have_turned() {
            for (topic, count) in self.core.topics.take_turned() {
                self.call_for_nobody(|app| app.on_subscription(&topic, count));
            }
        }
    }

    /// Tells the handler how the connection ended, and forgets it.
    #[cold]
    fn remove(&mut self, id: PeerId) {
        let Some(connection) = self.core.slab.get_mut(id) else { return };
        let Some(outcome) = &connection.driver.outcome() else { return };
        // The connection is gone, so what `on_close` sends belongs to no turn.
        self.core.current = None;
        connection.uncount_open(&self.core.shared);
        let counting = &mut self.core.shared.counting;
        if connection.is_opened {
            counting.end(outcome);
        } else if self.core.callers.is_rejected(id) {
            counting.end_refused();
        } else {
            counting.end_unopened(connection.endpoint().role(), outcome);
        }
        log_end(id, connection.is_opened, outcome);
        // The system forgets a socket when it is dropped, unless somebody else holds it too. An error would
        // change nothing.
        if connection.origin.is_adopted() {
            let _ = self.core.registry.deregister(connection.driver.transport_mut().source());
        }
        if let Some(draining) = &mut self.shutdown {
            if connection.origin.is_late() {
                draining.note_late_end();
            }
            let departure = match connection.has_session {
                false => Departure::Unknown,
                true if connection.is_aborted => Departure::Aborted,
                true => Departure::Other,
            };
            if departure != Departure::Unknown {
                let endpoint = connection.endpoint();
                draining.note_unsent(endpoint.queued() - endpoint.left());
            }
            draining.note_end(departure, outcome);
        }
        if connection.has_session {
            connection.has_panicked = false;
            self.core.schedule.end_peer(id);
            self.call_for_peer(id, |app, core| app.on_close(core, id, outcome));
        } else {
            self.never_opened(id, outcome);
        }
        if let Some(mut quota) = self.core.handle.group_and_home().0.quota() {
            quota.leave(id);
        }
        self.core.forget(id);
        self.app.forget(id);
    }
}

/// What has to be so between two turns.
#[cfg(test)]
impl<'h> Reactor<dyn Application<'h> + 'h> {
    /// The first thing that is not.
    pub(super) fn find_fault(&self) -> Option<String> {
        for (id, connection) in self.core.slab.iter() {
            let driver = &connection.driver;
            let unfinished = self.unfinished.contains(&id);
            let timer = connection.timer.map(|tick| tick.time());
            let deadline = connection.next_timeout().filter(|_| !connection.is_unsettled());
            // An unsettled connection has a turn next and is asked for more then.
            let fault = if driver.has_more() && !unfinished && !connection.is_unsettled() {
                "has more to read and gets no turn"
            } else if connection.is_unfinished != unfinished {
                "has the wrong mark of being unfinished"
            } else if connection.is_unsettled() && !self.core.unsettled.contains(&id) {
                "is not settled and does not wait for it"
            } else if connection.is_counted_open() != connection.is_open()
                && !connection.is_unsettled()
            {
                "is not counted as it has to be"
            } else if driver.is_over() && !connection.is_unsettled() {
                "is over and stays"
            } else if deadline.is_some_and(|next| {
                timer.is_none_or(|timer| timer.saturating_sub(next) >= Duration::from_millis(1))
            }) {
                "has a deadline without a timer"
            } else if driver.wants_write() != connection.is_watched_for_writing()
                && !connection.is_unsettled()
            {
                "is not watched for writing as it has to be"
            } else {
                continue;
            };
            return Some(format!("{id} {fault}"));
        }
        None
    }

    /// What is left where nothing should be.
    pub(super) fn find_leftover(&self) -> Option<String> {
        let buffered = self.core.shared.buffered.total().unwrap_or_default();
        let left = (self.core.slab.len(), self.core.unsettled.len(), buffered);
        let idle = self.core.undecided.is_empty()
            && self.core.schedule.is_empty()
            && self.core.topics.iter().next().is_none();
        (left != (0, 0, 0) || !idle).then(|| format!("{left:?}, idle: {idle}"))
    }
}

/// The end of a loop.
impl<'h> Reactor<dyn Application<'h> + 'h> {
    fn begin_shutdown(&mut self, order: ShutdownOrder) {
        let now = self.core.now;
        let queue: Vec<_> = self.core.slab.ids().collect();
        let draining =
            self.shutdown.get_or_insert_with(|| Box::new(Draining::new(now, order.close.clone())));
        if let Some(report) = draining.report() {
            // A shutdown that is over is reported again to whoever asks again.
            order.report.send(report);
            return;
        }
        if order.close.is_some() {
            self.core.is_ending = true;
            event!(Info, "shutdown", "begins with {} connections", queue.len());
            draining.order(now, order, queue.clone());
        } else {
            event!(Info, "shutdown", "listens no more, with {} connections", queue.len());
            draining.note_waiting(order.report);
            self.acceptor.close();
        }
        for id in queue {
            self.reject_undecided(id);
        }
    }

    /// Goes on with a shutdown, if there is one.
    fn drain(&mut self) {
        let now = self.core.now;
        let Some(draining) = self.shutdown.as_deref_mut() else { return };
        let overdue = draining.is_overdue(now);
        let Some(close) = draining.close().cloned() else { return };
        for id in draining.due(now) {
            // A connection that is closing already needs no second Close.
            let _ = self.core.close(id, &close);
        }
        if overdue {
            self.settle_all();
            for id in self.core.slab.ids().collect::<Vec<_>>() {
                self.abort(id);
            }
        }
    }

    /// Ends it, once nobody is left whom it waits for.
    fn finish_draining(&mut self) {
        let connections = self.core.slab.len();
        if !self.shutdown.as_deref().is_some_and(|draining| draining.is_done(connections)) {
            return;
        }
        self.acceptor.close();
        for id in self.core.slab.ids().collect::<Vec<_>>() {
            self.abort(id);
        }
        // Nobody is left to settle.
        self.core.unsettled.clear();
        self.answer_last_commands();
        // Published first, since whoever is told of the end may ask for the counters next.
        self.core.publish_counters();
        let Some(draining) = self.shutdown.as_deref_mut() else { return };
        let (report, waiting) = draining.finish(self.core.now);
        event!(Info, "shutdown", "is over: {report}");
        let (group, home) = self.core.handle.group_and_home();
        group.set_report(home, report);
        for waiting in waiting {
            // Does nothing where the caller has stopped waiting.
            waiting.send(report);
        }
        // Commands that came before the report was visible; from now on `order` hands them back.
        self.answer_last_commands();
        self.commands.end();
        self.app.end();
        self.core.undecided.end();
        self.core.schedule.clear();
    }

    /// Answers what cannot just be dropped of what was asked of the loop before its end.
    fn answer_last_commands(&mut self) {
        while let Some(command) = self.commands.take() {
            match command {
                Command::Shutdown(order) => self.begin_shutdown(order),
                Command::Serve(socket, listener) => self.reject_at_the_end(socket, Some(listener)),
                Command::Adopt(adoption) => self.reject_at_the_end(adoption.socket, None),
                _ => {}
            }
        }
    }

    /// Rejects a connection that was on its way to this loop, which has come to its end.
    fn reject_at_the_end(&mut self, socket: Socket, listener: Option<ListenerIndex>) {
        let response = Response::service_unavailable();
        self.reject_at_once(socket, listener, &OpeningError::ShuttingDown, response);
        let (group, home) = self.core.handle.group_and_home();
        group.arrives(home);
    }

    /// Ends all connections, where the loop is dropped.
    pub(super) fn drop_all(&mut self) {
        self.core.is_ending = true;
        self.core.undecided.end();
        // After a panic the handler may be in any state and is not called.
        if !std::thread::panicking() {
            let _turn = Turn::begin();
            for id in self.core.slab.ids().collect::<Vec<_>>() {
                self.abort(id);
            }
        }
    }

    /// Closes a connection that has opened only now.
    fn close_if_draining(&mut self, id: PeerId) {
        if let Some(close) = self.shutdown.as_deref().and_then(Draining::close) {
            let close = close.clone();
            let _ = self.core.close(id, &close);
        }
    }
}

/// How it is found out who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// By the address.
    Direct,
    /// By the request, since a proxy has connected that is believed.
    Trusted,
    /// By a header of the PROXY protocol.
    Announced,
    /// Not at all: such a header has to come, and is not taken from there.
    Rejected,
}

/// The answer to one handshake too many.
fn too_many_handshakes(wait: Option<Duration>) -> Response {
    let response = Response::too_many_requests();
    let Some(wait) = wait else { return response };
    // Retry-After takes whole seconds; rounded up, so that the retry is not too early.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let with_header = response.header("Retry-After", seconds.to_string());
    // Digits are a valid header value, so this does not fail.
    with_header.unwrap_or_else(|_| Response::too_many_requests())
}

/// Of two times, where there are two.
#[inline]
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::event_loop::Server;
    use crate::event_loop::handler::{Decision, Handler};
    use crate::event_loop::incoming_request::IncomingRequest;
    use crate::event_loop::peer::Peer;
    use crate::protocol::{Config, Message};

    #[test]
    fn one_handshake_too_many_is_told_when_it_is_not_in_vain() {
        let told = |wait: Option<Duration>| {
            let response = too_many_handshakes(wait);
            assert_eq!(response.status(), 429);
            response.headers().get_str("Retry-After").map(str::to_owned)
        };
        for (wait, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            assert_eq!(told(Some(Duration::from_millis(wait))).as_deref(), Some(seconds));
        }
        assert_eq!(told(None), None);
    }

    fn answer_to(said: &'static [u8]) -> Vec<u8> {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut event_loop = server
            .on_message(|peer, message| {
                peer.send(message);
            })
            .into_event_loop()
            .unwrap();
        let handle = event_loop.handle();
        let client = thread::spawn(move || {
            let mut answer = Vec::new();
            let result = TcpStream::connect(address).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                stream.write_all(said)?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut answer)
            });
            handle.shutdown(1001, "", Duration::ZERO).unwrap();
            result.map(|_| answer)
        });
        event_loop.run().unwrap();
        client.join().unwrap().unwrap()
    }

    #[test]
    fn a_peer_that_has_ended_its_direction_is_still_answered() {
        let answer = answer_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with(b"HTTP/1.1 426 "), "{}", answer.escape_ascii());
        let answer = answer_to(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
            \x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8",
        );
        assert!(answer.ends_with(b"\x81\x02hi\x88\x02\x03\xe8"), "{}", answer.escape_ascii());
    }

    /// Takes its time with the first request.
    struct Slow(bool);

    impl Handler for Slow {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            let since = Instant::now();
            while std::mem::take(&mut self.0) && since.elapsed() < Duration::from_millis(5) {
                self.0 = true;
            }
            Decision::accept(())
        }

        fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    }

    /// A loop that is late hears everybody before it gives anybody up, however many there are.
    #[test]
    fn what_lies_there_is_read_before_it_is_too_late() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        // Over when the handler is done with the first request.
        let config = Config::new().handshake_timeout(Duration::from_micros(1));
        let mut event_loop = server.config(config).into_event_loop(Slow(true)).unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let mut clients = Vec::new();
        for _ in 0..10 * EVENTS {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            clients.push(stream);
        }
        for _ in 0..10 * clients.len() {
            event_loop.run_once(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(event_loop.peers().len(), clients.len());
    }
}
