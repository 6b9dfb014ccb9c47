//! What the clocks of a connection count, to the microsecond.

use std::time::Duration;

use framewire::{Accept, Config, Connection, Event, ProtocolError, Role, State, TimeoutKind};

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

/// What comes of telling the time as often as it takes until a deadline that has passed is taken at its word.
fn insist(connection: &mut Connection, now: Duration) -> Option<Event<'static>> {
    assert_eq!(connection.handle_timeout(now), None);
    assert_eq!(connection.next_timeout().map(|next| next <= now), Some(true));
    assert_eq!(connection.handle_timeout(now), None);
    connection.handle_timeout(now)
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

#[test]
fn pings_do_not_hide_that_a_message_takes_too_long() {
    let config = Config::new().ping_interval(None).message_timeout(at(30));
    let mut connection = opened(&config);
    // Each read ends with a Ping, so that it never ends inside the message.
    for second in 0..30 {
        connection.handle_timeout(at(second));
        let piece = if second == 0 { text("a") } else { continuation("a") };
        let bytes = [piece.more().by(CLIENT), ping("").by(CLIENT)].concat();
        assert_eq!(feed(&mut connection, &bytes), [Seen::Ping(Vec::new())]);
        drain(&mut connection);
        assert_eq!(connection.next_timeout(), Some(at(30)));
    }
    let error = ProtocolError::Timeout(TimeoutKind::Message);
    assert_eq!(insist(&mut connection, at(30)), Some(Event::Failed(error)));
}

#[test]
fn only_parts_of_messages_keep_a_connection_from_being_idle() {
    let config = Config::new().ping_interval(None).write_timeout(None).idle_timeout(at(30));
    let mut connection = opened(&config);
    connection.handle_timeout(at(10));
    hear(&mut connection, &binary("").more());
    assert_eq!(feed(&mut connection, &long_header(CLIENT, 0x80, 100_000)), []);
    for _ in 0..3 {
        connection.handle_timeout(at(40));
        // A read that finds nothing, as the one is that follows a deadline.
        let read = connection.receive_direct(|buffer, _| buffer.append(b""));
        assert!(matches!(read, Some(((), None)) | None));
    }
    assert_eq!(drain_frames(&mut connection), [close(1001, "idle timeout")]);

    let mut connection = opened(&config);
    hear(&mut connection, &binary("").more());
    connection.handle_timeout(at(20));
    // Neither a Ping in the middle of the message nor the half of one is a part of it.
    hear(&mut connection, &ping(""));
    feed(&mut connection, &ping("half").by(CLIENT)[..7]);
    drain(&mut connection);
    insist(&mut connection, at(30));
    assert_eq!(drain_frames(&mut connection), [close(1001, "idle timeout")]);
}

#[test]
fn a_first_message_that_has_come_is_not_missed_later() {
    let mut connection = opened(&Config::new().ping_interval(None));
    hear(&mut connection, &text("first"));
    connection.set_config(Config::new().ping_interval(None).first_message_timeout(at(10)));
    for _ in 0..4 {
        assert_eq!(connection.handle_timeout(at(50)), None);
    }
    assert_eq!(connection.state(), State::Open);
    // Nor is one that came before the clocks were started.
    let config = Config::new().ping_interval(None).first_message_timeout(at(10));
    let mut connection = Connection::adopted_server(&config);
    hear(&mut connection, &text("early"));
    for second in [0, 10, 10, 10] {
        assert_eq!(connection.handle_timeout(at(second)), None);
    }
    assert_eq!(connection.state(), State::Open);
}

#[test]
fn a_pause_is_as_long_as_nothing_was_read() {
    let config = Config::new()
        .ping_interval(None)
        .write_timeout(None)
        .idle_timeout(at(30))
        .output_high_water(1000)
        .output_low_water(0);
    let mut connection = opened(&config);
    connection.handle_timeout(at(10));
    // From now on nothing is read, though nobody says so.
    connection.send(vec![0; 2000]).unwrap();
    connection.handle_timeout(at(25));
    drain(&mut connection);
    assert_eq!(connection.next_timeout(), Some(at(45)));
    // Two reasons at a time are one pause, which ends with the last of them.
    connection.handle_timeout(at(30));
    connection.pause();
    connection.send(vec![0; 2000]).unwrap();
    connection.handle_timeout(at(40));
    drain(&mut connection);
    connection.handle_timeout(at(50));
    connection.resume();
    assert_eq!(connection.next_timeout(), Some(at(65)));
    connection.send(vec![0; 2000]).unwrap();
    connection.pause();
    connection.handle_timeout(at(60));
    connection.resume();
    // Settings can end it, too.
    connection.handle_timeout(at(70));
    connection.set_config(config.output_high_water(5000));
    assert_eq!(connection.next_timeout(), Some(at(85)));
}

