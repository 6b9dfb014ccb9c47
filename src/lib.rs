//! WebSocket (RFC 6455) and permessage-deflate (RFC 7692) from scratch in safe Rust, with no async
//! runtime.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "deflate")]
pub mod deflate;
pub mod handshake;
pub mod wire;
