//! What the hashing threads do, and who sees that they get on.
//!
//! They are in the scheduler's idle class: a proxied request that wakes takes the processor at once. A
//! machine that is busy for long would let nobody log in then, so a thread of its own looks, while there
//! is work, whether any of it gets done. If none did, the hashing threads compete at a low priority for a
//! while. Where the system would not let them out of the idle class, they do so from the start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use rustix::process::Pid;

use super::class::{self, Class};
use super::{Job, STARTED, Shared};
use crate::auth::password::hash::Arena;
use crate::observe::identity::IdentityMeters;

/// How long a thread keeps its arena when nobody logs in: the memory of a hash is most of a quiet
/// node's.
const IDLE: Duration = Duration::from_secs(10);

/// How long the watch bears with hashes that do not get done, and how long it lets the threads compete
/// then. A hash takes tens of milliseconds on a processor of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// In the idle class.
    pub idle: Duration,
    /// Out of it.
    pub raised: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { idle: Duration::from_secs(1), raised: Duration::from_secs(10) }
    }
}

/// Starts the threads; they end when the pool is closed.
pub(super) fn start(
    shared: &Arc<Shared>,
    count: usize,
    blocks: usize,
    meters: &Arc<IdentityMeters>,
    patience: Patience,
) -> std::io::Result<()> {
    let yields = class::may_come_back();
    for index in 0..count {
        let (shared, meters) = (Arc::clone(shared), Arc::clone(meters));
        std::thread::Builder::new()
            .name(format!("keepgate-hash-{index}"))
            .spawn(move || work_until_closed(&shared, blocks, yields, &meters))?;
    }
    if yields {
        let shared = Arc::clone(shared);
        std::thread::Builder::new()
            .name("keepgate-hashes".into())
            .spawn(move || watch_until_closed(&shared, patience))?;
    } else {
        tracing::info!(
            "the hashing threads stay out of the scheduler's idle class, which they could not leave again: a \
             storm of logins may cost proxied requests milliseconds; LimitNICE=+10 of systemd allows it"
        );
    }
    Ok(())
}

fn work_until_closed(shared: &Shared, blocks: usize, yields: bool, meters: &IdentityMeters) {
    class::step_back();
    if yields {
        enter(shared);
    }
    let mut arena = Arena::default();
    while let Some(job) = next_job(shared, IDLE, || arena.shrink(0)) {
        meters.waiting.set(shared.queue.lock().waiting());
        if job.claim.take(STARTED) {
            let work = job.work;
            if catch_unwind(AssertUnwindSafe(|| work(&mut arena))).is_err() {
                // The answer's sender went with the panic: the asker hears `Failed`.
                arena.wipe();
            }
            // An old hash with larger parameters does not keep its memory.
            arena.shrink(blocks);
        }
        let mut queue = shared.queue.lock();
        queue.under_way -= 1;
        queue.done = queue.done.wrapping_add(1);
    }
}

/// Enters the class that all hashing threads are in.
fn enter(shared: &Shared) {
    let own = rustix::thread::gettid();
    let mut queue = shared.queue.lock();
    queue.threads.push(own);
    put(&[own], queue.class);
}

/// Waits for a job; `None` once the pool is closed. Calls `on_idle` if none comes for `patience`.
pub(super) fn next_job(shared: &Shared, patience: Duration, mut on_idle: impl FnMut()) -> Option<Job> {
    let mut queue = shared.queue.lock();
    let mut idle = false;
    loop {
        if queue.closed {
            return None;
        }
        if let Some(job) = queue.pop() {
            queue.under_way += 1;
            return Some(job);
        }
        if idle {
            shared.filled.wait(&mut queue);
        } else if shared.filled.wait_for(&mut queue, patience).timed_out() && queue.is_empty() {
            idle = true;
            MutexGuard::unlocked(&mut queue, &mut on_idle);
        }
    }
}

fn watch_until_closed(shared: &Shared, patience: Patience) {
    let mut queue = shared.queue.lock();
    while !queue.closed {
        if queue.is_calm() {
            queue.watched = false;
            shared.begun.wait(&mut queue);
            continue;
        }
        let (done, until) = (queue.done, Instant::now() + patience.idle);
        while !queue.closed && !shared.begun.wait_until(&mut queue, until).timed_out() {}
        if queue.done == done && !queue.is_calm() {
            queue.class = Class::Other;
            put(&queue.threads, Class::Other);
            let until = Instant::now() + patience.raised;
            while !queue.closed && !shared.begun.wait_until(&mut queue, until).timed_out() {}
            queue.class = Class::Idle;
            put(&queue.threads, Class::Idle);
        }
    }
}

fn put(threads: &[Pid], class: Class) {
    for thread in threads {
        if let Err(error) = class::put(*thread, class) {
            tracing::warn!(%error, ?class, "a hashing thread could not be put into a class of the scheduler");
        }
    }
}
