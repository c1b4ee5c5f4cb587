//! Proving the audit log. Three witnesses are heard, each of which catches what the one before
//! cannot: the chain of hashes in the log itself (`chain`), the heads that were signed with a key
//! the log's writer does not have, in the log, in a file beside it and in the journal (`heads`), and
//! the journal that every event went through (`journal`). The journal's heads speak of records that
//! are long gone from it: who rewrites those must rewrite the journal too. Records that were dropped
//! for their age are accounted for (`pruning`).
//!
//! The log is read once from its start, in chunks; memory does not grow with it. It may be written
//! meanwhile. What is wrong with the log is a [`Finding`]; what kept us from reading it a
//! [`VerifyError`].
//!
//! What this cannot find: whoever controls the machine and removes the log, the journal and the
//! witness together leaves nothing to contradict them but a copy of the witness elsewhere.

mod chain;
pub mod finding;
mod heads;
mod journal;
mod pruning;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use chain::ChainWalk;
use finding::{Findings, Report};
use heads::{CommittedHead, HeadsWalk, Signing};
use journal::JournalWalk;
use pruning::Pruning;

use super::head::HeadPublicKey;
use super::witness::{Entry, Reader};
use crate::model::change::{Change, LogChange};
use crate::model::event::{Pruned, SignedHead};
use crate::model::id::Seq;
use crate::store::bundle::Committed;
use crate::store::error::StoreError;
use crate::store::history::History;
use crate::store::namespace::{LogRecord, LogStore};

const CHUNK: usize = 512;

