#![doc = include_str!("guide.md")]

// The names that the guide links to.
#[cfg(doc)]
use super::*;

#[doc = include_str!("guide/behind_a_proxy.md")]
pub mod behind_a_proxy {}

#[doc = include_str!("guide/side_by_side.md")]
pub mod side_by_side {}
