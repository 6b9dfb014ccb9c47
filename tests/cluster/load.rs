//! The clients of tests/cluster/run: `cluster_load CLIENTS TOPICS LOG URL...`, the URLs of the nodes.
//!
//! Each client subscribes to one topic and is present in it. One that loses its connection connects to the next node, resumes
//! after the last message that it has, and publishes again what was not answered. What each client was told goes to the log, a
//! line each; the checker judges that, this program does not.
//!
//! | line | |
//! |---|---|
//! | `s CLIENT EPOCH OFFSET RECOVERED GAP` | subscribed; the gap is `-`, `epoch`, or `FROM-TO` |
//! | `m CLIENT EPOCH OFFSET NUMBER` | a message |
//! | `g CLIENT GAP` | a gap of the node |
//! | `p NUMBER TOPIC EPOCH OFFSET` | a publication was answered |
//!
//! Commands come on the standard input, and each is answered by a line of JSON:
//!
//! | | |
//! |---|---|
//! | `subscribed` | waits until all clients are |
//! | `publish N` | publishes so many, and says `{"at": …}` twenty times; answered when Redis has all of them. It goes no further than the next of these before it is told `go` |
//! | `level` | waits until each client has the newest message of its topic |
//! | `present` | waits until each topic has its clients as members, and nobody else |

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, EventLoop, Handler, IncomingRequest, Message, Outcome, Peer, PeerId,
    Response, Server,
};
use serde_json::{Value, json};

/// Publications that may wait for an answer.
const WINDOW: usize = 2000;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long a client waits before it connects again.
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [clients, topics, log, urls @ ..] = &arguments[..] else {
        return Err("usage: cluster_load CLIENTS TOPICS LOG URL...".into());
    };
    let mut load = Load::new(clients.parse()?, topics.parse()?, log, urls)?;
    while let Ok(line) = load.lines.recv() {
        let (name, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let begun = Instant::now();
        let done = match name {
            "subscribed" => load.wait(|book| book.subscribed == book.clients.len())?,
            "publish" => load.publish(number.parse()?)?,
            "level" => load.wait(Book::is_level)?,
            "present" => load.wait_present()?,
            _ => return Err(format!("unknown command {line:?}").into()),
        };
        load.event_loop.handler_mut().log.flush()?;
        let book = load.event_loop.handler();
        say(&json!({
            "done": done, "seconds": begun.elapsed().as_secs_f64(), "messages": book.messages,
            "reconnects": book.reconnects, "gaps": book.gaps, "full": book.full,
        }));
    }
    Ok(())
}

fn say(value: &Value) {
    println!("{value}");
    let _ = std::io::stdout().flush();
}

struct Load {
    event_loop: EventLoop<Book>,
    /// Of the standard input.
    lines: Receiver<String>,
    urls: Vec<(Url, SocketAddr)>,
    published: u64,
}

/// One client, over all of its connections.
struct Client {
    peer: Option<PeerId>,
    subscribed: bool,
    /// The last message that it has.
    position: Option<(String, u64)>,
    /// The node that it tries next.
    node: usize,
}

/// What all clients know, and the log of it.
struct Book {
    clients: Vec<Client>,
    topics: usize,
    log: BufWriter<File>,
    subscribed: usize,
    messages: u64,
    reconnects: u64,
    gaps: u64,
    full: u64,
    /// Clients that have to connect, and when.
    away: VecDeque<(Instant, usize)>,
    /// What was not answered: the number, and its client.
    waiting: BTreeMap<u64, usize>,
    /// What the server had no room for.
    again: Vec<u64>,
    /// The highest offset of each topic that was told to anybody: in the end it is one of the last epoch.
    newest: HashMap<usize, u64>,
    /// The members that a topic was told to have.
    members: HashMap<usize, BTreeSet<String>>,
}

