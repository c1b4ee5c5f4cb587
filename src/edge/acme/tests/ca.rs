//! A CA of a few lines: it says what it is told to say, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Status, `Retry-After` (or empty), and the last word of the problem's type (or empty for `{}`).
type Says = (u16, &'static str, &'static str);

pub struct Ca {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    asked: watch::Sender<Vec<String>>,
    says: Mutex<BTreeMap<&'static str, Says>>,
    /// Accounts are made only with one of these.
    accounts: Semaphore,
}

impl Ca {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            asked: watch::Sender::default(),
            says: Mutex::default(),
            accounts: Semaphore::new(99),
        });
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&shared)));
        Self { folder, shared }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.shared.address)
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What it says there from now on; with no status it breaks off.
    pub fn says(&self, path: &'static str, says: Says) {
        self.shared.says.lock().insert(path, says);
    }

    /// How often it was asked there.
    pub fn count(&self, path: &str) -> usize {
        self.shared.asked.borrow().iter().filter(|asked| *asked == path).count()
    }

    /// Resolves once it was asked there.
    pub async fn asked(&self, path: &str) {
        let mut asked = self.shared.asked.subscribe();
        asked.wait_for(|asked| asked.iter().any(|asked| asked == path)).await.unwrap();
    }

    /// Makes accounts only when told to.
    pub fn hesitate(&self) {
        self.shared.accounts.forget_permits(99);
    }

    pub fn go_on(&self) {
        self.shared.accounts.add_permits(99);
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| answer(&shared, request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let base = format!("https://{}", shared.address);
    shared.asked.send_modify(|asked| asked.push(path.clone()));
    let told = shared.says.lock().get(path.as_str()).copied();
    let builder = Response::builder().header("replay-nonce", "bm9uY2U");
    let (builder, body) = match (path.as_str(), told) {
        (_, Some((0, ..))) => return Err(io::ErrorKind::ConnectionReset.into()),
        (_, Some((status, retry_after, problem))) => {
            let builder = builder.status(status);
            let kind = format!("urn:ietf:params:acme:error:{problem}");
            let body =
                if problem.is_empty() { json!({}) } else { json!({ "type": kind, "detail": "told so" }) };
            (if retry_after.is_empty() { builder } else { builder.header("retry-after", retry_after) }, body)
        }
        ("/dir", _) => {
            let named = ["nonce", "account", "order", "revoke", "info"].map(|path| format!("{base}/{path}"));
            let [nonce, account, order, revoke, info] = named;
            let directory = json!({
                "newNonce": nonce, "newAccount": account, "newOrder": order, "revokeCert": revoke,
                "renewalInfo": info,
            });
            (builder, directory)
        }
        ("/account", _) => {
            shared.accounts.acquire().await.unwrap().forget();
            let made = builder.status(201).header("location", format!("{base}/account/1"));
            (made, json!({ "status": "valid" }))
        }
        ("/nonce", _) => (builder, json!({})),
        _ => (builder.status(404), json!({ "type": "urn:ietf:params:acme:error:malformed" })),
    };
    let body = if request.method() == Method::HEAD { String::new() } else { body.to_string() };
    Ok(builder.body(Full::from(body)).unwrap())
}
