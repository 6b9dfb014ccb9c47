//! The server under test of a comparison: `perf_server PORT echo|deflate|deflate-nct|bcast`.

use std::error::Error;

use framewire::deflate::DeflateConfig;
use framewire::{Config, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: perf_server PORT MODE")?.parse()?;
    let mode = arguments.next().unwrap_or_else(|| "echo".into());
    let config = Config::new().max_message_size(64 << 20);
    let config = match mode.as_str() {
        "deflate" => config.deflate(DeflateConfig::new()),
        "deflate-nct" => config.deflate(
            DeflateConfig::new()
                .with_server_no_context_takeover(true)
                .with_client_no_context_takeover(true),
        ),
        "echo" | "bcast" => config,
        other => return Err(format!("unknown mode {other:?}").into()),
    };
    let server = Server::bind(("127.0.0.1", port))?.config(config);
    if mode == "bcast" {
        server.on_message(|peer, message| peer.broadcast(message))?.run()?;
    } else {
        server
            .on_message(|peer, message| {
                peer.send(message);
            })?
            .run()?;
    }
    Ok(())
}
