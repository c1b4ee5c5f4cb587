//! An application server in the test's own process: it answers with the request as it saw it, and
//! does what the path says: `/slow` waits for the test, `/stream` sends what the test sends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// A running application server, gone when dropped.
pub struct Upstream {
    pub address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<()>,
    shared: Arc<Shared>,
    chunks: mpsc::UnboundedSender<Bytes>,
    accepting: JoinHandle<()>,
}

struct Shared {
    arrived: mpsc::UnboundedSender<()>,
    release: Semaphore,
    chunks: Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (arrive, arrived) = mpsc::unbounded_channel();
        let (chunks, queue) = mpsc::unbounded_channel();
        let shared = Shared { arrived: arrive, release: Semaphore::new(0), chunks: Mutex::new(Some(queue)) };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, arrived, shared, chunks, accepting }
    }

    /// Waits until a request to `/slow` has arrived.
    pub async fn slow_request(&mut self) {
        self.arrived.recv().await.expect("the server lives");
    }

    /// Lets one request to `/slow` be answered.
    pub fn release(&self) {
        self.shared.release.add_permits(1);
    }

    /// Sends a piece of the body of the one answer of `/stream`.
    pub fn chunk(&self, text: &'static str) {
        self.chunks.send(Bytes::from_static(text.as_bytes())).expect("the answer is open");
    }

    /// Ends the body of `/stream`.
    pub fn end_stream(&self) {
        // No application sends a piece of nothing: here it is the end.
        self.chunks.send(Bytes::new()).expect("the answer is open");
    }

    /// Ends the body of `/stream` and the server.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/slow" => {
            let _ = shared.arrived.send(());
            if let Ok(permit) = shared.release.acquire().await {
                permit.forget();
            }
        }
        "/stream" => {
            let chunks = shared.chunks.lock().await.take().expect("only one request streams");
            let frames = futures_util::stream::unfold(chunks, |mut chunks| async {
                let chunk = chunks.recv().await.filter(|chunk| !chunk.is_empty())?;
                Some((Ok(Frame::data(chunk)), chunks))
            });
            return Ok(Response::new(BodyExt::boxed(StreamBody::new(frames))));
        }
        _ => {}
    }
    // A client that gives up in the middle ends the request.
    let body = body.collect().await?.to_bytes();
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers.entry(name.as_str()).or_default().push(value.to_str().unwrap_or("(not text)"));
    }
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "headers": headers,
        "body_bytes": body.len(),
    });
    Ok(Response::new(Full::new(Bytes::from(echo.to_string())).boxed()))
}
