//! Peers that do not read: what is dropped, what is kept, who is told, and that nobody else suffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Audience, CloseCode, Config, Decision, Fragment, Handler, IncomingRequest, Message,
    MessageKind, Outcome, Peer, PeerId, Prepared, SendError, Sent, Server, SlowConsumer, State,
};

use crate::client::{BINARY, CLOSE, Client, PING, TEXT};
use crate::house::{Call, House, Log, Spy, eventually};
use crate::turns::Turns;
use crate::untimed::{untimed, untimed_client, untimed_server};

const HIGH: usize = 64 * 1024;
const CAP: usize = 256 * 1024;
const FILLER: usize = 16 * 1024;

fn config() -> Config {
    untimed().output_high_water(HIGH).output_low_water(HIGH / 4).max_buffered_amount(CAP)
}

/// A server whose connections subscribe to "x", the first of which reads nothing of what is sent to it;
/// the second obeys orders and tells what came of them.
struct Stuck {
    house: House,
    log: Log,
    stuck: Client,
    id: PeerId,
    control: Client,
}

impl Stuck {
    fn new(
        server: Server,
        mut orders: impl FnMut(&mut Peer<'_, u64>, &str) -> String + Send + 'static,
    ) -> Self {
        let mut stuck = None;
        let (spy, mut log) = Spy::new(move |peer, call| match call {
            Call::Open(id) => {
                assert!(peer.subscribe("x").is_new());
                stuck.get_or_insert(*id);
            }
            Call::Message(_, message) if stuck != Some(peer.id()) => {
                let answer = match (stuck.and_then(|id| peer.to(id)), message.as_text().unwrap()) {
                    (None, _) => "gone".to_owned(),
                    (Some(stuck), "buffered") => stuck.buffered_amount().to_string(),
                    (Some(stuck), "kept") => stuck.kept_messages().to_string(),
                    (Some(mut stuck), "fill") => {
                        let before = stuck.buffered_amount();
                        while stuck.buffered_amount() < HIGH {
                            assert!(!stuck.send(vec![0; FILLER]).is_dropped());
                        }
                        before.to_string()
                    }
                    (Some(mut stuck), order) => orders(&mut stuck, order),
                };
                peer.send(answer);
            }
            _ => {}
        });
        let house = House::of(server.config(config()), spy);
        let stuck = Client::open(house.address);
        let id = log.next_open();
        let control = Client::open(house.address);
        log.next_open();
        Self { house, log, stuck, id, control }
    }

    fn bind() -> Server {
        untimed_server()
    }

    fn order(&mut self, order: &str) -> String {
        self.control.send_frame(TEXT, order);
        self.control.read_text()
    }

    fn ask(&mut self, what: &str) -> usize {
        self.order(what).parse().unwrap()
    }

    /// Sends until the system takes nothing more for the stuck one, so that its output is just congested.
    fn fill(&mut self) {
        let mut full = 0;
        // The system finds a little more room now and then.
        eventually("the socket is full", || {
            full = if self.ask("fill") >= HIGH { full + 1 } else { 0 };
            full == 50
        });
    }

    /// What the stuck one finds behind the filling when it wakes, up to the text `last`.
    fn wake(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            let frame = self.stuck.read_frame().expect("the last message and not the end");
            match frame.opcode {
                BINARY => assert!(texts.is_empty() && frame.payload == [0; FILLER]),
                TEXT => texts.push(String::from_utf8(frame.payload).unwrap()),
                opcode => panic!("{opcode} after {texts:?}"),
            }
        }
        texts
    }

    fn stop(self) -> Vec<Call> {
        drop((self.stuck, self.control));
        self.house.stop(self.log)
    }
}

fn no_orders(_: &mut Peer<'_, u64>, order: &str) -> String {
    panic!("{order}")
}

/// A client among many: subscribed, it must get every message.
struct Reader {
    received: Arc<AtomicUsize>,
}

impl Handler for Reader {
    /// How many messages came.
    type Session = usize;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<usize> {
        unreachable!()
    }

    fn on_message(&mut self, peer: &mut Peer<'_, usize>, message: Message<'_>) {
        let n = *peer.session();
        *peer.session_mut() += 1;
        assert_eq!(message.as_text().unwrap().split(' ').nth(1), Some(&*n.to_string()));
        self.received.fetch_add(1, Ordering::SeqCst);
    }

    fn on_close(&mut self, _: &mut Peer<'_, usize>, outcome: &Outcome) {
        assert_eq!(outcome.code(), CloseCode::GOING_AWAY, "{outcome}");
    }
}

