use peer::{open, serve};
use tokio::io::{BufReader, BufWriter};
use web_socket::{DataType, Event, MessageType, WebSocket};

const ROOM: usize = 64 * 1024;

fn main() {
    serve(|mut stream, mode| async move {
        if open(&mut stream, mode).await.is_none() {
            return;
        }
        let stream = BufReader::with_capacity(ROOM, BufWriter::with_capacity(ROOM, stream));
        let mut socket = WebSocket::server(stream);
        while let Ok(event) = socket.recv().await {
            let sent = match event {
                Event::Data { data, ty: DataType::Complete(MessageType::Binary) } => {
                    socket.send(&*data).await
                }
                // It leaves the validation of text to its user.
                Event::Data { data, .. } => match std::str::from_utf8(&data) {
                    Ok(text) => socket.send(text).await,
                    Err(_) => return,
                },
                Event::Ping(payload) => socket.send_pong(payload).await,
                Event::Pong(_) => Ok(()),
                _ => return,
            };
            if sent.is_err() || socket.stream.buffer().is_empty() && socket.flash().await.is_err() {
                return;
            }
        }
    });
}
