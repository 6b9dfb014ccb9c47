//! A server that listens no more and keeps its connections; who is connected; closing as another has ended; a loop
//! that has ended.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use framewire::{Audience, CloseCode, Handle, Outcome, PeerId};

use crate::client::{Client, REQUEST, TEXT};
use crate::house::{Call, House, Spy, eventually};
use crate::turns::Turns;
use crate::untimed::{PATIENCE, untimed, untimed_server};

#[test]
fn a_server_that_stops_listening_keeps_its_connections() {
    let (spy, mut log) = Spy::echo();
    let mut house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    log.next_open();
    // One that has connected and not asked yet.
    let mut late = Client::connect(house.address);
    eventually("both are there", || house.handle.counters().connections == 2);
    let end = house.handle.stop_listening();
    // The order is carried out when what was asked behind it is.
    assert_eq!(house.handle.peers().wait().len(), 1);
    let refused = TcpStream::connect(house.address).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.send_frame(TEXT, "still there");
    assert_eq!(client.read_text(), "still there");
    late.send_raw(REQUEST);
    assert!(late.read_head().starts_with("HTTP/1.1 503 "));
    drop(late);
    assert!(end.wait_timeout(Duration::ZERO).is_none());
    client.send_frame(TEXT, "and there");
    assert_eq!(client.read_text(), "and there");
    client.send_close(1000, "bye");
    assert_eq!(client.read_close(), (1000, "bye".into()));
    client.read_eof();
    drop(client);
    let report = end.wait_timeout(PATIENCE).expect("the last has gone");
    assert_eq!((report.clean, report.refused, report.was_clean()), (1, 1, true));
    house.join();
    // Whoever asks then is told at once, and nobody is connected.
    assert_eq!(house.handle.stop_listening().wait(), Some(report));
    assert_eq!(house.handle.peers().wait(), []);
}

#[test]
fn a_shutdown_ends_what_was_to_be_waited_for() {
    for threads in [1, 3] {
        let loops = untimed_server().threads(threads).unwrap();
        let (handle, address) = (loops.handle(), loops.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            loops.serve(|peer, message| {
                peer.send(message);
            })
        });
        let mut clients: Vec<_> = (0..4).map(|_| Client::open(address)).collect();
        eventually("all are open", || handle.counters().open == 4);
        let mut ids = handle.peers().wait();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        let end = handle.stop_listening();
        assert!(!handle.peers().wait().is_empty());
        handle.shutdown(1012, "", PATIENCE).unwrap();
        for client in &mut clients {
            assert_eq!(client.read_close().0, 1012);
            client.send_close(1012, "");
        }
        drop(clients);
        assert_eq!(end.wait_timeout(PATIENCE).expect("all have gone").clean, 4);
        thread.join().unwrap().unwrap();
    }
}

/// How a connection ends, at its client, that is closed as another has ended.
fn relayed(outcome: &Outcome, by_handle: bool) -> Option<(u16, String)> {
    let (spy, _log) = Spy::echo();
    let mut turns = Turns::new(untimed(), spy);
    let (mut client, id) = turns.open();
    if by_handle {
        turns.event_loop.handle().close_like(id, outcome);
    } else {
        turns.event_loop.peer(id).unwrap().close_like(outcome).unwrap();
    }
    (0..3).for_each(|_| turns.turn());
    let frame = client.read_frame()?;
    let (code, reason) = frame.payload.split_at(frame.payload.len().min(2));
    let code = if code.is_empty() { 1005 } else { u16::from_be_bytes([code[0], code[1]]) };
    Some((code, String::from_utf8(reason.to_vec()).unwrap()))
}

#[test]
fn a_connection_ends_as_another_has_ended() {
    let ended = |end: fn(&mut Client)| {
        let (spy, mut log) = Spy::new(|_, _: &Call| {});
        let house = House::new(untimed(), spy);
        let mut client = Client::open(house.address);
        let _: PeerId = log.next_open();
        end(&mut client);
        drop(client);
        log.wait_for_close()
    };
    let with_code = ended(|client| client.send_close(4321, "why"));
    let without = ended(|client| client.send_frame(0x8, ""));
    let lost = ended(|_| {});
    let codes = [&with_code, &without, &lost].map(Outcome::code);
    assert_eq!(codes, [CloseCode(4321), CloseCode::NO_STATUS, CloseCode::ABNORMAL]);
    for by_handle in [false, true] {
        assert_eq!(relayed(&with_code, by_handle), Some((4321, "why".into())));
        assert_eq!(relayed(&without, by_handle), Some((1005, String::new())));
        assert_eq!(relayed(&lost, by_handle), None);
    }
}

