//! What TLS knows of a caller, and the PROXY protocol in front of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use framewire::rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use framewire::{
    Attempt, Caller, Decision, Handler, IncomingRequest, Message, OpeningError, Peer,
    ProxyProtocol, Response,
};

use crate::support::{Authority, Identity, LONG, Running};
use crate::untimed::{untimed, untimed_server};

struct Porter(Sender<Caller>, Sender<OpeningError>);

impl Handler for Porter {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        self.0.send(request.caller().clone()).unwrap();
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        self.0.send(peer.caller()).unwrap();
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_handshake_error(&mut self, error: &OpeningError, _: &Attempt) -> Option<Response> {
        self.1.send(error.clone()).unwrap();
        None
    }
}

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

#[test]
fn the_proxy_protocol_stands_before_tls() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let Identity { chain, key } = clients.issue(&["ann"]);
    let tls = servers.server().require_client_certificate(clients.pem()).unwrap();
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let server = untimed_server().config(untimed()).tls(tls).proxy_protocol(protocol);
    let (sender, callers) = channel();
    let (errors, _errors) = channel();
    let server = Running::start(server, Porter(sender, errors));
    let config: Arc<ClientConfig> =
        servers.client().client_certificate_pem(&chain, &key).unwrap().into();
    // In one segment with the first bytes of TLS, and byte by byte.
    for size in [usize::MAX, 1] {
        let name = "localhost".try_into().unwrap();
        let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut begin = HEADER.to_vec();
        session.write_tls(&mut begin).unwrap();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        for part in begin.chunks(size) {
            stream.write_all(part).unwrap();
        }
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(REQUEST).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        let caller = callers.recv_timeout(LONG).unwrap();
        assert_eq!(callers.recv_timeout(LONG).unwrap(), caller);
        assert_eq!(caller.address(), Some("203.0.113.7:56324".parse().unwrap()));
        assert_eq!(caller.remote_address(), Some(stream.sock.local_addr().unwrap()));
        let tls = caller.tls().unwrap();
        assert_eq!((tls.server_name(), tls.alpn()), (Some("localhost"), Some(&b"http/1.1"[..])));
        assert_eq!(tls.certificates().len(), 1);
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert!(tls.cipher_suite().is_some());
    }
}

#[test]
fn tls_without_the_header_is_ended() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let tls = Authority::new().server();
    let server = untimed_server().config(untimed()).tls(tls).proxy_protocol(protocol);
    let (sender, _callers) = channel();
    let (sender_of_errors, errors) = channel();
    let server = Running::start(server, Porter(sender, sender_of_errors));
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    assert!(matches!(errors.recv_timeout(LONG).unwrap(), OpeningError::ProxyHeader(_)));
}
