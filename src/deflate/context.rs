//! What one connection remembers between messages.

use super::compressors::{Key, Ticket};
use super::config::DeflateConfig;
use super::history::History;
use super::params::DeflateParams;

/// One connection's share of permessage-deflate: what was agreed, and what the next message may
/// refer to.
///
/// Hand it to [`Codec::compress`](super::Codec::compress) and
/// [`Codec::decompress`](super::Codec::decompress) for every compressed message of the connection,
/// in the order of the wire. It may move between codecs, even between threads.
///
/// It owns no zlib state. Without context takeover it holds no memory between messages; with it, the
/// plain text that passed: up to one and a half windows received, and up to 12 KiB sent.
#[derive(Debug)]
pub struct DeflateContext {
    pub(super) key: Key,
    /// What was sent; without context takeover, of a message under way only.
    pub(super) sent: History,
    pub(super) takes_over: bool,
    /// `None` without context takeover: there is nothing to remember.
    pub(super) received: Option<History>,
    /// How far back the peer may refer.
    pub(super) received_window: usize,
    /// The live compressor that continues from `sent`, if it still does.
    pub(super) ticket: Option<Ticket>,
    params: DeflateParams,
    threshold: usize,
}

impl DeflateContext {
    /// The context of a new connection, for the server's end of it or for the client's.
    ///
    /// `params` is what was agreed; of `config`, only the level and the threshold count here.
    ///
    /// ```
    /// use framewire::deflate::{DeflateConfig, DeflateContext, DeflateParams};
    ///
    /// let context = DeflateContext::new(DeflateParams::default(), true, &DeflateConfig::new());
    /// assert_eq!(context.heap_bytes(), 0);
    /// ```
    #[must_use]
    pub fn new(params: DeflateParams, server: bool, config: &DeflateConfig) -> Self {
        let by_server = (params.server_max_window_bits(), params.server_no_context_takeover());
        let by_client = (params.client_max_window_bits(), params.client_no_context_takeover());
        let (sends, receives) =
            if server { (by_server, by_client) } else { (by_client, by_server) };
        let key = Key::new(config.level, sends.0);
        // Level 0 makes stored blocks, which refer to nothing earlier.
        let forgets = sends.1 || config.level == 0;
        Self {
            key,
            sent: History::new(MOST_SENT.min(1 << sends.0)),
            takes_over: !forgets,
            received: (!receives.1).then(|| History::new(1 << receives.0)),
            received_window: 1 << receives.0,
            ticket: None,
            params,
            threshold: config.threshold,
        }
    }

    /// What was agreed for this connection.
    #[must_use]
    pub const fn params(&self) -> DeflateParams {
        self.params
    }

    /// Whether a message of `length` bytes is worth compressing by
    /// [`DeflateConfig::threshold`]. RFC 7692 section 6.1 allows any message to go
    /// uncompressed; that leaves the windows untouched.
    #[must_use]
    pub const fn should_compress(&self, length: usize) -> bool {
        length >= self.threshold
    }

    /// The compression level of what this end sends, for
    /// [`Codec::compress_detached`](super::Codec::compress_detached).
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.key.level()
    }

    /// The window of what this end sends, for
    /// [`Codec::compress_detached`](super::Codec::compress_detached).
    #[must_use]
    pub const fn window_bits(&self) -> u8 {
        self.key.window_bits()
    }

    /// Records that a message compressed by
    /// [`Codec::compress_detached`](super::Codec::compress_detached) was sent on this connection.
    /// Call it with the message's plain text, in its place among the other messages.
    ///
    /// With context takeover, the peer's window moves on by that text, so what this end refers to
    /// has to move with it (RFC 7692 section 7.2.2). Without, this does nothing.
    pub fn note_sent(&mut self, payload: &[u8]) {
        if self.takes_over {
            self.sent.push(payload);
            self.ticket = None;
        }
    }

    /// How many bytes this context holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.sent.capacity() + self.received.as_ref().map_or(0, History::capacity)
    }
}

/// How much sent text is kept to restore a compressor from. Restoring 32 KiB costs ten times what
/// 8 KiB cost (116 µs against 12 µs on an idle machine), more than compressing most messages do, and
/// saves few bytes. Referring to less than the window allows is always legal. A live compressor
/// still has its whole window.
const MOST_SENT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    // req: D021, D030, D033
    #[test]
    fn each_end_takes_its_own_half_of_the_parameters() {
        let params = DeflateParams {
            server_no_context_takeover: true,
            client_no_context_takeover: false,
            server_max_window_bits: 9,
            client_max_window_bits: 12,
        };
        let server = DeflateContext::new(params, true, &DeflateConfig::new().level(7).unwrap());
        let client = DeflateContext::new(params, false, &DeflateConfig::new().level(3).unwrap());
        assert_eq!((server.level(), client.level()), (7, 3));
        assert_eq!((server.window_bits(), client.window_bits()), (9, 12));
        assert!(!server.takes_over && server.received.is_some());
        assert!(client.takes_over && client.received.is_none());
        assert_eq!(server.params(), params);
    }

    // req: D025
    #[test]
    fn the_threshold_is_inclusive() {
        let config = DeflateConfig::new().threshold(10);
        let context = DeflateContext::new(DeflateParams::default(), true, &config);
        assert!(!context.should_compress(9));
        assert!(context.should_compress(10));
    }
}
