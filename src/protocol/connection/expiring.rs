use crate::handshake::HandshakeError;
use crate::wire::CloseCode;

use super::Connection;
use crate::protocol::deadlines::Due;
use crate::protocol::error::ProtocolError;
use crate::protocol::event::{Event, Outcome, State};

/// Time.
impl Connection {
    /// Does what a passed deadline demands: a Ping, a Close with 1001 or 1008, an answer of 503, or the
    /// end of the connection.
    ///
    /// An event comes back where the connection failed. If the [`state`](Self::state) is then
    /// [`State::Closed`], drop the transport.
    pub fn expire(&mut self, due: Due) -> Option<Event<'static>> {
        match (due, self.state()) {
            (_, State::Closed) => None,
            (Due::Ping, _) => {
                (self.pings, self.ping_answered) = (self.pings.wrapping_add(1).max(1), false);
                // Not open any more means that another deadline watches the connection.
                let _ = self.ping(&self.pings.to_be_bytes());
                None
            }
            (Due::Idle, State::Open) => self.go_away("idle timeout"),
            (Due::Lifetime, State::Open) => self.go_away("maximum lifetime reached"),
            (Due::FirstMessage | Due::Message, State::Open) => {
                Some(self.fail(ProtocolError::Deadline(due)))
            }
            (Due::Handshake, State::Connecting) => {
                if self.finish_rejection() {
                    self.terminate();
                    return None;
                }
                self.finish(Outcome::HandshakeFailed(HandshakeError::Timeout));
                self.terminate();
                Some(Event::HandshakeFailed(HandshakeError::Timeout))
            }
            (Due::Decision, _) => {
                // Decided meanwhile means that nobody waits any more.
                self.awaits_decision().then(|| self.refuse(HandshakeError::DecisionTimeout))
            }
            _ => {
                self.terminate();
                None
            }
        }
    }

    fn go_away(&mut self, reason: &str) -> Option<Event<'static>> {
        if self.close(CloseCode::GOING_AWAY, reason).is_err() {
            // There is no entropy for a Close.
            self.terminate();
        }
        None
    }
}
