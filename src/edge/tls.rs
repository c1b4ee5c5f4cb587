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
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and none is kept")]
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

#[cfg(test)]
mod tests {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConnection, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;
    use crate::config::acme::{Acme, Challenge};
    use crate::config::tls::CertificateSource;
    use crate::edge::acme::challenges::Shown;
    use crate::model::random::SeededRng;
    use crate::model::time::{ManualClock, Timestamp};

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const HTTP: &[u8] = b"http/1.1";

    /// A CA's validation server takes whatever it is shown, and judges it afterwards.
    #[derive(Debug)]
    struct Credulous;

    type Verified<T> = Result<T, rustls::Error>;

    impl ServerCertVerifier for Credulous {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Verified<ServerCertVerified> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Verified<HandshakeSignatureValid> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Verified<HandshakeSignatureValid> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }

    /// The leaf that is shown, and the protocol agreed on.
    fn shake(server: &Terminator, name: &str, offers: &[&[u8]]) -> Verified<(Vec<u8>, Option<Vec<u8>>)> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_no_client_auth();
        config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
        let mut client =
            ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap())?;
        let mut server = ServerConnection::new(Arc::clone(&server.config))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        let leaf = client.peer_certificates().unwrap()[0].to_vec();
        Ok((leaf, client.alpn_protocol().map(<[u8]>::to_vec)))
    }

    fn terminator(challenge: Challenge) -> (tempfile::TempDir, Terminator, Shown) {
        let folder = tempfile::tempdir().unwrap();
        let certificates = vec![vec!["a.example.com".to_owned()], vec!["b.example.com".to_owned()]];
        let source = CertificateSource::Acme(Acme { challenge, certificates, ..Acme::default() });
        let config = Tls { source, ..Tls::default() };
        let (clock, rng) = (Arc::new(ManualClock::at(NOW)), Arc::new(SeededRng::new(1)));
        let terminator = Terminator::open(&config, folder.path(), clock, rng).unwrap();
        let certificates = terminator.certificates();
        let making = (NOW, &SeededRng::new(2) as &dyn crate::model::random::Rng);
        let challenges = certificates.challenges();
        let shown = challenges.show_certificate("a.example.com", &[7; 32], certificates.provider(), making);
        (folder, terminator, shown.unwrap())
    }

    #[test]
    fn a_challenges_certificate_is_for_its_name_and_protocol_alone() {
        let (_folder, terminator, shown) = terminator(Challenge::TlsAlpn01);
        let challenge = terminator.certificates().challenges().certificate("a.example.com").unwrap();
        let challenge = challenge.cert[0].to_vec();
        let seen = |name: &str, offers: &[&[u8]]| shake(&terminator, name, offers);
        assert_eq!(seen("A.example.com", &[ALPN]).unwrap(), (challenge.clone(), Some(ALPN.to_vec())));
        for offers in [&[][..], &[HTTP], &[ALPN, HTTP], &[HTTP, ALPN], &[ALPN, b"h2"]] {
            let (leaf, agreed) = seen("a.example.com", offers).unwrap();
            assert!(leaf != challenge && agreed.as_deref() != Some(ALPN), "{offers:?}");
        }
        assert!(seen("b.example.com", &[ALPN]).is_err(), "no challenge is open for it");
        drop(shown);
        assert!(seen("a.example.com", &[ALPN]).is_err(), "the order is through");
    }

    #[test]
    fn without_challenges_in_handshakes_their_protocol_is_not_spoken() {
        let (_folder, terminator, _shown) = terminator(Challenge::Http01);
        assert!(shake(&terminator, "a.example.com", &[ALPN]).is_err());
        assert!(shake(&terminator, "a.example.com", &[HTTP]).is_ok());
    }
}
