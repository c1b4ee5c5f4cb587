//! The book of certificates: by name, and as they are served. It is made whole and then only read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

use crate::edge::acme::when::Span;
use crate::model::time::Timestamp;

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A PEM file.
    File(PathBuf),
    /// The local CA.
    LocalCa,
    /// A CA, by ACME.
    Acme,
    /// The same, but for another list of names: it serves those that have no certificate of their own yet.
    Former,
    /// Nobody: it stands in for one that was not issued yet.
    SelfSigned,
}

/// One certificate that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// What it is served for, in lower case.
    pub names: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The directory of the CA that it was ordered from; empty if it was not.
    pub directory: String,
    /// Its validity.
    pub life: Span,
    /// The leaf.
    pub leaf: CertificateDer<'static>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// By the whole name.
    pub(super) exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`
    pub(super) wildcards: HashMap<String, Arc<CertifiedKey>>,
    /// For who names no host.
    pub(super) first: Option<Arc<CertifiedKey>>,
    /// When the first of them runs out.
    pub(super) ends: Option<Timestamp>,
    /// In the order of the configuration.
    pub(super) served: Vec<Served>,
}

impl Origin {
    /// For messages.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::LocalCa => "the local CA's certificate".into(),
            Self::Acme | Self::Former => "the certificate that was issued".into(),
            Self::SelfSigned => "the self-signed certificate".into(),
        }
    }
}

impl Book {
    /// Serves one for its names, but for those that another has already.
    pub(super) fn add(&mut self, served: Served, key: Arc<CertifiedKey>) {
        for name in &served.names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcards, parent),
                None => (&mut self.exact, name.as_str()),
            };
            names.entry(name.to_owned()).or_insert_with(|| Arc::clone(&key));
        }
        let ends = served.life.until;
        self.ends = Some(self.ends.map_or(ends, |known| known.min(ends)));
        self.first.get_or_insert(key);
        self.served.push(served);
    }

    /// Whether every name gets the same chain.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let chain = |key: Option<&Arc<CertifiedKey>>| key.map(|key| key.cert.clone());
        let same = |one: &HashMap<String, Arc<CertifiedKey>>, other: &HashMap<String, Arc<CertifiedKey>>| {
            one.len() == other.len()
                && one.iter().all(|(name, key)| chain(Some(key)) == chain(other.get(name)))
        };
        same(&self.exact, &other.exact)
            && same(&self.wildcards, &other.wildcards)
            && chain(self.first.as_ref()) == chain(other.first.as_ref())
    }

    /// The certificate for a name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.exact.get(name).or_else(parent)
    }
}

/// When a certificate is valid, and the names it is for, in lower case.
pub fn validity_and_names(leaf: &CertificateDer<'_>) -> Result<(Span, Vec<String>), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let at = |at: ASN1Time| Timestamp::from_millis(at.timestamp().saturating_mul(1000));
    let validity = parsed.validity();
    let life = Span { from: at(validity.not_before), until: at(validity.not_after) };
    let san = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = san.iter().flat_map(|san| &san.value.general_names).filter_map(name_of).collect();
    Ok((life, names))
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
