//! Three hundred clients of a cluster, which publish and count what arrives: `cluster_load URL...`, the
//! URLs of the nodes. tests/cluster/run tells it on the standard input what to do:
//!
//! | | |
//! |---|---|
//! | `linked GAPS` | waits until all are subscribed in the whole cluster, and each was told of so many gaps in time |
//! | `publish N` | publishes so many, and waits until each has reached all subscribers of its topic |
//! | `apart N` | the same while the nodes are apart: each reaches those on the node of its publisher |
//! | `close` | closes all connections and ends |
//!
//! Each is answered by a line of JSON with all that was counted by then.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::net::ToSocketAddrs;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, EventLoop, Handler, IncomingRequest, Message, Outcome, Peer, PeerId,
    Response, Server,
};
use serde_json::{Value, json};

const CLIENTS: usize = 300;
const TOPICS: usize = 30;
/// The last topics have all of their subscribers on one node.
const TOPICS_OF_ONE_NODE: usize = 2;
/// Messages that may be on their way at a time.
const WINDOW: u64 = 1500;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(150);

fn main() -> Result<(), Box<dyn Error>> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    if urls.is_empty() {
        return Err("usage: cluster_load URL...".into());
    }
    let mut load = Load::connect(&urls)?;
    for line in read_lines() {
        let (name, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number: u64 = number.parse()?;
        let begun = Instant::now();
        let done = match name {
            "linked" => load.wait(|counts| counts.are_linked(number))?,
            "publish" => load.publish(number, false)?,
            "apart" => load.publish(number, true)?,
            "close" => load.close()?,
            _ => return Err(format!("unknown command {line:?}").into()),
        };
        println!("{}", load.event_loop.handler().report(done, begun.elapsed()));
        std::io::stdout().flush()?;
        if name == "close" {
            break;
        }
    }
    Ok(())
}

fn read_lines() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Which topic a client subscribes to, and at which node it is.
fn place(client: usize, nodes: usize) -> (usize, usize) {
    let topic = client % TOPICS;
    let shared = TOPICS - TOPICS_OF_ONE_NODE;
    (topic, if topic < shared { client / TOPICS % nodes } else { (topic - shared) % nodes })
}

fn topic_name(topic: usize) -> String {
    format!("topic-{topic}")
}

struct Load {
    event_loop: EventLoop<Counts>,
    clients: Vec<PeerId>,
    nodes: usize,
    published: u64,
    /// What the counts must come to.
    due: u64,
}

impl Load {
    fn connect(urls: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut event_loop = Server::unbound().into_event_loop(Counts::default())?;
        let mut clients = Vec::new();
        let nodes = urls.len();
        for client in 0..CLIENTS {
            let (topic, node) = place(client, nodes);
            let url = Url::parse(&urls[node])?;
            let address = (url.host(), url.port())
                .to_socket_addrs()?
                .next()
                .ok_or("the URL resolves to nothing")?;
            let session = Session { topic: topic_name(topic), ..Session::default() };
            let request = ClientRequest::new(&url);
            clients.push(event_loop.peers().connect(address, request, &Config::new(), session)?);
        }
        Ok(Self { event_loop, clients, nodes, published: 0, due: 0 })
    }

    /// Whether it came true in time.
    fn wait(&mut self, done: impl Fn(&Counts) -> bool) -> Result<bool, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self.event_loop.handler()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.event_loop.run_once(Some(left))?;
        }
        Ok(true)
    }

    fn publish(&mut self, messages: u64, apart: bool) -> Result<bool, Box<dyn Error>> {
        let end = self.published + messages;
        let mut due_after = Vec::new();
        while self.published < end {
            let number = usize::try_from(self.published)?;
            let client = number % CLIENTS;
            let topic = (number / CLIENTS + client) % TOPICS;
            let at = place(client, self.nodes).1;
            let reaches = (0..CLIENTS)
                .map(|other| place(other, self.nodes))
                .filter(|&(other, node)| other == topic && (!apart || node == at))
                .count() as u64;
            let text = json!({ "publish": topic_name(topic), "data": self.published }).to_string();
            let mut peer = self.event_loop.peer(self.clients[client]).ok_or("a client is gone")?;
            if peer.send(text).is_dropped() {
                return Err("a node does not read".into());
            }
            self.published += 1;
            self.due += reaches;
            due_after.push(self.due);
            // What was due that many messages ago must have come before more are published.
            if let Some(at) = (due_after.len() as u64).checked_sub(WINDOW) {
                let due = due_after[usize::try_from(at)?];
                if !self.wait(|counts| counts.delivered >= due)? {
                    return Ok(false);
                }
            }
        }
        let due = self.due;
        self.wait(|counts| counts.delivered >= due)
    }

    fn close(&mut self) -> Result<bool, Box<dyn Error>> {
        self.event_loop.handler_mut().closing = true;
        for &id in &self.clients {
            if let Some(mut peer) = self.event_loop.peer(id) {
                peer.close(1000, "")?;
            }
        }
        self.wait(|counts| counts.gone == CLIENTS as u64)
    }
}

