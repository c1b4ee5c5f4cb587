//! A vetted request to Keepgate's own API: the same checks as for an upstream, then a function call.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};

use super::authenticate::{Anonymous, Vetted, Who};
use super::body::{Outgoing, RequestBody, ResponseBody};
use super::decisions::Denied;
use super::identity;
use super::proxy;
use super::respond::Refused;
use crate::config::limits::Limits;
use crate::model::caller::RefusedToken;

/// The local API as the edge calls it. The request's extensions hold a
/// [`model::caller::Origin`](crate::model::caller::Origin) always, a
/// [`model::caller::Caller`](crate::model::caller::Caller) when a token was verified, and a
/// [`model::caller::RefusedToken`](crate::model::caller::RefusedToken) when one was sent and refused;
/// the `Authorization` header is gone.
pub type LocalApi =
    Arc<dyn Fn(Request<RequestBody>) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync>;

/// What the API answered.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub response: Response<Outgoing>,
    /// The event, when a token was sent and refused and the API would not do without: its routes leave
    /// it to each operation whether somebody must be there, so that only the answer tells.
    pub denied: Option<Box<Denied>>,
}

/// Calls the API.
pub async fn call(api: &LocalApi, limits: &Limits, vetted: Vetted) -> Result<Answered, Refused> {
    let (routed, who) = vetted.into_parts();
    let (route, admitted) = routed.into_parts();
    let origin = admitted.origin();
    let (mut parts, body, ..) = admitted.into_parts();
    let body = proxy::limited(body, route.body_bytes, limits.stall_timeout)?;
    parts.headers.remove(AUTHORIZATION);
    parts.extensions.clear();
    parts.extensions.insert(origin);
    let mut refused = None;
    match who {
        Who::Authenticated(somebody) => {
            // A role that is none was not granted by this Keepgate: nobody may act on it.
            let caller = identity::caller(somebody.claims());
            parts.extensions.insert(caller.map_err(|_| Refused::internal())?);
        }
        Who::Anonymous(Anonymous::BadToken(refusal, denied)) => {
            parts.extensions.insert(RefusedToken { reason: refusal.to_string() });
            refused = Some(denied);
        }
        Who::Anonymous(Anonymous::NotAsked | Anonymous::NoToken) => {}
    }
    let response = api(Request::from_parts(parts, body)).await.map(Outgoing::api);
    let denied = refused.filter(|_| response.status() == StatusCode::UNAUTHORIZED);
    Ok(Answered { response, denied })
}
