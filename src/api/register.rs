//! `POST /auth/v1/register`: `{email, password, name?, invite?}` for an account.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::body::{Fields, Json, Shape};
use super::error::Failure;
use super::extract::Sender;
use crate::auth::accounts::{Accounts, Registration};

impl Shape for Registration {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = fields.text("email");
        let password = fields.secret("password");
        let name = fields.optional_text("name");
        let invite = fields.optional_secret("invite");
        Some(Self { email: email?, password: password?, name: name?.unwrap_or_default(), invite: invite? })
    }
}

pub(in crate::api) async fn answer(
    State(accounts): State<Accounts>,
    Sender(origin): Sender,
    Json(registration): Json<Registration>,
) -> Result<Response, Failure> {
    let account = accounts.register(registration, &origin).await?;
    // Named one by one: the account's record also holds its password hash.
    let body = json!({"account": {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "roles": account.roles,
        "created_at": account.created_at.rfc3339(),
    }});
    Ok((StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}