/// One client.
#[derive(Default)]
struct Session {
    topic: String,
    linked: bool,
    /// Gaps in time that it was told of.
    gaps: u64,
    /// The last number of each publisher that has come, or was said to be missing.
    last: HashMap<String, u64>,
    opened: bool,
}

#[derive(Default)]
struct Counts {
    opened: u64,
    /// How many clients are linked, and how many were told of how many gaps.
    linked: u64,
    gaps: HashMap<u64, u64>,
    delivered: u64,
    /// Messages that were said to be missing, once for each client.
    told_missing: u64,
    /// Numbers that were left out without a word.
    silently_missing: u64,
    repeated: u64,
    /// Of another topic than was asked for, or nothing that is known.
    strange: u64,
    closing: bool,
    /// Connections that ended before they should.
    lost: u64,
    gone: u64,
}

impl Counts {
    fn are_linked(&self, gaps: u64) -> bool {
        let all = CLIENTS as u64;
        self.linked == all && (gaps == 0 || self.gaps.get(&gaps) == Some(&all))
    }

    fn report(&self, done: bool, took: Duration) -> Value {
        json!({
            "done": done,
            "seconds": took.as_secs_f64(),
            "opened": self.opened,
            "linked": self.linked,
            "delivered": self.delivered,
            "gaps": self.gaps.iter().map(|(n, clients)| n * clients).sum::<u64>(),
            "told_missing": self.told_missing,
            "silently_missing": self.silently_missing,
            "repeated": self.repeated,
            "strange": self.strange,
            "lost": self.lost,
        })
    }

    fn count(&mut self, session: &mut Session, message: &Value) {
        let topic = session.topic.as_str();
        let is_linked = match message {
            _ if message["topic"] == topic => {
                let (Some(publisher), Some(number)) =
                    (message["publisher"].as_str(), message["number"].as_u64())
                else {
                    self.strange += 1;
                    return;
                };
                let last = session.last.entry(publisher.to_owned()).or_default();
                if number <= *last {
                    self.repeated += 1;
                    return;
                }
                self.silently_missing += number - *last - 1;
                *last = number;
                self.delivered += 1;
                return;
            }
            _ if message["gap"]["topic"] == topic => {
                return self.count_gap(session, &message["gap"]);
            }
            _ if message["subscribed"] == topic => message["linked"] == true,
            _ if message["linked"] == topic => true,
            _ if message["unlinked"] == topic => false,
            _ => {
                self.strange += 1;
                eprintln!("strange: {message}");
                return;
            }
        };
        self.linked -= u64::from(session.linked);
        session.linked = is_linked;
        self.linked += u64::from(is_linked);
    }

    fn count_gap(&mut self, session: &mut Session, gap: &Value) {
        if gap["milliseconds"].is_u64() {
            *self.gaps.entry(session.gaps).or_default() -= u64::from(session.gaps > 0);
            session.gaps += 1;
            *self.gaps.entry(session.gaps).or_default() += 1;
            return;
        }
        let (Some(publisher), Some(from), Some(to)) =
            (gap["publisher"].as_str(), gap["from"].as_u64(), gap["to"].as_u64())
        else {
            self.strange += 1;
            return;
        };
        let last = session.last.entry(publisher.to_owned()).or_default();
        // It must say what is missing, no more and no less.
        if from == *last + 1 && to >= from {
            self.told_missing += to - *last;
            *last = to;
        } else {
            self.strange += 1;
            eprintln!("a gap from {from} to {to} of {publisher}, of which {last} was the last");
        }
    }
}

impl Handler for Counts {
    type Session = Session;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Session> {
        // It does not listen.
        Decision::reject(Response::not_found())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Session>) {
        self.opened += 1;
        peer.session_mut().opened = true;
        let topic = peer.session().topic.clone();
        peer.send(json!({ "subscribe": topic }).to_string());
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Session>, message: Message<'_>) {
        let value = message.as_text().and_then(|text| serde_json::from_str(text).ok());
        self.count(peer.session_mut(), &value.unwrap_or_default());
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Session>, outcome: &Outcome) {
        self.gone += 1;
        if !self.closing || !peer.session().opened {
            self.lost += 1;
            eprintln!("a connection ended: {outcome:?}");
        }
        self.linked -= u64::from(peer.session().linked);
        peer.session_mut().linked = false;
    }
}
