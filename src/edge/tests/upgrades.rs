//! Upgrades: WebSockets and anything else that two sides agree on, and what becomes of the bytes around
//! the switch.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::harness::{Echo, Gate, read_to_close, route, token};
use super::upstreams::{read_head, scripted};
use crate::config::route::{Route, RouteAuth};
use crate::config::upstream::Server;

/// A WebSocket on the client's side.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

pub fn open() -> Vec<Route> {
    let upgrade = vec!["websocket".to_owned(), "other/1".to_owned()];
    let routes = vec![route("/", RouteAuth::None), route("/private", RouteAuth::Required)];
    routes.into_iter().map(|route| Route { upgrade: upgrade.clone(), ..route }).collect()
}

/// An application that takes WebSockets and sends every message back. It tells of each the headers it
/// came with, and of its end.
pub async fn sockets() -> (Server, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = scripted(move |stream, _| {
        let (tell, begun) = (tell.clone(), tell.clone());
        async move {
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let note = move |request: &Request, response: Response| {
                begun.send(format!("{:?}", request.headers())).unwrap();
                Ok(response)
            };
            let accepted = accept_hdr_async(stream, note).await;
            if let Ok(mut socket) = accepted {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            }
            let _ = tell.send("end".to_owned());
        }
    })
    .await;
    (server, told)
}

/// Opens a WebSocket through the gate.
pub async fn socket(gate: &Gate, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    let mut request = format!("wss://localhost{path}").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = gate.tls(b"http/1.1").await?;
    Ok(client_async(request, stream).await?.0)
}

/// Whether a message comes back.
pub async fn is_alive(socket: &mut Socket, text: &str) -> bool {
    let sent = socket.send(Message::text(text)).await;
    sent.is_ok() && matches!(socket.next().await, Some(Ok(back)) if back == Message::text(text))
}

/// Waits until a scrape has this line: what is counted is counted by another thread, in its own time.
pub async fn counted(gate: &Gate, line: &str) {
    while !gate.metrics.encode().lines().any(|have| have == line) {
        tokio::task::yield_now().await;
    }
}

const ASK: &str = "GET /ask HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: other/1\r\n\r\n";
const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other/1\r\nX-App: 1\r\n\r\n";

