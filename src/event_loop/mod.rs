//! Sockets, clock and threads: the mio loop that drives connections.
//!
//! ```text
//!   Server ──into_event_loop──► EventLoop ◄──commands── Handle (any thread)
//!                             │ a turn: tell the time, read, dispatch, write
//!                             ▼
//!        Core: Slab ── Connection: Endpoint + Socket + Session
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

mod acceptor;
mod adopt;
mod answers;
mod application;
mod attempt;
mod audience;
mod backlog;
mod broadcast;
mod callbacks;
mod caller;
mod callers;
mod commands;
mod connection;
mod core;
mod counters;
mod deferral;
#[allow(clippy::module_inception, reason = "the loop is what the module is about")]
mod event_loop;
mod event_loops;
mod group;
mod handle;
mod handler;
mod handshake_rates;
mod host;
mod incoming_request;
mod listen_options;
mod listener;
mod logging;
mod loop_handle;
mod metrics;
mod open_counts;
mod opening_error;
mod path_pattern;
mod peer;
mod proxy_protocol;
mod queue;
mod quota;
mod rate_limit;
mod reactor;
mod readiness;
mod route;
mod route_members;
mod routes;
mod schedule;
mod selector;
mod sent;
mod server;
mod sessions;
mod settings;
mod shutdown;
#[cfg(test)]
mod simulation;
mod slab;
mod socket;
mod sources;
mod timers;
mod topics;

pub use adopt::AdoptedStream;
pub use attempt::Attempt;
pub use audience::Audience;
pub use backlog::SlowConsumer;
pub use callbacks::Callbacks;
pub use caller::Caller;
pub use counters::{CloseCounts, Counters, HandshakeCounts, TrafficCounts};
pub use deferral::{Pending, PendingAnswer};
pub use event_loop::EventLoop;
pub use event_loops::EventLoops;
pub use group::QueueFull;
pub use handle::{Handle, PeerList};
pub use handler::{Decision, Handler, HttpAnswer};
pub use incoming_request::IncomingRequest;
pub use listen_options::ListenOptions;
pub use loop_handle::LoopHandle;
pub use opening_error::OpeningError;
pub use path_pattern::{PathPattern, PatternError};
pub use peer::{Peer, Peers};
pub use proxy_protocol::ProxyProtocol;
pub use rate_limit::{RateLimit, RateLimitPolicy};
pub use route::RouteId;
pub use routes::{RouteError, Routes};
pub use schedule::{Timer, TimerId};
pub use sent::Sent;
pub use server::{CallbackServer, Server, serve};
pub use settings::OnPanic;
pub use shutdown::{Shutdown, ShutdownReport};
pub use slab::PeerId;
pub use sources::{SourceEvent, SourceId};
pub use topics::{Subscribed, TopicError};
