//! What the tests share.

pub(crate) mod chunks;
pub(crate) mod frames;
pub(crate) mod pair;
pub(crate) mod script;
#[cfg(feature = "deflate")]
pub(crate) mod strict_inflate;