#[test]
fn a_loop_that_has_ended_takes_nothing_and_makes_nobody_wait() {
    let (spy, _log) = Spy::echo();
    let mut turns = Turns::of(untimed_server().max_queued_bytes(1000), spy);
    let handle = turns.event_loop.loop_handle();
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    // The first turn: from now on who sends waits for room.
    turns.event_loop.run_once(Some(Duration::ZERO)).unwrap();
    let (done, all_done) = channel();
    for _ in 0..4 {
        let (handle, done) = (handle.clone(), done.clone());
        thread::spawn(move || {
            (0..100).for_each(|_| handle.broadcast("x".repeat(900)));
            done.send(()).unwrap();
        });
    }
    turns.event_loop.run().unwrap();
    // It is there still, and ended.
    for _ in 0..4 {
        assert_eq!(all_done.recv_timeout(PATIENCE), Ok(()));
    }
    for _ in 0..3 {
        assert_eq!(handle.try_publish(Audience::everyone(), "x".repeat(900)), Ok(()));
    }
    assert!(!handle.call(|_, _| {}));
    assert_eq!(handle.queued_bytes(), 0);
}

#[test]
fn who_asks_for_the_peers_in_the_last_turn_is_told_that_there_are_none() {
    let (lists, list) = channel();
    let handle = Arc::new(OnceLock::<Handle>::new());
    let own = Arc::clone(&handle);
    let (spy, _log) = Spy::new(move |_, call: &Call| {
        if let (Call::Close(..), Some(handle)) = (call, own.get()) {
            lists.send(handle.peers()).unwrap();
        }
    });
    let mut turns = Turns::new(untimed(), spy);
    handle.set(turns.event_loop.handle()).unwrap();
    let (_client, _) = turns.open();
    turns.event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    turns.event_loop.run().unwrap();
    let list = list.try_recv().unwrap();
    let (answer, answers) = channel();
    thread::spawn(move || answer.send(list.wait()).unwrap());
    assert_eq!(answers.recv_timeout(PATIENCE), Ok(Vec::new()));
}

#[test]
fn who_is_handed_over_when_the_loop_ends_is_answered_503() {
    let (spy, _log) = Spy::echo();
    let mut turns = Turns::new(untimed(), spy);
    let handle = turns.event_loop.handle();
    let end = handle.shutdown(1001, "", Duration::ZERO).unwrap();
    // More than one turn carries out, of which the first says that it is to end.
    for _ in 0..10_000 {
        handle.broadcast("to nobody");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    handle.adopt(listener.accept().unwrap().0, REQUEST, "").unwrap();
    let again = handle.shutdown(1001, "", Duration::ZERO).unwrap();
    turns.event_loop.run().unwrap();
    assert!(client.read_head().starts_with("HTTP/1.1 503 "));
    for end in [end, again] {
        assert_eq!(end.wait_timeout(PATIENCE).map(|report| report.refused), Some(1));
    }
    // Later ones are closed, and who hands them over is told.
    let mut late = Client::connect(listener.local_addr().unwrap());
    let error = handle.adopt(listener.accept().unwrap().0, REQUEST, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    late.read_eof();
}

#[test]
fn a_handler_that_ends_the_loop_is_obeyed_behind_what_it_has_asked_before() {
    for stop in [false, true] {
        let handle = Arc::new(OnceLock::<Handle>::new());
        let own = Arc::clone(&handle);
        let (spy, _log) = Spy::new(move |peer, call: &Call| {
            if let (Call::Message(..), Some(handle)) = (call, own.get()) {
                handle.send(peer.id(), "the last message");
                handle.close(peer.id(), 4000, "first").unwrap();
                if stop {
                    drop(handle.stop_listening());
                }
                drop(handle.shutdown(1001, "second", PATIENCE).unwrap());
            }
        });
        let mut turns = Turns::new(untimed(), spy);
        handle.set(turns.event_loop.handle()).unwrap();
        let (mut client, _) = turns.open();
        client.send_frame(TEXT, "end");
        turns.until(|event_loop| event_loop.counters().sent.text_messages == 1);
        turns.turn();
        assert_eq!(client.read_text(), "the last message");
        assert_eq!(client.read_close(), (4000, "first".into()));
        client.send_close(4000, "");
        drop(client);
        turns.event_loop.run().unwrap();
    }
}
