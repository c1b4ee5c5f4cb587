//! The user namespace in SQLite.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::columns::{bound, id, number, time};
use super::readers::Readers;
use super::{Fault, Schema};
use crate::model::change::{Change, Namespace, UserChange};
use crate::model::document::Document;
use crate::model::id::{AccountId, Seq};
use crate::store::error::StoreError;
use crate::store::view::UserView;

/// Documents.
pub(in crate::store) struct User;

impl Schema for User {
    const NAMESPACE: Namespace = Namespace::User;
    const MIGRATIONS: &'static [&'static str] = &[include_str!("migrations/user/0001_documents.sql")];
    type Batch = ();

    fn apply(transaction: &Transaction<'_>, (): &mut (), _: Seq, change: &Change) -> Result<(), Fault> {
        let Change::User(change) = change else { return Ok(()) };
        match change {
            UserChange::DocumentPut(document) => transaction
                .prepare_cached(
                    "INSERT INTO documents (account, key, body, version, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (account, key) DO UPDATE SET
                         body = excluded.body, version = excluded.version, updated_at = excluded.updated_at",
                )?
                .execute(params![
                    document.account.0.as_bytes(),
                    document.key,
                    document.body,
                    document.version.cast_signed(),
                    document.updated_at.as_millis(),
                ])?,
            UserChange::DocumentDeleted { account, key } => transaction
                .prepare_cached("DELETE FROM documents WHERE account = ?1 AND key = ?2")?
                .execute(params![account.0.as_bytes(), key])?,
            UserChange::UserErased { account } => transaction
                .prepare_cached("DELETE FROM documents WHERE account = ?1")?
                .execute([account.0.as_bytes()])?,
        };
        Ok(())
    }
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

impl UserView for Readers<User> {
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
    ) -> Result<Vec<Document>, StoreError> {
        let (account, limit) = (account.0.as_bytes(), bound(limit));
        self.read(|db| match after {
            None => {
                let sql = "SELECT * FROM documents WHERE account = ?1 ORDER BY key LIMIT ?2";
                db.prepare_cached(sql)?.query_map(params![account, limit], document)?.collect()
            }
            Some(after) => {
                let sql = "SELECT * FROM documents WHERE account = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
                db.prepare_cached(sql)?.query_map(params![account, after, limit], document)?.collect()
            }
        })
    }
}
