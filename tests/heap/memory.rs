//! What a peer can make a connection hold, and how much it can make it do, counted by the allocator.
//!
//! There is no harness, and one thread: whatever is allocated, the engine allocated. "Held" is what is
//! allocated at a moment; "peak" counts a buffer that grows twice while it moves, as an allocator may;
//! "work" is all that was ever allocated, which grows faster than the input if anything is copied again
//! and again.

#[macro_use]
mod table;

use std::time::Duration;

use cap::Cap;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Accept, Config, Connection, Endpoint, Event, Message, Outcome, ProtocolError, State, Workspace,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: Cap<PeakAlloc> = Cap::new(PeakAlloc, usize::MAX);

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn main() {
    table::run(TESTS);
}

const TESTS: &[(&str, fn())] = table![
    the_counters_count,
    announced_lengths_take_no_memory,
    a_long_frame_takes_memory_as_it_comes,
    tiny_fragments_cost_their_payload,
    empty_fragments_cost_nothing,
    fragments_are_not_copied_again_and_again,
    delivered_messages_have_no_slack,
    a_frame_in_single_bytes_is_linear,
    long_text_with_a_bad_end_is_linear,
    endless_heads_stop_at_the_limit,
    a_head_in_single_bytes_is_linear,
    slow_handshakes_are_small,
    nothing_is_kept_of_frames_before_the_decision,
    endless_answers_stop_at_the_limit,
    idle_connections_are_small,
    pings_that_nobody_reads_the_pongs_of,
    pongs_leave_nothing_behind,
    an_echo_that_nobody_reads,
    connections_leave_nothing_behind,
    a_connection_keeps_little_of_what_has_left,
    #[cfg(feature = "mio")]
    a_client_keeps_little_of_what_has_left,
    #[cfg(feature = "mio")]
    timers_that_are_cancelled_leave_nothing,
    #[cfg(feature = "deflate")]
    a_bomb_costs_no_more_than_the_limit,
    #[cfg(feature = "deflate")]
    empty_blocks_cost_nothing,
    #[cfg(feature = "deflate")]
    inflated_messages_have_no_slack,
    #[cfg(feature = "deflate")]
    compressed_pieces_take_no_more_than_one_of_them,
    #[cfg(feature = "deflate")]
    the_start_of_a_compressed_message_takes_what_has_come,
    #[cfg(feature = "deflate")]
    idle_connections_with_compression_are_small,
];

#[cfg(feature = "mio")]
fn timers_that_are_cancelled_leave_nothing() {
    const COUNT: u64 = 100_000;
    const LONG: Duration = Duration::from_secs(3600);
    let mut event_loop =
        framewire::Server::unbound().on_message(|_, _| {}).into_event_loop().unwrap();
    // What is there once, and stays.
    let first = event_loop.peers().set_timer(LONG, 0);
    assert!(event_loop.peers().cancel_timer(first));
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    let before = held();
    for round in 0..3 {
        let mut peers = event_loop.peers();
        let (timers, measured) = measure(|| {
            let set = |token| match token % 2 {
                0 => peers.set_timer(LONG, token),
                _ => peers.set_interval(LONG, token),
            };
            (0..COUNT).map(set).collect::<Vec<_>>()
        });
        let each = measured.peak / COUNT as usize;
        assert!(each < 400, "{each} bytes a timer");
        for timer in timers {
            assert!(peers.cancel_timer(timer));
        }
        assert_eq!(held(), before, "round {round}");
    }
    // And those whose time has come.
    for token in 0..COUNT {
        event_loop.peers().set_timer(Duration::ZERO, token);
    }
    assert!(held() > before);
    while held() > before {
        event_loop.run_once(Some(Duration::ZERO)).unwrap();
    }
}

/// What is allocated now.
fn held() -> usize {
    PeakAlloc.current_usage()
}

struct Measured {
    /// The most that was allocated at once, beyond what was at the start.
    peak: usize,
    /// What was allocated in all, whether or not it was given back.
    work: usize,
}

