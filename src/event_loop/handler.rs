use std::fmt;
use std::sync::Arc;

use crate::handshake::Response;
use crate::protocol::{Accept, Bytes, Fragment, Message, Outcome};

use super::attempt::Attempt;
use super::deferral::{Pending, PendingAnswer};
use super::incoming_request::IncomingRequest;
use super::opening_error::OpeningError;
use super::path_pattern::PathPattern;
use super::peer::{Peer, Peers};
use super::route::Route;
use super::schedule::Timer;
use super::sources::SourceEvent;

/// What a server does with its connections: one value for all of them, called on the loop's thread.
///
/// The words are uWebSockets' and ws's. `on_upgrade` and `on_message` must be written; the others do
/// nothing unless they are.
///
/// A handler must not block: all connections wait for it. Send slow work to another thread and the
/// result back by a [`Handle`](crate::Handle).
///
/// ```
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer};
///
/// /// Counts what each connection has said.
/// struct Count;
///
/// impl Handler for Count {
///     type Session = u32;
///
///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<u32> {
///         Decision::accept(0)
///     }
///
///     fn on_message(&mut self, peer: &mut Peer<'_, u32>, _message: Message<'_>) {
///         *peer.session_mut() += 1;
///         let count = *peer.session();
///         peer.send(count.to_string());
///     }
/// }
/// ```
#[doc(alias("addEventListener", "listener", "callback"))]
#[allow(unused_variables, reason = "the names of the parameters are documentation")]
pub trait Handler {
    /// What the handler keeps for each connection, from the upgrade to the close.
    type Session;

