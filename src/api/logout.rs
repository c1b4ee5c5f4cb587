//! `POST /auth/v1/logout`: ends the caller's session.

use axum::extract::State;
use http::StatusCode;

use super::error::Failure;
use super::extract::{Authenticated, Sender};
use crate::auth::sessions::Sessions;

pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
) -> Result<StatusCode, Failure> {
    sessions.logout(&caller, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