fn measure<T>(act: impl FnOnce() -> T) -> (T, Measured) {
    PeakAlloc.reset_peak_usage();
    let (base, total) = (held(), HEAP.total_allocated());
    let result = act();
    let peak = PeakAlloc.peak_usage() - base;
    (result, Measured { peak, work: HEAP.total_allocated() - total })
}

fn the_counters_count() {
    let before = held();
    let (kept, measured) = measure(|| {
        drop(vec![1u8; 10_000]);
        vec![1u8; 3000]
    });
    assert_eq!((measured.peak, measured.work, held() - before), (10_000, 13_000, 3000));
    drop(kept);
    assert_eq!(held(), before);
}

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

fn open(config: &Config, lines: &str) -> Connection {
    let mut connection = Connection::server(config);
    let mut head = format!("{REQUEST}{lines}\r\n").into_bytes();
    let mut input = &mut head[..];
    assert!(matches!(connection.receive(&mut input), Some(Event::Request(_))));
    connection.accept(Accept::new()).unwrap();
    connection.consume_output(usize::MAX);
    connection
}

/// A client's frame whose masking key is zero, so that unmasking it in place changes nothing and the
/// same bytes can be received again.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Receives everything, and counts the events.
fn receive(connection: &mut Connection, mut input: &mut [u8]) -> usize {
    let mut events = 0;
    while connection.receive(&mut input).is_some() {
        events += 1;
    }
    events
}

/// The error that these bytes end in.
fn failure(connection: &mut Connection, mut input: &mut [u8]) -> Option<ProtocolError> {
    while let Some(event) = connection.receive(&mut input) {
        if let Event::Failed(error) = event {
            return Some(error);
        }
    }
    None
}

