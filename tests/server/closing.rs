//! The ends of connections: each is told once, and last.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use framewire::{Audience, CloseCode, Initiator, Outcome, ProtocolError, SendError, State};

use crate::client::{BINARY, CLOSE, Client, PING, TEXT, frame, frame_with};
use crate::house::{Call, House, Spy, eventually};
use crate::untimed::untimed;

// req: W091, W092, W094, W095, W099, W100
// attack: CL02, CL04
// behaviour: a10
#[test]
fn the_client_closes() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed(), spy);
    for (code, reason) in [(1000, ""), (1001, "going"), (4999, "ünïcode"), (3000, "")] {
        let mut client = Client::open(house.address);
        client.send_close(code, reason);
        assert_eq!(client.read_close(), (code, reason.to_owned()));
        // The client has not ended its direction: the server is the first.
        client.read_eof();
        log.next_open();
        client.half_close();
        let outcome = log.next_close();
        assert!(matches!(outcome, Outcome::Clean { initiator: Initiator::Remote, .. }));
        assert_eq!((outcome.code().0, outcome.reason()), (code, reason));
    }
    let mut client = Client::open(house.address);
    client.send_frame(CLOSE, "");
    assert_eq!(client.read_message(CLOSE), b"");
    client.read_eof();
    drop(client);
    log.next_open();
    assert_eq!(log.next_close().code(), CloseCode::NO_STATUS);
    house.stop(log);
}

// req: W092, W095, W097
#[test]
fn the_server_closes() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(_, message) = call {
            match message.as_text().unwrap() {
                "crossing" => return assert_eq!(peer.state(), State::Closing),
                "" => peer.close_without_code().unwrap(),
                text => peer.close(4001, text).unwrap(),
            }
            assert_eq!(peer.close(4002, "again"), Err(SendError::Closing));
            assert!(peer.send("too late").is_dropped());
        }
    });
    let house = House::new(untimed(), spy);
    for (reason, code) in [("enough", 4001), ("", 1005)] {
        let mut client = Client::open(house.address);
        client.send_frame(TEXT, reason);
        assert_eq!(client.read_close(), (code, reason.to_owned()));
        // What was on its way is still delivered.
        client.send_frame(TEXT, "crossing");
        client.send_close(1000, "");
        client.read_eof();
        drop(client);
        let outcome = log.wait_for_close();
        let Outcome::Clean { sent, received, initiator } = outcome else { panic!("{outcome:?}") };
        assert_eq!((sent.code().0, sent.reason()), (code, reason));
        assert_eq!((received.code().0, initiator), (1000, Initiator::Local));
    }
    let calls = house.stop(log);
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Message(..))).count(), 4);
}

// req: W093
// attack: CL10
#[test]
fn both_close_at_once() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.close(1001, "").unwrap();
        }
    });
    let house = House::new(untimed(), spy);
    for _ in 0..20 {
        let mut client = Client::open(house.address);
        client.send_raw([frame(TEXT, ""), frame(CLOSE, [3, 232])].concat());
        assert_eq!(client.read_close().0, 1001);
        client.read_eof();
        drop(client);
        assert!(log.wait_for_close().was_clean());
    }
    house.stop(log);
}

// req: W099, W105
// attack: CL15
#[test]
fn an_end_without_a_close_is_a_loss() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.send("unread");
        }
    });
    let house = House::new(untimed(), spy);
    for tail in [vec![], frame(BINARY, [0; 100])[..50].to_vec(), vec![0x81]] {
        let mut client = Client::open(house.address);
        client.send_raw(tail);
        drop(client);
        log.next_open();
        let outcome = log.next_close();
        assert_eq!(outcome, Outcome::Lost { sent: None, received: None, cause: None });
        assert_eq!(outcome.code(), CloseCode::ABNORMAL);
    }
    // With something unread the system sends a reset in place of the end.
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "");
    client.stream.peek(&mut [0]).unwrap();
    drop(client);
    let outcome = log.wait_for_close();
    assert_eq!(outcome.code(), CloseCode::ABNORMAL);
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(error.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset), "{outcome}");
    house.stop(log);
}

