//! `POST /auth/v1/register`: `{email, password, name?, invite?}` for an account.

use axum::Json as JsonAnswer;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{Fields, Json, Shape};
use super::error::Failure;
use super::extract::Sender;
use super::openapi::answers::{Any, JsonBody, Restricted, Taken};
use crate::auth::accounts::{Accounts, Registration};
use crate::model::id::AccountId;

/// An account to be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema describes what `Shape` reads")]
pub(in crate::api) struct RegisterRequest {
    /// The address; unique in any spelling.
    #[schema(format = "email")]
    email: String,
    /// By the policy of `[accounts]` and not a common one.
    #[schema(format = "password")]
    password: String,
    /// As the owner wishes to be called.
    #[schema(max_length = 100)]
    name: Option<String>,
    /// The code of an invitation.
    invite: Option<String>,
}

/// The answer to a registration.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Registered {
    account: AccountShown,
}

/// An account. Named one by one: its record also holds its password hash.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(in crate::api) struct AccountShown {
    #[schema(value_type = uuid::Uuid)]
    id: AccountId,
    /// Normalised.
    email: String,
    name: String,
    roles: Vec<String>,
    #[schema(format = "date-time")]
    created_at: String,
}

impl Shape for Registration {
    fn read(fields: &mut Fields) -> Option<Self> {
        let email = fields.text("email");
        let password = fields.secret("password");
        let name = fields.optional_text("name");
        let invite = fields.optional_secret("invite");
        Some(Self { email: email?, password: password?, name: name?.unwrap_or_default(), invite: invite? })
    }
}

/// Create an account, where registration is open or by invitation.
#[utoipa::path(
    post,
    path = "/auth/v1/register",
    operation_id = "register",
    tag = "auth",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "It exists.", body = Registered),
        Any, JsonBody, Restricted, Taken,
    ),
)]
pub(in crate::api) async fn answer(
    State(accounts): State<Accounts>,
    Sender(origin): Sender,
    Json(registration): Json<Registration>,
) -> Result<(StatusCode, JsonAnswer<Registered>), Failure> {
    let account = accounts.register(registration, &origin).await?;
    let account = AccountShown {
        id: account.id,
        email: account.email.into(),
        name: account.name,
        roles: account.roles.into_iter().map(Into::into).collect(),
        created_at: account.created_at.rfc3339(),
    };
    Ok((StatusCode::CREATED, JsonAnswer(Registered { account })))
}
