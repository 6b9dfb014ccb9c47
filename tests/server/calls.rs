//! Functions that other threads have called on the thread of a loop, and the beginning of a loop.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use framewire::{
    Decision, Handler, IncomingRequest, LoopHandle, Message, OnPanic, Peer, PeerId, Peers, Routes,
    Server,
};

use crate::client::{Client, TEXT};
use crate::turns::Turns;
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// Has a list that only the thread of its loop touches, and tells of its beginning and of open connections.
struct Book {
    lines: Vec<String>,
    told: Sender<PeerId>,
    starts: usize,
}

impl Book {
    fn new() -> (Self, Receiver<PeerId>) {
        let (told, opened) = channel();
        (Self { lines: Vec::new(), told, starts: 0 }, opened)
    }
}

impl Handler for Book {
    type Session = ();

    fn on_start(&mut self, peers: &mut Peers<'_>) {
        assert_eq!(peers.connections(), 0);
        self.starts += 1;
    }

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        assert_eq!(self.starts, 1);
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        let _ = self.told.send(peer.id());
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

/// A loop in a thread, which waits without a deadline of any kind.
struct Running {
    handle: LoopHandle<Book>,
    address: SocketAddr,
    opened: Receiver<PeerId>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Running {
    fn new() -> Self {
        Self::of(untimed_server())
    }

    fn of(server: Server) -> Self {
        let (book, opened) = Book::new();
        let address = server.local_addr().unwrap();
        let mut event_loop = server.into_event_loop(book).unwrap();
        let handle = event_loop.loop_handle();
        let thread = std::thread::spawn(move || {
            event_loop.run().unwrap();
            assert_eq!(event_loop.handler().starts, 1);
            std::mem::take(&mut event_loop.handler_mut().lines)
        });
        Self { handle, address, opened, thread: Some(thread) }
    }

    fn open(&self) -> (Client, PeerId) {
        let client = Client::open(self.address);
        (client, self.opened.recv_timeout(PATIENCE).unwrap())
    }

    /// What was written in the book, once the loop has ended.
    fn stop(mut self) -> Vec<String> {
        self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

/// What a function answers that is called with the handler and its connections.
fn ask<H: Handler, T: Send + 'static>(
    handle: &LoopHandle<H>,
    question: impl FnOnce(&mut H, &mut Peers<'_, H::Session>) -> T + Send + 'static,
) -> T {
    let (sender, answers) = channel();
    assert!(handle.call(move |handler, peers| sender.send(question(handler, peers)).unwrap()));
    answers.recv_timeout(PATIENCE).expect("an answer")
}

#[test]
fn a_loop_that_waits_is_woken_by_a_call() {
    let running = Running::new();
    for number in 0..100 {
        let length = ask(&running.handle, move |book, peers| {
            assert!(peers.is_empty());
            book.lines.push(number.to_string());
            book.lines.len()
        });
        assert_eq!(length, number + 1);
    }
    assert_eq!(running.stop().len(), 100);
}

#[test]
fn calls_and_messages_of_one_thread_come_in_its_order() {
    let running = Running::new();
    let (mut client, id) = running.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let handle = running.handle.clone();
            scope.spawn(move || {
                for n in 0..300 {
                    let text = format!("{thread} {n}");
                    match n % 4 {
                        0 => handle.send(id, text),
                        1 => assert!(handle.call_peer(id, |book, peer| {
                            book.lines.push(text.clone());
                            peer.send(text);
                        })),
                        2 => handle.broadcast(text),
                        _ => assert!(handle.call(move |book, peers| {
                            book.lines.push(text.clone());
                            peers.get(id).unwrap().send(text);
                        })),
                    }
                }
            });
        }
    });
    let mut next = [0; 4];
    for _ in 0..1200 {
        let text = client.read_text();
        let (thread, n) = text.split_once(' ').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(n.parse(), Ok(next[thread]), "of thread {thread}");
        next[thread] += 1;
    }
    drop(client);
    assert_eq!(running.stop().len(), 600);
}

#[test]
fn a_handler_that_calls_is_called_behind_what_it_sends_in_that_turn() {
    struct Echo(Option<LoopHandle<Self>>);

    impl Handler for Echo {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            Decision::accept(())
        }

        fn on_message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
            let id = peer.id();
            let handle = self.0.as_ref().unwrap();
            assert!(handle.call_peer(id, |_, peer| drop(peer.send("third"))));
            assert!(handle.call(move |_, peers| drop(peers.get(id).unwrap().send("fourth"))));
            peer.send("first");
            peer.broadcast("second");
        }
    }

    let mut turns = Turns::new(untimed(), Echo(None));
    let handle = turns.event_loop.loop_handle();
    turns.event_loop.handler_mut().0 = Some(handle);
    let (mut client, _) = turns.open();
    client.send_frame(TEXT, "go");
    turns.until(|event_loop| event_loop.counters().sent.text_messages == 4);
    for text in ["first", "second", "third", "fourth"] {
        assert_eq!(client.read_text(), text);
    }
}

