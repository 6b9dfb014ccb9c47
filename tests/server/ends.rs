//! The end of a connection and of a loop, and that everybody is told of it, once.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Decision, EventLoop, Handler, HttpAnswer, IncomingRequest, Message, OnPanic, OpeningError,
    Outcome, Peer, Pending, Response, Server,
};

use crate::client::{Client, PATIENCE, REQUEST, TEXT};
use crate::turns::Turns;
use crate::untimed::{untimed, untimed_server};

/// Dials again whenever a connection ends.
struct Stubborn {
    address: std::net::SocketAddr,
    request: ClientRequest,
    refused: usize,
    closes: usize,
}

impl Handler for Stubborn {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_close(&mut self, peer: &mut Peer<'_>, _: &Outcome) {
        self.closes += 1;
        let error = peer.peers().connect(self.address, self.request.clone(), &untimed(), ());
        self.refused += usize::from(error.is_err());
    }
}

fn dialling(address: std::net::SocketAddr) -> (EventLoop<Stubborn>, ClientRequest) {
    let request = ClientRequest::new(&Url::parse(&format!("ws://{address}/")).unwrap());
    let handler = Stubborn { address, request: request.clone(), refused: 0, closes: 0 };
    (Server::unbound().config(untimed()).into_event_loop(handler).unwrap(), request)
}

#[test]
fn nothing_is_dialled_once_a_shutdown_has_begun() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut event_loop, request) = dialling(address);
    for _ in 0..3 {
        event_loop.peers().connect(address, request.clone(), &untimed(), ()).unwrap();
    }
    let shutdown = event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    event_loop.run().unwrap();
    assert_eq!((event_loop.handler().closes, event_loop.handler().refused), (3, 3));
    assert!(shutdown.wait().is_some());
    let error = event_loop.peers().connect(address, request, &untimed(), ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

/// The time of a dial is when it is asked for, however long ago the last turn was.
#[test]
fn a_dial_between_two_turns_has_all_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut event_loop, request) = dialling(address);
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    let timeout = Duration::from_millis(40);
    // Longer than the timeout, by a clock that nobody tells the loop of.
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * timeout {
        std::thread::yield_now();
    }
    let id = event_loop
        .peers()
        .connect(address, request, &untimed().handshake_timeout(timeout), ())
        .unwrap();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    let closes = event_loop.handler().closes;
    assert!(closes == 0 || begun.elapsed() > 3 * timeout, "{id} had no time");
}

#[test]
fn whoever_asks_when_the_loop_has_ended_gets_the_report() {
    let mut turns = Turns::new(untimed(), Silent::default());
    let handle = turns.event_loop.handle();
    let first = handle.shutdown(1001, "", Duration::ZERO).unwrap();
    turns.event_loop.run().unwrap();
    let report = first.wait().unwrap();
    for _ in 0..2 {
        let again = handle.shutdown(1001, "", Duration::ZERO).unwrap();
        assert_eq!(again.wait_timeout(PATIENCE), Some(report.clone()));
    }
}

/// Tells of every end.
#[derive(Default)]
struct Silent {
    closes: Option<std::sync::mpsc::Sender<Outcome>>,
    defers: Option<std::sync::mpsc::Sender<Pending<()>>>,
}

impl Handler for Silent {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        match self.defers.clone() {
            Some(sender) => Decision::defer(move |pending| sender.send(pending).unwrap()),
            None => Decision::accept(()),
        }
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_close(&mut self, peer: &mut Peer<'_>, outcome: &Outcome) {
        peer.broadcast("nobody hears it");
        if let Some(sender) = &self.closes {
            sender.send(outcome.clone()).unwrap();
        }
    }
}

#[test]
fn a_loop_that_is_dropped_tells_of_the_end_of_its_connections() {
    let (closes, closed): (_, Receiver<Outcome>) = channel();
    let mut turns = Turns::new(untimed(), Silent { closes: Some(closes), defers: None });
    let mut clients: Vec<_> = (0..3).map(|_| turns.open().0).collect();
    drop(turns);
    let outcomes: Vec<_> = closed.iter().collect();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|outcome| !outcome.was_clean()), "{outcomes:?}");
    clients.iter_mut().for_each(|client| assert!(client.is_gone()));
}

