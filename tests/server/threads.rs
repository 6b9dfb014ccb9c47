//! Several loops that serve one port: who gets which connection, and that everything reaches everybody.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use framewire::{
    Audience, Config, Decision, Handle, Handler, IncomingRequest, Message, Outcome, Peer, PeerId,
    Pending, Server,
};

use crate::client::{Client, REQUEST, TEXT};
use crate::house::eventually;
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// What the handlers tell: their number and what happened.
type Told = (usize, What);

#[derive(Clone, Debug, PartialEq)]
enum What {
    Open(PeerId),
    Close(PeerId, u16),
    Topic(String, usize),
}

/// Carries out what the clients write, each in its loop.
struct Worker {
    number: usize,
    told: Sender<Told>,
    deferred: Option<Sender<Pending<()>>>,
}

impl Handler for Worker {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        match &self.deferred {
            None => Decision::accept(()),
            Some(sender) => {
                let sender = sender.clone();
                Decision::defer(move |pending| sender.send(pending).unwrap())
            }
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        self.told.send((self.number, What::Open(peer.id()))).unwrap();
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let line = message.as_text().unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match word {
            "subscribe" => format!("{:?}", peer.subscribe(rest)),
            "unsubscribe" => peer.unsubscribe(rest).to_string(),
            "publish" => peer.publish(Audience::topic("x").except(peer.id()), rest).to_string(),
            "publish_all" => peer.publish("x", rest).to_string(),
            "latest" => {
                peer.publish(Audience::topic("x").latest("key").except(peer.id()), rest).to_string()
            }
            "subscribers" => peer.peers().subscribers(rest).to_string(),
            "broadcast" => {
                peer.broadcast(rest);
                return;
            }
            "others" => {
                peer.publish(Audience::everyone().except(peer.id()), rest);
                return;
            }
            "count" => peer.peers().connections().to_string(),
            "series" => {
                // Short ones are copied, long ones are shared.
                for n in 0..300 {
                    match n % 3 {
                        0 => drop(peer.publish("x", format!("{rest} {n}"))),
                        1 => drop(peer.broadcast(format!("{rest} {n}"))),
                        _ => drop(peer.publish("x", format!("{rest} {n}{}", " ".repeat(9000)))),
                    }
                }
                return;
            }
            "panic" => panic!("as told"),
            _ => unreachable!("{line}"),
        };
        peer.send(answer);
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        let _ = self.told.send((self.number, What::Topic(topic.to_owned(), subscribers)));
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, outcome: &Outcome) {
        let code = u16::from(outcome.code());
        let _ = self.told.send((self.number, What::Close(peer.id(), code)));
    }
}

/// Loops in a thread that waits for all of them.
struct Mill {
    address: SocketAddr,
    handle: Handle,
    told: Receiver<Told>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Ends with the thread.
    alive: Receiver<()>,
}

impl Mill {
    fn new(threads: usize) -> Self {
        Self::of(untimed_server(), threads, None)
    }

    fn of(server: Server, threads: usize, deferred: Option<Sender<Pending<()>>>) -> Self {
        let loops = server.threads(threads).unwrap();
        let (sender, told) = channel();
        let (address, handle) = (loops.local_addr().unwrap(), loops.handle());
        let (is_alive, alive) = channel();
        let thread = std::thread::spawn(move || {
            let _alive: Sender<()> = is_alive;
            loops.run(|number| Worker { number, told: sender.clone(), deferred: deferred.clone() })
        });
        Self { address, handle, told, thread: Some(thread), alive }
    }

    /// A client, its connection and the loop that has it.
    fn open(&self) -> (Client, PeerId, usize) {
        let client = Client::open(self.address);
        match self.told.recv_timeout(PATIENCE).unwrap() {
            (number, What::Open(id)) => (client, id, number),
            other => panic!("{other:?} instead of an open connection"),
        }
    }

    /// So many clients, which the loops have in turn.
    fn open_many<const N: usize>(&self) -> [(Client, PeerId); N] {
        std::array::from_fn(|_| {
            let (client, id, _) = self.open();
            (client, id)
        })
    }

    fn wait(&self, what: &What) -> usize {
        loop {
            let (number, told) = self.told.recv_timeout(PATIENCE).unwrap();
            if told == *what {
                return number;
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let thread = self.thread.take().unwrap();
        let ended = self.alive.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "the loops do not end");
        thread.join().unwrap()
    }

    fn stop(mut self) {
        self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
        self.end().unwrap();
    }
}

impl Drop for Mill {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.handle.shutdown(1001, "", Duration::ZERO);
            let _ = thread.join();
        }
    }
}

