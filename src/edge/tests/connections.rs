//! Connections: budgets, bans, silence, and what TLS agrees on.

use std::time::Duration;

use rustls::{NamedGroup, ProtocolVersion};
use tokio::io::AsyncWriteExt;

use super::harness::{Echo, Gate, read_to_close, request, route};
use crate::config::route::RouteAuth;
use crate::edge::connection::Farewell;

fn open() -> Vec<crate::config::route::Route> {
    vec![route("/", RouteAuth::None)]
}

#[tokio::test]
async fn tls13_with_the_hybrid_post_quantum_exchange_is_agreed_on() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    let stream = gate.tls(b"h2").await.unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn an_address_past_its_budget_is_turned_away_before_tls() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| parts.settings.limits.connections_per_address = 1);
    let held = gate.tls(b"http/1.1").await.unwrap();
    assert!(gate.tls(b"http/1.1").await.is_err());
    assert!(gate.metrics.encode().contains(r#"connections_turned_away_total{reason="address_budget"} 1"#));
    drop(held);
    // The gate hears of the close in its own time.
    while gate.tls(b"http/1.1").await.is_err() {}
}

#[tokio::test]
async fn a_banned_address_is_turned_away_before_tls_and_recorded() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    gate.ban("127.0.0.0/8");
    assert!(gate.tls(b"http/1.1").await.is_err());
    assert!(gate.metrics.encode().contains(r#"connections_turned_away_total{reason="blacklist"} 1"#));
    while gate.audit.0.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(gate.audit.0.lock()[0].contains(r#"reason: "blacklisted""#));
}

#[tokio::test]
async fn a_ban_reaches_connections_that_are_open_already() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    let mut client = gate.client().await;
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    gate.ban("127.0.0.1/32");
    let got = client.send(request("GET", "/", &[], "")).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (403, "blacklisted"));
    assert_eq!(gate.audit.0.lock().len(), 1);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_it_names_counts() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| {
        parts.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let headers = [
        ("x-forwarded-for", "6.6.6.6, 203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", id),
        ("x-auth-subject", "forged"),
    ];
    let got = gate.get("/", &headers).await;
    assert_eq!(got.echoed("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(got.echoed("x-real-ip"), ["203.0.113.9"]);
    assert_eq!(got.echoed("x-forwarded-proto"), ["http"]);
    assert_eq!(got.echoed("x-request-id"), [id]);
    assert_eq!(got.headers["x-request-id"], id);
    assert_eq!(got.echoed("x-auth-subject"), [""; 0]);
    gate.ban("203.0.113.0/24");
    assert_eq!(gate.get("/", &headers).await.status, 403);
    assert_eq!(gate.get("/", &[("x-forwarded-for", "198.51.100.1")]).await.status, 200);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| {
        parts.settings.limits.head_timeout = Duration::from_millis(50);
    });
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn silence_between_requests_is_no_late_head() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| {
        parts.settings.limits.head_timeout = Duration::from_millis(1);
    });
    let mut client = gate.client().await;
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    // As long as it takes for a head to be late.
    let mut late = gate.tls(b"http/1.1").await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.unwrap();
    assert_eq!(read_to_close(&mut late).await, "");
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| {
        parts.settings.limits.idle_timeout = Duration::from_millis(50);
    });
    let mut silent = gate.tls(b"http/1.1").await.unwrap();
    assert_eq!(read_to_close(&mut silent).await, "");
    let mut http2 = gate.http2().await;
    while http2.ready().await.is_ok() && !http2.is_closed() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn several_threads_share_a_port() {
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| parts.listen.workers = 3);
    for _ in 0..12 {
        assert_eq!(gate.get("/", &[]).await.status, 200);
    }
    assert!(gate.metrics.encode().contains(r#"keepgate_requests_total{status="2xx"} 12"#));
    assert_eq!(gate.running.drain(Farewell::Drain, Duration::from_secs(60)).await, 0);
}

#[tokio::test]
async fn nobody_is_accepted_before_that_may_begin_and_who_waited_is_served() {
    let (begin, begins) = tokio::sync::watch::channel(false);
    let app = Echo::start().await;
    let gate = Gate::with(open(), app.servers(), |parts| parts.begins = begins);
    let mut waiting = std::pin::pin!(gate.tls(b"http/1.1"));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "nobody answers");
    begin.send_replace(true);
    waiting.await.unwrap();
}
