//! Deadlines, by a clock that the test sets.

use std::time::Duration;

use framewire::handshake::HandshakeError;
use framewire::{
    Accept, Config, Connection, Deadlines, Due, Event, Outcome, ProtocolError, Role, State, Turn,
};

use super::support::frames::*;
use super::support::script::*;

const RECEIVED: Turn = Turn { received: true, sent: false };
const SENT: Turn = Turn { received: false, sent: true };
const NOTHING: Turn = Turn { received: false, sent: false };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An open connection that was opened at `now`.
fn opened(role: Role, config: &Config, now: u64) -> (Connection, Deadlines) {
    let connection = open(role, config, None);
    let mut deadlines = Deadlines::new(at(now));
    deadlines.observe(&connection, at(now), RECEIVED);
    (connection, deadlines)
}

/// All that is due at `now`, each dealt with.
fn expire(connection: &mut Connection, deadlines: &mut Deadlines, now: Duration) -> Vec<Due> {
    let mut all = Vec::new();
    while let Some(due) = deadlines.due(connection, now) {
        all.push(due);
        connection.expire(due);
        deadlines.observe(connection, now, NOTHING);
        assert!(all.len() < 10, "deadlines come to an end: {all:?}");
    }
    all
}

// req: W106
// attack: HC04, HS05, HS06
#[test]
fn progress_does_not_extend_the_handshake() {
    let config = Config::new();
    for role in ROLES {
        let mut connection = match role {
            Role::Server => Connection::server(&config),
            Role::Client => client(&config),
        };
        drain(&mut connection);
        let mut deadlines = Deadlines::new(at(100));
        let head = match role {
            Role::Server => request(""),
            Role::Client => response(""),
        };
        for second in 0..10u64 {
            assert_eq!(deadlines.next(&connection), Some(at(110)));
            assert_eq!(deadlines.due(&connection, at(100 + second)), None);
            let byte = head.as_bytes()[second as usize];
            assert_eq!(feed(&mut connection, &[byte]), vec![]);
            deadlines.observe(&connection, at(100 + second), RECEIVED);
        }
        assert_eq!(deadlines.due(&connection, at(110)), Some(Due::Handshake));
        let event = connection.expire(Due::Handshake);
        assert_eq!(event, Some(Event::HandshakeFailed(HandshakeError::Timeout)));
        assert_eq!(connection.state(), State::Closed);
        // Just dropped: nobody who is that slow reads an answer.
        assert_eq!(drain(&mut connection), b"");
        let outcome = Outcome::HandshakeFailed(HandshakeError::Timeout);
        assert_eq!(connection.receive_eof(), outcome);
        assert_eq!(connection.expire(Due::Handshake), None);
        deadlines.observe(&connection, at(110), NOTHING);
        assert_eq!(deadlines.next(&connection), None);
    }
}

#[test]
fn a_decision_has_a_time_of_its_own() {
    let mut connection = Connection::server(&Config::new());
    let mut deadlines = Deadlines::new(at(100));
    feed(&mut connection, request("").as_bytes());
    assert!(connection.awaits_decision());
    deadlines.observe(&connection, at(107), RECEIVED);
    // The client has done its part.
    assert_eq!(deadlines.next(&connection), Some(at(117)));
    deadlines.observe(&connection, at(112), NOTHING);
    assert_eq!(deadlines.due(&connection, at(116)), None);
    assert_eq!(deadlines.due(&connection, at(117)), Some(Due::Decision));
    let event = connection.expire(Due::Decision);
    assert_eq!(event, Some(Event::HandshakeFailed(HandshakeError::DecisionTimeout)));
    assert!(drain(&mut connection).starts_with(b"HTTP/1.1 503 "));
    assert!(connection.wants_shutdown());
    let outcome = Outcome::HandshakeFailed(HandshakeError::DecisionTimeout);
    assert_eq!(connection.receive_eof(), outcome);
    // A decision in time leaves nothing behind: a message begins to count from its own first byte.
    let config = Config::new().message_timeout(Duration::from_secs(3)).ping_interval(None);
    let mut connection = Connection::server(&config);
    let mut deadlines = Deadlines::new(at(0));
    feed(&mut connection, request("").as_bytes());
    deadlines.observe(&connection, at(0), RECEIVED);
    connection.accept(Accept::new()).unwrap();
    assert_eq!(connection.expire(Due::Decision), None);
    feed(&mut connection, &[0x81]);
    drain(&mut connection);
    deadlines.observe(&connection, at(9), RECEIVED);
    assert_eq!(deadlines.next(&connection), Some(at(12)));
}

