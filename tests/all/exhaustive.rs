//! Every case there is, where there are few enough: first bytes of frames, close codes, short texts, windows.
//!
//! `FRAMEWIRE_DEEP=1` takes the texts of four bytes as well, which needs minutes.

use std::{env, str};

use framewire::wire::{
    CloseCode, CloseFrameError, HeaderError, Opcode, ReservedBit, Utf8Validator,
};
use framewire::{Config, Connection, Outcome, ProtocolError, Role, State};

use super::support::frames::*;
use super::support::script::*;

/// What an open connection does at the first two bytes of a frame.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// It fails at this byte, the first or the second.
    Fails(usize, HeaderError),
    /// It waits for the rest of the header or of the message.
    Waits,
    /// The frame is whole, and the connection tells this.
    Tells(Seen),
}

/// What a message that is under way has said so far.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inside {
    Nothing,
    Plain,
    #[cfg(feature = "deflate")]
    Compressed,
}

/// RFC 6455 section 5.2 read aloud: what is wrong with the first byte comes before what is wrong with the second.
fn verdict(role: Role, deflate: bool, inside: Inside, [first, second]: [u8; 2]) -> Verdict {
    use HeaderError as Error;
    let (fin, number) = (first >= 0x80, first % 16);
    let (control, data) = (matches!(number, 8..=10), matches!(number, 1 | 2));
    if !control && !data && number != 0 {
        return Verdict::Fails(1, Error::ReservedOpcode(number));
    }
    let opcode = Opcode::from_u8(number).expect("one of the six");
    if control && !fin {
        return Verdict::Fails(1, Error::FragmentedControl(opcode));
    }
    for (bit, name) in
        [(0x40, ReservedBit::Rsv1), (0x20, ReservedBit::Rsv2), (0x10, ReservedBit::Rsv3)]
    {
        let has_meaning = bit == 0x40 && deflate && data;
        if first & bit != 0 && !has_meaning {
            return Verdict::Fails(1, Error::ReservedBit(name));
        }
    }
    if number == 0 && inside == Inside::Nothing {
        return Verdict::Fails(1, Error::UnexpectedContinuation);
    }
    if data && inside != Inside::Nothing {
        return Verdict::Fails(1, Error::ExpectedContinuation);
    }
    let length = second % 128;
    if control && length > 125 {
        return Verdict::Fails(2, Error::ControlTooLong(opcode));
    }
    match (role, second >= 0x80) {
        (Role::Server, false) => return Verdict::Fails(2, Error::Unmasked),
        (Role::Client, true) => return Verdict::Fails(2, Error::Masked),
        _ => {}
    }
    if opcode == Opcode::Close && length == 1 {
        return Verdict::Fails(2, Error::CloseTooShort);
    }
    // A mask follows, a length, a payload, or another fragment.
    if role == Role::Server || length > 0 || !fin {
        return Verdict::Waits;
    }
    Verdict::Tells(match opcode {
        Opcode::Text => said(""),
        Opcode::Binary => Seen::Binary(Vec::new()),
        Opcode::Ping => Seen::Ping(Vec::new()),
        Opcode::Pong => Seen::Pong(Vec::new()),
        Opcode::Close => Seen::Close(1005, String::new()),
        _ => said("Hello"),
    })
}

/// An open connection, by the shortest way there is.
fn opened(role: Role, deflate: bool, config: &Config) -> Connection {
    match role {
        _ if deflate => open(role, config, Some("permessage-deflate")),
        Role::Server => Connection::adopted_server(config),
        Role::Client => Connection::adopted_client(config, not_random(5)),
    }
}

