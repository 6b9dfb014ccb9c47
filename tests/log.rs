//! The events of the feature `log`, heard by a logger of this binary's own.

mod deserted;
mod untimed;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use framewire::handshake::{ClientRequest, Url};
use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Response, Routes, Server};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::deserted::deserted;
use crate::untimed::{PATIENCE, untimed, untimed_server};

const SECRET: &str = "s3cret";

struct Logger(Mutex<Vec<(Level, String, String)>>);

static LOGGER: LazyLock<Logger> = LazyLock::new(|| Logger(Mutex::default()));

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (target, text) = (record.target().to_owned(), record.args().to_string());
        self.0.lock().unwrap().push((record.level(), target, text));
    }

    fn flush(&self) {}
}

struct Guarded;

impl Handler for Guarded {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        match request.path() {
            "/closed" => Decision::reject(Response::new(403)),
            _ => Decision::accept(()),
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, ()>, message: Message<'_>) {
        if message.as_text() == Some("much") {
            for _ in 0..10 {
                peer.send(vec![0; 1 << 20]);
            }
        }
    }
}

fn request(path: &str, lines: &str) -> String {
    format!(
        "GET /{path}?token={SECRET} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nCookie: {SECRET}\r\n{lines}\r\n"
    )
}

/// Says something and reads to the end.
fn ask(address: SocketAddr, said: impl AsRef<[u8]>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(said.as_ref()).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn what_happens_is_told_and_nothing_secret() {
    const BAD_CLIENTS: usize = 100;
    log::set_logger(&*LOGGER).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let config = untimed().max_buffered_amount(1 << 20);
    let server = untimed_server().config(config).max_connections(100);
    let mut event_loop = server.into_event_loop(Guarded).unwrap();
    let (handle, address) = (event_loop.handle(), event_loop.local_addr().unwrap());
    let clients = std::thread::spawn(move || {
        ask(address, request("closed", ""));
        let lines = format!("Sec-WebSocket-Protocol: {SECRET}, {SECRET}\r\n");
        ask(address, request("", &lines));
        // "s3cret", and then a Close with that reason.
        let mut talk = request("", "").into_bytes();
        talk.extend(b"\x81\x86\0\0\0\0s3cret\x88\x88\0\0\0\0\x03\xe8s3cret");
        ask(address, &talk);
        let mut slow = request("", "").into_bytes();
        slow.extend(b"\x81\x84\0\0\0\0much\x88\x80\0\0\0\0");
        ask(address, &slow);
        // FL11: bad clients are as many lines, none of which asks for attention.
        for _ in 0..BAD_CLIENTS {
            ask(address, "GET /bad HTTP/1.1\r\nHost: a\r\n x: folded\r\n\r\n");
        }
        handle.shutdown(1001, SECRET, Duration::ZERO).unwrap();
    });
    event_loop.run().unwrap();
    clients.join().unwrap();
    let mut dialling = Server::unbound().on_message(|_, _| {}).into_event_loop().unwrap();
    let (_socket, closed) = deserted();
    let request = ClientRequest::new(&Url::parse(&format!("ws://a/{SECRET}?{SECRET}")).unwrap());
    dialling.peers().connect(closed, request, &untimed(), ()).unwrap();
    while dialling.connections() > 0 {
        dialling.run_once(Some(PATIENCE)).unwrap();
    }
    let events = LOGGER.0.lock().unwrap();
    for (level, target, text) in events.iter() {
        assert!(target.starts_with("framewire::"), "{target}");
        assert!(*level >= Level::Info, "nothing is the system's fault: {text}");
        assert!(!text.contains(SECRET), "{text}");
    }
    let bad = events.iter().filter(|event| event.2.contains("malformed request"));
    assert_eq!(bad.count(), BAD_CLIENTS);
    for (level, target, text) in [
        (Level::Debug, "accept", "accepted"),
        (Level::Info, "handshake", "refused with status 403"),
        (Level::Info, "handshake", "failed: a subprotocol is listed twice"),
        (Level::Debug, "handshake", "open"),
        (Level::Debug, "connection", "closed: closed by the peer with 1000"),
        (Level::Debug, "limits", "does not take what is sent: messages are dropped"),
        (Level::Debug, "connection", "dialled"),
        (Level::Debug, "handshake", "lost before it was open"),
        (Level::Info, "shutdown", "begins with"),
        (Level::Info, "shutdown", "is over: shut down in"),
    ] {
        let fits = |event: &(Level, String, String)| {
            // What happens to a connection begins with its id.
            let id = event.2.starts_with(|c: char| c.is_ascii_digit()) != (target == "shutdown");
            let target = event.1.strip_prefix("framewire::") == Some(target);
            event.0 == level && target && id && event.2.contains(text)
        };
        assert!(events.iter().any(fits), "{text:?} is not in {events:#?}");
    }
    drop(events);
    // Of a timer for the connections of all routes, no handler of one can be told.
    let mut routed = untimed_server().into_event_loop(Routes::<()>::new()).unwrap();
    routed.peers().set_timer(Duration::ZERO, 7);
    routed.run_once(Some(PATIENCE)).unwrap();
    let events = LOGGER.0.lock().unwrap();
    let (level, target, text) = events.last().unwrap();
    assert_eq!((*level, &target[..]), (Level::Warn, "framewire::connection"), "{text}");
    assert!(text.contains("no handler is told of it"), "{text}");
}
