use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use framewire::{Client, Decision, Handler, IncomingRequest, Message, Peer};
use rustls::{ClientConfig, HandshakeKind};

use crate::support::{Authority, LONG, Running};
use crate::untimed::untimed_server;

/// More than a server that keeps sessions would keep.
const CLIENTS: usize = 400;

/// Tells how the handshake of each connection went.
struct Doorkeeper(Sender<HandshakeKind>);

impl Handler for Doorkeeper {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        let tls = peer.tls().unwrap();
        self.0.send(tls.handshake_kind().unwrap()).unwrap();
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

/// However many come back, each resumes: what a session needs is in the client's ticket.
#[test]
fn all_who_come_back_resume() {
    let authority = Authority::new();
    let (told, how) = channel();
    let server = untimed_server().tls(authority.server());
    let server = Running::start(server, Doorkeeper(told));
    // Each keeps its own tickets.
    let clients: Vec<Arc<ClientConfig>> = (0..CLIENTS).map(|_| authority.client().into()).collect();
    for wanted in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut others = 0;
        for tls in &clients {
            let mut client =
                Client::builder(&server.url()).unwrap().tls(Arc::clone(tls)).connect().unwrap();
            // The tickets come behind the handshake, before the answer.
            client.send("a").unwrap();
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("a"));
            client.close(1000, "").unwrap();
            others += usize::from(how.recv_timeout(LONG).unwrap() != wanted);
        }
        assert_eq!(others, 0, "of {CLIENTS} were not {wanted:?}");
    }
}
