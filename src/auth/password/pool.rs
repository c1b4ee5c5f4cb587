//! The threads that hash. Slow hashes get threads of their own and a queue of their own, so that a
//! login storm neither slows proxied traffic nor takes memory beyond `threads × memory_kib`
//! (invariants 6 and 7). Past the queue the answer is "come back later", never more memory.
//!
//! Who is known and who is a stranger wait in lines of their own, served in turn: strangers who fill theirs
//! keep nobody known out, and the other way round.
//!
//! Not `spawn_blocking`: its pool is shared with file I/O, has 512 threads, and an unbounded queue.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::oneshot;

use super::hash::Arena;
use crate::config::passwords::Passwords;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full, or the wait in it was too long.
    #[error("too many password hashes wait")]
    Overloaded,
    /// The work panicked; the thread lives on.
    #[error("hashing failed")]
    Failed,
}

type Work = Box<dyn FnOnce(&mut Arena) + Send>;

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ABANDONED: u8 = 2;

/// Whether a job's asker still waits. Asker and thread race for it; one compare-and-swap decides.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicU8>);

impl Claim {
    fn take(&self, state: u8) -> bool {
        self.0.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }
}

/// Abandons the job when the asker's future is dropped: a client that hung up costs no hash.
struct Asker(Claim);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.take(ABANDONED);
    }
}

struct Job {
    claim: Claim,
    work: Work,
}

/// Where a job waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// For whoever is known already.
    Known,
    /// For anybody.
    #[default]
    Strangers,
}

#[derive(Default)]
struct Queue {
    known: VecDeque<Job>,
    strangers: VecDeque<Job>,
    /// Whose turn was last.
    last: Line,
    closed: bool,
}

impl Queue {
    const fn line(&mut self, line: Line) -> &mut VecDeque<Job> {
        match line {
            Line::Known => &mut self.known,
            Line::Strangers => &mut self.strangers,
        }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty() && self.strangers.is_empty()
    }

    /// The next job: of the line whose turn it is, or of the other.
    fn pop(&mut self) -> Option<Job> {
        let other = match self.last {
            Line::Known => Line::Strangers,
            Line::Strangers => Line::Known,
        };
        for line in [other, self.last] {
            if let Some(job) = self.line(line).pop_front() {
                self.last = line;
                return Some(job);
            }
        }
        None
    }
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// Ends the threads when the last handle goes. They are not joined: a drop may happen on an async
/// thread, which must not wait for a hash.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.filled.notify_all();
    }
}

/// A bounded pool of hashing threads. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct HashingPool {
    closer: Arc<Closer>,
    capacity: usize,
    timeout: Duration,
    line: Line,
}

impl HashingPool {
    /// Starts the threads. Each keeps an arena of `blocks` KiB between hashes.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(config: &Passwords, blocks: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), filled: Condvar::new() });
        // Made first, so that an error half-way ends the threads already started.
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        let half = || std::thread::available_parallelism().map_or(1, |n| n.get() / 2).max(1);
        let threads = if config.threads == 0 { half() } else { config.threads };
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("keepgate-hash-{index}"))
                .spawn(move || work_until_closed(&shared, blocks))?;
        }
        Ok(Self { closer, capacity: config.queue, timeout: config.queue_timeout, line: Line::Strangers })
    }

    /// The same threads, with a place in another line.
    pub fn in_line(&self, line: Line) -> Self {
        Self { line, ..self.clone() }
    }

    /// Runs `work` on one of the threads. Dropping the future skips work that has not begun.
    ///
    /// # Errors
    /// [`PoolError::Overloaded`] if the queue is full or the work did not begin within the timeout;
    /// [`PoolError::Failed`] if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Arena) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (answer, mut answered) = oneshot::channel();
        let asker = Asker(Claim::default());
        self.admit(Job {
            claim: asker.0.clone(),
            work: Box::new(move |arena| {
                // A receiver that is gone wants no answer.
                let _ = answer.send(work(arena));
            }),
        })?;
        let result = match tokio::time::timeout(self.timeout, &mut answered).await {
            Ok(result) => result,
            // Too long in the queue; but if it has just begun, it is paid for.
            Err(_) if asker.0.take(ABANDONED) => return Err(PoolError::Overloaded),
            Err(_) => answered.await,
        };
        result.map_err(|_| PoolError::Failed)
    }

    fn admit(&self, job: Job) -> Result<(), PoolError> {
        let shared = &self.closer.0;
        {
            let mut queue = shared.queue.lock();
            let line = queue.line(self.line);
            if line.len() >= self.capacity {
                // Places of those who left are free.
                line.retain(|job| !job.claim.is_abandoned());
            }
            if line.len() >= self.capacity {
                return Err(PoolError::Overloaded);
            }
            line.push_back(job);
        }
        shared.filled.notify_one();
        Ok(())
    }
}

/// How long a thread keeps its arena when nobody logs in: the memory of a hash is most of a quiet
/// node's.
const IDLE: Duration = Duration::from_secs(10);

/// Added to the hashing threads' niceness: a request that is proxied at the same time goes first. Not
/// the most there is, so that a machine that is busy for long still lets people log in.
const NICENESS: i32 = 10;

/// Lowers the priority of this thread, which on Linux is a thread's own.
fn step_back() {
    let lowered = getpriority_process(None).and_then(|own| setpriority_process(None, own + NICENESS));
    if let Err(error) = lowered {
        tracing::debug!(%error, "the hashing threads keep their priority");
    }
}

fn work_until_closed(shared: &Shared, blocks: usize) {
    step_back();
    let mut arena = Arena::default();
    while let Some(job) = next_job(shared, IDLE, || arena.shrink(0)) {
        if !job.claim.take(STARTED) {
            continue;
        }
        let work = job.work;
        if catch_unwind(AssertUnwindSafe(|| work(&mut arena))).is_err() {
            // The answer's sender went with the panic: the asker hears `Failed`.
            arena.wipe();
        }
        // An old hash with larger parameters does not keep its memory.
        arena.shrink(blocks);
    }
}

/// Waits for a job; `None` once the pool is closed. Calls `on_idle` if none comes for `patience`.
fn next_job(shared: &Shared, patience: Duration, mut on_idle: impl FnMut()) -> Option<Job> {
    let mut queue = shared.queue.lock();
    let mut idle = false;
    loop {
        if queue.closed {
            return None;
        }
        if let Some(job) = queue.pop() {
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

#[cfg(test)]
mod tests;
