use peer::{echo, serve};
use tokio_websockets::{Config, Limits, ServerBuilder};

fn main() {
    serve(|stream, _| async {
        // Its writes are batched only up to a threshold, which it leaves to its user.
        let config = Config::default().frame_size(usize::MAX).flush_threshold(64 * 1024);
        let server = ServerBuilder::new().config(config).limits(Limits::unlimited());
        if let Ok((_, socket)) = server.accept(stream).await {
            echo(socket, |message| message.is_text() || message.is_binary()).await;
        }
    });
}
