//! Personal fields sealed per subject, so that erasing a person keeps the chain valid: the address
//! of an event about an account is encrypted (AES-256-GCM) under a random key of that account, and
//! the chain covers the ciphertext. Erasing the keys makes every copy of it unreadable at once.
//!
//! The keys are records of the logs namespace, sealed themselves under a subkey of the master key.
//! An account may have several: two first events about it may race, and each brings its own. Erasure
//! is for good: a key that is committed after it is not kept by any view, so whatever races with it
//! ends in fields that nobody can read, never in fields that outlive it.
//!
//! Nonces are 96 random bits. One key seals far fewer than the 2³² texts where they might repeat
//! (NIST SP 800-38D §8.3). The associated data binds a text to its event, and a key to its account.

pub mod known;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::known::{Known, KnownSubjects};
use crate::model::change::LogChange;
use crate::model::event::{AuditEvent, Fields, Seal, SealedEvent};
use crate::model::id::{AccountId, EventId};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{self, Rng, SharedRng};
use crate::store::bundle::Bundle;
use crate::store::error::StoreError;
use crate::store::namespace::{LogStore, SubjectKeys};

/// Says which key is sealed: nothing but a subject's key opens as one.
const KEY_CONTEXT: &[u8; 24] = b"keepgate audit subject 1";
/// Says what is sealed with it.
const TEXT_CONTEXT: &[u8; 24] = b"keepgate audit personal1";

/// What of an event is about a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Personal {
    /// From where.
    address: Option<IpAddr>,
    /// The target, where it names a person.
    target: Option<String>,
}

/// Seals, opens and erases personal fields. Cheap to clone.
#[derive(Clone)]
pub struct Subjects {
    known: KnownSubjects,
    logs: LogStore,
    rng: SharedRng,
    /// What the subjects' keys are sealed with.
    master: Arc<LessSafeKey>,
}

