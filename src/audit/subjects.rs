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

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::change::{Change, LogChange};
use crate::model::event::{AuditEvent, Fields, Seal, SealedEvent};
use crate::model::id::{AccountId, EventId};
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::{self, Rng, SharedRng};
use crate::store::bundle::Bundle;
use crate::store::commit::Follower;
use crate::store::error::StoreError;
use crate::store::namespace::{LogStore, SubjectKeys};

/// Accounts whose keys are remembered; about 150 bytes each. Others cost a read of the log database.
const REMEMBERED: usize = 50_000;

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

/// The newest known about an account's keys.
#[derive(Clone)]
enum Known {
    /// One that may be used, sealed.
    Key(Arc<[u8]>),
    Erased,
}

/// What was learned of accounts' keys, bounded. Shared by the follower, which is made before the
/// stores are opened, and [`Subjects`], which are made after.
#[derive(Clone)]
pub struct KnownSubjects(Arc<Cache<AccountId, Known>>);

impl Default for KnownSubjects {
    fn default() -> Self {
        Self(Arc::new(Cache::new(REMEMBERED)))
    }
}

impl KnownSubjects {
    /// Learns of keys as they are committed: the log database follows later, and every event about
    /// an account in between would make one more key.
    pub fn follower(&self) -> Follower {
        let known = Arc::clone(&self.0);
        Box::new(move |committed| {
            for change in &committed.changes {
                match change {
                    Change::Log(LogChange::SubjectKeyAdded { account, sealed })
                        if !matches!(known.get(account), Some(Known::Erased)) =>
                    {
                        known.insert(*account, Known::Key(sealed.as_slice().into()));
                    }
                    Change::Log(LogChange::SubjectKeyErased { account }) => {
                        known.insert(*account, Known::Erased);
                    }
                    _ => {}
                }
            }
        })
    }
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
        self.logs.stage(bundle, LogChange::SubjectKeyErased { account });
    }

    /// The key to seal with; a new one is staged if there is none. None if the account is erased.
    fn key_for(&self, bundle: &mut Bundle, account: AccountId) -> Option<LessSafeKey> {
        match self.look(account) {
            Some(Known::Erased) => None,
            Some(Known::Key(sealed)) => {
                self.unlock(account, &sealed).or_else(|| self.new_key(bundle, account))
            }
            None => self.new_key(bundle, account),
        }
    }

    /// What is known; none if there is no key yet, or it cannot be read: a new one does as well.
    fn look(&self, account: AccountId) -> Option<Known> {
        if let Some(known) = self.known.0.get(&account) {
            return Some(known);
        }
        let found = match self.logs.subject_keys(account) {
            Ok(SubjectKeys::Erased) => Known::Erased,
            Ok(SubjectKeys::Kept(keys)) => Known::Key(keys.into_iter().next()?.into()),
            Err(error) => {
                tracing::warn!(%error, "a key of the audit log's personal fields cannot be read");
                return None;
            }
        };
        self.known.0.insert(account, found.clone());
        Some(found)
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
        let remembered = match self.known.0.get(&seal.subject) {
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
mod tests {
    use super::*;
    use crate::audit::draft::Draft;
    use crate::model::caller::Origin;
    use crate::model::event::{Intent, Outcome};
    use crate::model::id::RequestId;
    use crate::model::random::SeededRng;
    use crate::model::time::{ManualClock, SharedClock, Timestamp};
    use crate::store::Stores;

    struct World {
        stores: Stores,
        subjects: Subjects,
        rng: SharedRng,
    }

    fn world() -> World {
        let clock: SharedClock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
        let rng: SharedRng = Arc::new(SeededRng::new(3));
        let known = KnownSubjects::default();
        let stores = Stores::in_memory(clock, vec![known.follower()]).unwrap();
        let master = MasterKey::generate(&SeededRng::new(1));
        let subjects = Subjects::new(known, stores.logs.clone(), Arc::clone(&rng), &master);
        World { stores, subjects, rng }
    }

    fn account(n: u8) -> AccountId {
        AccountId(uuid::Uuid::from_bytes([n; 16]))
    }

    impl World {
        fn staged(&self, about: AccountId, target: &str) -> Bundle {
            let request = RequestId(uuid::Uuid::nil());
            let origin =
                Origin { request, address: Some("192.0.2.77".parse().unwrap()), user_agent: String::new() };
            let now = Timestamp::from_millis(5);
            let draft = Draft::new(Intent::Login, Outcome::Denied).about(about).at(&origin).target(target);
            let (event, subject) = draft.finish(EventId::new(now, &*self.rng), now);
            let mut bundle = Bundle::new();
            self.subjects.stage(&mut bundle, event, subject);
            bundle
        }

        async fn commit(&self, bundle: Bundle) {
            let receipt = self.stores.committer.commit(bundle).await.unwrap();
            self.stores.logs.reached(receipt.seq).await.unwrap();
        }

        async fn erase(&self, account: AccountId) {
            let mut bundle = Bundle::new();
            self.subjects.erase(&mut bundle, account);
            self.commit(bundle).await;
        }

        fn keys(&self, of: AccountId) -> usize {
            match self.stores.logs.subject_keys(of).unwrap() {
                SubjectKeys::Kept(keys) => keys.len(),
                SubjectKeys::Erased => usize::MAX,
            }
        }

        /// What the newest record says, and its bytes.
        fn last(&self, subjects: &Subjects) -> (AuditEvent, Fields, Vec<u8>) {
            let record = self.stores.logs.records(0, 99).unwrap().pop().unwrap();
            let (mut event, seal) = record.event().unwrap();
            let fields = subjects.restore(&mut event, &seal.unwrap()).unwrap();
            (event, fields, record.payload)
        }
    }

    #[tokio::test]
    async fn the_address_and_a_mail_address_are_in_the_log_only_as_ciphertext_and_are_read_back() {
        let world = world();
        world.commit(world.staged(account(1), "ada@example.com")).await;
        let (event, fields, payload) = world.last(&world.subjects);
        assert_eq!(fields, Fields::Open);
        assert_eq!(
            (event.address, event.target.as_str()),
            (Some("192.0.2.77".parse().unwrap()), "ada@example.com")
        );
        for part in [&[192, 0, 2, 77][..], b"ada", b"192.0.2"] {
            assert!(!payload.windows(part.len()).any(|window| window == part));
        }
    }

    #[tokio::test]
    async fn one_key_serves_all_events_and_two_that_race_are_both_read() {
        let world = world();
        let (one, other) = (world.staged(account(1), ""), world.staged(account(1), ""));
        world.commit(one).await;
        assert_eq!(world.last(&world.subjects).1, Fields::Open);
        world.commit(other).await;
        assert_eq!(world.last(&world.subjects).1, Fields::Open);
        assert_eq!(world.keys(account(1)), 2);
        world.commit(world.staged(account(1), "")).await;
        assert_eq!(world.keys(account(1)), 2);
        assert_eq!(world.last(&world.subjects).1, Fields::Open);
    }

    #[tokio::test]
    async fn after_erasure_nothing_is_read_and_what_races_with_it_or_follows_it_is_not_either() {
        let world = world();
        world.commit(world.staged(account(1), "")).await;
        world.commit(world.staged(account(2), "")).await;
        let racing = world.staged(account(3), "");
        world.erase(account(1)).await;
        world.erase(account(3)).await;
        let read = |index: usize| {
            let (mut event, seal) = world.stores.logs.records(0, 99).unwrap()[index].event().unwrap();
            let fields = world.subjects.restore(&mut event, &seal.unwrap()).unwrap();
            (event.address.is_some(), fields)
        };
        assert_eq!((read(0), read(1)), ((false, Fields::Erased), (true, Fields::Open)));
        world.commit(racing).await;
        assert_eq!(read(2), (false, Fields::Erased));
        world.commit(world.staged(account(1), "")).await;
        assert_eq!(read(3), (false, Fields::Erased));
        assert_eq!((world.keys(account(1)), world.keys(account(3))), (usize::MAX, usize::MAX));
    }

    #[tokio::test]
    async fn another_master_key_opens_nothing_and_says_so() {
        let world = world();
        world.commit(world.staged(account(1), "")).await;
        let other = MasterKey::generate(&SeededRng::new(2));
        let logs = world.stores.logs.clone();
        let stranger = Subjects::new(KnownSubjects::default(), logs, Arc::clone(&world.rng), &other);
        let (event, fields, _) = world.last(&stranger);
        assert_eq!((event.address, fields), (None, Fields::Locked));
    }

    #[tokio::test]
    async fn a_text_moved_to_another_event_or_account_does_not_open() {
        let world = world();
        for n in [1, 2] {
            world.commit(world.staged(account(n), "")).await;
        }
        let read = world.stores.logs.records(0, 99).unwrap();
        let [one, other] = [&read[0], &read[1]].map(|record| record.event().unwrap());
        let seal = one.1.unwrap();
        let mut moved = other.0.clone();
        assert_eq!(world.subjects.restore(&mut moved, &seal).unwrap(), Fields::Locked);
        let mut event = one.0;
        let stolen = Seal { subject: account(2), ..seal };
        assert_eq!(world.subjects.restore(&mut event, &stolen).unwrap(), Fields::Locked);
    }
}
