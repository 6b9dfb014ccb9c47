//! The engine by itself, in memory.

use std::hint::black_box;

use framewire::deflate::DeflateConfig;
use framewire::wire::Opcode;
use framewire::{Accept, Config, Connection, Endpoint, Event, Message, Prepared, Workspace};
use framewire_benches::{
    Stream, frame, json, letters, non_ascii, open_client, open_endpoint, open_server, request,
};

use super::Scenario;

macro_rules! scenarios {
    ($($name:literal, $rounds:literal: $run:expr;)*) => {
        &[$(Scenario { name: $name, rounds: $rounds, run: $run }),*]
    };
}

pub(super) const SCENARIOS: &[Scenario] = scenarios![
    "decode-20", 500: |rounds| decode(Stream::new(Opcode::Binary, &letters(20), 32), rounds);
    "decode-125", 500: |rounds| decode(Stream::new(Opcode::Binary, &letters(125), 32), rounds);
    "decode-1k", 300: |rounds| decode(Stream::new(Opcode::Binary, &letters(1024), 32), rounds);
    "decode-16k", 100: |rounds| decode(Stream::new(Opcode::Binary, &letters(16_384), 8), rounds);
    "decode-text-20", 500: |rounds| decode(Stream::new(Opcode::Text, &letters(20), 32), rounds);
    "decode-text-1k", 300: |rounds| decode(Stream::new(Opcode::Text, &letters(1024), 32), rounds);
    "decode-non-ascii-1k", 200:
        |rounds| decode(Stream::unchanging(Opcode::Text, &non_ascii(1024), 32), rounds);
    "decode-cut-1k", 200: decode_cut;
    "echo-20", 500: |rounds| echo(20, 32, rounds);
    "echo-1k", 300: |rounds| echo(1024, 32, rounds);
    "echo-16k", 100: |rounds| echo(16_384, 4, rounds);
    "encode-20", 500: |rounds| encode(open_server(&Config::new(), ""), 20, rounds);
    "encode-1k", 300: |rounds| encode(open_server(&Config::new(), ""), 1024, rounds);
    "encode-client-20", 500: |rounds| encode(open_client(&Config::new()), 20, rounds);
    "encode-client-1k", 300: |rounds| encode(open_client(&Config::new()), 1024, rounds);
    "broadcast-128", 200: broadcast;
    "handshake", 300: handshake;
    "deflate-1k", 20: |rounds| deflate(false, rounds);
    "deflate-takeover-1k", 20: |rounds| deflate(true, rounds);
    "inflate-1k", 20: |rounds| inflate(false, rounds);
    "inflate-takeover-1k", 20: |rounds| inflate(true, rounds);
];

fn decode(mut stream: Stream, rounds: usize) -> usize {
    let mut connection = open_server(&Config::new(), "");
    let mut messages = 0;
    for _ in 0..rounds {
        let mut input = &mut stream.bytes[..];
        while let Some(event) = connection.receive(&mut input) {
            messages += usize::from(matches!(black_box(&event), Event::Message(_)));
        }
    }
    assert_eq!(messages, rounds * stream.frames);
    messages
}

/// Reads that end inside a frame.
fn decode_cut(rounds: usize) -> usize {
    let mut stream = Stream::unchanging(Opcode::Binary, &letters(1024), 7);
    let mut connection = open_server(&Config::new(), "");
    let mut messages = 0;
    for _ in 0..rounds {
        for mut input in stream.bytes.chunks_mut(1460) {
            while let Some(event) = connection.receive(&mut input) {
                messages += usize::from(matches!(black_box(&event), Event::Message(_)));
            }
        }
    }
    assert_eq!(messages, rounds * stream.frames);
    messages
}

fn echo(length: usize, batch: usize, rounds: usize) -> usize {
    let mut stream = Stream::new(Opcode::Binary, &letters(length), batch);
    let mut connection = open_server(&Config::new(), "");
    let mut messages = 0;
    for _ in 0..rounds {
        let mut input = &mut stream.bytes[..];
        while let Some(event) = connection.receive(&mut input) {
            if let Event::Message(message) = event {
                connection.send(message).expect("open");
                messages += 1;
            }
        }
        write(&mut connection);
    }
    assert_eq!(messages, rounds * batch);
    messages
}

