//! Vite's channel for hot updates (`createWebSocketServer`) as a handler that stands in front of another
//! one: it takes the upgrades that are its own and leaves all others to that.

use std::collections::BTreeSet;

use framewire::{
    Accept, Attempt, Bytes, CloseCode, Config, Decision, Fragment, Handler, HttpAnswer,
    IncomingRequest, Message, OpeningError, Outcome, Peer, Request, Response,
};
use serde_json::{Value, json};

use super::hmr::{Client, Hmr, TOPIC};

/// A client that wants updates.
const PROTOCOL: &str = "vite-hmr";
/// A client that asks whether the server is back.
const PING: &str = "vite-ping";

/// How a [`Channel`] is.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `server.ws`: false leaves everything to the other handler, and nothing is sent.
    pub(crate) enabled: bool,
    /// `server.hmr`: false lets only `connected`, `ping`, `custom` and `error` pass.
    pub(crate) hmr: bool,
    /// The path of the channel on a server that is shared; the query does not count.
    pub(crate) path: String,
    /// The server has no other purpose: every upgrade at any path is the channel's.
    pub(crate) standalone: bool,
    /// Names that the server may be asked by, besides `localhost`, the names under it and IP addresses; one
    /// that begins with a dot stands for all names under it, too. `None`: any.
    pub(crate) hosts: Option<BTreeSet<String>>,
    /// What pages must know, as `?token=`: only those that this server has served do. `None`: nothing, as
    /// with `legacy.skipWebSocketTokenCheck`.
    pub(crate) token: Option<String>,
}

impl Options {
    /// Shared, at `/`, for local hosts and for pages that know the token.
    pub(crate) fn new(token: impl Into<String>) -> Self {
        Self {
            enabled: true,
            hmr: true,
            path: "/".to_owned(),
            standalone: false,
            hosts: Some(BTreeSet::new()),
            token: Some(token.into()),
        }
    }

    /// Who may ask, as settings that check it.
    pub(crate) fn host_policy(&self) -> Config {
        match &self.hosts {
            Some(names) => Config::new().local_hosts().hosts(names.iter().cloned()),
            None => Config::new(),
        }
    }
}

/// What a connection is.
#[derive(Debug)]
pub(crate) enum Member<T> {
    Client,
    Ping,
    /// One of the handler behind the channel, with the session that it gave.
    Guest(T),
}

/// The channel; [`Hmr`] is what the rest of the program has of it.
pub(crate) struct Channel<T> {
    options: Options,
    hosts: Config,
    hmr: Hmr<T>,
    otherwise: Box<dyn Handler<Session = Member<T>>>,
}

impl<T: 'static> Channel<T> {
    /// Whatever is not the channel's goes to `otherwise`, whose sessions are [`Member::Guest`].
    pub(crate) fn new(
        options: Options,
        otherwise: impl Handler<Session = Member<T>> + 'static,
    ) -> Self {
        let hmr = Hmr::new(&options);
        let hosts = options.host_policy();
        Self { options, hosts, hmr, otherwise: Box::new(otherwise) }
    }

    pub(crate) fn hmr(&self) -> Hmr<T> {
        self.hmr.clone()
    }

    /// What the request is for, if it is the channel's.
    fn member(&self, request: &Request) -> Option<Member<T>> {
        if !self.options.enabled || self.hmr.is_closed() {
            return None;
        }
        // The whole value: who offers others besides wants something else.
        let mut lines = request.headers().get_all("Sec-WebSocket-Protocol");
        let member = match (lines.next(), lines.next()) {
            (Some(line), None) if line == PROTOCOL.as_bytes() => Member::Client,
            (Some(line), None) if line == PING.as_bytes() => Member::Ping,
            _ if self.options.standalone => Member::Client,
            _ => return None,
        };
        (self.options.standalone || request.path() == self.options.path).then_some(member)
    }

    /// Who may have a channel. A page that DNS was bent for has another host, and a page from elsewhere does
    /// not know the token; what is no browser sends no origin.
    fn may_enter(&self, request: &Request) -> bool {
        let knows = |token: &String| {
            let given = request.query_parameter("token").unwrap_or_default();
            is_equal(given.as_bytes(), token.as_bytes())
        };
        self.hosts.check(request).is_ok()
            && (request.origin().is_none() || self.options.token.as_ref().is_none_or(knows))
    }

    fn welcome(&mut self, peer: &mut Peer<'_, Member<T>>) {
        if !self.hmr.add(peer.id()) {
            // The channel was closed while this one came.
            peer.abort();
            return;
        }
        // One topic is far from the limit. What is sent to all from now on comes behind what follows here.
        peer.subscribe(TOPIC);
        self.hmr.tell("vite:client:connect", &Value::Null, &mut Client::new(peer));
        peer.send(json!({ "type": "connected" }).to_string());
        if let Some(held) = self.hmr.take_held() {
            peer.send(held);
        }
    }

    fn hear(&self, peer: &mut Peer<'_, Member<T>>, message: &Message<'_>) {
        if !self.hmr.listens() {
            return;
        }
        // The page's own heartbeat is of another type, and whatever else comes is nobody's.
        let Ok(message) = serde_json::from_slice::<Value>(message.as_bytes()) else { return };
        match (message["type"].as_str(), message["event"].as_str()) {
            (Some("custom"), Some(event)) if !event.is_empty() => {
                self.hmr.tell(event, &message["data"], &mut Client::new(peer));
            }
            _ => {}
        }
    }
}

