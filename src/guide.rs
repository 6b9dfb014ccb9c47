#![doc = include_str!("guide.md")]

// The names that the pages link to, which are looked up here.
#[cfg(doc)]
use super::*;

#[doc = include_str!("guide/from_ws.md")]
pub mod from_ws {}

#[doc = include_str!("guide/from_uwebsockets.md")]
pub mod from_uwebsockets {}

#[doc = include_str!("guide/from_socket_io.md")]
pub mod from_socket_io {}

#[doc = include_str!("guide/side_by_side.md")]
pub mod side_by_side {}

#[doc = include_str!("guide/send_to_some.md")]
pub mod send_to_some {}

#[doc = include_str!("guide/rooms.md")]
pub mod rooms {}

#[doc = include_str!("guide/several_endpoints.md")]
pub mod several_endpoints {}

#[doc = include_str!("guide/plain_requests.md")]
pub mod plain_requests {}

#[doc = include_str!("guide/beside_an_http_server.md")]
pub mod beside_an_http_server {}

#[doc = include_str!("guide/login.md")]
pub mod login {}

#[doc = include_str!("guide/behind_a_proxy.md")]
pub mod behind_a_proxy {}

#[doc = include_str!("guide/dead_connections.md")]
pub mod dead_connections {}

#[doc = include_str!("guide/reconnecting.md")]
pub mod reconnecting {}

#[doc = include_str!("guide/slow_readers.md")]
pub mod slow_readers {}

#[doc = include_str!("guide/rate_limits.md")]
pub mod rate_limits {}

#[doc = include_str!("guide/compression.md")]
pub mod compression {}

#[doc = include_str!("guide/deploy_and_drain.md")]
pub mod deploy_and_drain {}
