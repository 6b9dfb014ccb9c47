//! The others: from a handler, and from other threads.

use std::collections::HashSet;
use std::time::Duration;

use framewire::{Audience, CloseCode, Outcome, PeerId, Prepared};

use crate::client::{BINARY, Client, REQUEST, TEXT, frame};
use crate::house::{Call, House, Spy, check_lives, eventually};
use crate::untimed::{untimed, untimed_server};

fn open_many(house: &House, log: &mut crate::house::Log, count: usize) -> Vec<(PeerId, Client)> {
    (0..count)
        .map(|_| {
            let client = Client::open(house.address);
            (log.next_open(), client)
        })
        .collect()
}

#[test]
fn a_peer_reaches_the_others() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(_, message) = call {
            match message.as_text().unwrap() {
                "all" => drop(peer.broadcast("to all")),
                "others" => {
                    peer.publish(Audience::everyone().except(peer.id()), "to the others");
                }
                "each" => {
                    let ids: Vec<_> = peer.peers().ids();
                    for id in ids {
                        peer.to(id).unwrap().send(format!("to {id}"));
                    }
                }
                "long" => drop(peer.broadcast(vec![1; 100_000])),
                _ => unreachable!(),
            }
        }
    });
    let house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, 5);
    // Somebody who is not open yet hears nothing of it.
    let mut opening = Client::connect(house.address);
    opening.send_raw(&REQUEST[..50]);
    for request in ["all", "others", "each", "long"] {
        clients[0].1.send_frame(TEXT, request);
        for (index, (id, client)) in clients.iter_mut().enumerate() {
            match (request, index) {
                ("all", _) => assert_eq!(client.read_text(), "to all"),
                ("others", 0) => {}
                ("others", _) => assert_eq!(client.read_text(), "to the others"),
                ("each", _) => assert_eq!(client.read_text(), format!("to {id}")),
                _ => assert_eq!(client.read_message(BINARY), vec![1; 100_000]),
            }
        }
    }
    opening.send_raw(&REQUEST[50..]);
    assert!(opening.read_head().starts_with("HTTP/1.1 101 "));
    drop((clients, opening));
    house.stop(log);
}

// attack: CL14, OS08
#[test]
fn an_id_is_never_used_again_and_a_stale_one_reaches_nobody() {
    let mut stale = Vec::new();
    let (spy, mut log) = Spy::new(move |peer, call| match call {
        Call::Close(id, _) => stale.push(*id),
        Call::Message(..) => {
            assert!(!stale.is_empty());
            for id in &stale {
                assert!(peer.to(*id).is_none());
            }
            peer.send("nobody there");
        }
        _ => {}
    });
    let house = House::new(untimed(), spy);
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let client = Client::open(house.address);
        let id = log.next_open();
        assert!(seen.insert(id));
        drop(client);
        log.next_close();
    }
    let mut client = Client::open(house.address);
    let id = log.next_open();
    for stale in &seen {
        house.handle.send(*stale, "to the dead");
        house.handle.close(*stale, 1000, "").unwrap();
        house.handle.abort(*stale);
    }
    house.handle.send(id, "to the living");
    assert_eq!(client.read_text(), "to the living");
    client.send_frame(TEXT, "");
    assert_eq!(client.read_text(), "nobody there");
    drop(client);
    house.stop(log);
}

#[test]
fn a_handle_keeps_the_order_of_its_thread() {
    const THREADS: usize = 4;
    const COUNT: usize = 2000;
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, 2);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, first) = (house.handle.clone(), clients[0].0);
            std::thread::spawn(move || {
                for n in 0..COUNT {
                    match n % 3 {
                        0 => handle.send(first, format!("{thread} {n}")),
                        1 => handle.broadcast(Prepared::new(format!("{thread} {n}"))),
                        _ => handle
                            .publish(Audience::everyone().except(first), format!("{thread} {n}")),
                    }
                }
            })
        })
        .collect();
    for (index, (_, client)) in clients.iter_mut().enumerate() {
        let heard = |n: &usize| if index == 0 { n % 3 != 2 } else { !n.is_multiple_of(3) };
        let mut expected: Vec<_> =
            (0..THREADS).map(|_| (0..COUNT).filter(heard).peekable()).collect();
        while expected.iter_mut().any(|thread| thread.peek().is_some()) {
            let text = client.read_text();
            let (thread, n) = text.split_once(' ').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(expected[thread].next(), n.parse().ok(), "{text}");
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(clients);
    house.stop(log);
}

#[test]
fn a_handle_wakes_a_sleeping_loop_each_time() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed().ping_interval(None), spy);
    let mut client = Client::open(house.address);
    let id = log.next_open();
    for n in 0..500 {
        house.handle.send(id, n.to_string());
        assert_eq!(client.read_text(), n.to_string());
    }
    drop(client);
    house.stop(log);
}

