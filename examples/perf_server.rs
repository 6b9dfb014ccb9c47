//! The server under test of a comparison: `perf_server PORT echo|deflate|deflate-nct|bcast|publish
//! [THREADS]`. One thread runs one loop; `publish` has every connection subscribe to one topic, and every
//! message published to it.

use std::error::Error;

use framewire::deflate::DeflateConfig;
use framewire::{Config, Decision, Handler, IncomingRequest, Message, Peer, Server};

/// What is done with a message.
#[derive(Clone, Copy)]
enum Work {
    Echo,
    Broadcast,
    Publish,
}

impl Handler for Work {
    type Session = ();

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        if let Self::Publish = self {
            peer.subscribe("all");
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        match self {
            Self::Echo => drop(peer.send(message)),
            Self::Broadcast => drop(peer.broadcast(message)),
            Self::Publish => drop(peer.publish("all", message)),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: perf_server PORT MODE [THREADS]")?.parse()?;
    let mode = arguments.next().unwrap_or_else(|| "echo".into());
    let threads: usize = arguments.next().unwrap_or_else(|| "1".into()).parse()?;
    let config = Config::new().max_message_size(64 << 20);
    let (config, work) = match mode.as_str() {
        "echo" => (config, Work::Echo),
        "bcast" => (config, Work::Broadcast),
        "publish" => (config, Work::Publish),
        "deflate" => (config.deflate(DeflateConfig::new()), Work::Echo),
        "deflate-nct" => {
            let deflate = DeflateConfig::new()
                .server_no_context_takeover(true)
                .client_no_context_takeover(true);
            (config.deflate(deflate), Work::Echo)
        }
        other => return Err(format!("unknown mode {other:?}").into()),
    };
    let server = Server::bind(("127.0.0.1", port))?.config(config);
    match threads {
        1 => server.run(work)?,
        threads => server.threads(threads)?.run(|_| work)?,
    }
    Ok(())
}
