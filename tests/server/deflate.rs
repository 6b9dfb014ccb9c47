//! permessage-deflate in the loop, where all connections share one codec.

use flate2::{Decompress, FlushDecompress};
use framewire::deflate::DeflateConfig;
use framewire::{Accept, Compress, Config, Decision};

use crate::client::{Client, Engine, TEXT, frame, frame_with, request_with};
use crate::house::{Call, House, Spy};
use crate::untimed::untimed;

fn on() -> Config {
    untimed().deflate(DeflateConfig::new().threshold(0))
}

/// Inflates what one server sends, by flate2 alone.
struct Inflater {
    inflate: Decompress,
    takeover: bool,
}

impl Inflater {
    fn new(bits: u8, takeover: bool) -> Self {
        // flate2 knows no window of 8 bits; the engine's own tests watch the distances.
        Self { inflate: Decompress::new_with_window_bits(false, bits.max(9)), takeover }
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.inflate.reset(false);
        }
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        let mut output = Vec::with_capacity(1 << 22);
        let before = self.inflate.total_in();
        self.inflate.decompress_vec(&input, &mut output, FlushDecompress::Sync).unwrap();
        assert_eq!(self.inflate.total_in() - before, input.len() as u64);
        output
    }
}

/// A client that offers these parameters, and what inflates the answers.
struct Deflating {
    client: Client,
    inflater: Option<Inflater>,
}

impl Deflating {
    fn open(house: &House, offer: Option<&str>) -> Self {
        let mut client = Client::connect(house.address);
        let Some(offer) = offer else {
            client.upgrade();
            return Self { client, inflater: None };
        };
        client.send_raw(request_with(&format!("Sec-WebSocket-Extensions: {offer}\r\n")));
        let head = client.read_head();
        let (_, answer) = head.split_once("Sec-WebSocket-Extensions: ").expect("accepted");
        let answer = answer.lines().next().unwrap();
        let bits = answer
            .split_once("server_max_window_bits=")
            .map_or(15, |(_, rest)| rest.split(';').next().unwrap().trim().parse().unwrap());
        let takeover = !answer.contains("server_no_context_takeover");
        Self { client, inflater: Some(Inflater::new(bits, takeover)) }
    }

    fn read(&mut self) -> Vec<u8> {
        let frame = self.client.read_frame().expect("a message");
        match &mut self.inflater {
            Some(inflater) if frame.rsv1 => inflater.inflate(&frame.payload),
            _ => {
                assert!(!frame.rsv1);
                frame.payload
            }
        }
    }
}

const OFFERS: [Option<&str>; 8] = [
    None,
    Some("permessage-deflate"),
    Some("permessage-deflate; server_no_context_takeover"),
    Some("permessage-deflate; server_max_window_bits=9"),
    Some("permessage-deflate; server_max_window_bits=9; server_no_context_takeover"),
    Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits"),
    Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
    Some("permessage-deflate; server_max_window_bits=8"),
];

fn text(n: usize, length: usize) -> String {
    let words = ["alpha", "beta", "gamma", "delta"];
    let line = format!("{n} {} {} ", words[n % 4], words[n / 4 % 4]);
    line.repeat(length.div_ceil(line.len()))[..length].to_owned()
}

// req: D021, D030, D033
// attack: PD11, PD14
#[test]
fn broadcasts_reach_peers_of_every_kind_of_compression() {
    let (spy, mut log) = Spy::new(|peer, call| {
        if let Call::Message(_, message) = call {
            let text = message.as_text().unwrap();
            match text.as_bytes()[0] {
                b'b' => drop(peer.broadcast(text)),
                // To each by itself, outside of its turn.
                b'e' => {
                    for id in peer.peers().ids() {
                        peer.to(id).unwrap().send(text);
                    }
                }
                _ => drop(peer.send(text)),
            }
        }
    });
    let house = House::new(on(), spy);
    let mut clients: Vec<_> = OFFERS
        .iter()
        .cycle()
        .take(3 * OFFERS.len())
        .map(|offer| {
            let client = Deflating::open(&house, *offer);
            (log.next_open(), client)
        })
        .collect();
    let count = clients.len();
    for n in 0..120 {
        let message = |kind: char| format!("{kind}{}", text(n, [0, 5, 300, 20_000, 90_000][n % 5]));
        let sender = n % count;
        match n % 4 {
            0 => {
                let message = message('b');
                clients[sender].1.client.send_frame(TEXT, &message);
                for (_, client) in &mut clients {
                    assert!(client.read() == message.as_bytes());
                }
            }
            1 => {
                let message = message('e');
                clients[sender].1.client.send_frame(TEXT, &message);
                for (_, client) in &mut clients {
                    assert!(client.read() == message.as_bytes());
                }
            }
            2 => {
                let message = message('s');
                clients[sender].1.client.send_frame(TEXT, &message);
                assert!(clients[sender].1.read() == message.as_bytes());
            }
            _ => {
                let message = message('h');
                house.handle.broadcast(message.clone());
                house.handle.send(clients[sender].0, message.clone());
                for (index, (_, client)) in clients.iter_mut().enumerate() {
                    assert!(client.read() == message.as_bytes());
                    if index == sender {
                        assert!(client.read() == message.as_bytes());
                    }
                }
            }
        }
    }
    drop(clients);
    house.stop(log);
}

