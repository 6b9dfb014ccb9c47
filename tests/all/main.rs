//! The engine, tested through its public face alone.
//!
//! Most tests are scripts: see `support::script`. A line `req: …` above a test names what it shows of
//! `tests/requirements.txt`, a line `attack: …` what it withstands.

mod behaviour;
mod client;
mod clocks;
mod close;
mod control;
mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
mod draining;
mod errors;
mod exhaustive;
mod fragments;
mod framing;
mod guide;
mod handshake;
mod layers;
mod limits;
mod requests;
mod roundtrip;
mod side_by_side;
mod support;
mod traces;
mod utf8;
mod values;
#[cfg(feature = "deflate")]
mod zlib;
