//! What the peers' servers have in common: one thread, batches, and an opening handshake for those that
//! bring none of their own.

pub mod process;

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use framewire::deflate::DeflateConfig;
use framewire::{Accept, Config, Connection, Event};
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local, unconstrained};

/// What every server with TLS shows, and its key: framewire's own for its tests, for "localhost", until 2120.
pub const CERTIFICATE: &[u8] = include_bytes!("../../../src/tls/localhost.pem");

/// How a server is to behave: the second argument of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every message goes back.
    Echo,
    /// Every message goes to every connection.
    Broadcast,
    /// An echo, compressed with context takeover.
    Deflate,
    /// An echo, each message compressed by itself.
    DeflateNoTakeover,
    /// Every message goes to every connection, each compressed by itself.
    BroadcastDeflate,
    /// Every message goes back, over TLS.
    Tls,
}

/// Listens on the port of the first argument, and runs `connection` for each that is accepted.
pub fn serve<F: Future<Output = ()> + 'static>(connection: impl Fn(TcpStream, Mode) -> F) {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments.get(1).and_then(|port| port.parse().ok()).expect("a port");
    let mode = match arguments.get(2).map(String::as_str) {
        None | Some("echo") => Mode::Echo,
        Some("bcast") => Mode::Broadcast,
        Some("deflate") => Mode::Deflate,
        Some("deflate-nct") => Mode::DeflateNoTakeover,
        Some("bcast-deflate-nct") => Mode::BroadcastDeflate,
        Some("tls") => Mode::Tls,
        Some(other) => panic!("no mode {other}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let accept = async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of the system");
        socket.bind(([127, 0, 0, 1], port).into()).expect("a free port");
        let listener = socket.listen(4096).expect("a listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            spawn_local(unconstrained(connection(stream, mode)));
        }
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(accept));
}

/// What rustls does of itself, with ring, and one certificate.
pub fn tls_config() -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that ring has");
    builder.with_no_client_auth().with_single_cert(chain, key).expect("a key to the certificate")
}

/// The opening handshake, by framewire's engine; `None` if it fails.
pub async fn open(stream: &mut TcpStream, mode: Mode) -> Option<()> {
    let deflate = DeflateConfig::new();
    let config = match mode {
        Mode::Echo | Mode::Broadcast | Mode::Tls => Config::new(),
        Mode::Deflate => Config::new().deflate(deflate),
        Mode::DeflateNoTakeover | Mode::BroadcastDeflate => Config::new()
            .deflate(deflate.server_no_context_takeover(true).client_no_context_takeover(true)),
    };
    let mut connection = Connection::server(&config);
    let mut head = [0; 4096];
    loop {
        let count = stream.read(&mut head).await.ok().filter(|&count| count > 0)?;
        let mut input = &mut head[..count];
        match connection.receive(&mut input) {
            Some(Event::Request(_)) => break,
            Some(_) => return None,
            None => {}
        }
    }
    connection.accept(Accept::new()).ok()?;
    let answer: Vec<u8> = connection.output().flatten().copied().collect();
    stream.write_all(&answer).await.ok()
}

/// Sends the messages back, all that have come with one flush.
pub async fn echo<S, M, E>(mut socket: S, is_data: fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
    E: Debug,
{
    let mut batch = Vec::with_capacity(64);
    while let Some(Ok(message)) = socket.next().await {
        batch.push(message);
        while batch.len() < 64 {
            match socket.next().now_or_never() {
                Some(Some(Ok(message))) => batch.push(message),
                Some(_) => return,
                None => break,
            }
        }
        for message in batch.drain(..).filter(is_data) {
            if socket.feed(message).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Those whom a broadcast reaches.
pub type Peers<M> = Rc<RefCell<Vec<UnboundedSender<M>>>>;

/// Sends the messages to all, each of whom sends what has come to him with one flush.
pub async fn broadcast<W, M>(
    mut writer: W,
    mut reader: impl Stream<Item = M> + Unpin,
    peers: Peers<M>,
    is_data: fn(&M) -> bool,
) where
    W: Sink<M> + Unpin + 'static,
    M: Clone + 'static,
{
    let (sender, mut messages) = unbounded_channel::<M>();
    peers.borrow_mut().push(sender);
    spawn_local(async move {
        while let Some(message) = messages.recv().await {
            if writer.feed(message).await.is_err() {
                return;
            }
            while let Ok(message) = messages.try_recv() {
                if writer.feed(message).await.is_err() {
                    return;
                }
            }
            if writer.flush().await.is_err() {
                return;
            }
        }
    });
    while let Some(message) = reader.next().await {
        if is_data(&message) {
            peers.borrow_mut().retain(|peer| peer.send(message.clone()).is_ok());
        }
    }
}
