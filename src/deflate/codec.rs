//! Compressing and decompressing messages.

use super::compressors::{COMPRESSOR_BYTES, Compressors, End, Key, Past};
use super::context::DeflateContext;
use super::history::History;
use super::inflater::{DecompressStatus, InflateError, Inflater};
use super::stored::EMPTY_MESSAGE;

/// Compresses and decompresses for any number of connections.
///
/// Have one for each event loop, or one for a connection that stands alone. It owns a
/// decompressor, made at the first use, and a bounded number of live compressors. A connection that
/// sends with context takeover keeps its compressor while it is among the most recently used ones;
/// afterwards one is restored from what its [`DeflateContext`] remembers. Connections without
/// context takeover share one compressor for each level and window.
///
/// ```
/// use framewire::deflate::{Codec, DeflateConfig, DeflateContext, DeflateParams};
///
/// let mut codec = Codec::new();
/// let config = DeflateConfig::new();
/// let mut context = DeflateContext::new(DeflateParams::default(), true, &config);
/// let (mut first, mut second) = (Vec::new(), Vec::new());
/// codec.compress(&mut context, b"Hello", &mut first);
/// codec.compress(&mut context, b"Hello", &mut second);
/// assert_eq!(first, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
/// assert!(second.len() < first.len()); // it refers to the first
/// ```
#[derive(Debug)]
pub struct Codec {
    /// The decompressors that no message is in.
    idle: Vec<Inflater>,
    compressors: Compressors,
    scratch: Vec<u8>,
}

impl Codec {
    /// A codec that keeps up to 16 compressors live, about 6 MiB. It takes no memory before its
    /// first use.
    #[must_use]
    pub fn new() -> Self {
        Self::with_live_budget(16 * COMPRESSOR_BYTES)
    }

    /// A codec that spends about `bytes` on live compressors: 371 KiB each, at least one.
    ///
    /// More than some 64 seldom pays, for then they push each other out of the processor's cache.
    #[must_use]
    pub fn with_live_budget(bytes: usize) -> Self {
        Self { idle: Vec::new(), compressors: Compressors::new(bytes), scratch: Vec::new() }
    }

    /// Appends `payload` compressed to `output`, as it goes over the wire: without the final
    /// `00 00 ff ff` (RFC 7692 section 7.2.1). An empty message becomes `00` (section 7.2.3.6).
    ///
    /// Send it, with RSV1 on its first frame, before anything that is compressed later for the same
    /// connection. With context takeover the peer has to receive it, or the next one makes no
    /// sense.
    ///
    /// After [`compress_part`](Self::compress_part), `payload` is what the message ends with.
    pub fn compress(&mut self, context: &mut DeflateContext, payload: &[u8], output: &mut Vec<u8>) {
        if !context.takes_over && context.sent.is_empty() {
            self.compress_detached_as(context.key, payload, output);
            return;
        }
        if payload.is_empty() {
            output.push(EMPTY_MESSAGE);
        } else {
            self.compress_after(context, payload, End::Message, output);
        }
        if !context.takes_over {
            if let Some(ticket) = context.ticket.take() {
                self.compressors.release(ticket);
            }
            context.sent.clear();
        }
    }

    /// Appends a part of a message compressed to `output`, to which [`compress`](Self::compress) adds
    /// the end.
    ///
    /// Everything of `part` is in the output then: what is sent of it at once can also be decompressed
    /// at once. Each part costs up to five bytes for that. Other connections may be served before the
    /// next part; of this one, nothing but the same message may be compressed.
    ///
    /// ```
    /// use framewire::deflate::{Codec, DeflateConfig, DeflateContext, DeflateParams};
    ///
    /// let mut codec = Codec::new();
    /// let mut context = DeflateContext::new(DeflateParams::default(), true, &DeflateConfig::new());
    /// let mut wire = Vec::new();
    /// codec.compress_part(&mut context, b"Hel", &mut wire);
    /// assert!(wire.ends_with(&[0x00, 0x00, 0xff, 0xff]));
    /// codec.compress(&mut context, b"lo", &mut wire);
    ///
    /// let mut peer = DeflateContext::new(DeflateParams::default(), false, &DeflateConfig::new());
    /// let mut text = Vec::new();
    /// codec.decompress(&mut peer, &wire, &mut text, 5)?;
    /// assert_eq!(text, b"Hello");
    /// # Ok::<(), framewire::deflate::InflateError>(())
    /// ```
    pub fn compress_part(
        &mut self,
        context: &mut DeflateContext,
        part: &[u8],
        output: &mut Vec<u8>,
    ) {
        if !part.is_empty() {
            self.compress_after(context, part, End::Part, output);
        }
    }