    /// The loop starts: called once, in its first turn and on its thread, before everything else. `peers` is what the
    /// loop has: [`handle`](Peers::handle) gives a way to it from other threads, [`connect`](Peers::connect) dials.
    ///
    /// Where several loops [work together](crate::EventLoops), each calls its own handler.
    ///
    /// ```
    /// # use framewire::{Decision, Handle, Handler, IncomingRequest, Message, Peer, Peers};
    /// struct Clock(Option<Handle>);
    ///
    /// impl Handler for Clock {
    /// #   type Session = ();
    /// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    /// #   fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    ///     fn on_start(&mut self, peers: &mut Peers<'_>) {
    ///         self.0 = Some(peers.handle());
    ///     }
    /// }
    /// ```
    fn on_start(&mut self, peers: &mut Peers<'_, Self::Session>) {}

    /// A client asks for a WebSocket: accept with a session, reject with an HTTP answer, or
    /// [defer](Decision::defer) the decision. [`Decision::default`] accepts with a session that is as it is by
    /// default; a `Result` of a session or a [`Response`] becomes a decision by `into()`, and
    /// [`Decision::attempt`] is for `?`.
    #[doc(alias(
        "verifyClient",
        "shouldHandle",
        "upgrade",
        "middleware",
        "accept_hdr",
        "accept_hdr_async",
        "auth",
        "authentication",
        "login",
        "jwt"
    ))]
    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<Self::Session>;

    /// A plain HTTP request came; by default 426 Upgrade Required is answered. Answer with a [`Response`], or
    /// [later](HttpAnswer::defer).
    ///
    /// It is a GET or a HEAD, of HTTP/1.1 or 1.0, and may ask for an upgrade to something else; to HEAD the head of
    /// the answer is sent alone. Requests of other methods are answered 405, unless
    /// [`Config::http_methods`](crate::Config::http_methods) names them: look at the
    /// [`method`](crate::Request::method) then, and at the [`body`](crate::Request::body).
    ///
    /// The connection ends after the answer; see [`Response`] for why.
    ///
    /// ```
    /// # use framewire::{Decision, Handler, HttpAnswer, IncomingRequest, Message, Peer, Response};
    /// # struct Chat;
    /// # impl Handler for Chat {
    /// #     type Session = ();
    /// #     fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    /// #     fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    /// fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
    ///     match request.path() {
    ///         "/" => Response::html("<p>Hello.").into(),
    ///         "/health" => Response::text("up\n").into(),
    ///         _ => Response::not_found().into(),
    ///     }
    /// }
    /// # }
    /// ```
    #[doc(alias("health check", "REST"))]
    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        Response::upgrade_required().into()
    }

    /// An incoming connection did not become a WebSocket, and `error` says why: called once for each, whoever is at
    /// fault, but not for plain requests that [`on_http`](Self::on_http) was asked about, nor for who connects and
    /// leaves without a byte, as health checks do. `attempt` has who it was, and what was read of the request. What
    /// is returned is answered in place of the usual response, where there is still somebody to answer: after
    /// [`OpeningError::Lost`], a failure of TLS and
    /// [`RequestError::Timeout`](crate::handshake::RequestError::Timeout) there is nobody.
    ///
    /// ```
    /// # use framewire::{Attempt, Decision, Handler, IncomingRequest, Message, OpeningError, Peer, Response};
    /// # struct Chat;
    /// # impl Handler for Chat {
    /// #     type Session = ();
    /// #     fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    /// #     fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    /// fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
    ///     let path = attempt.request().map(|request| request.path());
    ///     eprintln!("refused {:?} at {path:?}: {error}", attempt.caller().ip());
    ///     None
    /// }
    /// # }
    /// ```
    #[doc(alias = "wsClientError")]
    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        None
    }

    /// The connection is open. What is sent here goes out right behind the 101.
    #[doc(alias = "onconnection")]
    fn on_open(&mut self, peer: &mut Peer<'_, Self::Session>) {}

    /// A whole message came.
    fn on_message(&mut self, peer: &mut Peer<'_, Self::Session>, message: Message<'_>);

    /// A piece of a message came, where [`Config::fragments`](crate::Config::fragments) or
    /// [`Peer::set_fragments`] asked for pieces; `on_message` is not called for that message.
    #[doc(alias("upload", "allowSynchronousEvents"))]
    fn on_fragment(&mut self, peer: &mut Peer<'_, Self::Session>, fragment: Fragment<'_>) {}

    /// The output has come down to [`Config::output_low_water`](crate::Config::output_low_water) after
    /// a send was answered [`Sent::Backpressure`](crate::Sent::Backpressure).
    #[doc(alias = "writable")]
    fn on_drain(&mut self, peer: &mut Peer<'_, Self::Session>) {}

    /// Messages to this connection were dropped, since too much waits for it already; `messages` says how many since
    /// the last call: see [`SlowConsumer`](crate::SlowConsumer). Who sent them, this peer, others by
    /// [`publish`](Peer::publish) or a [`Handle`](crate::Handle), does not matter. Called at the end of a turn. A
    /// message that a newer one of the same [key](Peer::send_latest) has replaced does not count.
    fn on_dropped(&mut self, peer: &mut Peer<'_, Self::Session>, messages: u64) {}

    /// Messages of this connection were dropped, `messages` of them since the last call, since it sends more than its
    /// [`RateLimit`](crate::RateLimit) with [`RateLimitPolicy::Drop`](crate::RateLimitPolicy::Drop) allows. Called
    /// behind the messages that were read with them, once for all.
    #[doc(alias = "too many messages")]
    fn on_rate_limited(&mut self, peer: &mut Peer<'_, Self::Session>, messages: u64) {}

    /// A Ping came; it is answered already, unless [`Config::auto_pong`](crate::Config::auto_pong) says
    /// otherwise.
    fn on_ping(&mut self, peer: &mut Peer<'_, Self::Session>, payload: Bytes<'_>) {}

    /// A Pong came.
    fn on_pong(&mut self, peer: &mut Peer<'_, Self::Session>, payload: Bytes<'_>) {}

    /// A timer that was [set](Peers::set_timer) for the loop has expired, or one or more periods of one that
    /// [repeats](Peers::set_interval) have ended: [`Timer::periods`] says how many.
    fn on_timer(&mut self, peers: &mut Peers<'_, Self::Session>, timer: Timer) {}

    /// A timer of this connection has expired, which was set by [`Peer::set_timer`] or [`Peer::set_interval`];
    /// [`Timer::periods`] says how many periods have ended. The connection may be closing already.
    #[doc(alias = "game loop")]
    fn on_peer_timer(&mut self, peer: &mut Peer<'_, Self::Session>, timer: Timer) {}

    /// A source that was [registered](Peers::register_source) has an event.
    fn on_source(&mut self, peers: &mut Peers<'_, Self::Session>, event: SourceEvent) {}

    /// A [topic](Peer::subscribe) of this loop got its first subscriber, or lost its last one: `subscribers` is 0
    /// then. Who brings messages from elsewhere asks for those of this topic now, or no longer.
    ///
    /// Called at the end of a turn, for what has changed by then: a topic that was left and entered in
    /// one turn is not told of.
    fn on_subscription(&mut self, topic: &str, subscribers: usize) {}

    /// The connection has ended, and `outcome` says how: called exactly once, last, for each that was open and each
    /// that was [dialled](Peers::connect). Nothing can be sent to this peer any more.
    #[doc(alias("onerror", "disconnecting", "ConnectionClosed"))]
    fn on_close(&mut self, peer: &mut Peer<'_, Self::Session>, outcome: &Outcome) {}
}

/// The answer to an upgrade request.
pub struct Decision<S> {
    pub(super) choice: Choice<S>,
    /// Where [`Routes`](crate::Routes) have asked one of their handlers.
    pub(super) route: Option<Route>,
}

/// What was decided.
pub(super) enum Choice<S> {
    /// Open the connection, with this session.
    Accept(Accept, S),
    /// Answer with this instead.
    Reject(Response),
    /// Let the client wait, for what this makes of it.
    Defer(Box<dyn FnOnce(Pending<S>)>),
}

impl<S> Decision<S> {
    /// Opens the connection as [`Config`](crate::Config) says.
    pub fn accept(session: S) -> Self {
        Self::accept_with(Accept::new(), session)
    }

    /// Opens the connection as [`Accept`] says: with a subprotocol, with header fields, or without compression.
    pub fn accept_with(accept: Accept, session: S) -> Self {
        Choice::Accept(accept, session).into()
    }

    /// Answers with an HTTP response, such as [`Response::forbidden`].
    #[doc(alias("401", "403"))]
    pub fn reject(response: Response) -> Self {
        Choice::Reject(response).into()
    }

    /// Opens the connection with the session that a closure makes, or rejects with the response that it fails with:
    /// within it, `?` rejects.
    ///
    /// ```
    /// use framewire::{Decision, IncomingRequest, Response};
    ///
    /// fn on_upgrade(request: &IncomingRequest) -> Decision<u32> {
    ///     Decision::attempt(|| {
    ///         let room = request.query_parameter("room").ok_or_else(Response::not_found)?;
    ///         room.parse().map_err(|_| Response::bad_request("a room is a number\n"))
    ///     })
    /// }
    /// ```
    pub fn attempt(session: impl FnOnce() -> Result<S, Response>) -> Self {
        session().into()
    }

    /// Defers the decision: `begin` is called at once with what takes the answer, to be kept or given to another
    /// thread. So a slow question, to a database perhaps, holds up nobody else.
    ///
    /// The client waits for [`Config::decision_timeout`](crate::Config::decision_timeout), 10 s by
    /// default, at the most, and nothing is read from it meanwhile. See [`Pending`] for what else may
    /// happen. What bounds the number of those who wait is
    /// [`Server::max_connections`](crate::Server::max_connections).
    ///
    /// ```
    /// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Pending, Response};
    /// use std::sync::mpsc::Sender;
    ///
    /// struct Chat {
    ///     /// To the thread that knows who may come in.
    ///     doorkeeper: Sender<Pending<String>>,
    /// }
    ///
    /// impl Handler for Chat {
    ///     type Session = String;
    ///
    ///     fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<String> {
    ///         let doorkeeper = self.doorkeeper.clone();
    ///         Decision::defer(move |pending| {
    ///             // A thread that has gone drops it: the client is answered 500.
    ///             let _ = doorkeeper.send(pending);
    ///         })
    ///     }
    ///
    ///     fn on_message(&mut self, peer: &mut Peer<'_, String>, _message: Message<'_>) {
    ///         let name = peer.session().clone();
    ///         peer.send(name);
    ///     }
    /// }
    ///
    /// /// Runs in that thread.
    /// fn decide(pending: Pending<String>) {
    ///     match pending.request().headers().get_str("Authorization") {
    ///         Some(name) => {
    ///             let name = name.to_owned();
    ///             pending.accept(name);
    ///         }
    ///         None => pending.reject(Response::new(401)),
    ///     }
    /// }
    /// ```
    #[doc(alias("database", "async auth", "spawn_blocking"))]
    pub fn defer(begin: impl FnOnce(Pending<S>) + 'static) -> Self {
        Choice::Defer(Box::new(begin)).into()
    }
}

/// Opens the connection, with a session that is as it is by default.
impl<S: Default> Default for Decision<S> {
    fn default() -> Self {
        Self::accept(S::default())
    }
}

/// Rejects with this response.
impl<S> From<Response> for Decision<S> {
    fn from(response: Response) -> Self {
        Self::reject(response)
    }
}

/// Opens the connection with the session, or rejects with the response.
impl<S> From<Result<S, Response>> for Decision<S> {
    fn from(result: Result<S, Response>) -> Self {
        result.map_or_else(Self::reject, Self::accept)
    }
}

impl<S> From<Choice<S>> for Decision<S> {
    fn from(choice: Choice<S>) -> Self {
        Self { choice, route: None }
    }
}

impl<S> fmt::Debug for Decision<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            Choice::Accept(accept, _) => f.debug_tuple("Accept").field(accept).finish(),
            Choice::Reject(response) => f.debug_tuple("Reject").field(response).finish(),
            Choice::Defer(_) => f.write_str("Defer"),
        }
    }
}

/// The answer to a plain request: a [`Response`], by `into()`, or one that comes later.
pub struct HttpAnswer {
    pub(super) choice: HttpChoice,
    /// Of the page, where [`Routes`](crate::Routes) have asked one.
    pub(super) pattern: Option<Arc<PathPattern>>,
}

pub(super) enum HttpChoice {
    Now(Response),
    /// Let the client wait, for what this makes of it.
    Defer(Box<dyn FnOnce(PendingAnswer)>),
}

impl HttpAnswer {
    /// Defers the answer: `begin` is called at once with what takes it, to be kept or given to another thread.
    ///
    /// The client waits for [`Config::decision_timeout`](crate::Config::decision_timeout), 10 s by default, at
    /// the most. See [`PendingAnswer`] for what else may happen.
    ///
    /// ```
    /// use framewire::{HttpAnswer, Response, Routes};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let routes = Routes::<()>::new()
    ///     .get("/", |_| Response::text("here\n"))?
    ///     .get("/report", |_| {
    ///         HttpAnswer::defer(|pending| {
    ///             std::thread::spawn(move || {
    ///                 let report = String::from("a long look into the books");
    ///                 pending.respond(Response::text(report));
    ///             });
    ///         })
    ///     })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn defer(begin: impl FnOnce(PendingAnswer) + 'static) -> Self {
        Self { choice: HttpChoice::Defer(Box::new(begin)), pattern: None }
    }
}

impl From<Response> for HttpAnswer {
    fn from(response: Response) -> Self {
        Self { choice: HttpChoice::Now(response), pattern: None }
    }
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            HttpChoice::Now(response) => f.debug_tuple("Now").field(response).finish(),
            HttpChoice::Defer(_) => f.write_str("Defer"),
        }
    }
}
