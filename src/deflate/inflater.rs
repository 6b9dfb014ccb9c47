//! Decompressors: where the message in each stands, and why one cannot be read.

use std::error::Error;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::history::last;
use super::stored::TAIL;

/// A decompressor and the message in it.
///
/// Between two messages nothing in it is of use, so it serves every connection in turn. Bringing 32 KiB
/// of history back costs less than a microsecond.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    at: At,
    /// How many bytes of plain text may still come.
    left: usize,
    /// How far back the peer may refer.
    window: usize,
    /// How much work this message may still cause by final blocks.
    allowance: usize,
}

/// Where in its message a decompressor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// No octet has come.
    Start,
    /// Inside a block, or between two.
    Blocks,
    /// Just after a block with BFINAL set, of which the stream does not come back by itself.
    FinalBlock,
}

/// How far [`Codec::decompress_part`](super::Codec::decompress_part) came.
#[allow(clippy::exhaustive_enums, reason = "one of the two always runs out first")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecompressStatus {
    /// All of the input was taken, and all of its plain text is in the output.
    InputEmpty,
    /// The output got as many bytes as it may get for now. Go on with what is left of the input, even
    /// if that is nothing: more plain text may wait inside.
    OutputFull,
}

/// Why a compressed message could not be read. The connection has to be closed, since both ends no
/// longer agree on the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InflateError {
    /// More plain text than the limit allows. Close with 1009 (RFC 6455 section 7.4.1).
    TooBig,
    /// Not DEFLATE data, or not a whole message of it (RFC 7692 section 7.2.2, RFC 1951 section 3).
    /// Close with 1007.
    Corrupt,
    /// Blocks with BFINAL set follow each other so closely that going on after each would cost far more
    /// than the message is worth. They are legal (RFC 7692 section 7.2.3.4), and one for every 200
    /// bytes of plain text is always read. Close with 1008.
    TooManyFinalBlocks,
    /// There was no memory for the plain text, of which so many bytes were to be kept then. Close with 1009.
    OutOfMemory(usize),
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig => "message is too big when decompressed",
            Self::Corrupt => "compressed message is corrupt",
            Self::TooManyFinalBlocks => "compressed message has too many final blocks",
            Self::OutOfMemory(bytes) => {
                return write!(f, "no memory for {bytes} bytes of a decompressed message");
            }
        })
    }
}

impl Error for InflateError {}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { stream: Decompress::new(false), at: At::Start, left: 0, window: 0, allowance: 0 }
    }

    /// Begins a message of at most `limit` bytes of plain text.
    pub(super) fn begin(&mut self, window: usize, limit: usize) {
        (self.at, self.window, self.left, self.allowance) =
            (At::Start, window, limit, FINAL_BLOCKS_FREE);
    }

    /// Appends plain text of `input`, at most `room` bytes of it, and cuts off what it has read.
    ///
    /// `history` is the text before that of this call.
    pub(super) fn push(
        &mut self,
        history: &[u8],
        input: &mut &[u8],
        scratch: &mut [u8],
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<DecompressStatus, InflateError> {
        let start = output.len();
        loop {
            if self.at != At::Blocks {
                if input.is_empty() {
                    return Ok(DecompressStatus::InputEmpty);
                }
                self.restore(history, &output[start..])?;
            }
            let room = room - (output.len() - start);
            if room == 0 {
                return Ok(DecompressStatus::OutputFull);
            }
            // One byte more than allowed, to tell a message of exactly the limit from a longer one.
            let room = scratch.len().min(self.left.saturating_add(1)).min(room);
            let Step { status, read, written } = self.decompress(input, &mut scratch[..room]);
            // In whatever parts the message comes, what is wrong first in it counts, and all of its text
            // before that comes out.
            let allowed = written.min(self.left);
            append(output, &scratch[..allowed], self.left)?;
            self.left -= allowed;
            if written > allowed {
                return Err(InflateError::TooBig);
            }
            let status = status?;
            self.allowance =
                self.allowance.saturating_add((read + written).saturating_mul(ALLOWED_A_BYTE));
            *input = &input[read..];

            if status == Status::StreamEnd {
                // "f3 48 cd c9 c9 07 00 00": more blocks may follow the final one (section 7.2.3.4).
                self.at = At::FinalBlock;
            } else if written < room {
                // Room was left, so zlib has read all that it can.
                let ended = input.is_empty().then_some(DecompressStatus::InputEmpty);
                return ended.ok_or(InflateError::Corrupt);
            }
        }
    }

    /// Checks that the message ends here.
    pub(super) fn finish(&mut self, scratch: &mut [u8]) -> Result<(), InflateError> {
        // An octet-less message is what remains of no block at all. RFC 7692 section 7.2.3.6 wants one
        // octet for the empty message; a peer that sends none can only mean the same. And a final block
        // may end the message where section 7.2.3.4 puts one more octet.
        if self.at != At::Blocks {
            return Ok(());
        }
        // "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload" (section 7.2.2). They
        // complete an empty block (section 7.2.1). Text would mean that they fell into another one, and
        // after them a message has to be between blocks: only there is the probe a block.
        for octets in [&TAIL[..], &PROBE] {
            let Step { status, read, written } = self.decompress(octets, scratch);
            if read < octets.len() || written > 0 {
                break;
            }
            if status? == Status::StreamEnd {
                return Ok(());
            }
        }
        Err(InflateError::Corrupt)
    }

    fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let (total_in, total_out) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, output, FlushDecompress::Sync);
        Step {
            status: status.map_err(|_| InflateError::Corrupt),
            read: (self.stream.total_in() - total_in) as usize,
            written: (self.stream.total_out() - total_out) as usize,
        }
    }

    /// Makes the decompressor as it was when the last byte of plain text had come out, at the start
    /// of a block.
    ///
    /// A message of nothing but final blocks would have us do this every other byte. Therefore each
    /// time is paid from an allowance that grows with what is read and written.
    fn restore(&mut self, history: &[u8], text: &[u8]) -> Result<(), InflateError> {
        // No more than the window that was agreed on: what is known must not depend on how the message
        // was cut on its way.
        let text = last(text, self.window);
        let history = last(history, self.window - text.len());
        if self.at == At::FinalBlock {
            let cost = RESET_COST + history.len() + text.len();
            let allowance = self.allowance.checked_sub(cost);
            self.allowance = allowance.ok_or(InflateError::TooManyFinalBlocks)?;
        }
        self.stream.reset(false);
        for text in [history, text] {
            if !text.is_empty() && self.stream.set_dictionary(text).is_err() {
                return Err(InflateError::Corrupt);
            }
        }
        self.at = At::Blocks;
        Ok(())
    }
}

