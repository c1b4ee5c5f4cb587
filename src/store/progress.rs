//! How far a view has come: a position that only grows, which readers load and committers await.
//! A view whose engine failed is stalled: waiting for it ends with that. A view rests between batches;
//! whoever waits for it ends its rest.

use std::fmt;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::model::id::Seq;

/// The applied position of one view.
#[derive(Default)]
pub(in crate::store) struct Progress {
    applied: AtomicU64,
    stalled: AtomicBool,
    moved: Notify,
    hurry: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("applied", &self.applied).finish_non_exhaustive()
    }
}

/// The view will not get there: its engine failed, or it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stalled;

impl Progress {
    /// Starting at what the view had already applied.
    pub fn at(seq: Seq) -> Self {
        Self { applied: AtomicU64::new(seq.0), ..Self::default() }
    }

    /// The position through which the view is complete. What was applied up to it is visible to
    /// whoever loaded it.
    pub fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Moves on; a smaller position is ignored.
    pub fn advance(&self, to: Seq) {
        self.applied.fetch_max(to.0, Ordering::AcqRel);
        self.moved.notify_waiters();
    }

    /// Has `hurry` called by whoever waits. Only the first one counts.
    pub fn on_wait(&self, hurry: impl Fn() + Send + Sync + 'static) {
        let _ = self.hurry.set(Box::new(hurry));
    }

    /// Goes no further.
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Waits until `seq` is applied.
    ///
    /// # Errors
    /// [`Stalled`] if that will not be.
    pub async fn reached(&self, seq: Seq) -> Result<(), Stalled> {
        while self.applied() < seq {
            let mut moved = pin!(self.moved.notified());
            // Listens before it looks again, so that no move falls between the two.
            moved.as_mut().enable();
            if self.applied() >= seq {
                break;
            }
            if self.stalled.load(Ordering::Acquire) {
                return Err(Stalled);
            }
            if let Some(hurry) = self.hurry.get() {
                hurry();
            }
            moved.await;
        }
        Ok(())
    }
}