impl Load {
    fn new(
        clients: usize,
        topics: usize,
        log: &str,
        urls: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let urls = urls.iter().map(|url| {
            let url = Url::parse(url)?;
            let address = format!("{}:{}", url.host(), url.port()).parse()?;
            Ok::<_, Box<dyn Error>>((url, address))
        });
        let urls: Vec<_> = urls.collect::<Result<_, _>>()?;
        let now = Instant::now();
        let book = Book {
            clients: (0..clients)
                .map(|client| Client {
                    peer: None,
                    subscribed: false,
                    position: None,
                    node: client / topics % urls.len(),
                })
                .collect(),
            topics,
            log: BufWriter::new(File::create(log)?),
            subscribed: 0,
            messages: 0,
            reconnects: 0,
            gaps: 0,
            full: 0,
            away: (0..clients).map(|client| (now, client)).collect(),
            waiting: BTreeMap::new(),
            again: Vec::new(),
            newest: HashMap::new(),
            members: HashMap::new(),
        };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok())
        });
        let event_loop = Server::unbound().into_event_loop(book)?;
        Ok(Self { event_loop, lines, urls, published: 0 })
    }

    /// One turn of the loop, and of those who have to connect.
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        while let Some(&(due, client)) = self.event_loop.handler().away.front()
            && due <= now
        {
            let book = self.event_loop.handler_mut();
            book.away.pop_front();
            let (url, address) = &self.urls[book.clients[client].node % self.urls.len()];
            book.clients[client].node += 1;
            let config = Config::new().ping_interval(None);
            let request = ClientRequest::new(&Url::parse(&format!("{url}?name=client-{client}"))?);
            let peer = self.event_loop.peers().connect(*address, request, &config, client);
            match peer {
                Ok(peer) => self.event_loop.handler_mut().clients[client].peer = Some(peer),
                Err(_) => self.event_loop.handler_mut().away.push_back((now + PAUSE, client)),
            }
        }
        for number in std::mem::take(&mut self.event_loop.handler_mut().again) {
            self.send(number);
        }
        self.event_loop.run_once(Some(Duration::from_millis(10)))?;
        Ok(())
    }

    /// Whether it came true in time.
    fn wait(&mut self, done: impl Fn(&Book) -> bool) -> Result<bool, Box<dyn Error>> {
        let end = Instant::now() + PATIENCE;
        while !done(self.event_loop.handler()) {
            if Instant::now() > end {
                return Ok(false);
            }
            self.turn()?;
        }
        Ok(true)
    }

    fn publish(&mut self, count: u64) -> Result<bool, Box<dyn Error>> {
        let end = self.published + count;
        while self.published < end {
            if !self.wait(|book| book.waiting.len() < WINDOW)? {
                return Ok(false);
            }
            let number = self.published;
            let book = self.event_loop.handler_mut();
            let client = usize::try_from(number)? % book.clients.len();
            book.waiting.insert(number, client);
            self.send(number);
            self.published += 1;
            if number.is_multiple_of((count / 20).max(1)) {
                if number > 0 {
                    self.wait_for_word()?;
                }
                say(&json!({ "at": number }));
            }
        }
        self.wait_for_word()?;
        self.wait(|book| book.waiting.is_empty())
    }

    fn wait_for_word(&mut self) -> Result<(), Box<dyn Error>> {
        while self.lines.try_recv().is_err() {
            self.turn()?;
        }
        Ok(())
    }

    /// Has the client of a publication send it, if it is subscribed; otherwise it does when it is.
    fn send(&mut self, number: u64) {
        let book = self.event_loop.handler();
        let Some(&client) = book.waiting.get(&number) else { return };
        let (topics, peer) = (book.topics, book.clients[client].peer);
        if book.clients[client].subscribed
            && let Some(mut peer) = peer.and_then(|peer| self.event_loop.peer(peer))
        {
            peer.send(publication(number, client, topics));
        }
    }

    fn wait_present(&mut self) -> Result<bool, Box<dyn Error>> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let (clients, topics) =
                (self.event_loop.handler().clients.len(), self.event_loop.handler().topics);
            self.event_loop.handler_mut().members.clear();
            for topic in 0..topics {
                let asked = json!({ "members": format!("topic-{topic}"), "id": "m" }).to_string();
                let peer = self.event_loop.handler().clients[topic % clients].peer;
                if let Some(mut peer) = peer.and_then(|peer| self.event_loop.peer(peer)) {
                    peer.send(asked);
                }
            }
            if !self.wait(|book| book.members.len() == topics)? {
                return Ok(false);
            }
            let is_exact = (0..topics).all(|topic| {
                let names =
                    (topic..clients).step_by(topics).map(|client| format!("client-{client}"));
                self.event_loop.handler().members[&topic] == names.collect()
            });
            if is_exact {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn publication(number: u64, client: usize, topics: usize) -> String {
    let topic = format!("topic-{}", topic_of_number(number, client, topics));
    json!({ "publish": topic, "data": number, "id": number, "key": number.to_string() }).to_string()
}

/// Not always the publisher's own topic.
fn topic_of_number(number: u64, client: usize, topics: usize) -> usize {
    (client + usize::try_from(number).unwrap_or_default() / 7) % topics
}

impl Book {
    fn is_level(&self) -> bool {
        self.subscribed == self.clients.len()
            && self.clients.iter().enumerate().all(|(client, state)| {
                self.newest.get(&(client % self.topics)).is_none_or(|newest| {
                    state.position.as_ref().is_some_and(|(_, at)| at == newest)
                })
            })
    }

    fn note_newest(&mut self, topic: usize, offset: u64) {
        let newest = self.newest.entry(topic).or_default();
        *newest = offset.max(*newest);
    }

    fn hear(&mut self, peer: &mut Peer<'_, usize>, told: &Value) -> std::io::Result<()> {
        let client = *peer.session();
        let (epoch, offset) =
            (told["epoch"].as_str().unwrap_or("-"), told["offset"].as_u64().unwrap_or(0));
        let topic = client % self.topics;
        if told["error"].is_object() {
            if told["error"]["code"] == "full" {
                self.full += 1;
                self.again.extend(told["id"].as_u64());
            } else {
                eprintln!("client {client}: {told}");
            }
        } else if told["welcome"].is_object() {
            let mut asked = json!({ "subscribe": format!("topic-{topic}"), "join": true });
            if let Some((epoch, offset)) = &self.clients[client].position {
                asked["epoch"] = epoch.as_str().into();
                asked["offset"] = (*offset).into();
            }
            peer.send(asked.to_string());
        } else if told["subscribed"].is_string() {
            let gap = gap_of(&told["gap"]);
            self.gaps += u64::from(gap != "-");
            writeln!(self.log, "s {client} {epoch} {offset} {} {gap}", told["recovered"])?;
            // What is recovered comes next, and ends at this offset.
            let recovered = told["recovered"].as_u64().unwrap_or(0);
            let state = &mut self.clients[client];
            state.position = Some((epoch.to_owned(), offset - recovered));
            state.subscribed = true;
            self.subscribed += 1;
            let waiting = self.waiting.iter().filter(|&(_, &of)| of == client);
            for (&number, _) in waiting {
                peer.send(publication(number, client, self.topics));
            }
        } else if told["published"].is_string() {
            let number = told["id"].as_u64().unwrap_or(0);
            if self.waiting.remove(&number).is_some() {
                let topic = topic_of_number(number, client, self.topics);
                self.note_newest(topic, offset);
                writeln!(self.log, "p {number} {topic} {epoch} {offset}")?;
            }
        } else if told["gap"].is_object() {
            self.gaps += 1;
            writeln!(self.log, "g {client} {}", gap_of(&told["gap"]))?;
        } else if told["topic"].is_string() {
            self.messages += 1;
            self.note_newest(topic, offset);
            self.clients[client].position = Some((epoch.to_owned(), offset));
            writeln!(self.log, "m {client} {epoch} {offset} {}", told["data"])?;
        } else if let Some(list) = told["list"].as_array()
            && let Some(name) = told["members"].as_str()
        {
            let topic = name.rsplit('-').next().and_then(|number| number.parse().ok());
            let users = list.iter().filter_map(|member| member["user"].as_str());
            self.members.insert(topic.unwrap_or(0), users.map(str::to_owned).collect());
        }
        Ok(())
    }
}

fn gap_of(gap: &Value) -> String {
    match (gap["why"].as_str(), &gap["from"], &gap["to"]) {
        (Some("trimmed"), from, to) => format!("{from}-{to}"),
        (Some(why), ..) => why.to_owned(),
        (None, ..) => "-".into(),
    }
}

impl Handler for Book {
    /// Which client it is.
    type Session = usize;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<usize> {
        // It does not listen.
        Decision::reject(Response::not_found())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, usize>, message: Message<'_>) {
        let told = message.as_text().and_then(|text| serde_json::from_str(text).ok());
        if let Err(error) = self.hear(peer, &told.unwrap_or_default()) {
            eprintln!("the log: {error}");
            std::process::exit(1);
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, usize>, _outcome: &Outcome) {
        let client = *peer.session();
        let state = &mut self.clients[client];
        state.peer = None;
        self.subscribed -= usize::from(std::mem::take(&mut state.subscribed));
        self.reconnects += 1;
        self.away.push_back((Instant::now() + PAUSE, client));
    }
}
