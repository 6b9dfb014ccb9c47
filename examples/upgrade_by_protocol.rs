//! One port, and a handler for each subprotocol: `upgrade_by_protocol [ADDR]`.
//!
//! `echo` sends messages back, `chat` passes them on to the others of the chat, and `count` answers how many
//! messages and bytes came so far on this connection, in JSON. Who offers several gets the first that is
//! spoken here; who offers none of them is answered 400 and what there is.

#[path = "support/serving.rs"]
mod serving;

use std::io;

use framewire::{
    Accept, Audience, Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Response,
    Server,
};
use serde_json::json;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9003".into());
    let handlers = ByProtocol::new().speak("echo", Echo).speak("chat", Chat).speak("count", Count);
    let server = Server::bind(address)?.config(Config::new().max_message_size(1 << 20));
    serving::run("ws", server.into_event_loop(handlers)?)
}

/// What all connections have: whose they are, and what their handler keeps.
struct Session<S> {
    handler: usize,
    own: S,
}

/// Gives each connection to the handler of its subprotocol.
struct ByProtocol<S> {
    handlers: Vec<(&'static str, Box<dyn Protocol<S>>)>,
}

/// What is done with the connections of one subprotocol.
trait Protocol<S> {
    fn on_open(&mut self, _peer: &mut Peer<'_, Session<S>>) {}
    fn on_message(&mut self, peer: &mut Peer<'_, Session<S>>, message: Message<'_>);
    fn on_close(&mut self, _peer: &mut Peer<'_, Session<S>>, _outcome: &Outcome) {}
}

impl<S> ByProtocol<S> {
    fn new() -> Self {
        Self { handlers: Vec::new() }
    }

    fn speak(mut self, name: &'static str, handler: impl Protocol<S> + 'static) -> Self {
        self.handlers.push((name, Box::new(handler)));
        self
    }

    fn handler(&mut self, peer: &mut Peer<'_, Session<S>>) -> &mut dyn Protocol<S> {
        &mut *self.handlers[peer.session().handler].1
    }
}

impl<S: Default> Handler for ByProtocol<S> {
    type Session = Session<S>;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<Session<S>> {
        let find = |name| self.handlers.iter().position(|(own, _)| *own == name);
        let Some(handler) = request.subprotocols().find_map(find) else {
            let names: Vec<_> = self.handlers.iter().map(|(name, _)| *name).collect();
            let text = format!("the subprotocols spoken here are: {}\n", names.join(", "));
            return Decision::reject(Response::bad_request(text));
        };
        let accept = Accept::new().subprotocol(self.handlers[handler].0);
        Decision::accept_with(accept, Session { handler, own: S::default() })
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Session<S>>) {
        self.handler(peer).on_open(peer);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Session<S>>, message: Message<'_>) {
        self.handler(peer).on_message(peer, message);
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Session<S>>, outcome: &Outcome) {
        self.handler(peer).on_close(peer, outcome);
    }
}

/// Messages and bytes; only `Count` needs them.
#[derive(Default)]
struct Counts {
    messages: u64,
    bytes: usize,
}

type Member<'l> = Peer<'l, Session<Counts>>;

struct Echo;

impl Protocol<Counts> for Echo {
    fn on_message(&mut self, peer: &mut Member<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

struct Chat;

impl Protocol<Counts> for Chat {
    /// Broadcasting would reach those of the other subprotocols, too: a topic holds the chat's own.
    fn on_open(&mut self, peer: &mut Member<'_>) {
        peer.subscribe("chat"); // One topic is far from the limit.
        peer.publish(Audience::topic("chat").except(peer.id()), "somebody came");
    }

    fn on_message(&mut self, peer: &mut Member<'_>, message: Message<'_>) {
        peer.publish(Audience::topic("chat").except(peer.id()), message);
    }

    fn on_close(&mut self, peer: &mut Member<'_>, _outcome: &Outcome) {
        peer.publish(Audience::topic("chat").except(peer.id()), "somebody left");
    }
}

struct Count;

impl Protocol<Counts> for Count {
    fn on_message(&mut self, peer: &mut Member<'_>, message: Message<'_>) {
        let counts = &mut peer.session_mut().own;
        counts.messages += 1;
        counts.bytes += message.len();
        let answer = json!({ "messages": counts.messages, "bytes": counts.bytes });
        peer.send(answer.to_string());
    }
}
