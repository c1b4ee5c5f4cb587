//! The logs namespace in SQLite. The chain is computed here, as bundles are applied, from the head
//! that the same transaction sees. How it is searched stands in `log_search`.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{bound, number, time, word};
use super::readers::Readers;
use super::{Fault, Schema, log_search};
use crate::model::caller::Actor;
use crate::model::change::{Change, LogChange, Namespace};
use crate::model::event::{AuditEvent, ChainHash, Pruned, Seal, SignedHead};
use crate::model::id::{AccountId, Seq};
use crate::store::chain;
use crate::store::error::StoreError;
use crate::store::namespace::{LogHead, LogRecord, SubjectKeys};
use crate::store::query::{LogQuery, subject};
use crate::store::view::LogView;

/// The audit chain, its signed heads and its subjects' keys.
pub(in crate::store) struct Logs;

impl Schema for Logs {
    const NAMESPACE: Namespace = Namespace::Logs;
    const MIGRATIONS: &'static [&'static str] = &[
        include_str!("migrations/logs/0001_events.sql"),
        include_str!("migrations/logs/0002_search_seal_prune.sql"),
    ];
    /// The head, once the transaction has read it.
    type Batch = Option<LogHead>;

    fn apply(
        transaction: &Transaction<'_>,
        head: &mut Option<LogHead>,
        seq: Seq,
        change: &Change,
    ) -> Result<(), Fault> {
        let Change::Log(change) = change else { return Ok(()) };
        match change {
            LogChange::Event(_) | LogChange::SealedEvent(_) => {
                let Some((event, seal)) = change.event() else { return Ok(()) };
                let before = match head {
                    Some(head) => *head,
                    None => read_head(transaction)?,
                };
                let record = chain::following(before, seq, event, seal)?;
                append(transaction, &record, event, seal)?;
                *head = Some(record.head());
            }
            LogChange::HeadSigned(head) => sign(transaction, head)?,
            LogChange::SubjectKeyAdded { account, sealed } => add_key(transaction, *account, sealed)?,
            LogChange::SubjectKeyErased { account } => erase_keys(transaction, *account)?,
            // The head stays: what is dropped has something after it, or the base says where it stood.
            LogChange::Pruned(pruned) => prune(transaction, pruned)?,
        }
        Ok(())
    }
}

fn append(
    db: &Connection,
    record: &LogRecord,
    event: &AuditEvent,
    seal: Option<&Seal>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO events (idx, seq, payload, hash, at, intent, outcome, actor, target, address, subject)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
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
        subject(event, seal).map(|account| account.0.into_bytes()),
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

fn add_key(db: &Connection, account: AccountId, sealed: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO subject_keys (account, sealed) SELECT ?1, ?2
         WHERE NOT EXISTS (SELECT 1 FROM subject_keys WHERE account = ?1 AND sealed IS NULL)",
    )?
    .execute(params![account.0.into_bytes(), sealed])
    .map(|_| ())
}

fn erase_keys(db: &Connection, account: AccountId) -> rusqlite::Result<()> {
    let account = account.0.into_bytes();
    db.prepare_cached("DELETE FROM subject_keys WHERE account = ?1")?.execute([account])?;
    db.prepare_cached("INSERT INTO subject_keys (account, sealed) VALUES (?1, NULL)")?
        .execute([account])
        .map(|_| ())
}

fn prune(db: &Connection, pruned: &Pruned) -> rusqlite::Result<()> {
    let through = pruned.through.cast_signed();
    let last = db.prepare_cached("SELECT * FROM events WHERE idx = ?1")?.query_row([through], record);
    if !last.optional()?.is_some_and(|last| pruned.ends_with(&last)) {
        return Ok(());
    }
    db.execute("DELETE FROM events WHERE idx <= ?1", [through])?;
    db.execute("DELETE FROM signed_heads WHERE count < ?1", [through])?;
    db.execute(
        "INSERT OR REPLACE INTO base (one, through, seq, hash, at) VALUES (1, ?1, ?2, ?3, ?4)",
        params![through, pruned.seq.0.cast_signed(), pruned.hash.0, pruned.at.as_millis()],
    )
    .map(|_| ())
}

fn read_base(db: &Connection) -> rusqlite::Result<Option<Pruned>> {
    let base = |row: &Row<'_>| {
        Ok(Pruned {
            through: number(row, "through")?,
            seq: Seq(number(row, "seq")?),
            hash: ChainHash(row.get("hash")?),
            at: time(row, "at")?,
        })
    };
    db.prepare_cached("SELECT * FROM base")?.query_row([], base).optional()
}

fn read_head(db: &Connection) -> rusqlite::Result<LogHead> {
    let last = |row: &Row<'_>| Ok(LogHead { count: number(row, "idx")?, hash: ChainHash(row.get("hash")?) });
    let mut statement = db.prepare_cached("SELECT idx, hash FROM events ORDER BY idx DESC LIMIT 1")?;
    match statement.query_row([], last).optional()? {
        Some(head) => Ok(head),
        None => Ok(read_base(db)?.as_ref().map(Pruned::head).unwrap_or_default()),
    }
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<LogRecord> {
    let mut record = LogRecord {
        index: number(row, "idx")?,
        seq: Seq(number(row, "seq")?),
        payload: row.get("payload")?,
        hash: ChainHash(row.get("hash")?),
        columns_agree: true,
    };
    // A payload that is no event has nothing to agree with; whoever reads it notices that itself.
    if let Ok((event, seal)) = record.event() {
        record.columns_agree = columns_agree(row, &event, seal.as_ref())?;
    }
    Ok(record)
}

/// Whether the columns for searches say what the event says. The hash does not cover them, and
/// whoever searches believes them.
fn columns_agree(row: &Row<'_>, event: &AuditEvent, seal: Option<&Seal>) -> rusqlite::Result<bool> {
    let text = |column: &str| row.get::<_, String>(column);
    let subject = subject(event, seal).map(|account| account.0.into_bytes().to_vec());
    Ok(time(row, "at")? == event.at
        && text("intent")? == word(&event.intent)
        && text("outcome")? == word(&event.outcome)
        && text("actor")? == actor(&event.actor)
        && text("target")? == event.target
        && row.get::<_, Option<Vec<u8>>>("subject")? == subject
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
    fn damage(&self) -> Option<Arc<str>> {
        self.site.damage()
    }

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

    fn base(&self) -> Result<Option<Pruned>, StoreError> {
        self.read(read_base)
    }

    fn search(&self, query: &LogQuery, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        self.read(|db| log_search::search(db, query, limit))
    }

    fn subject_keys(&self, account: AccountId) -> Result<SubjectKeys, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT sealed FROM subject_keys WHERE account = ?1 ORDER BY sealed")?;
            let keys =
                statement.query_map([account.0.into_bytes()], |row| row.get::<_, Option<Vec<u8>>>(0))?;
            // A row without a key: erased.
            let keys = keys.collect::<rusqlite::Result<Option<Vec<Vec<u8>>>>>()?;
            Ok(keys.map_or(SubjectKeys::Erased, SubjectKeys::Kept))
        })
    }
}