/// Threads that order without end must not keep the loop from its connections.
#[test]
fn a_flood_of_orders_leaves_the_connections_their_turn() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (spy, mut log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    log.next_open();
    let over = Arc::new(AtomicBool::new(false));
    let stale = {
        let gone = Client::open(house.address);
        let id = log.next_open();
        drop(gone);
        log.next_close();
        id
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (handle, over) = (house.handle.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    // Orders that cost the loop least: it must not catch up with them.
                    handle.abort(stale);
                }
            })
        })
        .collect();
    for _ in 0..50 {
        client.send_frame(TEXT, "me too");
        assert_eq!(client.read_text(), "me too");
    }
    over.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(client);
    house.stop(log);
}

#[test]
fn a_handle_closes_and_aborts() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, 2);
    assert!(house.handle.close(clients[0].0, 1005, "").is_err());
    assert!(house.handle.close(clients[0].0, 1000, &"x".repeat(124)).is_err());
    house.handle.send(clients[0].0, "before");
    house.handle.close(clients[0].0, 4000, "by handle").unwrap();
    house.handle.send(clients[0].0, "after");
    assert_eq!(clients[0].1.read_text(), "before");
    assert_eq!(clients[0].1.read_close(), (4000, "by handle".to_owned()));
    clients[0].1.send_close(4000, "");
    clients[0].1.read_eof();
    house.handle.abort(clients[1].0);
    assert!(clients[1].1.is_gone());
    assert_eq!(log.next_close(), Outcome::Lost { sent: None, received: None, cause: None });
    clients.clear();
    assert!(log.wait_for_close().was_clean());
    house.stop(log);
}

#[test]
fn a_broadcast_inside_a_close_reaches_those_who_stay() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Close(id, _) => {
            assert!(peer.peers().ids().iter().all(|other| other != id));
            peer.broadcast(format!("{id} has left"));
        }
        // It leaves in the turn in which it has also been sent something.
        Call::Message(..) => {
            peer.broadcast("leaving");
            peer.abort();
        }
        _ => {}
    });
    let house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, 20);
    while let Some((id, mut client)) = clients.pop() {
        client.send_frame(TEXT, "");
        for (_, other) in &mut clients {
            assert_eq!(other.read_text(), "leaving");
            assert_eq!(other.read_text(), format!("{id} has left"));
        }
    }
    house.stop(log);
}

// attack: CL17, HS39
#[test]
fn a_shutdown_closes_every_connection_in_good_order() {
    const COUNT: usize = 1000;
    let (spy, mut log) = Spy::new(|_, _| {});
    let mut house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, COUNT);
    let mut asking = Client::connect(house.address);
    asking.send_raw(&REQUEST[..50]);
    // The loop has seen the half request before it hears of its end.
    let mut last = Client::open(house.address);
    log.next_open();
    house.handle.shutdown(1001, "restart", Duration::from_secs(600)).unwrap();
    assert_eq!(last.read_close(), (1001, "restart".to_owned()));
    asking.send_raw(&REQUEST[50..]);
    let head = asking.read_head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("\r\nConnection: close\r\n"));
    let late = Client::ask(house.address, REQUEST);
    assert!(late.starts_with("HTTP/1.1 503 "), "{late}");
    for (_, client) in &mut clients {
        assert_eq!(client.read_close(), (1001, "restart".to_owned()));
        client.send_close(1001, "");
    }
    last.send_close(1001, "");
    for (_, client) in &mut clients {
        client.read_eof();
    }
    drop((clients, asking, last));
    house.join();
    assert!(std::net::TcpStream::connect(house.address).is_err(), "nothing listens any more");
    let closes: Vec<_> = (0..=COUNT).map(|_| log.wait_for_close()).collect();
    assert!(closes.iter().all(Outcome::was_clean));
}

#[test]
fn a_shutdown_drops_those_who_do_not_answer() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Close(..) = call {
            peer.broadcast("nobody is open any more");
        }
    });
    let config = untimed().close_timeout(None).handshake_timeout(None);
    let mut house = House::new(config, spy);
    let clients = open_many(&house, &mut log, 10);
    let silent = Client::connect(house.address);
    house.handle.shutdown(1001, "", Duration::from_millis(50)).unwrap();
    house.join();
    for _ in 0..10 {
        let outcome = log.wait_for_close();
        assert_eq!(outcome.code(), CloseCode::ABNORMAL);
    }
    // Orders to a loop that is gone go nowhere.
    house.handle.broadcast("anybody?");
    house.handle.abort(clients[0].0);
    drop((clients, silent));
}

