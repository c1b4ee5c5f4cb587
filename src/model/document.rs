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
    /// Grows with each write; the `ETag`. A new document's is above every version that any document
    /// of the account ever had, so that one which was deleted and made again is not taken for itself.
    pub version: u64,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// A document without its body, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Its name.
    pub key: String,
    /// Length of its body.
    pub bytes: u64,
    /// As [`Document::version`].
    pub version: u64,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl From<&Document> for DocumentEntry {
    fn from(document: &Document) -> Self {
        let Document { key, body, version, updated_at, .. } = document;
        Self { key: key.clone(), bytes: body.len() as u64, version: *version, updated_at: *updated_at }
    }
}

/// What an account's documents come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub documents: u64,
    /// Their bodies together.
    pub bytes: u64,
    /// The highest version that any of them ever had, deleted ones included; 0 for none.
    pub last_version: u64,
}