// req: W115
// attack: FR05, FR06, FR07, FR08, OS07
fn announced_lengths_take_no_memory() {
    for length in [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32, 1 << 31, (16 << 20) + 1] {
        for first in [&[][..], &[0x02, 0x81, 0, 0, 0, 0, 7]] {
            let mut connection = open(&Config::new(), "");
            let opcode = if first.is_empty() { 0x82 } else { 0x80 };
            let mut bytes = [first, &[opcode, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
            let (error, measured) = measure(|| failure(&mut connection, &mut bytes));
            assert!(error.is_some());
            assert!(measured.peak < 4 * KIB, "{} bytes for {length:#x}", measured.peak);
        }
    }
    // As long as it may be, and nothing of it comes.
    let mut connection = open(&Config::new(), "");
    let mut bytes = frame(0x82, &[])[..1].to_vec();
    bytes.push(0xff);
    bytes.extend((16u64 << 20).to_be_bytes());
    bytes.extend([0; 4]);
    let (events, measured) = measure(|| receive(&mut connection, &mut bytes));
    assert!(events == 0 && connection.is_inside_message());
    assert!(measured.peak < 64 * KIB, "{} bytes", measured.peak);
}

// req: W115
// attack: FR07
fn a_long_frame_takes_memory_as_it_comes() {
    for direct in [false, true] {
        let payload = vec![7; 8 * MIB];
        let mut bytes = frame(0x82, &payload);
        let mut connection = open(&Config::new(), "");
        let base = held();
        let (mut received, mut events) = (0, 0);
        for piece in bytes.chunks_mut(48 * KIB + 7) {
            received += piece.len();
            let appended =
                direct.then(|| connection.receive_direct(|buffer, _| buffer.append(piece)));
            match appended.flatten() {
                Some((_, event)) => events += usize::from(event.is_some()),
                None => events += receive(&mut connection, piece),
            }
            let held = held() - base;
            assert!(held <= 2 * received + 64 * KIB, "{held} bytes for {received}");
        }
        assert_eq!(events, 1);
        assert!(held() - base < KIB, "all is given back");
    }
}

// req: W115
// attack: FM01, FM09
fn tiny_fragments_cost_their_payload() {
    for opcode in [1, 2] {
        let mut connection = open(&Config::new(), "");
        let base = held();
        let mut first = frame(opcode, b"x");
        let mut next = frame(0, b"x");
        receive(&mut connection, &mut first);
        for received in 2..=131_000 {
            assert_eq!(receive(&mut connection, &mut next), 0);
            let held = held() - base - first.len() - next.len();
            assert!(held <= 2 * received + 4 * KIB, "{held} bytes for {received}");
        }
        assert_eq!(connection.abort(), Outcome::Lost { sent: None, received: None, cause: None });
    }
}

// req: W115
// attack: FM02
fn empty_fragments_cost_nothing() {
    let mut connection = open(&Config::new().max_fragments(u32::MAX), "");
    let (mut first, mut next) = (frame(1, b""), frame(0, b""));
    let ((), measured) = measure(|| {
        receive(&mut connection, &mut first);
        for _ in 0..1_000_000 {
            assert_eq!(receive(&mut connection, &mut next), 0);
        }
    });
    assert!(measured.peak < KIB && measured.work < KIB, "{} bytes", measured.work);
}

/// All that is allocated for a message of `length` bytes in frames of one byte each.
fn work_for_fragments(opcode: u8, length: usize) -> usize {
    let mut connection = open(&Config::new().max_fragments(u32::MAX), "");
    let (mut first, mut next) = (frame(opcode, b"x"), frame(0, b"x"));
    let mut last = frame(0x80, b"x");
    let ((), measured) = measure(|| {
        receive(&mut connection, &mut first);
        for _ in 2..length {
            receive(&mut connection, &mut next);
        }
        assert_eq!(receive(&mut connection, &mut last), 1);
    });
    measured.work
}

// attack: FM04
fn fragments_are_not_copied_again_and_again() {
    for opcode in [1, 2] {
        let (once, twice) = (work_for_fragments(opcode, MIB / 2), work_for_fragments(opcode, MIB));
        // The buffer doubles up to two mebibytes, and is cut back to one.
        assert!(twice < 6 * MIB, "{twice} bytes allocated for one mebibyte");
        assert!(twice * 10 < once * 26, "{once}, then {twice}");
    }
}

/// Receives these bytes in portions of `size`, by [`Connection::receive_direct`] where `direct` says so
/// and a long payload is under way, and takes the only message to have a buffer of its own length.
fn receive_without_slack(connection: &mut Connection, bytes: &mut [u8], size: usize, direct: bool) {
    let mut delivered = None;
    for mut portion in bytes.chunks_mut(size) {
        if direct {
            let taken = connection.receive_direct(|buffer, missing| {
                let count = portion.len().min(missing);
                buffer.append(&portion[..count]);
                count
            });
            if let Some((count, event)) = taken {
                portion = &mut portion[count..];
                delivered = delivered.or(event);
            }
        }
        while let Some(event) = connection.receive(&mut portion) {
            delivered = delivered.or_else(|| Some(event.into_owned()));
        }
    }
    let Some(Event::Message(message)) = delivered else { panic!("{delivered:?}") };
    let (length, capacity) = match message {
        Message::Text(text) => (text.len(), text.into_string().capacity()),
        Message::Binary(bytes) => (bytes.len(), bytes.into_vec().capacity()),
    };
    assert_eq!(capacity, length, "in portions of {size}, direct: {direct}");
}

/// A message in frames of these lengths.
fn fragmented(first: u8, payload: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut stream, mut rest) = (Vec::new(), payload);
    for (number, length) in lengths.iter().enumerate() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        stream.extend(frame(if number == 0 { first } else { 0 }, piece));
        rest = after;
    }
    stream.extend(frame(0x80, rest));
    stream
}

