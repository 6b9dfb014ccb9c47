//! What the Rust peers share: the settings that `tests/interop/run` gives, and the conversation.

use std::error::Error;
use std::path::PathBuf;

use framewire::deflate::DeflateConfig;
use framewire::{Config, TlsClient, TlsServer};
use serde_json::Value;

pub type Failure = Box<dyn Error + Send + Sync>;

pub const SUBPROTOCOL: &str = "v1.interop";
pub const OFFERED: [&str; 2] = ["v9.other", SUBPROTOCOL];
/// What each side closes with.
pub const CLIENT_CLOSE: (u16, &str) = (4001, "the client is done ✓");
pub const SERVER_CLOSE: (u16, &str) = (4002, "the server is done ✓");
pub const CLIENT_PING: &[u8] = b"from the client\0\xff";
pub const SERVER_PING: &[u8] = b"from the server";

/// The settings: the one argument, in JSON.
pub struct Settings(Value);

impl Settings {
    pub fn from_argument() -> Result<Self, Failure> {
        let json = std::env::args().nth(1).ok_or("usage: PEER SETTINGS")?;
        Ok(Self(serde_json::from_str(&json)?))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0[name].as_str()
    }

    pub fn url(&self) -> Result<&str, Failure> {
        self.text("url").ok_or_else(|| "no url".into())
    }

    /// framewire's configuration.
    pub fn config(&self) -> Result<Config, Failure> {
        let deflate = &self.0["deflate"];
        if deflate.is_null() {
            return Ok(Config::new().no_deflate());
        }
        let mut config = DeflateConfig::new()
            .threshold(0)
            .server_no_context_takeover(deflate["server_no_context_takeover"] == true)
            .client_no_context_takeover(deflate["client_no_context_takeover"] == true);
        if let Some(bits) = deflate["server_max_window_bits"].as_u64() {
            config = config.server_max_window_bits(bits.try_into()?)?;
        }
        if let Some(bits) = deflate["client_max_window_bits"].as_u64() {
            config = config.client_max_window_bits(bits.try_into()?)?;
        }
        Ok(Config::new().deflate(config))
    }

    pub fn tls_server(&self) -> Result<Option<TlsServer>, Failure> {
        let (Some(certificate), Some(key)) = (self.text("certificate"), self.text("key")) else {
            return Ok(None);
        };
        Ok(Some(TlsServer::from_pem_files(certificate, key)?))
    }

    pub fn tls_client(&self) -> Result<Option<TlsClient>, Failure> {
        Ok(self.text("certificate").map(TlsClient::with_roots_pem_file).transpose()?)
    }

    /// What the client says, in this order.
    pub fn lines(&self) -> Result<Vec<Line>, Failure> {
        let folder = self.text("messages").ok_or("no messages")?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        paths.sort();
        let line = |path: PathBuf| {
            let name = path.to_string_lossy();
            let (text, pieces) = (name.ends_with(".text"), name.contains(".pieces."));
            Ok(Line { text, pieces, payload: std::fs::read(&path)? })
        };
        paths.into_iter().map(line).collect()
    }
}

/// A message of the conversation.
pub struct Line {
    pub text: bool,
    /// Sent and echoed in pieces.
    pub pieces: bool,
    pub payload: Vec<u8>,
}

/// Three pieces of a message, one of them empty; texts are cut inside a code point.
pub fn pieces(payload: &[u8]) -> [&[u8]; 3] {
    let (first, last) = payload.split_at(payload.len() / 3);
    [first, b"", last]
}

/// The messages that are in flight at once.
pub fn burst() -> impl Iterator<Item = String> {
    (0..50).map(|i| format!("{i} in flight ").repeat(i * 3))
}

/// A server's report of a connection that ended.
pub fn report_end(code: u16, reason: &str) {
    println!("{}", serde_json::json!({ "code": code, "reason": reason }));
}

/// A client's report.
pub fn report(subprotocol: Option<&str>, extensions: Option<&str>, code: u16, reason: &str) {
    println!(
        "{}",
        serde_json::json!({
            "subprotocol": subprotocol, "extensions": extensions, "code": code, "reason": reason,
        })
    );
}
