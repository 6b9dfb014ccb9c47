//! Decisions that are made later, by another thread.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use framewire::{
    Accept, CloseCode, Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Pending,
    Response,
};

use crate::client::{Client, REQUEST, TEXT, frame, request_with};
use crate::house::{House, eventually};
use crate::turns::Turns;
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// Puts every decision off, and answers messages with the session.
struct Waiting {
    pending: Sender<Pending<String>>,
    closed: Sender<(String, Outcome)>,
}

impl Handler for Waiting {
    type Session = String;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
        if request.path() == "/now" {
            return Decision::defer(|one| one.accept("in time".to_owned()));
        }
        let pending = self.pending.clone();
        Decision::defer(move |one| pending.send(one).unwrap())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, String>) {
        assert!(["/chat", "/now"].contains(&peer.request().unwrap().path()));
        let hello = format!("hello {}", peer.session());
        peer.send(hello);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
        let said = format!("{}: {}", peer.session(), message.as_text().unwrap());
        peer.send(said);
    }

    fn on_close(&mut self, peer: &mut Peer<'_, String>, outcome: &Outcome) {
        let _ = self.closed.send((peer.session().clone(), outcome.clone()));
    }
}

type Doors = (House, Receiver<Pending<String>>, Receiver<(String, Outcome)>);

fn house(config: Config) -> Doors {
    let ((pending, doors), (closed, ends)) = (channel(), channel());
    (House::new(config, Waiting { pending, closed }), doors, ends)
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("something comes")
}

#[test]
fn another_thread_accepts_and_gives_the_session() {
    let config = untimed().subprotocols(["v1"]);
    let (house, doors, ends) = house(config);
    let mut client = Client::connect(house.address);
    // What is sent before the decision waits, and is not lost.
    let request = request_with("Sec-WebSocket-Protocol: v2, v1\r\n");
    client.send_raw([request.as_bytes(), &frame(TEXT, "early")].concat());
    let pending = next(&doors);
    client.send_frame(TEXT, "still early");
    let handle = house.handle.clone();
    let thread = std::thread::spawn(move || {
        assert_eq!(pending.request().subprotocols().collect::<Vec<_>>(), ["v2", "v1"]);
        assert!(!pending.is_over());
        let id = pending.id();
        let accept = Accept::new().subprotocol("v2").header("Set-Cookie", "seen=1").unwrap();
        pending.accept_with(accept, "ann".to_owned());
        // Behind the decision of the same thread, however fast it is.
        handle.send(id, "by handle");
    });
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: v2\r\n"), "{head}");
    assert!(head.contains("\r\nSet-Cookie: seen=1\r\n"), "{head}");
    let mut said: Vec<_> = (0..4).map(|_| client.read_text()).collect();
    assert_eq!(said.remove(0), "hello ann");
    // The loop may carry the order out before or behind what the client said.
    said.retain(|text| text != "by handle");
    assert_eq!(said, ["ann: early", "ann: still early"]);
    thread.join().unwrap();
    client.send_close(1000, "");
    assert_eq!(client.read_close().0, 1000);
    drop(client);
    assert_eq!(next(&ends).0, "ann");
}

#[test]
fn an_order_behind_a_decision_finds_the_connection_open() {
    let (house, doors, _ends) = house(untimed());
    for round in 0..200 {
        let mut client = Client::connect(house.address);
        client.send_raw(REQUEST);
        let pending = next(&doors);
        let id = pending.id();
        pending.accept(round.to_string());
        house.handle.send(id, "order");
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        assert_eq!(client.read_text(), format!("hello {round}"));
        assert_eq!(client.read_text(), "order");
    }
}

// behaviour: a3
#[test]
fn another_thread_rejects() {
    let (house, doors, _ends) = house(untimed());
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    next(&doors).reject(Response::new(401).body("who are you?\n"));
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
}

