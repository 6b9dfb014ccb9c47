//! Clients that send, and do not receive: what the peer asks is answered all the same.

use std::io::Write;
use std::net::TcpStream;

use framewire::{Client, ClientError, Outcome, SendError};

use super::support::*;

/// Far more than come before the answer.
const MANY: usize = 3_000_000;

/// Whether this is among the next frames.
fn await_frame(stream: &mut TcpStream, first: u8) -> bool {
    (0..MANY).any(|_| read_frame(stream).0 == first)
}

/// A server that sends a message and a Ping, and closes once it has its Pong: whether it was answered both.
fn asking() -> Scripted<(bool, bool)> {
    Scripted::new(|listener| {
        let mut stream = open(listener);
        stream.write_all(b"\x81\x04kept\x89\x01?").unwrap();
        let has_pong = await_frame(&mut stream, 0x8a);
        stream.write_all(b"\x88\x02\x03\xf3").unwrap();
        (has_pong, await_frame(&mut stream, 0x88))
    })
}

fn connect(server: &Scripted<(bool, bool)>) -> Client {
    untimed_client(&server.url("/")).config(untimed().no_deflate()).connect().unwrap()
}

/// Sends until that fails, which it does when the server has closed.
fn send_until_closed(mut send: impl FnMut(&str) -> Result<(), ClientError>) {
    let error = loop {
        if let Err(error) = send("x") {
            break error;
        }
    };
    let is_closed = match &error {
        ClientError::Send(error) => matches!(error, SendError::Closing | SendError::Closed),
        ClientError::Lost(outcome) => outcome.received().is_some(),
        _ => false,
    };
    assert!(is_closed, "{error:?}");
}

fn code(outcome: &Outcome) -> u16 {
    outcome.code().0
}

#[test]
fn a_client_that_only_sends_answers() {
    let server = asking();
    let mut client = connect(&server);
    send_until_closed(|message| client.send(message));
    assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("kept"));
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(code(client.outcome().unwrap()), 1011);
    assert_eq!(server.join(), (true, true));
}

#[test]
fn the_writer_answers_while_the_reader_is_busy_elsewhere() {
    let server = asking();
    let (mut reader, mut writer) = connect(&server).split().unwrap();
    send_until_closed(|message| writer.send(message));
    assert_eq!(reader.recv().unwrap().unwrap().as_text(), Some("kept"));
    assert_eq!(reader.recv().unwrap(), None);
    assert_eq!(code(reader.outcome().unwrap()), 1011);
    assert_eq!(server.join(), (true, true));
}

#[test]
fn the_writer_answers_when_the_reader_was_dropped() {
    let server = asking();
    let (reader, mut writer) = connect(&server).split().unwrap();
    drop(reader);
    send_until_closed(|message| writer.send(message));
    assert_eq!(server.join(), (true, true));
    // It learns of the end as well.
    while writer.outcome().is_none() {
        assert!(writer.send("x").is_err());
    }
    assert_eq!(code(writer.outcome().unwrap()), 1011);
    assert!(writer.outcome().unwrap().was_clean());
}
