//! The answer that login and refresh share (RFC 6749 §5.1, and the session's id).

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::device_cookie;
use super::error::Failure;
use crate::auth::sessions::grant::Grant;
use crate::model::id::SessionId;

/// Borrows the secrets, so that none is copied anywhere but into the answer's bytes.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: &'a str,
    refresh_expires_in: u64,
    session_id: SessionId,
}

/// 200 with the tokens; `Cache-Control: no-store` comes with every answer of the API.
pub(in crate::api) fn answer(grant: &Grant) -> Result<Response, Failure> {
    let answer = TokenAnswer {
        access_token: grant.access_token.expose_secret(),
        token_type: "Bearer",
        expires_in: grant.expires_in.as_secs(),
        refresh_token: grant.refresh_token.expose_secret(),
        refresh_expires_in: grant.refresh_expires_in.as_secs(),
        session_id: grant.session,
    };
    let body = serde_json::to_vec(&answer).map_err(Failure::internal)?;
    let cookie = grant.device.as_ref().map(device_cookie::set).transpose()?;
    let mut response = ([(CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().extend(cookie);
    Ok(response)
}
