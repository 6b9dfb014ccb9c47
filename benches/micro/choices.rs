//! What a user's choices cost, in memory: the settings of compression, a broadcast, TLS. Prints tables:
//! `cargo bench -p framewire-benches --bench choices`.

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire::deflate::DeflateConfig;
use framewire::{Config, Endpoint, Prepared, Workspace};
use framewire_benches::{json, letters, open_endpoint};

fn main() -> Result<(), Box<dyn Error>> {
    // As the other benchmarks do: see that it works.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 1 } else { 31 };
    compression(rounds)?;
    broadcast(rounds);
    tls(rounds)
}

/// The median time of one of `count` things that `act` does together.
fn each(rounds: usize, count: usize, mut act: impl FnMut()) -> f64 {
    act();
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            act();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6 / count as f64
}

const TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const NO_TAKEOVER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";
const SMALL_WINDOW: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";

/// Connections that take turns with one workspace, as in a loop.
struct Room {
    endpoints: Vec<Endpoint>,
    workspace: Workspace,
}

impl Room {
    fn new(config: &Config, lines: &str, connections: usize) -> Self {
        let mut workspace = Workspace::new().for_many();
        let open = |_| open_endpoint(config, lines, &mut workspace);
        let endpoints = (0..connections).map(open).collect();
        Self { endpoints, workspace }
    }

    /// Has each connection do something in its turn; how much it has written.
    fn turn(&mut self, mut act: impl FnMut(&mut Endpoint, &mut Workspace)) -> usize {
        let mut written = 0;
        for endpoint in &mut self.endpoints {
            act(endpoint, &mut self.workspace);
            let length = endpoint.output().map(|chunk| black_box(chunk).len()).sum();
            endpoint.consume_output(length, &mut self.workspace);
            written += length;
        }
        written
    }
}

fn compression(rounds: usize) -> Result<(), Box<dyn Error>> {
    println!("Sending JSON, compressed (1 KiB a message, each another):\n");
    println!("| level | context | connections in turn | µs a message | bytes for one |");
    println!("|---|---|---|---|---|");
    // No connection sees one again while it remembers it: the number is prime.
    let messages: Vec<_> = (0..2003).map(|number| json(1024, number)).collect();
    for (context, lines) in [
        ("no takeover", NO_TAKEOVER),
        ("takeover", TAKEOVER),
        ("takeover, window 1 KiB", SMALL_WINDOW),
    ] {
        for level in [1, 6, 9] {
            for connections in [1, 500] {
                let deflate = DeflateConfig::new().threshold(0).level(level)?;
                let mut room = Room::new(&Config::new().deflate(deflate), lines, connections);
                let turns = 500 / connections;
                let (mut sent, mut written, mut next) = (0, 0, 0);
                let time = each(rounds.min(9), 500, || {
                    for _ in 0..turns {
                        written += room.turn(|endpoint, workspace| {
                            next = (next + 1) % messages.len();
                            endpoint.send(&messages[next][..], workspace).expect("it is open");
                        });
                        sent += 1024 * connections;
                    }
                });
                let ratio = written as f64 / sent as f64;
                println!("| {level} | {context} | {connections} | {time:.1} | {ratio:.3} |");
            }
        }
    }
    println!();
    Ok(())
}

fn broadcast(rounds: usize) {
    println!("One JSON message of 1 KiB to 1000 connections:\n");
    println!("| how | µs a delivery |");
    println!("|---|---|");
    let text = String::from_utf8(json(1024, 1)).expect("JSON is text");
    let deflate = Config::new().deflate(DeflateConfig::new().threshold(0));
    let kinds = [
        ("plain", Config::new(), ""),
        ("compressed, no takeover", deflate.clone(), NO_TAKEOVER),
        ("compressed, takeover", deflate, TAKEOVER),
    ];
    for (kind, config, lines) in kinds {
        let mut room = Room::new(&config, lines, 1000);
        let time = each(rounds.min(5), 1000, || {
            room.turn(|endpoint, workspace| {
                endpoint.send(text.as_str(), workspace).expect("it is open");
            });
        });
        println!("| {kind}, `send` to each | {time:.2} |");
        let time = each(rounds, 1000, || {
            let prepared = Prepared::new(text.as_str());
            room.turn(|endpoint, workspace| {
                endpoint.send_prepared(&prepared, workspace).expect("it is open");
            });
        });
        println!("| {kind}, `broadcast` | {time:.2} |");
    }
    println!();
}

fn tls(rounds: usize) -> Result<(), Box<dyn Error>> {
    println!("What TLS adds to a message, TLS 1.3 with AES-256-GCM by rustls and ring:\n");
    println!("| payload | µs to send | µs to receive |");
    println!("|---|---|---|");
    for length in [20, 1024, 16_384] {
        let (_, mut server) = shake_hands()?;
        let payload = letters(length);
        let mut room = vec![0; 2 * length + 1024];
        let count = 200;
        let mut records = Vec::new();
        let sending = each(rounds, count, || {
            for _ in 0..count {
                records.clear();
                server.writer().write_all(black_box(&payload)).expect("room");
                while server.wants_write() {
                    server.write_tls(&mut records).expect("a Vec takes it");
                }
            }
        });
        // Another connection: the client of the first has missed what was written.
        let (mut client, mut server) = shake_hands()?;
        let both = each(rounds, count, || {
            for _ in 0..count {
                records.clear();
                server.writer().write_all(&payload).expect("room");
                while server.wants_write() {
                    server.write_tls(&mut records).expect("a Vec takes it");
                }
                let mut input = &records[..];
                let mut read = 0;
                while read < length {
                    client.read_tls(&mut input).expect("a slice");
                    client.process_new_packets().expect("good records");
                    while let Ok(count) = client.reader().read(&mut room)
                        && count > 0
                    {
                        read += count;
                    }
                }
            }
        });
        println!("| {length} B | {sending:.2} | {:.2} |", both - sending);
    }
    Ok(())
}

type Ends = (rustls::ClientConnection, rustls::ServerConnection);

fn shake_hands() -> Result<Ends, Box<dyn Error>> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone())?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    let client =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(client), "localhost".try_into()?)?;
    let mut server = rustls::ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes)?;
        }
        let mut input = &bytes[..];
        while !input.is_empty() {
            server.read_tls(&mut input)?;
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes)?;
        }
        let mut input = &bytes[..];
        while !input.is_empty() {
            client.read_tls(&mut input)?;
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}
