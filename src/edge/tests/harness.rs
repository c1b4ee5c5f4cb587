//! A gate with its surroundings: local CA, an application that echoes, a verifier with an HS256 key,
//! and clients that speak HTTP/1.1, HTTP/2 or raw bytes over TLS.

mod api;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keepgate_guard::claims::Claims;
use keepgate_guard::keys::KeySet;
use keepgate_guard::revocation::{Revocation, Subject};
use keepgate_guard::verifier::{Expectations, Verifier};
use keepgate_guard::view::RevocationView;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use crate::config::limits::Limits;
use crate::config::listen::Listen;
use crate::config::rates::Rates;
use crate::config::route::{Route, RouteAuth, RouteTarget};
use crate::config::tls::Tls;
use crate::config::upstream::{Server, Upstream};
use crate::edge::decisions::tests::Recorded;
use crate::edge::guard::blacklist::Blacklist;
use crate::edge::plan::Settings;
use crate::edge::rates::limiter::Ticks;
use crate::edge::start::{Edge, Parts, Running};
use crate::edge::tls::Terminator;
use crate::model::ban::Ban;
use crate::model::random::{SharedRng, SystemRng};
use crate::model::time::{Clock, SharedClock, SystemClock, Timestamp};
use crate::observe::metrics::Metrics;

const SECRET: &[u8] = b"a secret of the tests, 32 bytes long at least";

/// A route to the group `app`.
pub fn route(path: &str, auth: RouteAuth) -> Route {
    Route {
        host: None,
        path: path.to_owned(),
        methods: Vec::new(),
        target: RouteTarget::Upstream("app".to_owned()),
        auth,
        roles: Vec::new(),
        scopes: Vec::new(),
        body_bytes: None,
        upgrade: Route::usual_upgrades(),
        rate: None,
        canary: None,
        content: crate::config::content::Content::default(),
        shape: crate::config::route::Shape::default(),
    }
}

/// A running gate.
pub struct Gate {
    pub running: Running,
    pub audit: Arc<Recorded>,
    pub metrics: Arc<Metrics>,
    pub blacklist: Arc<Blacklist>,
    pub view: Arc<RevocationView>,
    pub terminator: Terminator,
    roots: Arc<rustls::RootCertStore>,
    _dir: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The last word of the problem's type.
    pub fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }

    /// The values of a header as the echoing application saw them.
    pub fn echoed(&self, name: &str) -> Vec<String> {
        let values = self.json()["headers"][name].clone();
        serde_json::from_value(values).unwrap_or_default()
    }
}

impl Gate {
    /// A gate with these routes before these servers.
    pub fn start(routes: Vec<Route>, servers: Vec<Server>) -> Self {
        Self::with(routes, servers, |_| {})
    }

    /// As [`Self::start`], with something else changed.
    pub fn with(routes: Vec<Route>, servers: Vec<Server>, change: impl FnOnce(&mut Parts)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, rng): (SharedClock, SharedRng) = (Arc::new(SystemClock), Arc::new(SystemRng));
        let terminator =
            Terminator::open(&Tls::default(), dir.path(), Arc::clone(&clock), Arc::clone(&rng)).unwrap();
        let ca = CertificateDer::from_pem_file(dir.path().join("tls/ca.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let view = Arc::new(RevocationView::default());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (audit, metrics) =
            (Arc::new(Recorded::default()), Arc::new(Metrics::new(crate::model::time::Timestamp::default())));
        let blacklist = Arc::new(Blacklist::new());
        let mut parts = Parts {
            listen: Listen {
                https: vec![any],
                http: vec![any],
                internal: None,
                workers: 1,
                ..Listen::default()
            },
            given: crate::edge::start::Given::default(),
            begins: tokio::sync::watch::channel(true).1,
            settings: Settings {
                limits: Limits::default(),
                rates: Rates::default(),
                cors: crate::config::cors::Cors::default(),
                forwarding: crate::config::forwarding::Forwarding::default(),
                trusted_proxies: Vec::new(),
                request_headers: crate::config::headers::HeaderRules::default(),
                response_headers: crate::config::headers::HeaderRules::default(),
                filters: Vec::new(),
                bans: crate::config::filter::Bans::default(),
                terminator: terminator.clone(),
                hsts: Duration::from_secs(60),
                routes,
                error_pages: Vec::new(),
                upstreams: BTreeMap::from([("app".to_owned(), Upstream::of(servers))]),
            },
            ticks: Ticks::monotonic(),
            verifier: Arc::new(verifier(&view)),
            api: api::api(),
            audit: Arc::clone(&audit) as Arc<_>,
            blacklist: Arc::clone(&blacklist),
            metrics: Arc::clone(&metrics),
            clock,
            rng,
        };
        change(&mut parts);
        let running = Edge::start(parts).unwrap();
        Self { running, audit, metrics, blacklist, view, terminator, roots: Arc::new(roots), _dir: dir }
    }

    pub fn https(&self) -> SocketAddr {
        self.running.https_addresses()[0]
    }

    pub fn http(&self) -> SocketAddr {
        self.running.http_addresses()[0]
    }

    /// A TLS connection, after its handshake.
    pub async fn tls(&self, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.https()).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// An HTTP/1.1 client on one connection.
    pub async fn client(&self) -> Client {
        let io = TokioIo::new(self.tls(b"http/1.1").await.unwrap());
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Client(sender)
    }

    /// An HTTP/2 client on one connection.
    pub async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.tls(b"h2").await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.client().await.send(request("GET", path, headers, "")).await
    }

