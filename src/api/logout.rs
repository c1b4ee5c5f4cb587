//! `POST /auth/v1/logout`: ends the caller's session.

use axum::extract::State;
use http::StatusCode;

use super::error::Failure;
use super::extract::{Authenticated, Sender};
use super::openapi::answers::{Any, Bearer};
use crate::auth::sessions::Sessions;

/// End the caller's session.
#[utoipa::path(
    post,
    path = "/auth/v1/logout",
    operation_id = "logout",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 204, description = "It has ended."), Any, Bearer),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
) -> Result<StatusCode, Failure> {
    sessions.logout(&caller, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
