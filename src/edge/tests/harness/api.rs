//! Keepgate's own API as the tests have it.

use std::sync::Arc;

use std::net::IpAddr;

use http::Response;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use crate::edge::local::LocalApi;
use crate::model::caller::{Caller, Origin, RefusedToken};

/// A local API that tells what the edge gave it; `/panic` panics.
pub fn api() -> LocalApi {
    Arc::new(|request| {
        Box::pin(async move {
            assert!(!request.uri().path().ends_with("/panic"), "asked to");
            let origin = request.extensions().get::<Origin>().unwrap();
            let caller = request.extensions().get::<Caller>();
            let told = json!({
                "path": request.uri().path(),
                "address": origin.address.as_ref().map(IpAddr::to_string),
                "agent": origin.user_agent,
                "request": origin.request.to_string(),
                "account": caller.map(|caller| caller.account.to_string()),
                "refused": request.extensions().get::<RefusedToken>().map(|refused| &refused.reason),
                "authorization": request.headers().contains_key(AUTHORIZATION),
            });
            let body = Full::from(told.to_string()).map_err(|never| match never {});
            Response::new(body.boxed_unsync())
        })
    })
}