impl<T: 'static> Handler for Channel<T> {
    type Session = Member<T>;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<Member<T>> {
        let Some(member) = self.member(request) else {
            if self.options.standalone {
                return Decision::reject(Response::service_unavailable());
            }
            return self.otherwise.on_upgrade(request);
        };
        if matches!(member, Member::Ping) {
            // It learns nothing but that somebody is there, and not even that before it is so.
            if self.options.standalone && !self.hmr.is_main_listening() {
                return Decision::reject(Response::service_unavailable());
            }
        } else if !self.may_enter(request) {
            return Decision::reject(Response::bad_request("Bad Request"));
        }
        let accept = match request.subprotocols().next() {
            Some(name) => Accept::new().subprotocol(name),
            None => Accept::new(),
        };
        Decision::accept_with(accept, member)
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        if self.options.standalone {
            return Response::upgrade_required().body("Upgrade Required").into();
        }
        self.otherwise.on_http(request)
    }

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.otherwise.on_handshake_error(error, attempt)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Member<T>>) {
        match peer.session_mut() {
            Member::Client => self.welcome(peer),
            // The code and the reason may be sent.
            Member::Ping => drop(peer.close(CloseCode::NORMAL, "")),
            Member::Guest(_) => self.otherwise.on_open(peer),
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Member<T>>, message: Message<'_>) {
        match peer.session_mut() {
            Member::Client => self.hear(peer, &message),
            Member::Ping => {}
            Member::Guest(_) => self.otherwise.on_message(peer, message),
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Member<T>>, outcome: &Outcome) {
        match peer.session_mut() {
            Member::Client => {
                if self.hmr.remove(peer.id()) {
                    let mut client = Client::new(peer);
                    self.hmr.tell("vite:client:disconnect", &Value::Null, &mut client);
                }
            }
            Member::Ping => {}
            Member::Guest(_) => self.otherwise.on_close(peer, outcome),
        }
    }

    fn on_fragment(&mut self, peer: &mut Peer<'_, Member<T>>, fragment: Fragment<'_>) {
        if let Member::Guest(_) = peer.session() {
            self.otherwise.on_fragment(peer, fragment);
        }
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, Member<T>>) {
        if let Member::Guest(_) = peer.session() {
            self.otherwise.on_drain(peer);
        }
    }

    fn on_dropped(&mut self, peer: &mut Peer<'_, Member<T>>, messages: u64) {
        if let Member::Guest(_) = peer.session() {
            self.otherwise.on_dropped(peer, messages);
        }
    }

    fn on_ping(&mut self, peer: &mut Peer<'_, Member<T>>, payload: Bytes<'_>) {
        if let Member::Guest(_) = peer.session() {
            self.otherwise.on_ping(peer, payload);
        }
    }

    fn on_pong(&mut self, peer: &mut Peer<'_, Member<T>>, payload: Bytes<'_>) {
        if let Member::Guest(_) = peer.session() {
            self.otherwise.on_pong(peer, payload);
        }
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        if topic != TOPIC {
            self.otherwise.on_subscription(topic, subscribers);
        }
    }
}

/// In a time that does not tell how much of the secret was right.
fn is_equal(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |all, (one, other)| all | (one ^ other));
    given.len() == secret.len() && differing == 0
}
