//! Compression through the edge: who gets what, what is never compressed, and that what an application has said is
//! not held back.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LAST_MODIFIED, VARY};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::harness::{Answer, Gate, request, route, token};
use super::statics::{folder, nobody, site};
use super::upstreams::{read_head, scripted};
use crate::config::content::{Compress, Content};
use crate::config::route::{Route, RouteAuth};
use crate::config::upstream::Server;
use crate::edge::compress::encoder::decoded;

const TEXT: &str = "The same words, said again and again. ";

fn text() -> String {
    TEXT.repeat(200)
}

fn compressing(compress: Compress, route: Route) -> Route {
    Route { content: Content { compress, intercept: false }, ..route }
}

/// Answers everything with this head and [`text`].
async fn app(head: &'static str) -> Server {
    scripted(move |mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            let text = text();
            let said = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{text}", text.len());
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn coding(answer: &Answer) -> &str {
    answer.headers.get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_is_compressed_for_who_takes_it_and_says_so() {
    let server = app("Content-Type: text/html\r\nETag: \"v1\"\r\n").await;
    let gate = Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server]);
    for (accepts, found) in
        [("gzip, br, zstd", "zstd"), ("br, gzip", "br"), ("gzip", "gzip"), ("deflate", ""), ("gzip;q=0", "")]
    {
        let got = gate.get("/", &[("accept-encoding", accepts)]).await;
        assert_eq!(coding(&got), found, "{accepts}");
        assert!(decoded(found, &got.body) == text().as_bytes(), "{accepts}");
        assert_eq!(got.headers[VARY], "accept-encoding");
        let tag = if found.is_empty() { "\"v1\"" } else { "W/\"v1\"" };
        assert_eq!(got.headers[ETAG], tag);
        assert_eq!(got.headers.contains_key(CONTENT_LENGTH), found.is_empty());
        assert!(found.is_empty() || got.body.len() < 500, "{}", got.body.len());
    }
    let mut http2 = gate.http2().await;
    let ask = request("GET", "https://localhost/", &[("accept-encoding", "br")], "");
    let got = super::harness::answer(http2.send_request(ask).await.unwrap()).await;
    assert!(decoded("br", &got.body) == text().as_bytes());
}

#[tokio::test]
async fn what_must_not_be_compressed_goes_out_as_it_came() {
    for head in [
        "Content-Type: text/html\r\nSet-Cookie: a=b\r\n",
        "Content-Type: text/html\r\nCache-Control: no-transform\r\n",
        "Content-Type: text/html\r\nContent-Encoding: x-own\r\n",
        "Content-Type: text/html\r\nContent-Range: bytes 0-1/9\r\n",
        "Content-Type: text/event-stream\r\n",
        "Content-Type: image/png\r\n",
        "",
    ] {
        let gate =
            Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![app(head).await]);
        let got = gate.get("/", &[("accept-encoding", "gzip")]).await;
        assert!(got.body == text() && coding(&got) != "gzip", "{head}");
    }
    let server = app("Content-Type: text/html\r\n").await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
    let got = gate.get("/", &[("accept-encoding", "gzip")]).await;
    assert!(coding(&got).is_empty() && !got.headers.contains_key(VARY), "off unless it is asked for");
}

#[tokio::test]
async fn who_may_hold_a_secret_gets_nothing_compressed_unless_the_route_says_always() {
    let server = app("Content-Type: text/html\r\n").await;
    let token = token(&[], "");
    let dir = site(&[("page.html", &text())]);
    let gate = Gate::start(
        vec![
            compressing(Compress::On, route("/on", RouteAuth::Optional)),
            compressing(Compress::Always, route("/always", RouteAuth::Optional)),
            compressing(Compress::On, route("/open", RouteAuth::None)),
            compressing(Compress::On, folder("/files", RouteAuth::Optional, dir.path(), None)),
        ],
        vec![server],
    );
    let takes = ("accept-encoding", "gzip");
    for (path, also, found) in [
        ("/on", None, "gzip"),
        ("/on", Some(("authorization", token.as_str())), ""),
        ("/on", Some(("cookie", "session=1")), ""),
        ("/open", Some(("authorization", "Basic YTpi")), ""),
        ("/always", Some(("authorization", token.as_str())), "gzip"),
        ("/always", Some(("cookie", "session=1")), "gzip"),
        // Nothing of a request is in a file.
        ("/files/page.html", Some(("authorization", token.as_str())), "gzip"),
    ] {
        let headers: Vec<_> = std::iter::once(takes).chain(also).collect();
        let got = gate.get(path, &headers).await;
        assert_eq!(coding(&got), found, "{path} {also:?}");
        assert!(decoded(found, &got.body) == text().as_bytes());
    }
}

