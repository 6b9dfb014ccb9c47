use peer::{Mode, serve};
use tokio::net::TcpStream;
use wtx::collection::Vector;
use wtx::web_socket::compression::Flate2;
use wtx::web_socket::{
    Compression, DeflateConfig, OpCode, WebSocketAcceptor, WebSocketPayloadOrigin,
};

fn main() {
    serve(|stream, mode| async move {
        // A peer that goes away is an error, too.
        let _ = match mode {
            Mode::Echo => echo(stream, ()).await,
            _ => echo(stream, Flate2::from(DeflateConfig::default())).await,
        };
    });
}

async fn echo<C: Compression<false>>(stream: TcpStream, compression: C) -> wtx::Result<()> {
    let acceptor = WebSocketAcceptor::default().compression(compression).no_masking(false);
    let mut socket = acceptor.accept(stream).await?;
    let (mut common, mut reader, mut writer) = socket.split_mut();
    let mut buffer = Vector::new();
    loop {
        let origin = WebSocketPayloadOrigin::Adaptive;
        let mut frame = reader.read_frame(&mut buffer, &mut common, origin).await?;
        match frame.op_code() {
            OpCode::Binary | OpCode::Text => writer.write_frame(&mut common, &mut frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}
