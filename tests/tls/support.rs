use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::untimed::untimed_server;
use framewire::{
    Config, Decision, Handle, Handler, IncomingRequest, Message, Outcome, Peer, Server, TlsClient,
    TlsServer,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

pub(crate) use crate::untimed::PATIENCE as LONG;

/// Somebody who issues certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "framewire's test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// A server for 127.0.0.1 and localhost.
    pub(crate) fn server(&self) -> TlsServer {
        let Identity { chain, key } = self.issue(&["127.0.0.1", "localhost"]);
        TlsServer::from_pem(chain, key).unwrap()
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> TlsClient {
        TlsClient::with_roots_pem(self.pem()).unwrap()
    }
}

/// A loop in a thread of its own, shut down when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start<H: Handler + Send + 'static>(server: Server, handler: H) -> Self {
        let address = server.local_addr().unwrap();
        let (sender, receiver) = mpsc::channel();
        // The sessions of a loop may be of any kind, so it is made where it runs.
        let thread = thread::spawn(move || {
            let mut event_loop = server.into_event_loop(handler).unwrap();
            sender.send(event_loop.handle()).unwrap();
            event_loop.run().unwrap();
        });
        let handle = receiver.recv().unwrap();
        Self { address, handle, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("wss://{}/", self.address)
    }

    /// Waits until the loop has ended.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.shutdown(1001, "", Duration::ZERO).unwrap();
            let result = thread.join();
            assert!(result.is_ok() || thread::panicking(), "the loop has panicked");
        }
    }
}

/// What the handler saw.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// A connection has opened; the name that the client asked for, and whether it has a certificate.
    Open(Option<String>, bool),
    Closed(Outcome),
}

/// Sends everything back, and tells of opening and closing.
pub(crate) struct Echo(pub(crate) Sender<Seen>);

impl Echo {
    pub(crate) fn start(server: Server) -> (Running, Receiver<Seen>) {
        let (sender, receiver) = mpsc::channel();
        (Running::start(server, Self(sender)), receiver)
    }

    /// On a port that the system chooses.
    pub(crate) fn over(tls: TlsServer, config: Config) -> (Running, Receiver<Seen>) {
        Self::start(untimed_server().tls(tls).config(config))
    }
}

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        let (name, known) = peer.tls().map_or((None, false), |tls| {
            (tls.server_name().map(String::from), !tls.certificates().is_empty())
        });
        // A test that wants to know nothing has dropped the receiver.
        let _ = self.0.send(Seen::Open(name, known));
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }

    fn on_close(&mut self, _peer: &mut Peer<'_>, outcome: &Outcome) {
        let _ = self.0.send(Seen::Closed(outcome.clone()));
    }
}

/// The outcome of the next connection that ends.
pub(crate) fn next_outcome(seen: &Receiver<Seen>) -> Outcome {
    loop {
        if let Seen::Closed(outcome) = seen.recv_timeout(LONG).expect("no connection has ended") {
            return outcome;
        }
    }
}

/// Bytes in which a part that is missing, doubled or moved is noticed.
pub(crate) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}
