//! The one decompressor of a codec.

use std::error::Error;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::compressors::TAIL;
use super::history::last;

/// A decompressor that is always parked: nothing outlives a message in it, so it serves every
/// connection in turn. Bringing 32 KiB of history back costs less than a microsecond.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Appends the plain text of one message, or nothing on an error.
    pub(super) fn message(
        &mut self,
        history: &[u8],
        payload: &[u8],
        scratch: &mut [u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        let start = output.len();
        let mut message = Message {
            stream: &mut self.0,
            history,
            scratch,
            output,
            start,
            limit,
            allowance: FINAL_BLOCKS_FREE.saturating_add(payload.len().saturating_mul(64)),
        };
        let outcome = message.run(payload);
        if outcome.is_err() {
            output.truncate(start);
        }
        outcome
    }
}

/// Why a compressed message could not be read. Nothing of it was delivered; the connection has to
/// be closed, since both ends no longer agree on the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InflateError {
    /// More plain text than the limit allows. Close with 1009 (RFC 6455 section 7.4.1).
    TooBig,
    /// Not DEFLATE data, or not a whole message of it (RFC 7692 section 7.2.2, RFC 1951 section 3).
    /// Close with 1007.
    Corrupt,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig => "message is too big when decompressed",
            Self::Corrupt => "compressed message is corrupt",
        })
    }
}

impl Error for InflateError {}

/// One message on its way through the decompressor.
struct Message<'a> {
    stream: &'a mut Decompress,
    history: &'a [u8],
    scratch: &'a mut [u8],
    output: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
    /// How much work this message may still cause by final blocks.
    allowance: usize,
}

impl Message<'_> {
    fn run(&mut self, payload: &[u8]) -> Result<(), InflateError> {
        // An octet-less message is what remains of no block at all. RFC 7692 section 7.2.3.6 wants
        // one octet for the empty message; a peer that sends none can only mean the same.
        if payload.is_empty() {
            return Ok(());
        }
        self.restart()?;
        // A final block may end the message where RFC 7692 section 7.2.3.4 puts one more octet.
        if self.feed(payload)? == End::FinalBlock {
            return Ok(());
        }
        // "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload" (section 7.2.2).
        let length = self.output.len();
        let end = self.feed(&TAIL)?;
        // They complete an empty block (section 7.2.1). Text would mean that they fell into another
        // one, and after them a message has to be between blocks: only there is the probe a block.
        let whole = end == End::FinalBlock || self.feed(&PROBE)? == End::FinalBlock;
        if whole && self.output.len() == length { Ok(()) } else { Err(InflateError::Corrupt) }
    }

    /// Decompresses all of `input`, across final blocks.
    fn feed(&mut self, input: &[u8]) -> Result<End, InflateError> {
        let mut rest = input;
        loop {
            // One byte more than allowed, to tell a message of exactly the limit from a longer one.
            let left = self.limit - (self.output.len() - self.start);
            let room = self.scratch.len().min(left.saturating_add(1));
            let (total_in, total_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(rest, &mut self.scratch[..room], FlushDecompress::Sync)
                .map_err(|_| InflateError::Corrupt)?;
            let read = (self.stream.total_in() - total_in) as usize;
            let written = (self.stream.total_out() - total_out) as usize;
            if written > left {
                return Err(InflateError::TooBig);
            }
            self.append(written);
            rest = &rest[read..];

            if status == Status::StreamEnd {
                if rest.is_empty() {
                    return Ok(End::FinalBlock);
                }
                // "f3 48 cd c9 c9 07 00 00": more blocks follow the final one (section 7.2.3.4).
                self.restart()?;
            } else if written < room {
                if rest.is_empty() {
                    return Ok(End::Input);
                }
                if read == 0 && written == 0 {
                    return Err(InflateError::Corrupt);
                }
            }
        }
    }

    /// Appends what lies in the scratch buffer, growing by doubling but never beyond the limit.
    fn append(&mut self, written: usize) {
        let needed = self.output.len() + written;
        if needed > self.output.capacity() {
            let most = self.start.saturating_add(self.limit);
            let capacity = needed.max(self.output.capacity().saturating_mul(2)).min(most);
            self.output.reserve_exact(capacity - self.output.len());
        }
        self.output.extend_from_slice(&self.scratch[..written]);
    }

    /// Makes the decompressor as it was when the last byte of plain text had come out, at the start
    /// of a block.
    ///
    /// A message of nothing but final blocks would have us do this every other byte. Therefore each
    /// time is paid from an allowance that grows with the payload; a peer that ends a block about
    /// every 512 bytes never notices.
    fn restart(&mut self) -> Result<(), InflateError> {
        let output = last(&self.output[self.start..], MOST_DISTANCE);
        let history = last(self.history, MOST_DISTANCE - output.len());
        let cost = RESET_COST + history.len() + output.len();
        self.allowance = self.allowance.checked_sub(cost).ok_or(InflateError::Corrupt)?;

        self.stream.reset(false);
        for text in [history, output] {
            if !text.is_empty() && self.stream.set_dictionary(text).is_err() {
                return Err(InflateError::Corrupt);
            }
        }
        Ok(())
    }
}

/// What the decompressor met at the end of its input.
#[derive(PartialEq, Eq)]
enum End {
    /// More could follow.
    Input,
    /// A block with BFINAL set, just there.
    FinalBlock,
}

/// An empty stored block with BFINAL set.
const PROBE: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];

/// RFC 1951 section 3.2.5.
const MOST_DISTANCE: usize = 32_768;

/// What a reset costs beside the history, in bytes of history that cost the same.
const RESET_COST: usize = 512;

/// Allows 31 restarts with full history to any message, however short.
const FINAL_BLOCKS_FREE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(history: &[u8], payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut output = b"kept".to_vec();
        let mut scratch = vec![0; 4096];
        let outcome = Inflater::new().message(history, payload, &mut scratch, &mut output, limit);
        let text = output.split_off(4);
        assert_eq!(output, b"kept");
        assert!(text.len() <= limit);
        match outcome {
            Ok(()) => Ok(text),
            Err(error) => {
                assert!(text.is_empty(), "nothing is delivered on an error");
                Err(error)
            }
        }
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
        // Final blocks cost more, so they are counted.
        let history = vec![b'x'; 32_768];
        let few = [0x03, 0x00].repeat(30);
        assert_eq!(inflate(&history, &few, 0), Ok(Vec::new()));
        let many = [0x4b, 0x04, 0x00].repeat(350_000);
        assert_eq!(inflate(&history, &many, 1 << 20), Err(InflateError::Corrupt));
    }
}
