//! The mio server over real sockets: every test runs a loop of its own and talks to it as a client.

mod adopt;
mod audience;
mod callers;
mod calls;
mod checks;
mod client;
mod closing;
mod counters;
mod deadlines;
mod deferred;
mod deflate;
#[path = "../deserted.rs"]
mod deserted;
mod dial;
mod drain;
mod echo;
mod ends;
mod fairness;
mod faults;
mod flow;
mod front_door;
mod handles;
mod house;
mod listening;
mod liveness;
mod opening;
mod orders;
mod peers;
mod policies;
mod rates;
mod readiness;
mod routes;
mod slow;
mod sources;
mod stopping;
mod threads;
mod timers;
mod topics;
mod transports;
mod turns;
#[path = "../untimed.rs"]
mod untimed;