#[test]
fn a_loop_turned_by_hand_can_be_used_between_two_turns() {
    let (spy, mut log) = Spy::echo();
    let mut event_loop = untimed_server().into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = Client::open(address);
        assert_eq!(client.read_text(), "by id");
        assert_eq!(client.read_text(), "to all");
        client.send_raw(frame(TEXT, "there"));
        assert_eq!(client.read_text(), "there");
        assert_eq!(client.read_close().0, 1001);
    });
    let turn = |event_loop: &mut framewire::EventLoop<Spy>| {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
    };
    eventually("open", || {
        turn(&mut event_loop);
        event_loop.peers().len() == 1
    });
    let id = log.next_open();
    assert!(!event_loop.is_finished());
    event_loop.peer(id).unwrap().send("by id");
    event_loop.broadcast("to all");
    let mut calls = vec![Call::Open(id)];
    eventually("the message has come", || {
        turn(&mut event_loop);
        calls.extend(log.try_next());
        calls.len() == 2
    });
    event_loop.handle().shutdown(1001, "", Duration::from_secs(60)).unwrap();
    eventually("finished", || {
        turn(&mut event_loop);
        event_loop.is_finished()
    });
    thread.join().unwrap();
    assert!(event_loop.local_addr().is_err());
    assert!(event_loop.peer(id).is_none());
    calls.push(log.next());
    assert_eq!(calls[1], Call::Message(id, "there".into()));
    check_lives(&calls);
}

/// Broadcasts are sent at the end of the turn, all at once; what else is sent keeps its place among them.
#[test]
fn broadcasts_and_all_else_keep_their_order_for_each_receiver() {
    let (spy, mut log) = Spy::new(|peer, call| {
        let Call::Message(_, message) = call else { return };
        let own = peer.id();
        let other = peer.peers().ids().into_iter().find(|&id| id != own).unwrap();
        peer.subscribe("topic");
        peer.to(other).unwrap().subscribe("topic");
        peer.broadcast("1");
        peer.publish(Audience::everyone().except(peer.id()), "2");
        peer.to(other).unwrap().send("3");
        peer.send("4");
        peer.broadcast("5");
        peer.publish("topic", "6");
        for _ in 0..100 {
            peer.broadcast("7");
        }
        peer.broadcast(vec![8; 300_000]);
        peer.broadcast("9");
        if message.as_text() == Some("bye") {
            peer.to(other).unwrap().close(1000, "").unwrap();
            peer.broadcast("10");
            peer.close(1000, "").unwrap();
        }
    });
    let house = House::new(untimed(), spy);
    let mut clients = open_many(&house, &mut log, 2);
    clients[0].1.send_raw([frame(TEXT, "hello"), frame(TEXT, "bye")].concat());
    for (index, (_, client)) in clients.iter_mut().enumerate() {
        let early = [&["1", "4", "5", "6"][..], &["1", "2", "3", "5", "6"]][index];
        for _ in 0..2 {
            early.iter().for_each(|text| assert_eq!(client.read_text(), *text));
            (0..100).for_each(|_| assert_eq!(client.read_text(), "7"));
            assert_eq!(client.read_message(BINARY), vec![8; 300_000]);
            assert_eq!(client.read_text(), "9");
        }
        if index == 0 {
            assert_eq!(client.read_text(), "10");
        }
        client.send_close(1000, "");
        assert_eq!(client.read_close().0, 1000);
    }
    drop(clients);
    house.stop(log);
}

#[test]
#[cfg_attr(mio_unsupported_force_poll_poll, ignore = "poll tells in another order")]
fn who_opens_behind_a_broadcast_of_the_same_turn_does_not_get_it() {
    let (spy, log) = Spy::new(|peer, call| match call {
        Call::Open(_) => assert!(!peer.send("welcome").is_dropped()),
        Call::Message(..) => drop(peer.broadcast("to those who are here")),
        _ => {}
    });
    let mut event_loop = untimed_server().into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    let (mut early, mut late) = (Client::connect(address), Client::connect(address));
    early.send_raw(REQUEST);
    let step = Some(Duration::from_millis(1));
    eventually("one is open, both are accepted", || {
        event_loop.run_once(step).unwrap();
        event_loop.peers().len() == 1 && event_loop.connections() == 2
    });
    // Both are ready, in this order, before the loop looks again.
    early.send_frame(TEXT, "hello");
    late.send_raw(REQUEST);
    eventually("both are open", || {
        event_loop.run_once(step).unwrap();
        event_loop.peers().len() == 2
    });
    event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    event_loop.run().unwrap();
    assert!(early.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(early.read_text(), "welcome");
    assert_eq!(early.read_text(), "to those who are here");
    assert!(late.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(late.read_text(), "welcome");
    let next = late.read_frame().map(|frame| frame.payload);
    assert_ne!(next, Some(b"to those who are here".to_vec()));
    drop(log);
}
