//! The committer over memory engines and, where the disk must fail, over the disk model.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::config;
use crate::model::change::{AuthChange, TokenChange, UserChange};
use crate::model::document::Document;
use crate::model::id::{AccountId, InviteId, SessionId};
use crate::model::random::SystemRng;
use crate::model::session::Session;
use crate::model::time::{ManualClock, SystemClock};
use crate::store::Stores;
use crate::store::bundle::{Key, SharedCommit};
use crate::store::conformance::sample;
use crate::store::engines::Engines;
use crate::store::error::StoreError;
use crate::store::journal::disk_model::{Faults, ModelDisk};
use crate::store::view::Applier;

fn account() -> AccountId {
    AccountId::new(Timestamp::from_millis(1), &SystemRng)
}

fn session() -> Session {
    let id = SessionId::new(Timestamp::from_millis(1), &SystemRng);
    Session { id, account: account(), ..sample::session(1, 1, 0) }
}

fn opening(session: &Session) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.stage(TokenChange::SessionOpened(session.clone()));
    bundle
}

fn document(account: AccountId, version: u64) -> Change {
    let at = Timestamp::from_millis(1);
    let (key, body) = ("k".to_owned(), "1".to_owned());
    UserChange::DocumentPut(Document { account, key, body, version, updated_at: at }).into()
}

fn in_memory(followers: Vec<Follower>) -> Stores {
    Stores::in_memory(Arc::new(SystemClock), followers).unwrap()
}

fn over(disk: &ModelDisk, engines: Engines) -> Stores {
    let settings = config::store::Store { segment_bytes: 8192, ..Default::default() };
    let clock = Arc::new(SystemClock);
    Stores::start(engines, Arc::new(disk.clone()), clock, &settings, Vec::new(), None).unwrap()
}

#[tokio::test]
async fn an_answer_comes_after_the_followers_and_the_views() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let follower = Arc::clone(&seen);
    let stores = in_memory(vec![Box::new(move |commit| follower.lock().push(commit.seq))]);
    for round in 1..50 {
        let (account, session) = (account(), session());
        let mut bundle = opening(&session);
        bundle.stage(document(account, round));
        let receipt = stores.committer.commit(bundle).await.unwrap();
        assert_eq!(receipt.seq, Seq(round));
        assert_eq!(seen.lock().last(), Some(&receipt.seq));
        assert_eq!(stores.user.document(account, "k").unwrap().unwrap().version, round);
        assert_eq!(stores.tokens.session(session.id).unwrap(), Some(session));
        assert_eq!(stores.committer.durable(), receipt.seq);
    }
    stores.close().unwrap();
}

#[tokio::test]
async fn what_was_read_and_changed_meanwhile_is_a_conflict_and_then_is_not() {
    let stores = in_memory(Vec::new());
    let owner = account();
    let write = |version| {
        let mut bundle = Bundle::new();
        let read = stores.user.read_document(&mut bundle, owner, "k").unwrap();
        bundle.stage(document(owner, version));
        (bundle, read)
    };
    let ((first, _), (second, _)) = (write(1), write(2));
    stores.committer.commit(first).await.unwrap();
    assert!(matches!(stores.committer.commit(second).await, Err(CommitError::Conflict)));
    let (third, read) = write(3);
    assert_eq!(read.unwrap().version, 1);
    stores.committer.commit(third).await.unwrap();
    assert_eq!(stores.user.document(owner, "k").unwrap().unwrap().version, 3);
}