#[test]
fn a_loop_that_is_dropped_lets_pending_requests_know() {
    let (defers, deferred) = channel();
    let mut turns = Turns::new(untimed(), Silent { closes: None, defers: Some(defers) });
    let mut client = Client::connect(turns.address);
    client.send_raw(REQUEST);
    let mut pending = None;
    turns.until(|_| {
        pending = deferred.try_recv().ok();
        pending.is_some()
    });
    let pending: Pending<()> = pending.unwrap();
    assert!(!pending.is_over());
    drop(turns);
    assert!(pending.is_over());
    pending.accept(());
}

#[test]
fn dialled_connections_take_no_place_of_those_that_come() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = untimed_server().max_connections(2).spare_connections(0);
    let mut turns = Turns::of(server, Silent::default());
    let request = ClientRequest::new(&Url::parse(&format!("ws://{address}/")).unwrap());
    for _ in 0..5 {
        turns.event_loop.peers().connect(address, request.clone(), &untimed(), ()).unwrap();
    }
    let _clients = [turns.open(), turns.open()];
    let mut third = Client::connect(turns.address);
    let mut turn = || turns.turn();
    (0..3).for_each(|_| turn());
    assert!(third.read_head().starts_with("HTTP/1.1 503 "));
}

/// Panics when it is told to.
#[derive(Default)]
struct Fragile {
    closes: Vec<u16>,
    messages: Vec<String>,
}

impl Handler for Fragile {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        match request.path() {
            "/panic" => panic!("on_upgrade"),
            "/later" => Decision::defer(|_| panic!("defer")),
            _ => Decision::accept(()),
        }
    }

    fn on_http(&mut self, _: &IncomingRequest) -> HttpAnswer {
        panic!("on_http")
    }

    fn on_handshake_error(&mut self, _: &OpeningError, _: &framewire::Attempt) -> Option<Response> {
        panic!("on_handshake_error")
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let text = message.as_text().unwrap().to_owned();
        self.messages.push(text.clone());
        peer.send(text.as_str());
        assert_ne!(text, "panic");
    }

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: &Outcome) {
        self.closes.push(outcome.code().0);
        assert_ne!(self.closes.len(), 1, "on_close");
    }
}

#[test]
fn a_handler_that_panics_ends_its_connection_and_no_other() {
    let server = untimed_server();
    let mut turns = Turns::of(server.on_panic(OnPanic::CloseConnection), Fragile::default());
    let (mut good, _) = turns.open();
    let (mut bad, _) = turns.open();
    bad.send_raw(
        [crate::client::frame(TEXT, "panic"), crate::client::frame(TEXT, "more")].concat(),
    );
    turns.until(|event_loop| event_loop.handler().messages.len() == 1);
    turns.turn();
    // What was sent before goes out, and the other messages are for nobody.
    assert_eq!(bad.read_text(), "panic");
    assert_eq!(bad.read_close(), (1011, String::new()));
    bad.send_close(1011, "");
    bad.half_close();
    turns.until(|event_loop| event_loop.handler().closes.len() == 1);
    bad.read_eof();
    // Before it is open it is answered.
    let requests = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "HTTP/1.1 500 "),
        (REQUEST.replace("/chat", "/panic"), "HTTP/1.1 500 "),
        (REQUEST.replace("/chat", "/later"), "HTTP/1.1 500 "),
        (REQUEST.replace("13", "7"), "HTTP/1.1 426 "),
    ];
    for (request, answer) in requests {
        let mut client = Client::connect(turns.address);
        client.send_raw(request);
        (0..5).for_each(|_| turns.turn());
        let head = client.read_head();
        assert!(head.starts_with(answer), "{head}");
    }
    good.send_frame(TEXT, "still there");
    turns.until(|event_loop| event_loop.handler().messages.len() == 2);
    turns.turn();
    assert_eq!(good.read_text(), "still there");
    assert_eq!(turns.event_loop.peers().len(), 1);
}

#[test]
fn the_listen_backlog_can_be_chosen() {
    let server = untimed_server().backlog(3).unwrap();
    assert_eq!(waiting_room(server.local_addr().unwrap()), Some(3));
    // By default it is what the system allows, which is more than the 128 of the standard library.
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|most| most.trim().parse().ok());
    let server = untimed_server();
    assert_eq!(waiting_room(server.local_addr().unwrap()), most);
}

/// How many connections may wait for a listener, by the system's own tables: there its name for a listening socket
/// is 0A, and the number stands where others have their queue for sending. `None` where there are no such tables.
fn waiting_room(address: std::net::SocketAddr) -> Option<u32> {
    let output = std::process::Command::new("ss").args(["-Hltn"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().find(|line| line.contains(&address.to_string()))?;
    line.split_whitespace().nth(2)?.parse().ok()
}
