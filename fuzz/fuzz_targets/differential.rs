//! Beside tungstenite: of any bytes both hear the same, and what either one writes the other reads.

#![no_main]

use std::io::{self, Read, Write};

use arbitrary::Arbitrary;
use framewire::{Config, Connection, Event, Fragment, Message, MessageKind, Role};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{WebSocket, WebSocketConfig};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    client: bool,
    max_message: u16,
    cuts: [u8; 16],
    /// What both ends say, before any bytes come.
    sayings: Vec<Saying<'a>>,
    stream: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Saying<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Pieces([&'a [u8]; 3]),
    Ping(&'a [u8]),
}

/// What one of the two hears.
#[derive(Debug, PartialEq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// Whether it waits for more, or has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waits,
    Closed,
    Failed,
}

/// What is read, in portions, and what was written.
struct Wire<'a> {
    pieces: std::vec::IntoIter<&'a [u8]>,
    rest: &'a [u8],
    written: Vec<u8>,
}

impl<'a> Wire<'a> {
    fn new(pieces: Vec<&'a [u8]>) -> Self {
        Self { pieces: pieces.into_iter(), rest: &[], written: Vec::new() }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            self.rest = self.pieces.next().ok_or(io::ErrorKind::WouldBlock)?;
        }
        self.rest.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: Input<'_>| {
    let limit = usize::from(input.max_message);
    let role = if input.client { Role::Client } else { Role::Server };
    hear_the_same(role, limit, comparable(input.stream), &input.cuts);
    let peer = if input.client { Role::Server } else { Role::Client };
    let sayings = &input.sayings[..input.sayings.len().min(16)];
    let (written, said) = say_ours(role, sayings);
    assert_eq!(theirs(peer, usize::MAX, &written, &input.cuts), (said, State::Waits));
    let (written, said) = say_theirs(role, sayings);
    assert_eq!(ours(peer, usize::MAX, &written, &input.cuts), (said, State::Waits));
});

/// What stands before the first length that is not minimal: RFC 6455 section 5.2 forbids it, and tungstenite does not
/// look.
fn comparable(stream: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(&[_, second]) = stream.get(at..at + 2) {
        let head = &stream[at + 2..];
        let (length, size) = match second & 0x7f {
            126 => {
                let Some(&bytes) = head.first_chunk() else { break };
                (u64::from(u16::from_be_bytes(bytes)), 2)
            }
            127 => {
                let Some(&bytes) = head.first_chunk() else { break };
                (u64::from_be_bytes(bytes), 8)
            }
            length => (length.into(), 0),
        };
        let minimal = match size {
            2 => length >= 126,
            8 => (65_536..1 << 63).contains(&length),
            _ => true,
        };
        if !minimal {
            return &stream[..at];
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let Some(next) =
            usize::try_from(length).ok().and_then(|l| l.checked_add(at + 2 + size + mask))
        else {
            break;
        };
        at = next;
    }
    stream
}

fn hear_the_same(role: Role, limit: usize, stream: &[u8], cuts: &[u8]) {
    let (one, first) = ours(role, limit, stream, cuts);
    let (other, second) = theirs(role, limit, stream, cuts);
    assert_eq!(one, other, "{first:?} {second:?}");
    // What is wrong is told at the byte that shows it, and there when the frame is whole.
    assert!(
        first == second || (first, second) == (State::Failed, State::Waits),
        "{first:?} {second:?}"
    );
}

fn config(limit: usize) -> Config {
    Config::new().max_message_size(limit).max_fragments(u32::MAX).max_buffered_amount(usize::MAX)
}

fn connection(role: Role, limit: usize) -> Connection {
    match role {
        Role::Server => Connection::adopted_server(&config(limit)),
        Role::Client => {
            Connection::adopted_client(&config(limit), |bytes: &mut [u8]| bytes.fill(0x5a))
        }
    }
}

fn ours(role: Role, limit: usize, stream: &[u8], cuts: &[u8]) -> (Vec<Heard>, State) {
    let mut connection = connection(role, limit);
    let mut heard = Vec::new();
    for piece in framewire_fuzz::pieces(stream, cuts) {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        while let Some(event) = connection.receive(&mut input) {
            heard.push(match event {
                Event::Message(message) => match message.kind() {
                    MessageKind::Text => Heard::Text(message.as_text().unwrap().to_owned()),
                    MessageKind::Binary => Heard::Binary(message.as_bytes().to_vec()),
                },
                Event::Ping(payload) => Heard::Ping(payload.into_vec()),
                Event::Pong(payload) => Heard::Pong(payload.into_vec()),
                Event::Close(close) => {
                    let code = u16::from(close.code());
                    let is_there = code != 1005;
                    heard.push(Heard::Close(is_there.then(|| (code, close.reason().to_owned()))));
                    return (heard, State::Closed);
                }
                Event::Failed(_) => return (heard, State::Failed),
                event => panic!("{event:?}"),
            });
            // What it answers leaves at once.
            connection.consume_output(connection.buffered_amount());
        }
    }
    (heard, State::Waits)
}

fn socket<'a>(role: Role, limit: usize, wire: Wire<'a>) -> WebSocket<Wire<'a>> {
    let role = match role {
        Role::Server => tungstenite::protocol::Role::Server,
        Role::Client => tungstenite::protocol::Role::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit.max(125)));
    WebSocket::from_raw_socket(wire, role, Some(config))
}

