//! TLS that somebody else has begun to speak.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use framewire::rustls::{self, ServerConfig, ServerConnection};

use crate::support::{Authority, Echo, LONG, Running, Seen, next_outcome, pattern};
use crate::untimed::{untimed_client, untimed_server};

/// Accepts one connection, speaks TLS on it until `count` bytes of the request are read, and hands it
/// over; the others are decrypted by then, or are still to come.
fn adopt_after(count: usize) {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    let (sender, seen) = std::sync::mpsc::channel();
    // The loop has a listener only so that this helper can tell its address.
    let server = untimed_server();
    let running = Running::start(server, Echo(sender));
    let (config, handle) = (Arc::<ServerConfig>::from(authority.server()), running.handle.clone());
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut session = ServerConnection::new(config).unwrap();
        let mut head = vec![0; count];
        rustls::Stream::new(&mut session, &mut stream).read_exact(&mut head).unwrap();
        handle.adopt((session, stream), head, "").unwrap();
    });
    let tls = authority.client();
    let mut client = untimed_client(&url).tls(tls).connect().unwrap();
    client.set_read_timeout(Some(LONG));
    thread.join().unwrap();
    assert!(matches!(seen.recv_timeout(LONG).unwrap(), Seen::Open(_, false)));
    for size in [0, 1, 16_384, 300_000] {
        let sent = pattern(size, 7);
        client.send(&sent[..]).unwrap();
        assert!(client.recv().unwrap().unwrap().as_bytes() == sent, "{size} bytes");
    }
    assert!(client.close(1000, "done").unwrap().was_clean());
    assert!(next_outcome(&seen).was_clean());
}

#[test]
fn a_tls_stream_that_was_accepted_elsewhere_is_served() {
    // Before the handshake of TLS, and with all but some of the request decrypted.
    for count in [0, 1, 60] {
        adopt_after(count);
    }
}
