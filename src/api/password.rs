//! `POST /auth/v1/password`: `{current_password, new_password}`; ends the account's other
//! sessions. Devices known by the old password are strangers then; the answer makes this one known again.

use axum::extract::State;
use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::SecretString;
use utoipa::ToSchema;

use super::body::{Fields, Json, Shape};
use super::device_cookie;
use super::error::Failure;
use super::extract::{Authenticated, Sender};
use super::openapi::answers::{Any, Bearer, JsonBody};
use crate::auth::accounts::Accounts;

pub(in crate::api) struct PasswordChange {
    current: SecretString,
    new: SecretString,
}

/// The password to prove, and the one to be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema describes what `Shape` reads")]
pub(in crate::api) struct PasswordRequest {
    #[schema(format = "password")]
    current_password: String,
    /// By the policy of `[accounts]` and not a common one.
    #[schema(format = "password")]
    new_password: String,
}

impl Shape for PasswordChange {
    fn read(fields: &mut Fields) -> Option<Self> {
        let current = fields.secret("current_password");
        let new = fields.secret("new_password");
        Some(Self { current: current?, new: new? })
    }
}

/// Change the caller's password; their other sessions end.
#[utoipa::path(
    post,
    path = "/auth/v1/password",
    operation_id = "changePassword",
    tag = "auth",
    security(("bearer" = [])),
    request_body = PasswordRequest,
    responses(
        (
            status = 204,
            description = "It is changed.",
            headers(("Set-Cookie" = String, description = "Makes this device known to the account again.")),
        ),
        Any, Bearer, JsonBody,
    ),
)]
pub(in crate::api) async fn answer(
    State(accounts): State<Accounts>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    Json(change): Json<PasswordChange>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1]), Failure> {
    let cookie = accounts.change_password(&caller, change.current, change.new, &origin).await?;
    Ok((StatusCode::NO_CONTENT, [device_cookie::set(&cookie)?]))
}
