//! The name that a client has asked a server for (SNI), which the unbuffered connections of rustls do not tell.

use std::cell::Cell;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// What the ClientHello said that this thread has read last.
    static ASKED_FOR: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The same configuration for connections whose [`noting`] hears the name. Made once, not for each connection.
///
/// Nor is early data (RFC 8446 section 2.3) taken, which may be a replay, and which nothing here would read.
pub(crate) fn served(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(Noting(config.cert_resolver));
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// What this does, and the name that a client has asked for in a ClientHello that was processed meanwhile.
pub(super) fn noting<T>(process: impl FnOnce() -> T) -> (T, Option<Box<str>>) {
    let take = || ASKED_FOR.try_with(Cell::take).unwrap_or_default();
    take();
    let result = process();
    (result, take())
}

/// Is asked for a certificate in every handshake, that of a session which is resumed among them, and passes that on.
#[derive(Debug)]
struct Noting(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let _ = ASKED_FOR.try_with(|asked_for| asked_for.set(hello.server_name().map(Box::from)));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
