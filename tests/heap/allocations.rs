//! How many allocations a message takes, counted exactly, when what is kept from one message to the next
//! has reached its size.
//!
//! There is no harness, and one thread: whatever is allocated, framewire allocated.

#[macro_use]
mod table;

use std::alloc::System;

use framewire::wire::{FrameHeader, MAX_HEADER, Opcode};
use framewire::{Accept, Config, Connection, Endpoint, Event, Prepared, Role, Workspace};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    table::run(TESTS);
}

const TESTS: &[(&str, fn())] = table![
    the_counter_counts,
    messages_are_received_without,
    messages_are_echoed_without,
    control_frames_are_answered_without,
    messages_of_both_roles_are_sent_without,
    an_assembled_message_takes_its_own_buffer,
    a_broadcast_takes_its_frame,
    #[cfg(feature = "deflate")]
    compressed_messages_are_sent_without,
    #[cfg(feature = "deflate")]
    an_inflated_message_takes_its_own_buffer,
    #[cfg(feature = "deflate")]
    a_compressed_broadcast_takes_a_second_frame,
    #[cfg(feature = "mio")]
    a_turn_of_the_loop_takes_none,
    #[cfg(feature = "mio")]
    a_broadcast_of_the_loop_takes_its_frame_and_none_for_a_peer,
];

/// How often `act` allocates, or has an allocation grow or move.
fn allocations(act: impl FnOnce()) -> usize {
    let region = Region::new(HEAP);
    act();
    let stats = region.change();
    stats.allocations + stats.reallocations
}

fn the_counter_counts() {
    let mut kept = Vec::new();
    let count = allocations(|| {
        kept.push(1u8);
        kept.reserve(10_000);
        drop(vec![1u8; 10]);
    });
    assert_eq!(count, 3);
    assert_eq!(allocations(|| kept.push(2)), 0);
}

/// How many times each thing is done to be counted.
const TIMES: usize = 100;
/// And before, until the history of 32 KiB that compression refers to is full.
const BEFORE: usize = 4000;
const LENGTHS: [usize; 6] = [0, 20, 125, 1024, 16_384, 65_536];

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

fn open(config: &Config, lines: &str) -> Connection {
    // A connection that stands alone keeps no more than 64 KiB, and three of the longest messages are more.
    let workspace = Workspace::new().for_many();
    let mut connection = Connection::from_parts(Endpoint::server(config), workspace);
    let mut head = format!("{REQUEST}{lines}\r\n").into_bytes();
    let mut input = &mut head[..];
    assert!(matches!(connection.receive(&mut input), Some(Event::Request(_))));
    connection.accept(Accept::new()).unwrap();
    connection.consume_output(usize::MAX);
    connection
}

/// A client's frame whose masking key is zero: it can be received again and again.
fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(opcode, payload.len() as u64);
    let header = FrameHeader { fin, mask: Some([0; 4]), ..header };
    [header.encode(&mut [0; MAX_HEADER]), payload].concat()
}

/// Receives everything, sends the messages back, and writes.
fn echo(connection: &mut Connection, mut input: &mut [u8]) -> usize {
    let mut messages = 0;
    while let Some(event) = connection.receive(&mut input) {
        if let Event::Message(message) = event {
            connection.send(message).unwrap();
            messages += 1;
        }
    }
    write(connection);
    messages
}

/// What a socket that takes everything would do; how much it took.
fn write(connection: &mut Connection) -> usize {
    let length = connection.output().map(<[u8]>::len).sum();
    assert_eq!(length, connection.buffered_amount());
    connection.consume_output(length);
    length
}

/// What it takes once, after it was done unobserved for a while.
fn each(mut act: impl FnMut()) -> usize {
    (0..BEFORE).for_each(|_| act());
    let count = allocations(|| (0..TIMES).for_each(|_| act()));
    assert_eq!(count % TIMES, 0, "{count} allocations in {TIMES} times");
    count / TIMES
}

fn messages_are_received_without() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        for length in LENGTHS {
            let mut connection = open(&Config::new(), "");
            let mut bytes = frame(true, opcode, &vec![b'x'; length]).repeat(3);
            let count = each(|| {
                let mut input = &mut bytes[..];
                for _ in 0..3 {
                    let Some(Event::Message(message)) = connection.receive(&mut input) else {
                        panic!("a message")
                    };
                    assert_eq!(message.len(), length);
                }
            });
            assert_eq!(count, 0, "{opcode:?} of {length}");
        }
    }
}

