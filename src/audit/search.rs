//! Events read back: the newest, those that follow, those that a search wants. Decoded, their
//! personal fields opened where the keys are there. It proves nothing: that is `audit::verify`'s
//! task.
//!
//! A search by address reads every record that the other conditions leave, because addresses are
//! sealed: an index over them, keyed or not, would give an erased person's address away again to
//! whoever has the master key and tries the four thousand million that there are. One call looks at
//! a bounded number of records and says where to go on.

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::subjects::Subjects;
use crate::model::event::{AuditEvent, ChainHash, Fields};
use crate::model::id::{AccountId, Seq};
use crate::store::error::StoreError;
use crate::store::namespace::{LogRecord, LogStore};
use crate::store::query::LogQuery;

/// Records asked for at once.
const CHUNK: usize = 512;
/// Records looked at in one call: some tens of milliseconds.
const LOOKED_AT: usize = 16 * CHUNK;

/// One event and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRecord {
    /// Its place in the chain, from 1.
    pub index: u64,
    /// The bundle it was committed in.
    pub seq: Seq,
    /// What was decided.
    pub event: AuditEvent,
    /// Whose personal fields it holds, if they are sealed.
    pub subject: Option<AccountId>,
    /// How they stand.
    pub fields: Fields,
    /// Its link in the chain; hexadecimal in JSON.
    #[serde(serialize_with = "hex")]
    pub hash: ChainHash,
}

fn hex<S: Serializer>(hash: &ChainHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hash.hex())
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Conditions on what is not sealed.
    pub query: LogQuery,
    /// Only from this address or network.
    pub from: Option<IpNet>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The events, in the search's order.
    pub events: Vec<EventRecord>,
    /// Indexes of records among them that cannot be read: run `audit verify`.
    pub unreadable: Vec<u64>,
    /// The last index looked at, readable or not, wanted or not: where to go on.
    pub last: u64,
    /// Whether there may be more beyond it.
    pub more: bool,
}

impl Found {
    /// Records told of. Those that cannot be read count: a log full of them must end too.
    const fn told(&self) -> usize {
        self.events.len() + self.unreadable.len()
    }
}

/// Reads events. Cheap to clone; its calls block.
#[derive(Clone)]
pub struct EventReader {
    logs: LogStore,
    subjects: Subjects,
}

impl EventReader {
    pub(in crate::audit) const fn new(logs: LogStore, subjects: Subjects) -> Self {
        Self { logs, subjects }
    }

    /// The newest `limit` events, oldest first.
    pub fn tail(&self, limit: usize) -> Result<Found, StoreError> {
        let head = self.logs.head()?.count;
        let mut found = Found { last: head, ..Found::default() };
        let query = LogQuery { newest_first: true, before: head + 1, ..LogQuery::default() };
        for record in self.logs.search(&query, limit)? {
            self.take(&record, None, &mut found)?;
        }
        found.events.reverse();
        found.unreadable.reverse();
        Ok(found)
    }

    /// The oldest `limit` events after index `after`: to follow the log without missing any.
    pub fn following(&self, after: u64, limit: usize) -> Result<Found, StoreError> {
        let mut found = Found { last: after, ..Found::default() };
        for record in self.logs.records(after, limit)? {
            found.last = record.index;
            self.take(&record, None, &mut found)?;
        }
        Ok(found)
    }

    /// Events that are wanted, at most `limit`, of as many records as one call looks at.
    pub fn search(&self, wanted: &Search, limit: usize) -> Result<Found, StoreError> {
        let mut query = wanted.query.clone();
        let start = if query.newest_first { query.before } else { query.after };
        let mut found = Found { last: start, ..Found::default() };
        let mut looked = 0;
        loop {
            let chunk = self.logs.search(&query, CHUNK)?;
            for record in &chunk {
                if found.told() >= limit || looked >= LOOKED_AT {
                    found.more = true;
                    return Ok(found);
                }
                looked += 1;
                found.last = record.index;
                self.take(record, wanted.from, &mut found)?;
            }
            if chunk.len() < CHUNK {
                return Ok(found);
            }
            if query.newest_first { query.before = found.last } else { query.after = found.last }
        }
    }

    fn take(&self, record: &LogRecord, from: Option<IpNet>, found: &mut Found) -> Result<(), StoreError> {
        let LogRecord { index, seq, hash, .. } = *record;
        let Ok((mut event, seal)) = record.event() else {
            found.unreadable.push(index);
            return Ok(());
        };
        let fields = match &seal {
            Some(seal) => self.subjects.restore(&mut event, seal)?,
            None => Fields::Open,
        };
        let is_from = |network: IpNet| event.address.is_some_and(|address| contains(network, address));
        if from.is_none_or(is_from) {
            let subject = seal.map(|seal| seal.subject);
            found.events.push(EventRecord { index, seq, event, subject, fields, hash });
        }
        Ok(())
    }
}

/// An IPv4 address that came in IPv6's clothes is the same client.
fn contains(network: IpNet, address: std::net::IpAddr) -> bool {
    network.contains(&address) || network.contains(&address.to_canonical())
}
