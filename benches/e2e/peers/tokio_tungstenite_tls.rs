//! tokio-tungstenite over tokio-rustls, with what rustls does of itself.

use std::sync::Arc;

use peer::{echo, serve};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

fn main() {
    let acceptor = TlsAcceptor::from(Arc::new(peer::tls_config()));
    serve(|stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if let Ok(socket) = accept_async(stream).await {
                echo(socket, |message| message.is_text() || message.is_binary()).await;
            }
        }
    });
}