    fn compress_after(
        &mut self,
        context: &mut DeflateContext,
        text: &[u8],
        end: End,
        output: &mut Vec<u8>,
    ) {
        let past = Past { ticket: context.ticket, history: context.sent.text() };
        let scratch = prepared(&mut self.scratch);
        context.ticket =
            self.compressors.compress_after(context.key, past, text, end, scratch, output);
        context.sent.push(text);
    }

    /// Appends `payload` compressed to `output` for no connection in particular: it refers to no
    /// earlier message, so every connection whose window is at least `window_bits` can take it.
    ///
    /// For each connection that it is sent on, call [`DeflateContext::note_sent`]. `level` is taken
    /// as at most 9 and `window_bits` as between 8 and 15.
    ///
    /// ```
    /// use framewire::deflate::Codec;
    ///
    /// let mut wire = Vec::new();
    /// Codec::new().compress_detached(6, 15, b"Hello", &mut wire);
    /// assert_eq!(wire, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    /// ```
    pub fn compress_detached(
        &mut self,
        level: u8,
        window_bits: u8,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        self.compress_detached_as(Key::new(level, window_bits), payload, output);
    }

    fn compress_detached_as(&mut self, key: Key, payload: &[u8], output: &mut Vec<u8>) {
        if payload.is_empty() {
            output.push(EMPTY_MESSAGE);
            return;
        }
        let scratch = prepared(&mut self.scratch);
        self.compressors.compress_alone(key, payload, scratch, output);
    }

    /// Appends the plain text of one message to `output`, at most `limit` bytes of it.
    ///
    /// `payload` is the message's whole payload, all its fragments joined and unmasked, without the
    /// `00 00 ff ff` (RFC 7692 section 7.2.2). Memory is taken only for what has come out. Blocks
    /// with BFINAL set may stand anywhere. Text still has to be checked for UTF-8.
    ///
    /// A distance beyond the agreed window, but within what is known, is accepted: the peer broke a
    /// rule, and the text is right.
    ///
    /// # Errors
    ///
    /// [`InflateError`]; `output` is as before. Close the connection and do not use `context` to
    /// decompress again: its window is no longer the peer's.
    pub fn decompress(
        &mut self,
        context: &mut DeflateContext,
        payload: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        let start = output.len();
        let outcome = self.decompress_whole(context, payload, output, limit);
        if outcome.is_err() {
            output.truncate(start);
        }
        outcome
    }

    fn decompress_whole(
        &mut self,
        context: &mut DeflateContext,
        mut payload: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        if self.idle.is_empty() {
            self.idle.push(Inflater::new());
        }
        let Some(inflater) = self.idle.last_mut() else { return Ok(()) };
        let scratch = prepared(&mut self.scratch);
        let start = output.len();
        let history = context.received.as_ref().map_or(&[][..], History::text);
        inflater.begin(context.received_window, limit);
        inflater.push(history, &mut payload, scratch, output, usize::MAX)?;
        inflater.finish(scratch)?;
        if let Some(history) = &mut context.received {
            history.push(&output[start..]);
        }
        Ok(())
    }

    /// Begins a message whose payload comes in parts, with at most `limit` bytes of plain text.
    ///
    /// Go on with [`decompress_part`](Self::decompress_part). Of one connection, only one message may
    /// be under way.
    #[must_use]
    pub fn begin_decompression(&mut self, context: &DeflateContext, limit: usize) -> Decompression {
        let mut inflater = self.idle.pop().unwrap_or_else(Inflater::new);
        inflater.begin(context.received_window, limit);
        let alone = context.received.is_none();
        Decompression { inflater, text: alone.then(|| History::new(context.received_window)) }
    }

