//! The tokens namespace in redb: sessions, revocations and the blacklist in one file.
//!
//! Batches commit with `Durability::None`: they are seen at once and lost in a crash, and the journal
//! replays them. A checkpoint is a durable commit. It asks for quick-repair: opening after a crash
//! then loads the allocator's state instead of walking the whole file. Measured at 300,000 sessions
//! (unoptimised build): 1.5 s instead of 3.6 s to open, 13 ms instead of 1 ms for a checkpoint; at
//! ten million a walk takes seconds and a gigabyte even when optimised.
//!
//! A new file is made as `view.redb.new` and gets its name once its first durable commit is in it:
//! redb sizes a file first and marks it as its own last, and what a kill leaves in between is to redb,
//! and so to us, a damaged file.
//!
//! The file must never be copied while it is open.

mod applier;
mod reader;

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use applier::RedbApplier;
use reader::RedbReader;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};

use super::error::StoreError;
use super::files;
use crate::model::change::Namespace;
use crate::model::id::{AccountId, SessionId};

/// The shape of the tables and of the values in them. Raise it with either.
const SCHEMA: u64 = 1;

/// Room for the branches of millions of sessions. Leaves are next to never read twice (the cache of
/// sessions stands in front), a miss costs a read from the system's page cache, and a round of the
/// sweep fills whatever is given here with pages that nobody asks for again.
const PAGE_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Session id → `Session` in postcard.
const SESSIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("sessions");
/// (Account id, session id).
const SESSIONS_BY_ACCOUNT: TableDefinition<'_, (u128, u128), ()> =
    TableDefinition::new("sessions_by_account");
/// (Position, place in its bundle) → `Revocation` in postcard.
const REVOCATIONS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("revocations");
/// Network as text → `Ban` in postcard.
const BANS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bans");
/// `schema` and `applied`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Opens, or creates, the tokens file in `folder`.
pub(in crate::store) fn open(folder: &Path) -> Result<(Arc<RedbReader>, RedbApplier), StoreError> {
    files::private_folder(folder)?;
    let site = Site { path: folder.join("view.redb") };
    let database = if is_made(&site.path)? { open_database(&site, &site.path)? } else { make(&site)? };
    let database = Arc::new(database);
    let applied = prepare(&database, &site)?;
    let reader = RedbReader { database: database.clone(), site: site.clone() };
    Ok((Arc::new(reader), RedbApplier::new(database, site, applied)))
}

/// Whether there is a file to open. An empty one holds nothing, whoever made it.
fn is_made(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(!found.is_file() || found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(files::failed("cannot look at", path, source)),
    }
}

/// Makes the file under another name, and gives it its own when it is whole and durable.
fn make(site: &Site) -> Result<Database, StoreError> {
    let draft = site.path.with_extension("redb.new");
    match fs::remove_file(&draft) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(files::failed("cannot remove", &draft, source));
        }
        _ => {}
    }
    let database = open_database(site, &draft)?;
    create(&database).map_err(|error| site.error(error))?;
    let name = || {
        fs::rename(&draft, &site.path)?;
        site.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    name().map_err(|source| files::failed("cannot name", &site.path, source))?;
    Ok(database)
}

fn open_database(site: &Site, path: &Path) -> Result<Database, StoreError> {
    let file = files::private_file(path)?;
    let path = path.to_owned();
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(PAGE_CACHE_BYTES).set_repair_callback(move |repair| {
            tracing::info!(path = %path.display(), done = repair.progress(), "repairing after a crash");
        });
        builder.create_with_backend(FileBackend::new(file)?)
    };
    // redb may panic on a file that something else has altered.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(site.open_error(error)),
        Err(_) => Err(site.damaged("its structure makes no sense".to_owned())),
    }
}

/// Checks the schema of a file, and says what it has applied.
fn prepare(database: &Database, site: &Site) -> Result<u64, StoreError> {
    let known = SCHEMA;
    match catch_unwind(AssertUnwindSafe(|| read_meta(database))) {
        Ok(Ok((Some(found), _))) if found > known => Err(StoreError::NewerSchema {
            namespace: Namespace::Tokens,
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: u32::try_from(known).unwrap_or(u32::MAX),
        }),
        Ok(Ok((Some(_), Some(applied)))) => Ok(applied),
        Ok(Ok(_)) => Err(site.damaged("it does not say what it holds".to_owned())),
        Ok(Err(error)) => Err(site.error(error)),
        Err(_) => Err(site.damaged("its structure makes no sense".to_owned())),
    }
}

fn read_meta(database: &Database) -> Result<(Option<u64>, Option<u64>), redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok((None, None)),
        Err(error) => return Err(error.into()),
    };
    let number = |key| Ok::<_, redb::Error>(redb::ReadableTable::get(&meta, key)?.map(|it| it.value()));
    Ok((number("schema")?, number("applied")?))
}

/// Makes the tables of a new file, durably.
fn create(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(SESSIONS)?;
    transaction.open_table(SESSIONS_BY_ACCOUNT)?;
    transaction.open_table(REVOCATIONS)?;
    transaction.open_table(BANS)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("schema", SCHEMA)?;
        meta.insert("applied", 0)?;
    }
    transaction.commit()?;
    Ok(())
}

fn session_key(id: SessionId) -> u128 {
    id.0.as_u128()
}

fn account_key(id: AccountId) -> u128 {
    id.0.as_u128()
}

/// Which file an error is about.
#[derive(Clone, Debug)]
struct Site {
    path: PathBuf,
}

impl Site {
    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Corrupted(detail) => self.damaged(detail),
            error => self.engine(&error),
        }
    }

    fn open_error(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreError::InUse { path: self.path.clone(), holder: String::new() }
            }
            // What redb says of a file that is not its own, or that is shorter than it was.
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                self.damaged(error.to_string())
            }
            error => self.error(error),
        }
    }

    fn engine(&self, detail: &dyn std::fmt::Display) -> StoreError {
        let detail = format!("{}: {detail}", self.path.display());
        StoreError::Engine { namespace: Namespace::Tokens, detail }
    }

    /// redb does not say where; the file's start stands for the whole of it.
    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset: 0, detail }
    }

    fn encode<T: serde::Serialize>(&self, value: &T) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(value).map_err(|error| self.engine(&error))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(bytes).map_err(|error| self.engine(&format!("a record in it: {error}")))
    }
}

#[cfg(test)]
mod power_cuts;
#[cfg(test)]
mod tests;
