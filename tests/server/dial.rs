//! Connections that a loop opens itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::deserted::deserted;
use crate::untimed::{untimed, untimed_client, untimed_server};
use framewire::handshake::{ClientRequest, Response, Url};
use framewire::{
    Config, Decision, EventLoop, Handle, Handler, IncomingRequest, Message, Outcome, Peer, Role,
    Server,
};

/// A server that says everything back, in a thread of its own, and the way to end it.
struct Echo {
    address: SocketAddr,
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start(config: Config) -> Self {
        let server = untimed_server().config(config);
        let address = server.local_addr().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let mut event_loop = server
                .on_message(|peer, message| {
                    peer.send(message);
                })
                .into_event_loop()
                .unwrap();
            sender.send(event_loop.handle()).unwrap();
            event_loop.run().unwrap();
        });
        let handle = receiver.recv().unwrap();
        Self { address, handle, thread: Some(thread) }
    }

    fn request(&self) -> ClientRequest {
        ClientRequest::new(&Url::parse(&format!("ws://{}/", self.address)).unwrap())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.handle.shutdown(1001, "", Duration::from_secs(10)).unwrap();
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

/// Sends numbered messages, one after the answer to the other, and closes behind the last.
#[derive(Default)]
struct Talk {
    messages: u32,
    opened: usize,
    answered: u64,
    closed: Vec<Outcome>,
}

struct Talker {
    name: u32,
    said: u32,
}

impl Talk {
    fn line(talker: &Talker) -> String {
        format!("{}:{}", talker.name, talker.said)
    }
}

impl Handler for Talk {
    type Session = Talker;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Talker> {
        Decision::reject(Response::forbidden())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Talker>) {
        assert_eq!(peer.role(), Role::Client);
        self.opened += 1;
        let line = Self::line(peer.session());
        peer.send(line);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Talker>, message: Message<'_>) {
        assert_eq!(message.as_text(), Some(&*Self::line(peer.session())));
        self.answered += 1;
        peer.session_mut().said += 1;
        if peer.session().said == self.messages {
            peer.close(1000, "").unwrap();
        } else {
            let line = Self::line(peer.session());
            peer.send(line);
        }
    }

    fn on_close(&mut self, _peer: &mut Peer<'_, Talker>, outcome: &Outcome) {
        self.closed.push(outcome.clone());
    }
}

fn run_until_empty(event_loop: &mut EventLoop<Talk>) {
    while event_loop.connections() > 0 {
        event_loop.run_once(Some(Duration::from_secs(30))).unwrap();
    }
}

// req: W054, W092, W095
#[test]
fn one_loop_dials_thousands() {
    const CLIENTS: u32 = 5000;
    const MESSAGES: u32 = 20;
    let echo = Echo::start(untimed().ping_interval(None));
    let talk = Talk { messages: MESSAGES, ..Talk::default() };
    let mut event_loop = Server::unbound().config(untimed()).into_event_loop(talk).unwrap();
    // In portions that the listener's backlog holds.
    let config = untimed().ping_interval(None).handshake_timeout(Duration::from_secs(60));
    for portion in 0..CLIENTS / 500 {
        for name in portion * 500..(portion + 1) * 500 {
            let session = Talker { name, said: 0 };
            event_loop.peers().connect(echo.address, echo.request(), &config, session).unwrap();
        }
        while event_loop.handler().opened < ((portion + 1) * 500) as usize {
            event_loop.run_once(Some(Duration::from_secs(30))).unwrap();
        }
    }
    run_until_empty(&mut event_loop);
    let talk = event_loop.handler();
    assert_eq!(talk.opened, CLIENTS as usize);
    assert_eq!(talk.answered, u64::from(CLIENTS * MESSAGES));
    assert_eq!(talk.closed.len(), CLIENTS as usize);
    assert!(talk.closed.iter().all(Outcome::was_clean));
}

#[test]
fn compression_is_offered_and_used() {
    let echo = Echo::start(untimed().deflate(framewire::deflate::DeflateConfig::new()));
    let mut event_loop = Server::unbound()
        .config(untimed())
        .into_event_loop(Talk { messages: 3, ..Talk::default() })
        .unwrap();
    for name in 0..5 {
        let session = Talker { name, said: 0 };
        event_loop.peers().connect(echo.address, echo.request(), &untimed(), session).unwrap();
    }
    run_until_empty(&mut event_loop);
    assert_eq!(event_loop.handler().answered, 15);
}

// attack: OS05
#[test]
fn an_address_that_refuses_ends_in_on_close() {
    let (_socket, address) = deserted();
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Talk::default()).unwrap();
    let request = ClientRequest::new(&Url::parse("ws://localhost/").unwrap());
    let session = Talker { name: 0, said: 0 };
    event_loop.peers().connect(address, request, &untimed(), session).unwrap();
    run_until_empty(&mut event_loop);
    let closed = &event_loop.handler().closed;
    let [outcome @ Outcome::Lost { sent: None, received: None, .. }] = &closed[..] else {
        panic!("{closed:?}")
    };
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(error.map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused), "{outcome}");
}

#[test]
fn a_server_that_refuses_ends_in_on_close_with_its_answer() {
    let echo = Echo::start(untimed().path("/only"));
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Talk::default()).unwrap();
    let session = Talker { name: 0, said: 0 };
    event_loop.peers().connect(echo.address, echo.request(), &untimed(), session).unwrap();
    run_until_empty(&mut event_loop);
    let closed = &event_loop.handler().closed;
    let [Outcome::Rejected(response)] = &closed[..] else { panic!("{closed:?}") };
    assert_eq!(Arc::as_ref(response).status(), 404);
}

/// A loop that serves and dials at once: what comes in on one side goes out on the other.
struct Relay {
    upstream: SocketAddr,
    request: ClientRequest,
}

impl Handler for Relay {
    type Session = Option<framewire::PeerId>;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Self::Session> {
        Decision::accept(None)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Self::Session>) {
        if peer.role() == Role::Server {
            peer.pause();
            let (here, request) = (peer.id(), self.request.clone());
            let there =
                peer.peers().connect(self.upstream, request, &untimed(), Some(here)).unwrap();
            *peer.session_mut() = Some(there);
        } else {
            let other = peer.session().unwrap();
            peer.to(other).unwrap().resume();
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Self::Session>, message: Message<'_>) {
        let other = peer.session().unwrap();
        if let Some(mut other) = peer.to(other) {
            other.send(message);
        }
    }
}

#[test]
fn a_loop_serves_and_dials_at_once() {
    let echo = Echo::start(untimed());
    let relay = Relay { upstream: echo.address, request: echo.request() };
    let server = untimed_server();
    let address = server.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let mut event_loop = server.into_event_loop(relay).unwrap();
        sender.send(event_loop.handle()).unwrap();
        event_loop.run().unwrap();
    });
    let handle = receiver.recv().unwrap();
    let mut client = untimed_client(&format!("ws://{address}/")).connect().unwrap();
    for length in [0, 1, 125, 70_000, 1 << 20] {
        client.send(vec![7; length]).unwrap();
        assert_eq!(client.recv().unwrap(), Some(Message::from(vec![7; length])));
    }
    assert!(client.close(1000, "").unwrap().was_clean());
    handle.shutdown(1001, "", Duration::from_secs(10)).unwrap();
    thread.join().unwrap();
}
