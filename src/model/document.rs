//! Application documents: one JSON value per account and key, in the user namespace.

use serde::{Deserialize, Serialize};

use super::id::AccountId;
use super::time::Timestamp;

/// One document. `(account, key)` is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Whose it is.
    pub account: AccountId,
    /// Its name among the account's documents.
    pub key: String,
    /// The JSON text as stored.
    pub body: String,
    /// Grows with each write; the `ETag`.
    pub version: u64,
    /// When it was last written.
    pub updated_at: Timestamp,
}
