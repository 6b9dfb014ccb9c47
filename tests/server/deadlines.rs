//! Short deadlines in real time. No test asserts how long anything took, and nothing that a test does has to
//! be done in time: what must not be late lies there already, or is done by the thread that turns the loop.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use framewire::{CloseCode, Config, EventLoop, Outcome, ProtocolError, TimeoutKind};

use crate::client::{BINARY, Client, PING, PONG, REQUEST, TEXT, frame, frame_with};
use crate::house::{Call, House, Spy, echo, eventually};
use crate::untimed::{untimed, untimed_server};

const SHORT: Duration = Duration::from_millis(60);

/// A client whose request the server is handed whole.
fn adopted(house: &House) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    house.handle.adopt(listener.accept().unwrap().0, REQUEST, "").unwrap();
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    client
}

// attack: HS05, HS06
#[test]
fn a_handshake_that_takes_too_long_is_dropped() {
    let (spy, log) = Spy::echo();
    let house = House::new(untimed().handshake_timeout(SHORT), spy);
    let mut open = adopted(&house);
    let mut silent = Client::connect(house.address);
    let mut slow = Client::connect(house.address);
    // Progress does not help: header lines for as long as the server takes them.
    slow.send_raw(REQUEST.trim_end());
    slow.stream.set_nonblocking(true).unwrap();
    eventually("the slow one is cut off", || {
        slow.stream.write(b"\r\nX: y").is_err_and(|e| !crate::client::is_timeout(&e))
    });
    assert!(silent.is_gone());
    // Who is open has nothing to do with that deadline.
    open.send_frame(TEXT, "still here");
    assert_eq!(open.read_text(), "still here");
    drop(open);
    assert_eq!(house.stop(log).len(), 3);
}

// attack: FL07
#[test]
fn a_silent_peer_is_pinged_and_then_lost() {
    let (spy, mut log) = Spy::echo();
    let config = untimed().ping_interval(SHORT).pong_timeout(SHORT);
    let mut event_loop = untimed_server().config(config).into_event_loop(spy).unwrap();
    let mut client = Client::connect(event_loop.local_addr().unwrap());
    client.send_raw(REQUEST);
    // However late this thread is, the loop finds each answer there before it gives the peer up.
    turn_for(&mut event_loop, &mut client);
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    for _ in 0..5 {
        turn_for(&mut event_loop, &mut client);
        assert!(!client.read_message(PING).is_empty());
        client.send_frame(PONG, "");
    }
    // Anything shows that the peer is there, not only a Pong.
    for _ in 0..3 {
        turn_for(&mut event_loop, &mut client);
        client.read_message(PING);
        client.send_frame(TEXT, "alive");
        turn_for(&mut event_loop, &mut client);
        assert_eq!(client.read_text(), "alive");
    }
    while event_loop.connections() == 1 {
        event_loop.run_once(None).unwrap();
    }
    client.read_message(PING);
    client.read_eof();
    let timeout = TimeoutKind::Pong;
    assert_eq!(log.wait_for_close(), Outcome::TimedOut { timeout, sent: None, received: None });
}

/// Turns the loop until the client can read something.
fn turn_for(event_loop: &mut EventLoop<Spy>, client: &mut Client) {
    client.stream.set_nonblocking(true).unwrap();
    while !client.has_frame() && client.stream.peek(&mut [0]).is_err() {
        event_loop.run_once(None).unwrap();
    }
    client.stream.set_nonblocking(false).unwrap();
}

fn fails_with(
    config: Config,
    timeout: TimeoutKind,
    frames: impl AsRef<[u8]>,
    act: impl FnOnce(&mut Client),
) {
    let (spy, mut log) = Spy::echo();
    let house = House::new(config, spy);
    let mut client = Client::open_with(house.address, frames);
    act(&mut client);
    assert_eq!(client.read_close().0, 1008);
    client.read_eof();
    drop(client);
    assert_eq!(log.wait_for_close(), Outcome::Failed(ProtocolError::Timeout(timeout)));
    house.stop(log);
}

// attack: FM06
#[test]
fn a_message_must_come_and_must_end() {
    let config = untimed().first_message_timeout(SHORT);
    // A Ping is no message.
    fails_with(config, TimeoutKind::FirstMessage, frame(PING, ""), |client| {
        assert_eq!(client.read_message(PONG), b"");
    });
    let config = untimed().message_timeout(SHORT);
    let frames = [frame(TEXT, "whole"), frame_with(0x01, "begun")].concat();
    fails_with(config.clone(), TimeoutKind::Message, frames, |client| {
        assert_eq!(client.read_text(), "whole");
        // A byte now and then does not help.
        let _ = client.stream.write_all(&frame_with(0x00, "x"));
    });
    fails_with(config, TimeoutKind::Message, "", |client| {
        client.send_raw(&frame(BINARY, vec![0; 1 << 20])[..1 << 19]);
    });
}

