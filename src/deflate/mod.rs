//! permessage-deflate (RFC 7692): parameters and codec.

mod config;
mod params;

pub use config::{DeflateConfig, InvalidDeflateConfig};
pub use params::{DeflateError, DeflateParams, accept_offer, offer, verify_response};
