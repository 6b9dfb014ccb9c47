//! In which order what is sent arrives, whoever sends it, and that nothing is lost without a word.

use std::io::Read;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use framewire::{
    Audience, Decision, Fragment, Handle, Handler, IncomingRequest, Message, MessageKind, Peer,
    PeerId, QueueFull, Sent,
};

use crate::client::{BINARY, Client, PATIENCE, TEXT};
use crate::house::eventually;
use crate::turns::Turns;
use crate::untimed::{untimed, untimed_server};

/// Does what a function says for each message, and tells what was dropped.
struct Does<F> {
    act: F,
    dropped: Vec<(PeerId, u64)>,
}

impl<F: FnMut(&mut Peer<'_>, &str)> Does<F> {
    fn new(act: F) -> Self {
        Self { act, dropped: Vec::new() }
    }
}

impl<F: FnMut(&mut Peer<'_>, &str)> Handler for Does<F> {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        (self.act)(peer, message.as_text().unwrap());
    }

    fn on_dropped(&mut self, peer: &mut Peer<'_>, messages: u64) {
        self.dropped.push((peer.id(), messages));
    }
}

/// Every way to send, from the turn of another: the order of the calls is the order of arrival.
#[test]
fn what_one_call_sends_arrives_in_the_order_of_its_calls() {
    for total in [usize::MAX, 1 << 20] {
        let server = untimed_server().max_buffered_total(total);
        let act = |peer: &mut Peer<'_>, target: &str| {
            let target =
                peer.peers().ids().into_iter().find(|id| id.to_string() == target).unwrap();
            peer.to(target).unwrap().subscribe("topic");
            peer.to(target).unwrap().broadcast("1");
            peer.to(target).unwrap().send("2");
            peer.to(target).unwrap().broadcast("3");
            peer.to(target).unwrap().send_latest("k", "4");
            peer.publish(Audience::everyone().except(peer.id()), "5");
            peer.publish(Audience::topic("topic").except(peer.id()), "6");
            peer.broadcast("7");
            peer.to(target).unwrap().send_prepared(&"8".into());
            peer.publish(Audience::topic("topic").latest("k").except(peer.id()), "9");
        };
        let mut turns = Turns::of(server, Does::new(act));
        let (mut sender, _) = turns.open();
        let (mut target, id) = turns.open();
        sender.send_frame(TEXT, id.to_string());
        for _ in 0..5 {
            turns.turn();
        }
        let arrived: Vec<_> = (1..10).map(|_| target.read_text()).collect();
        assert_eq!(arrived, ["1", "2", "3", "4", "5", "6", "7", "8", "9"], "total {total}");
    }
}

/// Those who have a turn in the same turn of the loop get what each of them sends in the order of the calls, too.
#[test]
fn what_is_sent_in_the_turns_of_several_arrives_in_the_order_of_the_calls() {
    let mut said = Vec::new();
    let act = |peer: &mut Peer<'_>, text: &str| {
        said.push(text.to_owned());
        peer.broadcast(format!("{text} to all"));
        peer.send(format!("{text} to itself"));
    };
    let mut turns = Turns::of(untimed_server(), Does::new(act));
    let (mut one, _) = turns.open();
    let (mut other, _) = turns.open();
    one.send_frame(TEXT, "one");
    other.send_frame(TEXT, "other");
    for _ in 0..10 {
        turns.turn();
    }
    let own = |client: &mut Client| [(); 3].map(|()| client.read_text());
    let (one, other) = (own(&mut one), own(&mut other));
    drop(turns);
    let all = said.iter().map(|text| format!("{text} to all")).collect::<Vec<_>>();
    for (name, arrived) in [("one", one), ("other", other)] {
        let itself = format!("{name} to itself");
        let mut expected = all.clone();
        let place = said.iter().position(|text| text == name).unwrap();
        expected.insert(place + 1, itself);
        assert_eq!(arrived.to_vec(), expected, "to {name}");
    }
}

