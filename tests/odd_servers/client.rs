//! The client of framewire for tests/odd_servers/run: what came of each URL, a line each.

use std::time::Duration;

use framewire::{Client, ClientError, Config};

const PATIENCE: Duration = Duration::from_secs(3);

fn main() {
    for url in std::env::args().skip(1) {
        println!("{}", outcome(&url));
    }
}

fn outcome(url: &str) -> String {
    match connect(url) {
        Ok(mut client) => match client.recv() {
            Ok(Some(message)) => format!("open, {}", message.as_text().unwrap_or("binary")),
            Ok(None) => "open, closed".to_owned(),
            Err(_) => "open, lost".to_owned(),
        },
        Err(error) => match error.status() {
            Some(status) => status.to_string(),
            None => "fails".to_owned(),
        },
    }
}

fn connect(url: &str) -> Result<Client, ClientError> {
    let builder = Client::builder(url)?.subprotocols(["chat"])?.no_proxy();
    let config = Config::new().handshake_timeout(PATIENCE);
    let mut client = builder.config(config).connect_timeout(PATIENCE).connect()?;
    client.set_read_timeout(Some(PATIENCE));
    Ok(client)
}
