//! What is revoked, in memory.
//!
//! A token is looked up by each name it could be revoked under (its key, itself, its session, its
//! account, everything), so a lookup costs the same whether ten or a million records are held.
//!
//! The view's *version* grows after each record that it takes in. Whoever remembers that a token
//! was good remembers the version read *before* asking; as long as the version has not moved since,
//! nothing was revoked since. A record that arrives between the reading and the asking is either
//! seen by the asking or moves the version past the one remembered: it cannot be missed.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::claims::Claims;
use crate::revocation::{Revocation, Subject};
use crate::verifier::MAX_LEEWAY;

/// Locks over which ids are spread, so that a growing table stops a 64th of the lookups.
const SHARDS: usize = 64;
/// Different causes kept by name; a feed has about ten, a hostile one must not fill the memory.
const MAX_CAUSES: usize = 64;

/// How much longer than needed a record is kept, milliseconds: a day. A clock that jumps ahead and
/// returns must not have dropped what is in force by the right time: nothing brings it back before
/// the next start.
pub const KEPT_LONGER_MS: i64 = 24 * 60 * 60 * 1000;

/// What is called when something was revoked. Short, and never back into the view.
pub type Listener = Arc<dyn Fn() + Send + Sync>;

/// What is revoked now. Shared by one follower that applies and many verifiers that ask.
pub struct RevocationView {
    version: AtomicU64,
    newest: AtomicU64,
    /// By token, session or account.
    ids: Box<[RwLock<HashMap<Id, Entry>>]>,
    /// Few and rarely changed: copied on write, so that asking takes no lock.
    rest: ArcSwap<Rest>,
    causes: Mutex<Vec<Arc<str>>>,
    /// Weak: who no longer listens need not say so.
    listeners: RwLock<Vec<Weak<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for RevocationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationView").field("version", &self.version()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Id {
    Token(Uuid),
    Session(Uuid),
    Account(Uuid),
}

#[derive(Clone, Debug, Default)]
struct Rest {
    keys: HashMap<String, Entry>,
    everything: Option<Entry>,
}

/// All records about one subject, folded into what the strictest of them says.
#[derive(Clone, Debug)]
struct Entry {
    /// Tokens with a smaller `seq` are revoked, where positions matter.
    before: u64,
    expires_at: i64,
    cause: Arc<str>,
}

impl Entry {
    fn fold(&mut self, other: &Self) {
        self.expires_at = self.expires_at.max(other.expires_at);
        if other.before > self.before {
            self.before = other.before;
            self.cause = Arc::clone(&other.cause);
        }
    }
}

impl Default for RevocationView {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            ids: (0..SHARDS).map(|_| RwLock::default()).collect(),
            rest: ArcSwap::default(),
            causes: Mutex::default(),
            listeners: RwLock::default(),
        }
    }
}

impl RevocationView {
    /// Takes in one revocation; taking one in twice changes nothing. Records may come in any order.
    /// Once this has returned, every later [`Self::is_revoked`] knows of it.
    pub fn apply(&self, revocation: &Revocation) {
        let entry = Entry {
            before: revocation.seq,
            expires_at: revocation.expires_at,
            cause: self.cause(&revocation.cause),
        };
        match &revocation.subject {
            Subject::Token(jti) => self.keep(Id::Token(*jti), &entry),
            Subject::Session(sid) => self.keep(Id::Session(*sid), &entry),
            Subject::Account(sub) => self.keep(Id::Account(*sub), &entry),
            Subject::Key(kid) => self.keep_rest(|rest| {
                rest.keys.entry(kid.clone()).or_insert_with(|| entry.clone()).fold(&entry);
            }),
            Subject::Everything => self.keep_rest(|rest| {
                rest.everything.get_or_insert_with(|| entry.clone()).fold(&entry);
            }),
        }
        self.newest.fetch_max(revocation.seq, Ordering::AcqRel);
        self.tell();
    }

