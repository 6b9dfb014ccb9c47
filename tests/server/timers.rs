//! Timers of the application, for a loop and for a connection. None of these tests depends on how late a timer is.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use framewire::{
    Decision, Handler, IncomingRequest, Message, Outcome, Peer, Peers, Routes, Timer, TimerId,
};

use crate::client::{Client, TEXT};
use crate::turns::Turns;
use crate::untimed::{PATIENCE, untimed, untimed_server};

const SOON: Duration = Duration::from_millis(2);
const NEVER: Duration = Duration::from_secs(100_000);

/// Sets what the test says when the loop begins, and tells of what is called.
struct Clockwork {
    begin: Box<dyn FnMut(&mut Peers<'_>) + Send>,
    /// The tokens of timers that the timer with token 100 cancels.
    cancels: Vec<TimerId>,
    told: Sender<Told>,
}

#[derive(Debug, PartialEq)]
enum Told {
    Loop(u64, u64),
    Peer(u64, u64),
    Close,
}

impl Clockwork {
    fn new(begin: impl FnMut(&mut Peers<'_>) + Send + 'static) -> (Self, Receiver<Told>) {
        let (told, calls) = channel();
        (Self { begin: Box::new(begin), cancels: Vec::new(), told }, calls)
    }
}

impl Handler for Clockwork {
    type Session = ();

    fn on_start(&mut self, peers: &mut Peers<'_>) {
        (self.begin)(peers);
    }

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        peer.set_timer(SOON, 1);
        peer.set_interval(SOON, 2);
        peer.set_timer(NEVER, 3);
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }

    fn on_timer(&mut self, peers: &mut Peers<'_>, timer: Timer) {
        if timer.token() == 100 {
            for id in self.cancels.drain(..) {
                assert!(peers.cancel_timer(id));
            }
        }
        let _ = self.told.send(Told::Loop(timer.token(), timer.periods()));
    }

