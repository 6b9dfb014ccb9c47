//! Rooms, ids and acknowledgements, the page included: `rooms_with_acks [ADDR] [ACK_TIMEOUT_MS]`, then
//! open the address that it prints in two windows. What socket.io is used for, on plain WebSocket.
//!
//! Each text message is a JSON object, of one of two kinds, in both directions:
//!
//! | | |
//! |---|---|
//! | `{"event": NAME, "data": {…}, "ack": N}` | an event; who gave it a number `N` wants an answer |
//! | `{"ack": N, "data": {…}}` or `{"ack": N, "error": TEXT, …}` | the answer |
//!
//! | a client says | with | its answer |
//! |---|---|---|
//! | `join` | `room` | `room`, `count`, `members` (50 at the most) |
//! | `leave` | `room` | `room` |
//! | `say` | `room`, `text` | `reached`: to how many others it was sent |
//! | `ask` | `text`, and `room` or `id` | `answers`, by id, when all have answered; else an `error`, with the `answers` that came and who is `missing` |
//! | `ping` | | `{}` |
//!
//! A client hears `welcome` (`id`), `joined` and `left` (`room`, `id`, `count`), `said` (`room`, `from`,
//! `text`), and `asked` (`from`, `text`, perhaps `room`), which has a number and is to be answered.
//!
//! What arrives is at most once, as in socket.io: who gets no answer cannot know whether the event
//! arrived. Ids are new with each connection and known to whoever is in the same room; they are no
//! secrets, and no proof of anything.

#[path = "support/page.rs"]
mod page;
#[path = "support/signals.rs"]
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use framewire::{
    Audience, CloseCode, Config, Decision, Entropy, Handler, HttpAnswer, IncomingRequest, Message,
    Outcome, Peer, PeerId, Peers, Prepared, Response, Server, State, Subscribed, SystemEntropy,
    Timer, TimerId,
};
use serde_json::{Map, Value, json};

const MAX_ROOMS: usize = 32;
const MAX_ROOM_NAME: usize = 64;
const MAX_TEXT: usize = 4000;
const MAX_MESSAGE: usize = 32 << 10;

/// Whom `join` tells of, at the most.
const MAX_MEMBERS: usize = 50;

