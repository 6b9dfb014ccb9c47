#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod cluster;
mod config;
mod counters;
pub mod json;
mod listener;
mod logging;
mod node;
mod publication;
mod publisher;
mod queue;
mod scripts;
mod servers;
mod sharding;
mod shared;

pub use cluster::{Cluster, DisconnectError, Recipient};
pub use config::{ClusterError, Config, Format, History, Plain};
pub use counters::Counters;
pub use node::{Start, Subscription};
pub use publication::{Gap, Member, Position, Publication};
pub use publisher::{PublishError, Published};
