//! The audit trail: every security decision as a typed, durable, hash-chained event.
//!
//! Services describe what was decided with a [`draft::Draft`] and either attach it to the bundle
//! that carries the decision's changes or record it alone; [`folded`] keeps floods of refusals few.
//! Only this module writes the logs
//! namespace. [`signer`] signs the chain's head from time to time, [`verify`] proves the chain,
//! [`tail`] reads it.

pub mod draft;
pub mod folded;
pub mod head;
pub mod signer;
pub mod tail;
pub mod verify;
pub mod witness;

use draft::Draft;

use crate::model::change::LogChange;
use crate::model::id::EventId;
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;
use crate::store::bundle::Bundle;
use crate::store::commit::Committer;
use crate::store::error::CommitError;
use crate::store::namespace::LogStore;

/// Writes audit events. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    logs: LogStore,
    committer: Committer,
    clock: SharedClock,
    rng: SharedRng,
}

impl Trail {
    /// A trail that writes to `logs`.
    pub const fn new(logs: LogStore, committer: Committer, clock: SharedClock, rng: SharedRng) -> Self {
        Self { logs, committer, clock, rng }
    }

    /// Adds the event to a bundle: it becomes durable with the bundle's changes or not at all.
    pub fn attach(&self, bundle: &mut Bundle, draft: Draft) {
        let now = self.clock.now();
        let event = draft.finish(EventId::new(now, &*self.rng), now);
        self.logs.stage(bundle, LogChange::Event(event));
    }

    /// Writes the event alone and waits until it is durable.
    pub async fn record(&self, draft: Draft) -> Result<(), CommitError> {
        let mut bundle = Bundle::new();
        self.attach(&mut bundle, draft);
        self.committer.commit(bundle).await.map(|_| ())
    }
}
