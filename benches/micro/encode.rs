//! Sending a binary message as a server, with its write, beside the peers:
//! `cargo bench -p framewire-benches --bench encode`. The write takes everything and does nothing.

mod tape;

use divan::{Bencher, black_box};
use framewire_benches::letters;
use tape::{LENGTHS, Tape, now};

fn main() {
    divan::main();
}

mod server {
    use super::*;

    #[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
    fn framewire(bencher: Bencher<'_, '_>, length: usize) {
        let connection = framewire_benches::open_server(&framewire::Config::new(), "");
        send(bencher, connection, length);
    }

    #[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
    fn tungstenite(bencher: Bencher<'_, '_>, length: usize) {
        use tungstenite::protocol::{Role, WebSocket};
        use tungstenite::{Bytes, Message};
        let mut socket = WebSocket::from_raw_socket(Tape::new(20), Role::Server, None);
        let payload = Bytes::from(letters(length));
        bencher.bench_local(|| {
            socket.send(Message::Binary(black_box(&payload).clone())).expect("a tape takes it");
        });
    }

    #[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
    fn fastwebsockets(bencher: Bencher<'_, '_>, length: usize) {
        use fastwebsockets::{Frame, Role, WebSocket};
        let mut socket = WebSocket::after_handshake(Tape::new(20), Role::Server);
        let payload = letters(length);
        bencher.bench_local(|| {
            let frame = Frame::binary(black_box(&payload[..]).into());
            now(socket.write_frame(frame)).expect("a tape takes it");
        });
    }

    #[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
    fn tokio_websockets(bencher: Bencher<'_, '_>, length: usize) {
        use futures_util::SinkExt;
        use tokio_websockets::{Message, Payload, ServerBuilder};
        let mut socket = ServerBuilder::new().serve(Tape::new(20));
        let payload = Payload::from(letters(length));
        bencher.bench_local(|| {
            let message = Message::binary(black_box(&payload).clone());
            now(socket.send(message)).expect("a tape takes it");
        });
    }

    #[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
    fn web_socket(bencher: Bencher<'_, '_>, length: usize) {
        let mut socket = web_socket::WebSocket::server(Tape::new(20));
        let payload = letters(length);
        bencher.bench_local(|| {
            now(socket.send(black_box(&payload[..]))).expect("a tape takes it");
        });
    }
}

/// With masking, whose keys here cost nothing to draw.
#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn client(bencher: Bencher<'_, '_>, length: usize) {
    send(bencher, framewire_benches::open_client(&framewire::Config::new()), length);
}

fn send(bencher: Bencher<'_, '_>, mut connection: framewire::Connection, length: usize) {
    let payload = letters(length);
    bencher.bench_local(|| {
        connection.send(black_box(&payload[..])).expect("it is open");
        let written = connection.output().map(|chunk| black_box(chunk).len()).sum();
        connection.consume_output(written);
    });
}
