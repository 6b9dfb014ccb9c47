use std::sync::Arc;

use crate::handshake::Request;

/// What a server has of a request that did not lead to a WebSocket: the request, if it was one, or so much of its
/// head as was read.
#[derive(Clone, Debug, Default)]
pub struct PartialRequest {
    request: Option<Arc<Request>>,
    head: Vec<u8>,
}

impl PartialRequest {
    /// So much of a head. Where there is no memory for it, nothing is told of it.
    pub(super) fn of_head(head: &[u8]) -> Self {
        let mut own = Vec::new();
        if own.try_reserve_exact(head.len()).is_ok() {
            own.extend_from_slice(head);
        }
        Self { request: None, head: own }
    }

    /// The request, if its syntax is without fault.
    pub fn request(&self) -> Option<&Arc<Request>> {
        self.request.as_ref()
    }

    /// The bytes that were read of the head of any other request, as they came. It may hold anything, secrets too:
    /// what goes into a log should be escaped and cut.
    pub fn head(&self) -> &[u8] {
        &self.head
    }
}

impl From<&Arc<Request>> for PartialRequest {
    fn from(request: &Arc<Request>) -> Self {
        Self { request: Some(Arc::clone(request)), head: Vec::new() }
    }
}
