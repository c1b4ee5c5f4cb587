//! The tokens overlay: what is committed but not yet applied by the tokens engine. The committer
//! records each bundle here before it answers anyone, so a rotation need not wait for the engine.
//!
//! It never touches the disk and decides nothing. Invariant: an entry that was recorded is found
//! here until the engine has committed it, so whoever looks here first and in the engine second
//! finds the newest value that was recorded before they looked.
//!
//! One lock over everything, not one for each shard: a bundle appears whole to the listings, and it
//! is held for a few hundred nanoseconds a bundle, and as long by a lookup or by the listing of an
//! account, which an index serves.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::RwLock;
use uuid::Uuid;

use super::bundle::Committed;
use crate::model::ban::Ban;
use crate::model::change::{Change, TokenChange};
use crate::model::id::{AccountId, Seq, SessionId};
use crate::model::revocation::Revocation;
use crate::model::session::Session;
use crate::model::time::Timestamp;

/// A value as of the bundle that wrote it; `None` where that bundle removed it.
#[derive(Clone, Debug)]
pub(in crate::store) struct Write<T> {
    pub seq: Seq,
    pub value: Option<T>,
}

/// The overlay. Shared by the committer, the readers and the tokens applier.
#[derive(Default)]
pub(in crate::store) struct Recent(RwLock<Pending>);

#[derive(Default)]
struct Pending {
    /// The engine has everything through here.
    settled: Seq,
    /// In order, so that a page of a listing need not walk through all of them.
    sessions: BTreeMap<SessionId, SessionWrite>,
    /// (Account, session) for each in `sessions`.
    by_account: BTreeSet<(AccountId, SessionId)>,
    bans: HashMap<IpNet, Write<Ban>>,
    revocations: BTreeMap<(Seq, u32), Revocation>,
    forgotten: Forgotten,
}

/// Which revocations have been forgotten: at those positions, those that expired before those times.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Forgotten(BTreeMap<(Seq, u32), Timestamp>);

impl Forgotten {
    /// Whether a revocation of that position was forgotten after it was recorded.
    pub fn covers(&self, seq: Seq, revocation: &Revocation) -> bool {
        self.0.iter().any(|((at, _), before)| *at > seq && revocation.expires_at < *before)
    }
}

/// A write to a session, and the account it was said to be of.
struct SessionWrite {
    account: AccountId,
    write: Write<Arc<Session>>,
}

impl Recent {
    /// Remembers what a durable bundle changes in the tokens namespace. Called in order of position,
    /// before the bundle is acknowledged and before the applier gets it.
    pub fn record(&self, commit: &Committed) {
        if !commit.changes.iter().any(|change| matches!(change, Change::Token(_))) {
            return;
        }
        let mut pending = self.0.write();
        // What the engine has already would never be settled again, and would hide later writes.
        if commit.seq <= pending.settled {
            return;
        }
        for (index, change) in (0_u32..).zip(&commit.changes) {
            if let Change::Token(change) = change {
                pending.put(commit.seq, index, change);
            }
        }
    }

    /// The newest unsettled write to a session, if there is one.
    pub fn session(&self, id: SessionId) -> Option<Write<Arc<Session>>> {
        self.0.read().sessions.get(&id).map(|it| it.write.clone())
    }

    /// The newest unsettled write to a blacklist entry, if there is one.
    pub fn ban(&self, network: IpNet) -> Option<Write<Ban>> {
        self.0.read().bans.get(&network).cloned()
    }

    /// The newest unsettled write to each session of an account that has one.
    pub fn sessions_of(&self, account: AccountId) -> Vec<(SessionId, Write<Arc<Session>>)> {
        let pending = self.0.read();
        let of =
            pending.by_account.range((account, SessionId(Uuid::nil()))..=(account, SessionId(Uuid::max())));
        of.filter_map(|(_, id)| Some((*id, pending.sessions.get(id)?.write.clone()))).collect()
    }

    /// Whether a session's newest unsettled write is of another account and came after `seq`.
    pub fn is_elsewhere(&self, id: SessionId, account: AccountId, seq: Seq) -> bool {
        self.0.read().sessions.get(&id).is_some_and(|it| it.account != account && it.write.seq > seq)
    }

