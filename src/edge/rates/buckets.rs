//! The buckets of one rate, in bounded memory: where governor's arithmetic keeps its numbers.
//!
//! A client that asks often is kept; one whose bucket is full again is no different from one never
//! seen, and is dropped. While there are more clients than there is room for ([`Room`]), or more of
//! one neighbourhood than its share, the clients that are
//! known keep their own buckets, and the new ones share: each falls into one of [`SHARED`] buckets
//! with others of its neighbourhood (see [`Place::shared`]). So a flood of new keys neither opens the
//! gate (its own neighbourhood runs dry) nor closes it for everybody (known clients and other
//! neighbourhoods do not notice).
//!
//! Locks are spread over [`SHARDS`]; two threads meet only over the same client, or one in 64 times.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use super::room::{Full, Room};

/// Locks that the buckets are spread over.
const SHARDS: usize = 64;
/// Buckets that new clients share where there is no room for one each.
pub const SHARED: u64 = 1024;
/// How often a shard is searched for buckets that are full again, when there is no room for another:
/// a flood of new clients must not buy a search with each of its requests.
const SEARCH: Duration = Duration::from_millis(100);

/// Which bucket, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The client's own.
    pub own: u128,
    /// The neighbourhood whose bucket it falls into where there is no room for its own.
    pub shared: u128,
    /// Whether something is taken; otherwise it is only looked at.
    pub take: bool,
}

#[derive(Debug, Default)]
struct Shard {
    kept: Mutex<Kept>,
    /// When it was last searched for full buckets, nanoseconds.
    searched: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    own: HashMap<u128, Nanos>,
    shared: HashMap<u64, Nanos>,
}

/// The buckets of one rate.
#[derive(Debug)]
pub struct Buckets {
    shards: [Shard; SHARDS],
    room: Room,
    /// What one request weighs: governor's unit.
    weight: Nanos,
    hasher: RandomState,
}

impl Buckets {
    /// No buckets yet. `weight` is the time in which a bucket gains one request.
    pub fn new(room: Room, weight: Duration) -> Self {
        let weight = Nanos::from(weight.max(Duration::from_nanos(1)));
        let shards = std::array::from_fn(|_| Shard::default());
        Self { shards, room, weight, hasher: RandomState::new() }
    }

    /// The hash is keyed: nobody can choose addresses that all meet in one shard.
    fn shard(&self, hash: u64) -> (usize, &Shard) {
        let [first, ..] = &self.shards;
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        (at, self.shards.get(at).unwrap_or(first))
    }

    /// Drops the buckets that are full at `now`, and the memory they took.
    pub fn sweep(&self, now: Nanos) {
        for shard in &self.shards {
            self.search(&mut shard.kept.lock(), now);
        }
    }

    fn search(&self, kept: &mut Kept, now: Nanos) {
        kept.own.retain(|own, full_at| {
            let stays = *full_at > now;
            if !stays {
                self.room.give_back(*own);
            }
            stays
        });
        kept.shared.retain(|_, full_at| *full_at > now);
        if kept.own.capacity() > 64 + kept.own.len() * 4 {
            let twice = kept.own.len() * 2;
            kept.own.shrink_to(twice);
        }
    }

    /// Takes room for `client`, if need be after a search of one shard that is due for it: `own`, which
    /// the caller holds as `kept`, or the next. A shard that another thread holds is passed over.
    fn make_room(&self, (own, kept): (usize, &mut Kept), client: u128, now: Nanos) -> Result<(), Full> {
        let full = match self.room.take(client) {
            Ok(()) => return Ok(()),
            Err(full) => full,
        };
        let due = |searched: u64| now.saturating_sub(Nanos::from(searched)) >= Nanos::from(SEARCH);
        let all = self.shards.iter().enumerate();
        for (at, shard) in all.cycle().skip(own).take(SHARDS) {
            let searched = shard.searched.load(Ordering::Relaxed);
            let claim = || {
                let (now, order) = (now.as_u64(), Ordering::Relaxed);
                shard.searched.compare_exchange(searched, now, order, order).is_ok()
            };
            if !due(searched) || !claim() {
                continue;
            }
            if at == own {
                self.search(kept, now);
            } else if let Some(mut other) = shard.kept.try_lock() {
                self.search(&mut other, now);
            }
            return self.room.take(client);
        }
        Err(full)
    }

    /// Asks `f` what becomes of the bucket at `place`. A [`Nanos`] here is governor's "theoretical
    /// arrival time": the moment at which the bucket is full again.
    fn measure<T, F, E>(&self, place: &Place, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (at, shard) = self.shard(self.hasher.hash_one(place.own));
        let mut kept = shard.kept.lock();
        if let Some(full_at) = kept.own.get_mut(&place.own) {
            let (outcome, next) = f(Some(*full_at))?;
            if place.take {
                *full_at = next;
            }
            return Ok(outcome);
        }
        let (outcome, next) = f(None)?;
        // What governor makes of a client never seen is now and one request.
        let now = next.saturating_sub(self.weight);
        let room = if place.take {
            self.make_room((at, &mut kept), place.own, now)
        } else {
            self.room.look(place.own)
        };
        if let Err(full) = room {
            drop(kept);
            let shared = match full {
                Full::Room => place.shared,
                Full::Share(neighbourhood) => neighbourhood,
            };
            return self.measure_shared(shared, place.take, f);
        }
        if place.take {
            kept.own.insert(place.own, next);
        }
        Ok(outcome)
    }

    /// The bucket of a neighbourhood. It is locked with the shard that its number says, after the
    /// client's own shard was let go.
    fn measure_shared<T, F, E>(&self, shared: u128, take: bool, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let number = self.hasher.hash_one(shared) % SHARED;
        let mut kept = self.shard(number).1.kept.lock();
        let known = kept.shared.get(&number).copied();
        let (outcome, next) = f(known)?;
        if take {
            self.room.crowded();
            kept.shared.insert(number, next);
        }
        Ok(outcome)
    }
}

/// The same buckets, in governor's hands and in those of whoever sweeps them.
#[derive(Clone, Debug)]
pub struct Shelf(pub Arc<Buckets>);

impl StateStore for Shelf {
    type Key = Place;

    fn measure_and_replace<T, F, E>(&self, place: &Place, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure(place, f)
    }
}
