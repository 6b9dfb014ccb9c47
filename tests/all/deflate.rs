//! permessage-deflate on a connection: RFC 7692. The codec has tests of its own in src/deflate.

use std::time::Duration;

use flate2::{Compress as Zip, Compression, Decompress, FlushCompress, FlushDecompress};
use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, ResponseError, Url, accept_key};
use framewire::wire::{HeaderError, ReservedBit};
use framewire::{
    Accept, CloseFrame, Compress, Config, Connection, Endpoint, Event, Fragment, Fragments,
    HandshakeError, Message, MessageKind, Outcome, Prepared, ProtocolError, Role, SendError, State,
    Workspace,
};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Compression of everything, whatever its length.
fn on() -> Config {
    Config::new().deflate(DeflateConfig::new().threshold(0))
}

fn script(role: Role) -> Script {
    Script::open(role).config(on()).deflate("permessage-deflate")
}

/// A sender of the tests' own: zlib, without anything parked.
fn zip(text: &[u8]) -> Vec<u8> {
    Zipper::new().message(text)
}

struct Zipper(Zip);

impl Zipper {
    fn new() -> Self {
        Self(Zip::new(Compression::default(), false))
    }

    fn message(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + text.len() / 100 + 100);
        self.0.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - 4);
        out
    }
}

/// A receiver of the tests' own.
struct Unzipper(Decompress);

impl Unzipper {
    fn new() -> Self {
        Self(Decompress::new(false))
    }

    fn message(&mut self, wire: &[u8], most: usize) -> Vec<u8> {
        self.part(&[wire, &TAIL].concat(), most)
    }

    fn part(&mut self, wire: &[u8], most: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(most + 64);
        for mut input in [wire] {
            while !input.is_empty() {
                let before = self.0.total_in();
                self.0.decompress_vec(input, &mut out, FlushDecompress::Sync).unwrap();
                let read = (self.0.total_in() - before) as usize;
                assert!(read > 0, "no progress");
                input = &input[read..];
            }
        }
        out
    }
}

// req: D022, D025, D026, D027, D028, D032, D034
#[test]
fn the_examples_of_the_rfc() {
    for role in ROLES {
        let seen = || said("Hello");
        script(role)
            .peer(text(HELLO).rsv1())
            .sees(seen())
            .app(|c| c.send("Hello").unwrap())
            .sends(text(HELLO).rsv1())
            // The second refers to the first, in both directions.
            .peer(text([0xf2, 0x00, 0x11, 0x00, 0x00]).rsv1())
            .sees(seen())
            .app(|c| c.send("Hello").unwrap())
            .sends(text([0xf2, 0x00, 0x11, 0x00, 0x00]).rsv1())
            .peer(text([0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]).rsv1())
            .sees(seen())
            .peer(text([0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]).rsv1())
            .sees(seen())
            .peer(
                text([0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]).rsv1(),
            )
            .sees(seen())
            .peer(text("plain"))
            .sees(said("plain"))
            .run();
    }
}

// req: D022, D023, D028, W069, W071
#[test]
fn compressed_bytes_may_be_cut_into_any_frames() {
    for role in ROLES {
        for cut in 0..=HELLO.len() {
            let (first, second) = HELLO.split_at(cut);
            script(role)
                .peer(text(first).more().rsv1())
                .peer(ping("p"))
                .sees(Seen::Ping(b"p".to_vec()))
                .sends(pong("p"))
                .peer(continuation("").more())
                .peer(continuation(second))
                .sees(said("Hello"))
                .run();
        }
        // As one piece where pieces are wanted.
        Script::open(role)
            .config(on().fragments(Fragments::Always))
            .deflate("permessage-deflate")
            .peer(text(&HELLO[..3]).more().rsv1())
            .peer(continuation(&HELLO[3..]))
            .sees(Seen::Pieces(MessageKind::Text, b"Hello".to_vec()))
            .peer(binary(HELLO).rsv1())
            .sees(Seen::Pieces(MessageKind::Binary, b"Hello".to_vec()))
            .run();
    }
}

// req: D023, D024, W060
// attack: FR02, PD05
#[test]
fn rsv1_means_something_on_the_first_frame_of_a_message_only() {
    let rsv1 = ProtocolError::Header(HeaderError::ReservedBit(ReservedBit::Rsv1));
    for role in ROLES {
        for opcode in [CLOSE, PING, PONG] {
            script(role).peer(frame(opcode, "").rsv1()).fails(rsv1);
        }
        for fin in [0, 0x80] {
            script(role).bytes([fin | 0x40]).fails(rsv1);
            script(role).peer(text(HELLO).more().rsv1()).bytes([fin | 0x40]).fails(rsv1);
            script(role).peer(text("plain").more()).bytes([fin | 0x40]).fails(rsv1);
            // A compressed message inside another one is no better than a plain one.
            let inside = script(role).peer(text("plain").more()).bytes([fin | 0x41]);
            inside.fails(ProtocolError::Header(HeaderError::ExpectedContinuation));
        }
        for reserved in [1, 2, 3, 5, 6, 7] {
            let bit = if reserved & 2 != 0 { ReservedBit::Rsv2 } else { ReservedBit::Rsv3 };
            for opcode in [TEXT, BINARY] {
                let first = 0x80 | reserved << 4 | opcode;
                script(role)
                    .bytes([first])
                    .fails(ProtocolError::Header(HeaderError::ReservedBit(bit)));
            }
        }
    }
}

// req: D026, D032, D036, D025
// attack: PD11
#[test]
fn plain_messages_leave_the_window_alone() {
    let mut random = Random::new(3);
    for role in ROLES {
        let mut zipper = Zipper::new();
        let mut play = script(role);
        for number in 0..12 {
            let message = random.text(200);
            play = if number % 3 == 1 {
                play.peer(text(&message))
            } else {
                play.peer(text(zipper.message(message.as_bytes())).rsv1())
            };
            play = play.sees(said(&message));
        }
        play.run();
    }
}