/// What a handler asks of a handle comes behind what it sends by its peer, in its own loop and in the others.
#[test]
fn handles_and_peers_are_mixed_in_one_order_in_all_loops() {
    struct Mixed {
        opened: Sender<PeerId>,
    }

    impl Handler for Mixed {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            Decision::accept(())
        }

        fn on_open(&mut self, peer: &mut Peer<'_>) {
            peer.subscribe("x");
            self.opened.send(peer.id()).unwrap();
        }

        fn on_message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
            let handle: Handle = peer.handle();
            handle.publish("x", "handle 1");
            peer.publish("x", "peer 1");
            handle.broadcast("handle 2");
            peer.broadcast("peer 2");
            handle.send(peer.id(), "handle 3");
            peer.publish("x", "peer 3");
            handle.publish("x", "handle 4");
        }
    }

    let server = untimed_server();
    let address = server.local_addr().unwrap();
    let loops = server.threads(3).unwrap();
    let handle = loops.handle();
    let (opened, opens) = channel();
    let thread = thread::spawn(move || loops.run(|_| Mixed { opened: opened.clone() }).unwrap());
    let mut clients: Vec<_> = (0..6).map(|_| Client::open(address)).collect();
    let ids: Vec<_> = (0..6).map(|_| opens.recv_timeout(PATIENCE).unwrap()).collect();
    let loops_used: std::collections::HashSet<_> = ids
        .iter()
        .map(|id| id.to_string().split('/').count().to_string() + &id.to_string()[..1])
        .collect();
    assert!(loops_used.len() > 1, "{ids:?}");
    clients[0].send_frame(TEXT, "go");
    for (number, client) in clients.iter_mut().enumerate() {
        let mut expected = vec!["peer 1", "peer 2", "peer 3", "handle 1", "handle 2"];
        if number == 0 {
            expected.push("handle 3");
        }
        expected.push("handle 4");
        let arrived: Vec<_> = expected.iter().map(|_| client.read_text()).collect();
        assert_eq!(arrived, expected, "client {number}");
    }
    handle.shutdown(1001, "", PATIENCE).unwrap();
    drop(clients);
    thread.join().unwrap();
}

#[test]
fn a_handle_pauses_a_connection_of_any_loop() {
    let server = untimed_server();
    let address = server.local_addr().unwrap();
    let loops = server.threads(2).unwrap();
    let handle = loops.handle();
    let (opened, opens) = channel();
    let told = opened.clone();
    struct Echo(Sender<PeerId>);
    impl Handler for Echo {
        type Session = ();
        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            Decision::accept(())
        }
        fn on_open(&mut self, peer: &mut Peer<'_>) {
            self.0.send(peer.id()).unwrap();
        }
        fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            assert!(!peer.is_paused(), "{} is read although it is paused", peer.id());
            peer.send(message);
        }
    }
    drop(opened);
    let thread = thread::spawn(move || loops.run(|_| Echo(told.clone())).unwrap());
    for _ in 0..2 {
        let mut client = Client::open(address);
        let id = opens.recv_timeout(PATIENCE).unwrap();
        handle.pause(id);
        // Behind the pause, and before the message.
        handle.send(id, "paused");
        assert_eq!(client.read_text(), "paused");
        client.send_frame(TEXT, "one");
        handle.send(id, "still paused");
        assert_eq!(client.read_text(), "still paused");
        handle.resume(id);
        assert_eq!(client.read_text(), "one");
        std::mem::forget(client);
    }
    handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    thread.join().unwrap();
}