fn messages_are_echoed_without() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        for length in LENGTHS {
            let mut connection = open(&Config::new(), "");
            let mut bytes = frame(true, opcode, &vec![b'x'; length]).repeat(3);
            let count = each(|| assert_eq!(echo(&mut connection, &mut bytes), 3));
            assert_eq!(count, 0, "{opcode:?} of {length}");
        }
    }
}

fn control_frames_are_answered_without() {
    let mut connection = open(&Config::new(), "");
    let mut bytes = [frame(true, Opcode::Ping, &[7; 125]), frame(true, Opcode::Pong, b"")].concat();
    let count = each(|| {
        let mut input = &mut bytes[..];
        assert!(matches!(connection.receive(&mut input), Some(Event::Ping(_))));
        assert!(matches!(connection.receive(&mut input), Some(Event::Pong(_))));
        assert_eq!(write(&mut connection), 127);
    });
    assert_eq!(count, 0);
}

fn messages_of_both_roles_are_sent_without() {
    for length in LENGTHS {
        let payload = vec![b'x'; length];
        let workspace = Workspace::with_entropy(|bytes: &mut [u8]| bytes.fill(1)).for_many();
        let endpoint = Endpoint::adopted(Role::Client, &Config::new());
        let client = Connection::from_parts(endpoint, workspace);
        for mut connection in [open(&Config::new(), ""), client] {
            let count = each(|| {
                connection.send(&payload[..]).unwrap();
                connection.send("and a text").unwrap();
                assert!(write(&mut connection) > length);
            });
            assert_eq!(count, 0, "{:?}, {length}", connection.role());
        }
    }
}

/// A message that does not lie in the input in one piece is collected in a buffer, which the event owns;
/// what is known of it meanwhile takes another, and a second piece makes the buffer grow.
fn an_assembled_message_takes_its_own_buffer() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        for length in [20, 1024, 16_384] {
            let payload = vec![b'x'; length];
            let cut = frame(true, opcode, &payload);
            let pieces = [frame(false, opcode, &payload), frame(true, Opcode::Continuation, b"x")];
            for (mut bytes, at, most) in [(cut, 10, 2), (pieces.concat(), length + 8, 3)] {
                let mut connection = open(&Config::new(), "");
                let count = each(|| {
                    let (mut front, mut back) = bytes.split_at_mut(at);
                    assert_eq!(connection.receive(&mut front), None);
                    assert!(matches!(connection.receive(&mut back), Some(Event::Message(_))));
                });
                assert_eq!(count, most, "{opcode:?} of {length}");
            }
        }
    }
}

fn peers(config: &Config, lines: &str, workspace: &mut Workspace) -> Vec<Endpoint> {
    let open = |_| {
        let mut endpoint = Endpoint::server(config);
        let mut head = format!("{REQUEST}{lines}\r\n").into_bytes();
        let event = endpoint.receive(&mut &mut head[..], workspace);
        assert!(matches!(event, Some(Event::Request(_))));
        endpoint.accept(Accept::new(), workspace).unwrap();
        endpoint.consume_output(usize::MAX, workspace);
        endpoint
    };
    (0..50).map(open).collect()
}

/// One message to all, as a driver of many connections does it.
fn broadcast(peers: &mut [Endpoint], workspace: &mut Workspace, text: &str) {
    let prepared = Prepared::new(text);
    for peer in peers {
        peer.send_prepared(&prepared, workspace).unwrap();
        let length = peer.output().map(<[u8]>::len).sum();
        assert!(length > 10);
        peer.consume_output(length, workspace);
    }
}

/// Three for the encoded message (the frame, the shared frame, what is known of it), none for the peers.
fn a_broadcast_takes_its_frame() {
    for length in [20, 1024, 16_384] {
        let text = "x".repeat(length);
        let mut workspace = Workspace::new().for_many();
        let mut peers = peers(&Config::new(), "", &mut workspace);
        let count = each(|| broadcast(&mut peers, &mut workspace, &text));
        assert_eq!(count, 3, "{length}");
    }
}

#[cfg(feature = "deflate")]
mod deflate {
    use framewire::deflate::DeflateConfig;

    use super::*;

    const OFFERS: [&str; 2] = [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover\r\n",
    ];

    fn config() -> Config {
        Config::new().deflate(DeflateConfig::new().threshold(0))
    }

    fn text(length: usize) -> String {
        "words, and words again; ".repeat(length / 24 + 1)[..length].to_owned()
    }

    fn is_compressed(connection: &Connection) -> bool {
        connection.output().next().is_some_and(|chunk| chunk[0] & 0x40 != 0)
    }

