//! The signed heads beside the chain: every statement we signed must agree with the record it
//! speaks of, and the places that keep them (the log database, the witness file, and the journal as
//! far back as it goes) with each other. They are read along with the chain, in order of count.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::super::head::HeadPublicKey;
use super::super::witness::Entry;
use super::VerifyError;
use super::finding::{Finding, Findings, Place, genuine};
use crate::model::event::{ChainHash, Pruned, SignedHead};
use crate::model::time::Timestamp;

/// What the signer may be doing at this moment. It signs one head after the other: commits it,
/// appends it to the witness, and only then goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Signing {
    /// The newest head in the log: the one that may not be in the witness yet.
    pub newest: u64,
    /// Heads that the retained journal committed, in order of count.
    pub committed: Vec<CommittedHead>,
    /// Whether the witness is a copy from elsewhere: it has the heads that reached it.
    pub copy: bool,
}

/// A head in the journal.
#[derive(Clone, Debug)]
pub(super) struct CommittedHead {
    /// The head.
    pub head: SignedHead,
    /// Whether the log must have it: it had applied this position before its heads were read.
    pub applied: bool,
}

/// Which places have a genuine head of one count.
#[derive(Clone, Copy, Default)]
struct Kept {
    log: bool,
    witness: bool,
    journal: bool,
    /// It may still be on its way from the journal to the log.
    under_way: bool,
}

/// Heads of both places, in order.
pub(super) struct HeadsWalk<L: Iterator, W: Iterator> {
    key: HeadPublicKey,
    /// Count of the newest head in the log.
    newest: u64,
    journal: Peekable<IntoIter<CommittedHead>>,
    log: Peekable<L>,
    witness: Option<Peekable<W>>,
    /// Heads of the log that were compared.
    pub checked: u64,
    /// The count of the newest genuine head that agrees with the chain.
    pub signed_count: u64,
    /// The count of the witness's last line compared.
    line_count: u64,
    /// Heads of less speak of records that were dropped.
    base: u64,
    /// When the newest genuine head that agrees with the chain was signed.
    signed_at: Timestamp,
    /// Whether the witness is a copy, which need not have every head.
    copy: bool,
}

type Result<T> = std::result::Result<T, VerifyError>;

