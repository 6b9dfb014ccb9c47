use std::io;
use std::time::Duration;

use mio::Interest;

use crate::handshake::Response;
use crate::protocol::{Connection, Deadlines};

use super::core::{Slot, token};
use super::event_loop::EventLoop;
use super::handler::Handler;
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
                    Ok(socket) => {
                        let connection = Connection::server(&self.core.config);
                        self.add(socket, connection);
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => self.listeners[index].ready = false,
                        // This one went away while it waited; the next one may be well.
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
                        // Out of descriptors or memory: that passes when others leave, and no event
                        // will tell, so the clock has to.
                        _ => {
                            self.accept_again = Some(self.core.now + ACCEPT_PAUSE);
                            return;
                        }
                    },
                }
            }
        }
    }

    /// Lets a connection in, or turns it away where there is no room.
    pub(super) fn add(&mut self, socket: Socket, connection: Connection) -> Option<PeerId> {
        let home = self.quota.as_ref().and_then(|_| socket.peer_address().ok());
        let home = home.map(|address| Neighbourhood::of(address.ip()));
        if self.core.slots.len() >= self.max_connections {
            let response = Response::service_unavailable();
            self.turn_away(socket, &OpeningError::TooManyConnections, response);
            return None;
        }
        if let (Some(quota), Some(home)) = (&self.quota, home)
            && !quota.has_room(home)
        {
            let response = Response::too_many_requests();
            self.turn_away(socket, &OpeningError::TooManyFromAddress, response);
            return None;
        }
        let slot = Slot::new(connection, socket, Deadlines::new(self.core.now));
        let id = self.core.insert(slot)?;
        let slot = self.core.slots.get_mut(id)?;
        let source = slot.socket.source();
        if self.core.registry.register(source, token(id), Interest::READABLE).is_err() {
            self.core.slots.remove(id);
            return None;
        }
        if let Some(draining) = &mut self.shutdown {
            draining.note_late(slot);
        }
        if let (Some(quota), Some(home)) = (&mut self.quota, home) {
            quota.enter(id, home);
        }
        self.set_timer(id);
        Some(id)
    }

    #[cold]
    fn turn_away(&mut self, socket: Socket, error: &OpeningError, response: Response) {
        let response = self.tell_refusal(error, socket.peer_address().ok(), response);
        let mut refusal = Vec::new();
        response.encode(&mut refusal);
        socket.refuse(&refusal, &mut self.buffer);
        if let Some(draining) = &mut self.shutdown {
            draining.note_refused();
        }
    }
}