impl Client {
    fn asks(&mut self, line: &str, answer: &str) {
        self.send_frame(TEXT, line);
        assert_eq!(self.read_text(), answer, "{line}");
    }
}

#[test]
fn connections_are_spread_evenly_and_their_ids_differ() {
    let mill = Mill::new(4);
    let mut clients = BTreeMap::<usize, Vec<_>>::new();
    let mut ids = HashSet::new();
    for _ in 0..40 {
        let (client, id, number) = mill.open();
        clients.entry(number).or_default().push((client, id));
        assert!(ids.insert(id) && ids.insert_number(id));
    }
    assert_eq!(clients.values().map(Vec::len).collect::<Vec<_>>(), [10; 4]);
    // Where many leave, the next ones go.
    let left = clients.remove(&2).unwrap();
    for (client, id) in left {
        drop(client);
        assert_eq!(mill.wait(&What::Close(id, 1006)), 2);
    }
    // The last turn may not have been over when the last close was told.
    let (_first, _, _) = mill.open();
    let rest: Vec<_> = (0..9).map(|_| mill.open()).collect();
    let to_the_empty = rest.iter().filter(|(_, _, number)| *number == 2).count();
    assert!(to_the_empty >= 8, "{to_the_empty}");
    for (_, id, _) in &rest {
        assert!(ids.insert(*id), "{id} was given twice");
    }
    drop(rest);
    mill.stop();
}

trait InsertNumber {
    fn insert_number(&self, id: PeerId) -> bool;
}

impl InsertNumber for HashSet<PeerId> {
    /// Whether no other id in the set has the same number.
    fn insert_number(&self, id: PeerId) -> bool {
        self.iter().filter(|other| other.as_u64() == id.as_u64()).count() == 1
    }
}

#[test]
fn a_handle_finds_the_loop_of_each_connection() {
    let mill = Mill::new(3);
    let mut clients = mill.open_many::<6>();
    for (client, id) in &mut clients {
        for n in 0..50 {
            mill.handle.send(*id, format!("{id} {n}"));
        }
        for n in 0..50 {
            assert_eq!(client.read_text(), format!("{id} {n}"));
        }
    }
    for (client, _) in &mut clients {
        client.asks("count", "2");
    }
    let [(mut closed, closed_id), (aborted, terminated_id), rest @ ..] = clients;
    mill.handle.close(closed_id, 4000, "you").unwrap();
    assert_eq!(closed.read_close(), (4000, "you".into()));
    mill.handle.abort(terminated_id);
    mill.wait(&What::Close(terminated_id, 1006));
    drop((closed, aborted));
    // An id of a server with more loops names nobody here.
    let other = Mill::new(5);
    let foreign = other.open_many::<5>();
    for (_, id) in &foreign[3..] {
        mill.handle.send(*id, "to nobody");
        mill.handle.subscribe(*id, "x");
        mill.handle.close(*id, 1000, "").unwrap();
        mill.handle.abort(*id);
    }
    drop(foreign);
    other.stop();
    for (mut client, _) in rest {
        client.asks("subscribers x", "0");
    }
    mill.stop();
}

#[test]
fn topics_reach_over_all_loops() {
    let mill = Mill::new(3);
    let mut clients = mill.open_many::<7>();
    for (client, _) in &mut clients[1..] {
        client.asks("subscribe x", "New");
    }
    let [(outside, _), (inside, id), rest @ ..] = &mut clients;
    outside.asks("subscribers x", "6");
    outside.asks("publish from outside", "6");
    assert_eq!(inside.read_text(), "from outside");
    inside.asks("publish to the others", "5");
    inside.asks("latest and newest", "5");
    inside.send_frame(TEXT, "publish_all to all");
    assert_eq!((inside.read_text(), inside.read_text()), ("to all".into(), "6".into()));
    for (client, _) in rest.iter_mut() {
        for text in ["from outside", "to the others", "and newest", "to all"] {
            assert_eq!(client.read_text(), text);
        }
    }
    mill.handle.publish(Audience::topic("x").except(*id), "by a handle");
    mill.handle.publish("x", "to each");
    for (client, _) in rest.iter_mut() {
        assert_eq!(client.read_text(), "by a handle");
        assert_eq!(client.read_text(), "to each");
        client.asks("unsubscribe x", "true");
        client.asks("unsubscribe x", "false");
    }
    assert_eq!(inside.read_text(), "to each");
    outside.asks("subscribers x", "1");
    outside.asks("publish for one", "1");
    assert_eq!(inside.read_text(), "for one");
    inside.asks("publish for nobody", "0");
    // A subscription ends with its connection, for the other loops, too.
    inside.send_close(1000, "");
    inside.half_close();
    eventually("nobody is left", || {
        outside.send_frame(TEXT, "subscribers x");
        outside.read_text() == "0"
    });
    outside.asks("publish for nobody", "0");
    mill.stop();
}

