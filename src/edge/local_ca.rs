//! A certificate authority of one's own, for development and for names no public CA would sign:
//! `tls/ca.pem` to hand out, `tls/ca.key` (0600) to keep.
//!
//! Only the CA is kept on disk. The gate's own leaf is issued anew at every start and before it runs out, so it
//! follows the configured names and its key never touches a disk. Others are issued on request ([`leaf`]).

pub mod leaf;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use self::leaf::Wanted;
use super::certificates::{TlsError, parse_chain, read, read_private};
use crate::files;
use crate::model::certificate::Purpose;
use crate::model::random::{self, Rng};
use crate::model::time::Timestamp;

/// Life of the CA.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a leaf: what browsers accept, with room.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Life of what stands in for a certificate that was not issued yet: longer than any process.
const STAND_IN_LIFE: Duration = CA_LIFE;
/// Certificates are valid from a little before they are made, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The CA, ready to issue.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    begins: Timestamp,
    ends: Timestamp,
}

/// What there is to know of the CA, but its key.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name, by which trust stores list it.
    pub name: String,
    /// The certificate, for whoever is to trust it.
    pub pem: String,
    /// SHA-256 of it, as other tools write it.
    pub fingerprint: String,
    /// From when on it is good.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// A CA that was made and is nobody's yet: its key has no name that anything is signed by.
#[derive(Debug)]
#[must_use = "it signs nothing until it is finished"]
pub struct Unfinished {
    folder: PathBuf,
    about: About,
}

impl Unfinished {
    /// What there is to know of it.
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// From here on it issues.
    pub fn finish(self) -> Result<(), TlsError> {
        let alone = alone(&self.folder)?;
        let (key, _) = paths(&self.folder);
        // Somebody else who found it so was quicker.
        if is_there(&key)? {
            return Ok(());
        }
        fs::rename(draft_path(&self.folder), &key).and_then(|()| alone.sync_all()).map_err(failed(&key))
    }
}

/// A leaf and its key.
pub struct Issued {
    /// Leaf, then CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl LocalCa {
    /// Opens the CA in `folder`, or makes one there.
    pub fn open(folder: &Path, now: Timestamp, rng: &dyn Rng) -> Result<Self, TlsError> {
        if let Some(unfinished) = Self::make(folder, now, rng)? {
            unfinished.finish()?;
        }
        let gone = || TlsError::Unusable { path: paths(folder).0, reason: "gone again".into() };
        Self::find(folder, now)?.ok_or_else(gone)
    }

    /// Makes a CA in `folder` if there is none, all but its last step: whoever has it made can put that on record while
    /// it can sign nothing yet.
    pub fn make(folder: &Path, now: Timestamp, rng: &dyn Rng) -> Result<Option<Unfinished>, TlsError> {
        if Self::find(folder, now)?.is_some() {
            return Ok(None);
        }
        files::make_folder(folder).map_err(failed(folder))?;
        let _alone = alone(folder)?;
        if Self::find(folder, now)?.is_some() {
            return Ok(None);
        }
        let (pem_path, draft) = (certificate_path(folder), draft_path(folder));
        // The key gets its name last: under it alone, it is never what a crash left, and never written over.
        if !(is_there(&pem_path)? && is_there(&draft)?) {
            let key = KeyPair::generate().map_err(|error| cannot_make(&error))?;
            let pem = ca_params(now, rng)?.self_signed(&key).map_err(|error| cannot_make(&error))?.pem();
            files::write(&draft, &key.serialize_pem(), 0o600).map_err(failed(&draft))?;
            files::write(&pem_path, &pem, 0o644).map_err(failed(&pem_path))?;
        }
        let about = Self::load(&read_private(&draft)?, &read(&pem_path)?, &pem_path, now)?.about()?;
        Ok(Some(Unfinished { folder: folder.to_owned(), about }))
    }

    /// Opens the CA in `folder`, if there is one.
    ///
    /// Without its key's name it is one that a first start did not finish, if the key's draft is there: nobody can have
    /// been given it yet. Else a certificate without its key is a loss, and so is a key without its certificate.
    pub fn find(folder: &Path, now: Timestamp) -> Result<Option<Self>, TlsError> {
        let (key_path, pem_path) = paths(folder);
        // In this order: whoever makes one meanwhile places the key last.
        match (is_there(&key_path)?, is_there(&pem_path)?) {
            (false, false) => return Ok(None),
            (false, true) if is_there(&draft_path(folder))? => return Ok(None),
            (true, false) => {
                let reason = "the CA's key is there without its certificate: put ca.pem back from a copy, or move \
                              ca.key away to begin a new CA";
                return Err(TlsError::Unusable { path: key_path, reason: reason.into() });
            }
            (_, true) => {}
        }
        let (key, pem) = (read_private(&key_path)?, read(&pem_path)?);
        Self::load(&key, &pem, &pem_path, now).map(Some)
    }

