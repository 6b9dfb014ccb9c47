//! Slow links over real sockets: a peer that reads is sent all that is meant for it, however slowly it
//! reads, and its sender is told the truth about it.
//!
//! `tests/slow_links/run` runs these scenarios, each in a thread, in network namespaces of their own. Sizes
//! and deadlines are smaller than in earnest by the same factor. What is asserted is what arrived, and how the
//! connection ended; never how long it took.

mod peer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use framewire::handshake::accept_key;
use framewire::{
    Client, ClientError, Config, Decision, Handle, Handler, HttpAnswer, IncomingRequest, Message,
    Outcome, Peer, Response, Server,
};
use socket2::{Domain, Socket, Type};

use crate::peer::{End, Met, Pace, Reader, payload};

const SCENARIOS: [(&str, fn()); 7] = [
    ("message_and_close", message_and_close),
    ("http_answer", http_answer),
    ("http_answer_in_a_large_buffer", http_answer_in_a_large_buffer),
    ("pings_behind_a_message", pings_behind_a_message),
    ("large_buffers", large_buffers),
    ("client_sends", client_sends),
    ("refused_message", refused_message),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let running: Vec<_> = SCENARIOS
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, run)| {
            let thread = thread::Builder::new().name(name.to_owned());
            (name, thread.spawn(run).unwrap())
        })
        .collect();
    assert!(running.len() >= wanted.len(), "there is no such scenario: {wanted:?}");
    let mut failed = false;
    for (name, thread) in running {
        let result = if thread.join().is_ok() { "ok" } else { "FAILED" };
        failed |= result != "ok";
        println!("slow link {name}: {result}");
    }
    ExitCode::from(u8::from(failed))
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A message and a Close, which are read for longer than the closing handshake may take.
fn message_and_close() {
    let length = 6 * MIB;
    let config = Config::new().close_timeout(seconds(2)).ping_interval(None);
    let server = Serving::new(Some(64 * KIB), config, Sends { length, closes: true });
    let met = Reader::new(End::Client, server.connect(), MIB).run();
    assert_eq!((met.payload, met.close), (length, Some((1000, "bye".to_owned()))));
    assert!(server.outcome().was_clean());
}

/// An HTTP answer that is read for longer than a closing handshake may take.
fn http_answer() {
    answered(6 * MIB, 64 * KIB, MIB);
}

/// One of which the system takes a part at once, for which it needs as long.
fn http_answer_in_a_large_buffer() {
    answered(MIB, 256 * KIB, 250 * KIB);
}

fn answered(length: usize, send_buffer: usize, rate: usize) {
    let config = Config::new().close_timeout(seconds(2));
    let server = Serving::new(Some(send_buffer), config, Sends { length, closes: false });
    let mut stream = connect(server.address);
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {length}\r\n")), "{head}");
    let mut body = Vec::new();
    let (mut pace, mut buffer) = (Pace::new(rate), vec![0; 64 * KIB]);
    while let Ok(bytes @ [_, ..]) = pace.read(&mut stream, &mut buffer) {
        body.extend_from_slice(bytes);
    }
    assert_eq!(body.len(), length);
    assert!(body == payload(length));
}

/// A message that is read for longer than a Ping and its Pong may take, by a peer that answers each Ping as
/// it meets it.
fn pings_behind_a_message() {
    let length = 2 * MIB;
    let config = Config::new().ping_interval(seconds(1)).pong_timeout(seconds(2));
    let server = Serving::new(Some(64 * KIB), config, Sends { length, closes: false });
    let met = read_and_close(&server, length, 300 * KIB);
    assert!(met.pings > 0);
}

/// A message of which the system would take so much, if it were not told otherwise, that it takes nothing
/// more for a long time.
fn large_buffers() {
    let length = 6 * MIB;
    let config = Config::new().write_timeout(seconds(3)).ping_interval(None);
    let server = Serving::new(None, config, Sends { length, closes: false });
    read_and_close(&server, length, 300 * KIB);
}

/// Reads a message at this rate, then closes.
fn read_and_close(server: &Serving, length: usize, rate: usize) -> Met {
    let mut reader = Reader::new(End::Client, server.connect(), rate);
    reader.read_until(length);
    assert_eq!(reader.met.payload, length);
    reader.send(0x8, &1000_u16.to_be_bytes());
    while reader.met.close.is_none() && reader.step() {}
    assert_eq!(reader.met.close, Some((1000, String::new())));
    assert!(server.outcome().was_clean());
    reader.met
}

