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
//!
//! What cannot be written is so all the same, in memory until it can be: a certificate that was issued is
//! served, and one that was revoked is not. All clones are one store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::when::Record;
use crate::edge::certificates::book::validity_and_names;
use crate::files;
use crate::model::email::Email;
use crate::model::time::Timestamp;

/// Longest file, bytes: a chain and a key are a few KiB.
const LONGEST: u64 = 256 * 1024;
/// Most certificates of a chain.
const LONGEST_CHAIN: usize = 16;
/// Before a certificate, which PEM allows (RFC 7468 §2): where it is from.
const FROM: &str = "# from ";
/// Most certificates that are looked at beside those of the configuration.
const MOST: usize = 1000;
/// What must go into the folder before a CA is asked for anything: more than all that it sends.
const PROBE: usize = 64 * 1024;
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
#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
    /// By the file's name.
    ahead: Arc<Mutex<BTreeMap<String, Ahead>>>,
}

/// What the disk does not know yet of a certificate.
enum Ahead {
    /// The file's text, and why it could not be written.
    Kept(Zeroizing<String>, String),
    Forgotten,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.folder).finish()
    }
}

impl Store {
    /// In this data folder. Nothing is made before something is kept.
    pub fn new(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("acme"), ahead: Arc::default() }
    }

    /// Whether what a CA would send can be kept.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.write("probe", &" ".repeat(PROBE))?;
        remove(&self.folder.join("probe"))
    }

    /// The last certificate for these names, whichever CA it is from: one that was left serves until
    /// another has issued.
    pub fn certificate(&self, names: &[String]) -> Result<Option<Kept>, StoreError> {
        self.load(&certificate_file(names))
    }

    fn load(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        let path = self.folder.join(name);
        let ahead = self.ahead.lock().get(name).map(|ahead| match ahead {
            Ahead::Kept(text, _) => Some(text.clone()),
            Ahead::Forgotten => None,
        });
        let text = match ahead {
            Some(text) => text,
            None => read(&path)?,
        };
        text.map(|text| parse(&text, &path)).transpose()
    }

    /// Every certificate that can be read, whatever names it is for.
    pub fn every_certificate(&self) -> Vec<Kept> {
        self.files().iter().filter_map(|name| self.load(name).ok().flatten()).collect()
    }

    /// The files of certificates, and those that are still to be written.
    fn files(&self) -> BTreeSet<String> {
        let listed = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named = listed.filter_map(|entry| entry.file_name().into_string().ok());
        let mut files: BTreeSet<_> = named.filter(|name| name.ends_with(".pem")).take(MOST).collect();
        files.extend(self.ahead.lock().keys().cloned());
        files
    }

    /// Removes what ran out and is for names that nobody lists any more: its key is of no use, but to
    /// whoever finds it.
    pub fn tidy(&self, listed: &[Vec<String>], now: Timestamp) {
        let listed: BTreeSet<_> = listed.iter().map(|names| certificate_file(names)).collect();
        for name in self.files().difference(&listed) {
            let Ok(Some(kept)) = self.load(name) else { continue };
            let life = kept.chain.first().and_then(|leaf| validity_and_names(leaf).ok());
            if life.is_none_or(|(life, _)| life.until > now) {
                continue;
            }
            match remove(&self.folder.join(name)) {
                Ok(()) => {
                    self.ahead.lock().remove(name);
                    tracing::info!(file = name, "a certificate that nobody lists has run out: removed");
                }
                Err(error) => tracing::warn!(%error, "a certificate that has run out cannot be removed"),
            }
        }
    }

    /// Why the certificate for these names is not on the disk, if it could not be written.
    pub fn unwritten(&self, names: &[String]) -> Option<String> {
        match self.ahead.lock().get(&certificate_file(names)) {
            Some(Ahead::Kept(_, why)) => Some(why.clone()),
            Some(Ahead::Forgotten) | None => None,
        }
    }

    /// Whether the disk does not know everything.
    pub fn is_ahead(&self) -> bool {
        !self.ahead.lock().is_empty()
    }

    /// Tells the disk what it does not know yet.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        let text = |ahead: &Ahead| match ahead {
            Ahead::Kept(text, _) => Some(text.clone()),
            Ahead::Forgotten => None,
        };
        let waiting: Vec<_> =
            self.ahead.lock().iter().map(|(name, ahead)| (name.clone(), text(ahead))).collect();
        for (name, text) in waiting {
            match text {
                Some(text) => self.write(&name, &text)?,
                None => remove(&self.folder.join(&name))?,
            }
            self.ahead.lock().remove(&name);
        }
        Ok(())
    }

    /// Keeps a certificate; in memory only, if that fails.
    pub fn keep_certificate(
        &self,
        (names, directory): (&[String], &str),
        key_pem: &str,
        chain_pem: &str,
    ) -> Result<(), StoreError> {
        let text = Zeroizing::new(format!("{FROM}{directory}\n{}\n{chain_pem}", key_pem.trim_end()));
        let name = certificate_file(names);
        let written = self.write(&name, &text);
        match &written {
            Ok(()) => drop(self.ahead.lock().remove(&name)),
            Err(error) => drop(self.ahead.lock().insert(name, Ahead::Kept(text, error.to_string()))),
        }
        written
    }

    /// Forgets one: the next order replaces it. It is forgotten even if its file cannot be removed.
    pub fn forget_certificate(&self, names: &[String]) -> Result<(), StoreError> {
        let name = certificate_file(names);
        let removed = remove(&self.folder.join(&name));
        match &removed {
            Ok(()) => drop(self.ahead.lock().remove(&name)),
            Err(_) => drop(self.ahead.lock().insert(name, Ahead::Forgotten)),
        }
        removed
    }

    /// What is known of its orders; nothing if it cannot be read.
    pub fn record(&self, id: &Id) -> Record {
        let found = json(&self.folder.join(format!("{}.json", id.0)));
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
        let path = self.folder.join(account_file(directory));
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
        remove(&self.folder.join(account_file(directory)))
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_string(value).map(Zeroizing::new);
        let text = text.map_err(|error| StoreError::new(&self.folder.join(name), error))?;
        self.write(name, &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        files::make_folder(&self.folder).map_err(|error| StoreError::new(&self.folder, error))?;
        let path = self.folder.join(name);
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

fn parse(text: &str, path: &Path) -> Result<Kept, StoreError> {
    let wrong = |error: &dyn ToString| StoreError::new(path, error.to_string());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .take(LONGEST_CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    if chain.is_empty() || chain.len() > LONGEST_CHAIN {
        return Err(wrong(&"is not a chain of certificates"));
    }
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| wrong(&error))?;
    let directory = text.lines().next().and_then(|line| line.strip_prefix(FROM)).unwrap_or_default();
    Ok(Kept { chain, key, directory: directory.to_owned() })
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
mod tests;