// req: D030, D032, D013, D014, D011, D010
// attack: PD14
#[test]
fn without_takeover_every_message_stands_alone() {
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for role in ROLES {
        let alone = || Script::open(role).config(on()).deflate(agreed);
        alone()
            .peer(text(HELLO).rsv1())
            .sees(said("Hello"))
            .app(|c| {
                c.send("Hello").unwrap();
                c.send("Hello").unwrap();
            })
            .sends(text(HELLO).rsv1())
            .sends(text(HELLO).rsv1())
            .peer(text(HELLO).rsv1())
            .sees(said("Hello"))
            .run();
        let corrupt = alone().peer(text(HELLO).rsv1()).sees(said("Hello"));
        let corrupt = corrupt.peer(text([0xf2, 0x00, 0x11, 0x00, 0x00]).rsv1());
        corrupt.fails(ProtocolError::CorruptDeflate);
    }
    // One direction only.
    for (agreed, server_forgets) in [
        ("permessage-deflate; server_no_context_takeover", true),
        ("permessage-deflate; client_no_context_takeover", false),
    ] {
        for role in ROLES {
            let mut connection = open(role, &on(), Some(agreed));
            let params = connection.deflate().unwrap();
            assert_eq!(params.server_no_context_takeover(), server_forgets);
            assert_eq!(params.client_no_context_takeover(), !server_forgets);
            for _ in 0..2 {
                connection.send("Hello Hello Hello").unwrap();
            }
            let sent = drain_frames(&mut connection);
            let forgets = (role == Role::Server) == server_forgets;
            assert_eq!(sent[0] == sent[1], forgets, "{role:?} {agreed}");
            for message in sent.iter().filter(|_| forgets) {
                let text = Unzipper::new().message(&message.payload, 17);
                assert_eq!(text, b"Hello Hello Hello");
            }
        }
    }
}

// req: D029, D034, D028
// attack: PD07, PD08
#[test]
fn a_final_block_ends_no_stream() {
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    for role in ROLES {
        script(role)
            .peer(text(last).rsv1())
            .sees(said("Hello"))
            .peer(text(again).rsv1())
            .sees(said("Hello"))
            .peer(text(&last[..7]).rsv1())
            .sees(said("Hello"))
            .peer(text(zip(b"more")).rsv1())
            .sees(said("more"))
            // More blocks behind the final one.
            .peer(text([&last[..7], &HELLO].concat()).rsv1())
            .sees(said("HelloHello"))
            .run();
        let garbage = [&last[..7], &[0x07, 0xff, 0xff]].concat();
        script(role).peer(text(garbage).rsv1()).fails(ProtocolError::CorruptDeflate);
    }
}

// req: D035
// attack: PD09
#[test]
fn empty_messages() {
    for role in ROLES {
        script(role)
            .app(|c| {
                c.send("").unwrap();
                c.send(&[]).unwrap();
            })
            .sends(text([0]).rsv1())
            .sends(binary([0]).rsv1())
            .peer(text([0]).rsv1())
            .sees(said(""))
            .peer(binary("").rsv1())
            .sees(Seen::Binary(vec![]))
            .peer(text("").rsv1().more())
            .peer(continuation("").more())
            .peer(continuation([0]))
            .sees(said(""))
            .peer(text("").rsv1().more())
            .peer(continuation(""))
            .sees(said(""))
            .peer(text("").more())
            .peer(continuation(""))
            .sees(said(""))
            .run();
    }
}

// req: D032, W110
// attack: PD06
#[test]
fn corrupt_data_fails_with_1007_and_delivers_nothing() {
    assert_eq!(ProtocolError::CorruptDeflate.close_code().0, 1007);
    for role in ROLES {
        for payload in [
            &[0x06][..],
            &[0x07, 0x00],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],
            &HELLO[..6],
            &HELLO[..4],
            &[0x04],
            &[0xff; 30],
        ] {
            script(role).peer(text(payload).rsv1()).fails(ProtocolError::CorruptDeflate);
            let script = script(role).peer(binary("").rsv1().more()).peer(continuation(payload));
            script.fails(ProtocolError::CorruptDeflate);
        }
    }
}

// req: D036, W115, W110
// attack: PD01, PD02, PD03
#[test]
fn the_limit_is_of_the_inflated_size() {
    for role in ROLES {
        let limited = |limit| {
            let config = on().max_message_size(limit);
            Script::open(role).config(config).deflate("permessage-deflate")
        };
        let zeros = vec![0; 10_000];
        let wire = zip(&zeros);
        assert!(wire.len() < 100);
        let error = ProtocolError::MessageTooBig(9_999);
        limited(9_999).peer(binary(&wire).rsv1()).fails(error);
        limited(10_000).peer(binary(&wire).rsv1()).sees(Seen::Binary(zeros.clone())).run();
        // In fragments, and after other messages.
        let (first, second) = wire.split_at(wire.len() / 2);
        let later = limited(9_999)
            .peer(binary("plain"))
            .sees(Seen::Binary(b"plain".to_vec()))
            .peer(text(HELLO).rsv1())
            .sees(said("Hello"))
            .peer(binary(first).more().rsv1())
            .peer(continuation(second));
        later.fails(error);
        // Noise that just fits is larger on the wire than the limit is.
        let noise = Random::new(9).bytes(10_000);
        let stored: Vec<u8> = noise
            .chunks(2500)
            .flat_map(|block| {
                let length = block.len() as u16;
                [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), block].concat()
            })
            .chain([0])
            .collect();
        assert!(stored.len() > 10_000);
        limited(10_000).peer(binary(&stored).rsv1()).sees(Seen::Binary(noise)).run();
        // What cannot fit even so is refused at its header.
        let long = binary(vec![0; 2 * 10_000 + 1024 + 1]).rsv1().by(peer_of(role));
        let header = long.len() - (2 * 10_000 + 1024 + 1);
        limited(10_000).bytes(&long[..header]).fails(ProtocolError::MessageTooBig(10_000));
    }
}

