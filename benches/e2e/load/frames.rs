use flate2::{Compress, Compression, FlushCompress};
use framewire::wire::Opcode;
use framewire_benches::{frame, json, non_ascii};

use crate::scenario::{Content, Scenario};

/// Masked frames, one behind the other: what each connection sends, round and round.
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
}

impl Frames {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let each_by_itself = scenario.mode.ends_with("deflate-nct");
        let mut codec = scenario.extensions().map(|_| Compress::new(Compression::new(6), false));
        let mut frames = Self { bytes: Vec::new(), ends: Vec::new() };
        for (number, payload) in payloads(scenario).into_iter().enumerate() {
            let opcode =
                if scenario.content == Content::Binary { Opcode::Binary } else { Opcode::Text };
            let key = (0x9e37_79b9u32.wrapping_mul(number as u32 + 1) | 0x0101_0101).to_be_bytes();
            let start = frames.bytes.len();
            match &mut codec {
                None => frames.bytes.extend(frame(opcode, &payload, key)),
                Some(codec) => {
                    if each_by_itself {
                        codec.reset();
                    }
                    let mut output = Vec::with_capacity(payload.len() + 1024);
                    codec
                        .compress_vec(&payload, &mut output, FlushCompress::Sync)
                        .expect("room enough");
                    output.truncate(output.len() - 4);
                    frames.bytes.extend(frame(opcode, &output, key));
                    frames.bytes[start] |= 0x40;
                }
            }
            frames.ends.push(frames.bytes.len());
        }
        frames
    }
}

/// Different messages, more than are under way at once.
pub(crate) fn payloads(scenario: &Scenario) -> Vec<Vec<u8>> {
    let count = match scenario.length {
        ..8192 => 64.max(4 * scenario.in_flight),
        8192..500_000 => 32,
        _ => 2,
    };
    let length = scenario.length;
    let of = |number: usize| match scenario.content {
        Content::Json => json(length, number),
        Content::NonAscii => non_ascii(length),
        Content::Binary => noise(length, number),
    };
    (0..count).map(of).collect()
}

fn noise(length: usize, number: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (number as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
