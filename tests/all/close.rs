//! The closing handshake: RFC 6455 sections 5.5.1, 7 and 8.1.

use std::io;

use framewire::wire::{CloseCode, CloseFrameError, HeaderError, ReservedBit};
use framewire::{
    CloseFrame, Config, Fragment, Initiator, Message, MessageKind, Outcome, Prepared,
    ProtocolError, Role, SendError, State,
};

use super::support::frames::*;
use super::support::script::*;

const GOOD: [u16; 18] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3999, 4000,
    4001, 4999,
];
const BAD: [u16; 18] = [
    0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 9999, 32768,
    65534, 65535,
];

fn frame_of(code: u16, reason: &str) -> CloseFrame {
    CloseFrame::new(CloseCode(code), reason).unwrap()
}

/// The outcome of a handshake in which both sides sent this.
fn clean(initiator: Initiator, both: CloseFrame) -> Outcome {
    Outcome::Clean { sent: both.clone(), received: both, initiator }
}

// req: W091, W092, W094, W095, W097, W098, W099, W100, W110, W111
// attack: CL02, CL05, CL07
#[test]
fn a_close_is_echoed_and_the_server_ends_first() {
    for role in ROLES {
        for code in GOOD {
            for reason in ["", "bye", "κόσμε"] {
                let script = Script::open(role)
                    .peer(close(code, reason))
                    .sees(Seen::Close(code, reason.into()))
                    .sends(close(code, reason));
                let transcript = script.run();
                assert_eq!(transcript.state, State::Closing);
                // "the server MUST close ... immediately; a client SHOULD wait for the server"
                assert_eq!(transcript.wants_shutdown, role == Role::Server);
                let outcome = transcript.outcome.clone();
                assert_eq!(outcome, clean(Initiator::Remote, frame_of(code, reason)));
                assert_eq!((outcome.code().0, outcome.reason()), (code, reason));
                assert!(outcome.was_clean());
                script.nothing_follows(&transcript);
            }
        }
    }
}

// req: W108, W109, W111
// attack: CL01
#[test]
fn codes_that_may_not_be_sent_fail() {
    for role in ROLES {
        for code in BAD {
            let error = ProtocolError::Close(CloseFrameError::InvalidCode(CloseCode(code)));
            assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
            Script::open(role).peer(close(code, "")).fails(error);
            Script::open(role).peer(close(code, "reason")).fails(error);
        }
    }
}

// req: W086
// attack: CL03
#[test]
fn a_close_body_of_one_byte_fails() {
    for role in ROLES {
        for byte in [0, 3, 0xff] {
            let error = ProtocolError::Header(HeaderError::CloseTooShort);
            Script::open(role).peer(frame(CLOSE, [byte])).fails(error);
            // Neither the key nor the byte is waited for.
            let header = frame(CLOSE, [byte]).by(peer_of(role));
            Script::open(role).bytes(&header[..2]).fails(error);
        }
    }
}

// req: W086, W091, W099
// attack: CL04
#[test]
fn a_close_without_body_is_answered_alike_and_reported_as_1005() {
    for role in ROLES {
        let transcript = Script::open(role)
            .peer(close_empty())
            .sees(Seen::Close(1005, "".into()))
            .sends(close_empty())
            .run();
        assert_eq!(transcript.outcome, clean(Initiator::Remote, CloseFrame::empty()));
        assert_eq!(transcript.outcome.code(), CloseCode::NO_STATUS);
        let transcript = Script::open(role)
            .app(|c| c.close_without_code().unwrap())
            .sends(close_empty())
            .peer(close_empty())
            .sees(Seen::Close(1005, "".into()))
            .run();
        assert_eq!(transcript.outcome, clean(Initiator::Local, CloseFrame::empty()));
    }
}

