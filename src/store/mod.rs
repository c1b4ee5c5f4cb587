//! The stores: four namespaces behind four handle types, and one way to write.
//!
//! A command reads through a [`bundle::Bundle`], stages changes through the handles it was given
//! (a module without a namespace's handle cannot change that namespace), and commits the bundle
//! through the [`commit::Committer`]. The journal is the only commit point; the engines behind the
//! handles are views of it. Backend traits and drivers are private to this folder.

pub mod bundle;
mod cached;
mod chain;
pub mod commit;
#[cfg(test)]
mod conformance;
mod engines;
pub mod error;
mod files;
mod journal;
mod memory;
pub mod namespace;
mod overlaid;
mod progress;
mod recent;
mod redb;
mod sqlite;
mod view;

use std::path::Path;

use commit::{Committer, Follower};
use error::StoreError;
use namespace::{AuthStore, LogStore, TokenStore, UserStore};

use crate::model::time::SharedClock;

/// The opened stores. Whoever wires the house hands each part to the module that owns it.
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
}

impl Stores {
    /// Opens (or creates) the embedded stores under `folder`: recovers the journal, brings the
    /// views up to it, and starts the committer. `followers` then see every later bundle.
    pub fn open(folder: &Path, clock: SharedClock, followers: Vec<Follower>) -> Result<Self, StoreError> {
        let _ = (folder, clock, followers);
        todo!("store helper")
    }

    /// Opens empty stores that live in memory: the model that the embedded ones are compared with.
    pub fn in_memory(clock: SharedClock, followers: Vec<Follower>) -> Result<Self, StoreError> {
        let _ = (clock, followers);
        todo!("store helper")
    }

    /// Stops taking bundles, finishes those under way, checkpoints every view.
    pub fn close(self) -> Result<(), StoreError> {
        todo!("store helper")
    }
}
