//! The ceiling over TLS: `raw-tls PORT`. Like `raw`, it sends back the bytes that come without a look at them; but
//! they were decrypted, and are encrypted, by rustls.

use std::io::{ErrorKind, Read, Result, Write};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConnection;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const LISTENER: Token = Token(usize::MAX);
const ROOM: usize = 512 * 1024;

struct Peer {
    stream: TcpStream,
    tls: ServerConnection,
    open: bool,
}

impl Peer {
    /// Reads and answers until the socket is empty; one whose peer has `ended` has an end to be read.
    fn receive(&mut self, ended: bool, buffer: &mut [u8], plain: &mut [u8]) -> Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut bytes = &buffer[..count];
            while !bytes.is_empty() {
                self.tls.read_tls(&mut bytes)?;
                self.tls.process_new_packets().map_err(|_| ErrorKind::InvalidData)?;
                self.answer(plain)?;
            }
            self.send()?;
            if count < buffer.len() && !ended {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, plain: &mut [u8]) -> Result<()> {
        loop {
            let count = match self.tls.reader().read(plain) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = &plain[..count];
            if self.open {
                self.tls.writer().write_all(bytes)?;
            } else {
                self.open = bytes.ends_with(b"\r\n\r\n");
                self.tls.writer().write_all(if self.open { ANSWER } else { b"" })?;
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let config = Arc::new(peer::tls_config());
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let (mut buffer, mut plain) = (vec![0; ROOM], vec![0; ROOM]);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(peers.len()), interest)?;
                    let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a session");
                    tls.set_buffer_limit(None);
                    peers.push(Some(Peer { stream, tls, open: false }));
                }
                continue;
            }
            let slot = &mut peers[event.token().0];
            let Some(peer) = slot else { continue };
            let sent = if event.is_writable() { peer.send() } else { Ok(()) };
            if sent
                .and_then(|()| peer.receive(event.is_read_closed(), &mut buffer, &mut plain))
                .is_err()
            {
                *slot = None;
            }
        }
    }
}
