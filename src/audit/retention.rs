//! Retention: records older than `audit.keep` are dropped from the log, oldest first, and only up to
//! a record that a signed head speaks of. What is left begins at that head's hash, and an event in
//! what is left says through which record was dropped, and when: so the proof goes on from there, and
//! whoever drops more than was due has to forge a signature or that event.
//!
//! A head's time is later than every record that it covers, so a head older than `keep` covers no
//! record that is younger.
//!
//! What is dropped does not come back, so no clock is believed alone. The time is the machine's and never
//! one that a commit at a leaped time left behind (`FlooredClock`); and however much is due, a day of the
//! log goes in an hour of steady time, so that a leap costs little before it is noticed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Trail;
use super::draft::Draft;
use super::head::HeadPublicKey;
use crate::model::caller::Actor;
use crate::model::change::LogChange;
use crate::model::event::{AuditEvent, Intent, Outcome, Pruned, SignedHead};
use crate::model::time::{SharedClock, Timestamp};
use crate::store::bundle::Bundle;
use crate::store::error::{CommitError, StoreError};

/// Least that may be configured: a record is not dropped before a day has looked at it, and `verify`
/// knows one that was for another's work.
pub const SHORTEST: Duration = Duration::from_secs(24 * 3600);

/// How much of the log may go at once, and how long it is until as much may go again. Counted from the
/// start, so that starting often earns nothing.
const DAY: Duration = Duration::from_secs(24 * 3600);
const PACE: Duration = Duration::from_secs(3600);

/// So far past `keep` the oldest records may be without anybody hearing of it.
const USUAL: Duration = Duration::from_secs(3 * 24 * 3600);

/// Records dropped in one step, about: one transaction of the log database.
const AT_ONCE: u64 = 20_000;
const CHUNK: usize = 512;

/// Records could not be dropped; none was.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The log could not be read.
    #[error("the audit log cannot be read: {0}")]
    Log(#[from] StoreError),
    /// The bundle could not be committed.
    #[error("what was to be dropped cannot be committed: {0}")]
    Commit(#[from] CommitError),
    /// The log is not what was signed.
    #[error(
        "record {0} of the audit log is not the one that its signed head speaks of: nothing is dropped; \
         run `keepgate audit verify`"
    )]
    Contradicted(u64),
    /// The runtime is going away.
    #[error("dropping old records was interrupted")]
    Interrupted,
}

/// Drops old records, a step at a time.
pub struct Retention {
    /// The log, and where its events are written.
    trail: Trail,
    /// What heads are verified with: no forged one may say what can go.
    key: HeadPublicKey,
    /// `audit.keep`; zero keeps everything.
    keep: Duration,
    /// The machine's own clock, which has no floor.
    machine: SharedClock,
    pace: Mutex<Pace>,
}

/// What may go in this hour of the steady clock.
struct Pace {
    limit: Timestamp,
    began: Instant,
    warned: bool,
}

/// What one run of steps may drop.
pub struct Allowance {
    /// No head that is younger.
    pub limit: Timestamp,
    /// How far past `audit.keep` the oldest records are, if that is a surprise that nobody was told of yet.
    pub surprise: Option<Duration>,
}

impl Retention {
    /// Of the log of `trail`, by the clock of `machine`, at a pace that is counted from `start`.
    pub const fn new(
        trail: Trail,
        key: HeadPublicKey,
        keep: Duration,
        machine: SharedClock,
        start: Instant,
    ) -> Self {
        let pace = Pace { limit: Timestamp::from_millis(i64::MIN), began: start, warned: false };
        Self { trail, key, keep, machine, pace: Mutex::new(pace) }
    }

    /// How far the steps may go that begin at `now`: in one hour as far as a day past the oldest head
    /// there was when it began. None where there is nothing to drop.
    pub async fn allow(&self, now: Instant) -> Result<Option<Allowance>, PruneError> {
        if self.keep.is_zero() {
            return Ok(None);
        }
        let (trail, key) = (self.trail.clone(), self.key);
        let found = tokio::task::spawn_blocking(move || oldest(&trail, &key));
        let Some(oldest) = found.await.map_err(|_| PruneError::Interrupted)?? else { return Ok(None) };
        let overdue = self.now().minus(self.keep).since(oldest.at);
        let mut pace = self.pace.lock();
        if now.saturating_duration_since(pace.began) >= PACE {
            (pace.limit, pace.began) = (oldest.at.plus(DAY), now);
        }
        let surprise = (overdue > USUAL && !pace.warned).then_some(overdue);
        pace.warned = overdue > USUAL;
        Ok(Some(Allowance { limit: pace.limit, surprise }))
    }