/// The payload in a block of the codes that RFC 1951 section 3.2.6 fixes: what is no ASCII takes nine bits.
fn in_fixed_codes(payload: &[u8]) -> Vec<u8> {
    let (mut wire, mut bits, mut count) = (Vec::new(), 0u32, 0);
    let mut put = |value: u32, length: u32| {
        bits |= value << count;
        count += length;
        while count >= 8 {
            wire.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    };
    put(0b010, 3);
    for &byte in payload {
        let (code, length) = match u32::from(byte) {
            byte @ 0..144 => (0x30 + byte, 8),
            byte => (0x190 + byte - 144, 9),
        };
        // Codes stand with their first bit first.
        put(code.reverse_bits() >> (32 - length), length);
    }
    // The end of the block, and an empty stored one.
    put(0, 7);
    put(0, 3);
    put(0, 7);
    wire
}

// req: D036, D028
#[test]
fn noise_may_be_longer_on_the_wire_than_the_limit() {
    let noise: Vec<u8> = Random::new(10).bytes(1 << 20).iter().map(|byte| byte | 0x90).collect();
    let wire = in_fixed_codes(&noise);
    assert!(wire.len() > (1 << 20) * 9 / 8);
    for role in ROLES {
        for limit in [1 << 20, (1 << 20) - 1] {
            let config = on().max_message_size(limit);
            let mut connection = open(role, &config, Some("permessage-deflate"));
            let expected = match limit {
                0x10_0000 => Seen::Binary(noise.clone()),
                _ => Seen::Failed(ProtocolError::MessageTooBig(limit)),
            };
            let seen = feed(&mut connection, &binary(&wire).rsv1().by(peer_of(role)));
            assert!(seen == [expected]);
        }
    }
}

// req: D036, W115, W110
// attack: PD02
#[test]
fn a_bomb_in_fragments_fails_when_it_passes_the_limit() {
    // One mebibyte on the wire would make one gibibyte.
    let unit = [&zip(&vec![0; 1 << 20])[..], &TAIL].concat();
    for role in ROLES {
        for fragments in [Fragments::Never, Fragments::Always] {
            let config = on().max_message_size(1 << 24).fragments(fragments);
            let mut connection = open(role, &config, Some("permessage-deflate"));
            let first = binary(&unit).rsv1().more().by(peer_of(role));
            let unit = continuation(&unit).more().by(peer_of(role));
            let (mut sent, mut recorder) = (0, Recorder::default());
            let mut failed = None;
            for frame in std::iter::once(first).chain(std::iter::repeat(unit)) {
                sent += frame.len();
                let mut frame = frame;
                let mut input = &mut frame[..];
                while let Some(event) = connection.receive(&mut input) {
                    match event {
                        Event::Failed(error) => failed = Some(error),
                        event => recorder.record(event),
                    }
                }
                if failed.is_some() {
                    break;
                }
            }
            assert_eq!(failed, Some(ProtocolError::MessageTooBig(1 << 24)));
            // What makes the limit, and what is gathered before any of it is inflated.
            assert!(sent < (1 << 24) / 1000 + 20_000, "{sent} bytes were needed");
        }
    }
}

// req: D029, D034
#[test]
fn final_blocks_may_be_many() {
    let line: Vec<u8> = (0..200).map(|i| b'a' + (i * i % 23) as u8).collect();
    let mut wire = Vec::new();
    for number in 0..400 {
        let mut zip = Zip::new(Compression::default(), false);
        if number > 0 {
            zip.set_dictionary(&line).unwrap();
        }
        let mut block = Vec::with_capacity(400);
        zip.compress_vec(&line, &mut block, FlushCompress::Finish).unwrap();
        wire.extend(block);
    }
    for role in ROLES {
        let (first, second) = wire.split_at(1000);
        script(role)
            .peer(text(&wire).rsv1())
            .sees(Seen::Text(String::from_utf8(line.repeat(400)).unwrap()))
            .peer(binary(first).rsv1().more())
            .peer(continuation(second).more())
            .peer(continuation([0]))
            .sees(Seen::Binary(line.repeat(400)))
            .run();
        let script = script(role).peer(binary(zip(&line.repeat(200))).rsv1());
        let script = script.sees(Seen::Binary(line.repeat(200)));
        let error = ProtocolError::TooManyFinalBlocks;
        assert_eq!(error.close_code().0, 1008);
        script.peer(binary([0x03, 0x00].repeat(5000)).rsv1()).fails(error);
    }
}

// req: W078, D036
// attack: UT08
#[test]
fn text_is_checked_as_it_is_inflated() {
    let mut random = Random::new(12);
    // As much noise as there may be in text, so that it is long on the wire.
    let mut noise: Vec<u8> = random.bytes(60_000).iter().map(|byte| byte & 0x7f).collect();
    noise[40_000] = 0xff;
    let wire = zip(&noise);
    let corrupt = [&wire[..wire.len() - 10], &[0xff; 20]].concat();
    for role in ROLES {
        for payload in [&wire, &corrupt] {
            // In one frame, and in fragments of which the last is not needed.
            script(role).peer(text(payload).rsv1()).fails(ProtocolError::InvalidUtf8);
            let first = text(&payload[..payload.len() - 5000]).rsv1().more();
            script(role).peer(first).fails(ProtocolError::InvalidUtf8);
        }
        // What comes first counts.
        let early = [&wire[..20_000], &[0xff; 20_000]].concat();
        script(role).peer(text(&early).rsv1()).fails(ProtocolError::CorruptDeflate);
        let limited = |limit, payload: &[u8]| {
            let config = on().max_message_size(limit);
            let script = Script::open(role).config(config).deflate("permessage-deflate");
            script.peer(text(payload).rsv1())
        };
        limited(40_001, &wire).fails(ProtocolError::InvalidUtf8);
        limited(40_000, &wire).fails(ProtocolError::MessageTooBig(40_000));
    }
}

// req: W078, D036
// attack: UT08
#[test]
fn text_is_checked_after_inflation() {
    for role in ROLES {
        let good = "κόσμε".as_bytes();
        script(role).peer(text(zip(good)).rsv1()).sees(said("κόσμε")).run();
        for bad in [&b"\xff"[..], b"ab\xc3", b"\xed\xa0\x80", &good[..good.len() - 1]] {
            script(role).peer(text(zip(bad)).rsv1()).fails(ProtocolError::InvalidUtf8);
            let wire = zip(bad);
            script(role).peer(binary(&wire).rsv1()).sees(Seen::Binary(bad.to_vec())).run();
        }
        // Compressed bytes are no text, and are not taken for it.
        assert!(std::str::from_utf8(&zip(good)).is_err());
    }
}

// req: D028, D032, D036
#[test]
fn compressed_messages_come_in_pieces_where_those_are_wanted() {
    let (long, short) = ("long and the like ".repeat(50_000), "short ".repeat(40));
    let noise = Random::new(13).bytes(100_000);
    for role in ROLES {
        for fragments in [Fragments::Always, Fragments::From(2000)] {
            let mut zipper = Zipper::new();
            let mut wire = |payload: &[u8]| zipper.message(payload);
            let whole = fragments == Fragments::From(2000);
            let script = Script::open(role)
                .config(on().fragments(fragments))
                .deflate("permessage-deflate")
                .peer(text(wire(short.as_bytes())).rsv1())
                .sees(if whole {
                    said(&short)
                } else {
                    Seen::Pieces(MessageKind::Text, short.clone().into())
                })
                .peer(text(wire(long.as_bytes())).rsv1())
                .sees(Seen::Pieces(MessageKind::Text, long.clone().into()))
                .peer(binary(wire(&noise)).rsv1())
                .sees(Seen::Pieces(MessageKind::Binary, noise.clone()));
            let fragmented = wire(b"in fragments");
            let (first, second) = fragmented.split_at(4);
            script
                .peer(text(first).rsv1().more())
                .peer(ping("p"))
                .sees(Seen::Ping(b"p".to_vec()))
                .sends(pong("p"))
                .peer(continuation("").more())
                .peer(continuation(second).more())
                .peer(continuation(""))
                .sees(Seen::Pieces(MessageKind::Text, b"in fragments".to_vec()))
                .run();
        }
    }
    // No piece is long, and none waits for the end of the message.
    for role in ROLES {
        let config = on().fragments(Fragments::Always);
        let mut connection = open(role, &config, Some("permessage-deflate"));
        let mut bytes = text(zip(long.as_bytes())).rsv1().by(peer_of(role));
        bytes.pop();
        let (mut input, mut length) = (&mut bytes[..], 0);
        while let Some(event) = connection.receive(&mut input) {
            let Event::Fragment(fragment) = event else { panic!("{event:?}") };
            assert!(fragment.payload.len() <= 64 * 1024 && !fragment.last);
            assert!(*fragment.payload == long.as_bytes()[length..][..fragment.payload.len()]);
            length += fragment.payload.len();
        }
        assert!(length > long.len() - 1000);
    }
}

/// What is inflated in one turn, at most.
const BUDGET: usize = 100_000;

// req: D028, D032, W071
#[test]
fn one_connection_inflates_only_so_much_in_a_turn() {
    let zeros = vec![0; 1 << 20];
    for role in ROLES {
        for fragments in [Fragments::Never, Fragments::Always] {
            let mut workspace = Workspace::with_entropy(not_random(1));
            let config = on().fragments(fragments);
            let [mut busy, mut other] =
                [(); 2].map(|()| open_endpoint(role, &config, &mut workspace));
            let mut bytes = [
                binary(zip(&zeros)).rsv1().by(peer_of(role)),
                ping("p").by(peer_of(role)),
                text("plain").by(peer_of(role)),
            ]
            .concat();
            let mut input = &mut bytes[..];
            let (mut recorder, mut turns) = (Recorder::default(), 0);
            loop {
                workspace.set_codec_budget(BUDGET);
                while let Some(event) = busy.receive(&mut input, &mut workspace) {
                    recorder.record(event);
                }
                turns += 1;
                if !busy.awaits_codec() {
                    break;
                }
                assert_eq!(workspace.codec_budget(), Some(0));
                assert!(busy.is_inside_message() && !input.is_empty(), "what follows waits");
                // Others are served meanwhile.
                workspace.set_codec_budget(BUDGET);
                let mut bytes = text(HELLO).rsv1().by(peer_of(role));
                let event = other.receive(&mut &mut bytes[..], &mut workspace);
                assert!(matches!(event, Some(Event::Message(_) | Event::Fragment(_))));
                // Their peers may refer to what came before.
                let mut bytes = text([0xf2, 0x00, 0x11, 0x00, 0x00]).rsv1().by(peer_of(role));
                assert!(other.receive(&mut &mut bytes[..], &mut workspace).is_some());
            }
            assert!((10..14).contains(&turns), "{turns} turns");
            let message = match fragments {
                Fragments::Never => Seen::Binary(zeros.clone()),
                _ => Seen::Pieces(MessageKind::Binary, zeros.clone()),
            };
            let plain = match fragments {
                Fragments::Never => said("plain"),
                _ => Seen::Pieces(MessageKind::Text, b"plain".to_vec()),
            };
            assert!(recorder.seen == [message, Seen::Ping(b"p".to_vec()), plain]);
        }
    }
}

/// An open connection of many, with compression.
fn open_endpoint(role: Role, config: &Config, workspace: &mut Workspace) -> Endpoint {
    let lines = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut endpoint = match role {
        Role::Server => Endpoint::server(config),
        Role::Client => {
            let url = Url::parse("ws://example.com/chat").unwrap();
            let request = ClientRequest::new(&url);
            Endpoint::client(request, config, workspace).unwrap()
        }
    };
    let head: Vec<u8> = endpoint.output().flatten().copied().collect();
    endpoint.consume_output(head.len(), workspace);
    let mut bytes = match role {
        Role::Server => request(lines).into_bytes(),
        Role::Client => {
            let head = String::from_utf8(head).unwrap();
            let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next();
            let accept = accept_key(key.unwrap().as_bytes());
            response(lines)
                .replace(
                    &accept_key(KEY.as_bytes()).escape_ascii().to_string(),
                    &accept.escape_ascii().to_string(),
                )
                .into_bytes()
        }
    };
    match endpoint.receive(&mut &mut bytes[..], workspace) {
        Some(Event::Request(_)) => endpoint.accept(Accept::new(), workspace).unwrap(),
        event => assert!(matches!(event, Some(Event::Open(_)))),
    }
    drain_endpoint(&mut endpoint, workspace);
    assert!(endpoint.deflate().is_some());
    endpoint
}

/// Takes the whole output.
fn drain_endpoint(endpoint: &mut Endpoint, workspace: &mut Workspace) -> Vec<u8> {
    let bytes: Vec<u8> = endpoint.output().flatten().copied().collect();
    endpoint.consume_output(bytes.len(), workspace);
    bytes
}

/// What the frames say, and in which frames: `m` for a message or its beginning, `-` for what follows of it,
/// `.` where it ends, `p` for a Ping and `c` for a Close.
fn read_frames(frames: &[Frame]) -> (String, Vec<Vec<u8>>) {
    let (mut shape, mut messages) = (String::new(), Vec::new());
    let mut live = Unzipper::new();
    let (mut payload, mut compressed) = (Vec::new(), false);
    for frame in frames {
        match frame.opcode {
            PING => shape.push('p'),
            CLOSE => shape.push('c'),
            opcode => {
                assert_eq!(frame.reserved & !4, 0);
                if opcode == CONTINUATION {
                    shape.push('-');
                    assert_eq!(frame.reserved, 0, "RSV1 is for the first frame");
                } else {
                    shape.push('m');
                    compressed = frame.reserved == 4;
                }
                payload.extend_from_slice(&frame.payload);
                if frame.fin {
                    shape.push('.');
                    let payload = std::mem::take(&mut payload);
                    messages.push(match compressed {
                        true => live.message(&payload, 4 << 20),
                        false => payload,
                    });
                }
            }
        }
    }
    assert_eq!(payload, b"");
    (shape, messages)
}

// req: D022, D027, D028, W031, W090
#[test]
fn one_connection_compresses_only_so_much_in_a_turn() {
    let mut random = Random::new(14);
    let long = random.text(1 << 20);
    let late = random.text(300_000);
    for role in ROLES {
        let mut workspace = Workspace::with_entropy(not_random(1));
        let mut endpoint = open_endpoint(role, &on(), &mut workspace);
        let queued = endpoint.queued();
        workspace.set_codec_budget(BUDGET);
        endpoint.send(&long, &mut workspace).unwrap();
        assert_eq!(endpoint.output().next(), None, "it waits for the next turn");
        assert!(endpoint.buffered_amount() >= long.len() && endpoint.queued() == queued);
        assert!(endpoint.is_congested());
        endpoint.send_with("plain", Compress::Never, &mut workspace).unwrap();
        endpoint.send("hello hello hello", &mut workspace).unwrap();
        let piece = Fragment::more(MessageKind::Text, &late.as_bytes()[..200_000]);
        endpoint.send_fragment(piece, &mut workspace).unwrap();
        assert_eq!(endpoint.send("no", &mut workspace), Err(SendError::UnfinishedMessage));
        let piece = Fragment::last(MessageKind::Text, &late.as_bytes()[200_000..]);
        endpoint.send_fragment(piece, &mut workspace).unwrap();
        if role == Role::Server {
            endpoint.send_prepared(&Prepared::new("prepared"), &mut workspace).unwrap();
        } else {
            endpoint.send("prepared", &mut workspace).unwrap();
        }
        endpoint.close(1000, "bye", &mut workspace).unwrap();
        assert_eq!(endpoint.send("no", &mut workspace), Err(SendError::Closing));

        let (mut bytes, mut turns) = (Vec::new(), 0);
        while endpoint.buffered_amount() > 0 {
            assert_eq!(endpoint.next_timeout(), Some(Duration::ZERO), "there is work to do");
            assert!(!endpoint.wants_shutdown());
            workspace.set_codec_budget(BUDGET);
            assert_eq!(endpoint.handle_timeout(Duration::ZERO, &mut workspace), None);
            bytes.extend(drain_endpoint(&mut endpoint, &mut workspace));
            turns += 1;
            assert!(turns < 100);
        }
        assert!((8..=13).contains(&turns), "{turns} turns");
        assert_eq!(endpoint.left(), queued + bytes.len() as u64);
        let (shape, messages) = read_frames(&sent_by(role, &bytes));
        assert_eq!(shape, "m--------.m.m.m--.m.c");
        let expected = [&long, "plain", "hello hello hello", &late, "prepared"];
        assert!(messages == expected.map(|text| text.as_bytes().to_vec()));
    }
}

// req: W031, W069, W090
#[test]
fn control_frames_pass_messages_that_wait_for_the_codec() {
    let long = Random::new(15).text(500_000);
    for role in ROLES {
        let mut workspace = Workspace::with_entropy(not_random(1));
        let mut endpoint = open_endpoint(role, &on(), &mut workspace);
        workspace.set_codec_budget(0);
        endpoint.send(&long, &mut workspace).unwrap();
        workspace.set_codec_budget(1);
        endpoint.handle_timeout(Duration::ZERO, &mut workspace);
        endpoint.ping(b"one", &mut workspace).unwrap();
        // A peer's Close is answered when all has been said, and until then nothing was.
        let mut bytes = close(1000, "bye").by(peer_of(role));
        let event = endpoint.receive(&mut &mut bytes[..], &mut workspace);
        assert!(matches!(event, Some(Event::Close(_))));
        assert!(!endpoint.wants_shutdown());
        let mut bytes = drain_endpoint(&mut endpoint, &mut workspace);
        assert!(!endpoint.wants_shutdown() && endpoint.output().next().is_none());
        workspace.set_codec_budget(None);
        endpoint.handle_timeout(Duration::ZERO, &mut workspace);
        bytes.extend(drain_endpoint(&mut endpoint, &mut workspace));
        assert_eq!(endpoint.wants_shutdown(), role == Role::Server);
        let (shape, messages) = read_frames(&sent_by(role, &bytes));
        assert_eq!(shape, "mp---.c");
        assert!(messages == [long.as_bytes()]);
        assert!(endpoint.receive_eof().was_clean());
    }
    // What waits when the transport is lost, was not sent; nor does a failure wait for it.
    for role in ROLES {
        let mut workspace = Workspace::with_entropy(not_random(1));
        let mut endpoint = open_endpoint(role, &on(), &mut workspace);
        workspace.set_codec_budget(0);
        endpoint.send(&long, &mut workspace).unwrap();
        endpoint.close(1000, "", &mut workspace).unwrap();
        let mut bytes = close(1000, "").by(peer_of(role));
        assert!(endpoint.receive(&mut &mut bytes[..], &mut workspace).is_some());
        let received = Some(CloseFrame::new(1000.into(), "").unwrap());
        assert_eq!(endpoint.receive_eof(), Outcome::Lost { sent: None, received, cause: None });

        let mut endpoint = open_endpoint(role, &on(), &mut workspace);
        endpoint.send(&long, &mut workspace).unwrap();
        let mut bytes = [0x83, 0x00];
        let event = endpoint.receive(&mut &mut bytes[..], &mut workspace);
        assert!(matches!(event, Some(Event::Failed(_))));
        let sent = sent_by(role, &drain_endpoint(&mut endpoint, &mut workspace));
        assert!(sent.len() == 1 && sent[0].opcode == CLOSE);
        assert!(endpoint.wants_shutdown() && endpoint.buffered_amount() == 0);
    }
}

// req: D022, D027, D030
#[test]
fn fragments_are_compressed_as_they_are_sent() {
    let pieces =
        ["first and ".repeat(100), "second and ".repeat(100), String::new(), "last".into()];
    for agreed in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover",
    ] {
        for role in ROLES {
            let mut connection = open(role, &on(), Some(agreed));
            let mut live = Unzipper::new();
            for _ in 0..2 {
                if agreed.contains("no_context") {
                    live = Unzipper::new();
                }
                for (number, piece) in pieces.iter().enumerate() {
                    let mut fragment = Fragment::more(MessageKind::Text, piece.as_bytes());
                    fragment.last = number == 3;
                    connection.send_fragment(fragment).unwrap();
                    let sent = drain_frames(&mut connection);
                    assert_eq!(sent.len(), 1);
                    let opcode = if number == 0 { TEXT } else { CONTINUATION };
                    assert_eq!((sent[0].opcode, sent[0].fin), (opcode, number == 3));
                    assert_eq!(sent[0].reserved, if number == 0 { 4 } else { 0 });
                    assert!(sent[0].payload.len() < 60 && sent[0].payload.len() <= piece.len() + 6);
                    // What the peer has is enough to read it.
                    let text = if number == 3 {
                        live.message(&sent[0].payload, 100)
                    } else {
                        live.part(&sent[0].payload, piece.len())
                    };
                    assert_eq!(text, piece.as_bytes());
                }
            }
            // A message of its own is read by the same window.
            connection.send("second and last").unwrap();
            let sent = drain_frames(&mut connection);
            if agreed.contains("no_context") {
                live = Unzipper::new();
            }
            assert_eq!(live.message(&sent[0].payload, 100), b"second and last");
        }
    }
}

