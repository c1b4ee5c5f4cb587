//! `POST /auth/v1/refresh`: `{refresh_token}` for its successor and a new access token.

use axum::extract::State;
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use utoipa::ToSchema;

use super::body::{Fields, Json, Shape};
use super::error::Failure;
use super::extract::Sender;
use super::grant::{self, TokenAnswer};
use super::openapi::answers::{Any, Bearer, JsonBody};
use crate::auth::sessions::Sessions;

pub(in crate::api) struct Presented(SecretString);

/// A refresh token.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema describes what `Shape` reads")]
pub(in crate::api) struct RefreshRequest {
    #[schema(format = "password")]
    refresh_token: String,
}

impl Shape for Presented {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.secret("refresh_token").map(Self)
    }
}

/// Exchange a refresh token for its successor and a new access token.
#[utoipa::path(
    post,
    path = "/auth/v1/refresh",
    operation_id = "refresh",
    tag = "auth",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The session's next tokens.", body = TokenAnswer),
        Any, Bearer, JsonBody,
    ),
)]
pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Sender(origin): Sender,
    Json(Presented(token)): Json<Presented>,
) -> Result<Response, Failure> {
    grant::answer(&sessions.refresh(token.expose_secret(), &origin).await?)
}
