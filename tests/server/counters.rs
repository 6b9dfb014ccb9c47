//! What a loop counts, and that it adds up.

use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url};
use framewire::{CloseCode, Counters, Decision, Handle, Response, Server};

use crate::client::{BINARY, CLOSE, Client, PING, PONG, REQUEST, TEXT};
use crate::client::{frame, frame_with, request_with};
use crate::deserted::deserted;
use crate::house::{Call, House, Spy, echo, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// Shuts the loop down and takes its last word, which must add up.
fn last(mut house: House) -> Counters {
    let handle = house.handle.clone();
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    house.join();
    check(&handle)
}

fn check(handle: &Handle) -> Counters {
    let counters = handle.counters();
    let shakes = &counters.handshakes;
    let ended = shakes.accepted + shakes.rejected() + shakes.failed + shakes.timed_out;
    assert_eq!(counters.connections_ever, ended + shakes.lost + counters.http_requests);
    assert_eq!((counters.connections, counters.open), (0, 0), "{counters:?}");
    assert_eq!(counters.closes_sent.total(), shakes.accepted);
    assert_eq!(counters.closes_received.total(), shakes.accepted);
    counters
}

#[test]
fn every_byte_message_and_control_frame_is_counted() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Message(_, message) if message.as_text() == Some("ping") => {
            peer.ping(b"?");
            peer.pong(b"!");
        }
        call => echo(peer, call),
    });
    let house = House::new(untimed().ping_interval(None), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    let head = client.read_head();
    let said: [(u8, &[u8]); 5] =
        [(TEXT, b"ping"), (PING, b"hi"), (TEXT, b"one"), (BINARY, b"two"), (BINARY, &[7; 70_000])];
    let mut received = REQUEST.len();
    for (opcode, payload) in said {
        let frame = frame(opcode, payload);
        received += frame.len();
        client.send_raw(frame);
    }
    // In two pieces.
    for piece in [frame_with(TEXT, "fo"), frame_with(0x80, "ur")] {
        received += piece.len();
        client.send_raw(piece);
    }
    let mut sent = head.len();
    for opcode in [PING, PONG, PONG, TEXT, BINARY, BINARY, TEXT] {
        let frame = client.read_frame().unwrap();
        assert_eq!(frame.opcode, opcode);
        sent += match frame.payload.len() {
            length @ ..126 => length + 2,
            length @ ..65_536 => length + 4,
            length => length + 10,
        };
    }
    eventually("five messages", || house.handle.counters().sent.bytes == sent as u64);
    let counters = house.handle.counters();
    assert_eq!((counters.connections, counters.open, counters.connections_ever), (1, 1, 1));
    let traffic = &counters.received;
    assert_eq!((traffic.text_messages, traffic.binary_messages, traffic.messages()), (3, 2, 5));
    assert_eq!((traffic.pings, traffic.pongs, traffic.bytes), (1, 0, received as u64));
    let traffic = &counters.sent;
    assert_eq!((traffic.text_messages, traffic.binary_messages), (2, 2));
    assert_eq!((traffic.pings, traffic.pongs), (1, 2));
    assert_eq!(traffic.compression_ratio(), None);
    assert_eq!((counters.buffered_bytes, counters.dropped, counters.backpressure), (None, 0, 0));
    client.send_close(4000, "");
    assert_eq!(client.read_close().0, 4000);
    drop(client);
    log.wait_for_close();
    let counters = last(house);
    assert_eq!(counters.closes_received.iter().collect::<Vec<_>>(), [(CloseCode(4000), 1)]);
    assert_eq!(counters.closes_sent, counters.closes_received);
    assert_eq!(counters.sent.bytes, sent as u64 + 4);
    assert_eq!(counters.received.bytes, received as u64 + 8);
}

