//! Signing keys as the auth namespace holds them: private part sealed, life as a state.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A key's id (`kid`): the RFC 7638 thumbprint of its public part, base64url; for HS256, which has
/// none, a random one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A JWS algorithm (RFC 7518 §3.1, RFC 8037) that Keepgate signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// Ed25519: the default.
    EdDSA,
    /// P-256, for peers without Ed25519.
    ES256,
    /// RSA 2048 with PKCS#1 v1.5, for old peers.
    RS256,
    /// HMAC: whoever verifies can also sign. Only on request.
    HS256,
}

impl KeyAlgorithm {
    /// The JWS name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::HS256 => "HS256",
        }
    }
}

/// Where a key is in its life. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, so that verifiers know it before it signs.
    Next,
    /// Signs. Exactly one.
    Active,
    /// Signs no more; its tokens are still good until they expire.
    Retiring,
    /// Verifies nothing; kept so that its id is never taken again.
    Retired,
}

/// A signing key, its private part sealed with the master key (AES-256-GCM, key id and algorithm as
/// associated data).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// Its id in token headers and the JWKS.
    pub id: KeyId,
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// The public JWK as JSON; empty for HS256.
    pub public_jwk: String,
    /// Nonce, ciphertext and tag of the private part.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed state.
    pub changed_at: Timestamp,
}
