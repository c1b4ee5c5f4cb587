//! The API driven as a function: requests as the edge hands them over, answers as clients get them.

mod bodies;
mod errors;
mod flow;
mod openapi;
mod world;

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower_service::Service;

use crate::model::caller::Origin;
use crate::model::id::RequestId;

const REQUEST_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// An answer, its body read.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem's word, after checking what every problem has.
    fn problem(&self) -> String {
        let json = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["instance"], format!("urn:uuid:{REQUEST_ID}"));
        json["type"].as_str().unwrap().strip_prefix("urn:keepgate:problem:").unwrap().to_owned()
    }

    /// `field code` of each fault.
    fn faults(&self) -> Vec<String> {
        let json = self.json();
        let faults = json["errors"].as_array().cloned().unwrap_or_default();
        faults
            .iter()
            .map(|fault| format!("{} {}", fault["field"].as_str().unwrap(), fault["code"].as_str().unwrap()))
            .collect()
    }
}

fn origin() -> Origin {
    Origin {
        request: REQUEST_ID.parse::<RequestId>().unwrap(),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        user_agent: "test".into(),
    }
}

/// Sends a request from [`origin`].
async fn send(router: &Router, mut request: Request<Body>) -> Answer {
    request.extensions_mut().insert(origin());
    let response = router.clone().call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn post_json(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}
