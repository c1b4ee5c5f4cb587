//! `[throttle]`: how fast passwords may be guessed.

use std::time::Duration;

/// Delays between password tries that fail. They are kept in memory, in a bounded table.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// Failures before the first delay: of strangers to one account together, and of each known
    /// device by itself.
    pub free: u32,
    /// The first delay; each further failure doubles it.
    pub first_delay: Duration,
    /// The longest delay, and the quiet time after which one failure is forgotten.
    pub max_delay: Duration,
    /// As `free`, for one address over all accounts.
    pub address_free: u32,
    /// As `max_delay`, for one address over all accounts.
    pub address_max_delay: Duration,
    /// Accounts, devices and addresses told apart, of each this many.
    pub entries: usize,
    /// How long a device stays known after its last login.
    pub device_ttl: Duration,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            free: 5,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30 * 60),
            address_free: 100,
            address_max_delay: Duration::from_secs(60),
            entries: 65_536,
            device_ttl: Duration::from_secs(365 * 24 * 3600),
        }
    }
}
