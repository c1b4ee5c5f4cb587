//! The clockwork: what must happen from time to time while the house serves. Each task does one
//! thing, logs its failures and goes on; none of them is on a request's path.
//!
//! They end by a flag, between two steps: a step cut in the middle leaves its work half done (a head
//! that is committed and not in the witness, a key that is sealed and not published).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::core::Core;
use super::memory;
use super::watch::look;
use crate::edge::tls::Terminator;

/// How often the audit signer asks whether a head is due; `store.audit_head_every` decides.
const HEADS: Duration = Duration::from_secs(1);
/// How often keys and certificates are asked whether their time has come.
const KEYS: Duration = Duration::from_secs(60);
/// How often what has expired is dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the stores are looked at.
const WATCH: Duration = Duration::from_secs(5);
/// How often memory that is no longer needed is given back.
const MEMORY: Duration = Duration::from_secs(10);
/// How often counts of refusals are looked at, whose windows may have closed.
const DENIALS: Duration = Duration::from_secs(5);
/// How often the store drops what lapsed a day ago: it reads every revocation kept.
const LAPSED: Duration = Duration::from_secs(3600);
/// Sessions in one page of a sweep, and pages in one step: 1.2 million sessions an hour, while the
/// records of expired ones wait for a day anyway.
const PAGE: usize = 500;
/// See [`PAGE`].
const PAGES: usize = 40;

/// Raised when the house closes; a sender that is gone counts as raised.
type Stopped = Receiver<bool>;

/// Starts the tasks. They end after the step they are at when the flag is raised: await them all.
pub(in crate::app) fn start(core: &Arc<Core>, terminator: &Terminator, stopped: &Stopped) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let this = Arc::clone(core);
    tasks.spawn(every(HEADS, stopped.clone(), move || {
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
    tasks.spawn(every(KEYS, stopped.clone(), move || {
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
    tasks.spawn(sweep(Arc::clone(core), stopped.clone()));
    let this = Arc::clone(core);
    tasks.spawn(every(LAPSED, stopped.clone(), move || {
        let core = Arc::clone(&this);
        async move {
            if core.stores.committer.read_only().is_none()
                && let Err(error) = core.auth.lapsed.forget().await
            {
                tracing::error!(%error, "lapsed records could not be removed");
            }
        }
    }));
    let this = Arc::clone(core);
    tasks.spawn(every(WATCH, stopped.clone(), move || {
        let core = Arc::clone(&this);
        async move {
            // A look that was interrupted is repeated soon enough.
            let _ = tokio::task::spawn_blocking(move || look(&core)).await;
        }
    }));
    let this = Arc::clone(core);
    tasks.spawn(every(DENIALS, stopped.clone(), move || {
        let core = Arc::clone(&this);
        async move { write_denials(&core, Some(Instant::now())).await }
    }));
    tasks.spawn(every(MEMORY, stopped.clone(), || async { memory::give_back() }));
    tasks
}

/// Writes the counts of refusals whose windows have closed by `now` ([`None`]: all of them).
pub(in crate::app) async fn write_denials(core: &Core, now: Option<Instant>) {
    if core.stores.committer.read_only().is_some() {
        return;
    }
    let failures = core.auth.denials.close_windows(now).await;
    if failures > 0 {
        tracing::error!(failures, "counts of refusals could not be written to the audit log yet");
    }
}

/// Drops what has expired: revocations and failed tries from memory, sessions from the store.
async fn sweep(core: Arc<Core>, stopped: Stopped) {
    let mut sweep = core.auth.sessions.sweep();
    let mut ticks = ticks(SWEEP);
    while next(&mut ticks, &stopped).await {
        core.revocations.view().prune(core.clock.now().as_millis());
        core.auth.throttle.purge();
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

/// Waits for the next tick; false once the house closes.
async fn next(ticks: &mut Interval, stopped: &Stopped) -> bool {
    tokio::select! {
        biased;
        () = until(stopped.clone()) => false,
        _ = ticks.tick() => true,
    }
}

async fn every<F: Future<Output = ()>>(period: Duration, stopped: Stopped, mut step: impl FnMut() -> F) {
    let mut ticks = ticks(period);
    while next(&mut ticks, &stopped).await {
        step().await;
    }
}

async fn until(mut stopped: Stopped) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_step_under_way_is_finished_when_the_house_closes_and_no_other_begins() {
        let (stop, stopped) = watch::channel(false);
        let (begun, mut seen) = watch::channel(false);
        let (go, gate) = watch::channel(false);
        let (begun, done) = (Arc::new(begun), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&done);
        let task = tokio::spawn(every(Duration::from_millis(1), stopped, move || {
            let (begun, gate, count) = (Arc::clone(&begun), gate.clone(), Arc::clone(&count));
            async move {
                begun.send_replace(true);
                until(gate).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        }));
        seen.wait_for(|begun| *begun).await.unwrap();
        stop.send_replace(true);
        tokio::task::yield_now().await;
        assert!(!task.is_finished(), "the step is under way");
        go.send_replace(true);
        task.await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
