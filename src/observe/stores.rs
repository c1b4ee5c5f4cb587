//! What the stores measure of themselves: the commit path, and each view behind it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{counter, float, gauges, histogram, histograms, whole};
use super::histogram::{Histogram, LATENCY, SIZES};
use super::metrics::Count;
use crate::model::change::Namespace;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// It is that now.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// That many more.
    pub fn rise(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    /// That many fewer.
    pub fn fall(&self, by: usize) {
        self.0.fetch_sub(by as u64, Ordering::Relaxed);
    }

    /// What it was set to last.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The commit path and the views. One for each opened set of stores.
#[derive(Debug)]
pub struct StoreMeters {
    /// From handing a bundle in to its being durable and shown.
    pub commit: Histogram,
    /// The same for bundles that revoke something: from the decision to its being in force.
    pub revocation: Histogram,
    /// Writing a group and its fsync.
    pub flush: Histogram,
    /// Bundles in a group.
    pub group: Histogram,
    /// Bundles refused because what they had read was written since.
    pub conflicts: Count,
    /// Bundles refused because too many waited.
    pub refused: Count,
    /// Payload written to the journal, bytes.
    pub bytes: Count,
    /// Bundles that wait for the committer.
    pub waiting: Level,
    /// Sessions found in memory.
    pub session_hits: Count,
    /// Sessions that the engine was asked for.
    pub session_misses: Count,
    views: [Arc<ViewMeters>; Namespace::ALL.len()],
}

/// One view.
#[derive(Debug)]
pub struct ViewMeters {
    namespace: Namespace,
    /// Applying one batch.
    pub apply: Histogram,
    /// Making what is applied durable.
    pub checkpoint: Histogram,
    /// The position it has applied.
    pub applied: Level,
    /// Bundles that wait for it.
    pub waiting: Level,
    /// When it was last durable as it was applied, milliseconds after the stores were opened.
    settled: Level,
    opened: Instant,
}

impl ViewMeters {
    fn new(namespace: Namespace, opened: Instant) -> Self {
        let latency = || Histogram::new(LATENCY);
        let (apply, checkpoint) = (latency(), latency());
        let (applied, waiting, settled) = Default::default();
        Self { namespace, apply, checkpoint, applied, waiting, settled, opened }
    }

    /// Everything applied is durable now.
    pub fn settled_now(&self) {
        self.settled.set(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    fn unsettled_for(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.settled.now()))
    }
}

impl Default for StoreMeters {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY);
        let opened = Instant::now();
        Self {
            commit: latency(),
            revocation: latency(),
            flush: latency(),
            group: Histogram::new(SIZES),
            conflicts: Count::default(),
            refused: Count::default(),
            bytes: Count::default(),
            waiting: Level::default(),
            session_hits: Count::default(),
            session_misses: Count::default(),
            views: Namespace::ALL.map(|namespace| Arc::new(ViewMeters::new(namespace, opened))),
        }
    }
}

impl StoreMeters {
    /// One view's.
    pub fn view(&self, namespace: Namespace) -> &Arc<ViewMeters> {
        let [first, ..] = &self.views;
        self.views.iter().find(|view| view.namespace == namespace).unwrap_or(first)
    }
}

impl Collector for StoreMeters {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        histogram(to, "commit_duration_seconds", "From handing a bundle in to its answer", &self.commit)?;
        let help = "From deciding a revocation to its being durable and in force";
        histogram(to, "revocation_duration_seconds", help, &self.revocation)?;
        histogram(to, "journal_flush_duration_seconds", "Writing a group and its fsync", &self.flush)?;
        histogram(to, "journal_group_bundles", "Bundles made durable by one fsync", &self.group)?;
        let conflicts = self.conflicts.total();
        counter(to, "commit_conflicts", "Bundles decided afresh: what they read was overtaken", conflicts)?;
        counter(to, "commit_refused", "Bundles refused: too many waited", self.refused.total())?;
        counter(to, "journal_written_bytes", "Payload written to the journal", self.bytes.total())?;
        whole(to, "commit_queue_bundles", "Bundles that wait for the committer", self.waiting.now())?;
        counter(to, "session_cache_hits", "Sessions found in memory", self.session_hits.total())?;
        counter(to, "session_cache_misses", "Sessions read from the store", self.session_misses.total())?;
        self.encode_views(to)
    }
}

impl StoreMeters {
    fn encode_views(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by_name = || self.views.iter().map(|view| (view.namespace.name(), view));
        let label = "namespace";
        let apply = by_name().map(|(name, view)| (name, &view.apply));
        histograms(to, ("view_apply_duration_seconds", "Applying one batch to a view", label), apply)?;
        let checkpoint = by_name().map(|(name, view)| (name, &view.checkpoint));
        let help = "Making a view durable";
        histograms(to, ("view_checkpoint_duration_seconds", help, label), checkpoint)?;
        let applied = by_name().map(|(name, view)| (name, float(view.applied.now())));
        gauges(to, ("view_position", "Newest position that a view has applied", label), applied)?;
        let waiting = by_name().map(|(name, view)| (name, float(view.waiting.now())));
        gauges(to, ("view_queue_bundles", "Bundles that wait for a view", label), waiting)?;
        let age = by_name().map(|(name, view)| (name, view.unsettled_for().as_secs_f64()));
        gauges(to, ("view_checkpoint_age_seconds", "Since a view was last looked after", label), age)
    }
}
