//! permessage-deflate as the engine sees it: one type that a build without the feature can never make.

#[cfg(feature = "deflate")]
mod on {
    use crate::deflate::{Codec, DeflateConfig, DeflateContext, DeflateParams, InflateError};
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
            Self { params, threshold: config.threshold(), context }
        }

        pub(in crate::protocol) fn params(&self) -> DeflateParams {
            self.params
        }

        /// Below how many bytes a message is sent as it is.
        pub(in crate::protocol) fn threshold(&self) -> usize {
            self.threshold
        }

        /// Inflates a whole message of at most `limit` bytes.
        pub(in crate::protocol) fn decompress(
            &mut self,
            workspace: &mut Workspace,
            payload: &[u8],
            limit: usize,
        ) -> Result<Vec<u8>, ProtocolError> {
            let mut bytes = Vec::new();
            match workspace.codec.decompress(&mut self.context, payload, &mut bytes, limit) {
                Ok(()) => {
                    workspace.metrics.inflated.add(bytes.len(), payload.len());
                    Ok(bytes)
                }
                Err(InflateError::TooBig) => Err(ProtocolError::MessageTooBig(limit)),
                Err(_) => Err(ProtocolError::CorruptDeflate),
            }
        }

        /// Compresses a whole message into the scratch room of the workspace and returns it.
        pub(in crate::protocol) fn compress<'w>(
            &mut self,
            workspace: &'w mut Workspace,
            payload: &[u8],
        ) -> &'w [u8] {
            workspace.scratch.clear();
            workspace.codec.compress(&mut self.context, payload, &mut workspace.scratch);
            workspace.metrics.deflated.add(payload.len(), workspace.scratch.len());
            &workspace.scratch
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

        pub(in crate::protocol) fn decompress(
            &mut self,
            _: &mut Workspace,
            _: &[u8],
            _: usize,
        ) -> Result<Vec<u8>, ProtocolError> {
            match *self {}
        }

        pub(in crate::protocol) fn compress<'w>(
            &mut self,
            _: &'w mut Workspace,
            _: &[u8],
        ) -> &'w [u8] {
            match *self {}
        }
    }
}

#[cfg(not(feature = "deflate"))]
pub(super) use off::Compression;
#[cfg(feature = "deflate")]
pub(super) use on::Compression;