/// What may be open at a time: the questions of one connection, and those who are asked by one.
const MAX_QUESTIONS: usize = 16;
const MAX_ASKED: usize = 256;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let milliseconds = arguments.next().map_or(Ok(5000), |text| text.parse());
    let milliseconds = milliseconds.map_err(|error| {
        let text = format!("the time for acknowledgements, in milliseconds: {error}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    // Pages from elsewhere must not speak in the name of whoever looks at them (RFC 6455 section 10.2).
    let config = Config::new().path("/rooms").same_origin().max_message_size(MAX_MESSAGE);
    let server = Server::bind(address)?.config(config).max_topics(MAX_ROOMS);
    let address = server.local_addr()?;
    let mut event_loop = server.into_event_loop(Rooms::new(Duration::from_millis(milliseconds)))?;
    signals::shut_down_on_signals(event_loop.handle())?;
    // Whoever reads this may send the signal at once.
    println!("listening on http://{address}");
    io::stdout().flush()?;
    event_loop.run()?;
    if let Some(report) = event_loop.shutdown_report() {
        println!("{report}");
    }
    Ok(())
}

/// What is known of a connection; its rooms are its topics.
struct Session {
    /// Its id, as the others see it.
    id: String,
    /// The questions that it has not answered.
    asked: BTreeSet<u64>,
    /// How many of its own are open.
    asking: usize,
}

struct Rooms {
    entropy: SystemEntropy,
    ack_timeout: Duration,
    ids: BTreeMap<String, PeerId>,
    /// Who is in a room. The topics know it too, but only count.
    members: BTreeMap<String, BTreeSet<String>>,
    /// By number, which their timers have as tokens.
    questions: BTreeMap<u64, Question>,
    next_question: u64,
}

/// An event that waits for acknowledgements.
struct Question {
    asker: PeerId,
    /// The asker's number for it.
    ack: u64,
    timer: TimerId,
    answers: Map<String, Value>,
    missing: Vec<(PeerId, String)>,
}

impl Question {
    fn answer(&self, why_incomplete: &str) -> String {
        let mut answer = json!({ "ack": self.ack });
        if self.missing.is_empty() {
            answer["data"] = json!({ "answers": self.answers });
        } else {
            answer["error"] = why_incomplete.into();
            answer["answers"] = self.answers.clone().into();
            answer["missing"] = self.missing.iter().map(|(_, id)| id.as_str()).collect();
        }
        answer.to_string()
    }
}

/// Why an event is not obeyed.
enum Fault {
    /// It can happen to a good client: the answer says why, where one is wanted.
    Refused(String),
    /// Our page does not send such a thing: whoever did is disconnected.
    Violation(&'static str),
}

impl Handler for Rooms {
    type Session = Session;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Session> {
        let mut random = [0; 8];
        if self.entropy.fill(&mut random).is_err() {
            return Decision::reject(Response::service_unavailable());
        }
        let id = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Decision::accept(Session { id, asked: BTreeSet::new(), asking: 0 })
    }

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        let response = match request.path() {
            "/" => page::asset("text/html", include_str!("rooms_with_acks/page.html")),
            "/page.css" => page::style(include_str!("rooms_with_acks/page.css")),
            "/page.js" => page::asset("text/javascript", include_str!("rooms_with_acks/page.js")),
            "/link.js" => page::asset("text/javascript", include_str!("rooms_with_acks/link.js")),
            "/closing.js" => page::closing(),
            "/rooms" => Response::upgrade_required(),
            "/favicon.ico" => Response::new(204),
            _ => Response::not_found(),
        };
        response.into()
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Session>) {
        let id = peer.session().id.clone();
        let welcome = json!({
            "event": "welcome",
            "data": { "id": id, "ack_timeout": milliseconds(self.ack_timeout) },
        });
        peer.send(welcome.to_string());
        self.ids.insert(id, peer.id());
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Session>, message: Message<'_>) {
        if peer.state() != State::Open {
            return; // It was told to leave.
        }
        if let Err(violation) = self.hear(peer, &message) {
            // It is open and the reason is short: nothing else could fail.
            drop(peer.close(CloseCode::POLICY_VIOLATION, violation));
        }
    }

    /// Somebody has asked and has waited long enough: tells what has come by now.
    fn on_timer(&mut self, peers: &mut Peers<'_, Session>, timer: Timer) {
        let number = timer.token();
        let Some(question) = self.questions.remove(&number) else { return };
        for &(id, _) in &question.missing {
            if let Some(mut peer) = peers.get(id) {
                peer.session_mut().asked.remove(&number);
            }
        }
        if let Some(mut asker) = peers.get(question.asker) {
            asker.session_mut().asking -= 1;
            asker.send(question.answer("not all have answered in time"));
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Session>, _outcome: &Outcome) {
        // It is still in its rooms here.
        let rooms: Vec<String> = peer.topics().map(str::to_owned).collect();
        for room in rooms {
            self.leave(peer, &room);
        }
        let id = peer.session().id.clone();
        self.ids.remove(&id);
        for number in std::mem::take(&mut peer.session_mut().asked) {
            // It stays missing: there is nobody to wait for any more.
            self.settle(peer, number);
        }
    }
}

impl Rooms {
    fn new(ack_timeout: Duration) -> Self {
        Self {
            entropy: SystemEntropy::new(),
            ack_timeout,
            ids: BTreeMap::new(),
            members: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_question: 1,
        }
    }

    /// Takes one message apart; an `Err` is a violation.
    fn hear(
        &mut self,
        peer: &mut Peer<'_, Session>,
        message: &Message<'_>,
    ) -> Result<(), &'static str> {
        let text = message.as_text().ok_or("messages are texts here")?;
        let message = serde_json::from_str::<Value>(text).map_err(|_| "the text is not JSON")?;
        let ack = match &message["ack"] {
            Value::Null => None,
            number => Some(number.as_u64().ok_or("an ack is a number from 0 up")?),
        };
        match (message["event"].as_str(), ack) {
            (Some(event), ack) => match self.obey(peer, event, &message["data"], ack) {
                Ok(Some(data)) => reply(peer, ack, json!({ "data": data })),
                Ok(None) => {} // The answer comes later.
                Err(Fault::Refused(error)) => reply(peer, ack, json!({ "error": error })),
                Err(Fault::Violation(reason)) => return Err(reason),
            },
            (None, Some(number)) => self.take_answer(peer, number, &message["data"]),
            (None, None) => return Err("neither an event nor an answer"),
        }
        Ok(())
    }

    fn obey(
        &mut self,
        peer: &mut Peer<'_, Session>,
        event: &str,
        data: &Value,
        ack: Option<u64>,
    ) -> Result<Option<Value>, Fault> {
        match event {
            "join" => self.join(peer, room_name(data)?).map(Some),
            "leave" => {
                let room = room_name(data)?;
                if !self.leave(peer, room) {
                    return Err(not_inside(room));
                }
                Ok(Some(json!({ "room": room })))
            }
            "say" => {
                let (room, text) = (room_name(data)?, text_of(data)?);
                if !peer.is_subscribed(room) {
                    return Err(not_inside(room));
                }
                let from = peer.session().id.clone();
                let said = json!({ "room": room, "from": from, "text": text });
                let reached = peer
                    .publish(Audience::topic(room).except(peer.id()), event_text("said", &said));
                Ok(Some(json!({ "reached": reached })))
            }
            "ask" => {
                let ack = ack.ok_or(Fault::Violation("a question without a number"))?;
                self.ask(peer, data, ack).map(|()| None)
            }
            "ping" => Ok(Some(json!({}))),
            _ => Err(Fault::Violation("unknown event")),
        }
    }

    fn join(&mut self, peer: &mut Peer<'_, Session>, room: &str) -> Result<Value, Fault> {
        let id = peer.session().id.clone();
        let subscribed = peer.subscribe(room);
        if let Subscribed::Refused(error) = subscribed {
            return Err(Fault::Refused(error.to_string()));
        }
        let members = self.members.entry(room.to_owned()).or_default();
        members.insert(id.clone());
        let count = members.len();
        let members: Vec<_> = members.iter().take(MAX_MEMBERS).collect();
        if subscribed.is_new() {
            let joined = json!({ "room": room, "id": id, "count": count });
            peer.publish(Audience::topic(room).except(peer.id()), event_text("joined", &joined));
        }
        Ok(json!({ "room": room, "count": count, "members": members }))
    }

    /// Whether it was in that room.
    fn leave(&mut self, peer: &mut Peer<'_, Session>, room: &str) -> bool {
        if !peer.unsubscribe(room) {
            return false;
        }
        let id = peer.session().id.clone();
        if let Some(members) = self.members.get_mut(room) {
            members.remove(&id);
            let count = members.len();
            if count == 0 {
                self.members.remove(room);
            }
            let left = json!({ "room": room, "id": id, "count": count });
            peer.publish(Audience::topic(room).except(peer.id()), event_text("left", &left));
        }
        true
    }

    /// Passes a question on, to one or to a room, and notes whose answers it waits for.
    fn ask(&mut self, peer: &mut Peer<'_, Session>, data: &Value, ack: u64) -> Result<(), Fault> {
        let text = text_of(data)?;
        let from = peer.session().id.clone();
        if peer.session().asking >= MAX_QUESTIONS {
            return Err(Fault::Refused("too many questions are open".into()));
        }
        let (names, room) = match data["id"].as_str() {
            Some(id) if self.ids.contains_key(id) => (vec![id.to_owned()], None),
            Some(id) => return Err(Fault::Refused(format!("unknown id {id:?}"))),
            None => {
                let room = room_name(data)?;
                if !peer.is_subscribed(room) {
                    return Err(not_inside(room));
                }
                let members = self.members.get(room).into_iter().flatten();
                (members.filter(|&id| *id != from).cloned().collect(), Some(room))
            }
        };
        if names.len() > MAX_ASKED {
            return Err(Fault::Refused(format!("{} are too many to ask", names.len())));
        }
        let mut asked = json!({ "from": from, "text": text });
        if let Some(room) = room {
            asked["room"] = room.into();
        }
        let number = self.next_question;
        self.next_question += 1;
        let event = json!({ "event": "asked", "data": asked, "ack": number });
        // The same bytes for all of them.
        let event = Prepared::new(event.to_string());
        let mut missing = Vec::with_capacity(names.len());
        for name in names {
            let Some(&id) = self.ids.get(&name) else { continue };
            // Who is closing, or takes nothing more, stays missing.
            if let Some(mut other) = peer.to(id)
                && !other.send_prepared(&event).is_dropped()
            {
                other.session_mut().asked.insert(number);
            }
            missing.push((id, name));
        }
        peer.session_mut().asking += 1;
        let timer = peer.peers().set_timer(self.ack_timeout, number);
        let asker = peer.id();
        self.questions.insert(number, Question { asker, ack, timer, answers: Map::new(), missing });
        self.settle(peer, number);
        Ok(())
    }

    /// An answer that comes too late, or twice, is nobody's.
    fn take_answer(&mut self, peer: &mut Peer<'_, Session>, number: u64, data: &Value) {
        if !peer.session_mut().asked.remove(&number) {
            return;
        }
        if let Some(question) = self.questions.get_mut(&number) {
            let id = peer.id();
            if let Some(at) = question.missing.iter().position(|&(missing, _)| missing == id) {
                let (_, name) = question.missing.swap_remove(at);
                question.answers.insert(name, data.clone());
            }
            self.settle(peer, number);
        }
    }

    /// Answers the asker once nobody is left to wait for.
    fn settle(&mut self, peer: &mut Peer<'_, Session>, number: u64) {
        let Some(question) = self.questions.get(&number) else { return };
        let mut is_awaited = |id: PeerId| match peer.to(id) {
            Some(other) => other.session().asked.contains(&number),
            None => false,
        };
        if question.missing.iter().map(|&(id, _)| id).any(&mut is_awaited) {
            return;
        }
        let Some(question) = self.questions.remove(&number) else { return };
        peer.cancel_timer(question.timer);
        if let Some(mut asker) = peer.to(question.asker) {
            asker.session_mut().asking -= 1;
            asker.send(question.answer("not all are there any more"));
        }
    }
}

fn reply(peer: &mut Peer<'_, Session>, ack: Option<u64>, mut answer: Value) {
    if let Some(number) = ack {
        answer["ack"] = number.into();
        peer.send(answer.to_string());
    }
}

fn event_text(event: &str, data: &Value) -> String {
    json!({ "event": event, "data": data }).to_string()
}

fn room_name(data: &Value) -> Result<&str, Fault> {
    let room = data["room"].as_str().unwrap_or_default();
    if room.is_empty() || room.len() > MAX_ROOM_NAME || room.chars().any(char::is_control) {
        return Err(Fault::Refused(format!("a room's name has 1 to {MAX_ROOM_NAME} bytes")));
    }
    Ok(room)
}

fn text_of(data: &Value) -> Result<&str, Fault> {
    let text = data["text"].as_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(Fault::Refused(format!("a text has 1 to {MAX_TEXT} bytes")));
    }
    Ok(text)
}

fn not_inside(room: &str) -> Fault {
    Fault::Refused(format!("you are not in {room:?}"))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
