//! Back-pressure, pausing and fairness.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framewire::Sent;

use crate::client::{BINARY, Client, PING, TEXT, frame};
use crate::house::{Call, House, Spy, echo, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// Keeps writing until so much waits in the server and it has taken nothing for a while.
fn write_until_full(
    client: &mut Client,
    bytes: &[u8],
    waiting: &AtomicUsize,
    mark: usize,
) -> usize {
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut total, until) = (0, Instant::now() + PATIENCE);
    loop {
        match client.stream.write(&bytes[total % bytes.len()..]) {
            Ok(count) => total += count,
            Err(error) if crate::client::is_timeout(&error) => {
                // A server that is late takes nothing for a while, either.
                if waiting.load(Ordering::SeqCst) >= mark {
                    return total;
                }
            }
            Err(error) => panic!("{error}"),
        }
        assert!(total < 1 << 30, "the server reads without end");
        assert!(Instant::now() < until, "the output does not fill");
    }
}

// attack: FL03, HS32
#[test]
fn a_client_that_never_reads_is_not_read_any_more() {
    const HIGH: usize = 64 * 1024;
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let (spy, log) = Spy::new(move |peer, call| {
        if let Call::Message(..) = call {
            echo(peer, call);
            seen.fetch_max(peer.buffered_amount(), Ordering::SeqCst);
        }
    });
    let config = untimed().output_high_water(HIGH).output_low_water(HIGH / 4);
    let house = House::new(config, spy);
    let mut client = Client::open(house.address);
    let message = frame(BINARY, vec![7; 4000]);
    let written = write_until_full(&mut client, &message, &most, HIGH);
    // One message above the mark at the most.
    assert!(most.load(Ordering::SeqCst) <= HIGH + message.len());
    // Nothing is lost once it reads.
    let mut twin = client.twin();
    let rest = message[written % message.len()..].to_vec();
    let expected = written.div_ceil(message.len());
    let missing = if written.is_multiple_of(message.len()) { Vec::new() } else { rest };
    let writer = std::thread::spawn(move || {
        twin.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        twin.send_raw(missing);
    });
    for _ in 0..expected {
        assert_eq!(client.read_message(BINARY), vec![7; 4000]);
    }
    writer.join().unwrap();
    drop(client);
    house.stop(log);
}

// attack: FL01
// req: W084
#[test]
fn pings_are_answered_by_the_latest_only_while_output_waits() {
    const HIGH: usize = 16 * 1024;
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let (spy, log) = Spy::new(move |peer, call| {
        if let Call::Ping(..) = call {
            seen.fetch_max(peer.buffered_amount(), Ordering::SeqCst);
        }
    });
    let config = untimed().output_high_water(HIGH).output_low_water(HIGH / 4);
    let house = House::new(config, spy);
    let mut client = Client::open(house.address);
    write_until_full(&mut client, &frame(PING, [b'p'; 125]).repeat(100), &most, HIGH);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= HIGH + 127, "{most}");
    drop(client);
    house.stop(log);
}

#[test]
fn backpressure_is_told_and_ends_with_on_drain() {
    const HIGH: usize = 100_000;
    const CHUNK: usize = 10_000;
    const CHUNKS: u64 = 3000;
    // Sends up to the mark and goes on when there is room: the classic stream.
    fn go_on(peer: &mut framewire::Peer<'_, u64>, sent: &mut u64) {
        while *sent < CHUNKS {
            assert!(peer.buffered_amount() < HIGH);
            let chunk = vec![*sent as u8; CHUNK];
            *sent += 1;
            match peer.send(chunk) {
                Sent::Accepted => assert!(peer.buffered_amount() < HIGH),
                Sent::Backpressure => {
                    assert!(peer.buffered_amount() >= HIGH);
                    return;
                }
                dropped => panic!("{dropped:?}"),
            }
        }
    }
    let mut sent = 0;
    let (spy, log) = Spy::new(move |peer, call| match call {
        Call::Message(..) => go_on(peer, &mut sent),
        Call::Drain(_) => {
            assert!(peer.buffered_amount() <= HIGH / 4);
            go_on(peer, &mut sent);
        }
        _ => {}
    });
    let config = untimed().output_high_water(HIGH).output_low_water(HIGH / 4);
    let house = House::new(config, spy);
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "go");
    for n in 0..CHUNKS {
        assert!(client.read_message(BINARY) == vec![n as u8; CHUNK]);
    }
    drop(client);
    let calls = house.stop(log);
    let drains = calls.iter().filter(|call| matches!(call, Call::Drain(_))).count();
    assert!(drains > 0 && drains <= CHUNKS as usize, "{drains}");
}

