//! Words about certificates that command line and edge share.

use serde::{Deserialize, Serialize};

/// Why a certificate is revoked: those of RFC 5280 §5.3.1 that its owner may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The owner's name has changed.
    AffiliationChanged,
    /// Another has taken its place.
    Superseded,
    /// The names are no longer used.
    CessationOfOperation,
}

impl RevocationReason {
    /// All of them with their words.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("unspecified", Self::Unspecified),
        ("key-compromise", Self::KeyCompromise),
        ("affiliation-changed", Self::AffiliationChanged),
        ("superseded", Self::Superseded),
        ("cessation-of-operation", Self::CessationOfOperation),
    ];
}
