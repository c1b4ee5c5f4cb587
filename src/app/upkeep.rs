//! The clockwork: what must happen from time to time while the house serves. Each task does one
//! thing, logs its failures and goes on; none of them is on a request's path.
//!
//! They end by a flag, between two steps: a step cut in the middle leaves its work half done (a head
//! that is committed and not in the witness, a key that is sealed and not published).

pub(in crate::app) mod steps;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepgate_guard::verifier::Verifier;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::core::Core;
use super::memory;
use super::watch::look;
use crate::edge::start::Housekeeping;
use crate::edge::tls::Terminator;
use crate::observe::logging;

/// How often the audit signer asks whether a head is due; `audit.head_every` decides.
const HEADS: Duration = Duration::from_secs(1);
/// How often keys and certificates are asked whether their time has come.
const KEYS: Duration = Duration::from_secs(60);
/// How often what has expired is dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// What reads through a store begins that long after the start, when the house is open and busy
/// enough with those who waited for it.
const SETTLED: Duration = Duration::from_secs(60);
/// How often the stores are looked at.
const WATCH: Duration = Duration::from_secs(5);
/// How often memory that is no longer needed is given back.
const MEMORY: Duration = Duration::from_secs(10);
/// How often counts of refusals are looked at, whose windows may have closed.
const DENIALS: Duration = Duration::from_secs(5);
/// How often clients are forgotten that have all their rates again.
const RATES: Duration = Duration::from_secs(5);
/// How often audit records are looked at, whose time may be over. How much may go is `audit::retention`'s.
const RETENTION: Duration = Duration::from_secs(600);
/// How often the store drops what lapsed a day ago: it reads every revocation kept.
const LAPSED: Duration = Duration::from_secs(3600);
/// How often the room on disk is asked for: often, because what is committed between two looks is
/// what must fit above the hard floor.
const DISK: Duration = Duration::from_secs(1);

/// Raised when the house closes; a sender that is gone counts as raised.
type Stopped = Receiver<bool>;

/// One step of one task.
type Step = fn(Arc<Core>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is looked after besides the core.
pub(in crate::app) struct Beside {
    pub terminator: Terminator,
    pub edge: Housekeeping,
    pub verifier: Arc<Verifier>,
    pub log: logging::Handle,
}

/// Starts the tasks. They end after the step they are at when the flag is raised: await them all.
pub(in crate::app) fn start(core: &Arc<Core>, beside: Beside, stopped: &Stopped) -> JoinSet<()> {
    let Beside { terminator, edge, verifier, log } = beside;
    let mut tasks = JoinSet::new();
    let later = |ticks, step: Step| {
        let core = Arc::clone(core);
        every(ticks, stopped.clone(), move || step(Arc::clone(&core)))
    };
    let step = |period, step| later(ticks(Duration::ZERO, period), step);
    tasks.spawn(step(HEADS, |core| Box::pin(async move { steps::heads(&core).await })));
    tasks.spawn(later(ticks(SETTLED, LAPSED), |core| Box::pin(async move { steps::lapsed(&core).await })));
    let (this, doors) = (Arc::clone(core), edge.clone());
    tasks.spawn(every(ticks(Duration::ZERO, DENIALS), stopped.clone(), move || {
        let (core, edge) = (Arc::clone(&this), doors.clone());
        async move {
            steps::denials(&core, Some(Instant::now())).await;
            edge.close_windows(Some(Instant::now())).await;
        }
    }));
    tasks.spawn(every(ticks(RATES, RATES), stopped.clone(), move || {
        let edge = edge.clone();
        blocking(move || edge.sweep())
    }));
    tasks.spawn(step(MEMORY, |_| Box::pin(async { memory::give_back() })));
    tasks.spawn(step(WATCH, |core| Box::pin(blocking(move || look(&core)))));
    let this = Arc::clone(core);
    tasks.spawn(every(ticks(Duration::ZERO, DISK), stopped.clone(), move || {
        let (core, log) = (Arc::clone(&this), log.clone());
        blocking(move || steps::disk(&core, &log))
    }));
    let this = Arc::clone(core);
    tasks.spawn(every(ticks(Duration::ZERO, KEYS), stopped.clone(), move || {
        let (core, terminator) = (Arc::clone(&this), terminator.clone());
        async move {
            steps::keys(&core).await;
            if let Err(error) = terminator.certificates().refresh() {
                tracing::error!(%error, "certificates could not be renewed; those in use stay");
            }
        }
    }));
    tasks.spawn(sweep(Arc::clone(core), verifier, stopped.clone()));
    tasks.spawn(prune(Arc::clone(core), stopped.clone()));
    tasks
}

/// What takes its time, on a thread that may. A step that was interrupted is repeated soon enough.
async fn blocking(step: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(step).await);
}

async fn sweep(core: Arc<Core>, verifier: Arc<Verifier>, stopped: Stopped) {
    let mut sweep = core.auth.sessions.sweep();
    let mut ticks = ticks(SETTLED, SWEEP);
    while next(&mut ticks, &stopped).await {
        steps::sweep(&core, &mut sweep).await;
        let (core, verifier) = (Arc::clone(&core), Arc::clone(&verifier));
        blocking(move || steps::forget(&core, &verifier)).await;
    }
}

async fn prune(core: Arc<Core>, stopped: Stopped) {
    let mut ticks = ticks(SETTLED, RETENTION);
    while next(&mut ticks, &stopped).await {
        steps::prune(&core, Instant::now(), || !*stopped.borrow()).await;
    }
}

fn ticks(after: Duration, period: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + after, period);
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

async fn every<F: Future<Output = ()>>(mut ticks: Interval, stopped: Stopped, mut step: impl FnMut() -> F) {
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
        let task = tokio::spawn(every(ticks(Duration::ZERO, Duration::from_millis(1)), stopped, move || {
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
