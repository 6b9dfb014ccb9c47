//! What a server holds, and whether it gives it back: many idle connections for minutes, very many short ones, and many that
//! talk, some of them hostile. And whether those that broke the protocol are told so.
//!
//! `tests/endurance/run` starts the programs: the server is a process of its own, since its heap, its memory and its
//! descriptors are counted, and tells of them when it is asked by a line on its standard input.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

#[cfg(feature = "tls")]
mod close;
#[cfg(feature = "deflate")]
mod load;
#[cfg(feature = "deflate")]
#[allow(dead_code, reason = "the worlds draw more from it")]
#[path = "../../src/event_loop/simulation/random.rs"]
mod random;

use cap::Cap;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Config, Decision, Handle, Handler, IncomingRequest, Message, Outcome, Peer, Server,
};
use socket2::{Domain, SockRef, Socket, Type};

#[global_allocator]
static HEAP: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    match arguments[..] {
        ["server"] => server(defaults()),
        #[cfg(feature = "tls")]
        ["server", "tls"] => server(defaults().tls(close::tls_server())),
        #[cfg(feature = "deflate")]
        ["server", "deflate"] => {
            let config = Config::new().deflate(framewire::deflate::DeflateConfig::new());
            server(defaults().config(config))
        }
        ["idle", connections, seconds] => idle(number(connections), number(seconds) as u64),
        ["connects", count] => connects(number(count)),
        #[cfg(feature = "deflate")]
        ["load", clients, seconds] => load::run(number(clients), number(seconds) as u64, 0),
        #[cfg(feature = "deflate")]
        ["load", clients, seconds, pause] => {
            load::run(number(clients), number(seconds) as u64, number(pause))
        }
        #[cfg(feature = "tls")]
        ["close", count] => close::run(number(count)),
        _ => {
            eprintln!(
                "usage: endurance idle CONNECTIONS SECONDS | connects COUNT | load CLIENTS SECONDS [PAUSE] | close COUNT"
            );
            ExitCode::FAILURE
        }
    }
}

/// Says everything back; a message "close" closes.
struct Echo {
    lost: u64,
}

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        if message.as_text() == Some("close") {
            let _ = peer.close(1000, "");
        } else {
            peer.send(message);
        }
    }

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: &Outcome) {
        self.lost += u64::from(!outcome.was_clean());
    }
}

/// A server with defaults on a port that the system chooses.
fn defaults() -> Server {
    Server::bind("127.0.0.1:0").unwrap()
}

/// The server: all defaults, but for what is said of compression and of TLS.
fn server(server: Server) -> ExitCode {
    println!("{}", server.local_addr().unwrap());
    let mut event_loop = server.into_event_loop(Echo { lost: 0 }).unwrap();
    let handle = event_loop.handle();
    std::thread::spawn(move || answer(&handle));
    event_loop.run().unwrap();
    ExitCode::SUCCESS
}

/// Tells what the server holds, whenever it is asked.
fn answer(handle: &Handle) {
    for line in std::io::stdin().lines() {
        if line.is_err() {
            break;
        }
        let counters = handle.counters();
        println!(
            "{} {} {} {} {}",
            counters.connections,
            counters.open,
            HEAP.allocated(),
            resident(),
            std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        );
    }
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
}

/// The memory of this process that is there, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// What the server holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    connections: usize,
    open: usize,
    heap: usize,
    resident: usize,
    descriptors: usize,
}

