//! Refusals that cost the asker nothing, as audit events: durable before the answer, in bounded number.
//!
//! Whoever is refused can ask again as fast as the network carries it; if each refusal were an
//! fsync, a flood of them would fill the disk and keep everybody else's commits out. So the first
//! refusal of a kind (client, intent, reason, and what the user of this adds) is recorded at once and
//! awaited; those that follow within the window are counted for each target ([`tally`]), and recorded as one
//! event a target with its count when the window closes. Kinds are bounded too: past the bound, clients and
//! scopes are folded together, and the targets tried most keep their names. A count that is not written yet is
//! lost when the process is killed; the refusal that opened its window is not.
//!
//! A node that takes no writes (its disk is short) records nobody's refusal: all are counted in memory, and
//! written when it takes writes again. So who has no account costs it neither a write nor a line of its log.
//!
//! What costs the asker something (a password's hash) or happens once (a reused refresh token) does
//! not belong here: it is one event each.

#[cfg(test)]
mod short;
mod tally;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::tally::Tally;
use super::Trail;
use super::draft::Draft;
use crate::model::caller::client_number;
use crate::model::event::Intent;
use crate::store::error::CommitError;

/// How long refusals of one kind are folded together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How many kinds are told apart at once.
pub const KINDS: usize = 4096;
/// Targets that one kind tells apart: with [`KINDS`], some 10 MiB in the worst flood.
const TARGETS: usize = 8;
/// Targets told apart where kinds are folded together: there is one such kind for each intent and reason.
const TARGETS_TOGETHER: usize = 256;

/// Where events go.
pub trait Sink: Send + Sync {
    /// Why one was not written.
    type Error;

    /// Resolves once the event is durable. Once polled it is under way, and dropping it does not
    /// take it back.
    fn record(&self, draft: Draft) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether a refusal would be taken at the moment.
    fn takes(&self) -> bool {
        true
    }
}

impl Sink for Trail {
    type Error = CommitError;

    async fn record(&self, draft: Draft) -> Result<(), CommitError> {
        Self::record(self, draft).await
    }

