//! Peers that are slow, silent or gone.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use framewire::{Client, ClientError, Message, Outcome, TimeoutKind};

use super::support::*;

#[test]
fn a_read_timeout_leaves_the_client_usable() {
    let url = format!("ws://{}/", echo_server());
    let mut client = untimed_client(&url).connect().unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20)));
    for _ in 0..3 {
        let error = client.recv().unwrap_err();
        assert!(is_read_timeout(&error), "{error:?}");
        assert!(!error.is_retryable());
    }
    client.set_read_timeout(Some(LONG));
    client.send("still here").unwrap();
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("still here"));

    let (mut reader, mut writer) = client.split().unwrap();
    reader.set_read_timeout(Some(Duration::from_millis(20)));
    let error = reader.recv().unwrap_err();
    assert!(is_read_timeout(&error), "{error:?}");
    reader.set_read_timeout(None);
    writer.send("and here").unwrap();
    assert_eq!(reader.recv().unwrap().unwrap().as_text(), Some("and here"));
    writer.close(1000, "").unwrap();
    assert_eq!(reader.recv().unwrap(), None);
    assert!(reader.outcome().unwrap().was_clean());
}

fn impatient(url: &str) -> Client {
    let config = untimed().write_timeout(Duration::from_millis(200)).no_deflate();
    untimed_client(url).config(config).connect().unwrap()
}

/// Sends until that fails.
fn send_until_it_fails(mut send: impl FnMut(&[u8]) -> Result<(), ClientError>) -> ClientError {
    let block = vec![b'x'; 1 << 20];
    (0..1000).find_map(|_| send(&block).err()).expect("no socket buffers a gigabyte")
}

fn is_write_timeout(error: &ClientError) -> bool {
    let ClientError::Lost(outcome) = error else { return false };
    let timeout = TimeoutKind::Write;
    *outcome == Outcome::TimedOut { timeout, sent: None, received: None }
}

#[test]
fn a_peer_that_never_reads_meets_the_deadline_of_writing() {
    let (server, hang_up) = deaf(drop);
    let mut client = impatient(&server.url("/"));
    let error = send_until_it_fails(|block| client.send(block));
    assert!(is_write_timeout(&error), "{error:?}");
    assert!(error.is_retryable());
    assert!(matches!(client.recv(), Err(again) if is_write_timeout(&again)));
    drop(hang_up);
    server.join();
}

#[test]
fn a_peer_that_never_reads_does_not_hold_up_the_halves() {
    for is_reading in [true, false] {
        let (server, hang_up) = deaf(drop);
        let (mut reader, mut writer) = impatient(&server.url("/")).split().unwrap();
        let reading = is_reading.then(|| thread::spawn(move || reader.recv()));
        let error = send_until_it_fails(|block| writer.send(block));
        if let Some(reading) = reading {
            let received = reading.join().unwrap();
            assert!(is_write_timeout(&received.unwrap_err()));
        }
        assert!(is_write_timeout(&error), "{error:?}");
        drop(hang_up);
        server.join();
    }
}

#[test]
fn sending_to_a_peer_that_is_gone_fails() {
    for is_split in [false, true] {
        let (server, hang_up) = deaf(drop);
        let client = untimed_client(&server.url("/")).connect().unwrap();
        drop(hang_up);
        server.join();
        let error = if is_split {
            // Nobody reads: the writer finds out by itself.
            let (_reader, mut writer) = client.split().unwrap();
            send_until_it_fails(|block| writer.send(block))
        } else {
            let mut client = client;
            send_until_it_fails(|block| client.send(block))
        };
        assert!(
            matches!(error, ClientError::Lost(_) | ClientError::Send(_)),
            "split: {is_split}: {error:?}"
        );
    }
}

// Each side fills the buffers of the other before it reads: whoever only sends is stuck.
#[test]
fn sending_goes_on_while_the_peer_waits_to_be_read() {
    // So much is kept, to be received later.
    let config = untimed().no_deflate().max_buffered_amount(32 << 20);
    let url = format!("ws://{}/", echo_server());
    let mut client = untimed_client(&url).config(config).connect().unwrap();
    let block = vec![7; 1 << 20];
    for _ in 0..24 {
        client.send(&block[..]).unwrap();
    }
    for _ in 0..24 {
        assert_eq!(client.recv().unwrap().unwrap().as_bytes(), block);
    }
    assert!(client.close(1000, "").unwrap().was_clean());
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        let asked = read_frame(&mut stream);
        (asked, read_rest(&mut stream))
    });
    let short = Duration::from_millis(50);
    let config = untimed().ping_interval(short).pong_timeout(short);
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let Err(ClientError::Lost(outcome)) = client.recv() else { panic!("it is not given up") };
    let timeout = TimeoutKind::Pong;
    assert_eq!(outcome, Outcome::TimedOut { timeout, sent: None, received: None });
    assert_eq!(server.join(), ((0x89, vec![0, 0, 0, 1]), vec![]));
}

