//! The claims of an access token (RFC 9068 §2.2), as Keepgate issues them, and how a token's
//! payload is read into them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::json;

/// 9999-12-31T23:59:59Z: a time beyond it is no time.
const END_OF_TIME: i64 = 253_402_300_799;

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
    /// The OAuth client it was issued to (RFC 9068 §2.2); empty if the token does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
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

/// The claims of a token whose signature is good, not yet held against any expectation.
#[derive(Debug)]
pub(crate) struct Payload {
    pub claims: Claims,
    /// `nbf`, or the beginning of time.
    pub not_before: i64,
    /// How many audiences the token names; `claims.aud` is the first.
    pub audiences: usize,
}

/// `exp` of a payload that nobody has vouched for yet, to refuse by and for nothing else; `None` where
/// it is not plain.
pub(crate) fn expiry(bytes: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Expiry {
        exp: i64,
    }
    let Expiry { exp } = json::object::<Expiry>(bytes)?.fields;
    (0..=END_OF_TIME).contains(&exp).then_some(exp)
}

/// RFC 7519 §4.1.3: one audience may stand alone or in an array.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Extra {
    aud: Audience,
    nbf: Option<i64>,
}

impl Payload {
    /// Reads a payload; `None` if it is not what Keepgate issues.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut value = json::object::<serde_json::Value>(bytes)?.fields;
        let Extra { aud, nbf } = Extra::deserialize(&value).ok()?;
        let (aud, audiences) = match aud {
            Audience::One(aud) => (aud, 1),
            Audience::Many(all) => (all.first().cloned().unwrap_or_default(), all.len()),
        };
        value.as_object_mut()?.insert("aud".into(), aud.into());
        let claims: Claims = serde_json::from_value(value).ok()?;
        let times = [claims.iat, claims.exp, claims.auth_time, nbf.unwrap_or(0)];
        let in_range = times.iter().all(|time| (0..=END_OF_TIME).contains(time));
        in_range.then_some(Self { claims, not_before: nbf.unwrap_or(0), audiences })
    }
}
