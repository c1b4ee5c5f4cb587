//! Who may pass, who is told why not, and what the audit log says of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::WWW_AUTHENTICATE;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;

use super::harness::{Echo, Gate, request, route, token};
use crate::audit::draft::Draft;
use crate::config::route::RouteAuth;
use crate::config::route::RouteTarget;
use crate::config::upstream::Server;
use crate::edge::connection::Farewell;
use crate::edge::decisions::{AuditSink, NotRecorded};
use crate::edge::local::LocalApi;
use crate::edge::start::Parts;

#[tokio::test]
async fn a_good_token_becomes_identity_headers_and_goes_no_further() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], app.servers());
    let credentials = token(&["admin", "staff"], "read write");
    let headers = [("authorization", credentials.as_str()), ("x-auth-subject", "forged")];
    let got = gate.get("/", &headers).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.echoed("x-auth-subject"), ["00000000-0000-0000-0000-000000000001"]);
    assert_eq!(got.echoed("x-auth-session"), ["00000000-0000-0000-0000-000000000002"]);
    assert_eq!(got.echoed("x-auth-roles"), ["admin,staff"]);
    assert_eq!(got.echoed("x-auth-scope"), ["read write"]);
    assert_eq!(got.echoed("authorization"), [""; 0]);
    assert!(gate.audit.0.lock().is_empty(), "passing is no event");
}

#[tokio::test]
async fn without_a_token_the_answer_is_a_plain_challenge_and_no_event() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], app.servers());
    for headers in [&[][..], &[("authorization", "Basic eDp5")]] {
        let got = gate.get("/", headers).await;
        assert_eq!((got.status.as_u16(), got.problem().as_str()), (401, "unauthenticated"));
        assert_eq!(got.headers[WWW_AUTHENTICATE], r#"Bearer realm="keepgate""#);
    }
    assert_eq!(app.connections(), 0);
    assert!(gate.audit.0.lock().is_empty());
}

#[tokio::test]
async fn a_revoked_token_is_refused_on_the_very_next_request_and_recorded_once() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], app.servers());
    let mut client = gate.client().await;
    let credentials = token(&[], "");
    let headers = [("authorization", credentials.as_str())];
    assert_eq!(client.send(request("GET", "/", &headers, "")).await.status, 200);
    gate.revoke_session();
    for _ in 0..3 {
        let got = client.send(request("GET", "/", &headers, "")).await;
        assert_eq!((got.status.as_u16(), got.problem().as_str()), (401, "invalid-token"));
        let challenge = got.headers[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    }
    let events = gate.audit.0.lock().clone();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(r#"reason: "revoked""#) && events[0].contains("127.0.0.1"), "{}", events[0]);
    // What was folded is written when the gate stops, at the latest.
    let audit = gate.audit;
    gate.running.drain(Farewell::Drain, std::time::Duration::from_secs(5)).await;
    assert!(audit.0.lock()[1].contains("count: 2"));
}

#[tokio::test]
async fn a_missing_role_or_scope_is_forbidden_and_recorded_with_who_it_was() {
    let app = Echo::start().await;
    let mut admins = route("/admin", RouteAuth::Required);
    admins.roles = vec!["admin".parse().unwrap(), "staff".parse().unwrap()];
    let mut writers = route("/write", RouteAuth::Optional);
    writers.scopes = vec!["write".to_owned(), "app".to_owned()];
    let gate = Gate::start(vec![admins, writers], app.servers());
    let mut client = gate.client().await;
    let mut ask = async |path: &str, roles: &[&str], scope: &str| {
        let credentials = token(roles, scope);
        client.send(request("GET", path, &[("authorization", &credentials)], "")).await
    };
    assert_eq!(ask("/admin", &["staff"], "").await.status, 200);
    assert_eq!(ask("/write", &[], "app write").await.status, 200);
    let got = ask("/admin", &["administrator"], "").await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (403, "forbidden"));
    let got = ask("/write", &[], "write").await;
    assert_eq!(got.status, 403);
    let challenge = got.headers[WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.ends_with(r#"error="insufficient_scope", scope="write app""#), "{challenge}");
    let events = gate.audit.0.lock().clone();
    assert!(
        events[0].contains(r#"reason: "missing_role""#) && events[0].contains("Account("),
        "{}",
        events[0]
    );
    assert!(events[1].contains(r#"reason: "missing_scope""#), "{}", events[1]);
}

#[tokio::test]
async fn where_a_token_is_optional_a_bad_one_passes_as_nobody() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Optional)], app.servers());
    let got = gate.get("/", &[("authorization", "Bearer nonsense")]).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.echoed("x-auth-subject"), [""; 0]);
    assert_eq!(got.echoed("authorization"), [""; 0]);
}