/// A stream that its client takes as fast as it is made must not keep the others waiting for its end.
// attack: FL09
#[test]
fn a_stream_driven_by_on_drain_leaves_the_others_their_turn() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let (spy, log) = Spy::new(move |peer, call| match call {
        Call::Message(_, message) if message.as_bytes() == b"stream" => {
            peer.send(vec![0; 1000]);
        }
        Call::Message(..) => echo(peer, call),
        Call::Drain(_) if stopped.load(Ordering::SeqCst) => peer.abort(),
        Call::Drain(_) => {
            peer.send(vec![0; 1000]);
        }
        _ => {}
    });
    // Every message is above the mark, and every write brings the output below it.
    let config = untimed().output_high_water(500).output_low_water(100);
    let house = House::new(config, spy);
    let mut reader = Client::open(house.address);
    reader.send_frame(TEXT, "stream");
    let over = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut room = vec![0; 1 << 20];
        while matches!(reader.stream.read(&mut room), Ok(1..)) {}
        assert!(over.load(Ordering::SeqCst), "the stream has ended by itself");
    });
    let mut other = Client::open(house.address);
    for _ in 0..100 {
        other.send_frame(TEXT, "me too");
        assert_eq!(other.read_text(), "me too");
    }
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap();
    drop(other);
    house.stop(log);
}

/// The same, counted: however much the socket takes, a turn calls `on_drain` a bounded number of times.
// attack: FL09
#[test]
fn on_drain_is_called_once_a_turn() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if matches!(call, Call::Message(..) | Call::Drain(_)) {
            peer.send("x");
        }
    });
    let config = untimed().output_high_water(1).output_low_water(0);
    let server = untimed_server().config(config);
    let mut event_loop = server.into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = Client::open(address);
        client.send_frame(TEXT, "go");
        for _ in 0..1000 {
            assert_eq!(client.read_text(), "x");
        }
    });
    let mut most = 0;
    eventually("a thousand messages", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        let calls = std::iter::from_fn(|| log.try_next());
        most = most.max(calls.filter(|call| matches!(call, Call::Drain(_))).count());
        thread.is_finished()
    });
    thread.join().unwrap();
    // One for the event and one for the rest of the turn.
    assert!((1..=3).contains(&most), "{most} calls in one turn");
}

// attack: FL09
#[test]
fn a_flood_leaves_the_quiet_ones_their_turn() {
    const QUIET: usize = 99;
    const ROUNDS: usize = 20;
    let (spy, log) = Spy::new(|peer, call| {
        // The flood is not answered, so that nothing but the share of a turn holds it up.
        if let Call::Message(_, message) = call
            && message.is_text()
        {
            echo(peer, call);
        }
    });
    let house = House::new(untimed(), spy);
    let mut flood = Client::open(house.address);
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        let bytes = frame(BINARY, vec![0; 2000]).repeat(500);
        let mut count = 0_usize;
        while !stop.load(Ordering::SeqCst) {
            flood.send_raw(&bytes);
            count += 500;
        }
        count
    });
    let mut quiet: Vec<_> = (0..QUIET).map(|_| Client::open(house.address)).collect();
    for round in 0..ROUNDS {
        for client in &mut quiet {
            client.send_frame(TEXT, round.to_string());
        }
        for client in &mut quiet {
            assert_eq!(client.read_text(), round.to_string());
        }
    }
    over.store(true, Ordering::SeqCst);
    let flooded = thread.join().unwrap();
    drop(quiet);
    let calls = house.stop(log);
    let texts = calls.iter().filter(|c| matches!(c, Call::Message(_, m) if m.is_text())).count();
    assert_eq!(texts, QUIET * ROUNDS);
    let heard = calls.iter().filter(|c| matches!(c, Call::Message(_, m) if m.is_binary())).count();
    assert!(heard > 0 && heard <= flooded);
}

// attack: FL10
#[test]
fn a_flood_of_empty_frames_is_served_in_full() {
    const COUNT: usize = 300_000;
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&heard);
    struct Count(Arc<AtomicUsize>);
    impl framewire::Handler for Count {
        type Session = ();
        fn on_upgrade(&mut self, _: &framewire::IncomingRequest) -> framewire::Decision<()> {
            framewire::Decision::accept(())
        }
        fn on_message(&mut self, peer: &mut framewire::Peer<'_>, m: framewire::Message<'_>) {
            let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            if !m.is_empty() {
                peer.send(count.to_string());
            }
        }
    }
    let house = House::new(untimed(), Count(counter));
    let mut client = Client::open(house.address);
    client.send_raw(frame(BINARY, "").repeat(COUNT));
    client.send_frame(TEXT, "the last");
    assert_eq!(client.read_text(), (COUNT + 1).to_string());
    assert_eq!(heard.load(Ordering::SeqCst), COUNT + 1);
}

