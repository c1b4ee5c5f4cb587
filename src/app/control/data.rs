//! What applications keep for people, as an operator sees it; see [`super::view`].

use serde::{Deserialize, Serialize};

use crate::model::document::DocumentEntry;

/// A document without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Unique among the account's.
    pub key: String,
    /// Length of its body.
    pub bytes: u64,
    /// Grows with each write.
    pub version: u64,
    /// RFC 3339.
    pub updated_at: String,
}

impl From<&DocumentEntry> for Document {
    fn from(entry: &DocumentEntry) -> Self {
        let DocumentEntry { key, bytes, version, updated_at } = entry;
        Self { key: key.clone(), bytes: *bytes, version: *version, updated_at: updated_at.rfc3339() }
    }
}

/// A document with its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentBody {
    /// All but the body.
    #[serde(flatten)]
    pub document: Document,
    /// The JSON text, as it was written.
    pub body: String,
}
