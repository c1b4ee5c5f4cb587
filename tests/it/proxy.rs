//! A gate with a configuration file before a real application: what gets through, as what, and what
//! does not.

use http_body_util::BodyExt as _;
use serde_json::json;

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::{Person, login, refresh};
use crate::harness::upstream::Upstream;

const ADA: &str = "ada@example.com";

/// A gate before `upstream`, with a route for each thing to be tried.
pub fn gate_before(upstream: &Upstream) -> Gate {
    let text = format!(
        r#"
        [accounts]
        registration = "open"
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/auth"
        api = true
        auth = "optional"
        [[routes]]
        path = "/"
        upstream = "app"
        auth = "none"
        [[routes]]
        path = "/private"
        upstream = "app"
        [[routes]]
        path = "/members"
        upstream = "app"
        roles = ["member", "editor"]
        [[routes]]
        path = "/scoped"
        upstream = "app"
        scopes = ["reports:read"]
        [[routes]]
        path = "/read"
        upstream = "app"
        auth = "none"
        methods = ["GET", "HEAD"]
        [[routes]]
        path = "/small"
        upstream = "app"
        auth = "none"
        body_bytes = 1024
        [[routes]]
        path = "/perhaps"
        upstream = "app"
        auth = "optional"
        "#,
        upstream.address
    );
    Gate::start_from_file(&text)
}

async fn status(client: &Client, path: &str, token: &str) -> u16 {
    client.get(path).bearer(token).send().await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_ask_for_roles_and_scopes() {
    let upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    let client = gate.client();
    let mut ada = Person::join(&client, ADA).await;
    let open = client.get("/private").send().await.expect(401);
    assert_eq!(open.header("www-authenticate"), Some("Bearer realm=\"keepgate\""));
    let echo = client.get("/private/x?y=1").bearer(&ada.access).send().await.expect(200).json();
    assert_eq!(echo["headers"]["x-auth-subject"], json!([ada.id]));
    assert_eq!(echo["headers"]["authorization"], json!(null), "the token stays at the gate");

    let refused = client.get("/members").bearer(&ada.access).send().await.expect(403);
    assert_eq!(refused.problem(), "forbidden");
    assert!(refused.header("www-authenticate").is_some_and(|text| text.contains("insufficient_scope")));
    assert_eq!(status(&client, "/scoped", &ada.access).await, 403);
    gate.cli(&["user", "roles", ADA, "editor"]).expect(0);
    assert_eq!(status(&client, "/members", &ada.access).await, 401, "the old token is over");
    ada.take(&refresh(&client, &ada.refresh).await.expect(200).json());
    assert_eq!(status(&client, "/members", &ada.access).await, 200);
    gate.stop();
    let events = gate.audit();
    let denied = events.iter().find(|event| event["reason"] == "missing_role");
    let denied = denied.unwrap_or_else(|| panic!("no denial in {events:?}"));
    assert_eq!(denied["actor"], format!("account:{}", ada.id));
    assert_eq!(denied["address"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_route_tells_somebody_from_nobody() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    let ada = Person::join(&client, ADA).await;
    for (token, subject) in [(ada.access.as_str(), json!([ada.id])), ("nonsense", json!(null))] {
        let ask = client.get("/perhaps").bearer(token).header("x-auth-subject", "root");
        let echo = ask.send().await.expect(200).json();
        assert_eq!(echo["headers"]["x-auth-subject"], subject, "{token}");
    }
    let echo = client.get("/open").bearer("for the application").send().await.expect(200).json();
    assert_eq!(echo["headers"]["authorization"], json!(["Bearer for the application"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_bodies_are_limited_by_route() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    client.get("/read/x").send().await.expect(200);
    let refused = client.post("/read/x", json!({})).send().await.expect(405);
    assert_eq!(
        (refused.problem().as_str(), refused.header("allow")),
        ("method-not-allowed", Some("GET, HEAD"))
    );
    let send = |bytes: usize| client.request("PUT", "/small").body("text/plain", vec![b'x'; bytes]).send();
    assert_eq!(send(1024).await.expect(200).json()["body_bytes"], 1024);
    assert_eq!(send(1025).await.expect(413).problem(), "body-too-large");
    let large = client.request("PUT", "/large").body("text/plain", vec![b'x'; 3_000_000]);
    assert_eq!(large.send().await.expect(200).json()["body_bytes"], 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_through_as_it_is_made() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    let mut link = client.open().await.expect("the gate accepts");
    let mut body = link.begin(client.get("/stream")).await.expect("a head").into_body();
    for text in ["one", "two", "three"] {
        // The next is only sent when the one before has come through.
        upstream.chunk(text);
        let frame = body.frame().await.expect("a frame").expect("unbroken");
        assert_eq!(frame.into_data().expect("data"), text);
    }
    upstream.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_an_http2_connection_and_each_is_its_callers() {
    let mut upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    let client = gate.client();
    let people = [Person::join(&client, ADA).await, Person::join(&client, "bob@example.com").await];
    let mut streams = client.open_http2().await.expect("the gate speaks HTTP/2");
    let mut answers = tokio::task::JoinSet::new();
    for (number, person) in people.iter().cycle().take(40).cloned().enumerate() {
        let mut streams = streams.clone();
        answers.spawn(async move {
            let echo = streams.get(&format!("/private/{number}"), &person.access).await;
            let echo = echo.expect("answered").expect(200).json();
            assert_eq!(echo["path"], format!("/private/{number}"));
            assert_eq!(echo["headers"]["x-auth-subject"], json!([person.id]));
        });
    }
    answers.join_all().await;
    streams.get("/private", "nonsense").await.expect("answered").expect(401);
    let slow = tokio::spawn(async move { streams.get("/slow", "").await });
    upstream.slow_request().await;
    gate.terminate();
    upstream.release();
    slow.await.expect("no panic").expect("answered").expect(200);
    assert!(gate.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_application_the_gate_answers_502_and_the_api_goes_on() {
    let upstream = Upstream::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    Person::join(&client, ADA).await;
    upstream.stop();
    let answer = client.get("/x").send().await.expect(502);
    assert_eq!(answer.problem(), "upstream-unreachable");
    login(&client, ADA).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_finds_a_node_by_its_file() {
    let upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    gate.cli(&["check"]).expect(0);
    assert_eq!(gate.cli_json(&["user", "list"]), json!([]), "nobody is made up outside development");
    gate.cli(&["user", "add", ADA, "--role", "admin", "--generate"]).expect(0);
    gate.stop();
    assert_eq!(gate.cli_json(&["user", "list"])[0]["email"], ADA);
    assert_eq!(gate.cli_json_of_failed_status()["environment"], "stage");
}

impl Gate {
    /// `status` of a stopped node, whose exit code is 1.
    fn cli_json_of_failed_status(&self) -> serde_json::Value {
        self.cli(&["status", "--json"]).expect(1).json()
    }
}
