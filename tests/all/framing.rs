//! Frames: RFC 6455 sections 5.1 to 5.3 and 5.5.

use framewire::wire::{HeaderError, Opcode, ReservedBit, apply_mask};
use framewire::{Config, Outcome, ProtocolError, Role, State};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

const UNMASKED: ProtocolError = ProtocolError::Header(HeaderError::Unmasked);
const MASKED: ProtocolError = ProtocolError::Header(HeaderError::Masked);

/// The first two bytes of a frame by the peer of `role`, with nothing behind them.
fn two_bytes(role: Role, first: u8, length: u8) -> [u8; 2] {
    [first, length | if role == Role::Server { 0x80 } else { 0 }]
}

// req: W068, W074, W081, W056, W080
#[test]
fn whole_frames_of_every_length_are_delivered_and_answered() {
    for role in ROLES {
        for length in [0, 1, 124, 125, 126, 127, 128, 300, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..length).map(|at| ((at * 31) >> 3) as u8).collect();
            let answer = payload.clone();
            let script = Script::open(role)
                .peer(binary(&payload))
                .sees(Seen::Binary(payload.clone()))
                .app(move |c| c.send(&answer).unwrap())
                .sends(binary(&payload))
                .peer(text("next"))
                .sees(said("next"));
            let transcript = script.run();
            assert_eq!((transcript.state, transcript.wants_shutdown), (State::Open, false));
            assert_eq!(
                transcript.outcome,
                Outcome::Lost { sent: None, received: None, cause: None }
            );
        }
    }
}

// req: W054, W055, W101, W102, W103, W117
// attack: FR03
#[test]
fn an_unmasked_frame_to_the_server_fails_it() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        let frame = frame(opcode, b"").masked(false);
        Script::open(Role::Server).peer(frame).fails(UNMASKED);
        // The payload is not waited for.
        let bytes = [0x80 | opcode, 100];
        Script::open(Role::Server).bytes(bytes).fails(UNMASKED);
    }
    Script::open(Role::Server)
        .peer(text("a").more())
        .peer(continuation("b").masked(false))
        .fails(UNMASKED);
}

// req: W057, W056, W101, W102, W103
// attack: FR04
#[test]
fn a_masked_frame_to_the_client_fails_it() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        let frame = frame(opcode, b"").masked(true);
        Script::open(Role::Client).peer(frame).fails(MASKED);
        Script::open(Role::Client).bytes([0x80 | opcode, 0x80 | 100]).fails(MASKED);
    }
    Script::open(Role::Client)
        .peer(text("a").more())
        .peer(continuation("b").masked(true))
        .fails(MASKED);
}

// req: W061
// attack: FR01
#[test]
fn reserved_opcodes_fail_at_the_first_byte() {
    for role in ROLES {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            for fin in [0, 0x80] {
                let error = ProtocolError::Header(HeaderError::ReservedOpcode(opcode));
                Script::open(role).bytes([fin | opcode]).fails(error);
                Script::open(role).bytes([fin | opcode, 0x8a]).fails(error);
                // And inside a message.
                let inside = Script::open(role).peer(text("a").more()).bytes([fin | opcode]);
                inside.fails(error);
            }
        }
    }
}

/// The first of the bits in a header with these reserved bits.
fn first_bit(reserved: u8) -> ReservedBit {
    match reserved {
        4.. => ReservedBit::Rsv1,
        2.. => ReservedBit::Rsv2,
        _ => ReservedBit::Rsv3,
    }
}

// req: W060, D024
// attack: FR02, PD04
#[test]
fn reserved_bits_without_meaning_fail() {
    for role in ROLES {
        for reserved in 1..=7 {
            let error = ProtocolError::Header(HeaderError::ReservedBit(first_bit(reserved)));
            for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
                let first = 0x80 | reserved << 4 | opcode;
                Script::open(role).bytes([first]).fails(error);
                Script::open(role).peer(binary("a").more()).bytes([first]).fails(error);
            }
        }
    }
}

// req: W062
// attack: FR05
#[test]
fn a_length_with_its_top_bit_fails() {
    for role in ROLES {
        for length in [1 << 63, 1 << 63 | 1, u64::MAX] {
            let error = ProtocolError::Header(HeaderError::LengthTopBit);
            let bytes = long_header(peer_of(role), 0x82, length);
            Script::open(role).bytes(&bytes).fails(error);
            Script::open(role).bytes(&bytes[..3]).fails(error);
            let config = Config::new().max_message_size(usize::MAX);
            Script::open(role).config(config).bytes(&bytes).fails(error);
        }
    }
}

