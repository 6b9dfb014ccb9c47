//! TLS on both sides over real sockets. Certificates are made anew for each test.

mod adopt;
mod callers;
mod dial;
mod echo;
mod fairness;
mod openssl;
mod resumption;
mod support;
mod transport;
mod trust;
#[path = "../untimed.rs"]
mod untimed;