    /// Raw bytes over TLS, and everything that comes back until the gate closes.
    pub async fn raw(&self, bytes: &str) -> String {
        let mut stream = self.tls(b"http/1.1").await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await
    }

    /// Bans a network from now on.
    pub fn ban(&self, network: &str) {
        self.blacklist.insert(&Ban {
            network: network.parse().unwrap(),
            reason: String::new(),
            author: String::new(),
            created_at: Timestamp::default(),
            expires_at: None,
        });
    }

    /// Revokes the tokens of [`token`]'s session.
    pub fn revoke_session(&self) {
        revoke_session(&self.view);
    }
}

/// A verifier of the tests' tokens.
pub fn verifier(view: &Arc<RevocationView>) -> Verifier {
    let mut keys = KeySet::default();
    keys.add_hs256("k", SECRET).unwrap();
    let expectations =
        Expectations { issuer: "i".into(), audience: "a".into(), leeway: 0, cache_entries: 16 };
    Verifier::new(expectations, keys, Arc::clone(view))
}

/// Revokes the tokens of [`token`]'s session.
pub fn revoke_session(view: &RevocationView) {
    view.apply(&Revocation {
        seq: 9,
        subject: Subject::Session(Uuid::from_u128(2)),
        cause: "logout".into(),
        at: 0,
        expires_at: i64::MAX,
    });
}

/// Everything until the other side closes, however it does.
pub async fn read_to_close(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// An HTTP/1.1 client on one connection.
pub struct Client(pub hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Client {
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request).await.unwrap();
        answer(response).await
    }
}

/// Reads a response to its end.
pub async fn answer(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// A request with a `Host`.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if !path.starts_with("https:") {
        request = request.header(HOST, "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(Bytes::from(body.to_owned()))).unwrap()
}

/// The value of `Authorization` with a good token.
pub fn token(roles: &[&str], scope: &str) -> String {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    sign(Claims { roles, scope: scope.to_owned(), ..claims() })
}

/// The same for another account and session.
pub fn token_of(account: u128, session: u128) -> String {
    let jti = Uuid::from_u128(account << 64 | session);
    sign(Claims { sub: Uuid::from_u128(account), sid: Uuid::from_u128(session), jti, ..claims() })
}

/// One that has expired.
pub fn expired() -> String {
    sign(Claims { exp: SystemClock.now().as_secs() - 1, ..claims() })
}

fn claims() -> Claims {
    let now = SystemClock.now().as_secs();
    Claims {
        iss: "i".into(),
        aud: "a".into(),
        sub: Uuid::from_u128(1),
        sid: Uuid::from_u128(2),
        jti: Uuid::from_u128(3),
        client_id: String::new(),
        seq: 1,
        iat: now - 1,
        exp: now + 600,
        auth_time: now - 1,
        amr: vec![],
        roles: vec![],
        scope: String::new(),
    }
}

fn sign(claims: Claims) -> String {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.typ = Some("at+jwt".into());
    header.kid = Some("k".into());
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key).unwrap())
}

/// An application that tells what it saw, and how many connections it took.
pub struct Echo {
    pub server: Server,
    pub connections: Arc<AtomicUsize>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::Tcp(listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(echo));
                tokio::spawn(serving);
            }
        });
        Self { server, connections }
    }

    pub fn servers(&self) -> Vec<Server> {
        vec![self.server.clone()]
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Answers with the request as the application saw it.
pub async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &parts.headers {
        headers.entry(name.as_str()).or_default().push(value.to_str().unwrap().to_owned());
    }
    let size = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let told = json!({
        "method": parts.method.as_str(), "target": parts.uri.to_string(),
        "headers": headers, "body_bytes": size,
    });
    let response = Response::builder().header("keep-alive", "timeout=5").header("x-app", "1");
    Ok(response.body(Full::from(told.to_string())).unwrap())
}
