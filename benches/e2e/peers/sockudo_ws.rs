use peer::{Mode, echo, open, serve};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::stream::CompressedWebSocketStream;
use sockudo_ws::{Compression, Config, Http1, Message};

fn main() {
    serve(|mut stream, mode| async move {
        let (compression, offer) = match mode {
            Mode::Deflate => (Compression::Dedicated, "permessage-deflate"),
            Mode::DeflateNoTakeover => (
                Compression::Shared,
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
            Mode::Echo | Mode::Broadcast => (Compression::Disabled, ""),
        };
        let config = Config::builder().compression(compression).build();
        if let Some(deflate) = compression.to_deflate_config() {
            let Some(agreed) = negotiate_server_deflate(offer, &deflate) else { return };
            if open(&mut stream, mode).await.is_some() {
                let socket = CompressedWebSocketStream::server(stream, config, agreed.config);
                echo(socket, is_data).await;
            }
        } else if let Ok((socket, _)) =
            WebSocketServer::<Http1>::new(config).accept_raw(stream).await
        {
            echo(socket, is_data).await;
        }
    });
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