#[test]
fn what_comes_in_a_pause_counts_from_when_it_comes() {
    let config = Config::new().ping_interval(None).write_timeout(None).idle_timeout(at(30));
    let mut connection = opened(&config);
    connection.pause();
    connection.handle_timeout(at(10));
    hear(&mut connection, &text("though nobody reads"));
    connection.handle_timeout(at(12));
    connection.resume();
    assert_eq!(connection.next_timeout(), Some(at(42)));
}

#[test]
fn the_handshake_is_a_sign_of_life() {
    let config = Config::new().ping_interval(at(20)).write_timeout(None);
    let mut connection = Connection::server(&config);
    connection.handle_timeout(at(0));
    connection.handle_timeout(at(9));
    feed(&mut connection, request("").as_bytes());
    connection.accept(Accept::new()).unwrap();
    drain(&mut connection);
    connection.handle_timeout(at(28));
    assert_eq!(drain(&mut connection), b"");
    connection.handle_timeout(at(29));
    assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 1])]);
}

#[cfg(feature = "deflate")]
#[test]
fn to_inflate_further_is_no_sign_of_life() {
    let config = Config::new()
        .ping_interval(at(20))
        .write_timeout(None)
        .deflate(framewire::deflate::DeflateConfig::new());
    let mut connection = open(Role::Server, &config, Some("permessage-deflate"));
    connection.handle_timeout(at(0));
    connection.handle_timeout(at(5));
    connection.as_parts_mut().1.set_codec_budget(0);
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(feed(&mut connection, &text(hello).rsv1().by(CLIENT)), []);
    connection.handle_timeout(at(20));
    assert!(connection.awaits_codec());
    assert_eq!(connection.receive(&mut &mut [][..]), None);
    connection.handle_timeout(at(25));
    assert_eq!(drain_frames(&mut connection), [ping([0, 0, 0, 1])]);
}

#[cfg(feature = "deflate")]
#[test]
fn what_is_to_be_inflated_has_come() {
    let config = Config::new()
        .ping_interval(None)
        .write_timeout(None)
        .idle_timeout(at(30))
        .deflate(framewire::deflate::DeflateConfig::new());
    let mut connection = open(Role::Server, &config, Some("permessage-deflate"));
    drain(&mut connection);
    connection.handle_timeout(at(0));
    connection.handle_timeout(at(10));
    connection.as_parts_mut().1.set_codec_budget(1);
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(feed(&mut connection, &text(hello).rsv1().by(CLIENT)), []);
    assert!(connection.awaits_codec());
    connection.handle_timeout(at(39));
    assert_eq!(connection.next_timeout(), Some(at(40)));
}

#[cfg(feature = "deflate")]
#[test]
fn a_close_that_waits_for_the_codec_is_not_cut_short() {
    let deflate = framewire::deflate::DeflateConfig::new().threshold(0);
    let config = Config::new().max_lifetime(at(30)).ping_interval(None).deflate(deflate);
    let mut connection = open(Role::Server, &config, Some("permessage-deflate"));
    connection.handle_timeout(at(0));
    connection.as_parts_mut().1.set_codec_budget(0);
    connection.send("waits").unwrap();
    connection.close(1000, "").unwrap();
    drain(&mut connection);
    for second in 0..100 {
        assert_eq!(connection.handle_timeout(at(second)), None);
    }
    connection.as_parts_mut().1.set_codec_budget(None);
    connection.handle_timeout(at(100));
    let frames = sent_by(Role::Server, &drain(&mut connection));
    assert_eq!(frames.last(), Some(&close(1000, "")));
}

#[cfg(feature = "deflate")]
#[test]
fn what_waits_for_the_codec_puts_no_deadline_off() {
    let deflate = framewire::deflate::DeflateConfig::new().threshold(0);
    let config = Config::new().ping_interval(None).write_timeout(at(30)).deflate(deflate);
    let mut connection = open(Role::Server, &config, Some("permessage-deflate"));
    connection.handle_timeout(at(0));
    connection.as_parts_mut().1.set_codec_budget(0);
    connection.send("waits").unwrap();
    connection.ping(b"left by nobody").unwrap();
    assert_eq!(insist(&mut connection, at(30)), None);
    assert_eq!(connection.state(), State::Closed);
}
