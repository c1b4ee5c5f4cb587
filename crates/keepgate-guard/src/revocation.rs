//! One revocation, as the feed carries it, and what it covers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::claims::Claims;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One access token (`jti`).
    Token(Uuid),
    /// Every token of a session (`sid`).
    Session(Uuid),
    /// Every token of an account (`sub`) that speaks of a state before the record's `seq`.
    Account(Uuid),
    /// Every token signed with a key (`kid`).
    Key(String),
    /// Every token that speaks of a state before the record's `seq`.
    Everything,
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Its position in the feed.
    pub seq: u64,
    /// What is revoked.
    pub subject: Subject,
    /// A stable word for why.
    pub cause: String,
    /// When, milliseconds since the epoch.
    pub at: i64,
    /// When every token it can affect has expired, milliseconds since the epoch.
    pub expires_at: i64,
}

impl Revocation {
    /// Whether a token with these claims, signed with the key `kid`, is revoked by this record.
    /// The definition that [`crate::view::RevocationView`] answers by, whatever its indexes.
    pub fn covers(&self, claims: &Claims, kid: &str) -> bool {
        match &self.subject {
            Subject::Token(jti) => *jti == claims.jti,
            Subject::Session(sid) => *sid == claims.sid,
            Subject::Account(sub) => *sub == claims.sub && claims.seq < self.seq,
            Subject::Key(key) => key == kid,
            Subject::Everything => claims.seq < self.seq,
        }
    }
}
