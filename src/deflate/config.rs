//! What the application asks of permessage-deflate.

use std::error::Error;
use std::fmt;

use super::params::{DeflateParams, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// How to negotiate and use permessage-deflate (RFC 7692 section 7.1).
///
/// The defaults ask nothing of the peer: context takeover both ways, windows of 32 KiB, level 6.
/// Setters that take a number check it at once, so a value of this type is always usable.
///
/// Context takeover makes small, similar messages much smaller, for up to 60 KiB of remembered
/// plain text a connection: 48 KiB received, 12 KiB sent. Smaller windows bound that further.
///
/// ```
/// use framewire::deflate::DeflateConfig;
///
/// let config = DeflateConfig::new()
///     .level(1)?
///     .client_max_window_bits(12)?
///     .threshold(256);
/// assert_eq!(config.params().client_max_window_bits(), 12);
/// assert!(DeflateConfig::new().server_max_window_bits(7).is_err());
/// # Ok::<(), framewire::deflate::InvalidDeflateConfig>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeflateConfig {
    pub(super) level: u8,
    /// What is asked of both sides; 15 bits ask nothing.
    pub(super) params: DeflateParams,
    pub(crate) threshold: usize,
}

impl DeflateConfig {
    /// The defaults: see [`DeflateConfig`].
    #[must_use]
    pub const fn new() -> Self {
        Self { level: 6, params: DeflateParams::new(), threshold: 1024 }
    }

    /// Sets the level of compression, 0 (stored) to 9 (smallest); default 6. On JSON, level 1 takes
    /// between a quarter and half of the time of level 6, for a third to two thirds more bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidDeflateConfig::Level`] above 9.
    #[doc(alias = "zlibDeflateOptions")]
    pub const fn level(mut self, level: u8) -> Result<Self, InvalidDeflateConfig> {
        if level > 9 {
            return Err(InvalidDeflateConfig::Level(level));
        }
        self.level = level;
        Ok(self)
    }

    /// Whether the server must forget its window after every message (RFC 7692 section 7.1.1.1).
    ///
    /// A server then says so unasked; a client asks for it. Without this setting, a server still
    /// does it for a client that asks.
    #[must_use]
    pub const fn server_no_context_takeover(mut self, yes: bool) -> Self {
        self.params.server_no_context_takeover = yes;
        self
    }

    /// Whether the client must forget its window after every message (RFC 7692 section 7.1.1.2).
    ///
    /// A server then demands it, which every client has to obey; a client announces and does it.
    #[must_use]
    pub const fn client_no_context_takeover(mut self, yes: bool) -> Self {
        self.params.client_no_context_takeover = yes;
        self
    }

    /// Limits the server's window to `2^bits` bytes, 8 to 15 (RFC 7692 section 7.1.2.1). 15 imposes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidDeflateConfig::WindowBits`] outside 8 to 15.
    pub const fn server_max_window_bits(mut self, bits: u8) -> Result<Self, InvalidDeflateConfig> {
        if bits < MIN_WINDOW_BITS || bits > MAX_WINDOW_BITS {
            return Err(InvalidDeflateConfig::WindowBits(bits));
        }
        self.params.server_max_window_bits = bits;
        Ok(self)
    }

    /// Limits the client's window to `2^bits` bytes, 8 to 15 (RFC 7692 section 7.1.2.2). 15 imposes
    /// nothing.
    ///
    /// A server may ask this only of a client that offers `client_max_window_bits`, as all browsers
    /// do. An offer without it cannot keep the limit and is declined: the connection opens
    /// uncompressed, and the bound on memory holds.
    ///
    /// # Errors
    ///
    /// [`InvalidDeflateConfig::WindowBits`] outside 8 to 15.
    pub const fn client_max_window_bits(mut self, bits: u8) -> Result<Self, InvalidDeflateConfig> {
        if bits < MIN_WINDOW_BITS || bits > MAX_WINDOW_BITS {
            return Err(InvalidDeflateConfig::WindowBits(bits));
        }
        self.params.client_max_window_bits = bits;
        Ok(self)
    }

    /// Sends messages shorter than `bytes` uncompressed, whatever was agreed. The default is 1024;
    /// 0 compresses everything.
    ///
    /// Small messages gain nothing on their own and cost some microseconds each. They do gain from
    /// earlier, similar ones: where context takeover is agreed and bandwidth matters, lower this.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The parameters to ask for; a window of 15 bits, the largest, asks for nothing.
    #[must_use]
    pub const fn params(&self) -> DeflateParams {
        self.params
    }
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A level or a window size that permessage-deflate does not have. Nothing was changed; correct the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidDeflateConfig {
    /// A compression level above 9.
    Level(u8),
    /// A window outside 8 to 15 bits (RFC 7692 section 7.1.2).
    WindowBits(u8),
}

impl fmt::Display for InvalidDeflateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => write!(f, "compression level {level} is not in 0 to 9"),
            Self::WindowBits(bits) => write!(f, "window of {bits} bits is not in 8 to 15"),
        }
    }
}

impl Error for InvalidDeflateConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    // req: D015, D018
    #[test]
    fn every_number_is_taken_or_refused() {
        for number in 0..=u8::MAX {
            let window = (8..=15).contains(&number);
            let config = DeflateConfig::new();
            assert_eq!(config.clone().level(number).is_ok(), number <= 9);
            assert_eq!(config.clone().server_max_window_bits(number).is_ok(), window);
            assert_eq!(config.client_max_window_bits(number).is_ok(), window);
        }
    }

    #[test]
    fn errors_say_the_number() {
        let error = DeflateConfig::new().level(10).unwrap_err();
        assert_eq!(error.to_string(), "compression level 10 is not in 0 to 9");
    }
}
