//! Sockets, clock and threads: the mio loop that drives connections.
//!
//! ```text
//!   Server ──handler()──► EventLoop ◄──commands── Handle (any thread)
//!                             │ a turn: tell the time, read, dispatch, write
//!                             ▼
//!        Core: Slots ── Slot: Endpoint + Socket + Session
//!                             ▲
//!   Handler ◄──── Peer ───────┘ one connection, during a call
//! ```
//!
//! mio tells of a change once. So a socket is read until it is empty, or the connection is put down for
//! the next turn; readiness for writing is asked for only while output waits. Whatever is changed during a
//! turn, by a handler or a [`Handle`], is settled at its end: written, watched, timed, or removed.
//!
//! **Invariant.** No rule of the RFC is here: the engine knows them all. What one connection does ends no
//! other and not the loop, and nothing blocks but the wait for events.

mod accepting;
mod adopting;
mod backlogs;
mod broadcasts;
mod core;
mod counters;
mod counting;
mod draining;
#[allow(clippy::module_inception, reason = "the loop is what the module is about")]
mod event_loop;
mod event_loops;
mod handle;
mod handler;
mod incoming_request;
mod latest;
mod logging;
mod loops;
mod opening;
mod orders;
mod path_pattern;
mod peer;
mod pending;
mod publishing;
mod quota;
mod refusing;
mod route;
mod routes;
mod server;
mod settle;
mod shutdown;
mod slots;
mod timers;
mod topics;
mod transport;
mod turn;

pub use adopting::AdoptedStream;
pub use backlogs::SlowConsumer;
pub use counters::{CloseCounts, Counters, HandshakeCounts, TrafficCounts};
pub use event_loop::EventLoop;
pub use event_loops::EventLoops;
pub use handle::Handle;
pub use handler::{Decision, Handler};
pub use incoming_request::IncomingRequest;
pub use path_pattern::{PathPattern, PatternError};
pub use peer::{Peer, Sent};
pub use pending::Pending;
pub use refusing::OpeningError;
pub use route::RouteId;
pub use routes::{RouteError, Routes};
pub use server::{Server, serve};
pub use shutdown::{Shutdown, ShutdownReport};
pub use slots::PeerId;
pub use topics::{Subscribed, TopicError};
