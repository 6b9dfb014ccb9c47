//! The ceiling: `raw PORT echo|bcast`. It answers the opening handshake with a constant, and from then on
//! sends back the bytes that come, as they come, without a look at them.

use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const LISTENER: Token = Token(usize::MAX);
const ROOM: usize = 512 * 1024;
const CACHE_LINE: usize = 64;

struct Peer {
    stream: TcpStream,
    open: bool,
    unsent: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments.get(1).and_then(|port| port.parse().ok()).expect("a port");
    let to_all = arguments.get(2).is_some_and(|mode| mode == "bcast");
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Option<Peer>> = Vec::new();
    // At the border of a cache line, as framewire reads: elsewhere some processors copy several times as slowly.
    let mut room = vec![0; ROOM + CACHE_LINE];
    let lead = room.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
    let buffer = &mut room[lead..lead + ROOM];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let index = peers.iter().position(Option::is_none).unwrap_or(peers.len());
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(index), interest)?;
                    if index == peers.len() {
                        peers.push(None);
                    }
                    peers[index] = Some(Peer { stream, open: false, unsent: Vec::new() });
                }
                continue;
            }
            let index = event.token().0;
            let Some(peer) = &mut peers[index] else { continue };
            if event.is_writable() && !peer.unsent.is_empty() {
                let unsent = std::mem::take(&mut peer.unsent);
                send(peer, &unsent);
            }
            if !event.is_readable() {
                continue;
            }
            loop {
                let Some(peer) = &mut peers[index] else { break };
                let count = match peer.stream.read(buffer) {
                    Ok(count) if count > 0 => count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    _ => {
                        peers[index] = None;
                        break;
                    }
                };
                let bytes = &buffer[..count];
                if !peer.open {
                    peer.open = bytes.ends_with(b"\r\n\r\n");
                    if peer.open {
                        send(peer, ANSWER);
                    }
                } else if to_all {
                    peers
                        .iter_mut()
                        .flatten()
                        .filter(|peer| peer.open)
                        .for_each(|peer| send(peer, bytes));
                } else {
                    send(peer, bytes);
                }
                // A short read has emptied the socket; the end has an event of its own.
                if count < buffer.len() && !event.is_read_closed() {
                    break;
                }
            }
        }
    }
}

fn send(peer: &mut Peer, mut bytes: &[u8]) {
    while !bytes.is_empty() && peer.unsent.is_empty() {
        match peer.stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(_) => break,
        }
    }
    peer.unsent.extend_from_slice(bytes);
}
