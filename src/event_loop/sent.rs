use crate::protocol::SendError;

/// The result of sending a message, to be ignored or acted on.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The message goes out at the end of this turn, or as soon as the socket takes it.
    Accepted,
    /// The message goes out, but the output has reached its high water mark: wait for
    /// [`on_drain`](crate::Handler::on_drain) before sending much more.
    Backpressure,
    /// The message goes out when the output has come down to its low water mark, unless a newer one with its key
    /// replaces it; see [`Peer::send_latest`](crate::Peer::send_latest).
    Kept,
    /// The message was not sent, and this is why.
    Dropped(SendError),
}

impl Sent {
    /// Whether the message was not sent.
    pub fn is_dropped(&self) -> bool {
        matches!(self, Self::Dropped(_))
    }
}
