//! permessage-deflate (RFC 7692): parameters and codec.
//!
//! ```text
//!   handshake                        messages
//!   accept_offer / offer /     ┌── DeflateContext ──┐  one a connection: plain-text history
//!   verify_response            │   (parked, small)  │
//!        │                     └─────────┬──────────┘
//!        └── DeflateParams ───►          ▼
//!                                Codec: one inflater, a few live compressors, shared by all
//! ```
//!
//! A zlib state is large: 371 KiB to compress, 46 KiB to decompress. So no idle connection owns one.
//! The [`Codec`] belongs to whoever drives the connections (an event loop has one for all of them) and
//! a [`DeflateContext`] belongs to a connection. With context takeover, the context remembers the
//! plain text that the next message may refer to, which is all that is needed to bring a shared
//! state back to where the connection left it.
//!
//! Payloads go in and come out whole, or by parts, between which the codec serves others:
//! [`Codec::compress_part`] ends each part between two blocks, where a compressor can be restored too;
//! a [`Decompression`] keeps its decompressor, since what a peer sends may stop in the middle of a
//! block.
//!
//! *Invariant:* nothing here names a socket, a clock or a frame. Which frame carries RSV1 is the
//! protocol layer's concern (RFC 7692 section 6).
//!
//! ```
//! use framewire::deflate::{Codec, DeflateConfig, DeflateContext, DeflateParams};
//!
//! let (config, params) = (DeflateConfig::new(), DeflateParams::default());
//! let mut codec = Codec::new();
//! let mut client = DeflateContext::new(params, false, &config);
//! let mut server = DeflateContext::new(params, true, &config);
//!
//! let (mut wire, mut text) = (Vec::new(), Vec::new());
//! codec.compress(&mut client, b"Hello", &mut wire);
//! codec.decompress(&mut server, &wire, &mut text, 1024)?;
//! assert_eq!(text, b"Hello");
//! # Ok::<(), framewire::deflate::InflateError>(())
//! ```

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod codec;
mod compressors;
mod config;
mod context;
mod history;
mod inflater;
mod negotiation;
mod params;
mod stored;
#[cfg(test)]
#[path = "../../tests/all/support/strict_inflate.rs"]
mod strict_inflate;

pub use crate::handshake::DeflateError;
pub use codec::{Codec, Decompression};
pub use config::{DeflateConfig, InvalidDeflateConfig};
pub use context::DeflateContext;
pub use inflater::{DecompressStatus, InflateError};
pub use negotiation::{accept_offer, offer, verify_response};
pub use params::DeflateParams;
