//! Clients of all kinds at once, every tenth of them hostile: the others are served, and the heap of the server is no larger
//! in the end than it was soon after the beginning.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Server, Timer,
};

use super::random::Random;
use super::{Asked, dial, reset};

/// How much more the heap may be in the last quarter than in the second, of what it was there: the clients differ from
/// moment to moment.
const GROWTH: f64 = 0.1;

/// What a loop keeps when all have gone, at most: the states of zlib, 16 compressors of 371 KiB and a few of those that
/// inflate, up to 4 MiB of buffers, and lists as long as they have ever been.
const KEPT: usize = 12 << 20;

/// Clients that say something, wait for it to come back, and leave in good order after a while.
struct Talkers {
    random: Random,
    /// How many are to be replaced, since they have left.
    left: usize,
    said: u64,
    ended: u64,
    lost: u64,
    wrong: u64,
    /// How long each thinks at most before it says the next thing, in milliseconds.
    pause: usize,
    /// Nobody comes any more.
    is_over: bool,
}

/// What one of them waits for, and how often it still says something.
#[derive(Default)]
struct Talker {
    expected: Vec<u8>,
    left: usize,
}

impl Talkers {
    fn say(&mut self, peer: &mut Peer<'_, Talker>) {
        let length = match self.random.below(100) {
            0 => 100_000 + self.random.below(100_000),
            1..20 => self.random.below(5_000),
            _ => self.random.below(200),
        };
        let first = self.random.next() as u8;
        let message: Vec<u8> = (0..length).map(|at| first.wrapping_add((at % 40) as u8)).collect();
        peer.send(&message[..]);
        peer.session_mut().expected = message;
        self.said += 1;
    }
}

impl Handler for Talkers {
    type Session = Talker;

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<Talker> {
        Decision::accept(Talker::default())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Talker>) {
        peer.session_mut().left = 1 + self.random.below(200);
        self.say(peer);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Talker>, message: Message<'_>) {
        if message.as_bytes() != peer.session().expected {
            self.wrong += 1;
        }
        peer.session_mut().left -= 1;
        if peer.session().left == 0 || self.is_over {
            let _ = peer.close(1000, "");
        } else if self.pause == 0 {
            self.say(peer);
        } else {
            let pause = self.random.below(self.pause) as u64;
            peer.set_timer(Duration::from_millis(pause), 0);
        }
    }

    fn on_peer_timer(&mut self, peer: &mut Peer<'_, Talker>, _: Timer) {
        self.say(peer);
    }