#[tokio::test]
async fn a_file_is_compressed_with_a_weak_tag_that_is_known_again_and_its_parts_are_not() {
    let dir = site(&[("page.html", &text())]);
    let gate = Gate::start(
        vec![compressing(Compress::On, folder("/", RouteAuth::None, dir.path(), None))],
        nobody(),
    );
    let takes = ("accept-encoding", "zstd");
    let got = gate.get("/page.html", &[takes]).await;
    let tag = got.headers[ETAG].to_str().unwrap().to_owned();
    assert!(coding(&got) == "zstd" && tag.starts_with("W/\""), "{got:?}");
    let same = gate.get("/page.html", &[takes, ("if-none-match", &tag)]).await;
    assert_eq!((same.status.as_u16(), same.headers[ETAG].to_str().unwrap()), (304, tag.as_str()));
    let head = gate.client().await.send(request("HEAD", "/page.html", &[takes], "")).await;
    assert!(coding(&head) == "zstd" && head.headers[ETAG] == tag.as_str(), "{head:?}");
    assert!(!head.headers.contains_key(CONTENT_LENGTH));
    let part = gate.get("/page.html", &[takes, ("range", "bytes=0-1999")]).await;
    assert_eq!((part.status.as_u16(), coding(&part), part.body.len()), (206, "", 2000));
    let stale = gate.get("/page.html", &[takes, ("range", "bytes=0-1999"), ("if-range", &tag)]).await;
    assert_eq!((stale.status.as_u16(), coding(&stale)), (200, "zstd"), "a weak tag vouches for no part");
}

#[tokio::test]
async fn a_304_for_a_file_has_the_tag_and_vary_of_the_200_that_it_stands_for() {
    let dir = site(&[("page.html", &text()), ("short.html", "<p>"), ("dot.png", &text())]);
    let gate = Gate::start(
        vec![compressing(Compress::On, folder("/", RouteAuth::None, dir.path(), None))],
        nobody(),
    );
    for (path, accepts, weak) in [
        ("/page.html", "gzip", true),
        ("/page.html", "identity", false),
        ("/short.html", "gzip", false),
        ("/dot.png", "gzip", false),
    ] {
        for also in [None, Some(("cookie", "session=1"))] {
            let headers: Vec<_> = std::iter::once(("accept-encoding", accepts)).chain(also).collect();
            let whole = gate.get(path, &headers).await;
            let tag = whole.headers[ETAG].to_str().unwrap();
            assert_eq!(tag.starts_with("W/"), weak, "{path} {accepts}");
            let strong = tag.trim_start_matches("W/");
            let date = whole.headers[LAST_MODIFIED].to_str().unwrap();
            for condition in [
                ("if-none-match", strong),
                ("if-none-match", &format!("W/{strong}")),
                ("if-none-match", "*"),
                ("if-modified-since", date),
            ] {
                let same = gate.get(path, &[&headers[..], &[condition]].concat()).await;
                assert_eq!(same.status, 304, "{path} {condition:?}");
                let told = |name| (same.headers.get(&name), whole.headers.get(&name));
                let (tag, vary) = (told(ETAG), told(VARY));
                assert!(tag.0 == tag.1 && vary.0 == vary.1, "{path} {accepts} {condition:?} {same:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_304_of_an_application_hands_no_strong_tag_to_who_holds_the_coded_answer() {
    let server = scripted(|mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            if stream.write_all(b"HTTP/1.1 304 X\r\nETag: \"v1\"\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let gate = Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server]);
    let cookie = Some(("cookie", "session=1"));
    for (accepts, held, also, weak) in [
        ("gzip", Some("W/\"v1\""), None, true),
        ("gzip", Some("W/\"v1\""), cookie, true),
        ("gzip", Some("\"v0\", W/\"v1\""), cookie, true),
        // By date, or with no tag of this answer's: it may be the coded one.
        ("gzip", None, None, true),
        ("gzip", Some("*"), None, true),
        ("gzip", Some("\"v1\", W/\"v1\""), None, true),
        // Only what went out as it was had this tag.
        ("gzip", Some("\"v1\""), None, false),
        ("gzip", None, cookie, false),
        ("gzip", Some("\"v1\", W/\"v1\""), cookie, false),
        ("identity", Some("W/\"v1\""), None, false),
    ] {
        let held = held.map(|tags| ("if-none-match", tags));
        let headers: Vec<_> = [("accept-encoding", accepts)].into_iter().chain(held).chain(also).collect();
        let same = gate.get("/", &headers).await;
        assert_eq!((same.status.as_u16(), &same.headers[VARY]), (304, &"accept-encoding".parse().unwrap()));
        assert_eq!(same.headers[ETAG], if weak { "W/\"v1\"" } else { "\"v1\"" }, "{headers:?}");
    }
}

#[tokio::test]
async fn a_stream_of_records_keeps_no_encoder_but_records_that_are_there_are_compressed() {
    for (head, found) in [
        ("Content-Type: application/x-ndjson\r\n", "gzip"),
        ("Content-Type: application/x-ndjson\r\nX-Stream: 1\r\n", ""),
        ("Content-Type: application/stream+json\r\nX-Stream: 1\r\n", ""),
        ("Content-Type: text/html\r\nX-Stream: 1\r\n", "gzip"),
    ] {
        let server = scripted(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let (text, length) = (text(), text().len());
            let said = match head.contains("X-Stream") {
                true => format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n"),
                false => format!("Content-Length: {length}\r\n\r\n{text}"),
            };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}{said}").as_bytes()).await.unwrap();
        })
        .await;
        let gate = Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server]);
        let got = gate.get("/", &[("accept-encoding", "gzip")]).await;
        assert_eq!(coding(&got), found, "{head}");
        assert!(decoded(found, &got.body) == text().as_bytes());
    }
}

#[tokio::test]
async fn the_pieces_of_a_file_are_one_stream_for_the_encoder() {
    let lines: Vec<_> = (0..100_000).map(|at| format!("<p>line {at}")).collect();
    let text = lines.concat();
    let dir = site(&[("long.html", &text)]);
    let gate = Gate::start(
        vec![compressing(Compress::On, folder("/", RouteAuth::None, dir.path(), None))],
        nobody(),
    );
    let got = gate.get("/long.html", &[("accept-encoding", "gzip")]).await;
    assert!(decoded("gzip", &got.body) == text.as_bytes());
    // What a flush leaves: an empty block, stored (RFC 1951 §3.2.4).
    let flushed = got.body.windows(4).filter(|window| *window == [0, 0, 0xff, 0xff]).count();
    assert_eq!(flushed, 0, "{} bytes in {} pieces", text.len(), text.len() / (64 << 10));
}

#[tokio::test]
async fn over_http_1_0_a_compressed_answer_ends_with_its_connection() {
    let server = app("Content-Type: text/html\r\n").await;
    let dir = site(&[("page.html", &text())]);
    let gate = Gate::start(
        vec![
            compressing(Compress::On, route("/app", RouteAuth::None)),
            compressing(Compress::On, folder("/", RouteAuth::None, dir.path(), None)),
        ],
        vec![server],
    );
    for path in ["/app", "/page.html"] {
        let mut stream = gate.tls(b"http/1.1").await.unwrap();
        let ask = format!(
            "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let end = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.0 200 ") && head.contains("content-encoding: gzip"), "{head}");
        assert!(head.contains("connection: close") && !head.contains("-length:"), "{head}");
        assert!(!head.contains("transfer-encoding") && decoded("gzip", &all[end + 4..]) == text().as_bytes());
    }
}

#[tokio::test]
async fn what_an_application_has_said_is_not_held_back_until_it_says_more() {
    let more = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&more);
    let server = scripted(move |mut stream, _| {
        let wait = Arc::clone(&wait);
        async move {
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}5\r\nfirst\r\n").as_bytes()).await.unwrap();
            wait.acquire().await.unwrap().forget();
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    for accepts in ["gzip", "br", "zstd"] {
        let gate =
            Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server.clone()]);
        let mut client = gate.client().await;
        let response =
            client.0.send_request(request("GET", "/", &[("accept-encoding", accepts)], "")).await.unwrap();
        let mut body = response.into_body();
        // It waits with the rest until this is here.
        let mut all = body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
        assert!(!all.is_empty());
        more.add_permits(1);
        all.extend_from_slice(&body.collect().await.unwrap().to_bytes());
        assert_eq!(decoded(accepts, &all), b"firstsecond", "{accepts}");
    }
}

