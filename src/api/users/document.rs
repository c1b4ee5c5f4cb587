//! `GET·PUT·DELETE /users/v1/me/data/{key}`: one of the caller's documents, any JSON value, given
//! back byte for byte.

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::path::KeyPath;
use crate::api::body::{JSON, malformed, read, want};
use crate::api::condition::{Conditions, quoted};
use crate::api::error::Failure;
use crate::api::extract::Authenticated;
use crate::api::openapi::answers::{Any, Bearer, Conditional, Input, JsonBody, Missing};
use crate::api::openapi::params::{ConditionParams, KeyParam};
use crate::model::document::Document;
use crate::model::problem::FieldProblem;
use crate::users::Users;
use crate::users::condition::{Condition, Unmet};
use crate::users::error::UsersError;
use crate::users::json::{JsonFault, JsonText};

/// 200 with a document, or 304 for whoever has it. A browser must not guess that it is a page: what
/// is in it is the owner's choice.
pub(in crate::api) fn document(document: Document, condition: &Condition) -> Result<Response, Failure> {
    let tag = document.tag();
    let etag = [(ETAG, quoted(&tag)?)];
    match condition.holds(Some(&tag)) {
        Ok(()) => {
            let headers: [(HeaderName, HeaderValue); 2] = [
                (CONTENT_TYPE, HeaderValue::from_static(JSON)),
                (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ];
            Ok((etag, headers, document.body).into_response())
        }
        Err(Unmet::NoneMatch) => Ok((StatusCode::NOT_MODIFIED, etag).into_response()),
        Err(unmet) => Err(UsersError::from(unmet).into()),
    }
}

/// What reading a document that may not be there came to: `If-Match` asks for one.
pub(in crate::api) fn found(
    read: Result<Document, UsersError>,
    condition: &Condition,
) -> Result<Response, Failure> {
    match read {
        Ok(found) => document(found, condition),
        Err(UsersError::NoDocument) if condition.holds(None).is_err() => {
            Err(UsersError::from(Unmet::Missing).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Read one of the caller's documents.
#[utoipa::path(
    get,
    path = "/users/v1/me/data/{key}",
    operation_id = "readDocument",
    tag = "users",
    security(("bearer" = [])),
    params(KeyParam, ConditionParams),
    responses(
        (status = 200, description = "It, byte for byte.", body = serde_json::Value, headers(("ETag" = String))),
        (status = 304, description = "The client has it.", headers(("ETag" = String))),
        Any, Bearer, Missing, Conditional, Input,
    ),
)]
pub(in crate::api) async fn get(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    KeyPath(key): KeyPath,
    Conditions(condition): Conditions,
) -> Result<Response, Failure> {
    found(users.document(&caller, &key), &condition)
}

/// A document's body.
pub(in crate::api) struct Body(JsonText);

impl FromRequest<Users> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, users: &Users) -> Result<Self, Failure> {
        want(request.headers(), &[JSON])?;
        let bytes = read(request.into_body(), users.largest_document()).await?;
        JsonText::parse(&bytes).map(Self).map_err(|fault| match fault {
            JsonFault::Malformed { .. } => malformed(fault.to_string()),
            JsonFault::TooDeep => fields("too_deep", &fault),
            JsonFault::Duplicate(_) => fields("duplicate", &fault),
        })
    }
}

/// 422 about the body as a whole.
fn fields(code: &'static str, fault: &JsonFault) -> Failure {
    Failure::fields(vec![FieldProblem::new("body", code, fault.to_string())])
}

/// Write one of the caller's documents.
///
/// `If-None-Match: *` creates only; `If-Match` replaces only what the client has seen.
#[utoipa::path(
    put,
    path = "/users/v1/me/data/{key}",
    operation_id = "writeDocument",
    tag = "users",
    security(("bearer" = [])),
    params(KeyParam, ConditionParams),
    request_body(content = serde_json::Value, description = "Any JSON value that all readers take alike (RFC 7493)."),
    responses(
        (status = 201, description = "It is new.", headers(("ETag" = String))),
        (status = 204, description = "It is replaced.", headers(("ETag" = String))),
        Any, Bearer, Conditional, JsonBody,
    ),
)]
pub(in crate::api) async fn put(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    KeyPath(key): KeyPath,
    Conditions(condition): Conditions,
    Body(body): Body,
) -> Result<Response, Failure> {
    let written = users.put(&caller, &key, &body, &condition).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok((status, [(ETAG, quoted(&written.document.tag())?)]).into_response())
}

/// Delete one of the caller's documents.
#[utoipa::path(
    delete,
    path = "/users/v1/me/data/{key}",
    operation_id = "deleteDocument",
    tag = "users",
    security(("bearer" = [])),
    params(KeyParam, ConditionParams),
    responses((status = 204, description = "It is gone."), Any, Bearer, Missing, Conditional, Input),
)]
pub(in crate::api) async fn delete(
    State(users): State<Users>,
    Authenticated(caller): Authenticated,
    KeyPath(key): KeyPath,
    Conditions(condition): Conditions,
) -> Result<StatusCode, Failure> {
    users.delete(&caller, &key, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}
