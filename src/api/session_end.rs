//! `DELETE /auth/v1/sessions/{id}`: ends one of the caller's sessions.

use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;

use super::error::Failure;
use super::extract::{Authenticated, Sender, path_text};
use super::openapi::answers::{Any, Bearer, Missing};
use crate::auth::sessions::Sessions;
use crate::model::id::SessionId;

/// The `{id}` of a session. What is no id names no session: the same answer as for one that does not
/// exist.
pub(in crate::api) struct SessionPath(SessionId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let id = path_text(parts, state, "id").await.and_then(|text| text.parse().ok());
        id.map(Self).ok_or_else(|| Failure::not_found("there is no session of that id"))
    }
}

/// End one of the caller's sessions.
#[utoipa::path(
    delete,
    path = "/auth/v1/sessions/{id}",
    operation_id = "endSession",
    tag = "auth",
    security(("bearer" = [])),
    params(("id" = uuid::Uuid, Path, description = "The session's id.")),
    responses((status = 204, description = "It has ended."), Any, Bearer, Missing),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    SessionPath(id): SessionPath,
) -> Result<StatusCode, Failure> {
    sessions.revoke(&caller, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
