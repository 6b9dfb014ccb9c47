//! Limits: RFC 6455 section 10.4. What they bound in memory is measured in tests/heap/memory.rs.

use framewire::{Config, Fragments, InvalidConfig, Outcome, ProtocolError, Role, SendError, State};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

// req: W115, W110, W117
// attack: FR06
#[test]
fn a_length_beyond_the_limit_fails_at_the_header() {
    for role in ROLES {
        let peer = peer_of(role);
        let default = 16 << 20;
        for length in [(1 << 63) - 1, 1 << 32, 1 << 31, default as u64 + 1] {
            for opcode in [TEXT, BINARY] {
                for fin in [0, 0x80] {
                    // Not even the masking key is waited for.
                    let bytes = long_header(peer, fin | opcode, length);
                    let error = ProtocolError::MessageTooBig(default);
                    Script::open(role).bytes(&bytes[..10]).fails(error);
                }
            }
        }
        for limit in [0, 1, 125, 126, 65_535, 65_536] {
            let config = Config::new().max_message_size(limit);
            let bytes = binary(vec![0; limit + 1]).by(peer);
            let header = bytes.len() - limit - 1;
            let script = Script::open(role).config(config).bytes(&bytes[..header]);
            script.fails(ProtocolError::MessageTooBig(limit));
        }
    }
}

// req: W115
// attack: FR07, FM10
#[test]
fn a_message_of_exactly_the_limit_is_delivered() {
    for role in ROLES {
        for limit in [0, 1, 125, 126, 1000, 65_535, 65_536, 100_000] {
            let config = Config::new().max_message_size(limit);
            let whole = vec![b'x'; limit];
            let message = String::from_utf8(whole.clone()).unwrap();
            let (first, second) = whole.split_at(limit / 3);
            Script::open(role)
                .config(config.clone())
                .peer(binary(&whole))
                .sees(Seen::Binary(whole.clone()))
                .peer(text(&whole))
                .sees(Seen::Text(message.clone()))
                .peer(text(first).more())
                .peer(continuation(second).more())
                .peer(continuation(""))
                .sees(Seen::Text(message))
                .run();
        }
    }
}

// req: W115, W110
// attack: FM03, FM10, FR08
#[test]
fn fragments_that_add_up_beyond_the_limit_fail_at_the_header_that_crosses_it() {
    for role in ROLES {
        let peer = peer_of(role);
        let error = ProtocolError::MessageTooBig(100);
        let config = || Config::new().max_message_size(100);
        let crossing = continuation([0; 41]).by(peer);
        let header = crossing.len() - 41;
        for pieces in [Fragments::Never, Fragments::Always, Fragments::From(10)] {
            let start = Script::open(role)
                .config(config().fragments(pieces))
                .peer(binary([0; 50]).more())
                .peer(continuation([0; 10]).more())
                .peer(ping([1; 100]))
                .sees(Seen::Ping(vec![1; 100]))
                .sends(pong([1; 100]));
            start.bytes(&crossing[..header]).fails(error);
        }
        // The sum cannot overflow.
        for length in [(1 << 63) - 1, (1 << 63) - 2] {
            let limits = [100, 16 << 20, usize::MAX / 2 - 1];
            for limit in limits {
                let error = ProtocolError::MessageTooBig(limit);
                let config = Config::new().max_message_size(limit);
                let script = Script::open(role).config(config).peer(binary("x").more());
                let bytes = long_header(peer, 0x80, length);
                script.bytes(&bytes[..10]).fails(error);
            }
        }
    }
}

// req: W115
#[test]
fn without_a_limit_nothing_overflows() {
    for role in ROLES {
        let config = Config::new().max_message_size(usize::MAX);
        let peer = peer_of(role);
        let mut connection = open(role, &config, None);
        assert_eq!(feed(&mut connection, &binary("x").more().by(peer)), vec![]);
        let bytes = long_header(peer, 0, (1 << 63) - 1);
        assert_eq!(feed(&mut connection, &bytes), vec![]);
        assert_eq!(feed(&mut connection, &[7; 1000]), vec![]);
        assert_eq!((connection.state(), connection.is_inside_message()), (State::Open, true));
        assert_eq!(
            connection.receive_eof(),
            Outcome::Lost { sent: None, received: None, cause: None }
        );
    }
}

