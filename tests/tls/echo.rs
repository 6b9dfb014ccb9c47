use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::rustls::{self, version};
use framewire::{
    Attempt, Decision, Handler, IncomingRequest, Message, OpeningError, Outcome, Peer, Response,
    Sent,
};

use crate::support::{Authority, Echo, LONG, Running, Seen, next_outcome, pattern};
use crate::untimed::{longer_and_longer, untimed, untimed_client, untimed_server};

// req: W034, W116
#[test]
fn messages_of_all_sizes_go_both_ways() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let tls = authority.client();
    let mut client = untimed_client(&server.url()).tls(tls).connect().unwrap();
    client.set_read_timeout(Some(LONG));
    assert_eq!(seen.recv_timeout(LONG).unwrap(), Seen::Open(None, false));
    client.send("grüße").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("grüße"));
    // Around the borders of records, of the buffers on the way, and the greatest message there is.
    let sizes = [0, 1, 125, 126, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 16 << 20];
    for (seed, size) in sizes.into_iter().enumerate() {
        let sent = pattern(size, seed as u32);
        client.send(&sent[..]).unwrap();
        let received = client.recv().unwrap().unwrap();
        assert!(received.as_bytes() == sent, "{size} bytes");
    }
    let outcome = client.close(1000, "done").unwrap();
    assert!(outcome.was_clean(), "{outcome:?}");
    let outcome = next_outcome(&seen);
    assert!(outcome.was_clean() && outcome.reason() == "done", "{outcome:?}");
}

#[test]
fn both_versions_of_tls_and_a_configuration_of_ones_own() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    for version in [&version::TLS12, &version::TLS13] {
        let provider = || std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let certificates = |pem: &str| {
            use rustls::pki_types::{CertificateDer, pem::PemObject};
            CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect::<Vec<_>>()
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&authority.pem()));
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = rustls::pki_types::pem::PemObject::from_pem_slice(identity.key.as_bytes());
        let server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates(&identity.chain), key.unwrap())
            .unwrap();
        let server = untimed_server().tls(server);
        let (sender, spoken) = mpsc::channel();
        let server = Running::start(server, Tell(sender));
        let mut client = untimed_client(&server.url()).tls(client).connect().unwrap();
        client.send("which?").unwrap();
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("which?"));
        assert_eq!(spoken.recv_timeout(LONG).unwrap(), Some(version.version));
        assert!(client.close(1000, "").unwrap().was_clean());
    }
}

/// Echoes, and tells which version of TLS is spoken.
struct Tell(mpsc::Sender<Option<rustls::ProtocolVersion>>);

impl Handler for Tell {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.0.send(peer.tls().and_then(|tls| tls.protocol_version())).unwrap();
        peer.send(message);
    }
}

#[test]
fn compressed_messages() {
    let authority = Authority::new();
    let config = untimed().deflate(DeflateConfig::new());
    let (server, _seen) = Echo::over(authority.server(), config.clone());
    let builder = untimed_client(&server.url()).config(config);
    let mut client = builder.tls(authority.client()).connect().unwrap();
    assert!(client.deflate().is_some());
    for round in 0..20 {
        let text = format!("round {round} ").repeat(1 + round * 5000);
        client.send(&text[..]).unwrap();
        assert!(client.recv().unwrap().unwrap().as_text() == Some(&text), "round {round}");
    }
    assert!(client.close(1000, "").unwrap().was_clean());
}

#[test]
fn tls_and_plain_in_one_loop() {
    let authority = Authority::new();
    let plain = untimed_server();
    let plain_address = plain.local_addr().unwrap();
    let server = untimed_server().tls(authority.server()).and(plain);
    let (server, _seen) = Echo::start(server);
    let builder = untimed_client(&server.url()).tls(authority.client());
    let mut secure = builder.connect().unwrap();
    let mut plain = untimed_client(&format!("ws://{plain_address}/")).connect().unwrap();
    for client in [&mut secure, &mut plain] {
        client.send("hello").unwrap();
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("hello"));
    }
}

