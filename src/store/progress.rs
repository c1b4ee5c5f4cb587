//! How far a view has come: a position that only grows, which readers load and committers await.

use tokio::sync::watch;

use crate::model::id::Seq;

/// The applied position of one view.
#[derive(Debug)]
pub(in crate::store) struct Progress(watch::Sender<Seq>);

impl Progress {
    /// Starting at what the view had already applied.
    pub fn at(seq: Seq) -> Self {
        Self(watch::Sender::new(seq))
    }

    /// The position through which the view is complete.
    pub fn applied(&self) -> Seq {
        *self.0.borrow()
    }

    /// Moves on; a smaller position is ignored.
    pub fn advance(&self, to: Seq) {
        self.0.send_if_modified(|at| {
            let further = to > *at;
            *at = (*at).max(to);
            further
        });
    }

    /// Waits until `seq` is applied.
    pub async fn reached(&self, seq: Seq) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|at| *at >= seq).await;
    }
}
