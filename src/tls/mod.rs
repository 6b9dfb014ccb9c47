//! TLS by rustls: certificates, trusted roots, and the transport that a connection then runs over.

mod client;
mod error;
mod pem;
mod server;
mod session;
mod socket;
mod stream;
mod tickets;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use client::TlsClient;
pub(crate) use client::default_config;
pub use error::TlsError;
pub use server::TlsServer;
pub use session::TlsSession;
pub(crate) use socket::TlsSocket;
pub(crate) use stream::TlsStream;

/// The protocol that a WebSocket begins with, by its name in ALPN (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
