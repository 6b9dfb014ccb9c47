use std::fmt;
use std::sync::Arc;

use crate::handshake::{Request, RequestError, Response, percent_decode};
use crate::protocol::{Bytes, Config, Fragment, InvalidConfig, Message, Outcome};
use crate::wire::CloseCode;

use super::attempt::Attempt;
use super::handler::{Decision, Handler, HttpAnswer};
use super::incoming_request::IncomingRequest;
use super::logging::event;
use super::opening_error::OpeningError;
use super::path_pattern::{PathPattern, PatternError};
use super::peer::{Peer, Peers};
use super::route::{Route, RouteId, Scope};
use super::schedule::Timer;
use super::sources::SourceEvent;

/// Several endpoints on one port: a [`Handler`] that gives each request to the handler of its path.
///
/// A route is chosen before the connection is opened: where there is none, 404 is answered, and what the
/// route's handler refuses is refused by HTTP. From then on the connection has the route's [`Config`]:
/// its origins, limits, subprotocols, compression and deadlines. What holds before, for the head of the
/// request, is the server's. [`Peer::broadcast`] reaches the connections of all routes, and
/// [`Peer::publish`] to [`Audience::route`](crate::Audience::route) those of one.
///
/// Paths are matched as [`PathPattern`] says. Where several match, the most specific one counts: the first
/// segment in which they differ decides, a literal before a parameter before a `*`. A path that cannot
/// be percent-decoded, or is not UTF-8 then, is answered 400.
///
/// Timers and sources are of the route whose handler has set them, such as in its
/// [`on_start`](Handler::on_start). Those that are set for all connections, by
/// [`EventLoop::peers`](crate::EventLoop::peers) or [`LoopHandle::call`](crate::LoopHandle::call), are of no route: the
/// handler of [`otherwise`](Self::otherwise) is told of them, and nobody where there is none, which is a warning of the
/// feature `log`. [`Peers::route`](crate::Peers::route) sets them for one route.
///
/// All routes share a type of sessions, and can be sent to another thread. They cannot be nested: `Routes` as the handler of a route, or of
/// [`otherwise`](Self::otherwise), answer 500.
///
/// ```
/// use framewire::{Audience, Config, Decision, Handler, IncomingRequest, Message, Peer, Response, Routes, Server};
///
/// struct Chat;
///
/// impl Handler for Chat {
///     type Session = String;
///
///     fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
///         match request.parameter("room").as_deref() {
///             Some("secret") => Decision::reject(Response::new(401).body("who are you?\n")),
///             room => Decision::accept(room.unwrap_or("lobby").to_owned()),
///         }
///     }
///
///     fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
///         peer.publish(Audience::route(peer.route()), message);
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let routes = Routes::new()
///     .route("/chat", Config::new(), Chat)?
///     .route("/chat/:room", Config::new().max_message_size(4096).subprotocols(["chat"]), Chat)?
///     .get("/data", |_| Response::json("{}"))?;
/// let mut event_loop = Server::bind("127.0.0.1:0")?.into_event_loop(routes)?;
/// # event_loop.handle().shutdown(1001, "", std::time::Duration::ZERO)?;
/// event_loop.run()?;
/// # Ok(())
/// # }
/// ```
#[doc(alias("namespace", "App", "router", "express"))]
pub struct Routes<S = ()> {
    routes: Vec<Endpoint<S>>,
    /// The places of `routes`, the most specific one first.
    order: Vec<usize>,
    /// Routes of plain requests, the most specific one first.
    pages: Vec<Page>,
    otherwise: Option<Box<dyn Handler<Session = S> + Send>>,
}

struct Endpoint<S> {
    pattern: Arc<PathPattern>,
    config: Config,
    handler: Box<dyn Handler<Session = S> + Send>,
}

struct Page {
    pattern: Arc<PathPattern>,
    /// `GET` stands for `HEAD` too.
    method: Box<str>,
    answer: Box<dyn FnMut(&IncomingRequest) -> HttpAnswer + Send>,
}

impl Page {
    fn is_for(&self, method: &str) -> bool {
        *self.method == *method || (&*self.method == "GET" && method == "HEAD")
    }
}

