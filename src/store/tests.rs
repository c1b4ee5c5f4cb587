//! The embedded stores on a real folder: restart, replay, and what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::bundle::Bundle;
use super::*;
use crate::model::change::{TokenChange, UserChange};
use crate::model::document::Document;
use crate::model::id::{AccountId, Seq};
use crate::model::revocation::{Revocation, RevocationCause, RevokedSubject};
use crate::model::time::{SystemClock, Timestamp};

fn settings() -> config::store::Store {
    config::store::Store { segment_bytes: 16 * 1024, ..Default::default() }
}

fn try_open(folder: &Path) -> Result<Stores, StoreError> {
    Stores::open(folder, Arc::new(SystemClock), &settings(), Vec::new())
}

fn owner() -> AccountId {
    AccountId(uuid::Uuid::from_bytes([3; 16]))
}

async fn put(stores: &Stores, version: u64) {
    let (key, body) = ("k".to_owned(), "x".repeat(500));
    let updated_at = Timestamp::from_millis(1);
    let subject = RevokedSubject::Account(owner());
    let cause = RevocationCause::Logout;
    let revocation = Revocation { subject, cause, at: updated_at, expires_at: Timestamp::MAX };
    let mut bundle = Bundle::new();
    let document = Document { account: owner(), key, body, version, updated_at };
    stores.user.stage(&mut bundle, UserChange::DocumentPut(document));
    stores.tokens.stage(&mut bundle, TokenChange::Revoked(revocation));
    stores.committer.commit(bundle).await.unwrap();
}

fn version(stores: &Stores) -> Option<u64> {
    stores.user.document(owner(), "k").unwrap().map(|document| document.version)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.join("store/journal").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn everything_is_there_after_a_close_and_after_a_stop_without_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let stores = try_open(folder.path()).unwrap();
        assert_eq!(version(&stores), (round > 0).then_some(round * 10));
        assert_eq!(stores.tokens.revocations().unwrap().len() as u64, round * 10);
        for version in 1..=10 {
            put(&stores, round * 10 + version).await;
        }
        if round % 2 == 0 { stores.close().unwrap() } else { drop(stores) }
    }
}

#[tokio::test]
async fn a_view_that_was_lost_is_rebuilt_from_the_journal_as_long_as_that_has_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    put(&stores, 1).await;
    stores.close().unwrap();
    std::fs::remove_dir_all(folder.path().join("store/user")).unwrap();
    let stores = try_open(folder.path()).unwrap();
    assert_eq!(version(&stores), Some(1));
}

#[tokio::test]
async fn old_segments_go_once_every_view_is_durable_beyond_them_and_a_lost_view_is_then_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    for version in 1..=200 {
        put(&stores, version).await;
    }
    stores.close().unwrap();
    assert!(segments(folder.path()).len() <= 3, "{:?}", segments(folder.path()));
    let stores = try_open(folder.path()).unwrap();
    let oldest = stores.history.oldest();
    assert!(oldest > Seq(1));
    assert_eq!(stores.history.committed_after(Seq(0), 1).unwrap()[0].seq, oldest);
    assert_eq!(stores.history.committed_after(Seq(199), 9).unwrap().len(), 1);
    drop(stores);
    std::fs::remove_dir_all(folder.path().join("store/user")).unwrap();
    let error = try_open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("the user store ends at 0"), "{error}");
}

#[tokio::test]
async fn checkpoints_come_by_the_clock_and_by_size_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    let mut version = 0;
    // By size: the views checkpoint in the background, so write until the journal has moved on.
    while stores.history.oldest() == Seq(1) {
        version += 1;
        put(&stores, version).await;
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    let error = try_open(folder.path()).err().unwrap();
    let pid = format!("(process {})", std::process::id());
    assert!(matches!(&error, StoreError::InUse { holder, .. } if holder.contains(&pid)), "{error}");
    drop(stores);
    try_open(folder.path()).unwrap().close().unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // Nobody, not even root, makes a folder in /proc.
    let error = try_open(Path::new("/proc/keepgate")).err().unwrap();
    let named = matches!(&error, StoreError::Io { path, .. } if path.starts_with("/proc/keepgate/store"));
    assert!(named, "{error}");
}

#[tokio::test]
async fn a_journal_that_lost_what_a_view_has_applied_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    put(&stores, 1).await;
    stores.close().unwrap();
    let path = segments(folder.path()).pop().unwrap();
    let kept = std::fs::read(&path).unwrap();
    let mut cut = kept.clone();
    cut[512..].fill(0);
    for lost in [Some(cut), None] {
        match lost {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let error = try_open(folder.path()).err().unwrap();
        assert!(matches!(&error, StoreError::Damaged { .. }), "{error}");
    }
    std::fs::write(&path, kept).unwrap();
    assert_eq!(version(&try_open(folder.path()).unwrap()), Some(1));
}

#[tokio::test]
async fn followers_see_each_bundle_committed_after_the_start_once() {
    let folder = tempfile::tempdir().unwrap();
    let stores = try_open(folder.path()).unwrap();
    put(&stores, 1).await;
    drop(stores);
    let (send, seen) = std::sync::mpsc::channel();
    let follower: Follower = Box::new(move |commit| send.send(commit.seq).unwrap());
    let stores = Stores::open(folder.path(), Arc::new(SystemClock), &settings(), vec![follower]).unwrap();
    put(&stores, 2).await;
    stores.close().unwrap();
    assert_eq!(seen.recv_timeout(Duration::from_secs(60)), Ok(Seq(2)));
    assert!(seen.recv().is_err());
}