/// The answer of a server to this offer; `None` if it opened without compression.
fn negotiated(config: &Config, offer: &str) -> Option<String> {
    let mut server = Connection::server(config);
    let lines = format!("Sec-WebSocket-Extensions: {offer}\r\n");
    let seen = feed(&mut server, request(&lines).as_bytes());
    assert_eq!(seen, [Seen::Request("/chat".into())], "{offer}: never a 400");
    server.accept(Accept::new()).unwrap();
    let head = String::from_utf8(drain(&mut server)).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "));
    let answers: Vec<_> =
        head.split("\r\n").filter_map(|l| l.strip_prefix("Sec-WebSocket-Extensions: ")).collect();
    assert!(answers.len() <= 1);
    assert_eq!(server.deflate().is_some(), answers.len() == 1);
    answers.first().map(|answer| (*answer).to_owned())
}

// req: D002, D004, D005, D006, D007, D009, D010, D015, D016, D018, D019, D020, W042
// attack: PD12, HS25
#[test]
fn offers_are_met_or_declined() {
    let config = Config::new().deflate(DeflateConfig::new());
    let deflate = |parameters: &str| match parameters {
        "" => "permessage-deflate".to_owned(),
        _ => format!("permessage-deflate; {parameters}"),
    };
    for parameters in [
        "",
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=8",
        "server_max_window_bits=15",
        "client_max_window_bits=8",
    ] {
        let offer = deflate(parameters);
        assert_eq!(negotiated(&config, &offer), Some(offer.clone()), "{offer}");
    }
    let ten = "server_max_window_bits=10";
    for spelled in ["\"10\"", "\"1\\0\""] {
        let offer = deflate(&format!("server_max_window_bits={spelled}"));
        assert_eq!(negotiated(&config, &offer), Some(deflate(ten)));
    }
    assert_eq!(negotiated(&config, &deflate("client_max_window_bits")), Some(deflate("")));
    for side in ["server", "client"] {
        for bits in ["7", "16", "08", "+9", "9.0", "0", "99999999999", "abc", "1e1"] {
            let offer = deflate(&format!("{side}_max_window_bits={bits}"));
            assert_eq!(negotiated(&config, &offer), None, "{offer}");
        }
        let offer = deflate(&format!("{side}_no_context_takeover=1"));
        assert_eq!(negotiated(&config, &offer), None);
        let twice = format!("{side}_no_context_takeover; {side}_no_context_takeover");
        assert_eq!(negotiated(&config, &deflate(&twice)), None);
    }
    for offer in ["server_max_window_bits", "unknown", "x=1", "Server_No_Context_Takeover"] {
        assert_eq!(negotiated(&config, &deflate(offer)), None, "{offer}");
    }
    // The next offer is the fallback; other extensions are passed over.
    let list = "x-other, permessage-deflate; unknown, permessage-deflate; \
                server_max_window_bits=10, permessage-deflate";
    assert_eq!(negotiated(&config, list), Some(deflate(ten)));
    // Off is off.
    for config in [Config::new(), Config::new().no_deflate()] {
        assert_eq!(negotiated(&config, "permessage-deflate"), None);
    }
}