    fn takes(&self) -> bool {
        Self::takes(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    client: Option<u128>,
    intent: Intent,
    reason: String,
    scope: Option<Arc<str>>,
}

#[derive(Debug)]
struct Window {
    closes: Instant,
    /// Whether the event that opens the window could not be written: then the next one is the first.
    unrecorded: bool,
    folded: Tally,
}

/// Records refusals, folded. Shared by all threads; only refused requests come here.
pub struct Folded<S> {
    sink: S,
    windows: Mutex<HashMap<Kind, Window>>,
    /// Whether the sink took nothing when it was last asked.
    held: AtomicBool,
}

impl<S: Sink> Folded<S> {
    /// Records into `sink`.
    pub fn new(sink: S) -> Self {
        Self { sink, windows: Mutex::default(), held: AtomicBool::new(false) }
    }

    /// Records a refusal, or counts it where one of its kind was recorded lately or the sink takes none.
    /// `scope` tells kinds apart further; past the bound of kinds, scopes are folded together as clients are.
    ///
    /// # Errors
    /// The sink's. The refusal is then neither recorded nor counted.
    pub async fn denied(&self, draft: Draft, scope: Option<Arc<str>>) -> Result<(), S::Error> {
        let Some(kind) = self.open(&draft, scope, Instant::now()) else { return Ok(()) };
        if !self.takes() {
            self.count(kind, draft);
            return Ok(());
        }
        let recorded = self.sink.record(draft).await;
        if recorded.is_err()
            && let Some(window) = self.windows.lock().get_mut(&kind)
        {
            window.unrecorded = true;
        }
        recorded
    }

    /// Asks the sink, and says in the log when that changes.
    fn takes(&self) -> bool {
        let takes = self.sink.takes();
        if self.held.swap(!takes, Ordering::Relaxed) == takes {
            if takes {
                tracing::info!("denials are recorded again, with the counts of those that were held");
            } else {
                tracing::warn!(
                    "denials are not recorded while this node takes no writes: they are counted in memory, \
                     and written once it takes writes again"
                );
            }
        }
        takes
    }

    /// Counts what would have opened its window; whoever comes once the sink takes events does.
    fn count(&self, kind: Kind, draft: Draft) {
        if let Some(window) = self.windows.lock().get_mut(&kind) {
            window.unrecorded = true;
            window.folded.add(draft, 1);
        }
    }

    /// Opens a window and gives its kind; none if the refusal was folded into an open one.
    fn open(&self, draft: &Draft, scope: Option<Arc<str>>, now: Instant) -> Option<Kind> {
        let mut windows = self.windows.lock();
        let mut kind = Kind::of(draft, scope);
        // A known client keeps its window also when there is no room for new ones.
        if windows.len() >= KINDS && !windows.contains_key(&kind) {
            kind.client = None;
            kind.scope = None;
        }
        match windows.entry(kind.clone()) {
            Entry::Vacant(vacant) => {
                let one_client = kind.client.is_some();
                let together = !one_client && kind.scope.is_none();
                let folded = Tally::new(if together { TARGETS_TOGETHER } else { TARGETS }, one_client);
                vacant.insert(Window { closes: now + WINDOW, unrecorded: false, folded });
                Some(kind)
            }
            Entry::Occupied(mut occupied) => {
                let window = occupied.get_mut();
                if window.unrecorded {
                    window.unrecorded = false;
                    return Some(kind);
                }
                window.folded.add(draft.clone(), 1);
                None
            }
        }
    }

    /// Records the counts of windows that have closed by `now` ([`None`]: of all). Call it now and
    /// then. Returns how many events could not be written; their counts stay for the next call, as all do
    /// while the sink takes none.
    pub async fn close_windows(&self, now: Option<Instant>) -> u64 {
        if !self.takes() {
            return 0;
        }
        let mut failures = 0;
        for kind in self.closed(now) {
            let Some(mut window) = self.windows.lock().remove(&kind) else { continue };
            while let Some(counted) = window.folded.pop() {
                if self.sink.record(counted.draft.clone().count(counted.count)).await.is_err() {
                    failures += 1;
                    window.folded.put_back(counted);
                    self.put_back(kind, window);
                    break;
                }
            }
        }
        failures
    }

    fn closed(&self, now: Option<Instant>) -> Vec<Kind> {
        let windows = self.windows.lock();
        let closed = windows.iter().filter(|(_, window)| now.is_none_or(|now| window.closes <= now));
        closed.map(|(kind, _)| kind.clone()).collect()
    }

    fn put_back(&self, kind: Kind, mut window: Window) {
        match self.windows.lock().entry(kind) {
            Entry::Vacant(vacant) => {
                // Its event was written long ago: whoever comes now opens a window of their own.
                vacant.insert(Window { unrecorded: true, ..window });
            }
            Entry::Occupied(mut newer) => {
                while let Some(counted) = window.folded.pop() {
                    newer.get_mut().folded.put_back(counted);
                }
            }
        }
    }
}

impl Kind {
    fn of(draft: &Draft, scope: Option<Arc<str>>) -> Self {
        let (address, intent, reason) = draft.kind();
        Self { client: address.map(client_number), intent, reason: reason.to_owned(), scope }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::caller::Origin;
    use crate::model::event::Outcome;
    use crate::model::id::RequestId;

    /// Keeps what is recorded, as text, unless it is broken.
    #[derive(Default)]
    struct Kept {
        events: Mutex<Vec<String>>,
        broken: AtomicBool,
    }

    impl Sink for Arc<Kept> {
        type Error = ();

        async fn record(&self, draft: Draft) -> Result<(), ()> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(());
            }
            self.events.lock().push(format!("{draft:?}"));
            Ok(())
        }
    }

    fn draft(address: IpAddr, intent: Intent, reason: &str) -> Draft {
        let request = RequestId(uuid::Uuid::nil());
        let origin = Origin { request, address: Some(address), user_agent: String::new() };
        Draft::new(intent, Outcome::Denied).at(&origin).reason(reason)
    }

    fn forged(address: &str) -> Draft {
        draft(address.parse().unwrap(), Intent::Refresh, "forged")
    }

    fn folded() -> (Folded<Arc<Kept>>, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Folded::new(Arc::clone(&kept)), kept)
    }

    #[tokio::test]
    async fn the_first_is_recorded_at_once_and_the_rest_as_a_count_when_the_window_closes() {
        let (folded, kept) = folded();
        for _ in 0..5 {
            folded.denied(forged("192.0.2.1"), None).await.unwrap();
        }
        assert_eq!(kept.events.lock().len(), 1);
        assert_eq!(folded.close_windows(Some(Instant::now())).await, 0);
        assert_eq!(kept.events.lock().len(), 1, "the window is open still");
        folded.close_windows(Some(Instant::now() + WINDOW)).await;
        let events = kept.events.lock().clone();
        assert_eq!(events.len(), 2);
        assert!(events[1].contains("count: 4"), "{}", events[1]);
        folded.close_windows(None).await;
        assert_eq!(kept.events.lock().len(), 2, "a count is written once");
    }

