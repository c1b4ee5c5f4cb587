//! Which certificate for which name: from PEM files or the local CA, looked up by SNI, replaced
//! while running when files change or a leaf grows old.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

use super::local_ca::LocalCa;
use crate::config::tls::{CertificateFiles, CertificateSource, Tls};
use crate::model::random::SharedRng;
use crate::model::time::{SharedClock, Timestamp};

/// A leaf of the local CA is issued anew when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error, Clone)]
#[expect(missing_docs, reason = "the message above each variant shows what its fields are")]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: Arc<std::io::Error> },
    /// A private key is readable by others.
    #[error("{path} can be read by other users: chmod o-rwx it")]
    Readable { path: PathBuf },
    /// What is in a file cannot be used.
    #[error("{path}: {reason}")]
    Unusable { path: PathBuf, reason: String },
    /// The local CA cannot issue for the names.
    #[error("tls.names = {names}: {reason}")]
    Names { names: String, reason: String },
    /// A key or certificate could not be made.
    #[error("a certificate could not be made: {reason}")]
    Making { reason: String },
    /// rustls refused the configuration.
    #[error("TLS configuration: {0}")]
    Config(#[from] rustls::Error),
}

/// The certificates in use.
pub struct Certificates {
    /// Held while the book is replaced, so that a renewal of the old files cannot undo a change to others.
    source: Mutex<CertificateSource>,
    local_ca: Option<LocalCa>,
    provider: Arc<CryptoProvider>,
    clock: SharedClock,
    rng: SharedRng,
    book: ArcSwap<Book>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("book", &self.book).finish_non_exhaustive()
    }
}

/// Certificates that were read and wait to be served, which cannot fail any more.
#[derive(Debug)]
#[must_use = "they are not served until put in place"]
pub struct Loaded {
    source: CertificateSource,
    book: Arc<Book>,
}

#[derive(Debug, Default)]
struct Book {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    ends: Option<Timestamp>,
}

impl Certificates {
    /// Reads or makes the configured certificates.
    pub fn open(
        config: &Tls,
        data_dir: &Path,
        provider: Arc<CryptoProvider>,
        (clock, rng): (SharedClock, SharedRng),
    ) -> Result<Arc<Self>, TlsError> {
        let local_ca = match &config.source {
            CertificateSource::LocalCa { .. } => {
                Some(LocalCa::open(&data_dir.join("tls"), clock.now(), &*rng)?)
            }
            CertificateSource::Files(_) => None,
        };
        let source = Mutex::new(config.source.clone());
        let certificates = Self { source, local_ca, provider, clock, rng, book: ArcSwap::default() };
        certificates.book.store(Arc::new(certificates.read_book(&config.source)?));
        Ok(Arc::new(certificates))
    }

