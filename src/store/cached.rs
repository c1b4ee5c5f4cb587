//! Sessions kept in memory in front of the tokens engine (moka), and the rule that keeps them right.
//!
//! The cache answers only after the overlay ([`super::recent::Recent`]) had nothing to say. What it
//! answers must then be at least as new as every write that was settled, because the committer's
//! conflict check believes that a read made at `as_of` shows every write up to `as_of`.
//!
//! Two parties write it: readers *fill* it with what they found in the engine, and the applier
//! *replaces* what a batch changed, after the engine's commit and before the overlay forgets the
//! batch. The danger is a reader who looked in the engine before a write `w` and fills after it. So
//! each key has an epoch (shared with the other keys of its stripe), and:
//!
//! 1. a reader notes the epoch *before* it looks anywhere, and its fill is dropped if the epoch has
//!    moved; check and insertion are one step under the stripe's lock;
//! 2. a replacement moves the epoch and writes the cache in one step under the same lock.
//!
//! Suppose the engine's answer to a reader lacks `w`. Then the engine committed `w` after that
//! answer's snapshot, so `w`'s replacement came after the reader noted the epoch. If it came before
//! the fill, the epoch has moved and the fill is dropped; if after, it overwrites the fill. Between
//! the two the overlay still holds `w`, and nobody who must see `w` asks the cache. Absence is not
//! cached: made-up session ids would push out the real ones.
//!
//! Rejected: a position stored with each entry (the reader cannot tell whether a smaller position is
//! stale or merely unchanged), and filling under the overlay's lock (moka's housekeeping would then
//! run on the committer's time).

use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;

use crate::model::id::SessionId;
use crate::model::session::Session;

/// Stripes of epochs: enough that a reader rarely loses its fill to a write of another key.
const STRIPES: usize = 256;

/// A bounded number of settled sessions.
pub(in crate::store) struct SessionCache {
    /// `None` when the cache is off.
    sessions: Option<Cache<SessionId, Arc<Session>>>,
    stripes: [Mutex<Epoch>; STRIPES],
}

/// How many replacements a stripe has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Epoch(u64);

impl SessionCache {
    /// A cache of at most about `entries` sessions; 0 turns it off.
    pub fn new(entries: u64) -> Self {
        Self {
            sessions: (entries > 0).then(|| Cache::new(entries)),
            stripes: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// The epoch of a session, to be noted before looking anywhere.
    pub fn epoch(&self, id: SessionId) -> Epoch {
        *self.stripe(id).lock()
    }

    /// The session, if it is kept.
    pub fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        self.sessions.as_ref()?.get(&id)
    }

    /// Keeps what a reader found in the engine, unless it was overtaken since it noted `epoch`.
    pub fn fill(&self, epoch: Epoch, session: Arc<Session>) {
        let Some(sessions) = &self.sessions else { return };
        let stripe = self.stripe(session.id).lock();
        if *stripe == epoch {
            sessions.insert(session.id, session);
        }
    }

    /// Keeps or drops what the engine has just committed.
    pub fn replace(&self, id: SessionId, session: Option<Arc<Session>>) {
        let Some(sessions) = &self.sessions else { return };
        let mut stripe = self.stripe(id).lock();
        stripe.0 += 1;
        // What nobody has read lately need not be kept: the next reader fills it.
        match session {
            Some(session) if sessions.contains_key(&id) => sessions.insert(id, session),
            Some(_) => {}
            None => sessions.invalidate(&id),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the index is reduced modulo the array's length")]
    fn stripe(&self, id: SessionId) -> &Mutex<Epoch> {
        // The last byte of a UUIDv7 is random.
        let [.., last] = id.0.into_bytes();
        &self.stripes[usize::from(last) % STRIPES]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_cache_of_no_entries_keeps_nothing() {
        let cache = SessionCache::new(0);
        let id = SessionId(Uuid::from_bytes([1; 16]));
        cache.replace(id, None);
        assert!(cache.session(id).is_none());
        assert_eq!(cache.epoch(id), Epoch(0));
    }
}
