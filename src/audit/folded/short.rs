//! Refusals while the node takes no writes: counted without a try, told once, written when it takes them again;
//! and on a node that failed for good: each hears of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU32;

use super::*;
use crate::audit::subjects::Subjects;
use crate::audit::subjects::known::KnownSubjects;
use crate::model::caller::Origin;
use crate::model::event::Outcome;
use crate::model::id::RequestId;
use crate::model::master_key::MasterKey;
use crate::model::random::{SeededRng, SharedRng};
use crate::model::time::{ManualClock, SharedClock, Timestamp};
use crate::observe::logging::testing;
use crate::store::Stores;
use crate::store::commit::room::Short;

/// Keeps what is recorded, as text, unless it takes nothing and says so beforehand.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<String>>,
    short: AtomicBool,
    asked: AtomicU32,
}

impl Sink for Arc<Kept> {
    type Error = &'static str;

    async fn record(&self, draft: Draft) -> Result<(), &'static str> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.short.load(Ordering::SeqCst) {
            return Err("the disk is short");
        }
        self.events.lock().push(format!("{draft:?}"));
        Ok(())
    }

    async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), &'static str> {
        for draft in drafts {
            self.record(draft).await?;
        }
        Ok(())
    }

    fn takes(&self) -> bool {
        !self.short.load(Ordering::SeqCst)
    }
}

fn from(address: u32) -> Draft {
    let address = Some(IpAddr::V4(Ipv4Addr::from_bits(address)));
    let origin = Origin { request: RequestId(uuid::Uuid::nil()), address, user_agent: String::new() };
    Draft::new(Intent::Refresh, Outcome::Denied).at(&origin).reason("forged")
}

async fn flood(folded: &Folded<Arc<Kept>>) {
    for at in 0..20_000_u32 {
        folded.denied(from(at % 5), None).await.unwrap();
        assert_eq!(folded.close_windows(None).await, 0);
    }
}

#[test]
fn while_the_node_is_short_refusals_cost_no_try_and_one_line_and_are_written_when_it_is_not() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let kept = Arc::new(Kept::default());
    let folded = Folded::new(Arc::clone(&kept));
    kept.short.store(true, Ordering::SeqCst);
    let lines = testing::lines(|| runtime.block_on(flood(&folded)));
    assert_eq!(kept.asked.load(Ordering::SeqCst), 0, "nobody cost the node a write");
    assert!(lines.len() == 1 && lines[0].contains("denials are not recorded"), "{lines:?}");

    kept.short.store(false, Ordering::SeqCst);
    let lines = testing::lines(|| {
        runtime.block_on(async {
            folded.denied(from(1), None).await.unwrap();
            assert_eq!(kept.events.lock().len(), 1, "the first that can be recorded is, before its answer");
            folded.close_windows(None).await;
        });
    });
    assert!(lines.len() == 1 && lines[0].contains("recorded again"), "{lines:?}");
    let events = kept.events.lock().clone();
    assert_eq!(events.len(), 6);
    assert!(events[1..].iter().all(|event| event.contains("count: 4000,")), "{events:?}");
}

/// A trail whose committer fails with the first commit.
fn failing() -> (Trail, Stores) {
    let clock: SharedClock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let stores =
        Stores::in_memory(Arc::clone(&clock), vec![Box::new(|_| panic!("as the test wants"))]).unwrap();
    let rng: SharedRng = Arc::new(SeededRng::new(1));
    let master = MasterKey::generate(&*rng);
    let logs = stores.logs.clone();
    let subjects = Subjects::new(KnownSubjects::default(), logs.clone(), Arc::clone(&rng), &master);
    (Trail::new(logs, stores.committer.clone(), clock, rng, subjects), stores)
}

#[test]
fn on_a_node_that_failed_every_refusal_hears_of_it_and_one_line_says_so_also_if_its_disk_is_short() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (trail, stores) = failing();
    let folded = Folded::new(trail);
    let ask = async |client: u32| {
        let error = folded.denied(from(client), None).await.unwrap_err();
        assert!(matches!(error, CommitError::ReadOnly { .. }), "{error}");
        assert_eq!(
            folded.close_windows(None).await,
            0,
            "none of them is counted as if it were to be written"
        );
    };
    let lines = testing::lines(|| {
        runtime.block_on(async {
            for at in 0..50 {
                ask(at % 5).await;
            }
            stores.committer.set_room(Some(Short { reserve: false, reason: "full".into() }));
            for at in 0..50 {
                ask(at % 5).await;
            }
        });
    });
    assert!(lines.len() == 1 && lines[0].contains("denials cannot be written"), "{lines:?}");
}

#[test]
fn a_disk_that_is_short_is_no_failure_of_the_node() {
    let (trail, stores) = failing();
    assert!(trail.takes());
    stores.committer.set_room(Some(Short { reserve: true, reason: "short".into() }));
    assert!(!trail.takes());
}

#[tokio::test]
async fn a_refusal_is_counted_though_its_window_was_closed_in_between() {
    let kept = Arc::new(Kept::default());
    let folded = Folded::new(Arc::clone(&kept));
    let kind = folded.open(&from(1), None, Instant::now()).unwrap();
    folded.close_windows(None).await;
    folded.count(kind, from(1));
    folded.close_windows(None).await;
    let events = kept.events.lock().clone();
    assert!(events.len() == 1 && events[0].contains("count: 1,"), "{events:?}");
}
