use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, RwLock};

use framewire::{Decision, Handler, IncomingRequest, Message, Peer};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};

use crate::support::{Authority, Identity, LONG, Running};
use crate::untimed::{untimed_client, untimed_server};

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
        let how = if tls.is_resumed() { HandshakeKind::Resumed } else { HandshakeKind::Full };
        self.0.send(how).unwrap();
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

/// Connects to this server and says something: how the handshake went.
fn visit(
    server: &Running,
    how: &Receiver<HandshakeKind>,
    tls: &Arc<ClientConfig>,
) -> HandshakeKind {
    let mut client = untimed_client(&server.url()).tls(Arc::clone(tls)).connect().unwrap();
    // The tickets come behind the handshake, before the answer.
    client.send("a").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("a"));
    client.close(1000, "").unwrap();
    how.recv_timeout(LONG).unwrap()
}

/// A server, and how the handshakes with it go.
fn start(tls: impl Into<Arc<ServerConfig>>) -> (Running, Receiver<HandshakeKind>) {
    let (told, how) = channel();
    (Running::start(untimed_server().tls(tls), Doorkeeper(told)), how)
}

/// However many come back, each resumes: what a session needs is in the client's ticket.
#[test]
fn all_who_come_back_resume() {
    let authority = Authority::new();
    let (server, how) = start(authority.server());
    // Each keeps its own tickets.
    let clients: Vec<Arc<ClientConfig>> = (0..CLIENTS).map(|_| authority.client().into()).collect();
    for wanted in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let others = clients.iter().filter(|tls| visit(&server, &how, tls) != wanted).count();
        assert_eq!(others, 0, "of {CLIENTS} were not {wanted:?}");
    }
}

/// Servers that stand for one another have the same keys, and may change them one after the other.
#[test]
fn servers_that_share_keys_take_each_others_tickets() {
    let authority = Authority::new();
    let [old, new] = [[1; 32], [2; 32]];
    let server = |keys: &[[u8; 32]]| start(authority.server().ticket_keys(keys.iter().copied()));
    let first = server(&[old]);
    for (keys, wanted) in [
        (&[old][..], HandshakeKind::Resumed),
        (&[old, new], HandshakeKind::Resumed),
        (&[new, old], HandshakeKind::Resumed),
        (&[new], HandshakeKind::Full),
        (&[], HandshakeKind::Full),
    ] {
        let (second, how) = server(keys);
        let tls: Arc<ClientConfig> = authority.client().into();
        assert_eq!(visit(&first.0, &first.1, &tls), HandshakeKind::Full);
        assert_eq!(visit(&second, &how, &tls), wanted, "{keys:?}");
        // What this server gives its clients it takes itself.
        let again = if keys.is_empty() { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(visit(&second, &how, &tls), again, "{keys:?}");
    }
}

/// A session that is resumed shows no certificate, so a ticket of a server that asks for none opens no other.
#[test]
fn a_ticket_is_no_way_around_a_certificate() {
    let authority = Authority::new();
    let (open, how) = start(authority.server().ticket_keys([[1; 32]]));
    let strict = authority.server().ticket_keys([[1; 32]]);
    let (strict, known) = start(strict.require_client_certificate(authority.pem()).unwrap());
    let tls: Arc<ClientConfig> = authority.client().into();
    assert_eq!(visit(&open, &how, &tls), HandshakeKind::Full);
    assert!(untimed_client(&strict.url()).tls(tls).connect().is_err());

    let Identity { chain, key } = authority.issue(&["client"]);
    let tls: Arc<ClientConfig> =
        authority.client().client_certificate_pem(chain, key).unwrap().into();
    assert_eq!(visit(&strict, &known, &tls), HandshakeKind::Full);
    assert_eq!(visit(&strict, &known, &tls), HandshakeKind::Resumed);
}

/// The certificates that are shown now.
#[derive(Debug)]
struct Reloading(RwLock<Arc<dyn ResolvesServerCert>>);

impl ResolvesServerCert for Reloading {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap().resolve(hello)
    }
}

#[test]
fn tickets_outlive_a_certificate() {
    let authority = Authority::new();
    let config: Arc<ServerConfig> = authority.server().into();
    let mut config = Arc::unwrap_or_clone(config);
    let reloading = Arc::new(Reloading(RwLock::new(Arc::clone(&config.cert_resolver))));
    config.cert_resolver = reloading.clone();
    let (server, how) = start(config);
    let clients: Vec<Arc<ClientConfig>> = (0..3).map(|_| authority.client().into()).collect();
    for tls in &clients {
        assert_eq!(visit(&server, &how, tls), HandshakeKind::Full);
    }
    let renewed: Arc<ServerConfig> = authority.server().into();
    *reloading.0.write().unwrap() = Arc::clone(&renewed.cert_resolver);
    for tls in &clients {
        assert_eq!(visit(&server, &how, tls), HandshakeKind::Resumed);
    }
}

/// Tells whether each session was resumed, and the name that was asked for.
struct Namer(Sender<(bool, Option<String>)>);

impl Handler for Namer {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        let tls = request.caller().tls().unwrap();
        let name = tls.server_name().map(String::from);
        self.0.send((tls.is_resumed(), name)).unwrap();
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

/// A session belongs to a name, so that one that is resumed has it, too.
#[test]
fn the_name_that_was_asked_for_is_known_of_a_resumed_session() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let (told, names) = channel();
        let server = Running::start(untimed_server().tls(authority.server()), Namer(told));
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Arc::new(tls);
        for is_resumed in [false, true, true] {
            let builder = untimed_client(&server.url()).tls_server_name("localhost");
            let mut client = builder.tls(Arc::clone(&tls)).connect().unwrap();
            client.send("a").unwrap();
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("a"));
            let seen = names.recv_timeout(LONG).unwrap();
            assert_eq!(seen, (is_resumed, Some("localhost".to_owned())));
        }
    }
}
