//! Header rules, redirects and prefixes of a configuration file, through the real binary: what arrives at an
//! application, what comes back to a client, and hostile paths that must become neither a host nor another route.

use crate::harness::gate::Gate;
use crate::smuggling::recorder::Recorder;
use crate::smuggling::runner::{self, Way};

fn gate_before(upstream: &Recorder) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [request_headers]
        set = ["X-Gate: all"]
        remove = ["X-Debug"]
        [response_headers]
        security = true
        set = ["X-Answer: {{request_id}}"]
        [upstreams.app]
        servers = ["{}"]
        [[routes]]
        path = "/auth"
        api = true
        auth = "optional"
        [[routes]]
        path = "/plain"
        upstream = "app"
        auth = "none"
        [[routes]]
        path = "/ruled"
        upstream = "app"
        auth = "none"
        [routes.request_headers]
        set = ["X-Tenant: {{host}}", "X-Gate: route"]
        add = ["X-Client: {{client_ip}}"]
        remove = ["Cookie"]
        [routes.response_headers]
        set = ["Strict-Transport-Security: max-age=1; includeSubDomains"]
        remove = ["X-Frame-Options"]
        [[routes]]
        path = "/app"
        upstream = "app"
        auth = "none"
        strip_prefix = true
        [[routes]]
        path = "/api/v1"
        upstream = "app"
        auth = "none"
        strip_prefix = "/api"
        upstream_path = "/internal"
        [[routes]]
        path = "/members"
        upstream = "app"
        strip_prefix = true
        [[routes]]
        path = "/old"
        redirect = "https://new.example.com/moved/{{path}}"
        redirect_status = 308
        [[routes]]
        path = "/local"
        redirect = "/{{path}}"
        [[routes]]
        path = "/closed"
        redirect = "/plain"
        auth = "required"
        "#,
        upstream.address
    ))
}

