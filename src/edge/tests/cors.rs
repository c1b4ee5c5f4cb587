//! What a web page of another origin may ask of the API, and read of its answers.

use http::Method;

use super::harness::{Answer, Echo, Gate, request, route, token};
use crate::config::cors::{Cors, Origins};
use crate::config::rates::Rates;
use crate::config::route::{Route, RouteAuth, RouteTarget};
use crate::edge::start::Parts;

const PAGE: &str = "https://app.example.com";

fn api(path: &str, auth: RouteAuth) -> Route {
    Route { target: RouteTarget::Api, methods: vec!["GET".into(), "POST".into()], ..route(path, auth) }
}

async fn gate(change: impl FnOnce(&mut Parts)) -> (Gate, Echo) {
    let app = Echo::start().await;
    let routes = vec![api("/auth", RouteAuth::Required), route("/", RouteAuth::None)];
    let gate = Gate::with(routes, app.servers(), |parts| {
        parts.settings.cors.origins = Origins::Listed(vec![PAGE.to_owned()]);
        parts.settings.cors.credentials = true;
        change(parts);
    });
    (gate, app)
}

async fn ask(gate: &Gate, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    gate.client().await.send(request(method.as_str(), path, headers, "")).await
}

async fn preflight(gate: &Gate, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [("origin", origin), ("access-control-request-method", method)];
    ask(gate, Method::OPTIONS, path, &headers).await
}

fn said<'a>(answer: &'a Answer, header: &str) -> Option<&'a str> {
    let header = format!("access-control-allow-{header}");
    answer.headers.get(header).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token() {
    let (gate, _app) = gate(|_| {}).await;
    let answer = preflight(&gate, "/auth/v1/login", PAGE, "POST").await;
    assert_eq!(answer.status, 204);
    assert_eq!(said(&answer, "origin"), Some(PAGE));
    assert_eq!(said(&answer, "credentials"), Some("true"));
    assert_eq!(said(&answer, "methods"), Some("GET, HEAD, POST, PUT, PATCH, DELETE"));
    assert_eq!(said(&answer, "headers"), Some("authorization, content-type, if-match, if-none-match"));
    assert_eq!(answer.headers["access-control-max-age"], "600");
    assert_eq!(answer.headers["vary"], "origin");
    assert!(gate.audit.0.lock().is_empty());
}

#[tokio::test]
async fn other_pages_are_granted_nothing() {
    let (gate, _app) = gate(|_| {}).await;
    for origin in
        ["https://evil.example.com", "null", "http://app.example.com", "https://app.example.com:8443"]
    {
        let answer = preflight(&gate, "/auth/v1/login", origin, "POST").await;
        assert_eq!((answer.status.as_u16(), said(&answer, "origin")), (204, None), "{origin}");
        let credentials = token(&[], "");
        let headers = [("origin", origin), ("authorization", credentials.as_str())];
        let read = ask(&gate, Method::GET, "/auth/x", &headers).await;
        assert_eq!((read.status.as_u16(), said(&read, "origin")), (200, None), "{origin}");
        assert_eq!(read.headers["vary"], "origin");
    }
    let twice = [("origin", PAGE), ("origin", "https://evil.example.com")];
    assert_eq!(said(&ask(&gate, Method::GET, "/auth/x", &twice).await, "origin"), None);
}

#[tokio::test]
async fn a_page_can_read_what_the_edge_refuses() {
    let (gate, _app) = gate(|parts| {
        parts.settings.limits.body_bytes = 3;
        parts.settings.rates = Rates { address: Some("3/h".parse().unwrap()), ..Rates::default() };
    })
    .await;
    let credentials = token(&[], "");
    let mut client = gate.client().await;
    let unknown = client.send(request("GET", "/auth/x", &[("origin", PAGE)], "")).await;
    assert_eq!((unknown.status.as_u16(), said(&unknown, "origin")), (401, Some(PAGE)));
    let headers = [("origin", PAGE), ("authorization", credentials.as_str())];
    let passed = client.send(request("GET", "/auth/x", &headers, "")).await;
    assert_eq!((passed.status.as_u16(), said(&passed, "origin")), (200, Some(PAGE)));
    let large = gate.client().await.send(request("POST", "/auth/x", &headers, "four")).await;
    assert_eq!((large.status.as_u16(), said(&large, "origin")), (413, Some(PAGE)));
    let hasty = preflight(&gate, "/auth/x", PAGE, "POST").await;
    assert_eq!((hasty.status.as_u16(), said(&hasty, "origin")), (429, Some(PAGE)));
    let exposed = passed.headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("retry-after") && exposed.contains("ratelimit"), "{exposed}");
}

#[tokio::test]
async fn applications_speak_for_themselves() {
    let (gate, app) = gate(|_| {}).await;
    let answer = preflight(&gate, "/app", PAGE, "POST").await;
    assert_eq!(answer.json()["method"], "OPTIONS", "the application got it");
    assert_eq!(said(&answer, "origin"), None);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn without_cors_and_without_origin_nothing_is_said() {
    let (off, _app) = gate(|parts| parts.settings.cors = Cors::default()).await;
    let answer = preflight(&off, "/auth/x", PAGE, "POST").await;
    assert_eq!((answer.status.as_u16(), said(&answer, "origin")), (405, None));
    assert!(!answer.headers.contains_key("vary"));
    let (on, _app) = gate(|_| {}).await;
    let plain = ask(&on, Method::OPTIONS, "/auth/x", &[("origin", PAGE)]).await;
    assert_eq!(plain.status, 405, "no preflight: nothing is asked for");
}

#[tokio::test]
async fn any_origin_is_a_star_and_no_credentials() {
    let (gate, _app) = gate(|parts| {
        parts.settings.cors = Cors { origins: Origins::Any, ..Cors::default() };
    })
    .await;
    let answer = preflight(&gate, "/auth/x", "https://anybody.example", "GET").await;
    assert_eq!((said(&answer, "origin"), said(&answer, "credentials")), (Some("*"), None));
}
