//! The service on real stores in memory: conditions, quotas, versions and what deletion leaves, with
//! everybody at once where that is the point.

mod races;

use std::sync::Arc;

use super::administer::Administrator;
use super::condition::{Condition, Tag, Tags, Unmet};
use super::error::UsersError;
use super::json::JsonText;
use super::key::DocumentKey;
use super::profile::ProfilePatch;
use super::*;
use crate::audit::subjects::{Subjects, known::KnownSubjects};
use crate::model::account::AccountStatus;
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::change::{AuthChange, Change, UserChange};
use crate::model::document::Usage;
use crate::model::event::{AuditEvent, Outcome};
use crate::model::id::{RequestId, SessionId, TokenId};
use crate::model::master_key::MasterKey;
use crate::model::random::{SeededRng, SharedRng};
use crate::model::time::{ManualClock, Timestamp};
use crate::store::Stores;
use crate::store::conformance::sample;
use crate::store::namespace::AuthStore;

/// The accounts, straight from their namespace.
struct Everybody(AuthStore);

impl People for Everybody {
    fn read_account(&self, bundle: &mut Bundle, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.0.read_account(bundle, id)
    }

    fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Account>, StoreError> {
        self.0.accounts(after, limit)
    }

    fn rename(&self, bundle: &mut Bundle, account: AccountId, name: String) {
        self.0.stage(bundle, AuthChange::NameSet { account, name });
    }
}

struct World {
    users: Users,
    stores: Stores,
    ada: Caller,
}

const QUOTAS: config::users::Users =
    config::users::Users { document_bytes: 100, documents: 5, account_bytes: 300 };

impl World {
    async fn new() -> Self {
        Self::with(&QUOTAS).await
    }

    async fn with(quotas: &config::users::Users) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let stores = Stores::in_memory(Arc::clone(&clock), Vec::new()).unwrap();
        let rng: SharedRng = Arc::new(SeededRng::new(1));
        let master = MasterKey::generate(&*rng);
        let (logs, committer) = (stores.logs.clone(), stores.committer.clone());
        let subjects = Subjects::new(KnownSubjects::default(), logs.clone(), Arc::clone(&rng), &master);
        let trail = Trail::new(logs, committer, Arc::clone(&clock), rng, subjects);
        let users = Users::new(
            Parts {
                user: stores.user.clone(),
                people: Arc::new(Everybody(stores.auth.clone())),
                committer: stores.committer.clone(),
                trail: trail.clone(),
                denials: Arc::new(Folded::new(trail)),
                clock,
            },
            quotas,
        );
        let world = Self { users, stores, ada: caller(1, &[]) };
        world.commit([AuthChange::AccountCreated(sample::account(1, &[]))]).await;
        world
    }

    async fn commit(&self, changes: impl IntoIterator<Item = impl Into<Change>>) {
        let mut bundle = Bundle::new();
        for change in changes {
            match change.into() {
                Change::Auth(change) => self.stores.auth.stage(&mut bundle, change),
                Change::User(change) => self.stores.user.stage(&mut bundle, change),
                _ => panic!("not here"),
            }
        }
        self.stores.committer.commit(bundle).await.unwrap();
    }

    /// Writes without a condition.
    async fn put(&self, name: &str, body: &str) -> Result<String, UsersError> {
        self.put_if(name, body, &Condition::default()).await
    }

    /// Writes and gives the new tag.
    async fn put_if(&self, name: &str, body: &str, condition: &Condition) -> Result<String, UsersError> {
        let written = self.users.put(&self.ada, &key(name), &json(body), condition).await?;
        Ok(written.document.tag())
    }

    async fn delete(&self, name: &str) -> Result<(), UsersError> {
        self.users.delete(&self.ada, &key(name), &Condition::default()).await
    }

    fn body(&self, name: &str) -> Option<String> {
        self.users.document(&self.ada, &key(name)).ok().map(|document| document.body)
    }

    fn usage(&self) -> Usage {
        self.stores.user.usage(self.ada.account).unwrap()
    }

    async fn events(&self) -> Vec<AuditEvent> {
        self.stores.logs.reached(self.stores.committer.durable()).await.unwrap();
        let records = self.stores.logs.records(0, usize::MAX).unwrap();
        records.iter().map(|record| record.event().unwrap().0).collect()
    }
}

fn caller(n: u8, roles: &[&str]) -> Caller {
    Caller {
        account: sample::account(n, &[]).id,
        session: SessionId(uuid::Uuid::nil()),
        token: TokenId(uuid::Uuid::nil()),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        scope: String::new(),
        expires_at: Timestamp::MAX,
    }
}

fn here() -> Origin {
    let request = RequestId(uuid::Uuid::nil());
    Origin { request, address: Some("192.0.2.1".parse().unwrap()), user_agent: String::new() }
}

fn key(name: &str) -> DocumentKey {
    name.parse().unwrap()
}

fn json(text: &str) -> JsonText {
    JsonText::parse(text.as_bytes()).unwrap()
}