// attack: PD02, PD15
#[test]
fn many_connections_share_the_codec() {
    let (spy, log) = Spy::echo();
    let house = House::new(on(), spy);
    let configs = [
        on(),
        untimed().deflate(DeflateConfig::new().threshold(0).client_no_context_takeover(true)),
        untimed().deflate(DeflateConfig::new().threshold(0).server_no_context_takeover(true)),
        untimed().no_deflate(),
    ];
    // More than there are live compressors, so that contexts are parked and restored.
    let mut clients: Vec<_> = configs
        .iter()
        .cycle()
        .take(60)
        .map(|config| Engine::open(Client::connect(house.address).stream, config))
        .collect();
    for (index, client) in clients.iter().enumerate() {
        assert_eq!(client.connection.deflate().is_some(), index % 4 != 3);
    }
    for round in 0..8 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(text(index + round, 2000));
            client.send(text(index, 10));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let messages = client.read_messages(2);
            assert!(messages[0] == text(index + round, 2000).as_str());
            assert!(messages[1] == text(index, 10).as_str());
        }
    }
    drop(clients);
    house.stop(log);
}

#[test]
fn later_messages_refer_to_earlier_ones() {
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Message(_, message) = call {
            peer.send(message.borrowed());
            peer.send_with(message.borrowed(), Compress::Never);
        }
    });
    let house = House::new(on(), spy);
    let mut client = Deflating::open(&house, Some("permessage-deflate"));
    // Noise compresses only by what went before.
    let noise: String =
        (0..3000_u32).map(|n| char::from(b'!' + (n * n * 7 / 11 % 90) as u8)).collect();
    let mut lengths = Vec::new();
    for _ in 0..3 {
        client.client.send_frame(TEXT, &noise);
        let compressed = client.client.read_frame().unwrap();
        assert!(compressed.rsv1);
        lengths.push(compressed.payload.len());
        let text = client.inflater.as_mut().unwrap().inflate(&compressed.payload);
        assert!(text == noise.as_bytes());
        assert!(client.read() == noise.as_bytes());
    }
    assert!(lengths[1] * 2 < lengths[0] && lengths[2] * 2 < lengths[0], "{lengths:?}");
    drop(client);
    house.stop(log);
}

#[test]
fn compression_can_be_declined_for_one_connection() {
    let (spy, log) = Spy::new(|peer, call| {
        assert_eq!(peer.deflate(), None);
        crate::house::echo(peer, call);
    });
    let spy = spy.deciding(|_| Decision::accept_with(Accept::new().no_deflate(), 0));
    let house = House::new(on(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request_with("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    assert!(!client.read_head().contains("Sec-WebSocket-Extensions"));
    client.send_frame(TEXT, text(1, 3000));
    assert_eq!(client.read_text(), text(1, 3000));
    client.send_raw(frame_with(0xc1, [0]));
    assert_eq!(client.read_close().0, 1002);
    drop(client);
    house.stop(log);
}

// attack: PD01
#[test]
fn a_bomb_is_refused_and_the_others_do_not_notice() {
    use flate2::{Compression, FlushCompress};
    let (spy, log) = Spy::echo();
    let house = House::new(on().max_message_size(1 << 20), spy);
    let mut other = Deflating::open(&house, Some("permessage-deflate"));
    let mut bomb = Vec::with_capacity(1 << 20);
    let mut compress = flate2::Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; 64 << 20], &mut bomb, FlushCompress::Sync).unwrap();
    bomb.truncate(bomb.len() - 4);
    for _ in 0..3 {
        let mut client = Deflating::open(&house, Some("permessage-deflate"));
        client.client.send_raw(frame_with(0xc2, &bomb));
        assert_eq!(client.client.read_close().0, 1009);
        client.client.read_eof();
        other.client.send_raw(frame(TEXT, "unharmed"));
        assert_eq!(other.read(), b"unharmed");
    }
    drop(other);
    house.stop(log);
}
