//! Forward-only migrations: numbered SQL texts inside the binary, each run once, in order, in one
//! transaction with the record that it ran.
//!
//! There is no way back: an older binary refuses a newer schema. A text whose checksum is not the
//! recorded one is refused too, since then nobody knows what the file's schema is.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Site;
use crate::store::error::StoreError;

/// What every file has besides its own tables. `progress` has one row.
const BOOKKEEPING: &str = "
    CREATE TABLE IF NOT EXISTS migrations (
        version  INTEGER NOT NULL PRIMARY KEY,
        checksum BLOB    NOT NULL CHECK (length(checksum) = 32)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS progress (
        one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        applied INTEGER NOT NULL
    ) STRICT;
    INSERT OR IGNORE INTO progress (one, applied) VALUES (1, 0);
";

/// Brings the file's schema up to `migrations`.
///
/// # Errors
/// `NewerSchema`, `Damaged` for a migration that differs from the one that was run, or `Engine`.
pub(super) fn run(
    connection: &mut Connection,
    site: &Site,
    migrations: &[&'static str],
) -> Result<(), StoreError> {
    let sql = |error: rusqlite::Error| site.error(error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sql)?;
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { namespace: site.namespace, found, known });
    }
    if found == known {
        return verify(&transaction, site, migrations);
    }
    transaction.execute_batch(BOOKKEEPING).map_err(sql)?;
    let done = migrations.get(..found as usize).unwrap_or_default();
    verify(&transaction, site, done)?;
    for (version, text) in (1_u32..).zip(migrations).skip(done.len()) {
        apply(&transaction, version, text).map_err(sql)?;
    }
    transaction.commit().map_err(sql)
}

fn apply(transaction: &Transaction<'_>, version: u32, text: &str) -> rusqlite::Result<()> {
    transaction.execute_batch(text)?;
    transaction.execute(
        "INSERT INTO migrations (version, checksum) VALUES (?1, ?2)",
        params![version, blake3::hash(text.as_bytes()).as_bytes()],
    )?;
    transaction.pragma_update(None, "user_version", version)
}

fn verify(transaction: &Transaction<'_>, site: &Site, done: &[&str]) -> Result<(), StoreError> {
    let recorded = || {
        let mut statement = transaction.prepare("SELECT checksum FROM migrations ORDER BY version")?;
        let checksums = statement.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
        checksums.collect::<rusqlite::Result<Vec<_>>>()
    };
    let recorded = recorded().map_err(|error| site.error(error))?;
    let texts: Vec<_> = done.iter().map(|text| *blake3::hash(text.as_bytes()).as_bytes()).collect();
    if recorded == texts {
        return Ok(());
    }
    let first = recorded.iter().zip(&texts).take_while(|(a, b)| a == b).count() + 1;
    let name = site.namespace.name();
    let detail =
        format!("migration {first} of the {name} store is not the one in this binary: the schema is unknown");
    Err(site.damaged(0, detail))
}