// attack: FL07
#[test]
fn silence_is_asked_and_then_given_up() {
    for role in ROLES {
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
        assert_eq!(deadlines.next(&connection), Some(at(20)));
        assert_eq!(expire(&mut connection, &mut deadlines, at(19)), []);
        assert_eq!(expire(&mut connection, &mut deadlines, at(20)), [Due::Ping]);
        assert_eq!(drain_frames(&mut connection), [ping("")]);
        deadlines.observe(&connection, at(20), SENT);
        assert_eq!(deadlines.next(&connection), Some(at(40)));
        // Any byte is a sign of life.
        feed(&mut connection, &pong("").by(peer_of(role))[..1]);
        deadlines.observe(&connection, at(39), RECEIVED);
        assert_eq!(expire(&mut connection, &mut deadlines, at(58)), []);
        assert_eq!(expire(&mut connection, &mut deadlines, at(59)), [Due::Ping]);
        drain(&mut connection);
        deadlines.observe(&connection, at(59), SENT);
        assert_eq!(expire(&mut connection, &mut deadlines, at(78)), []);
        assert_eq!(expire(&mut connection, &mut deadlines, at(79)), [Due::Pong]);
        assert_eq!(connection.state(), State::Closed);
        let lost = Outcome::Lost { sent: None, received: None };
        assert_eq!(connection.receive_eof(), lost);
        assert_eq!(deadlines.next(&connection), None);
    }
}

// req: W092, W094
// attack: CL06, CL07, CL08
#[test]
fn a_closing_handshake_has_an_end() {
    for role in ROLES {
        for answered in [false, true] {
            let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
            connection.close(1000, "").unwrap();
            drain(&mut connection);
            deadlines.observe(&connection, at(7), SENT);
            assert_eq!(deadlines.next(&connection), Some(at(12)));
            if answered {
                feed(&mut connection, &close(1000, "").by(peer_of(role)));
                assert_eq!(connection.wants_shutdown(), role == Role::Server);
            }
            // Data that keeps coming does not extend it.
            for second in 8..12 {
                feed(&mut connection, &text("flood").by(peer_of(role)));
                deadlines.observe(&connection, at(second), RECEIVED);
                assert_eq!(deadlines.due(&connection, at(second)), None);
            }
            assert_eq!(expire(&mut connection, &mut deadlines, at(12)), [Due::Close]);
            assert_eq!(connection.state(), State::Closed);
            assert_eq!(connection.receive_eof().was_clean(), answered);
        }
    }
}

// attack: FM06
#[test]
fn a_message_that_takes_too_long_fails_with_1008() {
    for role in ROLES {
        let config = Config::new().message_timeout(at(30)).ping_interval(None);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        let peer = peer_of(role);
        assert_eq!(deadlines.next(&connection), None);
        feed(&mut connection, &text("a").more().by(peer));
        deadlines.observe(&connection, at(100), RECEIVED);
        for second in [110, 120, 129] {
            feed(&mut connection, &continuation("b").more().by(peer));
            deadlines.observe(&connection, at(second), RECEIVED);
            assert_eq!(deadlines.next(&connection), Some(at(130)), "the first byte counts");
        }
        // One that ends in time makes way for the next, even in one read.
        let ends = [continuation("c").by(peer), text("d").more().by(peer)].concat();
        assert_eq!(feed(&mut connection, &ends), [said("abbbc")]);
        deadlines.observe(&connection, at(129), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(159)));
        assert_eq!(deadlines.due(&connection, at(159)), Some(Due::Message));
        let error = ProtocolError::Deadline(Due::Message);
        assert_eq!(connection.expire(Due::Message), Some(Event::Failed(error)));
        assert_eq!(drain_frames(&mut connection), [close(1008, &error.to_string())]);
        assert!(connection.wants_shutdown());
        deadlines.observe(&connection, at(159), SENT);
        assert_eq!(expire(&mut connection, &mut deadlines, at(164)), [Due::Close]);
        assert_eq!(connection.receive_eof(), Outcome::Failed(error));
    }
}

#[test]
fn the_first_message_has_a_deadline_of_its_own() {
    for role in ROLES {
        let config = Config::new().first_message_timeout(at(5)).ping_interval(None);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        feed(&mut connection, &ping("not one").by(peer_of(role)));
        drain(&mut connection);
        deadlines.observe(&connection, at(4), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(5)));
        let mut late = connection_that_fails(role, &config);
        assert_eq!(late.expire(Due::FirstMessage), None);
        assert_eq!(expire(&mut connection, &mut deadlines, at(5))[0], Due::FirstMessage);
        let error = ProtocolError::Deadline(Due::FirstMessage);
        assert_eq!(drain_frames(&mut connection), [close(1008, &error.to_string())]);

        let (mut connection, mut deadlines) = opened(role, &config, 0);
        feed(&mut connection, &text("in time").by(peer_of(role)));
        deadlines.observe(&connection, at(4), RECEIVED);
        assert_eq!(deadlines.next(&connection), None);
    }
}

