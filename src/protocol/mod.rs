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
//! argument: bytes, the time, chance ([`Entropy`]) and, where many connections take turns,
//! what they share ([`Workspace`]).
//!
//! **Invariant.** A fault of the peer is an [`Event`], and the right answer to it is in the output before
//! the event is returned; an error is the caller's, and then nothing was queued. Events and output depend
//! on the bytes that came, not on how they were cut.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod accept;
mod assembly;
mod buffer_pool;
mod cause;
mod compression;
mod config;
mod connection;
mod endpoint;
mod entropy;
mod error;
mod event;
mod message;
mod metrics;
mod opening;
mod output;
mod partial_request;
mod payload;
mod payload_buffer;
mod prepared;
mod receiver;
mod send_queue;
mod sender;
mod state;
mod subprotocols;
mod timers;
mod upgraded;
mod workspace;

pub use accept::Accept;
pub use cause::Cause;
pub use config::{Config, Fragments, InvalidConfig};
pub use connection::Connection;
pub use endpoint::Endpoint;
#[cfg(feature = "getrandom")]
pub use entropy::SystemEntropy;
pub use entropy::{Entropy, EntropyError};
pub use error::{HandshakeError, ProtocolError, SendError};
pub use event::{Event, Outcome};
#[cfg(feature = "json")]
pub use message::JsonError;
pub use message::{Fragment, Message, MessageKind, UnexpectedKind};
pub use metrics::{CompressionMetrics, Metrics};
pub use output::Chunks;
pub use partial_request::PartialRequest;
pub use payload::{Bytes, Text};
pub use payload_buffer::PayloadBuffer;
pub use prepared::Prepared;
pub use sender::{Compress, Outgoing};
pub use state::{Initiator, Role, State};
pub use timers::TimeoutKind;
pub use upgraded::Upgraded;
pub use workspace::Workspace;
