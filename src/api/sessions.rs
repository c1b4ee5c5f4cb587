//! `GET /auth/v1/sessions`: the caller's live sessions, most recently used first.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::Failure;
use super::extract::Authenticated;
use crate::auth::sessions::Sessions;
use crate::model::session::Session;

pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Value>, Failure> {
    let sessions = sessions.list(&caller)?;
    let sessions: Vec<_> =
        sessions.iter().map(|session| shown(session, session.id == caller.session)).collect();
    Ok(Json(json!({"sessions": sessions})))
}

/// Named one by one: the record also holds the hashes of its refresh tokens.
fn shown(session: &Session, current: bool) -> Value {
    json!({
        "id": session.id,
        "current": current,
        "device": session.device,
        "address": session.address,
        "authenticated_at": session.authenticated_at.rfc3339(),
        "created_at": session.created_at.rfc3339(),
        "used_at": session.used_at.rfc3339(),
        "expires_at": session.expires_at.rfc3339(),
    })
}