    /// Appends to `output` the plain text of the next part of a message, at most `room` bytes of it,
    /// and cuts off of `input` what it has read.
    ///
    /// `input` may be of any length, without regard to frames or blocks. After its last part, when the
    /// answer is [`DecompressStatus::InputEmpty`], call
    /// [`finish_decompression`](Self::finish_decompression). Other connections may be served between
    /// the calls.
    ///
    /// ```
    /// use framewire::deflate::{
    ///     Codec, DecompressStatus, DeflateConfig, DeflateContext, DeflateParams,
    /// };
    ///
    /// let mut codec = Codec::new();
    /// let mut context = DeflateContext::new(DeflateParams::default(), true, &DeflateConfig::new());
    /// let mut message = codec.begin_decompression(&context, 1024);
    /// let mut text = Vec::new();
    /// for mut input in [&[0xf2, 0x48, 0xcd][..], &[0xc9, 0xc9, 0x07, 0x00]] {
    ///     let status =
    ///         codec.decompress_part(&mut message, &mut context, &mut input, &mut text, 512)?;
    ///     assert_eq!(status, DecompressStatus::InputEmpty);
    /// }
    /// codec.finish_decompression(message)?;
    /// assert_eq!(text, b"Hello");
    /// # Ok::<(), framewire::deflate::InflateError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InflateError`], as soon as it is certain: the first byte beyond the limit, for instance. The
    /// plain text before that is in the output. Close the connection, and use neither the message nor
    /// `context` to decompress again.
    pub fn decompress_part(
        &mut self,
        message: &mut Decompression,
        context: &mut DeflateContext,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        room: usize,
    ) -> Result<DecompressStatus, InflateError> {
        let start = output.len();
        let mut history = message.text.as_mut().or(context.received.as_mut());
        let known = history.as_deref().map_or(&[][..], History::text);
        let scratch = prepared(&mut self.scratch);
        let status = message.inflater.push(known, input, scratch, output, room)?;
        if let Some(history) = &mut history {
            history.push(&output[start..]);
        }
        Ok(status)
    }

    /// Checks that the message is whole.
    ///
    /// # Errors
    ///
    /// [`InflateError::Corrupt`]: the payload ended inside a block. Close the connection, and do not use
    /// the context to decompress again.
    pub fn finish_decompression(&mut self, message: Decompression) -> Result<(), InflateError> {
        let mut inflater = message.inflater;
        inflater.finish(prepared(&mut self.scratch))?;
        if self.idle.len() < MOST_IDLE {
            self.idle.push(inflater);
        }
        Ok(())
    }
}

/// A compressed message under way, with a decompressor of its own: 46 KiB, and up to 48 KiB of plain
/// text without context takeover.
///
/// [`Codec::begin_decompression`] begins one. When its connection is lost, drop it.
#[derive(Debug)]
pub struct Decompression {
    inflater: Inflater,
    /// What blocks after a final one may refer to, where no context remembers it.
    text: Option<History>,
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

/// The scratch buffer, made at the first use. flate2 fills spare capacity with zeros each time
/// before it writes there, so going through memory that is initialised once is faster; and a
/// message's own buffer comes out exactly as large as the message.
fn prepared(scratch: &mut Vec<u8>) -> &mut [u8] {
    if scratch.is_empty() {
        scratch.resize(SCRATCH_BYTES, 0);
    }
    scratch
}

/// How many decompressors are kept that no message is in.
const MOST_IDLE: usize = 2;

const SCRATCH_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

    use super::super::strict_inflate::StrictInflate;
    use super::super::{DeflateConfig, DeflateParams};
    use super::*;

    const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

