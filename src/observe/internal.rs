//! The internal listener: `/metrics`, `/health` and `/ready` in plain HTTP/1.1, for the machine's own
//! collectors and probes. It has no authentication and therefore no secrets, takes no input but the
//! path, and is bounded in connections and time. It is apart from the edge so that it still answers
//! when the edge is full.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::exposition;
use super::health::{Health, Report};

/// Connections at once; more wait in the listen queue.
const CONNECTIONS: usize = 64;
/// For a request head to arrive; also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// For a connection in all. Collectors reconnect.
const LIFE: Duration = Duration::from_secs(600);
/// For the last answers at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// Writes all metrics as OpenMetrics text.
pub type Encode = Arc<dyn Fn() -> String + Send + Sync>;

/// Answers on `listener` until `shutdown` resolves, then finishes what is being answered.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    encode: Encode,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut shutdown => break,
            (place, accepted) = next => match (place, accepted) {
                (Ok(place), Ok((stream, _))) => (place, stream),
                (_, Err(error)) => {
                    // Out of descriptors, or the peer is gone already: neither ends the listener.
                    tracing::warn!(%error, "the internal listener could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                (Err(_), _) => break,
            },
        };
        let (health, encode, stopped) = (health.clone(), Arc::clone(&encode), stopped.clone());
        tokio::spawn(async move {
            connection(stream, health, encode, stopped).await;
            drop(place);
        });
    }
    drop(listener);
    drop(stop);
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN, places.acquire_many(all)).await;
}

async fn connection(stream: TcpStream, health: Health, encode: Encode, mut stopped: watch::Receiver<()>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &health, &encode);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client's broken connection is its own affair; there is nothing to report.
    tokio::select! {
        _ = &mut connection => {}
        () = tokio::time::sleep(LIFE) => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn answer<B>(request: &Request<B>, health: &Health, encode: &Encode) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
            match exposition::wants_open_metrics(accept.unwrap_or_default()) {
                true => respond(StatusCode::OK, exposition::OPEN_METRICS, encode()),
                false => respond(StatusCode::OK, exposition::PLAIN, exposition::plain(&encode())),
            }
        }
        "/health" => report(&health.alive()),
        "/ready" => report(&health.ready()),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /health and /ready\n"),
    }
}

fn report(report: &Report) -> Response<Full<Bytes>> {
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A report is text and lists: it cannot fail to be JSON.
    let body = serde_json::to_string(report).unwrap_or_default();
    respond(status, "application/json", body)
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    struct Running {
        address: std::net::SocketAddr,
        health: Health,
        stop: oneshot::Sender<()>,
        done: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::new();
        let (stop, stopped) = oneshot::channel();
        let encode: Encode = Arc::new(|| "up 1\n# EOF\n".to_owned());
        let done = tokio::spawn(serve(listener, health.clone(), encode, async {
            let _ = stopped.await;
        }));
        Running { address, health, stop, done }
    }

    async fn ask(address: std::net::SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_metrics_health_and_readiness_and_nothing_else() {
        let running = start().await;
        let metrics = ask(running.address, "GET /metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("up 1\n"), "{metrics}");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
        running.health.register("journal", || Err("disk full".into()));
        assert!(ask(running.address, "GET /health").await.starts_with("HTTP/1.1 200"));
        let ready = ask(running.address, "GET /ready").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("disk full"), "{ready}");
        assert!(ask(running.address, "GET /debug").await.starts_with("HTTP/1.1 404"));
        assert!(ask(running.address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn it_stops_when_told_although_a_connection_is_idle() {
        let running = start().await;
        let _idle = TcpStream::connect(running.address).await.unwrap();
        ask(running.address, "GET /health").await;
        running.stop.send(()).unwrap();
        running.done.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }
}
