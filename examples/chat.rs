//! A chat room, its page included: `chat [ADDR]`, then open the address that it prints.
//!
//! Texts are JSON objects with a `type`. A page says `join` and `rename` with a `name`, and `say` with
//! a `text`; it hears `welcome`, `joined`, `renamed`, `left`, `said` and `refused`. A binary message is
//! a file: the length of its head in two bytes, the head in JSON, the content.

#[path = "support/page.rs"]
mod page;
#[path = "support/serving.rs"]
mod serving;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use framewire::deflate::DeflateConfig;
use framewire::{
    CloseCode, Config, Decision, Handler, HttpAnswer, IncomingRequest, Message, Outcome, Peer,
    PeerId, Prepared, Response, Server, State,
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

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let config = Config::new()
        .path("/chat")
        // So haproxy asks whether a server is well, unless it is told to use GET.
        .http_methods(["OPTIONS"])
        .deflate(DeflateConfig::new())
        .max_message_size(MAX_FILE + MAX_HEAD)
        .first_message_timeout(Duration::from_secs(10));
    let server = Server::bind(address)?.config(config);
    serving::run("http", server.into_event_loop(Chat::default())?)
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

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        // Pages from elsewhere must not speak in the name of whoever looks at them (RFC 6455 section
        // 10.2). What is no browser sends no origin.
        let host = request.host().as_bytes();
        let is_own = |origin: &[u8]| origin.rsplit(|&byte| byte == b'/').next() == Some(host);
        if !request.origin().is_none_or(is_own) {
            return Decision::reject(Response::forbidden());
        }
        Decision::accept(())
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        let response = match request.path() {
            _ if request.method() == "OPTIONS" => Response::new(204),
            "/" => page::asset("text/html", include_str!("chat/page.html")),
            "/page.css" => page::asset("text/css", include_str!("chat/page.css")),
            "/page.js" => page::asset("text/javascript", include_str!("chat/page.js")),
            "/chat" => Response::upgrade_required(),
            "/favicon.ico" => Response::new(204),
            _ => Response::not_found(),
        };
        response.into()
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
        // That nobody may read this any more is no reason to end.
        let _ = writeln!(io::stdout(), "{name:?} left: {outcome}; code {code}, reason {reason:?}");
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

/// Milliseconds since 1970, as JavaScript counts them.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