// req: W115, W110
// attack: FM01, FM02
#[test]
fn fragments_are_counted() {
    for role in ROLES {
        let config = || Config::new().max_fragments(5);
        for piece in ["", "x"] {
            let mut script = Script::open(role).config(config()).peer(text(piece).more());
            let mut whole = piece.to_owned();
            for _ in 0..3 {
                script = script.peer(continuation(piece).more());
                whole += piece;
            }
            whole += piece;
            let script = script.peer(continuation(piece)).sees(Seen::Text(whole));
            script.run();
            // The count is a message's, and the sixth fails at its header.
            let mut script = script.peer(binary(piece).more());
            for _ in 0..4 {
                script = script.peer(continuation(piece).more());
            }
            let sixth = continuation(vec![0; 70]).by(peer_of(role));
            let header = sixth.len() - 70;
            script.bytes(&sixth[..header]).fails(ProtocolError::TooManyFragments(5));
        }
        assert_eq!(ProtocolError::TooManyFragments(5).close_code().0, 1008);
    }
}

// req: W115, W074
// attack: FM02
#[test]
fn the_default_takes_what_autobahn_sends_and_no_endless_stream() {
    let peer = Role::Client;
    let mut connection = open(Role::Server, &Config::new(), None);
    let mut stream = text("").more().by(peer);
    let empty = continuation("").more().by(peer);
    stream.extend(empty.repeat(131_071));
    assert_eq!(feed(&mut connection, &stream), vec![]);
    let failed = [Seen::Failed(ProtocolError::TooManyFragments(131_072))];
    assert_eq!(feed(&mut connection, &empty), failed);

    let mut connection = open(Role::Server, &Config::new(), None);
    let mut stream = binary("x").more().by(peer);
    stream.extend(continuation("x").more().by(peer).repeat(65_534));
    stream.extend(continuation("x").by(peer));
    assert_eq!(feed(&mut connection, &stream), [Seen::Binary(vec![b'x'; 65_536])]);
}

// req: W115
#[test]
fn limits_do_not_touch_control_frames() {
    for role in ROLES {
        Script::open(role)
            .config(Config::new().max_message_size(0).max_fragments(1))
            .peer(ping([1; 125]))
            .sees(Seen::Ping(vec![1; 125]))
            .sends(pong([1; 125]))
            .peer(text(""))
            .sees(said(""))
            .peer(close(1000, "x"))
            .sees(Seen::Close(1000, "x".into()))
            .sends(close(1000, "x"))
            .run();
    }
}

// attack: AP03
#[test]
fn no_configuration_panics() {
    let sizes = [0, 1, 127, 128, 1 << 20, usize::MAX];
    let mut refused = 0;
    for size in sizes {
        for config in [
            Config::new().max_message_size(size),
            Config::new().max_head_size(size),
            Config::new().max_request_line(size),
            Config::new().max_headers(size),
            Config::new().max_rejection_body(size),
            Config::new().output_high_water(size),
            Config::new().output_low_water(size),
            Config::new().max_fragments(u32::try_from(size).unwrap_or(u32::MAX)),
        ] {
            refused += usize::from(config.validate().is_err());
            // Valid or not, it makes connections that do not panic.
            let mut server = framewire::Connection::server(&config);
            let seen = feed(&mut server, request("").as_bytes());
            assert_eq!(seen.len(), 1);
            if server.awaits_decision() {
                server.accept(framewire::Accept::new()).unwrap();
                let _ = (server.is_congested(), server.is_drained());
                feed(&mut server, &ping("p").by(Role::Client));
                feed(&mut server, &text("a").more().by(Role::Client));
                feed(&mut server, &continuation("b").by(Role::Client));
            }
            drain(&mut server);
            let mut client = client(&config);
            drain(&mut client);
            feed(&mut client, response("").as_bytes());
            drain(&mut client);
        }
    }
    assert!(refused > 5);
    let error = Config::new().output_high_water(1).output_low_water(2).validate();
    assert_eq!(error, Err(InvalidConfig::LowWater));
}

// attack: FL03
#[test]
fn the_high_water_mark_is_told() {
    for role in ROLES {
        let config = Config::new().output_high_water(10_000).output_low_water(1000);
        let mut connection = open(role, &config, None);
        assert!(!connection.is_congested() && connection.is_drained());
        while !connection.is_congested() {
            connection.send(&[0; 100]).unwrap();
            assert_eq!(connection.is_congested(), connection.buffered_amount() >= 10_000);
        }
        assert!(connection.buffered_amount() < 10_000 + 110);
        while !connection.is_drained() {
            assert!(connection.buffered_amount() > 1000);
            connection.consume_output(1);
        }
        assert_eq!(connection.buffered_amount(), 1000);
    }
}

