//! The book while it is replaced from two sides, and keys that others can read.

use std::os::unix::fs::PermissionsExt as _;

use rustls::crypto::aws_lc_rs::default_provider;

use super::*;
use crate::model::random::SystemRng;
use crate::model::time::SystemClock;

const DIRECTORY: &str = "https://ca.example/directory";

fn open(folder: &Path, source: &CertificateSource) -> Result<Arc<Certificates>, TlsError> {
    let config = Tls { source: source.clone(), ..Tls::default() };
    let by = (Arc::new(SystemClock) as SharedClock, Arc::new(SystemRng) as SharedRng);
    Certificates::open(&config, folder, Arc::new(default_provider()), by)
}

/// Chain and key, as PEM.
fn made(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn acme(names: &[String]) -> CertificateSource {
    let certificates = vec![names.to_vec()];
    CertificateSource::Acme(Acme { directory: DIRECTORY.to_owned(), certificates, ..Acme::default() })
}

#[test]
fn a_reload_takes_back_nothing_that_was_issued_or_revoked_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.example.com".to_owned()];
    let source = acme(&names);
    let certificates = open(folder.path(), &source).unwrap();
    let origin = || certificates.served()[0].origin.clone();
    assert_eq!(origin(), Origin::SelfSigned);

    let loaded = certificates.load(&source).unwrap();
    let (chain, key) = made(&names[0]);
    certificates.issued().keep_certificate((&names, DIRECTORY), &key, &chain).unwrap();
    certificates.reread().unwrap();
    assert!(!certificates.put(loaded), "nothing is other than it was");
    assert_eq!(origin(), Origin::Acme);

    let loaded = certificates.load(&source).unwrap();
    certificates.issued().forget_certificate(&names).unwrap();
    certificates.reread().unwrap();
    certificates.put(loaded);
    assert_eq!(origin(), Origin::SelfSigned, "the revoked one is not served again");
}

#[test]
fn files_that_changed_meanwhile_are_served_and_those_that_became_unusable_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let write = |name: &str| {
        let (chain, secret) = made(name);
        fs::write(&certificate, chain).unwrap();
        fs::write(&key, secret).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("a.example.com");
    let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
    let source = CertificateSource::Files(vec![files]);
    let certificates = open(folder.path(), &source).unwrap();
    let loaded = certificates.load(&source).unwrap();
    write("b.example.com");
    certificates.refresh().unwrap();
    certificates.put(loaded);
    assert!(certificates.covers("b.example.com"));
    let loaded = certificates.load(&source).unwrap();
    certificates.refresh().unwrap();
    fs::write(&key, "nothing").unwrap();
    let lines = crate::observe::logging::testing::lines(|| assert!(!certificates.put(loaded)));
    assert!(certificates.covers("b.example.com") && lines[0].contains("ERROR"), "{lines:?}");
}

#[test]
fn a_key_that_others_can_read_or_write_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.pem");
    fs::write(&path, "key").unwrap();
    let with = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_private(&path)
    };
    with(0o600).unwrap();
    for mode in [0o660, 0o604, 0o644] {
        assert!(with(mode).unwrap_err().to_string().contains("chmod 600"), "{mode:o}");
    }
}
