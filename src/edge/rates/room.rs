//! How many buckets one rate may keep, and how many of them may be of one neighbourhood.
//!
//! Whoever holds an IPv6 /48 has 65,536 networks that look like as many clients. So a site (/48) gets a
//! 64th of a rate's room, and all of a provider's (/32) a quarter: beyond that its networks share a
//! bucket, while everybody else's still find room. IPv4 addresses are too dear for it, and ids are
//! nobody's to choose.
//!
//! Invariant: neighbourhoods are counted only while they have a bucket, so there are at most two for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Locks that the neighbourhoods are spread over.
const SHARDS: usize = 16;
/// Bits of a neighbourhood's prefix, and what part of the room it may take.
const SHARES: [(u32, usize); 2] = [(48, 64), (32, 4)];
/// A share is at least this, however small the room.
const LEAST: usize = 16;

/// What all rates' buckets together are counted in.
#[derive(Debug, Default)]
pub struct Tally {
    /// Buckets kept.
    held: AtomicUsize,
    /// Requests that had to share a bucket.
    crowded: AtomicU64,
}

impl Tally {
    /// Buckets kept now, and requests so far that had to share one.
    pub fn crowd(&self) -> (usize, u64) {
        (self.held.load(Ordering::Relaxed), self.crowded.load(Ordering::Relaxed))
    }
}

/// The room of one rate.
#[derive(Debug)]
pub struct Room {
    size: usize,
    free: AtomicUsize,
    near: [Mutex<HashMap<Near, usize>>; SHARDS],
    hasher: RandomState,
    tally: Arc<Tally>,
}

/// A neighbourhood: its prefix, how long that is, and how many buckets it may have.
#[derive(Clone, Copy, Debug)]
struct Neighbourhood {
    near: Near,
    share: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Near {
    prefix: u128,
    bits: u32,
}

/// There is no room for a bucket of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// For nobody.
    Room,
    /// For this neighbourhood.
    Share(u128),
}

impl Room {
    /// For this many.
    pub fn new(size: usize, tally: &Arc<Tally>) -> Self {
        let near = std::array::from_fn(|_| Mutex::default());
        Self {
            size,
            free: AtomicUsize::new(size),
            near,
            hasher: RandomState::new(),
            tally: Arc::clone(tally),
        }
    }

    /// Takes room for the bucket of this key.
    pub fn take(&self, own: u128) -> Result<(), Full> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| Full::Room)?;
        for (taken, one) in self.neighbourhoods(own).enumerate() {
            if !self.enter(one) {
                self.neighbourhoods(own).take(taken).for_each(|one| self.leave(one.near));
                self.free.fetch_add(1, Ordering::Relaxed);
                return Err(Full::Share(one.near.prefix));
            }
        }
        self.tally.held.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether [`Self::take`] would succeed now.
    pub fn look(&self, own: u128) -> Result<(), Full> {
        if self.free.load(Ordering::Relaxed) == 0 {
            return Err(Full::Room);
        }
        let held = |near: Near| self.shard(near).lock().get(&near).copied().unwrap_or(0);
        match self.neighbourhoods(own).find(|one| held(one.near) >= one.share) {
            Some(full) => Err(Full::Share(full.near.prefix)),
            None => Ok(()),
        }
    }

    /// The bucket of this key is gone.
    pub fn give_back(&self, own: u128) {
        self.neighbourhoods(own).for_each(|one| self.leave(one.near));
        self.free.fetch_add(1, Ordering::Relaxed);
        self.tally.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request had to share a bucket.
    pub fn crowded(&self) {
        self.tally.crowded.fetch_add(1, Ordering::Relaxed);
    }

    /// Of an IPv6 client; nobody else has any. Global addresses begin at 2000::/3, above mapped IPv4 and
    /// above any id (see `limiter::places`).
    fn neighbourhoods(&self, own: u128) -> impl Iterator<Item = Neighbourhood> + use<> {
        let (size, ipv6) = (self.size, own >> 125 != 0);
        SHARES.into_iter().filter(move |_| ipv6).map(move |(bits, part)| {
            let prefix = own & (u128::MAX << (128 - bits));
            Neighbourhood { near: Near { prefix, bits }, share: (size / part).max(LEAST) }
        })
    }

    fn shard(&self, near: Near) -> &Mutex<HashMap<Near, usize>> {
        let [first, ..] = &self.near;
        let at = usize::try_from(self.hasher.hash_one(near) % SHARDS as u64).unwrap_or(0);
        self.near.get(at).unwrap_or(first)
    }

    fn enter(&self, Neighbourhood { near, share }: Neighbourhood) -> bool {
        let mut shard = self.shard(near).lock();
        let held = shard.get(&near).copied().unwrap_or(0);
        if held >= share {
            return false;
        }
        shard.insert(near, held + 1);
        true
    }

    fn leave(&self, near: Near) {
        let mut shard = self.shard(near).lock();
        let Entry::Occupied(mut held) = shard.entry(near) else { return };
        if *held.get() > 1 {
            *held.get_mut() -= 1;
            return;
        }
        held.remove();
        if shard.capacity() > 64 + shard.len() * 4 {
            let twice = shard.len() * 2;
            shard.shrink_to(twice);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let held = self.size.saturating_sub(self.free.load(Ordering::Relaxed));
        self.tally.held.fetch_sub(held, Ordering::Relaxed);
    }
}
