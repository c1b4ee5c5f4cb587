//! What reaches the application, and what comes back.

use std::time::Duration;

use super::harness::{Echo, Gate, answer, request, route, token};
use crate::config::route::{RouteAuth, RouteTarget};
use crate::config::upstream::Server;
use crate::edge::connection::Farewell;

#[tokio::test]
async fn a_request_reaches_the_application_with_what_keepgate_says_about_it() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let got = gate.get("/a/b?x=1&y=%2F", &[("accept", "text/*")]).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["target"], "/a/b?x=1&y=%2F");
    assert_eq!(got.echoed("host"), ["localhost"]);
    assert_eq!(got.echoed("accept"), ["text/*"]);
    assert_eq!(got.echoed("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.echoed("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(got.echoed("x-forwarded-proto"), ["https"]);
    assert_eq!(got.echoed("x-forwarded-host"), ["localhost"]);
    let id = got.headers["x-request-id"].to_str().unwrap();
    assert_eq!(got.echoed("x-request-id"), [id]);
    assert_eq!(uuid::Uuid::try_parse(id).unwrap().get_version_num(), 7);
    assert_eq!(got.headers["strict-transport-security"], "max-age=60");
    assert_eq!(got.headers["x-app"], "1");
    assert!(!got.headers.contains_key("keep-alive"), "hop-by-hop headers of the application end here");
}

#[tokio::test]
async fn a_group_may_be_told_another_host_and_hears_of_the_clients_beside_it() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.upstreams.get_mut("app").unwrap().host = Some("app.internal:8080".to_owned());
    });
    let got = gate.get("/", &[("x-forwarded-host", "evil")]).await;
    assert_eq!(
        (got.echoed("host"), got.echoed("x-forwarded-host")),
        (vec!["app.internal:8080".to_owned()], vec!["localhost".to_owned()])
    );
}

#[tokio::test]
async fn forged_identity_and_forwarding_headers_do_not_reach_the_application() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Optional)], app.servers());
    let forged = [
        ("X-Auth-Subject", "root"),
        ("x_auth_subject", "root"),
        ("X-Auth_Roles", "admin"),
        ("X-Keepgate-Assertion", "x"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Request-Id", "forged"),
        ("Forwarded", "for=6.6.6.6"),
        ("Connection", "x-forwarded-for, x-auth-subject, keep-alive"),
        ("Upgrade", "websocket"),
        ("Te", "gzip"),
        ("Proxy-Authorization", "Basic x"),
    ];
    let got = gate.get("/", &forged).await;
    let seen = got.json()["headers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let forwarded = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    let ours = [&["host", "via"][..], &forwarded, &["x-request-id"]].concat();
    assert_eq!(seen, ours);
    assert_eq!(got.echoed("x-forwarded-for"), ["127.0.0.1"]);
    assert_ne!(got.echoed("x-request-id"), ["forged"]);
}

#[tokio::test]
async fn http2_requests_reach_the_application_as_http1() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::Required)], app.servers());
    let mut client = gate.http2().await;
    let credentials = token(&["staff"], "");
    let headers = [("authorization", credentials.as_str()), ("cookie", "a=1"), ("cookie", "b=2")];
    let url = format!("https://localhost:{}/x", gate.https().port());
    let got = answer(client.send_request(request("POST", &url, &headers, "hello")).await.unwrap()).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["target"], "/x");
    assert_eq!(got.json()["body_bytes"], 5);
    assert_eq!(got.echoed("host"), [format!("localhost:{}", gate.https().port())]);
    assert_eq!(got.echoed("cookie"), ["a=1; b=2"]);
    assert_eq!(got.echoed("x-auth-roles"), ["staff"]);
}

#[tokio::test]
async fn http2_requests_on_one_connection_run_beside_each_other() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let mut client = gate.http2().await;
    let asks =
        (0..20).map(|at| client.send_request(request("GET", &format!("https://localhost/{at}"), &[], "")));
    for (at, response) in futures_util::future::join_all(asks).await.into_iter().enumerate() {
        assert_eq!(answer(response.unwrap()).await.json()["target"], format!("/{at}"));
    }
}

#[tokio::test]
async fn the_host_chooses_between_routes() {
    let app = Echo::start().await;
    let mut internal = route("/", RouteAuth::Required);
    internal.host = Some("internal.example".to_owned());
    let gate = Gate::start(vec![route("/", RouteAuth::None), internal], app.servers());
    assert_eq!(gate.get("/", &[]).await.status, 200);
    let asked = gate.raw("GET / HTTP/1.1\r\nHost: Internal.Example:8443\r\nConnection: close\r\n\r\n").await;
    assert!(asked.starts_with("HTTP/1.1 401 "), "{asked}");
}

