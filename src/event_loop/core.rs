use std::io;
use std::time::Duration;

use mio::{Interest, Registry, Token};

use crate::handshake::ClientRequest;
use crate::io::transport::{self, Stopped, Transport};
use crate::protocol::{Config, Endpoint, SendError, State, Workspace};

use super::backlogs::{Backlogs, SlowConsumer};
use super::broadcasts::Broadcasts;
use super::counting::{Count, Counting};
use super::handle::Handle;
use super::incoming_request::IncomingRequest;
use super::logging::event;
use super::loops::Outbox;
use super::peer::{Peer, Sent};
use super::pending::Undecided;
use super::route::{RouteId, Scope};
use super::slots::{PeerId, Slots};
use super::timers::{Tick, Timers};
use super::topics::Topics;
use super::transport::Socket;

/// All connections of a loop and what they share: everything but the handler, so that the handler can
/// be called with it.
pub(super) struct Core<S> {
    pub(super) slots: Slots<Slot<S>>,
    pub(super) registry: Registry,
    pub(super) config: Config,
    pub(super) keep_requests: bool,
    pub(super) handle: Handle,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) topics: Topics,
    pub(super) backlogs: Backlogs,
    pub(super) broadcasts: Broadcasts,
    pub(super) undecided: Undecided<S>,
    pub(super) shared: Shared,
    /// The connection whose turn it is; it is settled when the turn is over.
    pub(super) current: Option<PeerId>,
    /// Connections that were changed outside their own turn and are to be settled after it.
    pub(super) unsettled: Vec<PeerId>,
    /// The time of this turn, since the loop was made.
    pub(super) now: Duration,
}

/// What the connections of a loop use in turn.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) workspace: Workspace,
    pub(super) counting: Counting,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { workspace: Workspace::new().for_many(), counting: Counting::default() }
    }
}

/// One connection of a loop.
pub(super) struct Slot<S> {
    pub(super) connection: Endpoint,
    pub(super) socket: Socket,
    /// From the upgrade on.
    pub(super) session: Option<S>,
    pub(super) request: Option<IncomingRequest>,
    /// The earliest time at which the timers will look at this connection.
    pub(super) timer: Option<Tick>,
    /// What was read and may not be taken yet: reading stopped behind it.
    pub(super) unread: Option<Box<Unread>>,
    /// Of [`Routes`](super::Routes), if it is for one of them.
    pub(super) route: Option<RouteId>,
    /// How many bytes were read and thrown away since the sending direction was ended.
    pub(super) drained: u32,
    /// The application was told of backpressure and waits for `on_drain`.
    pub(super) backpressure: bool,
    /// To be dropped without ado at the end of the turn.
    pub(super) doomed: bool,
    /// This side has dropped it, or is about to.
    pub(super) cut: bool,
    /// Its opening handshake succeeded.
    pub(super) opened: bool,
    /// Who gave the socket to the loop may hold it too.
    pub(super) shared: bool,
    /// It was accepted while the loop is being shut down.
    pub(super) late: bool,
    /// The socket may have bytes that no readiness event will tell of.
    pub(super) readable: bool,
    /// The peer has ended its direction, so that no event will tell of what is still to be read.
    pub(super) read_closed: bool,
    /// All that the peer sent before it ended its direction was read; what is queued for it still goes
    /// out.
    pub(super) ended: bool,
    /// The socket takes nothing more, until an event says that it does.
    pub(super) blocked: bool,
    /// Events for writing are asked for.
    pub(super) watching: bool,
    /// The last read that found something went straight into a long message.
    pub(super) long_messages: bool,
    /// The sending direction was ended.
    pub(super) shut: bool,
    /// In the list of the unsettled.
    pub(super) unsettled: bool,
    /// In the list of those with something left to read.
    pub(super) unfinished: bool,
    pub(super) slow: SlowConsumer,
    /// Messages to it are sent by way of the backlogs.
    pub(super) governed: bool,
    /// Messages are kept for it, each until a newer one replaces it.
    pub(super) kept: bool,
    /// It has lost messages of which the handler was not told.
    pub(super) dropped: bool,
}

/// Bytes that were read and wait; there are some. Who takes one message at a time, pausing behind each, must not move
/// all the others each time: hence a cursor.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) bytes: Vec<u8>,
    pub(super) taken: usize,
}

impl<S> Slot<S> {
    pub(super) fn new(connection: Endpoint, socket: Socket) -> Self {
        Self {
            connection,
            socket,
            session: None,
            request: None,
            timer: None,
            unread: None,
            route: None,
            drained: 0,
            backpressure: false,
            doomed: false,
            cut: false,
            opened: false,
            shared: false,
            late: false,
            readable: false,
            read_closed: false,
            ended: false,
            blocked: false,
            watching: false,
            long_messages: false,
            shut: false,
            unsettled: false,
            unfinished: false,
            slow: SlowConsumer::default(),
            governed: false,
            kept: false,
            dropped: false,
        }
    }

