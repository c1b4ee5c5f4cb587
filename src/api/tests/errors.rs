//! Every failure of the services as its client sees it. The snapshot is the contract: a changed
//! `type`, status or `code` breaks clients.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;

use super::*;
use crate::api::error::{Failure, finish, no_such_method, no_such_path};
use crate::auth::error::{AuthError, FieldError, RefreshRefusal};
use crate::model::unavailable::Unavailable;
use crate::store::error::StoreError;

async fn answer_to(error: AuthError) -> Answer {
    let failure = Failure::from(error);
    let router = Router::new().route("/", get(move || async { failure })).layer(from_fn(finish));
    send(&router, Request::get("/").body(Body::empty()).unwrap()).await
}

fn every_error() -> Vec<AuthError> {
    let source = Arc::new(std::io::Error::other("internal text"));
    vec![
        AuthError::Invalid(vec![
            FieldError::new("email", "malformed", "not an e-mail address"),
            FieldError::new("password", "too_short", "use at least 12 characters"),
        ]),
        AuthError::field("device", "too_long", "use at most 200 bytes"),
        AuthError::Credentials,
        AuthError::RegistrationClosed,
        AuthError::Invite,
        AuthError::EmailTaken,
        AuthError::NotFound,
        AuthError::LastAdministrator,
        AuthError::InvalidRefreshToken(RefreshRefusal::Reused),
        AuthError::SessionEnded,
        AuthError::TooManyAttempts { retry_after: Duration::from_millis(1001) },
        Unavailable::Overloaded { retry_after: Duration::from_millis(1200) }.into(),
        Unavailable::ReadOnly { reason: "internal text".into() }.into(),
        Unavailable::Closing.into(),
        AuthError::Store(StoreError::Io {
            what: "internal text",
            path: PathBuf::from("/internal/text"),
            source,
        }),
        AuthError::Internal("internal text"),
    ]
}

#[tokio::test]
async fn every_failure_is_a_problem_document() {
    let mut all = String::new();
    for error in every_error() {
        let answer = answer_to(error).await;
        answer.problem();
        for name in ["www-authenticate", "retry-after"] {
            answer.header(name).into_iter().for_each(|value| writeln!(all, "{name}: {value}").unwrap());
        }
        writeln!(all, "{}\n", serde_json::to_string_pretty(&answer.json()).unwrap()).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn internal_text_never_leaves() {
    for error in every_error() {
        let answer = answer_to(error).await;
        let body = String::from_utf8(answer.body).unwrap();
        assert!(!body.contains("internal text") && !body.contains("/internal"), "{body}");
    }
}

#[tokio::test]
async fn why_a_refresh_token_was_refused_is_not_told() {
    let one = answer_to(AuthError::InvalidRefreshToken(RefreshRefusal::Forged)).await;
    let other = answer_to(AuthError::InvalidRefreshToken(RefreshRefusal::Reused)).await;
    assert_eq!(one.body, other.body);
}

#[tokio::test]
async fn unknown_paths_and_methods_get_problems_too() {
    let router = Router::new()
        .route("/here", get(|| async { "here" }))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(finish));
    let answer = send(&router, Request::get("/there").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
    let answer = send(&router, Request::put("/here").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.problem(), "method-not-allowed");
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}
