//! A peer that breaks the protocol and goes on sending reads the Close with its code all the same, every time: what was not
//! read when the Close left is read and thrown away, or the system would send a reset, and the Close might be lost with it.
//!
//! The peer sends all of it before it reads anything, over real sockets. It is a client, and then a server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use framewire::handshake::accept_key;
use framewire::rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
};
use framewire::{Client, ClientError, TlsClient, TlsServer};

use super::{Asked, dial, read_head, reset, upgrade};

/// Made by nobody, for "localhost": a certificate with its key.
const MADE: &str = include_str!("../../src/tls/localhost.pem");

/// Far more than is read at once.
const UNREAD: usize = 1 << 20;

/// What a client says wrong, and the code of the Close that answers it.
const BY_CLIENT: [(&[u8], u16); 3] = [
    (b"\x83\x80\0\0\0\0", 1002),
    (b"\x81\x82\0\0\0\0\xc0\x80", 1007),
    (b"\x82\xff\0\0\0\0\xff\xff\xff\xff\0\0\0\0", 1009),
];

/// The same of a server.
const BY_SERVER: [(&[u8], u16); 3] =
    [(b"\x83\x00", 1002), (b"\x81\x02\xc0\x80", 1007), (b"\x82\x7f\0\0\0\0\xff\xff\xff\xff", 1009)];

/// The settings of a server with the certificate.
pub(super) fn tls_server() -> TlsServer {
    TlsServer::from_pem(MADE, MADE).unwrap()
}

fn tls_client() -> TlsClient {
    TlsClient::with_roots_pem(MADE).unwrap()
}

/// A peer that speaks TLS or does not.
trait Peer: Read + Write {
    fn socket(&mut self) -> &mut TcpStream;

    fn into_socket(self) -> TcpStream;

    /// Ends its direction.
    fn end(&mut self) -> Result<(), String>;
}

impl Peer for TcpStream {
    fn socket(&mut self) -> &mut TcpStream {
        self
    }

    fn into_socket(self) -> TcpStream {
        self
    }

    fn end(&mut self) -> Result<(), String> {
        self.shutdown(Shutdown::Write).map_err(|error| format!("its end: {error}"))
    }
}

macro_rules! secure_peer {
    ($connection:ty) => {
        impl Peer for StreamOwned<$connection, TcpStream> {
            fn socket(&mut self) -> &mut TcpStream {
                &mut self.sock
            }

            fn into_socket(self) -> TcpStream {
                self.sock
            }

            fn end(&mut self) -> Result<(), String> {
                self.conn.send_close_notify();
                self.flush().map_err(|error| format!("its end: {error}"))?;
                self.sock.end()
            }
        }
    };
}

secure_peer!(ClientConnection);
secure_peer!(ServerConnection);

/// Says what is wrong and a lot more, and then reads the Close with its code.
fn break_off(peer: &mut impl Peer, (fault, code): (&[u8], u16), mask: usize) -> Result<(), String> {
    let bytes = [fault, &[0; UNREAD]].concat();
    peer.write_all(&bytes).map_err(|error| format!("not all was taken: {error}"))?;
    let mut close = vec![0; 2 + mask + 2];
    peer.read_exact(&mut close).map_err(|error| format!("no Close: {error}"))?;
    let (head, body) = close.split_at(2 + mask);
    let key = head[2..].iter().chain(&[0; 2]);
    let told: Vec<u8> = body.iter().zip(key).map(|(byte, key)| byte ^ key).collect();
    // The reason is not looked at.
    if head[0] != 0x88 || told != code.to_be_bytes() {
        return Err(format!("{close:x?} instead of a Close with {code}"));
    }
    let rest = usize::from(head[1] & 0x7f) - 2;
    peer.read_exact(&mut vec![0; rest]).map_err(|error| format!("half a Close: {error}"))
}