    fn load(key: &str, pem: &str, path: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
        let key = KeyPair::from_pem(key).map_err(|error| unusable(format!("its key: {error}")))?;
        let chain = parse_chain(pem.as_bytes(), path)?;
        let certificate = chain.into_iter().next().ok_or_else(|| unusable("no certificate in it".into()))?;
        let (begins, ends, same_key) = inspect(&certificate, &key).map_err(unusable)?;
        if !same_key {
            return Err(unusable("ca.key is not its key: restore the pair, or delete both".into()));
        }
        if now < begins || now >= ends {
            let reason = "not valid now: check the clock, or delete ca.pem and ca.key to make a new CA";
            return Err(unusable(reason.into()));
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { issuer, certificate, pem: pem.to_owned(), begins, ends })
    }

    /// Issues for the gate itself: DNS names and IP addresses.
    pub fn issue(&self, names: &[String], now: Timestamp, rng: &dyn Rng) -> Result<Issued, TlsError> {
        let key = KeyPair::generate().map_err(|error| cannot_make(&error))?;
        let leaf = self.sign(&key, Wanted { names, purpose: Purpose::Server, life: LEAF_LIFE }, now, rng)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Issued { chain: vec![leaf.der, self.certificate.clone()], key })
    }

    /// What there is to know of it.
    pub fn about(&self) -> Result<About, TlsError> {
        let parsed = x509_parser::parse_x509_certificate(&self.certificate);
        let (_, parsed) = parsed.map_err(|error| TlsError::Making { reason: error.to_string() })?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let hash = digest(&SHA256, &self.certificate);
        let bytes: Vec<_> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(About {
            name: name.unwrap_or_default().to_owned(),
            pem: self.pem.clone(),
            fingerprint: bytes.join(":"),
            from: self.begins,
            until: self.ends,
        })
    }
}

/// Where the CA's key and certificate are.
fn paths(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("ca.key"), certificate_path(folder))
}

/// A node that starts and a command that issues may both find no CA: one at a time, until this is dropped.
fn alone(folder: &Path) -> Result<File, TlsError> {
    let alone = File::open(folder).map_err(failed(folder))?;
    flock(&alone, FlockOperation::LockExclusive).map_err(|error| failed(folder)(error.into()))?;
    Ok(alone)
}

/// Where its key is until the certificate is written, and on record.
fn draft_path(folder: &Path) -> PathBuf {
    folder.join("ca.key.first")
}

/// Whether something has this name, and be it a link to nowhere. What cannot be asked is not taken for nothing.
fn is_there(path: &Path) -> Result<bool, TlsError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Io { path, source: Arc::new(source) }
}

/// Where its certificate is.
pub fn certificate_path(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

fn ca_params(now: Timestamp, rng: &dyn Rng) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    valid(&mut params, now, now.plus(CA_LIFE), rng)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    // Told apart by a random part, so that two installations' CAs are two entries in a trust store.
    let [a, b, c, d] = random::bytes::<4>(rng);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Keepgate local CA {a:02x}{b:02x}{c:02x}{d:02x}"));
    Ok(params)
}

/// A certificate that nobody issued, for names that have none yet: it lets a node answer while it
/// waits, and fools nobody.
pub fn self_signed(names: &[String], now: Timestamp, rng: &dyn Rng) -> Result<Issued, TlsError> {
    let mut params = CertificateParams::new(names.to_vec())
        .map_err(|error| TlsError::Names { names: names.join(", "), reason: error.to_string() })?;
    valid(&mut params, now, now.plus(STAND_IN_LIFE), rng)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Keepgate, waiting for its certificate");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(|error| cannot_make(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| cannot_make(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Issued { chain: vec![certificate.der().clone()], key })
}

/// Sets validity and serial number; rcgen's own defaults are 1975 to 4096.
pub(in crate::edge) fn valid(
    params: &mut CertificateParams,
    now: Timestamp,
    end: Timestamp,
    rng: &dyn Rng,
) -> Result<(), TlsError> {
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(end)?;
    let mut serial = random::bytes::<16>(rng);
    // Positive and not empty in DER.
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn date(at: Timestamp) -> Result<OffsetDateTime, TlsError> {
    OffsetDateTime::from_unix_timestamp(at.as_secs())
        .map_err(|error| TlsError::Making { reason: format!("the clock says {at}: {error}") })
}

/// A certificate that cannot be made.
pub(in crate::edge) fn cannot_make(error: &rcgen::Error) -> TlsError {
    TlsError::Making { reason: error.to_string() }
}

fn inspect(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(Timestamp, Timestamp, bool), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let millis =
        |at: x509_parser::time::ASN1Time| Timestamp::from_millis(at.timestamp().saturating_mul(1000));
    let validity = parsed.validity();
    let same_key = parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
    Ok((millis(validity.not_before), millis(validity.not_after), same_key))
}

#[cfg(test)]
mod tests;
