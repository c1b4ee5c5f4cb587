//! The user namespace in SQLite.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::columns::{bound, id, number, time};
use super::readers::Readers;
use super::{Fault, Schema};
use crate::model::change::{Change, Namespace, UserChange};
use crate::model::document::{Document, DocumentEntry, Usage};
use crate::model::id::{AccountId, Seq};
use crate::model::profile::Profile;
use crate::store::error::StoreError;
use crate::store::view::UserView;

/// Documents and profiles.
pub(in crate::store) struct User;

impl Schema for User {
    const NAMESPACE: Namespace = Namespace::User;
    const MIGRATIONS: &'static [&'static str] = &[
        include_str!("migrations/user/0001_documents.sql"),
        include_str!("migrations/user/0002_profiles.sql"),
    ];
    type Batch = ();

    fn apply(transaction: &Transaction<'_>, (): &mut (), _: Seq, change: &Change) -> Result<(), Fault> {
        let Change::User(change) = change else { return Ok(()) };
        match change {
            UserChange::DocumentPut(document) => put(transaction, document)?,
            UserChange::DocumentDeleted { account, key } => delete(transaction, *account, key)?,
            UserChange::UserErased { account } => erase(transaction, *account)?,
            UserChange::ProfileSet(profile) => set_profile(transaction, profile)?,
        }
        Ok(())
    }
}

fn put(db: &Connection, document: &Document) -> rusqlite::Result<()> {
    let Document { account, key, body, version, updated_at } = document;
    let mut usage = usage(db, *account)?;
    match size(db, *account, key)? {
        Some(before) => usage.bytes = usage.bytes.saturating_sub(before),
        None => usage.documents += 1,
    }
    usage.bytes += body.len() as u64;
    usage.last_version = usage.last_version.max(*version);
    db.prepare_cached(
        "INSERT INTO documents (account, key, body, version, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account, key) DO UPDATE SET
             body = excluded.body, version = excluded.version, updated_at = excluded.updated_at",
    )?
    .execute(params![account.0.as_bytes(), key, body, version.cast_signed(), updated_at.as_millis()])?;
    set_usage(db, *account, usage)
}

fn delete(db: &Connection, account: AccountId, key: &str) -> rusqlite::Result<()> {
    let Some(bytes) = size(db, account, key)? else { return Ok(()) };
    db.prepare_cached("DELETE FROM documents WHERE account = ?1 AND key = ?2")?
        .execute(params![account.0.as_bytes(), key])?;
    let usage = usage(db, account)?;
    let (documents, bytes) = (usage.documents.saturating_sub(1), usage.bytes.saturating_sub(bytes));
    set_usage(db, account, Usage { documents, bytes, ..usage })
}

fn erase(db: &Connection, account: AccountId) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM documents WHERE account = ?1",
        "DELETE FROM document_usage WHERE account = ?1",
        "DELETE FROM profiles WHERE account = ?1",
    ] {
        db.prepare_cached(sql)?.execute([account.0.as_bytes()])?;
    }
    Ok(())
}

fn set_profile(db: &Connection, profile: &Profile) -> rusqlite::Result<()> {
    let account = profile.account.0.as_bytes();
    db.prepare_cached(
        "INSERT INTO profiles (account, updated_at) VALUES (?1, ?2)
         ON CONFLICT (account) DO UPDATE SET updated_at = excluded.updated_at",
    )?
    .execute(params![account, profile.updated_at.as_millis()])?;
    db.prepare_cached("DELETE FROM profile_claims WHERE account = ?1")?.execute([account])?;
    let mut insert =
        db.prepare_cached("INSERT INTO profile_claims (account, name, value) VALUES (?1, ?2, ?3)")?;
    for (name, value) in &profile.claims {
        insert.execute(params![account, name, value])?;
    }
    Ok(())
}

/// Bytes of a document's body.
fn size(db: &Connection, account: AccountId, key: &str) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT octet_length(body) AS bytes FROM documents WHERE account = ?1 AND key = ?2")?
        .query_row(params![account.0.as_bytes(), key], |row| number(row, "bytes"))
        .optional()
}

fn usage(db: &Connection, account: AccountId) -> rusqlite::Result<Usage> {
    let found = db
        .prepare_cached("SELECT * FROM document_usage WHERE account = ?1")?
        .query_row([account.0.as_bytes()], |row| {
            let (documents, bytes) = (number(row, "documents")?, number(row, "bytes")?);
            Ok(Usage { documents, bytes, last_version: number(row, "last_version")? })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn set_usage(db: &Connection, account: AccountId, usage: Usage) -> rusqlite::Result<()> {
    let Usage { documents, bytes, last_version } = usage;
    db.prepare_cached(
        "INSERT INTO document_usage (account, documents, bytes, last_version) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account) DO UPDATE SET
             documents = excluded.documents, bytes = excluded.bytes, last_version = excluded.last_version",
    )?
    .execute(params![
        account.0.as_bytes(),
        documents.cast_signed(),
        bytes.cast_signed(),
        last_version.cast_signed(),
    ])
    .map(|_| ())
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        account: AccountId(id(row, "account")?),
        key: row.get("key")?,
        body: row.get("body")?,
        version: number(row, "version")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<DocumentEntry> {
    Ok(DocumentEntry {
        key: row.get("key")?,
        bytes: number(row, "bytes")?,
        version: number(row, "version")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// The columns of an entry, for a statement to finish.
macro_rules! entries_where {
    ($rest:literal) => {
        concat!("SELECT key, octet_length(body) AS bytes, version, updated_at FROM documents ", $rest)
    };
}

impl UserView for Readers<User> {
    fn damage(&self) -> Option<Arc<str>> {
        self.site.damage()
    }

    fn document(&self, account: AccountId, key: &str) -> Result<Option<Document>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT * FROM documents WHERE account = ?1 AND key = ?2")?;
            statement.query_row(params![account.0.as_bytes(), key], document).optional()
        })
    }

    fn documents(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DocumentEntry>, StoreError> {
        let (account, limit) = (account.0.as_bytes(), bound(limit));
        self.read(|db| match after {
            None => {
                let sql = entries_where!("WHERE account = ?1 ORDER BY key LIMIT ?2");
                db.prepare_cached(sql)?.query_map(params![account, limit], entry)?.collect()
            }
            Some(after) => {
                let sql = entries_where!("WHERE account = ?1 AND key > ?2 ORDER BY key LIMIT ?3");
                db.prepare_cached(sql)?.query_map(params![account, after, limit], entry)?.collect()
            }
        })
    }

    fn usage(&self, account: AccountId) -> Result<Usage, StoreError> {
        self.read(|db| usage(db, account))
    }

    fn profile(&self, account: AccountId) -> Result<Option<Profile>, StoreError> {
        self.read(|db| {
            // One statement, so that it answers from one transaction of the writer's.
            let mut statement = db.prepare_cached(
                "SELECT updated_at, name, value FROM profiles
                 LEFT JOIN profile_claims ON profile_claims.account = profiles.account
                 WHERE profiles.account = ?1",
            )?;
            let mut rows = statement.query([account.0.as_bytes()])?;
            let mut profile: Option<Profile> = None;
            while let Some(row) = rows.next()? {
                let updated_at = time(row, "updated_at")?;
                let profile = profile.get_or_insert_with(|| Profile {
                    account,
                    claims: Default::default(),
                    updated_at,
                });
                if let (Some(name), Some(value)) = (row.get("name")?, row.get("value")?) {
                    profile.claims.insert(name, value);
                }
            }
            Ok(profile)
        })
    }
}