    /// xorshift: the same numbers on every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % bound
        }

        /// Noise, a run, a short period, or prose: whatever a compressor may trip over.
        fn text(&mut self, length: usize) -> Vec<u8> {
            let words = ["price", "volume", "{\"id\":", "null", ", ", "bid", "0.", "17"];
            let period = 1 + self.below(700);
            match self.below(4) {
                0 => (0..length).map(|_| self.below(256) as u8).collect(),
                1 => vec![self.below(256) as u8; length],
                2 => (0..length).map(|i| ((i % period * 31) >> 2) as u8).collect(),
                _ => {
                    let mut text = Vec::new();
                    while text.len() < length {
                        text.extend_from_slice(words[self.below(words.len())].as_bytes());
                    }
                    text.truncate(length);
                    text
                }
            }
        }
    }

    /// A receiver that keeps a zlib decompressor of its own: nothing of ours, nothing parked.
    fn plain_inflate(live: &mut Decompress, wire: &[u8], most: usize) -> Vec<u8> {
        let mut output = Vec::with_capacity(most + 64);
        for mut input in [wire, &TAIL] {
            while !input.is_empty() {
                let before = live.total_in();
                live.decompress_vec(input, &mut output, FlushDecompress::Sync).unwrap();
                let read = (live.total_in() - before) as usize;
                assert!(read > 0, "no progress");
                input = &input[read..];
            }
        }
        output
    }

    /// A sender that keeps a zlib compressor of its own.
    fn plain_deflate(live: &mut Compress, text: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(text.len() * 2 + 64);
        live.compress_vec(text, &mut output, FlushCompress::Sync).unwrap();
        if output.is_empty() {
            return vec![0];
        }
        assert!(output.ends_with(&TAIL));
        output.truncate(output.len() - 4);
        output
    }

    fn params(bits: u8, forget: bool) -> DeflateParams {
        DeflateParams {
            server_no_context_takeover: forget,
            client_no_context_takeover: forget,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
        }
    }

    fn level(level: u8) -> DeflateConfig {
        DeflateConfig::new().level(level).unwrap()
    }

    // req: D027, D030, D031, D035
    #[test]
    fn no_level_and_no_window_ever_reaches_too_far() {
        let mut random = Random(1);
        let mut codec = Codec::with_live_budget(0);
        for bits in 8..=15 {
            let mut farthest = 0;
            for level_number in 0..=9 {
                let config = level(level_number);
                let mut live = DeflateContext::new(params(bits, false), true, &config);
                let mut parked = DeflateContext::new(params(bits, false), false, &config);
                let (mut codec_live, window) = (Codec::with_live_budget(0), 1 << bits);
                let mut receivers = [StrictInflate::new(window), StrictInflate::new(window)];
                for round in 0..8 {
                    // A repetition further back than the window, in one message and across two.
                    let most = (window * 2).min(20_000);
                    let length = if round % 2 == 0 { most } else { most / 7 };
                    let text = random.text(length);
                    for (index, (codec, context)) in
                        [(&mut codec_live, &mut live), (&mut codec, &mut parked)]
                            .into_iter()
                            .enumerate()
                    {
                        let mut wire = Vec::new();
                        codec.compress(context, &text, &mut wire);
                        assert!(
                            receivers[index].message(&wire) == Ok(text.clone()),
                            "bits {bits}, level {level_number}, codec {index}"
                        );
                    }
                    // Another connection takes the compressor of the second one away.
                    codec.compress_detached(1, bits, b"x", &mut Vec::new());
                }
                farthest = farthest.max(receivers[0].farthest);
            }
            // The window is used: distances come near its size, and at 8 bits they stay within 250 bytes.
            assert!(farthest > 120 << (bits - 8), "bits {bits}: {farthest}");
            assert!(bits > 8 || farthest <= 250);
        }
    }

    // req: D026, D027, D028, D030, D032, D033
    #[test]
    fn many_connections_share_one_codec_unnoticed() {
        struct Connection {
            ours: DeflateContext,
            inflate: Decompress,
            deflate: Compress,
            forget: bool,
            config: DeflateConfig,
            bits: u8,
        }
        let mut random = Random(7);
        let mut codec = Codec::with_live_budget(3 * COMPRESSOR_BYTES);
        let mut connections: Vec<_> = (0..32_u8)
            .map(|number| {
                let (bits, forget) = (8 + number % 8, number % 3 == 0);
                // Two connections for each kind of compressor, so that they inherit from each other.
                let config = level([6, 1][usize::from(number / 8 % 2)]);
                let peer_bits = bits.max(9);
                Connection {
                    ours: DeflateContext::new(params(bits, forget), number % 2 == 0, &config),
                    inflate: Decompress::new(false),
                    deflate: Compress::new_with_window_bits(
                        Compression::default(),
                        false,
                        peer_bits,
                    ),
                    forget,
                    config,
                    bits,
                }
            })
            .collect();
        for _ in 0..500 {
            let number = random.below(connections.len());
            let connection = &mut connections[number];
            for _ in 0..1 + random.below(3) {
                let length = match random.below(12) {
                    0 => 0,
                    1 => random.below(20_000),
                    _ => random.below(1500),
                };
                let text = random.text(length);
                if connection.forget {
                    connection.inflate.reset(false);
                    connection.deflate.reset();
                }
                // Ours to theirs.
                let mut wire = Vec::new();
                if random.below(10) == 0 {
                    let (level, bits) = (connection.config.level, connection.bits);
                    codec.compress_detached(level, bits, &text, &mut wire);
                    connection.ours.note_sent(&text);
                } else {
                    codec.compress(&mut connection.ours, &text, &mut wire);
                }
                assert!(plain_inflate(&mut connection.inflate, &wire, length) == text);
                // Theirs to ours.
                let wire = plain_deflate(&mut connection.deflate, &text);
                let mut output = b"kept".to_vec();
                codec.decompress(&mut connection.ours, &wire, &mut output, length).unwrap();
                assert!(output.starts_with(b"kept") && output[4..] == text);
                assert!(output.capacity() <= length + 4);
            }
        }
    }

    /// One message by parts as `input` is cut, or its error and what came out before.
    fn in_parts(
        codec: &mut Codec,
        context: &mut DeflateContext,
        payload: &[u8],
        limit: usize,
        mut cut: impl FnMut(usize) -> usize,
    ) -> Result<Vec<u8>, InflateError> {
        let mut message = codec.begin_decompression(context, limit);
        let mut output = b"kept".to_vec();
        let mut rest = payload;
        loop {
            let (mut input, after) = rest.split_at(cut(rest.len()));
            rest = after;
            loop {
                let (room, before) = (1 + cut(400), output.len());
                let status =
                    codec.decompress_part(&mut message, context, &mut input, &mut output, room);
                assert!(output.starts_with(b"kept") && output.len() <= before + room);
                assert!(output.len() <= 4 + limit);
                match status? {
                    DecompressStatus::InputEmpty => break assert!(input.is_empty()),
                    DecompressStatus::OutputFull => assert_eq!(output.len(), before + room),
                }
            }
            if rest.is_empty() {
                codec.finish_decompression(message)?;
                return Ok(output.split_off(4));
            }
        }
    }

    // req: D028, D032, D034
    #[test]
    fn a_message_may_be_cut_at_any_byte() {
        let mut random = Random(21);
        let mut codec = Codec::new();
        for round in 0..60 {
            let (bits, forget) = (8 + round % 8, round % 3 == 0);
            let mut sender = DeflateContext::new(params(bits, forget), false, &level(6));
            let mut whole = DeflateContext::new(params(bits, forget), true, &level(6));
            let mut bytewise = DeflateContext::new(params(bits, forget), true, &level(6));
            let mut cut = DeflateContext::new(params(bits, forget), true, &level(6));
            for _ in 0..4 {
                let length = random.below(3000);
                let text = random.text(length);
                let mut wire = Vec::new();
                codec.compress(&mut sender, &text, &mut wire);
                let mut output = Vec::new();
                codec.decompress(&mut whole, &wire, &mut output, length).unwrap();
                assert!(output == text);
                let parts = in_parts(&mut codec, &mut bytewise, &wire, length, |most| most.min(1));
                assert!(parts.unwrap() == text);
                let parts =
                    in_parts(&mut codec, &mut cut, &wire, length, |most| random.below(most + 1));
                assert!(parts.unwrap() == text);
            }
            if round % 2 == 0 {
                let text = random.text(100);
                let mut wire = Vec::new();
                codec.compress(&mut sender, &text, &mut wire);
                let short = in_parts(&mut codec, &mut cut, &wire, 99, |most| most.min(1));
                assert_eq!(short, Err(InflateError::TooBig));
            }
        }
        assert!(codec.idle.len() <= MOST_IDLE);
    }

    // req: D026, D027, D028, D030, D031, D033
    #[test]
    fn messages_of_many_connections_are_under_way_together() {
        struct Connection {
            sender: DeflateContext,
            receiver: DeflateContext,
            strict: StrictInflate,
            forget: bool,
            text: Vec<u8>,
            sent: usize,
            wire: Vec<u8>,
            message: Option<Decompression>,
            received: Vec<u8>,
        }
        let mut random = Random(31);
        // Room for two compressors: each part of a message may find another one than the part before.
        let mut codec = Codec::with_live_budget(2 * COMPRESSOR_BYTES);
        let mut connections: Vec<_> = (0..24_u8)
            .map(|number| {
                let (bits, forget) = (8 + number % 8, number % 3 == 0);
                let config = level([6, 1, 9, 0][usize::from(number / 6)]);
                Connection {
                    sender: DeflateContext::new(params(bits, forget), true, &config),
                    receiver: DeflateContext::new(params(bits, forget), false, &config),
                    strict: StrictInflate::new(1 << bits),
                    forget,
                    text: Vec::new(),
                    sent: 0,
                    wire: Vec::new(),
                    message: None,
                    received: Vec::new(),
                }
            })
            .collect();
        let mut finished = 0;
        for _ in 0..4000 {
            let number = random.below(connections.len());
            let connection = &mut connections[number];
            if connection.message.is_none() {
                let length = random.below(30_000);
                connection.text = random.text(length);
                connection.message = Some(codec.begin_decompression(&connection.receiver, length));
            }
            let message = connection.message.as_mut().unwrap();
            let left = connection.text.len() - connection.sent;
            let count = random.below(12_000).min(left);
            let part = &connection.text[connection.sent..connection.sent + count];
            let last = count == left;
            let start = connection.wire.len();
            if last {
                codec.compress(&mut connection.sender, part, &mut connection.wire);
            } else {
                codec.compress_part(&mut connection.sender, part, &mut connection.wire);
            }
            connection.sent += count;
            let mut input = &connection.wire[start..];
            let most = count + 5 * count.div_ceil(65_535) + 5;
            assert!(input.len() <= most, "{count} bytes became {}", input.len());
            let status = codec.decompress_part(
                message,
                &mut connection.receiver,
                &mut input,
                &mut connection.received,
                usize::MAX,
            );
            assert_eq!(status, Ok(DecompressStatus::InputEmpty));
            // All that was sent can be read at once, except the end, which may need the appended tail.
            if !last {
                assert!(connection.received == connection.text[..connection.sent]);
                continue;
            }
            codec.finish_decompression(connection.message.take().unwrap()).unwrap();
            assert!(connection.received == connection.text);
            if connection.forget {
                connection.strict.forget();
                assert_eq!(connection.sender.heap_bytes() + connection.receiver.heap_bytes(), 0);
            }
            let strict = connection.strict.message(&connection.wire);
            assert!(strict.as_ref() == Ok(&connection.text), "connection {number}");
            connection.sent = 0;
            connection.wire.clear();
            connection.received.clear();
            finished += 1;
        }
        assert!(finished > 500);
    }

    // req: D027, D030
    #[test]
    fn parts_without_takeover_leave_nothing_behind() {
        let mut codec = Codec::with_live_budget(COMPRESSOR_BYTES);
        let mut context = DeflateContext::new(params(15, true), true, &level(6));
        let text = Random(41).text(5000);
        let mut alone = Vec::new();
        codec.compress(&mut context, &text, &mut alone);
        for _ in 0..2 {
            let mut wire = Vec::new();
            codec.compress_part(&mut context, &text, &mut wire);
            codec.compress_part(&mut context, b"", &mut wire);
            let first = wire.len();
            assert!(wire.ends_with(&TAIL));
            codec.compress_part(&mut context, &text, &mut wire);
            // The second part refers to the first.
            assert!(wire.len() - first < first / 4);
            codec.compress(&mut context, b"", &mut wire);
            assert!(wire.ends_with(&[&TAIL[..], &[0]].concat()));
            let read = StrictInflate::new(32_768).message(&wire).unwrap();
            assert!(read == [&text[..], &text].concat());
            assert_eq!(context.heap_bytes(), 0);
            wire.clear();
            codec.compress(&mut context, &text, &mut wire);
            assert_eq!(wire, alone);
        }
    }

    // req: D032, D034, D036
    #[test]
    fn a_decoder_that_shares_no_code_agrees() {
        let mut random = Random(51);
        let mut codec = Codec::new();
        let (mut good, mut bad) = (0, 0);
        for round in 0..4000_u32 {
            let length = random.below(if round % 100 == 0 { 20_000 } else { 300 });
            let text = random.text(length);
            let mut payload = Vec::new();
            let number = random.below(10) as u8;
            codec.compress_detached(number, 15, &text, &mut payload);
            if random.below(4) == 0 {
                // A message that goes on after a final block.
                payload[0] |= 1;
                payload.extend([0x00, 0x00, 0xff, 0xff]);
                payload.extend_from_slice(&payload.clone());
                payload.push(0);
            }
            for _ in 0..random.below(3) {
                let index = random.below(payload.len());
                match random.below(3) {
                    0 => payload[index] ^= 1 << random.below(8),
                    1 => payload.truncate(index),
                    _ => payload.insert(index, random.below(256) as u8),
                }
                if payload.is_empty() {
                    break;
                }
            }
            let expected = StrictInflate::new(32_768).message(&payload);
            let mut context = DeflateContext::new(params(15, true), true, &level(6));
            let mut output = Vec::new();
            let outcome = codec.decompress(&mut context, &payload, &mut output, 1 << 20);
            let parts = in_parts(&mut codec, &mut context, &payload, 1 << 20, |most| {
                random.below(most + 1)
            });
            assert_eq!(parts.as_ref().err(), outcome.as_ref().err(), "{payload:02x?}");
            match expected {
                Ok(text) => {
                    assert_eq!(outcome, Ok(()), "{payload:02x?}");
                    assert!(output == text && parts == Ok(text), "{payload:02x?}");
                    good += 1;
                }
                Err(reason) => {
                    assert_eq!(outcome, Err(InflateError::Corrupt), "{reason} {payload:02x?}");
                    bad += 1;
                }
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} {bad}");
    }

    // req: D030
    #[test]
    fn without_takeover_every_message_stands_alone() {
        let mut codec = Codec::new();
        let mut context = DeflateContext::new(params(15, true), true, &level(6));
        let mut first = Vec::new();
        for _ in 0..3 {
            let mut wire = Vec::new();
            codec.compress(&mut context, b"Hello, Hello, Hello", &mut wire);
            let text = plain_inflate(&mut Decompress::new(false), &wire, 100);
            assert_eq!(text, b"Hello, Hello, Hello");
            if first.is_empty() {
                first.clone_from(&wire);
            }
            assert_eq!(wire, first);
        }
        assert_eq!(context.heap_bytes(), 0);
        // And no message is read with the window of an earlier one.
        let mut output = Vec::new();
        codec.decompress(&mut context, &first, &mut output, 100).unwrap();
        let reference = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let outcome = codec.decompress(&mut context, &reference, &mut output, 100);
        assert_eq!(outcome, Err(InflateError::Corrupt));
        assert_eq!(output, b"Hello, Hello, Hello");
    }

    // req: D034, D035
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let mut codec = Codec::new();
        let mut context = DeflateContext::new(params(15, false), true, &level(6));
        let mut peer = DeflateContext::new(params(15, false), false, &level(6));
        for expected in
            [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x00, 0x11, 0x00, 0x00]]
        {
            let (mut wire, mut text) = (Vec::new(), b"kept".to_vec());
            codec.compress(&mut context, b"Hello", &mut wire);
            assert_eq!(wire, expected);
            codec.decompress(&mut peer, &wire, &mut text, 5).unwrap();
            assert_eq!(text, b"keptHello");
            wire.clear();
            codec.compress(&mut context, b"", &mut wire);
            assert_eq!(wire, [0x00]);
            codec.decompress(&mut peer, &wire, &mut text, 0).unwrap();
            codec.decompress(&mut peer, b"", &mut text, 0).unwrap();
        }
    }

    // req: D036
    #[test]
    fn a_bomb_stops_at_the_limit() {
        // One mebibyte on the wire, one gibibyte of plain text.
        let mut compress = Compress::new(Compression::best(), false);
        let unit = plain_deflate(&mut compress, &vec![0; 1 << 20]);
        let unit = [&unit[..], &TAIL].concat();
        let mut bomb = unit.repeat((1 << 20) / unit.len());
        bomb.push(0);
        let mut codec = Codec::new();
        for forget in [true, false] {
            let mut context = DeflateContext::new(params(15, forget), true, &level(6));
            // As the first message, and as one among others.
            for limit in [0, 1, 1 << 16, 1_000_000] {
                let mut output = Vec::new();
                let outcome = codec.decompress(&mut context, &bomb, &mut output, limit);
                assert_eq!(outcome, Err(InflateError::TooBig));
                assert!(output.is_empty() && output.capacity() <= limit);
            }
        }
    }

    // req: D036
    #[test]
    fn the_limit_is_inclusive() {
        let mut codec = Codec::new();
        for length in [1, 100, 32_767, 32_768, 32_769, 65_536, 100_000] {
            let mut random = Random(length as u64);
            let text = random.text(length);
            let mut wire = Vec::new();
            codec.compress_detached(6, 15, &text, &mut wire);
            let mut context = DeflateContext::new(params(15, true), true, &level(6));
            let mut output = Vec::new();
            let below = codec.decompress(&mut context, &wire, &mut output, length - 1);
            assert_eq!(below, Err(InflateError::TooBig));
            codec.decompress(&mut context, &wire, &mut output, length).unwrap();
            assert!(output == text);
        }
    }

    // req: D032
    #[test]
    fn no_truncation_and_no_noise_does_harm() {
        let mut random = Random(99);
        let mut codec = Codec::new();
        let config = level(6);
        let mut wire = Vec::new();
        let text = [random.text(300), random.text(300)].concat();
        codec.compress_detached(6, 15, &text, &mut wire);
        for end in 0..wire.len() {
            for flip in [0, 1, 0x80] {
                let mut payload = wire[..end].to_vec();
                if let Some(byte) = payload.last_mut() {
                    *byte ^= flip;
                }
                let mut context = DeflateContext::new(params(15, false), true, &config);
                let mut output = Vec::new();
                let outcome = codec.decompress(&mut context, &payload, &mut output, 10_000);
                assert!(outcome.is_ok() || output.is_empty());
                assert!(flip != 0 || end == 0 || outcome == Err(InflateError::Corrupt));
            }
        }
        for _ in 0..5000 {
            let length = random.below(60);
            let noise: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            let mut context = DeflateContext::new(params(8, false), true, &config);
            for _ in 0..2 {
                let mut output = Vec::new();
                let _ = codec.decompress(&mut context, &noise, &mut output, 1000);
                assert!(output.len() <= 1000 && output.capacity() <= 1000);
            }
        }
        // None of this has spoiled the codec for others.
        let mut context = DeflateContext::new(params(15, false), true, &config);
        let mut output = Vec::new();
        codec.decompress(&mut context, &wire, &mut output, 10_000).unwrap();
        assert!(output == text);
    }

    // req: D030
    #[test]
    fn connections_without_takeover_share_a_compressor() {
        let mut codec = Codec::new();
        let mut contexts = [(); 3].map(|()| DeflateContext::new(params(15, true), true, &level(6)));
        for context in &mut contexts {
            codec.compress(context, b"Hello", &mut Vec::new());
        }
        assert!(format!("{codec:?}").contains("live: 1,"), "{codec:?}");
    }

    #[test]
    fn few_decompressors_are_kept_for_the_next_message() {
        let mut codec = Codec::new();
        let context = DeflateContext::new(params(15, true), true, &level(6));
        let messages = [(); 3].map(|()| codec.begin_decompression(&context, 0));
        for (message, kept) in messages.into_iter().zip([1, 2, 2]) {
            codec.finish_decompression(message).unwrap();
            assert_eq!(codec.idle.len(), kept);
        }
    }

    // req: D027
    #[test]
    fn noise_hardly_grows() {
        let mut codec = Codec::new();
        let mut random = Random(3);
        let noise: Vec<u8> = (0..1 << 18).map(|_| random.below(256) as u8).collect();
        for level in 0..=9 {
            let mut wire = Vec::new();
            codec.compress_detached(level, 15, &noise, &mut wire);
            assert!(wire.len() <= noise.len() + 5 * 5 + 1, "level {level}");
        }
    }

    // req: D032
    #[test]
    fn an_idle_connection_is_small() {
        let mut codec = Codec::new();
        let mut context = DeflateContext::new(params(15, false), true, &level(6));
        let text = Random(5).text(1024);
        let (mut wire, mut output) = (Vec::new(), Vec::new());
        codec.compress(&mut context, &text, &mut wire);
        codec.decompress(&mut context, &wire, &mut output, 1024).unwrap();
        assert_eq!(context.heap_bytes(), 2048);
        assert!(size_of::<DeflateContext>() <= 128);
        for _ in 0..200 {
            codec.compress(&mut context, &text, &mut wire);
            context.note_sent(&text);
        }
        assert!(context.heap_bytes() <= 12 * 1024 + 1024);
    }

    #[test]
    fn a_codec_may_move_to_another_thread() {
        const fn is_send<T: Send>() {}
        is_send::<Codec>();
        is_send::<DeflateContext>();
        assert!(format!("{:?}", Codec::default()).contains("live"));
    }

    // req: D030, D031, D032
    #[test]
    fn a_connection_may_change_its_codec() {
        let mut codecs = [Codec::new(), Codec::new()];
        let mut context = DeflateContext::new(params(12, false), true, &level(9));
        let mut receiver = StrictInflate::new(4096);
        let mut random = Random(11);
        for _ in 0..40 {
            let text = random.text(3000);
            let mut wire = Vec::new();
            codecs[random.below(2)].compress(&mut context, &text, &mut wire);
            assert!(receiver.message(&wire) == Ok(text));
        }
    }
}