/// What one call of zlib did.
struct Step {
    status: Result<Status, InflateError>,
    read: usize,
    /// How many bytes came out, also before an error.
    written: usize,
}

/// Appends `text`, growing by doubling but never for more than `left` bytes.
fn append(output: &mut Vec<u8>, text: &[u8], left: usize) -> Result<(), InflateError> {
    let needed = output.len() + text.len();
    if needed > output.capacity() {
        let most = output.len().saturating_add(left);
        let capacity = needed.max(output.capacity().saturating_mul(2)).min(most);
        let lacking = |_| InflateError::OutOfMemory(needed);
        output.try_reserve_exact(capacity - output.len()).map_err(lacking)?;
    }
    output.extend_from_slice(text);
    Ok(())
}

/// An empty stored block with BFINAL set.
const PROBE: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// What a reset costs beside the history, in bytes of history that cost the same.
const RESET_COST: usize = 512;

/// Allows 31 final blocks with full history to any message, however short.
const FINAL_BLOCKS_FREE: usize = 1 << 20;

/// How much history may be brought back for each byte read or written: enough for a final block every
/// 130 of them, of which each costs a microsecond.
const ALLOWED_A_BYTE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(history: &[u8], payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut output = b"kept".to_vec();
        let mut scratch = vec![0; 4096];
        let mut inflater = Inflater::new();
        inflater.begin(32_768, limit);
        let mut rest = payload;
        let status = inflater.push(history, &mut rest, &mut scratch, &mut output, usize::MAX)?;
        assert_eq!((status, rest), (DecompressStatus::InputEmpty, &[][..]));
        inflater.finish(&mut scratch)?;
        let text = output.split_off(4);
        assert_eq!(output, b"kept");
        assert!(text.len() <= limit);
        Ok(text)
    }

    // req: D028, D029, D034
    #[test]
    fn the_examples_of_the_rfc_say_hello() {
        let hello = Ok(b"Hello".to_vec());
        let alone: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for payload in alone {
            assert_eq!(inflate(b"", payload, 5), hello);
            assert_eq!(inflate(b"", payload, 4), Err(InflateError::TooBig));
            assert_eq!(inflate(b"", payload, usize::MAX), hello);
        }
        assert_eq!(inflate(b"Hello", &[0xf2, 0x00, 0x11, 0x00, 0x00], 5), hello);
    }

    // req: D035
    #[test]
    fn an_empty_message_has_one_octet_or_none() {
        for payload in [&[0x00][..], &[], &[0x02, 0x00], &[0x03, 0x00], &[0x01]] {
            assert_eq!(inflate(b"", payload, 0), Ok(Vec::new()), "{payload:?}");
        }
    }

    // req: D029, D034
    #[test]
    fn blocks_after_a_final_block_still_know_the_window() {
        let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let payload = [&hello[..], &again].concat();
        assert_eq!(inflate(b"", &payload, 10), Ok(b"HelloHello".to_vec()));
        assert_eq!(inflate(b"", &payload, 9), Err(InflateError::TooBig));
        // The history of earlier messages is still there too.
        let payload = [&[0x03, 0x00][..], &again].concat();
        assert_eq!(inflate(b"Hello", &payload, 5), Ok(b"Hello".to_vec()));
        // Some senders end with the final block and send no octet after it.
        assert_eq!(inflate(b"", &hello, 5), Ok(b"Hello".to_vec()));
    }

    // req: D032
    #[test]
    fn corrupt_data_is_refused() {
        let cases: [&[u8]; 11] = [
            &[0x06],                                           // BTYPE 11
            &[0x07, 0x00],                                     // BTYPE 11, final
            &[0xf2, 0x00, 0x11, 0x00, 0x00],                   // distance before the start
            &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48],             // length and its complement differ
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],             // stored block cut short
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07],             // no empty stored block
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9],                   // fixed block cut short
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], // half an empty stored block
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x07], // garbage after a final block
            &[0x04],                                           // dynamic block cut short
            &[0xff; 20],
        ];
        for payload in cases {
            let outcome = inflate(b"", payload, 1 << 20);
            assert_eq!(outcome, Err(InflateError::Corrupt), "{payload:02x?}");
        }
    }

    // req: D036
    #[test]
    fn a_flood_of_empty_blocks_is_linear() {
        let stored = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(200_000);
        assert_eq!(inflate(b"", &[&stored[..], &[0x00]].concat(), 0), Ok(Vec::new()));
    }

    /// `text` in fixed or dynamic blocks of so many bytes, each final and complete in itself, but with
    /// all of the text before it to refer to.
    fn in_final_blocks(text: &[u8], length: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for start in (0..text.len()).step_by(length) {
            let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
            if start > 0 {
                compress.set_dictionary(last(&text[..start], 32_768)).unwrap();
            }
            let block = &text[start..text.len().min(start + length)];
            let mut wire = Vec::with_capacity(2 * length + 100);
            compress.compress_vec(block, &mut wire, flate2::FlushCompress::Finish).unwrap();
            payload.extend(wire);
        }
        payload.push(0);
        payload
    }

    // req: D034
    // Blocks of 200 bytes with all of the window behind them: legal, and once rejected.
    #[test]
    fn any_number_of_final_blocks_is_read() {
        let rows: Vec<String> = (0..20_000).map(|i| format!("row {i}: {};", i * i % 977)).collect();
        let text = rows.concat();
        let text = &text.as_bytes()[..200_000];
        for length in [200, 201, 5000] {
            let payload = in_final_blocks(text, length);
            let outcome = inflate(&[b'x'; 32_768], &payload, text.len());
            assert!(outcome.as_deref() == Ok(text), "blocks of {length}");
            let outcome = inflate(b"", &payload, text.len() - 1);
            assert_eq!(outcome, Err(InflateError::TooBig));
        }
        // A block that only repeats takes a few bytes on the wire.
        let payload = in_final_blocks(&[b'a'; 80_000], 200);
        assert!(payload.len() < 4000);
        assert_eq!(inflate(b"", &payload, 80_000).unwrap().len(), 80_000);
    }

    // req: D036
    #[test]
    fn memory_is_taken_when_it_is_short_and_only_then() {
        let mut output = Vec::with_capacity(8);
        append(&mut output, &[1; 8], 100).unwrap();
        assert_eq!(output.capacity(), 8);
        append(&mut output, &[2], 92).unwrap();
        assert_eq!(output.capacity(), 16);
        append(&mut output, &[3; 8], 9).unwrap();
        assert_eq!(output.capacity(), 18);
        assert_eq!(output, [&[1; 8][..], &[2], &[3; 8]].concat());
    }

    // req: D036
    #[test]
    fn final_blocks_without_text_are_counted() {
        let history = vec![b'x'; 32_768];
        let few = [0x03, 0x00].repeat(30);
        assert_eq!(inflate(&history, &few, 0), Ok(Vec::new()));
        let many = [0x03, 0x00].repeat(350_000);
        assert_eq!(inflate(&history, &many, 0), Err(InflateError::TooManyFinalBlocks));
        // Without a window to restore, an empty block costs only its bytes.
        assert_eq!(inflate(b"", &many, 0), Ok(Vec::new()));
    }
}
