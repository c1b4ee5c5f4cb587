//! `GET /users/v1/me/data`: what documents the caller has, page by page.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::Failure;
use crate::api::extract::Authenticated;
use crate::api::openapi::answers::{Any, Bearer, Input};
use crate::api::openapi::params::KeyPageParams;
use crate::api::page::Page;
use crate::model::document::DocumentEntry;
use crate::users::Users;
use crate::users::key::DocumentKey;

/// A page of documents.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Documents {
    documents: Vec<Entry>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// A document without its body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DocumentEntry)]
pub(in crate::api) struct Entry {
    key: String,
    /// Length of its body.
    bytes: u64,
    /// Grows with each write.
    version: u64,
    #[schema(format = "date-time")]
    updated_at: String,
}

/// The answer of a list that was asked for with one entry more than the page has.
pub(in crate::api) fn page(page: &Page<DocumentKey>, found: Vec<DocumentEntry>) -> Json<Documents> {
    let (entries, more) = page.cut(found);
    let next = entries.last().filter(|_| more).map(|last| last.key.clone());
    let entry = |entry: DocumentEntry| {
        let DocumentEntry { key, bytes, version, updated_at } = entry;
        Entry { key, bytes, version, updated_at: updated_at.rfc3339() }
    };
    Json(Documents { documents: entries.into_iter().map(entry).collect(), next })
}

/// List the caller's documents in order of key.
#[utoipa::path(
    get,
    path = "/users/v1/me/data",
    operation_id = "listDocuments",
    tag = "users",
    security(("bearer" = [])),
    params(KeyPageParams),
    responses((status = 200, description = "A page.", body = Documents), Any, Bearer, Input),
)]
pub(in crate::api) async fn list(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    asked: Page<DocumentKey>,
) -> Result<Json<Documents>, Failure> {
    let found = users.documents(&caller, asked.after.as_ref(), asked.limit + 1)?;
    Ok(page(&asked, found))
}
