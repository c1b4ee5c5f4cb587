//! Buckets by key, bounded: past the bound, new keys share a fixed number of coarse buckets, so that
//! whoever makes up keys cannot push out the bucket of the account they are after, nor take memory.
//!
//! Invariant: at most `most` buckets of their own and [`SHARED`] shared ones, whatever comes.

use std::collections::HashMap;
use std::time::Duration;

use super::bucket::{Bucket, Pace};
use crate::model::time::Timestamp;

/// Coarse buckets.
pub const SHARED: usize = 1024;
/// How often a full table looks for what can be forgotten: it reads every entry.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a bucket is about: keyed hashes, so that keys have one size and cannot be aimed at each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Exactly this.
    pub own: u128,
    /// What it is folded into when there is no room.
    pub coarse: u128,
    /// Whose it is, for clearing: an account's hash; 0 for nobody's.
    pub account: u128,
}

/// Where a key's bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A bucket of its own.
    Own(u128),
    /// A shared one.
    Shared(usize),
}

#[derive(Default)]
struct Entry {
    bucket: Bucket,
    account: u128,
}

/// Buckets of one pace.
pub struct Table {
    pace: Pace,
    most: usize,
    own: HashMap<u128, Entry>,
    shared: Box<[Bucket]>,
    looked: Option<Timestamp>,
}

/// How one account stands in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Failures remembered, of the bucket with the most.
    pub failures: u32,
    /// The longest wait of its buckets.
    pub wait: Duration,
    /// Buckets whose next try has to wait.
    pub waiting: usize,
}

impl Table {
    /// An empty table with room for `most` keys.
    pub fn new(pace: Pace, most: usize) -> Self {
        let shared = vec![Bucket::default(); SHARED].into_boxed_slice();
        Self { pace, most, own: HashMap::new(), shared, looked: None }
    }

    /// Where a key's bucket is or would be.
    pub fn slot(&mut self, key: Key, now: Timestamp) -> Slot {
        if self.own.contains_key(&key.own) || self.has_room(now) {
            return Slot::Own(key.own);
        }
        Slot::Shared(shared(key.coarse))
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.own.len() < self.most {
            return true;
        }
        // `since` is zero for a clock that went back: then the next second looks.
        if self.looked.is_none_or(|looked| now.since(looked) >= LOOK_AGAIN) {
            self.purge(now);
        }
        self.own.len() < self.most
    }

    /// How long until the next try may be made there.
    pub fn wait(&self, slot: Slot, now: Timestamp) -> Duration {
        let bucket = match slot {
            Slot::Own(key) => self.own.get(&key).map(|entry| &entry.bucket),
            Slot::Shared(at) => self.shared.get(at),
        };
        bucket.map_or(Duration::ZERO, |bucket| bucket.wait(&self.pace, now))
    }

    /// A try of that key begins in its slot.
    pub fn reserve(&mut self, slot: Slot, key: Key) {
        match slot {
            Slot::Own(at) => {
                let entry = self.own.entry(at).or_default();
                entry.account = key.account;
                entry.bucket.reserve();
            }
            Slot::Shared(at) => {
                if let Some(bucket) = self.shared.get_mut(at) {
                    bucket.reserve();
                }
            }
        }
    }

    /// A try in that slot ended so.
    pub fn settle(&mut self, slot: Slot, now: Timestamp, end: impl FnOnce(&mut Bucket, &Pace)) {
        match slot {
            Slot::Own(key) => {
                // It may have been cleared meanwhile; then a failure starts anew.
                let entry = self.own.entry(key).or_default();
                end(&mut entry.bucket, &self.pace);
                if entry.bucket.is_empty(&self.pace, now) {
                    self.own.remove(&key);
                }
            }
            Slot::Shared(at) => {
                if let Some(bucket) = self.shared.get_mut(at) {
                    end(bucket, &self.pace);
                }
            }
        }
    }

    /// Drops what is forgotten.
    pub fn purge(&mut self, now: Timestamp) {
        self.looked = Some(now);
        let pace = self.pace;
        self.own.retain(|_, entry| !entry.bucket.is_empty(&pace, now));
        // A flood that has passed leaves no memory behind.
        if self.own.capacity() > 1024 && self.own.len() < self.own.capacity() / 8 {
            self.own.shrink_to_fit();
        }
    }

    /// Forgets an account's failures, the shared bucket's too that it may be folded into.
    pub fn clear(&mut self, account: u128) {
        let theirs = self.own.values_mut().filter(|entry| entry.account == account);
        theirs.for_each(|entry| entry.bucket.forgive());
        if let Some(bucket) = self.shared.get_mut(shared(account)) {
            bucket.forgive();
        }
    }

    /// How an account stands.
    pub fn standing(&self, account: u128, now: Timestamp) -> Standing {
        let theirs = self.own.values().filter(|entry| entry.account == account).map(|entry| entry.bucket);
        theirs.chain(self.shared.get(shared(account)).copied()).fold(Standing::default(), |sum, bucket| {
            let wait = bucket.wait(&self.pace, now);
            Standing {
                failures: sum.failures.max(bucket.level(&self.pace, now)),
                wait: sum.wait.max(wait),
                waiting: sum.waiting + usize::from(!wait.is_zero()),
            }
        })
    }

    /// Keys with a bucket of their own.
    pub fn keys(&self) -> usize {
        self.own.len()
    }
}

/// Any of its bits will do: it is a hash.
const fn shared(coarse: u128) -> usize {
    coarse as usize % SHARED
}
