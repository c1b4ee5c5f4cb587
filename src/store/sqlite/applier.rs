//! The writing side of a file: applies batches, remembers how far it came, checkpoints the WAL.
//!
//! A batch that holds nothing for this namespace is not written: the position in the file then lags
//! behind the one in memory by bundles whose replay changes nothing, and most bundles are rotations,
//! which are not this namespace's.

use std::marker::PhantomData;

use rusqlite::{Connection, TransactionBehavior};

use super::{Fault, Schema, Site};
use crate::model::id::Seq;
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::error::StoreError;
use crate::store::view::{Applier, unapplied};

/// Free pages that a file may keep for what comes next, besides a quarter of its pages: 4 MiB.
const SPARE_PAGES: u64 = 1024;
/// Pages given back at one checkpoint: they go through the WAL, and nobody should wait for them.
const PAGES_AT_ONCE: u64 = 2048;

/// The applier of one namespace.
pub(in crate::store) struct SqliteApplier<S> {
    writer: Connection,
    site: Site,
    /// Seen, and applied where it concerned this namespace.
    applied: Seq,
    /// What the file's WAL says.
    stored: Seq,
    /// What a completed checkpoint has made durable. Nothing is known of it after opening.
    durable: Seq,
    schema: PhantomData<S>,
}

impl<S: Schema> SqliteApplier<S> {
    pub(super) fn new(writer: Connection, site: Site) -> Result<Self, StoreError> {
        let applied = writer
            .query_row("SELECT applied FROM progress", [], |row| row.get::<_, i64>(0))
            .map_err(|error| site.error(error))?;
        let applied = Seq(applied.cast_unsigned());
        Ok(Self { writer, site, applied, stored: applied, durable: Seq(0), schema: PhantomData })
    }

    /// One transaction: the changes of `bundles` and the position `through`.
    fn write(&mut self, bundles: &[&Committed], through: Seq) -> Result<(), Fault> {
        let transaction = self.writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = S::Batch::default();
        for bundle in bundles {
            for change in bundle.changes.iter().filter(|it| it.namespace() == S::NAMESPACE) {
                S::apply(&transaction, &mut batch, bundle.seq, change)?;
            }
        }
        transaction.prepare_cached("UPDATE progress SET applied = ?1")?.execute([through.0.cast_signed()])?;
        transaction.commit()?;
        self.stored = through;
        Ok(())
    }

    /// Shortens the file where much of it is free: after retention was shortened, or many accounts deleted.
    /// At a steady rate freed pages are used again, and nothing is moved.
    fn vacuum(&self) -> rusqlite::Result<()> {
        let count = |what| self.writer.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
        let (free, all) = (count("freelist_count")?.unsigned_abs(), count("page_count")?.unsigned_abs());
        let spare = SPARE_PAGES.max(all / 4);
        if free > spare {
            let pages = (free - spare).min(PAGES_AT_ONCE);
            // Each step gives one page back.
            let mut steps = self.writer.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = steps.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

impl<S: Schema> Applier for SqliteApplier<S> {
    fn applied(&self) -> Seq {
        self.applied
    }

    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<(), StoreError> {
        let fresh = unapplied(S::NAMESPACE, self.applied, bundles)?;
        let Some(through) = fresh.last().map(|bundle| bundle.seq) else { return Ok(()) };
        let mut changes = fresh.iter().flat_map(|bundle| &bundle.changes);
        if changes.any(|change| change.namespace() == S::NAMESPACE) {
            self.write(&fresh, through).map_err(|fault| self.site.error(fault))?;
        }
        self.applied = through;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Seq, StoreError> {
        if self.durable == self.applied {
            return Ok(self.durable);
        }
        if self.stored < self.applied {
            self.write(&[], self.applied).map_err(|fault| self.site.error(fault))?;
        }
        // Syncs the WAL, copies it into the file, syncs that, and empties the WAL.
        let (busy, pages) = self
            .writer
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?))
            })
            .map_err(|error| self.site.error(error))?;
        if busy {
            // A reader held on: some of the WAL may not even be synced. Claim nothing new.
            tracing::warn!(path = %self.site.path.display(), pages, "a reader kept the WAL from being emptied");
        } else {
            self.durable = self.applied;
        }
        Ok(self.durable)
    }

    fn give_back(&mut self) {
        if let Err(error) = self.vacuum() {
            let path = self.site.path.display();
            tracing::warn!(%error, %path, "free pages of a store could not be given back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::open;
    use crate::store::sqlite::user::User;

    #[test]
    fn a_checkpoint_does_not_depend_on_what_can_be_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut applier) = open::<User>(folder.path()).unwrap();
        let free = |applier: &SqliteApplier<User>| {
            applier.writer.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0)).unwrap()
        };
        let filler = "CREATE TABLE filler (it BLOB); INSERT INTO filler VALUES (zeroblob(16777216)); DROP TABLE filler";
        applier.writer.execute_batch(filler).unwrap();
        let before = free(&applier);
        assert!(before > 4000, "{before}");
        (applier.applied, applier.stored) = (Seq(1), Seq(1));
        // As a full disk does, this fails whatever would write.
        applier.writer.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(applier.checkpoint().unwrap(), Seq(1));
        applier.give_back();
        assert_eq!(free(&applier), before);
        applier.writer.pragma_update(None, "query_only", false).unwrap();
        applier.give_back();
        assert_eq!(free(&applier), before - PAGES_AT_ONCE.cast_signed());
    }
}
