//! What Keepgate tells its operator: logs, health, and the listener that answers for them.

pub mod health;
pub mod internal;
pub mod logging;