    /// Takes in files that changed, and issues anew what has little life left. On an error the
    /// certificates in use stay.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let source = self.source.lock();
        if !(self.local_ca.is_some() && self.is_fresh()) {
            self.book.store(Arc::new(self.read_book(&source)?));
        }
        Ok(())
    }

    /// Reads or makes the certificates of another source, of the kind that this was opened with.
    /// Nothing changes yet.
    pub fn load(&self, source: &CertificateSource) -> Result<Loaded, TlsError> {
        let same = self.local_ca.is_some() && *self.source.lock() == *source;
        let book = match same && self.is_fresh() {
            true => self.book.load_full(),
            false => Arc::new(self.read_book(source)?),
        };
        Ok(Loaded { source: source.clone(), book })
    }

    /// Serves these to every handshake from now on. Returns whether they are others than before.
    pub fn put(&self, Loaded { source, book }: Loaded) -> bool {
        let mut current = self.source.lock();
        *current = source;
        let before = self.book.swap(Arc::clone(&book));
        !book.is_same(&before)
    }

    fn is_fresh(&self) -> bool {
        self.expires_at().is_some_and(|ends| self.clock.now().plus(RENEW_BEFORE) < ends)
    }

    /// When the first of the certificates runs out.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.book.load().ends
    }

    /// Whether a certificate names this host (lower case, IPv6 in brackets).
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let address = bare.parse::<IpAddr>().ok().map(|address| address.to_string());
        self.book.load().find(address.as_deref().unwrap_or(bare)).is_some()
    }

    fn read_book(&self, source: &CertificateSource) -> Result<Book, TlsError> {
        let mut book = Book::default();
        match (source, &self.local_ca) {
            (CertificateSource::Files(files), _) => {
                for files in files {
                    let (chain, key) = load(files)?;
                    self.enter(&mut book, chain, key, &files.certificate)?;
                }
            }
            (CertificateSource::LocalCa { names }, Some(ca)) => {
                let issued = ca.issue(names, self.clock.now(), &*self.rng)?;
                self.enter(&mut book, issued.chain, issued.key, Path::new("the local CA's certificate"))?;
            }
            (CertificateSource::LocalCa { .. }, None) => {}
        }
        Ok(book)
    }

    fn enter(
        &self,
        book: &mut Book,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        path: &Path,
    ) -> Result<(), TlsError> {
        let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
        let (names, ends) = chain
            .first()
            .ok_or_else(|| "no certificate in it".to_owned())
            .and_then(|leaf| names_of(leaf))
            .map_err(unusable)?;
        // Refuses a key that is not the certificate's.
        let key = CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|error| unusable(format!("certificate and key do not go together: {error}")))?;
        let key = Arc::new(key);
        for name in names {
            match name.strip_prefix("*.") {
                Some(parent) => book.wildcards.entry(parent.to_owned()).or_insert_with(|| Arc::clone(&key)),
                None => book.exact.entry(name).or_insert_with(|| Arc::clone(&key)),
            };
        }
        book.ends = Some(book.ends.map_or(ends, |known| known.min(ends)));
        book.first.get_or_insert(key);
        Ok(())
    }
}

impl Book {
    /// Whether every name gets the same chain.
    fn is_same(&self, other: &Self) -> bool {
        let chain = |key: Option<&Arc<CertifiedKey>>| key.map(|key| key.cert.clone());
        let same = |one: &HashMap<String, Arc<CertifiedKey>>, other: &HashMap<String, Arc<CertifiedKey>>| {
            one.len() == other.len()
                && one.iter().all(|(name, key)| chain(Some(key)) == chain(other.get(name)))
        };
        same(&self.exact, &other.exact)
            && same(&self.wildcards, &other.wildcards)
            && chain(self.first.as_ref()) == chain(other.first.as_ref())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.exact.get(name).or_else(parent)
    }
}

impl ResolvesServerCert for Certificates {
    /// Without a name, or with one that nobody has a certificate for, the first certificate answers:
    /// the client knows better than we what it makes of that.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let book = self.book.load();
        let named = hello.server_name().and_then(|name| {
            // rustls hands the name on in lower case only if the client sent it so.
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return book.find(&name.to_ascii_lowercase());
            }
            book.find(name)
        });
        named.or(book.first.as_ref()).map(Arc::clone)
    }
}

/// The names a certificate is for, in lower case, and when it runs out.
fn names_of(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, Timestamp), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let ends = Timestamp::from_millis(parsed.validity().not_after.timestamp().saturating_mul(1000));
    let san = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = san.iter().flat_map(|san| &san.value.general_names).filter_map(name_of).collect();
    Ok((names, ends))
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

fn load(
    files: &CertificateFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = parse_chain(read(&files.certificate)?.as_bytes(), &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(read_private(&files.key)?.as_bytes()).map_err(|error| {
        TlsError::Unusable { path: files.key.clone(), reason: format!("no private key: {error}") }
    })?;
    Ok((chain, key))
}

/// The certificates of a PEM text.
pub fn parse_chain(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Unusable { path: path.to_owned(), reason: error.to_string() })
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path)
        .map_err(|source| TlsError::Io { path: path.to_owned(), source: Arc::new(source) })
}

/// The text of a file that others must not be able to read. Its group may: that is how `ssl-cert` works.
pub fn read_private(path: &Path) -> Result<zeroize::Zeroizing<String>, TlsError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    let mode = fs::metadata(path)
        .map_err(|source| TlsError::Io { path: path.to_owned(), source: Arc::new(source) })?
        .permissions()
        .mode();
    if mode & 0o007 == 0 { Ok(text) } else { Err(TlsError::Readable { path: path.to_owned() }) }
}