// req: D024, W052
// attack: PD04
#[test]
fn declined_means_that_rsv1_has_no_meaning() {
    let config = Config::new().deflate(DeflateConfig::new());
    let mut server = Connection::server(&config);
    let lines = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    feed(&mut server, request(lines).as_bytes());
    server.accept(Accept::new().no_deflate()).unwrap();
    let head = drain(&mut server);
    assert!(!String::from_utf8(head).unwrap().contains("Extensions"));
    let error = ProtocolError::Header(HeaderError::ReservedBit(ReservedBit::Rsv1));
    assert_eq!(feed(&mut server, &text(HELLO).rsv1().by(Role::Client)), [Seen::Failed(error)]);
}

// req: W051, D003, D008, D012, D015, D017, D018, D019, D021, W022, W053
// attack: HC03, HC09, HC10, HC11
#[test]
fn a_client_checks_the_answer() {
    let answer = |config: &Config, value: &str| {
        let script = Script::client_from_start()
            .config(config.clone())
            .bytes(response(&format!("Sec-WebSocket-Extensions: {value}\r\n")));
        let mut probe = client(config);
        drain(&mut probe);
        let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
        let seen = feed(&mut probe, response(&lines).as_bytes());
        assert_eq!(seen.len(), 1);
        let opened = seen == [Seen::Open];
        assert_eq!(opened, probe.state() == State::Open);
        assert_eq!(opened, probe.deflate().is_some());
        script.sees(seen[0].clone()).run();
        match &seen[0] {
            Seen::Open => Ok(probe.deflate().unwrap()),
            Seen::HandshakeFailed(HandshakeError::Response(error)) => Err(error.clone()),
            other => panic!("{other:?}"),
        }
    };
    let plain = Config::new();
    for bits in ["7", "16", "0", "99999999999", "abc", "08", "+8"] {
        for side in ["server", "client"] {
            let value = format!("permessage-deflate; {side}_max_window_bits={bits}");
            let error = answer(&plain, &value).unwrap_err();
            assert!(matches!(error, ResponseError::ExtensionParameters(_)), "{value}");
        }
    }
    for value in [
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
    ] {
        assert!(matches!(answer(&plain, value), Err(ResponseError::ExtensionParameters(_))));
    }
    let clash = "permessage-deflate, x-webkit-deflate-frame";
    assert!(matches!(answer(&plain, clash), Err(ResponseError::ExtensionNotOffered(_))));
    for twice in [
        "permessage-deflate, permessage-deflate",
        "permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate",
    ] {
        assert!(matches!(answer(&plain, twice), Err(ResponseError::RepeatedExtension(_))));
    }
    let offered = ResponseError::ExtensionNotOffered("permessage-deflate".into());
    assert_eq!(
        answer(&Config::new().no_deflate(), "permessage-deflate; client_max_window_bits=9"),
        Err(offered)
    );

    // What fits is kept to, 8 bits too.
    let params =
        answer(&plain, "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8");
    let params = params.unwrap();
    assert_eq!((params.server_max_window_bits(), params.client_max_window_bits()), (8, 8));
    let spaced = answer(&plain, ",permessage-deflate ; server_max_window_bits = 10,,").unwrap();
    assert_eq!(spaced.server_max_window_bits(), 10);
    let nine = DeflateConfig::new().server_max_window_bits(9).unwrap();
    let nine = Config::new().deflate(nine);
    let larger = answer(&nine, "permessage-deflate; server_max_window_bits=10");
    assert!(matches!(larger, Err(ResponseError::ExtensionParameters(_))));
    assert!(answer(&nine, "permessage-deflate; server_max_window_bits=9").is_ok());
}

