//! `GET /auth/v1/verify`: forward authentication for another proxy (nginx `auth_request`, Traefik
//! `forwardAuth`): 200 with the identity headers that an upstream behind Keepgate would get, or 401.
//!
//! Unlike there, a header without a value is sent too: some proxies only replace what the client
//! sent by what this answer has, and would let a forged `X-Auth-Roles` pass where this has none.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::error::Failure;
use super::extract::Authenticated;
use super::openapi::answers::{Any, Bearer};

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");

/// Authenticate a request on behalf of another proxy.
#[utoipa::path(
    get,
    path = "/auth/v1/verify",
    operation_id = "verify",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (
            status = 200,
            description = "The identity, as an application behind Keepgate gets it.",
            headers(
                ("X-Auth-Subject" = String, description = "The account's id."),
                ("X-Auth-Session" = String, description = "The session's id."),
                ("X-Auth-Roles" = String, description = "Separated by commas; may be empty."),
                ("X-Auth-Scope" = String, description = "Separated by spaces; may be empty."),
            ),
        ),
        Any, Bearer,
    ),
)]
pub(in crate::api) async fn answer(Authenticated(caller): Authenticated) -> Result<HeaderMap, Failure> {
    let roles: Vec<_> = caller.roles.iter().map(|role| role.as_str()).collect();
    let headers = [
        (SUBJECT, caller.account.to_string()),
        (SESSION, caller.session.to_string()),
        (ROLES, roles.join(",")),
        (SCOPE, caller.scope),
    ];
    headers
        .into_iter()
        .map(|(name, value)| Ok((name, HeaderValue::try_from(value).map_err(Failure::internal)?)))
        .collect()
}
