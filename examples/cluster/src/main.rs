#![doc = include_str!("../README.md")]

mod bridge;
mod envelope;
mod inbox;
mod numbers;
mod publisher;
#[path = "../../support/signals.rs"]
mod signals;
mod subscriber;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use framewire::{
    CloseCode, Config, Decision, Entropy, Handler, IncomingRequest, Message, Peer, Prepared,
    Server, Subscribed, SystemEntropy,
};
use lexopt::prelude::*;
use redis::Client;
use serde_json::json;
use serde_json::value::RawValue;

use crate::bridge::{Bridge, Names, OUTGOING};
use crate::numbers::Given;
use crate::publisher::{LAST_WORDS, Publisher};
use crate::subscriber::Subscriber;

const USAGE: &str = "\
usage: cluster [ADDR] --redis URL --name NODE [--prefix TEXT]
  ADDR           where to listen, default 127.0.0.1:8080; port 0 lets the system choose
  --redis URL    such as redis://127.0.0.1:6379
  --name NODE    what this node is called: 1 to 32 letters, digits, - and _
  --prefix TEXT  what all names in Redis begin with, default framewire:";

const MAX_TOPIC: usize = 128;
const MAX_TOPICS: usize = 256;
const MAX_MESSAGE: usize = 16 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut address, mut redis, mut node, mut prefix) = (None, None, None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("redis") => redis = Some(arguments.value()?.string()?),
            Long("name") => node = Some(arguments.value()?.string()?),
            Long("prefix") => prefix = Some(arguments.value()?.string()?),
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    let (Some(redis), Some(node)) = (redis, node) else {
        return Err(format!("--redis and --name must be given\n{USAGE}").into());
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=32).contains(&node.len()) || !node.bytes().all(is_plain) {
        return Err(format!("--name {node:?} cannot be the name of a node\n{USAGE}").into());
    }
    let client = Client::open(redis.as_str()).map_err(|error| format!("--redis: {error}"))?;
    let mut run = [0; 8];
    SystemEntropy::new().fill(&mut run)?;
    let prefix = prefix.unwrap_or_else(|| "framewire:".into());
    let names = Names::new(&node, u64::from_ne_bytes(run), prefix);

    let (outgoing, queue) = sync_channel(OUTGOING);
    let given = Given::new(names.instance.clone());
    let bridge = Arc::new(Bridge::new(names, outgoing));
    let config = Config::new().same_origin().max_message_size(MAX_MESSAGE);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::bind(address)?.config(config).max_topics(MAX_TOPICS);
    let address = server.local_addr()?;
    let mut event_loop = server.into_event_loop(Node { bridge: Arc::clone(&bridge), given })?;
    let (inbox, deliveries) = inbox::inbox(event_loop.handle());
    let subscriber = Subscriber::new(client.clone(), Arc::clone(&bridge), inbox);
    // It holds nothing that must be put away: it may be waiting for Redis when the program ends.
    thread::spawn(move || subscriber.run());
    let publisher = Publisher::new(client, Arc::clone(&bridge), queue);
    let (ended, end) = mpsc::channel::<()>();
    thread::spawn(move || {
        publisher.run();
        drop(ended);
    });
    signals::shut_down_on_signals(event_loop.handle())?;
    // Whoever reads this may send the signal at once.
    println!("listening on ws://{address}");
    std::io::stdout().flush()?;

    let mut more = false;
    while !event_loop.is_finished() {
        event_loop.run_once(more.then_some(Duration::ZERO))?;
        more = deliveries.deliver(&mut event_loop);
    }
    bridge.end();
    let _ = end.recv_timeout(LAST_WORDS);
    if let Some(report) = event_loop.shutdown_report() {
        println!("{report}");
    }
    Ok(())
}

/// What clients can do; the README says how.
struct Node {
    bridge: Arc<Bridge>,
    given: Given,
}

impl Handler for Node {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else {
            // The code and the reason may be sent, so there is no error.
            let _ = peer.close(CloseCode::UNSUPPORTED_DATA, "messages are texts here");
            return;
        };
        match self.obey(peer, text) {
            Ok(Some(answer)) => peer.send(answer),
            Ok(None) => return,
            Err(error) => peer.send(json!({ "error": error }).to_string()),
        };
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        self.bridge.want(topic, subscribers > 0);
    }
}

impl Node {
    fn obey(&mut self, peer: &mut Peer<'_>, text: &str) -> Result<Option<String>, String> {
        let request: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
        let keys: Vec<&str> = request.keys().map(String::as_str).collect();
        match keys[..] {
            ["subscribe"] => {
                let topic = topic_of(request["subscribe"])?;
                if let Subscribed::Refused(error) = peer.subscribe(&topic) {
                    return Err(error.to_string());
                }
                let linked = self.bridge.is_linked(&topic);
                Ok(Some(json!({ "subscribed": topic, "linked": linked }).to_string()))
            }
            ["unsubscribe"] => {
                let topic = topic_of(request["unsubscribe"])?;
                if !peer.unsubscribe(&topic) {
                    return Err(format!("not subscribed to {topic:?}"));
                }
                Ok(Some(json!({ "unsubscribed": topic }).to_string()))
            }
            ["data", "publish"] => {
                let topic = topic_of(request["publish"])?;
                self.publish(peer, &topic, request["data"]);
                Ok(None)
            }
            _ => Err("neither subscribe, nor unsubscribe, nor publish with data".into()),
        }
    }

    /// Here at once, and elsewhere by Redis, whose copy for this node is ignored when it comes back.
    fn publish(&mut self, peer: &mut Peer<'_>, topic: &str, data: &RawValue) {
        let (publisher, number) = self.given.next(topic);
        let name = json!(topic);
        let text = format!(
            r#"{{"topic":{name},"publisher":"{publisher}","number":{number},"data":{data}}}"#
        );
        self.bridge.publish(topic, envelope::seal(&publisher, number, &text));
        peer.publish(topic, Prepared::new(text));
    }
}

fn topic_of(value: &RawValue) -> Result<String, String> {
    let topic: String = serde_json::from_str(value.get()).unwrap_or_default();
    if topic.is_empty() || topic.len() > MAX_TOPIC || topic.chars().any(char::is_control) {
        return Err(format!(
            "a topic is a text of 1 to {MAX_TOPIC} bytes without control characters"
        ));
    }
    Ok(topic)
}
