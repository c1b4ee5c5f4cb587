//! `POST /auth/v1/login`: `{email, password, device?}` for a session's first tokens and the
//! cookie that makes the device known.

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::body::{Fields, Json, Shape};
use super::device_cookie::DeviceCookies;
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
        Some(Self { email: email?, password: password?, device: device?, cookies: Vec::new() })
    }
}

/// Open a session with a password.
#[utoipa::path(
    post,
    path = "/auth/v1/login",
    operation_id = "login",
    tag = "auth",
    params((
        "__Host-keepgate-device" = Option<String>, Cookie, nullable = false,
        description = "What an earlier login set: a known device is not held up by attacks on the account.",
    )),
    request_body = LoginRequest,
    responses(
        (
            status = 200,
            description = "The session's first tokens.",
            body = TokenAnswer,
            headers(("Set-Cookie" = String, description = "Makes this device known to the account.")),
        ),
        Any, Bearer, JsonBody,
    ),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Sender(origin): Sender,
    DeviceCookies(cookies): DeviceCookies,
    Json(login): Json<Login>,
) -> Result<Response, Failure> {
    grant::answer(&sessions.login(Login { cookies, ..login }, &origin).await?)
}
