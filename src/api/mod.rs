//! The HTTP face of the services: one endpoint per file, each of which parses, calls a service and
//! maps the answer. Nothing is decided here.
//!
//! What the edge did before is relied upon and not repeated: the access token was verified and is
//! not in the request any more (its claims are a [`Caller`](crate::model::caller::Caller) in the
//! extensions), and [`Origin`](crate::model::caller::Origin) says who sent the request. Handlers get
//! the one service they use as their state, never the whole house.
//!
//! axum stays inside this folder: [`Api`] is a function from request to response.

mod body;
mod device_cookie;
mod error;
mod extract;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grant;
mod health;
mod jwks;
mod login;
mod logout;
mod logout_all;
mod metadata;
mod password;
mod ready;
mod refresh;
mod register;
mod session_end;
mod sessions;
#[cfg(test)]
mod tests;
mod verify;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;

use crate::auth::accounts::Accounts;
use crate::auth::keys::KeyRing;
use crate::auth::sessions::Sessions;
use crate::observe::health::Health;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the API is made of.
pub struct Parts {
    /// Registers, changes passwords.
    pub accounts: Accounts,
    /// Opens, renews and ends sessions.
    pub sessions: Sessions,
    /// Publishes the public keys.
    pub keys: KeyRing,
    /// Answers `/health` and `/ready`.
    pub health: Health,
    /// `tokens.issuer`
    pub issuer: String,
    /// `keys.jwks_max_age`
    pub jwks_max_age: Duration,
}

/// Every path of the API and who answers it.
pub fn router(parts: Parts) -> Router {
    let Parts { accounts, sessions, keys, health, issuer, jwks_max_age } = parts;
    let published = jwks::Published { keys, max_age: jwks_max_age };
    let metadata = metadata::document(&issuer, jwks_max_age);
    Router::new()
        .route("/auth/v1/register", post(register::answer).with_state(accounts.clone()))
        .route("/auth/v1/password", post(password::answer).with_state(accounts))
        .route("/auth/v1/login", post(login::answer).with_state(sessions.clone()))
        .route("/auth/v1/refresh", post(refresh::answer).with_state(sessions.clone()))
        .route("/auth/v1/logout", post(logout::answer).with_state(sessions.clone()))
        .route("/auth/v1/logout-all", post(logout_all::answer).with_state(sessions.clone()))
        .route("/auth/v1/sessions", get(sessions::answer).with_state(sessions.clone()))
        .route("/auth/v1/sessions/{id}", delete(session_end::answer).with_state(sessions))
        .route("/auth/v1/verify", get(verify::answer))
        .route("/.well-known/jwks.json", get(jwks::answer).with_state(published))
        .route("/.well-known/oauth-authorization-server", get(metadata::answer).with_state(metadata))
        .route("/health", get(health::answer).with_state(health.clone()))
        .route("/ready", get(ready::answer).with_state(health))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn(error::finish))
}

/// The API as a function. Cheap to clone.
#[derive(Clone)]
pub struct Api(Router);

impl Api {
    /// The API of these parts.
    pub fn new(parts: Parts) -> Self {
        Self(router(parts))
    }

    /// Answers a request whose extensions hold an `Origin` and, if it is authenticated, a `Caller`.
    /// Every outcome is a response.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<UnsyncBoxBody<Bytes, BoxError>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // axum's router is always ready.
        let answer: Result<_, Infallible> = self.0.clone().call(request.map(Body::new)).await;
        match answer {
            Ok(response) => response.map(|body| body.map_err(BoxError::from).boxed_unsync()),
            Err(impossible) => match impossible {},
        }
    }
}
