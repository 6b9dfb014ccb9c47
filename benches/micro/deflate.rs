//! Compression of JSON, beside the bare codec that it stands on:
//! `cargo bench -p framewire-benches --bench deflate`.

use divan::{Bencher, black_box};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use framewire::deflate::DeflateConfig;
use framewire::wire::Opcode;
use framewire::{Config, Connection, Event};
use framewire_benches::{frame, json, open_server};

fn main() {
    divan::main();
}

const LENGTHS: [usize; 2] = [1024, 16_384];
const TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const NO_TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";

fn connection(offer: &str) -> Connection {
    let config = Config::new().deflate(DeflateConfig::new().threshold(0));
    open_server(&config, offer)
}

/// Messages, each different, over and over.
struct Conversation {
    messages: Vec<Vec<u8>>,
    turn: usize,
}

impl Conversation {
    fn of_json(length: usize) -> Self {
        Self { messages: (0..64).map(|number| json(length, number)).collect(), turn: 0 }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        self.turn = (self.turn + 1) % self.messages.len();
        &mut self.messages[self.turn]
    }
}

mod compress {
    use super::*;

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn framewire_takeover(bencher: Bencher<'_, '_>, length: usize) {
        send(bencher, TAKEOVER, length);
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn framewire_no_takeover(bencher: Bencher<'_, '_>, length: usize) {
        send(bencher, NO_TAKEOVER, length);
    }

    fn send(bencher: Bencher<'_, '_>, offer: &str, length: usize) {
        let (mut connection, mut conversation) = (connection(offer), Conversation::of_json(length));
        bencher.bench_local(|| {
            connection.send(&conversation.next()[..]).expect("it is open");
            let written = connection.output().map(|chunk| black_box(chunk).len()).sum();
            connection.consume_output(written);
        });
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn flate2_takeover(bencher: Bencher<'_, '_>, length: usize) {
        deflate(bencher, length, false);
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn flate2_no_takeover(bencher: Bencher<'_, '_>, length: usize) {
        deflate(bencher, length, true);
    }

    fn deflate(bencher: Bencher<'_, '_>, length: usize, reset: bool) {
        // The level that framewire has by default.
        let level = Compression::new(6);
        let mut codec = Compress::new(level, false);
        let mut conversation = Conversation::of_json(length);
        let mut output = Vec::with_capacity(2 * length);
        bencher.bench_local(|| {
            output.clear();
            codec
                .compress_vec(conversation.next(), &mut output, FlushCompress::Sync)
                .expect("room enough");
            if reset {
                codec.reset();
            }
            black_box(output.len())
        });
    }
}

mod decompress {
    use super::*;

    /// What a client would send, compressed message by message: no message refers to another.
    fn compressed(length: usize) -> Conversation {
        let mut conversation = Conversation::of_json(length);
        for message in &mut conversation.messages {
            let mut codec = Compress::new(Compression::default(), false);
            let mut output = Vec::with_capacity(2 * length);
            codec.compress_vec(message, &mut output, FlushCompress::Sync).expect("room enough");
            *message = output;
        }
        conversation
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn framewire_takeover(bencher: Bencher<'_, '_>, length: usize) {
        receive(bencher, TAKEOVER, length);
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn framewire_no_takeover(bencher: Bencher<'_, '_>, length: usize) {
        receive(bencher, NO_TAKEOVER, length);
    }

    fn receive(bencher: Bencher<'_, '_>, offer: &str, length: usize) {
        let mut conversation = compressed(length);
        for message in &mut conversation.messages {
            let end = message.len() - 4;
            *message = frame(Opcode::Binary, &message[..end], [0; 4]);
            message[0] |= 0x40;
        }
        let mut connection = connection(offer);
        bencher.bench_local(|| {
            let mut input = &mut conversation.next()[..];
            let Some(Event::Message(message)) = connection.receive(&mut input) else {
                panic!("no message")
            };
            assert_eq!(black_box(message).len(), length);
        });
    }

    #[divan::bench(args = LENGTHS, sample_size = 64, max_time = 1)]
    fn flate2_no_takeover(bencher: Bencher<'_, '_>, length: usize) {
        let mut conversation = compressed(length);
        let mut codec = Decompress::new(false);
        let mut output = Vec::with_capacity(length + 64);
        bencher.bench_local(|| {
            output.clear();
            codec
                .decompress_vec(conversation.next(), &mut output, FlushDecompress::Sync)
                .expect("what was compressed");
            codec.reset(false);
            assert_eq!(black_box(&output).len(), length);
        });
    }
}