// req: W063
// attack: FR09
#[test]
fn a_length_in_more_bytes_than_it_needs_fails() {
    for role in ROLES {
        for length in [0u16, 1, 64, 124, 125] {
            let error = ProtocolError::Header(HeaderError::NonMinimalLength);
            let [first, second] = two_bytes(role, 0x82, 126);
            let bytes = [&[first, second], &length.to_be_bytes()[..]].concat();
            Script::open(role).bytes(bytes).fails(error);
        }
        for length in [0u64, 125, 126, 65_535] {
            let error = ProtocolError::Header(HeaderError::NonMinimalLength);
            let bytes = long_header(peer_of(role), 0x81, length);
            Script::open(role).bytes(&bytes[..10]).fails(error);
        }
    }
}

// req: W070, W077
// attack: FR10, CL03
#[test]
fn control_frames_are_short_and_whole() {
    for role in ROLES {
        for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
            let number = opcode.as_u8();
            let fragmented = ProtocolError::Header(HeaderError::FragmentedControl(opcode));
            Script::open(role).bytes([number]).fails(fragmented);
            let long = ProtocolError::Header(HeaderError::ControlTooLong(opcode));
            for length in [126, 127] {
                // Neither the length nor the payload is waited for.
                let bytes = two_bytes(role, 0x80 | number, length);
                Script::open(role).bytes(bytes).fails(long);
            }
            for length in [126, 127, 65_536] {
                let frame = frame(number, vec![b'x'; length]);
                Script::open(role).peer(frame).fails(long);
            }
        }
        let most = [b'x'; 125];
        Script::open(role)
            .peer(ping(most))
            .sees(Seen::Ping(most.to_vec()))
            .sends(pong(most))
            .peer(pong(most))
            .sees(Seen::Pong(most.to_vec()))
            .run();
    }
}

/// The order in which a receiver finds faults is that of the stream: first byte, second byte, length.
/// The first one names the code.
// req: W060, W061, W062, W069, W070, W077, W055, W057
#[test]
fn the_first_fault_of_a_header_counts() {
    use ProtocolError::Header;
    let reserved = |bit| Header(HeaderError::ReservedBit(bit));
    let masked_wrongly = |role| match role {
        Role::Server => (0x00, UNMASKED),
        Role::Client => (0x80, MASKED),
    };
    for role in ROLES {
        let (wrong, mask_error) = masked_wrongly(role);
        let right = wrong ^ 0x80;
        let open: &[(&[u8], ProtocolError)] = &[
            // Reserved bits before the opcode sequence, the mask and the length.
            (&[0xb2, wrong | 127, 0xff], reserved(ReservedBit::Rsv2)),
            (&[0x92, wrong | 127, 0xff], reserved(ReservedBit::Rsv3)),
            (&[0xc2, wrong | 127, 0xff], reserved(ReservedBit::Rsv1)),
            (&[0xc0, wrong], reserved(ReservedBit::Rsv1)),
            (&[0xc9, wrong], reserved(ReservedBit::Rsv1)),
            // The opcode before the mask and the length.
            (&[0x83, wrong], Header(HeaderError::ReservedOpcode(3))),
            (&[0xff, wrong | 127], Header(HeaderError::ReservedOpcode(15))),
            (&[0x80, wrong | 127], ProtocolError::Header(HeaderError::UnexpectedContinuation)),
            // FIN of a control frame before its length, and both before the mask.
            (&[0x09, wrong | 126], Header(HeaderError::FragmentedControl(Opcode::Ping))),
            (&[0x89, wrong | 126], Header(HeaderError::ControlTooLong(Opcode::Ping))),
            // The mask before the length and the limits.
            (&[0x82, wrong | 127, 0xff], mask_error),
            (&[0x88, wrong | 1, 0], mask_error),
            // The length before the payload.
            (&[0x82, right | 127, 0xff], Header(HeaderError::LengthTopBit)),
            (&[0x82, right | 126, 0, 9], Header(HeaderError::NonMinimalLength)),
            (&[0x82, right | 127, 0, 0, 0, 0, 0, 0], Header(HeaderError::NonMinimalLength)),
            (&[0x88, right | 1], Header(HeaderError::CloseTooShort)),
        ];
        for (bytes, error) in open {
            Script::open(role).bytes(bytes).fails(*error);
        }
        // A limit counts from the byte on that shows that it will be passed, whatever follows.
        let config = Config::new().max_message_size(100);
        for bytes in [&[0x81, right | 101][..], &[0x81, right | 126], &[0x81, right | 127]] {
            let script = Script::open(role).config(config.clone()).bytes(bytes);
            script.fails(ProtocolError::MessageTooBig(100));
        }
        let larger = Config::new().max_message_size(100_000);
        for bytes in [&[127, 0, 0, 0, 0, 1][..], &[127, 0, 0, 0, 0, 0, 1, 0x87]] {
            let bytes = [&[0x81, right | bytes[0]], &bytes[1..]].concat();
            let script = Script::open(role).config(larger.clone()).bytes(bytes);
            script.fails(ProtocolError::MessageTooBig(100_000));
        }
        // Inside a message: a new one is refused before its mask and its length are looked at.
        for first in [0x81, 0x02] {
            let script = Script::open(role).config(config.clone()).peer(text("a").more());
            script
                .bytes([first, wrong | 127])
                .fails(ProtocolError::Header(HeaderError::ExpectedContinuation));
        }
    }
}

