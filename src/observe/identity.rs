//! What signing people in costs: hashing passwords and signing tokens. Decisions themselves are counted
//! where the audit log has them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{counter, histogram, whole};
use super::histogram::{Histogram, LATENCY};
use super::metrics::Count;
use super::stores::Level;

/// Shared by the hashing threads and whoever signs.
#[derive(Debug)]
pub struct IdentityMeters {
    /// Computing one password hash.
    pub hash: Histogram,
    /// Hashes that wait for a thread.
    pub waiting: Level,
    /// Hashes refused: too many waited, or it took too long.
    pub refused: Count,
    /// Signing one access token.
    pub sign: Histogram,
}

impl Default for IdentityMeters {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY);
        Self { hash: latency(), waiting: Level::default(), refused: Count::default(), sign: latency() }
    }
}

impl Collector for IdentityMeters {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        histogram(to, "password_hash_duration_seconds", "Computing one password hash", &self.hash)?;
        whole(to, "password_hashes_waiting", "Password hashes that wait for a thread", self.waiting.now())?;
        counter(
            to,
            "password_hashes_refused",
            "Password hashes refused by the budget",
            self.refused.total(),
        )?;
        histogram(to, "token_sign_duration_seconds", "Signing one access token", &self.sign)
    }
}
