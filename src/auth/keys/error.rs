//! What can go wrong with signing keys, in words for the operator who has to mend it.

use crate::model::key::KeyId;
use crate::model::time::Timestamp;
use crate::store::error::{CommitError, StoreError};

/// A command on the signing keys was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The master key at hand is not the one that this signing key was sealed with, or the stored
    /// key was changed.
    #[error(
        "signing key {0} could not be opened: the master key is not the one it was sealed with, or the \
         stored key was changed. Bring back the master key (`keys.master_key`, or `master.key` in the data \
         folder) that belongs to this data"
    )]
    Sealed(KeyId),
    /// There is no such key.
    #[error("there is no signing key {0}: `key list` shows them")]
    Unknown(KeyId),
    /// It is retired already.
    #[error("signing key {0} is retired already")]
    AlreadyRetired(KeyId),
    /// The key that signs cannot just stop.
    #[error(
        "signing key {0} is the one that signs: `key rotate` replaces it; if it leaked, retire it with --compromised"
    )]
    Signing(KeyId),
    /// Verifiers may not have heard of the next key yet.
    #[error(
        "the next signing key {id} was published only at {published_at}: verifiers that cache the JWKS may not \
         know it before {ready_at}. Wait until then, or force the rotation"
    )]
    TooYoung {
        /// The next key.
        id: KeyId,
        /// When it was published.
        published_at: Timestamp,
        /// When every verifier knows it.
        ready_at: Timestamp,
    },
    /// A key could not be made or sealed.
    #[error("a signing key could not be made")]
    Generation,
    /// No key can sign now.
    #[error("no signing key is active")]
    NoActiveKey,
    /// The keys could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl KeyError {
    /// A stable word for audit events, where the command was refused by a rule.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sealed(_) => "sealed",
            Self::Unknown(_) => "unknown_key",
            Self::AlreadyRetired(_) => "already_retired",
            Self::Signing(_) => "signing_key",
            Self::TooYoung { .. } => "next_key_too_young",
            Self::Generation => "generation_failed",
            Self::NoActiveKey => "no_active_key",
            Self::Store(_) => "store",
            Self::Commit(_) => "commit",
        }
    }

    /// Whether a rule refused the command, rather than something having failed.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::AlreadyRetired(_) | Self::Signing(_) | Self::TooYoung { .. })
    }
}