fn connection_that_fails(role: Role, config: &Config) -> Connection {
    let mut connection = open(role, config, None);
    feed(&mut connection, &[0xff]);
    connection
}

// attack: CL16, FL03
#[test]
fn output_that_nobody_takes_ends_the_connection() {
    for role in ROLES {
        let config = Config::new().ping_interval(None);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        connection.send(vec![0; 100_000]).unwrap();
        deadlines.observe(&connection, at(10), NOTHING);
        assert_eq!(deadlines.next(&connection), Some(at(40)));
        // Progress, however small, counts.
        connection.consume_output(1);
        deadlines.observe(&connection, at(39), SENT);
        assert_eq!(deadlines.next(&connection), Some(at(69)));
        deadlines.observe(&connection, at(50), RECEIVED);
        assert_eq!(expire(&mut connection, &mut deadlines, at(69)), [Due::Write]);
        assert_eq!((connection.state(), connection.buffered_amount()), (State::Closed, 0));
        // Once all is taken there is no deadline.
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        connection.send("x").unwrap();
        deadlines.observe(&connection, at(10), NOTHING);
        drain(&mut connection);
        deadlines.observe(&connection, at(11), SENT);
        assert_eq!(deadlines.next(&connection), None);
    }
}

// attack: OS11
#[test]
fn odd_clocks_do_no_harm() {
    for role in ROLES {
        // A jump of hours: asked first, not closed at once.
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
        assert_eq!(expire(&mut connection, &mut deadlines, at(100_000)), [Due::Ping]);
        assert_eq!(connection.state(), State::Open);
        drain(&mut connection);
        feed(&mut connection, &pong("").by(peer_of(role)));
        deadlines.observe(&connection, at(100_001), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(100_021)));
        // Data at the same instant as the deadline wins.
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
        feed(&mut connection, &ping("").by(peer_of(role)));
        drain(&mut connection);
        deadlines.observe(&connection, at(20), RECEIVED);
        assert_eq!(expire(&mut connection, &mut deadlines, at(20)), []);
        // A clock that runs backwards only makes things later.
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 1000);
        deadlines.observe(&connection, at(5), NOTHING);
        assert_eq!(expire(&mut connection, &mut deadlines, at(5)), []);
        assert_eq!(expire(&mut connection, &mut deadlines, at(1020)), [Due::Ping]);
    }
    // The ends of time, and timeouts that no clock reaches.
    let moments = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX, at(u64::MAX)];
    for timeout in moments {
        let config = Config::new()
            .handshake_timeout(timeout)
            .first_message_timeout(timeout)
            .ping_interval(timeout)
            .pong_timeout(timeout)
            .message_timeout(timeout)
            .write_timeout(timeout)
            .close_timeout(timeout);
        for now in moments {
            for later in moments {
                for role in ROLES {
                    let mut connection = open(role, &config, None);
                    let mut deadlines = Deadlines::new(now);
                    connection.send("unsent").unwrap();
                    feed(&mut connection, &text("begun").more().by(peer_of(role)));
                    deadlines.observe(&connection, now, RECEIVED);
                    assert!(deadlines.next(&connection).is_some());
                    expire(&mut connection, &mut deadlines, later);
                    // Never is never due early: ages pass before a deadline that far away.
                    if timeout == Duration::MAX && later < at(1 << 40) {
                        assert_eq!(connection.state(), State::Open);
                    }
                }
            }
        }
    }
}

#[test]
fn deadlines_can_be_switched_off() {
    for role in ROLES {
        let config = Config::new()
            .handshake_timeout(None)
            .ping_interval(None)
            .write_timeout(None)
            .close_timeout(None);
        let fresh = Connection::server(&config);
        assert_eq!(Deadlines::new(at(0)).next(&fresh), None);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        connection.send("unsent").unwrap();
        deadlines.observe(&connection, at(1), NOTHING);
        assert_eq!(deadlines.next(&connection), None);
        connection.close(1000, "").unwrap();
        deadlines.observe(&connection, at(2), NOTHING);
        assert_eq!(deadlines.next(&connection), None);
        assert_eq!(deadlines.due(&connection, Duration::MAX), None);
    }
}
