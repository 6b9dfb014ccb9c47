//! A peer without the engine: it reads at a rate of its own, answers each Ping and the Close as it meets
//! them, and knows which bytes it should have met.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// The payload of every message: a pattern that tells where it begins.
pub(crate) fn payload(length: usize) -> Vec<u8> {
    (0..length).map(byte).collect()
}

fn byte(place: usize) -> u8 {
    (place % 251) as u8
}

/// A clock that says when the next bytes may be read.
pub(crate) struct Pace {
    start: Instant,
    /// Bytes in a second.
    rate: usize,
    read: usize,
}

impl Pace {
    pub(crate) fn new(rate: usize) -> Self {
        Self { start: Instant::now(), rate, read: 0 }
    }

    /// One read, once it may be done; 0 for the end.
    pub(crate) fn read<'b>(
        &mut self,
        stream: &mut TcpStream,
        buffer: &'b mut [u8],
    ) -> io::Result<&'b [u8]> {
        let due = Duration::from_secs_f64(self.read as f64 / self.rate as f64);
        thread::sleep(due.saturating_sub(self.start.elapsed()));
        // Fifty reads in a second.
        let limit = (self.rate / 50).clamp(1, buffer.len());
        let count = stream.read(&mut buffer[..limit])?;
        self.read += count;
        Ok(&buffer[..count])
    }
}

/// What a peer has met so far.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Bytes of messages, all of them as they should be.
    pub(crate) payload: usize,
    pub(crate) pings: usize,
    /// The code and the reason.
    pub(crate) close: Option<(u16, String)>,
}

/// Which end the peer is: a client masks what it sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// The peer on its stream, after the opening handshake.
pub(crate) struct Reader {
    end: End,
    pace: Pace,
    stream: TcpStream,
    /// Read, but not understood yet: less than a header, or a part of a control frame.
    unread: Vec<u8>,
    /// The frame that is under way, if it is one of a message.
    frame: Option<Frame>,
    pub(crate) met: Met,
}

struct Frame {
    mask: [u8; 4],
    length: usize,
    read: usize,
}

impl Reader {
    pub(crate) fn new(end: End, stream: TcpStream, rate: usize) -> Self {
        // Only for a test that would never end otherwise.
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let (frame, met) = (None, Met::default());
        Self { end, pace: Pace::new(rate), stream, unread: Vec::new(), frame, met }
    }

    /// Reads to the end, or to a broken transport.
    pub(crate) fn run(mut self) -> Met {
        while self.step() {}
        self.met
    }

    /// Reads until so much of the messages has come, or to the end.
    pub(crate) fn read_until(&mut self, payload: usize) {
        while self.met.payload < payload && self.step() {}
    }

    /// Reads once: whether more may come.
    pub(crate) fn step(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.pace.read(&mut self.stream, &mut buffer) {
            Ok([]) | Err(_) => false,
            Ok(bytes) => {
                self.unread.extend_from_slice(bytes);
                while self.understand() {}
                true
            }
        }
    }

    /// Takes a header, a control frame or a part of a message: whether there may be more to take.
    fn understand(&mut self) -> bool {
        if let Some(frame) = &mut self.frame {
            let count = self.unread.len().min(frame.length - frame.read);
            for (place, byte) in (frame.read..).zip(self.unread.drain(..count)) {
                assert_eq!(byte ^ frame.mask[place % 4], self::byte(place), "at {place}");
            }
            frame.read += count;
            self.met.payload += count;
            let ended = frame.read == frame.length;
            if ended {
                self.frame = None;
            }
            return ended;
        }
        let [first, second, ..] = self.unread[..] else { return false };
        assert_eq!(second & 0x80 != 0, self.end == End::Server, "masked as it must be");
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length_end = 2 + extended;
        let header_end = length_end + if self.end == End::Server { 4 } else { 0 };
        if self.unread.len() < header_end {
            return false;
        }
        let length = match extended {
            0 => usize::from(second & 0x7f),
            _ => {
                self.unread[2..length_end].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            }
        };
        let mut mask = [0; 4];
        if self.end == End::Server {
            mask.copy_from_slice(&self.unread[length_end..header_end]);
        }
        let opcode = first & 0x0f;
        if opcode < 8 {
            self.unread.drain(..header_end);
            self.frame = Some(Frame { mask, length, read: 0 });
            return true;
        }
        let end = header_end + length;
        if self.unread.len() < end {
            return false;
        }
        let mut control: Vec<u8> = self.unread.drain(..end).skip(header_end).collect();
        control.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match opcode {
            0x8 => {
                let code = u16::from_be_bytes([control[0], control[1]]);
                let reason = String::from_utf8(control[2..].to_vec()).unwrap();
                assert_eq!(self.met.close.replace((code, reason)), None, "one Close");
                self.send(0x8, &control);
                if self.end == End::Server {
                    // It closes first, and a client waits for that.
                    let _ = self.stream.shutdown(std::net::Shutdown::Write);
                }
            }
            0x9 => {
                self.met.pings += 1;
                self.send(0xa, &control);
            }
            _ => {}
        }
        true
    }

    /// Sends a control frame, as far as anybody is there to read it.
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode, payload.len() as u8];
        if self.end == End::Client {
            frame[1] |= 0x80;
            frame.extend([0; 4]);
        }
        frame.extend(payload);
        let _ = self.stream.write_all(&frame);
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
