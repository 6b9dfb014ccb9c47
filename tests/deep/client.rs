//! The client of framewire for tests/deep/differential: it opens each URL of its standard input, sends every message back,
//! and tells in the end what came. The longest message is the argument.

use std::fmt::Write as _;
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::handshake::Url;
use framewire::{Client, ClientError, Config};

/// How long anything may take; far more than it needs, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let longest = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a length");
    let config = Config::new()
        .deflate(DeflateConfig::new().threshold(0))
        .max_message_size(longest)
        .handshake_timeout(PATIENCE)
        .close_timeout(PATIENCE)
        .ping_interval(None);
    for url in std::io::stdin().lines() {
        let (url, config) = (url.expect("a URL"), config.clone());
        std::thread::spawn(move || {
            let path = Url::parse(&url).expect("a URL").target().to_owned();
            // One line, as a whole.
            match listen(&url, config) {
                Ok(told) => println!("{path} {told}"),
                Err(error) => println!("{path} never open: {error}"),
            }
        });
    }
}

fn listen(url: &str, config: Config) -> Result<String, ClientError> {
    let builder = Client::builder(url)?.no_proxy().config(config).connect_timeout(PATIENCE);
    let mut client = builder.connect()?;
    let mut messages = String::new();
    while let Ok(Some(message)) = client.recv() {
        let (kind, bytes) = (if message.is_text() { "text" } else { "binary" }, message.as_bytes());
        let _ = write!(messages, " {kind}:{}:{}", bytes.len(), adler32(bytes));
        // What cannot be sent any more ends the connection, and that is heard of.
        if message.as_text() == Some("!close") {
            let _ = client.close(4001, "as told ✓");
        } else {
            let _ = client.send(message);
        }
    }
    let outcome = client.outcome().expect("it is over");
    let mut told = format!("{} reason:", u16::from(outcome.code()));
    for byte in outcome.reason().bytes() {
        let _ = write!(told, "{byte:02x}");
    }
    Ok(told + &messages)
}

/// The checksum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1, 0);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}
