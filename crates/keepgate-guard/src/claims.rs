//! The claims of an access token (RFC 9068 §2.2), as Keepgate issues them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A verified token's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// This token.
    pub jti: Uuid,
    /// The journal position whose state the other claims speak of: a revocation "before" a
    /// position refuses every token with a smaller one. A private claim.
    pub seq: u64,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Expires at, seconds since the epoch.
    pub exp: i64,
    /// When the owner last proved who they are, seconds since the epoch.
    pub auth_time: i64,
    /// How (RFC 8176).
    #[serde(default)]
    pub amr: Vec<String>,
    /// The account's roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Scopes, separated by spaces (RFC 8693 §4.2); may be empty.
    #[serde(default)]
    pub scope: String,
}