#[tokio::test]
async fn trailers_follow_a_compressed_body_but_for_digests_of_what_it_was() {
    let server = scripted(|mut stream, _| async move {
        while !read_head(&mut stream).await.is_empty() {
            let (text, len) = (text(), text().len());
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
            let trailers = "X-Sum: 1\r\nContent-Digest: sha-256=:AA==:\r\nRepr-Digest: sha-256=:AA==:\r\n";
            let said = format!("{head}\r\n{len:x}\r\n{text}\r\n0\r\n{trailers}\r\n");
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gate = Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server]);
    for (accepts, kept) in [("gzip", 1), ("br", 1), ("zstd", 1), ("identity", 3)] {
        let mut http2 = gate.http2().await;
        let ask = request("GET", "https://localhost/", &[("accept-encoding", accepts)], "");
        let body = http2.send_request(ask).await.unwrap().into_body().collect().await.unwrap();
        let trailers = body.trailers().unwrap().clone();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (kept, &"1".parse().unwrap()), "{accepts}");
        let coded = if kept == 1 { accepts } else { "" };
        assert!(decoded(coded, &body.to_bytes()) == text().as_bytes(), "{accepts}");
    }
    let head =
        "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close, TE\r\nTE: trailers";
    let told = gate.raw(&format!("{head}\r\n\r\n")).await;
    assert!(told.contains("content-encoding: gzip") && told.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{told}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_compressed_too() {
    let server = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 90000\r\n\r\n";
        stream.write_all(format!("{head}{}", text()).as_bytes()).await.unwrap();
    })
    .await;
    let gate = Gate::start(vec![compressing(Compress::On, route("/", RouteAuth::None))], vec![server]);
    let mut client = gate.client().await;
    let ask = request("GET", "/", &[("accept-encoding", "gzip")], "");
    let response = client.0.send_request(ask).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}
