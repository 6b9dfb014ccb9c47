/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame carries (RFC 6455 section 5.2).
///
/// The eleven values that the RFC reserves have no variant: a header that carries one cannot be
/// built, and [`Opcode::from_u8`] answers `None`.
#[allow(
    clippy::exhaustive_enums,
    reason = "RFC 6455 fixes the set; an extension would be a new RFC"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of the message that an earlier frame began.
    Continuation = 0,
    /// The first or only frame of a UTF-8 message.
    Text = 1,
    /// The first or only frame of a binary message.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// A request for a [`Pong`](Self::Pong).
    Ping = 9,
    /// The answer to a [`Ping`](Self::Ping), or a one-way heartbeat.
    Pong = 10,
}

impl Opcode {
    /// The opcode with this number, or `None` where RFC 6455 section 5.2 reserves it.
    ///
    /// ```
    /// use framewire::wire::Opcode;
    /// assert_eq!(Opcode::from_u8(9), Some(Opcode::Ping));
    /// assert_eq!(Opcode::from_u8(3), None);
    /// ```
    #[must_use]
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// The number on the wire.
    #[must_use]
    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether this is Close, Ping or Pong (RFC 6455 section 5.5).
    #[must_use]
    #[inline]
    pub const fn is_control(self) -> bool {
        self.as_u8() & 0x8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: W061
    #[test]
    fn every_number_is_an_opcode_or_reserved() {
        for number in 0..=255u8 {
            match Opcode::from_u8(number) {
                Some(opcode) => {
                    assert_eq!(opcode.as_u8(), number);
                    assert_eq!(opcode.is_control(), (8..=10).contains(&number));
                }
                None => assert!(matches!(number, 3..=7 | 11..)),
            }
        }
    }
}
