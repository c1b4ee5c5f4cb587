//! Requests to the API, and denials to record, on their way from the process that is ending to the one that has
//! the stores: HTTP/2 over a pair of sockets that nobody else has an end of.
//!
//! What the edge has found out about a request goes with it and is believed: it comes from the same node, whose
//! views follow the journal that the answer is given by.

use std::convert::Infallible;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::desk::Desk;
use crate::audit::draft::Draft;
use crate::edge::body::{BoxError, ResponseBody};
use crate::edge::decisions::NotRecorded;
use crate::model::caller::{Caller, Origin, RefusedToken};

/// Says what a request is, as [`Relayed`] in JSON. No request from outside has anything to say with it: the
/// server takes it off and puts its meaning into the extensions.
const ABOUT: HeaderName = HeaderName::from_static("keepgate-relayed");
/// Head of a relayed request, bytes: a client's, which the edge has bounded, and what is said about it.
const HEAD: u32 = 1024 * 1024;
/// Longest list of denials: the edge records some thousand at once at most.
const DRAFTS: usize = 16 * 1024 * 1024;

/// For the head of an answer: longer than a request to the API may take, but not for ever, lest a process that
/// hangs keeps who asks another.
const ANSWERING: Duration = Duration::from_secs(120);
/// For events to be recorded, and for their list to come.
const RECORDING: Duration = Duration::from_secs(10);

/// What is relayed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Relayed {
    /// A request to the API.
    Request { origin: Origin, caller: Option<Caller>, refused: Option<RefusedToken> },
    /// Events to record; the body is a list of drafts.
    Drafts,
}

/// The sending end.
pub(in crate::app) struct Relay {
    sender: SendRequest<ResponseBody>,
    answering: Duration,
    recording: Duration,
}

impl Relay {
    /// Over this stream, whose other end may not be read yet.
    pub async fn over(stream: UnixStream) -> Result<Self, BoxError> {
        stream.set_nonblocking(true)?;
        let io = TokioIo::new(tokio::net::UnixStream::from_std(stream)?);
        let (sender, connection) = handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the relay ended");
            }
        });
        Ok(Self { sender, answering: ANSWERING, recording: RECORDING })
    }

    /// Has a request answered there.
    pub async fn answer<B>(&self, request: Request<B>) -> Result<Response<ResponseBody>, BoxError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let origin = parts.extensions.remove::<Origin>().ok_or("a request from nowhere")?;
        let (caller, refused) = (parts.extensions.remove(), parts.extensions.remove());
        let about = Relayed::Request { origin, caller, refused };
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut relayed = Request::new(body.map_err(Into::into).boxed_unsync());
        *relayed.uri_mut() = Uri::try_from(format!("http://relay{path}"))?;
        *relayed.method_mut() = parts.method;
        *relayed.headers_mut() = of_one_hop(parts.headers);
        relayed.headers_mut().insert(ABOUT, HeaderValue::try_from(serde_json::to_vec(&about)?)?);
        let mut response = self.send(relayed, self.answering).await?;
        *response.version_mut() = http::Version::HTTP_11;
        Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }

    /// Has events recorded there.
    pub async fn record_all(&self, drafts: &[Draft]) -> Result<(), NotRecorded> {
        self.record(drafts).await.map_err(NotRecorded::new)
    }

    async fn record(&self, drafts: &[Draft]) -> Result<(), BoxError> {
        let body = Full::from(serde_json::to_vec(drafts)?).map_err(|impossible| match impossible {});
        let mut relayed = Request::post("http://relay/").body(body.boxed_unsync())?;
        let about = serde_json::to_vec(&Relayed::Drafts)?;
        relayed.headers_mut().insert(ABOUT, HeaderValue::try_from(about)?);
        let response = self.send(relayed, self.recording).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(format!("the process that took over answered {}", response.status()).into())
    }

    async fn send(
        &self,
        request: Request<ResponseBody>,
        patience: Duration,
    ) -> Result<Response<Incoming>, BoxError> {
        match timeout(patience, self.sender.clone().send_request(request)).await {
            Ok(response) => Ok(response?),
            Err(_) => {
                Err(format!("the process that took over says nothing for {} s", patience.as_secs()).into())
            }
        }
    }
}

/// Without what HTTP/2 knows nothing of, or says itself.
fn of_one_hop(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::EXPECT] {
        headers.remove(name);
    }
    headers
}

/// The receiving end: answers at `desk` until the other end is closed.
pub(in crate::app) async fn serve(stream: UnixStream, desk: Desk) {
    let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(stream));
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => return tracing::error!(%error, "the process before this one gets no answers"),
    };
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_header_list_size(HEAD).max_concurrent_streams(10_000);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "the relay ended");
    }
}

async fn answer(desk: &Desk, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let about = request.headers_mut().remove(ABOUT);
    match about.and_then(|about| serde_json::from_slice(about.as_bytes()).ok()) {
        Some(Relayed::Request { origin, caller, refused }) => {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
            request.extensions_mut().insert(origin);
            caller.and_then(|caller| request.extensions_mut().insert(caller));
            refused.and_then(|refused| request.extensions_mut().insert(refused));
            desk.answer(request).await
        }
        Some(Relayed::Drafts) => {
            let text = timeout(RECORDING, Limited::new(request.into_body(), DRAFTS).collect()).await;
            let drafts =
                text.ok().and_then(Result::ok).and_then(|text| serde_json::from_slice(&text.to_bytes()).ok());
            let recorded = match drafts {
                Some(drafts) => desk.record_all(drafts).await.is_ok(),
                None => false,
            };
            empty(if recorded { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE })
        }
        None => empty(StatusCode::BAD_REQUEST),
    }
}

fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().map_err(|impossible| match impossible {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Intent, Outcome};
    use crate::model::id::RequestId;
    use crate::model::random::SystemRng;
    use crate::model::time::Timestamp;

    #[tokio::test]
    async fn nobody_waits_for_ever_for_a_process_that_hangs() {
        let (here, _there) = UnixStream::pair().unwrap();
        let short = Duration::from_millis(10);
        let relay = Relay { answering: short, recording: short, ..Relay::over(here).await.unwrap() };
        let refused = relay.record_all(&[Draft::new(Intent::Access, Outcome::Denied)]).await.unwrap_err();
        assert!(refused.to_string().contains("says nothing"), "{refused}");
        let request = RequestId::new(Timestamp::from_millis(1), &SystemRng);
        let mut asked = Request::get("/users/v1/me").body(Empty::<Bytes>::new()).unwrap();
        asked.extensions_mut().insert(Origin { request, address: None, user_agent: String::new() });
        let refused = relay.answer(asked).await.unwrap_err();
        assert!(refused.to_string().contains("says nothing"), "{refused}");
    }
}
