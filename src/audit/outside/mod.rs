//! Witnesses outside: every signed head is also appended to a file on another path and sent to
//! syslog, so that who owns the data folder does not own every copy of the proof.
//!
//! A thread of its own does it, and nobody waits for it: a head that cannot be delivered now waits,
//! in bounded number, while the tries grow rarer. A failure is logged once until it is over, and
//! counted. Heads that are lost on the way weaken nothing: each later one covers all records that
//! the lost ones did.

pub mod syslog;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::witness::{Reader, Witness, line};
use crate::config;
use crate::model::event::SignedHead;
use syslog::Syslog;

/// Heads that may wait for the thread, and for each target: days of them, some hundred bytes each.
const WAITING: usize = 10_000;
/// After the first failure, and at most, until the next try.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A place where heads are told.
trait Target: Send {
    /// What it is called in the log.
    fn name(&self) -> String;
    /// Delivers a head; when it returns, it is delivered as far as the target can tell.
    fn deliver(&mut self, head: &SignedHead) -> io::Result<()>;
}

/// The file: opened for each head, so that one that was moved away or a mount that came back is
/// noticed.
struct CopyFile {
    path: PathBuf,
    /// The node's own witness: what it has and the copy lacks is caught up with at the start.
    own: Option<PathBuf>,
}

impl Target for CopyFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn deliver(&mut self, head: &SignedHead) -> io::Result<()> {
        // Its folder is not made: where a mount is missing nothing should be written beside it.
        if !self.path.parent().is_some_and(Path::is_dir) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its folder is not there"));
        }
        let (mut copy, last) = Witness::open(&self.path)?;
        let mut count = last.map_or(0, |last| last.count);
        if let Some(own) = &self.own {
            for entry in Reader::open(own)?.into_iter().flatten() {
                if let Some(missed) = entry?.head.filter(|missed| missed.count > count) {
                    copy.append(&missed)?;
                    count = missed.count;
                }
            }
            self.own = None;
        }
        if head.count > count { copy.append(head) } else { Ok(()) }
    }
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
    failures: Arc<AtomicU64>,
}

impl Line {
    fn new(target: Box<dyn Target>, failures: &Arc<AtomicU64>) -> Self {
        Self { target, waiting: VecDeque::new(), failing: None, failures: Arc::clone(failures) }
    }

    fn push(&mut self, head: SignedHead) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
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
        self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = self.failing.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
        if self.failing.is_none() {
            let witness = self.target.name();
            tracing::error!(witness, %error, "a signed audit head could not be delivered; it is tried again");
        }
        self.failing = Some((now + pause, pause));
    }
}

/// Tells the outside of signed heads. Dropping it tries once more to deliver what waits.
pub struct Outside {
    heads: Option<SyncSender<SignedHead>>,
    thread: Option<JoinHandle<()>>,
    failures: Arc<AtomicU64>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outside({})", if self.thread.is_some() { "told" } else { "nobody" })
    }
}

impl Outside {
    /// Nobody.
    pub fn nobody() -> Self {
        Self { heads: None, thread: None, failures: Arc::default() }
    }

    /// Whom the configuration names. `own` is the node's own witness file.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(config: &config::audit::Audit, own: &Path) -> io::Result<Self> {
        let failures = Arc::new(AtomicU64::new(0));
        let mut lines = Vec::new();
        if let Some(path) = &config.witness_file {
            let target = CopyFile { path: path.clone(), own: Some(own.to_owned()) };
            lines.push(Line::new(Box::new(target), &failures));
        }
        if let Some(target) = &config.syslog {
            lines.push(Line::new(Box::new(Syslog::new(target.clone())), &failures));
        }
        if lines.is_empty() {
            return Ok(Self::nobody());
        }
        let (heads, told) = sync_channel(WAITING);
        let run = move || run(lines, &told);
        let thread = std::thread::Builder::new().name("audit-outside".into()).spawn(run)?;
        Ok(Self { heads: Some(heads), thread: Some(thread), failures })
    }

    /// Takes a head, or lets it go if ten thousand are waiting.
    pub fn tell(&self, head: &SignedHead) {
        if let Some(heads) = &self.heads
            && heads.try_send(head.clone()).is_err()
        {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deliveries that failed since the start; asked for by the metrics.
    pub fn failures(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failures)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.heads = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut lines: Vec<Line>, told: &Receiver<SignedHead>) {
    loop {
        let next = lines.iter().filter_map(|line| line.failing).map(|(next, _)| next).min();
        let wait = next.map_or(RETRY.1, |next| next.saturating_duration_since(Instant::now()));
        match told.recv_timeout(wait) {
            Ok(head) => lines.iter_mut().for_each(|line| line.push(head.clone())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        lines.iter_mut().for_each(|line| line.flush(Instant::now()));
    }
    for line in &mut lines {
        line.failing = None;
        line.flush(Instant::now());
    }
}

#[cfg(test)]
mod tests;
