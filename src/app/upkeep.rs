//! The clockwork: what must happen from time to time while the house serves. Each task does one
//! thing, logs its failures and goes on; none of them is on a request's path.
//!
//! They end by a flag, between two steps: a step cut in the middle leaves its work half done (a head
//! that is committed and not in the witness, a key that is sealed and not published).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::core::Core;
use super::watch;
use crate::edge::tls::Terminator;

/// How often the audit signer asks whether a head is due; `store.audit_head_every` decides.
const HEADS: Duration = Duration::from_secs(1);
/// How often keys and certificates are asked whether their time has come.
const KEYS: Duration = Duration::from_secs(60);
/// How often what has expired is dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the stores are looked at.
const WATCH: Duration = Duration::from_secs(5);
/// Sessions looked at in one sweep step.
const PAGE: usize = 500;

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
    let (this, flag) = (Arc::clone(core), stopped.clone());
    tasks.spawn(every(SWEEP, stopped.clone(), move || {
        let (core, flag) = (Arc::clone(&this), flag.clone());
        async move {
            // Many pages may take long; a page that is given up is taken up by the next sweep.
            tokio::select! {
                () = until(flag) => {}
                () = sweep(&core) => {}
            }
        }
    }));
    let this = Arc::clone(core);
    tasks.spawn(every(WATCH, stopped.clone(), move || {
        let core = Arc::clone(&this);
        async move {
            // A look that was interrupted is repeated soon enough.
            let _ = tokio::task::spawn_blocking(move || watch::look(&core)).await;
        }
    }));
    tasks
}

/// Drops what has expired: revocations from memory, sessions from the store.
async fn sweep(core: &Core) {
    core.revocations.view().prune(core.clock.now().as_millis());
    let mut after = None;
    loop {
        match core.auth.sessions.sweep(after, PAGE).await {
            Ok(None) => break,
            Ok(next) => after = next,
            Err(error) => {
                tracing::error!(%error, "expired sessions could not be removed");
                break;
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn every<F: Future<Output = ()>>(period: Duration, stopped: Stopped, mut step: impl FnMut() -> F) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = until(stopped.clone()) => return,
            _ = ticks.tick() => {}
        }
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