// attack: AP01
#[test]
fn a_reader_that_lies_breaks_its_own_stream_only() {
    for role in ROLES {
        let peer = peer_of(role);
        let stream = binary(vec![1; 100_000]).by(peer);
        // Too much: what is more than was missing is dropped.
        let mut connection = open(role, &Config::new(), None);
        feed(&mut connection, &stream[..1000]);
        let (_, event) = connection
            .receive_direct(|buffer, missing| buffer.append(&vec![0; missing + 50_000]))
            .unwrap();
        let Some(framewire::Event::Message(message)) = event else { panic!("a message") };
        assert_eq!(message.len(), 100_000);
        assert!(!connection.is_inside_message());
        // Nothing: nothing has happened.
        let mut connection = open(role, &Config::new(), None);
        feed(&mut connection, &stream[..1000]);
        for _ in 0..3 {
            assert_eq!(connection.receive_direct(|_, _| ()), Some(((), None)));
        }
        // More than was read: what the room holds is taken for it, and the stream is one message all the same.
        let (_, event) = connection.receive_direct(|buffer, _| buffer.advance(100_000)).unwrap();
        assert_eq!(event, None);
        let (_, event) = connection
            .receive_direct(|buffer, missing| {
                assert_eq!(buffer.room(missing).len(), missing);
                buffer.advance(usize::MAX);
            })
            .unwrap();
        let Some(framewire::Event::Message(message)) = event else { panic!("a message") };
        assert_eq!(message.len(), 100_000);
    }
}

// req: W079
#[test]
fn without_entropy_a_client_sends_nothing() {
    struct Dry(usize);
    impl framewire::Entropy for Dry {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), framewire::EntropyError> {
            if self.0 == 0 {
                return Err(framewire::EntropyError::default());
            }
            self.0 -= 1;
            bytes.copy_from_slice(&b"the sample nonce"[..bytes.len()]);
            Ok(())
        }
    }
    let url = framewire::handshake::Url::parse("ws://h").unwrap();
    let request = || framewire::handshake::ClientRequest::new(&url);
    let config = Config::new();
    assert!(framewire::Connection::client(request(), &config, Dry(0)).is_err());
    let mut client = framewire::Connection::client(request(), &config, Dry(1)).unwrap();
    drain(&mut client);
    assert_eq!(feed(&mut client, response("").as_bytes()), [Seen::Open]);
    let error = framewire::SendError::Entropy(framewire::EntropyError::default());
    assert_eq!(client.send("a"), Err(error.clone()));
    assert_eq!(client.send(vec![0; 100_000]), Err(error.clone()));
    assert_eq!(client.close(1000, ""), Err(error));
    assert_eq!((client.buffered_amount(), client.state()), (0, State::Open));
    // A Pong that is owed cannot be sent unmasked either: the connection ends.
    assert_eq!(feed(&mut client, &ping("p").by(Role::Server)), [Seen::Ping(b"p".to_vec())]);
    assert_eq!((client.buffered_amount(), client.state()), (0, State::Closing));
    assert!(client.wants_shutdown());
}

/// Entropy that fails for as long as it is told to.
struct Fails(std::sync::Arc<std::sync::atomic::AtomicBool>, Random);

impl framewire::Entropy for Fails {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), framewire::EntropyError> {
        if self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(framewire::EntropyError::default());
        }
        self.1.fill(bytes);
        Ok(())
    }
}