    fn on_peer_timer(&mut self, peer: &mut Peer<'_>, timer: Timer) {
        peer.send(format!("timer {}", timer.token()));
        let _ = self.told.send(Told::Peer(timer.token(), timer.periods()));
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, _: &Outcome) {
        // It comes too late, and leaves nothing.
        peer.set_timer(Duration::ZERO, 4);
        let _ = self.told.send(Told::Close);
    }
}

#[test]
fn a_timer_wakes_a_loop_that_waits() {
    let begun = Instant::now();
    let (clockwork, calls) = Clockwork::new(|peers| {
        peers.set_timer(2 * SOON, 7);
        peers.set_timer(NEVER, 8);
    });
    let mut event_loop = untimed_server().into_event_loop(clockwork).unwrap();
    let handle = event_loop.loop_handle();
    let thread = std::thread::spawn(move || event_loop.run().unwrap());
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Told::Loop(7, 1)));
    assert!(begun.elapsed() >= 2 * SOON, "never early");
    // Set by another thread while it waits.
    let (sender, ids) = channel();
    handle.call(move |_, peers| {
        peers.set_timer(SOON, 9);
        sender.send(peers.set_interval(SOON, 10)).unwrap();
    });
    let interval = ids.recv_timeout(PATIENCE).unwrap();
    let mut once = 0;
    for _ in 0..20 {
        match calls.recv_timeout(PATIENCE).unwrap() {
            Told::Loop(9, 1) => once += 1,
            Told::Loop(10, periods) => assert!(periods >= 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(once, 1);
    let (sender, cancelled) = channel();
    handle.call(move |_, peers| {
        sender.send([peers.cancel_timer(interval), peers.cancel_timer(interval)]).unwrap();
    });
    assert_eq!(cancelled.recv_timeout(PATIENCE), Ok([true, false]));
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    thread.join().unwrap();
    // The one that would never come ends with the loop.
    let rest: Vec<_> = calls.iter().collect();
    assert!(rest.iter().all(|told| matches!(told, Told::Loop(10, _))), "{rest:?}");
}

#[test]
fn a_stall_loses_no_period_and_makes_one_call() {
    let (clockwork, calls) = Clockwork::new(|peers| {
        peers.set_interval(Duration::from_millis(1), 1);
    });
    let mut turns = Turns::new(untimed(), clockwork);
    turns.until(|_| calls.try_recv().is_ok());
    let handle = turns.event_loop.loop_handle();
    // What the loop is kept from is what this is about.
    handle.call(|_, _| std::thread::sleep(Duration::from_millis(40)));
    let mut most = 0;
    turns.until(|_| {
        for told in calls.try_iter() {
            let Told::Loop(1, periods) = told else { panic!("{told:?}") };
            most = most.max(periods);
        }
        most >= 39
    });
}

#[test]
fn a_timer_that_is_cancelled_when_its_time_has_come_is_not_called() {
    let (clockwork, calls) = Clockwork::new(|_| {});
    let mut turns = Turns::new(untimed(), clockwork);
    let handle = turns.event_loop.loop_handle();
    handle.call(|clockwork, peers| {
        peers.set_timer(Duration::ZERO, 100);
        clockwork.cancels.push(peers.set_timer(Duration::from_nanos(1), 101));
        clockwork.cancels.push(peers.set_interval(SOON, 102));
        peers.set_timer(SOON, 103);
        // Both have come by the next turn.
        let begun = Instant::now();
        while begun.elapsed() < 2 * SOON {
            std::hint::spin_loop();
        }
    });
    let mut told = Vec::new();
    turns.until(|_| {
        told.extend(calls.try_iter());
        told.len() == 2
    });
    assert_eq!(told, [Told::Loop(100, 1), Told::Loop(103, 1)]);
}

#[test]
fn timers_of_a_connection_end_with_it() {
    let (clockwork, calls) = Clockwork::new(|_| {});
    let mut turns = Turns::new(untimed(), clockwork);
    let (mut client, _) = turns.open();
    let mut told = Vec::new();
    turns.until(|_| {
        told.extend(calls.try_iter());
        told.len() >= 4
    });
    assert_eq!(told.iter().filter(|told| **told == Told::Peer(1, 1)).count(), 1);
    // What is sent goes out at once.
    let first = client.read_text();
    assert!(first == "timer 1" || first == "timer 2", "{first}");
    client.send_close(1000, "");
    drop(client);
    turns.until(|_| {
        told.extend(calls.try_iter());
        told.contains(&Told::Close)
    });
    // Nothing that was set is left: only events would wake the loop.
    for _ in 0..10 {
        turns.turn();
    }
    told.extend(calls.try_iter());
    assert_eq!(told.last(), Some(&Told::Close));
    assert!(told.iter().all(|told| matches!(told, Told::Peer(1 | 2, _) | Told::Close)), "{told:?}");
}

#[test]
fn a_timer_may_end_its_connection() {
    struct Impatient;

    impl Handler for Impatient {
        type Session = u32;

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<u32> {
            Decision::accept(0)
        }

        fn on_open(&mut self, peer: &mut Peer<'_, u32>) {
            peer.set_interval(SOON, 0);
        }

        fn on_message(&mut self, _: &mut Peer<'_, u32>, _: Message<'_>) {}

        fn on_peer_timer(&mut self, peer: &mut Peer<'_, u32>, _: Timer) {
            *peer.session_mut() += 1;
            match *peer.session() {
                1 => drop(peer.close(4000, "too slow")),
                // The Close is not answered.
                2 => peer.abort(),
                _ => panic!("it has gone"),
            }
        }
    }

    let mut turns = Turns::new(untimed(), Impatient);
    let (mut client, _) = turns.open();
    turns.until(|event_loop| event_loop.connections() == 0);
    assert_eq!(client.read_close(), (4000, "too slow".to_owned()));
}

#[test]
fn every_loop_has_timers_of_its_own() {
    let loops = untimed_server().threads(3).unwrap();
    let handle = loops.handle();
    let (sender, calls) = channel();
    let thread = std::thread::spawn(move || {
        loops.run(|number| Clockwork {
            begin: Box::new(move |peers| {
                peers.set_timer(SOON, number as u64);
            }),
            cancels: Vec::new(),
            told: sender.clone(),
        })
    });
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let Told::Loop(token, 1) = calls.recv_timeout(PATIENCE).unwrap() else { panic!() };
        tokens.push(token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, [0, 1, 2]);
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn timers_of_routes_come_to_the_handler_that_has_set_them() {
    let of = |token: u64| {
        Clockwork::new(move |peers| {
            peers.set_timer(SOON, token);
        })
    };
    let ((a, told_a), (b, told_b), (otherwise, told_others)) = (of(1), of(2), of(3));
    let routes = Routes::new().route("/a", untimed(), a).unwrap();
    let routes = routes.route("/b", untimed(), b).unwrap().otherwise(otherwise);
    let route_b = routes.id("/b").unwrap();
    let mut turns = Turns::new(untimed(), routes);
    let mut told = [None, None, None];
    turns.until(|_| {
        for (told, from) in told.iter_mut().zip([&told_a, &told_b, &told_others]) {
            *told = told.take().or_else(|| from.try_recv().ok());
        }
        told.iter().all(Option::is_some)
    });
    assert_eq!(told, [1, 2, 3].map(|token| Some(Told::Loop(token, 1))));
    // One of the loop is of no route.
    turns.event_loop.peers().set_timer(SOON, 4);
    turns.until(|_| told_others.try_recv() == Ok(Told::Loop(4, 1)));
    // And one that is set for a route from outside is of that route.
    turns.event_loop.peers().route(route_b).set_timer(SOON, 5);
    turns.until(|_| told_b.try_recv() == Ok(Told::Loop(5, 1)));
    // Those of a connection come to the handler of its route.
    let mut client = Client::connect(turns.address);
    client.send_raw(crate::client::REQUEST.replacen("GET /chat ", "GET /b ", 1));
    turns.until(|_| matches!(told_b.try_recv(), Ok(Told::Peer(..))));
    client.send_frame(TEXT, "still there");
    turns.until(|event_loop| event_loop.counters().received.text_messages == 1);
    assert!(told_a.try_recv().is_err() && told_others.try_recv().is_err());
}

#[test]
fn more_timers_than_one_turn_calls_are_all_called() {
    const COUNT: usize = 10_000;
    let (clockwork, calls) = Clockwork::new(|peers| {
        for token in 0..COUNT as u64 {
            peers.set_timer(Duration::ZERO, token);
        }
    });
    let mut turns = Turns::new(untimed(), clockwork);
    let mut tokens = Vec::new();
    turns.until(|_| {
        tokens.extend(calls.try_iter().map(|told| match told {
            Told::Loop(token, 1) => token,
            other => panic!("{other:?}"),
        }));
        tokens.len() == COUNT
    });
    assert!(tokens.is_sorted());
}
