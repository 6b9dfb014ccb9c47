//! Clients over streams of somebody else's, and streams over clients.

use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewire::handshake::{ClientRequest, Url};
use framewire::{Client, ClientError, ClientTimeout, Config, Event, Message, State};

use super::support::*;

/// A stream that answers a request with a 101 and more, in portions of these sizes.
struct Wire {
    sent: Arc<Mutex<Vec<u8>>>,
    behind: Vec<u8>,
    answer: Option<Cursor<Vec<u8>>>,
    portion: Box<dyn FnMut() -> usize + Send>,
}

impl Wire {
    fn new(behind: &[u8], portion: impl FnMut() -> usize + Send + 'static) -> Self {
        let (sent, behind) = (Arc::default(), behind.to_vec());
        Self { sent, behind, answer: None, portion: Box::new(portion) }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { sent, behind, answer, portion } = self;
        let answer = answer.get_or_insert_with(|| {
            let request = String::from_utf8(sent.lock().unwrap().split_off(0)).unwrap();
            assert!(request.ends_with("\r\n\r\n"), "{request}");
            Cursor::new([switch(&request, "").as_bytes(), behind].concat())
        });
        let room = buffer.len().min(portion());
        answer.read(&mut buffer[..room])
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Short writes are a stream's right.
        let count = bytes.len().min(7);
        self.sent.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request() -> ClientRequest {
    ClientRequest::new(&Url::parse("ws://example.com/").unwrap())
}

// attack: HC08
#[test]
fn frames_in_the_segment_of_the_101_at_every_split() {
    let behind = b"\x81\x05Hello\x89\x01p\x01\x01a\x80\x01b\x88\x02\x03\xe8";
    let config = untimed().no_deflate();
    let length = switch("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "").len() + behind.len();
    for split in 0..=length {
        let mut calls = 0;
        let wire = Wire::new(behind, move || {
            calls += 1;
            if calls == 1 && split > 0 { split } else { usize::MAX }
        });
        check_frames(wire, &config);
    }
    check_frames(Wire::new(behind, || 1), &config);
}

fn check_frames(wire: Wire, config: &Config) {
    let sent = Arc::clone(&wire.sent);
    let mut client = Client::handshake(wire, request(), config).unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("Hello"));
    assert_eq!(client.recv().unwrap(), Some(Message::text("ab")));
    assert_eq!(client.recv().unwrap(), None);
    assert!(client.outcome().unwrap().was_clean());
    let sent = sent.lock().unwrap().clone();
    let mut frames = &sent[..];
    assert_eq!(read_frame(&mut frames), (0x8a, b"p".to_vec()));
    assert_eq!(read_frame(&mut frames), (0x88, vec![0x03, 0xe8]));
    assert!(frames.is_empty());
}

#[test]
fn adopted_streams_begin_with_what_was_read_already() {
    let whole = b"\x81\x05Hello\x82\x03abc\x88\x02\x03\xe8";
    for split in 0..=whole.len() {
        let (leftover, rest) = whole.split_at(split);
        let server = Scripted::new(move |listener| {
            let mut stream = accept(listener);
            stream.write_all(rest).unwrap();
            read_rest(&mut stream)
        });
        let stream = TcpStream::connect(server.address).unwrap();
        let mut client = Client::adopt(stream, leftover, &untimed()).unwrap();
        assert!(client.response().is_none());
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("Hello"), "at {split}");
        assert_eq!(client.recv().unwrap().unwrap().as_bytes(), b"abc");
        let close = client.next_event().unwrap();
        assert!(matches!(close, Some(Event::Close(_))), "{close:?}");
        // The server waits for our end; the stream has no word for half of one.
        drop(client);
        let sent = server.join();
        assert_eq!(read_frame(&mut &sent[..]), (0x88, vec![0x03, 0xe8]));
    }
}

#[test]
fn streams_that_block_and_their_own_timeouts() {
    let address = echo_server();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut client = Client::handshake(stream, request(), &untimed()).unwrap();
    let error = client.recv().unwrap_err();
    assert!(is_read_timeout(&error), "{error:?}");
    client.send("still here").unwrap();
    let message = loop {
        match client.recv() {
            Err(ClientError::TimedOut(ClientTimeout::Read)) => {}
            result => break result.unwrap().unwrap(),
        }
    };
    assert_eq!(message.as_text(), Some("still here"));
    assert!(client.close(1000, "").unwrap().was_clean());
    assert_eq!(client.state(), State::Closed);
}

/// A stream whose every other read gives up, and which reads a byte at a time in between.
struct Hesitant {
    stream: TcpStream,
    gives_up: bool,
}

impl Read for Hesitant {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.gives_up = !self.gives_up;
        match self.gives_up {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => self.stream.read(&mut buffer[..1]),
        }
    }
}

impl Write for Hesitant {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

// A stream's own timeout is shorter than the server's thinking, and no failure.
#[test]
fn a_short_timeout_of_the_stream_is_not_the_deadline_of_the_handshake() {
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        assert_eq!(read_frame(&mut stream).0, 0x88);
        stream.write_all(b"\x88\x02\x03\xe8").unwrap();
    });
    let stream = Hesitant { stream: TcpStream::connect(server.address).unwrap(), gives_up: false };
    let mut client = Client::handshake(stream, request(), &untimed()).unwrap();
    assert!(client.close(1000, "").unwrap().was_clean());
    server.join();
}

