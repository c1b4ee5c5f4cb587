//! Applications behind TLS: who is spoken to is who was meant, in what was agreed on, or nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::harness::{Answer, Gate, echo, request, route};
use super::upstreams::scripted;
use crate::config::route::{Route, RouteAuth};
use crate::config::tls::CertificateFiles;
use crate::config::upstream::{Server, Tls};

/// An application with a certificate of a CA of its own.
struct App {
    server: Server,
    ca: PathBuf,
    /// A certificate of that CA for whoever asks, and its key.
    identity: CertificateFiles,
    _dir: TempDir,
    /// The name that each client asked for, once it has one.
    names: mpsc::UnboundedReceiver<Option<String>>,
}

/// One whose certificate has these names, and that offers these protocols.
async fn app(names: &[&str], alpn: &'static [&'static str]) -> App {
    asking(names, alpn, false).await
}

/// One that perhaps takes nobody without a certificate.
async fn asking(names: &[&str], alpn: &'static [&'static str], mutual: bool) -> App {
    let dir = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let gate = CertificateParams::new(vec!["gate".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let identity =
        CertificateFiles { certificate: dir.path().join("gate.pem"), key: dir.path().join("gate-key.pem") };
    std::fs::write(&identity.certificate, gate.pem()).unwrap();
    std::fs::write(&identity.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&identity.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let verifier = if mutual { verifier } else { verifier.allow_unauthenticated() }.build().unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, names) = mpsc::unbounded_channel();
    let server = scripted(move |stream, _| {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let _ = tell.send(stream.get_ref().1.server_name().map(str::to_owned));
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            if http2 {
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = serving.serve_connection(io, service_fn(echo)).await;
            } else {
                let serving = hyper::server::conn::http1::Builder::new();
                let _ = serving.serve_connection(io, service_fn(echo)).await;
            }
        }
    })
    .await;
    App { server, ca, identity, _dir: dir, names }
}

async fn ask(app: &App, http2: bool, tls: Tls) -> Answer {
    let gate = Gate::with(vec![route("/", RouteAuth::None)], vec![app.server.clone()], |parts| {
        let group = parts.settings.upstreams.get_mut("app").unwrap();
        (group.http2, group.tls) = (http2, Some(tls));
    });
    let mut client = gate.client().await;
    client.send(request("GET", "/before", &[], "")).await;
    client.send(request("POST", "/x", &[], "hello")).await
}

fn trusting(app: &App, name: Option<&str>) -> Tls {
    Tls { ca: Some(app.ca.clone()), server_name: name.map(str::to_owned), identity: None }
}

#[tokio::test]
async fn an_upload_that_outgrows_the_sockets_arrives_whole() {
    let app = app(&["app.internal"], &[]).await;
    let open = Route { body_bytes: Some(16 << 20), ..route("/", RouteAuth::None) };
    let gate = Gate::with(vec![open], vec![app.server.clone()], |parts| {
        parts.settings.upstreams.get_mut("app").unwrap().tls = Some(trusting(&app, Some("app.internal")));
    });
    let body = "x".repeat(12 << 20);
    let answer = gate.client().await.send(request("POST", "/x", &[], &body)).await;
    assert_eq!((answer.status.as_u16(), answer.json()["body_bytes"].as_u64()), (200, Some(12 << 20)));
}

#[tokio::test]
async fn a_server_that_proves_who_it_is_is_spoken_to_in_what_was_said() {
    for (http2, alpn) in [(false, &[][..]), (false, &["h2", "http/1.1"]), (true, &["h2", "http/1.1"])] {
        let mut app = app(&["app.internal"], alpn).await;
        let got = ask(&app, http2, trusting(&app, Some("app.internal"))).await;
        assert_eq!((got.status.as_u16(), got.json()["body_bytes"].as_u64()), (200, Some(5)));
        assert_eq!(got.json()["headers"].get("host").is_some(), !http2);
        assert_eq!(app.names.recv().await.unwrap().as_deref(), Some("app.internal"));
        assert!(app.names.try_recv().is_err(), "the second request came over the first's connection");
    }
    let by_address = app(&["127.0.0.1"], &["h2"]).await;
    assert_eq!(ask(&by_address, true, trusting(&by_address, None)).await.status, 200);
}

#[tokio::test]
async fn nobody_else_is_spoken_to() {
    let refused = |got: Answer| {
        assert_eq!((got.status.as_u16(), got.problem().as_str()), (502, "upstream-unreachable"))
    };
    for http2 in [false, true] {
        let other = app(&["other.internal"], &["h2", "http/1.1"]).await;
        refused(ask(&other, http2, trusting(&other, Some("app.internal"))).await);
        refused(ask(&other, http2, trusting(&other, None)).await);
        // Only the public CAs.
        refused(ask(&other, http2, Tls { ca: None, ..trusting(&other, Some("other.internal")) }).await);
    }
    // It proves who it is, and speaks something else.
    let http1 = app(&["app.internal"], &[]).await;
    refused(ask(&http1, true, trusting(&http1, Some("app.internal"))).await);
    let http2 = app(&["app.internal"], &["h2"]).await;
    refused(ask(&http2, false, trusting(&http2, Some("app.internal"))).await);
}

#[tokio::test]
async fn the_gate_shows_who_it_is_to_servers_that_ask() {
    for http2 in [false, true] {
        let app = asking(&["app.internal"], &["h2", "http/1.1"], true).await;
        let tls = trusting(&app, Some("app.internal"));
        assert_eq!(ask(&app, http2, tls.clone()).await.status, 502);
        let tls = Tls { identity: Some(app.identity.clone()), ..tls };
        assert_eq!(ask(&app, http2, tls).await.status, 200);
    }
}

#[tokio::test]
async fn who_may_vouch_for_servers_is_read_before_a_plan_is_taken() {
    let app = app(&["app.internal"], &[]).await;
    let empty = app.ca.with_file_name("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (ca, words) in [(app.ca.with_file_name("none.pem"), "none.pem"), (empty, "no certificate")] {
        let tls = Tls { ca: Some(ca), ..Tls::default() };
        let why = crate::edge::upstream::way::Secure::of(&tls, false).unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}