// req: W115
fn delivered_messages_have_no_slack() {
    let payload = vec![b'x'; 16 * MIB - 1];
    for first in [0x01, 0x02] {
        for length in [0, 1000, 100_001, MIB + 1, 16 * MIB - 1] {
            let payload = &payload[..length];
            let streams = [
                frame(0x80 | first, payload),
                fragmented(first, payload, &[length]),
                fragmented(first, payload, &[1, length / 2]),
                fragmented(first, payload, &[length / 3, length / 3, 7]),
                fragmented(first, payload, &[40_000; 25]),
                fragmented(first, payload, &[3; 1000]),
            ];
            for mut stream in streams {
                for size in [1007, 64 * KIB, usize::MAX] {
                    for direct in [false, true] {
                        let mut connection = open(&Config::new(), "");
                        receive_without_slack(&mut connection, &mut stream, size, direct);
                    }
                }
            }
        }
    }
    // A single frame is never given more than it announces.
    for size in [1007, 64 * KIB] {
        let mut stream = frame(0x82, &payload);
        let mut connection = open(&Config::new(), "");
        let ((), measured) = measure(|| {
            for portion in stream.chunks_mut(size) {
                receive(&mut connection, portion);
            }
        });
        // While the buffer grows for the last time there are two of them.
        assert!(measured.peak <= 2 * payload.len() + KIB, "{} bytes", measured.peak);
    }
}

// attack: FM05, FR12
fn a_frame_in_single_bytes_is_linear() {
    for opcode in [0x81, 0x82] {
        let work = |length: usize| {
            let mut connection = open(&Config::new(), "");
            let mut bytes = frame(opcode, &vec![b'x'; length]);
            let (events, measured) = measure(|| {
                bytes
                    .iter_mut()
                    .map(|byte| receive(&mut connection, std::slice::from_mut(byte)))
                    .sum()
            });
            let events: usize = events;
            assert_eq!(events, 1);
            measured.work
        };
        let (once, twice) = (work(MIB), work(2 * MIB));
        assert!(twice < 9 * MIB, "{twice} bytes allocated for two mebibytes");
        assert!(twice * 10 < once * 26, "{once}, then {twice}");
    }
}

// attack: UT05
fn long_text_with_a_bad_end_is_linear() {
    let mut text = vec![b'a'; MIB];
    text.push(0xff);
    let bytes = frame(0x81, &text);
    for size in [1, 1000, 70_000, bytes.len()] {
        let mut connection = open(&Config::new(), "");
        let mut bytes = bytes.clone();
        let (error, measured) =
            measure(|| bytes.chunks_mut(size).find_map(|piece| failure(&mut connection, piece)));
        assert_eq!(error, Some(ProtocolError::InvalidUtf8));
        assert!(measured.work < 5 * MIB, "{} bytes in pieces of {size}", measured.work);
    }
}

// req: H008, W115
// attack: HS01, HS03
fn endless_heads_stop_at_the_limit() {
    let mut value = format!("{REQUEST}X: ").into_bytes();
    value.resize(20 * MIB, b'x');
    let many = format!("{REQUEST}{}", "aa:b\r\n".repeat(2000)).into_bytes();
    let line = [b"GET /".to_vec(), vec![b'a'; 20 * MIB]].concat();
    for mut stream in [value, many, line] {
        let mut connection = Connection::server(&Config::new());
        let (events, measured) =
            measure(|| stream.chunks_mut(4096).map(|piece| receive(&mut connection, piece)).sum());
        let events: usize = events;
        assert_eq!((events, connection.state()), (1, State::Closing));
        assert!(measured.peak <= 64 * KIB, "{} bytes", measured.peak);
        assert!(measured.work <= 96 * KIB, "{} bytes", measured.work);
    }
}

// attack: HS02
fn a_head_in_single_bytes_is_linear() {
    let mut head = format!("{REQUEST}X: {}\r\n\r\n", "x".repeat(12_000)).into_bytes();
    let length = head.len();
    let mut connection = Connection::server(&Config::new());
    let (events, measured) = measure(|| {
        head.iter_mut().map(|byte| receive(&mut connection, std::slice::from_mut(byte))).sum()
    });
    let events: usize = events;
    assert!(events == 1 && connection.awaits_decision());
    assert!(measured.work < 6 * length, "{} bytes allocated for {length}", measured.work);
}

