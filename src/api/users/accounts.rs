//! `GET /users/v1/accounts…`: what administrators may see of everybody. Each look is recorded in the
//! audit log before it is answered.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::document::found;
use super::documents::{Documents, page};
use super::me::person;
use super::path::{AccountPath, KeyPath};
use crate::api::condition::Conditions;
use crate::api::error::Failure;
use crate::api::extract::{Authenticated, Sender};
use crate::api::page::Page;
use crate::model::account::{Account, AccountStatus};
use crate::model::id::AccountId;
use crate::users::Users;
use crate::users::key::DocumentKey;

/// A page of accounts.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Accounts {
    accounts: Vec<Entry>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<AccountId>,
}

/// An account without its profile.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Entry {
    id: AccountId,
    email: String,
    name: String,
    roles: Vec<String>,
    status: AccountStatus,
    created_at: String,
}

impl From<Account> for Entry {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email.into(),
            name: account.name,
            roles: account.roles.into_iter().map(Into::into).collect(),
            status: account.status,
            created_at: account.created_at.rfc3339(),
        }
    }
}

pub(in crate::api) async fn list(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    asked: Page<AccountId>,
) -> Result<Json<Accounts>, Failure> {
    let by = users.administrator(&caller, &origin).await?;
    let (found, more) = asked.cut(users.accounts(&by, asked.after, asked.limit + 1).await?);
    let next = found.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Accounts { accounts: found.into_iter().map(Into::into).collect(), next }))
}

pub(in crate::api) async fn get(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    AccountPath(id): AccountPath,
    Conditions(condition): Conditions,
) -> Result<Response, Failure> {
    let by = users.administrator(&caller, &origin).await?;
    person(users.person(&by, id).await?, true, &condition)
}

pub(in crate::api) async fn documents(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    AccountPath(id): AccountPath,
    asked: Page<DocumentKey>,
) -> Result<Json<Documents>, Failure> {
    let by = users.administrator(&caller, &origin).await?;
    let found = users.documents_of(&by, id, asked.after.as_ref(), asked.limit + 1).await?;
    Ok(page(&asked, found))
}

pub(in crate::api) async fn document(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    AccountPath(id): AccountPath,
    KeyPath(key): KeyPath,
    Conditions(condition): Conditions,
) -> Result<Response, Failure> {
    let by = users.administrator(&caller, &origin).await?;
    found(users.document_of(&by, id, &key).await, &condition)
}
