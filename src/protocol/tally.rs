use super::message::MessageKind;

/// What connections have done with the workspace that they were lent, since somebody last took note.
///
/// It lies where they all pass, so that counting costs an addition, and an idle connection no room.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whole messages that were queued, by [`MessageKind`].
    pub(crate) sent: [u64; 2],
    /// Whether there is anything in `rare`.
    pub(crate) is_rare: bool,
    pub(crate) rare: RareTally,
}

/// What a plain message does not change.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "mio"), allow(dead_code, reason = "only the event loop reads it"))]
pub(crate) struct RareTally {
    pub(crate) pings_sent: u64,
    pub(crate) pongs_sent: u64,
    pub(crate) inflated: Squeezed,
    pub(crate) deflated: Squeezed,
    /// How often an output has reached its high water mark.
    pub(crate) backpressure: u64,
}

/// The payloads of compressed messages, in bytes.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "mio"), allow(dead_code, reason = "only the event loop reads it"))]
pub(crate) struct Squeezed {
    pub(crate) plain: u64,
    pub(crate) compressed: u64,
}

#[cfg(feature = "deflate")]
impl Squeezed {
    #[inline]
    pub(crate) fn add(&mut self, plain: usize, compressed: usize) {
        self.plain += plain as u64;
        self.compressed += compressed as u64;
    }
}

impl Tally {
    #[inline]
    pub(super) fn note_sent(&mut self, kind: MessageKind) {
        self.sent[kind as usize] += 1;
    }

    pub(crate) fn rare(&mut self) -> &mut RareTally {
        self.is_rare |= true;
        &mut self.rare
    }
}
