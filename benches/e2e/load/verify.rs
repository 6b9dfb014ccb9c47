use std::error::Error;
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::{Client, Config, Message};

use tungstenite::Message as PeersMessage;

use crate::frames::payloads;
use crate::scenario::{Content, Scenario};
use crate::stream;

/// Sends each message once, and compares what comes back: a server that answers faster because it does
/// less is found here.
pub(crate) fn verify(scenario: &Scenario, port: u16) -> Result<(), Box<dyn Error>> {
    if scenario.is_tls() {
        return verify_over_tls(scenario, port);
    }
    let deflate = DeflateConfig::new().threshold(0);
    let config = Config::new().max_message_size(64 << 20);
    let config = match scenario.mode {
        "deflate" => config.deflate(deflate),
        "deflate-nct" | "bcast-deflate-nct" => config
            .deflate(deflate.server_no_context_takeover(true).client_no_context_takeover(true)),
        _ => config.no_deflate(),
    };
    let builder = Client::builder(&format!("ws://127.0.0.1:{port}{}", scenario.path(0)))?;
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

/// The same by tungstenite, over the stream of the load.
fn verify_over_tls(scenario: &Scenario, port: u16) -> Result<(), Box<dyn Error>> {
    let stream = stream::open_tls(port, stream::trusting())?;
    let (mut client, _) = tungstenite::client("wss://localhost/chat", stream)?;
    for payload in payloads(scenario) {
        let message = PeersMessage::binary(payload);
        client.send(message.clone())?;
        if client.read()? != message {
            return Err("an answer is not what was sent".into());
        }
    }
    Ok(client.close(None)?)
}
