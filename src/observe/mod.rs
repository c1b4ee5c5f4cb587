//! What Keepgate tells its operator: logs, metrics, health, and the listener that answers for them.
//! It decides nothing and is read by people and machines outside the request path.

pub mod daily;
pub mod encode;
pub mod exposition;
pub mod files;
pub mod gathered;
pub mod health;
pub mod histogram;
pub mod identity;
pub mod internal;
mod lines;
pub mod logging;
mod lost;
pub mod metrics;
pub mod process;
pub mod stores;
