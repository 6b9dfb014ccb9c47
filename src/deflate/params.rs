//! The parameters of permessage-deflate, and how they are written in a header (RFC 7692 section 7.1).

use std::fmt;

use crate::handshake::{DeflateError, Extension};

/// The parameters that both sides agreed on.
///
/// Give it to [`DeflateContext::new`](super::DeflateContext::new). Two connections with equal
/// parameters can share one compressed message, if the server forgets its window
/// ([`server_no_context_takeover`](Self::server_no_context_takeover)).
///
/// Displays as the shortest header value that says the same. The default is what a bare
/// `permessage-deflate` means.
///
/// ```
/// use framewire::deflate::DeflateParams;
///
/// let params = DeflateParams::default();
/// assert_eq!(params.server_max_window_bits(), 15);
/// assert_eq!(params.to_string(), "permessage-deflate");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) server_max_window_bits: u8,
    pub(super) client_max_window_bits: u8,
}

impl DeflateParams {
    /// What a bare `permessage-deflate` means.
    pub(super) const fn new() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
        }
    }

    /// Whether the server compresses every message on its own (RFC 7692 section 7.1.1.1).
    #[must_use]
    pub const fn server_no_context_takeover(&self) -> bool {
        self.server_no_context_takeover
    }

    /// Whether the client compresses every message on its own (RFC 7692 section 7.1.1.2).
    #[must_use]
    pub const fn client_no_context_takeover(&self) -> bool {
        self.client_no_context_takeover
    }

    /// The base-2 logarithm of the server's window, 8 to 15 (RFC 7692 section 7.1.2.1).
    #[must_use]
    pub const fn server_max_window_bits(&self) -> u8 {
        self.server_max_window_bits
    }

    /// The base-2 logarithm of the client's window, 8 to 15 (RFC 7692 section 7.1.2.2).
    #[must_use]
    pub const fn client_max_window_bits(&self) -> u8 {
        self.client_max_window_bits
    }
}

impl Default for DeflateParams {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for DeflateParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limited = |bits| (bits < MAX_WINDOW_BITS).then_some(bits);
        let header = Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: limited(self.server_max_window_bits),
            client_max_window_bits: limited(self.client_max_window_bits).map(Some),
        };
        header.fmt(f)
    }
}

/// The parameters of one header element as written: what is absent stays absent.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) server_max_window_bits: Option<u8>,
    /// `Some(None)`: present without a value.
    pub(super) client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Reads one element strictly, by the rules that offer and response share.
    pub(super) fn read(extension: &Extension) -> Result<Self, DeflateError> {
        let mut read = Self::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let repeated = match name.as_str() {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    no_value(value)?;
                    std::mem::replace(&mut read.server_no_context_takeover, true)
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    no_value(value)?;
                    std::mem::replace(&mut read.client_no_context_takeover, true)
                }
                SERVER_MAX_WINDOW_BITS => {
                    let bits = window_bits(value.ok_or(DeflateError::InvalidParameter)?)?;
                    read.server_max_window_bits.replace(bits).is_some()
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = value.map(window_bits).transpose()?;
                    read.client_max_window_bits.replace(bits).is_some()
                }
                _ => return Err(DeflateError::UnknownParameter),
            };
            if repeated {
                return Err(DeflateError::RepeatedParameter);
            }
        }
        Ok(read)
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}={bits}"),
            Some(None) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}"),
            None => Ok(()),
        }
    }
}

fn no_value(value: Option<&str>) -> Result<(), DeflateError> {
    match value {
        None => Ok(()),
        Some(_) => Err(DeflateError::InvalidParameter),
    }
}

/// A decimal from 8 to 15 without leading zeros (RFC 7692 section 7.1.2). Spelled out, because
/// `str::parse` would also take `+9` and `09`.
fn window_bits(value: &str) -> Result<u8, DeflateError> {
    Ok(match value {
        "8" => 8,
        "9" => 9,
        "10" => 10,
        "11" => 11,
        "12" => 12,
        "13" => 13,
        "14" => 14,
        "15" => 15,
        _ => return Err(DeflateError::InvalidParameter),
    })
}

/// The smallest window that RFC 7692 section 7.1.2 can express.
pub(super) const MIN_WINDOW_BITS: u8 = 8;

/// The largest window, and what an absent parameter means.
pub(super) const MAX_WINDOW_BITS: u8 = 15;

pub(super) const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";
