//! `[tls]`: certificates and protocol versions.

use std::path::PathBuf;
use std::time::Duration;

use super::acme::Acme;

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// `source = "files"`: PEM files, chosen by the names in them.
    Files(Vec<CertificateFiles>),
    /// `source = "local-ca"`: a CA kept in `data_dir/tls`, which issues for `names`.
    LocalCa {
        /// DNS names and IP addresses to issue for.
        names: Vec<String>,
    },
    /// `source = "acme"`: certificates ordered from a CA that speaks ACME, and renewed.
    Acme(Acme),
}

/// One certificate chain and its key, as PEM files. The key must not be readable by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// TLS at the edge.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `source`, `names`, `certificates`
    pub source: CertificateSource,
    /// `min_version = "1.3"` refuses TLS 1.2.
    pub tls12: bool,
    /// `hsts`: `max-age` of `Strict-Transport-Security`; zero sends none.
    pub hsts: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            source: CertificateSource::LocalCa {
                names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            },
            tls12: true,
            hsts: Duration::from_secs(365 * 24 * 3600),
        }
    }
}
