//! Passes each message on to all other clients, text as text and binary as binary: `broadcast [ADDR]`.
//!
//! It is the smallest chat there is. Whoever does not keep up is closed with 1013 (try again later), so
//! that the others do not pay for the memory.

#[path = "support/serving.rs"]
mod serving;

use std::io;

use framewire::{
    Audience, Config, Decision, Handler, IncomingRequest, Message, Peer, Server, SlowConsumer,
};

/// What may wait for one client.
const MAX_UNREAD: usize = 4 << 20;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".into());
    let config = Config::new().max_message_size(1 << 20).max_buffered_amount(MAX_UNREAD);
    let server = Server::bind(address)?.config(config).slow_consumer(SlowConsumer::Close);
    serving::run("ws", server.into_event_loop(Broadcast)?)
}

struct Broadcast;

impl Handler for Broadcast {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        // It is encoded once for all of them. Those who are closing hear nothing.
        peer.publish(Audience::everyone().except(peer.id()), message);
    }
}
