//! A chat room, its page included: `chat [ADDR]`, then open the address that it prints.
//!
//! Texts are JSON objects with a `type`. A page says `join` and `rename` with a `name`, and `say` with
//! a `text`; it hears `welcome`, `joined`, `renamed`, `left`, `said` and `refused`. A binary message is
//! a file: the length of its head in two bytes, the head in JSON, the content.
//!
//! That is `/chat`. At `/` there is a room without any of it, which passes on to everybody in it, the author
//! too, whatever comes: for clients of a few lines, from anywhere, a page that was opened from a file among
//! them. Neither room hears of the other.

#[path = "support/page.rs"]
mod page;
#[path = "support/serving.rs"]
mod serving;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use framewire::deflate::DeflateConfig;
use framewire::{
    Audience, CloseCode, Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer,
    PeerId, Prepared, Response, RouteError, Routes, Server, SlowConsumer, State,
};
use serde_json::{Map, Value, json};

const MAX_NAME: usize = 24;
const MAX_TEXT: usize = 4000;
const MAX_FILE: usize = 512 << 10;
const MAX_HEAD: usize = 1 << 10;

/// What newcomers get to see of the past, at the most.
const HISTORY_MESSAGES: usize = 50;
const HISTORY_BYTES: usize = 2 << 20;

/// Whoever leaves more than this unread is dropped, so that the others do not pay for the memory.
const MAX_UNREAD: usize = 8 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    // So haproxy asks whether a server is well, unless it is told to use GET.
    let config = Config::new().http_methods(["OPTIONS"]);
    let server = Server::bind(address)?.config(config).slow_consumer(SlowConsumer::Close);
    serving::run("http", server.into_event_loop(rooms()?)?)?;
    Ok(())
}

fn rooms() -> Result<Routes, RouteError> {
    // Pages from elsewhere must not speak in the name of whoever looks at them (RFC 6455 section 10.2).
    // What is no browser sends no origin.
    let chat = Config::new()
        .same_origin()
        .deflate(DeflateConfig::new())
        .max_message_size(MAX_FILE + MAX_HEAD)
        .first_message_timeout(Duration::from_secs(10));
    // Nobody has a name here that another could take: pages from anywhere may come in.
    let open = Config::new().max_message_size(MAX_FILE).max_buffered_amount(MAX_UNREAD);
    Routes::new()
        .route("/chat", chat, Chat::default())?
        .route("/", open, OpenRoom)?
        .get("/", |_| page::asset("text/html", include_str!("chat/page.html")))?
        .get("/page.css", |_| page::style(include_str!("chat/page.css")))?
        .get("/page.js", |_| page::asset("text/javascript", include_str!("chat/page.js")))?
        .get("/closing.js", |_| page::closing())?
        .get("/favicon.ico", |_| Response::new(204))?
        .page("OPTIONS", "/", |_| Response::new(204))
}

/// Passes on to all, the author too, text as text and binary as binary.
struct OpenRoom;

impl Handler for OpenRoom {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        let address = peer.caller().address();
        let address = address.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
        say(&format!("{} came from {address}", peer.id()));
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        // It is encoded once for all of them. Those who are closing hear nothing.
        peer.publish(Audience::route(peer.route()), message);
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, outcome: &Outcome) {
        let (code, reason) = (outcome.code(), outcome.reason());
        say(&format!("{} left: {outcome}; code {code}, reason {reason:?}", peer.id()));
    }
}

#[derive(Default)]
struct Chat {
    /// Those who have joined.
    names: BTreeMap<PeerId, String>,
    history: VecDeque<Prepared>,
}

