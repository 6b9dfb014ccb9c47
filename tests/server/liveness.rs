//! Pauses, idleness, lifetimes and round trips in the loop. No test asserts how long anything took.

use std::time::Duration;

use framewire::{CloseCode, Outcome, PeerId};

use crate::client::{Client, PING, PONG, REQUEST, TEXT, frame_with};
use crate::house::{Call, House, Log, Spy, echo};
use crate::untimed::untimed;

const SHORT: Duration = Duration::from_millis(60);

/// Waits until the loop has lost a silent peer, so that its deadlines have passed once.
fn outlast_a_silent_peer(house: &House, log: &mut Log, except: PeerId) {
    let silent = Client::open(house.address);
    log.wait_for(|call| matches!(call, Call::Close(id, _) if *id != except).then_some(()));
    drop(silent);
}

#[test]
fn a_paused_peer_is_not_blamed_for_what_is_not_read() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Open(_) if peer.request().is_some_and(|request| request.query().is_some()) => {
            peer.pause();
        }
        call => {
            echo(peer, call);
            if let Call::Message(..) = call {
                // By an order, as another thread gives it; it is carried out before time goes on.
                peer.handle().pause(peer.id());
            }
        }
    });
    let config = untimed()
        .first_message_timeout(SHORT)
        .message_timeout(SHORT)
        .idle_timeout(SHORT)
        .close_timeout(SHORT);
    let house = House::new(config, spy);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST.replace("/chat", "/chat?paused"));
    client.read_head();
    let id = log.next_open();
    client.send_raw([frame_with(0x01, "be"), frame_with(0x80, "gun")].concat());
    outlast_a_silent_peer(&house, &mut log, id);
    // Nothing was held against it; what it said meanwhile is read, and all runs on.
    house.handle.resume(id);
    assert_eq!(client.read_text(), "begun");
    // It is paused again.
    outlast_a_silent_peer(&house, &mut log, id);
    client.send_frame(TEXT, "after the pause");
    house.handle.resume(id);
    assert_eq!(client.read_text(), "after the pause");
    drop(client);
    house.stop(log);
}

#[test]
fn who_says_nothing_is_sent_away_even_if_it_answers_pings() {
    let (spy, mut log) = Spy::echo();
    let config = untimed().idle_timeout(SHORT * 4).ping_interval(SHORT / 2);
    let house = House::new(config, spy);
    let mut pings = 0;
    // A loop that is late may find both deadlines passed, and asks nobody.
    while pings == 0 {
        let mut client = Client::open(house.address);
        let close = loop {
            let frame = client.read_frame().expect("a frame");
            if frame.opcode != PING {
                break frame.payload;
            }
            client.send_frame(PONG, &frame.payload);
            pings += 1;
        };
        assert_eq!(close, b"\x03\xe9idle timeout");
        client.send_close(1001, "");
        client.read_eof();
        drop(client);
        let outcome = log.wait_for_close();
        assert!(matches!(&outcome, Outcome::Clean { sent, .. } if sent.reason() == "idle timeout"));
    }
    house.stop(log);
}

#[test]
fn a_lifetime_ends_a_busy_connection() {
    let (spy, mut log) = Spy::echo();
    let house = House::new(untimed().max_lifetime(SHORT), spy);
    let mut client = Client::open(house.address);
    let close = loop {
        client.send_frame(TEXT, "busy");
        let frame = client.read_frame().expect("a frame");
        if frame.opcode != TEXT {
            break frame.payload;
        }
    };
    assert_eq!(close, b"\x03\xe9maximum lifetime reached");
    client.send_close(1001, "");
    client.read_to_end();
    drop(client);
    assert_eq!(log.wait_for_close().code(), CloseCode::GOING_AWAY);
    house.stop(log);
}

#[test]
fn a_round_trip_is_told() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            let known = peer.round_trip_time().is_some();
            peer.send(known.to_string());
        }
    });
    let house = House::new(untimed().ping_interval(SHORT), spy);
    let mut client = Client::open(house.address);
    let mut answers = Vec::new();
    client.send_frame(TEXT, "known?");
    while answers.last().is_none_or(|answer| answer != b"true") {
        let frame = client.read_frame().expect("a frame");
        if frame.opcode == PING {
            client.send_frame(PONG, "another");
            client.send_frame(PONG, &frame.payload);
            let of_ours = |call: &Call| matches!(call, Call::Pong(_, p) if *p == frame.payload);
            log.wait_for(|call| of_ours(call).then_some(()));
            client.send_frame(TEXT, "known?");
        } else {
            answers.push(frame.payload);
        }
    }
    assert_eq!(answers[0], b"false");
    drop(client);
    house.stop(log);
}
