//! Every way in which an application's answer, or its connection, may end: what the client gets of it, whether it
//! is asked again, and that the next request gets its own answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::harness::{Gate, read_to_close, request, route};
use super::upstreams::{read_head, scripted};
use crate::config::route::RouteAuth;
use crate::config::upstream::Server;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn before(server: Server) -> Gate {
    Gate::start(vec![route("/", RouteAuth::None)], vec![server])
}

/// Answers the first request with this, and every other of any connection with its path; closes the first
/// connection after its `asked`th request. Tells how many connections there were.
async fn once(first: impl Into<Vec<u8>>, asked: usize) -> (Server, Arc<AtomicUsize>) {
    let (first, connections) = (first.into(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    let server = scripted(move |mut stream, number| {
        let first = first.clone();
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            for turn in 1.. {
                let head = read_head(&mut stream).await;
                let Some(path) = head.split(' ').nth(1) else { return };
                let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
                let said = if (number, turn) == (0, asked) { first.clone() } else { plain.into_bytes() };
                if stream.write_all(&said).await.is_err() || (number, turn) == (0, asked) {
                    return;
                }
            }
        }
    })
    .await;
    (server, connections)
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_head_is_a_502_and_never_asked_for_again() {
    for piece in
        ["H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"]
    {
        // On a fresh connection, and on one that was used before.
        for asked in [1, 2] {
            let (server, connections) = once(piece, asked).await;
            let gate = before(server);
            let mut client = gate.client().await;
            for _ in 1..asked {
                assert_eq!(client.send(request("GET", "/before", &[], "")).await.body, "/before");
            }
            let got = client.send(request("GET", "/", &[], "")).await;
            assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"), "{piece}");
            assert_eq!(client.send(request("GET", "/after", &[], "")).await.body, "/after");
            assert_eq!(connections.load(Ordering::SeqCst), 2, "{piece}: only for what came after");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_body_breaks_off_for_the_client() {
    for piece in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ] {
        let (server, connections) = once(piece, 1).await;
        let gate = before(server);
        let broken = gate.raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let whole = broken.ends_with("0\r\n\r\n") || broken.contains("content-length: 3");
        assert!(!whole, "{piece}: {broken}");
        assert_eq!(gate.get("/after", &[]).await.body, "/after");
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn what_an_answer_has_too_much_is_nobodys_and_its_connection_is_closed() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for first in [OK, "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"] {
        for extra in [evil, "\r\n", "x"] {
            let closed = Arc::new(Semaphore::new(0));
            let tell = Arc::clone(&closed);
            let server = scripted(move |mut stream, number| {
                let tell = Arc::clone(&tell);
                async move {
                    read_head(&mut stream).await;
                    let said = if number == 0 { format!("{first}{extra}") } else { OK.to_owned() };
                    let _ = stream.write_all(said.as_bytes()).await;
                    // Nothing more is asked on it, and the gate closes it.
                    let asked = read_head(&mut stream).await;
                    if number == 0 {
                        assert_eq!(asked, "");
                        tell.add_permits(1);
                    }
                }
            })
            .await;
            let gate = before(server);
            let mut client = gate.client().await;
            let got = client.send(request("GET", "/", &[], "")).await;
            assert!(got.status.as_u16() < 400 && !got.body.ends_with(b"evil"), "{got:?}");
            closed.acquire().await.unwrap().forget();
            assert_eq!(client.send(request("POST", "/", &[], "")).await.body, "ok");
        }
    }
}

/// A server that does this to its first connection between two requests, when it is told to, and says when it has.
async fn meddling<F>(meddle: fn(TcpStream) -> F) -> (Server, Arc<Semaphore>, Arc<Semaphore>)
where
    F: Future<Output = TcpStream> + Send + 'static,
{
    let (go, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (told, tell) = (Arc::clone(&go), Arc::clone(&done));
    let server = scripted(move |mut stream, number| {
        let (told, tell) = (Arc::clone(&told), Arc::clone(&tell));
        async move {
            stream.set_nodelay(true).unwrap();
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            if number == 0 {
                told.acquire().await.unwrap().forget();
                stream = meddle(stream).await;
                tell.add_permits(1);
                assert_eq!(read_head(&mut stream).await, "", "never asked again");
            }
        }
    })
    .await;
    (server, go, done)
}

#[tokio::test]
async fn an_idle_connection_on_which_anything_happened_is_never_used_again() {
    async fn stray(mut stream: TcpStream) -> TcpStream {
        let evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        stream.write_all(evil).await.unwrap();
        stream
    }
    async fn one_byte(mut stream: TcpStream) -> TcpStream {
        stream.write_all(b"x").await.unwrap();
        stream
    }
    async fn half_closed(mut stream: TcpStream) -> TcpStream {
        stream.shutdown().await.unwrap();
        stream
    }
    for (server, go, done) in [meddling(stray).await, meddling(one_byte).await, meddling(half_closed).await] {
        let gate = before(server);
        let mut client = gate.client().await;
        assert_eq!(client.send(request("GET", "/", &[], "")).await.body, "ok");
        go.add_permits(1);
        done.acquire().await.unwrap().forget();
        // Not idempotent: it would fail if it were sent in vain.
        let got = client.send(request("POST", "/", &[], "pay")).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"ok"[..]));
        assert!(gate.metrics.encode().contains("keepgate_upstream_retries_total 0"));
    }
}

#[tokio::test]
async fn heads_up_to_the_bound_pass_and_larger_ones_do_not() {
    let with = |value: usize| {
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "y".repeat(value)).into_bytes()
    };
    let (server, _) = once(with(60_000), 1).await;
    let got = before(server).raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\nok"), "{}", got.len());
    let (server, _) = once(with(70_000), 1).await;
    let got = before(server).get("/", &[]).await;
    assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-broken"));
}

#[tokio::test]
async fn an_application_that_says_continue_first_is_heard_to_the_end() {
    let server = scripted(|mut stream, _| async move {
        while read_head(&mut stream).await.contains("content-length: 4\r\n") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 ").await.unwrap();
            stream.write_all(b"201 Created\r\nContent-Length: 4\r\n\r\n").await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    let gate = before(server);
    let mut client = gate.client().await;
    for body in ["ab12", "cd34"] {
        let got = client.send(request("PUT", "/", &[], body)).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (201, body.as_bytes()));
        assert!(!got.headers.contains_key("link"), "an interim answer's are not the answer's");
    }
    assert!(gate.metrics.encode().contains("keepgate_upstream_connects_total 1"));
}

/// Answers before it has read the body, and then does as told.
async fn early(closes: bool) -> Server {
    scripted(move |mut stream, _| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 8\r\n\r\ntoo much";
        stream.write_all(answer.as_bytes()).await.unwrap();
        if closes {
            return;
        }
        // The gate closes: nothing can follow a request that was not finished.
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    })
    .await
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_is_over_is_delivered() {
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n";
    for closes in [false, true] {
        let gate = before(early(closes).await);
        let (mut reader, mut writer) = tokio::io::split(gate.tls(b"http/1.1").await.unwrap());
        writer.write_all(head.as_bytes()).await.unwrap();
        let uploading = tokio::spawn(async move {
            let piece = [b'x'; 10_000];
            for _ in 0..500 {
                if writer.write_all(&piece).await.is_err() {
                    break;
                }
            }
            writer
        });
        let answer = read_to_close(&mut reader).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too much"), "{closes}: {answer}");
        drop(uploading.await);
    }
}

#[tokio::test]
async fn a_request_that_was_not_finished_leaves_no_connection_behind() {
    let closed = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&closed);
    let server = scripted(move |mut stream, number| {
        let tell = Arc::clone(&tell);
        async move {
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            if number == 0 {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert!(rest.len() < 100, "nothing of another request in it");
                tell.add_permits(1);
            }
        }
    })
    .await;
    let gate = before(server);
    let mut stream = gate.tls(b"http/1.1").await.unwrap();
    // Two bytes of a hundred: the rest never comes.
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    closed.acquire().await.unwrap().forget();
    assert_eq!(gate.client().await.send(request("POST", "/", &[], "")).await.body, "ok");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_to_the_next() {
    let server = scripted(|mut stream, number| async move {
        assert_eq!(number, 0, "one connection for all");
        loop {
            let head = read_head(&mut stream).await;
            let said = match head.split(' ').next() {
                Some("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n",
                Some("GET") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n",
                Some("DELETE") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("POST") => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => return,
            };
            stream.write_all(said.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gate = before(server);
    let mut client = gate.client().await;
    for (method, status) in [("HEAD", 200), ("GET", 304), ("DELETE", 204), ("POST", 200), ("HEAD", 200)] {
        let got = client.send(request(method, "/", &[], "")).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (status, 0), "{method}");
    }
    assert!(gate.metrics.encode().contains("keepgate_upstream_connects_total 1"));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_comes_whole() {
    let big = "x".repeat(300_000);
    let (server, connections) = once(format!("HTTP/1.1 200 OK\r\n\r\n{big}"), 1).await;
    let gate = before(server);
    let got = gate.get("/", &[]).await;
    assert!(got.body == big, "{}", got.body.len());
    assert_eq!(gate.get("/after", &[]).await.body, "/after");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_of_a_length_is_said_where_no_body_may_follow() {
    let (server, _) = once("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 1).await;
    let gate = before(server);
    let mut client = gate.http2().await;
    let response = client.send_request(request("GET", "https://localhost/", &[], "")).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get("content-length")), (204, None));
}