    /// Whether nothing may be read for now: the application said so, has to decide, or must first get
    /// rid of output. A pause ends with the Close: without reading there is no closing handshake.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        (self.connection.is_paused() && self.connection.state() == State::Open)
            || self.connection.is_congested()
            || self.connection.awaits_decision()
    }

    /// Keeps bytes that were read behind those that wait.
    pub(super) fn keep_unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.unread.get_or_insert_default().bytes.extend_from_slice(bytes);
        }
    }

    #[inline]
    pub(super) fn queue(
        &mut self,
        shared: &mut Shared,
        write: impl FnOnce(&mut Endpoint, &mut Workspace) -> Result<(), SendError>,
    ) -> Sent {
        match write(&mut self.connection, &mut shared.workspace) {
            Err(error) => Sent::Dropped(error),
            Ok(()) if self.connection.is_congested() => {
                self.hold_back(&mut shared.counting);
                Sent::Backpressure
            }
            Ok(()) => Sent::Accepted,
        }
    }

    /// The application is to wait for `on_drain`.
    pub(super) fn hold_back(&mut self, counting: &mut Counting) {
        if !std::mem::replace(&mut self.backpressure, true) {
            counting.add(Count::Backpressure);
        }
    }

    /// Puts the connection into the list of those to settle, unless it is there.
    #[inline]
    pub(super) fn unsettle(&mut self, id: PeerId, unsettled: &mut Vec<PeerId>) {
        if !std::mem::replace(&mut self.unsettled, true) {
            unsettled.push(id);
        }
    }

    /// Writes what the socket takes of the output.
    #[inline]
    pub(super) fn write(&mut self, id: PeerId, registry: &Registry, shared: &mut Shared) {
        if !self.blocked && !self.doomed {
            let Shared { workspace, counting } = shared;
            let (count, stopped) =
                transport::flush(&mut self.connection, &mut self.socket, workspace);
            counting.add_many(Count::BytesSent, count);
            self.blocked = stopped == Stopped::Blocked;
            self.doomed |= matches!(stopped, Stopped::Eof | Stopped::Broken);
        }
        self.watch_writing(registry, id);
    }

    /// Sets the timer, unless it will go off early enough anyway.
    pub(super) fn set_timer(&mut self, id: PeerId, timers: &mut Timers) {
        if let Some(next) = self.connection.next_timeout()
            && self.timer.is_none_or(|set| next < set.time())
        {
            let next = Tick::at(next);
            self.timer = Some(next);
            timers.set(next, id);
        }
    }

    /// Asks for events for writing while output waits, and only then.
    #[inline]
    pub(super) fn watch_writing(&mut self, registry: &Registry, id: PeerId) {
        let flushed = self.connection.buffered_amount() == 0 && self.socket.is_flushed();
        let waits = !flushed && !self.doomed;
        if self.watching != waits {
            let readable = Interest::READABLE;
            let interest = if waits { readable | Interest::WRITABLE } else { readable };
            match registry.reregister(self.socket.source(), token(id), interest) {
                Ok(()) => self.watching = waits,
                // Without events the output would wait for ever.
                Err(_) => self.doomed = true,
            }
        }
    }
}

impl<S> Core<S> {
    /// Sees to it that this connection is settled when the current turn is over.
    pub(super) fn settle_later(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.unsettle(id, &mut self.unsettled);
        }
    }

    /// Changes a connection outside its own turn, and settles it later.
    pub(super) fn change<T>(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut Slot<S>, &mut Shared) -> T,
    ) -> Option<T> {
        self.spread();
        let result = self.slots.get_mut(id).map(|slot| change(slot, &mut self.shared));
        self.settle_later(id);
        result
    }

    /// Puts a connection in; `None` if there is no id left to give.
    pub(super) fn insert(&mut self, mut slot: Slot<S>) -> Option<PeerId> {
        self.backlogs.adopt(&mut slot);
        let id = self.slots.insert(slot)?;
        self.shared.counting.add(Count::Connections);
        if let Some(slot) = self.slots.get_mut(id) {
            slot.connection.seed(id.as_u64());
            // Starts its clocks.
            slot.connection.handle_timeout(self.now, &mut self.shared.workspace);
        }
        Some(id)
    }

    /// Begins to open a connection over a socket that begins to connect.
    pub(super) fn dial(
        &mut self,
        socket: Socket,
        request: ClientRequest,
        config: &Config,
        session: S,
        route: Option<RouteId>,
    ) -> io::Result<PeerId> {
        config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connection = Endpoint::client(request, config, &mut self.shared.workspace)
            .map_err(io::Error::other)?;
        let mut slot = Slot::new(connection, socket);
        (slot.session, slot.route) = (Some(session), route);
        // An event for writing tells that the connection stands.
        (slot.blocked, slot.watching) = (true, true);
        let id = self.insert(slot).ok_or(io::ErrorKind::QuotaExceeded)?;
        if let Some(slot) = self.slots.get_mut(id) {
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.registry.register(slot.socket.source(), token(id), interest) {
                self.slots.remove(id);
                self.shared.counting.end_unheard();
                return Err(error);
            }
        }
        event!(Debug, "connection", "{id} dialled");
        self.settle_later(id);
        Ok(id)
    }

    /// An open connection, as handlers see it.
    pub(super) fn peer(&mut self, id: PeerId) -> Option<Peer<'_, S>> {
        self.spread();
        let slot = self.slots.get(id)?;
        let open = slot.session.is_some() && slot.connection.state() == State::Open;
        open.then(|| Peer::new(self, id))
    }

    pub(super) fn open_peers(&self, scope: Scope) -> impl Iterator<Item = PeerId> {
        let open =
            move |slot: &Slot<S>| slot.connection.state() == State::Open && scope.holds(slot.route);
        self.slots.iter().filter(move |(_, slot)| open(slot)).map(|(id, _)| id)
    }
}

/// The token of a connection's socket. On machines with narrow words the generation is lost; an event
/// for a place whose connection has changed is then a spurious one, which does no harm.
pub(super) fn token(id: PeerId) -> Token {
    Token(id.as_u64() as usize)
}
