//! Messages and control frames, there and back.

use framewire::{Compress, Config, Fragments, Message, MessageKind};

use crate::client::{BINARY, Client, Engine, PING, PONG, REQUEST, TEXT, frame, frame_with};
use crate::house::{Call, House, Spy};
use crate::untimed::{untimed, untimed_server};

/// What every implementation of a client does here: text, binary, empty and large.
fn payloads() -> Vec<Message<'static>> {
    let long: String = "läng ".repeat(100_000);
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(31) >> 3) as u8).collect();
    vec!["".into(), "Hello".into(), vec![].into(), vec![0, 255].into(), long.into(), bytes.into()]
}

// behaviour: a10
#[test]
fn a_function_serves_a_client_written_by_hand() {
    let server = untimed_server();
    let address = server.local_addr().unwrap();
    let (sender, handle) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut event_loop = server
            .on_message(|peer, message| {
                peer.send(message);
            })
            .into_event_loop()
            .unwrap();
        sender.send(event_loop.handle()).unwrap();
        event_loop.run().unwrap();
    });
    let mut client = Client::open(address);
    for message in payloads() {
        let opcode = if message.is_text() { TEXT } else { BINARY };
        client.send_frame(opcode, message.as_bytes());
        assert!(client.read_message(opcode) == message.as_bytes());
    }
    client.send_close(1000, "");
    assert_eq!(client.read_close(), (1000, String::new()));
    client.read_eof();
    handle.recv().unwrap().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    thread.join().unwrap();
}

#[test]
fn the_engine_as_a_client_is_echoed() {
    let (spy, log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let stream = Client::connect(house.address).stream;
    let mut client = Engine::open(stream, &untimed());
    for message in payloads() {
        client.send(message.borrowed());
        assert!(client.read_messages(1) == [message]);
    }
    let outcome = client.close(4000, "enough");
    assert!(outcome.was_clean() && outcome.code().0 == 4000, "{outcome:?}");
    house.stop(log);
}

/// Sends in a second thread, so that neither side waits for the other.
fn round_trips(config: Config, opcode: u8, payload: Vec<u8>, times: usize) {
    let (spy, log) = Spy::echo();
    let house = House::new(config, spy);
    let mut client = Client::open(house.address);
    let mut twin = client.twin();
    let bytes = frame(opcode, &payload);
    let writer = std::thread::spawn(move || (0..times).for_each(|_| twin.send_raw(&bytes)));
    for _ in 0..times {
        assert!(client.read_message(opcode) == payload);
    }
    writer.join().unwrap();
    drop(client);
    house.stop(log);
}

// attack: FM10
#[test]
fn a_message_of_exactly_the_limit_comes_back() {
    round_trips(untimed(), BINARY, vec![0xa5; 16 << 20], 1);
    round_trips(untimed(), TEXT, "é".repeat(8 << 20).into_bytes(), 1);
}

#[test]
fn many_long_messages_come_back() {
    let payload: Vec<u8> = (0..1 << 20).map(|i: u32| (i >> 5) as u8).collect();
    round_trips(untimed(), BINARY, payload.clone(), 30);
    // A message that just fills what one read takes, and its neighbours.
    for length in [512 * 1024 - 15, 512 * 1024 - 14, 512 * 1024 - 13, 512 * 1024] {
        round_trips(untimed(), BINARY, payload[..length].to_vec(), 5);
    }
    // Each echo is far above the mark at which reading stops.
    round_trips(untimed().output_high_water(1).output_low_water(0), BINARY, payload, 10);
}

/// Long messages are received into buffers that others were sent from: nothing of those may show.
#[test]
fn long_messages_of_all_lengths_do_not_show_in_each_other() {
    let (spy, log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let mut clients = [Client::open(house.address), Client::open(house.address)];
    let lengths = [100_000, 1 << 20, 90_000, 65_536, 65_535, 130_000, 2 << 20, 1_100_000, 70_000];
    for (number, length) in (0u8..).zip(lengths.into_iter().cycle().take(27)) {
        let payload: Vec<u8> = (0..length).map(|i: usize| number ^ (i % 251) as u8).collect();
        let bytes = frame(BINARY, &payload);
        // The one stops in the middle of a message, wherever that is; the other sends a whole one.
        let cut = bytes.len() * usize::from(number % 9 + 1) / 10;
        let [one, other] = &mut clients;
        one.send_raw(&bytes[..cut]);
        other.send_raw(&bytes);
        assert!(other.read_message(BINARY) == payload, "{length}");
        one.send_raw(&bytes[cut..]);
        assert!(one.read_message(BINARY) == payload, "{length}");
    }
    drop(clients);
    house.stop(log);
}

#[test]
fn ten_thousand_messages_at_once_keep_their_order() {
    let (spy, log) = Spy::echo();
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    let mut twin = client.twin();
    let bytes: Vec<u8> = (0..10_000).flat_map(|n| frame(TEXT, n.to_string())).collect();
    let writer = std::thread::spawn(move || twin.send_raw(bytes));
    for n in 0..10_000 {
        assert_eq!(client.read_text(), n.to_string());
    }
    writer.join().unwrap();
    drop(client);
    let calls = house.stop(log);
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Message(..))).count(), 10_000);
}

/// Long owned messages go out beside the short ones, more of them than one vectored write takes.
#[test]
fn many_segments_go_out_in_order() {
    const COUNT: usize = 500;
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            for n in 0..COUNT {
                peer.send(n.to_string());
                peer.send(vec![n as u8; 8 * 1024 + n % 7]);
                peer.send_with(vec![n as u8; n % 5], Compress::Never);
            }
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    client.send_frame(TEXT, "go");
    for n in 0..COUNT {
        assert_eq!(client.read_text(), n.to_string());
        assert!(client.read_message(BINARY) == vec![n as u8; 8 * 1024 + n % 7]);
        assert_eq!(client.read_message(BINARY), vec![n as u8; n % 5]);
    }
    drop(client);
    house.stop(log);
}

