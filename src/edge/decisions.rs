//! The edge's denials as audit events, durable before the answer, in bounded number.
//!
//! [`crate::audit::folded`] says how and why. Here a kind is also told by what was asked for: the
//! routes are few.
//!
//! A request without any credentials is not a denial in this sense: nobody claimed to be anybody. It
//! stands in the access log and the metrics.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::guard::ladder::Earned;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::audit::folded::{Folded, GivenUp, Sink};
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::event::{Intent, Outcome};

/// An audit event was not made durable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRecorded(String);

impl NotRecorded {
    /// For this reason.
    pub fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// Where audit events go. [`Trail`] in the appliance; the edge needs nothing else of it.
pub trait AuditSink: Send + Sync + 'static {
    /// Resolves once the event is durable.
    fn record(&self, draft: Draft) -> BoxFuture<'_, Result<(), NotRecorded>>;

    /// As [`Self::record`], for many: all of them or none.
    fn record_all(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>>;

    /// Whether an event alone would be taken at the moment.
    fn takes(&self) -> bool {
        true
    }
}

impl AuditSink for Trail {
    fn record(&self, draft: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Self::record(self, draft).await.map_err(NotRecorded::new) })
    }

    fn record_all(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Self::record_all(self, drafts).await.map_err(NotRecorded::new) })
    }

    fn takes(&self) -> bool {
        Self::takes(self)
    }
}

/// Any sink. A type of its own, because the compiler cannot see that a future over a bare
/// `Arc<dyn …>` may move between threads.
struct AnySink(Arc<dyn AuditSink>);

impl Sink for AnySink {
    type Error = NotRecorded;

    async fn record(&self, draft: Draft) -> Result<(), NotRecorded> {
        self.0.record(draft).await
    }

    async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), NotRecorded> {
        self.0.record_all(drafts).await
    }

    fn takes(&self) -> bool {
        self.0.takes()
    }
}

/// One denial.
#[derive(Clone, Debug)]
pub struct Denied {
    /// Who asked.
    pub origin: Origin,
    /// Why not: a stable word.
    pub reason: &'static str,
    /// What was asked for: the route's name, or the stage that refused.
    pub target: Arc<str>,
    /// Who it was, if that is proved.
    pub caller: Option<Caller>,
}

/// Records denials. Shared by all edge threads; only refused requests come here.
pub struct Decisions(Folded<AnySink>);

impl Decisions {
    /// Records into `sink`.
    pub fn new(sink: Arc<dyn AuditSink>) -> Self {
        Self(Folded::new(AnySink(sink)))
    }

    /// Records a denial, or counts it where one of its kind was recorded lately. An error changes
    /// nothing about the denial: the caller counts it, and answers no all the same.
    pub async fn denied(&self, denied: Denied) -> Result<(), NotRecorded> {
        self.0.denied(draft(&denied), Some(denied.target)).await
    }

    /// Records a ban that an address has earned. Folded as denials are: who has many addresses earns many.
    pub async fn banned(&self, ban: &Earned, origin: &Origin) -> Result<(), NotRecorded> {
        let draft = Draft::new(Intent::BlacklistAdd, Outcome::Granted).by(Actor::System).at(origin);
        self.0.denied(draft.target(ban.network).reason("offences"), None).await
    }

    /// Records the counts of windows that have closed by `now` ([`None`]: of all). Call it now and
    /// then. Returns how many events could not be written.
    pub async fn close_windows(&self, now: Option<Instant>) -> u64 {
        self.0.close_windows(now).await
    }

    /// Records the `most` largest counts and gives up the others: [`Folded::close_largest`].
    pub async fn close_largest(&self, most: usize) -> GivenUp {
        self.0.close_largest(most).await
    }
}

fn draft(denied: &Denied) -> Draft {
    let draft = Draft::new(Intent::Access, Outcome::Denied)
        .at(&denied.origin)
        .target(&denied.target)
        .reason(denied.reason);
    match &denied.caller {
        Some(caller) => draft.caller(caller),
        None => draft,
    }
}

#[cfg(test)]
/// The tests, and the sink that others test with.
pub mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::model::id::RequestId;
    use crate::model::random::SeededRng;
    use crate::model::time::Timestamp;

    /// Keeps what is recorded, as text.
    #[derive(Debug, Default)]
    pub struct Recorded(pub Mutex<Vec<String>>);

    impl AuditSink for Recorded {
        fn record(&self, draft: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
            self.0.lock().push(format!("{draft:?}"));
            Box::pin(async { Ok(()) })
        }

        fn record_all(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>> {
            self.0.lock().extend(drafts.iter().map(|draft| format!("{draft:?}")));
            Box::pin(async { Ok(()) })
        }
    }

    fn denied(address: &str, reason: &'static str) -> Denied {
        let request = RequestId::new(Timestamp::default(), &SeededRng::new(1));
        let origin = Origin { request, address: Some(address.parse().unwrap()), user_agent: String::new() };
        Denied { origin, reason, target: "*/app".into(), caller: None }
    }

    fn decisions() -> (Decisions, Arc<Recorded>) {
        let sink = Arc::new(Recorded::default());
        (Decisions::new(Arc::clone(&sink) as Arc<dyn AuditSink>), sink)
    }

    #[tokio::test]
    async fn the_first_denial_is_recorded_at_once_and_the_rest_as_a_count() {
        let (decisions, sink) = decisions();
        for _ in 0..5 {
            decisions.denied(denied("192.0.2.1", "revoked")).await.unwrap();
        }
        assert_eq!(sink.0.lock().len(), 1);
        assert_eq!(decisions.close_windows(Some(Instant::now())).await, 0);
        assert_eq!(sink.0.lock().len(), 1, "the window is open still");
        decisions.close_windows(None).await;
        let events = sink.0.lock().clone();
        assert_eq!(events.len(), 2);
        assert!(events[1].contains("count: 4"), "{}", events[1]);
    }

    #[tokio::test]
    async fn another_client_or_reason_is_another_event() {
        let (decisions, sink) = decisions();
        decisions.denied(denied("192.0.2.1", "revoked")).await.unwrap();
        decisions.denied(denied("192.0.2.2", "revoked")).await.unwrap();
        decisions.denied(denied("192.0.2.1", "expired")).await.unwrap();
        assert_eq!(sink.0.lock().len(), 3);
    }
}
