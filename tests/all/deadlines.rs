//! Deadlines, by a clock that the test sets.

use std::time::Duration;

use framewire::handshake::{RequestError, ResponseError};
use framewire::{
    Accept, Config, Connection, Deadlines, Due, Event, HandshakeError, Outcome, ProtocolError,
    Role, State, Turn,
};

use super::support::frames::*;
use super::support::script::*;

const NOTHING: Turn = Turn { received: false, sent: false, paused: false };
const RECEIVED: Turn = Turn { received: true, ..NOTHING };
const SENT: Turn = Turn { sent: true, ..NOTHING };
const PAUSED: Turn = Turn { paused: true, ..NOTHING };

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
        let error = match role {
            Role::Server => HandshakeError::Request(RequestError::Timeout),
            Role::Client => HandshakeError::Response(ResponseError::Timeout),
        };
        assert_eq!(event, Some(Event::HandshakeFailed(error.clone())));
        assert_eq!(connection.state(), State::Closed);
        // Just dropped: nobody who is that slow reads an answer.
        assert_eq!(drain(&mut connection), b"");
        assert_eq!(connection.receive_eof(), Outcome::HandshakeFailed(error));
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
    let error = HandshakeError::Request(RequestError::DecisionTimeout);
    assert_eq!(event, Some(Event::HandshakeFailed(error.clone())));
    assert!(drain(&mut connection).starts_with(b"HTTP/1.1 503 "));
    assert!(connection.wants_shutdown());
    assert_eq!(connection.receive_eof(), Outcome::HandshakeFailed(error));
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
        assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 1])]);
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
            .idle_timeout(timeout)
            .max_lifetime(timeout)
            .write_timeout(timeout)
            .close_timeout(timeout);
        for now in moments {
            for later in moments {
                for role in ROLES {
                    let mut connection = open(role, &config, None);
                    let mut deadlines = Deadlines::new(now).seed(u64::MAX);
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

// attack: FL07
#[test]
fn a_message_must_come_now_and_then() {
    for role in ROLES {
        let config = Config::new().idle_timeout(at(60)).ping_interval(None);
        let peer = peer_of(role);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        assert_eq!(deadlines.next(&connection), Some(at(60)));
        // Control frames show that somebody is there, not that there is anything to say.
        feed(&mut connection, &[ping("").by(peer), pong("").by(peer)].concat());
        drain(&mut connection);
        deadlines.observe(&connection, at(50), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(60)));
        // Nor does what is sent.
        connection.send("a").unwrap();
        drain(&mut connection);
        deadlines.observe(&connection, at(55), SENT);
        assert_eq!(deadlines.next(&connection), Some(at(60)));
        // A message does, and every part of a long one.
        feed(&mut connection, &text("b").by(peer));
        deadlines.observe(&connection, at(59), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(119)));
        feed(&mut connection, &text("c").more().by(peer));
        for second in [118, 170, 220] {
            feed(&mut connection, &continuation("d").more().by(peer));
            deadlines.observe(&connection, at(second), RECEIVED);
            assert_eq!(deadlines.next(&connection), Some(at(second + 60)));
        }
        assert_eq!(expire(&mut connection, &mut deadlines, at(280)), [Due::Idle]);
        assert_eq!(drain_frames(&mut connection), [close(1001, "idle timeout")]);
        feed(&mut connection, &close(1001, "").by(peer));
        assert!(connection.receive_eof().was_clean());
    }
}

#[test]
fn a_connection_lives_for_so_long_and_no_longer() {
    for role in ROLES {
        let config = Config::new().max_lifetime(at(3600)).ping_interval(None);
        let (mut connection, mut deadlines) = opened(role, &config, 100);
        for second in [1000, 2000, 3699] {
            feed(&mut connection, &text("busy").by(peer_of(role)));
            deadlines.observe(&connection, at(second), RECEIVED);
            assert_eq!(deadlines.next(&connection), Some(at(3700)));
        }
        assert_eq!(expire(&mut connection, &mut deadlines, at(3700)), [Due::Lifetime]);
        assert_eq!(drain_frames(&mut connection), [close(1001, "maximum lifetime reached")]);
        // Who does not answer is dropped like at any other close.
        assert_eq!(expire(&mut connection, &mut deadlines, at(3705)), [Due::Close]);
    }
}

#[test]
fn what_a_pause_holds_up_is_not_held_against_the_peer() {
    for role in ROLES {
        let config = Config::new()
            .first_message_timeout(at(10))
            .message_timeout(at(10))
            .idle_timeout(at(30))
            .max_lifetime(at(1000));
        let peer = peer_of(role);
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        deadlines.observe(&connection, at(4), PAUSED);
        // The lifetime goes on, and nothing else: no Ping whose Pong nobody would read.
        assert_eq!(deadlines.next(&connection), Some(at(1000)));
        assert_eq!(expire(&mut connection, &mut deadlines, at(500)), []);
        deadlines.observe(&connection, at(104), NOTHING);
        assert_eq!(deadlines.next(&connection), Some(at(110)), "the first message has 6 s left");
        feed(&mut connection, &text("begun").more().by(peer));
        deadlines.observe(&connection, at(105), RECEIVED);
        deadlines.observe(&connection, at(107), PAUSED);
        deadlines.observe(&connection, at(150), PAUSED);
        deadlines.observe(&connection, at(207), NOTHING);
        feed(&mut connection, &continuation("ended").by(peer));
        deadlines.observe(&connection, at(208), RECEIVED);
        assert_eq!(deadlines.next(&connection), Some(at(228)), "the Ping");
        feed(&mut connection, &text("begun").more().by(peer));
        deadlines.observe(&connection, at(210), RECEIVED);
        deadlines.observe(&connection, at(212), PAUSED);
        deadlines.observe(&connection, at(312), NOTHING);
        assert_eq!(deadlines.next(&connection), Some(at(320)), "8 s are left for the message");
        assert_eq!(expire(&mut connection, &mut deadlines, at(320)), [Due::Message]);

        // Output that nobody takes is another matter.
        let (mut connection, mut deadlines) = opened(role, &config, 0);
        connection.send("a").unwrap();
        deadlines.observe(&connection, at(1), PAUSED);
        assert_eq!(expire(&mut connection, &mut deadlines, at(31)), [Due::Write]);
        // A Ping that was sent before the pause is not missed after it.
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
        assert_eq!(expire(&mut connection, &mut deadlines, at(20)), [Due::Ping]);
        drain(&mut connection);
        deadlines.observe(&connection, at(21), PAUSED);
        deadlines.observe(&connection, at(321), NOTHING);
        assert_eq!(deadlines.next(&connection), Some(at(341)));
    }
}

#[test]
fn a_round_trip_is_measured_by_the_pong_that_belongs_to_the_ping() {
    for role in ROLES {
        let peer = peer_of(role);
        let (mut connection, mut deadlines) = opened(role, &Config::new(), 0);
        assert_eq!(deadlines.round_trip_time(), None);
        let millis = Duration::from_millis;
        // A Pong before any Ping, even one with the number of the next, tells nothing.
        feed(&mut connection, &[pong([0; 4]).by(peer), pong([0, 0, 0, 1]).by(peer)].concat());
        deadlines.observe(&connection, at(0), RECEIVED);
        for (number, trip) in [(1, millis(7)), (2, Duration::from_micros(13)), (3, millis(0))] {
            let sent = at(100 * u64::from(number));
            assert_eq!(expire(&mut connection, &mut deadlines, sent), [Due::Ping]);
            let asked = drain_frames(&mut connection);
            assert_eq!(asked, [ping(u32::to_be_bytes(number))]);
            let before = deadlines.round_trip_time();
            // The application's own, an answer to an older one, and a message.
            let others =
                [pong("mine").by(peer), pong([0; 4]).by(peer), text("a").by(peer)].concat();
            feed(&mut connection, &others);
            deadlines.observe(&connection, sent, RECEIVED);
            assert_eq!(deadlines.round_trip_time(), before);
            feed(&mut connection, &pong(&asked[0].payload).by(peer));
            deadlines.observe(&connection, sent + trip, RECEIVED);
            let measured = trip.max(Duration::from_micros(1));
            assert_eq!(deadlines.round_trip_time(), Some(measured));
            // The same again is no news.
            feed(&mut connection, &pong(&asked[0].payload).by(peer));
            deadlines.observe(&connection, sent + at(9), RECEIVED);
            assert_eq!(deadlines.round_trip_time(), Some(measured));
        }
    }
}

#[test]
fn connections_that_were_opened_together_are_not_pinged_together() {
    let config = Config::new().max_lifetime(at(100)).jitter(50);
    let mut pings = std::collections::HashMap::new();
    for seed in 0..10_000 {
        let connection = open(Role::Server, &config, None);
        let mut deadlines = Deadlines::new(at(0)).seed(seed);
        deadlines.observe(&connection, at(0), NOTHING);
        let ping = deadlines.next(&connection).unwrap();
        assert!(ping > at(10) && ping <= at(20), "{ping:?}");
        *pings.entry(ping).or_insert(0) += 1;
        // The lifetime is spread alike.
        let mut deadlines = Deadlines::new(at(0)).seed(seed);
        let config = config.clone().ping_interval(None);
        let connection = open(Role::Server, &config, None);
        deadlines.observe(&connection, at(0), NOTHING);
        let end = deadlines.next(&connection).unwrap();
        assert!(end > at(50) && end <= at(100), "{end:?}");
    }
    assert_eq!(pings.len(), 256);
    assert!(pings.values().all(|&count| count < 50), "{pings:?}");
    // Without a jitter all is as it was set.
    let config = Config::new().jitter(0);
    let connection = open(Role::Server, &config, None);
    let mut deadlines = Deadlines::new(at(0)).seed(77);
    deadlines.observe(&connection, at(0), NOTHING);
    assert_eq!(deadlines.next(&connection), Some(at(20)));
}
