//! Sessions. One session is one refresh-token family and one record, updated in place: the hash of
//! the current token and of the one before it are enough to tell a fresh presentation, a replay
//! within the grace window, and theft apart. The rules that decide live in `auth::sessions`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::id::{AccountId, SessionId};
use super::time::Timestamp;

/// BLAKE3 of a refresh token's secret: all that is ever stored of it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(pub [u8; 32]);

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// The token before the current one, remembered so that a replay can be told from theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Hash of the token that was exchanged.
    pub hash: TokenHash,
    /// When it was exchanged.
    pub at: Timestamp,
    /// Who exchanged it: BLAKE3 of address and user agent. Only the same client may replay.
    pub client: [u8; 16],
}

/// One live session. An ended session has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The family's id, in every token of it.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// How many times it was rotated; grows by one with each.
    pub generation: u64,
    /// Hash of the one live refresh token.
    pub current: TokenHash,
    /// The token exchanged for it, if any.
    pub previous: Option<Rotated>,
    /// Mixed into each successor token, so that none can be computed without this record.
    pub salt: [u8; 16],
    /// What the client called itself (at most 200 bytes); may be empty.
    pub device: String,
    /// Where it was last used from.
    pub address: Option<IpAddr>,
    /// How the owner authenticated (RFC 8176 values such as `pwd`).
    pub amr: Vec<String>,
    /// When the owner last proved who they are.
    pub authenticated_at: Timestamp,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last used to get an access token.
    pub used_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}