#[tokio::test]
async fn a_websocket_passes_with_the_callers_identity_and_nothing_forged() {
    let (server, mut told) = sockets().await;
    let in_flight = {
        let name = format!("keepgate_upstream_server_in_flight{{upstream=\"app\",server=\"{server}\"}}");
        move |count| format!("{name} {count}")
    };
    let gate = Gate::start(open(), vec![server]);
    let token = token(&["staff"], "");
    let headers = [
        ("authorization", token.as_str()),
        ("x-auth-subject", "root"),
        ("connection", "Upgrade, x-auth-roles, x-secret"),
        ("x-secret", "1"),
    ];
    let mut socket = socket(&gate, "/private/ws", &headers).await.unwrap();
    let seen = told.recv().await.unwrap();
    assert!(seen.contains(r#""x-auth-subject": "00000000-0000-0000-0000-000000000001""#), "{seen}");
    assert!(seen.contains(r#""x-auth-roles": "staff""#), "{seen}");
    assert!(seen.contains(r#""connection": "upgrade", "upgrade": "websocket""#), "{seen}");
    assert!(!seen.contains("x-secret") && !seen.contains("authorization"), "{seen}");
    for size in [0, 1, 100_000] {
        assert!(is_alive(&mut socket, &"x".repeat(size)).await);
    }
    counted(&gate, "keepgate_tunnels_open 1").await;
    // A request under way at its server for as long as it is open.
    counted(&gate, &in_flight(1)).await;
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    assert_eq!(told.recv().await.unwrap(), "end");
    drop(socket);
    counted(&gate, "keepgate_tunnels_open 0").await;
    counted(&gate, &in_flight(0)).await;
    let metrics = gate.metrics.encode();
    assert!(metrics.contains("keepgate_tunnels_total 1"), "{metrics}");
    assert!(metrics.contains(r#"keepgate_requests_total{status="1xx"} 1"#), "{metrics}");
}

#[tokio::test]
async fn whoever_may_not_pass_opens_no_websocket() {
    let (server, _told) = sockets().await;
    let gate = Gate::start(open(), vec![server]);
    match socket(&gate, "/private/ws", &[]).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response_and_the_connection_goes_on() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    let last = "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = gate.raw(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n{ASK}{ASK}{last}")).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    assert_eq!(answers.matches(r#""upgrade":["other/1"]"#).count(), 2, "{answers}");
    assert!(answers.contains(r#""target":"/last""#), "{answers}");
}

#[tokio::test]
async fn only_what_the_route_allows_is_offered_and_nothing_else_costs_anything() {
    let app = Echo::start().await;
    let gate = Gate::start(vec![route("/", RouteAuth::None)], app.servers());
    let answers = gate.raw(&ASK.replace("Connection: Upgrade", "Connection: close, Upgrade")).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK") && !answers.contains(r#""upgrade""#), "{answers}");
    let both = ASK.replace("other/1", "other/1, WebSocket");
    let answers =
        gate.raw(&format!("{both}GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    assert!(answers.contains(r#""upgrade":["WebSocket"]"#), "{answers}");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn an_offer_goes_over_a_pooled_connection_and_a_refused_one_gives_it_back() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    let last = "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = gate.raw(&format!("{}{last}", ASK.repeat(20))).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 21, "{answers}");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_pooled_connection_switches_as_well_as_a_fresh_one_and_is_never_the_pools_again() {
    let server = scripted(|mut stream, number| async move {
        let head = read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        if number > 0 {
            read_head(&mut stream).await;
            return;
        }
        assert!(!head.contains("upgrade"), "{head}");
        let head = read_head(&mut stream).await;
        assert!(head.contains("upgrade: other/1\r\n"), "{head}");
        stream.write_all(&[AGREED, b"hello"].concat()).await.unwrap();
        let mut buffer = [0; 3];
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await.unwrap();
        }
    })
    .await;
    let gate = Gate::start(open(), vec![server]);
    assert_eq!(gate.get("/", &[]).await.status, 200);
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    // What others ask goes over a connection of its own.
    assert_eq!(gate.get("/", &[]).await.status, 200);
    stream.write_all(b"abc").await.unwrap();
    let mut answered = [0; 8];
    stream.read_exact(&mut answered).await.unwrap();
    assert_eq!(&answered, b"helloabc");
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_judged_like_any_request() {
    let app = Echo::start().await;
    let gate = Gate::start(open(), app.servers());
    let smuggled = "POST /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    // In one write, and after the answer.
    let answers = gate.raw(&format!("{ASK}{smuggled}")).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK"), "{answers}");
    assert!(answers.contains("HTTP/1.1 400 Bad Request"), "{answers}");
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    stream.write_all(smuggled.as_bytes()).await.unwrap();
    let answers = read_to_close(&mut stream).await;
    assert!(answers.contains("HTTP/1.1 400 Bad Request"), "{answers}");
    assert!(!answers.contains("/smuggled"), "{answers}");
}

#[tokio::test]
async fn what_comes_before_the_101_waits_for_it_and_is_judged_by_nobody() {
    // Binary, and broken as HTTP.
    const EARLY: &[u8] = b"\x00\x16 early\n\r\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n";
    let server = scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("upgrade: other/1\r\n"), "{head}");
        let mut buffer = [0; 64];
        let nothing = stream.try_read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        stream.write_all(&[AGREED, b"hello"].concat()).await.unwrap();
        let mut early = vec![0; EARLY.len()];
        stream.read_exact(&mut early).await.unwrap();
        assert_eq!(early, EARLY);
        stream.write_all(b" there").await.unwrap();
        // Half of it is over; the other half goes on.
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        stream.write_all(b", bye").await.unwrap();
    })
    .await;
    let gate = Gate::start(open(), vec![server]);
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    stream.write_all(&[ASK.as_bytes(), EARLY].concat()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\nupgrade: other/1\r\n"), "{head}");
    assert!(head.contains("x-app: 1\r\n") && head.contains("x-request-id: "), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello there");
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut stream).await, ", bye");
    counted(&gate, r#"keepgate_tunnels_ended_total{how="finished"} 1"#).await;
    let metrics = gate.metrics.encode();
    assert!(metrics.contains(&format!(r#"keepgate_tunnel_bytes_total{{from="client"}} {}"#, EARLY.len())));
    assert!(metrics.contains(r#"keepgate_tunnel_bytes_total{from="upstream"} 16"#), "{metrics}");
}

#[tokio::test]
async fn a_switch_that_was_not_asked_for_is_a_502() {
    let server = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(AGREED).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        read_head(&mut stream).await;
    })
    .await;
    let gate = Gate::start(open(), vec![server]);
    let host = "HTTP/1.1\r\nHost: localhost\r\n";
    for ask in [
        format!("GET / {host}Connection: close\r\n\r\n"),
        format!("GET / {host}Connection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"),
        format!("GET / {host}Connection: close\r\nUpgrade: other/1\r\n\r\n"),
        // With a body there is no switching.
        format!("POST / {host}Connection: upgrade, close\r\nUpgrade: other/1\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        let answer = gate.raw(&ask).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{ask}: {answer}");
    }
    let mut plain = TcpStream::connect(gate.http()).await.unwrap();
    plain.write_all(format!("{ASK}GET / {host}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let answers = read_to_close(&mut plain).await;
    assert_eq!(answers.matches("HTTP/1.1 308 ").count(), 2, "nothing switches there: {answers}");
}

#[tokio::test]
async fn a_tunnel_holds_its_places_until_it_ends() {
    let (server, _told) = sockets().await;
    let gate = Gate::with(open(), vec![server], |parts| parts.settings.limits.connections = 1);
    for _ in 0..2 {
        // The one before is heard to have ended in the gate's own time.
        let mut one = loop {
            if let Ok(socket) = socket(&gate, "/", &[]).await {
                break socket;
            }
        };
        assert!(is_alive(&mut one, "x").await);
        assert!(gate.tls(b"http/1.1").await.is_err(), "its client's place is taken");
        drop(one);
    }
}