/// A broadcast, a publication or an order meets a peer inside a message that is sent in pieces.
#[test]
fn what_meets_an_unfinished_message_waits_behind_it() {
    let piece = |text: &'static str, last: bool| {
        let make = if last { Fragment::last } else { Fragment::more };
        make(MessageKind::Binary, text.as_bytes())
    };
    let act = move |peer: &mut Peer<'_>, word: &str| match word {
        "begin" => {
            peer.subscribe("x");
            assert!(!peer.send_fragment(piece("a", false)).is_dropped());
        }
        "others" => {
            peer.broadcast("broadcast");
            peer.publish("x", "published");
            peer.publish(Audience::everyone().except(peer.id()), "to others");
        }
        "end" => {
            assert!(!peer.send_fragment(piece("b", false)).is_dropped());
            assert!(!peer.send_fragment(piece("c", true)).is_dropped());
            assert!(!peer.send("behind").is_dropped());
        }
        other => panic!("{other}"),
    };
    let mut turns = Turns::new(untimed(), Does::new(act));
    let (mut inside, id) = turns.open();
    let (mut other, _) = turns.open();
    inside.send_frame(TEXT, "begin");
    assert_eq!(turns_until_frame(&mut turns, &mut inside), (BINARY, b"a".to_vec(), false));
    other.send_frame(TEXT, "others");
    turns.until(|event_loop| event_loop.counters().received.text_messages == 2);
    turns.event_loop.handle().send(id, "ordered");
    turns.turn();
    turns.turn();
    inside.send_frame(TEXT, "end");
    assert_eq!(turns_until_frame(&mut turns, &mut inside), (0, b"b".to_vec(), false));
    assert_eq!(turns_until_frame(&mut turns, &mut inside), (0, b"c".to_vec(), true));
    let arrived: Vec<_> = (0..5).map(|_| inside.read_text()).collect();
    assert_eq!(arrived, ["broadcast", "published", "to others", "ordered", "behind"]);
    assert_eq!(turns.event_loop.handler().dropped, []);
}

/// What waits behind an unfinished message is bounded, and told of when it is dropped.
#[test]
fn what_cannot_wait_behind_an_unfinished_message_is_told_of() {
    let act = |peer: &mut Peer<'_>, _: &str| {
        peer.send_fragment(Fragment::more(MessageKind::Text, &b"a"[..]));
    };
    let config = untimed().max_buffered_amount(10_000).output_high_water(5_000).output_low_water(0);
    let mut turns = Turns::new(config, Does::new(act));
    let (mut client, id) = turns.open();
    client.send_frame(TEXT, "begin");
    turns.until(|event_loop| event_loop.counters().received.text_messages == 1);
    for _ in 0..5 {
        turns.event_loop.broadcast("b".repeat(3_000));
        turns.turn();
    }
    turns.turn();
    assert_eq!(turns.event_loop.counters().dropped, 2);
    let dropped = &turns.event_loop.handler().dropped;
    assert!(dropped.iter().all(|&(peer, _)| peer == id), "{dropped:?}");
    assert_eq!(dropped.iter().map(|&(_, count)| count).sum::<u64>(), 2);
}

/// How many bytes of 60,000-byte messages were sent to this one, of which some wait.
fn fill<H: Handler>(turns: &mut Turns<H>, id: PeerId, at_least: usize) -> usize {
    let mut sent = 0;
    loop {
        turns.turn();
        let mut peers = turns.event_loop.peers();
        let mut peer = peers.get(id).unwrap();
        if peer.buffered_amount() > at_least {
            return sent;
        }
        peer.send("x".repeat(60_000));
        // With a header of four bytes.
        sent += 60_004;
    }
}