#[test]
fn a_function_for_a_connection_that_has_gone_is_dropped() {
    let running = Running::new();
    let (client, id) = running.open();
    drop(client);
    crate::house::eventually("it is gone", || running.handle.counters().connections == 0);
    let (sender, answers) = channel::<()>();
    assert!(running.handle.call_peer(id, move |_, _| sender.send(()).unwrap()));
    assert_eq!(answers.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    running.stop();
}

/// Whether the function is dropped without being called.
fn is_dropped(
    handle: &LoopHandle<Book>,
    taken: bool,
    event_loop: impl FnOnce() -> Option<Turns<Book>>,
) -> bool {
    let (sender, answers) = channel::<()>();
    assert_eq!(handle.call(move |_, _| sender.send(()).unwrap()), taken);
    let _kept = event_loop();
    answers.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
}

#[test]
fn a_loop_that_ends_drops_the_functions_that_it_has_not_come_to() {
    // It ends with more before it than one turn carries out, of which the first says that it is to end.
    let (book, _opened) = Book::new();
    let mut turns = Turns::new(untimed(), book);
    let handle = turns.event_loop.loop_handle();
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    for _ in 0..10_000 {
        handle.call(|_, _| {});
    }
    assert!(is_dropped(&handle, true, || {
        turns.event_loop.run().unwrap();
        Some(turns)
    }));
    // It has ended, and may be there or not.
    let (book, _opened) = Book::new();
    let mut turns = Turns::new(untimed(), book);
    let handle = turns.event_loop.loop_handle();
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    turns.event_loop.run().unwrap();
    assert!(is_dropped(&handle, false, || Some(turns)));
    assert!(is_dropped(&handle, false, || None));
    // It is dropped without having had a turn.
    let (book, _opened) = Book::new();
    let turns = Turns::new(untimed(), book);
    let handle = turns.event_loop.loop_handle();
    assert!(is_dropped(&handle, true, || {
        drop(turns);
        None
    }));
}

#[test]
fn a_function_that_panics_costs_what_a_handler_does_that_panics() {
    let running = Running::of(untimed_server().on_panic(OnPanic::CloseConnection));
    let (mut first, one) = running.open();
    let (mut second, other) = running.open();
    assert!(running.handle.call(|_, _| panic!("in a call, as the test wants")));
    assert!(running.handle.call_peer(one, |_, _| panic!("for a peer, as the test wants")));
    assert_eq!(first.read_close().0, 1011);
    assert!(running.handle.call_peer(other, |_, peer| drop(peer.send("still here"))));
    assert_eq!(second.read_text(), "still here");
    drop((first, second));
    running.stop();

    let (book, _opened) = Book::new();
    let mut turns = Turns::new(untimed(), book);
    turns.event_loop.loop_handle().call(|_, _| panic!("in a call, as the test wants"));
    let turn = std::panic::AssertUnwindSafe(|| {
        (0..100).for_each(|_| turns.turn());
    });
    assert!(std::panic::catch_unwind(turn).is_err());
}

#[test]
fn calls_are_counted_in_the_queue() {
    let (book, _opened) = Book::new();
    let mut turns = Turns::new(untimed(), book);
    let handle = turns.event_loop.loop_handle();
    for _ in 0..10 {
        handle.call(|book, _| book.lines.push(String::new()));
    }
    assert!(handle.queued_bytes() >= 10);
    turns.until(|event_loop| event_loop.handler().lines.len() == 10);
    assert_eq!(handle.queued_bytes(), 0);
}

#[test]
fn a_turn_is_had_for_the_asking() {
    let (book, _opened) = Book::new();
    let mut turns = Turns::new(untimed(), book);
    let handle = turns.event_loop.handle();
    let thread = std::thread::spawn(move || handle.wake());
    // Nothing else ends it.
    turns.event_loop.run_once(None).unwrap();
    thread.join().unwrap();
}

/// A handler that borrows, and is not `Send`.
struct Borrowing<'h>(&'h std::cell::RefCell<Vec<String>>);

impl Handler for Borrowing<'_> {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
}

