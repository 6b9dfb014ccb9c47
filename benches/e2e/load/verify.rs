use std::error::Error;
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::{Client, Config, Message};

use crate::frames::payloads;
use crate::scenario::{Content, Scenario};

/// Sends each message once, and compares what comes back: a server that answers faster because it does
/// less is found here.
pub(crate) fn verify(scenario: &Scenario, port: u16) -> Result<(), Box<dyn Error>> {
    let deflate = DeflateConfig::new().threshold(0);
    let config = Config::new().max_message_size(64 << 20);
    let config = match scenario.mode {
        "deflate" => config.deflate(deflate),
        "deflate-nct" => config
            .deflate(deflate.server_no_context_takeover(true).client_no_context_takeover(true)),
        _ => config.no_deflate(),
    };
    let builder = Client::builder(&format!("ws://127.0.0.1:{port}/"))?;
    let mut client = builder.config(config).connect()?;
    client.set_read_timeout(Some(Duration::from_secs(10)));
    if client.deflate().is_some() != scenario.extensions().is_some() {
        return Err("compression was not agreed on as it should".into());
    }
    for payload in payloads(scenario) {
        let message = match scenario.content {
            Content::Binary => Message::from(&payload[..]),
            _ => Message::from(std::str::from_utf8(&payload)?),
        };
        client.send(message.clone())?;
        if client.recv()?.as_ref() != Some(&message) {
            return Err("an answer is not what was sent".into());
        }
    }
    client.close(1000, "")?;
    Ok(())
}
