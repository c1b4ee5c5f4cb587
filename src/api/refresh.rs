//! `POST /auth/v1/refresh`: `{refresh_token}` for its successor and a new access token.

use axum::extract::State;
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};

use super::body::{Fields, Json, Shape};
use super::error::Failure;
use super::extract::Sender;
use super::grant;
use crate::auth::sessions::Sessions;

pub(in crate::api) struct Presented(SecretString);

impl Shape for Presented {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.secret("refresh_token").map(Self)
    }
}

pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Sender(origin): Sender,
    Json(Presented(token)): Json<Presented>,
) -> Result<Response, Failure> {
    grant::answer(&sessions.refresh(token.expose_secret(), &origin).await?)
}
