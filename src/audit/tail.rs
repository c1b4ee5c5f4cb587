//! The newest events, decoded and filtered: what `audit tail` shows. It reads backwards in windows,
//! so that the last ten of a million cost little. It proves nothing: that is `audit::verify`'s task.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::model::caller::Actor;
use crate::model::event::{AuditEvent, ChainHash, Intent};
use crate::model::id::{AccountId, Seq};
use crate::model::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::namespace::{LogRecord, LogStore};

const WINDOW: u64 = 512;

/// One event and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRecord {
    /// Its place in the chain, from 1.
    pub index: u64,
    /// The bundle it was committed in.
    pub seq: Seq,
    /// What was decided.
    pub event: AuditEvent,
    /// Its link in the chain; hexadecimal in JSON.
    #[serde(serialize_with = "hex")]
    pub hash: ChainHash,
}

fn hex<S: Serializer>(hash: &ChainHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hash.hex())
}

/// Which events are wanted; every field that is set must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events with a greater index: to follow the log.
    pub after: u64,
    /// Only this intent.
    pub intent: Option<Intent>,
    /// Only what this account did or what was done to it.
    pub account: Option<AccountId>,
    /// Only from this address.
    pub address: Option<IpAddr>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
}

impl Filter {
    fn admits(&self, event: &AuditEvent) -> bool {
        self.intent.is_none_or(|intent| event.intent == intent)
            && self.address.is_none_or(|address| event.address == Some(address))
            && self.since.is_none_or(|since| event.at >= since)
            && self.account.is_none_or(|account| {
                event.actor == Actor::Account(account) || event.target == account.to_string()
            })
    }
}

/// What `tail` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tail {
    /// The events, oldest first.
    pub events: Vec<EventRecord>,
    /// Indexes of records among them that cannot be read: run `audit verify`.
    pub unreadable: Vec<u64>,
    /// The last index looked at, readable or not, admitted or not: where to follow on.
    pub last: u64,
}

impl Tail {
    /// Records told of. Those that cannot be read count: a log full of them must end too.
    const fn told(&self) -> usize {
        self.events.len() + self.unreadable.len()
    }
}

/// The newest `limit` events that the filter admits or that cannot be read, oldest first. Blocking.
pub fn tail(logs: &LogStore, filter: &Filter, limit: usize) -> Result<Tail, StoreError> {
    let mut found = Tail::default();
    let mut end = logs.head()?.count;
    found.last = end.max(filter.after);
    while end > filter.after && found.told() < limit {
        let start = end.saturating_sub(WINDOW).max(filter.after);
        let window = logs.records(start, usize::try_from(end - start).unwrap_or(usize::MAX))?;
        // Times rise along the chain but for clock steps; a whole window before `since` ends it.
        let mut recent = filter.since.is_none() || window.is_empty();
        for record in window.iter().rev().filter(|record| record.index <= end) {
            if found.told() >= limit {
                break;
            }
            if let Some(record) = event_record(record, &mut found.unreadable) {
                recent |= filter.since.is_some_and(|since| record.event.at >= since);
                if filter.admits(&record.event) {
                    found.events.push(record);
                }
            }
        }
        if !recent {
            break;
        }
        end = start;
    }
    found.events.reverse();
    found.unreadable.reverse();
    Ok(found)
}

/// The oldest `limit` events after index `after`: to follow the log without missing any. Blocking.
pub fn following(logs: &LogStore, after: u64, limit: usize) -> Result<Tail, StoreError> {
    let mut found = Tail { last: after, ..Tail::default() };
    for record in logs.records(after, limit)? {
        found.last = record.index;
        found.events.extend(event_record(&record, &mut found.unreadable));
    }
    Ok(found)
}

fn event_record(record: &LogRecord, unreadable: &mut Vec<u64>) -> Option<EventRecord> {
    let LogRecord { index, seq, hash, .. } = *record;
    let event = record.event();
    if event.is_err() {
        unreadable.push(index);
    }
    event.ok().map(|event| EventRecord { index, seq, event, hash })
}