    /// The newest unsettled write to each session after `after` that has one, in order, through the one that
    /// is the `limit`th to live: a page of that size cannot reach further.
    pub fn sessions(&self, after: Option<SessionId>, limit: usize) -> Vec<(SessionId, Write<Arc<Session>>)> {
        let pending = self.0.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut page, mut living) = (Vec::new(), 0);
        for (id, it) in pending.sessions.range((from, Bound::Unbounded)) {
            if living == limit {
                break;
            }
            living += usize::from(it.write.value.is_some());
            page.push((*id, it.write.clone()));
        }
        page
    }

    /// The newest unsettled write to each blacklist entry that has one.
    pub fn bans(&self) -> HashMap<IpNet, Write<Ban>> {
        self.0.read().bans.clone()
    }

    /// The unsettled revocations, in order, and which of the engine's are forgotten.
    pub fn revocations(&self) -> (Vec<(Seq, Revocation)>, Forgotten) {
        let pending = self.0.read();
        let revocations = pending.revocations.iter().map(|((seq, _), it)| (*seq, it.clone()));
        (revocations.collect(), pending.forgotten.clone())
    }

    /// Forgets what `bundle` wrote, unless it was written again after `through`: the engine has
    /// committed everything up to and including `through`, and whoever asks it now sees that.
    pub fn settle(&self, through: Seq, bundle: &Committed) {
        let mut pending = self.0.write();
        pending.settled = pending.settled.max(through);
        for (index, change) in (0_u32..).zip(&bundle.changes) {
            let Change::Token(change) = change else { continue };
            match change {
                TokenChange::SessionOpened(Session { id, .. })
                | TokenChange::SessionRotated(Session { id, .. })
                | TokenChange::SessionEnded { session: id, .. } => {
                    pending.settle_session(*id, through);
                }
                TokenChange::Revoked(_) => {
                    pending.revocations.remove(&(bundle.seq, index));
                }
                TokenChange::RevocationsForgotten { .. } => {
                    pending.forgotten.0.remove(&(bundle.seq, index));
                }
                TokenChange::Banned(Ban { network, .. }) | TokenChange::Unbanned { network } => {
                    remove_settled(&mut pending.bans, network, through);
                }
            }
        }
    }
}

impl Pending {
    fn put(&mut self, seq: Seq, index: u32, change: &TokenChange) {
        match change {
            TokenChange::SessionOpened(session) | TokenChange::SessionRotated(session) => {
                let value = Some(Arc::new(session.clone()));
                self.put_session(session.id, session.account, Write { seq, value });
            }
            TokenChange::SessionEnded { session, account } => {
                self.put_session(*session, *account, Write { seq, value: None });
            }
            TokenChange::Revoked(revocation) => {
                self.revocations.insert((seq, index), revocation.clone());
            }
            TokenChange::Banned(ban) => {
                self.bans.insert(ban.network, Write { seq, value: Some(ban.clone()) });
            }
            TokenChange::Unbanned { network } => {
                self.bans.insert(*network, Write { seq, value: None });
            }
            TokenChange::RevocationsForgotten { before } => {
                self.revocations.retain(|_, it| it.expires_at >= *before);
                self.forgotten.0.insert((seq, index), *before);
            }
        }
    }
}

impl Pending {
    fn put_session(&mut self, id: SessionId, account: AccountId, write: Write<Arc<Session>>) {
        let before = self.sessions.insert(id, SessionWrite { account, write });
        if let Some(before) = before.filter(|before| before.account != account) {
            self.by_account.remove(&(before.account, id));
        }
        self.by_account.insert((account, id));
    }

    fn settle_session(&mut self, id: SessionId, through: Seq) {
        if let Entry::Occupied(entry) = self.sessions.entry(id)
            && entry.get().write.seq <= through
        {
            let settled = entry.remove();
            self.by_account.remove(&(settled.account, id));
        }
    }
}

fn remove_settled<K: Eq + Hash, T>(writes: &mut HashMap<K, Write<T>>, key: &K, through: Seq) {
    if writes.get(key).is_some_and(|write| write.seq <= through) {
        writes.remove(key);
    }
}
