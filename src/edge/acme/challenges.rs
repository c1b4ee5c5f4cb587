//! What is shown to the CA while it looks whether a name is ours: texts over plain HTTP (http-01), and
//! certificates in handshakes for `acme-tls/1` (tls-alpn-01). Each is there only while its order is
//! under way.
//!
//! A certificate of a challenge answers that protocol alone, and a connection that agreed on it carries
//! nothing else: [`super::super::tls`] sees to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::edge::certificates::TlsError;
use crate::edge::local_ca::{cannot_make, valid};
use crate::model::random::Rng;
use crate::model::time::Timestamp;

/// The protocol of tls-alpn-01 (RFC 8737 §6.2).
pub const ALPN: &[u8] = b"acme-tls/1";
/// The protocols that carry requests, in the order in which they are chosen.
pub const SERVED: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Where http-01 looks (RFC 8555 §8.3).
pub const PATH: &str = "/.well-known/acme-challenge/";
/// Longest token, bytes: 128 bits in base64url are 22.
const LONGEST_TOKEN: usize = 256;
/// Life of a challenge's certificate.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether a client wants to see a challenge: it offers that protocol and none that is served, which
/// would be chosen before it.
pub fn is_asked(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offers| {
        let (mut asked, mut other) = (false, false);
        for offer in offers {
            asked |= offer == ALPN;
            other |= SERVED.contains(&offer);
        }
        asked && !other
    })
}

/// The open challenges.
#[derive(Debug, Default)]
pub struct Challenges {
    texts: RwLock<HashMap<String, String>>,
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// A challenge that is answered until this is dropped.
#[derive(Debug)]
#[must_use = "the challenge is answered only while this is kept"]
pub struct Shown {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Text(String),
    Certificate(String),
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.what {
            What::Text(token) => drop(self.challenges.texts.write().remove(token)),
            What::Certificate(name) => drop(self.challenges.certificates.write().remove(name)),
        }
    }
}

impl Challenges {
    /// Shows a text under its token; `None` for a token that is not base64url, as RFC 8555 §8.3 has it.
    pub fn show_text(self: &Arc<Self>, token: &str, text: &str) -> Option<Shown> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(plain) {
            return None;
        }
        self.texts.write().insert(token.to_owned(), text.to_owned());
        Some(Shown { challenges: Arc::clone(self), what: What::Text(token.to_owned()) })
    }

    /// The text at this path, if an open challenge has it.
    pub fn text(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.texts.read().get(token).cloned()
    }

    /// Shows a certificate for a name with the digest of its key authorization (RFC 8737 §3).
    pub fn show_certificate(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8; 32],
        provider: &CryptoProvider,
        (now, rng): (Timestamp, &dyn Rng),
    ) -> Result<Shown, TlsError> {
        let refused =
            |error: rcgen::Error| TlsError::Names { names: name.to_owned(), reason: error.to_string() };
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(refused)?;
        valid(&mut params, now, now.plus(LIFE), rng)?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate().map_err(|error| cannot_make(&error))?;
        let certificate = params.self_signed(&key).map_err(|error| cannot_make(&error))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not by `from_der`, which refuses the critical extension that this is about.
        let key =
            CertifiedKey::new(vec![certificate.der().clone()], provider.key_provider.load_private_key(key)?);
        self.certificates.write().insert(name.to_owned(), Arc::new(key));
        Ok(Shown { challenges: Arc::clone(self), what: What::Certificate(name.to_owned()) })
    }

    /// The certificate for a name (lower case), if an open challenge has it.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.certificates.read().get(name).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;
    use x509_parser::oid_registry::asn1_rs::oid;

    use super::*;
    use crate::model::random::SeededRng;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    #[test]
    fn a_text_is_shown_at_its_path_alone_and_only_while_it_is_wanted() {
        let challenges = Arc::new(Challenges::default());
        let shown = challenges.show_text("to-ken_1", "to-ken_1.thumb").unwrap();
        let at = |path: &str| challenges.text(path);
        assert_eq!(at("/.well-known/acme-challenge/to-ken_1").as_deref(), Some("to-ken_1.thumb"));
        for other in ["/.well-known/acme-challenge/", "/to-ken_1", "/.well-known/acme-challenge/to-ken_1/"] {
            assert_eq!(at(other), None, "{other}");
        }
        drop(shown);
        assert_eq!(at("/.well-known/acme-challenge/to-ken_1"), None);
        for odd in ["", "a/b", "a b", "a\r\n", "ä", &"x".repeat(300)] {
            assert!(challenges.show_text(odd, "x").is_none(), "{odd}");
        }
    }

    #[test]
    fn a_certificate_has_the_name_and_the_critical_extension_and_goes_with_the_order() {
        let challenges = Arc::new(Challenges::default());
        let provider = aws_lc_rs::default_provider();
        let rng = SeededRng::new(1);
        let shown = challenges.show_certificate("a.example.com", &[7; 32], &provider, (NOW, &rng)).unwrap();
        let key = challenges.certificate("a.example.com").unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&key.cert[0]).unwrap();
        let found = parsed.get_extension_unique(&oid!(1.3.6.1.5.5.7.1.31)).unwrap().unwrap();
        assert!(found.critical);
        // RFC 8737 §3: an OCTET STRING of the 32 bytes.
        assert_eq!(found.value, [[4, 32].as_slice(), &[7; 32]].concat());
        let san = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names.len(), 1);
        assert!(challenges.certificate("b.example.com").is_none());
        drop(shown);
        assert!(challenges.certificate("a.example.com").is_none());
    }
}
