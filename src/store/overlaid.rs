//! The tokens namespace as it is read: overlay, then cache, then engine; and as it is applied:
//! engine, then cache, then overlay. The two orders are opposite on purpose: at every moment a
//! reader meets the newest value no later than where it leaves.
//!
//! Listings join the overlay with one snapshot of the engine. The snapshot says its position, so
//! that of two versions of a record the newer one is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::bundle::{Committed, SharedCommit};
use super::cached::SessionCache;
use super::error::StoreError;
use super::recent::{Recent, Write};
use super::view::{Applier, TokenView};
use crate::model::ban::Ban;
use crate::model::change::{Change, TokenChange};
use crate::model::id::{AccountId, Seq, SessionId};
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::observe::stores::StoreMeters;

type Result<T> = std::result::Result<T, StoreError>;

/// An answer, and the position of the snapshot it was taken from.
pub(in crate::store) struct AsOf<T> {
    pub seq: Seq,
    pub value: T,
}

/// Which revocations are asked for.
pub(in crate::store) type Keep<'a> = &'a dyn Fn(Seq, &Revocation) -> bool;

/// The questions put to an engine underneath the overlay.
pub(in crate::store) trait TokenEngine: Send + Sync {
    fn session(&self, id: SessionId) -> Result<Option<Session>>;
    fn sessions_of(&self, account: AccountId) -> Result<AsOf<Vec<Session>>>;
    /// In order of id, after `after`, at most `limit`.
    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<AsOf<Vec<Session>>>;
    /// The revocations that `keep` says yes to, with their positions, in order, at most `limit`.
    fn revocations(&self, keep: Keep<'_>, limit: usize) -> Result<AsOf<Vec<(Seq, Revocation)>>>;
    fn ban(&self, network: IpNet) -> Result<Option<Ban>>;
    fn bans(&self) -> Result<AsOf<Vec<Ban>>>;
}

/// The reading side.
pub(in crate::store) struct Overlaid<E> {
    pub recent: Arc<Recent>,
    pub cache: Arc<SessionCache>,
    pub engine: Arc<E>,
    pub meters: Arc<StoreMeters>,
}

impl<E: TokenEngine> TokenView for Overlaid<E> {
    fn session(&self, id: SessionId) -> Result<Option<Session>> {
        let epoch = self.cache.epoch(id);
        if let Some(write) = self.recent.session(id) {
            self.meters.session_hits.up();
            return Ok(write.value.map(Arc::unwrap_or_clone));
        }
        if let Some(session) = self.cache.session(id) {
            self.meters.session_hits.up();
            return Ok(Some(Arc::unwrap_or_clone(session)));
        }
        self.meters.session_misses.up();
        let session = self.engine.session(id)?;
        if let Some(session) = &session {
            self.cache.fill(epoch, Arc::new(session.clone()));
        }
        Ok(session)
    }

    fn sessions_of(&self, account: AccountId) -> Result<Vec<Session>> {
        let recent = self.recent.sessions_of(account);
        let found = self.engine.sessions_of(account)?;
        let mut sessions = by_id(found.value);
        // A session keeps its account for life. Were one written under another account all the same,
        // that account's entries would not speak of it.
        sessions.retain(|id, _| !self.recent.is_elsewhere(*id, account, found.seq));
        for (id, Write { value, .. }) in recent.into_iter().filter(|(_, write)| write.seq > found.seq) {
            match value {
                Some(session) => sessions.insert(id, Arc::unwrap_or_clone(session)),
                None => sessions.remove(&id),
            };
        }
        Ok(sessions.into_values().collect())
    }

    fn sessions(&self, after: Option<SessionId>, limit: usize) -> Result<Vec<Session>> {
        let recent = self.recent.sessions(after, limit);
        // Each session that the overlay ended may take one place in the engine's page.
        let ended = recent.iter().filter(|(_, write)| write.value.is_none()).count();
        let found = self.engine.sessions(after, limit.saturating_add(ended))?;
        let mut sessions = by_id(found.value);
        for (id, Write { value, .. }) in recent.into_iter().filter(|(_, write)| write.seq > found.seq) {
            match value {
                Some(session) => sessions.insert(id, Arc::unwrap_or_clone(session)),
                None => sessions.remove(&id),
            };
        }
        Ok(sessions.into_values().take(limit).collect())
    }

    fn revocations(
        &self,
        keep: &dyn Fn(&Revocation) -> bool,
        limit: usize,
    ) -> Result<Vec<(Seq, Revocation)>> {
        let (recent, forgotten) = self.recent.revocations();
        let there = |seq, it: &Revocation| keep(it) && !forgotten.covers(seq, it);
        let AsOf { seq: applied, value: mut revocations } = self.engine.revocations(&there, limit)?;
        revocations.extend(recent.into_iter().filter(|(seq, it)| *seq > applied && keep(it)));
        revocations.truncate(limit);
        Ok(revocations)
    }

    fn ban(&self, network: IpNet) -> Result<Option<Ban>> {
        match self.recent.ban(network) {
            Some(write) => Ok(write.value),
            None => self.engine.ban(network),
        }
    }

    fn bans(&self) -> Result<Vec<Ban>> {
        let recent = self.recent.bans();
        let found = self.engine.bans()?;
        let mut bans: BTreeMap<_, _> = found.value.into_iter().map(|ban| (ban.network, ban)).collect();
        for (network, Write { value, .. }) in recent.into_iter().filter(|(_, write)| write.seq > found.seq) {
            match value {
                Some(ban) => bans.insert(network, ban),
                None => bans.remove(&network),
            };
        }
        Ok(bans.into_values().collect())
    }
}

fn by_id(sessions: Vec<Session>) -> BTreeMap<SessionId, Session> {
    sessions.into_iter().map(|session| (session.id, session)).collect()
}

/// The writing side: an engine's applier that settles what it has applied.
pub(in crate::store) struct Settling<A> {
    pub applier: A,
    pub recent: Arc<Recent>,
    pub cache: Arc<SessionCache>,
}

impl<A: Applier> Applier for Settling<A> {
    fn applied(&self) -> Seq {
        self.applier.applied()
    }

    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<()> {
        self.applier.apply(bundles)?;
        let through = self.applier.applied();
        for bundle in bundles {
            self.replace_cached(through, bundle);
            self.recent.settle(through, bundle);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Seq> {
        self.applier.checkpoint()
    }
}

impl<A> Settling<A> {
    fn replace_cached(&self, through: Seq, bundle: &Committed) {
        for change in &bundle.changes {
            if let Change::Token(
                TokenChange::SessionOpened(Session { id, .. })
                | TokenChange::SessionRotated(Session { id, .. })
                | TokenChange::SessionEnded { session: id, .. },
            ) = change
            {
                // A newer write that the engine does not have yet stays with the overlay alone.
                let settled = self.recent.session(*id).filter(|write| write.seq <= through);
                self.cache.replace(*id, settled.and_then(|write| write.value));
            }
        }
    }
}

#[cfg(test)]
mod tests;
