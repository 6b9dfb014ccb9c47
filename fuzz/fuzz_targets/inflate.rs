//! The codec, which parks its decompressor after every message, against one that is kept alive.

#![no_main]

use arbitrary::Arbitrary;
use framewire::deflate::{
    Codec, DeflateConfig, DeflateContext, DeflateParams, InflateError, accept_offer,
};
use framewire::handshake::parse_extensions;
use framewire_fuzz::{LiveInflate, pieces};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// 1: compress instead; 2: no takeover; 4: a second connection in turn; 8: detached messages.
    flags: u8,
    bits: u8,
    level: u8,
    limit: u16,
    cuts: [u8; 6],
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let messages = pieces(input.bytes, &input.cuts);
    if input.flags & 1 == 0 { decompress(&input, &messages) } else { round_trip(&input, &messages) }
});

fn params(input: &Input<'_>) -> DeflateParams {
    let config = DeflateConfig::new()
        .with_server_no_context_takeover(input.flags & 2 != 0)
        .with_client_no_context_takeover(input.flags & 2 != 0)
        .with_server_max_window_bits(8 + input.bits % 8)
        .and_then(|config| config.with_client_max_window_bits(8 + input.bits % 8))
        .unwrap();
    let offer = parse_extensions(b"permessage-deflate; client_max_window_bits").unwrap();
    accept_offer(&offer, &config).unwrap().0
}

fn decompress(input: &Input<'_>, messages: &[&[u8]]) {
    let params = params(input);
    let takeover = !params.client_no_context_takeover();
    let window = 1_usize << params.client_max_window_bits();
    let limit = usize::from(input.limit);
    let mut codec = Codec::with_live_budget(0);
    let mut context = DeflateContext::new(params, true, &DeflateConfig::new());
    let mut live = LiveInflate::new(takeover);
    let mut total = 0;
    for payload in messages {
        let (mut ours, mut theirs) = (b"kept".to_vec(), Vec::new());
        let answer = codec.decompress(&mut context, payload, &mut ours, limit);
        let other = live.message(payload, &mut theirs);
        assert!(ours.starts_with(b"kept") && ours.len() <= 4 + limit);
        let forgotten = takeover && window < 32_768 && total > window;
        total += theirs.len();
        let Err(error) = answer else {
            other.expect("a live decompressor reads what ours does");
            assert!(ours[4..] == theirs, "other text");
            continue;
        };
        assert_eq!(ours, b"kept", "nothing is appended on an error");
        match error {
            InflateError::TooBig => assert!(theirs.len() > limit),
            // Three differences are meant. Of a text that the window has left behind, ours knows
            // nothing, and zlib's window is always the largest. Many final blocks cost too much. And a
            // text that is also too long may be found corrupt first.
            _ if forgotten || live.restarts > 30 || theirs.len() > limit => {}
            // To end inside a block is no error for zlib.
            _ => {
                assert!(other.is_err() || !live.is_between_blocks(), "ours refuses a good message")
            }
        }
        return;
    }
}

fn round_trip(input: &Input<'_>, messages: &[&[u8]]) {
    let params = params(input);
    let config = DeflateConfig::new().with_level(input.level % 10).unwrap();
    // Room for one compressor: two connections take it from each other at every message.
    let mut codec = Codec::with_live_budget(0);
    let connections = if input.flags & 4 == 0 { 1 } else { 2 };
    let mut ends: Vec<_> = (0..connections)
        .map(|_| {
            let sender = DeflateContext::new(params, true, &config);
            let receiver = DeflateContext::new(params, false, &config);
            (sender, receiver, LiveInflate::new(!params.server_no_context_takeover()))
        })
        .collect();
    for (index, message) in messages.iter().enumerate() {
        // Long enough for the window to move on.
        let text = message.repeat(1 + usize::from(input.limit) % 32);
        for (sender, receiver, live) in &mut ends {
            let mut wire = Vec::new();
            if input.flags & 8 != 0 && index % 2 == 1 {
                let (level, bits) = (sender.level(), sender.window_bits());
                codec.compress_detached(level, bits, &text, &mut wire);
                sender.note_sent(&text);
            } else {
                codec.compress(sender, &text, &mut wire);
            }
            assert!(wire.len() <= text.len() + 5 * text.len().div_ceil(65_535) + 1);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            codec.decompress(receiver, &wire, &mut ours, text.len()).expect("our own message");
            live.message(&wire, &mut theirs).expect("our own message");
            assert!(ours == text && theirs == text, "another text came back");
        }
    }
}
