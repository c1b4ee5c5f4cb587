//! Coming and going: the doors beside HTTPS, a stop that lets open requests finish, a second that
//! does not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::client::{Client, plain};
use crate::harness::gate::{CHEAP, Gate};
use crate::harness::person::{Person, refresh};
use crate::harness::upstream::Upstream;
use crate::proxy::gate_before;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_an_open_request_finish_and_nobody_new_in() {
    let mut upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    let (client, internal) = (gate.client(), gate.port("internal"));
    let (mut slow, idle) = open_request(&mut upstream, &client).await;
    gate.terminate();
    idle.closed().await;
    until_nobody_is_let_in(&client).await;
    let ready = plain(internal, "/ready").await.expect("the internal listener answers").expect(503);
    assert_eq!(ready.json()["status"], "draining");
    plain(internal, "/health").await.expect("answered").expect(200);
    upstream.release();
    let answer = slow.answer().await;
    assert_eq!(answer["path"], "/slow");
    assert!(gate.wait().success());
    assert!(plain(internal, "/health").await.is_err());
    assert!(!gate.file("run/control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let (slow, idle) = open_request(&mut upstream, &client).await;
    gate.terminate();
    idle.closed().await;
    until_nobody_is_let_in(&client).await;
    gate.terminate();
    assert_eq!(gate.wait().code(), Some(1));
    slow.no_answer().await;
    gate.restart();
    gate.client().get("/private").bearer(&ada.access).send().await.expect(200);
    gate.verify_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut_at_the_deadline() {
    let mut upstream = Upstream::start().await;
    let mut gate = gate_before(&upstream);
    gate.set("KEEPGATE_LIMITS__DRAIN_TIMEOUT=0s");
    gate.restart();
    let client = gate.client();
    let (slow, _idle) = open_request(&mut upstream, &client).await;
    gate.stop();
    slow.no_answer().await;
}

/// A request that the application holds.
struct Slow(tokio::task::JoinHandle<Option<serde_json::Value>>);

impl Slow {
    async fn answer(&mut self) -> serde_json::Value {
        (&mut self.0).await.expect("no panic").expect("an answer")
    }

    async fn no_answer(self) {
        assert_eq!(self.0.await.expect("no panic"), None);
    }
}

/// A request that has arrived at the application, and a connection that is idle.
async fn open_request(upstream: &mut Upstream, client: &Client) -> (Slow, crate::harness::client::Link) {
    let mut idle = client.open().await.expect("the gate accepts");
    idle.send(client.get("/x")).await.expect("answered").expect(200);
    let asking = client.clone();
    let slow = tokio::spawn(async move {
        let mut link = asking.open().await.expect("the gate accepts");
        let answer = link.send(asking.get("/slow")).await.ok()?.expect(200).json();
        // The gate closes a kept connection when its request is done.
        link.closed().await;
        Some(answer)
    });
    upstream.slow_request().await;
    (Slow(slow), idle)
}

async fn until_nobody_is_let_in(client: &Client) {
    while client.open().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_listener_shows_health_and_what_was_counted() {
    let gate = Gate::start_cheap();
    let (client, internal) = (gate.client(), gate.port("internal"));
    let health = plain(internal, "/health").await.expect("answered").expect(200).json();
    assert_eq!(health, json!({"status": "ok", "checks": []}));
    let ready = plain(internal, "/ready").await.expect("answered").expect(200).json();
    assert!(ready["checks"].as_array().is_some_and(|checks| checks.len() >= 4), "{ready}");
    let ada = Person::join(&client, "ada@example.com").await;
    client.get("/echo").bearer(&ada.access).send().await.expect(200);
    client.get("/echo").bearer("nonsense").send().await.expect(401);
    client.get("/echo").send().await.expect(401);
    let metrics = plain(internal, "/metrics").await.expect("answered").expect(200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let value = samples(&metrics.text());
    assert_eq!(value("keepgate_requests_total{status=\"2xx\"}"), 3.0);
    assert_eq!(value("keepgate_requests_total{status=\"4xx\"}"), 2.0);
    assert_eq!(value("keepgate_denials_total{reason=\"bad_token\"}"), 1.0);
    assert_eq!(value("keepgate_denials_total{reason=\"no_token\"}"), 1.0);
    assert_eq!(value("keepgate_tls_handshakes_total"), 5.0);
    assert_eq!(value("keepgate_upstream_connects_total") + value("keepgate_upstream_reuses_total"), 1.0);
    assert_eq!(value("keepgate_request_duration_seconds_count{route=\"*/echo\",status=\"2xx\"}"), 1.0);
    assert_eq!(value("keepgate_panics_total"), 0.0);
    plain(internal, "/echo").await.expect("answered").expect(404);
}

/// The samples of a text exposition, each line of which must be one, or a comment.
fn samples(text: &str) -> impl Fn(&str) -> f64 + use<> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        (name.to_owned(), value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let all: std::collections::BTreeMap<_, _> = lines.map(sample).collect();
    move |name| *all.get(name).unwrap_or_else(|| panic!("no {name} in {all:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_to_https_which_says_to_stay_there() {
    let gate = Gate::start_cheap();
    let https = gate.port("https").port();
    let answer = plain(gate.port("http"), "/echo/public?a=b").await.expect("answered").expect(308);
    let there = format!("https://localhost:{https}/echo/public?a=b");
    assert_eq!(answer.header("location"), Some(there.as_str()));
    assert_eq!(answer.header("strict-transport-security"), None, "RFC 6797 section 7.2");
    let answer = gate.client().get("/echo/public").send().await.expect(200);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    let refused = gate.client().get("/echo").send().await.expect(401);
    assert_eq!(refused.header("strict-transport-security"), Some("max-age=31536000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_were_counted_are_in_the_log_before_the_stop_is() {
    let mut gate = Gate::start_cheap();
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    client.post("/auth/v1/logout", json!({})).bearer(&ada.access).send().await.expect(204);
    for _ in 0..5 {
        refresh(&client, &ada.refresh).await.expect(401);
    }
    gate.stop();
    let events = gate.audit();
    let told: Vec<_> = events
        .iter()
        .skip_while(|event| event["intent"] != "logout")
        .filter(|event| event["intent"] == "refresh" || event["intent"] == "stop")
        .map(|event| (event["intent"].as_str().expect("text"), event["count"].as_u64().expect("a number")))
        .collect();
    assert_eq!(told, [("refresh", 1), ("refresh", 4), ("stop", 1)]);
    gate.verify_audit();
}

#[test]
fn an_empty_folder_that_others_could_enter_is_made_private_and_a_filled_one_is_refused() {
    let mut gate = Gate::prepare(CHEAP);
    gate.make_data();
    let open = |gate: &Gate| {
        std::fs::set_permissions(gate.data(), Permissions::from_mode(0o755)).expect("it is ours");
    };
    open(&gate);
    gate.restart();
    let mode = gate.data().metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    gate.stop();
    open(&gate);
    let refusal = gate.refuse_start();
    assert!(refusal.code == Some(3) && refusal.stderr.contains("mode 755"), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_is_told_apart_from_one_that_is_wrong() {
    use tokio::io::AsyncWriteExt as _;
    let mut upstream = Upstream::start().await;
    let gate = gate_before(&upstream);
    let client = gate.client();
    // In the middle of its body.
    let mut stream = client.stream().await.expect("the gate accepts");
    let head = b"POST /given-up HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf";
    stream.write_all(head).await.expect("written");
    stream.flush().await.expect("written");
    drop(stream);
    gate.until_it_says("status=499");
    // Waiting for its answer: over HTTP/1.1, and over HTTP/2.
    let mut link = client.open().await.expect("the gate accepts");
    let asking = client.clone();
    let waiting = tokio::spawn(async move { link.send(asking.get("/slow")).await.is_ok() });
    upstream.slow_request().await;
    waiting.abort();
    gate.until_it_says("path=\"/slow\" status=499");
    let mut streams = client.open_http2().await.expect("the gate speaks HTTP/2");
    let waiting = tokio::spawn(async move { streams.get("/slow", "").await.is_ok() });
    upstream.slow_request().await;
    waiting.abort();
    gate.until_it_says("version=HTTP/2.0");
    let value = samples(&plain(gate.port("internal"), "/metrics").await.expect("answered").text());
    assert_eq!(value("keepgate_requests_total{status=\"4xx\"}"), 3.0);
}
