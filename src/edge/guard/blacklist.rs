//! The IP blacklist as the edge consults it: is this address banned now?
//!
//! A fast copy, not the truth: the token store holds the bans, whoever follows the journal feeds
//! this through [`Blacklist::insert`] and [`Blacklist::remove`]. Networks are kept in one hash map
//! for each prefix length in use, so a look-up costs the same with ten entries and with a million.
//! An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address it maps.
//!
//! Beside those bans stand the configuration's, and those that addresses have earned by what they ask for
//! ([`ladder`](super::ladder)). None lifts another.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::ladder::{Earned, Ladder};
use crate::config::filter::Bans;
use crate::model::ban::Ban;
use crate::model::time::{FORGOTTEN_LATE, Timestamp};

/// Bits that a mapped IPv4 network's prefix is longer by.
const MAPPED: u8 = 96;

/// How many lapsed bans are dropped under one lock.
const AT_ONCE: usize = 1024;

/// Banned networks. Shared by every edge thread and whoever feeds it.
#[derive(Debug, Default)]
pub struct Blacklist {
    nets: RwLock<Nets>,
    /// When each of them that has an end lapses, so that none has to be looked through for it. Locked before
    /// `nets` by whoever changes them; requests never wait for it.
    ends: Mutex<BTreeSet<(Timestamp, Place)>>,
    /// What the configuration bans, apart: neither lifts what the other has banned.
    configured: RwLock<Nets>,
    /// What offenders have earned.
    ladder: Ladder,
    version: AtomicU64,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Nets {
    v4: Lengths,
    v6: Lengths,
}

/// For each prefix length in use, longest life first does not matter: any hit bans.
type Lengths = Vec<(u8, HashMap<u128, Timestamp>)>;

/// Where a network is kept: its family, its prefix's length, and its bits.
type Place = (Family, u8, u128);

impl Blacklist {
    /// An empty blacklist.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts these networks in place of those that were configured before. Bans stay as they are.
    pub fn configure(&self, networks: &[IpNet]) {
        let mut next = Nets::default();
        for network in networks {
            next.insert(place(*network), Timestamp::MAX);
        }
        let before = std::mem::replace(&mut *self.configured.write(), next);
        self.grown();
        // Perhaps half a million entries: not while requests wait for the lock.
        drop(before);
    }

    /// Takes in a ban; one of the same network is replaced.
    pub fn insert(&self, ban: &Ban) {
        let end = ban.expires_at.unwrap_or(Timestamp::MAX);
        let place = place(ban.network);
        {
            let mut ends = self.ends.lock();
            let before = self.nets.write().insert(place, end);
            if let Some(before) = before {
                ends.remove(&(before, place));
            }
            if end < Timestamp::MAX {
                ends.insert((end, place));
            }
        }
        self.grown();
    }

    /// Counts an offence of an address, which may have it banned.
    pub fn offend(&self, address: IpAddr, filter: &Arc<str>, terms: &Bans, now: Timestamp) -> Option<Earned> {
        let earned = self.ladder.offend(address, filter, terms, now)?;
        self.grown();
        Some(earned)
    }

    /// Offenders.
    pub const fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// After the entries: whoever sees the new version finds them.
    fn grown(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Tells of every ban taken in, for what is open already.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Lifts the ban of exactly this network.
    pub fn remove(&self, network: IpNet) {
        let place = place(network);
        let mut ends = self.ends.lock();
        let before = self.nets.write().remove(place);
        if let Some(before) = before {
            ends.remove(&(before, place));
        }
    }

    /// Whether a ban or the configuration covers this address at `now`.
    pub fn contains(&self, address: IpAddr, now: Timestamp) -> bool {
        self.nets.read().contains(address, now)
            || self.configured.read().contains(address, now)
            || self.ladder.until(address, now).is_some()
    }

    /// Until when this address is banned, however it came to that: the last of all that cover it. `None` for one that
    /// is not, and for one that is until somebody lifts it.
    pub fn until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let (commanded, configured) =
            (self.nets.read().until(address), self.configured.read().until(address));
        let ends = [commanded, configured, self.ladder.until(address, now)].into_iter().flatten();
        ends.max().filter(|end| now < *end && *end < Timestamp::MAX)
    }

