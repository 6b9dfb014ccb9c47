//! permessage-deflate as the engine sees it: one type that a build without the feature can never make.

#[cfg(feature = "deflate")]
mod on {
    use crate::deflate::{
        Codec, DecompressStatus, Decompression, DeflateConfig, DeflateContext, DeflateParams,
        InflateError,
    };
    use crate::protocol::error::ProtocolError;
    use crate::protocol::state::Role;
    use crate::protocol::workspace::Workspace;

    /// The agreed compression of one connection.
    #[derive(Debug)]
    pub(in crate::protocol) struct Compression {
        params: DeflateParams,
        threshold: usize,
        context: DeflateContext,
    }

    impl Compression {
        pub(in crate::protocol) fn new(
            params: DeflateParams,
            role: Role,
            config: &DeflateConfig,
        ) -> Self {
            let context = DeflateContext::new(params, role == Role::Server, config);
            Self { params, threshold: config.threshold, context }
        }

        pub(in crate::protocol) fn params(&self) -> DeflateParams {
            self.params
        }

        /// Below how many bytes a message is sent as it is.
        pub(in crate::protocol) fn threshold(&self) -> usize {
            self.threshold
        }

        /// Inflates a whole message of at most `limit` bytes. `None` if its text is longer than `room`, or
        /// than the budget: then nothing has happened.
        pub(in crate::protocol) fn inflate_whole(
            &mut self,
            payload: &[u8],
            room: usize,
            limit: usize,
            workspace: &mut Workspace,
        ) -> Result<Option<Vec<u8>>, ProtocolError> {
            let room = room.min(workspace.codec_budget().unwrap_or(usize::MAX));
            if room == 0 {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            let outcome =
                workspace.codec.decompress(&mut self.context, payload, &mut bytes, room.min(limit));
            match outcome {
                Ok(()) => {
                    workspace.metrics.inflated.add(bytes.len(), payload.len());
                    workspace.spend(payload.len() + bytes.len());
                    Ok(Some(bytes))
                }
                Err(InflateError::TooBig) if room < limit => {
                    workspace.spend(room);
                    Ok(None)
                }
                Err(error) => Err(protocol_error(error, limit)),
            }
        }

        /// Begins to inflate a message of at most `limit` bytes whose payload comes in parts.
        pub(in crate::protocol) fn begin_inflation(
            &self,
            workspace: &mut Workspace,
            limit: usize,
        ) -> Inflation {
            let message = workspace.codec.begin_decompression(&self.context, limit);
            Inflation { message, limit }
        }

        /// Appends text of the next part, `room` bytes at the most, and cuts off of `wire` what it has
        /// read: whether there may be more text of that. If it fails, the text before the fault is there.
        pub(in crate::protocol) fn inflate(
            &mut self,
            inflation: &mut Inflation,
            wire: &mut &[u8],
            output: &mut Vec<u8>,
            room: usize,
            workspace: &mut Workspace,
        ) -> Result<bool, ProtocolError> {
            let Inflation { message, limit } = inflation;
            let (context, before) = (&mut self.context, (output.len(), wire.len()));
            let status = workspace.codec.decompress_part(message, context, wire, output, room);
            let (plain, read) = (output.len() - before.0, before.1 - wire.len());
            workspace.metrics.inflated.add(plain, read);
            workspace.spend(plain + read);
            match status {
                Ok(status) => Ok(status == DecompressStatus::OutputFull),
                Err(error) => Err(protocol_error(error, *limit)),
            }
        }

        /// Checks that the message is whole.
        pub(in crate::protocol) fn finish_inflation(
            &self,
            inflation: Inflation,
            workspace: &mut Workspace,
        ) -> Result<(), ProtocolError> {
            let Inflation { message, limit } = inflation;
            let outcome = workspace.codec.finish_decompression(message);
            outcome.map_err(|error| protocol_error(error, limit))
        }

        /// Compresses a whole message, or the end of one, into `output`.
        pub(in crate::protocol) fn compress(
            &mut self,
            payload: &[u8],
            output: &mut Vec<u8>,
            workspace: &mut Workspace,
        ) {
            let before = output.len();
            workspace.codec.compress(&mut self.context, payload, output);
            workspace.metrics.deflated.add(payload.len(), output.len() - before);
            workspace.spend(payload.len());
        }

        /// Compresses a part of a message that others follow into `output`.
        pub(in crate::protocol) fn compress_part(
            &mut self,
            part: &[u8],
            output: &mut Vec<u8>,
            workspace: &mut Workspace,
        ) {
            let before = output.len();
            workspace.codec.compress_part(&mut self.context, part, output);
            workspace.metrics.deflated.add(part.len(), output.len() - before);
            workspace.spend(part.len());
        }

        /// Compresses a message without reference to earlier ones, so that the result serves all
        /// connections with the same window. [`note_sent`](Self::note_sent) must follow on each.
        pub(in crate::protocol) fn compress_detached(
            &self,
            codec: &mut Codec,
            payload: &[u8],
        ) -> Vec<u8> {
            let mut bytes = Vec::new();
            let (level, bits) = (self.context.level(), self.context.window_bits());
            codec.compress_detached(level, bits, payload, &mut bytes);
            bytes
        }

        /// Takes note of a message that was compressed elsewhere and sent on this connection.
        pub(in crate::protocol) fn note_sent(&mut self, payload: &[u8]) {
            self.context.note_sent(payload);
        }
    }

    /// A compressed message that is being inflated as it comes.
    #[derive(Debug)]
    pub(in crate::protocol) struct Inflation {
        message: Decompression,
        limit: usize,
    }