/// Why a route cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is not valid.
    Pattern(PatternError),
    /// The first pattern matches the same paths as the second one, which is there already.
    Ambiguous(String, String),
    /// The settings of the route with this pattern cannot work.
    Config(String, InvalidConfig),
    /// There are 65,535 routes already.
    TooMany(String),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(error) => error.fmt(f),
            Self::Ambiguous(new, old) => {
                write!(f, "the pattern {new:?} matches the same paths as {old:?}")
            }
            Self::Config(pattern, _) => {
                write!(f, "the settings of the route {pattern:?} cannot work")
            }
            Self::TooMany(pattern) => write!(f, "{pattern:?} is one route too many"),
        }
    }
}

impl std::error::Error for RouteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // `Display` prints its text already; what is left is its own source.
            Self::Pattern(error) => error.source(),
            Self::Config(_, error) => Some(error),
            _ => None,
        }
    }
}

impl From<PatternError> for RouteError {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Self { routes: Vec::new(), order: Vec::new(), pages: Vec::new(), otherwise: None }
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.routes.iter().map(|route| route.pattern.as_str());
        f.debug_struct("Routes")
            .field("routes", &patterns.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Building.
impl<S> Routes<S> {
    /// No routes yet: everything is answered 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves WebSockets at the paths of this pattern with these settings and this handler. Plain requests
    /// for them go to its [`on_http`](Handler::on_http), which answers 426, unless
    /// [`get`](Self::get) serves them.
    ///
    /// # Errors
    ///
    /// [`RouteError`] for a pattern that is malformed or matches the same paths as an earlier one, and
    /// for settings that cannot work.
    #[doc(alias("url pattern", "path parameter"))]
    pub fn route(
        mut self,
        pattern: &str,
        config: Config,
        handler: impl Handler<Session = S> + Send + 'static,
    ) -> Result<Self, RouteError> {
        let new = parse(pattern, self.routes.iter().map(|route| &route.pattern))?;
        config.validate().map_err(|error| RouteError::Config(pattern.to_owned(), error))?;
        if RouteId::of(self.routes.len()).is_none() {
            return Err(RouteError::TooMany(pattern.to_owned()));
        }
        let rank = new.rank();
        let at = self.order.partition_point(|&at| self.routes[at].pattern.rank() <= rank);
        self.order.insert(at, self.routes.len());
        self.routes.push(Endpoint { pattern: new, config, handler: Box::new(handler) });
        Ok(self)
    }

    /// Answers plain requests, GET and HEAD, for the paths of this pattern: with a [`Response`], or an
    /// [`HttpAnswer`]. An upgrade is none: it needs a [`route`](Self::route).
    ///
    /// # Errors
    ///
    /// [`RouteError`] for a pattern that is malformed or matches the same paths as an earlier one of
    /// `get`.
    pub fn get<A: Into<HttpAnswer>>(
        self,
        pattern: &str,
        answer: impl FnMut(&IncomingRequest) -> A + Send + 'static,
    ) -> Result<Self, RouteError> {
        self.page("GET", pattern, answer)
    }

    /// Answers plain requests of another method for the paths of this pattern. The method must be one of
    /// [`Config::http_methods`] of the server. Where there are pages for a path, but none for the method, 405 is
    /// answered.
    ///
    /// ```
    /// use framewire::{Config, Response, Routes, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let routes = Routes::<()>::new().page("POST", "/log", |request| {
    ///     println!("{} bytes", request.body().len());
    ///     Response::new(204)
    /// })?;
    /// let server = Server::bind("127.0.0.1:0")?.config(Config::new().http_methods(["POST"]));
    /// let event_loop = server.into_event_loop(routes)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RouteError`] for a pattern that is malformed or matches the same paths as an earlier one for this
    /// method.
    #[doc(alias("static file", "index.html"))]
    pub fn page<A: Into<HttpAnswer>>(
        mut self,
        method: &str,
        pattern: &str,
        mut answer: impl FnMut(&IncomingRequest) -> A + Send + 'static,
    ) -> Result<Self, RouteError> {
        let others = self.pages.iter().filter(|page| &*page.method == method);
        let new = parse(pattern, others.map(|page| &page.pattern))?;
        let rank = new.rank();
        let at = self.pages.partition_point(|page| page.pattern.rank() <= rank);
        let answer = Box::new(move |request: &IncomingRequest| answer(request).into());
        self.pages.insert(at, Page { pattern: new, method: method.into(), answer });
        Ok(self)
    }

    /// Serves what matches no route, with the settings of the server, in place of a 404: requests of both kinds; and
    /// connections that [`Peers::connect`](crate::Peers::connect) has dialled, which are otherwise closed when they
    /// open.
    #[doc(alias("404", "fallback"))]
    #[must_use]
    pub fn otherwise(mut self, handler: impl Handler<Session = S> + Send + 'static) -> Self {
        self.otherwise = Some(Box::new(handler));
        self
    }

    /// The name of the route with exactly this pattern, for
    /// [`Audience::route`](crate::Audience::route) and [`Peers::route`](crate::Peers::route).
    #[must_use]
    pub fn id(&self, pattern: &str) -> Option<RouteId> {
        let index = self.routes.iter().position(|route| route.pattern.as_str() == pattern)?;
        RouteId::of(index)
    }

    /// Which methods have a page for this path.
    fn methods(&self, path: &str) -> Vec<&str> {
        let pages = self.pages.iter().filter(|page| page.pattern.matches(path));
        let methods = pages.flat_map(|page| match &*page.method {
            "GET" => ["GET", "HEAD"].iter().copied().chain(None),
            other => [].iter().copied().chain(Some(other)),
        });
        methods.collect()
    }

    fn find(&self, request: &Request) -> Option<usize> {
        let path = request.path();
        self.order.iter().copied().find(|&index| self.routes[index].pattern.matches(path))
    }

    /// The answer where nobody serves a path, or nobody this method of it.
    fn no_page(&self, path: &str) -> Response {
        match self.methods(path) {
            methods if methods.is_empty() => Response::not_found(),
            methods => Response::method_not_allowed(methods),
        }
    }

    /// The handler of a route, or of what has none.
    #[inline]
    fn handler(&mut self, route: Option<RouteId>) -> Option<&mut dyn Handler<Session = S>> {
        match route {
            Some(route) => {
                let route = self.routes.get_mut(route.index())?;
                Some(&mut *route.handler)
            }
            None => Some(&mut **self.otherwise.as_mut()?),
        }
    }
}

fn parse<'p>(
    pattern: &str,
    mut others: impl Iterator<Item = &'p Arc<PathPattern>>,
) -> Result<Arc<PathPattern>, RouteError> {
    let new = PathPattern::new(pattern)?;
    match others.find(|other| other.is_same(&new)) {
        Some(other) => Err(RouteError::Ambiguous(pattern.to_owned(), other.to_string())),
        None => Ok(Arc::new(new)),
    }
}

/// The answer where routes stand within routes: a fault of the application.
fn nested() -> Response {
    Response::new(500)
}

/// Choosing, and handing on.
impl<S> Handler for Routes<S> {
    type Session = S;

