//! The stores: four namespaces behind four handle types, and one way to write.
//!
//! A command reads through a [`bundle::Bundle`], stages changes through the handles it was given
//! (a module without a namespace's handle cannot change that namespace), and commits the bundle
//! through the [`commit::Committer`]. The journal is the only commit point; the engines behind the
//! handles are views of it. Backend traits and drivers are private to this folder.

pub mod bundle;
mod cached;
pub mod chain;
pub mod commit;
#[cfg(test)]
pub(crate) mod conformance;
mod engines;
pub mod error;
mod files;
pub mod history;
mod journal;
mod lock;
mod memory;
pub mod namespace;
mod overlaid;
mod progress;
pub mod query;
mod recent;
mod redb;
mod running;
mod sqlite;
#[cfg(test)]
mod tests;
mod view;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use commit::{Committer, Follower};
use engines::Engines;
use error::StoreError;
use history::History;
use journal::Journal;
use journal::io::{Folder, Memory, SharedDisk};
use lock::Lock;
use namespace::{AuthStore, LogStore, TokenStore, UserStore};
use running::Running;

use crate::config;
use crate::model::change::Namespace;
use crate::model::random::SystemRng;
use crate::model::time::{SharedClock, Timestamp};
use crate::observe::stores::StoreMeters;

/// Journal segments of the in-memory stores, bytes.
const MEMORY_SEGMENT: u64 = 1024 * 1024;

/// The opened stores. Whoever wires the house hands each part to the module that owns it.
///
/// Dropping them stops them without a checkpoint, which costs a replay at the next start, no more;
/// [`Self::close`] does it well. Both wait for the threads.
pub struct Stores {
    /// Accounts, invitations, signing keys: for `auth`.
    pub auth: AuthStore,
    /// Documents: for `users`.
    pub user: UserStore,
    /// The audit log: for `audit`.
    pub logs: LogStore,
    /// Sessions, revocations, blacklist: for `auth`.
    pub tokens: TokenStore,
    /// The one way to write.
    pub committer: Committer,
    /// What the stores measure of themselves.
    pub meters: Arc<StoreMeters>,
    /// The journal's last time when it was opened: no bundle has a later one but those to come.
    pub opened_at: Timestamp,
    /// The journal to read, for who proves a view against it: for `audit`.
    pub history: History,
    running: Running,
}

impl Stores {
    /// Opens (or creates) the embedded stores under `folder` (the data folder; all is kept in
    /// `store/` below it): recovers the journal, brings the views up to it, and starts the
    /// committer. `followers` then see every later bundle.
    ///
    /// # Errors
    /// `InUse` if another process has them, `Damaged` if anything on disk is not what was written
    /// (nothing was changed then), `NewerFormat`, `NewerRecord` or `NewerSchema` if a newer binary
    /// wrote it, `Io` if the operating system refuses.
    pub fn open(
        folder: &Path,
        clock: SharedClock,
        settings: &config::store::Store,
        followers: Vec<Follower>,
    ) -> Result<Self, StoreError> {
        Self::open_with(folder, None, clock, settings, followers)
    }

    /// As [`Self::open`], with the lock that the process before holds, if it handed it over.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        folder: &Path,
        held: Option<OwnedFd>,
        clock: SharedClock,
        settings: &config::store::Store,
        followers: Vec<Follower>,
    ) -> Result<Self, StoreError> {
        let folder = folder.join("store");
        lock::make_folder(&folder)?;
        let lock = match held {
            Some(held) => Lock::inherit(&folder, held)?,
            None => Lock::take(&folder)?,
        };
        let journal = folder.join("journal");
        lock::make_folder(&journal)?;
        for namespace in Namespace::ALL {
            lock::make_folder(&folder.join(namespace.name()))?;
        }
        let engines = Engines::embedded(&folder, settings)?;
        Self::start(engines, Arc::new(Folder::new(&journal)), clock, settings, followers, Some(lock))
    }

    /// Opens empty stores that live in memory: the model that the embedded ones are compared with.
    /// The same journal and committer, on a folder that is memory.
    ///
    /// # Errors
    /// None but what a lack of threads can cause.
    pub fn in_memory(clock: SharedClock, followers: Vec<Follower>) -> Result<Self, StoreError> {
        let settings = config::store::Store { segment_bytes: MEMORY_SEGMENT, ..Default::default() };
        Self::start(Engines::in_memory(), Arc::new(Memory::default()), clock, &settings, followers, None)
    }

    fn start(
        mut engines: Engines,
        disk: SharedDisk,
        clock: SharedClock,
        settings: &config::store::Store,
        followers: Vec<Follower>,
        lock: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let floor = running::furthest(&engines);
        let journal = Journal::open(disk, settings.segment_bytes, floor, &SystemRng)?;
        running::replay(&mut engines, &journal)?;
        let history = History::new(Arc::clone(journal.catalog()));
        let opened_at = journal.time();
        let auth_view = Arc::clone(&engines.auth.view);
        let user_view = Arc::clone(&engines.user.view);
        let logs_view = Arc::clone(&engines.logs.view);
        let tokens_view = Arc::clone(&engines.tokens.view);
        let (running, progress) = Running::start(engines, journal, clock, settings, followers, lock)?;
        Ok(Self {
            auth: AuthStore::new(auth_view, progress.auth),
            user: UserStore::new(user_view, progress.user),
            logs: LogStore::new(logs_view, progress.logs),
            tokens: TokenStore::new(tokens_view, progress.tokens),
            committer: running.committer(),
            meters: running.meters(),
            opened_at,
            history,
            running,
        })
    }

    /// The folder's lock, for who opens the stores after they are closed here: until every copy is closed
    /// nobody else can. `None` for stores in memory.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub fn share_lock(&self) -> std::io::Result<Option<OwnedFd>> {
        self.running.share_lock()
    }

    /// Stops taking bundles, finishes those under way, checkpoints every view, and lets the folder
    /// go. Committers that are still held answer `Closed` from now on.
    ///
    /// # Errors
    /// The first view's failure; what was committed is in the journal all the same.
    pub fn close(self) -> Result<(), StoreError> {
        self.running.close()
    }
}

/// The journal's fuzz target; the journal itself is nobody else's business.
#[cfg(any(test, fuzzing))]
pub fn fuzz_journal(bytes: &[u8]) {
    journal::fuzz::target(bytes);
}
