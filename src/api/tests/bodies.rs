//! Bodies good and bad: every fault is told, precisely, and nothing secret is sent back.

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use proptest::prelude::*;

use super::*;
use crate::api::body::{Fields, Json, Shape};
use crate::api::error::finish;

struct Probe {
    one: String,
    other: Option<String>,
}

impl Shape for Probe {
    fn read(fields: &mut Fields) -> Option<Self> {
        let one = fields.text("one");
        let other = fields.optional_text("other");
        Some(Self { one: one?, other: other? })
    }
}

async fn probe(Json(probe): Json<Probe>) -> String {
    format!("{}/{}", probe.one, probe.other.as_deref().unwrap_or("-"))
}

fn router() -> Router {
    Router::new().route("/probe", post(probe)).layer(from_fn(finish))
}

async fn probed(body: impl Into<Body>) -> Answer {
    send(&router(), post_json("/probe", body)).await
}

async fn text(body: &'static str) -> String {
    let answer = probed(body).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", String::from_utf8_lossy(&answer.body));
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn good_bodies_are_read() {
    assert_eq!(text(r#"{"one": "é\n", "other": "2"}"#).await, "é\n/2");
    assert_eq!(text(r#" {"one": ""} "#).await, "/-");
    assert_eq!(text(r#"{"one": "1", "other": null}"#).await, "1/-");
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_at_once() {
    let answer = probed(r#"{"other": 7, "third": [1, {"a": 2}], "fourth": {}}"#).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.problem(), "invalid-request");
    assert_eq!(answer.faults(), ["one required", "other type", "fourth unknown", "third unknown"]);
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_refused() {
    let answer = probed(r#"{"one": "good", "one": "evil"}"#).await;
    assert_eq!(answer.faults(), ["one duplicate"]);
}

#[tokio::test]
async fn a_wrong_type_names_the_field() {
    for (value, found) in
        [("null", "null"), ("true", "a boolean"), ("-1.5", "a number"), ("[]", "a list"), ("{}", "an object")]
    {
        let answer = probed(format!(r#"{{"one": {value}}}"#)).await;
        assert_eq!(answer.faults(), ["one type"]);
        let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert_eq!(detail, format!("expected a string, found {found}"));
    }
}

#[tokio::test]
async fn broken_json_is_refused_with_its_place() {
    let answer = probed("{\"one\":\n \"secret\",}").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "malformed-json"));
    assert_eq!(answer.json()["detail"], "not JSON at line 2, column 11");
    for body in ["", "{", r#"{"one": "1"} x"#, "\u{feff}{}", r#"{"one": "\ud800"}"#] {
        assert_eq!(probed(body).await.problem(), "malformed-json", "{body:?}");
    }
    assert_eq!(probed(&b"{\"one\": \"\xff\"}"[..]).await.problem(), "malformed-json");
    assert_eq!(probed("[".repeat(60_000)).await.problem(), "malformed-json");
}

#[tokio::test]
async fn what_is_no_object_is_refused_without_being_quoted() {
    for body in ["\"hunter2\"", "[\"hunter2\"]", "7", "null"] {
        let answer = probed(body).await;
        assert_eq!(answer.problem(), "malformed-json");
        assert!(!answer.json().to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let typed = |content_type: Option<&str>| {
        let request = Request::post("/probe");
        let request =
            content_type.into_iter().fold(request, |request, value| request.header("content-type", value));
        request.body(Body::from(r#"{"one": "1"}"#)).unwrap()
    };
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(send(&router(), typed(Some(good))).await.status, StatusCode::OK, "{good}");
    }
    for bad in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")]
    {
        let answer = send(&router(), typed(bad)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{bad:?}");
        assert_eq!(answer.problem(), "unsupported-media-type");
    }
    let mut two = typed(Some("application/json"));
    two.headers_mut().append("content-type", "text/plain".parse().unwrap());
    assert_eq!(send(&router(), two).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_body_in_another_charset_or_coded_is_refused_in_words() {
    let sent = async |content_type: &str, coding: Option<&str>| {
        let request = Request::post("/probe").header("content-type", content_type);
        let request =
            coding.into_iter().fold(request, |request, coding| request.header("content-encoding", coding));
        send(&router(), request.body(Body::from(r#"{"one": "1"}"#)).unwrap()).await
    };
    for (good, coding) in
        [("application/json; charset=\"UTF-8\"", None), ("application/json", Some("Identity"))]
    {
        assert_eq!(sent(good, coding).await.status, StatusCode::OK, "{good} {coding:?}");
    }
    for (content_type, coding, says) in [
        ("application/json; charset=iso-8859-1", None, "UTF-8"),
        ("application/json; x=y; Charset=utf-16", None, "UTF-8"),
        ("application/json", Some("gzip"), "Content-Encoding"),
        ("application/json", Some("identity, br"), "Content-Encoding"),
    ] {
        let answer = sent(content_type, coding).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type} {coding:?}");
        assert_eq!(answer.problem(), "unsupported-media-type");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{content_type} {coding:?}");
    }
}

/// A body of unknown length: spaces without end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))))
    }
}

#[tokio::test]
async fn large_bodies_are_refused_whether_or_not_they_say_so() {
    let large = format!(r#"{{"one": "{}"}}"#, "x".repeat(64 * 1024));
    for body in [Body::from(large), Body::new(Endless)] {
        let answer = probed(body).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.problem(), "body-too-large");
    }
}

#[tokio::test]
async fn a_body_of_many_unknown_members_gets_a_short_answer() {
    let long = "n".repeat(1000);
    let members: Vec<_> = (0..50).map(|number| format!(r#""{long}{number}": 1"#)).collect();
    let answer = probed(format!("{{{}}}", members.join(","))).await;
    assert_eq!(answer.faults().len(), 16);
    assert!(answer.body.len() < 4096, "{} bytes", answer.body.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_anything_but_a_value_or_a_problem(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(probed(bytes));
        prop_assert!([200, 400, 422].contains(&answer.status.as_u16()));
    }

    #[test]
    fn strings_arrive_as_they_were_written(one in any::<String>(), other in any::<Option<String>>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = serde_json::json!({"one": one, "other": other}).to_string();
        let answer = runtime.block_on(probed(body));
        let expected = format!("{one}/{}", other.as_deref().unwrap_or("-"));
        prop_assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    }
}
