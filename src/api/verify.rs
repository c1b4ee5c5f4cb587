//! `GET /auth/v1/verify`: forward authentication for another proxy (nginx `auth_request`, Traefik
//! `forwardAuth`): 200 with the identity headers that an upstream behind Keepgate would get, or 401.
//!
//! Unlike there, a header without a value is sent too: some proxies only replace what the client
//! sent by what this answer has, and would let a forged `X-Auth-Roles` pass where this has none.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::error::Failure;
use super::extract::Authenticated;

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");

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
