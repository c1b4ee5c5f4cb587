//! Whether a certificate and a private key belong together, asked before a daemon is started on them. It keeps
//! nothing of either: the edge reads them for itself.

use std::fs;
use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::tls::CertificateFiles;

/// Longest PEM file that is read, bytes; a chain has a few thousand.
const LONGEST: u64 = 1024 * 1024;

/// Why the edge would not take this pair: the file at fault, and what is wrong with it.
pub(super) fn fault(pair: &CertificateFiles) -> Option<(&Path, String)> {
    let CertificateFiles { certificate, key } = pair;
    let chain = match read(certificate).and_then(|text| chain(&text)) {
        Ok(chain) => chain,
        Err(detail) => return Some((certificate, detail)),
    };
    let secret = read(key).and_then(|text| {
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("has no private key: {error}"))
    });
    let secret = match secret {
        Ok(secret) => secret,
        Err(detail) => return Some((key, detail)),
    };
    match CertifiedKey::from_der(chain, secret, &default_provider()) {
        Ok(_) => None,
        Err(error) => {
            let detail = format!("and {} do not go together: {error}", certificate.display());
            Some((key, detail))
        }
    }
}

fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("has no certificate in it".to_owned()),
        other => other.map_err(|error| format!("is not a PEM file of certificates: {error}")),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if fs::metadata(path).map_err(cannot)?.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    fs::read(path).map(Zeroizing::new).map_err(cannot)
}
