//! `GET /.well-known/oauth-authorization-server`: what this issuer offers (RFC 8414 §2), and only
//! what there is. No OAuth grant is served yet: the two lists are empty rather than absent, because
//! absence would stand for the authorization code and implicit grants.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::Uri;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

use super::jwks::max_age;

/// The document, made once.
#[derive(Clone)]
pub(in crate::api) struct Metadata {
    body: Bytes,
    cache: String,
}

/// The document of an issuer.
pub(in crate::api) fn document(issuer: &str, cached_for: Duration) -> Metadata {
    let body = json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", origin(issuer)),
        "response_types_supported": [],
        "grant_types_supported": [],
    });
    Metadata { body: body.to_string().into(), cache: max_age(cached_for) }
}

/// The issuer without its path: the API's own paths start at the root.
fn origin(issuer: &str) -> String {
    match issuer.parse::<Uri>().map(Uri::into_parts) {
        Ok(http::uri::Parts { scheme: Some(scheme), authority: Some(authority), .. }) => {
            format!("{scheme}://{authority}")
        }
        _ => issuer.trim_end_matches('/').to_owned(),
    }
}

pub(in crate::api) async fn answer(State(metadata): State<Metadata>) -> Response {
    let Metadata { body, cache } = metadata;
    ([(CONTENT_TYPE, "application/json".to_owned()), (CACHE_CONTROL, cache)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn the_keys_are_at_the_root_whatever_the_issuer_s_path() {
        assert_eq!(origin("https://id.example.com"), "https://id.example.com");
        assert_eq!(origin("https://id.example.com:8443/tenant/"), "https://id.example.com:8443");
    }
}
