//! `[passwords]`: argon2id and the budget for computing it.

use std::time::Duration;

/// The longest that `queue_timeout` may be.
pub const LONGEST_QUEUE_TIMEOUT: Duration = Duration::from_secs(60);

/// argon2id parameters (OWASP Password Storage Cheat Sheet: 19 MiB, t=2, p=1) and the hashing pool.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// Memory per hash, KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Lanes, computed one after the other.
    pub parallelism: u32,
    /// Hashing threads; 0 is half the processors, at least one. Memory is `threads × memory_kib`.
    pub threads: usize,
    /// Hashes waiting; past it logins get 503 with `Retry-After`.
    pub queue: usize,
    /// Longest wait in the queue.
    pub queue_timeout: Duration,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            threads: 0,
            queue: 256,
            queue_timeout: Duration::from_secs(5),
        }
    }
}
