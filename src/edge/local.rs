//! A vetted request to Keepgate's own API: the same checks as for an upstream, then a function call.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, Response};

use super::authenticate::{Anonymous, Vetted, Who};
use super::body::{Outgoing, RequestBody, ResponseBody};
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

/// Calls the API.
pub async fn call(api: &LocalApi, limits: &Limits, vetted: Vetted) -> Result<Response<Outgoing>, Refused> {
    let (routed, who) = vetted.into_parts();
    let (route, admitted) = routed.into_parts();
    let origin = admitted.origin();
    let (mut parts, body, ..) = admitted.into_parts();
    let body = proxy::limited(body, route.body_bytes, limits.stall_timeout)?;
    parts.headers.remove(AUTHORIZATION);
    parts.extensions.clear();
    parts.extensions.insert(origin);
    match who {
        Who::Authenticated(somebody) => {
            // A role that is none was not granted by this Keepgate: nobody may act on it.
            let caller = identity::caller(somebody.claims());
            parts.extensions.insert(caller.map_err(|_| Refused::internal())?);
        }
        Who::Anonymous(Anonymous::BadToken(refusal)) => {
            parts.extensions.insert(RefusedToken { reason: refusal.to_string() });
        }
        Who::Anonymous(Anonymous::NotAsked | Anonymous::NoToken) => {}
    }
    let response = api(Request::from_parts(parts, body)).await;
    Ok(response.map(Outgoing::api))
}
