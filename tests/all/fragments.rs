//! Fragmented messages: RFC 6455 section 5.4.

use framewire::wire::HeaderError;
use framewire::{Config, Fragment, Fragments, MessageKind, ProtocolError, SendError, State};

use super::support::frames::*;
use super::support::script::*;

// req: W069, W072, W074, W075, W081
#[test]
fn fragments_make_one_message_in_order() {
    for role in ROLES {
        for sizes in [vec![1, 1], vec![0, 0, 0], vec![3, 0, 5], vec![0, 200], vec![130, 0, 1, 126]]
        {
            let mut script = Script::open(role);
            let mut whole = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let piece = vec![b'a' + number as u8; *size];
                let opcode = if number == 0 { BINARY } else { CONTINUATION };
                let fragment = frame(opcode, &piece);
                let last = number + 1 == sizes.len();
                script = script.peer(if last { fragment } else { fragment.more() });
                whole.extend(piece);
            }
            script
                .sees(Seen::Binary(whole))
                .peer(text("a").more())
                .peer(continuation("b"))
                .sees(said("ab"))
                .peer(text("whole"))
                .sees(said("whole"))
                .run();
        }
    }
}

// req: W069, W073
// attack: FM07
#[test]
fn fragments_out_of_turn_fail() {
    let unexpected = ProtocolError::Header(HeaderError::UnexpectedContinuation);
    let expected = ProtocolError::Header(HeaderError::ExpectedContinuation);
    for role in ROLES {
        for lone in [continuation("a"), continuation("a").more(), continuation("")] {
            Script::open(role).peer(lone.clone()).fails(unexpected);
            let after = Script::open(role).peer(text("a")).sees(said("a"));
            after.peer(lone.clone()).fails(unexpected);
            let after = Script::open(role).peer(text("a").more()).peer(continuation("b"));
            after.sees(said("ab")).peer(lone).fails(unexpected);
        }
        for second in [text("b"), binary("b"), text("b").more(), binary("").more()] {
            for first in [text("a"), binary("a"), text("")] {
                let script = Script::open(role).peer(first.clone().more()).peer(second.clone());
                script.fails(expected);
                let script = Script::open(role).peer(first.more()).peer(continuation("").more());
                script.peer(second.clone()).fails(expected);
            }
        }
    }
}

// req: W071, W069, W082
// attack: FM08
#[test]
fn control_frames_between_fragments_are_handled_at_once() {
    for role in ROLES {
        Script::open(role)
            .peer(text("a").more())
            .peer(ping("1"))
            .sees(Seen::Ping(b"1".to_vec()))
            .sends(pong("1"))
            .peer(pong("2"))
            .sees(Seen::Pong(b"2".to_vec()))
            .peer(continuation("b").more())
            .peer(ping("3"))
            .sees(Seen::Ping(b"3".to_vec()))
            .sends(pong("3"))
            .peer(continuation("c"))
            .sees(said("abc"))
            .run();
        // A Close ends it, and the message with it.
        Script::open(role)
            .peer(text("a").more())
            .peer(close(1001, "bye"))
            .sees(Seen::Close(1001, "bye".into()))
            .sends(close(1001, "bye"))
            .run();
    }
}

// attack: FM08
#[test]
fn ten_thousand_pings_inside_one_message_leave_it_intact() {
    for role in ROLES {
        let peer = peer_of(role);
        let mut connection = open(role, &Config::new(), None);
        assert_eq!(feed(&mut connection, &text("a").more().by(peer)), vec![]);
        for number in 0..10_000u32 {
            let payload = number.to_be_bytes();
            let seen = feed(&mut connection, &ping(payload).by(peer));
            assert_eq!(seen, [Seen::Ping(payload.to_vec())]);
            assert_eq!(drain_frames(&mut connection), [pong(payload)]);
        }
        assert_eq!(feed(&mut connection, &continuation("b").by(peer)), [said("ab")]);
    }
}

// req: W072, W075
#[test]
fn pieces_are_delivered_in_order_where_they_are_wanted() {
    let config = || Config::new().fragments(Fragments::Always);
    let pieces = |text: &str| Seen::Pieces(MessageKind::Text, text.as_bytes().to_vec());
    for role in ROLES {
        Script::open(role)
            .config(config())
            .peer(text("漢").more())
            .peer(continuation("字"))
            .sees(pieces("漢字"))
            .peer(text(""))
            .sees(pieces(""))
            .peer(binary("").more())
            .peer(continuation(""))
            .sees(Seen::Pieces(MessageKind::Binary, vec![]))
            .peer(text("whole"))
            .sees(pieces("whole"))
            .peer(ping("p"))
            .sees(Seen::Ping(b"p".to_vec()))
            .sends(pong("p"))
            .run();
        let bad = Script::open(role).config(config()).peer(text(b"ab\xff").more());
        bad.fails(ProtocolError::InvalidUtf8);
        let cut = Script::open(role).config(config()).peer(text(b"ab\xc3"));
        cut.fails(ProtocolError::InvalidUtf8);
    }
}

// req: W069, W079, W080, W071, W070
#[test]
fn a_message_is_sent_in_fragments() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        let more = |payload: &'static [u8]| Fragment::more(MessageKind::Text, payload);
        connection.send_fragment(more(b"a\xc3")).unwrap();
        assert_eq!(connection.send("other"), Err(SendError::UnfinishedMessage));
        let other = Fragment::last(MessageKind::Binary, vec![]);
        assert_eq!(connection.send_fragment(other), Err(SendError::UnfinishedMessage));
        connection.ping(b"p").unwrap();
        connection.send_fragment(more(b"")).unwrap();
        let last = Fragment::last(MessageKind::Text, &b"\xa9b"[..]);
        connection.send_fragment(last).unwrap();
        connection.send("next").unwrap();
        let expected = [
            text(b"a\xc3").more(),
            ping("p"),
            continuation("").more(),
            continuation(b"\xa9b"),
            text("next"),
        ];
        assert_eq!(drain_frames(&mut connection), expected);
        assert_eq!(connection.state(), State::Open);
    }
}
