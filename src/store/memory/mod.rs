//! Engines that live in maps: the model that property tests compare the embedded engines with, and
//! the stores of tests that need no disk.
//!
//! Nothing survives the process; `checkpoint` has nothing to do. Each namespace is a plain state and
//! one total function that applies a change to it. A reader waits for an applier for as long as a
//! batch takes in memory, which the embedded engines do not ask of theirs.

pub(in crate::store) mod auth;
pub(in crate::store) mod logs;
pub(in crate::store) mod tokens;
pub(in crate::store) mod user;

use std::sync::Arc;

use parking_lot::RwLock;

use super::bundle::SharedCommit;
use super::error::StoreError;
use super::view::{Applier, unapplied};
use crate::model::change::{Change, Namespace};
use crate::model::id::Seq;

/// What one namespace holds, and how a change alters it.
pub(in crate::store) trait State: Default + Send + Sync + 'static {
    const NAMESPACE: Namespace;

    /// Applies the change at place `index` of the bundle at `seq`; other namespaces' are ignored.
    fn apply(&mut self, seq: Seq, index: u32, change: &Change) -> Result<(), StoreError>;
}

/// A namespace's state and the position through which it is complete.
#[derive(Default)]
struct Applied<S> {
    seq: Seq,
    state: S,
}

/// A namespace's state, shared between its readers and its applier.
#[derive(Default)]
pub(in crate::store) struct Memory<S>(RwLock<Applied<S>>);

impl<S: State> Memory<S> {
    /// An empty state.
    pub(in crate::store) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Answers from the state at one position.
    fn read<T>(&self, answer: impl FnOnce(Seq, &S) -> T) -> T {
        let applied = self.0.read();
        answer(applied.seq, &applied.state)
    }
}

/// The writing side of a state.
pub(in crate::store) struct MemoryApplier<S>(pub(in crate::store) Arc<Memory<S>>);

impl<S: State> Applier for MemoryApplier<S> {
    fn applied(&self) -> Seq {
        self.0.0.read().seq
    }

    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<(), StoreError> {
        let mut applied = self.0.0.write();
        for bundle in unapplied(S::NAMESPACE, applied.seq, bundles)? {
            for (index, change) in (0_u32..).zip(&bundle.changes) {
                applied.state.apply(bundle.seq, index, change)?;
            }
            applied.seq = bundle.seq;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Seq, StoreError> {
        Ok(self.applied())
    }
}
