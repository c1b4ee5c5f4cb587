//! The edge, end to end in one process: TLS clients, real sockets, real upstreams on port 0.

mod answers;
mod bodies;
mod callers;
mod compression;
mod connections;
mod cors;
mod cutting;
mod disks;
mod forwarding;
pub mod harness;
mod hostile;
mod http2_upstreams;
mod pages;
pub mod plans;
mod rates;
mod shaping;
mod statics;
mod tls_upstreams;
mod trailers;
mod upgrades;
mod upstreams;
