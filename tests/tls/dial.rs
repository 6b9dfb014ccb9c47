use std::net::SocketAddr;
use std::time::Duration;

use framewire::handshake::{ClientRequest, Response, Url};
use framewire::{
    Config, Decision, EventLoop, Handler, IncomingRequest, Message, Outcome, Peer, Server,
};

use crate::support::{Authority, Echo, LONG, pattern};

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
    let (server, _seen) = Echo::over(authority.server(), Config::new());
    let (address, request) = parts(&server.url());
    let mut event_loop = Server::none().handler(Dialler::default()).unwrap();
    for seed in 0..20 {
        let (tls, config) = (authority.client(), Config::new());
        let request = request.clone();
        event_loop.connect_tls(address, "127.0.0.1", tls, request, &config, seed).unwrap();
    }
    run_until_empty(&mut event_loop);
    let dialler = event_loop.handler();
    assert_eq!(dialler.answered, 20);
    assert!(dialler.closed.len() == 20 && dialler.closed.iter().all(Outcome::was_clean));
}

#[test]
fn a_loop_trusts_no_wrong_name_and_no_unknown_root() {
    let authority = Authority::new();
    let (server, _seen) = Echo::over(authority.server(), Config::new());
    let (address, request) = parts(&server.url());
    let mut event_loop = Server::none().handler(Dialler::default()).unwrap();
    let config = Config::new().handshake_timeout(Duration::from_secs(30));
    let stranger = Authority::new().client();
    let (known, other) = (authority.client(), request.clone());
    event_loop.connect_tls(address, "example.com", known, other, &config, 0).unwrap();
    event_loop.connect_tls(address, "127.0.0.1", stranger, request.clone(), &config, 1).unwrap();
    assert!(
        event_loop
            .connect_tls(address, "not a name", authority.client(), request, &config, 2)
            .is_err()
    );
    run_until_empty(&mut event_loop);
    let dialler = event_loop.handler();
    assert_eq!((dialler.answered, dialler.closed.len()), (0, 2));
    assert!(dialler.closed.iter().all(|outcome| !outcome.was_clean()), "{:?}", dialler.closed);
}
