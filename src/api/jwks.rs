//! `GET /.well-known/jwks.json`: the public keys (RFC 7517 §5), to be cached as long as the next key
//! is published before it signs.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use utoipa::ToSchema;

use super::openapi::answers::Any;
use crate::auth::keys::KeyRing;

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
    params(("If-None-Match" = Option<String>, Header, nullable = false, description = "Entity tags that the client has.")),
    responses(
        (
            status = 200,
            description = "The keys.",
            body = JwksSchema,
            content_type = "application/jwk-set+json",
            headers(("ETag" = String), ("Cache-Control" = String)),
        ),
        (status = 304, description = "The client has them.", headers(("ETag" = String))),
        Any,
    ),
)]
pub(in crate::api) async fn answer(State(published): State<Published>, headers: HeaderMap) -> Response {
    let jwks = published.keys.jwks();
    let hash = blake3::hash(jwks.as_bytes()).to_hex();
    let etag = format!("\"{}\"", hash.get(..32).unwrap_or_default());
    let common = [(CACHE_CONTROL, max_age(published.max_age)), (ETAG, etag.clone())];
    if has(&headers, &etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, "application/jwk-set+json")], jwks.to_string()).into_response()
}

/// `Cache-Control` of what anyone may keep for so long.
pub(in crate::api) fn max_age(duration: Duration) -> String {
    format!("public, max-age={}", duration.as_secs())
}

/// Whether the client has this version (RFC 9110 §13.1.2; compared weakly).
fn has(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}