// req: D001, W051
#[test]
fn a_client_offers_by_default_and_uses_nothing_before_the_answer() {
    let head = |config: &Config| String::from_utf8(drain(&mut client(config))).unwrap();
    let line = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    assert!(head(&Config::new()).contains(line));
    assert!(!head(&Config::new().no_deflate()).contains("Extensions"));
    // The server declined.
    let mut connection = client(&on());
    drain(&mut connection);
    assert_eq!(feed(&mut connection, response("").as_bytes()), [Seen::Open]);
    assert_eq!(connection.deflate(), None);
    connection.send_with("Hello", Compress::Always).unwrap();
    assert_eq!(drain_frames(&mut connection), [text("Hello")]);
}

// req: D025, D022
// attack: PD17, PD16
#[test]
fn the_sender_chooses_what_to_compress() {
    for role in ROLES {
        let config = Config::new().deflate(DeflateConfig::new().threshold(10));
        let mut connection = open(role, &config, Some("permessage-deflate"));
        connection.send("aaaaaaaaa").unwrap();
        connection.send("aaaaaaaaaa").unwrap();
        connection.send_with("aaaaaaaaaa", Compress::Never).unwrap();
        connection.send_with("a", Compress::Always).unwrap();
        let fragment = |length| Fragment::last(MessageKind::Text, vec![b'a'; length]);
        connection.send_fragment(fragment(50)).unwrap();
        connection.send_fragment(fragment(9)).unwrap();
        connection.send_fragment_with(fragment(50), Compress::Never).unwrap();
        connection.ping(&[b'a'; 100]).unwrap();
        let sent = drain_frames(&mut connection);
        let compressed: Vec<_> = sent.iter().map(|frame| frame.reserved).collect();
        assert_eq!(compressed, [0, 4, 0, 4, 4, 0, 0, 0]);
        assert_eq!(sent[2], text("aaaaaaaaaa"), "nothing of a secret is compressed");
        // Noise hardly grows.
        let noise = Random::new(1).bytes(1 << 20);
        connection.send(&noise).unwrap();
        let sent = drain_frames(&mut connection);
        assert!(sent[0].payload.len() <= noise.len() + 5 * (noise.len() / 16_384) + 16);
        let mut live = Unzipper::new();
        assert!(live.message(&sent[0].payload, noise.len()) == noise);
    }
}

