//! Files that are newer, foreign, damaged or out of reach, and what a checkpoint may claim.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::auth::Auth;
use super::user::User;
use super::*;
use crate::model::account::{Account, AccountStatus, PasswordHash};
use crate::model::change::{AuthChange, UserChange};
use crate::model::document::{Document, Usage};
use crate::model::id::AccountId;
use crate::model::key::{KeyAlgorithm, KeyId, KeyState, SealedKey};
use crate::model::time::Timestamp;
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::view::{Applier, AuthView, UserView};

fn commit(seq: u64, changes: Vec<Change>) -> SharedCommit {
    Arc::new(Committed { seq: Seq(seq), time: Timestamp::from_millis(0), changes })
}

fn document(seq: u64, body: String) -> SharedCommit {
    let account = AccountId(Uuid::from_bytes([1; 16]));
    let updated_at = Timestamp::from_millis(0);
    let document = Document { account, key: format!("key {seq}"), body, version: 1, updated_at };
    commit(seq, vec![UserChange::DocumentPut(document).into()])
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("view.sqlite")
}

/// A user store with some documents, checkpointed and closed.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut applier) = open::<User>(folder.path()).unwrap();
    for seq in 1..=50 {
        applier.apply(&[document(seq, "x".repeat(1_000))]).unwrap();
    }
    assert_eq!(applier.checkpoint().unwrap(), Seq(50));
    folder
}

fn refused<S: Schema>(folder: &TempDir) -> StoreError {
    open::<S>(folder.path()).map(|_| ()).unwrap_err()
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = filled();
    Connection::open(path(&folder)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused::<User>(&folder);
    assert!(matches!(error, StoreError::NewerSchema { namespace: Namespace::User, found: 99, known: 2 }));
    assert!(error.to_string().contains("schema version 99"), "{error}");
}

#[test]
fn a_file_migrated_by_other_texts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open::<Auth>(folder.path()).unwrap());
    // Another namespace's file is the likely way to this.
    let error = refused::<User>(&folder).to_string();
    assert!(error.contains("migration 1 of the user store is not the one in this binary"), "{error}");
    assert!(error.contains("view.sqlite"), "{error}");
}

/// The user store as the first binaries made it.
struct FirstUser;

impl Schema for FirstUser {
    const NAMESPACE: Namespace = Namespace::User;
    const MIGRATIONS: &'static [&'static str] = &[include_str!("migrations/user/0001_documents.sql")];
    type Batch = ();

    fn apply(transaction: &Transaction<'_>, (): &mut (), _: Seq, _: &Change) -> Result<(), Fault> {
        for (key, body, version) in [("a", "\"ü\"", 4), ("b", "true", 3)] {
            transaction.execute(
                "INSERT INTO documents (account, key, body, version, updated_at) VALUES (?1, ?2, ?3, ?4, 0)",
                rusqlite::params![[1_u8; 16], key, body, version],
            )?;
        }
        Ok(())
    }
}

#[test]
fn documents_of_an_older_file_count_towards_the_quota_after_the_migration() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut applier) = open::<FirstUser>(folder.path()).unwrap();
    applier.apply(&[document(1, String::new())]).unwrap();
    drop(applier);
    let (view, applier) = open::<User>(folder.path()).unwrap();
    assert_eq!(applier.applied(), Seq(1));
    let usage = Usage { documents: 2, bytes: 8, last_version: 4 };
    assert_eq!(view.usage(AccountId(Uuid::from_bytes([1; 16]))).unwrap(), usage);
}

#[test]
fn a_missing_migration_record_is_refused() {
    let folder = filled();
    Connection::open(path(&folder)).unwrap().execute("DELETE FROM migrations", []).unwrap();
    assert!(matches!(refused::<User>(&folder), StoreError::Damaged { .. }));
}

#[test]
fn garbage_in_the_file_is_damage_at_its_start() {
    for bytes in [vec![b'x'; 4096], vec![0; 100], b"SQLite format 3".repeat(100)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(&folder), &bytes).unwrap();
        let error = refused::<User>(&folder);
        let StoreError::Damaged { path: named, offset: 0, .. } = &error else { panic!("{error}") };
        assert_eq!(*named, path(&folder));
        assert_eq!(std::fs::read(path(&folder)).unwrap(), bytes, "nothing was changed");
    }
}

#[test]
fn a_file_that_was_cut_is_damage_where_it_ends() {
    for keep in [1, 99, 5_000, 40_960] {
        let folder = filled();
        std::fs::OpenOptions::new().write(true).open(path(&folder)).unwrap().set_len(keep).unwrap();
        let error = refused::<User>(&folder);
        assert!(matches!(error, StoreError::Damaged { offset, .. } if offset == keep), "{error}");
    }
}

#[test]
fn damage_inside_is_an_error_that_names_the_file() {
    let folder = filled();
    let mut bytes = std::fs::read(path(&folder)).unwrap();
    bytes[4096 * 2..].fill(0x5a);
    std::fs::write(path(&folder), bytes).unwrap();
    let read = || {
        let (view, _applier) = open::<User>(folder.path())?;
        view.documents(AccountId(Uuid::from_bytes([1; 16])), None, 100)
    };
    let error = read().unwrap_err().to_string();
    assert!(error.contains(&path(&folder).display().to_string()), "{error}");
}

