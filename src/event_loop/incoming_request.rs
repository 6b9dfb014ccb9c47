use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use crate::handshake::Request;

use super::caller::Caller;
use super::path_pattern::PathPattern;

/// A request as a [`Handler`](crate::Handler) gets it: what the client sent, a [`Request`], and what
/// [`Routes`](crate::Routes) have found in its path.
///
/// All methods of [`Request`] can be called. A clone is cheap, for it shares the request.
///
/// ```
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Response};
///
/// struct Chat;
///
/// impl Handler for Chat {
///     type Session = String;
///
///     fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
///         // Served at "/chat/:room".
///         match (request.cookie("session"), request.parameter("room")) {
///             (Some(_), Some(room)) => Decision::accept(room.into_owned()),
///             _ => Decision::reject(Response::forbidden()),
///         }
///     }
///
///     fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
///         let line = format!("in {}: {}", peer.session(), message.as_text().unwrap_or_default());
///         peer.send(line);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingRequest {
    received: Arc<Received>,
    pattern: Option<Arc<PathPattern>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Received {
    request: Arc<Request>,
    caller: Caller,
}

impl IncomingRequest {
    pub(super) fn new(request: Arc<Request>, caller: Caller) -> Self {
        Self { received: Arc::new(Received { request, caller }), pattern: None }
    }

    /// Who has sent the request: the address, the listener, TLS, and what proxies say.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.received.caller
    }

    /// The request as one that was routed by this pattern, which matches its path.
    pub(super) fn routed(&self, pattern: &Arc<PathPattern>) -> Self {
        Self { received: Arc::clone(&self.received), pattern: Some(Arc::clone(pattern)) }
    }

    /// The value that the path has for a parameter of the route's pattern, percent-decoded: `room` of `/chat/:room`,
    /// or `*`; the `req.params` of express. `None` if the pattern has no such parameter, or if the request has no
    /// route.
    ///
    /// What is decoded may hold anything, `/` and control characters too.
    #[doc(alias("getParameter", "req.params"))]
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.pattern.as_ref()?.parameter(self.path(), name)
    }

    /// The value that the path has for a parameter, without percent-decoding; see [`parameter`](Self::parameter).
    #[must_use]
    pub fn raw_parameter(&self, name: &str) -> Option<&str> {
        self.pattern.as_ref()?.raw_parameter(self.path(), name)
    }

    /// The pattern of the route; `None` without one.
    #[must_use]
    pub fn pattern(&self) -> Option<&PathPattern> {
        self.pattern.as_deref()
    }
}

impl Deref for IncomingRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.received.request
    }
}