    pub(super) fn compressed_messages_are_sent_without() {
        for offer in OFFERS {
            for length in [20, 1024, 16_384] {
                let (mut connection, text) = (open(&config(), offer), text(length));
                let count = each(|| {
                    connection.send(&text[..]).unwrap();
                    assert!(is_compressed(&connection));
                    write(&mut connection);
                });
                assert_eq!(count, 0, "{offer}, {length}");
            }
        }
    }

    pub(super) fn an_inflated_message_takes_its_own_buffer() {
        for offer in OFFERS {
            for length in [20, 1024, 16_384] {
                let (mut sender, text) = (open(&config(), offer), text(length));
                sender.send(&text[..]).unwrap();
                let bytes = sender.output().flatten().copied().collect::<Vec<_>>();
                let mut bytes =
                    frame(true, Opcode::Text, &bytes[2 + 2 * usize::from(bytes[1] > 125)..]);
                bytes[0] |= 0x40;
                let mut connection = open(&config(), offer);
                let count = each(|| assert_eq!(echo(&mut connection, &mut bytes), 1));
                assert_eq!(count, 1, "{offer}, {length}");
            }
        }
    }

    pub(super) fn a_compressed_broadcast_takes_a_second_frame() {
        for offer in OFFERS {
            let text = text(1024);
            let mut workspace = Workspace::new().for_many();
            let mut peers = peers(&config(), offer, &mut workspace);
            let count = each(|| broadcast(&mut peers, &mut workspace, &text));
            assert_eq!(count, 6, "{offer}");
        }
    }
}

#[cfg(feature = "deflate")]
use deflate::*;

#[cfg(feature = "mio")]
mod event_loop {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use framewire::{Decision, EventLoop, Handler, IncomingRequest, Message, Peer, Server};

    use super::*;

    /// Sends binary messages back, and text to all.
    struct Echo;

    impl Handler for Echo {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            Decision::accept(())
        }

        fn on_message(&mut self, peer: &mut Peer<'_, ()>, message: Message<'_>) {
            match message {
                Message::Text(_) => drop(peer.broadcast(message)),
                message => assert!(!peer.send(message).is_dropped()),
            }
        }
    }

    /// A loop, and sockets whose connections are open.
    fn house(clients: usize) -> (EventLoop<Echo>, Vec<TcpStream>) {
        let server = Server::bind("127.0.0.1:0").unwrap().config(Config::new().ping_interval(None));
        let mut event_loop = server.into_event_loop(Echo).unwrap();
        let connect = || {
            let mut client = TcpStream::connect(event_loop.local_addr().unwrap()).unwrap();
            client.set_nonblocking(true).unwrap();
            client.write_all(format!("{REQUEST}\r\n").as_bytes()).unwrap();
            client
        };
        let mut clients: Vec<_> = (0..clients).map(|_| connect()).collect();
        for client in &mut clients {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                take(&mut event_loop, client, &mut byte);
                head.push(byte[0]);
            }
        }
        (event_loop, clients)
    }

    /// Fills `bytes` from the socket, and lets the loop turn until it can.
    fn take(event_loop: &mut EventLoop<Echo>, client: &mut TcpStream, bytes: &mut [u8]) {
        let (mut filled, deadline) = (0, Instant::now() + Duration::from_secs(60));
        while filled < bytes.len() {
            match client.read(&mut bytes[filled..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "no answer");
                    event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
                }
                count => filled += count.unwrap(),
            }
        }
    }

    pub(super) fn a_turn_of_the_loop_takes_none() {
        for length in LENGTHS {
            let (mut event_loop, mut clients) = house(1);
            let batch = if length < 10_000 { 8 } else { 1 };
            let bytes = frame(true, Opcode::Binary, &vec![7; length]).repeat(batch);
            let mut answer = vec![0; bytes.len() - 4 * batch];
            let count = each(|| {
                clients[0].write_all(&bytes).unwrap();
                take(&mut event_loop, &mut clients[0], &mut answer);
            });
            assert_eq!(count, 0, "{length}");
        }
    }

    /// Three for the message, and none for a peer: all are sent from the buffer of the loop.
    pub(super) fn a_broadcast_of_the_loop_takes_its_frame_and_none_for_a_peer() {
        let (mut event_loop, mut clients) = house(30);
        let bytes = frame(true, Opcode::Text, &[b'x'; 1000]);
        let mut answer = vec![0; bytes.len() - 4];
        let count = each(|| {
            clients[0].write_all(&bytes).unwrap();
            for client in &mut clients {
                take(&mut event_loop, client, &mut answer);
            }
        });
        assert_eq!(count, 3);
    }
}

#[cfg(feature = "mio")]
use event_loop::*;