// attack: CL12, OS10
#[test]
fn what_the_client_said_before_its_end_is_heard_and_answered() {
    let (spy, mut log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    client.send_raw([frame(TEXT, "last words"), frame(CLOSE, [3, 232])].concat());
    client.half_close();
    assert_eq!(client.read_text(), "last words");
    assert_eq!(client.read_close().0, 1000);
    client.read_eof();
    assert!(log.wait_for_close().was_clean());

    // Without a Close it is a loss, but the answer goes out all the same.
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "last words");
    client.half_close();
    assert_eq!(client.read_text(), "last words");
    client.read_eof();
    assert_eq!(log.wait_for_close().code(), CloseCode::ABNORMAL);
    house.stop(log);
}

/// The answer to the last words is more than the socket takes at once.
#[test]
fn a_long_answer_outlives_the_end_of_the_clients_direction() {
    const LONG: usize = 12 << 20;
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.send(vec![1; LONG]);
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    client.send_raw([frame(TEXT, "go"), frame(CLOSE, [3, 232])].concat());
    client.half_close();
    assert_eq!(client.read_message(BINARY).len(), LONG);
    assert_eq!(client.read_close().0, 1000);
    client.read_eof();
    assert!(log.wait_for_close().was_clean());
    house.stop(log);
}

// req: W090, W103
// attack: CL05
#[test]
fn nothing_is_heard_after_a_close() {
    let (spy, mut log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    let after = [frame(TEXT, "late"), frame(PING, "late"), frame(CLOSE, [3, 233])].concat();
    client.send_raw([frame(CLOSE, [3, 232]), after].concat());
    assert_eq!(client.read_close().0, 1000);
    client.read_eof();
    let _ = client.stream.write_all(&frame(TEXT, "later"));
    drop(client);
    log.next_open();
    assert_eq!(log.next_close().code(), CloseCode::NORMAL);
    house.stop(log);
}

#[test]
fn an_aborted_connection_ends_without_a_close() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.send("never sent");
            peer.abort();
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    client.send_raw([frame(TEXT, "one"), frame(TEXT, "two")].concat());
    assert!(client.is_gone());
    let id = log.next_open();
    assert_eq!(log.next(), Call::Message(id, "one".into()));
    assert_eq!(log.next_close(), Outcome::Lost { sent: None, received: None, cause: None });
    house.stop(log);
}

// req: W101, W102, W117
// attack: FR15
#[test]
fn a_failed_connection_gets_a_close_and_is_not_heard_any_more() {
    let (spy, mut log) = Spy::echo();
    let house = House::new(untimed().max_message_size(100), spy);
    for (bytes, code) in [
        (vec![0x81, 0x01, b'x'], 1002),
        (frame_with(0xf1, "x"), 1002),
        (frame(TEXT, [0xff]), 1007),
        (frame(BINARY, [0; 101]), 1009),
        (frame(CLOSE, [3, 237]), 1002),
    ] {
        let mut client = Client::open(house.address);
        client.send_raw([bytes, frame(TEXT, "unheard"), frame(CLOSE, [3, 232])].concat());
        assert_eq!(client.read_close().0, code);
        client.read_eof();
        drop(client);
        log.next_open();
        let outcome = log.next_close();
        let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.close_code().0, code);
    }
    house.stop(log);
}

// req: W094
// attack: CL09
#[test]
fn the_close_is_read_however_much_was_unread() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed().max_message_size(1000), spy);
    let too_long = frame(BINARY, vec![0; 1 << 20]);
    for _ in 0..300 {
        let mut client = Client::open(house.address);
        let mut twin = client.twin();
        let bytes = too_long.clone();
        let writer = std::thread::spawn(move || twin.stream.write_all(&bytes));
        assert_eq!(client.read_close().0, 1009);
        client.read_eof();
        // It is drained and not reset, so all of it could be sent.
        writer.join().unwrap().unwrap();
        client.stream.shutdown(Shutdown::Both).unwrap();
        log.next_open();
        assert_eq!(log.next_close(), Outcome::Failed(ProtocolError::MessageTooBig(1000)));
    }
    house.stop(log);
}