#[test]
fn streams_of_others_cannot_be_split() {
    let stream = TcpStream::connect(echo_server()).unwrap();
    let client = Client::handshake(stream, request(), &untimed()).unwrap();
    assert!(matches!(client.split(), Err(ClientError::NotSplittable)));
}

/// Bytes that compress and bytes that do not.
fn file() -> Vec<u8> {
    let mut state = 1u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes: Vec<u8> = (0..300_000).map(noise).collect();
    bytes.extend(b"a line of text that comes again\n".repeat(10_000));
    bytes
}

#[test]
fn a_websocket_as_a_stream_of_bytes() {
    let file = file();
    let client = untimed_client(&format!("ws://{}/", echo_server())).connect().unwrap();
    let mut writer = BufWriter::with_capacity(5_000, client.into_stream());
    for (index, piece) in file.chunks(777).enumerate() {
        writer.write_all(piece).unwrap();
        if index % 100 == 0 {
            writer.flush().unwrap();
        }
    }
    let stream = writer.into_inner().unwrap();
    let mut reader = BufReader::with_capacity(3_001, stream);
    let mut back = vec![0; file.len()];
    reader.read_exact(&mut back).unwrap();
    assert!(back == file);
    let mut stream = reader.into_inner();
    assert!(stream.close().unwrap().was_clean());
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// A compressor of flate2 that neither knows nor cares that its stream is a WebSocket.
#[test]
fn another_crate_speaks_over_it() {
    use flate2::read::DeflateDecoder;
    use flate2::write::DeflateEncoder;

    let file = file();
    let client = untimed_client(&format!("ws://{}/", echo_server())).connect().unwrap();
    let stream = BufWriter::new(client.into_stream());
    let mut encoder = DeflateEncoder::new(stream, flate2::Compression::default());
    encoder.write_all(&file).unwrap();
    let stream = encoder.finish().unwrap().into_inner().unwrap();
    let mut decoder = DeflateDecoder::new(BufReader::new(stream));
    let mut back = vec![0; file.len()];
    decoder.read_exact(&mut back).unwrap();
    assert!(back == file);
    let (mut client, _) = decoder.into_inner().into_inner().into_inner();
    assert!(client.close(1000, "").unwrap().was_clean());
}

#[test]
fn what_a_stream_left_unread_comes_back() {
    let client = untimed_client(&format!("ws://{}/", echo_server())).connect().unwrap();
    let mut stream = client.into_stream();
    stream.write_all(b"abcdef").unwrap();
    let mut three = [0; 3];
    stream.read_exact(&mut three).unwrap();
    let (mut client, rest) = stream.into_inner();
    assert_eq!((&three, &rest[..]), (b"abc", &b"def"[..]));
    client.send("on").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("on"));
}

#[test]
fn a_message_is_answered_before_the_fault_behind_it_is_looked_at() {
    let server = Scripted::new(move |listener| {
        let mut stream = accept(listener);
        // A message, and in the same segment a frame with a reserved opcode.
        stream.write_all(b"\x81\x05Hello\x83\x00").unwrap();
        read_rest(&mut stream)
    });
    let stream = TcpStream::connect(server.address).unwrap();
    let mut client = Client::adopt(stream, &[], &untimed()).unwrap();
    let message = client.recv().unwrap().unwrap();
    client.send(message).unwrap();
    let failed = client.next_event().unwrap();
    assert!(matches!(failed, Some(Event::Failed(_))), "{failed:?}");
    drop(client);
    let sent = server.join();
    let mut sent = &sent[..];
    assert_eq!(read_frame(&mut sent), (0x81, b"Hello".to_vec()));
    let (first, close) = read_frame(&mut sent);
    assert_eq!((first, &close[..2]), (0x88, &1002u16.to_be_bytes()[..]));
}

#[test]
fn the_halves_of_a_stream_read_and_write_side_by_side() {
    let url = format!("ws://{}/", echo_server());
    let mut stream = untimed_client(&url).connect().unwrap().into_stream();
    // What the stream has received and not read, its half reads.
    stream.write_all(b"abc").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    let (mut reader, mut writer) = stream.split().unwrap();
    let closer = writer.closer();
    let writing = std::thread::spawn(move || {
        let long = std::io::repeat(7).take(8 << 20);
        let count = std::io::copy(&mut { long }, &mut writer).unwrap();
        writer.flush().unwrap();
        writer.close().unwrap();
        count
    });
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!((byte, &all[..2], all.len()), ([b'a'], &b"bc"[..], 2 + (8 << 20)));
    assert_eq!(writing.join().unwrap(), 8 << 20);
    // It is over.
    closer.abort();
    assert_eq!(reader.read(&mut byte).unwrap(), 0);

    let mut stream = untimed_client(&url).connect().unwrap().into_stream();
    stream.closer().abort();
    let error = stream.read(&mut byte).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
}
