//! The logs namespace in SQLite. The chain is computed here, as bundles are applied, from the head
//! that the same transaction sees.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{bound, number, time, word};
use super::readers::Readers;
use super::{Fault, Schema};
use crate::model::caller::Actor;
use crate::model::change::{Change, LogChange, Namespace};
use crate::model::event::{AuditEvent, ChainHash, SignedHead};
use crate::model::id::Seq;
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::namespace::{LogHead, LogRecord};
use crate::store::view::LogView;

/// The audit chain and its signed heads.
pub(in crate::store) struct Logs;

impl Schema for Logs {
    const NAMESPACE: Namespace = Namespace::Logs;
    const MIGRATIONS: &'static [&'static str] = &[include_str!("migrations/logs/0001_events.sql")];
    /// The head, once the transaction has read it.
    type Batch = Option<LogHead>;

    fn apply(
        transaction: &Transaction<'_>,
        head: &mut Option<LogHead>,
        seq: Seq,
        change: &Change,
    ) -> Result<(), Fault> {
        match change {
            Change::Log(LogChange::Event(event)) => {
                let before = match head {
                    Some(head) => *head,
                    None => read_head(transaction)?,
                };
                let record = chain::following(before, seq, event)?;
                append(transaction, &record, event)?;
                *head = Some(record.head());
                Ok(())
            }
            Change::Log(LogChange::HeadSigned(head)) => Ok(sign(transaction, head)?),
            _ => Ok(()),
        }
    }
}

fn append(db: &Connection, record: &LogRecord, event: &AuditEvent) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO events (idx, seq, payload, hash, at, intent, outcome, actor, target, address)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        record.index.cast_signed(),
        record.seq.0.cast_signed(),
        record.payload,
        record.hash.0,
        event.at.as_millis(),
        word(&event.intent),
        word(&event.outcome),
        actor(&event.actor),
        event.target,
        event.address.map(|address| address.to_string()),
    ])
    .map(|_| ())
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Anonymous => "anonymous".to_owned(),
        Actor::Account(id) => format!("account:{id}"),
        Actor::Console(user) => format!("console:{user}"),
        Actor::System => "system".to_owned(),
    }
}

fn sign(db: &Connection, head: &SignedHead) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO signed_heads (count, hash, at, signature) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![head.count.cast_signed(), head.hash.0, head.at.as_millis(), head.signature])
    .map(|_| ())
}

fn read_head(db: &Connection) -> rusqlite::Result<LogHead> {
    let last = |row: &Row<'_>| Ok(LogHead { count: number(row, "idx")?, hash: ChainHash(row.get("hash")?) });
    let mut statement = db.prepare_cached("SELECT idx, hash FROM events ORDER BY idx DESC LIMIT 1")?;
    Ok(statement.query_row([], last).optional()?.unwrap_or_default())
}

fn record(row: &Row<'_>) -> rusqlite::Result<LogRecord> {
    let mut record = LogRecord {
        index: number(row, "idx")?,
        seq: Seq(number(row, "seq")?),
        payload: row.get("payload")?,
        hash: ChainHash(row.get("hash")?),
        columns_agree: true,
    };
    // A payload that is no event has nothing to agree with; whoever reads it notices that itself.
    if let Ok(event) = record.event() {
        record.columns_agree = columns_agree(row, &event)?;
    }
    Ok(record)
}

/// Whether the columns for searches say what the event says. The hash does not cover them, and
/// somebody who looks into the file by hand believes them.
fn columns_agree(row: &Row<'_>, event: &AuditEvent) -> rusqlite::Result<bool> {
    let text = |column: &str| row.get::<_, String>(column);
    Ok(time(row, "at")? == event.at
        && text("intent")? == word(&event.intent)
        && text("outcome")? == word(&event.outcome)
        && text("actor")? == actor(&event.actor)
        && text("target")? == event.target
        && row.get::<_, Option<String>>("address")? == event.address.map(|address| address.to_string()))
}

fn signed_head(row: &Row<'_>) -> rusqlite::Result<SignedHead> {
    Ok(SignedHead {
        count: number(row, "count")?,
        hash: ChainHash(row.get("hash")?),
        at: time(row, "at")?,
        signature: row.get("signature")?,
    })
}

impl LogView for Readers<Logs> {
    fn records(&self, after: u64, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT * FROM events WHERE idx > ?1 ORDER BY idx LIMIT ?2")?;
            statement.query_map([bound(after), bound(limit)], record)?.collect()
        })
    }

    fn head(&self) -> Result<LogHead, StoreError> {
        self.read(read_head)
    }

    fn signed_heads(&self, after: u64, limit: usize) -> Result<Vec<SignedHead>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT * FROM signed_heads WHERE count > ?1 ORDER BY count LIMIT ?2")?;
            statement.query_map([bound(after), bound(limit)], signed_head)?.collect()
        })
    }
}
