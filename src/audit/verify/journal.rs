//! The journal beside the chain: every event that the retained journal committed must be in the
//! log as it was written, and nothing else. So the end of the log, which no head covers yet, is
//! proven too.
//!
//! The two are merged by position. A window of the journal's events is looked ahead, so that one
//! broken record is not taken for many; memory is bounded by it.

use std::collections::VecDeque;

use super::VerifyError;
use super::finding::{Finding, Findings};
use crate::model::change::Change;
use crate::model::event::{Intent, Outcome};
use crate::model::id::Seq;
use crate::store::bundle::Committed;
use crate::store::chain;
use crate::store::namespace::LogRecord;

/// Events looked ahead.
const WINDOW: usize = 256;

/// An event that the journal committed.
struct Expected {
    seq: Seq,
    payload: Vec<u8>,
    intent: Intent,
    outcome: Outcome,
    found: Found,
}

/// Whether an expected event was met in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Not,
    /// At a record where the chain holds.
    InOrder,
    /// At one where it does not, which is named for that.
    Astray,
}

impl Expected {
    fn is(&self, record: &LogRecord) -> bool {
        self.found == Found::Not && self.seq == record.seq && self.payload == record.payload
    }
}

/// The journal's bundles in order, and how far they were met in the log.
pub(super) struct JournalWalk<J: Iterator> {
    bundles: J,
    /// The position that the next bundle should have.
    next: Seq,
    /// Positions that the journal no longer has: before its oldest, and what it let go of while we
    /// read. From the first up to but without the second.
    unknown: Vec<(Seq, Seq)>,
    /// Events up to here must be in the log; later ones may be on their way.
    applied: Seq,
    window: VecDeque<Expected>,
    /// Events left behind without being met: one that was moved may still come.
    late: VecDeque<Expected>,
    /// Events found in the log.
    pub compared: u64,
}

impl<J> JournalWalk<J>
where
    J: Iterator<Item = Result<Committed, VerifyError>>,
{
    /// `oldest` is the position of the first bundle that the journal has.
    pub fn new(bundles: J, oldest: Seq, applied: Seq) -> Self {
        let unknown = vec![(Seq(0), oldest)];
        let (window, late) = (VecDeque::new(), VecDeque::new());
        Self { bundles, next: oldest, unknown, applied, window, late, compared: 0 }
    }

    /// Takes the next record; `linked` says whether the chain holds at it. One at which it does not
    /// is only looked for: it is named already.
    pub fn push(
        &mut self,
        record: &LogRecord,
        linked: bool,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        if !linked {
            return self.look_for(record);
        }
        self.advance(record.seq, findings)?;
        if self.unknown.iter().any(|(from, to)| (*from..*to).contains(&record.seq)) {
            return Ok(());
        }
        let Some(at) = self.window.iter().position(|event| event.is(record)) else {
            findings.push(Finding::NotInJournal { index: record.index, seq: record.seq });
            return Ok(());
        };
        let met_before = |event: &Expected| event.found == Found::InOrder && event.seq == record.seq;
        if self.window.iter().skip(at + 1).any(met_before) {
            findings.push(Finding::OutOfOrder { index: record.index, seq: record.seq });
        }
        self.window.get_mut(at).into_iter().for_each(|event| event.found = Found::InOrder);
        self.compared += 1;
        Ok(())
    }

    /// Looks for a record that is out of its place, ahead and behind.
    fn look_for(&mut self, record: &LogRecord) -> Result<(), VerifyError> {
        self.fill()?;
        if let Some(event) = self.window.iter_mut().chain(&mut self.late).find(|event| event.is(record)) {
            event.found = Found::Astray;
            self.compared += 1;
        }
        Ok(())
    }

    /// The log ended: what the journal has beyond it must not be applied yet.
    pub fn finish(&mut self, findings: &mut Findings) -> Result<(), VerifyError> {
        self.advance(Seq(u64::MAX), findings)?;
        self.give_up(0, findings);
        Ok(())
    }

    /// Leaves the events before `seq` behind, and looks ahead from there.
    fn advance(&mut self, seq: Seq, findings: &mut Findings) -> Result<(), VerifyError> {
        self.fill()?;
        while let Some(event) = self.window.pop_front_if(|event| event.seq < seq) {
            if event.found == Found::Not && event.seq <= self.applied {
                self.late.push_back(event);
                self.give_up(WINDOW, findings);
            }
            self.fill()?;
        }
        Ok(())
    }

    /// Says of all but the last `keep` late events that the log does not hold them.
    fn give_up(&mut self, keep: usize, findings: &mut Findings) {
        while self.late.len() > keep {
            if let Some(Expected { seq, intent, outcome, found: Found::Not, .. }) = self.late.pop_front() {
                findings.push(Finding::NotInLog { seq, intent, outcome });
            }
        }
    }

    /// Fills the window, and to the end of its first bundle however many events that has.
    fn fill(&mut self) -> Result<(), VerifyError> {
        while self.window.len() < WINDOW
            || self.window.front().map(|e| e.seq) == self.window.back().map(|e| e.seq)
        {
            let Some(bundle) = self.bundles.next().transpose()? else { break };
            self.take(bundle)?;
        }
        Ok(())
    }

    fn take(&mut self, bundle: Committed) -> Result<(), VerifyError> {
        let Committed { seq, changes, .. } = bundle;
        if seq > self.next {
            self.unknown.push((self.next, seq));
        }
        self.next = seq.next();
        for change in changes {
            if let Change::Log(change) = change
                && let Some((event, seal)) = change.event()
            {
                let payload = chain::payload(event, seal)?;
                let (intent, outcome) = (event.intent, event.outcome);
                self.window.push_back(Expected { seq, payload, intent, outcome, found: Found::Not });
            }
        }
        Ok(())
    }
}
