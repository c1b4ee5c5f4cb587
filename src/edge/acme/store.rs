//! What ACME keeps: account keys, certificates with their keys, and what is known of orders, as files
//! of mode 0600 in `data_dir/acme`, each written whole (written, synced, renamed, folder synced).
//!
//! Sealed by the master key in the auth namespace they would travel with the journal, but the edge,
//! which needs them before and without any store, could not read them, and each renewal would stay in
//! the journal's history; as files they are guarded like the local CA's key and the keys of
//! `source = "files"` beside them, and whoever can read those already is keepgate's user. So: files.
//!
//! What is read back is hostile: bounded, of the right mode, and parsed like anybody's. A file that
//! will not do is as if it were not there, and the log says so; the next order replaces it. Key and
//! chain stand in one file, so that no crash leaves one without the other.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::when::Record;
use crate::files;
use crate::model::email::Email;

/// Longest file, bytes: a chain and a key are a few KiB.
const LONGEST: u64 = 256 * 1024;
/// Most certificates of a chain.
const LONGEST_CHAIN: usize = 16;
/// Before a certificate, which PEM allows (RFC 7468 §2): where it is from.
const FROM: &str = "# from ";
/// Of a file's name, bytes that a host name makes up.
const LONGEST_STEM: usize = 100;

/// Something kept cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StoreError {
    path: PathBuf,
    reason: String,
}

impl StoreError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Kept {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's.
    pub key: PrivateKeyDer<'static>,
    /// The directory of the CA that it is from; empty if it was not ordered.
    pub directory: String,
}

/// An account at one directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptAccount {
    /// The addresses the CA was told.
    pub contact: Vec<Email>,
    /// What `instant_acme` makes of an account: address, key, directory.
    pub credentials: Credentials,
}

/// As `instant_acme::AccountCredentials` is written; there, more would be taken.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Its URL.
    pub id: String,
    /// PKCS#8 in base64url.
    pub key_pkcs8: String,
    /// The directory's URL.
    pub directory: String,
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.key_pkcs8.zeroize();
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// In this data folder. Nothing is made before something is kept.
    pub fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("acme"))
    }

    /// The last certificate for these names, whichever CA it is from: one that was left serves until
    /// another has issued.
    pub fn certificate(&self, names: &[String]) -> Result<Option<Kept>, StoreError> {
        let path = self.0.join(certificate_file(names));
        let Some(text) = read(&path)? else { return Ok(None) };
        let wrong = |error: &dyn ToString| StoreError::new(&path, error.to_string());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .take(LONGEST_CHAIN + 1)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&error))?;
        if chain.is_empty() || chain.len() > LONGEST_CHAIN {
            return Err(wrong(&"is not a chain of certificates"));
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| wrong(&error))?;
        let directory = text.lines().next().and_then(|line| line.strip_prefix(FROM)).unwrap_or_default();
        Ok(Some(Kept { chain, key, directory: directory.to_owned() }))
    }

    /// Keeps a certificate.
    pub fn keep_certificate(
        &self,
        (names, directory): (&[String], &str),
        key_pem: &str,
        chain_pem: &str,
    ) -> Result<(), StoreError> {
        let text = Zeroizing::new(format!("{FROM}{directory}\n{}\n{chain_pem}", key_pem.trim_end()));
        self.write(&certificate_file(names), &text)
    }

    /// Forgets one: the next order replaces it.
    pub fn forget_certificate(&self, names: &[String]) -> Result<(), StoreError> {
        remove(&self.0.join(certificate_file(names)))
    }

    /// What is known of its orders; nothing if it cannot be read.
    pub fn record(&self, id: &Id) -> Record {
        let found = json(&self.0.join(format!("{}.json", id.0)));
        found
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "what was known of a certificate's orders cannot be read");
                None
            })
            .unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_record(&self, id: &Id, record: &Record) -> Result<(), StoreError> {
        self.write_json(&format!("{}.json", id.0), record)
    }

    /// The account at a directory.
    pub fn account(&self, directory: &str) -> Result<Option<KeptAccount>, StoreError> {
        let path = self.0.join(account_file(directory));
        let found: Option<KeptAccount> = json(&path)?;
        if found.as_ref().is_some_and(|kept| kept.credentials.directory != directory) {
            return Err(StoreError::new(&path, "is an account at another directory"));
        }
        Ok(found)
    }

    /// Keeps an account.
    pub fn keep_account(&self, account: &KeptAccount) -> Result<(), StoreError> {
        self.write_json(&account_file(&account.credentials.directory), account)
    }

    /// Forgets the account at a directory, which the CA no longer knows.
    pub fn forget_account(&self, directory: &str) -> Result<(), StoreError> {
        remove(&self.0.join(account_file(directory)))
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map(Zeroizing::new);
        let text = text.map_err(|error| StoreError::new(&self.0.join(name), error))?;
        self.write(name, &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        files::make_folder(&self.0).map_err(|error| StoreError::new(&self.0, error))?;
        let path = self.0.join(name);
        files::write(&path, text, 0o600).map_err(|error| StoreError::new(&path, error))
    }
}

