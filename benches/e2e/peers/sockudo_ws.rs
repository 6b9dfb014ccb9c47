use futures_util::StreamExt;
use peer::{Mode, Peers, broadcast, echo, open, serve};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::stream::CompressedWebSocketStream;
use sockudo_ws::{Compression, Config, Http1, Message};
use tokio::net::TcpStream;

fn main() {
    let peers = Peers::default();
    serve(|stream, mode| connection(stream, mode, peers.clone()));
}

async fn connection(mut stream: TcpStream, mode: Mode, peers: Peers<Message>) {
    let (compression, offer) = match mode {
        Mode::Deflate => (Compression::Dedicated, "permessage-deflate"),
        Mode::DeflateNoTakeover | Mode::BroadcastDeflate => (
            Compression::Shared,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        Mode::Echo | Mode::Broadcast | Mode::Tls => (Compression::Disabled, ""),
    };
    let config = Config::builder().compression(compression).build();
    if let Some(deflate) = compression.to_deflate_config() {
        let Some(agreed) = negotiate_server_deflate(offer, &deflate) else { return };
        if open(&mut stream, mode).await.is_some() {
            let socket = CompressedWebSocketStream::server(stream, config, agreed.config);
            if mode == Mode::BroadcastDeflate {
                let (writer, reader) = StreamExt::split(socket);
                let reader = reader.filter_map(async |message| message.ok()).boxed_local();
                broadcast(writer, reader, peers, is_data).await;
            } else {
                echo(socket, is_data).await;
            }
        }
    } else if let Ok((socket, _)) = WebSocketServer::<Http1>::new(config).accept_raw(stream).await {
        echo(socket, is_data).await;
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