    fn protocol_error(error: InflateError, limit: usize) -> ProtocolError {
        match error {
            InflateError::TooBig => ProtocolError::MessageTooBig(limit),
            InflateError::TooManyFinalBlocks => ProtocolError::TooManyFinalBlocks,
            InflateError::Corrupt => ProtocolError::CorruptDeflate,
            InflateError::OutOfMemory(bytes) => ProtocolError::OutOfMemory(bytes),
        }
    }
}

#[cfg(not(feature = "deflate"))]
mod off {
    use crate::protocol::error::ProtocolError;
    use crate::protocol::workspace::Workspace;

    /// No compression was built in, so there is no value of this type.
    #[derive(Debug)]
    pub(in crate::protocol) enum Compression {}

    impl Compression {
        pub(in crate::protocol) fn threshold(&self) -> usize {
            match *self {}
        }

        pub(in crate::protocol) fn inflate_whole(
            &mut self,
            _: &[u8],
            _: usize,
            _: usize,
            _: &mut Workspace,
        ) -> Result<Option<Vec<u8>>, ProtocolError> {
            match *self {}
        }

        pub(in crate::protocol) fn begin_inflation(
            &self,
            _: &mut Workspace,
            _: usize,
        ) -> Inflation {
            match *self {}
        }

        pub(in crate::protocol) fn inflate(
            &mut self,
            _: &mut Inflation,
            _: &mut &[u8],
            _: &mut Vec<u8>,
            _: usize,
            _: &mut Workspace,
        ) -> Result<bool, ProtocolError> {
            match *self {}
        }

        pub(in crate::protocol) fn finish_inflation(
            &self,
            _: Inflation,
            _: &mut Workspace,
        ) -> Result<(), ProtocolError> {
            match *self {}
        }

        pub(in crate::protocol) fn compress(
            &mut self,
            _: &[u8],
            _: &mut Vec<u8>,
            _: &mut Workspace,
        ) {
            match *self {}
        }

        pub(in crate::protocol) fn compress_part(
            &mut self,
            _: &[u8],
            _: &mut Vec<u8>,
            _: &mut Workspace,
        ) {
            match *self {}
        }
    }

    /// Nobody makes one of this either.
    #[derive(Debug)]
    pub(in crate::protocol) struct Inflation;
}

#[cfg(not(feature = "deflate"))]
pub(super) use off::{Compression, Inflation};
#[cfg(feature = "deflate")]
pub(super) use on::{Compression, Inflation};

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::Compression;
    use crate::deflate::{DeflateConfig, DeflateParams};
    use crate::protocol::error::ProtocolError;
    use crate::protocol::metrics::CompressionMetrics;
    use crate::protocol::state::Role;
    use crate::protocol::workspace::Workspace;

    const PLAIN: [u8; 1000] = [b'a'; 1000];

    fn codec() -> (Compression, Workspace) {
        let config = DeflateConfig::new();
        let compression = Compression::new(DeflateParams::default(), Role::Server, &config);
        (compression, Workspace::new())
    }

    fn wire() -> Vec<u8> {
        let (mut compression, mut workspace) = codec();
        let mut wire = Vec::new();
        compression.compress(&PLAIN, &mut wire, &mut workspace);
        wire
    }

    #[test]
    fn a_message_that_is_too_much_for_the_budget_is_not_too_big() {
        let wire = wire();
        let too_big = Err(ProtocolError::MessageTooBig(999));
        let whole = Ok(Some(PLAIN.to_vec()));
        for (limit, budget, inflated, left) in [
            (1000, None, whole.clone(), None),
            (1000, Some(5000), whole.clone(), Some(4000 - wire.len())),
            (2000, Some(1000), whole, Some(0)),
            (2000, Some(999), Ok(None), Some(0)),
            (2000, Some(0), Ok(None), Some(0)),
            (999, None, too_big.clone(), None),
            (999, Some(5000), too_big.clone(), Some(5000)),
            (999, Some(999), too_big, Some(999)),
        ] {
            let (mut compression, mut workspace) = codec();
            workspace.set_codec_budget(budget);
            let came = compression.inflate_whole(&wire, usize::MAX, limit, &mut workspace);
            assert_eq!(came, inflated, "{limit}, {budget:?}");
            assert_eq!(workspace.codec_budget(), left, "{limit}, {budget:?}");
        }
    }

    #[test]
    fn work_is_counted_in_whatever_parts_it_is_done() {
        let whole = wire();
        let bytes = CompressionMetrics { plain: 1000, compressed: whole.len() as u64 };
        let (mut compression, mut workspace) = codec();
        workspace.set_codec_budget(5000);
        let mut inflation = compression.begin_inflation(&mut workspace, 1000);
        let (mut rest, mut output) = (&whole[..], b"before".to_vec());
        // There may be more text after that.
        while compression
            .inflate(&mut inflation, &mut rest, &mut output, 300, &mut workspace)
            .unwrap()
        {}
        compression.finish_inflation(inflation, &mut workspace).unwrap();
        assert_eq!(workspace.take_metrics().inflated, bytes);
        assert_eq!(workspace.codec_budget(), Some(4000 - whole.len()));

        // What stands in the buffer already is not what was compressed.
        let (mut compression, mut workspace) = codec();
        workspace.set_codec_budget(5000);
        let mut output = b"before".to_vec();
        compression.compress(&PLAIN, &mut output, &mut workspace);
        assert_eq!(workspace.take_metrics().deflated, bytes);
        let before = output.len();
        compression.compress_part(&PLAIN, &mut output, &mut workspace);
        let compressed = (output.len() - before) as u64;
        let deflated = CompressionMetrics { plain: 1000, compressed };
        assert_eq!(workspace.take_metrics().deflated, deflated);
        assert_eq!(workspace.codec_budget(), Some(3000));
    }
}
