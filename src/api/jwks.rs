//! `GET /.well-known/jwks.json`: the public keys (RFC 7517 §5), to be cached as long as the next key
//! is published before it signs.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use utoipa::ToSchema;

use super::condition::{Conditions, quoted};
use super::error::Failure;
use super::openapi::answers::{Any, Conditional};
use super::openapi::params::ConditionParams;
use crate::auth::keys::KeyRing;
use crate::users::condition::Unmet;
use crate::users::error::UsersError;

/// The keys and how long an answer is good.
#[derive(Clone)]
pub(in crate::api) struct Published {
    pub keys: KeyRing,
    pub max_age: Duration,
}

/// A JWK Set (RFC 7517 §5).
#[derive(ToSchema)]
#[schema(as = Jwks)]
#[expect(dead_code, reason = "its schema describes what the key ring writes")]
pub(in crate::api) struct JwksSchema {
    /// The public keys.
    keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The public keys that verify access tokens.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = "node",
    params(ConditionParams),
    responses(
        (
            status = 200,
            description = "The keys.",
            body = JwksSchema,
            content_type = "application/jwk-set+json",
            headers(("ETag" = String), ("Cache-Control" = String)),
        ),
        (status = 304, description = "The client has them.", headers(("ETag" = String))),
        Any, Conditional,
    ),
)]
pub(in crate::api) async fn answer(
    State(published): State<Published>,
    Conditions(condition): Conditions,
) -> Result<Response, Failure> {
    let jwks = published.keys.jwks();
    let cache = [(CACHE_CONTROL, max_age(published.max_age))];
    let etag = [(ETAG, quoted(&jwks.tag)?)];
    match condition.holds(Some(&jwks.tag)) {
        Ok(()) => {
            let kind = [(CONTENT_TYPE, "application/jwk-set+json")];
            Ok((cache, etag, kind, jwks.text).into_response())
        }
        Err(Unmet::NoneMatch) => Ok((StatusCode::NOT_MODIFIED, cache, etag).into_response()),
        Err(unmet) => Err(UsersError::from(unmet).into()),
    }
}

/// `Cache-Control` of what anyone may keep for so long.
pub(in crate::api) fn max_age(duration: Duration) -> String {
    format!("public, max-age={}", duration.as_secs())
}
