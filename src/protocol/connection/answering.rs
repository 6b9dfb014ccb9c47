use std::mem;
use std::sync::Arc;

use crate::handshake::{HandshakeError, Request, Response};
use crate::wire::{CloseCode, CloseFrame};

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
    pub fn accept(&mut self, mut accept: Accept) -> Result<(), SendError> {
        let Phase::Connecting(opening) = &mut self.phase else {
            return Err(SendError::NothingToAnswer);
        };
        let output = self.output.get_or_insert_default();
        let config = accept.take_config().unwrap_or_else(|| self.config.clone());
        let opened = opening.accept(accept, config.settings(), output)?;
        self.config = config;
        self.open(opened);
        Ok(())
    }

    /// Server: answers the request of [`Event::Request`] with this response in place of the 101. Where
    /// somebody else has sent the 101 already ([`upgraded`](Self::upgraded)), a Close is sent: with 1008,
    /// 1011 for a status from 500 up, or 1013 for 503.
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

    /// Server: says this in place of the answer that was queued for a request at fault, right after
    /// [`Event::HandshakeFailed`] told of it.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`] if nothing was queued, or some of it was written;
    /// [`SendError::Status`] for a status that is not final.
    pub fn answer_instead(&mut self, response: &Response) -> Result<(), SendError> {
        if !(200..600).contains(&response.status()) {
            return Err(SendError::Status(response.status()));
        }
        let refused = matches!(&self.phase, Phase::Closing(closing)
            if matches!(closing.verdict, Some(Outcome::HandshakeFailed(_))));
        match &mut self.output {
            Some(output) if refused && output.chunks().next().is_some_and(begins_answer) => {
                output.clear();
                output.push_with(|bytes| response.encode(bytes));
                Ok(())
            }
            _ => Err(SendError::NothingToAnswer),
        }
    }

    fn answer(&mut self, response: Response, verdict: Option<Outcome>) {
        if matches!(&self.phase, Phase::Connecting(opening) if opening.is_upgraded()) {
            self.close_upgraded(&response);
        } else {
            self.output.get_or_insert_default().push_with(|bytes| response.encode(bytes));
        }
        self.finish(verdict.unwrap_or_else(|| Outcome::Rejected(Arc::new(response))));
    }

    /// Says by a Close what cannot be said by an HTTP answer any more.
    fn close_upgraded(&mut self, response: &Response) {
        let code = match response.status() {
            503 => CloseCode::TRY_AGAIN_LATER,
            500..=599 => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::POLICY_VIOLATION,
        };
        let reason = format!("{} {}", response.status(), response.reason_phrase());
        let close = CloseFrame::new(code, &reason).or_else(|_| CloseFrame::new(code, ""));
        self.enter(Phase::Open);
        // A server needs no entropy, and a code from this list may be sent: it cannot fail.
        let _ = self.queue_close(&close.unwrap_or_else(|_| CloseFrame::empty()));
    }

    /// The request that waits for an answer, or `None`.
    pub fn request(&self) -> Option<&Arc<Request>> {
        match &self.phase {
            Phase::Connecting(opening) => opening.request(),
            _ => None,
        }
    }
}

/// Whether this is the whole or the front part of an answer, and not a Close.
fn begins_answer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 ")
}
