//! Keys and masks, as they stand on the wire.

use std::collections::HashSet;

use framewire::handshake::{ClientRequest, Url, accept_key};
use framewire::{Config, Connection, Endpoint, Event, Message, SystemEntropy, Workspace};

use super::support::header;

fn request() -> ClientRequest {
    ClientRequest::new(&Url::parse("ws://h/").unwrap())
}

fn take_output(connection: &mut Connection) -> Vec<u8> {
    let bytes: Vec<u8> = connection.output().flatten().copied().collect();
    connection.consume_output(bytes.len());
    bytes
}

fn open() -> Connection {
    let config = Config::new().no_deflate();
    let mut connection = Connection::client(request(), &config, SystemEntropy::new()).unwrap();
    let request = String::from_utf8(take_output(&mut connection)).unwrap();
    let mut answer = super::support::switch(&request, "").into_bytes();
    let event = connection.receive(&mut &mut answer[..]);
    assert!(matches!(event, Some(Event::Open(_))), "{event:?}");
    connection
}

// attack: HC13
// req: W013
#[test]
fn keys_are_new_for_each_connection() {
    let config = Config::new().no_deflate();
    let mut workspace = Workspace::with_entropy(SystemEntropy::new());
    let mut keys = HashSet::new();
    let count = 100_000;
    for _ in 0..count {
        let endpoint = Endpoint::client(request(), &config, &mut workspace).unwrap();
        let head: Vec<u8> = endpoint.output().flatten().copied().collect();
        let head = String::from_utf8(head).unwrap();
        let key = header(&head, "Sec-WebSocket-Key").unwrap();
        assert_eq!(key.len(), 24);
        assert_eq!(accept_key(key.as_bytes()).len(), 28);
        keys.insert(key.to_owned());
    }
    assert_eq!(keys.len(), count);
}

// attack: HC13
// req: W065
#[test]
fn a_million_masks_have_no_pattern() {
    let mut connection = open();
    let mut counts = [[0u32; 256]; 4];
    let mut masks = HashSet::new();
    let mut repeats = 0;
    let (mut last, total) = ([0; 4], 1_000_000);
    for index in 0..total {
        // Control frames are masked as data is.
        match index % 3 {
            0 => connection.send("").unwrap(),
            1 => connection.ping(b"").unwrap(),
            _ => connection.pong(b"").unwrap(),
        }
        let frame = take_output(&mut connection);
        assert_eq!((frame.len(), frame[1]), (6, 0x80));
        let mask: [u8; 4] = frame[2..].try_into().unwrap();
        repeats += u32::from(mask == last);
        last = mask;
        masks.insert(mask);
        for (count, byte) in counts.iter_mut().zip(mask) {
            count[usize::from(byte)] += 1;
        }
    }
    // Some 116 pairs are to be expected among as many draws of 32 bits.
    assert!(masks.len() > total - 400, "{} different masks", masks.len());
    assert!(repeats < 3, "{repeats} masks were those of the frame before");
    for count in counts {
        let mean = f64::from(total as u32) / 256.0;
        let chi: f64 = count.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
        assert!(chi < 450.0, "chi-square {chi} over 255 degrees of freedom");
    }
}

// attack: HC14
#[test]
fn nobody_chooses_what_stands_on_the_wire() {
    let chosen = b"GET /x HTTP/1.1\r\nHost: victim\r\n\r\n";
    let mut connection = open();
    for guess in 0..10_000u32 {
        let key = guess.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let payload: Vec<u8> =
            chosen.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        match guess % 2 {
            0 => connection.send(Message::binary(&payload[..])).unwrap(),
            _ => connection.ping(&payload).unwrap(),
        }
        let frame = take_output(&mut connection);
        let (mask, masked) = frame[2..].split_at(4);
        assert!(!masked.windows(6).any(|bytes| bytes == &chosen[..6]), "with {guess}");
        let unmasked = masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        assert!(unmasked.eq(payload), "the payload is what was sent");
    }
}
