//! gRPC through the gate, with a server and a client that share nothing with it (grpcio, over gRPC's own core): every
//! kind of call, the deadline and the cancellation that reach the server, and what a client makes of the gate's own
//! refusals. And applications that speak HTTP/2 before the real binary: checked, and left when they go.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::harness::gate::Gate;

fn peer() -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/grpc_peer.py"));
    python
}

/// A gRPC server in a process of its own, gone when dropped.
struct Server {
    child: Child,
    port: String,
    said: mpsc::UnboundedReceiver<String>,
}

impl Server {
    fn start() -> Self {
        let mut child = peer().arg("serve").stdout(Stdio::piped()).spawn().expect("python3 with grpcio");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("it says its port").expect("text");
        let (say, said) = mpsc::unbounded_channel();
        std::thread::spawn(move || lines.map_while(Result::ok).all(|line| say.send(line).is_ok()));
        Self { child, port, said }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every kind of call through a gate.
async fn call(port: u16, ca: PathBuf) -> Value {
    let calling = tokio::task::spawn_blocking(move || {
        peer().args(["call", &port.to_string()]).arg(ca).output().expect("python3 with grpcio")
    });
    let output = calling.await.expect("it does not panic");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn gate_before(port: &str) -> Gate {
    let route = |path: &str, upstream: &str, more: &str| {
        format!("[[routes]]\npath = \"{path}\"\nupstream = \"{upstream}\"\n{more}\n")
    };
    let open = "auth = \"none\"";
    // Nobody listens on port 1.
    Gate::start_from_file(&format!(
        "[listen]\nworkers = 1\n[upstreams.app]\nprotocol = \"h2c\"\nservers = [\"127.0.0.1:{port}\"]\n\
         [upstreams.gone]\nprotocol = \"h2c\"\nservers = [\"127.0.0.1:1\"]\n\
         [upstreams.drained]\nprotocol = \"h2c\"\nservers = [\"127.0.0.1:2\"]\n{}{}{}{}{}",
        route("/t.Echo", "app", open),
        route("/t.Private", "app", ""),
        route("/t.Small", "app", "auth = \"none\"\nbody_bytes = 10"),
        route("/t.Gone", "gone", open),
        route("/t.Drained", "drained", open),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_grpc_call_passes_and_refusals_have_their_codes() {
    let mut server = Server::start();
    let gate = gate_before(&server.port);
    gate.cli_json(&["upstream", "drain", "drained", "127.0.0.1:2"]);
    let told = call(gate.port("https").port(), gate.file("tls/ca.pem")).await;

    let unary = &told["unary"];
    assert_eq!((&unary["message"], &unary["x-meta"]), (&json!("hello"), &json!("7")));
    assert_eq!(unary["x-meta-bin"], "b'\\x01\\xfe'");
    assert!(unary.get("x-auth-subject").is_none(), "{unary}");
    let remaining = unary["remaining"].as_f64().expect("a deadline");
    assert!(remaining > 0.0 && remaining <= 20.0, "{remaining}");
    assert_eq!(told["head"], "1");
    assert_eq!(
        (&told["trail"]["x-trail"], &told["trail"]["x-trail-bin"]),
        (&json!("2"), &json!("b'\\x00\\xff'"))
    );

    let many: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    assert_eq!(told["many"], json!(many));
    assert_eq!((&told["collect"], &told["large"]), (&json!("a,b,c"), &json!(3_000_000)));
    assert_eq!(told["both"], json!(["one!", "two!", "three!"]));

    // An answer that is nothing but trailers, one that ends in an error, and a method that is not there.
    assert_eq!(told["fail"], json!({"code": "NOT_FOUND", "details": "no such thing: ä"}));
    assert_eq!(told["late"], json!({"code": "DATA_LOSS", "details": "after the first"}));
    assert_eq!(told["none"]["code"], "UNIMPLEMENTED");

    // The deadline passed, and then the client cancelled: the server heard of both.
    assert_eq!(
        (&told["deadline"]["code"], &told["cancel"]["code"]),
        (&json!("DEADLINE_EXCEEDED"), &json!("CANCELLED"))
    );
    for said in ["hangs", "ended", "hangs", "ended"] {
        assert_eq!(server.said.recv().await.expect("it runs"), said);
    }

    // 401, 413, 502, 503, 404.
    let codes = ["private", "small", "gone", "drained", "nowhere"].map(|name| &told[name]["code"]);
    assert_eq!(codes, ["UNAUTHENTICATED", "UNKNOWN", "UNAVAILABLE", "UNAVAILABLE", "UNIMPLEMENTED"]);
}

/// An application in HTTP/2 that says what it is asked, and is well or not.
async fn checked() -> (u16, mpsc::UnboundedReceiver<String>, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = mpsc::unbounded_channel();
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tell, is_well) = (tell.clone(), Arc::clone(&is_well));
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let up = request.uri().path() != "/up" || is_well.load(Ordering::SeqCst);
                    let _ = tell.send(request.uri().to_string());
                    let answer =
                        Response::builder().status(if up { 200 } else { 500 }).body(()).expect("a head");
                    let Ok(mut stream) = respond.send_response(answer, false) else { continue };
                    let _ = stream.send_data(Bytes::from_static(b"ok"), false);
                    let trailers =
                        HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"1\""))]);
                    let _ = stream.send_trailers(trailers);
                }
            });
        }
    });
    (port, told, well)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_http2_is_checked_in_http2() {
    let (port, mut told, well) = checked().await;
    let gate = Gate::start_from_file(&format!(
        "[listen]\nworkers = 1\n[upstreams.app]\nprotocol = \"h2c\"\nservers = [\"127.0.0.1:{port}\"]\n\
         health_path = \"/up?x\"\nhealth_host = \"app.internal\"\nhealth_interval = \"100ms\"\nhealth_down = 2\n\
         [[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n"
    ));
    assert_eq!(told.recv().await.expect("it runs"), "http://app.internal/up?x");
    assert_eq!(gate.client().get("/a").send().await.expect(200).text(), "ok");
    well.store(false, Ordering::SeqCst);
    gate.until_it_says("an application server is out of service: its checks fail");
    well.store(true, Ordering::SeqCst);
    gate.until_it_says("an application server is in service again");
}
