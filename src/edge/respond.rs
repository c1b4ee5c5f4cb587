//! Answers that the edge makes itself: problem details (RFC 9457), and what every answer carries.
//!
//! One type, [`Refused`], stands for every way a stage can say no. It holds no internal text: what
//! is in it goes to the client.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::Outgoing;
use crate::model::id::RequestId;
use crate::model::problem::{self, Problem};
use crate::observe::metrics::Denial;

/// `X-Request-Id`
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status of a request whose client has gone, as the log and the metrics have it.
pub const CLIENT_GONE: u16 = 499;

/// Headers that stages add to an answer whoever makes it, beside those of the same name.
pub type Beside = Vec<(HeaderName, HeaderValue)>;

/// A request that ends here.
#[derive(Debug)]
#[must_use = "a refusal is an answer that somebody waits for"]
pub struct Refused(Box<Details>);

#[derive(Debug)]
struct Details {
    status: StatusCode,
    word: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    headers: Beside,
    close: bool,
    denial: Option<Denial>,
}

impl Refused {
    /// A refusal of the kind `urn:keepgate:problem:<word>`.
    pub fn new(status: StatusCode, word: &'static str, title: &'static str) -> Self {
        let denial = status.is_client_error().then_some(Denial::Malformed);
        let detail = Cow::Borrowed("");
        let headers = Vec::new();
        Self(Box::new(Details { status, word, title, detail, headers, close: false, denial }))
    }

    /// 400: the request contradicts itself or the protocol.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request").detail(detail)
    }

    /// 413: the body is larger than the route takes.
    pub fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Request body too large")
            .detail(format!("this route takes at most {limit} bytes"))
            .closing()
    }

    /// 500: our own fault.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            .detail("the request failed here; the log has the reason under this request id")
    }

    /// Says what is the matter this time.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds headers.
    pub fn beside(mut self, beside: Beside) -> Self {
        self.0.headers.extend(beside);
        self
    }

    /// 499, which no client sees: it left before it was answered. The number is nginx's; the log and the metrics
    /// have to call it something that no server's fault is called by.
    pub fn client_gone() -> Self {
        let status = StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST);
        let mut gone = Self::new(status, "client-gone", "Client gone").closing();
        // It was denied nothing.
        gone.0.denial = None;
        gone.detail("the client left before it was answered")
    }

    /// Ends the connection too: after a framing error nobody knows where the next request starts.
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// Counts as this kind of denial.
    pub fn denial(mut self, denial: Denial) -> Self {
        self.0.denial = Some(denial);
        self
    }

    /// The kind of denial this is, if it is the client's doing.
    pub fn is_denial(&self) -> Option<Denial> {
        self.0.denial
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// A stable word for logs.
    pub fn word(&self) -> &'static str {
        self.0.word
    }

    /// The answer.
    pub fn into_response(self, request: RequestId, version: Version) -> Response<Outgoing> {
        let Details { status, word, title, detail, headers: own, close, .. } = *self.0;
        let problem = Problem::new(status.as_u16(), word, title).detail(detail).instance(request);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Outgoing::full(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in own {
            headers.append(name, value);
        }
        if close && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// `Strict-Transport-Security` for a `max-age`; none for zero (RFC 6797 §6.1.1).
pub fn hsts(max_age: std::time::Duration) -> Option<HeaderValue> {
    let seconds = max_age.as_secs();
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}

/// An answer to HEAD: its body is told of, not sent (RFC 9110 §9.3.2).
pub fn without_body(response: &mut Response<Outgoing>) {
    if let Some(size) = response.body().size_hint().exact()
        && size > 0
    {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(size.into());
        *response.body_mut() = Outgoing::empty();
    }
}

/// A request's id as a header says it.
pub fn id_header(id: RequestId) -> HeaderValue {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.0.as_hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What every answer carries, whoever made it.
pub fn seal<B>(response: &mut Response<B>, hsts: Option<&HeaderValue>, request: HeaderValue) {
    let headers = response.headers_mut();
    if let Some(hsts) = hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    headers.insert(REQUEST_ID, request);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::time::Duration;

    #[tokio::test]
    async fn a_refusal_becomes_problem_details_that_name_the_request() {
        let id: RequestId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let response = Refused::too_large(10).into_response(id, Version::HTTP_11);
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[CONNECTION], "close");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.kind, "urn:keepgate:problem:body-too-large");
        assert_eq!(problem.instance.unwrap(), "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057");
    }

    #[test]
    fn http2_answers_carry_no_connection_header() {
        let id: RequestId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let response = Refused::too_large(10).into_response(id, Version::HTTP_2);
        assert!(!response.headers().contains_key(CONNECTION));
    }

    #[test]
    fn hsts_of_zero_is_no_header() {
        assert_eq!(hsts(Duration::ZERO), None);
        assert_eq!(hsts(Duration::from_secs(60)).unwrap(), "max-age=60");
    }
}
