//! Relays every WebSocket it accepts to another server, in one loop: `proxy UPSTREAM [ADDR]`.
//!
//! Backpressure is kept in both directions: while one side does not take what the other sends, the
//! other is not read.

use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};

use framewire::handshake::{ClientRequest, Url};
use framewire::{
    CloseCode, Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, PeerId, Role,
    Sent, Server,
};

/// One side of a relayed conversation, and the other one once it is known.
type Side = Option<PeerId>;

struct Relay {
    upstream: Url,
    address: SocketAddr,
}

impl Handler for Relay {
    type Session = Side;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<Side> {
        Decision::accept(None)
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Side>) {
        match (peer.role(), *peer.session()) {
            (Role::Server, _) => {
                let here = peer.id();
                // Nothing may be read before there is somebody to give it to.
                peer.pause();
                let request = ClientRequest::new(&self.upstream);
                match peer.peers().connect(self.address, request, &Config::new(), Some(here)) {
                    Ok(there) => *peer.session_mut() = Some(there),
                    Err(_) => drop(peer.close(CloseCode::BAD_GATEWAY, "upstream is unreachable")),
                }
            }
            (Role::Client, other) => match other.and_then(|other| peer.to(other)) {
                Some(mut other) => other.resume(),
                // Whom it was dialled for is gone meanwhile.
                None => peer.abort(),
            },
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_, Side>, message: Message<'_>) {
        let Some(other) = *peer.session() else { return };
        let congested = match peer.to(other) {
            Some(mut other) => other.send(message) != Sent::Accepted,
            None => false,
        };
        if congested {
            peer.pause();
        }
    }

    fn on_drain(&mut self, peer: &mut Peer<'_, Side>) {
        if let Some(other) = *peer.session()
            && let Some(mut other) = peer.to(other)
        {
            other.resume();
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Side>, outcome: &Outcome) {
        let Some(other) = *peer.session() else { return };
        let Some(mut other) = peer.to(other) else { return };
        // One that is closing already needs no second Close.
        let _ = match outcome {
            Outcome::Clean { .. } => other.close_like(outcome),
            _ => other.close(CloseCode::BAD_GATEWAY, "the other side is gone"),
        };
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let upstream = arguments.next().ok_or("usage: proxy UPSTREAM [ADDR]")?;
    let upstream = Url::parse(&upstream)?;
    if upstream.is_secure() {
        return Err("this example relays to ws: URLs".into());
    }
    let mut addresses = (upstream.host(), upstream.port()).to_socket_addrs()?;
    let address = addresses.next().ok_or("the upstream has no address")?;
    let here = arguments.next().unwrap_or_else(|| "127.0.0.1:9003".into());
    let server = Server::bind(here)?;
    println!("listening on ws://{}", server.local_addr()?);
    std::io::stdout().flush()?;
    server.run(Relay { upstream, address })?;
    Ok(())
}