// attack: FL04
#[test]
fn a_stuck_reader_among_a_thousand_costs_the_others_nothing_and_wakes_to_the_latest() {
    const READERS: usize = 998;
    const UPDATES: usize = 1000;
    let mut test = Stuck::new(Stuck::bind(), no_orders);
    let received = Arc::new(AtomicUsize::new(0));
    let mut readers = Server::unbound()
        .config(untimed())
        .into_event_loop(Reader { received: Arc::clone(&received) })
        .unwrap();
    let request = ClientRequest::new(&Url::parse("ws://localhost/").unwrap());
    for _ in 0..READERS {
        readers
            .peers()
            .connect(test.house.address, request.clone(), &untimed().no_deflate(), 0)
            .unwrap();
    }
    let stop = readers.handle();
    let thread = std::thread::spawn(move || readers.run().unwrap());
    for _ in 0..READERS {
        test.log.next_open();
    }
    test.fill();
    let handle = test.house.handle.clone();
    for n in 0..UPDATES {
        // Two things change all the time, and each reader keeps track of both.
        handle.publish(
            Audience::topic("x").latest(if n % 2 == 0 { "even" } else { "odd" }),
            format!("is {n}"),
        );
    }
    // The control is a subscriber that reads like the others.
    for n in 0..UPDATES {
        assert_eq!(test.control.read_text(), format!("is {n}"));
    }
    eventually("all readers have all", || received.load(Ordering::SeqCst) == READERS * UPDATES);
    assert_eq!(test.ask("kept"), 2);
    let buffered = test.ask("buffered");
    assert!((HIGH - FILLER..HIGH + 2 * FILLER).contains(&buffered), "{buffered}");
    assert_eq!(test.wake("is 999"), ["is 998", "is 999"]);
    // It is one of the others again.
    handle.publish(Audience::topic("x").latest("even"), "is 1000");
    handle.publish(Audience::topic("x").latest("odd"), "is 1001");
    assert_eq!(test.stuck.read_text(), "is 1000");
    assert_eq!(test.stuck.read_text(), "is 1001");
    assert_eq!(test.control.read_text(), "is 1000");
    assert_eq!(test.control.read_text(), "is 1001");
    assert_eq!(test.ask("kept"), 0);
    eventually("those, too", || received.load(Ordering::SeqCst) == READERS * (UPDATES + 2));
    stop.shutdown(1001, "", std::time::Duration::from_secs(60)).unwrap();
    thread.join().unwrap();
    let calls = test.stop();
    assert!(!calls.iter().any(|call| matches!(call, Call::Dropped(..))));
}

#[test]
fn the_latest_of_each_key_is_kept_in_the_order_in_which_the_keys_came() {
    let mut test = Stuck::new(Stuck::bind().max_latest_keys(4), |stuck, order| {
        let (key, text) = order.split_once(' ').unwrap();
        let sent = match key.split_once('/') {
            Some((topic, key)) => {
                stuck.publish(Audience::topic(topic).latest(key), text);
                return stuck.kept_messages().to_string();
            }
            None => stuck.send_latest(key, text),
        };
        format!("{sent:?}")
    });
    assert_eq!(test.order("a at once"), "Accepted");
    assert_eq!(test.stuck.read_text(), "at once");
    test.fill();
    for (order, answer) in [
        ("a 1", "Kept"),
        ("b 1", "Kept"),
        ("a 2", "Kept"),
        ("x/a 1", "3"),
        ("x/a 2", "3"),
        ("c 1", "Kept"),
        ("d too many", "Dropped(Full)"),
        ("b 2", "Kept"),
        ("c 3", "Kept"),
    ] {
        let said = test.order(order);
        if order.starts_with("x/") {
            // The control has subscribed, too.
            assert_eq!((said, test.control.read_text()), (order[4..].into(), answer.into()));
        } else {
            assert_eq!(said, answer, "{order}");
        }
    }
    let id = test.id;
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    assert_eq!(test.wake("3"), ["2", "2", "2", "3"]);
    test.log.wait_for(|call| (*call == Call::Drain(id)).then_some(()));
    assert_eq!(test.order("d 4"), "Accepted");
    assert_eq!(test.stuck.read_text(), "4");
    test.house.handle.send_latest(id, "d", "5");
    assert_eq!(test.stuck.read_text(), "5");
    test.stop();
}

