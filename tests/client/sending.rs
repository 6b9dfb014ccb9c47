//! What `send` says: that all of it has left, or why not.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use framewire::{Client, ClientError, ClientTimeout, CloseCode, Config, Outcome, TimeoutKind};

use super::support::*;

/// More than any socket buffers.
const LENGTH: usize = 16 << 20;
/// "Too big."
const CLOSE: &[u8] = b"\x88\x0a\x03\xf1too big.";

fn connect(url: &str, config: Config) -> Client {
    untimed_client(url).config(config.no_deflate()).connect().unwrap()
}

/// A server that reads a part of the first message, sends a Close, then does this, and holds the stream
/// until it is told.
fn refusing(
    then: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (Scripted<()>, mpsc::Sender<()>) {
    let (hang_up, hung_up) = mpsc::channel();
    let server = Scripted::new(move |listener| {
        let mut stream = open(listener);
        // A client whose time is short may have given up before this one had its turn.
        if stream.read_exact(&mut vec![0; 256 * 1024]).is_ok() && stream.write_all(CLOSE).is_ok() {
            then(&mut stream);
            let _ = hung_up.recv();
        }
    });
    (server, hang_up)
}

/// Sends one message by the client, or by the writing half of it while nobody receives.
fn send_long(client: Client, is_split: bool) -> (ClientError, Outcome) {
    let message = vec![7; LENGTH];
    if is_split {
        let (reader, mut writer) = client.split().unwrap();
        let error = writer.send(message).unwrap_err();
        (error, reader.outcome().unwrap().clone())
    } else {
        let mut client = client;
        let error = client.send(message).unwrap_err();
        (error, client.outcome().unwrap().clone())
    }
}

fn lost(error: &ClientError) -> &Outcome {
    match error {
        ClientError::Lost(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_that_the_server_refuses_halfway_was_not_sent() {
    let (server, hang_up) = refusing(|stream| stream.shutdown(Shutdown::Write).unwrap());
    let mut client = connect(&server.url("/"), untimed());
    let error = client.send(vec![7; LENGTH]).unwrap_err();
    let outcome = lost(&error);
    assert_eq!((outcome.code(), outcome.reason()), (CloseCode(1009), "too big."));
    assert!(matches!(outcome, Outcome::Lost { sent: None, .. }), "{outcome:?}");
    assert_eq!(client.outcome(), Some(outcome));
    assert_eq!(
        error.to_string(),
        "the connection was lost without a closing handshake, after a Close with 1009"
    );
    // Whoever sends on is told the same.
    assert_eq!(lost(&client.send("more").unwrap_err()), client.outcome().unwrap());
    drop(hang_up);
    server.join();
}

/// The server is gone, with much of the message unread: what it said last is read all the same.
#[test]
fn a_reset_does_not_hide_the_close_before_it() {
    for is_split in [false, true] {
        let (server, hang_up) = refusing(|_| {});
        drop(hang_up);
        let (error, outcome) = send_long(connect(&server.url("/"), untimed()), is_split);
        server.join();
        assert_eq!(lost(&error), &outcome);
        assert_eq!((outcome.code(), outcome.reason()), (CloseCode(1009), "too big."));
        assert!(!outcome.was_clean());
        // What the system said is the reason of the loss.
        let cause = outcome.cause().unwrap();
        assert!(cause.is::<std::io::Error>(), "{cause:?}");
        assert_eq!(error.source().unwrap().to_string(), cause.to_string());
        assert!(error.to_string().ends_with("after a Close with 1009"), "{error}");
    }
}

/// It neither reads nor ends: the time limit that ended the connection is named beside its Close.
#[test]
fn the_time_limit_of_writing_is_named() {
    for is_split in [false, true] {
        let mut ends = longer_and_longer().map(|timeout| {
            let (server, hang_up) = refusing(|_| {});
            let client = connect(&server.url("/"), untimed().write_timeout(timeout));
            let (error, outcome) = send_long(client, is_split);
            drop(hang_up);
            server.join();
            assert_eq!(lost(&error), &outcome);
            (error, outcome)
        });
        // A server that is late says nothing in time.
        let is_told = |(_, outcome): &(_, Outcome)| outcome.code() == CloseCode(1009);
        let (error, outcome) = ends.find(is_told).expect("a Close in time");
        let Outcome::TimedOut { timeout, sent, received } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((*timeout, sent), (TimeoutKind::Write, &None));
        assert_eq!(received.as_ref().map(|close| close.code()), Some(CloseCode(1009)));
        let words = error.to_string();
        assert!(words.starts_with("the connection was given up: write timeout"), "{words}");
        assert!(error.is_retryable());
    }
}

/// The server reads all of it and closes: that the connection is about to end does not unsend it.
#[test]
fn what_has_left_before_a_close_was_sent() {
    for _ in 0..20 {
        let server = Scripted::new(|listener| {
            let mut stream = open(listener);
            stream.read_exact(&mut vec![0; 14 + LENGTH / 8]).unwrap();
            stream.write_all(CLOSE).unwrap();
            let answer = read_frame(&mut stream);
            drop(stream);
            answer
        });
        let mut client = connect(&server.url("/"), untimed());
        client.send(vec![7; LENGTH / 8]).unwrap();
        assert_eq!(client.recv().unwrap(), None);
        let outcome = client.outcome().unwrap();
        assert!(outcome.was_clean());
        assert_eq!(outcome.code(), CloseCode(1009));
        assert_eq!(server.join(), (0x88, CLOSE[2..].to_vec()));
    }
}

/// A stream that blocks by itself, and gives up by itself.
#[test]
fn a_stream_that_takes_nothing_in_its_own_time_is_told_of() {
    struct Full;
    impl Read for Full {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let config = untimed().write_timeout(None);
    let mut client = Client::adopt(Full, b"", &config).unwrap();
    let error = client.send("words").unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Write)), "{error:?}");
    assert_eq!(client.outcome(), None);
}

/// A stream that counts its writes, and never has anything to read.
struct Counting {
    writes: std::sync::Arc<std::sync::Mutex<Vec<usize>>>,
}

impl std::io::Read for Counting {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }
}

impl std::io::Write for Counting {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.writes.lock().unwrap().push(buffer.len());
        Ok(buffer.len())
    }

    fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.writes.lock().unwrap().push(length);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_queued_leaves_with_one_write() {
    const FRAME: usize = 2 + 4 + 20;
    let writes = std::sync::Arc::<std::sync::Mutex<Vec<usize>>>::default();
    let taken = || std::mem::take(&mut *writes.lock().unwrap());
    let stream = Counting { writes: std::sync::Arc::clone(&writes) };
    let config = untimed().max_buffered_amount(100 * FRAME);
    let mut client = framewire::Client::adopt(stream, b"", &config).unwrap();
    let message = [7; 20];
    for _ in 0..100 {
        client.send(&message[..]).unwrap();
    }
    assert_eq!(taken(), [FRAME; 100]);
    for _ in 0..100 {
        client.queue(&message[..]).unwrap();
    }
    assert_eq!((taken(), client.buffered_amount()), (vec![], 100 * FRAME));
    client.flush().unwrap();
    assert_eq!((taken(), client.buffered_amount()), (vec![100 * FRAME], 0));
    client.flush().unwrap();
    assert!(taken().is_empty());
    // What is sent, and what is waited for, takes along what was queued.
    client.queue(&message[..]).unwrap();
    client.send(&message[..]).unwrap();
    assert_eq!(taken(), [2 * FRAME]);
    client.queue(&message[..]).unwrap();
    assert!(client.recv().is_err());
    assert_eq!(taken(), [FRAME]);
    // It is not kept without end.
    for _ in 0..250 {
        client.queue(&message[..]).unwrap();
    }
    assert_eq!(taken(), [101 * FRAME, 101 * FRAME]);
    client.ping(b"").unwrap();
    assert_eq!(taken(), [48 * FRAME + 6]);
}

#[test]
fn the_halves_queue_too() {
    let url = format!("ws://{}/", echo_server());
    let (mut reader, mut writer) = untimed_client(&url).connect().unwrap().split().unwrap();
    for number in 0..100_u8 {
        writer.queue(vec![number]).unwrap();
    }
    assert_eq!(reader.buffered_amount(), 100 * 7);
    writer.flush().unwrap();
    assert_eq!(writer.buffered_amount(), 0);
    for number in 0..100_u8 {
        assert_eq!(reader.recv().unwrap().unwrap().as_bytes(), [number]);
    }
    // Who receives sends it, too.
    writer.queue("last").unwrap();
    assert_eq!(reader.recv().unwrap().unwrap().as_text(), Some("last"));
}

#[test]
fn each_call_says_whether_its_message_is_compressed() {
    use framewire::deflate::DeflateConfig;
    use framewire::{Compress, Fragment, MessageKind};
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        let request = read_head(&mut stream);
        let answer = switch(&request, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        let frames: Vec<_> = (0..6).map(|_| read_frame(&mut stream)).collect();
        close(&mut stream, 1000);
        frames
    });
    let config = untimed().deflate(DeflateConfig::new());
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let text = "as long as it has to be, ".repeat(4);
    let piece = |first| {
        let kind = MessageKind::Text;
        if first { Fragment::more(kind, b"one ") } else { Fragment::last(kind, b"two") }
    };
    client.send_with(text.as_str(), Compress::Never).unwrap();
    client.send_with(text.as_str(), Compress::Always).unwrap();
    client.send_fragment_with(piece(true), Compress::Always).unwrap();
    client.send_fragment_with(piece(false), Compress::Always).unwrap();
    client.pong(b"unasked").unwrap();
    client
        .send_fragment_with(Fragment::last(MessageKind::Text, b"whole"), Compress::Never)
        .unwrap();
    assert_eq!(client.recv().unwrap(), None);
    let frames = server.join();
    // The bit that says so stands in the first frame of a message (RFC 7692 section 6).
    let firsts: Vec<u8> = frames.iter().map(|frame| frame.0).collect();
    assert_eq!(firsts, [0x81, 0xc1, 0x41, 0x80, 0x8a, 0x81]);
    assert_eq!(frames[0].1, text.as_bytes());
    assert!(frames[1].1.len() < text.len() / 2);
    assert_eq!((&frames[4].1[..], &frames[5].1[..]), (&b"unasked"[..], &b"whole"[..]));
}

#[test]
fn no_password_is_in_what_is_told_of_a_builder() {
    let builder = Client::builder("ws://me:hidden@127.0.0.1/").unwrap();
    let told = format!("{builder:?}");
    assert!(told.contains("127.0.0.1") && !told.contains("hidden"), "{told}");
}
