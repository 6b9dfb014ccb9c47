#![doc = include_str!("guide.md")]

// The names that the guide links to.
#[cfg(doc)]
use super::*;
