//! The ladder: how long an address is banned that keeps offending, longer each time, and forgotten after it was quiet.
//!
//! In memory alone. Whoever offends can do so as fast as the network carries it, and from many addresses; were each
//! ban a record in the journal, a flood of them would fill the disk. A restart forgives all; who goes on
//! is banned again after as many offences. Bounded by [`Room`]: an IPv6 client is its /64, one /48 gets a 64th of the
//! room, and where there is none an offence is refused and not remembered.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};

use super::address::overlap;
use crate::config::filter::Bans;
use crate::edge::rates::room::{Room, Tally};
use crate::model::caller::client_number;
use crate::model::time::Timestamp;

/// Addresses remembered: about 150 bytes each.
const ROOM: usize = 65_536;
/// How often a full table is searched for what may be forgotten: not with each offence.
const SEARCH: Duration = Duration::from_secs(1);

/// A ban that an address has earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// The address, or the /64 that it stands for.
    pub network: IpNet,
    /// The filter that the last offence met.
    pub filter: Arc<str>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Which step of the ladder, from 1.
    pub step: u32,
}

#[derive(Debug)]
struct Record {
    network: IpNet,
    filter: Arc<str>,
    /// Offences in the window that is open.
    offences: u32,
    window_ends: Timestamp,
    /// Bans so far.
    bans: u32,
    since: Timestamp,
    until: Timestamp,
    forgotten_at: Timestamp,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Addresses remembered.
    pub remembered: u64,
    /// Of those, banned now.
    pub banned: u64,
    /// Bans so far.
    pub bans: u64,
    /// Offences not remembered for want of room.
    pub forgone: u64,
}

