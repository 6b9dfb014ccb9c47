//! The engine of both roles: CONNECTING, OPEN, CLOSING, CLOSED (RFC 6455).
//!
//! ```text
//!             accept,   send, ping,
//!             reject    close             receive
//!                │         │                 │
//!                ▼         ▼                 ▼
//!   Connection  Opening   Sender          Receiver ──► Event
//!                │         │                 │
//!                ▼         ▼                 ▼
//!               ────────Output────────    Assembly (a message under way)
//! ```
//!
//! A [`Connection`] holds the state machine and puts the parts together; each part knows bytes and
//! settings, and no other part. [`Config`] is what is asked of them. What a driver has to bring is an
//! argument: bytes, the time ([`Deadlines`]), chance ([`Entropy`]) and, where many connections take turns,
//! what they share ([`Workspace`]).
//!
//! **Invariant.** A fault of the peer is an [`Event`], and the right answer to it is in the output before
//! the event is returned; an error is the caller's, and then nothing was queued. Events and output depend
//! on the bytes that came, not on how they were cut.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod accept;
mod assembly;
mod compression;
mod config;
mod connection;
mod deadlines;
mod entropy;
mod error;
mod event;
mod gathered;
mod message;
mod opening;
mod output;
mod prepared;
mod receiver;
mod sender;
mod spares;
mod state;
mod subprotocols;
mod tally;
mod upgraded;
mod workspace;

pub use accept::Accept;
pub use config::{Config, InvalidConfig};
pub use connection::Connection;
pub use deadlines::{Deadlines, Due, Turn};
#[cfg(feature = "getrandom")]
pub use entropy::SystemEntropy;
pub use entropy::{Entropy, EntropyError};
pub use error::{HandshakeError, ProtocolError, SendError};
pub use event::{Event, Outcome};
#[cfg(feature = "mio")]
pub(crate) use gathered::Gathered;
pub use message::{Fragment, Message, MessageKind};
pub use output::Chunks;
pub use prepared::Prepared;
pub use sender::Compress;
pub use state::{Initiator, Role, State};
#[cfg(feature = "mio")]
pub(crate) use tally::Tally;
pub use upgraded::Upgraded;
pub use workspace::Workspace;