// attack: HS05
fn slow_handshakes_are_small() {
    let config = Config::new();
    let base = held();
    let mut peers = Vec::with_capacity(1000);
    for _ in 0..1000 {
        let mut connection = Connection::server(&config);
        let mut head = REQUEST.as_bytes()[..100].to_vec();
        for byte in &mut head {
            receive(&mut connection, std::slice::from_mut(byte));
        }
        peers.push(connection);
    }
    let each = (held() - base) / 1000;
    assert!(each <= 2 * KIB, "{each} bytes each");
}

// attack: HS32
fn nothing_is_kept_of_frames_before_the_decision() {
    let mut connection = Connection::server(&Config::new());
    let mut head = format!("{REQUEST}\r\n").into_bytes();
    receive(&mut connection, &mut head);
    let mut early = frame(0x82, &[7; 1000]).repeat(10_000);
    let (left, measured) = measure(|| {
        let mut input = &mut early[..];
        for _ in 0..1000 {
            assert_eq!(connection.receive(&mut input), None);
        }
        input.len()
    });
    assert_eq!(left, early.len());
    assert_eq!((measured.peak, measured.work), (0, 0));
}

// req: H013
// attack: HC04, HC05
fn endless_answers_stop_at_the_limit() {
    let client = || {
        let request = ClientRequest::new(&Url::parse("ws://h").unwrap());
        Connection::client(request, &Config::new(), |bytes: &mut [u8]| bytes.fill(1)).unwrap()
    };
    let mut value = b"HTTP/1.1 101 x\r\nX: ".to_vec();
    value.resize(20 * MIB, b'x');
    let many = format!("HTTP/1.1 101 x\r\n{}", "aa:b\r\n".repeat(10_000)).into_bytes();
    for mut stream in [value, many] {
        let mut connection = client();
        let (events, measured) =
            measure(|| stream.chunks_mut(4096).map(|piece| receive(&mut connection, piece)).sum());
        let events: usize = events;
        assert_eq!((events, connection.state()), (1, State::Closing));
        assert!(measured.peak <= 64 * KIB, "{} bytes", measured.peak);
    }
    let mut body = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    body.resize(20 * MIB, b'x');
    let mut connection = client();
    let (_, measured) = measure(|| {
        for piece in body.chunks_mut(4096) {
            receive(&mut connection, piece);
        }
    });
    assert!(matches!(connection.receive_eof(), Outcome::Rejected(_)));
    assert!(measured.peak <= 256 * KIB, "{} bytes", measured.peak);
}

/// What one of many open connections holds, its own size included, when it has sent and received a
/// little and nothing is under way.
fn idle(config: &Config, lines: &str, talk: bool) -> usize {
    const MANY: usize = 500;
    /// The first ones fill the workspace (with compressors, 16 of them) and are not counted.
    const FIRST: usize = 40;
    let mut workspace = Workspace::new().for_many();
    let mut peers = Vec::with_capacity(MANY);
    let mut base = 0;
    for number in 0..MANY + FIRST {
        if number == FIRST {
            base = held();
        }
        let mut endpoint = Endpoint::server(config);
        endpoint.handle_timeout(Duration::from_secs(number as u64), &mut workspace);
        let mut head = format!("{REQUEST}{lines}\r\n").into_bytes();
        let event = endpoint.receive(&mut &mut head[..], &mut workspace);
        assert!(matches!(event, Some(Event::Request(_))));
        drop(event);
        endpoint.accept(Accept::new(), &mut workspace).unwrap();
        if talk {
            let mut bytes = [frame(0x81, b"hello"), frame(0x89, b"ping")].concat();
            let mut input = &mut bytes[..];
            for _ in 0..2 {
                assert!(endpoint.receive(&mut input, &mut workspace).is_some());
            }
            assert_eq!(endpoint.receive(&mut input, &mut workspace), None);
            endpoint.send("an answer", &mut workspace).unwrap();
        }
        endpoint.consume_output(usize::MAX, &mut workspace);
        if number >= FIRST {
            peers.push(endpoint);
        }
    }
    (held() - base) / MANY + size_of::<Endpoint>()
}