#[test]
fn broadcasts_reach_over_all_loops() {
    let mill = Mill::new(2);
    let mut clients = mill.open_many::<5>();
    clients[0].0.send_frame(TEXT, "broadcast to all");
    clients.iter_mut().for_each(|(client, _)| assert_eq!(client.read_text(), "to all"));
    clients[1].0.send_frame(TEXT, "others to the others");
    mill.handle.send(clients[1].1, "behind");
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        assert_eq!(client.read_text(), if n == 1 { "behind" } else { "to the others" });
    }
    mill.handle.broadcast("by a handle");
    mill.handle.publish(Audience::everyone().except(clients[2].1), "but one");
    mill.handle.send(clients[2].1, "to that one");
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        assert_eq!(client.read_text(), "by a handle");
        assert_eq!(client.read_text(), if n == 2 { "to that one" } else { "but one" });
    }
    mill.stop();
}

/// Everybody publishes at the same time; each receiver gets all of it, in the order of each publisher.
#[test]
fn each_receiver_gets_what_one_peer_publishes_in_its_order() {
    let mill = Mill::new(3);
    let mut clients = mill.open_many::<9>();
    for (client, _) in &mut clients {
        client.asks("subscribe x", "New");
    }
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        client.send_frame(TEXT, format!("series {n}"));
    }
    let handle = mill.handle.clone();
    let ids: Vec<_> = clients.iter().map(|(_, id)| *id).collect();
    let thread = std::thread::spawn(move || {
        for n in 0..300 {
            match n % 3 {
                0 => handle.publish("x", format!("9 {n}")),
                1 => handle.broadcast(format!("9 {n}")),
                _ => ids.iter().for_each(|id| handle.send(*id, format!("9 {n}"))),
            }
        }
    });
    // At the same time, too: who is not read from is not listened to.
    std::thread::scope(|scope| {
        for (client, _) in &mut clients {
            scope.spawn(move || {
                let mut next = [0; 10];
                while next != [300; 10] {
                    let text = client.read_text();
                    let (publisher, n) = text.split_once(' ').unwrap();
                    let next = &mut next[publisher.parse::<usize>().unwrap()];
                    assert_eq!(n.trim_end(), next.to_string(), "of {publisher}");
                    *next += 1;
                }
            });
        }
    });
    thread.join().unwrap();
    // And nothing twice.
    for (client, _) in &mut clients {
        client.asks("unsubscribe x", "true");
    }
    mill.stop();
}

#[test]
fn what_a_handle_publishes_behind_a_subscription_gets_there() {
    let mill = Mill::new(3);
    let mut clients = mill.open_many::<3>();
    for n in 0..200 {
        let (client, id) = &mut clients[n % 3];
        mill.handle.publish("x", "too early");
        mill.handle.subscribe(*id, "x");
        mill.handle.subscribe(*id, "x");
        mill.handle.publish("x", n.to_string());
        mill.handle.publish(Audience::topic("x").latest("key"), "the latest");
        mill.handle.unsubscribe(*id, "x");
        mill.handle.publish("x", "too late");
        assert_eq!(client.read_text(), n.to_string());
        assert_eq!(client.read_text(), "the latest");
    }
    for (client, id) in &mut clients {
        // What it asks by its socket may overtake orders; what is ordered behind them does not.
        mill.handle.send(*id, "carried out");
        assert_eq!(client.read_text(), "carried out");
        client.asks("unsubscribe x", "false");
    }
    eventually("nobody is counted", || {
        clients[0].0.send_frame(TEXT, "subscribers x");
        clients[0].0.read_text() == "0"
    });
    mill.stop();
}

#[test]
fn a_handler_that_panics_ends_all_loops_in_good_order() {
    for victim in 0..3 {
        let mut mill = Mill::new(3);
        let mut clients = mill.open_many::<6>();
        clients[victim].0.send_frame(TEXT, "panic");
        for (n, (client, _)) in clients.iter_mut().enumerate() {
            if n % 3 == victim {
                // Its loop is gone, and with it the socket.
                assert!(client.is_gone());
            } else {
                assert_eq!(client.read_close(), (1001, String::new()));
                client.send_close(1001, "");
                client.read_eof();
            }
        }
        drop(clients);
        let error = mill.end().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        assert_eq!(error.to_string(), format!("the handler of loop {victim} panicked: as told"));
        let closed: Vec<_> =
            mill.told.iter().filter(|(_, what)| matches!(what, What::Close(_, 1001))).collect();
        assert_eq!(closed.len(), 4);
        assert!(closed.iter().all(|(number, _)| *number != victim));
    }
}

