//! `POST /auth/v1/login`: `{email, password, device?}` for a session's first tokens.

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::body::{Fields, Json, Shape};
use super::error::Failure;
use super::extract::Sender;
use super::grant::{self, TokenAnswer};
use super::openapi::answers::{Any, Bearer, JsonBody};
use crate::auth::sessions::{Login, Sessions};

/// Credentials for a session.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema describes what `Shape` reads")]
pub(in crate::api) struct LoginRequest {
    /// The account's address, in any spelling.
    #[schema(format = "email")]
    email: String,
    #[schema(format = "password")]
    password: String,
    /// What the owner will know the session by: at most 200 bytes.
    device: Option<String>,
}

impl Shape for Login {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = fields.text("email");
        let password = fields.secret("password");
        let device = fields.optional_text("device");
        Some(Self { email: email?, password: password?, device: device? })
    }
}

/// Open a session with a password.
#[utoipa::path(
    post,
    path = "/auth/v1/login",
    operation_id = "login",
    tag = "auth",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The session's first tokens.", body = TokenAnswer),
        Any, Bearer, JsonBody,
    ),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Sender(origin): Sender,
    Json(login): Json<Login>,
) -> Result<Response, Failure> {
    grant::answer(&sessions.login(login, &origin).await?)
}
