//! The clients of tests/cluster/cost: `cluster_cost cluster|plain BYTES SUBSCRIBERS WINDOW URL...`.
//!
//! The subscribers are spread over the URLs, and one more connection to the first of them publishes. Of a `cluster` each
//! subscribes by the client protocol; a `plain` server publishes whatever comes to everybody. On the standard input comes
//! `subscribed`, or how many messages to publish, of which no more than the window are under way; the answer, when all
//! subscribers have them, is `DELIVERIES BYTES-OF-ONE`.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Duration;

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, EventLoop, Handler, IncomingRequest, Message, Outcome, Peer, PeerId,
    Response, Server,
};
use serde_json::json;

struct Subscribers {
    /// They subscribe by the client protocol.
    is_cluster: bool,
    subscribed: usize,
    deliveries: u64,
    /// Of the last message.
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Subscriber,
    Publisher,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, bytes, subscribers, window, urls @ ..] = &arguments[..] else {
        return Err("usage: cluster_cost cluster|plain BYTES SUBSCRIBERS WINDOW URL...".into());
    };
    let (subscribers, window) = (subscribers.parse::<usize>()?, window.parse::<u64>()?);
    let text = "x".repeat(bytes.parse()?);
    let is_cluster = kind == "cluster";
    let text =
        if is_cluster { json!({ "publish": "room", "data": text }).to_string() } else { text };
    let clients = Subscribers { is_cluster, subscribed: 0, deliveries: 0, bytes: 0 };
    let mut event_loop = Server::unbound().into_event_loop(clients)?;
    for number in 0..subscribers {
        connect(&mut event_loop, &urls[number % urls.len()], Role::Subscriber)?;
    }
    let publisher = connect(&mut event_loop, &urls[0], Role::Publisher)?;

    let mut all = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count = if line == "subscribed" { 0 } else { line.parse()? };
        while event_loop.handler().subscribed < subscribers {
            event_loop.run_once(Some(Duration::from_secs(60)))?;
        }
        let first = event_loop.handler().deliveries;
        for _ in 0..count {
            all += 1;
            event_loop.peer(publisher).ok_or("the publisher has no connection")?.send(&*text);
            let least = (all.max(window) - window) * subscribers as u64;
            while event_loop.handler().deliveries < least {
                event_loop.run_once(Some(Duration::from_secs(60)))?;
            }
        }
        while event_loop.handler().deliveries < all * subscribers as u64 {
            event_loop.run_once(Some(Duration::from_secs(60)))?;
        }
        let clients = event_loop.handler();
        println!("{} {}", clients.deliveries - first, clients.bytes);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn connect(
    event_loop: &mut EventLoop<Subscribers>,
    url: &str,
    role: Role,
) -> Result<PeerId, Box<dyn Error>> {
    let url = Url::parse(url)?;
    let address = format!("{}:{}", url.host(), url.port()).parse()?;
    let request = ClientRequest::new(&Url::parse(&format!("ws://{address}/?name=ann"))?);
    let config = Config::new().ping_interval(None);
    Ok(event_loop.peers().connect(address, request, &config, role)?)
}

impl Handler for Subscribers {
    type Session = Role;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Role> {
        // It does not listen.
        Decision::reject(Response::not_found())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Role>) {
        if *peer.session() == Role::Publisher {
            return;
        }
        if self.is_cluster {
            peer.send(r#"{"subscribe":"room"}"#);
        } else {
            self.subscribed += 1;
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Role>, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        if *peer.session() == Role::Publisher {
            return;
        }
        if !self.is_cluster || text.starts_with(r#"{"topic""#) {
            self.deliveries += 1;
            self.bytes = text.len();
        } else if text.contains(r#""subscribed""#) {
            self.subscribed += 1;
        }
    }

    fn on_close(&mut self, _peer: &mut Peer<'_, Role>, outcome: &Outcome) {
        eprintln!("a connection has ended: {outcome:?}");
        std::process::exit(1);
    }
}
