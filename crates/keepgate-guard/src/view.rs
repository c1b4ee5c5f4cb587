//! What is revoked, in memory.

use crate::revocation::Revocation;

/// What is revoked now. Shared by one follower that applies and many verifiers that ask.
#[derive(Debug, Default)]
pub struct RevocationView {}

impl RevocationView {
    /// Takes in one revocation; taking one in twice changes nothing.
    pub fn apply(&self, revocation: &Revocation) {
        let _ = revocation;
        todo!("guard helper")
    }
}