#[tokio::test]
async fn an_optional_route_with_demands_still_takes_nobody_for_nobody() {
    let app = Echo::start().await;
    let mut demanding = route("/", RouteAuth::Optional);
    demanding.roles = vec!["admin".parse().unwrap()];
    let gate = Gate::start(vec![demanding], app.servers());
    assert_eq!(gate.get("/", &[]).await.status, 401, "nobody has no role");
}

#[tokio::test]
async fn a_route_without_authentication_leaves_the_header_to_the_application() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let credentials = token(&["admin"], "");
    let got = gate.get("/", &[("authorization", &credentials)]).await;
    assert_eq!(got.echoed("authorization"), [credentials]);
    assert_eq!(got.echoed("x-auth-subject"), [""; 0]);
}

#[tokio::test]
async fn two_authorization_headers_are_a_bad_request() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], app.servers());
    let credentials = token(&[], "");
    let twice = [("authorization", credentials.as_str()), ("authorization", "Bearer x")];
    assert_eq!(gate.get("/", &twice).await.status, 400);
}

/// The local API's door: who has come in, and who may go on.
struct Door {
    entered: Semaphore,
    may_leave: Semaphore,
}

/// A gate before a local API that waits at its door, and answers 401 to everybody but on `/open`.
fn before_a_door(change: impl FnOnce(&mut Parts)) -> (Gate, Arc<Door>) {
    let door = Arc::new(Door { entered: Semaphore::new(0), may_leave: Semaphore::new(0) });
    let inside = Arc::clone(&door);
    let api: LocalApi = Arc::new(move |request| {
        let inside = Arc::clone(&inside);
        Box::pin(async move {
            inside.entered.add_permits(1);
            inside.may_leave.acquire().await.unwrap().forget();
            let body = Full::from("").map_err(|never| match never {});
            let mut response = Response::new(body.boxed_unsync());
            if request.uri().path() != "/open" {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            response
        })
    });
    let mut everything = route("/", RouteAuth::Optional);
    everything.target = RouteTarget::Api;
    let gate = Gate::with(vec![everything], vec![Server::Unix("/nonexistent".into())], |parts| {
        parts.api = api;
        change(parts);
    });
    (gate, door)
}

#[tokio::test]
async fn a_bad_token_that_the_local_api_answers_401_is_recorded_and_counted() {
    let (gate, door) = before_a_door(|_| {});
    door.may_leave.add_permits(4);
    assert_eq!(gate.get("/logout", &[]).await.status, 401);
    assert_eq!(gate.get("/open", &[("authorization", "Bearer x")]).await.status, 200);
    assert!(gate.audit.0.lock().is_empty(), "no token, or nothing refused");
    for _ in 0..2 {
        assert_eq!(gate.get("/logout", &[("authorization", "Bearer x")]).await.status, 401);
    }
    let events = gate.audit.0.lock().clone();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(r#"reason: "malformed""#) && events[0].contains("127.0.0.1"), "{}", events[0]);
    let metrics = gate.metrics.encode();
    assert!(metrics.contains(r#"keepgate_denials_total{reason="bad_token"} 2"#), "{metrics}");
}

#[tokio::test]
async fn denials_of_the_thread_that_ends_last_are_recorded_too() {
    let (gate, door) = before_a_door(|parts| parts.listen.workers = 8);
    door.may_leave.add_permits(1);
    let bad = [("authorization", "Bearer x")];
    assert_eq!(gate.get("/logout", &bad).await.status, 401);
    // On any of eight threads; the first of them has nothing to wait for, most likely.
    let mut client = gate.client().await;
    let audit = Arc::clone(&gate.audit);
    let asking = tokio::spawn(async move { client.send(request("GET", "/logout", &bad, "")).await });
    door.entered.acquire_many(2).await.unwrap().forget();
    let draining = tokio::spawn(gate.running.drain(Farewell::Drain, Duration::from_secs(60)));
    // What it must not depend on: that the first thread is still there.
    tokio::time::sleep(Duration::from_millis(300)).await;
    door.may_leave.add_permits(1);
    assert_eq!(asking.await.unwrap().status, 401);
    assert_eq!(draining.await.unwrap(), 0);
    assert!(audit.0.lock()[1].contains("count: 1"));
}

struct Broken;

impl AuditSink for Broken {
    fn record(&self, _: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Err(NotRecorded::new("the disk is full")) })
    }

    fn record_all(&self, _: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Err(NotRecorded::new("the disk is full")) })
    }
}

#[tokio::test]
async fn a_denial_that_cannot_be_recorded_is_a_denial_still_and_counted() {
    let app = Echo::start().await;
    let routes = vec![route("/", RouteAuth::Required)];
    let gate = Gate::with(routes, app.servers(), |parts| parts.audit = Arc::new(Broken));
    assert_eq!(gate.get("/", &[("authorization", "Bearer x")]).await.status, 401);
    assert!(gate.metrics.encode().contains("keepgate_edge_audit_failures_total 1"));
}
