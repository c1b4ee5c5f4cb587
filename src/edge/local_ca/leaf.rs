//! Certificates that somebody asks the local CA for: application servers, gates that are their clients, other nodes.
//!
//! Whoever asks makes the key, and sends a request that is signed with it; the key goes nowhere. Nothing is taken from
//! the request but the public key: names, purpose and life are said beside it.

use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{LocalCa, TlsError, cannot_make, valid};
use crate::model::certificate::Purpose;
use crate::model::random::Rng;
use crate::model::time::Timestamp;

/// What a certificate is to say.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// DNS names and IP addresses.
    pub names: &'a [String],
    /// Which side of a connection it is for.
    pub purpose: Purpose,
    /// How long it is good; the CA's own life bounds it.
    pub life: Duration,
}

/// A certificate that was issued.
#[derive(Debug)]
pub struct Signed {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The same as text.
    pub pem: String,
    /// Until when it is good.
    pub until: Timestamp,
    /// Its serial number, as other tools write it.
    pub serial: String,
}

/// A new key, and the request for a certificate of it.
pub struct Request {
    /// The private key, PEM.
    pub key: Zeroizing<String>,
    /// What the CA is sent, PEM.
    pub text: String,
}

/// Makes a key and asks for its certificate.
pub fn request() -> Result<Request, TlsError> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let text = params.serialize_request(&key)?.pem()?;
        Ok(Request { key: Zeroizing::new(key.serialize_pem()), text })
    };
    made().map_err(|error: rcgen::Error| cannot_make(&error))
}

impl LocalCa {
    /// Issues for whoever signed the request.
    pub fn issue_for(
        &self,
        request: &str,
        wanted: Wanted<'_>,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> Result<Signed, TlsError> {
        let asked =
            CertificateSigningRequestParams::from_pem(request).map_err(|error| cannot_make(&error))?;
        self.sign(&asked.public_key, wanted, now, rng)
    }

    /// Signs for this key. The names stand in the subject alternative name alone: nobody reads them elsewhere any more
    /// (RFC 9525 §2).
    pub(super) fn sign(
        &self,
        key: &impl PublicKeyData,
        Wanted { names, purpose, life }: Wanted<'_>,
        now: Timestamp,
        rng: &dyn Rng,
    ) -> Result<Signed, TlsError> {
        let mut params = CertificateParams::new(names.to_vec())
            .map_err(|error| TlsError::Names { names: names.join(", "), reason: error.to_string() })?;
        let until = now.plus(life).min(self.ends);
        valid(&mut params, now, until, rng)?;
        let serial = params.serial_number.iter().flat_map(|serial| serial.as_ref().iter().copied());
        let serial = serial.map(|byte| format!("{byte:02X}")).collect();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // One of them: a server's certificate that was stolen opens no other server.
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(key, &self.issuer).map_err(|error| cannot_make(&error))?;
        Ok(Signed { der: leaf.der().clone(), pem: leaf.pem(), until, serial })
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::GeneralName;

    use super::super::tests::{NOW, open};
    use super::*;
    use crate::model::random::SeededRng;

    const DAY: Duration = Duration::from_secs(86_400);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_issued_says_what_was_asked_for_and_nothing_of_the_request() {
        let dir = tempfile::tempdir().unwrap();
        let ca = open(dir.path(), NOW).unwrap();
        let asked = request().unwrap();
        let key = KeyPair::from_pem(&asked.key).unwrap();
        // A request may ask for anything.
        let mut greedy = CertificateParams::new(names(&["bank.example"])).unwrap();
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let greedy = greedy.serialize_request(&key).unwrap().pem().unwrap();
        let mut serials = Vec::new();
        for (request, purpose) in [(&asked.text, Purpose::Server), (&greedy, Purpose::Client)] {
            let names = names(&["app.internal", "*.app.internal", "10.0.0.7", "::1"]);
            let wanted = Wanted { names: &names, purpose, life: DAY * 30 };
            let rng = SeededRng::new(serials.len() as u64);
            let signed = ca.issue_for(request, wanted, NOW, &rng).unwrap();
            let (_, leaf) = x509_parser::parse_x509_certificate(&signed.der).unwrap();
            assert_eq!(signed.until, NOW.plus(DAY * 30));
            assert_eq!(leaf.validity().not_after.timestamp(), signed.until.as_secs());
            assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
            assert!(!leaf.is_ca() && leaf.subject().as_raw().len() == 2, "no subject");
            let san = leaf.subject_alternative_name().unwrap().unwrap();
            assert!(san.critical, "RFC 5280 §4.2.1.6: where the subject is empty");
            let dns = san.value.general_names.iter().filter(|name| matches!(name, GeneralName::DNSName(_)));
            assert_eq!((san.value.general_names.len(), dns.count()), (4, 2));
            let usage = leaf.extended_key_usage().unwrap().unwrap().value;
            assert_eq!(
                (usage.server_auth, usage.client_auth, usage.any),
                match purpose {
                    Purpose::Server => (true, false, false),
                    Purpose::Client => (false, true, false),
                }
            );
            let (_, authority) = x509_parser::parse_x509_certificate(&ca.certificate).unwrap();
            leaf.verify_signature(Some(authority.public_key())).unwrap();
            assert_eq!(signed.serial, leaf.raw_serial_as_string().replace(':', "").to_uppercase());
            serials.push(leaf.raw_serial().to_vec());
        }
        assert_ne!(serials[0], serials[1]);
        assert!(serials.iter().all(|serial| serial.len() == 16), "{serials:?}");
    }

    #[test]
    fn nothing_outlives_the_ca_and_a_request_that_is_not_signed_gets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ca = open(dir.path(), NOW).unwrap();
        let names = names(&["a"]);
        let wanted = Wanted { names: &names, purpose: Purpose::Server, life: DAY * 365 * 20 };
        let Request { text, .. } = request().unwrap();
        assert_eq!(ca.issue_for(&text, wanted, NOW, &SeededRng::new(1)).unwrap().until, ca.ends);
        let line = text.lines().nth(2).unwrap();
        let broken = text.replace(line, &line.chars().rev().collect::<String>());
        for bad in ["", "-----BEGIN CERTIFICATE REQUEST-----", &broken, &text[..text.len() / 2]] {
            assert!(ca.issue_for(bad, wanted, NOW, &SeededRng::new(1)).is_err(), "{bad}");
        }
    }
}
