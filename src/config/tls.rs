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

/// One certificate chain and its key, as PEM files. The key must not be readable by others: [`is_exposed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether others than keepgate's user can read a private key of this mode and owner. A group that root lets read
/// it, and no more, is meant to: so `ssl-cert` hands keys out.
pub const fn is_exposed(mode: u32, owner: u32) -> bool {
    let others = if owner == 0 { 0o037 } else { 0o077 };
    mode & others != 0
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

#[cfg(test)]
mod tests {
    use super::is_exposed;

    #[test]
    fn a_key_is_its_owners_alone_or_read_by_a_group_that_root_chose() {
        let ours = [0o600, 0o400, 0o640, 0o440, 0o660, 0o650, 0o604, 0o644].map(|mode| is_exposed(mode, 990));
        assert_eq!(ours, [false, false, true, true, true, true, true, true]);
        let roots = [0o600, 0o400, 0o640, 0o440, 0o660, 0o650, 0o604, 0o644].map(|mode| is_exposed(mode, 0));
        assert_eq!(roots, [false, false, false, false, true, true, true, true]);
    }
}