#[test]
fn a_shutdown_ends_all_loops() {
    let mut mill = Mill::new(3);
    let mut clients = mill.open_many::<6>();
    let shutdown = mill.handle.shutdown(1012, "soon", PATIENCE).unwrap();
    for (client, _) in &mut clients {
        assert_eq!(client.read_close(), (1012, "soon".into()));
        client.send_close(1012, "");
        client.half_close();
        client.read_eof();
    }
    mill.end().unwrap();
    // There is one report of all.
    let report = shutdown.wait_timeout(PATIENCE).unwrap();
    assert_eq!((report.clean, report.was_clean()), (6, true), "{report}");
    // It does no harm to hold on to a handle.
    mill.handle.broadcast("anybody?");
    mill.handle.publish("x", "anybody?");
    mill.handle.subscribe(clients[0].1, "x");
}

#[test]
fn the_cap_is_one_for_all_loops() {
    let server = untimed_server().max_connections(5);
    let mill = Mill::of(server, 3, None);
    let clients = mill.open_many::<5>();
    for _ in 0..4 {
        assert!(Client::ask(mill.address, REQUEST).starts_with("HTTP/1.1 503 "));
    }
    let [(first, id), _rest @ ..] = clients;
    drop(first);
    mill.wait(&What::Close(id, 1006));
    eventually("there is room again", || {
        let mut client = Client::connect(mill.address);
        client.send_raw(REQUEST);
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
    mill.stop();
}

#[test]
fn the_cap_for_an_address_is_one_for_all_loops() {
    let server = untimed_server().max_connections_per_ip(4);
    let mill = Mill::of(server, 3, None);
    let clients = mill.open_many::<4>();
    for _ in 0..6 {
        assert!(Client::ask(mill.address, REQUEST).starts_with("HTTP/1.1 429 "));
    }
    drop(clients);
    eventually("there is room again", || {
        let mut client = Client::connect(mill.address);
        client.send_raw(REQUEST);
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
    mill.stop();
}

#[test]
fn decisions_and_adopted_connections_find_their_loop() {
    let (sender, deferred) = channel::<Pending<()>>();
    let server = untimed_server();
    let mill = Mill::of(server, 3, Some(sender));
    let decide = std::thread::spawn(move || {
        for _ in 0..9 {
            deferred.recv_timeout(PATIENCE).unwrap().accept(());
        }
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut numbers = [0; 3];
    let mut clients = Vec::new();
    for n in 0..9 {
        // Every third comes by way of another server.
        if n % 3 == 2 {
            let mut client = Client::connect(listener.local_addr().unwrap());
            let (stream, _) = listener.accept().unwrap();
            mill.handle.adopt(stream, REQUEST, "").unwrap();
            assert!(client.read_head().starts_with("HTTP/1.1 101 "));
            clients.push(client);
        } else {
            clients.push(Client::open(mill.address));
        }
        match mill.told.recv_timeout(PATIENCE).unwrap() {
            (number, What::Open(_)) => numbers[number] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, [3; 3]);
    decide.join().unwrap();
    clients[0].send_frame(TEXT, "broadcast all");
    clients.iter_mut().for_each(|client| assert_eq!(client.read_text(), "all"));
    mill.stop();
}

#[test]
fn a_function_serves_in_all_threads() {
    let server = untimed_server().config(untimed());
    let loops = server.threads(2).unwrap();
    let (address, handle) = (loops.local_addr().unwrap(), loops.handle());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = std::thread::spawn(move || {
        loops.serve(|peer, message| {
            counter.fetch_add(1, Ordering::SeqCst);
            peer.send(message);
        })
    });
    let mut clients: Vec<_> = (0..4).map(|_| Client::open(address)).collect();
    for client in &mut clients {
        client.asks("hello", "hello");
    }
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn what_cannot_work_is_said_at_once() {
    for threads in [0, 256] {
        let error = Server::unbound().threads(threads).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("{threads} threads: 1 to 255 can work together"));
    }
    let server = Server::unbound().config(Config::new().max_fragments(0));
    assert_eq!(server.threads(2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    // A handler that cannot even be made ends the others, too.
    let loops = untimed_server().threads(3).unwrap();
    let (sender, _told) = channel();
    let error = loops
        .run(|number| {
            assert_ne!(number, 1, "no handler for it");
            Worker { number, told: sender.clone(), deferred: None }
        })
        .unwrap_err();
    assert!(error.to_string().contains("no handler for it"), "{error}");
}
