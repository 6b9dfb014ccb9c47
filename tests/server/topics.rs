//! Topics: who gets what is published, in which order, and who is told of what.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::{
    Audience, Decision, Handler, IncomingRequest, Message, Outcome, Peer, PeerId, Prepared,
    Subscribed, TopicError,
};

use crate::client::{Client, TEXT, frame};
use crate::house::{Call, House, Spy};
use crate::untimed::{PATIENCE, untimed, untimed_client, untimed_server};

/// `+T` and `-T` enter and leave, `T:text` and `T!text` publish to the others and to all, `?` lists,
/// `bye` closes. Each is answered with what the call said.
fn obey(peer: &mut Peer<'_, u64>, line: &str) {
    let answer = match line.as_bytes().first() {
        Some(b'+') => format!("{:?}", peer.subscribe(&line[1..])),
        Some(b'-') => peer.unsubscribe(&line[1..]).to_string(),
        Some(b'?') => {
            let mut own: Vec<_> = peer.topics().map(str::to_owned).collect();
            own.sort();
            assert!(own.iter().all(|topic| peer.is_subscribed(topic)));
            let all: BTreeMap<_, _> =
                peer.peers().topics().map(|(t, n)| (t.to_owned(), n)).collect();
            assert!(all.iter().all(|(topic, count)| peer.peers().subscribers(topic) == *count));
            format!("{own:?} of {all:?}")
        }
        _ if line == "bye" => {
            peer.close(1000, "").unwrap();
            assert_eq!(peer.subscribe("late"), Subscribed::Refused(TopicError::NotOpen));
            return;
        }
        _ => match line.split_once([':', '!']) {
            Some((topic, text)) if line[topic.len()..].starts_with(':') => {
                peer.publish(Audience::topic(topic).except(peer.id()), text).to_string()
            }
            Some((topic, text)) => peer.publish(topic, text).to_string(),
            None => panic!("{line}"),
        },
    };
    peer.send(answer);
}

fn rooms() -> (Spy, crate::house::Log) {
    Spy::new(|peer, call| {
        if let Call::Message(_, message) = call {
            obey(peer, message.as_text().unwrap());
        }
    })
}

impl Client {
    fn tell(&mut self, line: &str, answer: &str) {
        self.send_frame(TEXT, line);
        assert_eq!(self.read_text(), answer, "{line}");
    }
}

