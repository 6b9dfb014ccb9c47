use mio::Token;
use mio::event::Event;

/// What one event says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) token: Token,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    /// Urgent data is there, at which a read ends.
    pub(super) is_priority: bool,
    /// The peer has ended its direction.
    pub(super) is_read_closed: bool,
}

impl From<&Event> for Readiness {
    #[inline(always)]
    fn from(event: &Event) -> Self {
        Self {
            token: event.token(),
            is_readable: event.is_readable(),
            is_writable: event.is_writable(),
            is_priority: event.is_priority(),
            is_read_closed: event.is_read_closed(),
        }
    }
}
