//! What is sealed, what opens, and what an erasure leaves.

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

#[tokio::test]
async fn whether_an_account_was_erased_is_an_error_where_it_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let clock: SharedClock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let stores = Stores::open(folder.path(), clock, &Default::default(), vec![]).unwrap();
    let master = MasterKey::generate(&SeededRng::new(1));
    let rng: SharedRng = Arc::new(SeededRng::new(3));
    let subjects = Subjects::new(KnownSubjects::default(), stores.logs.clone(), rng, &master);
    assert_eq!(subjects.erased_of(&[account(1)]).unwrap(), HashSet::new());
    let db = rusqlite::Connection::open(folder.path().join("store/logs/view.sqlite")).unwrap();
    db.execute_batch("DROP TABLE subject_keys").unwrap();
    assert!(subjects.erased_of(&[account(1)]).is_err());
}