fn encode(mut connection: Connection, length: usize, rounds: usize) -> usize {
    let payload = letters(length);
    for _ in 0..rounds {
        for _ in 0..32 {
            connection.send(black_box(&payload[..])).expect("open");
        }
        write(&mut connection);
    }
    rounds * 32
}

/// What a socket that takes everything would do.
fn write(connection: &mut Connection) {
    let mut length = 0;
    for chunk in connection.output() {
        length += black_box(chunk).len();
    }
    connection.consume_output(length);
}

fn write_shared(endpoint: &mut Endpoint, workspace: &mut Workspace) {
    let mut length = 0;
    for chunk in endpoint.output() {
        length += black_box(chunk).len();
    }
    endpoint.consume_output(length, workspace);
}

/// One message to many connections, which take turns with one workspace.
fn broadcast(rounds: usize) -> usize {
    let text = String::from_utf8(letters(128)).expect("ASCII");
    let mut workspace = Workspace::new().for_many();
    let mut peers: Vec<_> =
        (0..64).map(|_| open_endpoint(&Config::new(), "", &mut workspace)).collect();
    for _ in 0..rounds {
        let prepared = Prepared::new(text.as_str());
        for peer in &mut peers {
            peer.send_prepared(&prepared, &mut workspace).expect("open");
            write_shared(peer, &mut workspace);
        }
    }
    rounds * peers.len()
}

/// A connection from the request to the answer.
fn handshake(rounds: usize) -> usize {
    let config = Config::new();
    let mut workspace = Workspace::new().for_many();
    let mut head = request("Origin: https://example.com\r\nUser-Agent: Mozilla/5.0\r\n");
    for _ in 0..rounds {
        let mut endpoint = Endpoint::server(&config);
        let mut input = &mut head[..];
        let event = endpoint.receive(&mut input, &mut workspace);
        assert!(matches!(event, Some(Event::Request(_))));
        endpoint.accept(Accept::new(), &mut workspace).expect("a connection that asked");
        write_shared(&mut endpoint, &mut workspace);
    }
    rounds
}

const NO_TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";
const TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

fn with_deflate(takeover: bool) -> Connection {
    let config = Config::new().deflate(DeflateConfig::new().threshold(0));
    open_server(&config, if takeover { TAKEOVER } else { NO_TAKEOVER })
}

/// Different messages, as a conversation has them.
fn conversation() -> Vec<Vec<u8>> {
    (0..16).map(|number| json(1024, number)).collect()
}

fn deflate(takeover: bool, rounds: usize) -> usize {
    let (mut connection, messages) = (with_deflate(takeover), conversation());
    for _ in 0..rounds {
        for message in &messages {
            let text = std::str::from_utf8(message).expect("JSON");
            connection.send(text).expect("open");
            write(&mut connection);
        }
    }
    rounds * messages.len()
}

fn inflate(takeover: bool, rounds: usize) -> usize {
    // What another server compresses, masked.
    let mut sender = with_deflate(takeover);
    let mut frames = Vec::new();
    for message in conversation() {
        sender.send(Message::from(&message[..])).expect("open");
        let bytes = sender.output().flatten().copied().collect::<Vec<_>>();
        sender.consume_output(bytes.len());
        // The sender's frames have headers of two or four bytes.
        let header = if bytes[1] < 126 { 2 } else { 4 };
        let mut masked = frame(Opcode::Binary, &bytes[header..], [0; 4]);
        masked[0] = bytes[0];
        frames.push(masked);
    }
    let mut connection = with_deflate(takeover);
    let mut messages = 0;
    for _ in 0..rounds {
        for frame in &mut frames {
            let mut input = &mut frame[..];
            while let Some(event) = connection.receive(&mut input) {
                let Event::Message(message) = black_box(event) else { panic!("no message") };
                assert_eq!(message.len(), 1024);
                messages += 1;
            }
        }
    }
    assert_eq!(messages, rounds * frames.len());
    messages
}
