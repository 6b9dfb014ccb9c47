//! Whom a message is published to, for how many that is, and what of it reaches whoever lags behind.

use framewire::{Audience, Config, Message, Peer, Prepared, Routes};

use crate::client::{Client, TEXT};
use crate::house::{Call, Log, Spy};
use crate::turns::Turns;
use crate::untimed::untimed;

type House = Turns<Routes<u64>>;

/// Two routes whose connections do as they are told, "x" being a topic of all that ask for it.
fn house(
    config: Config,
    obey: impl Fn(&mut Peer<'_, u64>, &str) -> usize + Clone + Send + 'static,
) -> (House, [Log; 2]) {
    let spy = || {
        let obey = obey.clone();
        Spy::new(move |peer, call| {
            let Call::Message(_, message) = call else { return };
            match message.as_text().unwrap() {
                "subscribe" => assert!(peer.subscribe("x").is_new()),
                text => {
                    let count = obey(peer, text);
                    peer.send(count.to_string());
                }
            }
        })
    };
    let ((a, log), (b, log_of_b)) = (spy(), spy());
    let routes = Routes::new().route("/chat", config.clone(), a).unwrap();
    let routes = routes.route("/b", config, b).unwrap();
    (Turns::new(untimed(), routes), [log, log_of_b])
}

impl House {
    fn at(&mut self, path: &str) -> Client {
        let before = self.event_loop.peers().len();
        let mut client = Client::connect(self.address);
        client.send_raw(crate::client::REQUEST.replace("/chat", path));
        self.until(|event_loop| event_loop.peers().len() > before);
        client.read_head();
        client
    }

    fn tell(&mut self, client: &mut Client, order: &str) {
        let before = self.event_loop.counters().received.text_messages;
        client.send_frame(TEXT, order);
        self.until(|event_loop| event_loop.counters().received.text_messages > before);
    }
}

#[test]
fn a_message_reaches_exactly_the_audience_and_tells_for_how_many_it_was() {
    let (mut house, _logs) = house(untimed(), |peer, text| {
        let id = peer.id();
        let prepared = Prepared::new(text);
        match text {
            "everyone" => peer.broadcast(&prepared),
            "others" => peer.publish(Audience::everyone().except(id), &prepared),
            "route" => peer.publish(Audience::route(peer.route()), text),
            "others of the route" => peer.publish(Audience::route(peer.route()).except(id), text),
            "none" => peer.publish(Audience::route(None), text),
            "topic" => peer.publish("x", text),
            "others of the topic" => peer.publish(&"x".to_owned(), text) + 100,
            "by peers" => peer.peers().publish(Audience::topic("x").except(id), text),
            "all by peers" => peer.peers().broadcast(text),
            "if" => peer.peers().broadcast_if(|other| *other.session() < 3, text),
            "if by peers" => peer.peers().broadcast_if(|other| other.id() != id, text),
            "if nobody" => peer.peers().broadcast_if(|_| false, text),
            _ => panic!("{text}"),
        }
    });
    let mut clients = [house.at("/chat"), house.at("/chat"), house.at("/b")];
    for index in [0, 2] {
        house.tell(&mut clients[index], "subscribe");
    }
    // The first client says it: who gets it, and for how many it was.
    for (order, who, count) in [
        ("everyone", [true, true, true], 3),
        ("others", [false, true, true], 2),
        ("route", [true, true, false], 2),
        ("others of the route", [false, true, false], 1),
        ("none", [false, false, false], 0),
        ("topic", [true, false, true], 2),
        ("others of the topic", [true, false, true], 102),
        ("by peers", [false, false, true], 1),
        ("all by peers", [true, true, true], 3),
        // Those whose handler was called fewer than three times: the first one was called for each line.
        ("if", [false, true, true], 2),
        ("if by peers", [false, true, true], 2),
        ("if nobody", [false, false, false], 0),
    ] {
        house.tell(&mut clients[0], order);
        house.turn();
        for (client, gets_it) in clients.iter_mut().zip(who) {
            if gets_it {
                assert_eq!(client.read_text(), order);
            }
        }
        assert_eq!(clients[0].read_text(), count.to_string(), "{order}");
    }
    // From outside of calls.
    let id = house.event_loop.peers().ids()[0];
    assert_eq!(house.event_loop.broadcast("1"), 3);
    assert_eq!(house.event_loop.publish(Audience::everyone().except(id), "2"), 2);
    assert_eq!(house.event_loop.peers().publish("x", "3"), 2);
    let handle = house.event_loop.handle();
    handle.publish(Audience::topic("x").except(id), "4");
    handle.try_publish(Audience::everyone(), "5").unwrap();
    house.turn();
    house.turn();
    let lists = [["1", "3", "5"].as_slice(), &["1", "2", "5"], &["1", "2", "3", "4", "5"]];
    for (client, list) in clients.iter_mut().zip(lists) {
        for text in list {
            assert_eq!(client.read_text(), *text);
        }
        assert!(!client.has_frame());
    }
}

#[test]
fn whoever_closes_is_counted_no_more() {
    let (mut house, _logs) = house(untimed(), |peer, text| {
        let other = peer.peers().ids().into_iter().find(|id| *id != peer.id());
        match text {
            "close the other" => peer.to(other.unwrap()).unwrap().close(1000, "").unwrap(),
            "abort the other" => peer.to(other.unwrap()).unwrap().abort(),
            "close" => peer.close(1000, "").unwrap(),
            _ => panic!("{text}"),
        }
        let route = peer.publish(Audience::route(peer.route()), "to the route");
        peer.broadcast("to those who are here") * 10 + route
    });
    let mut first = house.at("/chat");
    for order in ["close the other", "abort the other"] {
        let second = house.at("/chat");
        house.tell(&mut first, order);
        house.turn();
        assert_eq!(first.read_text(), "to the route", "{order}");
        assert_eq!(first.read_text(), "to those who are here", "{order}");
        assert_eq!(first.read_text(), "11", "{order}");
        drop(second);
        house.until(|event_loop| event_loop.connections() == 1);
    }
    let mut second = house.at("/b");
    house.tell(&mut first, "close");
    house.turn();
    assert_eq!(first.read_close().0, 1000);
    assert_eq!(second.read_text(), "to those who are here");
    assert_eq!(house.event_loop.broadcast("to the other"), 1);
    drop(first);
    house.until(|event_loop| event_loop.connections() == 1);
    assert_eq!(house.event_loop.broadcast("to the other"), 1);
    drop(second);
    house.until(|event_loop| event_loop.connections() == 0);
    assert_eq!(house.event_loop.broadcast("to nobody"), 0);
}

#[test]
fn only_the_latest_counts_for_whoever_lags_behind_without_a_topic_too() {
    const HIGH: usize = 64 * 1024;
    let config = untimed().output_high_water(HIGH).output_low_water(HIGH / 4);
    let (mut house, _logs) = house(config, |peer, text| {
        let (what, n) = text.split_once(' ').unwrap();
        let prepared = Prepared::new(text);
        match what {
            "everyone" => peer.publish(Audience::everyone().latest("key"), &prepared),
            "route" => peer.publish(Audience::route(peer.route()).latest("key of the route"), text),
            // The same key of the same connection, however it is sent.
            "one" => {
                assert!(!peer.send_latest("key", &prepared).is_dropped());
                n.len()
            }
            _ => panic!("{text}"),
        }
    });
    let (mut quick, mut stuck) = (house.at("/chat"), house.at("/chat"));
    let ids = house.event_loop.peers().ids();
    let mut full = 0;
    // The system finds a little more room now and then.
    while full < 50 {
        let mut peer = house.event_loop.peer(ids[1]).unwrap();
        full = if peer.buffered_amount() >= HIGH { full + 1 } else { 0 };
        while peer.buffered_amount() < HIGH {
            peer.send(vec![0; HIGH / 4]);
        }
        house.turn();
    }
    for n in 0..5 {
        for order in ["everyone", "route", "one"] {
            let order = format!("{order} {n}");
            house.tell(&mut quick, &order);
            house.turn();
            assert_eq!(quick.read_text(), order);
            assert_eq!(quick.read_text(), if order.starts_with("one") { "1" } else { "2" });
        }
    }
    house.event_loop.publish(Audience::everyone().latest("key").except(ids[0]), "by the loop");
    house.turn();
    assert_eq!(house.event_loop.peer(ids[1]).unwrap().kept_messages(), 2);
    let mut frames = Vec::new();
    while frames.last().is_none_or(|text| text != "route 4") {
        let twin = stuck.twin();
        drop(twin);
        house.event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
        let frame = stuck.read_frame().expect("the latest and not the end");
        if frame.opcode == TEXT {
            frames.push(String::from_utf8(frame.payload).unwrap());
        }
    }
    assert_eq!(frames, ["by the loop", "route 4"]);
}

#[test]
fn a_message_may_be_given_by_reference() {
    let prepared = Prepared::new("once");
    let (copy, again): (Prepared, Prepared) = ((&prepared).into(), Prepared::from(&prepared));
    assert_eq!((copy.message(), again.message()), (Message::text("once"), Message::text("once")));
}
