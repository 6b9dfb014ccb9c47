//! What a client finds wrong with the parameters of permessage-deflate that a server has chosen.

use std::error::Error;
use std::fmt;

/// The server's answer does not fit what was offered (RFC 7692 section 7). The client has to fail
/// the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeflateError {
    /// More than one permessage-deflate in the answer (RFC 7692 section 5).
    Repeated,
    /// A parameter that RFC 7692 section 7.1 does not define.
    UnknownParameter,
    /// A value that the parameter cannot have, or none where one is required (RFC 7692 section 7.1).
    InvalidParameter,
    /// A parameter that is given twice (RFC 7692 section 7).
    RepeatedParameter,
    /// A window larger than the one that was offered (RFC 7692 section 7.1.2).
    WindowTooLarge,
}

impl fmt::Display for DeflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "permessage-deflate was answered more than once",
            Self::UnknownParameter => "unknown permessage-deflate parameter",
            Self::InvalidParameter => "invalid value of a permessage-deflate parameter",
            Self::RepeatedParameter => "repeated permessage-deflate parameter",
            Self::WindowTooLarge => "permessage-deflate window larger than offered",
        })
    }
}

impl Error for DeflateError {}
