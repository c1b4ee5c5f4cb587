//! The end of an edge thread: it stops accepting, asks every connection to finish, and waits for
//! them until its patience runs out. What is left then is cut.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::connection::Farewell;
use crate::observe::metrics::EdgeCounters;

/// Whether one edge thread is finishing, and what still runs on it.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<Option<Farewell>>,
    begun: Notify,
    open: Cell<usize>,
    all_closed: Notify,
}

impl Drain {
    /// Whether connections should finish, and why.
    pub const fn farewell(&self) -> Option<Farewell> {
        self.draining.get()
    }

    /// Resolves when connections should finish. A cell and one registration: being able to drain
    /// costs a request nothing.
    pub fn begun(&self) -> Notified<'_> {
        self.begun.notified()
    }

    /// Asks every connection to finish, and waits. Returns how many were still open at the end.
    pub async fn run(&self, why: Farewell, patience: Duration) -> usize {
        self.draining.set(Some(why));
        self.begun.notify_waiters();
        let closed = async {
            while self.open.get() > 0 {
                self.all_closed.notified().await;
            }
        };
        let _ = tokio::time::timeout(patience, closed).await;
        self.open.get()
    }
}

/// An open connection, counted until dropped.
#[derive(Debug)]
pub struct Open {
    drain: Rc<Drain>,
    counters: Arc<EdgeCounters>,
}

impl Open {
    /// One more.
    pub fn new(drain: &Rc<Drain>, counters: &Arc<EdgeCounters>) -> Self {
        drain.open.set(drain.open.get() + 1);
        counters.opened.up();
        Self { drain: Rc::clone(drain), counters: Arc::clone(counters) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.drain.open.get().saturating_sub(1);
        self.drain.open.set(left);
        self.counters.closed.up();
        if left == 0 {
            self.drain.all_closed.notify_one();
        }
    }
}