    /// Grows with every ban taken in. An address found free at one version stays free until the
    /// next, so that an open connection's requests cost one load instead of a look-up.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Drops bans that lapsed a day ago or earlier: memory only, they ban nobody any more. A day late,
    /// because a clock that jumps ahead and returns would otherwise lift bans that still hold.
    ///
    /// A few at a time: whatever lock is held, it is held for no more than those.
    pub fn forget_lapsed(&self, now: Timestamp) {
        while self.forget_some(now) == AT_ONCE {}
        self.ladder.forget(now);
    }

    /// How many were dropped, [`AT_ONCE`] at most.
    fn forget_some(&self, now: Timestamp) -> usize {
        let mut ends = self.ends.lock();
        let lapsed = ends.iter().take_while(|(end, _)| has_lapsed(*end, now)).take(AT_ONCE);
        let lapsed: Vec<_> = lapsed.copied().collect();
        for entry in &lapsed {
            ends.remove(entry);
        }
        let mut nets = self.nets.write();
        for (_, place) in &lapsed {
            nets.remove(*place);
        }
        lapsed.len()
    }

    /// How many bans there are, without those of the configuration.
    #[cfg(any(test, fuzzing))]
    pub fn kept(&self) -> usize {
        let nets = self.nets.read();
        nets.v4.iter().chain(&nets.v6).map(|(_, map)| map.len()).sum()
    }
}

fn has_lapsed(end: Timestamp, now: Timestamp) -> bool {
    end.plus(FORGOTTEN_LATE) <= now
}

impl Nets {
    /// Puts an entry in; returns the end of the one that it replaces.
    fn insert(&mut self, (family, length, bits): Place, end: Timestamp) -> Option<Timestamp> {
        let lengths = self.of(family);
        if let Some((_, map)) = lengths.iter_mut().find(|(known, _)| *known == length) {
            return map.insert(bits, end);
        }
        lengths.push((length, HashMap::from([(bits, end)])));
        None
    }

    /// Removes an entry; returns its end.
    fn remove(&mut self, (family, length, bits): Place) -> Option<Timestamp> {
        let lengths = self.of(family);
        let (_, map) = lengths.iter_mut().find(|(known, _)| *known == length)?;
        let end = map.remove(&bits);
        if map.is_empty() {
            lengths.retain(|(known, _)| *known != length);
        }
        end
    }

    fn contains(&self, address: IpAddr, now: Timestamp) -> bool {
        self.ends(address).any(|end| now < end)
    }

    fn until(&self, address: IpAddr) -> Option<Timestamp> {
        self.ends(address).max()
    }

    /// When each ban that covers an address ends.
    fn ends(&self, address: IpAddr) -> impl Iterator<Item = Timestamp> {
        let (family, bits) = number(address);
        let lengths = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        lengths.iter().filter_map(move |(length, map)| map.get(&family.masked(bits, *length)).copied())
    }

    const fn of(&mut self, family: Family) -> &mut Lengths {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn masked(self, bits: u128, length: u8) -> u128 {
        let width: u32 = match self {
            Self::V4 => 32,
            Self::V6 => 128,
        };
        let host_bits = width.saturating_sub(u32::from(length));
        bits.checked_shr(host_bits).and_then(|kept| kept.checked_shl(host_bits)).unwrap_or(0)
    }
}

fn number(address: IpAddr) -> (Family, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (Family::V4, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (Family::V6, v6.to_bits()),
    }
}

fn place(network: IpNet) -> Place {
    let length = network.prefix_len();
    let (family, bits) = match network.addr() {
        IpAddr::V6(v6) if length < MAPPED => (Family::V6, v6.to_bits()),
        address => number(address),
    };
    let length = match (family, network) {
        (Family::V4, IpNet::V6(_)) => length - MAPPED,
        _ => length,
    };
    (family, length, family.masked(bits, length))
}

#[cfg(test)]
mod tests;
