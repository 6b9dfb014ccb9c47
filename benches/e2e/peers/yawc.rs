use futures_util::{FutureExt, SinkExt, StreamExt};
use peer::{Mode, Peers, broadcast, open, serve};
use tokio::net::TcpStream;
use yawc::{Frame, OpCode, Options, Role, WebSocket};

fn main() {
    let peers = Peers::default();
    serve(|stream, mode| connection(stream, mode, peers.clone()));
}

async fn connection(mut stream: TcpStream, mode: Mode, peers: Peers<Frame>) {
    let options = Options::default().with_utf8().with_limits(16 << 20, 64 << 20);
    let (options, agreed) = match mode {
        Mode::Echo | Mode::Broadcast | Mode::Tls => (options.without_compression(), None),
        Mode::Deflate => (options.with_balanced_compression(), Some("permessage-deflate")),
        Mode::DeflateNoTakeover | Mode::BroadcastDeflate => (
            options
                .with_balanced_compression()
                .server_no_context_takeover()
                .client_no_context_takeover(),
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
    };
    if open(&mut stream, mode).await.is_none() {
        return;
    }
    let socket = WebSocket::from_stream_with_extensions(stream, Role::Server, agreed, options);
    let Ok(mut socket) = socket else { return };
    if mode == Mode::BroadcastDeflate {
        let (writer, reader) = socket.split();
        return broadcast(writer, reader, peers, is_data).await;
    }
    while let Some(mut frame) = socket.next().await {
        loop {
            if is_data(&frame) && socket.feed(frame).await.is_err() {
                return;
            }
            match socket.next().now_or_never() {
                Some(Some(next)) => frame = next,
                Some(None) => return,
                None => break,
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

fn is_data(frame: &Frame) -> bool {
    matches!(frame.opcode(), OpCode::Text | OpCode::Binary)
}
