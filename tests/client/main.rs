//! The blocking client against servers and proxies, good and bad, over sockets.
//!
//! The bad ones are scripts over `std::net` in a thread of their own. Nothing sleeps to wait for
//! something, and no duration is asserted.

mod addresses;
mod answers;
mod backpressure;
mod closer;
#[path = "../deserted.rs"]
mod deserted;
mod duplex;
mod liveness;
mod proxies;
mod reconnecting;
mod redirects;
mod sending;
mod streams;
mod support;
mod unpredictable;
mod unread;
#[path = "../untimed.rs"]
mod untimed;
