//! The edge's denials as audit events, durable before the answer, in bounded number.
//!
//! Whoever is refused can ask again as fast as the network carries it; if each refusal were an
//! fsync, a flood of bad tokens would fill the disk. So the first denial of a kind (client, reason,
//! route) is recorded at once and awaited; those that follow within the window are counted, and
//! recorded as one event with that count when it closes. Kinds are bounded too: past the bound,
//! clients are folded together. A count that is not written yet is lost when the process is killed;
//! the denial that opened its window is not.
//!
//! A request without any credentials is not a denial in this sense: nobody claimed to be anybody. It
//! stands in the access log and the metrics.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::accept::client_number;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::model::caller::{Caller, Origin};
use crate::model::event::{Intent, Outcome};

/// How long denials of one kind are folded together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How many kinds are told apart at once.
const KINDS: usize = 4096;

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
}

impl AuditSink for Trail {
    fn record(&self, draft: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(async { Self::record(self, draft).await.map_err(NotRecorded::new) })
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    client: Option<u128>,
    reason: &'static str,
    target: Arc<str>,
}

#[derive(Debug)]
struct Window {
    closes: Instant,
    folded: u32,
    last: Denied,
}

/// Records denials. Shared by all edge threads; only refused requests come here.
pub struct Decisions {
    sink: Arc<dyn AuditSink>,
    windows: Mutex<HashMap<Kind, Window>>,
}

impl Decisions {
    /// Records into `sink`.
    pub fn new(sink: Arc<dyn AuditSink>) -> Self {
        Self { sink, windows: Mutex::default() }
    }

    /// Records a denial, or counts it where one of its kind was recorded lately. When this resolves,
    /// an event that covers the denial is durable. An error changes nothing about the denial: the
    /// caller counts it, and answers no all the same.
    pub async fn denied(&self, denied: Denied) -> Result<(), NotRecorded> {
        if self.fold(&denied, Instant::now()) {
            return Ok(());
        }
        self.sink.record(draft(&denied, 1)).await
    }

    /// Whether the denial was folded into an open window; opens one if not.
    fn fold(&self, denied: &Denied, now: Instant) -> bool {
        let mut windows = self.windows.lock();
        let kind = kind(denied, windows.len() < KINDS);
        let window = match windows.get_mut(&kind) {
            Some(window) => window,
            // A known client keeps its window also when there is no room for new ones.
            None => match windows.get_mut(&self::kind(denied, true)) {
                Some(window) => window,
                None => {
                    windows.insert(kind, Window { closes: now + WINDOW, folded: 0, last: denied.clone() });
                    return false;
                }
            },
        };
        window.folded = window.folded.saturating_add(1);
        window.last = denied.clone();
        true
    }

    /// Records the counts of windows that have closed by `now` ([`None`]: of all). Call it now and
    /// then. Returns how many events could not be written.
    pub async fn close_windows(&self, now: Option<Instant>) -> u64 {
        let mut closed = Vec::new();
        self.windows.lock().retain(|_, window| {
            let open = now.is_some_and(|now| now < window.closes);
            if !open && window.folded > 0 {
                closed.push(draft(&window.last, window.folded));
            }
            open
        });
        let mut failures = 0;
        for draft in closed {
            if self.sink.record(draft).await.is_err() {
                failures += 1;
            }
        }
        failures
    }
}

fn kind(denied: &Denied, tell_clients_apart: bool) -> Kind {
    let address = denied.origin.address.filter(|_| tell_clients_apart);
    let client = address.map(|address: IpAddr| client_number(address));
    Kind { client, reason: denied.reason, target: Arc::clone(&denied.target) }
}

fn draft(denied: &Denied, count: u32) -> Draft {
    let draft = Draft::new(Intent::Access, Outcome::Denied)
        .at(&denied.origin)
        .target(&denied.target)
        .reason(denied.reason)
        .count(count);
    match &denied.caller {
        Some(caller) => draft.caller(caller),
        None => draft,
    }
}

#[cfg(test)]
/// The tests, and the sink that others test with.
pub mod tests {
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

    #[tokio::test]
    async fn a_flood_from_many_addresses_is_a_bounded_number_of_events() {
        let (decisions, sink) = decisions();
        for at in 0..20_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(at).to_string();
            decisions.denied(denied(&address, "signature")).await.unwrap();
        }
        decisions.close_windows(None).await;
        let written = sink.0.lock().len();
        assert!((KINDS..=KINDS + 2).contains(&written), "{written}");
    }
}