    /// Each handler has the connections of its own route.
    fn on_start(&mut self, peers: &mut Peers<'_, S>) {
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.handler.on_start(&mut peers.within(Scope::Route(RouteId::of(index))));
        }
        if let Some(handler) = &mut self.otherwise {
            handler.on_start(&mut peers.within(Scope::Route(None)));
        }
    }

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<S> {
        if request.pattern().is_some() {
            return Decision::reject(nested());
        }
        if percent_decode(request.path()).is_none() {
            return Decision::reject(Response::from(&RequestError::InvalidTarget));
        }
        let Some(index) = self.find(request) else {
            let Some(handler) = &mut self.otherwise else {
                return Decision::reject(Response::from(&RequestError::PathNotServed));
            };
            let decision = handler.on_upgrade(request);
            return if decision.route.is_none() { decision } else { Decision::reject(nested()) };
        };
        let Endpoint { pattern, config, handler } = &mut self.routes[index];
        let Some(id) = RouteId::of(index) else { return Decision::reject(nested()) };
        if let Err(error) = config.check(request) {
            return Decision::reject(Response::from(&error));
        }
        let route = Route { id, pattern: Arc::clone(pattern), config: config.clone() };
        Decision { route: Some(route), ..handler.on_upgrade(&request.routed(pattern)) }
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        if request.pattern().is_some() {
            return nested().into();
        }
        let path = request.path();
        if percent_decode(path).is_none() {
            return Response::from(&RequestError::InvalidTarget).into();
        }
        let method = request.method();
        let mut pages = self.pages.iter_mut();
        if let Some(page) = pages.find(|page| page.is_for(method) && page.pattern.matches(path)) {
            let answer = (page.answer)(&request.routed(&page.pattern));
            return HttpAnswer { pattern: Some(Arc::clone(&page.pattern)), ..answer };
        }
        match (self.find(request), &mut self.otherwise) {
            (Some(index), _) => {
                let Endpoint { pattern, config, handler } = &mut self.routes[index];
                if let Err(error) = config.check_host(request) {
                    return Response::from(&error).into();
                }
                let answer = handler.on_http(&request.routed(pattern));
                HttpAnswer { pattern: Some(Arc::clone(pattern)), ..answer }
            }
            (None, Some(handler)) => handler.on_http(request),
            (None, None) => self.no_page(path).into(),
        }
    }

