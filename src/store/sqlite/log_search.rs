//! Searching the audit log: a query as SQL. Every condition is bound, never written into the text.
//!
//! Invariant: each plan walks the table or an index from one index to another in order, so that a
//! page costs what it holds and what the least selective condition skips, never a sort of everything.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::columns::{bound, word};
use super::logs::record;
use crate::model::time::Timestamp;
use crate::store::namespace::LogRecord;
use crate::store::query::{About, LogQuery};

/// Times rise along the chain but for what was decided at the same time and committed in another
/// order; nothing stands farther from its place in time than this many records.
const SKEW: u64 = 10_000;

/// The records that meet the query.
pub(super) fn search(db: &Connection, query: &LogQuery, limit: usize) -> rusqlite::Result<Vec<LogRecord>> {
    let Some((after, before)) = range(db, query)? else { return Ok(Vec::new()) };
    let mut values = vec![Value::from(bound(after)), bound(before).into(), bound(limit).into()];
    let mut place = |value: Value| {
        values.push(value);
        values.len()
    };
    let mut conditions = String::from("idx > ?1 AND idx < ?2");
    // The plus keeps the planner from the index on times, which is not in the chain's order.
    let also = [
        query.since.map(|at| ("+at >=", at.as_millis().into())),
        query.until.map(|at| ("+at <=", at.as_millis().into())),
        query.intent.map(|intent| ("intent =", word(&intent).into())),
        query.outcome.map(|outcome| ("outcome =", word(&outcome).into())),
    ];
    for (condition, value) in also.into_iter().flatten() {
        conditions += &format!(" AND {condition} ?{}", place(value));
    }
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let about = query.about.as_ref().map(|About { account, target }| {
        let account = account.map_or(Value::Null, |account| account.0.into_bytes().to_vec().into());
        (place(account), place(target.clone().into()))
    });
    let sql = match about {
        None => format!("SELECT * FROM events WHERE {conditions} ORDER BY idx {order} LIMIT ?3"),
        // Two walks merged, each along its own index.
        Some((account, target)) => format!(
            "SELECT * FROM events WHERE idx IN (
                 SELECT idx FROM events WHERE subject = ?{account} AND {conditions}
                 UNION SELECT idx FROM events WHERE target = ?{target} AND target <> '' AND {conditions}
                 ORDER BY idx {order} LIMIT ?3)
             ORDER BY idx {order}"
        ),
    };
    let mut statement = db.prepare_cached(&sql)?;
    statement.query_map(rusqlite::params_from_iter(values), record)?.collect()
}

/// The query's bounds along the chain; none if nothing can be between them.
fn range(db: &Connection, query: &LogQuery) -> rusqlite::Result<Option<(u64, u64)>> {
    let place = |sql: &str, at: Timestamp| {
        let found = db.prepare_cached(sql)?.query_row([at.as_millis()], |row| row.get::<_, i64>(0));
        found.optional().map(|found| found.map(i64::cast_unsigned))
    };
    let (mut after, mut before) = (query.after, query.before);
    if let Some(since) = query.since {
        let first = place("SELECT idx FROM events WHERE at >= ?1 ORDER BY at, idx LIMIT 1", since)?;
        let Some(first) = first else { return Ok(None) };
        after = after.max(first.saturating_sub(SKEW));
    }
    if let Some(until) = query.until {
        let last = place("SELECT idx FROM events WHERE at <= ?1 ORDER BY at DESC, idx DESC LIMIT 1", until)?;
        let Some(last) = last else { return Ok(None) };
        before = before.min(last.saturating_add(SKEW));
    }
    Ok((after.saturating_add(1) < before).then_some((after, before)))
}