/// A JSON string of that many bytes.
fn long(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

fn if_match(tag: &str) -> Condition {
    let only_if = Some(Tags::OneOf(vec![Tag { weak: false, opaque: tag.to_owned() }]));
    Condition { only_if, unless: None }
}

fn if_absent() -> Condition {
    Condition { only_if: None, unless: Some(Tags::Any) }
}

#[tokio::test]
async fn a_document_is_what_was_written_last_and_each_version_has_a_tag_of_its_own() {
    let world = World::new().await;
    let mut tags = std::collections::BTreeSet::new();
    for body in ["1", " [2 ]\n", "\"ü\\u0000\""] {
        assert!(tags.insert(world.put("a", body).await.unwrap()));
        assert_eq!(world.body("a").unwrap(), body);
    }
    // Deleted and made again, with the same body and in the same millisecond, it is another one.
    for _ in 0..3 {
        world.delete("a").await.unwrap();
        assert_eq!(world.body("a"), None);
        assert!(tags.insert(world.put("a", "1").await.unwrap()));
    }
    assert!(matches!(world.delete("b").await, Err(UsersError::NoDocument)));
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let world = World::new().await;
    let first = world.put_if("a", "1", &if_absent()).await.unwrap();
    let unmet = |result: Result<String, UsersError>| match result {
        Err(UsersError::Unmet(unmet)) => unmet,
        other => panic!("{other:?}"),
    };
    assert_eq!(unmet(world.put_if("a", "2", &if_absent()).await), Unmet::NoneMatch);
    let second = world.put_if("a", "2", &if_match(&first)).await.unwrap();
    assert_eq!(unmet(world.put_if("a", "3", &if_match(&first)).await), Unmet::Match);
    assert_eq!(unmet(world.put_if("b", "3", &if_match(&first)).await), Unmet::Missing);
    let stale = world.users.delete(&world.ada, &key("a"), &if_match(&first)).await;
    assert!(matches!(stale, Err(UsersError::Unmet(Unmet::Match))));
    assert_eq!(world.body("a").unwrap(), "2");
    world.users.delete(&world.ada, &key("a"), &if_match(&second)).await.unwrap();
    // Who still has the second version must not hit its successor.
    world.put_if("a", "2", &if_absent()).await.unwrap();
    assert_eq!(unmet(world.put_if("a", "4", &if_match(&second)).await), Unmet::Match);
}

#[tokio::test]
async fn quotas_hold_to_the_byte_and_shrinking_is_always_allowed() {
    let world = World::new().await;
    let full = |result: Result<String, UsersError>| result.unwrap_err().to_string();
    assert!(full(world.put("a", &long(101)).await).contains("at most 100 bytes"));
    for name in ["a", "b", "c"] {
        world.put(name, &long(100)).await.unwrap();
    }
    assert_eq!(world.usage().bytes, 300);
    let refused = full(world.put("d", "1").await);
    assert!(refused.contains("at most 300 bytes together") && refused.contains("301"), "{refused}");
    world.put("a", &long(100)).await.unwrap();
    world.put("a", &long(98)).await.unwrap();
    world.put("d", "1").await.unwrap();
    world.put("e", "1").await.unwrap();
    assert_eq!((world.usage().documents, world.usage().bytes), (5, 300));
    world.put("a", "1").await.unwrap();
    assert!(full(world.put("f", "1").await).contains("at most 5 documents"));
    world.delete("a").await.unwrap();
    world.put("f", "1").await.unwrap();
    // Of other people's documents nothing counts.
    world.commit([AuthChange::AccountCreated(sample::account(2, &[]))]).await;
    world.users.put(&caller(2, &[]), &key("a"), &json("1"), &Condition::default()).await.unwrap();
    // A quota that was lowered takes nothing away and lets nothing grow.
    let World { users: Users { commands, looks, .. }, .. } = &world;
    let quotas = config::users::Users { documents: 1, account_bytes: 50, ..QUOTAS };
    let lowered = Users { commands: commands.clone(), looks: looks.clone(), quotas };
    let put = |name: &'static str, body: String| {
        let (users, caller) = (lowered.clone(), world.ada.clone());
        async move { users.put(&caller, &key(name), &json(&body), &Condition::default()).await }
    };
    assert!(matches!(put("f", "22".into()).await, Err(UsersError::TooManyBytes { limit: 50, .. })));
    assert!(matches!(put("g", "1".into()).await, Err(UsersError::TooManyDocuments { limit: 1 })));
    put("b", long(99)).await.unwrap();
}

#[tokio::test]
async fn a_locked_account_writes_nothing() {
    let world = World::new().await;
    let status = AccountStatus::Disabled;
    world.commit([AuthChange::StatusSet { account: world.ada.account, status }]).await;
    assert!(matches!(world.put("a", "1").await, Err(UsersError::SessionEnded)));
}

