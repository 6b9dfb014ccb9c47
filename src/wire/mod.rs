//! Bytes to values and back (RFC 6455 section 5): the frame header, masking, close codes, UTF-8.
//!
//! ```text
//!   HeaderRules ──► FrameHeader   apply_mask   CloseFrame   Utf8Validator
//! ```
//!
//! A header is judged byte by byte as it comes, by what [`HeaderRules`] say of the connection, so that a
//! fault is found where it stands, however the input was cut.
//!
//! **Invariant.** Nothing here keeps state about a connection, knows a role, or allocates what a peer
//! announces.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod append;
mod close;
mod header;
mod mask;
mod opcode;
mod utf8;

pub(crate) use append::append;
pub use close::{CloseCode, CloseFrame, CloseFrameError, MAX_CLOSE_REASON};
pub use header::{FrameHeader, HeaderError, HeaderRules, MAX_HEADER, ReservedBit};
pub use mask::apply_mask;
pub use opcode::{MAX_CONTROL_PAYLOAD, Opcode};
pub(crate) use utf8::into_text;
pub use utf8::{InvalidUtf8, Utf8Validator, validate_utf8};