/// What may be kept counts bytes, too, and a newer value that is no longer than the old one always fits.
#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let mut test = Stuck::new(Stuck::bind(), |stuck, order| {
        let (key, length) = order.split_once(' ').unwrap();
        let message = "m".repeat(length.parse().unwrap());
        format!("{:?}", stuck.send_latest(key, message))
    });
    test.fill();
    let large = (CAP / 2 - 10).to_string();
    assert_eq!(test.order(&format!("a {large}")), "Kept");
    assert_eq!(test.order(&format!("b {large}")), "Kept");
    assert_eq!(test.order("c 100"), "Dropped(Full)");
    assert_eq!(test.order("a 1000000"), "Dropped(Full)");
    for _ in 0..10 {
        assert_eq!(test.order(&format!("a {large}")), "Kept");
    }
    assert_eq!(test.order("a 10"), "Kept");
    assert_eq!(test.order("c 100"), "Kept");
    assert_eq!(test.ask("kept"), 3);
    let texts = test.wake(&"m".repeat(100));
    assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [10, CAP / 2 - 10, 100]);
    test.stop();
}

#[test]
fn by_default_what_is_too_much_is_dropped_and_told() {
    let mut test = Stuck::new(Stuck::bind(), |stuck, order| match order {
        "send" => format!("{:?}", stuck.send("direct")),
        "publish" => stuck.publish("x", "published").to_string(),
        "control" => {
            // What must get through does.
            let ping = stuck.ping(b"still there?");
            let pong = stuck.pong(b"unasked");
            format!("{ping:?} {pong:?} {:?}", stuck.close(1000, "enough"))
        }
        _ => {
            while stuck.buffered_amount() <= CAP {
                assert_eq!(stuck.send(vec![0; FILLER]), Sent::Backpressure);
            }
            assert_eq!(stuck.send("one more"), Sent::Dropped(SendError::Full));
            assert_eq!(stuck.send_prepared(&Prepared::new("two")), Sent::Dropped(SendError::Full));
            "full".into()
        }
    });
    let id = test.id;
    test.fill();
    assert_eq!(test.order("fill up"), "full");
    // Of one turn they are told together.
    test.log.wait_for(|call| (*call == Call::Dropped(id, 2)).then_some(()));
    assert_eq!(test.order("send"), "Dropped(Full)");
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    // Only the one that reads has it, but it was for both.
    test.control.send_frame(TEXT, "publish");
    assert_eq!(
        (test.control.read_text(), test.control.read_text()),
        ("published".into(), "2".into())
    );
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    test.house.handle.send(id, "by a handle");
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    test.house.handle.broadcast("to all");
    assert_eq!(test.control.read_text(), "to all");
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    assert!(test.ask("buffered") <= CAP + FILLER + 10);
    assert_eq!(test.order("control"), "Backpressure Backpressure Ok(())");
    let rest: Vec<_> = std::iter::from_fn(|| {
        let frame = test.stuck.read_frame().unwrap();
        (frame.opcode != CLOSE).then_some(frame)
    })
    .filter(|frame| frame.opcode != BINARY)
    .collect();
    assert_eq!(rest[0].opcode, PING);
    assert_eq!((rest.len(), &*rest[1].payload), (2, &b"unasked"[..]));
    test.stop();
}

#[test]
fn a_slow_consumer_is_closed_where_the_policy_says_so() {
    let mut test = Stuck::new(Stuck::bind().slow_consumer(SlowConsumer::Close), |stuck, _| {
        while stuck.buffered_amount() <= CAP {
            assert_eq!(stuck.send(vec![0; FILLER]), Sent::Backpressure);
        }
        assert_eq!(stuck.state(), State::Open);
        assert_eq!(stuck.send("too much"), Sent::Dropped(SendError::Full));
        assert_eq!(stuck.state(), State::Closing);
        assert_eq!(stuck.send("too late"), Sent::Dropped(SendError::Closing));
        "closed".into()
    });
    test.fill();
    assert_eq!(test.order("overflow"), "closed");
    let id = test.id;
    test.log.wait_for(|call| (*call == Call::Dropped(id, 1)).then_some(()));
    // It wakes in time to read what was sent, and why nothing more was.
    let close = loop {
        let frame = test.stuck.read_frame().unwrap();
        if frame.opcode != BINARY {
            break frame;
        }
    };
    assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1013_u16.to_be_bytes()[..]));
    assert_eq!(&close.payload[2..], b"too much output waits");
    test.stuck.send_close(1013, "");
    test.stuck.read_eof();
    test.stuck.half_close();
    assert_eq!(test.log.wait_for_close().code(), CloseCode::TRY_AGAIN_LATER);
    test.stop();
}

