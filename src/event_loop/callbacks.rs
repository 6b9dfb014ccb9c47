use std::fmt;
use std::marker::PhantomData;

use crate::protocol::{Message, Outcome};

use super::handler::{Decision, Handler};
use super::incoming_request::IncomingRequest;
use super::peer::Peer;

/// A [`Handler`] made of closures, for small programs: what is not given does nothing, and every upgrade is accepted.
///
/// It goes wherever a handler does, such as into [`Routes`](crate::Routes). A server that needs nothing else has the
/// same methods itself: [`Server::on_message`](crate::Server::on_message). What a closure returns is dropped, so it can be the call whose
/// outcome does not matter.
///
/// ```
/// use framewire::{Callbacks, Config, Routes};
///
/// # fn main() -> Result<(), framewire::RouteError> {
/// let routes = Routes::new()
///     .route("/echo", Config::new(), Callbacks::new().on_message(|peer, message| peer.send(message)))?
///     .route("/time", Config::new(), Callbacks::new().on_open(|peer| peer.send("noon")))?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Callbacks<
    S = (),
    U = fn(&IncomingRequest) -> Decision<S>,
    O = fn(&mut Peer<'_, S>),
    M = fn(&mut Peer<'_, S>, Message<'_>),
    C = fn(&mut Peer<'_, S>, &Outcome),
> {
    on_upgrade: U,
    on_open: O,
    on_message: M,
    on_close: C,
    session: PhantomData<fn() -> S>,
}

impl<S, U, O, M, C> fmt::Debug for Callbacks<S, U, O, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl Default for Callbacks {
    fn default() -> Self {
        Self::accepting(|_| Decision::default())
    }
}

impl Callbacks {
    /// Accepts every upgrade, and does nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the closure that decides on each request for a WebSocket and makes its session, like
    /// [`Handler::on_upgrade`]. What the closure returns is a [`Decision`], or a `Result` of a session or a
    /// [`Response`](crate::Response): so `?` rejects. Call it before the others, which are told the type of the
    /// session by it.
    ///
    /// ```
    /// use framewire::{Callbacks, Response};
    ///
    /// let callbacks = Callbacks::new()
    ///     .on_upgrade(|request| {
    ///         let name = request.query_parameter("name").ok_or_else(Response::forbidden)?;
    ///         Ok(name.into_owned())
    ///     })
    ///     .on_message(|peer, _message| {
    ///         let name = peer.session().clone();
    ///         peer.send(name)
    ///     });
    /// ```
    pub fn on_upgrade<S, D: Into<Decision<S>>>(
        self,
        mut function: impl FnMut(&IncomingRequest) -> D,
    ) -> Callbacks<S, impl FnMut(&IncomingRequest) -> Decision<S>> {
        Callbacks::accepting(move |request: &IncomingRequest| function(request).into())
    }
}

impl<S, U> Callbacks<S, U> {
    fn accepting(on_upgrade: U) -> Self {
        Self {
            on_upgrade,
            on_open: |_| {},
            on_message: |_, _| {},
            on_close: |_, _| {},
            session: PhantomData,
        }
    }
}

impl<S, U, O, M, C> Callbacks<S, U, O, M, C> {
    /// Sets the closure that is called when a connection is open, like [`Handler::on_open`].
    pub fn on_open<R>(
        self,
        mut function: impl FnMut(&mut Peer<'_, S>) -> R,
    ) -> Callbacks<S, U, impl FnMut(&mut Peer<'_, S>), M, C> {
        let Self { on_upgrade, on_message, on_close, session, .. } = self;
        let on_open = move |peer: &mut Peer<'_, S>| {
            function(peer);
        };
        Callbacks { on_upgrade, on_open, on_message, on_close, session }
    }

    /// Sets the closure that is called for each message, like [`Handler::on_message`].
    pub fn on_message<R>(
        self,
        mut function: impl FnMut(&mut Peer<'_, S>, Message<'_>) -> R,
    ) -> Callbacks<S, U, O, impl FnMut(&mut Peer<'_, S>, Message<'_>), C> {
        let Self { on_upgrade, on_open, on_close, session, .. } = self;
        let on_message = move |peer: &mut Peer<'_, S>, message: Message<'_>| {
            function(peer, message);
        };
        Callbacks { on_upgrade, on_open, on_message, on_close, session }
    }

    /// Sets the closure that is called when a connection has ended, like [`Handler::on_close`].
    pub fn on_close<R>(
        self,
        mut function: impl FnMut(&mut Peer<'_, S>, &Outcome) -> R,
    ) -> Callbacks<S, U, O, M, impl FnMut(&mut Peer<'_, S>, &Outcome)> {
        let Self { on_upgrade, on_open, on_message, session, .. } = self;
        let on_close = move |peer: &mut Peer<'_, S>, outcome: &Outcome| {
            function(peer, outcome);
        };
        Callbacks { on_upgrade, on_open, on_message, on_close, session }
    }
}

impl<S, U, O, M, C> Handler for Callbacks<S, U, O, M, C>
where
    U: FnMut(&IncomingRequest) -> Decision<S>,
    O: FnMut(&mut Peer<'_, S>),
    M: FnMut(&mut Peer<'_, S>, Message<'_>),
    C: FnMut(&mut Peer<'_, S>, &Outcome),
{
    type Session = S;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<S> {
        (self.on_upgrade)(request)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, S>) {
        (self.on_open)(peer);
    }

    #[inline]
    fn on_message(&mut self, peer: &mut Peer<'_, S>, message: Message<'_>) {
        (self.on_message)(peer, message);
    }

    fn on_close(&mut self, peer: &mut Peer<'_, S>, outcome: &Outcome) {
        (self.on_close)(peer, outcome);
    }
}
