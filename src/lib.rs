//! Keepgate: the map of the house, in the order a request meets it.
//!
//! `edge` accepts and guards a request and either proxies it or hands it to `api`, the HTTP face of
//! `auth` and `users`; every command there commits a bundle to `store` with its `audit` event. `app` wires the
//! parts together, `cli` starts them. `model` and `config` are the words they share, `observe`
//! what they tell the operator, `files` how the small files are written. `docs/architecture.md` walks through it.

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod config;
pub mod edge;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod model;
pub mod observe;
pub mod store;
pub mod users;
