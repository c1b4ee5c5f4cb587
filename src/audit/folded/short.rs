//! Refusals while the node takes no writes: counted without a try, told once, written when it takes them again.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU32;

use super::*;
use crate::model::caller::Origin;
use crate::model::event::Outcome;
use crate::model::id::RequestId;
use crate::observe::logging::testing;

/// Keeps what is recorded, as text, unless it takes nothing and says so beforehand.
#[derive(Default)]
struct Kept {
    events: Mutex<Vec<String>>,
    short: AtomicBool,
    asked: AtomicU32,
}

impl Sink for Arc<Kept> {
    type Error = ();

    async fn record(&self, draft: Draft) -> Result<(), ()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.short.load(Ordering::SeqCst) {
            return Err(());
        }
        self.events.lock().push(format!("{draft:?}"));
        Ok(())
    }

    async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), ()> {
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