#[test]
fn a_place_where_nothing_can_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), b"").unwrap();
    // The second refuses new folders to anyone, the superuser too.
    for place in [folder.path().join("taken/user"), PathBuf::from("/sys/keepgate-test")] {
        let error = open::<User>(&place).map(|_| ()).unwrap_err();
        assert!(matches!(&error, StoreError::Io { path, .. } if *path == place), "{error}");
    }
}

#[test]
fn no_file_of_a_store_can_be_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_view, mut applier) = open::<User>(folder.path()).unwrap();
    applier.apply(&[document(1, String::new())]).unwrap();
    let modes: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the file, its WAL and its index");
}

#[test]
fn a_checkpoint_that_a_reader_holds_up_claims_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let (_view, mut applier) = open::<User>(folder.path()).unwrap();
    applier.apply(&[document(1, String::new())]).unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(1));
    applier.apply(&[document(2, String::new())]).unwrap();
    let reader = Connection::open(path(&folder)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM documents").unwrap();
    applier.apply(&[document(3, String::new())]).unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(1));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(3));
    assert_eq!(std::fs::metadata(folder.path().join("view.sqlite-wal")).unwrap().len(), 0);
}

#[test]
fn a_checkpoint_stores_the_position_of_bundles_that_held_nothing_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_view, mut applier) = open::<User>(folder.path()).unwrap();
    applier.apply(&[commit(1, Vec::new()), commit(2, Vec::new())]).unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(2));
    drop(applier);
    assert_eq!(open::<User>(folder.path()).unwrap().1.applied(), Seq(2));
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (view, mut applier) = open::<Auth>(folder.path()).unwrap();
    Connection::open(path(&folder)).unwrap().execute_batch("DROP TABLE signing_keys").unwrap();
    let at = Timestamp::from_millis(0);
    let account = Account {
        id: AccountId(Uuid::from_bytes([1; 16])),
        email: "a@example.com".parse().unwrap(),
        name: String::new(),
        roles: std::collections::BTreeSet::new(),
        status: AccountStatus::Active,
        password: PasswordHash(String::new()),
        password_set_at: at,
        created_at: at,
    };
    let key = SealedKey {
        id: KeyId("k".to_owned()),
        algorithm: KeyAlgorithm::EdDSA,
        state: KeyState::Next,
        public_jwk: String::new(),
        sealed: Vec::new(),
        created_at: at,
        changed_at: at,
    };
    let (account, key) = (AuthChange::AccountCreated(account), AuthChange::KeyAdded(key));
    let batch = [commit(1, vec![account.into()]), commit(2, vec![key.into()])];
    let error = applier.apply(&batch).unwrap_err();
    assert!(matches!(&error, StoreError::Engine { namespace: Namespace::Auth, .. }), "{error}");
    assert_eq!(view.account_count().unwrap(), 0);
    assert_eq!(applier.applied(), Seq(0));
}

#[test]
fn readers_answer_while_the_writer_is_in_a_transaction() {
    let folder = filled();
    let (view, _applier) = open::<User>(folder.path()).unwrap();
    let mut other = Connection::open(path(&folder)).unwrap();
    let transaction = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    transaction.execute("DELETE FROM documents", []).unwrap();
    let documents = view.documents(AccountId(Uuid::from_bytes([1; 16])), None, 100).unwrap();
    assert_eq!(documents.len(), 50);
}

#[test]
fn a_file_gives_back_what_is_no_longer_needed_and_keeps_some_for_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (view, mut applier) = open::<User>(folder.path()).unwrap();
    let pages = || std::fs::metadata(path(&folder)).unwrap().len() / 4096;
    let account = AccountId(Uuid::from_bytes([1; 16]));
    for seq in 1..=400 {
        applier.apply(&[document(seq, "x".repeat(50_000))]).unwrap();
    }
    applier.checkpoint().unwrap();
    let full = pages();
    assert!(full > 4_000, "{full}");
    let erased = |seq| commit(seq, vec![UserChange::UserErased { account }.into()]);
    applier.apply(&[erased(401)]).unwrap();
    applier.checkpoint().unwrap();
    applier.give_back();
    // What was given back leaves the file at the next checkpoint.
    applier.apply(&[erased(402)]).unwrap();
    applier.checkpoint().unwrap();
    let after_one = pages();
    assert!(after_one < full && after_one >= full - 2_100, "bounded: {full}, then {after_one}");
    for seq in 403..=411 {
        applier.give_back();
        applier.apply(&[erased(seq)]).unwrap();
        applier.checkpoint().unwrap();
    }
    assert!((500..=1_200).contains(&pages()), "{}", pages());
    applier.apply(&[document(412, "again".into())]).unwrap();
    assert_eq!(view.documents(account, None, 9).unwrap().len(), 1);
}
