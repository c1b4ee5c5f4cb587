//! Proving the audit log. Three witnesses are heard, each of which catches what the one before
//! cannot: the chain of hashes in the log itself (`chain`), the heads that were signed with a key
//! the log's writer does not have, in the log and in a file beside it (`heads`), and the journal
//! that every event went through (`journal`).
//!
//! The log is read once from its start, in chunks; memory does not grow with it. It may be written
//! meanwhile. What is wrong with the log is a [`Finding`]; what kept us from reading it a
//! [`VerifyError`].
//!
//! What this cannot find: whoever controls the machine and removes the log, the journal and the
//! witness together leaves nothing to contradict them but a copy of the witness elsewhere.

mod chain;
pub mod finding;
mod heads;
mod journal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use chain::ChainWalk;
use finding::{Findings, Report};
use heads::HeadsWalk;
use journal::JournalWalk;

use super::head::HeadPublicKey;
use super::witness::{Entry, Reader};
use crate::model::change::{Change, LogChange};
use crate::model::event::{AuditEvent, SignedHead};
use crate::model::id::Seq;
use crate::store::bundle::Committed;
use crate::store::error::StoreError;
use crate::store::namespace::{LogRecord, LogStore};

const CHUNK: usize = 512;

/// The log could not be read to its end, so nothing is proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A store could not be read.
    #[error("the audit log cannot be proven: {0}")]
    Store(#[from] StoreError),
    /// The witness file could not be read.
    #[error("the audit log cannot be proven: the witness file {path} cannot be read: {source}")]
    Witness {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<std::io::Error> for VerifyError {
    fn from(source: std::io::Error) -> Self {
        Self::Witness { path: PathBuf::new(), source }
    }
}
