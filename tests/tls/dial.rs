use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use framewire::handshake::{ClientRequest, Response, Url};
use framewire::rustls::Error;
use framewire::{
    Decision, EventLoop, Handler, IncomingRequest, Message, Outcome, Peer, Server, TlsError,
};

use crate::support::{Authority, Echo, LONG, pattern};
use crate::transport::{accept_by_hand, bad_record};
use crate::untimed::untimed;

/// Sends one long message, checks the echo, and closes.
#[derive(Default)]
struct Dialler {
    answered: usize,
    closed: Vec<Outcome>,
}

impl Handler for Dialler {
    type Session = u32;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<u32> {
        Decision::reject(Response::forbidden())
    }

    fn on_open(&mut self, peer: &mut Peer<'_, u32>) {
        let seed = *peer.session();
        peer.send(pattern(300_000, seed));
    }

    fn on_message(&mut self, peer: &mut Peer<'_, u32>, message: Message<'_>) {
        assert!(message.as_bytes() == pattern(300_000, *peer.session()));
        self.answered += 1;
        peer.close(1000, "").unwrap();
    }

    fn on_close(&mut self, _peer: &mut Peer<'_, u32>, outcome: &Outcome) {
        self.closed.push(outcome.clone());
    }
}

fn run_until_empty(event_loop: &mut EventLoop<Dialler>) {
    while event_loop.connections() > 0 {
        event_loop.run_once(Some(LONG)).unwrap();
    }
}

fn parts(url: &str) -> (SocketAddr, ClientRequest) {
    let url = Url::parse(url).unwrap();
    (format!("{}:{}", url.host(), url.port()).parse().unwrap(), ClientRequest::new(&url))
}

// req: W008
#[test]
fn a_loop_dials_over_tls() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), untimed());
    let (address, request) = parts(&server.url());
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Dialler::default()).unwrap();
    for seed in 0..20 {
        let (tls, config) = (authority.client(), untimed());
        let request = request.clone();
        event_loop.peers().connect_tls(address, "127.0.0.1", tls, request, &config, seed).unwrap();
    }
    run_until_empty(&mut event_loop);
    let dialler = event_loop.handler();
    assert_eq!(dialler.answered, 20);
    assert!(dialler.closed.len() == 20 && dialler.closed.iter().all(Outcome::was_clean));
}

#[test]
fn a_loop_trusts_no_wrong_name_and_no_unknown_root() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), untimed());
    let (address, request) = parts(&server.url());
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Dialler::default()).unwrap();
    let config = untimed();
    let stranger = Authority::new().client();
    let (known, other) = (authority.client(), request.clone());
    event_loop.peers().connect_tls(address, "example.com", known, other, &config, 0).unwrap();
    event_loop
        .peers()
        .connect_tls(address, "127.0.0.1", stranger, request.clone(), &config, 1)
        .unwrap();
    assert!(
        event_loop
            .peers()
            .connect_tls(address, "not a name", authority.client(), request, &config, 2)
            .is_err()
    );
    run_until_empty(&mut event_loop);
    let dialler = event_loop.handler();
    assert_eq!((dialler.answered, dialler.closed.len()), (0, 2));
    for outcome in &dialler.closed {
        let error = outcome.cause().and_then(|cause| cause.downcast_ref::<TlsError>());
        assert!(error.is_some_and(|error| error.certificate().is_some()), "{outcome:?}");
    }
}

#[test]
fn an_address_that_refuses_is_told_as_such_over_tls_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_, request) = parts("wss://127.0.0.1:1/");
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Dialler::default()).unwrap();
    let tls = Authority::new().client();
    event_loop.peers().connect_tls(address, "127.0.0.1", tls, request, &untimed(), 0).unwrap();
    run_until_empty(&mut event_loop);
    let [outcome] = &event_loop.handler().closed[..] else { panic!("not closed once") };
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(error.map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused), "{outcome:?}");
}

#[test]
fn a_bad_record_of_the_server_ends_a_connection_that_was_dialled() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, request) = parts(&format!("wss://{}/", listener.local_addr().unwrap()));
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Dialler::default()).unwrap();
    let config = untimed();
    event_loop
        .peers()
        .connect_tls(address, "127.0.0.1", authority.client(), request, &config, 0)
        .unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = accept_by_hand(&authority, &listener);
            stream.sock.write_all(&bad_record()).unwrap();
            // The alert, behind a message or a part of it, and the end, which may be a reset.
            let _ = stream.sock.read_to_end(&mut Vec::new());
        });
        run_until_empty(&mut event_loop);
    });
    let [outcome] = &event_loop.handler().closed[..] else { panic!("not closed once") };
    let error = outcome.cause().and_then(|cause| cause.downcast_ref::<TlsError>());
    assert!(matches!(error, Some(TlsError::Tls(Error::DecryptError))), "{outcome:?}");
}
