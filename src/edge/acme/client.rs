//! Speaking HTTPS to a CA: one connection a request, names by our own resolver (a static binary has no
//! getaddrinfo), trusted roots by configuration, everything bounded. Neither redirects nor plain HTTP
//! are followed: what a directory names must be what answers.
//!
//! `instant_acme` hands on a CA's error without its `Retry-After`, so that is remembered here; and it adds
//! whatever stands there to the time, which panics for what no clock has, so it is given tame ones alone.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use http::header::{HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::edge::certificates::{TlsError, parse_chain, read};
use crate::model::time::{SharedClock, Timestamp};

/// For one request from the look-up of its name to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// For one address to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest answer, bytes. A chain is a few KiB.
const LONGEST: usize = 512 * 1024;
/// Longest that a CA's `Retry-After` is taken for: past what anything here waits for.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A client of one CA. Clones share what was remembered.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    clock: SharedClock,
    retry_after: Mutex<Option<Duration>>,
}

impl Client {
    /// A client that trusts the roots in this file, or the public ones.
    pub fn new(
        directory_ca: Option<&Path>,
        provider: Arc<CryptoProvider>,
        clock: SharedClock,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        match directory_ca {
            Some(path) => {
                for root in parse_chain(read(path)?.as_bytes(), path)? {
                    roots.add(root).map_err(|error| unusable(path, &error))?;
                }
                if roots.is_empty() {
                    return Err(unusable(path, &"no certificate in it"));
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self(Arc::new(Inner { tls, clock, retry_after: Mutex::new(None) })))
    }

    /// What the last refusal that said so wants us to wait; asked once.
    pub fn take_retry_after(&self) -> Option<Duration> {
        self.0.retry_after.lock().take()
    }
}

fn unusable(path: &Path, reason: &dyn ToString) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), reason: reason.to_string() }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let asked = timeout(PATIENCE, inner.ask(request)).await;
            asked.unwrap_or_else(|_| Err("it did not answer in time".into())).map_err(Error::Other)
        })
    }
}

impl Inner {
    async fn ask(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Failed> {
        let target = Target::of(request.uri())?;
        let name = target.server_name()?;
        *request.uri_mut() = target.path;
        request.headers_mut().insert(HOST, target.authority);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let stream = connect(&target.host, target.port).await?;
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = Driver(tokio::spawn(connection));
        let (mut parts, body) = sender.send_request(request).await?.into_parts();
        let wait = tame_retry_after(&mut parts.headers, self.clock.now());
        if !parts.status.is_success() {
            *self.retry_after.lock() = wait;
        }
        let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
        drop(driver);
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

const AGENT: &str = concat!("keepgate/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// The connection's task; it ends with the exchange, however that ends.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a request goes.
struct Target {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, Failed> {
        if uri.scheme_str() != Some("https") {
            return Err("it named an address that is not https".into());
        }
        let authority = uri.authority().ok_or("it named an address without a host")?;
        if authority.as_str().contains('@') {
            return Err("it named an address with a user".into());
        }
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        Ok(Self {
            host: bare.to_owned(),
            port: authority.port_u16().unwrap_or(443),
            authority: HeaderValue::try_from(authority.as_str())?,
            path,
        })
    }

    fn server_name(&self) -> Result<ServerName<'static>, Failed> {
        Ok(ServerName::try_from(self.host.clone())?)
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Failed> {
    let mut last: Failed = format!("{host} has no address").into();
    for address in addresses(host).await?.into_iter().take(MOST_ADDRESSES) {
        match timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = format!("{address} port {port}: {error}").into(),
            Err(_) => last = format!("{address} port {port} did not answer in time").into(),
        }
    }
    Err(last)
}

async fn addresses(host: &str) -> Result<Vec<IpAddr>, Failed> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Read anew for each name: a resolver that changed must not need a restart, and orders are rare.
    let resolver = TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    let found = resolver.build()?.lookup_ip(host).await;
    let found = found.map_err(|error| format!("the name {host} leads to no address: {error}"))?;
    Ok(found.iter().collect())
}

/// How long to wait, and the header so that nobody reads another time out of it: seconds within bounds, or
/// none at all.
fn tame_retry_after(headers: &mut HeaderMap, now: Timestamp) -> Option<Duration> {
    let wait = retry_after(headers, now).map(|wait| wait.min(LONGEST_WAIT));
    match wait {
        Some(wait) => drop(headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()))),
        None => drop(headers.remove(RETRY_AFTER)),
    }
    wait
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp();
    Some(Timestamp::from_millis(at.saturating_mul(1000)).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_a_user_is_asked() {
        let of = |text: &str| Target::of(&text.parse().unwrap());
        let target = of("https://ca.example:14000/dir?x=1").ok().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("ca.example", 14000));
        assert_eq!(
            (target.path.to_string().as_str(), target.authority.to_str().unwrap()),
            ("/dir?x=1", "ca.example:14000")
        );
        let target = of("https://[::1]/dir").ok().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 443));
        assert!(target.server_name().is_ok());
        for bad in ["http://ca.example/dir", "/dir", "https://me@ca.example/dir"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_rfc3339("1999-12-31T23:59:00Z").unwrap();
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(59)));
        assert_eq!(of("Fri, 31 Dec 1998 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!((of("soon"), of("-1")), (None, None));
    }

    #[test]
    fn no_retry_after_is_handed_on_that_a_clock_cannot_hold() {
        let now = Timestamp::from_rfc3339("1999-12-31T23:59:00Z").unwrap();
        let of = |text: &str| {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            let wait = tame_retry_after(&mut headers, now);
            let left = headers.get(RETRY_AFTER).map(|left| left.to_str().unwrap().to_owned());
            assert_eq!(wait.map(|wait| wait.as_secs().to_string()), left, "{text}");
            left
        };
        assert_eq!(of("120").as_deref(), Some("120"));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT").as_deref(), Some("59"));
        assert_eq!(of("18446744073709551615").as_deref(), Some("2592000"));
        assert_eq!(of("Fri, 31 Dec 9999 23:59:59 GMT").as_deref(), Some("2592000"));
        assert_eq!((of("18446744073709551616"), of("soon")), (None, None));
    }
}