#[test]
fn nothing_is_lost_by_pausing() {
    const COUNT: usize = 5000;
    // Each message pauses its connection, and the other connection resumes it.
    let mut first = None;
    let (spy, log) = Spy::new(move |peer, call| match call {
        Call::Open(id) if first.is_none() => first = Some(*id),
        Call::Message(id, message) if first == Some(*id) => {
            peer.pause();
            assert!(peer.is_paused());
            peer.send(message.borrowed());
        }
        Call::Message(..) => peer.to(first.unwrap()).unwrap().resume(),
        _ => {}
    });
    let house = House::new(untimed(), spy);
    let mut paused = Client::open(house.address);
    let mut other = Client::open(house.address);
    let bytes: Vec<u8> = (0..COUNT).flat_map(|n| frame(TEXT, n.to_string())).collect();
    paused.send_raw(bytes);
    for n in 0..COUNT {
        assert_eq!(paused.read_text(), n.to_string());
        other.send_frame(TEXT, "go on");
    }
    drop((paused, other));
    house.stop(log);
}

/// Bytes that arrive while reading is stopped bring their event then, and none later.
// attack: OS09
#[test]
fn what_came_during_a_pause_is_read_after_it() {
    let (spy, mut log) = Spy::echo();
    let mut event_loop = untimed_server().into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = Client::open(address);
        client.send_frame(TEXT, "before");
        assert_eq!(client.read_text(), "before");
        client
    });
    eventually("the first echo is read", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        thread.is_finished()
    });
    let mut client = thread.join().unwrap();
    let id = log.next_open();
    assert_eq!(log.next(), Call::Message(id, "before".into()));
    assert_eq!(event_loop.peers().ids(), [id]);
    for round in 0..10 {
        event_loop.peer(id).unwrap().pause();
        client.send_raw(frame(TEXT, "during").repeat(3));
        // The event is seen and nothing is read.
        for _ in 0..20 {
            event_loop.run_once(Some(Duration::from_millis(2))).unwrap();
        }
        event_loop.peer(id).unwrap().resume();
        client.stream.set_nonblocking(true).unwrap();
        let mut echoed = Vec::new();
        let whole = 3 * (2 + "during".len());
        eventually("all three echoes", || {
            event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            let mut room = [0; 100];
            match client.stream.read(&mut room) {
                Ok(count) => echoed.extend_from_slice(&room[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            echoed.len() == whole
        });
        client.stream.set_nonblocking(false).unwrap();
        assert_eq!(echoed, [&[0x81, 6][..], b"during"].concat().repeat(3), "round {round}");
    }
}

/// A pause that outlasts the Ping and the wait for its Pong is not the peer's silence.
// behaviour: a10
#[test]
fn a_paused_peer_is_not_taken_for_a_silent_one() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Message(_, message) if message.as_bytes() == b"pause" => peer.pause(),
        Call::Message(_, message) if message.as_bytes() == b"resume" => {
            let first = peer.peers().ids().first().copied();
            peer.to(first.unwrap()).unwrap().resume();
        }
        _ => {}
    });
    let short = Duration::from_millis(40);
    let house = House::new(untimed().ping_interval(short).pong_timeout(short), spy);
    // What has to be done in time goes with the request.
    let mut paused = Client::open_with(house.address, frame(TEXT, "pause"));
    let first = log.next_open();
    log.wait_for(|call| (*call == Call::Message(first, "pause".into())).then_some(()));
    paused.send_frame(TEXT, "waits");
    // Another one is silent all that time and is lost, again and again.
    for _ in 0..4 {
        let silent = Client::open(house.address);
        let outcome = log.wait_for_close();
        assert_eq!(outcome.code(), framewire::CloseCode::ABNORMAL);
        drop(silent);
    }
    let other = Client::open_with(house.address, frame(TEXT, "resume"));
    log.wait_for(|call| match call {
        Call::Close(id, outcome) if *id == first => panic!("{outcome:?}"),
        call => (*call == Call::Message(first, "waits".into())).then_some(()),
    });
    drop((paused, other));
    house.stop(log);
}