#[test]
fn every_handshake_has_one_outcome() {
    let (spy, mut log) = Spy::echo();
    let spy = spy.deciding(|request| match request.path().trim_start_matches('/').parse() {
        Ok(status) => Decision::reject(Response::new(status)),
        Err(_) => Decision::accept(0),
    });
    let house = House::of(untimed_server().max_connections(1).spare_connections(0), spy);
    let alone = || {
        eventually("an empty house", || house.handle.counters().connections == 0);
        house.address
    };
    // 101 is no final answer, so it becomes a 500.
    for (status, answer) in [(204, 204), (302, 302), (403, 403), (404, 404), (503, 503), (101, 500)]
    {
        let text = Client::ask(alone(), REQUEST.replace("/chat", &format!("/{status}")));
        assert!(text.starts_with(&format!("HTTP/1.1 {answer} ")), "{text}");
    }
    let text = Client::ask(alone(), REQUEST.replace("Host", "Hose"));
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    let text = Client::ask(alone(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 426 "), "{text}");
    let mut gone = Client::connect(alone());
    gone.send_raw(&REQUEST[..50]);
    eventually("somebody is there", || house.handle.counters().connections == 1);
    drop(gone);
    let mut client = Client::open(alone());
    let late = Client::ask(house.address, REQUEST);
    assert!(late.starts_with("HTTP/1.1 503 "), "{late}");
    client.send_frame(CLOSE, "");
    assert_eq!(client.read_close().0, 1005);
    drop(client);
    log.wait_for_close();
    // Masked wrongly, and cut off without a word.
    let mut rude = Client::open(alone());
    rude.send_raw([0x81, 0x01, b'a']);
    assert_eq!(rude.read_close().0, 1002);
    drop(rude);
    log.wait_for_close();
    drop(Client::open(alone()));
    log.wait_for_close();
    let counters = last(house);
    let shakes = &counters.handshakes;
    assert_eq!((shakes.accepted, shakes.rejected()), (3, 6));
    let classes =
        (shakes.rejected_2xx, shakes.rejected_3xx, shakes.rejected_4xx, shakes.rejected_5xx);
    assert_eq!(classes, (1, 1, 2, 2));
    assert_eq!((shakes.failed, shakes.timed_out, shakes.lost), (1, 0, 1));
    assert_eq!((counters.http_requests, counters.refused, counters.accept_errors), (1, 1, 0));
    let [sent, received] = [&counters.closes_sent, &counters.closes_received];
    assert_eq!([1002, 1005, 1006].map(|code| sent.get(code)), [1, 1, 1]);
    assert_eq!([1002, 1005, 1006].map(|code| received.get(code)), [0, 1, 2]);
}

#[test]
fn what_takes_too_long_is_counted_as_that() {
    let (spy, _log) = Spy::echo();
    let config = untimed().handshake_timeout(Duration::from_millis(1));
    let house = House::new(config, spy);
    let text = Client::ask(house.address, "");
    assert!(text.starts_with("HTTP/1.1 408 ") || text.is_empty(), "{text}");
    assert_eq!(last(house).handshakes.timed_out, 1);
}

#[test]
fn compression_is_counted_in_both_directions() {
    let (spy, _log) = Spy::new(|peer, call| {
        echo(peer, call);
        if let Call::Message(..) = call {
            peer.broadcast("b".repeat(2000));
            peer.send("short");
        }
    });
    let house = House::new(untimed().deflate(DeflateConfig::new()), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request_with(
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover\r\n",
    ));
    client.read_head();
    let mut compressed = [0, 0];
    client.send_frame(TEXT, "a".repeat(5000));
    let first = client.read_frame().unwrap();
    // What the server compressed, it is given back.
    client.send_raw(frame_with(0xc1, &first.payload));
    compressed[0] += first.payload.len();
    compressed[1] += first.payload.len();
    for _ in 0..5 {
        let frame = client.read_frame().unwrap();
        if frame.rsv1 {
            compressed[1] += frame.payload.len();
        }
    }
    let counters = last(house);
    let (received, sent) = (&counters.received, &counters.sent);
    assert_eq!(
        (received.uncompressed_bytes, received.compressed_bytes),
        (5000, compressed[0] as u64)
    );
    assert_eq!((sent.uncompressed_bytes, sent.compressed_bytes), (14_000, compressed[1] as u64));
    assert_eq!((received.messages(), sent.messages()), (2, 6));
    let ratio = sent.compression_ratio().unwrap();
    assert!(ratio > 0.0 && ratio < 0.1, "{ratio}");
}

#[test]
fn slow_consumers_are_counted() {
    const MESSAGE: usize = 8 << 20;
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            for _ in 0..4 {
                peer.send(vec![0; MESSAGE]);
            }
        }
    });
    let config = untimed().max_buffered_amount(MESSAGE * 3 / 2).write_timeout(None);
    let server = untimed_server().config(config).max_buffered_total(MESSAGE * 8);
    let house = House::of(server, spy);
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "all of it");
    assert_eq!(
        log.wait_for(|call| match *call {
            Call::Dropped(_, count) => Some(count),
            _ => None,
        }),
        2
    );
    eventually("what was dropped", || house.handle.counters().dropped == 2);
    let counters = house.handle.counters();
    assert_eq!((counters.backpressure, counters.sent.binary_messages), (1, 2));
    let waits = counters.buffered_bytes.expect("they are limited");
    assert_eq!(waits + counters.sent.bytes, (2 * (MESSAGE + 10) + 129) as u64);
    for _ in 0..2 {
        client.read_message(BINARY);
    }
    log.wait_for(|call| matches!(call, Call::Drain(_)).then_some(()));
    eventually("nothing waits", || house.handle.counters().buffered_bytes == Some(0));
    last(house);
}

#[test]
fn what_is_sent_when_another_ends_is_counted() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Close(..) = call {
            peer.broadcast("somebody left");
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    let mut other = Client::open(house.address);
    other.send_close(1000, "");
    other.read_close();
    drop(other);
    log.wait_for_close();
    assert_eq!(client.read_text(), "somebody left");
    drop(client);
    assert_eq!(last(house).sent.text_messages, 1);
}

#[test]
fn a_loop_that_dials_counts_what_it_is_answered() {
    let (spy, _log) = Spy::echo();
    let house = House::new(untimed().path("/only"), spy);
    let (_socket, closed) = deserted();
    let mut event_loop =
        Server::unbound().config(untimed()).on_message(|_, _| {}).into_event_loop().unwrap();
    for (address, path) in [(house.address, "/only"), (house.address, "/other"), (closed, "/only")]
    {
        let request = ClientRequest::new(&Url::parse(&format!("ws://localhost{path}")).unwrap());
        event_loop.peers().connect(address, request, &untimed(), ()).unwrap();
    }
    assert_eq!(event_loop.counters().connections, 3, "of now, also between two turns");
    let mut turns = 0;
    while event_loop.counters().connections > 1 || event_loop.counters().open == 0 {
        event_loop.run_once(Some(PATIENCE)).unwrap();
        turns += 1;
        assert!(turns < 1000);
    }
    event_loop.handle().shutdown(1000, "", PATIENCE).unwrap();
    event_loop.run().unwrap();
    let counters = check(&event_loop.handle());
    let shakes = &counters.handshakes;
    assert_eq!((shakes.accepted, shakes.rejected_4xx, shakes.lost), (1, 1, 1));
    assert_eq!(counters.closes_sent.get(1000), 1);
    let both: Counters = [counters, last(house)].into_iter().sum();
    assert_eq!(both.handshakes.accepted, 2);
    assert_eq!(both.closes_received.get(1000), 2);
    assert_eq!(both.sent.bytes, both.received.bytes);
}