/// The distances that the codec writes are checked in src/deflate by a decoder that counts them. Here:
/// that the agreed window reaches the codec, so that what lies further back is not found again.
// req: D016, D021, D031, D033
// attack: PD13
#[test]
fn the_agreed_window_is_kept_to() {
    for role in ROLES {
        // Noise, and the first of it again `distance` bytes later: is it found?
        let found = |bits: u8, distance: usize| {
            let agreed = match role {
                Role::Server => format!("permessage-deflate; server_max_window_bits={bits}"),
                Role::Client => format!("permessage-deflate; client_max_window_bits={bits}"),
            };
            let mut random = Random::new(bits.into());
            // Six bits a byte, so that a block is never stored as it is.
            let mut noise = |length| -> Vec<u8> {
                random.bytes(length).iter().map(|byte| byte & 0x3f).collect()
            };
            let [again, other, between] = [noise(64), noise(64), noise(distance - 64)];
            let length = |end: &[u8]| {
                let mut connection = open(role, &on(), Some(&agreed));
                connection.send([&again, &between, end].concat()).unwrap();
                drain_frames(&mut connection)[0].payload.len()
            };
            length(&again) + 30 < length(&other)
        };
        for bits in 9..=15u8 {
            let window = 1usize << bits;
            // zlib uses all but the last 262 bytes of a window.
            assert!(found(bits, window - 300), "{bits} bits: within the window");
            assert!(!found(bits, window + 1), "{bits} bits: beyond the window");
        }
        assert!(found(8, 200) && !found(8, 257));
    }
}

