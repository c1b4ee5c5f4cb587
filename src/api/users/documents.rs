//! `GET /users/v1/me/data`: what documents the caller has, page by page.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::api::error::Failure;
use crate::api::extract::Authenticated;
use crate::api::page::Page;
use crate::model::document::DocumentEntry;
use crate::users::Users;
use crate::users::key::DocumentKey;

/// A page of documents.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Documents {
    documents: Vec<Entry>,
    /// The `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A document without its body.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Entry {
    key: String,
    bytes: u64,
    version: u64,
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

pub(in crate::api) async fn list(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    asked: Page<DocumentKey>,
) -> Result<Json<Documents>, Failure> {
    let found = users.documents(&caller, asked.after.as_ref(), asked.limit + 1)?;
    Ok(page(&asked, found))
}
