//! `[keys]`: signing keys and the master key that seals them.

use std::time::Duration;

use super::secret::SecretSource;
use crate::model::key::KeyAlgorithm;

/// Signing keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What new keys sign with.
    pub algorithm: KeyAlgorithm,
    /// How long a key signs before the next takes over; zero: only by command.
    pub rotate_every: Duration,
    /// `max-age` of the JWKS answer: how long a verifier may not know of a new key.
    pub jwks_max_age: Duration,
    /// The 256-bit master key, base64. `None`: kept in `data_dir/master.key`, made at first start.
    pub master_key: Option<SecretSource>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            algorithm: KeyAlgorithm::EdDSA,
            rotate_every: Duration::from_secs(90 * 24 * 3600),
            jwks_max_age: Duration::from_secs(300),
            master_key: None,
        }
    }
}
