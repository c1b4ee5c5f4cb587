//! Rules, prefixes, redirects and filters where the protocol makes a difference: HTTP/2, an upgrade, and what is open
//! when its client is banned.

use futures_util::StreamExt;
use http::header::{HeaderName, LOCATION};

use super::harness::{Echo, Gate, answer, request, route};
use super::upgrades::{is_alive, socket, sockets};
use crate::config::filter::{Action, Filter};
use crate::config::headers::{HeaderRules, Line, Part};
use crate::config::route::{Redirect, Route, RouteAuth, RouteTarget, Shape};

fn text(name: &'static str, value: &str) -> Line {
    Line { name: HeaderName::from_static(name), value: vec![Part::Text(value.to_owned())] }
}

fn shaped() -> Route {
    let request_headers = HeaderRules { set: vec![text("x-tenant", "a")], ..HeaderRules::default() };
    let response_headers =
        HeaderRules { remove: vec![HeaderName::from_static("x-app")], ..HeaderRules::default() };
    let (strip_prefix, upstream_path) = (Some("/app".to_owned()), Some("/v2".to_owned()));
    let shape = Shape { request_headers, response_headers, strip_prefix, upstream_path };
    Route { shape, ..route("/app", RouteAuth::None) }
}

fn trap() -> Filter {
    Filter {
        name: "trap".to_owned(),
        methods: Vec::new(),
        paths: vec!["/trap".to_owned()],
        query: Vec::new(),
        headers: Vec::new(),
        content_types: Vec::new(),
        action: Action::Ban,
    }
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let app = Echo::start().await;
    let to = Redirect { to: "https://new.example/".to_owned(), keeps_path: true, status: 301 };
    let elsewhere = Route { target: RouteTarget::Redirect(to), ..route("/old", RouteAuth::None) };
    let gate =
        Gate::with(vec![shaped(), elsewhere], app.servers(), |parts| parts.settings.filters = vec![trap()]);
    let mut client = gate.http2().await;
    let mut ask = async |path: &str| {
        let request = request("GET", &format!("https://localhost{path}"), &[("x-tenant", "b")], "");
        answer(client.send_request(request).await.unwrap()).await
    };
    let got = ask("/app/x?y").await;
    assert_eq!(
        (got.json()["target"].as_str(), got.echoed("x-tenant")),
        (Some("/v2/x?y"), vec!["a".to_owned()])
    );
    assert_eq!(got.echoed("x-forwarded-prefix"), ["/app"]);
    assert!(!got.headers.contains_key("x-app"));
    let got = ask("/old/a?b").await;
    assert_eq!(
        (got.status.as_u16(), &got.headers[LOCATION]),
        (301, &"https://new.example/a?b".parse().unwrap())
    );
    assert_eq!(ask("/old//evil.example").await.status, 400);
    assert_eq!((ask("/trap").await.problem().as_str(), ask("/app").await.status.as_u16()), ("filtered", 200));
}

#[tokio::test]
async fn a_websocket_goes_to_the_path_that_is_left_and_ends_when_its_client_is_banned() {
    let (server, mut told) = sockets().await;
    let gate = Gate::with(vec![shaped()], vec![server], |parts| {
        parts.settings.filters = vec![trap()];
        parts.settings.bans.offences = 1;
        parts.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let offender = [("x-forwarded-for", "203.0.113.9")];
    let mut theirs = socket(&gate, "/app/ws", &offender).await.unwrap();
    let mut others = socket(&gate, "/app/ws", &[("x-forwarded-for", "203.0.113.10")]).await.unwrap();
    assert!(is_alive(&mut theirs, "one").await && is_alive(&mut others, "one").await);
    let begun = told.recv().await.unwrap();
    assert!(
        begun.contains("\"x-tenant\": \"a\"") && begun.contains("\"x-forwarded-prefix\": \"/app\""),
        "{begun}"
    );
    let refused = gate.get("/trap", &offender).await;
    assert_eq!(
        (refused.problem().as_str(), refused.headers["retry-after"].to_str().unwrap()),
        ("blacklisted", "60")
    );
    assert!(!matches!(theirs.next().await, Some(Ok(_))), "the tunnel is cut");
    assert!(is_alive(&mut others, "two").await);
    assert!(
        gate.audit
            .0
            .lock()
            .iter()
            .any(|event| event.contains("BlacklistAdd") && event.contains("203.0.113.9/32"))
    );
}