/// The server, as the others see it.
struct Asked {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Asked {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("server")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, input, output, address }
    }

    fn held(&mut self) -> Held {
        self.input.write_all(b"?\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let numbers: Vec<usize> =
            line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [connections, open, heap, resident, descriptors] = numbers[..] else {
            panic!("the server said {line:?}")
        };
        Held { connections, open, heap, resident, descriptors }
    }

    /// Waits until the server has so many connections, and so many of them open.
    fn wait_for(&mut self, connections: usize, open: usize) -> Held {
        let begun = Instant::now();
        loop {
            let held = self.held();
            if (held.connections, held.open) == (connections, open) {
                return held;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "waiting in vain: {held:?}");
            std::thread::yield_now();
        }
    }

    fn stop(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Counts what becomes of the connections of a client.
#[derive(Default)]
struct Client {
    opened: usize,
    closed: usize,
}

impl Handler for Client {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, _: &mut Peer<'_>) {
        self.opened += 1;
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: &Outcome) {
        if self.closed == 0 {
            println!("the first that ended: {outcome}");
        }
        self.closed += 1;
    }
}

/// So many connections that say nothing, for so long: Pings come and are answered, and none is lost.
fn idle(connections: usize, seconds: u64) -> ExitCode {
    let mut server = Asked::start(&[]);
    let before = server.held();
    let request = ClientRequest::new(&Url::parse(&format!("ws://{}/", server.address)).unwrap());
    // A client that speaks only when it is spoken to.
    let config = Config::new().ping_interval(None);
    let mut event_loop = Server::unbound().into_event_loop(Client::default()).unwrap();
    for number in 0..connections {
        event_loop.peers().connect(server.address, request.clone(), &config, ()).unwrap();
        if number % 200 == 0 {
            event_loop.run_once(Some(Duration::ZERO)).unwrap();
        }
    }
    while event_loop.handler().opened < connections && event_loop.handler().closed == 0 {
        event_loop.run_once(Some(Duration::from_millis(100))).unwrap();
    }
    let full = server.wait_for(connections, connections);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        event_loop.run_once(Some(Duration::from_millis(100))).unwrap();
    }
    let (after, closed) = (server.held(), event_loop.handler().closed);
    let each = |held: Held, what: fn(&Held) -> usize| {
        (what(&held) as f64 - what(&before) as f64) / connections as f64
    };
    println!("{connections} connections, idle for {seconds} s: {closed} lost, {} open", after.open);
    println!(
        "bytes a connection: {:.0} of the heap ({:.0} at first), {:.0} of memory",
        each(after, |held| held.heap),
        each(full, |held| held.heap),
        each(after, |held| held.resident),
    );
    event_loop.handle().shutdown(1000, "", Duration::from_secs(60)).unwrap();
    event_loop.run().unwrap();
    let last = server.wait_for(0, 0);
    println!("when they have gone: {last:?}");
    server.stop();
    let good = closed == 0 && after.open == connections && last.descriptors == before.descriptors;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A way in which a connection comes and goes.
type Way = fn(TcpStream);

const WAYS: [(&str, Way); 8] = [
    ("the client closes", |mut stream| {
        upgrade(&mut stream);
        stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
        to_the_end(stream);
    }),
    ("the server closes", |mut stream| {
        upgrade(&mut stream);
        stream.write_all(b"\x81\x85\0\0\0\0close").unwrap();
        let mut close = [0; 4];
        stream.read_exact(&mut close).unwrap();
        stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
        to_the_end(stream);
    }),
    ("reset before a word", reset),
    ("reset when it is open", |mut stream| {
        upgrade(&mut stream);
        reset(stream);
    }),
    ("the end before a word", |stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        to_the_end(stream);
    }),
    ("a request that is none", |mut stream| {
        stream.write_all(b"\x16\x03\x01\x02\x00\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        to_the_end(stream);
    }),
    ("plain HTTP", |mut stream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        to_the_end(stream);
    }),
    ("an echo, and reset in the middle of the next message", |mut stream| {
        upgrade(&mut stream);
        stream.write_all(b"\x81\x84\0\0\0\0echo").unwrap();
        let mut echo = [0; 6];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x04echo");
        stream.write_all(b"\x81\xfe\x10\0\0\0\0\0half").unwrap();
        reset(stream);
    }),
];

fn upgrade(stream: &mut (impl Read + Write)) {
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    assert!(read_head(stream).starts_with("HTTP/1.1 101 "));
}

/// Reads a head, behind which nothing comes yet.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut room = [0; 256];
        let count = stream.read(&mut room).unwrap();
        assert!(count > 0, "no head");
        head.extend_from_slice(&room[..count]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads to the end, which the server begins.
fn to_the_end(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
    reset(stream);
}

/// Leaves no port behind that is not to be used for a minute.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// So many connections, in all these ways in turn.
fn connects(count: usize) -> ExitCode {
    let mut server = Asked::start(&[]);
    let mut good = true;
    // What is allocated once and kept is there when the first have gone.
    for (_, way) in WAYS {
        (0..100).for_each(|number| way(dial(server.address, number)));
    }
    let before = server.wait_for(0, 0);
    let mut made = BTreeMap::new();
    for number in 0..count {
        let (name, way) = WAYS[number % WAYS.len()];
        way(dial(server.address, number));
        *made.entry(name).or_insert(0) += 1;
    }
    let after = server.wait_for(0, 0);
    for (name, count) in made {
        println!("{count:8} {name}");
    }
    println!("before: {before:?}\nafter:  {after:?}");
    good &= after.descriptors == before.descriptors;
    // The lists of those that had a turn may have grown a little.
    good &= after.heap <= before.heap + 64 * 1024;
    server.stop();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A connection from one of many addresses, since each has no more than some ten thousand ports.
fn dial(address: SocketAddr, number: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let [high, low] = u16::try_from(number % 50_000).unwrap().to_be_bytes();
    let from = Ipv4Addr::new(127, 1, high, low);
    socket.bind(&SocketAddrV4::new(from, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.into()
}
