//! The integration tests: the real binary, real TLS, real files, real kills. One binary, so that it
//! links once. Each test starts what it needs on port 0 in a folder of its own.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test stops at whatever is wrong")]

mod harness;

mod acme;
mod audit_log;
mod authority;
mod bad_input;
mod bodies;
mod ca;
mod chroot;
mod cli_config;
mod cli_init;
mod cli_node;
mod cli_people;
mod cli_transfer;
mod damage;
mod disk;
mod filters;
mod flow;
mod forwarding;
mod grpc;
mod handover;
mod headers;
mod http2;
mod kill;
mod lifecycle;
mod metrics;
mod operator;
mod proxy;
mod proxy_protocol;
mod rates;
mod reload;
mod restart;
mod routing;
mod secrets;
mod sites;
mod smuggling;
mod throttle;
mod tokens;
mod upstreams;
mod users;
mod websocket;
mod zones;