/// A call that cannot be done leaves everything as it was: the frames that follow are those of a connection on
/// which it was never made.
// req: W055, W079
#[test]
fn a_call_without_entropy_changes_nothing() {
    use framewire::{Compress, Connection, Fragment, MessageKind, Prepared, SendError};
    use std::sync::atomic::{AtomicBool, Ordering};

    type Call = fn(&mut Connection) -> Result<(), SendError>;
    const TEXT: MessageKind = MessageKind::Text;
    let begins: Call = |c| c.send_fragment(Fragment::more(TEXT, &b"caf\xc3"[..]));
    let goes_on: Call = |c| c.send_fragment(Fragment::more(TEXT, &b"\xa9, caf\xc3"[..]));
    let ends: Call = |c| c.send_fragment(Fragment::last(TEXT, &b"\xa9"[..]));
    let whole: Call = |c| c.send("a message that repeats a message that repeats");
    let others: [Call; 9] = [
        |c| c.send(vec![1; 100_000]),
        |c| c.send_with("a message that repeats", Compress::Always),
        |c| c.send_prepared(&Prepared::new("a message that repeats")),
        |c| c.send_fragment(Fragment::more(MessageKind::Binary, &b"another"[..])),
        |c| c.ping(b"ping"),
        |c| c.pong(b"pong"),
        |c| c.close(1000, "bye"),
        |c| c.close_without_code(),
        |c| c.close(4000, ""),
    ];
    let befores: [&[Call]; 4] = [&[], &[whole], &[begins], &[whole, begins, goes_on]];
    let extensions = [
        None,
        #[cfg(feature = "deflate")]
        Some("permessage-deflate"),
    ];
    for extensions in extensions {
        for before in befores {
            for held in [false, true] {
                for call in [begins, goes_on, ends, whole].into_iter().chain(others) {
                    let play = |fails: bool| {
                        let flag = std::sync::Arc::new(AtomicBool::new(false));
                        let config = match held {
                            true => Config::new().output_high_water(1).output_low_water(0),
                            false => Config::new(),
                        };
                        let entropy = Fails(flag.clone(), Random::new(1));
                        let mut client = open_client(&config, extensions, entropy);
                        before.iter().for_each(|call| call(&mut client).unwrap());
                        if held {
                            // Its Pong is held back until the output has room.
                            client.ping(b"fills").unwrap();
                            feed(&mut client, &ping("held").by(Role::Server));
                        }
                        if fails {
                            flag.store(true, Ordering::Relaxed);
                            let was = (client.state(), client.buffered_amount());
                            let error = call(&mut client).unwrap_err();
                            // Some calls do not fit the message that is under way.
                            use SendError::{Entropy, InvalidUtf8, UnfinishedMessage};
                            assert!(matches!(error, Entropy(_) | InvalidUtf8 | UnfinishedMessage));
                            assert_eq!((client.state(), client.buffered_amount()), was);
                            flag.store(false, Ordering::Relaxed);
                        }
                        let mut frames = drain_frames(&mut client);
                        frames.extend(drain_frames(&mut client));
                        let results = [goes_on, ends, whole, begins, ends, whole]
                            .map(|call| call(&mut client).is_ok());
                        client.close(1000, "").unwrap();
                        frames.extend(drain_frames(&mut client));
                        (results, frames)
                    };
                    assert_eq!(play(true), play(false), "{} {held}", before.len());
                }
            }
        }
    }
}

// req: W079
#[test]
fn without_entropy_a_ping_by_itself_is_tried_again_and_a_pong_that_was_held_ends_the_connection() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    for interval in [Duration::ZERO, Duration::from_secs(20)] {
        let config = Config::new().ping_interval(interval).pong_timeout(None).write_timeout(None);
        let flag = Arc::new(AtomicBool::new(false));
        let mut client = open_client(&config, None, Fails(Arc::clone(&flag), Random::new(1)));
        flag.store(true, Ordering::Relaxed);
        for seconds in [0, 20] {
            assert_eq!(client.handle_timeout(Duration::from_secs(seconds)), None);
            let later = Duration::from_secs(seconds) + interval;
            assert_eq!(client.next_timeout(), Some(later));
        }
        flag.store(false, Ordering::Relaxed);
        client.handle_timeout(Duration::from_secs(41));
        assert_eq!(drain_frames(&mut client), [ping([0, 0, 0, 1])]);
    }

    let config = Config::new().output_high_water(1).output_low_water(0);
    let flag = Arc::new(AtomicBool::new(false));
    let mut client = open_client(&config, None, Fails(Arc::clone(&flag), Random::new(1)));
    client.send("fills").unwrap();
    feed(&mut client, &ping("held").by(Role::Server));
    flag.store(true, Ordering::Relaxed);
    drain(&mut client);
    assert_eq!((client.buffered_amount(), client.state()), (0, State::Closing));
    assert!(client.wants_shutdown());
    let outcome = client.receive_eof();
    let cause = outcome.cause().and_then(|cause| cause.downcast_ref::<SendError>());
    assert!(matches!(cause, Some(SendError::Entropy(_))), "{outcome:?}");
}

#[test]
fn what_was_not_queued_is_not_counted() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let entropy = Fails(std::sync::Arc::clone(&flag), Random::new(1));
    let mut client = open_client(&Config::new(), None, entropy);
    flag.store(true, std::sync::atomic::Ordering::Relaxed);
    client.send("a").unwrap_err();
    client.send(vec![0; 100_000]).unwrap_err();
    client.ping(b"p").unwrap_err();
    assert_eq!(*client.as_parts_mut().1.metrics(), framewire::Metrics::default());
}

#[test]
fn a_pong_that_was_held_goes_out_when_settings_allow_more() {
    let config = Config::new().output_high_water(1).output_low_water(0);
    let mut connection = open(Role::Server, &config, None);
    connection.send("fills").unwrap();
    feed(&mut connection, &ping("held").by(Role::Client));
    let waits = connection.buffered_amount();
    connection.set_config(Config::new());
    assert_eq!(connection.buffered_amount(), waits + pong("held").by(Role::Server).len());
    assert_eq!(drain_frames(&mut connection), [text("fills"), pong("held")]);
}