#[tokio::test]
async fn a_profile_is_patched_member_by_member() {
    let world = World::new().await;
    let patch = |claims: &[(&'static str, Option<&str>)]| ProfilePatch {
        claims: claims.iter().map(|(name, value)| (*name, value.map(str::to_owned))).collect(),
        ..ProfilePatch::default()
    };
    let apply = |patch| world.users.patch_profile(&world.ada, patch, if_none());
    let before = world.users.me(&world.ada).unwrap();
    assert_eq!((before.updated_at, before.claims.len()), (None, 0));
    let person = apply(patch(&[("locale", Some("de")), ("zoneinfo", Some("Europe/Zurich"))])).await.unwrap();
    assert_ne!(person.tag(), before.tag());
    assert_eq!(world.users.me(&world.ada).unwrap(), person);
    let person = apply(patch(&[("locale", None), ("nickname", Some(" ada "))])).await.unwrap();
    assert_eq!(
        person.claims.into_iter().map(|(name, value)| name + "=" + &value).collect::<Vec<_>>(),
        ["nickname=ada", "zoneinfo=Europe/Zurich"]
    );
    let named = ProfilePatch { name: Some("Ada L.".into()), clear: true, ..patch(&[("locale", Some("fr"))]) };
    let person = apply(named).await.unwrap();
    assert_eq!((person.name.as_str(), person.claims.len()), ("Ada L.", 1));
    assert_eq!(world.stores.auth.account(world.ada.account).unwrap().unwrap().name, "Ada L.");
    // What changes nothing writes nothing.
    let seq = world.stores.committer.durable();
    assert_eq!(apply(patch(&[("locale", Some("fr")), ("website", None)])).await.unwrap(), person);
    assert_eq!(world.stores.committer.durable(), seq);
    let bad =
        ProfilePatch { name: Some("\u{7}".into()), ..patch(&[("picture", Some("x")), ("age", Some("7"))]) };
    let Err(UsersError::Invalid(faults)) = apply(bad).await else { panic!("it is bad") };
    let faults: Vec<_> = faults.iter().map(|fault| format!("{} {}", fault.field, fault.code)).collect();
    assert_eq!(faults, ["name invalid", "/profile/age unknown", "/profile/picture invalid"]);
    let stale =
        world.users.patch_profile(&world.ada, patch(&[("locale", None)]), &if_match(&before.tag())).await;
    assert!(matches!(stale, Err(UsersError::Unmet(Unmet::Match))));
}

fn if_none() -> &'static Condition {
    &Condition { only_if: None, unless: None }
}

#[tokio::test]
async fn an_administrator_sees_what_is_there_and_is_seen_doing_it() {
    let world = World::new().await;
    world.put("a", "[1]").await.unwrap();
    let id = world.ada.account;
    let root = caller(9, &["viewer", "admin"]);
    let by = world.users.administrator(&root, &here()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.users.accounts(&by, None, 10).await.unwrap().len(), 1);
        assert_eq!(world.users.person(&by, id).await.unwrap(), world.users.me(&world.ada).unwrap());
        assert_eq!(world.users.documents_of(&by, id, None, 10).await.unwrap().len(), 1);
        assert_eq!(world.users.document_of(&by, id, &key("a")).await.unwrap().body, "[1]");
    }
    let nobody = caller(7, &[]).account;
    assert!(matches!(world.users.person(&by, nobody).await, Err(UsersError::NoAccount)));
    assert!(matches!(world.users.document_of(&by, nobody, &key("a")).await, Err(UsersError::NoAccount)));
    assert!(matches!(world.users.document_of(&by, id, &key("b")).await, Err(UsersError::NoDocument)));
    let console = Administrator::console(Actor::Console(0), here());
    world.users.document_of(&console, id, &key("a")).await.unwrap();
    let told: Vec<_> = world.events().await.into_iter().map(|it| (it.actor, it.target, it.reason)).collect();
    let root = Actor::Account(root.account);
    let of = |actor: &Actor, target: String, reason: &str| (actor.clone(), target, reason.to_owned());
    assert_eq!(
        told,
        [
            of(&root, String::new(), "accounts"),
            of(&root, id.to_string(), "profile"),
            of(&root, id.to_string(), "documents"),
            of(&root, id.to_string(), "document"),
            of(&Actor::Console(0), id.to_string(), "document"),
        ]
    );
}

#[tokio::test]
async fn who_is_no_administrator_is_refused_and_told_of_in_the_log_once() {
    let world = World::new().await;
    for roles in [[].as_slice(), &["administrator"], &["editor"]] {
        let refused = world.users.administrator(&caller(1, roles), &here()).await;
        assert!(matches!(refused, Err(UsersError::NotAdministrator)), "{roles:?}");
    }
    let events = world.events().await;
    assert_eq!(events.len(), 1, "the rest is counted");
    assert_eq!((events[0].outcome, events[0].reason.as_str()), (Outcome::Denied, "not_administrator"));
    let looked: Vec<_> = events.iter().filter(|event| event.outcome == Outcome::Granted).collect();
    assert!(looked.is_empty());
}
