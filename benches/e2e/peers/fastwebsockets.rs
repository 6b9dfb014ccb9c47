use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use peer::{open, serve};

fn main() {
    serve(|mut stream, mode| async move {
        if open(&mut stream, mode).await.is_none() {
            return;
        }
        let mut socket = WebSocket::after_handshake(stream, Role::Server);
        socket.set_writev(true);
        socket.set_max_message_size(64 << 20);
        let mut socket = FragmentCollector::new(socket);
        while let Ok(frame) = socket.read_frame().await {
            match frame.opcode {
                OpCode::Text | OpCode::Binary => {
                    if socket.write_frame(frame).await.is_err() {
                        return;
                    }
                }
                OpCode::Close => return,
                _ => {}
            }
        }
    });
}
