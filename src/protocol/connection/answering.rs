use std::mem;
use std::sync::Arc;

use crate::handshake::{HandshakeError, Request, Response};

use super::{Connection, Phase};
use crate::protocol::error::SendError;
use crate::protocol::event::{Event, Outcome, Role};
use crate::protocol::opening::{Accept, Opened, Step};

/// The opening handshake.
impl Connection {
    pub(super) fn receive_opening<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        let Phase::Connecting(opening) = &mut self.phase else { return None };
        let (used, step) = opening.receive(input, self.config.settings());
        *input = &mut mem::take(input)[used..];
        match step {
            Step::Nothing => None,
            Step::Request(request) => Some(Event::Request(request)),
            Step::Http(request) => Some(Event::Http(request)),
            Step::Unanswered => {
                self.answer(Response::upgrade_required(), None);
                None
            }
            Step::Open(opened, response) => {
                self.open(opened);
                Some(Event::Open(response))
            }
            Step::Rejected(response) => {
                self.finish(Outcome::Rejected(Arc::new(response)));
                None
            }
            Step::Failed(error) => {
                if self.role == Role::Server {
                    return Some(self.refuse(error));
                }
                self.finish(Outcome::HandshakeFailed(error.clone()));
                Some(Event::HandshakeFailed(error))
            }
        }
    }

    /// Answers as the fault demands.
    pub(super) fn refuse(&mut self, error: HandshakeError) -> Event<'static> {
        self.answer(Response::from(&error), Some(Outcome::HandshakeFailed(error.clone())));
        Event::HandshakeFailed(error)
    }

    fn open(&mut self, opened: Opened) {
        self.subprotocol = opened.subprotocol;
        self.compression = opened.compression;
        self.enter(Phase::Open);
    }

    /// Server: opens the connection that [`Event::Request`] asked for; the 101 is then in the output.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::SubprotocolNotOffered`]; the request then still
    /// waits for its answer.
    pub fn accept(&mut self, accept: Accept) -> Result<(), SendError> {
        let Phase::Connecting(opening) = &mut self.phase else {
            return Err(SendError::NothingToAnswer);
        };
        let output = self.output.get_or_insert_default();
        let opened = opening.accept(accept, self.config.settings(), output)?;
        self.open(opened);
        Ok(())
    }

    /// Server: answers the request of [`Event::Request`] with this response in place of the 101.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::Status`] for a status that is not final.
    pub fn reject(&mut self, response: Response) -> Result<(), SendError> {
        self.respond(response)
    }

    /// Server: answers the plain HTTP request of [`Event::Http`], or any request that waits.
    ///
    /// The connection then ends: it serves one request.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`], [`SendError::Status`] for a status that is not final.
    pub fn respond(&mut self, response: Response) -> Result<(), SendError> {
        match &self.phase {
            Phase::Connecting(opening) if opening.awaits_answer() => {}
            _ => return Err(SendError::NothingToAnswer),
        }
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        self.answer(response, None);
        Ok(())
    }

    fn answer(&mut self, response: Response, verdict: Option<Outcome>) {
        self.output.get_or_insert_default().push_with(|bytes| response.encode(bytes));
        self.finish(verdict.unwrap_or_else(|| Outcome::Rejected(Arc::new(response))));
    }

    /// The request that waits for an answer, or `None`.
    pub fn request(&self) -> Option<&Arc<Request>> {
        match &self.phase {
            Phase::Connecting(opening) => opening.request(),
            _ => None,
        }
    }
}
