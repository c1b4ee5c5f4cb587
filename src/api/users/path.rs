//! What the paths name: a document's key, an account.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::api::error::Failure;
use crate::api::extract::path_text;
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
        path_text(parts, state, "key").await.unwrap_or_default().parse().map(Self).map_err(invalid)
    }
}

/// The `{id}` of an account. What is no id names no account.
pub(in crate::api) struct AccountPath(pub AccountId);

impl<S: Send + Sync> FromRequestParts<S> for AccountPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let id = path_text(parts, state, "id").await.and_then(|text| text.parse().ok());
        id.map(Self).ok_or_else(|| Failure::not_found("there is no such account"))
    }
}
