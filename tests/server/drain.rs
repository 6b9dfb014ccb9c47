//! The end of a loop in good order, and what it reports.

use std::time::Duration;

use crate::client::{BINARY, Client, REQUEST, TEXT};
use crate::house::{Call, House, Spy, echo, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

#[test]
fn a_shutdown_reports_what_became_of_everybody() {
    const UNSENT: usize = 16 << 20;
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Message(_, message) if message.as_text() == Some("much, please") => {
            peer.send(vec![0; UNSENT]);
        }
        call => echo(peer, call),
    });
    let config = untimed().close_timeout(None).write_timeout(None).ping_interval(None);
    let mut house = House::new(config, spy);
    let mut polite: Vec<_> = (0..3).map(|_| Client::open(house.address)).collect();
    let mut stuck = Client::open(house.address);
    stuck.send_frame(TEXT, "much, please");
    log.wait_for(|call| matches!(call, Call::Message(..)).then_some(()));
    let rude = Client::open(house.address);
    let mut asking = Client::connect(house.address);
    asking.send_raw(&REQUEST[..50]);
    let mut last = Client::open(house.address);
    let shutdown = house.handle.shutdown(1012, "restart", PATIENCE).unwrap();
    assert_eq!(last.read_close(), (1012, "restart".to_owned()));
    // Who was asking, and who comes while it lasts.
    asking.send_raw(&REQUEST[50..]);
    assert!(asking.read_head().starts_with("HTTP/1.1 503 "));
    assert!(Client::ask(house.address, REQUEST).starts_with("HTTP/1.1 503 "));
    let silent = Client::connect(house.address);
    drop((rude, asking));
    for client in polite.iter_mut().chain([&mut last]) {
        client.send_close(1012, "");
    }
    for client in &mut polite {
        assert_eq!(client.read_close(), (1012, "restart".to_owned()));
        client.read_eof();
    }
    drop((polite, last));
    (0..5).for_each(|_| drop(log.wait_for_close()));
    assert_eq!(shutdown.wait_timeout(Duration::ZERO), None, "one is still there");
    // The second order cuts it short; both are told the same.
    let second = house.handle.shutdown(1001, "", Duration::ZERO).unwrap();
    house.join();
    let report = shutdown.wait().expect("a report");
    assert_eq!(second.wait(), Some(report.clone()));
    assert_eq!((report.clean, report.aborted, report.lost, report.refused), (4, 1, 1, 2));
    assert!((1..=UNSENT as u64 + 100).contains(&report.unsent_bytes), "{report:?}");
    assert!(!report.was_clean());
    let text = report.to_string();
    assert!(text.contains("4 closed, 1 aborted, 1 lost, 2 refused"), "{text}");
    // Whoever asks when all is over is told as well.
    assert_eq!(house.handle.shutdown(1001, "", PATIENCE).unwrap().wait(), Some(report));
    drop((stuck, silent));
}

#[test]
fn closes_can_be_spread() {
    let (spy, mut log) = Spy::echo();
    let mut house = House::new(untimed(), spy);
    let mut clients: Vec<_> = (0..20)
        .map(|_| {
            let client = Client::open(house.address);
            (log.next_open(), client)
        })
        .collect();
    let hour = Duration::from_secs(3600);
    let slow = house.handle.shutdown_spread(1001, "slowly", hour, hour * 2).unwrap();
    // The first goes at once, the second in some minutes.
    let (_, first) = &mut clients[0];
    assert_eq!(first.read_close(), (1001, "slowly".to_owned()));
    first.send_close(1001, "");
    for (_, client) in &mut clients[1..] {
        client.send_frame(BINARY, "served as before");
        assert_eq!(client.read_message(BINARY), b"served as before");
    }
    assert!(Client::ask(house.address, REQUEST).starts_with("HTTP/1.1 503 "));
    // So short a time passes while one waits for the last of them.
    let quick = Duration::from_millis(50);
    house.handle.shutdown_spread(1012, "now", quick, PATIENCE).unwrap();
    for (_, client) in &mut clients[1..] {
        assert_eq!(client.read_close(), (1012, "now".to_owned()));
        client.send_close(1012, "");
        client.read_eof();
    }
    drop(clients);
    house.join();
    let report = slow.wait().expect("a report");
    assert_eq!((report.clean, report.refused), (20, 1));
    assert!(report.was_clean());
}

#[test]
fn a_loop_turned_by_hand_tells_its_report() {
    let (spy, _log) = Spy::echo();
    let mut event_loop = untimed_server().into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    assert_eq!(event_loop.shutdown_report(), None);
    let client = Client::connect(address);
    eventually("accepted", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        event_loop.connections() == 1
    });
    // Who has said nothing yet is waited for, but only until the deadline.
    let shutdown = event_loop.handle().shutdown(1001, "", Duration::from_millis(20)).unwrap();
    assert_eq!(event_loop.shutdown_report(), None);
    event_loop.run().unwrap();
    let report = event_loop.shutdown_report().unwrap().clone();
    assert_eq!((report.clean, report.aborted, report.lost, report.refused), (0, 0, 0, 0));
    assert_eq!(shutdown.wait(), Some(report.clone()));
    // Asked again when it is over, it says it again.
    let again = event_loop.handle().shutdown(1001, "", PATIENCE).unwrap();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(again.wait(), Some(report));
    // A loop that is dropped in the middle has nothing to report.
    let (spy, _log) = Spy::echo();
    let event_loop = untimed_server().into_event_loop(spy).unwrap();
    let shutdown = event_loop.handle().shutdown(1001, "", PATIENCE).unwrap();
    drop((event_loop, client));
    assert_eq!(shutdown.wait(), None);
}
