//! `[store]`: the journal and its views.

use std::time::Duration;

/// Sizes and intervals of the embedded stores.
#[derive(Clone, Debug)]
pub struct Store {
    /// Size of one journal segment, bytes.
    pub segment_bytes: u64,
    /// Longest time between checkpoints of the views.
    pub checkpoint_every: Duration,
    /// Sessions kept in memory.
    pub session_cache: u64,
    /// Room on the data folder's disk below which the node warns, bytes.
    pub warn_free: u64,
    /// Room below which it takes only what ends access, bytes; below a quarter of it, nothing.
    pub stop_free: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            checkpoint_every: Duration::from_secs(30),
            session_cache: 100_000,
            warn_free: 1024 * 1024 * 1024,
            stop_free: 256 * 1024 * 1024,
        }
    }
}
