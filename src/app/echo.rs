//! The echo upstream of `serve --dev`: an application that answers with the request as it saw it,
//! so that the whole path can be tried without writing one. A real HTTP server on a socket in the data
//! folder; the edge reaches it as it would any other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixListener;

/// What the upstream saw.
#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    /// Path and query.
    path: &'a str,
    /// Lower-case names; values in order, undecodable bytes replaced.
    headers: BTreeMap<&'a str, Vec<String>>,
    body_bytes: u64,
}

/// Starts the upstream on the current runtime, in place of one that a dead process left at `socket`.
/// It lives as long as the runtime.
pub fn start(socket: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
                    tokio::spawn(served);
                }
                // Out of descriptors, or the peer was gone already: the next accept may do better.
                Err(error) => {
                    tracing::warn!(%error, "the echo upstream could not accept");
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0_u64;
    while let Some(Ok(frame)) = body.frame().await {
        body_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    let echo = Echo {
        method: head.method.as_str(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()),
        headers: listed(&head.headers),
        body_bytes,
    };
    let text = serde_json::to_vec(&echo).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn listed(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        all.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    all
}