// req: W054, W057, W060, W061, W070, W077, W099, D023, D024
// attack: FR01, FR02, FR03, FR04
#[test]
fn the_first_two_bytes_of_a_frame_are_judged_as_the_rfc_says() {
    #[cfg(feature = "deflate")]
    const STATES: [(bool, Inside); 5] = [
        (false, Inside::Nothing),
        (false, Inside::Plain),
        (true, Inside::Nothing),
        (true, Inside::Plain),
        (true, Inside::Compressed),
    ];
    #[cfg(not(feature = "deflate"))]
    const STATES: [(bool, Inside); 2] = [(false, Inside::Nothing), (false, Inside::Plain)];
    let (mut cases, mut failed) = (0, 0);
    for role in ROLES {
        for (deflate, inside) in STATES {
            let config = Config::new();
            #[cfg(feature = "deflate")]
            let config = config.deflate(framewire::deflate::DeflateConfig::new());
            let begun = match inside {
                Inside::Nothing => Vec::new(),
                Inside::Plain => text("Hello").more().by(peer_of(role)),
                #[cfg(feature = "deflate")]
                Inside::Compressed => {
                    text([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).more().rsv1().by(peer_of(role))
                }
            };
            for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
                let verdict = verdict(role, deflate, inside, bytes);
                for cut in [1, 2] {
                    let mut connection = opened(role, deflate, &config);
                    assert_eq!(feed(&mut connection, &begun), []);
                    let (now, later) = bytes.split_at(cut);
                    let seen = [feed(&mut connection, now), feed(&mut connection, later)];
                    let (at, expected) = match &verdict {
                        Verdict::Waits => (2, None),
                        Verdict::Tells(seen) => (2, Some(seen.clone())),
                        Verdict::Fails(at, error) => {
                            (*at, Some(Seen::Failed(ProtocolError::Header(*error))))
                        }
                    };
                    let place = usize::from(at > cut);
                    let expected: Vec<_> = expected.into_iter().collect();
                    let context =
                        || format!("{role:?} {deflate} {inside:?} {bytes:02x?} cut at {cut}");
                    assert_eq!(seen[place], expected, "{}", context());
                    assert_eq!(seen[1 - place], [], "{}", context());
                    let fails = matches!(verdict, Verdict::Fails(..));
                    let closes = verdict == Verdict::Tells(Seen::Close(1005, String::new()));
                    assert_eq!(
                        connection.state() == State::Open,
                        !fails && !closes,
                        "{}",
                        context()
                    );
                    cases += 1;
                    failed += usize::from(fails);
                }
            }
        }
    }
    assert_eq!(cases, 2 * STATES.len() * 0x1_0000 * 2);
    assert!(failed > cases / 2 && failed < cases, "{failed} of {cases}");
}

// req: W086, W108, W109, W111
// attack: CL01, CL02
#[test]
fn every_close_code_is_answered_or_fails_and_is_sent_or_not_accordingly() {
    for role in ROLES {
        let config = Config::new();
        for code in 0..=u16::MAX {
            // RFC 6455 section 7.4 and the registry of IANA.
            let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let mut connection = opened(role, false, &config);
            let seen = feed(&mut connection, &close(code, "why").by(peer_of(role)));
            let sent = drain_frames(&mut connection);
            if valid {
                assert_eq!(seen, [Seen::Close(code, "why".to_owned())]);
                assert_eq!(sent, [close(code, "why")]);
                let outcome = connection.receive_eof();
                assert!(outcome.was_clean() && outcome.code() == CloseCode(code), "{outcome:?}");
            } else {
                let error = ProtocolError::Close(CloseFrameError::InvalidCode(CloseCode(code)));
                assert_eq!(seen, [Seen::Failed(error)]);
                assert_eq!(sent, [close(1002, &error.to_string())]);
                assert_eq!(connection.receive_eof(), Outcome::Failed(error));
            }
            let mut connection = opened(role, false, &config);
            assert_eq!(connection.close(CloseCode(code), "").is_ok(), valid, "{code}");
            let sent: Vec<_> = valid.then(|| close(code, "")).into_iter().collect();
            assert_eq!(drain_frames(&mut connection), sent);
        }
    }
}

/// A validator that got these pieces, or nothing if one of them was rejected.
fn after(validator: Option<Utf8Validator>, piece: &[u8]) -> Option<Utf8Validator> {
    let mut validator = validator?;
    validator.push(piece).ok().map(|()| validator)
}

/// Whether the standard library can still make text of this, and whether it is text already.
fn by_the_standard_library(bytes: &[u8]) -> (bool, bool) {
    match str::from_utf8(bytes) {
        Ok(_) => (true, true),
        Err(error) => (error.error_len().is_none(), false),
    }
}

