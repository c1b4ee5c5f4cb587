//! `POST /auth/v1/login`: `{email, password, device?}` for a session's first tokens and the
//! cookie that makes the device known.

use axum::extract::State;
use axum::response::Response;

use super::body::{Fields, Json, Shape};
use super::device_cookie::DeviceCookies;
use super::error::Failure;
use super::extract::Sender;
use super::grant;
use crate::auth::sessions::{Login, Sessions};

impl Shape for Login {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = fields.text("email");
        let password = fields.secret("password");
        let device = fields.optional_text("device");
        Some(Self { email: email?, password: password?, device: device?, cookies: Vec::new() })
    }
}

pub(in crate::api) async fn answer(
    State(sessions): State<Sessions>,
    Sender(origin): Sender,
    DeviceCookies(cookies): DeviceCookies,
    Json(login): Json<Login>,
) -> Result<Response, Failure> {
    grant::answer(&sessions.login(Login { cookies, ..login }, &origin).await?)
}
