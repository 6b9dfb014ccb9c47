//! Sends every message back: `echo_server [ADDR] [OPTIONS]`.

#[path = "../support/serving.rs"]
mod serving;

use std::error::Error;

use framewire::deflate::DeflateConfig;
use framewire::{Config, Server};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: echo_server [ADDR] [OPTIONS]
  ADDR                 where to listen, default 127.0.0.1:9001; port 0 lets the system choose
  --deflate            accept permessage-deflate
  --no-takeover        compress each message on its own, both ways; implies --deflate
  --max-message BYTES  the longest message, default 16777216
  --path PATH          serve this path only
  --subprotocol NAME   speak this subprotocol; may be repeated, the most wanted first
  --any-subprotocol    speak the first that the client offers, if it offers none of those";

fn main() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let mut config = Config::new();
    let mut deflate = None;
    let mut subprotocols = Vec::new();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("deflate") => deflate = deflate.or(Some(DeflateConfig::new())),
            Long("no-takeover") => {
                let each = DeflateConfig::new().server_no_context_takeover(true);
                deflate = Some(each.client_no_context_takeover(true));
            }
            Long("max-message") => config = config.max_message_size(arguments.value()?.parse()?),
            Long("path") => config = config.path(arguments.value()?.string()?),
            Long("subprotocol") => subprotocols.push(arguments.value()?.string()?),
            Long("any-subprotocol") => config = config.any_subprotocol(),
            Short('h') | Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    if let Some(deflate) = deflate {
        config = config.deflate(deflate);
    }
    let address = address.as_deref().unwrap_or("127.0.0.1:9001");
    let server = Server::bind(address)?.config(config.subprotocols(subprotocols));
    let event_loop = server
        .on_message(|peer, message| {
            peer.send(message);
        })
        .into_event_loop()?;
    serving::run("ws", event_loop)?;
    Ok(())
}
