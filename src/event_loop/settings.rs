use std::sync::Arc;

use crate::protocol::Config;

use super::backlog::BacklogLimits;
use super::group::MAX_QUEUED;
use super::listener::ListenerFacts;
use super::rate_limit::{Rate, RateLimit};
use super::topics::TopicLimits;

/// What a server says of its loops, but for where they listen.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) max_connections: usize,
    pub(super) spare_connections: usize,
    pub(super) max_connections_per_ip: Option<usize>,
    pub(super) max_handshakes_per_ip: Option<Rate>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) keep_requests: bool,
    pub(super) topics: TopicLimits,
    pub(super) backlogs: BacklogLimits,
    pub(super) max_queued: usize,
    pub(super) on_panic: OnPanic,
    /// What connections have to know of where they came in.
    pub(super) listeners: Arc<[ListenerFacts]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::new(),
            max_connections: usize::MAX,
            spare_connections: 16,
            max_connections_per_ip: None,
            max_handshakes_per_ip: None,
            rate_limit: None,
            keep_requests: false,
            topics: TopicLimits::default(),
            backlogs: BacklogLimits::default(),
            max_queued: MAX_QUEUED,
            on_panic: OnPanic::default(),
            listeners: Arc::default(),
        }
    }
}

/// What happens when a handler panics, or a function that a [`LoopHandle`](crate::LoopHandle) has given; see
/// [`Server::on_panic`](crate::Server::on_panic).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnPanic {
    /// The panic goes on, and the loop ends with all its connections.
    #[default]
    EndLoop,
    /// The connection that the handler was called for is closed with 1011 (internal error), and the loop goes
    /// on. The handler is not called for it any more, but for
    /// [`on_close`](crate::Handler::on_close). A panic in a call that is about no connection closes none.
    CloseConnection,
}
