//! The auth namespace in SQLite.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, Transaction, params};

use super::columns::{bound, id, listed, maybe_parsed, parsed, time, variant, word};
use super::readers::Readers;
use super::{Fault, Schema};
use crate::model::account::{Account, PasswordHash};
use crate::model::change::{AuthChange, Change, Namespace};
use crate::model::email::Email;
use crate::model::id::{AccountId, InviteId, Seq};
use crate::model::invite::Invite;
use crate::model::key::{KeyId, SealedKey};
use crate::model::role::Role;
use crate::model::session::TokenHash;
use crate::store::error::StoreError;
use crate::store::view::{AuthView, address_taken};

/// Accounts, invitations and signing keys.
pub(in crate::store) struct Auth;

impl Schema for Auth {
    const NAMESPACE: Namespace = Namespace::Auth;
    const MIGRATIONS: &'static [&'static str] = &[include_str!("migrations/auth/0001_accounts.sql")];
    type Batch = ();

    fn apply(transaction: &Transaction<'_>, (): &mut (), seq: Seq, change: &Change) -> Result<(), Fault> {
        match change {
            Change::Auth(change) => Ok(apply(transaction, seq, change)?),
            _ => Ok(()),
        }
    }
}

fn apply(db: &Connection, seq: Seq, change: &AuthChange) -> rusqlite::Result<()> {
    match change {
        AuthChange::AccountCreated(account) => create(db, seq, account),
        AuthChange::PasswordSet { account, password, at } => execute(
            db,
            "UPDATE accounts SET password = ?2, password_set_at = ?3 WHERE id = ?1",
            params![account.0.as_bytes(), password.0, at.as_millis()],
        ),
        AuthChange::RolesSet { account, roles } => set_roles(db, *account, roles),
        AuthChange::StatusSet { account, status } => execute(
            db,
            "UPDATE accounts SET status = ?2 WHERE id = ?1",
            params![account.0.as_bytes(), word(status)],
        ),
        AuthChange::AccountDeleted { account } => {
            execute(db, "DELETE FROM accounts WHERE id = ?1", [account.0.as_bytes()])
        }
        AuthChange::InviteCreated(invite) => create_invite(db, invite),
        AuthChange::InviteRemoved { invite } => {
            execute(db, "DELETE FROM invites WHERE id = ?1", [invite.0.as_bytes()])
        }
        AuthChange::KeyAdded(key) => add_key(db, key),
        AuthChange::KeyStateSet { key, state, at } => execute(
            db,
            "UPDATE signing_keys SET state = ?2, changed_at = ?3 WHERE id = ?1",
            params![key.0, word(state), at.as_millis()],
        ),
        AuthChange::NameSet { account, name } => {
            execute(db, "UPDATE accounts SET name = ?2 WHERE id = ?1", params![account.0.as_bytes(), name])
        }
    }
}

fn execute(db: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(values).map(|_| ())
}

fn create(db: &Connection, seq: Seq, account: &Account) -> rusqlite::Result<()> {
    let holder: Option<[u8; 16]> = db
        .prepare_cached("SELECT id FROM accounts WHERE email = ?1")?
        .query_row([account.email.as_str()], |row| row.get(0))
        .optional()?;
    if holder.is_some_and(|holder| holder != *account.id.0.as_bytes()) {
        address_taken(seq, account.id);
        return Ok(());
    }
    execute(
        db,
        "INSERT INTO accounts (id, email, name, status, password, password_set_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET
             email = excluded.email, name = excluded.name, status = excluded.status,
             password = excluded.password, password_set_at = excluded.password_set_at,
             created_at = excluded.created_at",
        params![
            account.id.0.as_bytes(),
            account.email.as_str(),
            account.name,
            word(&account.status),
            account.password.0,
            account.password_set_at.as_millis(),
            account.created_at.as_millis(),
        ],
    )?;
    set_roles(db, account.id, &account.roles)
}

fn set_roles(db: &Connection, account: AccountId, roles: &BTreeSet<Role>) -> rusqlite::Result<()> {
    execute(db, "DELETE FROM account_roles WHERE account = ?1", [account.0.as_bytes()])?;
    for role in roles {
        // Nothing for an account that is not there.
        execute(
            db,
            "INSERT INTO account_roles (account, role) SELECT id, ?2 FROM accounts WHERE id = ?1",
            params![account.0.as_bytes(), role.as_str()],
        )?;
    }
    Ok(())
}

