use std::sync::Arc;

use crate::handshake::Request;
use crate::protocol::PartialRequest;

use super::caller::Caller;

/// A connection that came in and did not become a WebSocket; for
/// [`Handler::on_handshake_error`](crate::Handler::on_handshake_error).
#[derive(Clone, Debug)]
pub struct Attempt {
    caller: Caller,
    read: PartialRequest,
}

impl Attempt {
    pub(super) fn new(caller: Caller, read: PartialRequest) -> Self {
        Self { caller, read }
    }

    /// Who has connected.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The request, if a valid one was read. Believe only what you can verify: it was not accepted.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.read.request().map(Arc::as_ref)
    }

    /// The bytes that were read of the head of any other request, as they came. It may hold anything, secrets too:
    /// what goes into a log should be escaped and cut.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.read.head()
    }
}
