use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Interest;

use crate::handshake::Response;
use crate::protocol::Endpoint;

use super::core::{Slot, token};
use super::counting::Count;
use super::event_loop::EventLoop;
use super::handle::{Command, Handle};
use super::handler::Handler;
use super::logging::event;
use super::quota::Neighbourhood;
use super::refusing::OpeningError;
use super::slots::PeerId;
use super::transport::Socket;

/// How many connections are accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = 256;

/// How long accepting pauses when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections come in.
impl<H: Handler> EventLoop<H> {
    pub(super) fn accept(&mut self) {
        if self.accept_again.is_some_and(|again| again > self.core.now) {
            return;
        }
        self.accept_again = None;
        for index in 0..self.listeners.len() {
            let mut budget = ACCEPTS_A_TURN;
            while self.listeners[index].ready && budget > 0 {
                budget -= 1;
                match self.listeners[index].listener.accept() {
                    Ok(socket) => self.place(socket),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => self.listeners[index].ready = false,
                        // This one went away while it waited; the next one may be well.
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
                        // Out of descriptors or memory: that passes when others leave, and no event
                        // will tell, so the clock has to.
                        _ => {
                            self.core.shared.counting.add(Count::AcceptErrors);
                            event!(Warn, "accept", "cannot accept for now: {error}");
                            self.accept_again = Some(self.core.now + ACCEPT_PAUSE);
                            return;
                        }
                    },
                }
            }
        }
    }

    /// Lets a connection in, or turns it away where there is no room.
    pub(super) fn add(&mut self, socket: Socket, connection: Endpoint) -> Option<PeerId> {
        if self.lightest_loop().is_none() {
            self.turn_away_for_all(socket);
            return None;
        }
        self.let_in(socket, connection)
    }

    /// Turns away who comes when there are as many connections as there may be.
    fn turn_away_for_all(&mut self, socket: Socket) {
        let response = Response::service_unavailable();
        self.turn_away(socket, &OpeningError::TooManyConnections, response);
    }

    /// The loop that has the fewest connections; `None` if all together have as many as they may.
    fn lightest_loop(&self) -> Option<usize> {
        let Handle { loops, home } = &self.core.handle;
        let connections = self.core.slots.len();
        let (number, total) = if loops.are_many() {
            loops.set_connections(*home, connections);
            loops.lightest()
        } else {
            (*home, connections)
        };
        (total < self.max_connections).then_some(number)
    }

    /// Gives a connection that was accepted to the loop that has the fewest.
    fn place(&mut self, mut socket: Socket) {
        let Some(number) = self.lightest_loop() else { return self.turn_away_for_all(socket) };
        // Who comes when all is about to end is answered here, by the loop that listens.
        if number != self.core.handle.home && self.shutdown.is_none() {
            self.core.handle.loops.departs(number);
            match self.core.outbox.order(number, Command::Serve(socket)) {
                // It has come to its end: so will this one, and says so.
                Some(Command::Serve(back)) => {
                    self.core.handle.loops.arrives(number);
                    socket = back;
                }
                _ => return,
            }
        }
        let connection = Endpoint::server(&self.core.config);
        self.let_in(socket, connection);
    }

    /// Serves a connection that another loop has accepted.
    pub(super) fn serve(&mut self, socket: Socket) {
        let connection = Endpoint::server(&self.core.config);
        self.let_in(socket, connection);
        let Handle { loops, home } = &self.core.handle;
        loops.set_connections(*home, self.core.slots.len());
        loops.arrives(*home);
    }

    /// Lets a connection in, unless there are as many from its address as there may be, in all loops.
    fn let_in(&mut self, socket: Socket, connection: Endpoint) -> Option<PeerId> {
        if !self.core.handle.loops.has_quota() {
            return self.register(socket, connection);
        }
        let loops = Arc::clone(&self.core.handle.loops);
        let home = socket.peer_address().ok().map(|address| Neighbourhood::of(address.ip()));
        // Held until it is counted, so that no other loop lets one in on the same place.
        let quota = loops.quota();
        if let (Some(counted), Some(home)) = (&quota, home)
            && !counted.has_room(home)
        {
            // The handler is told, and must not hold up the others.
            drop(quota);
            let response = Response::too_many_requests();
            self.turn_away(socket, &OpeningError::TooManyFromAddress, response);
            return None;
        }
        let id = self.register(socket, connection)?;
        if let (Some(mut quota), Some(home)) = (quota, home) {
            quota.enter(id, home);
        }
        Some(id)
    }

    fn register(&mut self, socket: Socket, connection: Endpoint) -> Option<PeerId> {
        let slot = Slot::new(connection, socket);
        let id = self.core.insert(slot)?;
        let slot = self.core.slots.get_mut(id)?;
        let source = slot.socket.source();
        if let Err(error) = self.core.registry.register(source, token(id), Interest::READABLE) {
            event!(Warn, "accept", "{id} cannot be watched: {error}");
            self.core.slots.remove(id);
            self.core.shared.counting.end_unheard();
            return None;
        }
        if let Some(draining) = &mut self.shutdown {
            draining.note_late(slot);
        }
        event!(Debug, "accept", "{id} accepted");
        slot.set_timer(id, &mut self.core.timers);
        Some(id)
    }

    #[cold]
    fn turn_away(&mut self, socket: Socket, error: &OpeningError, response: Response) {
        let response = self.tell_refusal(error, socket.peer_address().ok(), response);
        let mut refusal = Vec::new();
        response.encode(&mut refusal);
        socket.refuse(&refusal, &mut self.buffer);
        self.core.shared.counting.add(Count::Refused);
        event!(Info, "accept", "refused: {error}");
        if let Some(draining) = &mut self.shutdown {
            draining.note_refused();
        }
    }
}
