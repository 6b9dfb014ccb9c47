use super::message::MessageKind;

/// What connections have done with the [`Workspace`](crate::Workspace) that they share, since somebody last
/// [took](crate::Workspace::take_metrics) these numbers.
///
/// They lie where all connections pass, so that counting costs an addition, and an idle connection no room.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metrics {
    /// Whole text messages that were queued.
    pub text_messages_sent: u64,
    /// Whole binary messages that were queued.
    pub binary_messages_sent: u64,
    /// Pings that were queued, the automatic ones among them.
    pub pings_sent: u64,
    /// Pongs that were queued, the automatic ones among them.
    pub pongs_sent: u64,
    /// The compressed messages that were received.
    pub inflated: CompressionMetrics,
    /// The messages that were compressed to be sent.
    pub deflated: CompressionMetrics,
}

/// The payloads of compressed messages, in bytes; see [`Metrics`].
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CompressionMetrics {
    /// As the application sees them.
    pub plain: u64,
    /// As they go over the wire.
    pub compressed: u64,
}

#[cfg(feature = "deflate")]
impl CompressionMetrics {
    #[inline]
    pub(super) fn add(&mut self, plain: usize, compressed: usize) {
        self.plain += plain as u64;
        self.compressed += compressed as u64;
    }
}

impl Metrics {
    #[inline]
    pub(super) fn message_sent(&mut self, kind: MessageKind) {
        match kind {
            MessageKind::Text => self.text_messages_sent += 1,
            MessageKind::Binary => self.binary_messages_sent += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_kind() {
        let mut metrics = Metrics::default();
        for kind in [MessageKind::Text, MessageKind::Binary, MessageKind::Text] {
            metrics.message_sent(kind);
        }
        assert_eq!((metrics.text_messages_sent, metrics.binary_messages_sent), (2, 1));
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn payloads_add_up() {
        let mut metrics = CompressionMetrics::default();
        metrics.add(10, 3);
        metrics.add(5, 4);
        assert_eq!(metrics, CompressionMetrics { plain: 15, compressed: 7 });
    }
}
