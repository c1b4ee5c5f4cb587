//! The clockwork: what must happen from time to time while the house serves. Each task does one
//! thing, logs its failures and goes on; none of them is on a request's path.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::core::Core;
use crate::edge::tls::Terminator;

/// How often the audit signer asks whether a head is due; `store.audit_head_every` decides.
const HEADS: Duration = Duration::from_secs(1);
/// How often keys and certificates are asked whether their time has come.
const KEYS: Duration = Duration::from_secs(60);
/// How often what has expired is dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the store drops what lapsed a day ago: it reads every revocation kept.
const LAPSED: Duration = Duration::from_secs(3600);
/// Sessions in one page of a sweep, and pages in one step: 1.2 million sessions an hour, while the
/// records of expired ones wait for a day anyway.
const PAGE: usize = 500;
/// See [`PAGE`].
const PAGES: usize = 40;

/// Starts the tasks. They end when the set is dropped.
pub(in crate::app) fn start(core: &Arc<Core>, terminator: &Terminator) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let this = Arc::clone(core);
    tasks.spawn(every(HEADS, move || {
        let core = Arc::clone(&this);
        async move {
            if core.stores.committer.read_only().is_none()
                && let Err(error) = core.heads.sign_if_due().await
            {
                tracing::error!(%error, "the audit chain's head could not be signed");
            }
        }
    }));
    let (this, terminator) = (Arc::clone(core), terminator.clone());
    tasks.spawn(every(KEYS, move || {
        let (core, terminator) = (Arc::clone(&this), terminator.clone());
        async move {
            if let Err(error) = core.keys.tick().await {
                tracing::error!(%error, "the signing keys could not be rotated on schedule");
            }
            if let Err(error) = terminator.certificates().refresh() {
                tracing::error!(%error, "certificates could not be renewed; those in use stay");
            }
        }
    }));
    let this = Arc::clone(core);
    tasks.spawn(sweep(this));
    let this = Arc::clone(core);
    tasks.spawn(every(LAPSED, move || {
        let core = Arc::clone(&this);
        async move {
            if core.stores.committer.read_only().is_none()
                && let Err(error) = core.auth.lapsed.forget().await
            {
                tracing::error!(%error, "lapsed records could not be removed");
            }
        }
    }));
    tasks
}

/// Drops what has expired: revocations from memory, sessions from the store.
async fn sweep(core: Arc<Core>) {
    let mut sweep = core.auth.sessions.sweep();
    let mut ticks = ticks(SWEEP);
    loop {
        ticks.tick().await;
        core.revocations.view().prune(core.clock.now().as_millis());
        if core.stores.committer.read_only().is_none()
            && let Err(error) = sweep.step(PAGES, PAGE).await
        {
            tracing::error!(%error, "expired sessions could not be removed");
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn every<F: Future<Output = ()>>(period: Duration, mut step: impl FnMut() -> F) {
    let mut ticks = ticks(period);
    loop {
        ticks.tick().await;
        step().await;
    }
}
