//! A small HTTPS client: one connection a request, so that nothing is shared between requests and a
//! killed server shows at once; or a kept-alive [`Link`] where that is the point. It trusts the
//! gate's local CA and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request got no answer: the server was gone, went away, or let nobody in.
#[derive(Debug)]
pub struct NoAnswer(#[expect(dead_code, reason = "a failing test prints it")] String);

impl<E: Into<BoxError>> From<E> for NoAnswer {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, NoAnswer> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self { status: head.status, headers: head.headers, body })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: not JSON ({error}): {:?}", self.status, self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
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
        kind.strip_prefix("urn:keepgate:problem:").expect("our own type").to_owned()
    }
}

/// Speaks to one gate as `https://localhost`.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    source: Option<IpAddr>,
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
        Self { address, source: None, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// The same client at another address of this machine.
    pub fn from(mut self, source: &str) -> Self {
        self.source = Some(source.parse().expect("an address"));
        self
    }

    /// Opens a connection and leaves what is said on it to the test.
    pub async fn stream(&self) -> Result<TlsStream<TcpStream>, NoAnswer> {
        let stream = connect(self.address, self.source).await?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    /// A GET over a connection of the test's own, after bytes that come before TLS.
    pub async fn over(&self, mut stream: TcpStream, before: &[u8], path: &str) -> Result<Answer, NoAnswer> {
        stream.write_all(before).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut link = Link { sender, driver: tokio::spawn(connection) };
        link.send(self.get(path)).await
    }

    /// Opens a connection that is kept.
    pub async fn open(&self) -> Result<Link, NoAnswer> {
        let stream = self.stream().await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        Ok(Link { sender, driver: tokio::spawn(connection) })
    }

    /// As [`Self::stream`], for frames of HTTP/2.
    pub async fn stream_http2(&self) -> Result<TlsStream<TcpStream>, NoAnswer> {
        let mut config = rustls::ClientConfig::clone(self.tls.config());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(self.address, self.source).await?;
        let tls = TlsConnector::from(Arc::new(config));
        let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        Ok(stream)
    }

    /// Opens a connection that speaks HTTP/2, for many requests at once.
    pub async fn open_http2(&self) -> Result<Streams, NoAnswer> {
        let stream = self.stream_http2().await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Streams { sender, authority: format!("localhost:{}", self.address.port()) })
    }

    /// A request under way; `localhost` is its Host.
    pub fn request(&self, method: &str, path: &str) -> Ask<'_> {
        let host = format!("localhost:{}", self.address.port());
        let builder = Request::builder().method(method).uri(path).header("host", host);
        Ask { client: self, builder, body: Bytes::new() }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str, body: Value) -> Ask<'_> {
        self.request("POST", path).json(body)
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// A GET in plain HTTP: the internal listener, or the one that redirects.
pub async fn plain(address: SocketAddr, path: &str) -> Result<Answer, NoAnswer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", format!("localhost:{}", address.port()));
    let request = request.body(Full::<Bytes>::default()).expect("a well-formed request");
    Answer::read(sender.send_request(request).await?).await
}

/// A kept connection.
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Link {
    /// Sends a request and gives its answer as soon as its head is there.
    pub async fn begin(&mut self, ask: Ask<'_>) -> Result<Response<Incoming>, NoAnswer> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(ask.build()).await?)
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&mut self, ask: Ask<'_>) -> Result<Answer, NoAnswer> {
        Answer::read(self.begin(ask).await?).await
    }

    /// Waits until the other side has closed.
    pub async fn closed(self) {
        let Self { sender, driver } = self;
        let _ = driver.await.expect("the driver does not panic");
        drop(sender);
    }
}

/// A kept HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Streams {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Streams {
    /// A GET with a token on a stream of its own.
    pub async fn get(&mut self, path: &str, token: &str) -> Result<Answer, NoAnswer> {
        self.sender.ready().await?;
        let request = Request::get(format!("https://{}{path}", self.authority))
            .header("authorization", format!("Bearer {token}"))
            .header("x-auth-subject", "root")
            .body(Full::default())
            .expect("a well-formed request");
        Answer::read(self.sender.send_request(request).await?).await
    }
}

impl Streams {
    /// As [`Self::get`]; `None` if the other side takes no more requests and has not taken this one.
    pub async fn get_unless_closing(&mut self, path: &str, token: &str) -> Option<Result<Answer, NoAnswer>> {
        self.sender.ready().await.ok()?;
        let request = Request::get(format!("https://{}{path}", self.authority))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .expect("a well-formed request");
        match self.sender.try_send_request(request).await {
            Ok(response) => Some(Answer::read(response).await),
            Err(mut refused) => {
                let sent = refused.take_message().is_none();
                let error = refused.into_error();
                // A GOAWAY says by its last stream which requests were not taken (RFC 9113 §6.8): those alone
                // fail by it, and hyper does not give them back.
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let taken = sent && !why.contains("not a result of an error");
                taken.then(|| Err(NoAnswer(format!("{error}: {why}"))))
            }
        }
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
    pub fn json(self, body: Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    fn build(self) -> Request<Full<Bytes>> {
        self.builder.body(Full::new(self.body)).expect("a well-formed request")
    }

    /// Sends it; the test fails if there is no answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the gate answers")
    }

    /// Sends it to a gate that may be gone.
    pub async fn try_send(self) -> Result<Answer, NoAnswer> {
        let mut link = self.client.open().await?;
        let answer = link.send(self).await;
        link.driver.abort();
        answer
    }
}
