//! Bytes to measure with: the same on every machine and in every run.

mod open;
mod stream;
mod text;

pub use open::{open_client, open_endpoint, open_server, request};
pub use stream::{KEY, Stream, frame};
pub use text::{json, letters, non_ascii};
