//! zlib itself as the other side, by Python's `zlib`: it shares nothing with zlib-rs but the format, and
//! is what most peers compress with, with settings of their own.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use framewire::deflate::{
    Codec, DecompressStatus, DeflateConfig, DeflateContext, DeflateParams, accept_offer,
};
use framewire::handshake::parse_extensions;
use framewire::{Config, ProtocolError, Role};

use super::support::chunks::Random;
use super::support::frames::binary;
use super::support::script::{Seen, feed, open};
use super::support::strict_inflate::StrictInflate;

/// What the script answers; `None`, and a notice that nobody overlooks, where there is no Python.
/// `ZLIB_REQUIRED=1` makes that a failure.
fn python(command: &str, input: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let child = Command::new("python3")
        .args(["-c", include_str!("zlib.py"), command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("ZLIB_REQUIRED").is_none(), "there is no python3: {error}");
            // The test harness would hold back what `eprintln!` says.
            let notice = b"NOTICE: no python3 here, so zlib itself is not tried
";
            io::stderr().write_all(notice).unwrap();
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    let (mut blocks, mut rest) = (Vec::new(), &output[..]);
    while let Some((length, after)) = rest.split_first_chunk() {
        let (block, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        blocks.push(block.to_vec());
        rest = after;
    }
    assert!(rest.is_empty());
    Some(blocks)
}

fn block(bytes: &[u8], input: &mut Vec<u8>) {
    input.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    input.extend_from_slice(bytes);
}

/// What a server agrees to whose windows are limited to so many bits.
fn params(bits: u8, takeover: bool) -> DeflateParams {
    let config = DeflateConfig::new()
        .server_no_context_takeover(!takeover)
        .client_no_context_takeover(!takeover)
        .server_max_window_bits(bits)
        .and_then(|config| config.client_max_window_bits(bits))
        .unwrap();
    let offer = parse_extensions(b"permessage-deflate; client_max_window_bits").unwrap();
    accept_offer(&offer, &config).unwrap().0
}

/// Texts that repeat each other near and far, and noise.
fn texts(random: &mut Random) -> Vec<Vec<u8>> {
    let mut prose = Vec::new();
    while prose.len() < 3000 {
        let word =
            ["price", "volume", "{\"id\":", "null", ", ", "bid", "0.", "17"][random.below(8)];
        prose.extend_from_slice(word.as_bytes());
    }
    let noise = random.bytes(900);
    let far = [&prose[..400], &random.bytes(40), &vec![7; 33_000], &prose].concat();
    vec![prose.clone(), noise.clone(), Vec::new(), prose[1000..].to_vec(), far, noise, prose]
}

// req: D026, D028, D029, D032, D033, D035
#[test]
fn what_zlib_compresses_is_read() {
    let texts = texts(&mut Random::new(1));
    let mut input = Vec::new();
    texts.iter().for_each(|text| block(text, &mut input));
    let Some(blocks) = python("compress", input) else { return };
    let mut codec = Codec::new();
    let (mut settings, mut random) = (0, Random::new(2));
    for blocks in blocks.chunks(2 + texts.len()) {
        let title = String::from_utf8_lossy(&blocks[0]);
        let params = params(blocks[1][0], blocks[1][1] != 0);
        let mut whole = DeflateContext::new(params, true, &DeflateConfig::new());
        let mut parts = DeflateContext::new(params, true, &DeflateConfig::new());
        for (text, wire) in texts.iter().zip(&blocks[2..]) {
            let mut output = Vec::new();
            let outcome = codec.decompress(&mut whole, wire, &mut output, text.len());
            assert_eq!(outcome, Ok(()), "{title}");
            assert!(output == *text, "{title}");

            output.clear();
            let mut message = codec.begin_decompression(&parts, text.len());
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let count = (1 + random.below(2000)).min(rest.len());
                let mut part = rest.split_off(..count).unwrap();
                let mut step = |room| {
                    codec.decompress_part(&mut message, &mut parts, &mut part, &mut output, room)
                };
                while step(1 + random.below(4000)).unwrap() != DecompressStatus::InputEmpty {}
            }
            codec.finish_decompression(message).unwrap();
            assert!(output == *text, "{title}, by parts");
        }
        settings += 1;
    }
    assert_eq!(settings, 7 * 3 * 3 * 6 * 2);
}

// The limit is one of plain text, and zlib makes noise longer by up to a twentieth.
// req: D026, D036
#[test]
fn noise_from_zlib_has_its_plain_length() {
    let text = Random::new(3).bytes(1 << 18);
    let mut input = Vec::new();
    block(&text, &mut input);
    let Some(blocks) = python("noise", input) else { return };
    let mut longest = 0;
    for [title, wire] in blocks.as_chunks().0 {
        let title = String::from_utf8_lossy(title);
        for limit in [text.len(), text.len() - 1] {
            let config = Config::new().deflate(DeflateConfig::new()).max_message_size(limit);
            let mut server = open(Role::Server, &config, Some("permessage-deflate"));
            let seen = feed(&mut server, &binary(wire).rsv1().by(Role::Client));
            let expected = if limit == text.len() {
                Seen::Binary(text.clone())
            } else {
                Seen::Failed(ProtocolError::MessageTooBig(limit))
            };
            assert!(seen == [expected], "{title}: {seen:?}");
        }
        longest = longest.max(wire.len());
    }
    assert!(longest > (1 << 18) * 21 / 20, "{longest}");
}

// req: D027, D028, D030, D031, D035
#[test]
fn what_is_compressed_here_zlib_reads() {
    let texts = texts(&mut Random::new(4));
    // Less than a level and a window need: compressors go from one connection to the next.
    let mut codec = Codec::with_live_budget(1 << 20);
    let (mut input, mut expected) = (Vec::new(), Vec::new());
    for bits in 8..=15 {
        for level in [0, 1, 6, 9] {
            for (takeover, parts) in [(true, false), (true, true), (false, false), (false, true)] {
                let config = DeflateConfig::new().level(level).unwrap();
                let mut context = DeflateContext::new(params(bits, takeover), true, &config);
                let mut strict = StrictInflate::new(1 << bits);
                block(&[bits, u8::from(takeover), texts.len() as u8], &mut input);
                for text in &texts {
                    let mut wire = Vec::new();
                    let mut rest = &text[..];
                    while parts && rest.len() > 1000 {
                        let part = rest.split_off(..1000).unwrap();
                        codec.compress_part(&mut context, part, &mut wire);
                    }
                    codec.compress(&mut context, rest, &mut wire);
                    block(&wire, &mut input);
                    expected.push(text.clone());
                    if !takeover {
                        strict.forget();
                    }
                    assert!(strict.message(&wire).as_ref() == Ok(text), "{bits} bits, {level}");
                }
            }
        }
    }
    let Some(blocks) = python("decompress", input) else { return };
    assert!(blocks == expected);
}
