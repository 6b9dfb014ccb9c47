//! Nodes of a cluster with a real Redis. Where none is installed, each test says so and passes; `CLUSTER_REQUIRED=1` has it fail.

mod history;
mod outages;
mod presence;
mod shards;
#[cfg(all(feature = "log", feature = "tls-rustls"))]
mod tls;
mod topics;
mod world;
