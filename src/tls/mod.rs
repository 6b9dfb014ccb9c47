//! TLS by rustls: certificates, trusted roots, and the transport that a connection then runs over.

mod client;
mod error;
mod pem;
mod records;
mod room;
mod server;
mod server_name;
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
pub(crate) use server_name::served;
pub use session::TlsSession;
pub(crate) use socket::TlsSocket;
pub(crate) use stream::TlsStream;

/// The protocol that a WebSocket begins with, by its name in ALPN (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The other end of a connection, for tests in which bytes go from hand to hand.
#[cfg(test)]
pub(crate) mod in_memory {
    use std::io::{Read, Write};
    use std::sync::{Arc, OnceLock};

    use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

    use super::{TlsClient, TlsServer};

    /// Made by nobody, for "localhost", until 2120: a certificate with its key. All signatures of its kind, Ed25519, have
    /// one length, so that a session takes as many calls each time.
    pub(crate) const MADE: &str = include_str!("localhost.pem");

    /// Of a client and of a server that have this certificate.
    pub(crate) fn certificates() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        static CONFIGS: OnceLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = OnceLock::new();
        CONFIGS
            .get_or_init(|| {
                let client = TlsClient::with_roots_pem(MADE).unwrap();
                (client.into(), TlsServer::from_pem(MADE, MADE).unwrap().into())
            })
            .clone()
    }

    pub(crate) struct TlsEnd(rustls::Connection);

    impl TlsEnd {
        pub(crate) fn client() -> Self {
            let name = "localhost".try_into().unwrap();
            Self(ClientConnection::new(certificates().0, name).unwrap().into())
        }

        pub(crate) fn server() -> Self {
            Self(ServerConnection::new(certificates().1).unwrap().into())
        }

        /// What has come, decrypted.
        pub(crate) fn decrypt(&mut self, mut ciphertext: &[u8]) -> Vec<u8> {
            let mut plaintext = Vec::new();
            while !ciphertext.is_empty() && self.0.read_tls(&mut ciphertext).unwrap() > 0 {
                self.0.process_new_packets().unwrap();
                // The end, or that there is nothing more for now.
                let _ = self.0.reader().read_to_end(&mut plaintext);
            }
            plaintext
        }

        /// What is to go: this, encrypted, and what TLS has to say by itself.
        pub(crate) fn encrypt(&mut self, plaintext: &[u8], ends: bool) -> Vec<u8> {
            self.0.set_buffer_limit(None);
            self.0.writer().write_all(plaintext).unwrap();
            if ends {
                self.0.send_close_notify();
            }
            let mut ciphertext = Vec::new();
            while self.0.wants_write() {
                self.0.write_tls(&mut ciphertext).unwrap();
            }
            ciphertext
        }
    }
}
