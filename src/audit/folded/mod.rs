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
//! A node whose disk is short records nobody's refusal: all are counted in memory, and written when it takes
//! writes again. So who has no account costs it neither a write nor a line of its log. A node that failed for good
//! will not: there every refusal that would be recorded hears the error, and the log says so once.
//!
//! What costs the asker something (a password's hash) or happens once (a reused refresh token) does
//! not belong here: it is one event each.

#[cfg(test)]
mod short;
mod tally;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::tally::{Counted, Tally};
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

/// Counts written in one bundle: a stop in the worst flood waits for some hundred commits, not for one for each.
const AT_ONCE: usize = 256;

/// Where events go.
pub trait Sink: Send + Sync {
    /// Why one was not written.
    type Error: Display;

    /// Resolves once the event is durable. Once polled it is under way, and dropping it does not
    /// take it back.
    fn record(&self, draft: Draft) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// As [`Self::record`], for many: all of them or none.
    fn record_all(&self, drafts: Vec<Draft>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether a refusal is worth a try: false only for what passes by itself.
    fn takes(&self) -> bool {
        true
    }
}

impl Sink for Trail {
    type Error = CommitError;

    async fn record(&self, draft: Draft) -> Result<(), CommitError> {
        Self::record(self, draft).await
    }

    async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), CommitError> {
        Self::record_all(self, drafts).await
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

/// Counts that were not written, and will not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// How many events they would have been.
    pub counts: u64,
    /// How many refusals they stand for.
    pub refusals: u64,
}

impl GivenUp {
    fn add(&mut self, counted: &Counted) {
        self.counts += 1;
        self.refusals = self.refusals.saturating_add(counted.count.into());
    }
}

/// Records refusals, folded. Shared by all threads; only refused requests come here.
pub struct Folded<S> {
    sink: S,
    windows: Mutex<HashMap<Kind, Window>>,
    /// Whether the log was told that the sink takes nothing at the moment, and nothing was recorded since.
    held: AtomicBool,
    /// As `held`, for what the sink could not write.
    failing: AtomicBool,
}

impl<S: Sink> Folded<S> {
    /// Records into `sink`.
    pub fn new(sink: S) -> Self {
        Self {
            sink,
            windows: Mutex::default(),
            held: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }
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
        let recorded = self.told(self.sink.record(draft).await);
        if recorded.is_err()
            && let Some(window) = self.windows.lock().get_mut(&kind)
        {
            window.unrecorded = true;
        }
        recorded
    }

    /// Asks the sink, and says in the log when it begins to take nothing.
    fn takes(&self) -> bool {
        let takes = self.sink.takes();
        if !takes && !self.held.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "denials are not recorded while this node takes no writes: they are counted in memory, \
                 and written once it takes writes again"
            );
        }
        takes
    }

    /// Says in the log when writing begins to fail, and when something was written after all. Not for each:
    /// whoever is refused can ask again at once.
    fn told<T>(&self, written: Result<T, S::Error>) -> Result<T, S::Error> {
        match &written {
            Ok(_) => {
                let held = self.held.swap(false, Ordering::Relaxed);
                if self.failing.swap(false, Ordering::Relaxed) || held {
                    tracing::info!("denials are recorded again, with the counts of those that were held");
                }
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => tracing::error!(
                %error,
                "denials cannot be written to the audit log; said once until one is written again"
            ),
            Err(_) => {}
        }
        written
    }

    /// Counts what would have opened its window; whoever comes once the sink takes events does.
    fn count(&self, kind: Kind, draft: Draft) {
        let new = kind.window(Instant::now() + WINDOW);
        // It may have been closed in between.
        let mut windows = self.windows.lock();
        let window = windows.entry(kind).or_insert(new);
        window.unrecorded = true;
        window.folded.add(draft, 1);
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
                vacant.insert(kind.window(now + WINDOW));
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

    /// Records the counts of windows that have closed by `now` ([`None`]: of all), many at once. Call it
    /// now and then. Returns how many events could not be written; they, and what was not tried after
    /// them, stay for the next call, as all do while the sink takes none.
    pub async fn close_windows(&self, now: Option<Instant>) -> u64 {
        if !self.takes() {
            return 0;
        }
        let mut waiting = Vec::new();
        for kind in self.closed(now) {
            let Some(mut window) = self.windows.lock().remove(&kind) else { continue };
            while let Some(counted) = window.folded.pop() {
                waiting.push((kind.clone(), counted));
            }
            if waiting.len() >= AT_ONCE {
                let failures = self.write(&mut waiting).await;
                if failures > 0 {
                    return failures;
                }
            }
        }
        self.write(&mut waiting).await
    }

    /// Records the `most` counts that stand for most refusals, in one bundle, and gives up the others: for a
    /// node that stops while its disk is full. Returns what was given up.
    pub async fn close_largest(&self, most: usize) -> GivenUp {
        let mut counts = Vec::new();
        for (_, mut window) in std::mem::take(&mut *self.windows.lock()) {
            counts.extend(std::iter::from_fn(|| window.folded.pop()));
        }
        counts.sort_unstable_by_key(|counted| std::cmp::Reverse(counted.count));
        let mut lost = GivenUp::default();
        counts.drain(most.min(counts.len())..).for_each(|counted| lost.add(&counted));
        let drafts = counts.iter().map(|counted| counted.draft.clone().count(counted.count));
        if !counts.is_empty() && self.told(self.sink.record_all(drafts.collect()).await).is_err() {
            counts.iter().for_each(|counted| lost.add(counted));
        }
        lost
    }

    async fn write(&self, waiting: &mut Vec<(Kind, Counted)>) -> u64 {
        if waiting.is_empty() {
            return 0;
        }
        let drafts = waiting.iter().map(|(_, counted)| counted.draft.clone().count(counted.count));
        let written = self.told(self.sink.record_all(drafts.collect()).await);
        let failures = if written.is_ok() { 0 } else { waiting.len() as u64 };
        for (kind, counted) in waiting.drain(..).filter(|_| failures > 0) {
            self.put_back(kind, counted);
        }
        failures
    }

    fn closed(&self, now: Option<Instant>) -> Vec<Kind> {
        let windows = self.windows.lock();
        let closed = windows.iter().filter(|(_, window)| now.is_none_or(|now| window.closes <= now));
        closed.map(|(kind, _)| kind.clone()).collect()
    }

    fn put_back(&self, kind: Kind, counted: Counted) {
        // Its event was written long ago: whoever comes now opens a window of their own.
        let old = Window { unrecorded: true, ..kind.window(Instant::now()) };
        self.windows.lock().entry(kind).or_insert(old).folded.put_back(counted);
    }
}

impl Kind {
    fn of(draft: &Draft, scope: Option<Arc<str>>) -> Self {
        let (address, intent, reason) = draft.kind();
        Self { client: address.map(client_number), intent, reason: reason.to_owned(), scope }
    }

    /// An empty window of this kind.
    const fn window(&self, closes: Instant) -> Window {
        let one_client = self.client.is_some();
        let together = !one_client && self.scope.is_none();
        let folded = Tally::new(if together { TARGETS_TOGETHER } else { TARGETS }, one_client);
        Window { closes, unrecorded: false, folded }
    }
}

#[cfg(test)]
mod tests;