#[tokio::test]
async fn unknown_paths_and_methods_get_problem_details() {
    let app = Echo::start().await;
    let mut only_get = route("/app", RouteAuth::None);
    only_get.methods = vec!["GET".to_owned()];
    let gate = Gate::start(vec![only_get], app.servers());
    let missing = gate.get("/apple", &[]).await;
    assert_eq!((missing.status.as_u16(), missing.problem().as_str()), (404, "no-route"));
    assert_eq!(missing.headers["content-type"], "application/problem+json");
    let id = missing.headers["x-request-id"].to_str().unwrap();
    assert_eq!(missing.json()["instance"], format!("urn:uuid:{id}"));
    let wrong = gate.client().await.send(request("DELETE", "/app", &[], "")).await;
    assert_eq!((wrong.status.as_u16(), wrong.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(wrong.headers["allow"], "GET, HEAD");
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn the_local_api_hears_who_asks_and_from_where_but_not_the_token() {
    let mut api = route("/auth", RouteAuth::Optional);
    api.target = RouteTarget::Api;
    let gate = Gate::start(vec![api], vec![Server::Unix("/nonexistent".into())]);
    let credentials = token(&["admin"], "");
    let headers = [("authorization", credentials.as_str()), ("user-agent", "tests")];
    let told = gate.get("/auth/v1/x", &headers).await.json();
    assert_eq!(told["account"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(told["address"], "127.0.0.1");
    assert_eq!(told["agent"], "tests");
    assert_eq!(told["authorization"], false);
    let told = gate.get("/auth/v1/x", &[("authorization", "Bearer nonsense")]).await.json();
    assert_eq!(
        (&told["account"], &told["refused"]),
        (&serde_json::Value::Null, &"the token is malformed".into())
    );
}

#[tokio::test]
async fn a_panic_is_that_requests_500_and_nobody_elses() {
    let mut api = route("/", RouteAuth::None);
    api.target = RouteTarget::Api;
    let gate = Gate::start(vec![api], vec![Server::Unix("/nonexistent".into())]);
    let mut client = gate.client().await;
    let broken = client.send(request("GET", "/panic", &[], "")).await;
    assert_eq!((broken.status.as_u16(), broken.problem().as_str()), (500, "internal"));
    assert_eq!(client.send(request("GET", "/fine", &[], "")).await.status, 200);
    assert!(gate.metrics.encode().contains("keepgate_panics_total 1"));
}

#[tokio::test]
async fn plain_http_is_sent_to_https_under_names_that_have_a_certificate() {
    let gate = Gate::start(vec![], vec![Server::Unix("/nonexistent".into())]);
    let ask = async |host: &str, target: &str| {
        let mut stream = tokio::net::TcpStream::connect(gate.http()).await.unwrap();
        let text = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
        super::harness::read_to_close(&mut stream).await
    };
    let port = gate.https().port();
    let answer = ask("localhost:8080", "/a?b=c").await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains(&format!("location: https://localhost:{port}/a?b=c\r\n")), "{answer}");
    assert!(!answer.contains("strict-transport-security"), "not over plain HTTP: {answer}");
    assert!(ask("[::1]", "/").await.contains(&format!("location: https://[::1]:{port}/\r\n")));
    for foreign in ["evil.example", "localhost.evil.example"] {
        let answer = ask(foreign, "/").await;
        assert!(answer.starts_with("HTTP/1.1 421 ") && !answer.contains("location"), "{answer}");
    }
    assert!(ask("a b", "/").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn the_path_is_forwarded_as_it_was_matched() {
    let app = Echo::start().await;
    let gate =
        Gate::start(vec![route("/", RouteAuth::None), route("/admin", RouteAuth::Required)], app.servers());
    assert_eq!(gate.get("/p%75blic%2fx?%61", &[]).await.json()["target"], "/public%2Fx?%61");
    assert_eq!(gate.get("/%61dmin", &[]).await.status, 401);
    for sidestep in [
        "/admin;x/users",
        "/admin%3Bx",
        "/;/admin",
        "//admin",
        "/%2fadmin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/admin%2fx",
        "/./admin",
        "/x\\..\\admin",
    ] {
        let text = format!("GET {sidestep} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = gate.raw(&text).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{sidestep}: {answer}");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn draining_lets_open_requests_finish_and_takes_no_new_ones() {
    let app = super::upstreams::Gated::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let address = gate.https();
    let mut busy = gate.client().await;
    let mut busy2 = gate.http2().await;
    let asked = tokio::spawn(async move { busy.send(request("GET", "/slow", &[], "")).await });
    let asked2 = tokio::spawn(async move {
        answer(busy2.send_request(request("GET", "https://localhost/slow", &[], "")).await.unwrap()).await
    });
    app.arrived(2).await;
    let draining = tokio::spawn(gate.running.drain(Farewell::Drain, Duration::from_secs(60)));
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    app.release();
    let got = asked.await.unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["connection"], "close");
    assert_eq!(asked2.await.unwrap().status, 200);
    assert_eq!(draining.await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let app = super::upstreams::Gated::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let mut busy = gate.client().await;
    let asked = tokio::spawn(async move { busy.0.send_request(request("GET", "/", &[], "")).await.is_err() });
    app.arrived(1).await;
    assert_eq!(gate.running.drain(Farewell::Drain, Duration::from_millis(10)).await, 1);
    assert!(asked.await.unwrap(), "the connection was closed without an answer");
}
