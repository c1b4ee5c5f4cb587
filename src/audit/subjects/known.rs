//! What was learned of accounts' keys, in bounded memory: newest of all what the committer said, which
//! the log database follows later.
//!
//! Invariant: once the committer said that an account is erased, no key of it is given out again. The
//! cache alone cannot hold to that, because it forgets: so an erasure stands apart from it until the log
//! database has it, and a read that may be older than what was let go of is not remembered.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::model::change::{Change, LogChange};
use crate::model::id::{AccountId, Seq};
use crate::store::commit::Follower;

/// Accounts whose keys are remembered; about 150 bytes each. Others cost a read of the log database.
const REMEMBERED: usize = 50_000;

/// Positions that an erasure is remembered for after the log database has it: a bundle that was staged
/// before it, with a new key of that account, is committed by then.
const STAGED: u64 = 10_000;

/// The newest known about an account's keys.
#[derive(Clone)]
pub(super) enum Known {
    /// One that may be used, sealed.
    Key(Arc<[u8]>),
    Erased,
}

/// What was learned. Shared by the follower, which is made before the stores are opened, and
/// [`super::Subjects`], which are made after.
#[derive(Clone)]
pub struct KnownSubjects(Arc<Inner>);

struct Inner {
    cache: Cache<AccountId, Known>,
    /// Held while the cache is written to.
    erasures: Mutex<Erasures>,
}

/// The erasures that the log database may not have yet.
#[derive(Default)]
struct Erasures {
    accounts: HashSet<AccountId>,
    in_order: VecDeque<(Seq, AccountId)>,
    /// The newest that was let go of.
    let_go: Seq,
}

impl Default for KnownSubjects {
    fn default() -> Self {
        Self(Arc::new(Inner { cache: Cache::new(REMEMBERED), erasures: Mutex::default() }))
    }
}

impl KnownSubjects {
    /// What is known without a read.
    pub(super) fn get(&self, account: AccountId) -> Option<Known> {
        // A key in the cache is not erased: an erasure takes its place.
        self.0.cache.get(&account).or_else(|| self.was_erased(account).then_some(Known::Erased))
    }

    fn was_erased(&self, account: AccountId) -> bool {
        self.0.erasures.lock().accounts.contains(&account)
    }

    /// Remembers what was read from the log database when that had reached `as_of`: what was learned of
    /// the journal meanwhile stands. Gives what is known then, or none if the read came too late to say.
    pub(super) fn fill(&self, account: AccountId, found: Known, as_of: Seq) -> Option<Known> {
        let erasures = self.0.erasures.lock();
        if erasures.accounts.contains(&account) {
            return Some(Known::Erased);
        }
        if let Some(newer) = self.0.cache.get(&account) {
            return Some(newer);
        }
        if as_of < erasures.let_go {
            return None;
        }
        self.0.cache.insert(account, found.clone());
        Some(found)
    }

    /// Lets go of erasures that the log database has had for long.
    pub(super) fn applied(&self, through: Seq) {
        let mut erasures = self.0.erasures.lock();
        while let Some((at, account)) = erasures.in_order.front().copied()
            && at.0.saturating_add(STAGED) <= through.0
        {
            erasures.in_order.pop_front();
            erasures.accounts.remove(&account);
            erasures.let_go = at;
        }
    }

    /// Learns of keys as they are committed: the log database follows later, and every event about
    /// an account in between would make one more key.
    pub fn follower(&self) -> Follower {
        let known = Arc::clone(&self.0);
        Box::new(move |committed| {
            let concerns = |change: &Change| matches!(change, Change::Log(log) if log.is_about_keys());
            if !committed.changes.iter().any(concerns) {
                return;
            }
            let mut erasures = known.erasures.lock();
            for change in &committed.changes {
                match change {
                    Change::Log(LogChange::SubjectKeyAdded { account, sealed })
                        if !erasures.accounts.contains(account)
                            && !matches!(known.cache.get(account), Some(Known::Erased)) =>
                    {
                        known.cache.insert(*account, Known::Key(sealed.as_slice().into()));
                    }
                    Change::Log(LogChange::SubjectKeyErased { account }) => {
                        known.cache.insert(*account, Known::Erased);
                        if erasures.accounts.insert(*account) {
                            erasures.in_order.push_back((committed.seq, *account));
                        }
                    }
                    _ => {}
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::store::bundle::Committed;

    fn account(n: u32) -> AccountId {
        AccountId(uuid::Uuid::from_u128(u128::from(n)))
    }

    fn key() -> Known {
        Known::Key([1; 60].into())
    }

    fn hear(known: &KnownSubjects, seq: u64, change: LogChange) {
        let changes = vec![Change::Log(change)];
        known.follower()(&Committed { seq: Seq(seq), time: Timestamp::from_millis(1), changes });
    }

    /// The account 1 was erased in position 1 while the cache was full of others, and then so many more
    /// were looked at that the cache has forgotten it.
    fn erased_and_forgotten() -> KnownSubjects {
        let known = KnownSubjects::default();
        let look_at = |accounts: std::ops::Range<u32>| {
            accounts.for_each(|n| drop(known.fill(account(n), key(), Seq(0))));
        };
        look_at(2..2 * REMEMBERED as u32);
        hear(&known, 1, LogChange::SubjectKeyErased { account: account(1) });
        look_at(2 * REMEMBERED as u32..3 * REMEMBERED as u32);
        assert!(known.0.cache.get(&account(1)).is_none());
        known
    }

    #[test]
    fn an_erasure_that_the_cache_forgot_stands_against_reads_and_keys_that_are_late() {
        let known = erased_and_forgotten();
        assert!(matches!(known.get(account(1)), Some(Known::Erased)));
        assert!(matches!(known.fill(account(1), key(), Seq(0)), Some(Known::Erased)));
        hear(&known, 2, LogChange::SubjectKeyAdded { account: account(1), sealed: vec![1; 60] });
        assert!(matches!(known.get(account(1)), Some(Known::Erased)));
    }

    #[test]
    fn erasures_are_let_go_of_once_the_log_has_them_and_an_older_read_is_not_remembered() {
        let known = erased_and_forgotten();
        known.applied(Seq(STAGED));
        assert!(matches!(known.get(account(1)), Some(Known::Erased)), "too early");
        known.applied(Seq(1 + STAGED));
        assert!(known.0.erasures.lock().in_order.is_empty());
        assert!(known.fill(account(1), key(), Seq(0)).is_none(), "read before the erasure");
        assert!(known.get(account(1)).is_none());
        assert!(matches!(known.fill(account(1), Known::Erased, Seq(1)), Some(Known::Erased)));
    }
}
