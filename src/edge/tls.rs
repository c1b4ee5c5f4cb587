//! TLS: the second stage. A connection that was taken in becomes one that nobody else can read.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs, hybrid post-quantum key exchange first; tickets for
//! resumption from one ticketer that all edge threads share and that changes its keys by itself; no
//! early data (a request could be replayed).

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::{Accepted, Permit};
use super::acme::challenges::{ALPN, SERVED};
use super::certificates::{Certificates, TlsError};
use crate::config::tls::Tls;
use crate::model::random::SharedRng;
use crate::model::time::SharedClock;

/// What terminates TLS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Terminator {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl Terminator {
    /// Sets up TLS: reads the certificate files, or opens (and at first makes) the local CA in
    /// `data_dir/tls`.
    pub fn open(config: &Tls, data_dir: &Path, clock: SharedClock, rng: SharedRng) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Certificates::open(config, data_dir, Arc::clone(&provider), (clock, rng))?;
        let mut server = server(provider, config, &certificates)?;
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { config: Arc::new(server), certificates })
    }

    /// The same with other protocols. Certificates and tickets are shared.
    pub fn with_protocols(&self, config: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::clone(self.config.crypto_provider());
        let mut server = server(provider, config, &self.certificates)?;
        server.ticketer = Arc::clone(&self.config.ticketer);
        Ok(Self { config: Arc::new(server), certificates: Arc::clone(&self.certificates) })
    }

    /// The certificates in use.
    pub const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Completes the handshake, or closes the connection when it fails or takes too long.
    pub async fn secure(&self, accepted: Accepted, patience: Duration) -> Option<Agreed> {
        let (stream, address, permit) = accepted.into_parts();
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let stream = tokio::time::timeout(patience, handshake).await.ok()?.ok()?;
        let protocol = stream.get_ref().1.alpn_protocol();
        if protocol == Some(ALPN) {
            return Some(Agreed::Challenge);
        }
        let http2 = protocol == Some(b"h2");
        Some(Agreed::Http(Secured { stream, address, http2, permit }))
    }
}

/// What a handshake was for.
#[derive(Debug)]
pub enum Agreed {
    /// Requests.
    Http(Secured),
    /// A CA has seen its challenge's certificate. The connection is closed: it carries nothing
    /// (RFC 8737 §4).
    Challenge,
}

fn server(
    provider: Arc<CryptoProvider>,
    config: &Tls,
    certificates: &Arc<Certificates>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match config.tls12 {
        true => &[&rustls::version::TLS13, &rustls::version::TLS12],
        false => &[&rustls::version::TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(certificates) as Arc<_>);
    let challenge = Certificates::takes_challenges(&config.source).then_some(ALPN);
    server.alpn_protocols = SERVED.into_iter().chain(challenge).map(<[u8]>::to_vec).collect();
    Ok(server)
}

/// A connection over which requests may come.
#[derive(Debug)]
pub struct Secured {
    stream: TlsStream<TcpStream>,
    address: IpAddr,
    http2: bool,
    permit: Permit,
}

impl Secured {
    /// Whether HTTP/2 was agreed on.
    pub const fn is_http2(&self) -> bool {
        self.http2
    }

    /// The client's address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// For the stage that reads requests.
    pub fn into_parts(self) -> (TlsStream<TcpStream>, Permit) {
        (self.stream, self.permit)
    }
}
