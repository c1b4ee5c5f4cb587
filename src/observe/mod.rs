//! What Keepgate tells its operator: logs, metrics, health. It decides nothing and is read by
//! people and machines outside the request path.

pub mod metrics;
pub mod panics;
