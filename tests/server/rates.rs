//! How fast clients may send and come. Where a rate is 0, nothing depends on the time: there is the burst only.

use std::time::Duration;

use framewire::{
    Bytes, Decision, Fragment, Fragments, Handler, IncomingRequest, Message, OpeningError, Peer,
    RateLimit, RateLimitPolicy, Response, TrustedProxies,
};

use crate::client::{Client, PING, REQUEST, TEXT, frame, frame_with};
use crate::turns::Turns;
use crate::untimed::{untimed, untimed_server};

/// Echoes, and notes what it is told.
#[derive(Default)]
struct Echo {
    told: Vec<u64>,
    errors: Vec<String>,
}

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::default()
    }

    fn on_handshake_error(
        &mut self,
        error: &OpeningError,
        _: &framewire::Attempt,
    ) -> Option<Response> {
        self.errors.push(error.to_string());
        None
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        match message.as_text() {
            Some("pause") => peer.pause(),
            Some("limit") => peer.set_rate_limit(RateLimit::new().messages(0, 2)),
            _ => {}
        }
        peer.send(message);
    }

    fn on_rate_limited(&mut self, _: &mut Peer<'_>, messages: u64) {
        self.told.push(messages);
    }
}

fn echo(limit: RateLimit) -> Turns<Echo> {
    Turns::of(untimed_server().rate_limit(limit), Echo::default())
}

fn frames(texts: impl IntoIterator<Item = usize>) -> Vec<u8> {
    texts.into_iter().flat_map(|n| frame(TEXT, n.to_string())).collect()
}

#[test]
fn what_is_too_much_is_dropped_and_told() {
    let limit = RateLimit::new().messages(0, 3).policy(RateLimitPolicy::Drop);
    let mut turns = echo(limit);
    let (mut client, _) = turns.open();
    client.send_raw(frames(0..10));
    turns.until(|event_loop| event_loop.handler().told.iter().sum::<u64>() == 7);
    for n in 0..3 {
        assert_eq!(client.read_text(), n.to_string());
    }
    let counters = turns.event_loop.counters();
    assert_eq!((counters.rate_limited, counters.received.text_messages), (7, 3));
    // Each connection has a burst of its own, and control frames are not counted.
    let (mut other, _) = turns.open();
    other.send_frame(PING, "ping");
    other.send_raw(frames(0..3));
    turns.until(|event_loop| event_loop.counters().received.text_messages == 6);
    assert_eq!(other.read_frame().unwrap().payload, b"ping");
    assert_eq!(other.read_text(), "0");
}

#[test]
fn what_is_too_much_closes_with_1008() {
    let limit = RateLimit::new().bytes(0, 4).policy(RateLimitPolicy::Close);
    let mut turns = echo(limit);
    let (mut client, _) = turns.open();
    // The third one is let in by the last byte, and takes more than there is.
    for text in ["one", "", "longer", "too much", "ignored"] {
        client.send_frame(TEXT, text);
    }
    turns.until(|event_loop| event_loop.counters().rate_limited == 1);
    turns.turn();
    for text in ["one", "", "longer"] {
        assert_eq!(client.read_text(), text);
    }
    assert_eq!(client.read_close(), (1008, "too many messages".to_owned()));
    assert_eq!(turns.event_loop.counters().received.text_messages, 3);
    assert_eq!(turns.event_loop.broadcast("to nobody"), 0);
    client.send_close(1008, "");
    drop(client);
    turns.until(|event_loop| event_loop.connections() == 0);
}

#[test]
fn a_pause_loses_nothing_and_ends_in_time() {
    let mut turns = echo(RateLimit::new().messages(1000, 1));
    let (mut client, _) = turns.open();
    client.send_raw(frames(0..50));
    turns.until(|event_loop| event_loop.counters().received.text_messages == 50);
    for n in 0..50 {
        assert_eq!(client.read_text(), n.to_string());
    }
    let counters = turns.event_loop.counters();
    assert!(counters.rate_limited > 0 && counters.closes_sent.iter().count() == 0);
}