    fn on_close(&mut self, _: &mut Peer<'_, Talker>, outcome: &Outcome) {
        if !outcome.was_clean() && self.lost == 0 {
            println!("the first that was lost: {outcome}");
        }
        self.lost += u64::from(!outcome.was_clean());
        self.ended += 1;
        self.left += 1;
    }
}

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// What hostile clients say: once, or again and again until nothing more is taken; they read little or nothing of what comes.
const HOSTILE: [(&str, &[u8], &[u8]); 14] = [
    ("half a request", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x"),
    ("a request that does not end", b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    ("what is no request", b"\x16\x03\x01\x02\0\r\n\r\n", b""),
    ("a length that never comes", b"\x82\xff\0\0\0\0\0\xff\xff\xff\0\0\0\0", b"x"),
    ("a length beyond all limits", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"x"),
    ("fragments without end", b"\x01\x80\0\0\0\0", b"\x00\x81\0\0\0\0x"),
    ("empty fragments without end", b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0"),
    ("Pings without end", b"", b"\x89\xfd\0\0\0\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("echoes that nobody reads", b"", b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0"),
    ("what is no deflate", b"\xc2\x84\0\0\0\0\xff\xff\xff\xff", b""),
    ("an unmasked frame", b"\x81\x01x", b""),
    ("a text that is no UTF-8", b"\x81\x82\0\0\0\0\xc0\x80", b""),
    ("a reserved opcode", b"\x8f\x80\0\0\0\0", b""),
    ("a byte at a time", b"\x82\xfe\xff\xff\0\0\0\0", b"x"),
];

/// One hostile connection after the other, so many at a time, each for some turns.
fn be_hostile(
    address: SocketAddr,
    count: usize,
    seed: u64,
    is_over: &AtomicBool,
    made: &AtomicUsize,
) {
    let mut random = Random::new(seed);
    let begin = |random: &mut Random| {
        let (name, first, again) = HOSTILE[random.below(HOSTILE.len())];
        let number = made.fetch_add(1, Ordering::Relaxed);
        let mut stream = dial(address, number);
        // The server may be ahead, and have ended what it has refused.
        if !name.contains("request") {
            let _ = stream.write_all(REQUEST);
        }
        let _ = stream.write_all(first);
        stream.set_nonblocking(true).unwrap();
        (stream, again, 1 + random.below(40))
    };
    let mut all: Vec<(TcpStream, &[u8], usize)> = (0..count).map(|_| begin(&mut random)).collect();
    while !is_over.load(Ordering::Relaxed) {
        for one in &mut all {
            let (stream, again, turns) = one;
            let many = again.repeat(1 + random.below(50));
            let is_gone = match stream.write(&many) {
                Ok(_) => false,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            if random.below(10) == 0 {
                let _ = stream.read(&mut [0; 1000]);
            }
            *turns -= 1;
            if is_gone || *turns == 0 {
                let next = begin(&mut random);
                reset(std::mem::replace(one, next).0);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    all.into_iter().for_each(|one| reset(one.0));
}

/// So many clients for so long, who pause for up to so many milliseconds before each message but their first. Without pauses
/// they keep two processors busy, and are served late where those have other work.
pub(super) fn run(clients: usize, seconds: u64, pause: usize) -> ExitCode {
    let mut server = Asked::start(&["deflate"]);
    let before = server.held();
    let address = server.address;
    let (is_over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let hostile = clients / 10;
    let mut heaps: Vec<(f64, usize)> = Vec::new();
    let talkers = Talkers {
        random: Random::new(1),
        left: clients - hostile,
        said: 0,
        ended: 0,
        lost: 0,
        wrong: 0,
        pause,
        is_over: false,
    };
    let mut event_loop = Server::unbound().into_event_loop(talkers).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| be_hostile(address, hostile, 7, &is_over, &made));
        let request = ClientRequest::new(&Url::parse(&format!("ws://{address}/")).unwrap());
        let plain = Config::new();
        let compressed = Config::new().deflate(DeflateConfig::new());
        let begun = Instant::now();
        let duration = Duration::from_secs(seconds);
        let mut looked = Duration::ZERO;
        while begun.elapsed() < duration {
            for number in 0..std::mem::take(&mut event_loop.handler_mut().left) {
                let config = if number % 2 == 0 { &plain } else { &compressed };
                let talker = Talker::default();
                event_loop.peers().connect(address, request.clone(), config, talker).unwrap();
            }
            event_loop.run_once(Some(Duration::from_millis(50))).unwrap();
            if begun.elapsed() >= looked {
                looked = begun.elapsed() + duration / 200;
                heaps.push((begun.elapsed().as_secs_f64() / seconds as f64, server.held().heap));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        event_loop.handler_mut().is_over = true;
        while event_loop.peers().connections() > 0 {
            event_loop.run_once(Some(Duration::from_millis(50))).unwrap();
        }
    });
    let last = server.wait_for(0, 0);
    let mean = |from: f64, to: f64| {
        let quarter: Vec<_> = heaps
            .iter()
            .filter(|heap| (from..to).contains(&heap.0))
            .map(|heap| heap.1 as f64)
            .collect();
        quarter.iter().sum::<f64>() / quarter.len() as f64
    };
    let (early, late) = (mean(0.25, 0.5), mean(0.75, 1.0));
    let Talkers { said, ended, lost, wrong, .. } = *event_loop.handler();
    println!(
        "{clients} clients for {seconds} s, with pauses of up to {pause} ms: {said} messages on {ended} connections, {lost} lost, {wrong} wrong answers; beside \
        them {} hostile connections",
        made.load(Ordering::Relaxed),
    );
    println!(
        "the heap: {early:.0} bytes in the second quarter, {late:.0} in the last; before {before:?}, after {last:?}"
    );
    server.stop();
    let good = lost == 0
        && wrong == 0
        && said > 0
        && late <= early * (1.0 + GROWTH)
        && last.descriptors == before.descriptors
        && last.heap <= before.heap + KEPT;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
