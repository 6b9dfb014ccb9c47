use futures_util::StreamExt;
use peer::{Mode, Peers, broadcast, echo, serve};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

fn main() {
    let peers = Peers::default();
    serve(|stream, mode| {
        let peers = peers.clone();
        async move {
            let Ok(socket) = accept_async(stream).await else { return };
            if mode == Mode::Broadcast {
                let (writer, reader) = socket.split();
                let reader = reader.filter_map(async |message| message.ok()).boxed_local();
                broadcast(writer, reader, peers, is_data).await;
            } else {
                echo(socket, is_data).await;
            }
        }
    });
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
