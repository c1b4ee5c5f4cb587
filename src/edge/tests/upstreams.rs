//! Applications that behave badly, and what the client sees of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;

use super::harness::{Echo, Gate, answer, echo, request, route};
use crate::config::route::{RouteAuth, RouteTarget};
use crate::config::upstream::{Server, Upstream};

/// An application that answers only once it is told to.
pub struct Gated {
    server: Server,
    arrivals: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Gated {
    pub async fn start() -> Self {
        let (arrivals, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (arrived, opened) = (Arc::clone(&arrivals), Arc::clone(&gate));
        let server = scripted(move |mut stream, _| {
            let (arrived, opened) = (Arc::clone(&arrived), Arc::clone(&opened));
            async move {
                read_head(&mut stream).await;
                arrived.add_permits(1);
                opened.acquire().await.unwrap().forget();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                read_head(&mut stream).await;
            }
        })
        .await;
        Self { server, arrivals, gate }
    }

    pub fn servers(&self) -> Vec<Server> {
        vec![self.server.clone()]
    }

    /// Waits until so many requests have arrived.
    pub async fn arrived(&self, count: u32) {
        self.arrivals.acquire_many(count).await.unwrap().forget();
    }

    /// Lets all of them be answered.
    pub fn release(&self) {
        self.gate.add_permits(100);
    }
}

/// An application that is a script for each connection, told its number from 0.
pub async fn scripted<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::Tcp(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream, number));
            number += 1;
        }
    });
    server
}

/// Reads up to the empty line; what there was if the stream ended.
pub async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn dead() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::Tcp(listener.local_addr().unwrap())
}

#[tokio::test]
async fn kept_alive_connections_are_used_again() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let mut client = gate.client().await;
    for size in [0, 10, 100_000, 0] {
        let got = client.send(request("POST", "/", &[], &"x".repeat(size))).await;
        assert_eq!(got.json()["body_bytes"], size);
    }
    assert_eq!(gate.get("/", &[]).await.status, 200);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_unreachable_application_is_a_502() {
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![dead().await]);
    let got = gate.get("/", &[]).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-unreachable"));
    assert!(gate.metrics.encode().contains(r#"keepgate_upstream_failures_total{reason="unreachable"} 1"#));
}

#[tokio::test]
async fn upstream_connections_are_bounded_however_many_streams_ask_for_one() {
    let app = Gated::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.connections = 2;
    });
    let client = gate.http2().await;
    let ask = || client.clone().send_request(request("GET", "https://localhost/", &[], ""));
    let held = [tokio::spawn(ask()), tokio::spawn(ask())];
    app.arrived(2).await;
    let refused = answer(ask().await.unwrap()).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "upstream-full"));
    assert_eq!(refused.headers["retry-after"], "1");
    app.release();
    for held in held {
        assert_eq!(answer(held.await.unwrap().unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn an_idle_upstream_connection_makes_room_for_one_that_is_needed() {
    let (app, other) = (Echo::start().await, Echo::start().await);
    let mut to_the_other = route("/other", RouteAuth::None);
    to_the_other.target = RouteTarget::Upstream("other".to_owned());
    let gate = Gate::with(vec![route("/", RouteAuth::None), to_the_other], app.servers(), |parts| {
        parts.settings.limits.connections = 1;
        parts.settings.upstreams.insert("other".to_owned(), Upstream::of(other.servers()));
    });
    let mut client = gate.client().await;
    for path in ["/", "/other", "/"] {
        assert_eq!(client.send(request("GET", path, &[], "")).await.status, 200, "{path}");
    }
    assert_eq!((app.connections(), other.connections()), (2, 1));
}

#[tokio::test]
async fn a_dead_server_is_passed_over_for_the_next() {
    let app = Echo::start().await;
    let servers = vec![dead().await, app.server.clone()];
    let gate = Gate::start(vec![route("/", RouteAuth::None)], servers);
    for _ in 0..4 {
        let got = gate.client().await.send(request("POST", "/", &[], "body")).await;
        assert_eq!(got.json()["body_bytes"], 4);
    }
}

#[tokio::test]
async fn requests_go_round_the_servers() {
    let (one, two) = (Echo::start().await, Echo::start().await);
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![one.server.clone(), two.server.clone()]);
    let mut client = gate.client().await;
    for _ in 0..4 {
        client.send(request("GET", "/", &[], "")).await;
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

/// Answers one request on its first connection and drops the second one there; later connections
/// answer every request.
async fn forgetful() -> Server {
    scripted(|mut stream, number| async move {
        let mut answered = 0;
        while !read_head(&mut stream).await.is_empty() {
            if number == 0 && answered == 1 {
                return;
            }
            answered += 1;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await
}

#[tokio::test]
async fn an_idempotent_request_survives_a_connection_that_died_in_the_pool() {
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![forgetful().await]);
    let mut client = gate.client().await;
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    assert!(gate.metrics.encode().contains("keepgate_upstream_retries_total 1"));
}

#[tokio::test]
async fn a_request_that_may_have_been_acted_on_is_not_sent_twice() {
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![forgetful().await]);
    let mut client = gate.client().await;
    assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    let got = client.send(request("POST", "/", &[], "pay")).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"));
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_costs_no_request() {
    let server = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
    let mut client = gate.client().await;
    for _ in 0..10 {
        assert_eq!(client.send(request("GET", "/", &[], "")).await.status, 200);
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_is_a_504() {
    let app = Gated::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.response_timeout = Duration::from_millis(50);
    });
    let got = gate.get("/", &[]).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (504, "upstream-timeout"));
}

#[tokio::test]
async fn a_client_that_sends_slowly_is_not_held_against_the_server() {
    let app = Gated::start().await;
    let gate = Gate::with(vec![route("/", RouteAuth::None)], app.servers(), |parts| {
        parts.settings.limits.response_timeout = Duration::from_millis(50);
    });
    let failures = |count| {
        let server = &app.server;
        let line = format!(r#"server_failures_total{{upstream="app",server="{server}"}} {count}"#);
        gate.metrics.encode().contains(&line)
    };
    for _ in 0..4 {
        let mut stream = gate.tls(b"http/1.1").await.unwrap();
        let part = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
        stream.write_all(part).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    }
    assert!(failures(0), "{}", gate.metrics.encode());
    let whole = gate.client().await.send(request("POST", "/", &[], "abc")).await;
    assert!(whole.status == 504 && failures(1), "{}", gate.metrics.encode());
}

#[tokio::test]
async fn an_application_that_answers_nonsense_is_a_502() {
    for nonsense in
        ["hello\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
    {
        let server = scripted(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(nonsense.as_bytes()).await;
            read_head(&mut stream).await;
        })
        .await;
        let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![server]);
        let got = gate.get("/", &[]).await;
        assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"), "{nonsense}");
    }
}

#[tokio::test]
async fn an_application_behind_a_unix_socket_is_served_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let io = hyper_util::rt::TokioIo::new(stream);
            let service = hyper::service::service_fn(echo);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let gate = Gate::start(vec![route("/", RouteAuth::None)], vec![Server::Unix(path)]);
    assert_eq!(gate.get("/x", &[]).await.json()["target"], "/x");
}
