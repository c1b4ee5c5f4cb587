//! Requests that no honest client sends: each is refused, none reaches the application.

use super::harness::{Echo, Gate, route};
use crate::config::route::RouteAuth;

async fn refused(cases: &[(&str, &str)]) {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    for (bytes, status) in cases {
        let answer = gate.raw(bytes).await;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        let (bytes, _) = bytes.split_at(bytes.len().min(300));
        assert_eq!(got, *status, "{bytes:?} was answered {answer:?}");
        assert_eq!(answer.matches("\r\n\r\n").count(), 1, "and end the connection: {answer:?}");
        assert!(answer.contains("urn:keepgate:problem:") && answer.contains("x-request-id: "), "{answer:?}");
    }
    let denials = format!(r#"keepgate_denials_total{{reason="malformed"}} {}"#, cases.len());
    assert!(gate.metrics.encode().contains(&denials), "each is counted: {denials}");
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn contradictory_framing_is_refused_and_ends_the_connection() {
    let next = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    refused(&[
        (
            &format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
            "400",
        ),
        (&format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{next}"), "400"),
        (&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +3\r\n\r\nabc{next}"), "400"),
        (&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc{next}"), "400"),
        (&format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n{next}"), "400"),
        (&format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc{next}"), "400"),
        (&format!("GET / HTTP/1.1\nHost: localhost\n\n{next}"), "400"),
        (&format!("POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}"), "400"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n{next}"), "400"),
        (&format!("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n{next}"), "400"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n{next}"), "400"),
    ])
    .await;
}

#[tokio::test]
async fn hosts_that_are_missing_doubled_or_contradictory_are_refused() {
    refused(&[
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400"),
        ("GET https://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400"),
    ])
    .await;
}

#[tokio::test]
async fn tunnels_and_traces_are_refused() {
    refused(&[
        ("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
    ])
    .await;
}

#[tokio::test]
async fn oversized_heads_and_unknown_expectations_are_refused() {
    let close = "Connection: close\r\n\r\n";
    refused(&[
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n{close}", "x".repeat(40_000)), "431"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}{close}", "x: y\r\n".repeat(101)), "431"),
        (&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n{close}", "x".repeat(9_000)), "414"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\n{close}"), "417"),
    ])
    .await;
}

#[tokio::test]
async fn what_no_parser_would_take_is_refused_in_our_words() {
    refused(&[
        ("GET /\r\n\r\n", "400"),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", "400"),
        ("GET /<x> HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: \u{1}\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}", "400"),
        (&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000)), "414"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "x: y\r\n".repeat(2_000)), "431"),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(300_000)), "431"),
    ])
    .await;
}

#[tokio::test]
async fn http2_is_held_to_the_same_rules() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let mut client = gate.http2().await;
    for (path, headers, want) in [
        ("https://localhost/", vec![("host", "other")], 400),
        ("https://localhost/a/%2e%2e/b", vec![], 400),
        ("https://localhost/", vec![("expect", "x")], 417),
    ] {
        let response = client.send_request(super::harness::request("GET", path, &headers, "")).await.unwrap();
        assert_eq!(response.status(), want, "{path} {headers:?}");
    }
    assert_eq!(app.connections(), 0);
}
