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
mod condition;
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
mod openapi;
mod page;
mod password;
mod ready;
mod refresh;
mod register;
mod session_end;
mod sessions;
#[cfg(test)]
mod tests;
mod users;
mod verify;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::auth::accounts::Accounts;
use crate::auth::keys::KeyRing;
use crate::auth::sessions::Sessions;
use crate::observe::health::Health;
use crate::users::Users;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the API is made of.
#[derive(Clone)]
pub struct Parts {
    /// Registers, changes passwords.
    pub accounts: Accounts,
    /// Opens, renews and ends sessions.
    pub sessions: Sessions,
    /// Profiles and documents.
    pub users: Users,
    /// Publishes the public keys.
    pub keys: KeyRing,
    /// Answers `/health` and `/ready`.
    pub health: Health,
    /// `tokens.issuer`
    pub issuer: String,
    /// `keys.jwks_max_age`
    pub jwks_max_age: Duration,
}

/// The API as a router.
pub fn router(parts: Parts) -> Router {
    let (router, _) = described(parts).split_for_parts();
    router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn(error::finish))
}

/// Every path of the API, who answers it, and what is said of it.
fn described(parts: Parts) -> OpenApiRouter {
    let Parts { accounts, sessions, users: people, keys, health, issuer, jwks_max_age } = parts;
    let published = jwks::Published { keys, max_age: jwks_max_age };
    let metadata = metadata::document(&issuer, jwks_max_age);
    let accounts = OpenApiRouter::new()
        .routes(routes!(register::answer))
        .routes(routes!(password::answer))
        .with_state(accounts);
    let sessions = OpenApiRouter::new()
        .routes(routes!(login::answer))
        .routes(routes!(refresh::answer))
        .routes(routes!(logout::answer))
        .routes(routes!(logout_all::answer))
        .routes(routes!(sessions::answer))
        .routes(routes!(session_end::answer))
        .with_state(sessions);
    let people = OpenApiRouter::new()
        .routes(routes!(users::me::get, users::me::patch))
        .routes(routes!(users::documents::list))
        .routes(routes!(users::document::get, users::document::put, users::document::delete))
        .routes(routes!(users::accounts::list))
        .routes(routes!(users::accounts::get))
        .routes(routes!(users::accounts::documents))
        .routes(routes!(users::accounts::document))
        .with_state(people);
    let health = OpenApiRouter::new()
        .routes(routes!(health::answer))
        .routes(routes!(ready::answer))
        .with_state(health);
    OpenApiRouter::with_openapi(openapi::empty())
        .merge(accounts)
        .merge(sessions)
        .routes(routes!(verify::answer))
        .merge(people)
        .routes(UtoipaMethodRouterExt::with_state(routes!(jwks::answer), published))
        .routes(UtoipaMethodRouterExt::with_state(routes!(metadata::answer), metadata))
        .merge(health)
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
