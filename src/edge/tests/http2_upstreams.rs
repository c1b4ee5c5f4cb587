//! Applications that speak HTTP/2: what reaches them, how many connections that takes, and what becomes of a request
//! that they refuse, drop or leave waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::harness::{Gate, answer, request, route, token};
use super::upstreams::{read_head, scripted};
use crate::config::route::RouteAuth;
use crate::config::upstream::Server;
use crate::edge::start::Parts;

/// An application in HTTP/2, and how many connections it took.
struct App {
    server: Server,
    connections: Arc<AtomicUsize>,
}

impl App {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One that does this with each request of its connections, which take so many at once.
async fn app<F>(
    streams: u32,
    act: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
) -> App
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let server = scripted(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        serve(stream, streams, act.clone())
    })
    .await;
    App { server, connections }
}

async fn serve<F>(
    stream: TcpStream,
    streams: u32,
    act: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = Builder::new().max_concurrent_streams(streams).handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(act(request, respond));
    }
}

/// Answers with the request as it came.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let mut read = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        read.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    let map = |headers: &HeaderMap| {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            map.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
        }
        map
    };
    let told = json!({
        "method": parts.method.as_str(), "target": parts.uri.to_string(), "headers": map(&parts.headers),
        "body": String::from_utf8(read).unwrap(), "trailers": map(&trailers),
    });
    let answer = Response::builder().header("x-app", "1").body(()).unwrap();
    let Ok(mut stream) = respond.send_response(answer, false) else { return };
    let _ = stream.send_data(told.to_string().into(), false);
    let mut after = HeaderMap::new();
    after.insert("grpc-status", HeaderValue::from_static("0"));
    after.insert("set-cookie", HeaderValue::from_static("a=1"));
    let _ = stream.send_trailers(after);
}

fn before(servers: Vec<Server>) -> Gate {
    with(servers, |_| {})
}

fn with(servers: Vec<Server>, change: impl FnOnce(&mut Parts)) -> Gate {
    Gate::with(vec![route("/", RouteAuth::Optional)], servers, |parts| {
        parts.settings.upstreams.get_mut("app").unwrap().http2 = true;
        change(parts);
    })
}

#[tokio::test]
async fn a_request_of_either_http_goes_on_in_http2() {
    let app = app(100, echo).await;
    let gate = before(vec![app.server.clone()]);
    let credentials = token(&["staff"], "");
    let headers = [
        ("authorization", credentials.as_str()),
        ("cookie", "a=1"),
        ("te", "trailers"),
        ("connection", "te, x-hop"),
        ("x-hop", "1"),
        ("x-auth-roles", "admin"),
    ];
    let got = gate.client().await.send(request("POST", "/a?b=c", &headers, "hello")).await;
    assert_eq!((got.status.as_u16(), &got.headers["x-app"]), (200, &HeaderValue::from_static("1")));
    let told = got.json();
    assert_eq!((&told["method"], &told["target"]), (&json!("POST"), &json!("http://localhost/a?b=c")));
    assert_eq!((&told["body"], &told["headers"]["content-length"]), (&json!("hello"), &json!(["5"])));
    assert_eq!((&told["headers"]["te"], &told["headers"]["cookie"]), (&json!(["trailers"]), &json!(["a=1"])));
    assert_eq!(got.echoed("x-auth-roles"), ["staff"]);
    assert_eq!(got.echoed("via"), ["1.1 keepgate"]);
    let names: Vec<_> = told["headers"].as_object().unwrap().keys().collect();
    let unwanted = ["host", "connection", "x-hop", "transfer-encoding"];
    assert!(!names.iter().any(|name| unwanted.contains(&name.as_str())), "{names:?}");
    let ask = request("GET", "https://localhost/", &[("cookie", "a=1"), ("cookie", "b=2")], "");
    let got = answer(gate.http2().await.send_request(ask).await.unwrap()).await;
    assert_eq!(got.echoed("cookie"), ["a=1; b=2"]);
    assert_eq!(app.connections(), 1, "one connection for both");
}

