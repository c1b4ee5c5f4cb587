//! One revocation, as the feed carries it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