#[tokio::test]
async fn of_bundles_that_race_for_one_key_exactly_one_wins() {
    let stores = in_memory(Vec::new());
    let owner = account();
    let tasks: Vec<_> = (0..64)
        .map(|version| {
            let mut bundle = Bundle::new();
            stores.user.read_document(&mut bundle, owner, "k").unwrap();
            bundle.stage(document(owner, version));
            let committer = stores.committer.clone();
            tokio::spawn(async move { committer.commit(bundle).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict)),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(stores.committer.durable(), Seq(1));
}

#[tokio::test]
async fn an_empty_bundle_takes_no_position_but_its_reads_are_checked() {
    let stores = in_memory(Vec::new());
    let id = InviteId::new(Timestamp::default(), &SystemRng);
    let mut reader = Bundle::new();
    stores.auth.read_invite(&mut reader, id).unwrap();
    assert_eq!(stores.committer.commit(Bundle::new()).await.unwrap().seq, Seq(0));
    let mut bundle = Bundle::new();
    bundle.stage(AuthChange::InviteRemoved { invite: id });
    assert_eq!(stores.committer.commit(bundle).await.unwrap().seq, Seq(1));
    assert!(matches!(stores.committer.commit(reader).await, Err(CommitError::Conflict)));
    assert_eq!(stores.committer.commit(Bundle::new()).await.unwrap().seq, Seq(1));
}

#[tokio::test]
async fn commits_carry_the_clock_s_time_but_never_an_earlier_one() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(50)));
    let stores = Stores::in_memory(Arc::clone(&clock) as _, Vec::new()).unwrap();
    let mut times = Vec::new();
    for now in [50, 90, 20] {
        clock.set(Timestamp::from_millis(now));
        times.push(stores.committer.commit(opening(&session())).await.unwrap().time.as_millis());
    }
    assert_eq!(times, [50, 90, 90]);
}

#[tokio::test]
async fn a_disk_that_fails_makes_the_node_read_only_with_the_reason() {
    let disk = ModelDisk::default();
    let stores = over(&disk, Engines::in_memory());
    stores.committer.commit(opening(&session())).await.unwrap();
    disk.set_faults(Faults { fail_sync_after: Some(0), ..Faults::default() });
    for _ in 0..2 {
        let refused = session();
        let error = stores.committer.commit(opening(&refused)).await.unwrap_err();
        assert!(
            matches!(&error, CommitError::ReadOnly { reason } if reason.contains("input/output")),
            "{error}"
        );
        assert_eq!(stores.tokens.session(refused.id).unwrap(), None);
    }
    assert!(stores.committer.read_only().unwrap().contains("cannot write /model/"));
    assert_eq!(stores.committer.durable(), Seq(1));
    assert_eq!(stores.history.committed_after(Seq(0), 9).unwrap().len(), 1);
    stores.close().unwrap();
}

/// A view whose engine fails, or panics, at a position.
struct Broken {
    applier: Box<dyn Applier>,
    at: Seq,
    panics: bool,
}

impl Applier for Broken {
    fn applied(&self) -> Seq {
        self.applier.applied()
    }

    fn apply(&mut self, bundles: &[SharedCommit]) -> Result<(), StoreError> {
        if bundles.iter().any(|bundle| bundle.seq >= self.at) {
            assert!(!self.panics, "as the test wants");
            return Err(StoreError::Engine { namespace: Namespace::User, detail: "full".into() });
        }
        self.applier.apply(bundles)
    }

    fn checkpoint(&mut self) -> Result<Seq, StoreError> {
        self.applier.checkpoint()
    }
}

#[tokio::test]
async fn a_view_that_fails_makes_the_node_read_only_and_nobody_waits_for_it_forever() {
    for panics in [false, true] {
        let mut engines = Engines::in_memory();
        engines.user.applier = Box::new(Broken { applier: engines.user.applier, at: Seq(2), panics });
        let stores = over(&ModelDisk::default(), engines);
        let mut reader = Bundle::new();
        let owner = account();
        for version in 1..=2 {
            let mut bundle = Bundle::new();
            bundle.stage(document(owner, version));
            let result = stores.committer.commit(bundle).await;
            assert_eq!(result.is_ok(), version == 1, "{result:?}");
        }
        reader.note(Key::Document(owner, "k".into()), Seq(1));
        assert!(matches!(stores.committer.commit(reader).await, Err(CommitError::ReadOnly { .. })));
        assert!(stores.committer.read_only().unwrap().starts_with("the user store failed"));
        // The bundle is durable all the same, and applied at the next start.
        assert_eq!(stores.history.committed_after(Seq(1), 9).unwrap().len(), 1);
        assert!(stores.close().is_err());
    }
}