async fn ask(gate: &Gate, line: &str, headers: &str) -> String {
    let text = format!("{line} HTTP/1.1\r\nHost: App.Example:8443\r\n{headers}Connection: close\r\n\r\n");
    let answer = runner::say(&gate.client(), text.as_bytes(), Way::Whole).await.expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The lines of an answer's head under this name.
fn lines<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let of = |line: &'a str| line.split_once(": ").filter(|(have, _)| have.eq_ignore_ascii_case(name));
    head.lines().filter_map(of).map(|(_, value)| value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_what_arrives_whatever_a_client_sends_or_nominates_away() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    for (path, sent, want) in [
        ("/plain", "X-Debug: 1\r\nX-Gate: forged\r\n", vec!["x-gate: all"]),
        (
            "/plain",
            "X-Gate: a\r\nX-Gate: b\r\nX_Gate: c\r\nCookie: a=1\r\n",
            vec!["cookie: a=1", "x-gate: all"],
        ),
        (
            "/ruled",
            "X-Tenant: evil\r\nX-Client: 6.6.6.6\r\nCookie: a=1\r\nX-Debug: 1\r\n",
            vec!["x-client: 127.0.0.1", "x-client: 6.6.6.6", "x-gate: route", "x-tenant: app.example"],
        ),
        (
            "/ruled",
            "Connection: x-tenant, x-gate, x-client, x-forwarded-prefix\r\n",
            vec!["x-client: 127.0.0.1", "x-gate: route", "x-tenant: app.example"],
        ),
        ("/app", "X-Forwarded-Prefix: /evil\r\n", vec!["x-forwarded-prefix: /app", "x-gate: all"]),
        ("/plain", "X-Forwarded-Prefix: /evil\r\n", vec!["x-gate: all"]),
    ] {
        let answer = ask(&gate, &format!("GET {path}"), sent).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path} {sent:?}: {answer}");
        let record = upstream.take();
        let headers = record.requests[0].message.headers.iter();
        let names = ["x-debug", "x-gate", "x-tenant", "x-client", "cookie", "x-forwarded-prefix"];
        let of = headers.filter(|(name, _)| names.contains(&name.as_str()));
        let mut got: Vec<String> = of.map(|(name, value)| format!("{name}: {value}")).collect();
        got.sort_unstable();
        assert_eq!(got, want, "{path} {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_follows_the_rules_whoever_makes_it() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    // The application's, a refusal, no route, the API's, a redirect, and what is no HTTP.
    for line in
        ["GET /plain", "GET /members", "GET /nowhere", "GET /auth/v1/nothing", "GET /old", "GET /a/../b"]
    {
        let answer = ask(&gate, line, "").await;
        assert_eq!(lines(&answer, "x-content-type-options"), ["nosniff"], "{line}: {answer}");
        assert_eq!(lines(&answer, "x-frame-options"), ["SAMEORIGIN"], "{line}");
        assert_eq!(lines(&answer, "x-answer"), lines(&answer, "x-request-id"), "{line}");
        assert!(lines(&answer, "strict-transport-security")[0].starts_with("max-age=3"), "{answer}");
    }
    let ruled = ask(&gate, "GET /ruled", "").await;
    assert_eq!(lines(&ruled, "x-frame-options"), [""; 0], "{ruled}");
    assert_eq!(lines(&ruled, "strict-transport-security"), ["max-age=1; includeSubDomains"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_is_what_was_checked() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    for (asked, arrives) in [
        ("/app", "/"),
        ("/app/", "/"),
        ("/app/x?y=/app", "/x?y=/app"),
        ("/%61pp/x", "/x"),
        ("/app/x//y", "/x//y"),
        ("/app/app", "/app"),
        ("/app/caf\u{e9}", "/caf%C3%A9"),
        ("/api/v1", "/internal/v1"),
        ("/api/v1/x", "/internal/v1/x"),
    ] {
        let answer = ask(&gate, &format!("GET {asked}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{asked}: {answer}");
        assert_eq!(upstream.take().requests[0].message.start[1], arrives, "{asked}");
    }
    for (asked, status) in [
        ("/app//evil.example", "400"),
        ("/app/%2Fevil.example", "400"),
        ("/app/%2f%2fevil.example", "400"),
        ("/app///x", "400"),
        ("/app/../members", "400"),
        ("/app/%2e%2e/members", "400"),
        ("/app/..;/members", "400"),
        ("/app\\members", "400"),
        ("//app/x", "404"),
        ("/app;x/y", "404"),
        ("/app%2Fx", "404"),
        ("/apple", "404"),
        ("/APP/x", "404"),
        // What is left of the path opens no other route's door: it was routed before it was cut.
        ("/members/app", "401"),
    ] {
        let answer = ask(&gate, &format!("GET {asked}"), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{asked}: {answer}");
        assert!(upstream.take().requests.is_empty(), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_keeps_path_and_query_and_no_client_chooses_its_host() {
    let upstream = Recorder::start().await;
    let gate = gate_before(&upstream);
    for (line, status, location) in [
        ("GET /old", "308", "https://new.example.com/moved/"),
        ("GET /old/a/b?x=1&y=%2F", "308", "https://new.example.com/moved/a/b?x=1&y=%2F"),
        ("POST /old/a", "308", "https://new.example.com/moved/a"),
        ("HEAD /old/caf\u{e9}?q=\u{e9}", "308", "https://new.example.com/moved/caf%C3%A9?q=%C3%A9"),
        ("GET /old/%0a", "400", ""),
        ("GET /old/a%0d%0aSet-Cookie:%20x=1", "400", ""),
        (
            "GET /old/a?%0d%0aSet-Cookie:%20x=1",
            "308",
            "https://new.example.com/moved/a?%0d%0aSet-Cookie:%20x=1",
        ),
        ("GET /local/plain?x", "307", "/plain?x"),
        ("GET /local//evil.example", "400", ""),
        ("GET /local/%2Fevil.example", "400", ""),
        ("GET /local/\\evil.example", "400", ""),
        ("GET /local/%5Cevil.example", "400", ""),
        ("GET /local/https://evil.example", "307", "/https://evil.example"),
        ("GET /closed", "401", ""),
    ] {
        let answer = ask(&gate, line, "X-Forwarded-Host: evil.example\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        let want = if location.is_empty() { vec![] } else { vec![location] };
        assert_eq!(lines(&answer, "location"), want, "{line}");
        assert_eq!(lines(&answer, "set-cookie"), [""; 0], "{line}");
    }
    // A body that nobody reads does not become the next request.
    let body = "Content-Length: 32\r\n\r\nGET /plain HTTP/1.1\r\nHost: h\r\n\r\nGET /old/next HTTP/1.1\r\nHost: h\r\n";
    let answer = ask(&gate, "POST /old/a", body).await;
    assert!(answer.starts_with("HTTP/1.1 308 ") && !answer.contains("HTTP/1.1 200 "), "{answer}");
    assert!(upstream.take().requests.is_empty(), "nobody is asked");
}

#[test]
fn rules_that_could_forge_what_the_gate_says_are_named_by_check() {
    let mut gate = Gate::prepare(&[]);
    gate.make_data();
    let file = gate.folder().join("wrong.toml");
    let text = format!(
        "environment = \"stage\"\ndata_dir = {:?}\n[[routes]]\npath = \"/\"\nupstream = \"app\"\nstrip_prefix = true\n\
         [routes.request_headers]\nset = [\"X-Auth-Subject: root\"]\n[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n",
        gate.data().display().to_string()
    );
    std::fs::write(&file, text).expect("writable");
    let said = gate.cli_with_config(&file, &["check"]).expect(3);
    assert!(said.stderr.contains("x-auth-subject") && said.stderr.contains("strip_prefix"), "{said:?}");
    gate.kill();
}
