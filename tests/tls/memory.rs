//! What an idle connection over TLS takes of the heap of a server, counted by the allocator.
//!
//! There is no harness, and nothing else runs. The clients are sockets and nothing more by the time that is measured:
//! what they knew of TLS is dropped.

#[allow(dead_code, reason = "others use the rest of it")]
mod support;
#[path = "../untimed.rs"]
mod untimed;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use cap::Cap;
use framewire::rustls::client::Resumption;
use framewire::rustls::{ClientConfig, ClientConnection, StreamOwned};
use framewire::{Decision, Handler, IncomingRequest, Message, Peer};

use crate::support::{Authority, LONG, Running};
use crate::untimed::{untimed, untimed_server};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// The most for one connection: its state, the keys of TLS and their state.
const MOST: usize = 6 * 1024;

/// As many as a process may have of both ends without being asked for more files; `FRAMEWIRE_CONNECTIONS` says another
/// number.
const CONNECTIONS: usize = 400;

/// Without pseudorandom parts: a masking key of zeros.
const MESSAGE: [u8; 26] = *b"\x82\x94\0\0\0\0twenty bytes of text";

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

fn main() {
    let count = std::env::var("FRAMEWIRE_CONNECTIONS")
        .map_or(CONNECTIONS, |count| count.parse().expect("FRAMEWIRE_CONNECTIONS is a number"));
    let authority = Authority::new();
    let server = untimed_server().config(untimed().no_deflate()).tls(authority.server());
    let server = Running::start(server, Echo);
    let tls: Arc<ClientConfig> = authority.client().into();
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.resumption = Resumption::disabled();
    let tls = Arc::new(tls);
    // What is made once, with the first of them: rooms, tables, what the system loads.
    let mut clients = Vec::with_capacity(count);
    let first: Vec<_> = (0..16).map(|_| idle(&server, &tls)).collect();
    let before = HEAP.allocated();
    clients.extend((0..count).map(|_| idle(&server, &tls)));
    let each = (HEAP.allocated() - before) / count;
    println!("idle_connections_are_small: {each} bytes for each of {count} connections");
    assert!(each <= MOST, "{each} bytes");
    // If they were not served, or the counter did not count, there would be less.
    assert!(each > 2000, "{each} bytes");
    drop((first, clients));
}

/// A connection that was opened and has had a message echoed, of which the socket is left.
fn idle(server: &Running, tls: &Arc<ClientConfig>) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let session = ClientConnection::new(Arc::clone(tls), "localhost".try_into().unwrap()).unwrap();
    let mut client = StreamOwned::new(session, stream);
    client.write_all(REQUEST).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client.write_all(&MESSAGE).unwrap();
    let mut echo = [0; 22];
    client.read_exact(&mut echo).unwrap();
    assert_eq!((&echo[..2], &echo[2..]), (&b"\x82\x14"[..], &MESSAGE[6..]));
    client.sock
}
