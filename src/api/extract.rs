//! What a handler may ask of a request besides its body. Both come from the edge, by type, in the
//! request's extensions; nothing the client sends can put them there.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use super::error::Failure;
use crate::model::caller::{Caller, Origin, RefusedToken};

/// The verified caller; without one the handler is not called and the answer is 401,
/// which says whether a token was missing or refused (RFC 6750 §3.1).
pub(in crate::api) struct Authenticated(pub Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let refused = parts.extensions.remove::<RefusedToken>();
        let caller = parts.extensions.remove::<Caller>();
        caller.map(Self).ok_or_else(|| refused.map_or_else(Failure::unauthenticated, Failure::invalid_token))
    }
}

/// Who sent the request, from where.
pub(in crate::api) struct Sender(pub Origin);

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let origin = parts.extensions.get::<Origin>().cloned();
        origin.map(Self).ok_or_else(|| Failure::internal("the edge gave no origin"))
    }
}

/// A part of the path, decoded. What is not UTF-8 then names nothing.
pub(in crate::api) async fn path_text<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_owned())
}
