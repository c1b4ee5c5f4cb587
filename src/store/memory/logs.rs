//! The logs namespace in memory: the audit chain as a vector.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Memory, State};
use crate::model::change::{Change, LogChange, Namespace};
use crate::model::event::{Pruned, SignedHead};
use crate::model::id::{AccountId, Seq};
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::namespace::{LogHead, LogRecord, SubjectKeys};
use crate::store::query::LogQuery;
use crate::store::view::LogView;

/// The audit chain, its signed heads and its subjects' keys.
#[derive(Default)]
pub(in crate::store) struct Logs {
    /// In order of index, without a gap, from the one after the base.
    records: Vec<LogRecord>,
    base: Option<Pruned>,
    heads: BTreeMap<u64, SignedHead>,
    /// `None`: erased.
    subjects: BTreeMap<AccountId, Option<BTreeSet<Vec<u8>>>>,
}

impl Logs {
    fn head(&self) -> LogHead {
        let base = || self.base.as_ref().map(Pruned::head).unwrap_or_default();
        self.records.last().map_or_else(base, LogRecord::head)
    }

    /// Records with a greater index.
    fn after(&self, index: u64) -> impl DoubleEndedIterator<Item = &LogRecord> {
        let gone = self.base.as_ref().map_or(0, |base| base.through);
        let skipped = usize::try_from(index.saturating_sub(gone)).unwrap_or(usize::MAX);
        self.records.get(skipped..).unwrap_or_default().iter()
    }

    fn prune(&mut self, pruned: &Pruned) {
        let at = self.records.iter().position(|record| pruned.ends_with(record));
        let Some(at) = at else { return };
        self.records.drain(..=at);
        self.heads.retain(|count, _| *count >= pruned.through);
        self.base = Some(pruned.clone());
    }
}

impl State for Logs {
    const NAMESPACE: Namespace = Namespace::Logs;

    fn apply(&mut self, seq: Seq, _: u32, change: &Change) -> Result<(), StoreError> {
        let Change::Log(change) = change else { return Ok(()) };
        match change {
            LogChange::Event(_) | LogChange::SealedEvent(_) => {
                if let Some((event, seal)) = change.event() {
                    self.records.push(chain::following(self.head(), seq, event, seal)?);
                }
            }
            LogChange::HeadSigned(head) => {
                self.heads.insert(head.count, head.clone());
            }
            LogChange::SubjectKeyAdded { account, sealed } => {
                if let Some(keys) = self.subjects.entry(*account).or_insert_with(|| Some(BTreeSet::new())) {
                    keys.insert(sealed.clone());
                }
            }
            LogChange::SubjectKeyErased { account } => {
                self.subjects.insert(*account, None);
            }
            LogChange::Pruned(pruned) => self.prune(pruned),
        }
        Ok(())
    }
}

impl LogView for Memory<Logs> {
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        Ok(self.read(|_, logs| logs.after(after).take(limit).cloned().collect()))
    }

    fn head(&self) -> Result<LogHead, StoreError> {
        Ok(self.read(|_, logs| logs.head()))
    }

    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>, StoreError> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.read(|_, logs| logs.heads.range(range).take(limit).map(|(_, head)| head.clone()).collect()))
    }

    fn base(&self) -> Result<Option<Pruned>, StoreError> {
        Ok(self.read(|_, logs| logs.base.clone()))
    }

    fn search(&self, query: &LogQuery, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        let admitted = |record: &&LogRecord| {
            let event = record.event();
            event.is_ok_and(|(event, seal)| query.admits(record.index, &event, seal.as_ref()))
        };
        Ok(self.read(|_, logs| {
            let records = logs.after(query.after);
            if query.newest_first {
                records.rev().filter(admitted).take(limit).cloned().collect()
            } else {
                records.filter(admitted).take(limit).cloned().collect()
            }
        }))
    }

    fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys, StoreError> {
        Ok(self.read(|_, logs| match logs.subjects.get(&account) {
            None => SubjectKeys::Kept(Vec::new()),
            Some(Some(keys)) => SubjectKeys::Kept(keys.iter().cloned().collect()),
            Some(None) => SubjectKeys::Erased,
        }))
    }
}
