//! One peer floods the loop, in every way there is: what is done for it in one turn is bounded, and in every turn the
//! others, whoever comes, timers, orders and a shutdown have theirs. Work is counted here, and no time; times are
//! printed by `cargo test --release --test server fairness -- --nocapture --test-threads 1`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "deflate")]
use framewire::deflate::DeflateConfig;
use framewire::{Config, Connection, Decision, Handler, IncomingRequest, Message, Peer, PeerId};

use crate::client::{Client, TEXT, frame};
use crate::turns::Turns;
use crate::untimed::untimed;

const PING: &[u8] = b"how are you?";

/// Counts the messages and the bytes of everybody but those who ask how it is; they are answered.
struct Counting {
    cost: Duration,
    echo: bool,
    flooded: usize,
    bytes: usize,
    answered: usize,
}

impl Counting {
    fn new(cost: Duration) -> Self {
        Self { cost, echo: false, flooded: 0, bytes: 0, answered: 0 }
    }
}

impl Handler for Counting {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        if message.as_bytes() == PING {
            self.answered += 1;
            peer.send("fine");
            return;
        }
        self.flooded += 1;
        self.bytes += message.len();
        let begun = Instant::now();
        while begun.elapsed() < self.cost {
            std::hint::spin_loop();
        }
        if self.echo {
            peer.send(message);
        }
    }
}

/// A thread that writes the same bytes without end.
struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    stream: std::net::TcpStream,
}

impl Flood {
    fn begin(client: &Client, bytes: Vec<u8>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut stream, flag) = (client.stream.try_clone().unwrap(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !flag.load(Ordering::SeqCst) && stream.write_all(&bytes).is_ok() {}
        });
        let stream = client.stream.try_clone().unwrap();
        Self { over, thread: Some(thread), stream }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.thread.take().unwrap().join();
    }
}

/// What one connection may cost in one turn: what `Budget::new` says.
const MOST_EVENTS: usize = 512;
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// So many messages may be handled before the clock is looked at.
const BATCH: usize = 32;

#[test]
fn a_flood_leaves_everybody_else_a_turn() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    for (length, cost) in [
        (2, Duration::ZERO),
        (2, MILLISECOND / 10),
        (125, Duration::ZERO),
        (1_000, Duration::ZERO),
        (16 * 1024, Duration::ZERO),
        (100_000, Duration::ZERO),
        (100_000, MILLISECOND),
        (1 << 20, Duration::ZERO),
        (1 << 20, MILLISECOND),
        (16 << 20, Duration::ZERO),
    ] {
        let config = untimed().max_message_size(32 << 20);
        let mut turns = Turns::new(config, Counting::new(cost));
        let (flooder, _) = turns.open();
        let (mut other, id) = turns.open();
        let messages = (MOST_BYTES / 4 / length).clamp(1, 100_000);
        let bytes = frame(TEXT, "x".repeat(length)).repeat(messages);
        let flood = Flood::begin(&flooder, bytes);
        turns.until(|event_loop| event_loop.handler().flooded > 0);
        let handle = turns.event_loop.handle();
        let mut waits = Vec::new();
        for round in 0..30 {
            // Everything else that a loop has to do, all of it before the turn.
            let mut newcomer = Client::connect(turns.address);
            newcomer.send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            other.send_frame(TEXT, PING);
            handle.send(id, "ordered");
            let (before, answered) = {
                let handler = turns.event_loop.handler();
                ((handler.flooded, handler.bytes), handler.answered)
            };
            let mut taken = 0;
            let begun = Instant::now();
            while turns.event_loop.handler().answered == answered {
                turns.turn();
                taken += 1;
                assert!(taken < 10, "{length} bytes at {cost:?}, round {round}: no answer");
            }
            waits.push(begun.elapsed());
            let (text, next) = (other.read_text(), other.read_text());
            let mut both = [text.as_str(), next.as_str()];
            both.sort_unstable();
            assert_eq!(both, ["fine", "ordered"]);
            let handler = turns.event_loop.handler();
            let (calls, bytes) = (handler.flooded - before.0, handler.bytes - before.1);
            let most = if cost.is_zero() { MOST_EVENTS } else { BATCH };
            assert!(calls <= taken * most, "{length} bytes at {cost:?}: {calls} in {taken} turns");
            // A message whose beginning was read before counts as a whole when it ends.
            let room = taken * MOST_BYTES + 2 * length.max(512 * 1024);
            assert!(bytes <= room, "{length} bytes at {cost:?}: {bytes} bytes in {taken} turns");
            // Accepted in one turn, answered in the next.
            turns.turn();
            turns.turn();
            assert!(newcomer.read_head().starts_with("HTTP/1.1 426 "));
        }
        waits.sort_unstable();
        println!(
            "messages of {length} bytes, {cost:?} each: an answer after {:.1?}, at worst {:.1?}",
            waits[waits.len() / 2],
            waits[waits.len() - 1],
        );
        // All this goes on and on, and still the loop comes to its end.
        handle.shutdown(1001, "", Duration::ZERO).unwrap();
        let taken = turns.until(|event_loop| event_loop.is_finished());
        assert!(taken < 10, "{length} bytes at {cost:?}: {taken} turns for a shutdown");
        drop(flood);
    }
}

