//! What can go wrong in the stores, said so that an operator knows which store and what to do, and
//! a caller knows whether to try again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::change::Namespace;
use crate::model::unavailable::Unavailable;

/// What else a journal and a store that do not go together may be than damage.
pub(in crate::store) const COPIED: &str = "a copy of the data folder that was taken while the node ran looks like this: docs/maintenance.md has how to copy";

/// A store could not be opened or read.
#[derive(Debug, thiserror::Error, Clone)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum StoreError {
    /// Another process holds the data folder.
    #[error("{path} is in use by another process{holder}: stop it, or choose another data folder")]
    InUse { path: PathBuf, holder: String },
    /// The operating system refused.
    #[error("{what} {path}: {source}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Bytes on disk are not what was written.
    #[error("{path} is damaged at byte {offset}: {detail}. Nothing was changed; restore from a backup")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    /// The data was written by a newer Keepgate.
    #[error("the {} store has schema version {found}, this binary knows up to {known}: \
             use the newer binary that wrote it", namespace.name())]
    NewerSchema { namespace: Namespace, found: u32, known: u32 },
    /// A record kind that this binary does not know.
    #[error(
        "{path} holds a record of kind {kind}, unknown to this binary: use the newer binary that wrote it"
    )]
    NewerRecord { path: PathBuf, kind: u16 },
    /// A journal of a newer format.
    #[error(
        "{path} has journal format {found}, this binary knows up to {known}: \
             use the newer binary that wrote it"
    )]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    /// A storage engine failed.
    #[error("the {} store failed: {detail}", namespace.name())]
    Engine { namespace: Namespace, detail: String },
}

/// A bundle was not committed; nothing of it will ever be seen (but see [`Self::ReadOnly`]).
#[derive(Debug, thiserror::Error, Clone)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum CommitError {
    /// Something it had read was written meanwhile: decide again.
    #[error("what this command read was changed meanwhile")]
    Conflict,
    /// The node takes no writes: the journal or a store could not be written, or the disk is full.
    /// A bundle that was under way when that happened may turn out to be committed at the next start.
    #[error("this node is read-only: {reason}")]
    ReadOnly { reason: Arc<str> },
    /// Too many commands wait for the disk.
    #[error("too many commands wait for the disk")]
    Busy,
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// How long a client should wait when the disk or other writers are in the way.
const BRIEFLY: Duration = Duration::from_secs(1);

impl From<CommitError> for Unavailable {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict | CommitError::Busy => Self::Overloaded { retry_after: BRIEFLY },
            CommitError::ReadOnly { reason } => Self::ReadOnly { reason },
            CommitError::Closed => Self::Closing,
        }
    }
}
