//! The keys in force in this process: what signs, what verifies, what is published.
//!
//! A follower of the committer keeps them: once a command is answered, every part of the process
//! signs and verifies by its outcome. Readers never wait: they load a finished snapshot.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jsonwebtoken::EncodingKey;
use keepgate_guard::keys::KeySet;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::error::KeyError;
use super::material;
use super::seal::Sealer;
use crate::model::change::{AuthChange, Change};
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::store::bundle::Committed;
use crate::store::commit::Follower;
use crate::store::error::StoreError;

/// Called with the keys that verify, whenever they change: quick and without blocking, since it
/// runs on the committer's thread.
type Listener = Box<dyn Fn(KeySet) + Send + Sync>;

/// The keys in force. Cheap to clone; clones are the same. Empty until a
/// [`super::KeyRing`] is opened on it.
#[derive(Clone, Default)]
pub struct LiveKeys(Arc<Live>);

#[derive(Default)]
struct Live {
    /// Held by whoever changes the keys, so that changes and calls to listeners keep their order.
    writer: Mutex<Writer>,
    snapshot: ArcSwap<Snapshot>,
}

#[derive(Default)]
struct Writer {
    sealer: Option<Arc<Sealer>>,
    listeners: Vec<Listener>,
}

/// The JWKS document (RFC 7517 §5) of one list of keys, made when they change. Cheap to clone.
#[derive(Clone)]
pub struct Jwks {
    /// Its text.
    pub text: Bytes,
    /// Its version's name: an entity tag without the quotes.
    pub tag: Arc<str>,
}

impl Jwks {
    fn of(text: String) -> Self {
        let tag = blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect::<String>().into();
        Self { text: text.into(), tag }
    }
}

/// All that follows from one list of keys.
pub(super) struct Snapshot {
    /// In order of creation.
    pub keys: Vec<SealedKey>,
    /// What signs.
    pub signer: Option<Arc<Signer>>,
    /// The JWKS document.
    pub jwks: Jwks,
    /// What verifies.
    pub verification: KeySet,
}

/// A key that signs.
pub(in crate::auth) struct Signer {
    pub id: KeyId,
    pub algorithm: KeyAlgorithm,
    pub key: EncodingKey,
}

impl Default for Snapshot {
    fn default() -> Self {
        let jwks = Jwks::of(r#"{"keys":[]}"#.to_owned());
        Self { keys: Vec::new(), signer: None, jwks, verification: KeySet::default() }
    }
}

impl LiveKeys {
    /// A follower to open the stores with.
    pub fn follower(&self) -> Follower {
        let this = self.clone();
        Box::new(move |committed| this.follow(committed))
    }

    /// Takes in what one bundle changed about the keys. Before the ring is opened there is nobody
    /// who could change them.
    pub fn follow(&self, committed: &Committed) {
        let writer = self.0.writer.lock();
        let Some(sealer) = &writer.sealer else { return };
        let mut keys = self.0.snapshot.load().keys.clone();
        let mut changed = false;
        for change in &committed.changes {
            changed |= apply(&mut keys, change);
        }
        if !changed {
            return;
        }
        let (snapshot, unusable) = Snapshot::of(keys, sealer);
        if let Some(id) = unusable {
            // It was sealed by this very process a moment ago.
            tracing::error!(key = %id, "a signing key that was just committed cannot be opened; it is not used");
        }
        self.install(&writer, snapshot);
    }

    /// Tells `listener` the keys that verify, now and whenever they change: the way to
    /// `Verifier::replace_keys`.
    pub fn on_change(&self, listener: impl Fn(KeySet) + Send + Sync + 'static) {
        let mut writer = self.0.writer.lock();
        listener(self.snapshot().verification.clone());
        writer.listeners.push(Box::new(listener));
    }

    /// Puts stored keys in force. The lock is held while they are read, so that a bundle committed
    /// meanwhile is taken in afterwards.
    pub(super) fn load(
        &self,
        sealer: Arc<Sealer>,
        read: impl FnOnce() -> Result<Vec<SealedKey>, StoreError>,
    ) -> Result<(), KeyError> {
        let mut writer = self.0.writer.lock();
        let (snapshot, unusable) = Snapshot::of(read()?, &sealer);
        if let Some(id) = unusable {
            return Err(KeyError::Sealed(id));
        }
        writer.sealer = Some(sealer);
        self.install(&writer, snapshot);
        Ok(())
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// The key that signs now.
    pub(in crate::auth) fn signer(&self) -> Option<Arc<Signer>> {
        self.0.snapshot.load().signer.clone()
    }

    fn install(&self, writer: &Writer, snapshot: Snapshot) {
        let verification = snapshot.verification.clone();
        self.0.snapshot.store(Arc::new(snapshot));
        writer.listeners.iter().for_each(|listener| listener(verification.clone()));
    }
}

impl Snapshot {
    /// The snapshot of a list of keys, and one of them that should be usable but is not.
    fn of(mut keys: Vec<SealedKey>, sealer: &Sealer) -> (Self, Option<KeyId>) {
        // The stores' order too: made in one bundle, keys share their time.
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let (mut signer, mut unusable) = (None, None);
        let (mut published, mut symmetric) = (Vec::new(), Vec::new());
        for key in keys.iter().filter(|key| key.state != KeyState::Retired) {
            let Some(private) = open(key, sealer) else {
                unusable = Some(key.id.clone());
                continue;
            };
            if key.state == KeyState::Active {
                signer = Some(Arc::new(Signer::of(key, &private)));
            }
            match key.algorithm {
                KeyAlgorithm::HS256 => symmetric.push((&key.id, private)),
                _ => published.push(key.public_jwk.as_str()),
            }
        }
        let text = format!(r#"{{"keys":[{}]}}"#, published.join(","));
        // Every one of them was made here and is bound to its id, so the document is in order; were
        // it not, no token would verify, which is the safe side.
        let mut verification = KeySet::from_jwks(&text).unwrap_or_default();
        for (id, secret) in symmetric {
            if verification.add_hs256(&id.0, &secret).is_err() {
                unusable = Some(id.clone());
            }
        }
        (Self { keys, signer, jwks: Jwks::of(text), verification }, unusable)
    }
}

impl Signer {
    fn of(key: &SealedKey, private: &[u8]) -> Self {
        let (id, algorithm) = (key.id.clone(), key.algorithm);
        Self { id, algorithm, key: material::encoding_key(algorithm, private) }
    }
}

/// The private part; `None` if either part is not what was stored under this id.
fn open(key: &SealedKey, sealer: &Sealer) -> Option<Zeroizing<Vec<u8>>> {
    let private = sealer.open(&key.id, key.algorithm, &key.sealed)?;
    material::belongs(&key.id, key.algorithm, &key.public_jwk).then_some(private)
}

/// Applies one change; says whether it was about keys.
fn apply(keys: &mut Vec<SealedKey>, change: &Change) -> bool {
    match change {
        Change::Auth(AuthChange::KeyAdded(added)) => {
            keys.retain(|key| key.id != added.id);
            keys.push(added.clone());
            true
        }
        Change::Auth(AuthChange::KeyStateSet { key, state, at }) => {
            for key in keys.iter_mut().filter(|known| known.id == *key) {
                (key.state, key.changed_at) = (*state, *at);
            }
            true
        }
        _ => false,
    }
}
