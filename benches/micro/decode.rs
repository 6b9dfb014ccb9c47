//! Receiving a stream of masked frames, a frame an iteration, beside the peers:
//! `cargo bench -p framewire-benches --bench decode`.
//!
//! Everybody gets the same bytes, reads them by his own means from memory into his own buffer, of the size
//! that he himself chooses (64 KiB where the choice is the user's), and gives out whole messages or frames
//! as he does to his users.

mod tape;

use divan::{Bencher, black_box};
use tape::{LENGTHS, Tape, now};

fn main() {
    divan::main();
}

const ROOM: usize = 64 * 1024;

#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn framewire(bencher: Bencher<'_, '_>, length: usize) {
    use framewire::{Config, Connection, Event};
    let mut connection = Connection::adopted_server(&Config::new());
    let mut tape = Tape::new(length);
    let mut buffer = vec![0; ROOM];
    let (mut start, mut end) = (0, 0);
    bencher.bench_local(|| {
        loop {
            let mut input = &mut buffer[start..end];
            if let Some(event) = connection.receive(&mut input) {
                let Event::Message(message) = event else { panic!("no message") };
                assert_eq!(black_box(&message).len(), length);
                start = end - input.len();
                return;
            }
            // The rest of a long message goes straight where it belongs.
            let direct = connection.receive_direct(|message, missing| {
                message.append(tape.next(missing));
            });
            match direct {
                Some(((), None)) => {}
                Some(((), Some(event))) => {
                    let Event::Message(message) = event else { panic!("no message") };
                    assert_eq!(black_box(&message).len(), length);
                    (start, end) = (0, 0);
                    return;
                }
                None => {
                    let bytes = tape.next(ROOM);
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    (start, end) = (0, bytes.len());
                }
            }
        }
    });
}

#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn tungstenite(bencher: Bencher<'_, '_>, length: usize) {
    use tungstenite::protocol::{Role, WebSocket};
    let mut socket = WebSocket::from_raw_socket(Tape::new(length), Role::Server, None);
    bencher.bench_local(|| {
        let message = socket.read().expect("a message");
        assert_eq!(black_box(&message).len(), length);
    });
}

#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn fastwebsockets(bencher: Bencher<'_, '_>, length: usize) {
    use fastwebsockets::{Role, WebSocket};
    let mut socket = WebSocket::after_handshake(Tape::new(length), Role::Server);
    bencher.bench_local(|| {
        let frame = now(socket.read_frame()).expect("a frame");
        assert_eq!(black_box(&frame).payload.len(), length);
    });
}

#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn tokio_websockets(bencher: Bencher<'_, '_>, length: usize) {
    use futures_util::StreamExt;
    use tokio_websockets::ServerBuilder;
    let mut socket = ServerBuilder::new().serve(Tape::new(length));
    bencher.bench_local(|| {
        let message = now(socket.next()).expect("no end").expect("a message");
        assert_eq!(black_box(&message).as_payload().len(), length);
    });
}

#[divan::bench(args = LENGTHS, sample_size = 500, max_time = 1)]
fn web_socket(bencher: Bencher<'_, '_>, length: usize) {
    use tokio::io::BufReader;
    use web_socket::{Event, WebSocket};
    let mut socket = WebSocket::server(BufReader::with_capacity(ROOM, Tape::new(length)));
    bencher.bench_local(|| {
        let event = now(socket.recv()).expect("an event");
        let Event::Data { data, .. } = black_box(event) else { panic!("no message") };
        assert_eq!(data.len(), length);
    });
}