    #[tokio::test]
    async fn another_client_intent_reason_or_scope_is_another_event_and_one_ipv6_customer_is_one() {
        let (folded, kept) = folded();
        let register = draft("192.0.2.1".parse().unwrap(), Intent::Register, "forged");
        let expired = draft("192.0.2.1".parse().unwrap(), Intent::Refresh, "expired");
        for draft in [forged("192.0.2.1"), forged("192.0.2.2"), forged("2001:db8::1"), register, expired] {
            folded.denied(draft, None).await.unwrap();
        }
        folded.denied(forged("192.0.2.1"), Some("*/app".into())).await.unwrap();
        assert_eq!(kept.events.lock().len(), 6);
        folded.denied(forged("2001:db8::2"), None).await.unwrap();
        assert_eq!(kept.events.lock().len(), 6, "the same /64");
    }

    #[tokio::test]
    async fn a_flood_from_many_addresses_is_a_bounded_number_of_events() {
        let (folded, kept) = folded();
        for at in 0..20_000_u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(at));
            folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
        }
        folded.close_windows(None).await;
        let written = kept.events.lock().len();
        assert!((KINDS..=KINDS + 2).contains(&written), "{written}");
    }

    #[tokio::test]
    async fn one_address_that_is_after_many_accounts_has_a_count_for_those_it_tries_most() {
        let (folded, kept) = folded();
        let at = |account: u32| forged("192.0.2.1").target(format!("account-{account:04}."));
        for round in 0..100 {
            folded.denied(at(1), None).await.unwrap();
            folded.denied(at(2), None).await.unwrap();
            folded.denied(at(1000 + round), None).await.unwrap();
        }
        assert_eq!(kept.events.lock().len(), 1, "one event until the window closes");
        folded.close_windows(None).await;
        let events = kept.events.lock().clone();
        assert_eq!(events.len(), 1 + TARGETS + 1, "bounded");
        let count_of = |account: &str| {
            let event = events[1..].iter().find(|event| event.contains(account)).unwrap();
            event.split("count: ").nth(1).unwrap().split(',').next().unwrap().parse::<u32>().unwrap()
        };
        assert_eq!((count_of("account-0001."), count_of("account-0002.")), (99, 100));
        assert_eq!(count_of("target: \"\""), 100 - (TARGETS as u32 - 2), "the rest, without names");
    }

    #[tokio::test]
    async fn where_kinds_are_folded_together_the_accounts_are_still_told_apart() {
        let (folded, kept) = folded();
        for at in 0..KINDS as u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(at));
            folded.denied(draft(address, Intent::Refresh, "forged"), None).await.unwrap();
        }
        for account in ["ada", "eve", "ada", "ada"] {
            let draft = Draft::new(Intent::Login, Outcome::Denied).reason("throttled").target(account);
            folded.denied(draft, Some(account.into())).await.unwrap();
        }
        kept.events.lock().clear();
        folded.close_windows(None).await;
        let events = kept.events.lock().clone();
        let count_of = |account: &str, count: &str| {
            events.iter().any(|event| event.contains(account) && event.contains(count))
        };
        assert!(count_of("\"ada\"", "count: 2") && count_of("\"eve\"", "count: 1"), "{events:?}");
    }

    #[tokio::test]
    async fn while_events_cannot_be_written_every_refusal_hears_of_it_and_no_count_is_lost() {
        let (folded, kept) = folded();
        kept.broken.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            assert!(folded.denied(forged("192.0.2.1"), None).await.is_err(), "nothing covers it");
        }
        kept.broken.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            folded.denied(forged("192.0.2.1"), None).await.unwrap();
        }
        assert_eq!(kept.events.lock().len(), 1);
        kept.broken.store(true, Ordering::SeqCst);
        assert_eq!(folded.close_windows(None).await, 1);
        kept.broken.store(false, Ordering::SeqCst);
        assert_eq!(folded.close_windows(None).await, 0);
        let events = kept.events.lock().clone();
        assert!(events.len() == 2 && events[1].contains("count: 2"), "{events:?}");
    }
}