#[tokio::test]
async fn a_follower_that_panics_leaves_nobody_waiting() {
    let stores = in_memory(vec![Box::new(|_| panic!("as the test wants"))]);
    for _ in 0..3 {
        let error = stores.committer.commit(opening(&session())).await.unwrap_err();
        assert!(matches!(error, CommitError::ReadOnly { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_closed_store_finishes_what_waits_and_refuses_the_rest() {
    let stores = in_memory(Vec::new());
    let committer = stores.committer.clone();
    let history = stores.history.clone();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (committer, bundle) = (committer.clone(), opening(&session()));
            tokio::spawn(async move { committer.commit(bundle).await })
        })
        .collect();
    let mut done = 0;
    tokio::task::yield_now().await;
    stores.close().unwrap();
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert!(matches!(error, CommitError::Closed), "{error}"),
        }
    }
    assert_eq!(history.committed_after(Seq(0), 1000).unwrap().len(), done);
    assert!(matches!(committer.commit(opening(&session())).await, Err(CommitError::Closed)));
}

#[tokio::test]
async fn past_the_queue_s_bound_the_answer_is_busy() {
    let (enter, entered) = std::sync::mpsc::channel();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let stores = in_memory(vec![Box::new(move |_| {
        let _ = enter.send(());
        let _ = left.recv();
    })]);
    let commit = || {
        let (committer, bundle) = (stores.committer.clone(), opening(&session()));
        tokio::spawn(async move { committer.commit(bundle).await })
    };
    let first = commit();
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    let waiting: Vec<_> = (0..WAITING.items).map(|_| commit()).collect();
    tokio::task::yield_now().await;
    assert!(matches!(commit().await.unwrap(), Err(CommitError::Busy)));
    drop(leave);
    for task in waiting.into_iter().chain([first]) {
        task.await.unwrap().unwrap();
    }
}

#[test]
fn a_full_queue_makes_a_pusher_wait_and_closing_lets_it_go() {
    let queue = Queue::new(Bounds { items: 2, bytes: 10 });
    std::thread::scope(|scope| {
        let pusher = scope.spawn(|| queue.push((0..100).map(|item| (item, 4))));
        let mut taken = Vec::new();
        while taken.len() < 50 {
            queue.take(&mut taken, 8, None);
        }
        queue.close();
        pusher.join().unwrap();
        while let queue::Taken::Items { .. } = queue.take(&mut taken, 8, None) {}
        assert!(taken.iter().copied().eq(0..taken.len()) && taken.len() <= 52, "{taken:?}");
    });
    assert_eq!(queue.offer(1, 1), Err(Refused::Closed));
}

#[tokio::test]
async fn who_waits_for_a_position_hurries_what_moves_it_until_it_is_there() {
    let progress = Arc::new(Progress::at(Seq(3)));
    let weak = Arc::downgrade(&progress);
    // Moves one on each time: the first hurry may come before what is waited for.
    progress.on_wait(move || {
        let progress = weak.upgrade().unwrap();
        tokio::spawn(async move { progress.advance(progress.applied().next()) });
    });
    progress.reached(Seq(3)).await.unwrap();
    assert_eq!(progress.applied(), Seq(3), "nobody waited");
    tokio::time::timeout(Duration::from_secs(60), progress.reached(Seq(5))).await.unwrap().unwrap();
    assert_eq!(progress.applied(), Seq(5));
}

#[tokio::test]
async fn waiting_for_a_position_ends_when_it_is_reached_or_never_will_be() {
    let progress = Arc::new(Progress::at(Seq(3)));
    progress.reached(Seq(3)).await.unwrap();
    let waiter = |seq| {
        let progress = Arc::clone(&progress);
        tokio::spawn(
            async move { tokio::time::timeout(Duration::from_secs(60), progress.reached(seq)).await },
        )
    };
    let (near, far) = (waiter(Seq(4)), waiter(Seq(9)));
    tokio::task::yield_now().await;
    progress.advance(Seq(5));
    progress.advance(Seq(4));
    assert_eq!(near.await.unwrap().unwrap(), Ok(()));
    assert_eq!(progress.applied(), Seq(5));
    progress.stall();
    assert_eq!(far.await.unwrap().unwrap(), Err(Stalled));
}