#[test]
fn a_decision_that_is_never_made_is_a_500() {
    let (house, doors, _ends) = house(untimed());
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    drop(next(&doors));
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    // So is one that asks for what cannot be.
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    next(&doors).accept_with(Accept::new().subprotocol("not offered"), String::new());
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

#[test]
fn who_is_not_decided_about_in_time_is_answered_503() {
    let config = untimed().decision_timeout(Duration::from_millis(60));
    // The handshake timeout is the client's, and it has done its part.
    let config = config.handshake_timeout(Duration::from_secs(600));
    let (house, doors, ends) = house(config);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    let pending = next(&doors);
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nthe request was not decided in time; try again later\n"),
        "{answer}"
    );
    eventually("the decision is over", || pending.is_over());
    // Too late.
    pending.accept("late".to_owned());
    // One is decided about at once, since no other thread is in time for certain.
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST.replace("/chat", "/now"));
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    drop(client);
    assert_eq!(next(&ends).0, "in time");
    drop(house);
    assert!(ends.try_recv().is_err());
}

#[test]
fn the_handshake_timeout_does_not_run_while_a_decision_is_made() {
    let timeout = Duration::from_millis(60);
    let config = untimed().handshake_timeout(timeout).decision_timeout(None);
    let (house, doors, _ends) = house(config);
    // The server is handed the request whole: the client need not be in time with it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    house.handle.adopt(listener.accept().unwrap().0, REQUEST, "").unwrap();
    let pending = next(&doors);
    // A silent one that came later is dropped by then, so that timeout has passed.
    assert!(Client::connect(house.address).is_gone());
    assert!(!pending.is_over());
    pending.accept("ann".to_owned());
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
}

// behaviour: a3
#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let (pending, doors) = channel();
    let (closed, ends) = channel();
    let server = untimed_server();
    let mut event_loop = server.into_event_loop(Waiting { pending, closed }).unwrap();
    let address = event_loop.local_addr().unwrap();
    for early in [false, true] {
        let mut client = Client::connect(address);
        client.send_raw(REQUEST);
        if early {
            // Gone before the loop has looked at the request.
            drop(client);
        } else {
            while event_loop.connections() == 0 {
                event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            }
            let waits = doors.try_recv();
            let mut waits = waits.ok();
            while waits.is_none() {
                event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
                waits = doors.try_recv().ok();
            }
            let pending = waits.unwrap();
            assert!(!pending.is_over());
            drop(client);
            eventually("forgotten", || {
                event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
                event_loop.connections() == 0
            });
            assert!(pending.is_over());
            pending.accept("nobody".to_owned());
            continue;
        }
        let mut seen = false;
        eventually("seen and forgotten", || {
            event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            seen |= doors.try_recv().is_ok();
            seen && event_loop.connections() == 0
        });
    }
    assert!(ends.try_recv().is_err());
}

#[test]
fn a_shutdown_waits_for_no_decision() {
    let (mut house, doors, ends) = house(untimed().decision_timeout(None));
    let mut open = Client::connect(house.address);
    open.send_raw(REQUEST);
    next(&doors).accept("open".to_owned());
    open.read_head();
    assert_eq!(open.read_text(), "hello open");
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    let pending = next(&doors);
    house.handle.shutdown(1001, "", PATIENCE).unwrap();
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(open.read_close().0, 1001);
    open.send_close(1001, "");
    drop((open, client));
    house.join();
    assert!(pending.is_over());
    // Nobody is there to hear it.
    pending.accept("late".to_owned());
    let (session, outcome) = next(&ends);
    assert_eq!((session.as_str(), outcome.code()), ("open", CloseCode::from(1001)));
    assert!(ends.try_recv().is_err());
}

/// Puts every decision off. How many hold a session can be counted.
struct Counted(Sender<Pending<Arc<()>>>);

impl Handler for Counted {
    type Session = Arc<()>;

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<Arc<()>> {
        let pending = self.0.clone();
        Decision::defer(move |one| pending.send(one).unwrap())
    }

    fn on_message(&mut self, _: &mut Peer<'_, Arc<()>>, _: Message<'_>) {}
}

#[test]
fn a_loop_that_has_ended_keeps_no_session() {
    let (pending, doors) = channel();
    let mut turns = Turns::new(untimed(), Counted(pending));
    let mut client = Client::connect(turns.address);
    client.send_raw(REQUEST);
    let mut waiting = None;
    turns.until(|_| {
        waiting = doors.try_recv().ok();
        waiting.is_some()
    });
    turns.event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    turns.event_loop.run().unwrap();
    let session = Arc::new(());
    waiting.unwrap().accept(Arc::clone(&session));
    assert_eq!(Arc::strong_count(&session), 1);
}