#[test]
fn pieces_are_delivered_as_they_come() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed().fragments(Fragments::Always), spy);
    let mut client = Client::open(house.address);
    let id = log.next_open();
    let piece =
        |kind, payload: &[u8], first, last| Call::Fragment(id, kind, payload.to_vec(), first, last);
    client.send_frame(BINARY, [1, 2]);
    assert_eq!(log.next(), piece(MessageKind::Binary, &[1, 2], true, true));
    client.send_raw(frame_with(0x01, "one "));
    assert_eq!(log.next(), piece(MessageKind::Text, b"one ", true, false));
    client.send_frame(PING, "between");
    assert_eq!(log.next(), Call::Ping(id, b"between".to_vec()));
    client.send_raw(frame_with(0x80, "two"));
    assert_eq!(log.next(), piece(MessageKind::Text, b"two", false, true));
    // A long frame comes in pieces even where it is the whole message.
    let long = vec![7; 3 << 20];
    client.send_frame(BINARY, &long);
    let mut payload = Vec::new();
    loop {
        let Call::Fragment(_, kind, more, first, last) = log.next() else { panic!("no piece") };
        assert_eq!((kind, first), (MessageKind::Binary, payload.is_empty()));
        payload.extend(more);
        if last {
            break;
        }
    }
    assert!(payload == long);
    drop(client);
    house.stop(log);
}

#[test]
fn an_upload_comes_in_pieces_and_short_messages_stay_whole() {
    let (spy, mut log) = Spy::new(|peer, call| match call {
        Call::Message(_, message) if message.as_text() == Some("upload") => {
            peer.set_fragments(Fragments::From(1000));
        }
        Call::Fragment(.., true) => peer.set_fragments(Fragments::Never),
        _ => {}
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    let id = log.next_open();
    let whole = |text: &'static str| Call::Message(id, Message::text(text));
    for text in ["upload", "short"] {
        client.send_frame(TEXT, text);
        assert_eq!(log.next(), whole(text));
    }
    client.send_raw(frame_with(0x02, [1; 1000]));
    assert_eq!(log.next(), Call::Fragment(id, MessageKind::Binary, vec![1; 1000], true, false));
    client.send_raw(frame_with(0x80, [2]));
    assert_eq!(log.next(), Call::Fragment(id, MessageKind::Binary, vec![2], false, true));
    client.send_frame(BINARY, [3; 1000]);
    assert_eq!(log.next(), Call::Message(id, Message::binary(vec![3; 1000])));
    drop(client);
    house.stop(log);
}

// req: W082, W083, W085
#[test]
fn a_ping_is_answered_by_itself() {
    let (spy, mut log) = Spy::new(|_, _| {});
    let house = House::new(untimed(), spy);
    let mut client = Client::open(house.address);
    let id = log.next_open();
    client.send_frame(PONG, "nobody asked");
    client.send_frame(PING, "one");
    client.send_frame(PING, "");
    assert_eq!(client.read_message(PONG), b"one");
    assert_eq!(client.read_message(PONG), b"");
    assert_eq!(log.next(), Call::Pong(id, b"nobody asked".to_vec()));
    assert_eq!(log.next(), Call::Ping(id, b"one".to_vec()));
    assert_eq!(log.next(), Call::Ping(id, b"".to_vec()));
    drop(client);
    house.stop(log);
}

#[test]
fn a_ping_can_be_left_to_the_handler() {
    let (spy, log) = Spy::new(|peer, call| match call {
        Call::Ping(_, payload) => {
            peer.pong(&[&payload[..], b" by hand"].concat());
            assert!(peer.ping(&[0; 126]).is_dropped());
        }
        Call::Open(_) => {
            peer.ping(b"from the server");
        }
        _ => {}
    });
    let house = House::new(untimed().auto_pong(false), spy);
    let mut client = Client::open(house.address);
    assert_eq!(client.read_message(PING), b"from the server");
    client.send_frame(PONG, "from the server");
    client.send_frame(PING, "answered");
    assert_eq!(client.read_message(PONG), b"answered by hand");
    drop(client);
    let calls = house.stop(log);
    assert!(calls.iter().any(|call| matches!(call, Call::Pong(_, p) if p == b"from the server")));
}

// attack: HS29
// behaviour: a2
#[test]
fn a_request_and_frames_may_come_in_any_two_segments() {
    let (spy, log) = Spy::new(|peer, call| match call {
        Call::Open(_) => {
            peer.send("welcome");
        }
        call => crate::house::echo(peer, call),
    });
    let house = House::new(untimed(), spy);
    let frames = [frame(TEXT, "one"), frame_with(0x02, [2]), frame_with(0x80, [3])].concat();
    let bytes = [REQUEST.as_bytes(), &frames].concat();
    let mut clients = Vec::new();
    for split in 0..bytes.len() {
        let mut client = Client::connect(house.address);
        client.send_raw(&bytes[..split]);
        clients.push(client);
    }
    for (split, client) in clients.iter_mut().enumerate() {
        client.send_raw(&bytes[split..]);
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        assert_eq!(client.read_text(), "welcome");
        assert_eq!(client.read_text(), "one");
        assert_eq!(client.read_message(BINARY), [2, 3]);
    }
    drop(clients);
    house.stop(log);
}
