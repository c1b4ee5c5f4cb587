//! `GET /.well-known/oauth-authorization-server`: what this issuer offers (RFC 8414 §2), and only
//! what there is. No OAuth grant is served yet: the two lists are empty rather than absent, because
//! absence would stand for the authorization code and implicit grants.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use utoipa::ToSchema;

use super::jwks::max_age;
use super::openapi::answers::Any;

/// The document, made once.
#[derive(Clone)]
pub(in crate::api) struct Metadata {
    body: Bytes,
    cache: String,
}

/// The document of an issuer, which has no path: `config` refuses one that has.
pub(in crate::api) fn document(issuer: &str, cached_for: Duration) -> Metadata {
    let body = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": [],
    });
    Metadata { body: body.to_string().into(), cache: max_age(cached_for) }
}

/// What an issuer offers (RFC 8414 §2).
#[derive(ToSchema)]
#[schema(as = Metadata)]
#[expect(dead_code, reason = "its schema describes what `document` writes")]
pub(in crate::api) struct MetadataSchema {
    #[schema(format = "uri")]
    issuer: String,
    #[schema(format = "uri")]
    jwks_uri: String,
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<String>,
}

/// The issuer's metadata.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "metadata",
    tag = "node",
    responses(
        (
            status = 200,
            description = "It.",
            body = MetadataSchema,
            headers(("Cache-Control" = String)),
        ),
        Any,
    ),
)]
pub(in crate::api) async fn answer(State(metadata): State<Metadata>) -> Response {
    let Metadata { body, cache } = metadata;
    ([(CONTENT_TYPE, "application/json".to_owned()), (CACHE_CONTROL, cache)], body).into_response()
}
