//! The event loop with its sockets, and the client's end of them in the same thread: what is counted
//! is the user's part of both. The client's is small, and always the same.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use framewire::wire::Opcode;
use framewire::{
    Audience, Config, EventLoop, Handler, IncomingRequest, Message, Peer, Routes, Server,
};
use framewire_benches::{Stream, letters, request};

use super::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "loop-echo-20", rounds: 500, run: |rounds| echo(20, 1, rounds) },
    Scenario { name: "loop-echo-20x32", rounds: 300, run: |rounds| echo(20, 32, rounds) },
    Scenario { name: "loop-echo-1kx8", rounds: 300, run: |rounds| echo(1024, 8, rounds) },
    Scenario { name: "loop-broadcast-128", rounds: 100, run: broadcast },
    Scenario { name: "loop-broadcast-route", rounds: 100, run: broadcast_to_route },
    Scenario { name: "loop-timer-fire", rounds: 20, run: |rounds| timers(rounds, false) },
    Scenario { name: "loop-timer-cancel", rounds: 20, run: |rounds| timers(rounds, true) },
];

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> framewire::Decision<()> {
        framewire::Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, ()>, message: Message<'_>) {
        if message.as_text().is_some() {
            peer.broadcast(message);
        } else {
            peer.send(message);
        }
    }
}

/// Sends what comes to those of the same route.
struct Room;

impl Handler for Room {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> framewire::Decision<()> {
        framewire::Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, ()>, message: Message<'_>) {
        peer.publish(Audience::route(peer.route()), message);
    }
}

fn event_loop() -> EventLoop<Echo> {
    event_loop_of(Echo)
}

fn event_loop_of<H: Handler>(handler: H) -> EventLoop<H> {
    let server = Server::bind("127.0.0.1:0").expect("a free port");
    server.into_event_loop(handler).expect("an event loop")
}

/// Connects, and has the loop carry out the opening handshake.
fn connect(event_loop: &mut EventLoop<Echo>) -> TcpStream {
    connect_by(event_loop, &request(""))
}

fn connect_by<H: Handler>(event_loop: &mut EventLoop<H>, request: &[u8]) -> TcpStream {
    let address = event_loop.local_addr().expect("it listens");
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_nonblocking(true).expect("a socket that does not block");
    client.write_all(request).expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        take(event_loop, &mut client, &mut byte);
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    client
}

/// Fills `bytes` from the client's socket, and lets the loop turn as often as that takes.
fn take<H: Handler>(event_loop: &mut EventLoop<H>, client: &mut TcpStream, bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match client.read(&mut bytes[filled..]) {
            Ok(0) => panic!("the server has ended the connection"),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn echo(length: usize, batch: usize, rounds: usize) -> usize {
    let mut event_loop = event_loop();
    let mut client = connect(&mut event_loop);
    let stream = Stream::unchanging(Opcode::Binary, &letters(length), batch);
    let mut answer = vec![0; stream.bytes.len() - 4 * batch];
    for _ in 0..rounds {
        client.write_all(&stream.bytes).expect("room for a batch");
        event_loop.run_once(Some(Duration::from_secs(10))).expect("a turn");
        take(&mut event_loop, &mut client, &mut answer);
    }
    rounds * batch
}

/// 1,000 timers at a time, beside 1,000 that stay: set, and then called or cancelled.
fn timers(rounds: usize, cancel: bool) -> usize {
    const COUNT: usize = 1000;
    let mut event_loop = event_loop();
    for token in 0..COUNT as u64 {
        event_loop.peers().set_timer(Duration::from_secs(100_000), token);
    }
    for _ in 0..rounds {
        let mut peers = event_loop.peers();
        let after = if cancel { Duration::from_secs(1) } else { Duration::ZERO };
        let timers: Vec<_> = (0..COUNT as u64).map(|token| peers.set_timer(after, token)).collect();
        if cancel {
            for timer in timers {
                assert!(peers.cancel_timer(timer));
            }
        } else {
            event_loop.run_once(Some(Duration::ZERO)).expect("a turn");
        }
    }
    rounds * COUNT
}

/// One message to 50 connections, in deliveries.
fn broadcast(rounds: usize) -> usize {
    let mut event_loop = event_loop();
    let mut clients: Vec<_> = (0..50).map(|_| connect(&mut event_loop)).collect();
    let stream = Stream::unchanging(Opcode::Text, &letters(128), 1);
    let mut answer = vec![0; stream.bytes.len() - 4];
    for _ in 0..rounds {
        clients[0].write_all(&stream.bytes).expect("room for a message");
        event_loop.run_once(Some(Duration::from_secs(10))).expect("a turn");
        for client in &mut clients {
            take(&mut event_loop, client, &mut answer);
        }
    }
    rounds * clients.len()
}

/// One message to the 10 connections of a route, in deliveries, with 1,000 connections of another beside them.
fn broadcast_to_route(rounds: usize) -> usize {
    let routes = Routes::new().route("/chat", Config::new(), Room).expect("a route");
    let routes = routes.route("/room", Config::new(), Room).expect("a route");
    let mut event_loop = event_loop_of(routes);
    let to_room =
        String::from_utf8(request("")).expect("a request").replace("GET /chat ", "GET /room ");
    let _others: Vec<_> = (0..1000).map(|_| connect_by(&mut event_loop, &request(""))).collect();
    let mut clients: Vec<_> =
        (0..10).map(|_| connect_by(&mut event_loop, to_room.as_bytes())).collect();
    let stream = Stream::unchanging(Opcode::Text, &letters(128), 1);
    let mut answer = vec![0; stream.bytes.len() - 4];
    for _ in 0..rounds {
        clients[0].write_all(&stream.bytes).expect("room for a message");
        event_loop.run_once(Some(Duration::from_secs(10))).expect("a turn");
        for client in &mut clients {
            take(&mut event_loop, client, &mut answer);
        }
    }
    rounds * clients.len()
}