// req: W087, W112
// attack: UT06
#[test]
fn a_reason_that_is_not_utf8_fails_with_1007() {
    for role in ROLES {
        for reason in [
            &b"\xff"[..],
            b"ok\xc3",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x82",
            "κόσμε\u{fffd}".as_bytes().strip_suffix(b"\xbd").unwrap(),
        ] {
            let error = ProtocolError::Close(CloseFrameError::InvalidUtf8);
            assert_eq!(error.close_code(), CloseCode::INVALID_PAYLOAD);
            let body = [&1000u16.to_be_bytes(), reason].concat();
            Script::open(role).peer(frame(CLOSE, body)).fails(error);
        }
    }
}

// req: W090, W092, W093, W097, W098, W099, W100
#[test]
fn our_close_waits_for_the_answer_and_messages_still_come() {
    for role in ROLES {
        let transcript = Script::open(role)
            .app(|c| {
                c.close(4000, "enough").unwrap();
                assert_eq!((c.state(), c.wants_shutdown()), (State::Closing, false));
            })
            .sends(close(4000, "enough"))
            .peer(text("late"))
            .sees(said("late"))
            .app(|c| {
                assert_eq!(c.send("no"), Err(SendError::Closing));
                assert!(!c.wants_shutdown());
            })
            .peer(binary("a").more())
            .peer(continuation("b"))
            .sees(Seen::Binary(b"ab".to_vec()))
            .peer(close(4001, "yes"))
            .sees(Seen::Close(4001, "yes".into()))
            .run();
        assert_eq!(transcript.wants_shutdown, role == Role::Server);
        let (sent, received) = (frame_of(4000, "enough"), frame_of(4001, "yes"));
        let initiator = Initiator::Local;
        assert_eq!(transcript.outcome, Outcome::Clean { sent, received, initiator });
        assert_eq!((transcript.outcome.code().0, transcript.outcome.reason()), (4001, "yes"));
    }
}

// req: W079, W090, W097, W108
// attack: CL11
#[test]
fn nothing_follows_our_close() {
    for role in ROLES {
        for kill in [false, true] {
            let mut connection = open(role, &Config::new(), None);
            connection.close(1000, "").unwrap();
            let error = match kill {
                false => SendError::Closing,
                true => {
                    assert_eq!(drain_frames(&mut connection), [close(1000, "")]);
                    connection.abort();
                    SendError::Closed
                }
            };
            let refused = || Err(error.clone());
            assert_eq!(connection.close(1000, ""), refused());
            assert_eq!(connection.close_without_code(), refused());
            assert_eq!(connection.send("a"), refused());
            assert_eq!(connection.send(vec![0; 100_000]), refused());
            assert_eq!(connection.send_prepared(&Prepared::new("a")), refused());
            let fragment = Fragment::last(MessageKind::Binary, &b""[..]);
            assert_eq!(connection.send_fragment(fragment), refused());
            assert_eq!(connection.ping(b""), refused());
            assert_eq!(connection.pong(b""), refused());
            let expected = if kill { vec![] } else { vec![close(1000, "")] };
            assert_eq!(drain_frames(&mut connection), expected);
        }
    }
}

// req: W108, W109, W111, W086
// attack: CL13, AP02
#[test]
fn a_close_that_may_not_be_sent_is_refused_and_leaves_the_connection_open() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        for code in BAD {
            let error = SendError::Close(CloseFrameError::InvalidCode(CloseCode(code)));
            assert_eq!(connection.close(code, ""), Err(error));
        }
        let long = "é".repeat(62);
        assert_eq!(long.len(), 124);
        for reason in [&long, &"x".repeat(124), &"x".repeat(70_000)] {
            let error = SendError::Close(CloseFrameError::ReasonTooLong(reason.len()));
            assert_eq!(connection.close(1000, reason), Err(error));
        }
        assert_eq!((connection.state(), connection.buffered_amount()), (State::Open, 0));
        connection.send("still open").unwrap();
        let longest = "x".repeat(121) + "é";
        connection.close(1000, &longest).unwrap();
        assert_eq!(drain_frames(&mut connection), [text("still open"), close(1000, &longest)]);
    }
    for code in GOOD {
        for length in [0, 1, 122, 123] {
            let mut connection = open(Role::Server, &Config::new(), None);
            let reason: String = ('a'..='z').cycle().take(length).collect();
            connection.close(code, &reason).unwrap();
            assert_eq!(drain_frames(&mut connection), [close(code, &reason)]);
        }
    }
}