#[test]
fn many_connections_at_once() {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (url, tls) = (server.url(), authority.client());
            scope.spawn(move || {
                let connect = |_| untimed_client(&url).tls(tls.clone()).connect().unwrap();
                let mut clients: Vec<_> = (0..EACH).map(connect).collect();
                for round in 0..4 {
                    for (index, client) in clients.iter_mut().enumerate() {
                        client.send(format!("{thread} {index} {round}")).unwrap();
                    }
                    for (index, client) in clients.iter_mut().enumerate() {
                        let reply = client.recv().unwrap().unwrap();
                        let expected = format!("{thread} {index} {round}");
                        assert_eq!(reply.as_text(), Some(&expected[..]));
                    }
                }
                for mut client in clients {
                    assert!(client.close(1000, "").unwrap().was_clean());
                }
            });
        }
    });
    for _ in 0..THREADS * EACH {
        assert!(next_outcome(&seen).was_clean());
    }
}

#[test]
fn two_threads_on_one_connection() {
    const COUNT: u32 = 300;
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let builder = untimed_client(&server.url()).tls(authority.client());
    let (mut reader, mut writer) = builder.connect().unwrap().split().unwrap();
    reader.set_read_timeout(Some(LONG));
    let size = |seed: u32| (seed as usize * 7919) % 100_000;
    let writing = thread::spawn(move || {
        for seed in 0..COUNT {
            writer.send(&pattern(size(seed), seed)[..]).unwrap();
        }
        writer
    });
    for seed in 0..COUNT {
        let message = reader.recv().unwrap().unwrap();
        assert!(message.as_bytes() == pattern(size(seed), seed), "message {seed}");
    }
    writing.join().unwrap().close(1000, "").unwrap();
    assert!(reader.recv().unwrap().is_none());
    assert!(next_outcome(&seen).was_clean());
}

/// Sends so many messages to each peer, no faster than it takes them.
struct Flood {
    messages: u32,
    pressed: mpsc::Sender<()>,
}

impl Flood {
    const SIZE: usize = 50_000;

    fn pour(&mut self, peer: &mut Peer<'_, u32>) {
        while *peer.session() < self.messages {
            let seed = *peer.session();
            *peer.session_mut() += 1;
            match peer.send(&pattern(Self::SIZE, seed)[..]) {
                Sent::Accepted => {}
                Sent::Backpressure => {
                    let _ = self.pressed.send(());
                    return;
                }
                dropped => panic!("{dropped:?}"),
            }
        }
        peer.close(1000, "that was all").unwrap();
    }
}

impl Handler for Flood {
    type Session = u32;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<u32> {
        Decision::accept(0)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, u32>) {
        self.pour(peer);
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, u32>) {
        self.pour(peer);
    }

    fn on_message(&mut self, _peer: &mut Peer<'_, u32>, _message: Message<'_>) {}
}

#[test]
fn a_slow_reader_holds_the_sender_back_and_misses_nothing() {
    let authority = Authority::new();
    let (pressed, pressure) = mpsc::channel();
    let server = untimed_server().tls(authority.server());
    let server = Running::start(server, Flood { messages: 600, pressed });
    let builder = untimed_client(&server.url()).tls(authority.client());
    let mut client = builder.connect().unwrap();
    client.set_read_timeout(Some(LONG));
    // Nothing is read until the server has noticed that nothing is read.
    pressure.recv_timeout(LONG).unwrap();
    let messages: Vec<_> = client.messages().map(Result::unwrap).collect();
    assert_eq!(messages.len(), 600);
    for (seed, message) in messages.iter().enumerate() {
        assert!(message.as_bytes() == pattern(Flood::SIZE, seed as u32), "message {seed}");
    }
    let outcome = client.outcome().unwrap();
    assert!(outcome.was_clean() && outcome.reason() == "that was all", "{outcome:?}");
}

