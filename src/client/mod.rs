//! The blocking client: connect, send, receive, close; one thread or two.

mod background;
mod backoff;
mod blocking_stream;
#[allow(clippy::module_inception, reason = "the client is what the module is about")]
mod client;
mod closer;
mod connection;
mod deadline_stream;
mod dial;
mod error;
#[cfg(all(test, target_os = "linux"))]
mod faults;
mod messages;
mod proxy;
mod reconnect;
mod reconnect_link;
mod reconnecting_writer;
mod redirect;
mod resolve;
mod sending;
mod set_cookie;
mod shared_connection;
mod socket;
mod split;
mod transport;
mod wait;
mod waker;

pub use backoff::Backoff;
pub use client::{Client, ClientBuilder, MessageReader, MessageStream, MessageWriter};
pub use closer::Closer;
pub use error::{ClientError, ClientTimeout};
pub use messages::Messages;
pub use proxy::ProxyError;
pub use reconnect::{Ending, Reconnecting};
pub use reconnecting_writer::{IfUnsent, ReconnectingWriter, Unsent};
pub use redirect::RedirectError;
#[cfg(feature = "tls")]
pub(crate) use transport::ClientStream;

pub use split::{ClientReader, ClientWriter};