/// The room that nobody fills: messages without a key, of which the newest of each topic is kept.
#[test]
fn the_newest_of_each_topic_is_kept_where_the_policy_says_so() {
    let mut test = Stuck::new(Stuck::bind(), |stuck, order| match order.split_once(' ') {
        Some(("send", text)) => format!("{:?}", stuck.send(text)),
        Some((topic, text)) => stuck.publish(topic, text).to_string(),
        None => {
            stuck.set_slow_consumer(SlowConsumer::Latest);
            assert!(stuck.subscribe("y").is_new());
            while stuck.buffered_amount() <= CAP {
                assert_eq!(stuck.send(vec![0; FILLER]), Sent::Backpressure);
            }
            "full".into()
        }
    });
    let id = test.id;
    test.fill();
    assert_eq!(test.order("overflow"), "full");
    for n in 0..1000 {
        assert_eq!(test.order(&format!("y {n}")), "1");
        assert_eq!(test.order(&format!("send {n}")), "Kept");
    }
    test.control.send_frame(TEXT, "x 7");
    assert_eq!((test.control.read_text(), test.control.read_text()), ("7".into(), "2".into()));
    assert_eq!(test.ask("kept"), 3);
    assert_eq!(test.wake("7"), ["999", "999", "7"]);
    // Of what was replaced without anybody's having said that it may be, the handler is told.
    let mut lost = 0;
    test.log.wait_for(|call| match call {
        Call::Dropped(of, count) if *of == id => {
            lost += count;
            (lost == 2 * 999).then_some(())
        }
        _ => None,
    });
    // Once it reads, it gets everything.
    for n in 0..10 {
        assert_eq!(test.order(&format!("y {n}")), "1");
        assert_eq!(test.stuck.read_text(), n.to_string());
    }
    test.stop();
}

/// A message that was dropped must not have left a trace in the compression of the connection.
#[test]
fn what_is_kept_is_compressed_when_it_is_sent() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Open(_) => drop(peer.subscribe("x")),
        Call::Message(_, order) if *order == "fill" => {
            let (first, before) = (peer.peers().ids().into_iter().min().unwrap(), peer.id());
            assert_ne!(first, before);
            let mut stuck = peer.to(first).unwrap();
            let before = stuck.buffered_amount();
            while stuck.buffered_amount() < HIGH {
                stuck.send_with(vec![0; FILLER], framewire::Compress::Never);
            }
            peer.send(before.to_string());
        }
        Call::Message(_, message) => {
            let first = peer.peers().ids().into_iter().min().unwrap();
            let text = message.as_text().unwrap();
            peer.publish(
                Audience::topic("x").latest("shared").except(peer.id()),
                format!("shared {text}").repeat(100),
            );
            let mut stuck = peer.to(first).unwrap();
            let sent = stuck.send_latest("own", format!("own {text}").repeat(100));
            peer.send(format!("{sent:?}"));
        }
        _ => {}
    });
    let house = House::new(config().deflate(DeflateConfig::new()), spy);
    let url = format!("ws://{}/", house.address);
    let mut stuck = untimed_client(&url).connect().unwrap();
    log.next_open();
    let mut control = Client::open(house.address);
    log.next_open();
    let mut full = 0;
    eventually("the socket is full", || {
        control.send_frame(TEXT, "fill");
        full = if control.read_text().parse::<usize>().unwrap() >= HIGH { full + 1 } else { 0 };
        full == 50
    });
    for n in 0..100 {
        control.send_frame(TEXT, n.to_string());
        assert_eq!(control.read_text(), "Kept");
    }
    let mut next = || loop {
        let message = stuck.recv().unwrap().unwrap();
        if let Some(text) = message.as_text() {
            return text.to_owned();
        }
    };
    assert_eq!((next(), next()), ("shared 99".repeat(100), "own 99".repeat(100)));
    for n in 0..100 {
        control.send_frame(TEXT, n.to_string());
        assert_ne!(control.read_text(), "Kept");
        assert_eq!(next(), format!("shared {n}").repeat(100));
        assert_eq!(next(), format!("own {n}").repeat(100));
    }
    drop((stuck, control));
    house.stop(log);
}

#[test]
fn what_is_kept_goes_out_before_a_close() {
    for by_handle in [false, true] {
        let mut test = Stuck::new(Stuck::bind(), |stuck, order| match order {
            "close" => format!("{:?}", stuck.close(1000, "")),
            _ => format!("{:?}", stuck.send_latest("key", order)),
        });
        test.fill();
        assert_eq!(test.order("old"), "Kept");
        assert_eq!(test.order("new"), "Kept");
        match by_handle {
            true => test.house.handle.close(test.id, 1000, "").unwrap(),
            false => assert_eq!(test.order("close"), "Ok(())"),
        }
        assert_eq!(test.wake("new"), ["new"]);
        assert_eq!(test.stuck.read_close().0, 1000);
        test.stop();
    }
}

