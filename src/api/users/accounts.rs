//! `GET /users/v1/accounts…`: what administrators may see of everybody. Each look is recorded in the
//! audit log before it is answered.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::document::found;
use super::documents::{Documents, page};
use super::me::{Shown, StatusSchema, person};
use super::path::{AccountPath, KeyPath};
use crate::api::condition::Conditions;
use crate::api::error::Failure;
use crate::api::extract::{Authenticated, Sender};
use crate::api::openapi::answers::{Any, Bearer, Conditional, Input, Missing, Restricted};
use crate::api::openapi::params::{
    AccountPageParams, AccountParam, ConditionParams, KeyPageParams, KeyParam,
};
use crate::api::page::Page;
use crate::model::account::{Account, AccountStatus};
use crate::model::id::AccountId;
use crate::users::Users;
use crate::users::key::DocumentKey;

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Accounts {
    accounts: Vec<Entry>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>, nullable = false)]
    next: Option<AccountId>,
}

/// An account without its profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountEntry)]
pub(in crate::api) struct Entry {
    #[schema(value_type = uuid::Uuid)]
    id: AccountId,
    email: String,
    name: String,
    roles: Vec<String>,
    #[schema(value_type = StatusSchema)]
    status: AccountStatus,
    #[schema(format = "date-time")]
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

/// List accounts in order of creation.
#[utoipa::path(
    get,
    path = "/users/v1/accounts",
    operation_id = "listAccounts",
    tag = "administration",
    security(("bearer" = [])),
    params(AccountPageParams),
    responses((status = 200, description = "A page.", body = Accounts), Any, Bearer, Restricted, Input),
)]
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

/// Read somebody's profile.
#[utoipa::path(
    get,
    path = "/users/v1/accounts/{id}",
    operation_id = "readAccount",
    tag = "administration",
    security(("bearer" = [])),
    params(AccountParam, ConditionParams),
    responses(
        (status = 200, description = "It.", body = Shown, headers(("ETag" = String))),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        Any, Bearer, Restricted, Missing, Conditional,
    ),
)]
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

/// List somebody's documents in order of key.
#[utoipa::path(
    get,
    path = "/users/v1/accounts/{id}/data",
    operation_id = "listAccountDocuments",
    tag = "administration",
    security(("bearer" = [])),
    params(AccountParam, KeyPageParams),
    responses(
        (status = 200, description = "A page.", body = Documents),
        Any, Bearer, Restricted, Missing, Input,
    ),
)]
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

/// Read one of somebody's documents.
#[utoipa::path(
    get,
    path = "/users/v1/accounts/{id}/data/{key}",
    operation_id = "readAccountDocument",
    tag = "administration",
    security(("bearer" = [])),
    params(AccountParam, KeyParam, ConditionParams),
    responses(
        (status = 200, description = "It, byte for byte.", body = serde_json::Value, headers(("ETag" = String))),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        Any, Bearer, Restricted, Missing, Conditional, Input,
    ),
)]
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