fn idle_connections_are_small() {
    for talk in [false, true] {
        let each = idle(&Config::new(), "", talk);
        assert!(each <= 256, "{each} bytes each");
    }
}

// req: W084, W115
// attack: FL01
fn pings_that_nobody_reads_the_pongs_of() {
    let mut connection = open(&Config::new().output_high_water(64 * KIB), "");
    let mut ping = frame(0x89, &[7; 125]);
    let ((), measured) = measure(|| {
        for _ in 0..1_000_000 {
            assert_eq!(receive(&mut connection, &mut ping), 1);
        }
    });
    assert!(connection.is_congested());
    assert!(connection.buffered_amount() < 64 * KIB + 127);
    assert!(measured.peak <= 3 * 64 * KIB + KIB, "{} bytes", measured.peak);
}

// req: W085
// attack: FL02
fn pongs_leave_nothing_behind() {
    let mut connection = open(&Config::new(), "");
    let mut pong = frame(0x8a, &[7; 125]);
    let ((), measured) = measure(|| {
        for _ in 0..1_000_000 {
            assert_eq!(receive(&mut connection, &mut pong), 1);
        }
    });
    assert_eq!((measured.peak, measured.work), (0, 0));
}

// attack: FL03
fn an_echo_that_nobody_reads() {
    let mut connection = open(&Config::new().output_high_water(64 * KIB), "");
    let mut message = frame(0x82, &[7; 5000]);
    let (echoed, measured) = measure(|| {
        let mut echoed = 0;
        // A driver reads no more once the connection is congested.
        while !connection.is_congested() {
            let mut input = &mut message[..];
            while let Some(event) = connection.receive(&mut input) {
                let Event::Message(message) = event else { panic!("a message") };
                connection.send(message).unwrap();
                echoed += 1;
            }
        }
        echoed
    });
    assert_eq!(echoed, (64 * KIB).div_ceil(5004));
    assert!(measured.peak <= 3 * (64 * KIB + 5004), "{} bytes", measured.peak);
}

// attack: FR16
fn connections_leave_nothing_behind() {
    let config = Config::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = vec![0u8; 600];
    let base = held();
    for _ in 0..20_000 {
        let mut connection = open(&config, "");
        for byte in &mut noise {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 20) as u8;
        }
        noise[0] = [0x81, 0x82, 0x01, 0x02, 0x89][usize::from(noise[0]) % 5];
        noise[1] |= 0x80;
        receive(&mut connection, &mut noise);
    }
    assert_eq!(held(), base);
}

/// What does not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The offers of compression that this build knows.
const EXTENSIONS: &[Option<&str>] = &[
    None,
    #[cfg(feature = "deflate")]
    Some("permessage-deflate"),
];

/// Settings with which what was offered is accepted.
fn offering() -> Config {
    let config = Config::new();
    #[cfg(feature = "deflate")]
    let config = config.deflate(framewire::deflate::DeflateConfig::new().threshold(0));
    config
}

/// Sends small messages, which fill what is kept from one message to the next and has a fixed size, then
/// long ones and small ones again: how much more is held after each of the latter than before.
fn kept_of_long_messages(mut send: impl FnMut(Vec<u8>)) {
    let (small, long) = (noise(1000), noise(16 * MIB));
    for _ in 0..100 {
        send(small.clone());
    }
    let base = held();
    for _ in 0..2 {
        send(long.clone());
        let kept = held() - base;
        assert!(kept <= 64 * KIB, "{kept} bytes after a long message");
        for _ in 0..3 {
            send(small.clone());
            let kept = held() - base;
            assert!(kept <= 64 * KIB, "{kept} bytes after a small message");
        }
    }
}

fn a_connection_keeps_little_of_what_has_left() {
    for extensions in EXTENSIONS {
        let lines = extensions.map(|list| format!("Sec-WebSocket-Extensions: {list}\r\n"));
        let mut server = open(&offering(), lines.as_deref().unwrap_or_default());
        kept_of_long_messages(|message| {
            server.send(message).unwrap();
            while server.buffered_amount() > 0 {
                server.consume_output(1000 * KIB);
            }
        });
    }
    let mut client = Connection::adopted_client(&Config::new(), |bytes: &mut [u8]| bytes.fill(7));
    kept_of_long_messages(|message| {
        // Borrowed, so that the connection copies it.
        client.send(&message[..]).unwrap();
        while client.buffered_amount() > 0 {
            client.consume_output(1000 * KIB);
        }
    });
}

