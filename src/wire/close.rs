use std::fmt;
use std::str;

use super::opcode::MAX_CONTROL_PAYLOAD;
use super::utf8::validate_utf8;

/// The longest close reason, in bytes of UTF-8: a control payload less the code.
pub const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// Why a connection is closed (RFC 6455 section 7.4 and the IANA registry).
///
/// Any number can be held, since any can be received or reported;
/// [`is_sendable`](Self::is_sendable) tells which may appear in a Close frame.
#[doc(alias("close code", "status code"))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    #[doc(alias = "1000")]
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server goes down or a page is left.
    #[doc(alias = "1001")]
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    #[doc(alias = "1002")]
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: data of a type that cannot be accepted.
    #[doc(alias = "1003")]
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: a Close without a code; never on the wire.
    #[doc(alias = "1005")]
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: no Close came at all; never on the wire.
    #[doc(alias = "1006")]
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a payload inconsistent with its type, such as text that is not UTF-8.
    #[doc(alias = "1007")]
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a rule of this endpoint.
    #[doc(alias = "1008")]
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    #[doc(alias = "1009")]
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: a client misses an extension; sent by clients only.
    #[doc(alias = "1010")]
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: an unexpected condition at the server.
    #[doc(alias = "1011")]
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts (IANA).
    #[doc(alias = "1012")]
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: try again later (IANA).
    #[doc(alias = "1013")]
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got a bad answer from upstream (IANA).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed; never on the wire.
    #[doc(alias = "1015")]
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Whether the code may stand in a Close frame, in either direction: 1000 to 1003, 1007 to 1014
    /// and 3000 to 4999 (RFC 6455 section 7.4).
    ///
    /// ```
    /// use framewire::wire::CloseCode;
    /// assert!(CloseCode::NORMAL.is_sendable() && CloseCode(4999).is_sendable());
    /// assert!(!CloseCode::NO_STATUS.is_sendable() && !CloseCode(2999).is_sendable());
    /// ```
    #[must_use]
    #[inline]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

/// The body of a Close frame: a code and a reason (RFC 6455 section 5.5.1).
///
/// A Close without a body is [`CloseFrame::empty`], whose code reads 1005, as RFC 6455 section 7.1.5
/// has it reported. The reason is for logs, not for end users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Box<str>,
}

impl CloseFrame {
    /// A Close with a code and a reason of at most 123 bytes.
    ///
    /// # Errors
    ///
    /// [`CloseFrameError::InvalidCode`] where the code may not be sent,
    /// [`CloseFrameError::ReasonTooLong`].
    ///
    /// ```
    /// use framewire::wire::{CloseCode, CloseFrame};
    /// let close = CloseFrame::new(CloseCode::GOING_AWAY, "restart")?;
    /// assert_eq!((close.code(), close.reason()), (CloseCode::GOING_AWAY, "restart"));
    /// assert!(CloseFrame::new(CloseCode::NO_STATUS, "").is_err());
    /// # Ok::<(), framewire::wire::CloseFrameError>(())
    /// ```
    pub fn new(code: CloseCode, reason: &str) -> Result<Self, CloseFrameError> {
        if !code.is_sendable() {
            return Err(CloseFrameError::InvalidCode(code));
        }
        if reason.len() > MAX_CLOSE_REASON {
            return Err(CloseFrameError::ReasonTooLong(reason.len()));
        }
        Ok(Self { code, reason: reason.into() })
    }

    /// A Close without a body; its code reads [`CloseCode::NO_STATUS`].
    #[must_use]
    pub fn empty() -> Self {
        Self { code: CloseCode::NO_STATUS, reason: Box::default() }
    }

    /// Reads the payload of a received Close frame.
    ///
    /// # Errors
    ///
    /// [`CloseFrameError::TooShort`] for a single byte, [`CloseFrameError::InvalidCode`],
    /// [`CloseFrameError::InvalidUtf8`], [`CloseFrameError::ReasonTooLong`].
    pub fn decode(payload: &[u8]) -> Result<Self, CloseFrameError> {
        let Some((&code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() {
                Ok(Self::empty())
            } else {
                Err(CloseFrameError::TooShort)
            };
        };
        let code = CloseCode(u16::from_be_bytes(code));
        if !code.is_sendable() {
            return Err(CloseFrameError::InvalidCode(code));
        }
        let reason = validate_utf8(reason).map_err(|_| CloseFrameError::InvalidUtf8)?;
        Self::new(code, reason)
    }

    /// Appends the payload of this Close: nothing, or the code and the reason.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.code != CloseCode::NO_STATUS {
            out.extend_from_slice(&self.code.0.to_be_bytes());
            out.extend_from_slice(self.reason.as_bytes());
        }
    }

    /// The code; [`CloseCode::NO_STATUS`] for a Close without a body.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason, at most 123 bytes; empty if there was none.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// What is wrong with a code or a reason.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseFrameError {
    /// A body of one byte (RFC 6455 section 5.5.1).
    TooShort,
    /// A code that may not appear in a Close frame (RFC 6455 section 7.4).
    InvalidCode(CloseCode),
    /// A reason that is not UTF-8 (RFC 6455 section 8.1).
    InvalidUtf8,
    /// A reason of this many bytes, more than 123 (RFC 6455 section 5.5).
    ReasonTooLong(usize),
}

impl fmt::Display for CloseFrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("close body of one byte"),
            Self::InvalidCode(code) => write!(f, "close code {code} may not be sent"),
            Self::InvalidUtf8 => f.write_str("close reason is not UTF-8"),
            Self::ReasonTooLong(length) => {
                write!(f, "close reason of {length} bytes, more than {MAX_CLOSE_REASON}")
            }
        }
    }
}

impl std::error::Error for CloseFrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    // req: W086, W108, W109, W111
    #[test]
    fn every_code_is_accepted_or_refused_alike_in_both_directions() {
        for code in 0..=u16::MAX {
            let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(CloseFrame::new(CloseCode(code), "").is_ok(), valid);
            assert_eq!(CloseFrame::decode(&code.to_be_bytes()).is_ok(), valid);
        }
    }

    // req: W086, W087, W099, W100
    #[test]
    fn bodies_round_trip() {
        let mut out = Vec::new();
        CloseFrame::empty().encode(&mut out);
        assert!(out.is_empty());
        assert_eq!(CloseFrame::decode(&out), Ok(CloseFrame::empty()));
        assert_eq!(CloseFrame::decode(&[3]), Err(CloseFrameError::TooShort));

        let longest = "é".repeat(61) + "x";
        let close = CloseFrame::new(CloseCode::NORMAL, &longest).unwrap();
        close.encode(&mut out);
        assert_eq!((out.len(), CloseFrame::decode(&out)), (MAX_CONTROL_PAYLOAD, Ok(close)));
        let error = Err(CloseFrameError::ReasonTooLong(124));
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, &"é".repeat(62)), error);
    }

    // req: W087, W112
    #[test]
    fn reasons_that_are_not_utf8_are_refused() {
        for reason in [&b"\xff"[..], b"ok\xc3", b"\xc0\x80", b"\xed\xa0\x80"] {
            let payload = [&1000u16.to_be_bytes()[..], reason].concat();
            assert_eq!(CloseFrame::decode(&payload), Err(CloseFrameError::InvalidUtf8));
        }
    }
}
