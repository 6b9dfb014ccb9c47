//! The server under test of a comparison: `perf_server PORT MODE [THREADS]`, the mode being `echo`, `deflate`,
//! `deflate-nct`, `bcast`, `bcast-deflate-nct`, `publish` or `route`. One thread runs one loop; `publish` has every
//! connection subscribe to one topic, and every message published to it; `route` publishes a message to the
//! connections of the same path, `/few` or `/crowd`.

use std::error::Error;

use framewire::deflate::DeflateConfig;
use framewire::{
    Audience, Config, Decision, Handler, IncomingRequest, Message, Peer, Routes, Server,
};

/// What is done with a message.
#[derive(Clone, Copy)]
enum Work {
    Echo,
    Broadcast,
    Publish,
    PublishToRoute,
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
            Self::PublishToRoute => {
                peer.publish(Audience::route(peer.route()), message);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: perf_server PORT MODE [THREADS]")?.parse()?;
    let mode = arguments.next().unwrap_or_else(|| "echo".into());
    let threads: usize = arguments.next().unwrap_or_else(|| "1".into()).parse()?;
    let config = Config::new().max_message_size(64 << 20);
    let deflate = DeflateConfig::new();
    let each_by_itself =
        deflate.clone().server_no_context_takeover(true).client_no_context_takeover(true);
    let (config, work) = match mode.as_str() {
        "echo" => (config, Work::Echo),
        "bcast" => (config, Work::Broadcast),
        "publish" => (config, Work::Publish),
        "route" => (config, Work::PublishToRoute),
        "deflate" => (config.deflate(deflate), Work::Echo),
        "deflate-nct" => (config.deflate(each_by_itself), Work::Echo),
        "bcast-deflate-nct" => (config.deflate(each_by_itself), Work::Broadcast),
        other => return Err(format!("unknown mode {other:?}").into()),
    };
    let server = Server::bind(("127.0.0.1", port))?.config(config.clone());
    match threads {
        1 if matches!(work, Work::PublishToRoute) => {
            let routes = Routes::new().route("/few", config.clone(), work)?;
            server.run(routes.route("/crowd", config, work)?)?;
        }
        1 => server.run(work)?,
        threads => server.threads(threads)?.run(|_| work)?,
    }
    Ok(())
}