// req: W066, W068
// attack: FR11
#[test]
fn every_mask_at_every_alignment_is_undone() {
    let mut random = Random::new(11);
    let keys = [[0, 0, 0, 0], [0xff; 4], [1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 4]];
    let mut room = vec![0; 1200];
    for length in 0..=1100 {
        let payload = random.bytes(length);
        for key in keys {
            for alignment in 0..16 {
                for offset in 0..4 {
                    let bytes = &mut room[alignment..alignment + length];
                    bytes.copy_from_slice(&payload);
                    apply_mask(bytes, key, offset);
                    let plain = |at: usize| payload[at] ^ key[(at + offset) % 4];
                    assert!((0..length).all(|at| bytes[at] == plain(at)), "{length} {key:?}");
                }
            }
        }
    }
    // And through a server, whatever lies before the frame.
    for key in keys {
        for length in [0, 1, 3, 4, 5, 8, 16, 31, 33, 200] {
            let payload = random.bytes(length);
            Script::open(Role::Server)
                .peer(ping("abc"))
                .sees(Seen::Ping(b"abc".to_vec()))
                .sends(pong("abc"))
                .peer(binary(&payload).key(key))
                .sees(Seen::Binary(payload))
                .run();
        }
    }
}

// req: W074, W081, W071, W072
// attack: FR12, FR14
#[test]
fn a_mixed_sequence_is_the_same_however_it_arrives() {
    for role in ROLES {
        let long = "x".repeat(300);
        Script::open(role)
            .peer(text(""))
            .sees(said(""))
            .peer(text("κόσμε"))
            .sees(said("κόσμε"))
            .peer(ping("1"))
            .sees(Seen::Ping(b"1".to_vec()))
            .sends(pong("1"))
            .peer(binary([0, 255, 128]).more())
            .peer(ping(""))
            .sees(Seen::Ping(vec![]))
            .app(|c| c.send("inside").unwrap())
            .sends(pong(""))
            .sends(text("inside"))
            .peer(continuation([]).more())
            .peer(pong("late"))
            .sees(Seen::Pong(b"late".to_vec()))
            .peer(continuation([7]))
            .sees(Seen::Binary(vec![0, 255, 128, 7]))
            .peer(text(&long))
            .sees(said(&long))
            .peer(close(1000, "done"))
            .sees(Seen::Close(1000, "done".into()))
            .sends(close(1000, "done"))
            .run();
    }
}