/// Names what is known of orders: for the same names, in whatever order, at the same directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Of these names from this directory.
    pub fn of(names: &[String], directory: &str) -> Self {
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(directory.as_bytes());
        for name in &sorted {
            hasher.update(b"\n").update(name.as_bytes());
        }
        // Host names are ASCII, of letters, digits, dots and dashes; a name from elsewhere is not shown.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let first = sorted.first().filter(|name| name.bytes().all(plain) && !name.starts_with('.'));
        let stem = first.and_then(|name| name.get(..name.len().min(LONGEST_STEM))).unwrap_or("certificate");
        let hash = hasher.finalize().to_hex();
        Self(format!("{stem}-{}", hash.get(..16).unwrap_or_default()))
    }
}

fn certificate_file(names: &[String]) -> String {
    format!("{}.pem", Id::of(names, "").0)
}

fn account_file(directory: &str) -> String {
    let hash = blake3::hash(directory.as_bytes()).to_hex();
    format!("account-{}.json", hash.get(..16).unwrap_or_default())
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(text) = read(path)? else { return Ok(None) };
    // Without its words, which may quote a key.
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let place = format!("is not as it was written (line {}, column {})", error.line(), error.column());
        StoreError::new(path, place)
    })
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
    let failed = |error: io::Error| StoreError::new(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        return Err(StoreError::new(
            path,
            "is no file, or can be read by others: chmod 600 it, or remove it",
        ));
    }
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(meta.len().min(LONGEST)).unwrap_or(0)));
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(StoreError::new(path, "is longer than 256 KiB"));
    }
    Ok(Some(text))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::new(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::random::SeededRng;
    use crate::model::time::Timestamp;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn kept() -> (tempfile::TempDir, Store, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let these = names(&["a.example.com"]);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(names(&["a.example.com"])).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let from = (these.as_slice(), "https://ca/dir");
        store.keep_certificate(from, &key.serialize_pem(), &certificate.pem()).unwrap();
        (folder, store, these)
    }

    #[test]
    fn the_same_names_from_the_same_directory_are_one_certificate_and_any_file_name_is_tame() {
        let id = |these: &[&str], directory: &str| Id::of(&names(these), directory);
        let one = id(&["a.example.com", "b.example.com"], "https://ca/dir");
        assert!(one.0.starts_with("a.example.com-"));
        assert_eq!(one, id(&["b.example.com", "a.example.com"], "https://ca/dir"));
        assert_ne!(one, id(&["a.example.com"], "https://ca/dir"));
        assert_ne!(one, id(&["a.example.com", "b.example.com"], "https://other/dir"));
        for odd in ["../../etc/passwd", ".hidden", "a\0b", &"x".repeat(253)] {
            let id = id(&[odd], "https://ca/dir");
            assert!(!id.0.contains(['/', '\0']) && !id.0.starts_with('.') && id.0.len() < 200, "{id:?}");
        }
    }

    #[test]
    fn a_certificate_comes_back_with_its_key_from_one_private_file() {
        let (folder, store, these) = kept();
        let found = store.certificate(&these).unwrap().unwrap();
        assert_eq!((found.chain.len(), found.directory.as_str()), (1, "https://ca/dir"));
        let files: Vec<_> = std::fs::read_dir(folder.path().join("acme")).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        store.forget_certificate(&these).unwrap();
        assert!(store.certificate(&these).unwrap().is_none());
        store.forget_certificate(&these).unwrap();
    }

    #[test]
    fn what_is_read_back_is_not_believed() {
        let (folder, store, these) = kept();
        let path = folder.path().join("acme").join(certificate_file(&these));
        let good = std::fs::read_to_string(&path).unwrap();
        let key_only = good.split("-----BEGIN CERT").next().unwrap();
        let many = good.repeat(20);
        for bad in ["", "nonsense", key_only, many.as_str(), &"x".repeat(300_000)] {
            std::fs::write(&path, bad).unwrap();
            assert!(store.certificate(&these).is_err(), "{}", bad.len());
        }
        std::fs::write(&path, &good).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(store.certificate(&these).unwrap_err().to_string().contains("chmod 600"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(store.certificate(&these).is_err());
    }

    #[test]
    fn records_and_accounts_come_back_and_broken_ones_do_not_stop_anything_nor_show_a_key() {
        let (folder, store, these) = kept();
        let id = Id::of(&these, "https://ca/dir");
        let mut record = Record::default();
        assert_eq!(store.record(&id), record);
        record.failed("why", None, Timestamp::from_millis(5), &SeededRng::new(1));
        store.keep_record(&id, &record).unwrap();
        assert_eq!(store.record(&id), record);
        std::fs::write(folder.path().join(format!("acme/{}.json", id.0)), "{\"failures\":-1}").unwrap();
        assert_eq!(store.record(&id), Record::default());

        let credentials = Credentials {
            id: "https://ca/1".into(),
            key_pkcs8: "s3cret".into(),
            directory: "https://ca/dir".into(),
        };
        let account = KeptAccount { contact: Vec::new(), credentials };
        assert!(!format!("{account:?}").contains("s3cret"));
        store.keep_account(&account).unwrap();
        assert_eq!(store.account("https://ca/dir").unwrap().unwrap().credentials.id, "https://ca/1");
        assert!(store.account("https://other/dir").unwrap().is_none());
        let path = folder.path().join("acme").join(account_file("https://ca/dir"));
        std::fs::write(&path, "{\"contact\":[],\"credentials\":\"s3cret\"}").unwrap();
        let error = store.account("https://ca/dir").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
