//! A client written by hand over a blocking socket: it sends the bytes that a test gives it, right or
//! wrong, and tells what comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

pub(crate) use crate::untimed::PATIENCE;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The request with further header lines, each ended by CRLF.
pub(crate) fn request_with(lines: &str) -> String {
    REQUEST.replace("\r\n\r\n", &format!("\r\n{lines}\r\n"))
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    /// Connects and says nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    /// Connects and opens a WebSocket.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.upgrade();
        client
    }

    /// Connects, and sends these frames in one segment with the request: they lie there when the connection
    /// opens, and no deadline passes in between.
    pub(crate) fn open_with(address: SocketAddr, frames: impl AsRef<[u8]>) -> Self {
        let mut client = Self::connect(address);
        client.send_raw([REQUEST.as_bytes(), frames.as_ref()].concat());
        client.expect_switch();
        client
    }

    /// Connects, sends the bytes, and reads all that comes up to the end.
    pub(crate) fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
        let mut client = Self::connect(address);
        // The server may have found its fault and hung up before all was sent.
        let _ = client.stream.write_all(bytes.as_ref());
        String::from_utf8(client.read_to_end()).unwrap()
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// A second client over the same socket, to write in one thread and read in another.
    pub(crate) fn twin(&self) -> Self {
        Self::over(self.stream.try_clone().unwrap())
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn upgrade(&mut self) {
        self.send_raw(REQUEST);
        self.expect_switch();
    }

    fn expect_switch(&mut self) {
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn send_frame(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.send_raw(frame(opcode, payload));
    }

    pub(crate) fn send_close(&mut self, code: u16, reason: &str) {
        self.send_frame(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    /// The head of an HTTP answer, the empty line included.
    pub(crate) fn read_head(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "the end came inside the head: {:?}", self.buffer);
        };
        String::from_utf8(self.buffer.drain(..end).collect()).unwrap()
    }

    /// Whether a frame has been read already.
    pub(crate) fn has_frame(&self) -> bool {
        parse(&self.buffer).is_some()
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "the end came inside a frame");
                return None;
            }
        }
    }

    /// The payload of the next frame, which must be a whole message of this kind.
    pub(crate) fn read_message(&mut self, opcode: u8) -> Vec<u8> {
        let frame = self.read_frame().expect("a message and not the end");
        assert!(frame.fin && !frame.rsv1);
        let payload = String::from_utf8_lossy(&frame.payload[..frame.payload.len().min(200)]);
        assert_eq!(frame.opcode, opcode, "{payload}");
        frame.payload
    }

    pub(crate) fn read_text(&mut self) -> String {
        String::from_utf8(self.read_message(TEXT)).unwrap()
    }

    /// The code and the reason of the Close that must come next.
    pub(crate) fn read_close(&mut self) -> (u16, String) {
        let payload = self.read_message(CLOSE);
        match payload.split_first_chunk() {
            Some((code, reason)) => {
                (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap())
            }
            None => (1005, String::new()),
        }
    }

    /// Asserts that nothing but the end comes.
    pub(crate) fn read_eof(&mut self) {
        assert_eq!(self.read_to_end(), b"");
    }

    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the connection came to its end, in any way, before anything more was read.
    pub(crate) fn is_gone(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected
            ),
        }
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> bool {
        let mut room = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut room) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&room[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {} bytes", self.buffer.len()),
            }
        }
    }
}

/// A masked frame, FIN set.
pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_with(0x80 | opcode, payload)
}

/// A masked frame with this first byte.
pub(crate) fn frame_with(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let payload = payload.as_ref();
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(0x80 | length as u8),
        length @ ..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// An unmasked frame at the front of `bytes`, and its whole length.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server masks nothing (RFC 6455 section 5.1)");
    assert_eq!(first & 0x30, 0, "RSV2 and RSV3 mean nothing");
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(header..header + length)?.to_vec();
    let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
    Some((Frame { fin, rsv1, opcode: first & 0xf, payload }, header + length))
}

/// The engine of this crate as a client over a blocking stream.
pub(crate) struct Engine<S> {
    pub(crate) connection: framewire::Connection,
    stream: S,
}

impl<S: Read + Write> Engine<S> {
    pub(crate) fn open(stream: S, config: &framewire::Config) -> Self {
        use framewire::handshake::{ClientRequest, Url};
        let request = ClientRequest::new(&Url::parse("ws://example.com/chat").unwrap());
        let entropy = framewire::SystemEntropy::new();
        let connection = framewire::Connection::client(request, config, entropy).unwrap();
        let mut engine = Self { connection, stream };
        while engine.connection.state() == framewire::State::Connecting {
            engine.flush();
            engine.pump(&mut Vec::new());
        }
        engine
    }

    pub(crate) fn send<'m>(&mut self, message: impl Into<framewire::Message<'m>>) {
        self.connection.send(message).unwrap();
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        while self.connection.buffered_amount() > 0 {
            let bytes: Vec<u8> = self.connection.output().flatten().copied().collect();
            self.stream.write_all(&bytes).unwrap();
            self.connection.consume_output(bytes.len());
        }
    }

    /// Reads once and collects the messages that came; how the connection ended, if it did.
    pub(crate) fn pump(
        &mut self,
        messages: &mut Vec<framewire::Message<'static>>,
    ) -> Option<framewire::Outcome> {
        let mut room = vec![0; 64 * 1024];
        let count = self.stream.read(&mut room).unwrap();
        if count == 0 {
            return Some(self.connection.receive_eof());
        }
        let mut input = &mut room[..count];
        while let Some(event) = self.connection.receive(&mut input) {
            if let framewire::Event::Message(message) = event {
                messages.push(message.into_owned());
            }
        }
        self.flush();
        None
    }

    /// Reads until so many messages have come.
    pub(crate) fn read_messages(&mut self, count: usize) -> Vec<framewire::Message<'static>> {
        let mut messages = Vec::new();
        while messages.len() < count {
            assert_eq!(self.pump(&mut messages), None);
        }
        messages
    }

    /// Closes, and reads to the end.
    pub(crate) fn close(mut self, code: u16, reason: &str) -> framewire::Outcome {
        self.connection.close(code, reason).unwrap();
        self.flush();
        loop {
            if let Some(outcome) = self.pump(&mut Vec::new()) {
                return outcome;
            }
        }
    }
}

/// Whether an error says no more than that nothing came in time.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
