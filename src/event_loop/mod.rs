//! Sockets, clocks and entropy: the mio loop that drives connections.

mod core;
#[allow(clippy::module_inception, reason = "the loop is what the module is about")]
mod event_loop;
mod handle;
mod handler;
mod peer;
mod server;
mod slots;
mod timers;
mod transport;

pub use event_loop::EventLoop;
pub use handle::Handle;
pub use handler::{Decision, Handler};
pub use peer::{Peer, Sent};
pub use server::{Server, serve};
pub use slots::PeerId;
