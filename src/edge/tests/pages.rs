//! Pages for people through the edge: who gets one, for what, and what stays of the refusal.

use std::path::Path;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use tokio::io::AsyncWriteExt as _;

use super::harness::{Answer, Echo, Gate, request, route};
use super::statics::{folder, nobody, site};
use super::upstreams::{read_head, scripted};
use crate::config::content::Content;
use crate::config::error_pages::{ErrorPage, Statuses};
use crate::config::headers::{HeaderRules, Line, Part};
use crate::config::route::{Route, RouteAuth};
use crate::config::upstream::Server;

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn pages(dir: &Path) -> Vec<ErrorPage> {
    let page = |name: &str, text: &str, statuses: &[Statuses]| {
        let file = dir.join(name);
        std::fs::write(&file, text).unwrap();
        ErrorPage { statuses: statuses.to_vec(), file }
    };
    vec![
        page("404.html", "<h1>Lost</h1>", &[Statuses::One(404)]),
        page("4xx.html", "<h1>{{status}}</h1>{{request_id}}", &[Statuses::Class(4)]),
        page("5xx.html", "<h1>Sorry</h1>", &[Statuses::Class(5)]),
    ]
}

fn gate(routes: Vec<Route>, servers: Vec<Server>) -> Gate {
    let dir = tempfile::tempdir().unwrap();
    Gate::with(routes, servers, |parts| parts.settings.error_pages = pages(dir.path()))
}

fn said<'a>(answer: &'a Answer, name: &http::HeaderName) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_person_gets_a_page_and_a_program_a_problem() {
    let echo = Echo::start().await;
    // The files are gone by now: pages are held.
    let gate = gate(vec![route("/app", RouteAuth::Required)], echo.servers());
    let lost = gate.get("/none", &[BROWSER]).await;
    assert_eq!((lost.status.as_u16(), &lost.body[..]), (404, &b"<h1>Lost</h1>"[..]));
    assert_eq!(
        (said(&lost, &CONTENT_TYPE), said(&lost, &CACHE_CONTROL)),
        ("text/html; charset=utf-8", "no-store")
    );
    for accept in ["*/*", "application/json", "application/problem+json, text/html;q=0.5"] {
        assert_eq!(gate.get("/none", &[("accept", accept)]).await.problem(), "no-route", "{accept}");
    }
    // The class, with what the page says of the request; the challenge stays.
    let who = gate.get("/app", &[BROWSER]).await;
    let id = who.headers["x-request-id"].to_str().unwrap();
    assert_eq!(who.body, format!("<h1>401</h1>{id}"));
    assert!(said(&who, &WWW_AUTHENTICATE).starts_with("Bearer"));
    let head = gate.client().await.send(request("HEAD", "/none", &[BROWSER], "")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
}

#[tokio::test]
async fn an_applications_errors_stay_its_own_unless_the_route_has_them_replaced() {
    let app = scripted(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            let status = head.split(['/', ' ']).find(|part| part.len() == 3 && part.parse::<u16>().is_ok());
            let Some(status) = status else { return };
            let said = format!("HTTP/1.1 {status} X\r\nETag: \"e\"\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntrace\r\n0\r\nX-Sum: 1\r\n\r\n");
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let replaced = Route {
        content: Content { intercept: true, ..Content::default() },
        ..route("/gate", RouteAuth::None)
    };
    let gate = gate(vec![route("/own", RouteAuth::None), replaced], vec![app]);
    let mut client = gate.client().await;
    for (path, accept, body) in [
        ("/own/500", BROWSER.1, "trace"),
        ("/gate/500", BROWSER.1, "<h1>Sorry</h1>"),
        ("/gate/503", BROWSER.1, "<h1>Sorry</h1>"),
        ("/gate/500", "*/*", "trace"),
        ("/gate/404", BROWSER.1, "trace"),
        ("/gate/200", BROWSER.1, "trace"),
    ] {
        let got = client.send(request("GET", path, &[("accept", accept)], "")).await;
        assert_eq!(got.body, body, "{path} {accept}");
        assert_eq!(
            said(&got, &ETAG).is_empty(),
            body != "trace",
            "{path}: a tag is of the application's own answer"
        );
        assert!(body == "trace" || !got.headers.contains_key("trailer"), "{path}: a page has none");
    }
}

#[tokio::test]
async fn nothing_that_is_said_of_the_replaced_body_is_said_of_the_page() {
    const OF_THE_BODY: &[&str] = &[
        "Accept-Ranges: bytes",
        "Content-Digest: sha-256=:AA==:",
        "Content-Disposition: attachment; filename=dump.txt",
        "Content-Language: de",
        "Content-Location: /dump",
        "Content-MD5: AA==",
        "Content-Range: bytes 0-4/9",
        "Digest: sha-256=AA==",
        "ETag: \"e\"",
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
        "Repr-Digest: sha-256=:AA==:",
        "Unencoded-Digest: sha-256=:AA==:",
        "Content-Encoding: gzip",
    ];
    const OF_THE_ANSWER: &[&str] =
        &["Retry-After: 5", "Set-Cookie: a=b", "X-App: 1", "Content-Security-Policy: default-src 'none'"];
    let app = scripted(|mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            let lines = [OF_THE_BODY, OF_THE_ANSWER].concat().join("\r\n");
            let said = format!("HTTP/1.1 503 X\r\nContent-Length: 5\r\n{lines}\r\n\r\ntrace");
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let content = Content { intercept: true, ..Content::default() };
    let gate = gate(vec![Route { content, ..route("/", RouteAuth::None) }], vec![app]);
    let got = gate.get("/", &[BROWSER]).await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (503, &b"<h1>Sorry</h1>"[..]));
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    for line in OF_THE_BODY {
        assert!(!got.headers.contains_key(name(line)), "{line}");
    }
    for line in OF_THE_ANSWER {
        assert!(got.headers.contains_key(name(line)), "{line}");
    }
    let own = gate.get("/", &[("accept", "*/*")]).await;
    assert!(OF_THE_BODY.iter().all(|line| own.headers.contains_key(name(line))), "{own:?}");
}

#[tokio::test]
async fn header_rules_have_the_last_word_about_pages_and_files() {
    let rules = |name: &'static str, value: &str| HeaderRules {
        set: vec![Line {
            name: http::HeaderName::from_static(name),
            value: vec![Part::Text(value.to_owned())],
        }],
        ..HeaderRules::default()
    };
    let site = site(&[("index.html", "<p>home")]);
    let mut files = folder("/site", RouteAuth::None, site.path(), None);
    files.shape.response_headers = rules("cache-control", "public");
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::with(vec![files], nobody(), |parts| {
        parts.settings.error_pages = pages(dir.path());
        parts.settings.response_headers = rules("content-security-policy", "default-src 'self'");
    });
    for (path, status, body, cached) in [
        ("/site/", 200, "<p>home", "public"),
        ("/site/none", 404, "<h1>Lost</h1>", "public"),
        ("/none", 404, "<h1>Lost</h1>", "no-store"),
    ] {
        let got = gate.get(path, &[BROWSER]).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (status, body.as_bytes()), "{path}");
        assert_eq!(said(&got, &CACHE_CONTROL), cached, "{path}");
        assert_eq!(said(&got, &CONTENT_SECURITY_POLICY), "default-src 'self'", "{path}");
    }
}