fn theirs(role: Role, limit: usize, stream: &[u8], cuts: &[u8]) -> (Vec<Heard>, State) {
    let mut socket = socket(role, limit, Wire::new(framewire_fuzz::pieces(stream, cuts)));
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(tungstenite::Message::Text(text)) => Heard::Text(text.as_str().to_owned()),
            Ok(tungstenite::Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(tungstenite::Message::Ping(bytes)) => Heard::Ping(bytes.to_vec()),
            Ok(tungstenite::Message::Pong(bytes)) => Heard::Pong(bytes.to_vec()),
            Ok(tungstenite::Message::Close(close)) => {
                let close =
                    close.map(|close| (u16::from(close.code), close.reason.as_str().to_owned()));
                // A code that must not be sent is told as if this one had come.
                if close == Some((1002, "Protocol violation".to_owned())) {
                    return (heard, State::Failed);
                }
                heard.push(Heard::Close(close));
                return (heard, State::Closed);
            }
            Ok(tungstenite::Message::Frame(frame)) => panic!("{frame:?}"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (heard, State::Waits);
            }
            Err(_) => return (heard, State::Failed),
        });
    }
}

/// All that is said, and the bytes of it.
fn say_ours(role: Role, sayings: &[Saying<'_>]) -> (Vec<u8>, Vec<Heard>) {
    let mut connection = connection(role, usize::MAX);
    let mut said = Vec::new();
    for saying in sayings {
        match saying {
            Saying::Text(text) => connection.send(Message::text(*text)).unwrap(),
            Saying::Binary(bytes) => connection.send(Message::binary(*bytes)).unwrap(),
            Saying::Pieces([one, two, three]) => {
                let kind = MessageKind::Binary;
                for piece in [
                    Fragment::more(kind, *one),
                    Fragment::more(kind, *two),
                    Fragment::last(kind, *three),
                ] {
                    connection.send_fragment(piece).unwrap();
                }
            }
            Saying::Ping(bytes) => connection.ping(&bytes[..bytes.len().min(125)]).unwrap(),
        }
        said.push(saying.heard());
    }
    (connection.output().flatten().copied().collect(), said)
}

fn say_theirs(role: Role, sayings: &[Saying<'_>]) -> (Vec<u8>, Vec<Heard>) {
    let mut socket = socket(role, usize::MAX, Wire::new(Vec::new()));
    let mut said = Vec::new();
    for saying in sayings {
        socket
            .send(match saying {
                Saying::Text(text) => tungstenite::Message::text(*text),
                Saying::Binary(bytes) => tungstenite::Message::binary(bytes.to_vec()),
                Saying::Pieces(pieces) => tungstenite::Message::binary(pieces.concat()),
                Saying::Ping(bytes) => {
                    tungstenite::Message::Ping(bytes[..bytes.len().min(125)].to_vec().into())
                }
            })
            .unwrap();
        said.push(saying.heard());
    }
    (std::mem::take(&mut socket.get_mut().written), said)
}

impl Saying<'_> {
    fn heard(&self) -> Heard {
        match self {
            Self::Text(text) => Heard::Text((*text).to_owned()),
            Self::Binary(bytes) => Heard::Binary(bytes.to_vec()),
            Self::Pieces(pieces) => Heard::Binary(pieces.concat()),
            Self::Ping(bytes) => Heard::Ping(bytes[..bytes.len().min(125)].to_vec()),
        }
    }
}