/// What is kept for a connection waits until there is room, wherever its low water mark is.
#[test]
fn what_is_kept_waits_for_room() {
    let config = untimed().max_buffered_amount(4_000);
    let config = config.output_high_water(1 << 20).output_low_water(1 << 20);
    let mut turns = Turns::new(config, Does::new(|_: &mut Peer<'_>, _: &str| {}));
    let (mut client, id) = turns.open();
    let sent = fill(&mut turns, id, 4_000);
    let kept = turns.event_loop.peers().get(id).unwrap().send_latest("k", "kept");
    assert_eq!(kept, Sent::Kept);
    turns.turn();
    let reading = thread::spawn(move || {
        client.stream.read_exact(&mut vec![0; sent]).unwrap();
        client.read_text()
    });
    turns.until(|_| reading.is_finished());
    assert_eq!(reading.join().unwrap(), "kept");
    assert_eq!(turns.event_loop.handler().dropped, []);
}

/// Sends to another one when it is told that output has left.
struct Relays {
    drained: u64,
    to: Option<PeerId>,
}

impl Handler for Relays {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_drain(&mut self, peer: &mut Peer<'_>) {
        self.drained += 1;
        if let Some(id) = self.to {
            peer.to(id).unwrap().send("drained");
        }
    }
}

/// A broadcast is on its way to one after the other; what a handler sends meanwhile comes behind it everywhere.
#[test]
fn what_is_sent_while_a_broadcast_is_delivered_comes_behind_it() {
    let config = untimed().output_high_water(5_000).output_low_water(0);
    let mut turns = Turns::new(config, Relays { drained: 0, to: None });
    let (mut slow, slow_id) = turns.open();
    let (mut other, other_id) = turns.open();
    let sent = fill(&mut turns, slow_id, 0);
    let waits = turns.event_loop.peers().get(slow_id).unwrap().buffered_amount();
    let mut arrived = vec![0; sent - waits];
    slow.stream.read_exact(&mut arrived).unwrap();
    let drained = turns.event_loop.handler().drained;
    turns.event_loop.handler_mut().to = Some(other_id);
    turns.event_loop.broadcast("to all");
    for _ in 0..5 {
        turns.turn();
    }
    assert_eq!(turns.event_loop.handler().drained, drained + 1);
    assert_eq!([other.read_text(), other.read_text()], ["to all", "drained"]);
}

fn turns_until_frame<H: Handler>(turns: &mut Turns<H>, client: &mut Client) -> (u8, Vec<u8>, bool) {
    for _ in 0..3 {
        turns.turn();
    }
    let frame = client.read_frame().unwrap();
    (frame.opcode, frame.payload, frame.fin)
}

/// Producers that are faster than the loop fill no more than the queue.
#[test]
fn the_queue_of_a_loop_is_bounded() {
    const LIMIT: usize = 30_000;
    let server = untimed_server().max_queued_bytes(LIMIT);
    let mut turns = Turns::of(server, Does::new(|_: &mut Peer<'_>, _: &str| {}));
    // Nobody takes anything up yet.
    let handle = turns.event_loop.handle();
    let early = handle.clone();
    let producer = thread::spawn(move || (0..50).for_each(|_| early.broadcast("x".repeat(900))));
    producer.join().unwrap();
    let (mut client, id) = turns.open();
    assert_eq!(handle.queued_bytes(), 0);
    // What is too long by itself has room where nothing else is.
    handle.try_publish(Audience::everyone(), "x".repeat(2 * LIMIT)).unwrap();
    assert!(handle.queued_bytes() > 2 * LIMIT);
    assert_eq!(handle.try_send(id, "no"), Err(QueueFull));
    turns.turn();
    assert_eq!(client.read_text().len(), 2 * LIMIT);
    assert_eq!(handle.queued_bytes(), 0);
    let mut sent = 0;
    while handle.try_send(id, "a".repeat(900)).is_ok() {
        sent += 1;
        assert!(handle.queued_bytes() <= LIMIT);
    }
    assert!((25..34).contains(&sent), "{sent}");
    assert_eq!(handle.try_publish("x", "a".repeat(900)), Err(QueueFull));
    assert_eq!(handle.try_publish(Audience::everyone(), "a".repeat(900)), Err(QueueFull));
    // A thread that takes the turns itself would wait for itself.
    handle.send(id, "a".repeat(900));
    sent += 1;
    // What only steers is never held up.
    handle.pause(id);
    handle.resume(id);
    // A thread that must send waits for its turn.
    let producer = {
        let handle = handle.clone();
        thread::spawn(move || {
            for _ in 0..1_000 {
                handle.broadcast("b".repeat(900));
                assert!(handle.queued_bytes() <= LIMIT + 2_000);
            }
        })
    };
    let reader = thread::spawn(move || {
        let texts: Vec<_> = (0..sent + 1_000).map(|_| client.read_text()).collect();
        (client, texts)
    });
    turns.until(|_| reader.is_finished());
    producer.join().unwrap();
    let (_, texts) = reader.join().unwrap();
    assert!(texts[..sent].iter().all(|text| text.starts_with('a')));
    assert!(texts[sent..].iter().all(|text| text.starts_with('b')));
    // One that waits when the loop goes is let go.
    while handle.try_send(id, "a".repeat(900)).is_ok() {}
    let waiting = thread::spawn(move || handle.broadcast("b".repeat(900)));
    eventually("it waits", || !waiting.is_finished());
    drop(turns);
    waiting.join().unwrap();
}
