//! The engine over a pipe: what goes in and what comes out; what is left when it ends is in `ends`.

mod ends;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::connection::{Arrived, Connection};
use super::refused::HeadLimits;
use super::scratch::Scratch;
use crate::config::limits::Limits;
use crate::edge::activity::Activity;
use crate::edge::body::{BoxError, Outgoing};
use crate::model::time::{ManualClock, Timestamp};

const PIPE: usize = 64 * 1024;
const NOW: &str = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A connection under test.
type Served<S, F> = Pin<Box<Connection<DuplexStream, S, F>>>;
/// A way to answer.
type Answer = fn() -> Response<Outgoing>;

/// A connection and the client's end of it.
fn open<F: Future<Output = Response<Outgoing>>, S: FnMut(Arrived) -> F + Unpin>(
    answer: S,
) -> (Served<S, F>, DuplexStream, Rc<Activity>) {
    let (client, server) = duplex(PIPE);
    let scratch = Rc::new(Scratch::new(Arc::new(ManualClock::at(Timestamp::default()))));
    let activity = Activity::of_http1();
    let shared = (Rc::clone(&activity), scratch);
    let connection = Connection::new(server, answer, HeadLimits::of(&Limits::default()), shared);
    (Box::pin(connection), client, activity)
}

/// Everything that is answered to these bytes, in pieces of this size, until the connection is closed.
async fn said<F: Future<Output = Response<Outgoing>>>(
    bytes: &[u8],
    size: usize,
    answer: impl FnMut(Arrived) -> F + Unpin,
) -> String {
    let (connection, client, _) = open(answer);
    let (mut reader, mut writer) = tokio::io::split(client);
    let serving = async move { drop(connection.await) };
    let writing = async move {
        for piece in bytes.chunks(size) {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // Not closed: a client that goes wants no answer.
        writer
    };
    let mut answers = Vec::new();
    let reading = reader.read_to_end(&mut answers);
    let all = async { tokio::join!(serving, writing, reading) };
    let all = tokio::time::timeout(Duration::from_secs(20), all).await;
    let (_, _writer, read) = all.expect("it closes");
    read.unwrap();
    String::from_utf8(answers).unwrap()
}

fn text(text: impl Into<String>) -> Response<Outgoing> {
    Response::new(Outgoing::full(Bytes::from(text.into())))
}

fn stream(pieces: Vec<Result<Bytes, BoxError>>) -> Outgoing {
    let frames = futures_util::stream::iter(pieces).map(|piece| piece.map(Frame::data));
    Outgoing::api(StreamBody::new(frames).boxed_unsync())
}

/// Answers with what was asked.
async fn tell(Arrived { request, breach, .. }: Arrived) -> Response<Outgoing> {
    if let Some(breach) = breach {
        return text(format!("[{breach}]"));
    }
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        Err(error) => format!("broken: {error}"),
    };
    text(format!("[{} {} {body}]", parts.method, parts.uri))
}

/// Answers without looking at the body.
async fn ignore(_: Arrived) -> Response<Outgoing> {
    text("[ignored]")
}

/// Answers with the body, as it comes.
async fn echo(arrived: Arrived) -> Response<Outgoing> {
    let pieces = arrived.request.into_body().into_data_stream();
    let frames = pieces.map(|piece| piece.map(Frame::data).map_err(BoxError::from));
    Response::new(Outgoing::api(StreamBody::new(frames).boxed_unsync()))
}

/// Answers with nothing, and says it is of this length.
fn empty(status: u16, length: Option<&'static str>) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let length = length.map(HeaderValue::from_static);
    length.into_iter().for_each(|length| _ = response.headers_mut().insert(CONTENT_LENGTH, length));
    response
}

fn bodies(answers: &str) -> Vec<&str> {
    answers.split('[').skip(1).map(|rest| rest.split(']').next().unwrap()).collect()
}