#[test]
fn a_close_that_is_not_answered_meets_its_deadline() {
    let (server, hang_up) = deaf(drop);
    let config = untimed().close_timeout(Duration::from_millis(50));
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let outcome = client.close(1000, "bye").unwrap();
    let Outcome::TimedOut { timeout, sent: Some(sent), received: None } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(*timeout, TimeoutKind::Close);
    assert_eq!((sent.code().0, sent.reason()), (1000, "bye"));
    assert_eq!(client.close(1000, "").unwrap(), outcome);
    drop(hang_up);
    server.join();
}

#[test]
fn a_message_too_long_is_refused_with_1009() {
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        stream.write_all(b"\x82\x7e\x01\x00").unwrap();
        read_frame(&mut stream)
    });
    let config = untimed().max_message_size(255);
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let error = client.recv().unwrap_err();
    let ClientError::Protocol(error) = error else { panic!("{error:?}") };
    assert_eq!(error.close_code().0, 1009);
    let (first, payload) = server.join();
    assert_eq!((first, &payload[..2]), (0x88, &[0x03, 0xf1][..]));
}

/// Sends something long by the client, or by the writing half of it, to a server that sends messages of 1 MiB and
/// reads nothing: why that failed, why receiving did, and how much was received before.
fn send_to_who_only_sends(is_split: bool, timeout: Duration) -> (ClientError, ClientError, usize) {
    fn count(
        mut recv: impl FnMut() -> Result<Option<Message<'static>>, ClientError>,
    ) -> (ClientError, usize) {
        let mut bytes = 0;
        loop {
            match recv() {
                Ok(message) => bytes += message.unwrap().len(),
                Err(end) => return (end, bytes),
            }
        }
    }
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        let message = [&b"\x82\x7f\0\0\0\0\0\x10\0\0"[..], &[7; 1 << 20]].concat();
        while stream.write_all(&message).is_ok() {}
    });
    let config = untimed().write_timeout(timeout).no_deflate().max_buffered_amount(2 << 20);
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let long = vec![7; 32 << 20];
    let (error, (end, kept)) = if is_split {
        let (mut reader, mut writer) = client.split().unwrap();
        (writer.send(long).unwrap_err(), count(|| reader.recv()))
    } else {
        let error = client.send(long).unwrap_err();
        let received = count(|| client.recv());
        drop(client);
        (error, received)
    };
    server.join();
    (error, end, kept)
}

#[test]
fn what_is_kept_while_something_is_sent_is_bounded_in_bytes() {
    for is_split in [false, true] {
        let is_kept = longer_and_longer().any(|timeout| {
            let (error, end, kept) = send_to_who_only_sends(is_split, timeout);
            assert!(is_write_timeout(&error) && is_write_timeout(&end), "{error:?}, {end:?}");
            assert!(kept <= 3 << 20, "split: {is_split}: {kept} bytes");
            kept > 0
        });
        assert!(is_kept);
    }
}

/// The peer reads nothing before it has sent three messages, two of which fill what is kept.
#[test]
fn a_blocked_writer_goes_on_when_a_message_is_received() {
    // More than any socket buffers.
    const LENGTH: usize = 16 << 20;
    let (stops, has_stopped) = mpsc::channel();
    let server = Scripted::new(move |listener| {
        let mut stream = open(listener);
        let header = [&b"\x82\x7f"[..], &(LENGTH as u64).to_be_bytes()].concat();
        let message = [header, vec![7; LENGTH]].concat();
        stream.write_all(&message.repeat(2)).unwrap();
        // If nothing of the third is taken for so long, the client has no room for it.
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut rest = &message[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) => {
                    let is_full =
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(is_full, "{error}");
                    stops.send(()).unwrap();
                    stream.set_write_timeout(Some(LONG)).unwrap();
                }
            }
        }
        let mut received = (&mut stream).take(14 + LENGTH as u64);
        assert_eq!(io::copy(&mut received, &mut io::sink()).unwrap(), 14 + LENGTH as u64);
    });
    let config = untimed().no_deflate().max_buffered_amount(2 * LENGTH);
    let client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    let (mut reader, mut writer) = client.split().unwrap();
    let sending = thread::spawn(move || writer.send(vec![7; LENGTH]));
    // Where the buffers have taken all of it, the server has ended.
    let _ = has_stopped.recv();
    assert_eq!(reader.recv().unwrap().unwrap().len(), LENGTH);
    sending.join().unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(reader.recv().unwrap().unwrap().len(), LENGTH);
    }
    server.join();
}
