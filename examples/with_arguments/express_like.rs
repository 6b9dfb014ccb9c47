//! Several endpoints on one port, as one writes them with express and express-ws:
//! `express_like [ADDR] [--key KEY]`, then open the address that it prints.
//!
//! `GET /` is a page, `GET /data` answers in JSON. `/talk` is a WebSocket that sends back what it hears, or
//! to all who talk if it begins with `/all `; with a key, only who knows it (`?key=KEY`, or `Authorization:
//! Bearer KEY`) may. `/watch` tells what `/data` says whenever that changes. All else is answered 404.

#[path = "../support/page.rs"]
mod page;
#[path = "../support/serving.rs"]
mod serving;

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use framewire::{
    Audience, CloseCode, Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer,
    Request, Response, Routes, Server,
};
use lexopt::prelude::*;
use serde_json::json;

const USAGE: &str = "\
usage: express_like [ADDR] [--key KEY]
  ADDR       where to listen, default 127.0.0.1:3000; port 0 lets the system choose
  --key KEY  what one must know to talk";

/// Those who watch have subscribed to it.
const DATA: &str = "data";

fn main() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let mut key = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("key") => key = Some(arguments.value()?.string()?),
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    let server = Server::bind(address.as_deref().unwrap_or("127.0.0.1:3000"))?;
    serving::run("http", server.into_event_loop(app(key)?)?)?;
    Ok(())
}

fn app(key: Option<String>) -> Result<Routes, Box<dyn Error>> {
    let data = Arc::new(Data::default());
    // Pages from elsewhere must not talk in the name of whoever looks at them.
    let talk = Config::new().same_origin().max_message_size(64 << 10);
    // Nothing is to be heard of those who watch.
    let watch = Config::new().same_origin().max_message_size(0);
    let shown = Arc::clone(&data);
    Ok(Routes::new()
        .route("/talk", talk, Talk { data: Arc::clone(&data), key })?
        .route("/watch", watch, Watch { data })?
        .get("/", |_| page::asset("text/html", include_str!("express_like/page.html")))?
        .get("/page.css", |_| page::style(include_str!("express_like/page.css")))?
        .get("/page.js", |_| page::asset("text/javascript", include_str!("express_like/page.js")))?
        .get("/closing.js", |_| page::closing())?
        .get("/data", move |_| page::asset("application/json", shown.to_json()))?
        .get("/favicon.ico", |_| Response::new(204))?)
}

/// What the routes have in common. Their handlers can be sent to another thread, so this can, too.
#[derive(Default)]
struct Data {
    /// Those who talk now.
    clients: AtomicUsize,
    /// What they have said so far.
    messages: AtomicU64,
}

impl Data {
    fn to_json(&self) -> String {
        json!({ "clients": self.clients.load(Ordering::Relaxed), "messages": self.messages.load(Ordering::Relaxed) }).to_string()
    }
}

struct Talk {
    data: Arc<Data>,
    key: Option<String>,
}

impl Handler for Talk {
    type Session = ();

    /// Before the 101, so that a refusal is an answer that every client understands.
    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        match &self.key {
            Some(key) if given_key(request).as_deref() != Some(key) => {
                Decision::reject(unauthorized())
            }
            _ => Decision::accept(()),
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        self.data.clients.fetch_add(1, Ordering::Relaxed);
        peer.publish(DATA, self.data.to_json());
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.data.messages.fetch_add(1, Ordering::Relaxed);
        match message.as_text().and_then(|text| text.strip_prefix("/all ")) {
            // To those of this route, not to those who watch.
            Some(text) => drop(peer.publish(Audience::route(peer.route()), text)),
            None => drop(peer.send(message)),
        }
        peer.publish(DATA, self.data.to_json());
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, _outcome: &Outcome) {
        self.data.clients.fetch_sub(1, Ordering::Relaxed);
        peer.publish(DATA, self.data.to_json());
    }
}

struct Watch {
    data: Arc<Data>,
}

impl Handler for Watch {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(DATA); // One topic is far from the limit.
        peer.send(self.data.to_json());
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, _message: Message<'_>) {
        // It may be closing already.
        let _ = peer.close(CloseCode::POLICY_VIOLATION, "watch, do not talk");
    }
}

/// The key of a program, or of a page, which cannot set headers.
fn given_key(request: &Request) -> Option<Cow<'_, str>> {
    let header =
        request.headers().get_str("Authorization").and_then(|value| value.strip_prefix("Bearer "));
    header.map(Cow::Borrowed).or_else(|| request.query_parameter("key"))
}

fn unauthorized() -> Response {
    Response::new(401)
        .header("WWW-Authenticate", "Bearer realm=\"talk\"")
        .map_or_else(|_| Response::new(500), |response| response.body("to talk, give the key\n"))
}
