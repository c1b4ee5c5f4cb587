//! Retention: records older than `audit.keep` are dropped from the log, oldest first, and only up to
//! a record that a signed head speaks of. What is left begins at that head's hash, and an event in
//! what is left says through which record was dropped, and when: so the proof goes on from there, and
//! whoever drops more than was due has to forge a signature or that event.
//!
//! A head's time is later than every record that it covers, so a head older than `keep` covers no
//! record that is younger.

use std::time::Duration;

use super::Trail;
use super::draft::Draft;
use super::head::HeadPublicKey;
use crate::model::caller::Actor;
use crate::model::change::LogChange;
use crate::model::event::{AuditEvent, Intent, Outcome, Pruned, SignedHead};
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;
use crate::store::error::{CommitError, StoreError};

/// Least that may be configured: a record is not dropped before a day has looked at it, and `verify`
/// knows one that was for another's work.
pub const SHORTEST: Duration = Duration::from_secs(24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

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
    pub trail: Trail,
    /// What heads are verified with: no forged one may say what can go.
    pub key: HeadPublicKey,
    /// `audit.keep`; zero keeps everything.
    pub keep: Duration,
}

impl Retention {
    /// How far one run of steps may go, however much is due: a day past the oldest head there is. So a
    /// clock that leaps ahead costs a day of the log for each run until somebody notices, not all of it.
    pub fn limit(&self) -> Result<Timestamp, PruneError> {
        let logs = &self.trail.logs;
        let base = logs.base()?.map_or(0, |base| base.through);
        let oldest = logs.signed_heads(base, 1)?.pop();
        Ok(oldest.map_or(Timestamp::MAX, |head| head.at.plus(DAY)))
    }

    /// Drops the oldest records that are due and not younger than `limit`, at most some ten thousand.
    /// None if none is.
    pub async fn step(&self, limit: Timestamp) -> Result<Option<Pruned>, PruneError> {
        if self.keep.is_zero() {
            return Ok(None);
        }
        let (trail, key) = (self.trail.clone(), self.key);
        let now = trail.clock.now();
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
