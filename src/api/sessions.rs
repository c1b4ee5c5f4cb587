//! `GET /auth/v1/sessions`: the caller's live sessions, most recently used first.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Failure;
use super::extract::Authenticated;
use super::openapi::answers::{Any, Bearer};
use crate::auth::sessions::Sessions;
use crate::model::caller::Caller;
use crate::model::id::SessionId;
use crate::model::session::Session;

/// The caller's live sessions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(in crate::api) struct SessionList {
    sessions: Vec<SessionShown>,
}

/// A session. Named one by one: its record also holds the hashes of its refresh tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(in crate::api) struct SessionShown {
    #[schema(value_type = uuid::Uuid)]
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    /// What the client called itself; may be empty.
    device: String,
    /// Where it was last used from.
    address: Option<String>,
    #[schema(format = "date-time")]
    authenticated_at: String,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    used_at: String,
    /// When it ends at the latest.
    #[schema(format = "date-time")]
    expires_at: String,
}

/// List the caller's live sessions, most recently used first.
#[utoipa::path(
    get,
    path = "/auth/v1/sessions",
    operation_id = "listSessions",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "All of them.", body = SessionList), Any, Bearer),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
) -> Result<Json<SessionList>, Failure> {
    let sessions = sessions.list(&caller)?;
    let sessions = sessions.into_iter().map(|session| shown(session, &caller)).collect();
    Ok(Json(SessionList { sessions }))
}

fn shown(session: Session, caller: &Caller) -> SessionShown {
    SessionShown {
        id: session.id,
        current: session.id == caller.session,
        device: session.device,
        address: session.address.map(|address| address.to_string()),
        authenticated_at: session.authenticated_at.rfc3339(),
        created_at: session.created_at.rfc3339(),
        used_at: session.used_at.rfc3339(),
        expires_at: session.expires_at.rfc3339(),
    }
}