/// The log could not be read to its end, so nothing is proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A store could not be read.
    #[error("the audit log cannot be proven: {0}")]
    Store(#[from] StoreError),
    /// The witness file could not be read.
    #[error("the audit log cannot be proven: the witness file {path} cannot be read: {source}")]
    Witness {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What the log is proven with.
pub struct Evidence<'a> {
    /// The log.
    pub logs: &'a LogStore,
    /// The journal's retained bundles.
    pub history: &'a History,
    /// The witness file, from `audit::witness::path`, or a copy of it.
    pub witness: &'a Path,
    /// Whether it is a copy: it must be there, but need not have every head.
    pub copy: bool,
    /// The key that heads are verified with.
    pub key: HeadPublicKey,
}

/// Proofs begun anew because old records were dropped meanwhile: that happens some times an hour.
const TRIES: u32 = 5;

/// Proves the whole log. Blocking, and as long as reading the log takes.
pub fn verify(evidence: &Evidence<'_>) -> Result<Report, VerifyError> {
    let mut tries = 1;
    loop {
        let base = evidence.logs.base()?;
        let report = verify_from(evidence, base.clone())?;
        if tries == TRIES || evidence.logs.base()? == base {
            return Ok(report);
        }
        tries += 1;
    }
}

fn verify_from(evidence: &Evidence<'_>, base: Option<Pruned>) -> Result<Report, VerifyError> {
    let Evidence { logs, history, witness, copy, key } = *evidence;
    // In this order: what is applied by now is in the log that is read afterwards; of the heads that
    // are in the log by now all but the newest are in the witness that is opened afterwards; and
    // those in the witness that the log lacks are in the journal after what was applied.
    let applied = logs.applied();
    let newest = newest_head(logs)?;
    let unreadable = |source| VerifyError::Witness { path: witness.to_owned(), source };
    let lines = Reader::open(witness).map_err(unreadable)?;
    if copy && lines.is_none() {
        return Err(unreadable(std::io::ErrorKind::NotFound.into()));
    }
    let lines = lines.map(|lines| lines.map(|line| line.map_err(unreadable)));
    let signing = Signing { newest, committed: committed_heads(history, applied)?, copy };
    let heads = chunks(move |after: Option<&SignedHead>| {
        Ok(logs.signed_heads(after.map_or(0, |head| head.count), CHUNK)?)
    })
    .take_while(move |head| head.as_ref().map_or(true, |head| head.count <= newest));
    let records = chunks(move |after: Option<&LogRecord>| {
        Ok(logs.records(after.map_or(0, |record| record.index), CHUNK)?)
    });
    // Of what was dropped the journal may still have the events.
    let kept = base.as_ref().map_or(Seq(0), |base| base.seq.next());
    let oldest = history.oldest().max(kept);
    let before = Seq(oldest.0.saturating_sub(1));
    let bundles = chunks(move |after: Option<&Committed>| {
        Ok(history.committed_after(after.map_or(before, |bundle| bundle.seq), CHUNK)?)
    });
    Sources { base, records, heads, signing, witness: lines, bundles, oldest, applied, key }.prove()
}

/// Every head that the retained journal committed, in order of count. They are few: one in
/// `audit.head_every` at most, as far back as the journal goes.
fn committed_heads(history: &History, applied: Seq) -> Result<Vec<CommittedHead>, StoreError> {
    let (mut heads, mut after) = (Vec::new(), Seq(0));
    loop {
        let bundles = history.committed_after(after, CHUNK)?;
        let Some(last) = bundles.last() else { break };
        after = last.seq;
        heads.extend(bundles.into_iter().flat_map(|bundle| heads_of(bundle, applied)));
    }
    heads.sort_by_key(|committed| committed.head.count);
    Ok(heads)
}

fn heads_of(bundle: Committed, applied: Seq) -> impl Iterator<Item = CommittedHead> {
    let applied = bundle.seq <= applied;
    bundle.changes.into_iter().filter_map(move |change| match change {
        Change::Log(LogChange::HeadSigned(head)) => Some(CommittedHead { head, applied }),
        _ => None,
    })
}

/// The count of the newest head in the log, found by halving: heads can only be asked for in order.
fn newest_head(logs: &LogStore) -> Result<u64, StoreError> {
    let (mut low, mut high) = (0, i64::MAX.unsigned_abs());
    while low < high {
        let middle = low + (high - low) / 2;
        match logs.signed_heads(middle, 1)?.first() {
            Some(head) => low = head.count,
            None => high = middle,
        }
    }
    Ok(low)
}

/// A source that is asked for what comes after its last item, as one iterator. Not fused: after its
/// end it asks again, because the journal that is looked ahead in goes on growing.
fn chunks<T: Clone>(
    mut ask: impl FnMut(Option<&T>) -> Result<Vec<T>, VerifyError>,
) -> impl Iterator<Item = Result<T, VerifyError>> {
    let (mut last, mut chunk) = (None::<T>, Vec::new().into_iter());
    std::iter::from_fn(move || {
        if chunk.as_slice().is_empty() {
            match ask(last.as_ref()) {
                Ok(next) => chunk = next.into_iter(),
                Err(error) => return Some(Err(error)),
            }
            last = chunk.as_slice().last().cloned().or(last.take());
        }
        chunk.next().map(Ok)
    })
}

/// What is walked along, each in its order.
struct Sources<R, H, W, B> {
    base: Option<Pruned>,
    records: R,
    heads: H,
    signing: Signing,
    witness: Option<W>,
    bundles: B,
    oldest: Seq,
    applied: Seq,
    key: HeadPublicKey,
}

impl<R, H, W, B> Sources<R, H, W, B>
where
    R: Iterator<Item = Result<LogRecord, VerifyError>>,
    H: Iterator<Item = Result<SignedHead, VerifyError>>,
    W: Iterator<Item = Result<Entry, VerifyError>>,
    B: Iterator<Item = Result<Committed, VerifyError>>,
{
    fn prove(self) -> Result<Report, VerifyError> {
        let mut findings = Findings::default();
        let mut chain = ChainWalk::from(self.base.as_ref());
        let mut heads = HeadsWalk::new(self.key, self.signing, self.heads, self.witness);
        let mut pruning = Pruning::begin(self.base.as_ref(), &mut heads, &mut findings)?;
        let mut journal = JournalWalk::new(self.bundles, self.oldest, self.applied);
        let (mut records, mut place) = (0, chain.index);
        for record in self.records {
            let record = record?;
            let step = chain.push(&record, &mut findings);
            heads.at(step.place, record.hash, &mut findings)?;
            journal.push(&record, step.linked, &mut findings)?;
            if step.linked {
                pruning.look(&record);
            }
            records += 1;
            place = step.place;
        }
        chain.finish(&mut findings);
        heads.finish(chain.index, place, &mut findings)?;
        journal.finish(&mut findings)?;
        let pruned = pruning.finish(&mut findings);
        let findings = findings.sorted();
        Ok(Report {
            records,
            heads: heads.checked,
            compared: journal.compared,
            findings: findings.list,
            more_findings: findings.more,
            count: chain.index,
            head: chain.hash.hex(),
            signed_count: heads.signed_count,
            public_key: self.key.to_string(),
            pruned,
        })
    }
}