#[cfg(feature = "mio")]
fn a_client_keeps_little_of_what_has_left() {
    use std::io::{self, Read, Write};

    /// A server that accepts, and takes what is sent to it.
    struct Server {
        extensions: Option<&'static str>,
        head: Vec<u8>,
        answer: io::Cursor<Vec<u8>>,
    }

    impl Read for Server {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.answer.read(buffer)? {
                0 => Err(io::ErrorKind::TimedOut.into()),
                count => Ok(count),
            }
        }
    }

    impl Write for Server {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.answer.get_ref().is_empty() {
                self.head.extend_from_slice(bytes);
                let head = String::from_utf8(std::mem::take(&mut self.head)).unwrap();
                let (_, key) = head.split_once("Sec-WebSocket-Key: ").unwrap();
                let key = key.split("\r\n").next().unwrap();
                let accept = framewire::handshake::accept_key(key.as_bytes());
                let mut answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
                    accept.escape_ascii()
                );
                if let Some(extensions) = self.extensions {
                    answer += &format!("Sec-WebSocket-Extensions: {extensions}\r\n");
                }
                self.answer = io::Cursor::new((answer + "\r\n").into_bytes());
                return Ok(bytes.len());
            }
            Ok(bytes.len().min(1000 * KIB))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    for &extensions in EXTENSIONS {
        let (head, answer) = Default::default();
        let stream = Server { extensions, head, answer };
        let request = ClientRequest::new(&Url::parse("ws://example.com/").unwrap());
        let mut client = framewire::Client::handshake(stream, request, &offering()).unwrap();
        kept_of_long_messages(|message| client.send(&message[..]).unwrap());
    }
}

#[cfg(feature = "deflate")]
mod deflate {
    use flate2::{Compress, Compression, FlushCompress};
    use framewire::Fragments;
    use framewire::deflate::DeflateConfig;

    use super::*;

    const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

    fn config() -> Config {
        Config::new().max_message_size(MIB).deflate(DeflateConfig::new().threshold(0))
    }

    /// A mebibyte that inflates to about a gibibyte.
    fn bomb() -> Vec<u8> {
        let mut compress = Compress::new(Compression::best(), false);
        let mut unit = Vec::with_capacity(64 * KIB);
        compress.compress_vec(&vec![0; 16 * MIB], &mut unit, FlushCompress::Sync).unwrap();
        assert!(unit.ends_with(&[0, 0, 0xff, 0xff]) && unit.len() < 20 * KIB);
        let mut bomb = unit.repeat(MIB / unit.len());
        bomb.push(0);
        bomb
    }