// attack: CL08
#[test]
fn a_flood_after_the_close_is_cut_off() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed().close_timeout(None), spy);
    let mut client = Client::open(house.address);
    client.send_close(1000, "");
    assert_eq!(client.read_close().0, 1000);
    let junk = vec![0; 1 << 16];
    eventually("the flood is cut off", || client.stream.write_all(&junk).is_err());
    assert!(log.wait_for_close().was_clean());
    house.stop(log);
}

/// A pause ends with the Close, or the closing handshake could not.
#[test]
fn a_paused_connection_still_closes() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            peer.pause();
            peer.close(4000, "").unwrap();
        }
    });
    let house = House::new(untimed().close_timeout(None), spy);
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "");
    assert_eq!(client.read_close().0, 4000);
    client.send_close(4000, "");
    client.read_eof();
    drop(client);
    assert!(log.wait_for_close().was_clean());
    house.stop(log);
}

// attack: AP04
#[test]
fn a_handler_may_do_anything_in_any_call() {
    use std::sync::Mutex;
    // Every call does everything that a peer can do to itself and to the others, in an order that
    // depends on the call.
    static LOCK: Mutex<u64> = Mutex::new(0x2545_f491_4f6c_dd1d);
    fn roll(bound: u64) -> u64 {
        let mut state = LOCK.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % bound
    }
    fn act(peer: &mut framewire::Peer<'_, u64>, depth: u32) {
        for _ in 0..3 {
            match roll(14) {
                0 => drop(peer.send("to myself")),
                1 => drop(peer.send(vec![1; 20_000])),
                2 => drop(peer.broadcast("to all")),
                3 => drop(peer.publish(Audience::everyone().except(peer.id()), vec![2; 10_000])),
                4 => drop(peer.ping(b"ping")),
                5 if roll(8) == 0 => drop(peer.close(4000, "by chance")),
                6 if roll(8) == 0 => peer.abort(),
                7 => peer.pause(),
                8 | 9 => peer.resume(),
                10 => peer.handle().broadcast("by handle"),
                11 if roll(8) == 0 => peer.handle().abort(peer.id()),
                _ if depth < 2 => {
                    let others: Vec<_> = peer.peers().ids();
                    if let Some(other) = others.get(roll(others.len().max(1) as u64) as usize)
                        && let Some(mut other) = peer.to(*other)
                    {
                        other.resume();
                        act(&mut other, depth + 1);
                    }
                }
                _ => {}
            }
        }
    }
    let (spy, log) = Spy::new(|peer, _| act(peer, 0));
    let config = untimed().output_high_water(30_000).output_low_water(10_000);
    let house = House::new(config, spy);
    let address = house.address;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let mut client = Client::connect(address);
                    let mut twin = client.twin();
                    let writer = std::thread::spawn(move || {
                        let _ = twin.stream.write_all(crate::client::REQUEST.as_bytes());
                        for n in 0..50 {
                            let bytes = frame(TEXT, n.to_string());
                            if twin.stream.write_all(&bytes).is_err() {
                                return;
                            }
                        }
                        let _ = twin.stream.write_all(&frame(CLOSE, [3, 232]));
                        let _ = twin.stream.shutdown(Shutdown::Write);
                    });
                    // It opens, or is over before it is told so.
                    let _ = client.stream.read(&mut [0]);
                    // It ends in some way, and soon, unless it was left paused.
                    let timeout = std::time::Duration::from_millis(200);
                    client.stream.set_read_timeout(Some(timeout)).unwrap();
                    let _ = std::io::copy(&mut client.stream, &mut std::io::sink());
                    let _ = client.stream.shutdown(Shutdown::Both);
                    writer.join().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // `stop` checks that each of them was closed once and last.
    let calls = house.stop(log);
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Open(_))).count(), 160);
}
