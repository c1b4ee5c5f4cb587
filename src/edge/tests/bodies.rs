//! Bodies: bounded, streamed both ways, never gathered.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::harness::{Echo, Gate, read_to_close, request, route};
use super::upstreams::{read_head, scripted};
use crate::config::route::RouteAuth;
use crate::edge::body::{BodyError, RequestBody};
use crate::edge::incoming::Incoming;

fn small() -> crate::config::route::Route {
    let mut small = route("/", RouteAuth::None);
    small.body_bytes = Some(10);
    small
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_before_it_is_read() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![small()], app.servers());
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n";
    let answer = gate.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "no 100 first: {answer}");
    assert!(answer.contains("urn:keepgate:problem:body-too-large"));
    assert_eq!(app.connections(), 0);
    let got = gate.client().await.send(request("POST", "/", &[], "0123456789")).await;
    assert_eq!(got.json()["body_bytes"], 10);
}

#[tokio::test]
async fn a_chunked_body_is_counted_as_it_comes() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![small()], app.servers());
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = gate.raw(&format!("{head}6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn http2_bodies_are_bounded_too() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![small()], app.servers());
    let mut client = gate.http2().await;
    let response =
        client.send_request(request("POST", "https://localhost/", &[], "01234567890")).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn bytes_go_both_ways_while_the_request_is_still_being_sent() {
    // The application sends every line back as soon as it has it.
    let server = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let mut buffer = [0; 1024];
        loop {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.contains("ping") {
                let _ = stream.write_all(b"4\r\npong\r\n").await;
            }
            if count == 0 || text.ends_with("0\r\n\r\n") {
                let _ = stream.write_all(b"0\r\n\r\n").await;
                return;
            }
        }
    })
    .await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
    let (send, mut receive) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| {
        receive.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))))
    }));
    let io = TokioIo::new(gate.tls(b"http/1.1").await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/").header("host", "localhost").body(body).unwrap();
    send.send(Bytes::from("ping")).await.unwrap();
    let mut answer = client.send_request(request).await.unwrap().into_body();
    for _ in 0..3 {
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "pong");
        send.send(Bytes::from("ping")).await.unwrap();
    }
    drop(send);
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "pong");
}

#[tokio::test]
async fn large_bodies_pass_unchanged() {
    let big: String = (0..300_000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let reply = big.clone();
    let server = scripted(move |mut stream, _| {
        let reply = reply.clone();
        async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(reply.as_bytes()).await;
            read_head(&mut stream).await;
        }
    })
    .await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
    let got = gate.get("/", &[]).await;
    assert!(got.body == big);
    assert_eq!(got.headers["content-length"], "300000");
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_response_timeout_while_it_moves() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.response_timeout = Duration::from_millis(150);
    });
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 12\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..12 {
        // The passing of time is the subject here.
        tokio::time::sleep(Duration::from_millis(25)).await;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
    }
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.stall_timeout = Duration::from_millis(50);
    });
    let answer = gate.raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_continue_is_sent_once_the_request_may_pass() {
    let app = Echo::start().await;
    let gate =
        Gate::start(vec![route("/", RouteAuth::None), route("/private", RouteAuth::Required)], app.servers());
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
    };
    let refused = gate.raw(&head("/private")).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    stream.write_all(head("/").as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.contains(r#""body_bytes":2"#), "{answer}");
    assert!(!answer.contains("expect"), "answered here, not passed on: {answer}");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.stall_timeout = Duration::from_millis(150);
    });
    let (mut reader, mut writer) = tokio::io::split(gate.tls(b"http/1.1").await.unwrap());
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        for _ in 0..1000 {
            // The passing of time is the subject here.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if writer.write_all(b"x").await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    });
    let answer = read_to_close(&mut reader).await;
    dripping.abort();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn an_http2_client_that_takes_no_bytes_is_cut() {
    let app = Echo::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.stall_timeout = Duration::from_millis(100);
    });
    let io = TokioIo::new(gate.tls(b"h2").await.unwrap());
    // Its connection goes on answering pings, its streams have no window.
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) =
        client.initial_stream_window_size(0).handshake::<_, Full<Bytes>>(io).await.unwrap();
    tokio::spawn(connection);
    let answer = client.send_request(request("GET", "https://localhost/", &[], "")).await.unwrap();
    let body = tokio::time::timeout(Duration::from_secs(20), answer.into_body().collect()).await;
    assert!(body.expect("cut").is_err());
}

#[tokio::test]
async fn an_http2_request_that_is_refused_before_its_body_came_hears_the_refusal() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/app", RouteAuth::Required)], app.servers());
    let io = TokioIo::new(gate.tls(b"h2").await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (path, status) in [("/app", 401), ("/nowhere", 404)] {
        let (_held, frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let body = StreamBody::new(futures_util::stream::unfold(frames, async |mut frames| {
            frames.recv().await.map(|frame| (frame, frames))
        }));
        let uri = format!("https://localhost{path}");
        let request = Request::builder().method("POST").uri(uri).body(Box::pin(body)).unwrap();
        let answer = client.send_request(request).await.expect("an answer, not a reset");
        assert_eq!(answer.status(), status);
        assert!(answer.into_body().collect().await.is_ok(), "{path}: whole");
    }
}

#[tokio::test]
async fn a_body_that_nobody_is_impatient_for_may_be_silent() {
    let (body, _feed) = crate::edge::http1::body::Body::fed(None);
    let mut body = RequestBody::new(Incoming::Http1(body), 10, Duration::ZERO);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    // Its patience begins, and is over.
    let _ = Pin::new(&mut body).poll_frame(&mut cx);
    tokio::time::sleep(Duration::from_millis(20)).await;
    body.have_patience();
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
    let (body, _feed) = crate::edge::http1::body::Body::fed(None);
    let mut body = RequestBody::new(Incoming::Http1(body), 10, Duration::ZERO);
    let stalled = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(stalled, BodyError::Stalled));
}