/// Why a message is not passed on.
enum Fault {
    /// A person can make this mistake: the page shows the reason.
    Refused(&'static str),
    /// Our page does not send such a thing: whoever did is disconnected.
    Violation(&'static str),
}

impl Handler for Chat {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let result = match &message {
            _ if peer.state() != State::Open => Ok(()), // It was told to leave.
            Message::Text(text) => self.hear(peer, text),
            Message::Binary(bytes) => self.pass_file(peer, bytes),
        };
        match result {
            Ok(()) => {}
            Err(Fault::Refused(reason)) => {
                peer.send(json!({ "type": "refused", "reason": reason }).to_string());
            }
            // It is open and the reason is short: nothing else could fail.
            Err(Fault::Violation(reason)) => drop(peer.close(CloseCode::POLICY_VIOLATION, reason)),
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, outcome: &Outcome) {
        let Some(name) = self.names.remove(&peer.id()) else { return };
        let (code, reason) = (outcome.code(), outcome.reason());
        say(&format!("{name:?} left: {outcome}; code {code}, reason {reason:?}"));
        let left = json!({ "type": "left", "id": id(peer), "name": name });
        self.tell_all(peer, &Prepared::new(left.to_string()));
    }
}

impl Chat {
    fn hear(&mut self, peer: &mut Peer<'_>, text: &str) -> Result<(), Fault> {
        let message = serde_json::from_str::<Value>(text);
        let message = message.map_err(|_| Fault::Violation("the text is not JSON"))?;
        match (message["type"].as_str(), self.names.get(&peer.id()).cloned()) {
            (Some("join"), None) => self.join(peer, &message)?,
            (Some("rename"), Some(old)) => {
                let name = self.free_name(peer, &message)?;
                let now = json!({ "type": "renamed", "id": id(peer), "old": old, "name": name });
                self.names.insert(peer.id(), name);
                self.tell_all(peer, &Prepared::new(now.to_string()));
            }
            (Some("say"), Some(name)) => {
                let text = message["text"].as_str().unwrap_or_default().trim_end();
                if !(1..=MAX_TEXT).contains(&text.chars().count()) {
                    return Err(Fault::Refused("A message has 1 to 4000 characters."));
                }
                let said = json!({
                    "type": "said", "id": id(peer), "name": name, "time": now(), "text": text,
                });
                self.tell_all_and_keep(peer, Prepared::new(said.to_string()));
            }
            (Some("join" | "rename" | "say"), _) => return Err(Fault::Violation("join, once")),
            _ => return Err(Fault::Violation("unknown type of message")),
        }
        Ok(())
    }

    fn join(&mut self, peer: &mut Peer<'_>, message: &Value) -> Result<(), Fault> {
        let name = self.free_name(peer, message)?;
        let joined = json!({ "type": "joined", "id": id(peer), "name": name });
        self.tell_all(peer, &Prepared::new(joined.to_string()));
        self.names.insert(peer.id(), name);
        let people = self.names.iter().map(|(id, name)| (id.to_string(), name.as_str().into()));
        let welcome = json!({
            "type": "welcome", "id": id(peer), "people": people.collect::<Map<_, Value>>(),
            "history": self.history.len(),
            "limits": { "name": MAX_NAME, "text": MAX_TEXT, "file": MAX_FILE },
        });
        peer.send(welcome.to_string());
        for old in &self.history {
            peer.send_prepared(old);
        }
        Ok(())
    }

    fn pass_file(&mut self, peer: &mut Peer<'_>, message: &[u8]) -> Result<(), Fault> {
        let name = self.names.get(&peer.id()).ok_or(Fault::Violation("join first"))?;
        let (head, content) = split_file(message).ok_or(Fault::Violation("that is no file"))?;
        let field = |field| head[field].as_str().unwrap_or_default();
        let head = json!({
            "type": "file", "id": id(peer), "name": name, "time": now(),
            "file": clean(field("file")), "mime": field("mime"),
        })
        .to_string();
        // The head that came had 1 KiB at the most; were all of it escaped, this one would have 7.
        let length = u16::try_from(head.len()).unwrap_or(u16::MAX).to_be_bytes();
        let file = [&length, head.as_bytes(), content].concat();
        self.tell_all_and_keep(peer, Prepared::new(file));
        Ok(())
    }

    /// The name that is asked for, with a number if another has it already.
    fn free_name(&self, peer: &Peer<'_>, message: &Value) -> Result<String, Fault> {
        let wanted = clean(message["name"].as_str().unwrap_or_default());
        if wanted.is_empty() || wanted.chars().count() > MAX_NAME {
            return Err(Fault::Refused("A name has 1 to 24 characters."));
        }
        let is_taken = |name: &str| self.names.iter().any(|(&id, n)| id != peer.id() && n == name);
        let (mut name, mut number) = (wanted.clone(), 1);
        while is_taken(&name) {
            number += 1;
            name = format!("{wanted} {number}");
        }
        Ok(name)
    }

    fn tell_all_and_keep(&mut self, peer: &mut Peer<'_>, message: Prepared) {
        self.tell_all(peer, &message);
        self.history.push_back(message);
        while self.history.len() > HISTORY_MESSAGES
            || self.history.iter().map(Prepared::len).sum::<usize>() > HISTORY_BYTES
        {
            self.history.pop_front();
        }
    }

    fn tell_all(&self, peer: &mut Peer<'_>, message: &Prepared) {
        for &id in self.names.keys() {
            // Those who are closing are still here, but hear nothing.
            if let Some(mut other) = peer.to(id) {
                other.send_prepared(message);
                if other.buffered_amount() > MAX_UNREAD {
                    other.abort();
                }
            }
        }
    }
}

/// The head and the content of a file message, if it is one.
fn split_file(message: &[u8]) -> Option<(Value, &[u8])> {
    let (length, rest) = message.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (head, content) = rest.split_at_checked(length)?;
    let head: Value = serde_json::from_slice(head).ok()?;
    (length <= MAX_HEAD && head.is_object()).then_some((head, content))
}

/// A name without what is not seen, or would turn the text around it.
fn clean(name: &str) -> String {
    let is_unseen = |c: char| match c {
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{2069}' | '\u{feff}' => true,
        other => other.is_control(),
    };
    let seen: String = name.chars().filter(|&c| !is_unseen(c)).collect();
    // A joiner belongs between two others, as in emoji.
    seen.trim_matches(|c: char| c.is_whitespace() || c == '\u{200d}').to_owned()
}

fn id(peer: &Peer<'_>) -> String {
    peer.id().to_string()
}

/// That nobody may read this any more is no reason to end.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Milliseconds since 1970, as JavaScript counts them.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
