//! A small HTTPS client: one connection a request, so that nothing is shared between requests and a
//! killed server shows at once. It trusts the gate's local CA and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why a request got no answer: the server was gone, or went away.
#[derive(Debug)]
pub struct NoAnswer(pub String);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: not JSON ({error}): {:?}", self.status, self.body))
    }

    /// Fails the test unless the status is as expected.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?} {:?}", self.headers, self.body);
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a text header"))
    }

    /// The `type` of a problem document, without its prefix.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{:?}", self.body);
        let kind = self.json()["type"].as_str().expect("a problem has a type").to_owned();
        kind.rsplit(':').next().expect("a last part").to_owned()
    }
}

/// Speaks to one gate as `https://localhost`.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Client {
    /// A client of the gate at `address` whose CA is in `ca`.
    pub fn new(address: SocketAddr, ca: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(ca).expect("the gate wrote its CA");
        roots.add(pem).expect("the CA is a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        self.exchange(request).await.map_err(|error| NoAnswer(error.to_string()))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        driver.abort();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A request under way; `localhost` is its Host.
    pub fn request(&self, method: &str, path: &str) -> Ask<'_> {
        let builder = Request::builder().method(method).uri(path).header("host", self.host());
        Ask { client: self, builder, body: Bytes::new() }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str, body: Value) -> Ask<'_> {
        self.request("POST", path).json(body)
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }
}

/// A request being put together.
#[must_use]
pub struct Ask<'a> {
    client: &'a Client,
    builder: http::request::Builder,
    body: Bytes,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better at the call: json(json!({…}))")]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self.header("content-type", "application/json")
    }

    /// Sends it; the test fails if there is no answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the gate answers")
    }

    /// Sends it to a gate that may be gone.
    pub async fn try_send(self) -> Result<Answer, NoAnswer> {
        let request = self.builder.body(Full::new(self.body)).expect("a well-formed request");
        self.client.send(request).await
    }
}