/// A peer that floods is pinged in its time like any other: its Pongs stand in line, and nobody is lost.
#[test]
fn timers_go_off_while_a_flood_goes_on() {
    let config = untimed().max_lifetime(Duration::from_millis(20));
    let mut turns = Turns::new(config, Counting::new(Duration::ZERO));
    let (flooder, _) = turns.open();
    let (mut other, _) = turns.open();
    let flood = Flood::begin(&flooder, frame(TEXT, "x".repeat(100)).repeat(1_000));
    turns.until(|event_loop| event_loop.peers().is_empty());
    assert_eq!(other.read_close().0, 1001);
    drop(flood);
}

/// One long message that is inflated, and compressed again as it is sent back, is worked on in many turns.
#[cfg(feature = "deflate")]
#[test]
fn a_long_compressed_message_leaves_everybody_else_a_turn() {
    const LENGTH: usize = 8 << 20;
    let config = untimed()
        .max_message_size(2 * LENGTH)
        .max_buffered_amount(4 * LENGTH)
        .deflate(DeflateConfig::default());
    let mut handler = Counting::new(Duration::ZERO);
    handler.echo = true;
    let mut turns = Turns::new(config, handler);
    let (mut other, _) = turns.open();
    let mut item = 0_u32;
    let mut text = String::new();
    while text.len() < LENGTH {
        item = item.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(&format!("{{\"id\":{item},\"name\":\"item {}\"}},", item % 1000));
    }
    let mut far = Far::open(&mut turns);
    far.engine.send(text.as_str()).unwrap();
    let (mut rounds, mut echoed) = (0, None);
    while echoed.is_none() {
        other.send_frame(TEXT, PING);
        let answered = turns.event_loop.handler().answered;
        for taken in 0.. {
            assert!(taken < 5, "no answer in round {rounds}");
            turns.turn();
            if turns.event_loop.handler().answered > answered {
                break;
            }
        }
        assert_eq!(other.read_text(), "fine");
        rounds += 1;
        echoed = far.exchange();
    }
    assert_eq!(echoed.unwrap(), text.into_bytes());
    // 128 KiB a turn, in each direction.
    assert!(rounds > LENGTH / (128 * 1024), "{rounds} rounds");
}

/// The engine as the client of a loop that runs in the same thread.
#[cfg(feature = "deflate")]
struct Far {
    engine: Connection,
    stream: std::net::TcpStream,
}

#[cfg(feature = "deflate")]
impl Far {
    fn open(turns: &mut Turns<Counting>) -> Self {
        use framewire::handshake::{ClientRequest, Url};
        let request = ClientRequest::new(&Url::parse("ws://localhost/").unwrap());
        let config = Config::new()
            .max_message_size(64 << 20)
            .max_buffered_amount(64 << 20)
            .ping_interval(None)
            .deflate(DeflateConfig::default());
        let engine = Connection::client(request, &config, framewire::SystemEntropy::new()).unwrap();
        let stream = std::net::TcpStream::connect(turns.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut far = Self { engine, stream };
        while far.engine.state() == framewire::State::Connecting {
            assert_eq!(far.exchange(), None);
            turns.turn();
        }
        assert!(far.engine.deflate().is_some());
        far
    }

    /// Writes and reads what there is: a message if one came.
    fn exchange(&mut self) -> Option<Vec<u8>> {
        use std::io::Read;
        while let Some(chunk) = self.engine.output().next() {
            match self.stream.write(chunk) {
                Ok(count) => self.engine.consume_output(count),
                Err(_) => break,
            }
        }
        let mut room = vec![0; 256 * 1024];
        while let Ok(count @ 1..) = self.stream.read(&mut room) {
            let mut input = &mut room[..count];
            while let Some(event) = self.engine.receive(&mut input) {
                if let framewire::Event::Message(message) = event {
                    return Some(message.into_bytes().into_vec());
                }
            }
        }
        None
    }
}

/// What a peer has sent beyond its share is kept, a little of it for each: many that flood cost no more than the
/// room of a few reads, and 16 KiB for each of the others.
#[test]
fn many_that_flood_have_little_kept_for_them() {
    let mut turns = Turns::new(untimed(), Counting::new(Duration::from_micros(50)));
    let clients: Vec<(Client, PeerId)> = (0..40).map(|_| turns.open()).collect();
    let bytes = frame(TEXT, "hi").repeat(64 * 1024);
    let floods: Vec<_> =
        clients.iter().map(|(client, _)| Flood::begin(client, bytes.clone())).collect();
    for _ in 0..40 {
        turns.turn();
    }
    let counted = turns.event_loop.counters().received;
    let handled = counted.messages() * 8;
    let kept = counted.bytes - handled;
    assert!(kept < 40 * 16 * 1024 + 8 * 512 * 1024, "{kept} bytes were read and not handled");
    drop(floods);
}
