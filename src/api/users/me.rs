//! `GET·PATCH /users/v1/me`: the caller's account with its profile.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ETAG;
use serde::Serialize;

use crate::api::body::{Fields, MergePatch, Patched, Shape};
use crate::api::condition::{Conditions, quoted};
use crate::api::error::Failure;
use crate::api::extract::Authenticated;
use crate::model::account::AccountStatus;
use crate::model::id::AccountId;
use crate::users::Users;
use crate::users::condition::{Condition, Unmet};
use crate::users::profile::{Person, ProfilePatch};

/// A person as the API shows them.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Shown {
    id: AccountId,
    email: String,
    name: String,
    roles: Vec<String>,
    /// Only for administrators: one's own is always `active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<AccountStatus>,
    created_at: String,
    updated_at: Option<String>,
    profile: BTreeMap<String, String>,
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

pub(in crate::api) async fn patch(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    Conditions(condition): Conditions,
    MergePatch(patch): MergePatch<ProfilePatch>,
) -> Result<Response, Failure> {
    let changed = users.patch_profile(&caller, patch, &condition).await?;
    person(changed, false, &Condition::default())
}
