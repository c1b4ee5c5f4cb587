//! The audit trail: every security decision as a typed, durable, hash-chained event.
//!
//! Services describe what was decided with a [`draft::Draft`] and either attach it to the bundle
//! that carries the decision's changes or record it alone; [`folded`] keeps floods of refusals few.
//! Only this module writes the logs namespace. [`subjects`] seals what is about a person, [`signer`]
//! signs the chain's head from time to time, [`outside`] tells others of it, [`retention`] drops what is old, [`verify`] proves the
//! chain, [`search`] reads it.

pub mod draft;
pub mod folded;
pub mod head;
pub mod outside;
pub mod retention;
pub mod search;
pub mod signer;
pub mod subjects;
pub mod verify;
pub mod witness;

use std::collections::HashSet;

use draft::Draft;
use search::EventReader;
use subjects::Subjects;

use crate::model::change::Namespace;
use crate::model::id::{AccountId, EventId};
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::{CommitError, StoreError};
use crate::store::namespace::LogStore;

/// Writes audit events. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    logs: LogStore,
    committer: Committer,
    clock: SharedClock,
    rng: SharedRng,
    subjects: Subjects,
}

impl Trail {
    /// A trail that writes to `logs`, personal fields sealed by `subjects`.
    pub const fn new(
        logs: LogStore,
        committer: Committer,
        clock: SharedClock,
        rng: SharedRng,
        subjects: Subjects,
    ) -> Self {
        Self { logs, committer, clock, rng, subjects }
    }

    /// What reads the events back.
    pub fn reader(&self) -> EventReader {
        EventReader::new(self.logs.clone(), self.subjects.clone())
    }

    /// Adds the event to a bundle: it becomes durable with the bundle's changes or not at all.
    pub fn attach(&self, bundle: &mut Bundle, draft: Draft) {
        let now = self.clock.now();
        let (event, subject) = draft.finish(EventId::new(now, &*self.rng), now);
        self.subjects.stage(bundle, event, subject);
    }

    /// Erases what the log holds of a person, with the bundle that deletes the account: the keys of
    /// their fields go, the chain stays.
    pub fn erase(&self, bundle: &mut Bundle, account: AccountId) {
        self.subjects.erase(bundle, account);
    }

    /// Which of the accounts were erased. Their ids are never used again.
    ///
    /// # Errors
    /// The log's: where it cannot be read, nobody may take them for new.
    pub async fn erased_of(&self, accounts: Vec<AccountId>) -> Result<HashSet<AccountId>, StoreError> {
        let subjects = self.subjects.clone();
        let read = tokio::task::spawn_blocking(move || subjects.erased_of(&accounts));
        read.await.unwrap_or_else(|_| {
            let detail = "a read was interrupted".to_owned();
            Err(StoreError::Engine { namespace: Namespace::Logs, detail })
        })
    }

    /// Whether the account was erased since [`Self::erased_of`] was asked about it; reads nothing.
    pub fn was_just_erased(&self, account: AccountId) -> bool {
        self.subjects.was_just_erased(account)
    }

    /// Whether an event alone is worth a try: not while the node is short of room, which passes. What failed
    /// for good is tried, so that whoever asks hears the error.
    pub fn takes(&self) -> bool {
        self.committer.failed().is_some() || self.committer.read_only().is_none()
    }

    /// Writes the event alone and waits until it is durable.
    pub async fn record(&self, draft: Draft) -> Result<(), CommitError> {
        let mut bundle = Bundle::new();
        self.attach(&mut bundle, draft);
        self.committer.commit(bundle).await.map(|_| ())
    }

    /// Writes events in one bundle and waits until it is durable.
    pub async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), CommitError> {
        let mut bundle = Bundle::new();
        for draft in drafts {
            self.attach(&mut bundle, draft);
        }
        self.committer.commit(bundle).await.map(|_| ())
    }
}
