//! The engine of both roles: CONNECTING, OPEN, CLOSING, CLOSED (RFC 6455).

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod assembly;
mod compression;
mod config;
mod connection;
mod deadlines;
mod entropy;
mod error;
mod event;
mod message;
mod opening;
mod output;
mod prepared;
mod receiver;
mod sender;
mod workspace;

pub use config::{Config, InvalidConfig};
pub use connection::Connection;
pub use deadlines::{Deadlines, Due, Turn};
#[cfg(feature = "getrandom")]
pub use entropy::SystemEntropy;
pub use entropy::{Entropy, EntropyError};
pub use error::{ProtocolError, ReservedBit, SendError};
pub use event::{Event, Initiator, Outcome, Role, State};
pub use message::{Fragment, Message, MessageKind};
pub use opening::Accept;
pub use output::Chunks;
pub use prepared::Prepared;
pub use sender::Compress;
pub use workspace::Workspace;