    /// The earlier of the two clocks.
    fn now(&self) -> Timestamp {
        self.machine.now().min(self.trail.clock.now())
    }

    /// Drops the oldest records that are due and not younger than `limit`, at most some ten thousand.
    /// None if none is.
    pub async fn step(&self, limit: Timestamp) -> Result<Option<Pruned>, PruneError> {
        if self.keep.is_zero() {
            return Ok(None);
        }
        let (trail, key) = (self.trail.clone(), self.key);
        let now = self.now();
        let due = now.minus(self.keep).min(limit);
        let found = tokio::task::spawn_blocking(move || find(&trail, &key, due, now));
        let Some(pruned) = found.await.map_err(|_| PruneError::Interrupted)?? else { return Ok(None) };
        let mut bundle = Bundle::new();
        self.trail.logs.stage(&mut bundle, LogChange::Pruned(pruned.clone()));
        self.trail.attach(&mut bundle, draft(pruned.through));
        let receipt = self.trail.committer.commit(bundle).await?;
        // The next step must find the new base.
        self.trail.logs.reached(receipt.seq).await?;
        Ok(Some(pruned))
    }
}

/// The oldest genuine head of what is kept: a forged one would say how far to go. Blocking, for as long as
/// proving each forged head before it takes.
fn oldest(trail: &Trail, key: &HeadPublicKey) -> Result<Option<SignedHead>, StoreError> {
    let mut after = trail.logs.base()?.map_or(0, |base| base.through);
    loop {
        let heads = trail.logs.signed_heads(after, CHUNK)?;
        let Some(end) = heads.last() else { return Ok(None) };
        after = end.count;
        let genuine = heads.into_iter().find(|head| key.verifies(head));
        if genuine.is_some() {
            return Ok(genuine);
        }
    }
}

/// What can go by the time `due`.
fn find(
    trail: &Trail,
    key: &HeadPublicKey,
    due: Timestamp,
    now: Timestamp,
) -> Result<Option<Pruned>, PruneError> {
    let base = trail.logs.base()?.map_or(0, |base| base.through);
    let Some(head) = last_due(trail, key, base, due)? else { return Ok(None) };
    let record = trail.logs.records(head.count - 1, 1)?.pop();
    match record {
        Some(record) if (record.index, record.hash) == (head.count, head.hash) => {
            Ok(Some(Pruned { through: head.count, seq: record.seq, hash: head.hash, at: now }))
        }
        _ => Err(PruneError::Contradicted(head.count)),
    }
}

/// The last head that is due, of those in one step.
fn last_due(
    trail: &Trail,
    key: &HeadPublicKey,
    base: u64,
    due: Timestamp,
) -> Result<Option<SignedHead>, StoreError> {
    let (mut last, mut after) = (None::<SignedHead>, base);
    loop {
        let heads = trail.logs.signed_heads(after, CHUNK)?;
        let Some(end) = heads.last() else { return Ok(last) };
        after = end.count;
        for head in heads.into_iter().filter(|head| key.verifies(head)) {
            if head.at > due || (last.is_some() && head.count > base + AT_ONCE) {
                return Ok(last);
            }
            last = Some(head);
        }
    }
}

/// The event that says what was dropped: `verify` reads it back.
fn draft(through: u64) -> Draft {
    Draft::new(Intent::AuditPrune, Outcome::Granted)
        .by(Actor::System)
        .target(through)
        .reason("older_than_keep")
}

/// Through which record an event says that was dropped; none if it says nothing of that kind.
pub(in crate::audit) fn claimed(event: &AuditEvent) -> Option<u64> {
    let ours = event.intent == Intent::AuditPrune
        && event.outcome == Outcome::Granted
        && event.actor == Actor::System;
    if ours { event.target.parse().ok() } else { None }
}
