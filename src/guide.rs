#![doc = include_str!("guide.md")]

// The names that the guide links to.
#[cfg(doc)]
use super::*;

#[doc = include_str!("guide/behind_a_proxy.md")]
pub mod behind_a_proxy {}