// req: W092, W094, W095
#[test]
fn the_transport_is_ended_only_when_the_close_is_out() {
    let mut connection = open(Role::Server, &Config::new(), None);
    connection.send("before").unwrap();
    let seen = feed(&mut connection, &close(1000, "").by(Role::Client));
    assert_eq!(seen, [Seen::Close(1000, "".into())]);
    while connection.buffered_amount() > 0 {
        assert!(!connection.wants_shutdown());
        assert_eq!(connection.state(), State::Closing);
        connection.consume_output(1);
    }
    assert!(connection.wants_shutdown());
    // What the peer still sends is dropped, until the end of the transport.
    assert_eq!(feed(&mut connection, &[0xff; 5000]), vec![]);
    assert!(connection.wants_shutdown());
    assert!(connection.receive_eof().was_clean());
    assert!(!connection.wants_shutdown());
}

// req: W098, W099, W105
// attack: CL12, CL15
#[test]
fn an_end_inside_the_closing_handshake_is_not_clean() {
    for role in ROLES {
        // Our Close went out, none came.
        let mut connection = open(role, &Config::new(), None);
        connection.close(1001, "going").unwrap();
        drain(&mut connection);
        let outcome = connection.receive_eof();
        assert_eq!(
            outcome,
            Outcome::Lost { sent: Some(frame_of(1001, "going")), received: None, cause: None }
        );
        assert_eq!((outcome.code(), outcome.reason()), (CloseCode::ABNORMAL, ""));
        assert_eq!(connection.abort(), outcome);

        // Half of our Close went out when the peer's end came: the rest can still be written until
        // then, and what came of the connection is said once.
        let mut connection = open(role, &Config::new(), None);
        let seen = feed(&mut connection, &close(1000, "x").by(peer_of(role)));
        assert_eq!(seen.len(), 1);
        let before = connection.buffered_amount();
        connection.consume_output(2);
        assert_eq!(connection.buffered_amount(), before - 2);
        let outcome = connection.receive_eof();
        assert_eq!((outcome.code().0, outcome.reason()), (1000, "x"));
        assert_eq!(connection.receive_eof(), outcome);
        assert_eq!((connection.buffered_amount(), connection.state()), (0, State::Closed));
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn cause_of(outcome: &Outcome) -> Option<io::ErrorKind> {
    outcome.cause()?.downcast_ref::<io::Error>().map(io::Error::kind)
}

// req: W105
#[test]
fn a_transport_that_fails_is_the_cause_of_a_loss() {
    for role in ROLES {
        // With half a message come and something unsent.
        let mut connection = open(role, &Config::new(), None);
        assert_eq!(feed(&mut connection, &text("half").by(peer_of(role))[..3]), vec![]);
        connection.send("unsent").unwrap();
        let outcome = connection.abort_with(reset());
        let Outcome::Lost { sent: None, received: None, cause: Some(cause) } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(cause_of(&outcome), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(format!("{cause:?}"), format!("{:?}", reset()));
        assert_eq!(outcome.to_string(), format!("lost without a closing handshake: {}", reset()));
        assert_eq!((outcome.code(), connection.state()), (CloseCode::ABNORMAL, State::Closed));
        assert_eq!(connection.buffered_amount(), 0);
        assert_eq!(connection.send("more"), Err(SendError::Closed));
        // The first word on the end is the last, and is equal to itself only.
        for again in [connection.abort_with("another"), connection.receive_eof()] {
            assert_eq!(again, outcome);
        }
        assert_eq!(connection.outcome(), Some(&outcome));
        assert_ne!(open(role, &Config::new(), None).abort_with(reset()), outcome);
        let unknown = Outcome::Lost { sent: None, received: None, cause: None };
        assert_ne!(outcome, unknown);
        assert!(unknown.cause().is_none());

        // A text, and a cause of which somebody else was told, are causes, too.
        let mut connection = open(role, &Config::new(), None);
        let outcome = connection.abort_with("the cable was pulled");
        assert_eq!(outcome.cause().unwrap().to_string(), "the cable was pulled");
        let again = open(role, &Config::new(), None).abort_with(cause.clone());
        assert_eq!(cause_of(&again), Some(io::ErrorKind::ConnectionReset));
    }
}

// req: W098, W099, W105
#[test]
fn a_transport_that_fails_does_not_change_what_is_certain() {
    for role in ROLES {
        // Our Close went out, none came.
        let mut connection = open(role, &Config::new(), None);
        connection.close(1001, "going").unwrap();
        drain(&mut connection);
        let outcome = connection.abort_with(reset());
        let Outcome::Lost { sent: Some(sent), received: None, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(sent, &frame_of(1001, "going"));
        assert_eq!(cause_of(&outcome), Some(io::ErrorKind::ConnectionReset));

        // Theirs came, ours has not left.
        let mut connection = open(role, &Config::new(), None);
        feed(&mut connection, &close(1000, "x").by(peer_of(role)));
        let outcome = connection.abort_with(reset());
        assert_eq!((outcome.code().0, outcome.reason()), (1000, "x"));
        assert_eq!(cause_of(&outcome), Some(io::ErrorKind::ConnectionReset));

        // Both have passed.
        let mut connection = open(role, &Config::new(), None);
        feed(&mut connection, &close(1000, "x").by(peer_of(role)));
        drain(&mut connection);
        let outcome = connection.abort_with(reset());
        assert_eq!(outcome, clean(Initiator::Remote, frame_of(1000, "x")));
        assert!(outcome.cause().is_none());

        // The peer broke the protocol.
        let mut connection = open(role, &Config::new(), None);
        feed(&mut connection, b"\xff\xff");
        let outcome = connection.abort_with(reset());
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}

// req: W102, W103, W110
#[test]
fn a_failure_after_our_close_sends_no_second_one() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        connection.close(1000, "").unwrap();
        let error = ProtocolError::Header(HeaderError::UnexpectedContinuation);
        let seen = feed(&mut connection, &continuation("").by(peer_of(role)));
        assert_eq!(seen, [Seen::Failed(error)]);
        assert_eq!(drain_frames(&mut connection), [close(1000, "")]);
        assert!(connection.wants_shutdown());
        assert_eq!(connection.receive_eof(), Outcome::Failed(error));
    }
}

// req: W110
#[test]
fn every_fault_has_its_code() {
    use ProtocolError::*;
    let codes = [
        (Header(HeaderError::Unmasked), 1002),
        (Header(HeaderError::Masked), 1002),
        (Header(HeaderError::UnexpectedContinuation), 1002),
        (Header(HeaderError::ExpectedContinuation), 1002),
        (Header(HeaderError::ReservedBit(ReservedBit::Rsv2)), 1002),
        (Header(HeaderError::CloseTooShort), 1002),
        (Header(HeaderError::PayloadTooLong(1)), 1009),
        (Close(CloseFrameError::TooShort), 1002),
        (Close(CloseFrameError::InvalidUtf8), 1007),
        (InvalidUtf8, 1007),
        (CorruptDeflate, 1007),
        (TooManyFragments(1), 1008),
        (Timeout(framewire::TimeoutKind::Message), 1008),
        (MessageTooBig(1), 1009),
    ];
    for (error, code) in codes {
        assert_eq!(error.close_code().0, code, "{error}");
        // It names itself in the reason of the Close, so it has to fit there.
        assert!(CloseFrame::new(error.close_code(), &error.to_string()).is_ok());
    }
}

// req: W088
// attack: HS37
#[test]
fn the_reason_of_the_peer_does_not_reach_a_log_unasked() {
    let evil = "\x1b[31m<script>\n";
    let transcript = Script::open(Role::Client)
        .peer(close(1000, evil))
        .sees(Seen::Close(1000, evil.into()))
        .sends(close(1000, evil))
        .run();
    // Whoever wants it must ask for it; what is shown does not have it, or escapes it.
    assert_eq!(transcript.outcome.reason(), evil);
    let shown = format!("{} {:?}", transcript.outcome, transcript.outcome);
    assert!(!shown.contains(['\x1b', '\n']));
    assert!(!transcript.outcome.to_string().contains("script"));
}

// req: W104
#[test]
fn a_client_closes_for_no_reason_of_its_own() {
    // A thousand messages, pings and pongs of every kind, and no Close unless the application asks.
    let mut connection = open(Role::Client, &Config::new(), None);
    for number in 0..1000 {
        let frames = [text(number.to_string()), binary(""), ping("x"), pong("y")];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.by(Role::Server)).collect();
        assert_eq!(feed(&mut connection, &bytes).len(), 4);
        assert_eq!(drain_frames(&mut connection), [pong("x")]);
    }
    assert_eq!(connection.state(), State::Open);
}

// req: W058, W091
#[test]
fn what_was_queued_before_a_close_goes_out_before_it() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        connection.send("one").unwrap();
        connection.send(vec![2; 50_000]).unwrap();
        feed(&mut connection, &close(1000, "").by(peer_of(role)));
        assert_eq!(connection.send(Message::from("three")), Err(SendError::Closing));
        let expected = [text("one"), binary(vec![2; 50_000]), close(1000, "")];
        assert_eq!(drain_frames(&mut connection), expected);
    }
}