/// A blocking client sends a message that is read for longer than a Ping and its Pong may take.
fn client_sends() {
    let length = 8 * MIB;
    let (listener, address) = listen(None);
    let server = thread::spawn(move || Reader::new(End::Server, accept(&listener), MIB).run());
    let config = Config::new()
        .ping_interval(seconds(1))
        .pong_timeout(seconds(2))
        // No Ping is sent while so much waits.
        .output_high_water(2 * length);
    let mut client = open(address, config.no_deflate());
    client.send(payload(length)).expect("all of it is read");
    let outcome = client.close(1000, "bye").unwrap();
    let met = server.join().unwrap();
    assert_eq!((met.payload, met.close), (length, Some((1000, "bye".to_owned()))));
    assert!(met.pings > 0);
    assert!(outcome.was_clean(), "{outcome:?}");
}

/// A blocking client sends a message that the server does not want: it sends a Close and ends its direction
/// when a part has come, and reads no more.
fn refused_message() {
    let length = 8 * MIB;
    let (listener, address) = listen(None);
    let (told, told_end) = channel::<()>();
    let server = thread::spawn(move || {
        let mut reader = Reader::new(End::Server, accept(&listener), 100 * MIB);
        reader.read_until(256 * KIB);
        reader.send(0x8, b"\x03\xf1too big");
        reader.stream().shutdown(std::net::Shutdown::Write).unwrap();
        // Until the client has given up.
        told_end.recv().unwrap_err();
    });
    let mut client = open(address, Config::new().no_deflate());
    let error = client.send(payload(length)).expect_err("not all of it has left");
    let ClientError::Lost(outcome) = &error else { panic!("{error:?}") };
    assert_eq!((outcome.code(), outcome.reason()), (1009.into(), "too big"));
    assert!(!outcome.was_clean());
    assert_eq!(client.outcome(), Some(outcome));
    drop(told);
    server.join().unwrap();
}

/// A server in a thread.
struct Serving {
    address: SocketAddr,
    handle: Handle,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn new(send_buffer: Option<usize>, config: Config, sends: Sends) -> Self {
        let (listener, address) = listen(send_buffer);
        let (told, outcomes) = channel();
        let (give, given) = channel();
        let thread = thread::spawn(move || {
            let server = Server::from_listener(listener).unwrap().config(config);
            let mut event_loop = server.into_event_loop(Service { sends, told }).unwrap();
            give.send(event_loop.handle()).unwrap();
            event_loop.run().unwrap();
        });
        Self { address, handle: given.recv().unwrap(), outcomes, thread: Some(thread) }
    }

    /// A connection to it that is open.
    fn connect(&self) -> TcpStream {
        let mut stream = connect(self.address);
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// How its connection ended.
    fn outcome(&self) -> Outcome {
        self.outcomes.recv_timeout(seconds(120)).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
        let result = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(result, Some(Ok(()))), "the server failed");
    }
}

/// What is sent to a connection once it is open, or to a plain request.
struct Sends {
    length: usize,
    /// Whether a Close follows.
    closes: bool,
}

struct Service {
    sends: Sends,
    told: Sender<Outcome>,
}

impl Handler for Service {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_http(&mut self, _: &IncomingRequest) -> HttpAnswer {
        Response::new(200).body(payload(self.sends.length)).into()
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        assert!(!peer.send(payload(self.sends.length)).is_dropped());
        if self.sends.closes {
            peer.close(1000, "bye").unwrap();
        }
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: &Outcome) {
        self.told.send(outcome.clone()).unwrap();
    }
}

/// A listener; what it accepts has a send buffer of this size, and a small one to receive.
fn listen(send_buffer: Option<usize>) -> (TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 * KIB).unwrap();
    if let Some(size) = send_buffer {
        socket.set_send_buffer_size(size).unwrap();
    }
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection with a small buffer to receive.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 * KIB).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// The next connection, once it is open.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let head = read_head(&mut stream);
    let (_, key) = head.split_once("Sec-WebSocket-Key: ").unwrap();
    let accept = accept_key(key.split("\r\n").next().unwrap().as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: ";
    stream.write_all(&[head.as_bytes(), &accept, b"\r\n\r\n"].concat()).unwrap();
    stream
}

/// A client that is open.
fn open(address: SocketAddr, config: Config) -> Client {
    let builder = Client::builder(&format!("ws://{address}/")).unwrap();
    builder.config(config).no_proxy().connect().unwrap()
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