#[tokio::test]
async fn requests_are_answered_in_order_however_they_come() {
    let asked = "\r\nGET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\nT: x\r\n\r\n\
        GET /4 HTTP/1.1\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n";
    for size in [1, 7, 64, usize::MAX] {
        let answers = said(asked.as_bytes(), size, tell).await;
        assert_eq!(bodies(&answers), ["GET /1 ", "POST /2 abc", "POST /3 def", "GET /4 "], "{size}");
        let first = format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{NOW}\r\n[GET /1 ]HTTP/1.1 200 OK\r\n");
        assert!(answers.starts_with(&first), "{answers}");
        assert_eq!(answers.matches("connection: close\r\n").count(), 1);
    }
}

#[tokio::test]
async fn a_breach_is_answered_after_what_came_before_it_and_ends_the_connection() {
    let next = "GET /smuggled HTTP/1.1\r\n\r\n";
    for (broken, why) in [
        ("GET /2 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        ("GET /2 HTTP/1.1\nHost: x\n\n", "CR LF"),
        ("\u{16}\u{3}", "request line"),
    ] {
        for size in [1, usize::MAX] {
            let asked = format!("GET /1 HTTP/1.1\r\n\r\n{broken}{next}");
            let answers = said(asked.as_bytes(), size, tell).await;
            let bodies = bodies(&answers);
            assert_eq!((bodies.len(), bodies[0]), (2, "GET /1 "), "{answers}");
            assert!(bodies[1].contains(why), "{answers}");
        }
    }
    let asked = format!("POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX{next}");
    let answers = said(asked.as_bytes(), usize::MAX, tell).await;
    assert_eq!(bodies(&answers), ["POST /1 broken: a chunk of the body is malformed"]);
    assert!(answers.contains("connection: close\r\n"));
}

#[tokio::test]
async fn a_continue_is_said_when_the_body_is_asked_for_and_never_else() {
    let head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
    let (connection, mut client, _) = open(tell);
    let asking = async {
        client.write_all(head.as_bytes()).await.unwrap();
        let mut said = [0; 25];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("[POST / ok]"), "{answer}");
    };
    let serving = async move { connection.await.unwrap() };
    tokio::join!(serving, asking);
    let sent = said(format!("{head}ok").as_bytes(), usize::MAX, tell).await;
    assert!(sent.starts_with("HTTP/1.1 200 OK\r\n"), "it is here already: {sent}");
    let unread = said(head.replace("Connection: close\r\n", "").as_bytes(), usize::MAX, ignore).await;
    assert!(unread.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{unread}");
}

#[tokio::test]
async fn what_has_no_body_has_none_and_says_so() {
    let answers = async |request: &str, answer: Answer| {
        let request = format!("{request}Connection: close\r\n\r\n");
        said(request.as_bytes(), usize::MAX, move |_| std::future::ready(answer())).await
    };
    let (get, head) = ("GET / HTTP/1.1\r\n", "HEAD / HTTP/1.1\r\n");
    let end = format!("{NOW}\r\n");
    let nothing: Answer = || Response::new(stream(vec![]));
    let close = "connection: close\r\n";
    let cases: [(&str, Answer, String); 7] = [
        (head, || text("abc"), format!("200 OK\r\n{close}content-length: 3\r\n{end}")),
        (head, || empty(200, Some("7")), format!("200 OK\r\n{close}content-length: 7\r\n{end}")),
        (head, nothing, format!("200 OK\r\n{close}{end}")),
        (get, || empty(200, None), format!("200 OK\r\n{close}content-length: 0\r\n{end}")),
        (get, || empty(204, Some("3")), format!("204 No Content\r\n{close}{end}")),
        (get, || empty(304, Some("9")), format!("304 Not Modified\r\n{close}content-length: 9\r\n{end}")),
        (get, nothing, format!("200 OK\r\n{close}transfer-encoding: chunked\r\n{end}0\r\n\r\n")),
    ];
    for (request, answer, want) in cases {
        assert_eq!(answers(request, answer).await, format!("HTTP/1.1 {want}"), "{request:?}");
    }
    let dated = said(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 99, async |_: Arrived| {
        let mut dated = text("x");
        dated.headers_mut().insert(DATE, HeaderValue::from_static("then"));
        dated
    });
    assert_eq!(dated.await.matches("date: ").count(), 1);
}

#[tokio::test]
async fn http10_closes_unless_asked_to_stay_and_gets_no_chunks() {
    let stay = "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answers = said(format!("{stay}GET /2 HTTP/1.0\r\n\r\n{stay}").as_bytes(), 9, tell).await;
    assert_eq!(bodies(&answers), ["GET /1 ", "GET /2 "]);
    assert!(answers.starts_with("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n"), "{answers}");
    assert!(answers.contains("HTTP/1.0 200 OK\r\nconnection: close\r\n"), "{answers}");
    let piece = || Response::new(stream(vec![Ok(Bytes::from_static(b"[abc"))]));
    let streamed = said(stay.as_bytes(), 9, |_| std::future::ready(piece())).await;
    assert_eq!(streamed, format!("HTTP/1.0 200 OK\r\nconnection: close\r\n{NOW}\r\n[abc"));
}

#[tokio::test]
async fn bodies_of_any_size_pass_unchanged_both_ways() {
    for size in [0, 1, 4096, 4097, 100_000, 3_000_000] {
        let body: String = (0..size).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        let head = "POST / HTTP/1.1\r\nConnection: close\r\n";
        let sized = format!("{head}Content-Length: {size}\r\n\r\n{body}");
        let chunked = match size {
            0 => format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            _ => format!("{head}Transfer-Encoding: chunked\r\n\r\n{size:X}\r\n{body}\r\n0\r\n\r\n"),
        };
        for request in [sized, chunked] {
            let answer = said(request.as_bytes(), 30_011, echo).await;
            let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("transfer-encoding: chunked"));
            let mut got = String::new();
            loop {
                let (digits, after) = rest.split_once("\r\n").unwrap();
                let length = usize::from_str_radix(digits, 16).unwrap();
                let (piece, after) = after.split_at(length);
                got.push_str(piece);
                rest = after.strip_prefix("\r\n").unwrap();
                if length == 0 {
                    break;
                }
            }
            assert!(got == body && rest.is_empty(), "{size}");
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_stops_its_client_and_fills_nothing_here() {
    let (mut connection, mut client, _) = open(|arrived: Arrived| async move {
        let _held = arrived;
        std::future::pending().await
    });
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n").await.unwrap();
    let mut sent = 0;
    for _ in 0..100 {
        assert!((&mut connection).now_or_never().is_none());
        sent += client.write(&[b'x'; 8192]).now_or_never().map_or(0, Result::unwrap);
    }
    assert!(sent <= PIPE + 16 * 1024, "{sent}");
}

#[tokio::test]
async fn what_is_left_of_an_unread_body_is_passed_over_if_it_is_small() {
    let with = |size: usize| {
        let body = "x".repeat(size);
        format!(
            "POST /1 HTTP/1.1\r\nContent-Length: {size}\r\n\r\n{body}GET /2 HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
    };
    let answers = said(with(50_000).as_bytes(), 1000, ignore).await;
    assert_eq!(bodies(&answers).len(), 2);
    let answers = said(with(200_000).as_bytes(), 1000, ignore).await;
    assert_eq!(bodies(&answers).len(), 1);
    assert!(answers.contains("connection: close"), "{answers}");
    let chunks = format!("1000\r\n{}\r\n", "x".repeat(4096)).repeat(20);
    let chunked = format!(
        "POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"
    );
    let answers = said(chunked.as_bytes(), 1000, ignore).await;
    assert_eq!(bodies(&answers).len(), 1, "too long, as turned out later");
}
