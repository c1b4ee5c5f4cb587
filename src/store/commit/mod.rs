//! The committer: takes bundles from many tasks, orders them, refuses those whose reads are stale,
//! makes a group of them durable with one fsync, shows them to the followers, hands them to the
//! views, and only then answers.
//!
//! ```text
//! commit() ── queue ──> committer thread ── queues ──> one thread for each view
//!  encodes              resolve · journal · overlay ·   apply · advance · checkpoint
//!                       followers · hand on · answer
//! ```
//!
//! The first failure of the journal or of a view makes the node read-only, for good, with its
//! reason; nothing is tried again. Short of room on disk it is read-only *before* that, for as long
//! as the room is short (`room.rs`).

pub(in crate::store) mod appliers;
mod queue;
mod resolver;
pub mod room;
#[cfg(test)]
mod tests;
pub(in crate::store) mod thread;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::bundle::{Bundle, Committed};
use super::error::CommitError;
use super::journal::payload;
use super::journal::segment::Catalog;
use super::progress::{Progress, Stalled};
use crate::model::change::{Change, Namespace, TokenChange};
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::observe::stores::StoreMeters;
use queue::{Bounds, Queue, Refused};
use room::Short;

/// What may wait for the disk. With the group under way twice that, at most, is in memory.
const WAITING: Bounds = Bounds { items: 4096, bytes: 64 * 1024 * 1024 };

/// Called on the committer's thread for every durable bundle, in order, before anyone is answered:
/// in-memory views (revocations, blacklist, keys) use it so that an acknowledged fact is in force
/// everywhere in the process. Must be quick and must not block.
pub type Follower = Box<dyn FnMut(&Committed) + Send>;

/// Where and when a bundle was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its position in the journal; for an empty bundle the position it held true at.
    pub seq: Seq,
    /// Its time.
    pub time: Timestamp,
}

/// The one way to write. Cheap to clone.
#[derive(Clone)]
pub struct Committer(Arc<Shared>);

impl Committer {
    pub(in crate::store) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Commits a bundle. Resolves once it is durable, the followers have seen it, and the namespaces
    /// it changed (but for logs, which follow in the background) answer with it applied. An empty
    /// bundle writes nothing, but its reads are checked all the same.
    ///
    /// Dropping the future does not undo the commit.
    ///
    /// # Errors
    /// `Conflict` and `Busy` may be tried again, after a conflict at once: what was missed is
    /// visible by then. `ReadOnly` and `Closed` may not.
    pub async fn commit(&self, bundle: Bundle) -> Result<Receipt, CommitError> {
        let shared = &*self.0;
        let begun = Instant::now();
        shared.writable()?;
        shared.has_room_for(&bundle)?;
        let awaited = Awaited::of(&bundle);
        let revokes =
            bundle.changes.iter().any(|change| matches!(change, Change::Token(TokenChange::Revoked(_))));
        let (answer, verdict) = oneshot::channel();
        let pending = Pending::new(bundle, answer);
        let bytes = pending.payload.len();
        let meters = &shared.meters;
        // Before it is in the queue: the committer's thread may take it out at once.
        meters.waiting.rise(1);
        shared.queue.offer(pending, bytes).map_err(|refused| {
            meters.waiting.fall(1);
            match refused {
                Refused::Full => {
                    meters.refused.up();
                    CommitError::Busy
                }
                Refused::Closed => shared.closed(),
            }
        })?;
        match verdict.await {
            Ok(Verdict::Committed(receipt)) => {
                if revokes {
                    // The followers have seen it.
                    meters.revocation.took(begun.elapsed());
                }
                shared.applied(awaited, receipt.seq).await?;
                meters.commit.took(begun.elapsed());
                Ok(receipt)
            }
            Ok(Verdict::Conflict { at }) => {
                meters.conflicts.up();
                shared.applied(Awaited::BOTH, at).await?;
                Err(CommitError::Conflict)
            }
            // The committer's thread is gone, or takes nothing more.
            Ok(Verdict::Refused) | Err(_) => Err(shared.closed()),
        }
    }

    /// The newest durable position.
    pub fn durable(&self) -> Seq {
        self.0.catalog.durable()
    }

    /// How many segments the journal has on disk.
    pub fn journal_segments(&self) -> usize {
        self.0.catalog.count()
    }