/// Takes one message at a time, and pauses at each.
struct Sip(mpsc::Sender<Vec<u8>>);

impl Handler for Sip {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.0.send(message.as_bytes().to_vec()).unwrap();
        peer.pause();
    }
}

#[test]
fn what_is_decrypted_already_is_not_forgotten_over_a_pause() {
    let authority = Authority::new();
    let (sender, received) = mpsc::channel();
    let server = untimed_server().tls(authority.server());
    let address = server.local_addr().unwrap();
    let url = format!("wss://{address}/");
    let tls = authority.client();
    // The loop is driven by hand, so that a pause ends only when the socket has told all it has.
    let (stop, stopped) = mpsc::channel();
    let driving = thread::spawn(move || {
        let mut event_loop = server.into_event_loop(Sip(sender)).unwrap();
        while stopped.try_recv().is_err() {
            event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            for id in event_loop.peers().ids() {
                event_loop.peer(id).unwrap().resume();
            }
        }
    });
    let builder = untimed_client(&url).tls(tls);
    let (_reader, mut writer) = builder.connect().unwrap().split().unwrap();
    for seed in 0..50 {
        writer.send(&pattern(3000 + seed as usize, seed)[..]).unwrap();
    }
    for seed in 0..50 {
        let message = received.recv_timeout(LONG).unwrap();
        assert!(message == pattern(3000 + seed as usize, seed), "message {seed}");
    }
    stop.send(()).unwrap();
    driving.join().unwrap();
}

#[test]
fn a_shutdown_closes_everybody_in_good_order() {
    let authority = Authority::new();
    let (server, seen) = Echo::over(authority.server(), untimed());
    let (url, tls) = (server.url(), authority.client());
    let connect = |_| untimed_client(&url).tls(tls.clone()).connect().unwrap();
    let mut clients: Vec<_> = (0..5).map(connect).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(LONG));
        client.send("last words").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("last words"));
    }
    server.handle.shutdown(1001, "for today", LONG).unwrap();
    for client in &mut clients {
        assert_eq!(client.recv().unwrap(), None);
        let outcome = client.outcome().unwrap();
        assert_eq!((outcome.code(), outcome.reason()), (1001.into(), "for today"));
    }
    server.join();
    for _ in 0..5 {
        assert!(matches!(next_outcome(&seen), Outcome::Clean { .. }));
    }
}

/// Tells why connections did not open.
struct Ledger(mpsc::Sender<(OpeningError, Option<SocketAddr>)>);

impl Handler for Ledger {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {}

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.0.send((error.clone(), attempt.caller().address())).unwrap();
        None
    }
}

#[test]
fn who_does_not_speak_tls_is_told_of() {
    for stays in [false, true] {
        // Who stays is waited for until the deadline; who is late is told of as such.
        let mut errors = longer_and_longer().map(|timeout| told_of_plain_text(stays, timeout));
        let is_of_tls = |error: &OpeningError| matches!(error, OpeningError::Tls(_));
        assert!(errors.any(|error| is_of_tls(&error)), "{stays}");
    }
}

fn told_of_plain_text(stays: bool, timeout: Duration) -> OpeningError {
    let (sender, told) = mpsc::channel();
    let server = untimed_server().config(untimed().handshake_timeout(timeout));
    let server = Running::start(server.tls(Authority::new().server()), Ledger(sender));
    let mut stream = TcpStream::connect(server.address).unwrap();
    let ours = stream.local_addr().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // At the most an alert; never an answer in the clear.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let _kept = stays.then_some(stream);
    let (error, address) = told.recv_timeout(LONG).unwrap();
    // Who has gone by then may have no address any more.
    assert!(address == Some(ours) || (!stays && address.is_none()), "{address:?}");
    drop(server);
    assert_eq!(told.try_iter().count(), 0, "told once");
    error
}
