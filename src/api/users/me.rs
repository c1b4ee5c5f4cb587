//! `GET·PATCH /users/v1/me`: the caller's account with its profile.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ETAG;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::body::{Fields, MergePatch, Patched, Shape};
use crate::api::condition::{Conditions, quoted};
use crate::api::error::Failure;
use crate::api::extract::Authenticated;
use crate::api::openapi::answers::{Any, Bearer, Conditional, JsonBody};
use crate::api::openapi::params::ConditionParams;
use crate::model::account::AccountStatus;
use crate::model::id::AccountId;
use crate::users::Users;
use crate::users::condition::{Condition, Unmet};
use crate::users::profile::{Person, ProfilePatch};

/// A person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Person)]
pub(in crate::api) struct Shown {
    #[schema(value_type = uuid::Uuid)]
    id: AccountId,
    /// Normalised.
    email: String,
    /// May be empty.
    name: String,
    roles: Vec<String>,
    /// Only for administrators: one's own is always `active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StatusSchema>, nullable = false)]
    status: Option<AccountStatus>,
    #[schema(format = "date-time")]
    created_at: String,
    /// When the owner last changed name or profile.
    #[schema(format = "date-time", required)]
    updated_at: Option<String>,
    /// Claims of OpenID Connect Core §5.1 that are set.
    #[schema(value_type = ClaimsSchema)]
    profile: BTreeMap<String, String>,
}

/// Whether an account may be used.
#[derive(ToSchema)]
#[schema(as = AccountStatus, rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema describes model::account::AccountStatus")]
pub(in crate::api) enum StatusSchema {
    Active,
    Disabled,
}

/// Claims; what is not set is not there, and null in a patch removes it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Claims)]
#[expect(dead_code, reason = "its schema describes users::claims; a test compares them")]
pub(in crate::api) struct ClaimsSchema {
    #[schema(max_length = 100)]
    given_name: Option<String>,
    #[schema(max_length = 100)]
    family_name: Option<String>,
    #[schema(max_length = 100)]
    nickname: Option<String>,
    /// An https URL.
    #[schema(max_length = 2048, pattern = "^https://")]
    picture: Option<String>,
    /// An https URL.
    #[schema(max_length = 2048, pattern = "^https://")]
    website: Option<String>,
    /// A name of the time zone database.
    #[schema(max_length = 64)]
    zoneinfo: Option<String>,
    /// A language tag (BCP 47).
    #[schema(max_length = 35)]
    locale: Option<String>,
}

/// A merge patch (RFC 7396) of a profile.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "its schema describes what `Shape` reads")]
pub(in crate::api) struct ProfileRequest {
    /// null or empty: none.
    #[schema(max_length = 100)]
    name: Option<String>,
    /// null removes all.
    profile: Option<ClaimsSchema>,
}

impl Shown {
    fn new(person: Person, status: bool) -> Self {
        let shown = Some(person.status).filter(|_| status);
        Self {
            id: person.id,
            email: person.email.into(),
            name: person.name,
            roles: person.roles.into_iter().map(Into::into).collect(),
            status: shown,
            created_at: person.created_at.rfc3339(),
            updated_at: person.updated_at.map(|at| at.rfc3339()),
            profile: person.claims,
        }
    }
}

/// 200 with a person, or 304 for whoever has them.
pub(in crate::api) fn person(
    person: Person,
    status: bool,
    condition: &Condition,
) -> Result<Response, Failure> {
    let tag = person.tag();
    let etag = [(ETAG, quoted(&tag)?)];
    match condition.holds(Some(&tag)) {
        Ok(()) => Ok((etag, Json(Shown::new(person, status))).into_response()),
        Err(Unmet::NoneMatch) => Ok((StatusCode::NOT_MODIFIED, etag).into_response()),
        Err(unmet) => Err(crate::users::error::UsersError::from(unmet).into()),
    }
}

/// Read the caller's profile.
#[utoipa::path(
    get,
    path = "/users/v1/me",
    operation_id = "readProfile",
    tag = "users",
    security(("bearer" = [])),
    params(ConditionParams),
    responses(
        (status = 200, description = "It.", body = Shown, headers(("ETag" = String))),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        Any, Bearer, Conditional,
    ),
)]
pub(in crate::api) async fn get(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Conditions(condition): Conditions,
) -> Result<Response, Failure> {
    person(users.me(&caller)?, false, &condition)
}

impl Shape for ProfilePatch {
    fn read(fields: &mut Fields) -> Option<Self> {
        ["id", "email", "roles", "created_at", "updated_at"]
            .into_iter()
            .for_each(|name| fields.read_only(name));
        let name = fields.patched_text("name");
        let profile = fields.patched_object("profile", |claims| {
            let read = |name| Some((name, claims.patched_text(name)?));
            // All of them, so that all faults are found.
            let read: Vec<_> = Self::claim_names().map(read).collect();
            read.into_iter().collect::<Option<Vec<_>>>()
        });
        let name = match name? {
            Patched::Kept => None,
            Patched::Removed => Some(String::new()),
            Patched::Set(name) => Some(name),
        };
        let (clear, claims) = match profile? {
            Patched::Kept => (false, Vec::new()),
            Patched::Removed => (true, Vec::new()),
            Patched::Set(claims) => (false, claims),
        };
        let change = |(name, claim)| match claim {
            Patched::Kept => None,
            Patched::Removed => Some((name, None)),
            Patched::Set(value) => Some((name, Some(value))),
        };
        Some(Self { name, clear, claims: claims.into_iter().filter_map(change).collect() })
    }
}

/// Change the caller's profile.
#[utoipa::path(
    patch,
    path = "/users/v1/me",
    operation_id = "patchProfile",
    tag = "users",
    security(("bearer" = [])),
    params(ConditionParams),
    request_body(
        content((ProfileRequest = "application/merge-patch+json"), (ProfileRequest = "application/json")),
    ),
    responses(
        (status = 200, description = "It, as it is now.", body = Shown, headers(("ETag" = String))),
        Any, Bearer, Conditional, JsonBody,
    ),
)]
pub(in crate::api) async fn patch(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Conditions(condition): Conditions,
    MergePatch(patch): MergePatch<ProfilePatch>,
) -> Result<Response, Failure> {
    let changed = users.patch_profile(&caller, patch, &condition).await?;
    person(changed, false, &Condition::default())
}
