//! How a connection ends, and what is left of it: clients who leave, answers that break, drains, switches.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{bodies, open, said, stream, tell, text};
use crate::edge::body::Outgoing;
use crate::edge::connection::Farewell;
use crate::edge::http1::connection::{Arrived, Ended};

/// Sets a flag when it is dropped.
struct Told(Rc<Cell<bool>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[tokio::test]
async fn a_client_who_leaves_before_its_answer_ends_the_work_on_it() {
    let dropped = Rc::new(Cell::new(false));
    let (mut connection, mut client, _) = open(|_| {
        let told = Told(Rc::clone(&dropped));
        async move {
            let _told = told;
            std::future::pending().await
        }
    });
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!((&mut connection).now_or_never().is_none());
    assert!(!dropped.get());
    client.shutdown().await.unwrap();
    assert!(matches!((&mut connection).now_or_never(), Some(Err(Ended::Left))));
    drop(connection);
    assert!(dropped.get());
}

#[tokio::test]
async fn a_client_who_leaves_in_the_middle_of_its_body_is_told_of() {
    let heard = Rc::new(RefCell::new(String::new()));
    let (connection, mut client, _) = open(|arrived: Arrived| {
        let heard = Rc::clone(&heard);
        async move {
            let error = arrived.request.into_body().collect().await.unwrap_err();
            *heard.borrow_mut() = error.to_string();
            text("[too late]")
        }
    });
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab").await.unwrap();
    client.shutdown().await.unwrap();
    drop(connection.await);
    assert_eq!(*heard.borrow(), "the connection ended before the body did");
}

#[tokio::test]
async fn a_broken_answer_ends_the_connection_without_its_end() {
    let piece = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let cut = said(b"GET / HTTP/1.1\r\n\r\n", 99, |_| {
        let body = stream(vec![piece("abc"), Err("cut".into())]);
        std::future::ready(Response::new(body))
    })
    .await;
    // Head and beginning: or it would look as if the request had never come, and it would be sent again.
    assert!(cut.starts_with("HTTP/1.1 200 OK\r\n") && cut.ends_with("\r\n\r\n3\r\nabc\r\n"), "{cut}");
    let short = said(b"GET / HTTP/1.1\r\n\r\n", 99, |_| {
        let mut response = Response::new(stream(vec![Err("cut".into())]));
        response.headers_mut().insert("x", "y".parse().unwrap());
        std::future::ready(response)
    })
    .await;
    assert!(short.starts_with("HTTP/1.1 200 OK\r\n") && short.ends_with("\r\n\r\n"), "{short}");
}

#[tokio::test]
async fn when_it_is_to_finish_the_request_under_way_is_the_last() {
    let ask = "GET /1 HTTP/1.1\r\n\r\n";
    let (mut connection, mut client, _) = open(tell);
    client.write_all(ask.as_bytes()).await.unwrap();
    connection.as_mut().finish(Farewell::Drain);
    // Whoever has just connected may ask once.
    assert!((&mut connection).await.is_ok());
    drop(connection);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("[GET /1 ]"), "{answer}");
    let (mut idle, mut client, _) = open(tell);
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!((&mut idle).now_or_never().is_none());
    idle.as_mut().finish(Farewell::Drain);
    assert!((&mut idle).await.is_ok(), "it has been served");
    let (mut silent, _client, _) = open(tell);
    silent.as_mut().finish(Farewell::Silence);
    assert!((&mut silent).await.is_ok());
}

#[tokio::test]
async fn when_another_process_takes_over_who_is_kept_may_ask_once_more() {
    let ask = "GET /1 HTTP/1.1\r\n\r\n";
    let (mut idle, mut client, _) = open(tell);
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!((&mut idle).now_or_never().is_none());
    idle.as_mut().finish(Farewell::HandOver);
    assert!((&mut idle).now_or_never().is_none(), "it is not closed under who may be asking");
    client.write_all(ask.as_bytes()).await.unwrap();
    assert!((&mut idle).await.is_ok());
    drop(idle);
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: close\r\n").count(), 1, "{answers}");
}

#[tokio::test]
async fn after_a_101_the_stream_is_handed_on_with_what_was_read_of_it() {
    let ask = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n\0\nearly";
    let switch = async |arrived: Arrived| {
        assert!(arrived.switches);
        let mut response = Response::new(Outgoing::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
    };
    let (mut connection, mut client, _) = open(switch);
    client.write_all(ask.as_bytes()).await.unwrap();
    (&mut connection).await.unwrap();
    let (_io, early) = Pin::into_inner(connection).into_parts();
    assert_eq!(early, &b"\0\nearly"[..]);
    let mut head = [0; 36];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    for with_body in ["Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let ask = format!("POST / HTTP/1.1\r\nConnection: close\r\nUpgrade: x\r\n{with_body}");
        let answer =
            said(ask.as_bytes(), 99, async |arrived: Arrived| text(format!("[{}]", arrived.switches))).await;
        assert_eq!(bodies(&answer), ["false"]);
    }
}

#[tokio::test]
async fn a_head_that_is_late_is_known_as_begun_and_a_connection_at_rest_holds_nothing() {
    let (mut connection, mut client, activity) = open(tell);
    client.write_all(b"GET /1 HT").await.unwrap();
    assert!((&mut connection).now_or_never().is_none());
    assert!(activity.is_head_begun());
    for rest in ["TP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
    {
        client.write_all(rest.as_bytes()).await.unwrap();
        while let Some(()) = client.read(&mut [0; 4096]).now_or_never().map(drop) {}
        // Its body is asked for in one turn and handed out in the next.
        for _ in 0..4 {
            assert!((&mut connection).now_or_never().is_none());
        }
        assert!(client.read(&mut [0; 4096]).now_or_never().is_some(), "it was answered");
        assert_eq!(connection.held(), 0);
    }
}
