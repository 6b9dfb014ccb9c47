use std::fmt;

/// Who began the closing handshake.
#[allow(clippy::exhaustive_enums, reason = "a connection has two ends")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This endpoint.
    Local,
    /// The peer.
    Remote,
}

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "this side",
            Self::Remote => "the peer",
        })
    }
}

/// Where a connection stands (RFC 6455 sections 4.1, 7.1.3 and 7.1.4).
#[allow(clippy::exhaustive_enums, reason = "RFC 6455 names exactly these four")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// A Close was sent or received, or the connection failed.
    Closing,
    /// The transport is gone.
    Closed,
}

/// Which end of the connection this is.
#[allow(clippy::exhaustive_enums, reason = "a connection has two ends")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The client, which asked for the connection and masks what it sends.
    Client,
    /// The server, which was asked for the connection.
    Server,
}