fn agree(bytes: &[u8], validators: &[Option<Utf8Validator>]) {
    let expected = by_the_standard_library(bytes);
    for (split, validator) in validators.iter().enumerate() {
        let taken = validator.is_some();
        let whole = validator.is_some_and(|mut validator| validator.finish().is_ok());
        assert_eq!((taken, whole), expected, "{bytes:02x?}, split {split}");
    }
}

// req: W078, W112
// attack: UT01, UT02, UT03, UT04
#[test]
fn texts_of_up_to_three_bytes_are_judged_alike_at_every_split() {
    let new = Some(Utf8Validator::new());
    agree(b"", &[new, after(new, b"")]);
    for a in 0..=255 {
        let a_ = after(new, &[a]);
        agree(&[a], &[a_]);
        for b in 0..=255 {
            let (ab, a_b) = (after(new, &[a, b]), after(a_, &[b]));
            agree(&[a, b], &[ab, a_b]);
            for c in 0..=255 {
                let whole = after(new, &[a, b, c]);
                agree(&[a, b, c], &[whole, after(a_, &[b, c]), after(ab, &[c]), after(a_b, &[c])]);
            }
        }
    }
}

/// The four thousand million texts of four bytes, by all processors.
// req: W078, W112
#[test]
fn texts_of_four_bytes_are_judged_alike_at_every_split() {
    let deep = env::var_os("FRAMEWIRE_DEEP").is_some();
    // Without the wish for all: those whose first byte begins four bytes, of a few thereafter.
    let firsts: Vec<u8> = if deep { (0..=255).collect() } else { (0xef..=0xf5).collect() };
    let others: Vec<u8> = if deep {
        (0..=255).collect()
    } else {
        vec![0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff]
    };
    let new = Some(Utf8Validator::new());
    let judge = |a: u8| {
        let a_ = after(new, &[a]);
        for &b in &others {
            let (ab, a_b) = (after(new, &[a, b]), after(a_, &[b]));
            for &c in &others {
                let abc =
                    [after(new, &[a, b, c]), after(a_, &[b, c]), after(ab, &[c]), after(a_b, &[c])];
                for &d in &others {
                    let splits = [
                        after(new, &[a, b, c, d]),
                        after(a_, &[b, c, d]),
                        after(ab, &[c, d]),
                        after(a_b, &[c, d]),
                        after(abc[0], &[d]),
                        after(abc[1], &[d]),
                        after(abc[2], &[d]),
                        after(abc[3], &[d]),
                    ];
                    agree(&[a, b, c, d], &splits);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let (firsts, judge) = (&firsts, &judge);
            scope
                .spawn(move || firsts.iter().skip(worker).step_by(workers).for_each(|a| judge(*a)));
        }
    });
}

#[cfg(feature = "deflate")]
mod windows {
    use framewire::deflate::{DeflateConfig, DeflateParams};

    use super::super::support::chunks::Random;
    use super::super::support::strict_inflate::StrictInflate;
    use super::*;

    /// A message of one stored block.
    fn stored(text: &[u8]) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap();
        [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text, &[0]].concat()
    }

    /// A message of the three bytes that stand `distance` bytes back, in the codes that RFC 1951 section 3.2.6 fixes.
    fn back(distance: usize) -> Vec<u8> {
        let (mut value, mut count) = (0_u64, 0);
        let mut put = |bits: u64, length: u32| {
            value |= bits << count;
            count += length;
        };
        put(0b010, 3);
        // Three bytes: symbol 257, whose code is 0000001 with its first bit first.
        put(0b100_0000, 7);
        let (symbol, least, extra) = DISTANCES
            .iter()
            .rev()
            .copied()
            .find(|(_, least, _)| *least <= distance)
            .expect("no distance is shorter than 1");
        put(u64::from(u32::from(symbol).reverse_bits() >> 27), 5);
        put((distance - least) as u64, extra);
        put(0, 7);
        // What stays of the empty stored block.
        put(0, 3);
        value.to_le_bytes()[..count.div_ceil(8) as usize].to_vec()
    }

    /// The symbols that the distances here have: symbol, least distance, extra bits (RFC 1951 section 3.2.5).
    const DISTANCES: [(u8, usize, u32); 16] = [
        (0, 1, 0),
        (15, 193, 6),
        (16, 257, 7),
        (17, 385, 7),
        (18, 513, 8),
        (19, 769, 8),
        (20, 1025, 9),
        (21, 1537, 9),
        (22, 2049, 10),
        (23, 3073, 10),
        (24, 4097, 11),
        (25, 6145, 11),
        (26, 8193, 12),
        (27, 12289, 12),
        (28, 16385, 13),
        (29, 24577, 13),
    ];

    fn config_of(server: (u8, bool), client: (u8, bool)) -> DeflateConfig {
        DeflateConfig::new()
            .threshold(0)
            .level(1)
            .and_then(|config| config.server_max_window_bits(server.0))
            .and_then(|config| config.client_max_window_bits(client.0))
            .unwrap()
            .server_no_context_takeover(!server.1)
            .client_no_context_takeover(!client.1)
    }

    /// What the peer of `role` puts into the handshake so that exactly `params` are agreed on.
    fn handshake(role: Role, params: DeflateParams) -> String {
        if role == Role::Server {
            return "permessage-deflate; client_max_window_bits".to_owned();
        }
        let mut answer = format!(
            "permessage-deflate; server_max_window_bits={}; client_max_window_bits={}",
            params.server_max_window_bits(),
            params.client_max_window_bits()
        );
        if params.server_no_context_takeover() {
            answer += "; server_no_context_takeover";
        }
        if params.client_no_context_takeover() {
            answer += "; client_no_context_takeover";
        }
        answer
    }

    // req: D015, D016, D018, D021, D026, D030, D031, D033
    // attack: PD13
    #[test]
    fn every_window_reaches_as_far_back_as_agreed_and_no_byte_further() {
        let mut random = Random::new(15);
        // Six bits a byte, so that our blocks are never stored as they are.
        let noise: Vec<u8> = random.bytes(33_000).iter().map(|byte| byte & 0x3f).collect();
        for role in ROLES {
            for number in 0..8 * 8 * 4_u16 {
                let bits = [8 + (number % 8) as u8, 8 + (number / 8 % 8) as u8];
                let takeover = [number & 0x40 != 0, number & 0x80 != 0];
                let [server, client] = [0, 1].map(|end| (bits[end], takeover[end]));
                let deflate = config_of(server, client);
                let agreed = handshake(role, deflate.params());
                let config = Config::new().deflate(deflate.clone());
                let connect = || {
                    let connection = open(role, &config, Some(&agreed));
                    assert_eq!(connection.deflate(), Some(deflate.params()));
                    connection
                };
                let (sends, receives) = match role {
                    Role::Server => (server, client),
                    Role::Client => (client, server),
                };
                let context = format!("{role:?} {server:?} {client:?}");

                // What the peer refers to, across two messages.
                let window = 1 << receives.0;
                for distance in [1, window, window + 1] {
                    if distance > 32_768 {
                        // No code says so.
                        continue;
                    }
                    let mut connection = connect();
                    let before = &noise[..window + 1];
                    let message = binary(stored(before)).rsv1().by(peer_of(role));
                    assert_eq!(feed(&mut connection, &message), [Seen::Binary(before.to_vec())]);
                    let again = binary(back(distance)).rsv1().by(peer_of(role));
                    let seen = feed(&mut connection, &again);
                    let expected = if receives.1 && distance <= window {
                        let bytes = before[before.len() - distance..].iter().cycle();
                        // One byte back means that byte three times.
                        Seen::Binary(bytes.take(3).copied().collect())
                    } else {
                        Seen::Failed(ProtocolError::CorruptDeflate)
                    };
                    assert_eq!(seen, [expected], "{context}, {distance} back");
                }

                // What this end refers to: the first bytes of a message, again after so many.
                let window = 1 << sends.0;
                for distance in [window, window + 1] {
                    let mut connection = connect();
                    let mut receiver = StrictInflate::new(window);
                    for message in [&noise[..distance], &noise[..64], &noise[..distance]] {
                        connection.send(message).unwrap();
                        let frame = drain_frames(&mut connection).remove(0);
                        let text = receiver.message(&frame.payload);
                        assert!(text.as_deref() == Ok(message), "{context}, {distance} between");
                        if !sends.1 {
                            receiver.forget();
                        }
                    }
                }
            }
        }
    }
}
