//! Which certificate for which name: from PEM files, the local CA or a CA by ACME, looked up by SNI,
//! replaced while running when files change, a leaf grows old or a new one was issued.

pub mod book;
mod issued;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
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
use tokio::sync::Notify;

use self::book::{Book, Origin, Served, validity_and_names};
use super::acme::challenges::{self, Challenges};
use super::acme::store::{Kept, Store};
use super::local_ca::{Issued, LocalCa};
use crate::config::acme::{Acme, Challenge};
use crate::config::tls::{CertificateFiles, CertificateSource, Tls, is_exposed};
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
    #[error(
        "{path} can be read by others: chmod 600 it, or give it to root and keepgate's group with mode 640"
    )]
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
    current: Mutex<Current>,
    local_ca: Option<LocalCa>,
    issued: Store,
    challenges: Arc<Challenges>,
    /// Made once for each set of names, so that a look at the files changes nothing that is served.
    stand_ins: Mutex<HashMap<Vec<String>, Issued>>,
    changed: Notify,
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

/// What the book was made from.
struct Current {
    source: CertificateSource,
    /// Raised with every book that takes in what is new: one that was read before may lack it.
    generation: u64,
}

/// Certificates that were read and wait to be served, which cannot fail any more.
#[derive(Debug)]
#[must_use = "they are not served until put in place"]
pub struct Loaded {
    source: CertificateSource,
    book: Arc<Book>,
    generation: u64,
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
            CertificateSource::Files(_) | CertificateSource::Acme(_) => None,
        };
        let certificates = Self {
            current: Mutex::new(Current { source: config.source.clone(), generation: 0 }),
            local_ca,
            issued: Store::new(data_dir),
            challenges: Arc::default(),
            stand_ins: Mutex::default(),
            changed: Notify::new(),
            provider,
            clock,
            rng,
            book: ArcSwap::default(),
        };
        certificates.book.store(Arc::new(certificates.read_book(&config.source)?));
        Ok(Arc::new(certificates))
    }

    /// Takes in files that changed, and issues anew what has little life left. On an error the
    /// certificates in use stay.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let mut current = self.current.lock();
        // What ACME issues is put in place when it is issued.
        let settled = matches!(current.source, CertificateSource::Acme(_));
        if settled || self.local_ca.is_some() && self.is_fresh() {
            return Ok(());
        }
        self.take_in(&mut current)
    }

    /// Takes in a certificate that was issued and kept just now, or was forgotten.
    pub fn reread(&self) -> Result<(), TlsError> {
        self.take_in(&mut self.current.lock())
    }

    fn take_in(&self, current: &mut Current) -> Result<(), TlsError> {
        self.book.store(Arc::new(self.read_book(&current.source)?));
        current.generation += 1;
        Ok(())
    }

    /// What is to be ordered, if anything is.
    pub fn acme(&self) -> Option<Acme> {
        match &self.current.lock().source {
            CertificateSource::Acme(acme) => Some(acme.clone()),
            CertificateSource::Files(_) | CertificateSource::LocalCa { .. } => None,
        }
    }

    /// Where certificates that were issued are kept.
    pub const fn issued(&self) -> &Store {
        &self.issued
    }

    /// What a CA is shown while it looks.
    pub const fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// The cryptography in use.
    pub const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Resolves when another source was put in place, now or since it was last asked.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is served, in the order of the configuration.
    pub fn served(&self) -> Vec<Served> {
        self.book.load().served.clone()
    }

    /// Reads or makes the certificates of another source, of the kind that this was opened with.
    /// Nothing changes yet.
    pub fn load(&self, source: &CertificateSource) -> Result<Loaded, TlsError> {
        // Before anything is read: what is taken in from now on may be missed.
        let (same, generation) = {
            let current = self.current.lock();
            (self.local_ca.is_some() && current.source == *source, current.generation)
        };
        let book = match same && self.is_fresh() {
            true => self.book.load_full(),
            false => Arc::new(self.read_book(source)?),
        };
        Ok(Loaded { source: source.clone(), book, generation })
    }

    /// Serves these to every handshake from now on, with what was issued, revoked or replaced since they were
    /// read. Returns whether they are others than before.
    pub fn put(&self, Loaded { source, mut book, generation }: Loaded) -> bool {
        let mut current = self.current.lock();
        if current.generation != generation {
            match self.read_book(&source) {
                Ok(newer) => book = Arc::new(newer),
                Err(error) => {
                    tracing::error!(%error, "certificates that changed during a reload cannot be used")
                }
            }
        }
        current.source = source;
        let before = self.book.swap(Arc::clone(&book));
        self.changed.notify_one();
        !book.is_same(&before)
    }

    fn is_fresh(&self) -> bool {
        self.expires_at().is_some_and(|ends| self.clock.now().plus(RENEW_BEFORE) < ends)
    }

    /// When the first of the certificates runs out.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.book.load().ends
    }

    /// Whether handshakes for challenges are to be answered.
    pub fn takes_challenges(source: &CertificateSource) -> bool {
        matches!(source, CertificateSource::Acme(Acme { challenge: Challenge::TlsAlpn01, .. }))
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
                    let kept = load(files)?;
                    self.enter(&mut book, kept, Origin::File(files.certificate.clone()))?;
                }
            }
            (CertificateSource::Acme(acme), _) => {
                self.stand_ins.lock().retain(|names, _| acme.certificates.contains(names));
                let former = OnceCell::new();
                for names in &acme.certificates {
                    self.enter_issued(&mut book, (names, &acme.directory), &former)?;
                }
            }
            (CertificateSource::LocalCa { names }, Some(ca)) => {
                let issued = ca.issue(names, self.clock.now(), &*self.rng)?;
                self.enter(&mut book, kept(issued.chain, issued.key), Origin::LocalCa)?;
            }
            (CertificateSource::LocalCa { .. }, None) => {}
        }
        Ok(book)
    }

    fn enter(&self, book: &mut Book, kept: Kept, origin: Origin) -> Result<(), TlsError> {
        let (served, key) = self.usable(kept, origin)?;
        book.add(served, key);
        Ok(())
    }

    /// A certificate that can be served.
    fn usable(
        &self,
        Kept { chain, key, directory }: Kept,
        origin: Origin,
    ) -> Result<(Served, Arc<CertifiedKey>), TlsError> {
        let unusable = |reason: String| TlsError::Unusable { path: origin.path(), reason };
        let leaf = chain.first().cloned().ok_or_else(|| unusable("no certificate in it".to_owned()))?;
        let (life, names) = validity_and_names(&leaf).map_err(unusable)?;
        // Refuses a key that is not the certificate's.
        let key = CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|error| unusable(format!("certificate and key do not go together: {error}")))?;
        Ok((Served { names, origin, directory, life, leaf }, Arc::new(key)))
    }
}

impl ResolvesServerCert for Certificates {
    /// Without a name, or with one that nobody has a certificate for, the first certificate answers:
    /// the client knows better than we what it makes of that.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if challenges::is_asked(&hello) {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.challenges.certificate(&name);
        }
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

/// One that was not ordered.
const fn kept(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Kept {
    Kept { chain, key, directory: String::new() }
}

/// A certificate and its key.
pub fn load(files: &CertificateFiles) -> Result<Kept, TlsError> {
    let chain = parse_chain(read(&files.certificate)?.as_bytes(), &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(read_private(&files.key)?.as_bytes()).map_err(|error| {
        TlsError::Unusable { path: files.key.clone(), reason: format!("no private key: {error}") }
    })?;
    Ok(kept(chain, key))
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

/// The text of a key that nobody else can read.
pub fn read_private(path: &Path) -> Result<zeroize::Zeroizing<String>, TlsError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    let meta = fs::metadata(path)
        .map_err(|source| TlsError::Io { path: path.to_owned(), source: Arc::new(source) })?;
    if is_exposed(meta.mode(), meta.uid()) {
        return Err(TlsError::Readable { path: path.to_owned() });
    }
    Ok(text)
}
