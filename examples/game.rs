//! A world that moves 60 times a second, and everybody in it sees it: `game [ADDR]`. A client writes `left` or
//! `right`, and hears where all are.
//!
//! `game --load [CLIENTS] [SECONDS]` plays by itself, by default with 500 clients for 10 s, and prints how many ticks
//! there were, how many were lost, and how late they were.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Peers, Prepared, Server,
    Timer,
};

const TICK: u64 = 1;
const END: u64 = 2;
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// Where somebody is.
type Place = i64;

#[derive(Default)]
struct Game {
    /// How many periods have ended, those included for which the loop was late.
    age: u64,
    /// When it is to end, if it is.
    seconds: Option<u64>,
    began: Option<Instant>,
    /// How late each call was, in microseconds, and how many ticks were not called by themselves.
    late: Vec<u64>,
    joined: u64,
    clients: usize,
}

impl Handler for Game {
    type Session = Place;

    fn on_start(&mut self, peers: &mut Peers<'_, Place>) {
        if self.seconds.is_none() {
            peers.set_interval(PERIOD, TICK);
        }
    }

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Place> {
        Decision::accept(0)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Place>) {
        // The measurement begins when all are there.
        if let Some(seconds) = self.seconds
            && peer.peers().len() == self.clients
        {
            let mut peers = peer.peers();
            peers.set_interval(PERIOD, TICK);
            peers.set_timer(Duration::from_secs(seconds), END);
            self.began = Some(Instant::now());
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Place>, message: Message<'_>) {
        match message.as_text() {
            Some("left") => *peer.session_mut() -= 1,
            Some("right") => *peer.session_mut() += 1,
            _ => {}
        }
    }

    fn on_timer(&mut self, peers: &mut Peers<'_, Place>, timer: Timer) {
        if timer.token() == END {
            let sendable = peers.handle().shutdown(1001, "the game is over", PERIOD * 60);
            sendable.expect("the code may be sent");
            return;
        }
        self.age += timer.periods();
        self.joined += timer.periods() - 1;
        self.late.push(u64::try_from(timer.late().as_micros()).unwrap_or(u64::MAX));
        let mut crowd = BTreeMap::<Place, usize>::new();
        peers.for_each(|peer| *crowd.entry(*peer.session()).or_default() += 1);
        // Encoded once; to those who do not keep up only the newest counts, and the rest is dropped.
        let world = Prepared::from(format!("{} {crowd:?}", self.age));
        peers.for_each(|peer| drop(peer.send_prepared(&world)));
    }
}

impl Game {
    fn report(&mut self) {
        let elapsed = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let due = elapsed.as_nanos() / PERIOD.as_nanos();
        println!("{} ticks in {elapsed:.2?}, {} lost", self.age, due.abs_diff(self.age.into()));
        println!("{} were joined to the next, since the loop was late", self.joined);
        self.late.sort_unstable();
        for percent in [50, 90, 99, 100] {
            let at = (self.late.len() * percent / 100).clamp(1, self.late.len().max(1)) - 1;
            let late = self.late.get(at).copied().unwrap_or_default();
            println!("{percent} % at most {late} µs late");
        }
    }
}

/// The clients of a measurement, in a loop of their own.
#[derive(Default)]
struct Players {
    messages: u64,
}

impl Handler for Players {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        peer.set_interval(PERIOD * 6, TICK);
    }

    fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {
        self.messages += 1;
    }

    fn on_peer_timer(&mut self, peer: &mut Peer<'_>, timer: Timer) {
        let turn = peer.id().as_u64() + timer.periods();
        peer.send(if turn.is_multiple_of(2) { "left" } else { "right" });
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, _outcome: &Outcome) {
        if peer.peers().connections() == 1 {
            // The code may be sent, so there is no error.
            let _ = peer.handle().shutdown(1000, "", Duration::ZERO);
        }
    }
}

fn play(address: SocketAddr, clients: usize) -> std::io::Result<u64> {
    let mut event_loop = Server::unbound().into_event_loop(Players::default())?;
    let url = Url::parse(&format!("ws://{address}/")).map_err(std::io::Error::other)?;
    for _ in 0..clients {
        event_loop.peers().connect(address, ClientRequest::new(&url), &Config::new(), ())?;
    }
    event_loop.run()?;
    Ok(event_loop.handler().messages)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() != Some("--load") {
        let server = Server::bind(first.as_deref().unwrap_or("127.0.0.1:9001"))?;
        println!("listening on ws://{}", server.local_addr()?);
        std::io::stdout().flush()?;
        return Ok(server.run(Game::default())?);
    }
    let clients = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let server = Server::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let game = Game { seconds: Some(seconds), clients, ..Game::default() };
    let mut event_loop = server.into_event_loop(game)?;
    let players = thread::spawn(move || play(address, clients));
    // The age is looked at when the last tick is due, and not when the last has gone.
    while event_loop.handler().began.is_none_or(|began| began.elapsed().as_secs() < seconds) {
        event_loop.run_once(None)?;
    }
    event_loop.handler_mut().report();
    event_loop.run()?;
    let heard = players.join().map_err(|_| "the players have panicked")??;
    println!("{heard} messages were heard by {clients} clients");
    Ok(())
}
