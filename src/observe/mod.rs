//! What Keepgate tells its operator: logs, metrics, health, and the listener that answers for them.
//! It decides nothing and is read by people and machines outside the request path.

pub mod health;
pub mod internal;
pub mod logging;
pub mod metrics;
