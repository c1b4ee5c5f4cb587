//! Bodies larger than memory should ever be: they stream both ways, over both versions of HTTP, and what the gate
//! takes at its highest does not follow their size. `KEEPGATE_BODY_MIB` says how large (`make bodies`: 5 GB).

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::harness::gate::Gate;

const PIECE: usize = 64 * 1024;
/// A body of any size may cost no more than this at the gate's highest: buffers, and what an allocator keeps.
const SLACK_KIB: u64 = 24 * 1024;

type Body = BoxBody<Bytes, Infallible>;

/// So many MiB of nothing, piece by piece.
fn zeros(mib: usize) -> Body {
    let piece = Bytes::from_static(&[0; PIECE]);
    let pieces = (0..mib * 1024 * 1024 / PIECE).map(move |_| Ok(Frame::data(piece.clone())));
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

/// Reads a body and forgets it.
async fn count(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("unbroken");
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    bytes
}

/// An application that says how much it was sent, and sends as much as it is asked for.
async fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                let asked = request.uri().path().strip_prefix("/send/").and_then(|mib| mib.parse().ok());
                let body = match asked {
                    Some(mib) => zeros(mib),
                    None => {
                        let text = count(request.into_body()).await.to_string();
                        BodyExt::boxed(http_body_util::Full::from(text))
                    }
                };
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Both ways over both versions, one after the other.
async fn both_ways(gate: &Gate, mib: usize) {
    let client = gate.client();
    let authority = format!("localhost:{}", gate.port("https").port());
    let bytes = mib as u64 * 1024 * 1024;
    let upload = |uri: String| {
        let request = Request::post(uri).header("host", &authority).header("content-length", bytes);
        request.body(zeros(mib)).expect("a request")
    };
    let download = |uri: String| {
        Request::get(uri).header("host", &authority).body(BodyExt::boxed(Empty::new())).expect("a request")
    };
    let io = TokioIo::new(client.stream().await.expect("the gate accepts"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let answer = sender.send_request(upload("/take".to_owned())).await.expect("answered");
    assert_eq!(answer.into_body().collect().await.expect("whole").to_bytes(), bytes.to_string());
    sender.ready().await.expect("kept");
    let answer = sender.send_request(download(format!("/send/{mib}"))).await.expect("answered");
    assert_eq!(count(answer.into_body()).await, bytes);

    let io = TokioIo::new(client.stream_http2().await.expect("the gate accepts"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let answer = sender.send_request(upload(format!("https://{authority}/take"))).await.expect("answered");
    assert_eq!(answer.into_body().collect().await.expect("whole").to_bytes(), bytes.to_string());
    let answer =
        sender.send_request(download(format!("https://{authority}/send/{mib}"))).await.expect("answered");
    assert_eq!(count(answer.into_body()).await, bytes);
}

/// The most that the gate ever had resident, KiB.
fn highest(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_bodies_pass_both_ways_and_the_gates_memory_does_not_follow_them() {
    let mib = std::env::var("KEEPGATE_BODY_MIB").map_or(200, |mib| mib.parse().expect("a number"));
    let address = application().await;
    let gate = Gate::start_from_file(&format!(
        "[upstreams.app]\nservers = [\"{address}\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n\
         body_bytes = \"8GiB\"\n"
    ));
    both_ways(&gate, 8).await;
    let before = highest(&gate);
    both_ways(&gate, mib).await;
    let after = highest(&gate);
    eprintln!("{mib} MiB four times: {before} KiB at the highest before, {after} after");
    assert!(after <= before + SLACK_KIB, "{before} KiB before, {after} after {mib} MiB");
}
