#![doc = include_str!("guide.md")]

// The names that the pages link to, which are looked up here.
#[cfg(doc)]
use super::*;

#[doc = include_str!("guide/first_server.md")]
pub mod first_server {}

#[doc = include_str!("guide/first_client.md")]
pub mod first_client {}

#[doc = include_str!("guide/side_by_side.md")]
pub mod side_by_side {}

#[doc = include_str!("guide/answers.md")]
pub mod answers {}

#[doc = include_str!("guide/rooms.md")]
pub mod rooms {}

#[doc = include_str!("guide/send_to_some.md")]
pub mod send_to_some {}

#[doc = include_str!("guide/several_endpoints.md")]
pub mod several_endpoints {}

#[doc = include_str!("guide/plain_requests.md")]
pub mod plain_requests {}

#[doc = include_str!("guide/login.md")]
pub mod login {}

#[doc = include_str!("guide/sessions.md")]
pub mod sessions {}

#[doc = include_str!("guide/dead_connections.md")]
pub mod dead_connections {}

#[doc = include_str!("guide/reconnecting.md")]
pub mod reconnecting {}

#[cfg_attr(feature = "json", doc = include_str!("guide/json.md"))]
#[cfg_attr(not(feature = "json"), doc = "This page is built with the feature `json`.")]
pub mod json {}

#[doc = include_str!("guide/binary_protocols.md")]
pub mod binary_protocols {}

#[doc = include_str!("guide/upload_and_download.md")]
pub mod upload_and_download {}

#[doc = include_str!("guide/ticks_and_timers.md")]
pub mod ticks_and_timers {}

#[doc = include_str!("guide/slow_readers.md")]
pub mod slow_readers {}

#[doc = include_str!("guide/rate_limits.md")]
pub mod rate_limits {}

#[doc = include_str!("guide/compression.md")]
pub mod compression {}

#[doc = include_str!("guide/many_threads.md")]
pub mod many_threads {}

#[doc = include_str!("guide/many_machines.md")]
pub mod many_machines {}

#[cfg_attr(feature = "tls", doc = include_str!("guide/tls.md"))]
#[cfg_attr(not(feature = "tls"), doc = "This page is built with the feature `tls`.")]
pub mod tls {}

#[doc = include_str!("guide/behind_a_proxy.md")]
pub mod behind_a_proxy {}

#[doc = include_str!("guide/beside_an_http_server.md")]
pub mod beside_an_http_server {}

#[doc = include_str!("guide/deploy_and_drain.md")]
pub mod deploy_and_drain {}

#[doc = include_str!("guide/metrics.md")]
pub mod metrics {}

#[cfg_attr(feature = "log", doc = include_str!("guide/logging.md"))]
#[cfg_attr(not(feature = "log"), doc = "This page is built with the feature `log`.")]
pub mod logging {}

#[doc = include_str!("guide/security.md")]
pub mod security {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/own_loop.md")]
pub mod own_loop {}

#[doc = include_str!("guide/wasm.md")]
pub mod wasm {}

#[doc = include_str!("guide/other_languages.md")]
pub mod other_languages {}

#[doc = include_str!("guide/from_ws.md")]
pub mod from_ws {}

#[doc = include_str!("guide/from_uwebsockets.md")]
pub mod from_uwebsockets {}

#[doc = include_str!("guide/from_socket_io.md")]
pub mod from_socket_io {}

#[doc = include_str!("guide/from_tungstenite.md")]
pub mod from_tungstenite {}

#[doc = include_str!("guide/from_express_ws.md")]
pub mod from_express_ws {}

#[doc = include_str!("guide/from_vite.md")]
pub mod from_vite {}