    /// Calls `listener` after each record taken in, for as long as the caller keeps it. Whoever holds
    /// something open on the strength of a token is woken by it, and asks again; who begins to listen
    /// asks once more after that, and misses nothing.
    pub fn on_change(&self, listener: &Listener) {
        let mut listeners = self.listeners.write();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    pub(crate) fn tell(&self) {
        for listener in self.listeners.read().iter().filter_map(Weak::upgrade) {
            listener();
        }
    }

    /// The greatest position taken in; 0 before the first.
    pub fn newest_seq(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Grows after each record taken in. While it stands still, no answer of [`Self::is_revoked`]
    /// turns from no to yes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Why a token with these claims, signed with the key `kid`, is revoked: the cause's word;
    /// `None` if it is not.
    pub fn is_revoked(&self, claims: &Claims, kid: &str) -> Option<Arc<str>> {
        let rest = self.rest.load();
        let key = rest.keys.get(kid);
        let everything = rest.everything.as_ref().filter(|entry| claims.seq < entry.before);
        if let Some(entry) = key.or(everything) {
            return Some(Arc::clone(&entry.cause));
        }
        self.find(Id::Account(claims.sub), |entry| claims.seq < entry.before)
            .or_else(|| self.find(Id::Session(claims.sid), |_| true))
            .or_else(|| self.find(Id::Token(claims.jti), |_| true))
    }

    /// Drops records whose tokens have all expired a day before `now_ms` (milliseconds since the
    /// epoch), even for a verifier with the greatest leeway. The day is for clocks that jump ahead
    /// and return.
    pub fn prune(&self, now_ms: i64) {
        let horizon = now_ms.saturating_sub(MAX_LEEWAY.saturating_mul(1000)).saturating_sub(KEPT_LONGER_MS);
        let lives = |entry: &Entry| entry.expires_at >= horizon;
        for shard in &self.ids {
            let mut shard = shard.write();
            shard.retain(|_, entry| lives(entry));
            if shard.capacity() > 1024 && shard.capacity() / 8 > shard.len() {
                shard.shrink_to_fit();
            }
        }
        self.rest.rcu(|rest| {
            let mut rest = Rest::clone(rest);
            rest.keys.retain(|_, entry| lives(entry));
            rest.everything = rest.everything.filter(lives);
            rest
        });
    }

    /// How many subjects are revoked.
    pub fn len(&self) -> usize {
        let rest = self.rest.load();
        let ids: usize = self.ids.iter().map(|shard| shard.read().len()).sum();
        ids + rest.keys.len() + usize::from(rest.everything.is_some())
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keep(&self, id: Id, entry: &Entry) {
        let mut shard = self.shard(id).write();
        shard.entry(id).or_insert_with(|| entry.clone()).fold(entry);
        // Under the lock: whoever reads the new version and then asks waits for the lock and sees
        // the entry.
        self.version.fetch_add(1, Ordering::Release);
    }

    fn keep_rest(&self, change: impl Fn(&mut Rest)) {
        self.rest.rcu(|rest| {
            let mut rest = Rest::clone(rest);
            change(&mut rest);
            rest
        });
        // After the swap: whoever reads the new version loads the new value.
        self.version.fetch_add(1, Ordering::Release);
    }

    fn find(&self, id: Id, covers: impl Fn(&Entry) -> bool) -> Option<Arc<str>> {
        let shard = self.shard(id).read();
        shard.get(&id).filter(|entry| covers(entry)).map(|entry| Arc::clone(&entry.cause))
    }

    #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards and the index is below SHARDS")]
    fn shard(&self, id: Id) -> &RwLock<HashMap<Id, Entry>> {
        let (Id::Token(uuid) | Id::Session(uuid) | Id::Account(uuid)) = id;
        // The last bits of a UUIDv7 are random.
        let [.., last] = *uuid.as_bytes();
        &self.ids[usize::from(last) % SHARDS]
    }

    /// One copy of each cause's word, however many records have it.
    fn cause(&self, word: &str) -> Arc<str> {
        let mut causes = self.causes.lock();
        if let Some(known) = causes.iter().find(|known| &***known == word) {
            return Arc::clone(known);
        }
        let cause: Arc<str> = word.into();
        if causes.len() < MAX_CAUSES {
            causes.push(Arc::clone(&cause));
        }
        cause
    }
}
