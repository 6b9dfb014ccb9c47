//! Pings and pongs: RFC 6455 sections 5.5.2 and 5.5.3.

use framewire::{Config, SendError};

use super::support::frames::*;
use super::support::script::*;

// req: W082, W083
#[test]
fn every_ping_gets_its_pong_before_the_event() {
    for role in ROLES {
        for payload in [&b""[..], b"a", b"\x00\xff\x80", &[7; 125]] {
            Script::open(role)
                .peer(ping(payload))
                .sees(Seen::Ping(payload.to_vec()))
                .app(|c| assert!(c.buffered_amount() > 0, "queued before the event"))
                .sends(pong(payload))
                .peer(ping("second"))
                .sees(Seen::Ping(b"second".to_vec()))
                .app(|c| c.send("reply").unwrap())
                .sends(pong("second"))
                .sends(text("reply"))
                .run();
        }
    }
}

// req: W085
// attack: FL02
#[test]
fn pongs_nobody_asked_for_are_taken_silently() {
    for role in ROLES {
        Script::open(role)
            .peer(pong(""))
            .sees(Seen::Pong(vec![]))
            .peer(pong("x"))
            .sees(Seen::Pong(b"x".to_vec()))
            .peer(text("a"))
            .sees(said("a"))
            .run();
    }
}

// req: W082
#[test]
fn no_pong_follows_a_close_in_either_direction() {
    for role in ROLES {
        // After the peer's Close nothing is heard at all.
        let script = Script::open(role)
            .peer(close(1000, ""))
            .sees(Seen::Close(1000, "".into()))
            .sends(close(1000, ""));
        let transcript = script.run();
        script.nothing_follows(&transcript);
        // After our own Close a ping is heard, and nothing may be sent.
        Script::open(role)
            .app(|c| c.close(1000, "").unwrap())
            .sends(close(1000, ""))
            .peer(ping("p"))
            .sees(Seen::Ping(b"p".to_vec()))
            .app(|c| assert_eq!(c.pong(b"p"), Err(SendError::Closing)))
            .run();
    }
}

// req: W082
#[test]
fn the_application_may_answer_pings_itself() {
    for role in ROLES {
        Script::open(role)
            .config(Config::new().auto_pong(false))
            .peer(ping("1"))
            .sees(Seen::Ping(b"1".to_vec()))
            .peer(ping("2"))
            .sees(Seen::Ping(b"2".to_vec()))
            .app(|c| c.pong(b"2").unwrap())
            .sends(pong("2"))
            .run();
    }
}

// req: W077
// attack: AP02
#[test]
fn pings_and_pongs_carry_exactly_what_they_are_given() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        for length in 0..=125u8 {
            let payload: Vec<u8> = (0..length).map(|at| at ^ length).collect();
            connection.ping(&payload).unwrap();
            connection.pong(&payload).unwrap();
            assert_eq!(drain_frames(&mut connection), [ping(&payload), pong(&payload)]);
        }
        for length in [126, 127, 65_536] {
            let error = Err(SendError::ControlTooLong(length));
            assert_eq!(connection.ping(&vec![0; length]), error);
            assert_eq!(connection.pong(&vec![0; length]), error);
        }
        assert_eq!(connection.buffered_amount(), 0);
    }
}

// req: W084
// attack: FL01
#[test]
fn a_congested_connection_answers_only_the_latest_ping() {
    for role in ROLES {
        let config = Config::new().output_high_water(1000).output_low_water(100);
        let mut connection = open(role, &config, None);
        let peer = peer_of(role);
        let most = 1000 + 6 + 125;
        let mut pings = 0u32;
        for _ in 0..100_000 {
            pings += 1;
            let payload = [&pings.to_be_bytes()[..], &[0; 121]].concat();
            let seen = feed(&mut connection, &ping(&payload).by(peer));
            assert_eq!(seen, [Seen::Ping(payload)]);
            assert!(connection.buffered_amount() <= most);
        }
        assert!(connection.is_congested() && !connection.is_drained());
        // What was queued goes out, then the pong to the last of all.
        let answered = drain_frames(&mut connection);
        assert!((4..10).contains(&answered.len()));
        for (number, frame) in (1u32..).zip(&answered) {
            assert_eq!(frame.payload[..4], number.to_be_bytes());
        }
        let last = drain_frames(&mut connection);
        assert_eq!(last.len(), 1);
        assert_eq!((last[0].opcode, &last[0].payload[..4]), (PONG, &pings.to_be_bytes()[..]));
        assert!(!connection.is_congested() && connection.is_drained());
        assert_eq!(drain(&mut connection), b"");
    }
}

// req: W082, W090
// attack: FL01
#[test]
fn a_pong_held_back_goes_out_before_our_close() {
    for role in ROLES {
        let config = Config::new().output_high_water(1).output_low_water(0);
        let mut connection = open(role, &config, None);
        connection.send("fills it").unwrap();
        for payload in ["earlier", "held"] {
            feed(&mut connection, &ping(payload).by(peer_of(role)));
        }
        connection.close(1000, "").unwrap();
        let sent = drain_frames(&mut connection);
        assert_eq!(sent, [text("fills it"), pong("held"), close(1000, "")]);
        assert_eq!(drain(&mut connection), b"");
    }
}

// req: W079, W089
// attack: CL11
#[test]
fn nothing_is_sent_before_open() {
    let config = Config::new();
    let server = framewire::Connection::server(&config);
    for mut connection in [server, client(&config)] {
        let head = drain(&mut connection);
        assert_eq!(head.is_empty(), connection.role() == framewire::Role::Server);
        assert_eq!(connection.send("a"), Err(SendError::Connecting));
        assert_eq!(connection.ping(b""), Err(SendError::Connecting));
        assert_eq!(connection.pong(b""), Err(SendError::Connecting));
        assert_eq!(connection.close(1000, ""), Err(SendError::Connecting));
        assert_eq!(connection.close_without_code(), Err(SendError::Connecting));
        assert_eq!(connection.buffered_amount(), 0);
    }
}
