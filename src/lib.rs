//! WebSocket (RFC 6455) and permessage-deflate (RFC 7692) from scratch in safe Rust, with no async
//! runtime.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "mio")]
mod client;
#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(feature = "mio")]
mod event_loop;
pub mod handshake;
mod protocol;
#[cfg(feature = "mio")]
mod pump;
#[cfg(feature = "tls")]
mod tls;
pub mod wire;

#[cfg(feature = "mio")]
pub use client::{
    Backoff, Client, ClientBuilder, ClientError, ClientReader, ClientWriter, Ending, MessageStream,
    ProxyError, Reconnecting, RedirectError, Waiting,
};
#[cfg(feature = "mio")]
pub use event_loop::{Decision, EventLoop, Handle, Handler, Peer, PeerId, Sent, Server, serve};
pub use handshake::{Request, Response};
#[cfg(feature = "getrandom")]
pub use protocol::SystemEntropy;
pub use protocol::{
    Accept, Chunks, Compress, Config, Connection, Deadlines, Due, Entropy, EntropyError, Event,
    Fragment, Initiator, InvalidConfig, Message, MessageKind, Outcome, Prepared, ProtocolError,
    ReservedBit, Role, SendError, State, Turn, Workspace,
};
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsError, TlsServer};
pub use wire::{CloseCode, CloseFrame};