#[test]
fn what_is_published_reaches_the_subscribers_and_nobody_else() {
    let (spy, log) = rooms();
    let house = House::new(untimed(), spy);
    let [mut a, mut b, mut c] = [(); 3].map(|()| Client::open(house.address));
    a.tell("+x", "New");
    a.tell("+x", "Already");
    b.tell("+x", "New");
    b.tell("+y", "New");
    b.tell("+", "New");
    a.tell("?", r#"["x"] of {"": 1, "x": 2, "y": 1}"#);
    b.tell("?", r#"["", "x", "y"] of {"": 1, "x": 2, "y": 1}"#);
    c.tell("?", r#"[] of {"": 1, "x": 2, "y": 1}"#);

    // One need not be a subscriber to publish, and gets one's own only if one asks for it and is.
    c.tell("x:from c", "2");
    assert_eq!((a.read_text(), b.read_text()), ("from c".into(), "from c".into()));
    c.tell("x!from c", "2");
    assert_eq!((a.read_text(), b.read_text()), ("from c".into(), "from c".into()));
    a.tell("x:to b", "1");
    assert_eq!(b.read_text(), "to b");
    a.send_frame(TEXT, "x!to both");
    assert_eq!(
        (a.read_text(), a.read_text(), b.read_text()),
        ("to both".into(), "2".into(), "to both".into())
    );
    b.tell("y:to myself", "0");
    c.tell("y!to b", "1");
    assert_eq!(b.read_text(), "to b");
    c.tell("nobody!there", "0");
    // Nothing is a wildcard.
    c.tell("*!there", "0");

    b.tell("-x", "true");
    b.tell("-x", "false");
    b.tell("-nothing", "false");
    c.tell("x!to a", "1");
    assert_eq!(a.read_text(), "to a");
    b.tell("?", r#"["", "y"] of {"": 1, "x": 1, "y": 1}"#);
    drop((a, b, c));
    house.stop(log);
}

#[test]
fn a_connection_leaves_its_topics_when_on_close_is_over() {
    let (sender, told) = channel();
    let (spy, mut log) = Spy::new(move |peer, call| match call {
        Call::Message(_, message) => obey(peer, message.as_text().unwrap()),
        Call::Close(..) => {
            let topics: Vec<_> = peer.topics().map(str::to_owned).collect();
            assert_eq!(peer.subscribe("late"), Subscribed::Refused(TopicError::NotOpen));
            // It is not open, and so gets nothing and is not counted.
            let reached = peer.publish("x", "has left");
            sender.send((topics, peer.peers().subscribers("x"), reached)).unwrap();
        }
        _ => {}
    });
    let house = House::new(untimed(), spy);
    let mut stays = Client::open(house.address);
    stays.tell("+x", "New");
    for how in ["bye", "drop", "terminate"] {
        let mut leaves = Client::open(house.address);
        let id = log.wait_for(|call| match call {
            Call::Open(id) => Some(*id),
            _ => None,
        });
        leaves.tell("+x", "New");
        leaves.tell("+y", "New");
        match how {
            "bye" => {
                leaves.send_frame(TEXT, "bye");
                assert_eq!(leaves.read_close().0, 1000);
                // Closing, it counts but gets nothing more.
                stays.tell("x:late", "0");
                leaves.send_close(1000, "");
                drop(leaves);
            }
            "drop" => drop(leaves),
            _ => house.handle.abort(id),
        }
        let (mut topics, subscribers, reached) = told.recv_timeout(PATIENCE).unwrap();
        topics.sort();
        assert_eq!((topics, subscribers, reached), (vec!["x".into(), "y".into()], 2, 1));
        assert_eq!(stays.read_text(), "has left");
        log.wait_for_close();
        stays.tell("?", r#"["x"] of {"x": 1}"#);
    }
    drop(stays);
    house.stop(log);
}

#[test]
fn publish_and_send_keep_their_order_for_each_receiver() {
    const ROUNDS: usize = 300;
    let (spy, mut log) = Spy::new(|peer, call| {
        let Call::Message(_, message) = call else { return };
        match message.as_text().unwrap() {
            "go" => {
                let others: Vec<PeerId> =
                    peer.peers().ids().into_iter().filter(|id| *id != peer.id()).collect();
                for n in 0..ROUNDS {
                    // Large ones are shared, small ones are copied: both are one line.
                    peer.publish(
                        Audience::topic("x").except(peer.id()),
                        format!("{n} {}", "p".repeat(n * 100)),
                    );
                    for id in &others {
                        peer.to(*id).unwrap().send(format!("{n} sent"));
                    }
                    peer.publish("x", format!("{n} again"));
                }
            }
            line => obey(peer, line),
        }
    });
    let house = House::new(untimed(), spy);
    let mut clients = [(); 4].map(|()| Client::open(house.address));
    for client in &mut clients[1..] {
        client.tell("+x", "New");
    }
    let ids: Vec<_> = (0..4)
        .map(|_| log.wait_for(|call| if let Call::Open(id) = call { Some(*id) } else { None }))
        .collect();
    clients[0].send_frame(TEXT, "go");
    for client in &mut clients[1..] {
        for n in 0..ROUNDS {
            assert_eq!(client.read_text(), format!("{n} {}", "p".repeat(n * 100)));
            assert_eq!(client.read_text(), format!("{n} sent"));
            assert_eq!(client.read_text(), format!("{n} again"));
        }
    }
    // The same from other threads, each of which keeps its own order.
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let (handle, ids) = (house.handle.clone(), ids.clone());
            std::thread::spawn(move || {
                for n in 0..ROUNDS {
                    match n % 3 {
                        0 => handle.publish("x", format!("{thread} {n}")),
                        1 => handle
                            .publish(Audience::topic("x").except(ids[0]), format!("{thread} {n}")),
                        _ => ids.iter().for_each(|id| handle.send(*id, format!("{thread} {n}"))),
                    }
                }
            })
        })
        .collect();
    for client in &mut clients[1..] {
        let mut next = [0; 3];
        while next != [ROUNDS; 3] {
            let text = client.read_text();
            let (thread, n) = text.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(n, next.to_string());
            *next += 1;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(clients);
    house.stop(log);
}

#[test]
fn a_handle_subscribes_for_others_and_publishes_right_behind() {
    let (spy, mut log) = rooms();
    let house = House::new(untimed(), spy);
    let mut gone = Client::open(house.address);
    let stale = log.next_open();
    gone.send_frame(TEXT, "bye");
    gone.send_close(1000, "");
    drop(gone);
    log.wait_for_close();
    let mut client = Client::open(house.address);
    let id = log.next_open();
    for n in 0..100 {
        house.handle.publish("x", "before");
        house.handle.subscribe(id, "x");
        house.handle.subscribe(stale, "x");
        house.handle.publish("x", n.to_string());
        house.handle.publish(Audience::topic("x").except(id), "to nobody");
        house.handle.unsubscribe(id, "x");
        house.handle.unsubscribe(stale, "x");
        house.handle.publish("x", "after");
        assert_eq!(client.read_text(), n.to_string());
    }
    // What it says by its socket may overtake orders; what is ordered behind them does not.
    house.handle.send(id, "carried out");
    assert_eq!(client.read_text(), "carried out");
    client.tell("?", "[] of {}");
    drop(client);
    house.stop(log);
}

#[test]
fn what_is_published_is_compressed_where_that_was_agreed_on() {
    let (spy, log) = Spy::new(|peer, call| match call {
        Call::Open(_) => {
            assert_eq!(peer.subscribe("x"), Subscribed::New);
        }
        Call::Message(_, message) => {
            let prepared = Prepared::new(message.borrowed());
            assert_eq!(peer.publish("x", prepared.clone()), 3);
            assert_eq!(peer.publish("x", prepared), 3);
        }
        _ => {}
    });
    let house = House::new(untimed().deflate(DeflateConfig::new()), spy);
    let url = format!("ws://{}/", house.address);
    let mut clients = [untimed(), untimed(), untimed().no_deflate()]
        .map(|config| untimed_client(&url).config(config).connect().unwrap());
    assert!(clients[0].deflate().is_some());
    assert!(clients[2].deflate().is_none());
    for text in ["short".to_owned(), "long ".repeat(10_000)] {
        clients[1].send(&*text).unwrap();
        for client in &mut clients {
            for _ in 0..2 {
                assert_eq!(client.recv().unwrap().unwrap().as_text(), Some(&*text));
            }
        }
    }
    drop(clients);
    house.stop(log);
}

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// A message whose making is counted, on the thread that makes it.
struct Counted;

impl From<Counted> for Message<'static> {
    fn from(_: Counted) -> Self {
        MADE.set(MADE.get() + 1);
        Message::from("counted")
    }
}

/// Subscribes everybody to "x", and tells what it is told of topics.
struct Bridge(Sender<(String, usize)>);

impl Handler for Bridge {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        assert!(peer.subscribe("x").is_new());
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        match message.as_text().unwrap() {
            "leave and come" => {
                assert!(peer.unsubscribe("x") && peer.subscribe("x").is_new());
                assert!(peer.subscribe("short").is_new() && peer.unsubscribe("short"));
            }
            "alone" => {
                // It is the only one, and nobody is in the other.
                assert_eq!(
                    (
                        peer.publish(Audience::topic("x").except(peer.id()), Counted),
                        peer.publish("y", Counted)
                    ),
                    (0, 0)
                );
                assert_eq!(MADE.get(), 0);
                assert_eq!((peer.publish("x", Counted), MADE.get()), (1, 1));
            }
            topic => {
                assert!(peer.subscribe(topic).is_new());
            }
        }
        peer.send("done");
    }

    fn on_close(&mut self, peer: &mut Peer<'_>, _outcome: &Outcome) {
        assert!(peer.is_subscribed("x"));
    }

    fn on_subscription(&mut self, topic: &str, subscribers: usize) {
        let _ = self.0.send((topic.to_owned(), subscribers));
    }
}

fn next(told: &Receiver<(String, usize)>) -> (String, usize) {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn the_first_subscriber_and_the_last_are_told_of() {
    let (sender, told) = channel();
    let house = House::new(untimed(), Bridge(sender));
    let mut first = Client::open(house.address);
    assert_eq!(next(&told), ("x".into(), 1));
    first.tell("leave and come", "done");
    let mut second = Client::open(house.address);
    second.tell("a", "done");
    assert_eq!(next(&told), ("a".into(), 1));
    first.tell("a", "done");
    drop(second);
    first.tell("b", "done");
    assert_eq!(next(&told), ("b".into(), 1));
    drop(first);
    let mut last = [next(&told), next(&told), next(&told)];
    last.sort();
    assert_eq!(last, [("a".into(), 0), ("b".into(), 0), ("x".into(), 0)]);
    drop(house);
    assert_eq!(told.iter().next(), None);
}

#[test]
fn a_message_to_nobody_is_not_even_encoded() {
    let (sender, _told) = channel();
    let house = House::new(untimed(), Bridge(sender));
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "alone");
    assert_eq!((client.read_text(), client.read_text()), ("counted".into(), "done".into()));
}

#[test]
fn names_and_their_number_are_bounded() {
    let (spy, log) = rooms();
    let server = untimed_server().max_topics(3).max_topic_length(4);
    let house = House::of(server, spy);
    let mut client = Client::open(house.address);
    client.tell("+12345", "Refused(TooLong(5))");
    client.tell("+äöü", "Refused(TooLong(6))");
    client.tell("+äö", "New");
    client.tell("+2", "New");
    client.tell("+3", "New");
    client.tell("+4", "Refused(TooMany(3))");
    client.tell("+3", "Already");
    client.tell("-2", "true");
    client.tell("+4", "New");
    // Another connection has its own three.
    Client::open(house.address).tell("+1", "New");
    drop(client);
    house.stop(log);
}

/// Between two turns, from outside the handler.
#[test]
fn a_loop_publishes_too() {
    let (sender, told) = channel();
    let server = untimed_server();
    let mut event_loop = server.into_event_loop(Bridge(sender)).unwrap();
    let address = event_loop.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = Client::open(address);
        assert_eq!(client.read_text(), "from the loop");
        client.send_raw(frame(TEXT, "a"));
        assert_eq!(client.read_text(), "done");
    });
    assert_eq!(event_loop.publish("x", Counted), 0);
    while event_loop.peers().subscribers("x") == 0 {
        event_loop.run_once(Some(PATIENCE)).unwrap();
    }
    assert_eq!((next(&told), MADE.get()), (("x".into(), 1), 0));
    assert_eq!(event_loop.peers().topics().collect::<Vec<_>>(), [("x", 1)]);
    assert_eq!(event_loop.publish("x", "from the loop"), 1);
    let id = event_loop.peers().ids().first().copied().unwrap();
    assert!(event_loop.peer(id).unwrap().subscribe("between").is_new());
    // What changed between turns is told in the next one, which need not wait for anything.
    event_loop.run_once(None).unwrap();
    assert_eq!(next(&told), ("between".into(), 1));
    let handle = event_loop.handle();
    let watch = std::thread::spawn(move || {
        let result = thread.join();
        handle.shutdown(1001, "", Duration::ZERO).unwrap();
        result.unwrap();
    });
    event_loop.run().unwrap();
    watch.join().unwrap();
    assert_eq!((event_loop.peers().topics().count(), event_loop.peers().subscribers("x")), (0, 0));
}