    // req: D036, W115
    // attack: PD01, PD02
    pub(super) fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = bomb();
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let whole = frame(0xc2, &bomb);
        let parts: Vec<u8> = bomb
            .chunks(100_000)
            .enumerate()
            .flat_map(|(number, piece)| frame(if number == 0 { 0x42 } else { 0 }, piece))
            .chain(frame(0x80, &[]))
            .collect();
        // One that comes by and by has an inflater of its own, and text for blocks after a final one.
        for (mut stream, more) in [(whole, 0), (parts, 128 * KIB)] {
            for takeover in ["", "; client_no_context_takeover"] {
                let lines = OFFER.replace("\r\n", &format!("{takeover}\r\n"));
                let mut connection = open(&config(), &lines);
                // After a plain message and a compressed one, which make the codec.
                let mut before = [frame(0x82, b"plain"), frame(0xc1, &hello)].concat();
                assert_eq!(receive(&mut connection, &mut before), 2);
                let (error, measured) = measure(|| failure(&mut connection, &mut stream));
                assert_eq!(error, Some(ProtocolError::MessageTooBig(MIB)));
                // While the buffer grows for the last time there are two of them.
                let most = 2 * MIB + 64 * KIB + more;
                assert!(measured.peak <= most, "{} bytes", measured.peak);
                drop(connection.abort());
            }
        }
    }

    // req: D036
    // attack: PD10
    pub(super) fn empty_blocks_cost_nothing() {
        let mut blocks = [0, 0, 0, 0xff, 0xff].repeat(MIB / 5);
        blocks.push(0);
        let mut stream = frame(0xc2, &blocks);
        let mut connection = open(&config(), OFFER);
        let mut first = frame(0xc2, &[0]);
        receive(&mut connection, &mut first);
        let (events, measured) = measure(|| receive(&mut connection, &mut stream));
        assert_eq!((events, connection.state()), (1, State::Open));
        assert!(measured.work <= 128 * KIB, "{} bytes", measured.work);
    }

    // req: W115
    pub(super) fn inflated_messages_have_no_slack() {
        for length in [1, 1000, 70_001, MIB - 1, MIB] {
            let payload: Vec<u8> = (0..length).map(|at| b'a' + (at * at % 23) as u8).collect();
            let mut compressed = Vec::with_capacity(length + KIB);
            let mut compress = Compress::new(Compression::fast(), false);
            compress.compress_vec(&payload, &mut compressed, FlushCompress::Sync).unwrap();
            compressed.truncate(compressed.len() - 4);
            for first in [0x41, 0x42] {
                let third = compressed.len() / 3;
                let streams = [
                    frame(0x80 | first, &compressed),
                    fragmented(first, &compressed, &[1, third]),
                    fragmented(first, &compressed, &[third, 1]),
                ];
                for mut stream in streams {
                    for size in [1007, usize::MAX] {
                        for direct in [false, true] {
                            let mut connection = open(&config(), OFFER);
                            receive_without_slack(&mut connection, &mut stream, size, direct);
                        }
                    }
                }
            }
        }
    }

    // req: D028, D036
    pub(super) fn compressed_pieces_take_no_more_than_one_of_them() {
        let config = config().max_message_size(MIB * KIB).fragments(Fragments::Always);
        for takeover in ["", "; client_no_context_takeover"] {
            let lines = OFFER.replace("\r\n", &format!("{takeover}\r\n"));
            let mut connection = open(&config, &lines);
            let mut stream = frame(0x42, &bomb()[..200 * KIB]);
            let (length, measured) = measure(|| {
                let mut length = 0;
                for portion in stream.chunks_mut(16 * KIB) {
                    let mut input = portion;
                    while let Some(event) = connection.receive(&mut input) {
                        let Event::Fragment(fragment) = event else { panic!("{event:?}") };
                        length += fragment.payload.len();
                    }
                }
                length
            });
            assert!(length > 100 * MIB, "{length} bytes came");
            assert!(measured.peak <= 384 * KIB, "{} bytes", measured.peak);
        }
    }

    // req: D036, W115
    pub(super) fn the_start_of_a_compressed_message_takes_what_has_come() {
        let payload = bomb();
        let stream = frame(0xc2, &payload[..100 * KIB]);
        let header = stream.len() - 100 * KIB;
        for (length, most) in [(1, KIB), (1000, 4 * KIB), (16 * KIB - 1, 32 * KIB)] {
            let mut connection = open(&config(), OFFER);
            let mut start = stream[..header + length].to_vec();
            let before = held();
            assert_eq!(receive(&mut connection, &mut start), 0);
            let taken = held() - before;
            assert!(taken <= most, "{taken} bytes for {length}");
        }
    }

    // req: D033
    // attack: PD15
    pub(super) fn idle_connections_with_compression_are_small() {
        for talk in [false, true] {
            let added = idle(&config(), OFFER, talk) - idle(&config(), "", talk);
            assert!(added > 0, "it was agreed on");
            assert!(added <= KIB, "{added} bytes each");
        }
    }
}

#[cfg(feature = "deflate")]
use deflate::*;
