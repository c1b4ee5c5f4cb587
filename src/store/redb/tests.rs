//! Files that are newer, foreign, damaged, held or out of reach, and what a crash leaves.

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::model::change::TokenChange;
use crate::model::id::Seq;
use crate::model::session::Session;
use crate::model::time::Timestamp;
use crate::store::bundle::{Committed, SharedCommit};
use crate::store::conformance::sample;
use crate::store::overlaid::TokenEngine;
use crate::store::view::Applier;

pub(super) fn opened(seq: u64) -> SharedCommit {
    let at = Timestamp::from_millis(0);
    let session = Session {
        id: SessionId(Uuid::from_u128(seq.into())),
        account: AccountId(Uuid::from_u128(7)),
        device: "x".repeat(200),
        ..sample::session(1, 1, 0)
    };
    let changes = vec![TokenChange::SessionOpened(session).into()];
    Arc::new(Committed { seq: Seq(seq), time: at, changes })
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("view.redb")
}

fn sessions(reader: &RedbReader) -> usize {
    reader.sessions(None, usize::MAX).unwrap().value.len()
}

/// A store of a hundred sessions, checkpointed and closed.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (_reader, mut applier) = open(folder.path()).unwrap();
    applier.apply(&(1..=100).map(opened).collect::<Vec<_>>()).unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(100));
    folder
}

fn refused(folder: &TempDir) -> StoreError {
    open(folder.path()).map(|_| ()).unwrap_err()
}

#[test]
fn after_a_crash_the_last_checkpoint_stands_and_the_rest_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, mut applier) = open(folder.path()).unwrap();
    let history: Vec<_> = (1..=30).map(opened).collect();
    applier.apply(&history[..10]).unwrap();
    assert_eq!(applier.checkpoint().unwrap(), Seq(10));
    applier.apply(&history[10..20]).unwrap();
    assert_eq!(sessions(&reader), 20);
    let image = tempfile::tempdir().unwrap();
    std::fs::copy(path(&folder), path(&image)).unwrap();

    let (reader, mut applier) = open(image.path()).unwrap();
    assert_eq!((applier.applied(), sessions(&reader)), (Seq(10), 10));
    applier.apply(&history).unwrap();
    assert_eq!((applier.applied(), sessions(&reader)), (Seq(30), 30));
}

/// What redb 4.5 leaves when it is killed before it has marked a new file as its own: sized, no magic.
const HALF_MADE: usize = 1_056_768;

#[test]
fn a_kill_while_the_file_is_first_made_does_not_keep_the_next_start_from_making_it() {
    let folder = tempfile::tempdir().unwrap();
    let draft = folder.path().join("view.redb.new");
    std::fs::write(&draft, vec![0; HALF_MADE]).unwrap();
    let (reader, mut applier) = open(folder.path()).unwrap();
    applier.apply(&[opened(1)]).unwrap();
    assert_eq!((applier.checkpoint().unwrap(), sessions(&reader)), (Seq(1), 1));
    drop((reader, applier));
    assert!(!draft.exists());
    assert_eq!(open(folder.path()).unwrap().1.applied(), Seq(1));
}

#[test]
fn a_file_has_its_name_only_when_its_first_commit_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    // The first thing that the making writes in the folder fails, so nothing may have the name.
    std::fs::create_dir(folder.path().join("view.redb.new")).unwrap();
    let error = refused(&folder);
    assert!(matches!(&error, StoreError::Io { .. }), "{error}");
    assert!(!path(&folder).exists());
}

#[test]
fn an_empty_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(path(&folder), b"").unwrap();
    let (_reader, applier) = open(folder.path()).unwrap();
    assert_eq!(applier.applied(), Seq(0));
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = filled();
    let database = Database::open(path(&folder)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("schema", 9).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(&folder);
    assert!(matches!(error, StoreError::NewerSchema { namespace: Namespace::Tokens, found: 9, known: 1 }));
}

#[test]
fn garbage_in_the_file_is_damage() {
    for bytes in [vec![b'x'; 10], vec![b'x'; 100_000], vec![0; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(&folder), &bytes).unwrap();
        let error = refused(&folder);
        assert!(
            matches!(&error, StoreError::Damaged { path: named, .. } if *named == path(&folder)),
            "{error}"
        );
        assert_eq!(std::fs::read(path(&folder)).unwrap(), bytes, "nothing was changed");
    }
}

#[test]
fn a_file_that_was_cut_is_damage() {
    for keep in [1, 100, 4096, 100_000] {
        let folder = filled();
        std::fs::OpenOptions::new().write(true).open(path(&folder)).unwrap().set_len(keep).unwrap();
        let error = refused(&folder);
        assert!(matches!(error, StoreError::Damaged { .. }), "{keep}: {error}");
    }
}

#[test]
fn a_file_that_is_open_elsewhere_is_in_use() {
    let folder = filled();
    let _held = open(folder.path()).unwrap();
    assert!(matches!(refused(&folder), StoreError::InUse { .. }));
}

#[test]
fn a_place_where_nothing_can_be_made_is_an_error_that_names_it() {
    let place = Path::new("/sys/keepgate-test");
    let error = open(place).map(|_| ()).unwrap_err();
    assert!(matches!(&error, StoreError::Io { path, .. } if path == place), "{error}");
}