/// Reads to the end, which has to come in good order.
fn read_end(peer: &mut impl Peer) -> Result<(), String> {
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).map_err(|error| format!("after the Close: {error}"))?;
    if !rest.is_empty() {
        return Err(format!("after the Close: {rest:x?}"));
    }
    // TLS has an end of its own before that of the socket.
    peer.socket().read_to_end(&mut rest).map_err(|error| format!("at the end: {error}"))?;
    Ok(())
}

/// Tells how often it went well, and how it went wrong the first time.
fn tell(name: &str, count: usize, mut one: impl FnMut(usize) -> Result<(), String>) -> bool {
    let (mut read, mut first) = (0, None);
    for number in 0..count {
        match one(number) {
            Ok(()) => read += 1,
            Err(fault) => {
                first.get_or_insert(fault);
            }
        }
    }
    println!("{name}: the Close was read in {read} of {count}");
    if let Some(fault) = first {
        println!("the first in which it was not: {fault}");
    }
    read == count
}

/// A client that breaks off.
fn as_client(mut peer: impl Peer, fault: (&[u8], u16)) -> Result<(), String> {
    upgrade(&mut peer);
    break_off(&mut peer, fault, 0)?;
    read_end(&mut peer)?;
    reset(peer.into_socket());
    Ok(())
}

/// A server that does.
fn as_server(mut peer: impl Peer, fault: (&[u8], u16)) -> Result<(), String> {
    switch(&mut peer);
    break_off(&mut peer, fault, 4)?;
    // It is the server that ends the transport (RFC 6455 section 7.1.1).
    peer.end()?;
    read_end(&mut peer)
}

/// A server, which such clients come to.
fn server(name: &str, count: usize, tls: Option<Arc<ClientConfig>>) -> bool {
    let mut server = Asked::start(if tls.is_some() { &["tls"] } else { &[] });
    let before = server.held();
    let well = tell(name, count, |number| {
        let socket = dial(server.address, number);
        let fault = BY_CLIENT[number % BY_CLIENT.len()];
        let Some(config) = &tls else { return as_client(socket, fault) };
        let host = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::clone(config), host).unwrap();
        as_client(StreamOwned::new(session, socket), fault)
    });
    let after = server.wait_for(0, 0);
    server.stop();
    well && after.descriptors == before.descriptors
}

/// Clients, of which each connects to such a server and receives until the end.
fn client(name: &str, count: usize, tls: Option<(Arc<ServerConfig>, Arc<ClientConfig>)>) -> bool {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls.as_ref().map(|(_, client)| Arc::clone(client));
    let clients = thread::spawn(move || {
        (0..count).filter(|_| connect_and_receive(address, config.clone())).count()
    });
    let well = tell(name, count, |number| {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let fault = BY_SERVER[number % BY_SERVER.len()];
        let Some((config, _)) = &tls else { return as_server(socket, fault) };
        let session = ServerConnection::new(Arc::clone(config)).unwrap();
        as_server(StreamOwned::new(session, socket), fault)
    });
    let failed = clients.join().unwrap();
    println!("{failed} of the clients were told that the server broke the protocol");
    well && failed == count
}

/// Whether the client was told what its server did.
fn connect_and_receive(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> bool {
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let builder = Client::builder(&format!("{scheme}://localhost/")).unwrap().connect_to(address);
    let builder = match tls {
        None => builder,
        Some(tls) => builder.tls(tls),
    };
    let mut client = builder.connect().unwrap();
    matches!(client.recv(), Err(ClientError::Protocol(_)))
}

/// Reads the request of a client and accepts it.
fn switch(stream: &mut (impl Read + Write)) {
    let head = read_head(stream);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept: String = accept_key(key.as_bytes()).map(char::from).iter().collect();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).unwrap();
}

/// All four, so often each.
pub(super) fn run(count: usize) -> ExitCode {
    let (server_config, client_config): (Arc<ServerConfig>, Arc<ClientConfig>) =
        (tls_server().into(), tls_client().into());
    let well = [
        server("a server over TCP", count, None),
        server("a server over TLS", count, Some(Arc::clone(&client_config))),
        client("a client over TCP", count, None),
        client("a client over TLS", count, Some((server_config, client_config))),
    ];
    if well == [true; 4] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
