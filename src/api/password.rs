//! `POST /auth/v1/password`: `{current_password, new_password}`; ends the account's other
//! sessions. Devices known by the old password are strangers then; the answer makes this one known again.

use axum::extract::State;
use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::SecretString;

use super::body::{Fields, Json, Shape};
use super::device_cookie;
use super::error::Failure;
use super::extract::{Authenticated, Sender};
use crate::auth::accounts::Accounts;

pub(in crate::api) struct PasswordChange {
    current: SecretString,
    new: SecretString,
}

impl Shape for PasswordChange {
    fn read(fields: &mut Fields) -> Option<Self> {
        let current = fields.secret("current_password");
        let new = fields.secret("new_password");
        Some(Self { current: current?, new: new? })
    }
}

pub(in crate::api) async fn answer(
    State(accounts): State<Accounts>,
    Authenticated(caller): Authenticated,
    Sender(origin): Sender,
    Json(change): Json<PasswordChange>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1]), Failure> {
    let cookie = accounts.change_password(&caller, change.current, change.new, &origin).await?;
    Ok((StatusCode::NO_CONTENT, [device_cookie::set(&cookie)?]))
}
