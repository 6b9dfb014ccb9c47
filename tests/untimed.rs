//! What the tests over sockets share, so that a machine that is busy makes them slow, and nothing else.

#![allow(dead_code, reason = "no test needs all of it")]

use std::time::Duration;

use framewire::{Client, ClientBuilder, Config, Server};

/// Longer than anything takes on the slowest machine; only a test that hangs meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The settings of a test that is about no time at all: no Ping comes, and no deadline passes while it runs.
/// There are deadlines, though, as a connection usually has them.
pub(crate) fn untimed() -> Config {
    const HOUR: Duration = Duration::from_secs(3600);
    Config::new()
        .ping_interval(None)
        .pong_timeout(HOUR)
        .handshake_timeout(HOUR)
        .rejection_timeout(HOUR)
        .decision_timeout(HOUR)
        .write_timeout(HOUR)
        .close_timeout(HOUR)
}

/// A server with these settings, on a port that the system chooses.
pub(crate) fn untimed_server() -> Server {
    Server::bind("127.0.0.1:0").unwrap().config(untimed())
}

/// A client with these settings.
pub(crate) fn untimed_client(url: &str) -> ClientBuilder {
    Client::builder(url).unwrap().config(untimed()).connect_timeout(PATIENCE)
}

/// Short deadlines first, and then longer and longer ones, for a test that wants two sides to be in time for
/// something and a deadline to pass after it: the first that they were in time for will do.
pub(crate) fn longer_and_longer() -> impl Iterator<Item = Duration> {
    (0..6).map(|number| Duration::from_millis(200) * 4_u32.pow(number))
}
