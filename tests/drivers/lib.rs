//! The drivers of framewire once more, in a crate of their own: the event loop, the client and TLS compile
//! here as long as they use of the engine what is public. So anybody can write a driver like them.

pub mod wire {
    pub use framewire::wire::*;
}

pub mod handshake {
    pub use framewire::handshake::*;
}

pub mod deflate {
    pub use framewire::deflate::*;
}

/// What the engine shows of itself stands at the root of the crate.
pub mod protocol {
    pub use framewire::*;
}

#[path = "../../src/client/mod.rs"]
pub mod client;
#[path = "../../src/event_loop/mod.rs"]
pub mod event_loop;
#[path = "../../src/io/mod.rs"]
pub mod io;
#[path = "../../src/tls/mod.rs"]
pub mod tls;