impl<L, W> HeadsWalk<L, W>
where
    L: Iterator<Item = Result<SignedHead>>,
    W: Iterator<Item = Result<Entry>>,
{
    /// `witness` is `None` if there is no such file.
    pub fn new(key: HeadPublicKey, signing: Signing, log: L, witness: Option<W>) -> Self {
        Self {
            key,
            newest: signing.newest,
            journal: signing.committed.into_iter().peekable(),
            log: log.peekable(),
            witness: witness.map(Iterator::peekable),
            checked: 0,
            signed_count: 0,
            line_count: 0,
            base: 0,
            signed_at: Timestamp::default(),
            copy: signing.copy,
        }
    }

    /// The chain begins after `base`: a genuine head must speak of the record that it ends with. Gives
    /// the time of that head.
    pub fn begin(&mut self, base: &Pruned, findings: &mut Findings) -> Result<Option<Timestamp>> {
        self.base = base.through;
        self.at(base.through, base.hash, findings)?;
        if self.signed_count == base.through {
            return Ok(Some(self.signed_at));
        }
        findings.push(Finding::BaseUnsigned { through: base.through });
        Ok(None)
    }

    /// Compares the heads that speak of the record at `place`, whose stored hash is `hash`; those
    /// that speak of places before it speak of records that are gone, which is said already.
    pub fn at(&mut self, place: u64, hash: ChainHash, findings: &mut Findings) -> Result<()> {
        while let Some(count) = self.nearest(place, findings)? {
            self.compare(count, (place == count).then_some(hash), findings)?;
        }
        Ok(())
    }

    /// The chain ended with record `index`, `place` as it was written: heads beyond it prove that
    /// it was cut.
    pub fn finish(&mut self, index: u64, place: u64, findings: &mut Findings) -> Result<()> {
        let mut expected = 0;
        while let Some(count) = self.nearest(u64::MAX, findings)? {
            if self.compare(count, None, findings)? && count > place {
                expected = expected.max(count);
            }
        }
        if expected > 0 {
            findings.push(Finding::TruncatedAfter { index, expected });
        }
        if self.witness.is_none() && self.checked > 1 {
            findings.push(Finding::NoWitness);
        }
        Ok(())
    }

    /// The smallest count, at most `limit`, of the heads not yet compared.
    fn nearest(&mut self, limit: u64, findings: &mut Findings) -> Result<Option<u64>> {
        let log = match self.log.peek() {
            Some(Ok(head)) => Some(head.count),
            Some(Err(_)) => return self.log.next().transpose().map(|_| None),
            None => None,
        };
        let witness = self.witness_count(findings)?;
        let journal = self.journal.peek().map(|committed| committed.head.count);
        Ok([log, witness, journal].into_iter().flatten().min().filter(|count| *count <= limit))
    }

    /// The count of the witness's next head, passing over lines that are none or go backwards.
    fn witness_count(&mut self, findings: &mut Findings) -> Result<Option<u64>> {
        let Some(witness) = &mut self.witness else { return Ok(None) };
        loop {
            match witness.peek() {
                None => return Ok(None),
                Some(Ok(Entry { head: Some(head), .. })) if head.count >= self.line_count => {
                    return Ok(Some(head.count));
                }
                Some(Ok(Entry { line, .. })) => findings.push(Finding::WitnessUnreadable { line: *line }),
                Some(Err(_)) => {}
            }
            witness.next().transpose()?;
        }
    }

    /// Compares all heads of one count with the record, if it is there. Whether one of them is genuine.
    fn compare(&mut self, count: u64, record: Option<ChainHash>, findings: &mut Findings) -> Result<bool> {
        let mut kept = Kept::default();
        while let Some(head) = self.log.next_if(|next| next.as_ref().map_or(true, |head| head.count == count))
        {
            let head = head?;
            self.checked += 1;
            kept.log |= self.judge(&head, Place::Log, record, findings);
        }
        while let Some(head) = self.witness_head(count, findings)? {
            self.line_count = count;
            kept.witness |= self.judge(&head, Place::Witness, record, findings);
        }
        while let Some(CommittedHead { head, applied }) =
            self.journal.next_if(|committed| committed.head.count == count)
        {
            kept.under_way |= !applied;
            kept.journal |= self.judge(&head, Place::Journal, record, findings);
        }
        self.note_lost(count, kept, findings);
        Ok(kept.log || kept.witness || kept.journal)
    }

    fn witness_head(&mut self, count: u64, findings: &mut Findings) -> Result<Option<SignedHead>> {
        if self.witness_count(findings)? != Some(count) {
            return Ok(None);
        }
        Ok(self.witness.as_mut().and_then(Iterator::next).transpose()?.and_then(|entry| entry.head))
    }

    fn judge(
        &mut self,
        head: &SignedHead,
        place: Place,
        record: Option<ChainHash>,
        findings: &mut Findings,
    ) -> bool {
        let good = genuine(head, place, &self.key, findings);
        match record {
            Some(hash) if good && hash != head.hash => {
                findings.push(Finding::HeadMismatch { count: head.count, place });
            }
            Some(_) if good => (self.signed_count, self.signed_at) = (head.count, head.at),
            _ => {}
        }
        good
    }

    /// Says of a head that one place has and another lacks that it was lost there, unless it is on its way there.
    fn note_lost(&self, count: u64, kept: Kept, findings: &mut Findings) {
        if count < self.base {
            return;
        }
        if (kept.witness || kept.journal) && !kept.log && !kept.under_way {
            findings.push(Finding::HeadMissing { count });
        }
        let looked = self.witness.is_some() && !self.copy;
        if kept.log && !kept.witness && looked && count != self.newest {
            findings.push(Finding::NotWitnessed { count });
        }
    }
}
