//! The logs namespace in memory: the audit chain as a vector.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Memory, State};
use crate::model::change::{Change, LogChange, Namespace};
use crate::model::event::SignedHead;
use crate::model::id::Seq;
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::namespace::{LogHead, LogRecord};
use crate::store::view::LogView;

/// The audit chain and its signed heads.
#[derive(Default)]
pub(in crate::store) struct Logs {
    /// Record `n` stands at `n - 1`.
    records: Vec<LogRecord>,
    heads: BTreeMap<u64, SignedHead>,
}

impl Logs {
    fn head(&self) -> LogHead {
        self.records.last().map(LogRecord::head).unwrap_or_default()
    }
}

impl State for Logs {
    const NAMESPACE: Namespace = Namespace::Logs;

    fn apply(&mut self, seq: Seq, _: u32, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Log(LogChange::Event(event)) => {
                self.records.push(chain::following(self.head(), seq, event)?);
            }
            Change::Log(LogChange::HeadSigned(head)) => {
                self.heads.insert(head.count, head.clone());
            }
            _ => {}
        }
        Ok(())
    }
}

impl LogView for Memory<Logs> {
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        let skipped = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.read(|_, logs| logs.records.iter().skip(skipped).take(limit).cloned().collect()))
    }

    fn head(&self) -> Result<LogHead, StoreError> {
        Ok(self.read(|_, logs| logs.head()))
    }

    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>, StoreError> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.read(|_, logs| logs.heads.range(range).take(limit).map(|(_, head)| head.clone()).collect()))
    }
}