// req: W098, W099, W105
// attack: FR13, CL15
#[test]
fn an_end_at_any_byte_of_a_message_is_a_loss_and_delivers_nothing() {
    for role in ROLES {
        let peer = peer_of(role);
        let message = [text("aé").more(), ping("p"), continuation("漢")].map(|f| f.by(peer));
        let ping_ends = message[0].len() + message[1].len();
        let stream = message.concat();
        for end in 0..stream.len() {
            let mut connection = open(role, &Config::new(), None);
            let seen = feed(&mut connection, &stream[..end]);
            let pinged = vec![Seen::Ping(b"p".to_vec())];
            assert_eq!(seen, if end < ping_ends { vec![] } else { pinged });
            let lost = Outcome::Lost { sent: None, received: None, cause: None };
            for _ in 0..3 {
                assert_eq!(connection.receive_eof(), lost);
                assert_eq!(connection.state(), State::Closed);
            }
            assert_eq!((lost.code().0, lost.reason(), lost.was_clean()), (1006, "", false));
            // Nothing is made of what comes after the end.
            assert_eq!(feed(&mut connection, &stream[end..]), vec![]);
            assert!(connection.receive_direct(|_, _| unreachable!()).is_none());
            assert_eq!(drain(&mut connection), b"");
        }
    }
}

// req: W103, W101
// attack: FR15
#[test]
fn a_failed_connection_stays_failed() {
    for role in ROLES {
        let mut connection = open(role, &Config::new(), None);
        let error = ProtocolError::Header(HeaderError::ReservedOpcode(3));
        assert_eq!(feed(&mut connection, &[0x83]), [Seen::Failed(error)]);
        let output = drain(&mut connection);
        for _ in 0..3 {
            let peer = peer_of(role);
            let more = [ping("a").by(peer), close(1000, "").by(peer), vec![0xff; 9]].concat();
            assert_eq!(feed(&mut connection, &more), vec![]);
            assert_eq!(drain(&mut connection), b"");
        }
        assert_eq!(sent_by(role, &output), [close(1002, &error.to_string())]);
        assert_eq!(connection.receive_eof(), Outcome::Failed(error));
    }
}

// attack: FR16, AP05
#[test]
fn noise_ends_in_at_most_one_error() {
    let mut random = Random::new(16);
    let config = Config::new().max_message_size(1 << 16);
    for round in 0..6000 {
        let role = ROLES[round % 2];
        let mut connection = open(role, &config, None);
        let length = 1 + random.below(300);
        let mut noise = random.bytes(length);
        if round % 3 == 0 {
            // Likely past the first header.
            let opcodes = [TEXT, BINARY, PING, PONG, CLOSE];
            noise[0] = 0x80 | opcodes[random.below(5)];
            noise.insert(1, two_bytes(role, 0, 1 + random.below(125) as u8)[1]);
        }
        let cuts = super::support::chunks::random_cuts(&mut random, noise.len());
        let mut seen = Vec::new();
        for portion in super::support::chunks::portions(&noise, &cuts) {
            seen.extend(feed(&mut connection, portion));
        }
        let is_error = |seen: &Seen| matches!(seen, Seen::Failed(_));
        let errors = seen.iter().filter(|seen| is_error(seen)).count();
        assert!(errors == 0 || (errors == 1 && is_error(seen.last().unwrap())));
        assert_eq!(errors == 1, matches!(connection.receive_eof(), Outcome::Failed(_)));
    }
}

// attack: FR17
#[test]
fn framing_of_the_old_drafts_is_refused() {
    for role in ROLES {
        // 0x00 "Hello" 0xff, and a length of 7-bit groups.
        Script::open(role)
            .bytes(b"\x00Hello\xff")
            .fails(ProtocolError::Header(HeaderError::UnexpectedContinuation));
        let error = ProtocolError::Header(HeaderError::ReservedBit(ReservedBit::Rsv1));
        Script::open(role).bytes([0xf0 | TEXT, 0xff, 0xff]).fails(error);
        let error = ProtocolError::Header(HeaderError::ReservedOpcode(15));
        Script::open(role).bytes([0xff, 0x00]).fails(error);
    }
}

// req: W063, W064, W059, W077
#[test]
fn lengths_are_written_in_the_fewest_bytes() {
    for role in ROLES {
        let sizes = [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (100_000, 10)];
        for (length, header) in sizes {
            // Borrowed payloads are copied, owned ones are not.
            for owned in [false, true] {
                let mut connection = open(role, &Config::new(), None);
                let payload = vec![1; length];
                match owned {
                    true => connection.send(payload.clone()).unwrap(),
                    false => connection.send(&payload).unwrap(),
                }
                let bytes = drain(&mut connection);
                let mask = if role == Role::Client { 4 } else { 0 };
                assert_eq!(bytes.len(), header + mask + length);
                assert_eq!(sent_by(role, &bytes), [binary(&payload)]);
            }
        }
    }
}
