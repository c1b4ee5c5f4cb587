//! The auth, user and logs namespaces in SQLite: one file each, one writer, a few readers.
//!
//! A view is not the commit point: it runs with `synchronous=NORMAL` in WAL mode and without
//! automatic checkpoints, and may lose its newest transactions at a power cut. The journal replays
//! them. What it keeps is whole: the changes of a batch and the position reached are one transaction.
//!
//! What is checked when a file is opened: its magic, its length against its header, its schema, and
//! its migrations. `quick_check` is not run: it reads the whole file, minutes at tens of gigabytes,
//! on a path where an operator waits; damage inside a page is an error of the read that meets it
//! (`cell_size_check` is on), and the audit chain proves the logs.

mod applier;
pub(in crate::store) mod auth;
mod columns;
mod connection;
mod log_search;
pub(in crate::store) mod logs;
mod migrate;
mod readers;
pub(in crate::store) mod user;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use applier::SqliteApplier;
use readers::Readers;
use rusqlite::{ErrorCode, Transaction};

use super::error::StoreError;
use super::files;
use crate::model::change::{Change, Namespace};
use crate::model::id::Seq;

/// What a namespace keeps in its file, and how a change alters it.
pub(in crate::store) trait Schema: Send + Sync + 'static {
    const NAMESPACE: Namespace;
    /// Numbered from 1. What was released is never edited: its checksum stands in the file.
    const MIGRATIONS: &'static [&'static str];
    /// What one transaction remembers from change to change.
    type Batch: Default;

    /// Applies a change of this namespace.
    fn apply(
        transaction: &Transaction<'_>,
        batch: &mut Self::Batch,
        seq: Seq,
        change: &Change,
    ) -> Result<(), Fault>;
}

/// Opens, or creates, the namespace's file in `folder`.
pub(in crate::store) fn open<S: Schema>(
    folder: &Path,
) -> Result<(Arc<Readers<S>>, SqliteApplier<S>), StoreError> {
    files::private_folder(folder)?;
    let site = Site::new(S::NAMESPACE, folder.join("view.sqlite"));
    let mut writer = connection::writer(&site)?;
    migrate::run(&mut writer, &site, S::MIGRATIONS)?;
    let applier = SqliteApplier::new(writer, site.clone())?;
    Ok((Arc::new(Readers::open(site)?), applier))
}

/// Which file an error is about.
#[derive(Clone, Debug)]
struct Site {
    namespace: Namespace,
    path: PathBuf,
    /// Set by the first that met damage, on whichever connection, and never cleared: a page that is broken
    /// stays broken, also when nobody reads it for a while.
    damage: Arc<OnceLock<Arc<str>>>,
}

/// What can go wrong inside a transaction.
#[derive(Debug)]
pub(in crate::store) enum Fault {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Site {
    fn new(namespace: Namespace, path: PathBuf) -> Self {
        Self { namespace, path, damage: Arc::default() }
    }

    /// What was met that is not as it was written.
    fn damage(&self) -> Option<Arc<str>> {
        self.damage.get().cloned()
    }

    fn error(&self, fault: impl Into<Fault>) -> StoreError {
        match fault.into() {
            Fault::Store(error) => error,
            Fault::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                self.remember("not an SQLite database");
                self.damaged(0, "not an SQLite database".to_owned())
            }
            Fault::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                self.remember(&error.to_string());
                self.engine(&error)
            }
            Fault::Sql(error) => self.engine(&error),
        }
    }

    fn remember(&self, detail: &str) {
        self.damage.get_or_init(|| {
            let path = self.path.display();
            format!("{path} is damaged: {detail}. See that the disk is whole, and restore from a backup")
                .into()
        });
    }

    fn engine(&self, detail: &dyn std::fmt::Display) -> StoreError {
        let detail = format!("{}: {detail}", self.path.display());
        StoreError::Engine { namespace: self.namespace, detail }
    }

    fn damaged(&self, offset: u64, detail: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset, detail }
    }
}

#[cfg(test)]
mod tests;
