//! Rates and CORS by the real binary: set by file and environment, told to clients, counted in the
//! metrics, and in the audit log.

use serde_json::json;

use crate::harness::client::{Client, plain};
use crate::harness::gate::Gate;
use crate::harness::person::{PASSWORD, Person, login};
use crate::harness::upstream::Upstream;

const PAGE: &str = "https://app.example.com";

fn gate_before(upstream: &Upstream, rates: &str) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [accounts]
        registration = "open"
        [rates]
        {rates}
        [cors]
        origins = ["{PAGE}"]
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/auth"
        api = true
        auth = "optional"
        [[routes]]
        path = "/auth/v1/login"
        api = true
        auth = "optional"
        rate = "4/h"
        [[routes]]
        path = "/"
        upstream = "app"
        "#,
        upstream.address
    ))
}

async fn metrics(gate: &Gate) -> String {
    plain(gate.port("internal"), "/metrics").await.expect("answered").expect(200).text()
}

async fn status(client: &Client, path: &str, token: &str) -> u16 {
    client.get(path).bearer(token).send().await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_asked_too_often_says_when_to_come_back() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream, "");
    let client = gate.client();
    Person::join(&client, "ada@example.com").await;
    let second = login(&client, "ada@example.com").await.expect(200);
    assert_eq!(second.header("ratelimit-policy"), Some("\"route\";q=4;w=3600"));
    assert!(second.header("ratelimit").is_some_and(|left| left.starts_with("\"route\";r=2;t=")));
    // Guesses count like logins that succeed.
    for _ in 0..2 {
        let guess = json!({"email": "ada@example.com", "password": "wrong horse battery staple"});
        client.post("/auth/v1/login", guess).send().await.expect(401);
    }
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let late = client.post("/auth/v1/login", body.clone()).header("origin", PAGE).send().await.expect(429);
    assert_eq!(late.problem(), "rate-limited");
    assert!(late.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| wait > 0)));
    assert_eq!(late.header("access-control-allow-origin"), Some(PAGE), "the page can read it");
    // Another address has a bucket of its own.
    client.clone().from("127.0.0.2").post("/auth/v1/login", body).send().await.expect(200);
    let events = gate.audit();
    let event = events.iter().find(|event| event["reason"] == "rate_limited");
    let event = event.unwrap_or_else(|| panic!("no event in {events:?}"));
    assert_eq!((&event["outcome"], &event["target"]), (&json!("denied"), &json!("*/auth/v1/login")));
    assert!(metrics(&gate).await.contains(r#"keepgate_denials_total{reason="rate_route"} 1"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgers_address_is_refused_before_the_signature_and_a_known_session_goes_on() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream, "failed_verifications = \"3/h\"");
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    assert_eq!(status(&client, "/", &ada.access).await, 200);
    // Well-formed, with another signature: four characters of it, not the last, which hold fewer bits.
    let (head, tail) = ada.access.split_at(ada.access.len() - 10);
    let forged = |at: usize| format!("{}{at:04}{tail}", &head[..head.len() - 4]);
    let mut statuses = Vec::new();
    for at in 0..8 {
        statuses.push(status(&client, "/", &forged(at)).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429]);
    assert_eq!(status(&client, "/", &ada.access).await, 200, "remembered as good");
    assert_eq!(status(&client.clone().from("127.0.0.2"), "/", &forged(0)).await, 401, "another address");
    assert!(metrics(&gate).await.contains(r#"keepgate_denials_total{reason="rate_failures"} 5"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_and_a_user_are_limited_and_a_preflight_needs_no_token() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream, "user = \"3/h\"");
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let bob = Person::join(&client, "bob@example.com").await;
    for (at, want) in [200, 200, 200, 429].into_iter().enumerate() {
        // From wherever it comes: it is the same user.
        let client = client.clone().from(&format!("127.0.0.{}", at + 2));
        assert_eq!(status(&client, "/", &ada.access).await, want);
    }
    assert_eq!(status(&client, "/", &bob.access).await, 200);
    let preflight = client
        .request("OPTIONS", "/auth/v1/sessions")
        .header("origin", PAGE)
        .header("access-control-request-method", "GET")
        .send()
        .await
        .expect(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PAGE));
}
