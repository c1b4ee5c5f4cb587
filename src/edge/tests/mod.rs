//! The edge, end to end in one process: TLS clients, real sockets, real upstreams on port 0.

mod answers;
mod bodies;
mod callers;
mod connections;
mod cors;
mod cutting;
mod forwarding;
pub mod harness;
mod hostile;
pub mod plans;
mod rates;
mod trailers;
mod upgrades;
mod upstreams;
