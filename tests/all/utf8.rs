//! Text is UTF-8: RFC 6455 sections 5.6 and 8.1.

use std::str;

use framewire::wire::{CloseCode, Utf8Validator};
use framewire::{Config, Fragment, MessageKind, ProtocolError, Role, SendError};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

// req: W078, W112
// attack: UT01
#[test]
fn text_is_taken_exactly_if_the_standard_library_takes_it() {
    let mut server = open(Role::Server, &Config::new(), None);
    let mut check = |bytes: &[u8]| {
        let expected = match str::from_utf8(bytes) {
            Ok(text) => said(text),
            Err(_) => Seen::Failed(ProtocolError::InvalidUtf8),
        };
        // Whole, and in two fragments.
        let whole = text(bytes).by(Role::Client);
        let seen = feed(&mut server, &whole);
        assert_eq!(&seen[..], std::slice::from_ref(&expected), "{bytes:02x?}");
        let failed = matches!(expected, Seen::Failed(_));
        if failed {
            server = open(Role::Server, &Config::new(), None);
        }
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let parts = [text(first).more().by(Role::Client), continuation(second).by(Role::Client)];
        assert_eq!(feed(&mut server, &parts.concat()), [expected], "{bytes:02x?}");
        if failed {
            server = open(Role::Server, &Config::new(), None);
        }
    };
    // Every two bytes that are not both ASCII, in the middle of some text.
    for first in 0..=255u8 {
        for second in (0..=255u8).step_by(if first < 0x80 { 17 } else { 1 }) {
            check(&[b'a', first, second, b'b']);
        }
    }
    for bytes in [
        &b"\xe0\x80\x80"[..],
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
    ] {
        check(bytes);
    }
    // Every code point, many to a message.
    let scalars: Vec<char> = (0..=0x10_ffff).filter_map(char::from_u32).collect();
    for characters in scalars.chunks(4096) {
        let text: String = characters.iter().collect();
        check(text.as_bytes());
    }
}

// req: W078, W103, W112
// attack: UT02
#[test]
fn invalid_text_fails_at_the_first_impossible_byte() {
    for role in ROLES {
        for bad in [&b"\xff"[..], b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xe0\x80", b"\x80"] {
            let start = ["κόσμε".as_bytes(), bad].concat();
            // In an unfinished message, whose first frame is whole.
            Script::open(role).peer(text(&start).more()).fails(ProtocolError::InvalidUtf8);
            // In an unfinished frame: only so much of it has come.
            let frame = text([&start[..], &[b'x'; 100]].concat()).by(peer_of(role));
            let header = frame.len() - start.len() - 100;
            let begun = Script::open(role).bytes(&frame[..header + start.len()]);
            begun.fails(ProtocolError::InvalidUtf8);
            // In a later fragment.
            let script = Script::open(role).peer(text("good").more()).peer(continuation("").more());
            script.peer(continuation(&start).more()).fails(ProtocolError::InvalidUtf8);
        }
    }
    assert_eq!(ProtocolError::InvalidUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
}

// req: W078, W071
// attack: UT03
#[test]
fn a_code_point_may_be_cut_anywhere() {
    for role in ROLES {
        let whole = "ß漢😀x";
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let pieces = whole.as_bytes();
                Script::open(role)
                    .peer(text(&pieces[..first]).more())
                    .peer(ping("between"))
                    .sees(Seen::Ping(b"between".to_vec()))
                    .sends(pong("between"))
                    .peer(continuation(&pieces[first..second]).more())
                    .peer(continuation(&pieces[second..]))
                    .sees(said(whole))
                    .run();
            }
        }
    }
}

// req: W078
// attack: UT04
#[test]
fn a_message_that_ends_inside_a_code_point_fails() {
    for role in ROLES {
        for cut in [&b"\xc3"[..], b"\xe6\xbc", b"\xf0\x9f\x98", b"\xf0"] {
            let bytes = [b"text", cut].concat();
            Script::open(role).peer(text(&bytes)).fails(ProtocolError::InvalidUtf8);
            let script = Script::open(role).peer(text(&bytes).more()).peer(continuation(""));
            script.fails(ProtocolError::InvalidUtf8);
            let begun = Script::open(role).peer(text("").more()).peer(continuation("").more());
            begun.peer(continuation(&bytes)).fails(ProtocolError::InvalidUtf8);
        }
    }
}

// attack: UT05
#[test]
fn a_long_text_with_a_bad_end_fails_wherever_it_is_cut() {
    // What is kept between two reads is no more than part of a code point, so that no text is ever
    // looked at again.
    assert!(size_of::<Utf8Validator>() <= 5);
    let mut random = Random::new(5);
    let mut bytes = "κόσμε".as_bytes().to_vec();
    bytes.resize(1 << 20, b'a');
    bytes.push(0xff);
    for role in ROLES {
        let stream = text(&bytes).by(peer_of(role));
        for _ in 0..20 {
            let cut = 1 + random.below(stream.len() - 1);
            let mut connection = open(role, &Config::new(), None);
            assert_eq!(feed(&mut connection, &stream[..cut]), vec![]);
            let failed = [Seen::Failed(ProtocolError::InvalidUtf8)];
            assert_eq!(feed(&mut connection, &stream[cut..]), failed);
        }
    }
}

// req: W078
#[test]
fn binary_is_not_looked_at() {
    for role in ROLES {
        let bytes = b"\xff\xc0\x80\xed\xa0\x80".to_vec();
        Script::open(role).peer(binary(&bytes)).sees(Seen::Binary(bytes)).run();
    }
}

// req: W078, W080
// attack: UT07
#[test]
fn no_invalid_text_is_sent() {
    // A whole text message is a `str`; only fragments have to be checked.
    for role in ROLES {
        let text_piece = |bytes: &'static [u8]| Fragment::more(MessageKind::Text, bytes);
        let last_piece = |bytes: &'static [u8]| Fragment::last(MessageKind::Text, bytes);
        let mut connection = open(role, &Config::new(), None);
        let invalid = Err(SendError::InvalidUtf8);
        assert_eq!(connection.send_fragment(text_piece(b"\xff")), invalid);
        assert_eq!(connection.send_fragment(last_piece(b"a\xc3")), invalid);
        assert_eq!(connection.buffered_amount(), 0);
        connection.send_fragment(text_piece(b"a\xc3")).unwrap();
        assert_eq!(connection.send_fragment(text_piece(b"a")), invalid);
        assert_eq!(connection.send_fragment(last_piece(b"")), invalid);
        // What was refused has not spoiled what was sent.
        connection.send_fragment(last_piece(b"\xa9")).unwrap();
        let expected = [text(b"a\xc3").more(), continuation(b"\xa9")];
        assert_eq!(drain_frames(&mut connection), expected);
    }
}