// req: D022, D027, D030
#[test]
fn prepared_messages_are_compressed_once_for_many() {
    let prepared = Prepared::new("price volume price volume price volume".repeat(10));
    let long = Prepared::new("0123456789".repeat(100_000));
    for agreed in ["permessage-deflate", "permessage-deflate; server_no_context_takeover"] {
        let mut connections: Vec<_> =
            (0..3).map(|_| open(Role::Server, &on(), Some(agreed))).collect();
        let plain = &mut open(Role::Server, &Config::new(), None);
        for connection in &mut connections {
            let mut live = Unzipper::new();
            connection.send("price").unwrap();
            connection.send_prepared(&prepared).unwrap();
            connection.send("volume price").unwrap();
            connection.send_prepared(&long).unwrap();
            connection.send("0123456789").unwrap();
            let sent = drain_frames(connection);
            let expected: [Message<'_>; 5] = [
                "price".into(),
                prepared.message(),
                "volume price".into(),
                long.message(),
                "0123456789".into(),
            ];
            for (frame, message) in sent.iter().zip(&expected) {
                assert_eq!((frame.opcode, frame.reserved), (TEXT, 4));
                if agreed.contains("no_context") {
                    live = Unzipper::new();
                }
                assert!(live.message(&frame.payload, message.len()) == message.as_bytes());
            }
        }
        plain.send_prepared(&prepared).unwrap();
        assert_eq!(drain_frames(plain), [text(prepared.message().as_bytes())]);
    }
    // A client's are masked, each with a key of its own.
    let mut client = open(Role::Client, &on(), Some("permessage-deflate"));
    client.send_prepared(&prepared).unwrap();
    let sent = drain_frames(&mut client);
    let unzipped = Unzipper::new().message(&sent[0].payload, prepared.len());
    assert_eq!(unzipped, prepared.message().as_bytes());
}

// req: D026, D032
#[test]
fn long_compressed_messages_may_be_read_directly() {
    for role in ROLES {
        let noise = Random::new(77).bytes(150_000);
        let wire = zip(&noise);
        script(role)
            .peer(binary(&wire).rsv1())
            .sees(Seen::Binary(noise.clone()))
            .peer(binary(&noise[..70_000]))
            .sees(Seen::Binary(noise[..70_000].to_vec()))
            .run();
    }
}

// req: D037
// attack: PD17
#[test]
fn a_secret_can_be_kept_out_of_the_compressor() {
    for role in ROLES {
        // The length on the wire tells nothing of what the secret has in common with the guess.
        let length = |secret: &str, compress| {
            let mut connection = open(role, &on(), Some("permessage-deflate"));
            connection.send("token=abcdefgh token=abcdefgh").unwrap();
            drain(&mut connection);
            connection.send_with(secret, compress).unwrap();
            drain(&mut connection).len()
        };
        let (alike, other) = ("token=abcdefgh", "zyxwvutsrqponm");
        assert_eq!(length(alike, Compress::Never), length(other, Compress::Never));
        assert_ne!(length(alike, Compress::Always), length(other, Compress::Always));
    }
}

// req: W099, D032
#[test]
fn an_end_inside_a_compressed_message_is_a_loss() {
    for role in ROLES {
        let mut connection = open(role, &on(), Some("permessage-deflate"));
        let bytes = text(HELLO).rsv1().by(peer_of(role));
        assert_eq!(feed(&mut connection, &bytes[..bytes.len() - 1]), vec![]);
        assert_eq!(
            connection.receive_eof(),
            Outcome::Lost { sent: None, received: None, cause: None }
        );
    }
}

// req: D021
#[test]
fn settings_that_come_before_the_answer_do_not_change_the_offer() {
    let offered = Config::new().deflate(DeflateConfig::new().threshold(0));
    for config in [Config::new().no_deflate(), Config::new()] {
        let mut client = client(&offered);
        drain(&mut client);
        client.set_config(config);
        let lines = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        assert_eq!(feed(&mut client, response(lines).as_bytes()), [Seen::Open]);
        assert!(client.deflate().is_some());
        client.send("a").unwrap();
        assert_eq!(drain(&mut client)[0], 0xc1);
    }
}