/// A peer that has ended its direction may still read: what is kept for it goes out when its output has, at whatever
/// moment its end is found.
#[test]
fn what_is_kept_goes_out_to_a_peer_that_has_ended_its_direction() {
    const WHOLE: usize = 16 << 20;
    let (spy, _log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            for _ in 0..WHOLE / FILLER {
                assert!(!peer.send(vec![0; FILLER]).is_dropped());
            }
            assert_eq!(peer.send_latest("k", "kept"), Sent::Kept);
        }
    });
    // Its end is found when the output is no longer congested, and long before all of it is gone.
    let config = untimed().output_high_water(1 << 20).output_low_water(0);
    let mut turns = Turns::new(config.max_buffered_amount(2 * WHOLE), spy);
    let (mut client, _) = turns.open();
    client.send_frame(TEXT, "go");
    turns.until(|event_loop| event_loop.counters().received.text_messages == 1);
    client.half_close();
    let reader = std::thread::spawn(move || {
        let frames = std::iter::from_fn(|| client.read_frame());
        frames.filter(|frame| frame.opcode == TEXT).map(|frame| frame.payload).collect::<Vec<_>>()
    });
    turns.until(|event_loop| event_loop.connections() == 0);
    assert_eq!(reader.join().unwrap(), [b"kept"]);
}

#[test]
fn what_is_kept_waits_for_the_end_of_a_fragmented_message() {
    let mut test = Stuck::new(Stuck::bind(), |stuck, order| match order {
        "begin" => {
            format!("{:?}", stuck.send_fragment(Fragment::more(MessageKind::Text, &b"be"[..])))
        }
        "end" => {
            format!("{:?}", stuck.send_fragment(Fragment::last(MessageKind::Text, &b"gun"[..])))
        }
        _ => format!("{:?}", stuck.send_latest("key", order)),
    });
    test.fill();
    assert_eq!(test.order("begin"), "Backpressure");
    assert_eq!(test.order("value"), "Kept");
    let first = loop {
        let frame = test.stuck.read_frame().unwrap();
        if frame.opcode == TEXT {
            break frame;
        }
    };
    assert_eq!((first.fin, &*first.payload), (false, &b"be"[..]));
    assert_eq!(test.ask("kept"), 1);
    assert_eq!(test.order("end"), "Accepted");
    let last = test.stuck.read_frame().unwrap();
    assert_eq!((last.fin, last.opcode, &*last.payload), (true, 0, &b"gun"[..]));
    assert_eq!(test.stuck.read_text(), "value");
    test.stop();
}

#[test]
fn all_connections_together_hold_what_the_server_allows() {
    const TOTAL: usize = 128 * 1024;
    // Far less than one connection might hold by itself.
    let mut test =
        Stuck::new(Stuck::bind().max_buffered_total(TOTAL), |stuck, order| match order {
            "send" => format!("{:?}", stuck.send(vec![0; FILLER])),
            _ => stuck.publish("x", "x".repeat(order.parse().unwrap())).to_string(),
        });
    let first = test.id;
    test.fill();
    while test.order("send") == "Backpressure" {}
    assert_eq!(test.order("send"), "Dropped(Full)");
    let buffered = test.ask("buffered");
    assert!((TOTAL - 2 * FILLER..=TOTAL).contains(&buffered), "{buffered}");
    // One that reads is sent as much as before, also what is more than is left.
    for _ in 0..10 {
        let length = TOTAL / 2 - 1000;
        test.control.send_frame(TEXT, length.to_string());
        assert_eq!(test.control.read_text().len(), length);
        assert_eq!(test.control.read_text(), "2");
    }
    assert_eq!(test.order("buffered"), buffered.to_string());
    // A second one that does not read needs room, and the one that holds most has to give it.
    let second = Client::open(test.house.address);
    let id = test.log.wait_for(|call| match call {
        Call::Open(id) if *id != first => Some(*id),
        _ => None,
    });
    let handle = test.house.handle.clone();
    let mut gone = None;
    eventually("the first one is dropped", || {
        handle.send(id, vec![0; FILLER]);
        while let Some(call) = test.log.try_next() {
            if let Call::Close(id, outcome) = call {
                gone = Some((id, outcome));
            }
        }
        gone.is_some()
    });
    assert_eq!(gone, Some((first, Outcome::Lost { sent: None, received: None, cause: None })));
    drop(second);
    test.stop();
}
