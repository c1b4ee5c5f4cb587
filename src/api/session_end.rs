//! `DELETE /auth/v1/sessions/{id}`: ends one of the caller's sessions.

use axum::extract::{RawPathParams, State};
use http::StatusCode;

use super::error::Failure;
use super::extract::{Authenticated, Sender};
use crate::auth::sessions::Sessions;
use crate::model::id::SessionId;

pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    path: RawPathParams,
) -> Result<StatusCode, Failure> {
    // What is no id names no session: the same answer as for one that does not exist.
    let id = path.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse::<SessionId>().ok());
    let id = id.ok_or_else(|| Failure::not_found("there is no session of that id"))?;
    sessions.revoke(&caller, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
