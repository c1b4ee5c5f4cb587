//! The threads that hash. Slow hashes get threads of their own and a queue of their own, so that a
//! login storm neither slows proxied traffic nor takes memory beyond `threads × memory_kib`
//! (invariants 6 and 7). Past the queue the answer is "come back later", never more memory.
//!
//! Who is known and who is a stranger wait in lines of their own, served in turn: strangers who fill theirs
//! keep nobody known out, and the other way round.
//!
//! Their class is the scheduler's lowest (`threads`).
//!
//! Not `spawn_blocking`: its pool is shared with file I/O, has 512 threads, and an unbounded queue.

mod class;
mod threads;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::Pid;
use tokio::sync::oneshot;

use self::class::Class;
use self::threads::Patience;
use super::hash::Arena;
use crate::config::passwords::Passwords;
use crate::observe::identity::IdentityMeters;

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

struct Queue {
    known: VecDeque<Job>,
    strangers: VecDeque<Job>,
    /// Whose turn was last.
    last: Line,
    closed: bool,
    /// Jobs that a thread has, and how many it had and has no more.
    under_way: usize,
    done: u64,
    /// Whether somebody looks at how they get on.
    watched: bool,
    /// The hashing threads, and what class they are in.
    threads: Vec<Pid>,
    class: Class,
}

impl Queue {
    const fn line(&mut self, line: Line) -> &mut VecDeque<Job> {
        match line {
            Line::Known => &mut self.known,
            Line::Strangers => &mut self.strangers,
        }
    }

    fn waiting(&self) -> u64 {
        (self.known.len() + self.strangers.len()) as u64
    }

    /// Whether there is nothing to be done.
    fn is_calm(&self) -> bool {
        self.is_empty() && self.under_way == 0
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
    /// For the hashing threads: there is a job.
    filled: Condvar,
    /// For who watches them: there is one again.
    begun: Condvar,
}

impl Shared {
    const fn new() -> Self {
        let queue = Queue {
            known: VecDeque::new(),
            strangers: VecDeque::new(),
            last: Line::Strangers,
            closed: false,
            under_way: 0,
            done: 0,
            watched: false,
            threads: Vec::new(),
            class: Class::Idle,
        };
        Self { queue: Mutex::new(queue), filled: Condvar::new(), begun: Condvar::new() }
    }
}

/// Ends the threads when the last handle goes. They are not joined: a drop may happen on an async
/// thread, which must not wait for a hash.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.filled.notify_all();
        self.0.begun.notify_all();
    }
}

/// A bounded pool of hashing threads. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct HashingPool {
    closer: Arc<Closer>,
    capacity: usize,
    timeout: Duration,
    line: Line,
    meters: Arc<IdentityMeters>,
}

impl HashingPool {
    /// Starts the threads. Each keeps an arena of `blocks` KiB between hashes.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(config: &Passwords, blocks: usize, meters: Arc<IdentityMeters>) -> std::io::Result<Self> {
        Self::start_with(config, blocks, meters, Patience::default())
    }

    fn start_with(
        config: &Passwords,
        blocks: usize,
        meters: Arc<IdentityMeters>,
        patience: Patience,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new());
        // Made first, so that an error half-way ends the threads already started.
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        let half = || std::thread::available_parallelism().map_or(1, |n| n.get() / 2).max(1);
        let threads = if config.threads == 0 { half() } else { config.threads };
        threads::start(&shared, threads, blocks, &meters, patience)?;
        let (capacity, timeout) = (config.queue, config.queue_timeout);
        Ok(Self { closer, capacity, timeout, line: Line::Strangers, meters })
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
        let meters = Arc::clone(&self.meters);
        self.admit(Job {
            claim: asker.0.clone(),
            work: Box::new(move |arena| {
                let begun = Instant::now();
                let done = work(arena);
                meters.hash.took(begun.elapsed());
                // A receiver that is gone wants no answer.
                let _ = answer.send(done);
            }),
        })?;
        let result = match tokio::time::timeout(self.timeout, &mut answered).await {
            Ok(result) => result,
            // Too long in the queue; but if it has just begun, it is paid for.
            Err(_) if asker.0.take(ABANDONED) => {
                self.meters.refused.up();
                return Err(PoolError::Overloaded);
            }
            Err(_) => answered.await,
        };
        result.map_err(|_| PoolError::Failed)
    }

    fn admit(&self, job: Job) -> Result<(), PoolError> {
        let shared = &self.closer.0;
        let unwatched = {
            let mut queue = shared.queue.lock();
            let line = queue.line(self.line);
            if line.len() >= self.capacity {
                // Places of those who left are free.
                line.retain(|job| !job.claim.is_abandoned());
            }
            if line.len() >= self.capacity {
                self.meters.refused.up();
                return Err(PoolError::Overloaded);
            }
            line.push_back(job);
            self.meters.waiting.set(queue.waiting());
            !std::mem::replace(&mut queue.watched, true)
        };
        shared.filled.notify_one();
        if unwatched {
            shared.begun.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
