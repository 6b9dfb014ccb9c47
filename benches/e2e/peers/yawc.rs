use futures_util::{FutureExt, SinkExt, StreamExt};
use peer::{Mode, open, serve};
use yawc::{OpCode, Options, Role, WebSocket};

fn main() {
    serve(|mut stream, mode| async move {
        let options = Options::default().with_utf8().with_limits(16 << 20, 64 << 20);
        let (options, agreed) = match mode {
            Mode::Echo | Mode::Broadcast => (options.without_compression(), None),
            Mode::Deflate => (options.with_balanced_compression(), Some("permessage-deflate")),
            Mode::DeflateNoTakeover => (
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
        while let Some(mut frame) = socket.next().await {
            loop {
                let is_data = matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
                if is_data && socket.feed(frame).await.is_err() {
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
    });
}
