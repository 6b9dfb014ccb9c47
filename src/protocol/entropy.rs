use std::fmt;

/// A source of masking keys and nonces.
///
/// RFC 6455 section 5.3 wants masking keys from "a strong source of entropy": a predictable one lets a
/// page choose the bytes on the wire and poison caches (section 10.3). Outside tests use
/// `SystemEntropy`, of the feature `getrandom`.
#[doc(alias("generateMask", "random"))]
pub trait Entropy {
    /// Fills `bytes` with unpredictable bytes.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy to be had; nothing is sent then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

impl<F: FnMut(&mut [u8])> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self(bytes);
        Ok(())
    }
}

/// The source of entropy failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source of entropy for masking keys failed")
    }
}

impl std::error::Error for EntropyError {}

/// The operating system's entropy, drawn a block at a time so that a frame costs no system call.
#[cfg(feature = "getrandom")]
pub struct SystemEntropy {
    block: Box<[u8; Self::BLOCK]>,
    used: usize,
}

#[cfg(feature = "getrandom")]
impl SystemEntropy {
    const BLOCK: usize = 1024;

    /// A source that draws its first block when it is first used.
    pub fn new() -> Self {
        Self { block: Box::new([0; Self::BLOCK]), used: Self::BLOCK }
    }
}

#[cfg(feature = "getrandom")]
impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "getrandom")]
impl fmt::Debug for SystemEntropy {
    /// Tells nothing of the block: it holds the masking keys to come.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemEntropy").finish_non_exhaustive()
    }
}

#[cfg(feature = "getrandom")]
impl Entropy for SystemEntropy {
    #[inline]
    fn fill(&mut self, mut bytes: &mut [u8]) -> Result<(), EntropyError> {
        while !bytes.is_empty() {
            if self.used == Self::BLOCK {
                getrandom::fill(&mut self.block[..]).map_err(|_| EntropyError)?;
                self.used = 0;
            }
            let fresh = &self.block[self.used..];
            let count = fresh.len().min(bytes.len());
            let (now, later) = bytes.split_at_mut(count);
            now.copy_from_slice(&fresh[..count]);
            self.used += count;
            bytes = later;
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "getrandom"))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    // req: W065, W013
    #[test]
    fn keys_do_not_repeat_and_every_byte_value_is_as_likely() {
        let mut entropy = SystemEntropy::new();
        let mut counts = [[0u32; 256]; 4];
        let mut keys = HashSet::new();
        let total = 100_000;
        for _ in 0..total {
            let mut key = [0; 4];
            entropy.fill(&mut key).unwrap();
            keys.insert(key);
            for (count, byte) in counts.iter_mut().zip(key) {
                count[usize::from(byte)] += 1;
            }
        }
        // About 1.2 birthdays are to be expected among 2^32 keys.
        assert!(keys.len() > total - 50);
        for count in counts {
            let mean = total as f64 / 256.0;
            let chi: f64 = count.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
            assert!(chi < 450.0, "chi-square {chi} over 255 degrees of freedom");
        }
    }

    #[test]
    fn requests_longer_than_a_block_are_filled() {
        let mut bytes = vec![0; 5000];
        SystemEntropy::new().fill(&mut bytes).unwrap();
        assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
    }
}
