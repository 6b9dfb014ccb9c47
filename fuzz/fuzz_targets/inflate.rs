//! The codec, which parks its decompressor after every message, against one that is kept alive; and
//! messages by parts against whole ones.

#![no_main]

use arbitrary::Arbitrary;
use framewire::deflate::{
    Codec, DecompressStatus, DeflateConfig, DeflateContext, DeflateParams, InflateError,
    accept_offer,
};
use framewire::handshake::parse_extensions;
use framewire_fuzz::{LiveInflate, pieces};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// 1: compress instead; 2: no takeover; 4: a second connection in turn; 8: detached messages; 16: by parts.
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
        .server_no_context_takeover(input.flags & 2 != 0)
        .client_no_context_takeover(input.flags & 2 != 0)
        .server_max_window_bits(8 + input.bits % 8)
        .and_then(|config| config.client_max_window_bits(8 + input.bits % 8))
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
    let mut context_of_parts = DeflateContext::new(params, true, &DeflateConfig::new());
    let mut live = LiveInflate::new(takeover);
    let mut total = 0;
    for payload in messages {
        let (mut ours, mut theirs) = (b"kept".to_vec(), Vec::new());
        let answer = codec.decompress(&mut context, payload, &mut ours, limit);
        let parts = by_parts(&mut codec, &mut context_of_parts, payload, input);
        match &answer {
            Ok(()) => assert!(parts.as_deref() == Ok(&ours[4..]), "other text by parts"),
            Err(error) => assert_eq!(parts.as_ref(), Err(error), "another error by parts"),
        }
        let other = live.message(payload, &mut theirs);
        assert!(ours.starts_with(b"kept") && ours.len() <= 4 + limit);
        // What is brought back after a final block is no more than the window, too.
        let known = if live.restarts > 0 { total + theirs.len() } else { total };
        let forgotten = (takeover || live.restarts > 0) && window < 32_768 && known > window;
        total += theirs.len();
        let Err(error) = answer else {
            other.expect("a live decompressor reads what ours does");
            assert!(ours[4..] == theirs, "other text");
            continue;
        };
        assert_eq!(ours, b"kept", "nothing is appended on an error");
        match error {
            InflateError::TooBig => assert!(theirs.len() > limit),
            InflateError::TooManyFinalBlocks => assert!(live.restarts > 30),
            // Two differences are meant. Of a text that the window has left behind, ours knows nothing,
            // and zlib's window is always the largest. And a text that is also too long may be found
            // corrupt first.
            _ if forgotten || theirs.len() > limit => {}
            // To end inside a block is no error for zlib.
            _ => {
                assert!(other.is_err() || !live.is_between_blocks(), "ours refuses a good message")
            }
        }
        return;
    }
}

/// The message in parts of the input's choice, with room of its choice.
fn by_parts(
    codec: &mut Codec,
    context: &mut DeflateContext,
    payload: &[u8],
    input: &Input<'_>,
) -> Result<Vec<u8>, InflateError> {
    let limit = usize::from(input.limit);
    let mut sizes = input.cuts.iter().map(|size| 1 + usize::from(*size)).cycle();
    let mut message = codec.begin_decompression(context, limit);
    let (mut output, mut rest) = (Vec::new(), payload);
    loop {
        let (mut part, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        rest = after;
        loop {
            let (room, before) = (sizes.next().unwrap(), output.len());
            let status =
                codec.decompress_part(&mut message, context, &mut part, &mut output, room)?;
            assert!(output.len() <= (before + room).min(limit));
            match status {
                DecompressStatus::InputEmpty => break assert!(part.is_empty()),
                DecompressStatus::OutputFull => assert_eq!(output.len(), before + room),
            }
        }
        if rest.is_empty() {
            codec.finish_decompression(message)?;
            return Ok(output);
        }
    }
}

fn round_trip(input: &Input<'_>, messages: &[&[u8]]) {
    let params = params(input);
    let config = DeflateConfig::new().level(input.level % 10).unwrap();
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
            let mut allowed = text.len() + 5 * text.len().div_ceil(65_535) + 1;
            if input.flags & 8 != 0 && index % 2 == 1 {
                let (level, bits) = (sender.level(), sender.window_bits());
                codec.compress_detached(level, bits, &text, &mut wire);
                sender.note_sent(&text);
            } else {
                let parts = if input.flags & 16 == 0 {
                    vec![&text[..]]
                } else {
                    pieces(&text, &input.cuts)
                };
                let (last, parts) = parts.split_last().unwrap();
                for part in parts {
                    codec.compress_part(sender, part, &mut wire);
                }
                codec.compress(sender, last, &mut wire);
                allowed += 10 * parts.len();
            }
            assert!(wire.len() <= allowed);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            codec.decompress(receiver, &wire, &mut ours, text.len()).expect("our own message");
            live.message(&wire, &mut theirs).expect("our own message");
            assert!(ours == text && theirs == text, "another text came back");
        }
    }
}
