//! Trailers, from either HTTP to the application and back: what goes on, what does not, and who gets them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::harness::{Gate, route};
use super::upstreams::{read_head, scripted};
use crate::config::route::RouteAuth;
use crate::config::upstream::Server;

/// Answers with trailers, and tells each request's head and what came after it.
async fn app() -> (Server, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = scripted(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let chunked = head.contains("transfer-encoding: chunked");
                let body = if chunked { read_head(&mut stream).await } else { String::new() };
                let _ = tell.send(head + &body);
                let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n\
                    X-Sum: 1\r\nX-Request-Id: theirs\r\nSet-Cookie: a=1\r\nX_Meta: 2\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    (server, told)
}

async fn gate() -> (Gate, mpsc::UnboundedReceiver<String>) {
    let (server, told) = app().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], vec![server], |parts| {
        parts.settings.upstreams.get_mut("app").unwrap().request_trailers = Some(true);
    });
    (gate, told)
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close";

#[tokio::test]
async fn http1_trailers_reach_the_application_without_what_may_not_trail() {
    let (gate, mut told) = gate().await;
    let late =
        "X-Sum: 7\r\nContent-Length: 9\r\nX-Auth-Subject: root\r\nX_Auth_Subject: root\r\nHost: evil\r\n";
    gate.raw(&format!("{CHUNKED}\r\n\r\n3\r\nabc\r\n0\r\n{late}\r\n")).await;
    let seen = told.recv().await.unwrap();
    assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), "{seen}");
    assert!(!seen.contains("\r\nte:"), "{seen}");
}

#[tokio::test]
async fn an_application_of_http1_that_has_not_said_so_gets_none() {
    let (server, mut told) = app().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
    gate.raw(&format!("{CHUNKED}\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")).await;
    let seen = told.recv().await.unwrap();
    assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn an_http1_client_gets_trailers_if_it_says_that_it_takes_them() {
    let (gate, mut told) = gate().await;
    let asked = gate.raw(&format!("{CHUNKED}, TE\r\nTE: deflate, Trailers\r\n\r\n0\r\n\r\n")).await;
    assert!(asked.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\nx_meta: 2\r\n\r\n"), "{asked}");
    assert!(told.recv().await.unwrap().contains("\r\nte: trailers\r\nconnection: te\r\n"));
    let unasked = gate.raw(&format!("{CHUNKED}\r\n\r\n0\r\n\r\n")).await;
    assert!(unasked.ends_with("2\r\nok\r\n0\r\n\r\n"), "{unasked}");
    assert!(!told.recv().await.unwrap().contains("\r\nte: "));
    let old = gate.raw("GET / HTTP/1.0\r\nHost: localhost\r\nTE: trailers\r\n\r\n").await;
    assert!(old.ends_with("\r\n\r\nok"), "{old}");
}

fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

/// A body of `ab`, and these trailers.
fn trailing(
    trailers: HeaderMap,
) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
    let frames = [Frame::data(Bytes::from_static(b"ab")), Frame::trailers(trailers)];
    StreamBody::new(futures_util::stream::iter(frames.map(Ok)))
}

#[tokio::test]
async fn http2_trailers_go_both_ways() {
    let (gate, mut told) = gate().await;
    let io = TokioIo::new(gate.tls(b"h2").await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let trailers = [field("x-sum", "7"), field("x-auth-subject", "root"), field("content-length", "2")];
    let request = Request::post("https://localhost/").body(trailing(trailers.into_iter().collect())).unwrap();
    let answer = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    let got = answer.trailers().unwrap().clone();
    assert_eq!(answer.to_bytes(), "ok");
    assert_eq!(got, [field("x-sum", "1"), field("x_meta", "2")].into_iter().collect::<HeaderMap>());
    let seen = told.recv().await.unwrap();
    assert!(seen.ends_with("\r\n\r\n2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn more_trailers_than_anybody_takes_are_refused() {
    let (gate, _told) = gate().await;
    let many = "X-Sum: 7\r\n".repeat(crate::edge::trailers::MOST_LINES + 1);
    let answer = gate.raw(&format!("{CHUNKED}\r\n\r\n0\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let long = format!("X-Sum: {}\r\n", "7".repeat(1000)).repeat(17);
    let answer = gate.raw(&format!("{CHUNKED}\r\n\r\n0\r\n{long}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = gate.get("/", &[]).await;
    assert_eq!(answer.body, "ok");
}
