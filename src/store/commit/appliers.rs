//! One thread for each view: applies what is committed, in order and in groups, and makes it
//! durable in the background. When every view is durable through a position, the journal may forget
//! what is before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Shared;
use super::queue::{Bounds, Queue, Taken};
use crate::model::change::Namespace;
use crate::model::id::Seq;
use crate::observe::stores::ViewMeters;
use crate::store::bundle::SharedCommit;
use crate::store::error::StoreError;
use crate::store::journal::segment::Catalog;
use crate::store::progress::Progress;
use crate::store::view::Applier;

/// How promptly a view is brought up to the journal.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Pace {
    /// How far it may lag before the committer waits for it.
    lag: Bounds,
    /// What is applied in one transaction, bytes of the journal's payload.
    batch: usize,
    /// From the beginning of one batch to the next, unless `enough` commits wait, or as many bytes as make a
    /// batch.
    rest: Duration,
    enough: usize,
}

impl Pace {
    /// For views that whoever reads what was just written waits for, and hurries. Most commits have nothing
    /// for a view, or a record for the log that nobody reads in the next moment: applied one by one they cost
    /// a hundredth of what a login costs.
    pub const AWAITED: Self = Self {
        lag: Bounds { items: 32 * 1024, bytes: 64 * 1024 * 1024 },
        batch: 4 * 1024 * 1024,
        rest: Duration::from_millis(100),
        enough: 1024,
    };
    /// For a view that an overlay answers for. A record that changes often is written once, and records that
    /// share a page are written together: rotations over 100,000 sessions were about half as many again a second
    /// as with the pace above. More in a batch writes less still, but then the committer waits longer where a
    /// batch is slow, and what waits and what is in hand is memory, about a kilobyte a commit.
    pub const GATHERING: Self = Self {
        lag: Bounds { items: 64 * 1024, bytes: 32 * 1024 * 1024 },
        batch: 8 * 1024 * 1024,
        rest: Duration::from_secs(1),
        enough: 32 * 1024,
    };
}

/// Where the committer hands commits to a view. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Feed {
    queue: Arc<Queue<SharedCommit>>,
    pace: Pace,
    meters: Arc<ViewMeters>,
}

impl Feed {
    /// A feed with nothing in it.
    pub fn new(pace: Pace, meters: Arc<ViewMeters>) -> Self {
        Self { queue: Arc::new(Queue::new(pace.lag)), pace, meters }
    }

    /// Hands commits on, each with its size; waits while the view lags too far.
    pub(super) fn push(&self, commits: &[(SharedCommit, usize)]) {
        self.meters.waiting.rise(commits.len());
        self.queue.push(commits.iter().map(|(commit, bytes)| (Arc::clone(commit), *bytes)));
    }

    /// Somebody waits for what was handed on.
    pub fn hurry(&self) {
        self.queue.hurry();
    }

    /// Lets nothing more in; what is in it is still applied.
    pub fn close(&self) {
        self.queue.close();
    }
}

/// How far each view is durable, and what the journal may forget by that.
pub(in crate::store) struct Retention {
    catalog: Arc<Catalog>,
    durable: Mutex<[Seq; Namespace::ALL.len()]>,
}

impl Retention {
    /// Nothing is known to be durable: what survived a kill may sit in the page cache only.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, durable: Mutex::default() }
    }

    fn checkpointed(&self, namespace: Namespace, seq: Seq) {
        let mut durable = self.durable.lock();
        for (at, _) in durable.iter_mut().zip(Namespace::ALL).filter(|(_, of)| *of == namespace) {
            *at = seq;
        }
        let everywhere = durable.iter().min().copied().unwrap_or_default();
        drop(durable);
        if let Err(error) = self.catalog.retire(everywhere) {
            tracing::warn!(%error, "an old journal segment could not be removed; it takes space, no more");
        }
    }
}

/// What a view's thread needs.
pub(in crate::store) struct Parts {
    pub shared: Arc<Shared>,
    pub namespace: Namespace,
    pub applier: Box<dyn Applier>,
    pub feed: Feed,
    /// Moved on after each transaction; `None` where something else speaks for the view.
    pub progress: Option<Arc<Progress>>,
    pub retention: Arc<Retention>,
    /// Longest time between checkpoints.
    pub checkpoint_every: Duration,
    /// Most that is applied between checkpoints, bytes of the journal's payload.
    pub checkpoint_bytes: u64,
    /// Whether to checkpoint at the end.
    pub checkpoint_at_end: Arc<AtomicBool>,
}

/// Applies until the feed is closed and empty.
///
/// # Errors
/// What the engine failed with; the node is read-only by then.
pub(in crate::store) fn run(mut parts: Parts) -> Result<(), StoreError> {
    let namespace = parts.namespace;
    let result = catch_unwind(AssertUnwindSafe(|| parts.serve())).unwrap_or_else(|_| {
        Err(StoreError::Engine { namespace, detail: "it stopped by a defect; see the log".into() })
    });
    if let Err(error) = &result {
        parts.shared.fail(&error.to_string());
    }
    // Nobody may wait for a view that is gone, neither for room nor for its position.
    parts.feed.close();
    if let Some(progress) = &parts.progress {
        progress.stall();
    }
    result
}

impl Parts {
    fn serve(&mut self) -> Result<(), StoreError> {
        let mut commits = Vec::new();
        let mut due = Instant::now() + self.checkpoint_every;
        let mut pending_bytes = 0_u64;
        let mut dirty = false;
        let pace = self.feed.pace;
        let mut rested = Instant::now();
        loop {
            self.feed.queue.rest(Bounds { items: pace.enough, bytes: pace.batch }, rested.min(due));
            match self.feed.queue.take(&mut commits, pace.batch, Some(due)) {
                Taken::Items { bytes } => {
                    self.feed.meters.waiting.fall(commits.len());
                    rested = Instant::now() + pace.rest;
                    self.apply(&commits)?;
                    commits.clear();
                    pending_bytes += bytes as u64;
                    dirty = true;
                }
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            if pending_bytes >= self.checkpoint_bytes || Instant::now() >= due {
                if dirty {
                    self.checkpoint()?;
                }
                self.feed.meters.settled_now();
                (dirty, pending_bytes, due) = (false, 0, Instant::now() + self.checkpoint_every);
            }
        }
        if self.checkpoint_at_end.load(Ordering::Acquire) { self.checkpoint() } else { Ok(()) }
    }

    fn apply(&mut self, commits: &[SharedCommit]) -> Result<(), StoreError> {
        let begun = Instant::now();
        self.applier.apply(commits)?;
        self.feed.meters.apply.took(begun.elapsed());
        if let Some(last) = commits.last() {
            self.feed.meters.applied.set(last.seq.0);
        }
        if let (Some(progress), Some(last)) = (&self.progress, commits.last()) {
            progress.advance(last.seq);
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let seq = self.applier.checkpoint()?;
        self.feed.meters.checkpoint.took(begun.elapsed());
        self.retention.checkpointed(self.namespace, seq);
        if !self.shared.is_short() {
            self.applier.give_back();
        }
        Ok(())
    }
}
