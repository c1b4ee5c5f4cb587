//! `[accounts]`: who may register, and what a password must be.

use std::time::Duration;

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever has an invitation.
    Invite,
    /// Nobody; administrators create accounts. The default.
    #[default]
    Closed,
}

/// Accounts and their passwords' policy (NIST SP 800-63B-4 §3.1.1: length, not composition).
#[derive(Clone, Debug)]
pub struct Accounts {
    /// `registration`
    pub registration: Registration,
    /// Shortest password, in characters.
    pub password_min_length: usize,
    /// Longest password, in characters (at least 64 by NIST).
    pub password_max_length: usize,
    /// How long an invitation is good.
    pub invite_ttl: Duration,
    /// Sessions one account may have at once; a login past it ends the least recently used.
    pub sessions_per_account: usize,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            registration: Registration::Closed,
            password_min_length: 12,
            password_max_length: 256,
            invite_ttl: Duration::from_secs(7 * 24 * 3600),
            sessions_per_account: 100,
        }
    }
}
