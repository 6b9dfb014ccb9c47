//! What the tests share.

pub(crate) mod chunks;
pub(crate) mod frames;
pub(crate) mod pair;
pub(crate) mod script;
