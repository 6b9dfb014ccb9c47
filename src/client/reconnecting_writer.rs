use std::fmt;
use std::sync::Arc;

use super::closer::Closer;
use super::error::ClientError;
use super::reconnect_link::Link;
use super::split::ClientWriter;
use crate::protocol::{Message, Outcome, SendError};

/// How often a message is sent whose connection ends by a deadline before it has left.
const MAX_DEADLINES: u32 = 2;

/// What to do with a message that could not be sent because there was no connection, or because it was lost
/// meanwhile.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IfUnsent {
    /// The call fails, and its error gives the message back: [`Unsent::into_message`].
    #[default]
    GiveBack,
    /// The call waits for the next connection, and sends the message over that one, after what
    /// [`on_connect`](crate::Reconnecting::on_connect) sends. Never twice over one connection, and never a message that is
    /// known to have left: whether the server has got such a one, only its answer can say. Over TLS that is known once
    /// all that was sent with it has left, too. A message is given back after all when the
    /// client is closed, when no further attempt to connect is made, and when two connections in turn
    /// met a deadline over it.
    SendAgain,
}

/// A message that was not sent, and why.
#[derive(Debug)]
pub struct Unsent {
    message: Message<'static>,
    error: Box<ClientError>,
}

impl Unsent {
    pub(super) fn new(message: Message<'_>, error: ClientError) -> Self {
        Self { message: message.into_owned(), error: Box::new(error) }
    }

    /// The message.
    pub fn message(&self) -> &Message<'static> {
        &self.message
    }

    /// The message, to be kept or sent again.
    pub fn into_message(self) -> Message<'static> {
        self.message
    }

    /// Why it was not sent.
    pub fn error(&self) -> &ClientError {
        &self.error
    }

    /// Why it was not sent; the message is dropped.
    pub fn into_error(self) -> ClientError {
        *self.error
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes was not sent", self.message.len())
    }
}

impl std::error::Error for Unsent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}

/// Sends over whatever connection a [`Reconnecting`](crate::Reconnecting) has, from any thread; its clones do so too. Made by
/// [`Reconnecting::writer`](crate::Reconnecting::writer), whose thread must go on to receive: only that connects again.
#[derive(Clone)]
pub struct ReconnectingWriter {
    link: Arc<Link>,
    closer: Closer,
    if_unsent: IfUnsent,
    writer: Option<(u64, ClientWriter)>,
}

impl fmt::Debug for ReconnectingWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingWriter").finish_non_exhaustive()
    }
}

impl ReconnectingWriter {
    pub(super) fn new(link: Arc<Link>, closer: Closer, if_unsent: IfUnsent) -> Self {
        Self { link, closer, if_unsent, writer: None }
    }

    /// Sends a message, and waits until the network has taken all of it, like
    /// [`ClientWriter::send`](crate::ClientWriter::send).
    ///
    /// # Errors
    ///
    /// [`Unsent`], with the message and the reason, as [`Reconnecting::if_unsent`](crate::Reconnecting::if_unsent) says: by
    /// default at once where there is no connection, or where it is lost before the message has left.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Unsent> {
        let message = message.into();
        let (mut tried, mut deadlines) = (0, 0);
        loop {
            let Some(writer) = self.writer_after(tried) else {
                let is_aborted = self.closer.is_requested();
                let closed = ClientError::Send(SendError::Closed);
                let error = if is_aborted { ClientError::Aborted } else { closed };
                return Err(Unsent::new(message, error));
            };
            let Err(error) = writer.send(message.borrowed()) else { return Ok(()) };
            deadlines += u32::from(is_deadline(&error));
            if self.if_unsent == IfUnsent::GiveBack
                || self.closer.is_requested()
                || !is_of_connection(&error)
                || deadlines >= MAX_DEADLINES
            {
                return Err(Unsent::new(message, error));
            }
            tried = self.writer.as_ref().map_or(0, |(number, _)| *number);
        }
    }

    /// Returns a [`Closer`], which ends the client from any thread.
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// What sends over a later connection than this one, once there is such a connection.
    fn writer_after(&mut self, tried: u64) -> Option<&mut ClientWriter> {
        let mut state = self.link.lock();
        loop {
            if state.is_given_up || self.closer.is_requested() {
                return None;
            }
            if let Some(writer) = state.writer.as_ref().filter(|_| state.number > tried) {
                let is_known =
                    self.writer.as_ref().is_some_and(|(known, _)| *known == state.number);
                if !is_known {
                    self.writer = Some((state.number, writer.clone()));
                }
                drop(state);
                return self.writer.as_mut().map(|(_, writer)| writer);
            }
            if self.if_unsent == IfUnsent::GiveBack {
                return None;
            }
            state = self.link.wait(state, None);
        }
    }
}

/// Whether another connection may take what this one did not.
pub(super) fn is_of_connection(error: &ClientError) -> bool {
    match error {
        ClientError::Send(error) => matches!(error, SendError::Closing | SendError::Closed),
        ClientError::Entropy(_) => false,
        _ => true,
    }
}

/// Whether a time limit of this side has passed.
pub(super) fn is_deadline(error: &ClientError) -> bool {
    matches!(error, ClientError::TimedOut(_) | ClientError::Lost(Outcome::TimedOut { .. }))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_message_that_was_not_sent_says_why_and_not_what() {
        let unsent = Unsent::new(Message::text("a secret"), ClientError::Aborted);
        assert_eq!(unsent.to_string(), "a message of 8 bytes was not sent");
        let cause = unsent.source().unwrap().downcast_ref::<ClientError>();
        assert!(matches!(cause, Some(ClientError::Aborted)), "{cause:?}");
        assert!(matches!(unsent.error(), ClientError::Aborted));
        assert!(matches!(unsent.into_error(), ClientError::Aborted));
    }
}