// req: W096, W105
#[test]
fn a_connection_can_be_dropped_at_once() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        connection.send(vec![1; 100_000]).unwrap();
        let lost = Outcome::Lost { sent: None, received: None, cause: None };
        assert_eq!(connection.abort(), lost);
        assert_eq!((connection.buffered_amount(), connection.state()), (0, State::Closed));
        assert_eq!(connection.receive_eof(), lost);
    }
}

/// Only what has left was sent, and only two Closes that have passed make a clean end.
// req: W091, W096, W099
#[test]
fn what_is_unsent_is_never_clean() {
    for role in ROLES {
        for ours_first in [false, true] {
            let peers = close(1001, "theirs").by(peer_of(role));
            let play = |taken: usize, answered: bool| {
                let mut connection = open(role, &Config::new(), None);
                connection.send(vec![0; 100_000]).unwrap();
                if ours_first {
                    connection.close(4000, "ours").unwrap();
                }
                if answered {
                    feed(&mut connection, &peers);
                }
                let total = connection.buffered_amount();
                connection.consume_output(taken.min(total));
                (connection.receive_eof(), total)
            };
            let (ours, theirs) = (frame_of(4000, "ours"), frame_of(1001, "theirs"));
            let ours = if ours_first { ours } else { theirs.clone() };
            let (_, total) = play(0, true);
            for taken in [0, 1, 50_000, total - 20, total - 1] {
                let lost =
                    Outcome::Lost { sent: None, received: Some(theirs.clone()), cause: None };
                assert_eq!(play(taken, true).0, lost, "{role:?} {ours_first} {taken}");
                let lost = Outcome::Lost { sent: None, received: None, cause: None };
                assert_eq!(play(taken, false).0, lost, "{role:?} {ours_first} {taken}");
            }
            let initiator = if ours_first { Initiator::Local } else { Initiator::Remote };
            let clean = Outcome::Clean { sent: ours.clone(), received: theirs, initiator };
            assert_eq!(play(total, true).0, clean);
            let lost =
                Outcome::Lost { sent: ours_first.then_some(ours), received: None, cause: None };
            assert_eq!(play(total, false).0, lost);
        }
    }
}
