use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustls::{ClientConfig, StreamOwned};
use socket2::SockRef;

use crate::frames::Frames;
use crate::scenario::Scenario;
use crate::stream::{self, Stream};

/// How many are opened at a time: one that waits for each answer waits long where the processors have other work.
const TOGETHER: usize = 64;

/// Opens so many connections, and has the server switch them to WebSocket.
pub(crate) fn connect_all(
    port: u16,
    scenario: &Scenario,
    count: usize,
) -> Result<Vec<Stream>, Box<dyn Error>> {
    if scenario.is_tls() {
        let tls = stream::trusting();
        return (0..count).map(|number| connect_tls(port, scenario, number, &tls)).collect();
    }
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let first = streams.len();
        let mut opened = Vec::with_capacity(TOGETHER);
        for number in first..count.min(first + TOGETHER) {
            let mut stream = stream::open_plain(port, number)?;
            ask(&mut stream, scenario, number)?;
            opened.push(stream);
        }
        for mut stream in opened {
            read_answer(&mut stream)?;
            // Thousands that end together leave no ports behind that wait for minutes.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            stream.set_nonblocking(true)?;
            streams.push(Stream::Plain(TcpStream::from_std(stream)));
        }
    }
    Ok(streams)
}

fn connect_tls(
    port: u16,
    scenario: &Scenario,
    number: usize,
    tls: &Arc<ClientConfig>,
) -> Result<Stream, Box<dyn Error>> {
    let mut stream = stream::open_tls(port, Arc::clone(tls))?;
    upgrade(&mut stream, scenario, number)?;
    let (connection, socket) = stream.into_parts();
    socket.set_nonblocking(true)?;
    let stream = StreamOwned::new(connection, TcpStream::from_std(socket));
    Ok(Stream::Tls(Box::new(stream)))
}

/// The opening handshake; `number` is which connection it is.
pub(crate) fn upgrade(
    stream: &mut (impl Read + Write),
    scenario: &Scenario,
    number: usize,
) -> Result<(), Box<dyn Error>> {
    ask(stream, scenario, number)?;
    read_answer(stream)
}

fn ask(stream: &mut impl Write, scenario: &Scenario, number: usize) -> Result<(), Box<dyn Error>> {
    let offer = scenario
        .extensions()
        .map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"))
        .unwrap_or_default();
    let request = String::from_utf8(framewire_benches::request(&offer))?;
    Ok(stream.write_all(request.replacen("/chat", scenario.path(number), 1).as_bytes())?)
}

/// Nothing comes behind the server's answer, since nothing was sent to it.
fn read_answer(stream: &mut impl Read) -> Result<(), Box<dyn Error>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err("the server has ended the connection".into()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(format!("not opened: {}", head.escape_ascii()).into());
    }
    Ok(())
}

/// One connection: how much it has to send, and where in the answers it is.
pub(crate) struct Connection {
    stream: Stream,
    /// Where in the frames the next byte to send is, and how many are to be sent from there.
    at: usize,
    unsent: usize,
    /// The next frame to queue.
    next: usize,
    header: [u8; 14],
    header_length: usize,
    /// What is still to come of the payload.
    missing: usize,
    /// The frame at hand ends a message.
    counts: bool,
    /// The payloads of messages that have come, as they are on the wire.
    pub(crate) payload: u64,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            at: 0,
            unsent: 0,
            next: 0,
            header: [0; 14],
            header_length: 0,
            missing: 0,
            counts: false,
            payload: 0,
        }
    }

    pub(crate) fn queue(&mut self, frames: &Frames, count: usize) {
        for _ in 0..count {
            let start = self.next.checked_sub(1).map_or(0, |before| frames.ends[before]);
            self.unsent += frames.ends[self.next] - start;
            self.next = (self.next + 1) % frames.ends.len();
        }
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self, frames: &Frames) -> Result<(), Box<dyn Error>> {
        while self.unsent > 0 {
            let end = frames.bytes.len().min(self.at + self.unsent);
            match self.stream.write(&frames.bytes[self.at..end]) {
                Ok(count) => {
                    self.unsent -= count;
                    self.at += count;
                    if self.at == frames.bytes.len() {
                        self.at = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => Ok(result?),
        }
    }

    /// Reads what there is, and says how many messages have become whole.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<u64, Box<dyn Error>> {
        let mut messages = 0;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err("the server has ended the connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            messages += self.count(&buffer[..count])?;
            if count < buffer.len() && self.stream.short_reads_empty() {
                break;
            }
        }
        Ok(messages)
    }

    fn count(&mut self, mut bytes: &[u8]) -> Result<u64, Box<dyn Error>> {
        let mut messages = 0;
        while !bytes.is_empty() {
            if self.missing == 0 {
                // The header, from where the last read has left it.
                if self.header_length == 0
                    && let Some(length) = header_length(bytes)
                    && length <= bytes.len()
                {
                    self.begin(&bytes[..length])?;
                    bytes = &bytes[length..];
                } else {
                    self.header[self.header_length] = bytes[0];
                    self.header_length += 1;
                    bytes = &bytes[1..];
                    let header = self.header;
                    let header = &header[..self.header_length];
                    if header_length(header) != Some(header.len()) {
                        continue;
                    }
                    self.header_length = 0;
                    self.begin(header)?;
                }
            }
            let here = self.missing.min(bytes.len());
            self.missing -= here;
            bytes = &bytes[here..];
            if self.missing == 0 && self.counts {
                messages += 1;
            }
        }
        Ok(messages)
    }

    fn begin(&mut self, header: &[u8]) -> Result<(), Box<dyn Error>> {
        if header[0] & 0x0f == 8 {
            return Err("the server closes".into());
        }
        self.counts = header[0] & 0x80 != 0 && header[0] & 0x08 == 0;
        self.missing = match header[1] & 0x7f {
            126 => u16::from_be_bytes([header[2], header[3]]).into(),
            127 => u64::from_be_bytes(header[2..10].try_into()?).try_into()?,
            short => short.into(),
        };
        if header[0] & 0x08 == 0 {
            self.payload += self.missing as u64;
        }
        Ok(())
    }
}

/// How long the header is that begins so. The raw echo's are masked.
fn header_length(bytes: &[u8]) -> Option<usize> {
    let second = bytes.get(1)?;
    let length = match second & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    Some(length + if second & 0x80 != 0 { 4 } else { 0 })
}
