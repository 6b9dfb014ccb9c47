//! One connection over one transport: what the event loop and the blocking client have in common. They are two
//! ways to wait in between.

mod budget;
mod driver;
#[cfg(all(test, feature = "mio"))]
pub(crate) mod faults;
mod inbox;
mod non_blocking;
#[cfg(feature = "mio")]
pub(crate) mod tcp;
pub(crate) mod transport;

pub use budget::Budget;
pub use driver::Driver;
pub use inbox::Inbox;
pub use non_blocking::NonBlocking;
pub use transport::{Stopped, Transport};
