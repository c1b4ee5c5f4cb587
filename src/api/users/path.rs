//! What the paths name: a document's key, an account.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::api::error::Failure;
use crate::model::id::AccountId;
use crate::model::problem::FieldProblem;
use crate::users::key::{DocumentKey, InvalidKey};

/// The `{key}` of a path. What is no key is told so: clients choose keys.
pub(in crate::api) struct KeyPath(pub DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let invalid =
            |error: InvalidKey| Failure::fields(vec![FieldProblem::new("key", "invalid", error.to_string())]);
        text(parts, state, "key").await.unwrap_or_default().parse().map(Self).map_err(invalid)
    }
}

/// The `{id}` of an account. What is no id names no account.
pub(in crate::api) struct AccountPath(pub AccountId);

impl<S: Send + Sync> FromRequestParts<S> for AccountPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let id = text(parts, state, "id").await.and_then(|text| text.parse().ok());
        id.map(Self).ok_or_else(|| Failure::not_found("there is no such account"))
    }
}

async fn text<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    // What is not UTF-8 when decoded names nothing either.
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_owned())
}