    /// Why the node takes no writes, if it does not: because something failed, or because the disk
    /// is short (then it still takes what takes away).
    pub fn read_only(&self) -> Option<Arc<str>> {
        self.failed().or_else(|| self.0.short.read().as_ref().map(|short| Arc::clone(&short.reason)))
    }

    /// What failed, if something did: the node takes no writes until it is started again.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.0.read_only.get().cloned()
    }

    /// From now on takes only what fits the room there is; [`None`] is room enough.
    pub fn set_room(&self, short: Option<Short>) {
        *self.0.short.write() = short;
    }
}

/// What the committer's clones, its thread and the appliers share.
pub(in crate::store) struct Shared {
    queue: Queue<Pending>,
    read_only: OnceLock<Arc<str>>,
    short: RwLock<Option<Short>>,
    catalog: Arc<Catalog>,
    auth: Arc<Progress>,
    user: Arc<Progress>,
    pub meters: Arc<StoreMeters>,
}

impl Shared {
    pub fn new(
        catalog: Arc<Catalog>,
        auth: Arc<Progress>,
        user: Arc<Progress>,
        meters: Arc<StoreMeters>,
    ) -> Self {
        let (queue, short) = (Queue::new(WAITING), RwLock::new(None));
        Self { queue, read_only: OnceLock::new(), short, catalog, auth, user, meters }
    }

    /// Takes no more bundles; those that wait are still committed.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Makes the node read-only. The first reason stays.
    pub(super) fn fail(&self, reason: &str) {
        if self.read_only.set(reason.into()).is_ok() {
            tracing::error!(reason, "this node is read-only from now on: mend the cause and restart it");
        }
    }

    fn writable(&self) -> Result<(), CommitError> {
        match self.read_only.get() {
            Some(reason) => Err(CommitError::ReadOnly { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Whether the room on disk is short.
    pub(super) fn is_short(&self) -> bool {
        self.short.read().is_some()
    }

    fn has_room_for(&self, bundle: &Bundle) -> Result<(), CommitError> {
        match &*self.short.read() {
            Some(short) if !short.admits(&bundle.changes) => {
                Err(CommitError::ReadOnly { reason: Arc::clone(&short.reason) })
            }
            _ => Ok(()),
        }
    }

    fn closed(&self) -> CommitError {
        self.writable().err().unwrap_or(CommitError::Closed)
    }

    async fn applied(&self, awaited: Awaited, seq: Seq) -> Result<(), CommitError> {
        let reached = async |progress: &Progress, awaited: bool| match awaited {
            true => progress.reached(seq).await,
            false => Ok(()),
        };
        // At once, so that neither view rests while the other is waited for.
        let both = tokio::try_join!(reached(&self.auth, awaited.auth), reached(&self.user, awaited.user));
        both.map(drop).map_err(|Stalled| self.closed())
    }
}

/// The namespaces that must have applied a bundle before its commit is answered. The tokens
/// overlay answers at once, and nobody reads an event back to decide anything.
#[derive(Clone, Copy)]
struct Awaited {
    auth: bool,
    user: bool,
}

impl Awaited {
    const BOTH: Self = Self { auth: true, user: true };

    fn of(bundle: &Bundle) -> Self {
        let changes = |namespace| bundle.changes.iter().any(|change| change.namespace() == namespace);
        Self { auth: changes(Namespace::Auth), user: changes(Namespace::User) }
    }
}

/// A bundle that waits, made ready on its caller's thread so that the committer's does little.
struct Pending {
    reads: Vec<(u64, Seq)>,
    writes: Vec<u64>,
    changes: Vec<Change>,
    payload: Vec<u8>,
    answer: oneshot::Sender<Verdict>,
}

impl Pending {
    fn new(bundle: Bundle, answer: oneshot::Sender<Verdict>) -> Self {
        let writes = bundle.written();
        let Bundle { reads, changes } = bundle;
        Self { reads, writes, payload: payload::encode(&changes), changes, answer }
    }
}

/// What becomes of a bundle.
enum Verdict {
    Committed(Receipt),
    /// Something it had read was written at that position.
    Conflict {
        at: Seq,
    },
    /// The node is read-only or closed.
    Refused,
}
