use std::cell::RefCell;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use peer::{Mode, echo, serve};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

type Peers = Rc<RefCell<Vec<UnboundedSender<Message>>>>;

fn main() {
    let peers = Peers::default();
    serve(|stream, mode| {
        let peers = peers.clone();
        async move {
            if mode == Mode::Broadcast {
                broadcast(stream, peers).await;
            } else if let Ok(socket) = accept_async(stream).await {
                echo(socket, |message| message.is_text() || message.is_binary()).await;
            }
        }
    });
}

async fn broadcast(stream: TcpStream, peers: Peers) {
    let Ok(socket) = accept_async(stream).await else { return };
    let (mut writer, mut reader) = socket.split();
    let (sender, mut messages) = unbounded_channel::<Message>();
    peers.borrow_mut().push(sender);
    spawn_local(async move {
        while let Some(message) = messages.recv().await {
            if writer.feed(message).await.is_err() {
                return;
            }
            while let Ok(message) = messages.try_recv() {
                if writer.feed(message).await.is_err() {
                    return;
                }
            }
            if writer.flush().await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = reader.next().await {
        if message.is_text() || message.is_binary() {
            peers.borrow_mut().retain(|peer| peer.send(message.clone()).is_ok());
        }
    }
}