#[tokio::test]
async fn trailers_come_back_from_http2_and_a_head_has_no_body() {
    let app = app(100, echo).await;
    let gate = before(vec![app.server.clone()]);
    let ask = request("GET", "https://localhost/", &[], "");
    let got = gate.http2().await.send_request(ask).await.unwrap().into_body().collect().await.unwrap();
    let trailers: Vec<_> = got.trailers().unwrap().keys().map(ToString::to_string).collect();
    assert_eq!(trailers, ["grpc-status"]);
    let sent = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close, te\r\nTE: trailers\r\n\r\n\
                2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n";
    let got = gate.raw(sent).await;
    assert!(got.contains("\"trailers\":{\"x-sum\":[\"1\"]}"), "{got}");
    assert!(got.ends_with("0\r\ngrpc-status: 0\r\n\r\n"), "{got}");
    let head = gate.client().await.send(request("HEAD", "/", &[], "")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn requests_share_connections_as_far_as_the_server_takes_them() {
    let (arrivals, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arrived, opened) = (Arc::clone(&arrivals), Arc::clone(&open));
    let app = app(2, move |request, respond| {
        let (arrived, opened) = (Arc::clone(&arrived), Arc::clone(&opened));
        async move {
            arrived.add_permits(1);
            opened.acquire().await.unwrap().forget();
            echo(request, respond).await;
        }
    })
    .await;
    let gate = before(vec![app.server.clone()]);
    let client = gate.http2().await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut client = client.clone();
        asked.spawn(async move {
            client.send_request(request("GET", "https://localhost/", &[], "")).await.unwrap().status()
        });
    }
    arrivals.acquire_many(5).await.unwrap().forget();
    assert_eq!(app.connections(), 3, "two of them with two, and one with one");
    open.add_permits(5);
    while let Some(status) = asked.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

/// Refuses every stream, and tells how often.
async fn refusing() -> (App, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let app = app(100, move |_, mut respond| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { respond.send_reset(Reason::REFUSED_STREAM) }
    })
    .await;
    (app, asked)
}

#[tokio::test]
async fn what_a_server_has_not_looked_at_is_sent_to_another_whatever_its_method() {
    let ((refuses, refused), takes) = (refusing().await, app(100, echo).await);
    let gate = with(vec![refuses.server.clone(), takes.server.clone()], |parts| {
        parts.settings.upstreams.get_mut("app").unwrap().passive.max_fails = 0;
    });
    let mut client = gate.client().await;
    for _ in 0..4 {
        assert_eq!(client.send(request("POST", "/", &[], "")).await.status, 200);
    }
    assert_eq!(refused.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_refuses_and_is_alone_is_a_502_and_ejected() {
    let (app, asked) = refusing().await;
    let gate = before(vec![app.server]);
    let got = gate.get("/", &[]).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// The frame header of HTTP/2, and what follows it.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0][..], payload].concat()
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Reads until this kind of frame has come.
async fn read_to(stream: &mut TcpStream, wanted: u8) {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; size];
        let _ = stream.read_exact(&mut payload).await;
        if head[3] == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_beyond_a_goaway_goes_to_a_fresh_connection_of_the_same_server() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let server = scripted(move |mut stream, number| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            if number > 0 {
                return serve(stream, 100, echo).await;
            }
            let mut preface = [0; 24];
            let _ = stream.read_exact(&mut preface).await;
            let _ = stream.write_all(&frame(SETTINGS, &[])).await;
            // HEADERS
            read_to(&mut stream, 1).await;
            let _ = stream.write_all(&frame(GOAWAY, &[0; 8])).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let gate = before(vec![server]);
    let got = gate.client().await.send(request("POST", "/", &[], "")).await;
    assert_eq!((got.status.as_u16(), got.json()["method"].as_str()), (200, Some("POST")));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_request_is_asked_again_only_for_what_may_be_done_twice() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let breaks = scripted(move |mut stream, _| {
            let count = Arc::clone(&count);
            async move {
                let mut preface = [0; 24];
                let _ = stream.read_exact(&mut preface).await;
                let _ = stream.write_all(&frame(SETTINGS, &[])).await;
                read_to(&mut stream, 1).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;
        let takes = app(100, echo).await;
        let gate = before(vec![breaks, takes.server.clone()]);
        let got = gate.client().await.send(request(method, "/", &[], "")).await;
        assert_eq!((got.status.as_u16(), asked.load(Ordering::SeqCst)), (status, 1), "{method}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_speaks_http1() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = scripted(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(read_head(&mut stream).await);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let got = before(vec![server]).client().await.send(request("POST", "/", &[], "hello")).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-unreachable"));
    assert_eq!(told.recv().await.unwrap(), "PRI * HTTP/2.0\r\n\r\n", "and no request");
}

#[tokio::test]
async fn who_leaves_cancels_the_request_at_the_application() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = app(100, move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(None);
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            let _ = tell.send(Some(reason.unwrap()));
        }
    })
    .await;
    let gate = before(vec![app.server.clone()]);
    let mut client = gate.http2().await;
    let asking =
        tokio::spawn(async move { client.send_request(request("GET", "https://localhost/", &[], "")).await });
    assert_eq!(told.recv().await.unwrap(), None);
    asking.abort();
    assert_eq!(told.recv().await.unwrap(), Some(Reason::CANCEL));
    let mut client = gate.client().await;
    let asking = tokio::spawn(async move { client.send(request("GET", "/", &[], "")).await });
    assert_eq!(told.recv().await.unwrap(), None);
    asking.abort();
    assert_eq!(told.recv().await.unwrap(), Some(Reason::CANCEL), "over HTTP/1.1 too");
}

#[tokio::test]
async fn an_answer_that_says_its_length_twice_or_in_no_number_is_none() {
    for lengths in [vec!["2", "2"], vec!["2", "3"], vec!["+2"], vec!["two"], vec!["2, 2"]] {
        let app = app(100, move |_, mut respond: SendResponse<Bytes>| {
            let mut answer = Response::new(());
            for length in &lengths {
                answer.headers_mut().append("content-length", HeaderValue::from_static(length));
            }
            async move {
                let Ok(mut stream) = respond.send_response(answer, false) else { return };
                let _ = stream.send_data(Bytes::from_static(b"ok"), true);
            }
        })
        .await;
        let got = before(vec![app.server]).get("/", &[]).await;
        assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"));
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_up_nobody_else_on_the_connection() {
    let app = app(100, |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
        if request.uri().path() != "/large" {
            return echo(request, respond).await;
        }
        let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
        let _ = stream.send_data(vec![0; 64 * 1024 * 1024].into(), true);
        let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
    })
    .await;
    let gate = before(vec![app.server.clone()]);
    // It takes as much as its windows hold, and then nothing.
    let (mut client, mut held) = (gate.http2().await, Vec::new());
    for _ in 0..20 {
        let asked = client.send_request(request("GET", "https://localhost/large", &[], ""));
        held.push(asked.await.unwrap());
    }
    // Until it stands still, and beyond that.
    let mut other = gate.client().await;
    let body = "x".repeat(100_000);
    for _ in 0..100 {
        assert_eq!(other.send(request("POST", "/", &[], &body)).await.status, 200);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn large_bodies_pass_whole_through_small_windows() {
    let app = app(100, |mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
        let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
        while let Some(Ok(data)) = request.body_mut().data().await {
            let _ = request.body_mut().flow_control().release_capacity(data.len());
            let _ = stream.send_data(data, false);
        }
        let _ = stream.send_data(Bytes::new(), true);
    })
    .await;
    let gate = before(vec![app.server.clone()]);
    let body: String = (0..3_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let got = gate.client().await.send(request("POST", "/", &[], &body)).await;
    assert!(got.body == body, "{} of {}", got.body.len(), body.len());
    let sent = Request::post("https://localhost/").body(Full::from(Bytes::from(body.clone()))).unwrap();
    let got = answer(gate.http2().await.send_request(sent).await.unwrap()).await;
    assert!(got.body == body, "{} of {}", got.body.len(), body.len());
}