    /// Goes to the handler of [`otherwise`](Self::otherwise): most of these have no route yet.
    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.otherwise.as_mut()?.on_handshake_error(error, attempt)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, S>) {
        match self.handler(peer.route()) {
            Some(handler) => handler.on_open(peer),
            // A dialled connection whose route has no handler.
            None => {
                let _ = peer.close(CloseCode::GOING_AWAY, "");
            }
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, S>, message: Message<'_>) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_message(peer, message);
        }
    }

    fn on_fragment(&mut self, peer: &mut Peer<'_, S>, fragment: Fragment<'_>) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_fragment(peer, fragment);
        }
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, S>) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_drain(peer);
        }
    }

    fn on_dropped(&mut self, peer: &mut Peer<'_, S>, messages: u64) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_dropped(peer, messages);
        }
    }

    fn on_rate_limited(&mut self, peer: &mut Peer<'_, S>, messages: u64) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_rate_limited(peer, messages);
        }
    }

    fn on_ping(&mut self, peer: &mut Peer<'_, S>, payload: Bytes<'_>) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_ping(peer, payload);
        }
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, S>, payload: Bytes<'_>) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_pong(peer, payload);
        }
    }

    /// Goes to the handler of the route whose peers have set it.
    fn on_timer(&mut self, peers: &mut Peers<'_, S>, timer: Timer) {
        match self.handler(peers.scope().route()) {
            Some(handler) => handler.on_timer(peers, timer),
            None => event!(
                Warn,
                "connection",
                "a timer is for the connections of all routes: no handler is told of it"
            ),
        }
    }

    fn on_peer_timer(&mut self, peer: &mut Peer<'_, S>, timer: Timer) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_peer_timer(peer, timer);
        }
    }

    /// Goes to the handler of the route whose peers have registered it.
    fn on_source(&mut self, peers: &mut Peers<'_, S>, event: SourceEvent) {
        match self.handler(peers.scope().route()) {
            Some(handler) => handler.on_source(peers, event),
            None => event!(
                Warn,
                "connection",
                "a source is for the connections of all routes: no handler is told of it"
            ),
        }
    }

    /// Topics are the loop's, so all handlers hear of them.
    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        let handlers = self.routes.iter_mut().map(|route| &mut route.handler);
        for handler in handlers.chain(&mut self.otherwise) {
            handler.on_subscription(topic, subscribers);
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, S>, outcome: &Outcome) {
        if let Some(handler) = self.handler(peer.route()) {
            handler.on_close(peer, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    /// What a handler may hear, it must hear behind a route too.
    #[test]
    fn every_call_is_handed_on() {
        let of = |source: &str| -> Vec<String> {
            let names = source.split("    fn on_").skip(1);
            names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()).collect()
        };
        let (defined, _) = include_str!("handler.rs").split_once("pub struct Decision").unwrap();
        let handed_on = of(include_str!("routes.rs").split_once("/// Choosing").unwrap().1);
        let defined = of(defined);
        assert!(defined.len() > 9);
        for name in defined {
            assert!(handed_on.contains(&name), "Routes does not hand on on_{name}");
        }
    }
}
