//! The connections of a loop, from a peer and between two turns.

use framewire::{Config, Message, Peer, Peers, Routes};

use crate::client::{Client, TEXT};
use crate::house::{Call, Spy};
use crate::turns::Turns;
use crate::untimed::untimed;

/// Answers with what the function makes of the connections.
fn answering(
    answer: impl Fn(&mut Peer<'_, u64>, &str) -> String + Send + 'static,
) -> (Turns<Spy>, crate::house::Log) {
    let (spy, log) = Spy::new(move |peer, call| {
        if let Call::Message(_, message) = call {
            let said = answer(peer, message.as_text().unwrap());
            peer.send(said);
        }
    });
    (Turns::new(untimed(), spy), log)
}

fn ask(turns: &mut Turns<Spy>, client: &mut Client, question: &str) -> String {
    client.send_frame(TEXT, question);
    let before = turns.event_loop.counters().received.text_messages;
    turns.until(|event_loop| event_loop.counters().received.text_messages > before);
    client.read_text()
}

#[test]
fn ids_do_not_borrow_the_connections() {
    let (mut turns, _log) = answering(|peer, text| {
        let mut count = 0;
        for id in peer.peers().ids() {
            if id != peer.id()
                && let Some(mut other) = peer.to(id)
            {
                other.send(text);
                count += 1;
            }
        }
        format!("told {count}")
    });
    let (mut first, _) = turns.open();
    let (mut second, _) = turns.open();
    let (mut third, _) = turns.open();
    assert_eq!(ask(&mut turns, &mut second, "hello"), "told 2");
    assert_eq!((first.read_text(), third.read_text()), ("hello".to_owned(), "hello".to_owned()));
    let ids = turns.event_loop.peers().ids();
    assert_eq!((ids.len(), turns.event_loop.peers().len()), (3, 3));
    drop(first);
    turns.until(|event_loop| event_loop.peers().len() == 2);
    assert!(turns.event_loop.peers().get(ids[0]).is_none());
    let mut peers = turns.event_loop.peers();
    assert!(peers.get(ids[1]).is_some_and(|peer| peer.id() == ids[1]));
    // The number of messages and calls before.
    assert_eq!(peers.get(ids[1]).map(|peer| *peer.session()), Some(2));
}

#[test]
fn a_function_is_called_with_each_open_connection_once() {
    let (mut turns, _log) = answering(|peer, text| {
        let own = peer.id();
        let mut met = Vec::new();
        peer.peers().for_each(|other| {
            met.push(other.id());
            *other.session_mut() += 1000;
            if other.id() != own {
                other.send(text);
            }
            // One that closes is not open any more, and is not met again.
            if text == "leave" && other.id() != own {
                other.close(1000, "").unwrap();
            }
        });
        let ids = peer.peers().ids();
        format!("{} met, {} left, {:?}", met.len(), ids.len(), peer.session())
    });
    let (mut first, _) = turns.open();
    let (mut second, _) = turns.open();
    assert_eq!(ask(&mut turns, &mut first, "x"), "2 met, 2 left, 1002");
    assert_eq!(second.read_text(), "x");
    assert_eq!(ask(&mut turns, &mut first, "leave"), "2 met, 1 left, 2003");
    assert_eq!(second.read_text(), "leave");
}

#[test]
fn the_subscribers_of_a_topic_are_listed() {
    let (mut turns, _log) = answering(|peer, text| {
        if text == "in" {
            peer.subscribe("news");
        } else if text == "out" {
            peer.unsubscribe("news");
        }
        let own = peer.id();
        let ids = peer.peers().subscribers_of("news");
        assert_eq!(ids.len(), peer.peers().subscribers("news"));
        format!("{} {}", ids.len(), ids.contains(&own))
    });
    let (mut first, _) = turns.open();
    let (mut second, _) = turns.open();
    assert_eq!(ask(&mut turns, &mut first, "?"), "0 false");
    assert_eq!(ask(&mut turns, &mut first, "in"), "1 true");
    assert_eq!(ask(&mut turns, &mut second, "?"), "1 false");
    assert_eq!(ask(&mut turns, &mut second, "in"), "2 true");
    assert_eq!(ask(&mut turns, &mut first, "out"), "1 false");
    let peers = turns.event_loop.peers();
    assert_eq!(peers.topics().collect::<Vec<_>>(), [("news", 1)]);
    assert_eq!(peers.subscribers_of("olds"), []);
    // A connection that closes is counted until it has gone, and is none to be reached.
    let [id] = peers.subscribers_of("news")[..] else { panic!("one has subscribed") };
    turns.event_loop.peer(id).unwrap().close(1000, "").unwrap();
    let peers = turns.event_loop.peers();
    assert_eq!((peers.subscribers("news"), peers.subscribers_of("news")), (1, vec![]));
}

/// Answers with the ids that are seen from there.
struct Lister;

impl framewire::Handler for Lister {
    type Session = ();

    fn on_upgrade(&mut self, _: &framewire::IncomingRequest) -> framewire::Decision<()> {
        framewire::Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
        let told = |peers: Peers<'_>| format!("{} of {}", peers.len(), peers.connections());
        let said = told(peer.peers());
        peer.send(said);
    }
}

#[test]
fn a_peer_lists_those_of_its_route_and_the_loop_all() {
    let routes = Routes::new()
        .route("/a", Config::new(), Lister)
        .unwrap()
        .route("/b", Config::new(), Lister)
        .unwrap();
    let mut turns = Turns::new(untimed(), routes);
    let mut clients = Vec::new();
    for (number, path) in ["/a", "/a", "/b"].into_iter().enumerate() {
        let mut client = Client::connect(turns.address);
        let request = crate::client::REQUEST.replacen("GET /chat ", &format!("GET {path} "), 1);
        client.send_raw(request);
        turns.until(|event_loop| event_loop.peers().len() == number + 1);
        client.read_head();
        clients.push(client);
    }
    for (client, told) in clients.iter_mut().zip(["2 of 3", "2 of 3", "1 of 3"]) {
        let before = turns.event_loop.counters().received.text_messages;
        client.send_frame(TEXT, "?");
        turns.until(|event_loop| event_loop.counters().received.text_messages > before);
        assert_eq!(client.read_text(), told);
    }
    let mut all = 0;
    turns.event_loop.peers().for_each(|_| all += 1);
    assert_eq!(all, 3);
    assert!(!turns.event_loop.peers().is_empty());
}
