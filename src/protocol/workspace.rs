use std::fmt;

#[cfg(feature = "deflate")]
use crate::deflate::Codec;

use super::entropy::{Entropy, EntropyError};
use super::output::Output;
use super::spares::Spares;
use super::tally::Tally;

/// What connections that are served one after the other can share: the output buffer, the compressors
/// and the source of masking keys.
///
/// A connection makes its own when it needs one. A program with many connections
/// [lends](crate::Connection::lend) one workspace to whichever connection it is at, and
/// [reclaims](crate::Connection::reclaim) it afterwards; an idle connection then holds none of this.
#[derive(Default)]
pub struct Workspace {
    /// Empty between two connections.
    pub(super) output: Option<Box<Output>>,
    /// Room for a compressed payload on its way to the output.
    #[cfg(feature = "deflate")]
    pub(super) scratch: Vec<u8>,
    #[cfg(feature = "deflate")]
    pub(super) codec: Codec,
    pub(super) entropy: Option<Box<dyn Entropy + Send>>,
    pub(super) tally: Tally,
    keeps_spares: bool,
    pub(super) spares: Spares,
}

impl Workspace {
    /// How large an output buffer is kept from one connection to the next.
    pub(super) const OUTPUT_KEPT: usize = 1 << 20;

    /// A workspace for servers, who mask nothing and need no entropy.
    pub fn new() -> Self {
        Self::default()
    }

    /// A workspace for clients, whose masking keys come from `entropy`.
    pub fn with_entropy(entropy: impl Entropy + Send + 'static) -> Self {
        Self { entropy: Some(Box::new(entropy)), ..Self::default() }
    }

    /// Fills `bytes` from the source of entropy, the system's if no other was given.
    #[inline]
    pub(super) fn fill_entropy(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        #[cfg(feature = "getrandom")]
        let entropy = self.entropy.get_or_insert_with(|| Box::new(super::SystemEntropy::new()));
        #[cfg(not(feature = "getrandom"))]
        let entropy = self.entropy.as_mut().ok_or(EntropyError)?;
        entropy.fill(bytes)
    }

    /// One that many connections use, so that it is worth to keep buffers for them.
    #[cfg(feature = "mio")]
    pub(crate) fn of_many() -> Self {
        Self { keeps_spares: true, ..Self::default() }
    }

    /// Takes the buffer of a payload that was sent.
    pub(super) fn keep_spare(&mut self, sent: Vec<u8>) {
        if self.keeps_spares {
            self.spares.keep(sent);
        }
    }

    /// What was done with it since the last time.
    #[cfg(feature = "mio")]
    pub(crate) fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// The codec that connections with permessage-deflate share, to set its budget.
    #[cfg(feature = "deflate")]
    pub fn codec_mut(&mut self) -> &mut Codec {
        &mut self.codec
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}