#[test]
fn handlers_that_borrow_are_called_as_well() {
    fn is_free<T: Send + Sync + Clone>(_: &T) {}

    let lines = std::cell::RefCell::new(Vec::new());
    let server = untimed_server();
    let mut event_loop = server.into_event_loop(Borrowing(&lines)).unwrap();
    let handle = event_loop.loop_handle();
    is_free(&handle);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            handle.call(|book, _| book.0.borrow_mut().push("from another thread".into()));
            handle.shutdown(1001, "", Duration::ZERO).unwrap();
        });
        event_loop.run().unwrap();
    });
    assert_eq!(*lines.borrow(), ["from another thread"]);
}

/// Tells on which thread, and in which loop, it was called.
struct Worker {
    own: LoopHandle<Self>,
    starts: Vec<std::thread::ThreadId>,
    told: Sender<(usize, PeerId, std::thread::ThreadId)>,
}

impl Handler for Worker {
    type Session = ();

    fn on_start(&mut self, peers: &mut Peers<'_>) {
        assert!(peers.is_empty());
        self.starts.push(std::thread::current().id());
    }

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        assert_eq!(self.starts, [std::thread::current().id()]);
        self.told.send((self.own.number(), peer.id(), self.starts[0])).unwrap();
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
}

#[test]
fn calls_find_their_loop() {
    let loops = untimed_server().threads(3).unwrap();
    let (address, handle) = (loops.local_addr().unwrap(), loops.handle());
    let ((told, opened), (give, handles)) = (channel(), channel());
    let thread = std::thread::spawn(move || {
        loops.run_with(|own| {
            give.send(own.clone()).unwrap();
            Worker { own, starts: Vec::new(), told: told.clone() }
        })
    });
    let own: Vec<LoopHandle<Worker>> =
        (0..3).map(|_| handles.recv_timeout(PATIENCE).unwrap()).collect();
    let mut clients = Vec::new();
    let mut there = Vec::new();
    for _ in 0..6 {
        clients.push(Client::open(address));
        there.push(opened.recv_timeout(PATIENCE).unwrap());
    }
    // By any handle, in the loop that has the connection.
    for handle in &own {
        for &(number, id, thread) in &there {
            let (sender, answers) = channel();
            assert!(handle.call_peer(id, move |worker, peer| {
                assert_eq!(peer.id(), id);
                sender.send((worker.own.number(), std::thread::current().id())).unwrap();
            }));
            assert_eq!(answers.recv_timeout(PATIENCE), Ok((number, thread)));
        }
    }
    // In the own loop.
    for handle in &own {
        let (number, connections) =
            ask(handle, |worker, peers| (worker.own.number(), peers.connections()));
        assert_eq!((number, connections), (handle.number(), 2));
    }
    // In all.
    let (sender, answers) = channel();
    assert!(own[1].call_all(move |worker, _| sender.send(worker.own.number()).unwrap()));
    let mut called: Vec<_> = answers.iter().collect();
    called.sort_unstable();
    assert_eq!(called, [0, 1, 2]);
    drop(clients);
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    thread.join().unwrap().unwrap();
    assert!(!own[2].call_all(|_, _| {}) && !own[0].call_peer(there[0].1, |_, _| {}));
}

/// Dials from its beginning, and knows what for.
struct Dialling {
    address: SocketAddr,
    own: &'static str,
    opened: Sender<(&'static str, bool)>,
}

impl Handler for Dialling {
    type Session = &'static str;

    fn on_start(&mut self, peers: &mut Peers<'_, &'static str>) {
        let url = framewire::handshake::Url::parse("ws://example.com/").unwrap();
        let request = framewire::handshake::ClientRequest::new(&url);
        peers.connect(self.address, request, &untimed(), self.own).unwrap();
    }

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<&'static str> {
        Decision::accept("came in")
    }

    fn on_open(&mut self, peer: &mut Peer<'_, &'static str>) {
        self.opened.send((self.own, *peer.session() == self.own)).unwrap();
    }

    fn on_message(&mut self, _: &mut Peer<'_, &'static str>, _: Message<'_>) {}
}

#[test]
fn every_handler_of_routes_begins_and_dials_for_itself() {
    let running = Running::new();
    let (opened, news) = channel();
    let of = |own| Dialling { address: running.address, own, opened: opened.clone() };
    let routes = Routes::new()
        .route("/a", untimed(), of("a"))
        .unwrap()
        .route("/b", untimed(), of("b"))
        .unwrap()
        .otherwise(of("otherwise"));
    let mut turns = Turns::new(untimed(), routes);
    turns.until(|event_loop| event_loop.peers().len() == 3);
    let mut told: Vec<_> = news.try_iter().collect();
    told.sort_unstable();
    assert_eq!(told, [("a", true), ("b", true), ("otherwise", true)]);
    drop(turns);
    running.stop();
}