#[test]
fn a_first_message_in_time_is_enough() {
    let (spy, mut log) = Spy::echo();
    let config = untimed().first_message_timeout(SHORT).message_timeout(SHORT).ping_interval(SHORT);
    let house = House::new(config, spy);
    let mut client = Client::open_with(house.address, frame(TEXT, "in time"));
    assert_eq!(client.read_text(), "in time");
    for _ in 0..4 {
        assert!(!client.read_message(PING).is_empty());
        client.send_frame(PONG, "");
    }
    client.send_close(1000, "");
    assert_eq!(client.read_close().0, 1000);
    drop(client);
    assert!(log.wait_for_close().was_clean());
    house.stop(log);
}

// attack: CL06, CL07
#[test]
fn a_close_that_is_not_answered_ends_all_the_same() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.close(1000, "bye").unwrap();
        }
    });
    let house = House::new(untimed().close_timeout(SHORT), spy);
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "");
    assert_eq!(client.read_close(), (1000, "bye".to_owned()));
    client.read_eof();
    let outcome = log.wait_for_close();
    assert!(
        matches!(
            outcome,
            Outcome::TimedOut { timeout: TimeoutKind::Close, sent: Some(_), received: None }
        ),
        "{outcome:?}"
    );

    // Answered, but the client keeps its direction open.
    let mut client = Client::open(house.address);
    client.send_close(1000, "");
    assert_eq!(client.read_close().0, 1000);
    client.read_eof();
    assert!(log.wait_for_close().was_clean());
    drop(client);

    // A refused request whose client stays.
    let mut client = Client::connect(house.address);
    client.send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.read_head().starts_with("HTTP/1.1 426 "));
    client.read_to_end();
    eventually("it is gone for the server too", || {
        client.stream.write_all(b"still there?").is_err()
    });
    house.stop(log);
}

// attack: CL16
#[test]
fn a_peer_that_takes_nothing_is_lost() {
    for closes in [false, true] {
        let (spy, mut log) = Spy::new(move |peer, call| {
            if let Call::Message(..) = call {
                peer.send(vec![0; 16 << 20]);
                if closes {
                    peer.close(1000, "").unwrap();
                }
            }
        });
        // A Close that has not left is not waited for.
        let config = untimed().write_timeout(SHORT).close_timeout(None);
        let house = House::new(config, spy);
        let mut client = Client::open(house.address);
        client.send_frame(TEXT, "much, please");
        let outcome = log.wait_for_close();
        assert_eq!(outcome.code(), CloseCode::ABNORMAL, "{outcome:?}");
        drop(client);
        house.stop(log);
    }
}

/// A peer whose output waits is not read, so its silence proves nothing; what it takes is what counts.
#[test]
fn a_slow_reader_is_not_taken_for_a_silent_one() {
    const LENGTH: usize = 16 << 20;
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.send(vec![0; LENGTH]);
        }
    });
    let config = untimed().ping_interval(SHORT).pong_timeout(SHORT * 10).write_timeout(None);
    let house = House::new(config, spy);
    let mut client = Client::open_with(house.address, frame(TEXT, "much, please"));
    let first = log.next_open();
    log.wait_for(|call| matches!(call, Call::Message(..)).then_some(()));
    // Two others are silent for as long as it takes to lose them, one after the other.
    for _ in 0..2 {
        let silent = Client::open(house.address);
        log.wait_for(|call| matches!(call, Call::Close(id, _) if *id != first).then_some(()));
        drop(silent);
    }
    assert_eq!(client.read_message(BINARY).len(), LENGTH);
    drop(client);
    house.stop(log);
}

/// The timers work where the application turns the loop.
#[test]
fn a_loop_turned_by_hand_keeps_its_deadlines() {
    let (spy, log) = Spy::new(echo);
    let server = untimed_server();
    let mut event_loop =
        server.config(untimed().handshake_timeout(SHORT)).into_event_loop(spy).unwrap();
    let client = Client::connect(event_loop.local_addr().unwrap());
    eventually("accepted", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        event_loop.counters().connections_ever == 1
    });
    // Without a timeout it returns for the deadline.
    while event_loop.connections() == 1 {
        event_loop.run_once(None).unwrap();
    }
    drop((client, log));
}
