//! Witnesses outside: every signed head is also appended to a file on another path and sent to
//! syslog, so that who owns the data folder does not own every copy of the proof.
//!
//! Each place has a thread of its own, so that one that hangs holds up no other, and nobody waits for
//! them: a head that cannot be delivered now waits, in bounded number, while the tries grow rarer. A failure is logged once until it is over, and
//! counted. Heads that are lost on the way weaken nothing: each later one covers all records that
//! the lost ones did.

pub mod copy;
pub mod syslog;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::copy::{Check, CopyFile};
use super::witness::line;
use crate::config;
use crate::model::event::SignedHead;
use syslog::Syslog;

/// Heads that may wait for the thread, and for each target: days of them, some hundred bytes each.
const WAITING: usize = 10_000;
/// After the first failure, and at most, until the next try.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a stop waits for the last deliveries. Who hangs longer gets what was missed at the next start.
const PARTING: Duration = Duration::from_secs(5);

/// What is counted since the start; asked for by the metrics.
#[derive(Debug, Default)]
pub struct Counts {
    failures: AtomicU64,
    contradictions: AtomicU64,
}

impl Counts {
    /// Deliveries that failed, and heads that were let go because too many waited.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often a copy had an end that the log does not bear out.
    pub fn contradictions(&self) -> u64 {
        self.contradictions.load(Ordering::Relaxed)
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn contradicted(&self) {
        self.contradictions.fetch_add(1, Ordering::Relaxed);
    }
}

/// A place where heads are told.
trait Target: Send {
    /// What it is called in the log.
    fn name(&self) -> String;
    /// Delivers a head; when it returns, it is delivered as far as the target can tell.
    fn deliver(&mut self, head: &SignedHead) -> io::Result<()>;
}

impl Target for Syslog {
    fn name(&self) -> String {
        format!("syslog at {self}")
    }

    fn deliver(&mut self, head: &SignedHead) -> io::Result<()> {
        let text = line(head)?;
        self.send(head.at, String::from_utf8_lossy(&text).trim_end())
    }
}

/// A target, what waits for it, and how it stands.
struct Line {
    target: Box<dyn Target>,
    waiting: VecDeque<SignedHead>,
    /// The next try, and how long to wait after it, while it fails.
    failing: Option<(Instant, Duration)>,
    counts: Arc<Counts>,
}

impl Line {
    fn new(target: Box<dyn Target>, counts: &Arc<Counts>) -> Self {
        Self { target, waiting: VecDeque::new(), failing: None, counts: Arc::clone(counts) }
    }

    fn push(&mut self, head: SignedHead) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.counts.failed();
        }
        self.waiting.push_back(head);
    }

    /// Delivers what waits, unless it is too early to try again.
    fn flush(&mut self, now: Instant) {
        if self.failing.is_some_and(|(next, _)| now < next) {
            return;
        }
        while let Some(head) = self.waiting.front() {
            if let Err(error) = self.target.deliver(head) {
                self.failed(&error, now);
                return;
            }
            self.waiting.pop_front();
            if self.failing.take().is_some() {
                tracing::info!(witness = self.target.name(), "signed audit heads reach it again");
            }
        }
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        self.counts.failed();
        let pause = self.failing.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
        if self.failing.is_none() {
            let witness = self.target.name();
            tracing::error!(witness, %error, "a signed audit head could not be delivered; it is tried again");
        }
        self.failing = Some((now + pause, pause));
    }
}

/// What is told to one target's thread, and when that has ended.
struct Teller {
    heads: SyncSender<SignedHead>,
    /// In a lock for being shared; only the end looks at it.
    ended: Mutex<Receiver<()>>,
}

/// Tells the outside of signed heads. Dropping it tries once more to deliver what waits, for some seconds.
pub struct Outside {
    tellers: Vec<Teller>,
    counts: Arc<Counts>,
    parting: Duration,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outside({})", self.tellers.len())
    }
}

impl Outside {
    /// Nobody.
    pub fn nobody() -> Self {
        Self { tellers: Vec::new(), counts: Arc::default(), parting: PARTING }
    }

    /// Whom the configuration names. `own` is the node's own witness file; `check` says what a copy of
    /// it may end with.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(config: &config::audit::Audit, own: &Path, check: Check) -> io::Result<Self> {
        let mut outside = Self::nobody();
        if let Some(path) = &config.witness_file {
            let counts = Arc::clone(&outside.counts);
            outside.add(Box::new(CopyFile::new(path.clone(), own.to_owned(), check, counts)))?;
        }
        if let Some(target) = &config.syslog {
            outside.add(Box::new(Syslog::new(target.clone())))?;
        }
        Ok(outside)
    }

    fn add(&mut self, target: Box<dyn Target>) -> io::Result<()> {
        let line = Line::new(target, &self.counts);
        let (heads, told) = sync_channel(WAITING);
        let (ending, ended) = sync_channel(0);
        let run = move || {
            // Gone when the thread ends, however it does.
            let _ending: SyncSender<()> = ending;
            run(line, &told);
        };
        std::thread::Builder::new().name("audit-outside".into()).spawn(run)?;
        self.tellers.push(Teller { heads, ended: Mutex::new(ended) });
        Ok(())
    }

    /// Takes a head, or lets it go where ten thousand are waiting.
    pub fn tell(&self, head: &SignedHead) {
        for teller in &self.tellers {
            if teller.heads.try_send(head.clone()).is_err() {
                self.counts.failed();
            }
        }
    }

    /// What is counted.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let until = Instant::now() + self.parting;
        let ending: Vec<_> = self.tellers.drain(..).map(|Teller { ended, .. }| ended.into_inner()).collect();
        for ended in ending {
            let left = until.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::error!(
                    "an outside witness of the audit log takes nothing; the last heads may be missing there"
                );
            }
        }
    }
}

fn run(mut line: Line, told: &Receiver<SignedHead>) {
    loop {
        let next = line.failing.map(|(next, _)| next);
        let wait = next.map_or(RETRY.1, |next| next.saturating_duration_since(Instant::now()));
        match told.recv_timeout(wait) {
            Ok(head) => line.push(head),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        line.flush(Instant::now());
    }
    line.failing = None;
    line.flush(Instant::now());
}

#[cfg(test)]
mod tests;
