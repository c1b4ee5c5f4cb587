//! `[tokens]`: access and refresh tokens.

use std::time::Duration;

/// What tokens say and how long they live.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `iss`: an https URL without path, query or fragment (RFC 8414 §2).
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// Life of an access token: short, so that the revocation view stays small.
    pub access_ttl: Duration,
    /// Life of a refresh token that is not used.
    pub refresh_ttl: Duration,
    /// Life of a session, however often it is refreshed.
    pub session_ttl: Duration,
    /// How long the same client may present an exchanged refresh token again and get the same
    /// successor (its answer may have been lost on the way).
    pub refresh_grace: Duration,
    /// Clock difference allowed on `nbf`, `iat` and `exp`.
    pub leeway: Duration,
    /// Verified tokens remembered by the edge.
    pub cache_entries: usize,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            issuer: "https://localhost".into(),
            audience: "keepgate".into(),
            access_ttl: Duration::from_secs(600),
            refresh_ttl: Duration::from_secs(30 * 24 * 3600),
            session_ttl: Duration::from_secs(90 * 24 * 3600),
            refresh_grace: Duration::from_secs(10),
            leeway: Duration::from_secs(5),
            cache_entries: 65_536,
        }
    }
}
