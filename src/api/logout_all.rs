//! `POST /auth/v1/logout-all`: ends every session of the caller's account, this one too.

use axum::extract::State;
use http::StatusCode;

use super::error::Failure;
use super::extract::{Authenticated, Sender};
use super::openapi::answers::{Any, Bearer};
use crate::auth::sessions::Sessions;

/// End every session of the caller's account.
#[utoipa::path(
    post,
    path = "/auth/v1/logout-all",
    operation_id = "logoutAll",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 204, description = "They have ended."), Any, Bearer),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
) -> Result<StatusCode, Failure> {
    sessions.logout_all(&caller, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
