//! framewire over TLS, a program of its own: the plain one is compiled without rustls, as most are.

use std::error::Error;

use framewire::{Config, Server, TlsServer};
use peer::CERTIFICATE;

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("usage: framewire-tls PORT")?.parse()?;
    let server = Server::bind(("127.0.0.1", port))?
        .config(Config::new().max_message_size(64 << 20))
        .tls(TlsServer::from_pem(CERTIFICATE, CERTIFICATE)?);
    let server = server.on_message(|peer, message| {
        peer.send(message);
    });
    server.into_event_loop()?.run()?;
    Ok(())
}