fn create_invite(db: &Connection, invite: &Invite) -> rusqlite::Result<()> {
    let roles = invite.roles.iter().map(Role::as_str).collect::<Vec<_>>().join(",");
    execute(
        db,
        "INSERT OR REPLACE INTO invites (id, hash, email, roles, author, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            invite.id.0.as_bytes(),
            invite.hash.0,
            invite.email.as_ref().map(Email::as_str),
            roles,
            invite.author,
            invite.created_at.as_millis(),
            invite.expires_at.as_millis(),
        ],
    )
}

fn add_key(db: &Connection, key: &SealedKey) -> rusqlite::Result<()> {
    execute(
        db,
        "INSERT OR REPLACE INTO signing_keys
             (id, algorithm, state, public_jwk, sealed, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            key.id.0,
            word(&key.algorithm),
            word(&key.state),
            key.public_jwk,
            key.sealed,
            key.created_at.as_millis(),
            key.changed_at.as_millis(),
        ],
    )
}

/// The columns of an account, its roles among them, for a statement to finish.
macro_rules! account_where {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, name, status, password, password_set_at, created_at, ",
            "(SELECT group_concat(role, ',') FROM account_roles WHERE account = accounts.id) AS roles ",
            "FROM accounts ",
            $rest
        )
    };
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId(id(row, "id")?),
        email: parsed(row, "email")?,
        name: row.get("name")?,
        roles: listed::<Role, _>(row, "roles")?,
        status: variant(row, "status")?,
        password: PasswordHash(row.get("password")?),
        password_set_at: time(row, "password_set_at")?,
        created_at: time(row, "created_at")?,
    })
}

fn invite(row: &Row<'_>) -> rusqlite::Result<Invite> {
    Ok(Invite {
        id: InviteId(id(row, "id")?),
        hash: TokenHash(row.get("hash")?),
        email: maybe_parsed(row, "email")?,
        roles: listed::<Role, _>(row, "roles")?,
        author: row.get("author")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

fn key(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    Ok(SealedKey {
        id: KeyId(row.get("id")?),
        algorithm: variant(row, "algorithm")?,
        state: variant(row, "state")?,
        public_jwk: row.get("public_jwk")?,
        sealed: row.get("sealed")?,
        created_at: time(row, "created_at")?,
        changed_at: time(row, "changed_at")?,
    })
}

fn all<T>(
    mut statement: CachedStatement<'_>,
    values: impl Params,
    of: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    statement.query_map(values, of)?.collect()
}

fn count(db: &Connection, sql: &str) -> rusqlite::Result<u64> {
    db.prepare_cached(sql)?.query_row([], |row| row.get(0).map(i64::cast_unsigned))
}

impl AuthView for Readers<Auth> {
    fn damage(&self) -> Option<Arc<str>> {
        self.site.damage()
    }

    fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached(account_where!("WHERE id = ?1"))?;
            statement.query_row([id.0.as_bytes()], account).optional()
        })
    }

    fn account_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached(account_where!("WHERE email = ?1"))?;
            statement.query_row([email.as_str()], account).optional()
        })
    }

    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        // The empty blob sorts before every id.
        let after = after.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default();
        self.read(|db| {
            let statement = db.prepare_cached(account_where!("WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
            all(statement, params![after, bound(limit)], account)
        })
    }

    fn account_count(&self) -> Result<u64, StoreError> {
        self.read(|db| count(db, "SELECT count(*) FROM accounts"))
    }

    fn active_administrators(&self) -> Result<u64, StoreError> {
        self.read(|db| {
            count(
                db,
                "SELECT count(*) FROM account_roles JOIN accounts ON accounts.id = account_roles.account
                 WHERE account_roles.role = 'admin' AND accounts.status = 'active'",
            )
        })
    }

    fn invite(&self, id: InviteId) -> Result<Option<Invite>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT * FROM invites WHERE id = ?1")?;
            statement.query_row([id.0.as_bytes()], invite).optional()
        })
    }

    fn invites(&self) -> Result<Vec<Invite>, StoreError> {
        self.read(|db| all(db.prepare_cached("SELECT * FROM invites ORDER BY id")?, [], invite))
    }

    fn keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        self.read(|db| all(db.prepare_cached("SELECT * FROM signing_keys ORDER BY created_at, id")?, [], key))
    }
}