#[test]
fn the_pause_of_a_limit_and_that_of_the_application_are_two() {
    let mut turns = echo(RateLimit::new().messages(0, 2));
    let (mut client, id) = turns.open();
    let heard = |turns: &mut Turns<Echo>, count| {
        turns.until(|event_loop| event_loop.counters().received.text_messages == count);
        // What might come comes in these.
        (0..3).for_each(|_| turns.turn());
        assert_eq!(turns.event_loop.counters().received.text_messages, count);
    };
    client.send_raw(frames(0..2));
    heard(&mut turns, 2);
    client.send_frame(TEXT, "pause");
    heard(&mut turns, 2);
    // It is not the application that has paused, so it cannot end that.
    let mut peer = turns.event_loop.peer(id).unwrap();
    assert!(!peer.is_paused());
    peer.resume();
    heard(&mut turns, 2);
    turns.event_loop.peer(id).unwrap().set_rate_limit(None);
    heard(&mut turns, 3);
    client.send_raw(frames(3..5));
    heard(&mut turns, 3);
    // A new limit does not end a pause of the application.
    let mut peer = turns.event_loop.peer(id).unwrap();
    assert!(peer.is_paused());
    peer.set_rate_limit(RateLimit::new().messages(0, 1));
    assert!(peer.is_paused());
    heard(&mut turns, 3);
    turns.event_loop.handle().resume(id);
    heard(&mut turns, 4);
    turns.event_loop.handle().pause(id);
    turns.turn();
    assert!(turns.event_loop.peer(id).unwrap().is_paused());
    turns.event_loop.peer(id).unwrap().set_rate_limit(None);
    heard(&mut turns, 4);
    turns.event_loop.peer(id).unwrap().resume();
    heard(&mut turns, 5);
    // A handler sets one, too.
    client.send_raw([frame(TEXT, "limit"), frames(5..9)].concat());
    heard(&mut turns, 8);
}

#[test]
fn a_connection_that_waits_for_its_limit_can_be_closed() {
    let mut turns = echo(RateLimit::new().messages(0, 1));
    let (mut client, id) = turns.open();
    client.send_raw(frames(0..3));
    turns.until(|event_loop| event_loop.counters().rate_limited == 1);
    turns.event_loop.peer(id).unwrap().close(1000, "").unwrap();
    turns.turn();
    assert_eq!(client.read_text(), "0");
    assert_eq!(client.read_close().0, 1000);
    client.send_close(1000, "");
    drop(client);
    turns.until(|event_loop| event_loop.connections() == 0);
}

#[test]
fn a_burst_of_0_lets_nothing_through() {
    for limit in [RateLimit::new().messages(1000, 0), RateLimit::new().bytes(1000, 0)] {
        let mut turns = echo(limit);
        let (mut client, id) = turns.open();
        client.send_raw(frames(0..2));
        (0..5).for_each(|_| turns.turn());
        assert_eq!(turns.event_loop.counters().received.text_messages, 0);
        let mut peer = turns.event_loop.peer(id).unwrap();
        assert!(!peer.is_paused());
        peer.set_rate_limit(RateLimit::new().messages(0, 2));
        turns.until(|event_loop| event_loop.counters().received.text_messages == 2);
    }
}

#[test]
fn who_hangs_up_is_not_waited_for() {
    // It ends its direction in good order, or is just gone.
    for reads in [true, false] {
        let mut turns = echo(RateLimit::new().messages(0, 2));
        let (mut client, _) = turns.open();
        client.send_raw(frames(0..2));
        turns.until(|event_loop| event_loop.counters().rate_limited == 1);
        if reads {
            client.send_raw(frames(2..5));
            client.half_close();
            turns.until(|event_loop| event_loop.connections() == 0);
            assert_eq!(["0", "1"], [client.read_text(), client.read_text()]);
            client.read_eof();
            // Nobody can be slowed down any more who has hung up.
            assert_eq!(turns.event_loop.handler().told, [3]);
        } else {
            drop(client);
            turns.until(|event_loop| event_loop.connections() == 0);
        }
        assert_eq!(turns.event_loop.counters().received.text_messages, 2);
    }
}

#[test]
fn who_waits_for_its_limit_is_asked_whether_it_is_there() {
    let config = untimed().ping_interval(Duration::from_millis(5));
    let server = untimed_server().config(config).rate_limit(RateLimit::new().messages(0, 1));
    let mut turns = Turns::of(server, Echo::default());
    let (mut client, id) = turns.open();
    client.send_raw(frames(0..2));
    turns.until(|event_loop| event_loop.counters().rate_limited == 1);
    let pings = turns.event_loop.counters().sent.pings;
    turns.until(|event_loop| event_loop.counters().sent.pings >= pings + 3);
    // Its Pongs cannot be read.
    assert!(turns.event_loop.peer(id).is_some());
    assert_eq!(turns.event_loop.counters().received.text_messages, 1);
}

