//! What the clocks of a connection count, to the microsecond.

use std::time::Duration;

use framewire::{Config, Connection, Role, State};

use super::support::frames::*;
use super::support::script::*;

const CLIENT: Role = Role::Client;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An open connection whose clocks run from the second 0 on.
fn opened(config: &Config) -> Connection {
    let mut connection = Connection::adopted_server(config);
    assert_eq!(connection.handle_timeout(at(0)), None);
    connection
}

fn hear(connection: &mut Connection, frame: &Frame) {
    feed(connection, &frame.by(CLIENT));
}

#[test]
fn a_clock_may_come_to_its_end() {
    for state in [State::Connecting, State::Open] {
        let mut connection = match state {
            State::Open => opened(&Config::new()),
            _ => Connection::server(&Config::new()),
        };
        assert_eq!(connection.handle_timeout(Duration::MAX), None);
        assert_eq!(connection.handle_timeout(Duration::MAX), None);
        assert_eq!(connection.state(), state);
    }
}

#[test]
fn an_answer_brings_the_next_ping_nearer_than_the_pong_was() {
    let config = Config::new().ping_interval(at(20)).pong_timeout(at(100)).write_timeout(None);
    let mut connection = opened(&config);
    connection.handle_timeout(at(20));
    assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 1])]);
    assert_eq!(connection.next_timeout(), Some(at(120)));
    connection.handle_timeout(at(30));
    hear(&mut connection, &pong([0, 0, 0, 1]));
    assert_eq!(connection.next_timeout(), Some(at(50)));
    connection.handle_timeout(at(50));
    assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 2])]);
}

#[test]
fn a_deadline_is_not_missed_because_an_earlier_one_was() {
    let config = Config::new().ping_interval(None).message_timeout(at(10));
    let mut connection = opened(&config);
    let (front, back) = (text("front").more().by(CLIENT), continuation("back").by(CLIENT));
    feed(&mut connection, &front);
    // The program was held up; what lies unread ends the message, and begins the next one.
    assert_eq!(connection.handle_timeout(at(15)), None);
    assert_eq!(connection.handle_timeout(at(15)), None);
    feed(&mut connection, &[back.clone(), front].concat());
    // It is held up again.
    assert_eq!(connection.handle_timeout(at(70)), None);
    assert_eq!(connection.handle_timeout(at(70)), None);
    assert_eq!(connection.next_timeout(), Some(at(25)), "it is time to look once more");
    feed(&mut connection, &back);
    assert_eq!(connection.handle_timeout(at(71)), None);
    assert_eq!(connection.state(), State::Open);
}