impl Subjects {
    /// On the keys in `logs`, sealed under `master`.
    #[expect(
        clippy::expect_used,
        reason = "a subkey has the 32 bytes of an AES-256 key; only its length is checked"
    )]
    pub fn new(known: KnownSubjects, logs: LogStore, rng: SharedRng, master: &MasterKey) -> Self {
        let subkey = master.derive(Purpose::AuditSubjects);
        let master = UnboundKey::new(&AES_256_GCM, subkey.expose()).expect("32 bytes are an AES-256 key");
        Self { known, logs, rng, master: Arc::new(LessSafeKey::new(master)) }
    }

    /// Stages the event; what of it is about a person is sealed if it is known whom it is about.
    pub(in crate::audit) fn stage(
        &self,
        bundle: &mut Bundle,
        mut event: AuditEvent,
        subject: Option<AccountId>,
    ) {
        let named = subject.filter(|_| event.address.is_some() || event.target.contains('@'));
        let Some(subject) = named else { return self.logs.stage(bundle, LogChange::Event(event)) };
        let target = event.target.contains('@').then(|| std::mem::take(&mut event.target));
        let personal = Personal { address: event.address.take(), target };
        let text = self.key_for(bundle, subject).and_then(|key| {
            let plain = Zeroizing::new(postcard::to_stdvec(&personal).ok()?);
            seal(&key, &bound_to(event.id), &plain, &*self.rng)
        });
        // Without a key (the account is erased) the fields are left out, not written in the clear.
        let seal = Seal { subject, text: text.unwrap_or_default() };
        self.logs.stage(bundle, LogChange::SealedEvent(SealedEvent { event, seal }));
    }

    /// Stages the erasure of everything that is sealed for an account.
    pub(in crate::audit) fn erase(&self, bundle: &mut Bundle, account: AccountId) {
        self.known.applied(self.logs.applied());
        self.logs.stage(bundle, LogChange::SubjectKeyErased { account });
    }

    /// The key to seal with; a new one is staged if there is none, or it cannot be read. None if the
    /// account is erased.
    fn key_for(&self, bundle: &mut Bundle, account: AccountId) -> Option<LessSafeKey> {
        let known = self.look(account).unwrap_or_else(|error| {
            tracing::warn!(%error, "a key of the audit log's personal fields cannot be read");
            None
        });
        match known {
            Some(Known::Erased) => None,
            Some(Known::Key(sealed)) => {
                self.unlock(account, &sealed).or_else(|| self.new_key(bundle, account))
            }
            None => self.new_key(bundle, account),
        }
    }

    /// What is known; none if there is no key yet.
    fn look(&self, account: AccountId) -> Result<Option<Known>, StoreError> {
        loop {
            if let Some(known) = self.known.get(account) {
                return Ok(Some(known));
            }
            // Asked before the read, which is at least as new.
            let as_of = self.logs.applied();
            self.known.applied(as_of);
            let found = match self.logs.subject_keys(account)? {
                SubjectKeys::Erased => Known::Erased,
                SubjectKeys::Kept(keys) => match keys.into_iter().next() {
                    Some(key) => Known::Key(key.into()),
                    None => return Ok(None),
                },
            };
            if let Some(known) = self.known.fill(account, found, as_of) {
                return Ok(Some(known));
            }
        }
    }

    /// Which of the accounts were erased: nothing about them can be sealed any more.
    pub(in crate::audit) fn erased_of(
        &self,
        accounts: &[AccountId],
    ) -> Result<HashSet<AccountId>, StoreError> {
        let mut erased = HashSet::new();
        for account in accounts {
            if matches!(self.look(*account)?, Some(Known::Erased)) {
                erased.insert(*account);
            }
        }
        Ok(erased)
    }

    /// Whether the account was erased lately, which needs no read.
    pub(in crate::audit) fn was_just_erased(&self, account: AccountId) -> bool {
        matches!(self.known.get(account), Some(Known::Erased))
    }

    fn new_key(&self, bundle: &mut Bundle, account: AccountId) -> Option<LessSafeKey> {
        let bytes = Zeroizing::new(random::bytes::<32>(&*self.rng));
        let sealed = seal(&self.master, &key_bound_to(account), &*bytes, &*self.rng)?;
        self.logs.stage(bundle, LogChange::SubjectKeyAdded { account, sealed });
        key(&*bytes)
    }

    fn unlock(&self, account: AccountId, sealed: &[u8]) -> Option<LessSafeKey> {
        key(&open(&self.master, &key_bound_to(account), sealed)?)
    }

    /// Puts the sealed fields back into the event, if they can be opened.
    pub(in crate::audit) fn restore(
        &self,
        event: &mut AuditEvent,
        seal: &Seal,
    ) -> Result<Fields, StoreError> {
        if seal.text.is_empty() {
            return Ok(Fields::Erased);
        }
        let bound = bound_to(event.id);
        let try_key = |sealed: &[u8]| open(&self.unlock(seal.subject, sealed)?, &bound, &seal.text);
        let remembered = match self.known.get(seal.subject) {
            Some(Known::Erased) => return Ok(Fields::Erased),
            Some(Known::Key(sealed)) => try_key(&sealed),
            None => None,
        };
        let plain = match remembered {
            Some(plain) => Some(plain),
            None => match self.logs.subject_keys(seal.subject)? {
                SubjectKeys::Erased => return Ok(Fields::Erased),
                SubjectKeys::Kept(keys) => keys.iter().find_map(|sealed| try_key(sealed)),
            },
        };
        let personal = plain.and_then(|plain| postcard::from_bytes::<Personal>(&plain).ok());
        let Some(Personal { address, target }) = personal else { return Ok(Fields::Locked) };
        event.address = address;
        if let Some(target) = target {
            event.target = target;
        }
        Ok(Fields::Open)
    }
}

fn bound_to(event: EventId) -> Vec<u8> {
    [&TEXT_CONTEXT[..], event.0.as_bytes()].concat()
}

fn key_bound_to(account: AccountId) -> Vec<u8> {
    [&KEY_CONTEXT[..], account.0.as_bytes()].concat()
}

fn key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

/// Nonce, ciphertext and tag.
fn seal(key: &LessSafeKey, bound: &[u8], plain: &[u8], rng: &dyn Rng) -> Option<Vec<u8>> {
    let nonce = random::bytes::<NONCE_LEN>(rng);
    let mut text = Zeroizing::new(plain.to_vec());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut text)
        .ok()?;
    Some([&nonce[..], &text, tag.as_ref()].concat())
}

fn open(key: &LessSafeKey, bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(bound), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests;