/// Notes the pieces that it gets and what it is told, and has a connection that pings send as it likes.
#[derive(Default)]
struct Pieces {
    pieces: Vec<String>,
    told: u64,
}

impl Handler for Pieces {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::default()
    }

    fn on_message(&mut self, _: &mut Peer<'_>, message: Message<'_>) {
        unreachable!("{message:?} has not come in pieces");
    }

    fn on_fragment(&mut self, _: &mut Peer<'_>, fragment: Fragment<'_>) {
        self.pieces.push(String::from_utf8(fragment.payload.to_vec()).unwrap());
    }

    fn on_ping(&mut self, peer: &mut Peer<'_>, _: Bytes<'_>) {
        peer.set_rate_limit(None);
    }

    fn on_rate_limited(&mut self, _: &mut Peer<'_>, messages: u64) {
        self.told += messages;
    }
}

#[test]
fn a_new_limit_keeps_what_is_known_of_the_message_under_way() {
    let limit = RateLimit::new().messages(0, 1).policy(RateLimitPolicy::Drop);
    let roomy = RateLimit::new().messages(0, 9).policy(RateLimitPolicy::Drop);
    for new in [None, Some(limit), Some(roomy)] {
        let config = untimed().fragments(Fragments::Always);
        let server = untimed_server().config(config).rate_limit(limit);
        let mut turns = Turns::of(server, Pieces::default());
        let (mut client, id) = turns.open();
        client.send_raw([frame(TEXT, "first"), frame_with(0x01, "too ")].concat());
        turns.until(|event_loop| event_loop.counters().rate_limited == 1);
        turns.event_loop.peer(id).unwrap().set_rate_limit(new);
        let rest = [frame_with(0x80, "much"), frame_with(0x01, "be"), frame_with(0x80, "hind")];
        client.send_raw(rest.concat());
        turns.until(|event_loop| event_loop.handler().pieces.last().is_some_and(|p| p == "hind"));
        assert_eq!(turns.event_loop.handler().pieces, ["first", "be", "hind"]);
        assert_eq!(turns.event_loop.handler().told, 1);
    }
    // A handler that sets one while the messages are read is told all the same of those that were dropped.
    let server = untimed_server().config(untimed().fragments(Fragments::Always));
    let mut turns = Turns::of(server.rate_limit(limit), Pieces::default());
    let (mut client, _) = turns.open();
    let all = [frame(TEXT, "first"), frame(TEXT, "second"), frame(PING, ""), frame(TEXT, "third")];
    client.send_raw(all.concat());
    turns.until(|event_loop| event_loop.handler().pieces.len() == 2);
    assert_eq!(turns.event_loop.handler().pieces, ["first", "third"]);
    assert_eq!(turns.event_loop.handler().told, 1);
}

#[test]
fn handshakes_of_an_address_are_counted_by_the_caller() {
    let config = untimed().trusted_proxies(TrustedProxies::new(["127.0.0.1"]).unwrap());
    let server = untimed_server().config(config).max_handshakes_per_ip(0, 2);
    let mut turns = Turns::of(server, Echo::default());
    let mut ask = |from: &str| {
        let mut client = Client::connect(turns.address);
        let end = REQUEST.len() - 2;
        client.send_raw(format!("{}X-Forwarded-For: {from}\r\n\r\n", &REQUEST[..end]));
        let decided = |event_loop: &framewire::EventLoop<Echo>| {
            let handshakes = event_loop.handle().counters().handshakes;
            handshakes.accepted + handshakes.rejected_4xx
        };
        let before = decided(&turns.event_loop);
        turns.until(|event_loop| decided(event_loop) > before);
        let head = client.read_head();
        (head.split(' ').nth(1).unwrap().to_owned(), client)
    };
    let answers = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|from| ask(from).0);
    assert_eq!(answers, ["101", "101", "429", "101"]);
    let errors = &turns.event_loop.handler().errors;
    assert_eq!(errors[..], ["too many handshakes from this address".to_owned()]);
    let counters = turns.event_loop.counters();
    assert_eq!((counters.rate_limited_handshakes, counters.handshakes.rejected_4xx), (1, 1));
}
