use std::io::Write;
use std::time::Duration;

use framewire::Message;

use super::support::*;

#[test]
fn the_round_trip_of_a_ping_is_told() {
    let server = Scripted::new(|listener| {
        let mut stream = open(listener);
        loop {
            let (first, payload) = read_frame(&mut stream);
            if first == 0x88 {
                return stream.write_all(b"\x88\x02\x03\xe8").unwrap();
            }
            assert_eq!(first, 0x89, "a Ping");
            // A Pong that nobody asked for, the answer, and the word that it was sent. Where that takes
            // longer than the client waits, it asks again, and counts the answer to the latest only.
            let length = [payload.len() as u8];
            let answer = [b"\x8a\x00\x8a", &length[..], &payload, b"\x81\x03two"].concat();
            stream.write_all(&answer).unwrap();
        }
    });
    let config = untimed().ping_interval(Duration::from_millis(10)).pong_timeout(LONG);
    let mut client = untimed_client(&server.url("/")).config(config).connect().unwrap();
    assert_eq!(client.round_trip_time(), None);
    while client.round_trip_time().is_none() {
        assert_eq!(client.recv().unwrap(), Some(Message::text("two")));
    }
    let (mut reader, mut writer) = client.split().unwrap();
    assert!(reader.round_trip_time().is_some_and(|time| time > Duration::ZERO));
    writer.close(1000, "").unwrap();
    while reader.recv().unwrap().is_some() {}
    server.join();
}
