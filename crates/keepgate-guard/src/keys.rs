//! The keys that tokens may be signed with.

/// A set of verification keys by `kid`, from a JWKS document (RFC 7517 §5).
#[derive(Debug, Default)]
pub struct KeySet {}

/// The document is not a JWKS that can be used.
#[derive(Debug, thiserror::Error)]
#[error("not a usable JWKS: {0}")]
pub struct InvalidKeySet(pub String);

impl KeySet {
    /// Reads a JWKS. Keys of kinds that are not understood are passed over (RFC 7517 §5).
    pub fn from_jwks(json: &str) -> Result<Self, InvalidKeySet> {
        let _ = json;
        todo!("guard helper")
    }

    /// Adds an HS256 key, which no JWKS may carry.
    pub fn add_hs256(&mut self, kid: &str, secret: &[u8]) {
        let _ = (kid, secret);
        todo!("guard helper")
    }
}