/// Offenders.
#[derive(Debug)]
pub struct Ladder {
    records: RwLock<HashMap<u128, Record>>,
    /// Who is not banned, as of the configuration in force: a request that is under way may go by an earlier one.
    /// Replaced, and looked at, by who has `records` to write.
    never: RwLock<Vec<IpNet>>,
    room: Room,
    /// Records that have ever been banned and are kept: while there is none, nobody has to be looked up.
    sentenced: AtomicUsize,
    bans: AtomicU64,
    forgone: AtomicU64,
    /// When a full table was last searched.
    searched: Mutex<Timestamp>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Ladder {
    fn with_room(room: usize) -> Self {
        Self {
            records: RwLock::default(),
            never: RwLock::default(),
            room: Room::new(room, &Arc::new(Tally::default())),
            sentenced: AtomicUsize::new(0),
            bans: AtomicU64::new(0),
            forgone: AtomicU64::new(0),
            searched: Mutex::default(),
        }
    }

    /// Counts an offence of an address; the ban, if it has earned one by it.
    pub fn offend(&self, address: IpAddr, filter: &Arc<str>, terms: &Bans, now: Timestamp) -> Option<Earned> {
        let (client, network) = (client_number(address), network_of(address)?);
        let mut records = self.records.write();
        if self.never.read().iter().any(|never| overlap(never, &network)) {
            return None;
        }
        if !records.contains_key(&client) {
            if self.make_room(&mut records, client, now).is_err() {
                self.forgone.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            records.insert(client, Record::new(network, filter));
        }
        let record = records.get_mut(&client)?;
        let first = record.bans == 0 || now >= record.forgotten_at;
        if record.bans > 0 && first {
            *record = Record::new(network, filter);
            self.sentenced.fetch_sub(1, Ordering::Relaxed);
        }
        let earned = record.count(filter, terms, now)?;
        if first {
            self.sentenced.fetch_add(1, Ordering::Release);
        }
        self.bans.fetch_add(1, Ordering::Relaxed);
        Some(earned)
    }

    fn make_room(&self, records: &mut HashMap<u128, Record>, client: u128, now: Timestamp) -> Result<(), ()> {
        if self.room.take(client).is_ok() {
            return Ok(());
        }
        let mut searched = self.searched.lock();
        if now.since(*searched) < SEARCH {
            return Err(());
        }
        *searched = now;
        self.search(records, now);
        self.room.take(client).map_err(drop)
    }

    /// Drops who may be forgotten.
    fn search(&self, records: &mut HashMap<u128, Record>, now: Timestamp) {
        records.retain(|client, record| {
            let stays = now < record.forgotten_at;
            if !stays {
                self.gone(*client, record);
            }
            stays
        });
        if records.capacity() > 64 + records.len() * 4 {
            let twice = records.len() * 2;
            records.shrink_to(twice);
        }
    }

    fn gone(&self, client: u128, record: &Record) {
        self.room.give_back(client);
        if record.bans > 0 {
            self.sentenced.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Until when an address is banned, if it is at `now`.
    pub fn until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        if self.sentenced.load(Ordering::Acquire) == 0 {
            return None;
        }
        let records = self.records.read();
        records.get(&client_number(address)).map(|record| record.until).filter(|until| now < *until)
    }

    /// Forgets an address and lifts its ban; whether it was banned.
    pub fn pardon(&self, network: IpNet, now: Timestamp) -> bool {
        let mut records = self.records.write();
        let client = client_number(network.addr());
        let banned =
            records.get(&client).is_some_and(|record| record.network == network && now < record.until);
        if banned && let Some(record) = records.remove(&client) {
            self.gone(client, &record);
        }
        banned
    }

    /// Forgets those who must not be banned from now on: of networks that hold, or are part of, one of these. Which of
    /// them were.
    pub fn spare(&self, never: &[IpNet], now: Timestamp) -> Vec<IpNet> {
        let spared = |network: &IpNet| never.iter().any(|never| overlap(never, network));
        let mut freed = Vec::new();
        let mut records = self.records.write();
        never.clone_into(&mut self.never.write());
        records.retain(|client, record| {
            let stays = !spared(&record.network);
            if !stays {
                freed.extend((now < record.until).then_some(record.network));
                self.gone(*client, record);
            }
            stays
        });
        drop(records);
        freed.sort_unstable();
        freed
    }

    /// Forgets those who have been quiet for long enough.
    pub fn forget(&self, now: Timestamp) {
        self.search(&mut self.records.write(), now);
    }

    /// The bans that hold, in order of network, those after one.
    pub fn page(&self, after: Option<IpNet>, limit: usize, now: Timestamp) -> Vec<Earned> {
        let records = self.records.read();
        let held = records.values().filter(|record| now < record.until);
        let mut bans: Vec<&Record> =
            held.filter(|record| after.is_none_or(|after| record.network > after)).collect();
        bans.sort_unstable_by_key(|record| record.network);
        bans.into_iter().take(limit).map(Record::earned).collect()
    }

    /// How it stands.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let records = self.records.read();
        let banned = records.values().filter(|record| now < record.until).count();
        Standing {
            remembered: records.len() as u64,
            banned: banned as u64,
            bans: self.bans.load(Ordering::Relaxed),
            forgone: self.forgone.load(Ordering::Relaxed),
        }
    }
}

impl Record {
    fn new(network: IpNet, filter: &Arc<str>) -> Self {
        let never = Timestamp::default();
        Self {
            network,
            filter: Arc::clone(filter),
            offences: 0,
            window_ends: never,
            bans: 0,
            since: never,
            until: never,
            forgotten_at: never,
        }
    }

    fn count(&mut self, filter: &Arc<str>, terms: &Bans, now: Timestamp) -> Option<Earned> {
        // Requests that were under way when it was banned.
        if now < self.until {
            return None;
        }
        if now >= self.window_ends {
            (self.offences, self.window_ends) = (0, now.plus(terms.window));
        }
        self.offences = self.offences.saturating_add(1);
        self.filter = Arc::clone(filter);
        let quiet = if self.bans > 0 { terms.forget } else { terms.window };
        self.forgotten_at = now.plus(quiet);
        if self.offences < terms.offences {
            return None;
        }
        let step = usize::try_from(self.bans).unwrap_or(usize::MAX);
        let lasts = terms.ladder.get(step).or_else(|| terms.ladder.last())?;
        self.bans = self.bans.saturating_add(1);
        (self.offences, self.window_ends) = (0, now);
        (self.since, self.until) = (now, now.plus(*lasts));
        self.forgotten_at = self.until.plus(terms.forget);
        Some(self.earned())
    }

    fn earned(&self) -> Earned {
        let Self { network, since, until, .. } = *self;
        Earned { network, filter: Arc::clone(&self.filter), since, until, step: self.bans }
    }
}

/// The address alone, or the /64 of an IPv6 one: what [`client_number`] tells apart.
pub fn network_of(address: IpAddr) -> Option<IpNet> {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => Some(IpNet::from(v4)),
        v6 @ IpAddr::V6(_) => IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(client_number(v6))), 64).ok(),
    }
}

#[cfg(test)]
mod tests;
